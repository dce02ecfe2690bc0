"""Batches: the samples of the reader as columns."""

import dataclasses
import pickle
from typing import Annotated, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from tests.data.tars import make_tar, npy, packed, store_of, typed_tar

from atdata.data.batches import Batch, batch_of, read_batches
from atdata.data.fields import Extension
from atdata.data.reader import read_samples
from atdata.errors import SchemaMismatchError, ShardError


@dataclasses.dataclass
class Sample:
    image: NDArray[Any]
    label: int
    weight: float
    good: bool
    name: str
    maybe: NDArray[Any] | None = None


def payload(number: int, **other: Any) -> bytes:
    values: dict[str, Any] = {
        "image": np.full((2, 3), number % 256, np.uint8),
        "label": number,
        "weight": number / 2,
        "good": number % 2 == 0,
        "name": f"n{number}",
        "maybe": None,
    }
    return packed(**(values | other))


@given(st.integers(1, 120), st.integers(0, 90), st.integers(0, 90), st.booleans(), st.integers(0, 40))
def test_batches_are_the_samples(size: int, first: int, second: int, drop_last: bool, start: int) -> None:
    """Every sample once, in order, over the ends of shards; all batches full but the last, which may be dropped."""
    payloads = [payload(number) for number in range(first + second)]
    store, paths = store_of(typed_tar(payloads[:first]), typed_tar(payloads[first:]))

    batches = list(read_batches(store, paths, Sample, size, drop_last=drop_last, start=start))

    samples = list(read_samples(store, paths, Sample, start=start))
    lengths = [len(batch) for batch in batches]
    full, rest = divmod(len(samples), size)
    assert lengths == [size] * full + ([rest] if rest and not drop_last else [])
    labels = [int(label) for batch in batches for label in batch.label]
    assert labels == [sample.label for sample in samples[: sum(lengths)]]
    for batch in batches:
        assert isinstance(batch.image, np.ndarray)
        assert batch.image.flags.c_contiguous
        assert batch.image.flags.behaved
        assert batch.image.shape == (len(batch), 2, 3)
        assert (batch.image[:, 0, 0] == batch.label % 256).all()


def one_batch(*payloads: bytes, sample_type: type = Sample) -> Batch[Any]:
    store, paths = store_of(typed_tar(payloads))
    batch: Batch[Any]
    [batch] = read_batches(store, paths, sample_type, len(payloads))
    return batch


@pytest.mark.parametrize("count", [3, 300])
def test_dtypes(count: int) -> None:
    """int64, float64 and bool for numbers, the array's own dtype in native order; lists for the rest."""
    batch = one_batch(*(payload(n, maybe=np.full((2,), n, ">f4")) for n in range(count)))

    assert [getattr(batch, name).dtype.str for name in ("image", "label", "weight", "good", "maybe")] == [
        "|u1", "<i8", "<f8", "|b1", "<f4",
    ]  # fmt: skip
    assert batch.name == [f"n{n}" for n in range(count)]
    assert batch.maybe.tolist() == [[n, n] for n in range(count)]


@pytest.mark.parametrize("count", [2, 200])
@pytest.mark.parametrize(
    ("field", "values", "is_array"),
    [
        ("image", [np.zeros(2), np.zeros(3)], False),
        ("image", [np.zeros(2), np.zeros(2, np.float32)], False),
        ("image", [np.zeros(2), None], False),
        ("image", [np.zeros(()), np.ones(())], True),
        ("image", [np.zeros((0, 2)), np.zeros((0, 2))], True),
        ("image", [np.zeros((2, 3), order="F"), np.ones((2, 3))], True),
        ("image", [[1, 2], [3]], False),
        ("image", [1, 2], False),
        ("label", [1, -(2**63)], True),
        ("label", [1, 2**63 - 1], True),
        ("label", [1, 2**63], False),
        ("label", [1, None], False),
        ("label", [1, True], False),
        ("label", [1, 1.5], False),
        ("weight", [1.5, 2], True),
        ("weight", [1.5, None], False),
        ("weight", [1.5, "x"], False),
        ("good", [True, False], True),
        ("good", [True, 1], False),
        ("name", ["a", "b"], False),
        ("name", [1, 2], False),
    ],
)
def test_what_does_not_fit_into_an_array_is_a_list(field: str, values: list[Any], is_array: bool, count: int) -> None:
    """Whatever the mixture, in one layout or several, no value is changed."""
    wanted = [values[number * 2 // count] for number in range(count)]

    column = one_batch(*(payload(n, **{field: value}) for n, value in enumerate(wanted)))[field]

    assert isinstance(column, np.ndarray) == is_array
    assert len(column) == count
    for found, value in zip(column, wanted, strict=True):
        assert np.array_equal(found, value)
        assert is_array or type(found) is type(value)


def test_a_batch_is_independent_of_the_others() -> None:
    """Each one has memory of its own."""
    store, paths = store_of(typed_tar([payload(n) for n in range(100)]))
    first, second, *_ = read_batches(store, paths, Sample, 10)

    first.image[:] = 99
    first.label[:] = -1

    assert second.label.tolist() == list(range(10, 20))
    assert second.image[:, 0, 0].tolist() == list(range(10, 20))


def test_how_a_batch_is_used() -> None:
    batch = one_batch(payload(1), payload(2))

    assert batch.fields == ("image", "label", "weight", "good", "name", "maybe")
    assert list(dict(batch)) == list(batch.fields)
    assert batch["label"] is batch.label
    assert [sample.label for sample in batch.samples()] == [1, 2]
    assert all(type(sample) is Sample and type(sample.label) is int for sample in batch.samples())
    assert repr(batch) == (
        "<Batch of 2 Sample: image=uint8[2, 2, 3], label=int64[2], weight=float64[2], good=bool[2], "
        "name=list, maybe=list>"
    )
    assert pickle.loads(pickle.dumps(batch)).label.tolist() == [1, 2]
    with pytest.raises(AttributeError, match="no field 'color'"):
        _ = batch.color
    with pytest.raises(KeyError):
        _ = batch["color"]


def test_a_batch_of_samples_that_are_there() -> None:
    samples = one_batch(payload(1), payload(2)).samples()

    batch = batch_of(Sample, samples)

    assert batch.label.tolist() == [1, 2]
    assert batch.image.shape == (2, 2, 3)


def test_members_as_columns() -> None:
    @dataclasses.dataclass
    class Photo:
        pixels: Annotated[NDArray[Any], Extension("npy")]
        label: Annotated[int, Extension("cls")]

    members = [((f"{n}.npy", npy(np.full(3, n))), (f"{n}.cls", b"%d" % n)) for n in range(5)]
    store, paths = store_of(make_tar(member for sample in members for member in sample))

    [batch] = read_batches(store, paths, Photo, 8)

    assert batch.pixels.tolist() == [[n] * 3 for n in range(5)]
    assert batch.label.dtype == np.int64


def test_wrong_arguments_are_refused_at_once() -> None:
    with pytest.raises(ValueError, match="at least one sample, not 0"):
        read_batches(*store_of(), Sample, 0)
    with pytest.raises(SchemaMismatchError, match="dict has none"):
        read_batches(*store_of(), dict, 4)


def test_a_bad_sample_comes_after_the_full_batches_before_it() -> None:
    store, paths = store_of(typed_tar([*(payload(n) for n in range(50)), b"\xc1"]))
    batches = read_batches(store, paths, Sample, 20)

    assert [len(next(batches)), len(next(batches))] == [20, 20]
    with pytest.raises(ShardError, match="'000050'"):
        next(batches)


@dataclasses.dataclass
class Document:
    tokens: NDArray[np.int32]
    label: int


@given(st.lists(st.lists(st.integers(1, 9), max_size=70), min_size=1, max_size=90), st.integers(1, 40))
def test_padding(documents: list[list[int]], size: int) -> None:
    """Arrays of unequal length become one array, filled up to the longest; ``lengths`` says which part is theirs."""
    payloads = [packed(tokens=np.array(one, np.int32), label=number) for number, one in enumerate(documents)]
    store, paths = store_of(typed_tar(payloads))

    seen = []
    for batch in read_batches(store, paths, Document, size, pad=-1):
        assert batch.tokens.dtype == np.int32
        assert batch.tokens.flags.c_contiguous
        assert batch.tokens.shape == (len(batch), batch.lengths["tokens"].max())
        for row, length in zip(batch.tokens, batch.lengths["tokens"], strict=True):
            assert (row[length:] == -1).all()
            seen.append(row[:length].tolist())

    assert seen == documents


def test_what_cannot_be_padded_stays_a_list() -> None:
    """Another dtype or number of axes."""
    payloads = [packed(tokens=np.zeros(3, np.int32), label=1), packed(tokens=np.zeros((2, 2), np.int32), label=1)]
    store, paths = store_of(typed_tar(payloads))

    [batch] = read_batches(store, paths, Document, 9, pad=0)

    assert isinstance(batch.tokens, list)
    assert batch.lengths == {}
