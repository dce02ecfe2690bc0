"""What existing code expects of sample types and batches; facts measured on the releases 0.1.3b4 and 0.2.0a1."""

import copy
import dataclasses
import io
import pickle
import uuid
from dataclasses import dataclass
from typing import Any, Optional

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from atdata._helpers import array_to_bytes, bytes_to_array
from atdata.data.sample import PackableSample, SampleBatch, _batch_aggregate, packable


@packable
class Example:
    """One picture."""

    label: int
    image: NDArray[Any]


@packable
class Basic:
    name: str
    position: int = 3
    tags: list[str] = dataclasses.field(default_factory=list)


@dataclass
class Inherited(PackableSample):
    label: int
    image: NDArray[Any]


@packable
class Arrays:
    plain: NDArray[Any]
    bare: np.ndarray
    typed: NDArray[np.float32]
    either: NDArray[Any] | None
    optional: Optional[NDArray[Any]]  # noqa: UP045 - the spelling is what is tested
    quoted: "NDArray[Any]"


def npy(array: NDArray[Any]) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def pack(sample: Any) -> bytes:
    """What a type checker does not see: a decorated class has the methods of PackableSample too."""
    packed = sample.packed
    assert type(packed) is bytes
    return packed


def unpack(cls: Any, data: bytes) -> Any:
    return cls.from_bytes(data)


IMAGE = np.array([[0, 1], [2, 3]], np.uint8)


def test_a_packable_class_is_a_dataclass_under_its_own_name() -> None:
    """The result is a dataclass, a subclass of the class decorated and of PackableSample; pickle finds it."""
    assert dataclasses.is_dataclass(Example)
    assert issubclass(Example, PackableSample)
    assert Example.__mro__[1].__name__ == "Example"
    assert (Example.__name__, Example.__qualname__, Example.__module__) == ("Example", "Example", __name__)
    assert Example.__doc__ == "One picture."
    assert pickle.loads(pickle.dumps(Basic("a", 2))) == Basic("a", 2)
    assert copy.deepcopy(Basic("a", 2)) == Basic("a", 2)


def test_samples_are_made_by_position_and_by_keyword_with_defaults() -> None:
    """Construction and equality are those of a dataclass; a default list is a new one each time."""
    assert Basic("a") == Basic(name="a", position=3, tags=[])
    assert Basic("a") != Basic("b")
    assert Basic("a").tags is not Basic("a").tags
    assert repr(Basic("a")) == "Basic(name='a', position=3, tags=[])"
    with pytest.raises(TypeError):
        Basic()  # type: ignore[call-arg]  # the point of the test


def test_equality_of_arrays_is_ambiguous() -> None:
    """``==`` compares field by field, and so raises on arrays of more than one item, as dataclasses do."""
    with pytest.raises(ValueError, match="ambiguous"):
        Example(1, IMAGE) == Example(1, IMAGE.copy())  # noqa: B015 - comparing is what raises


def test_a_dataclass_that_inherits_works_the_same() -> None:
    """``@dataclass class X(PackableSample)`` packs to the same bytes as ``@packable``."""
    sample = unpack(Inherited, pack(Example(7, IMAGE)))

    assert isinstance(sample, Inherited)
    assert pack(sample) == pack(Example(7, IMAGE))


def test_packable_classes_inherit_from_each_other() -> None:
    """Fields of the parent come first; arrays of parent and child are decoded."""

    @packable
    class Child(Example):
        mask: NDArray[Any]

    child = unpack(Child, pack(Child(1, IMAGE, IMAGE + 1)))

    assert [field.name for field in dataclasses.fields(child)] == ["label", "image", "mask"]
    assert np.array_equal(child.mask, IMAGE + 1)
    assert np.array_equal(child.image, IMAGE)


def test_a_post_init_sees_decoded_arrays() -> None:
    """A ``__post_init__`` of the class decorated runs, once arrays have been decoded."""

    @packable
    class Checked:
        image: NDArray[Any]

        def __post_init__(self) -> None:
            self.total = int(self.image.sum())

    assert Checked(npy(IMAGE)).total == 6  # type: ignore[arg-type]  # bytes are allowed


def test_methods_and_representations_of_the_class_stay() -> None:
    """What a class defines itself, ``__repr__`` and ``__eq__`` too, is not replaced."""

    @packable
    class Quiet:
        x: int

        def __repr__(self) -> str:
            return "quiet"

        def double(self) -> int:
            return 2 * self.x

    assert repr(Quiet(1)) == "quiet"
    assert Quiet(2).double() == 4


@pytest.mark.parametrize("name", ["plain", "bare", "typed", "either", "optional", "quoted"])
def test_every_spelling_of_an_array_is_an_array(name: str) -> None:
    """Earlier releases gave bytes for some of these annotations; all of them mean an array."""
    values = dict.fromkeys([field.name for field in dataclasses.fields(Arrays)], IMAGE.astype(np.float32))

    sample = unpack(Arrays, pack(Arrays(**values)))

    assert isinstance(getattr(sample, name), np.ndarray)
    assert np.array_equal(getattr(sample, name), IMAGE)


def test_postponed_annotations_are_arrays() -> None:
    """A module with ``from __future__ import annotations`` is read the same way."""
    namespace: dict[str, Any] = {"__name__": __name__}
    source = (
        "from __future__ import annotations\n"
        "from numpy.typing import NDArray\n"
        "from atdata.data.sample import packable\n"
        "@packable\n"
        "class Postponed:\n"
        "    image: NDArray\n"
        "    mask: NDArray | None = None\n"
    )
    exec(source, namespace)
    cls = namespace["Postponed"]

    assert np.array_equal(cls(image=npy(IMAGE)).image, IMAGE)
    assert np.array_equal(cls(npy(IMAGE), npy(IMAGE)).mask, IMAGE)


def test_an_array_field_decodes_bytes_and_keeps_the_rest() -> None:
    """Arrays are kept as they are, bytes decoded when the sample is made, lists and None left alone."""
    assert Example(1, IMAGE).image is IMAGE
    assert np.array_equal(Example(1, npy(IMAGE)).image, IMAGE)  # type: ignore[arg-type]  # bytes are allowed here
    assert Example(1, [1, 2]).image == [1, 2]  # type: ignore[arg-type]  # so is anything
    assert Example(1, None).image is None  # type: ignore[arg-type]  # so is anything


def test_a_decoded_array_can_be_written_to() -> None:
    """Existing code changes arrays in place."""
    sample = unpack(Example, pack(Example(1, IMAGE)))

    sample.image += 1

    assert np.array_equal(sample.image, IMAGE + 1)


def test_a_pickled_array_is_never_run() -> None:
    """Bytes that earlier releases would unpickle are refused."""
    file = io.BytesIO()
    np.save(file, np.array([{"a": 1}], object), allow_pickle=True)

    for data in (file.getvalue(), pickle.dumps(IMAGE)):
        with pytest.raises(ValueError):
            Example(1, data)  # type: ignore[arg-type]  # bytes are allowed here
        with pytest.raises(ValueError):
            bytes_to_array(data)


def test_packed_is_a_map_in_field_order_with_npy_arrays() -> None:
    """The published example, byte by byte: 148 bytes."""
    packed = pack(Example(7, IMAGE))

    assert packed == b"\x82\xa5label\x07\xa5image\xc4\x84" + npy(IMAGE)
    assert len(packed) == 148


def test_other_attributes_are_packed_after_the_fields() -> None:
    """Attributes set on the instance are packed too; an array in any of them becomes the bytes of an array."""
    sample = Basic("a")
    sample.extra = IMAGE  # type: ignore[attr-defined]  # the point of the test
    sample.position = IMAGE  # type: ignore[assignment]  # the point of the test

    values = msgspec.msgpack.decode(pack(sample))

    assert list(values) == ["name", "position", "tags", "extra"]
    assert values["extra"] == values["position"] == npy(IMAGE)


def test_numpy_scalars_become_python_scalars() -> None:
    """Earlier releases raised TypeError for them."""
    assert pack(Basic("a", np.int16(-5))) == pack(Basic("a", -5))  # type: ignore[arg-type]  # the point of the test


def test_tuples_come_back_as_lists() -> None:
    """Msgpack has one kind of sequence."""
    assert unpack(Basic, pack(Basic("a", 1, ("x", "y")))).tags == ["x", "y"]  # type: ignore[arg-type]  # a tuple


def test_a_map_with_integer_keys_packs() -> None:
    """It packs as before; reading it, which raised ValueError, gives it back."""

    @packable
    class Counts:
        counts: dict[int, int]

    assert unpack(Counts, pack(Counts({1: 2}))) == Counts({1: 2})


@pytest.mark.parametrize("value", [object(), {1, 2}, 1j, 1 << 70])
def test_what_msgpack_cannot_hold_is_a_type_error(value: object) -> None:
    """Packing it raises TypeError, which names the field."""
    with pytest.raises(TypeError, match="position"):
        _ = pack(Basic("a", value))  # type: ignore[arg-type]  # the point of the test


@pytest.mark.parametrize("data", [{"label": 1}, {"label": 1, "image": None, "more": 2}, {}])
def test_from_data_is_strict(data: dict[str, Any]) -> None:
    """A missing or an unknown name is a TypeError: there is no guessing about other versions of a type."""
    cls: Any = Example

    with pytest.raises(TypeError):
        cls.from_data(data)


@pytest.mark.parametrize("data", [b"", b"\x82", b"\x93\x01\x02\x03", b"\xc1", b"<html>", b"\x81\x01\x02"])
def test_corrupt_msgpack_is_a_value_error(data: bytes) -> None:
    """So are bytes that are msgpack, but not a map of names."""
    with pytest.raises(ValueError):
        unpack(Example, data)


def test_as_wds_is_what_webdataset_writers_take() -> None:
    """A key of 36 characters without a dot, new on each access, and the packed sample."""
    sample: Any = Example(7, IMAGE)
    first, second = sample.as_wds, sample.as_wds

    assert set(first) == {"__key__", "msgpack"}
    assert first["msgpack"] == pack(sample)
    assert first["__key__"] != second["__key__"]
    key = uuid.UUID(first["__key__"])
    assert (str(key), key.version, key.node, key.clock_seq) == (first["__key__"], 1, 0, 0)


def test_a_batch_stacks_arrays_and_lists_the_rest() -> None:
    """Arrays get a new first axis; the same object is given on each access."""
    batch = SampleBatch[Example]([Example(i, IMAGE + i) for i in range(3)])

    assert batch.sample_type is Example
    assert batch.image.shape == (3, 2, 2)
    assert batch.image is batch.image
    assert batch.label == [0, 1, 2]
    assert len(batch.samples) == 3


def test_a_batch_of_ragged_arrays_is_a_value_error() -> None:
    """Arrays of different shapes cannot be stacked."""
    batch = SampleBatch[Example]([Example(0, IMAGE), Example(1, IMAGE[:1])])

    assert batch.label == [0, 1]
    with pytest.raises(ValueError):
        _ = batch.image


def test_a_batch_knows_the_fields_of_the_class_itself() -> None:
    """Unknown names, and fields that the class inherits, are an AttributeError with the message of always."""

    @packable
    class Child(Example):
        extra: int

    batch = SampleBatch[Child]([Child(1, IMAGE, 2)])

    assert batch.extra == [2]
    for name in ("label", "nothing", "__array__"):
        with pytest.raises(AttributeError, match=f"No sample attribute named {name}"):
            getattr(batch, name)


def test_a_batch_can_be_copied_and_pickled() -> None:
    """As loader workers need it."""
    batch = SampleBatch[Example]([Example(1, IMAGE)])

    for twin in (copy.copy(batch), pickle.loads(pickle.dumps(batch))):
        assert twin.sample_type is Example
        assert np.array_equal(twin.image, [IMAGE])


def test_a_batch_without_its_type_has_no_fields() -> None:
    """``SampleBatch(samples)`` holds samples; what their type is, nobody said."""
    batch = SampleBatch([Example(1, IMAGE)])

    assert len(batch.samples) == 1
    with pytest.raises(AttributeError, match="__orig_class__"):
        _ = batch.sample_type


def test_aggregation_looks_at_the_first_value() -> None:
    """The helper that tests of existing code call: nothing gives a list, arrays are stacked, the rest listed."""
    assert _batch_aggregate([]) == []
    assert _batch_aggregate((1, 2)) == [1, 2]
    assert _batch_aggregate([IMAGE, IMAGE]).shape == (2, 2, 2)


@pytest.mark.parametrize("array", [IMAGE, IMAGE.T, np.array(3.5), np.zeros((0, 2)), np.array(["ä", "bc"])])
def test_helpers_convert_arrays_as_numpy_does(array: NDArray[Any]) -> None:
    """Bytes are those of `numpy.save`, and give the array back."""
    assert array_to_bytes(array) == npy(array)
    assert np.array_equal(bytes_to_array(npy(array)), array)
    assert bytes_to_array(npy(array)).dtype == array.dtype


def test_a_class_without_fields_packs_to_an_empty_map() -> None:
    """It can hold nothing, but nothing forbids it."""

    @packable
    class Nothing:
        pass

    assert pack(Nothing()) == b"\x80"
    assert unpack(Nothing, b"\x80") == Nothing()
