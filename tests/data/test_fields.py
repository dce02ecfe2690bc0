"""What a class says about its fields."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Literal, NewType, Optional, TypedDict

import numpy as np
import pytest
from numpy.typing import NDArray

from atdata.data.fields import Extension, Field, fields_of, is_multi_member, view_fields
from atdata.errors import SchemaMismatchError

if TYPE_CHECKING:
    import numpy.typing as npt

Label = NewType("Label", int)


class Box(TypedDict):
    left: int


@dataclass
class Everything:
    plain: NDArray  # type: ignore[type-arg] # bare, as people write it
    bare: np.ndarray
    typed: NDArray[np.float32]
    quoted: "NDArray[np.uint8]"  # noqa: UP037 - the spelling is what is tested
    optional: Optional[NDArray]  # type: ignore[type-arg] # noqa: UP045 - bare, as people write it
    either: NDArray | None  # type: ignore[type-arg] # bare, as people write it
    far: npt.NDArray[np.float32] | None
    abstract: NDArray[np.floating]
    text: NDArray[np.str_]
    number: int
    label: Label
    numpy_number: np.int16
    real: float | int
    name: str
    choice: Literal["a", "b"]
    flag: bool
    raw: bytes
    numbers: list[int]
    pair: tuple[float, float]
    mixed: list  # type: ignore[type-arg] # bare, as people write it
    scores: dict[str, float]
    box: Box
    anything: Any
    told: Annotated[str, "what it is"]


def test_each_annotation_has_its_kind() -> None:
    """Postponed, quoted, optional and numpy annotations all are understood."""
    found = {field.name: field for field in fields_of(Everything)}

    assert {name: field.kind for name, field in found.items()} == {
        **dict.fromkeys(
            ("plain", "bare", "typed", "quoted", "optional", "either", "far", "abstract", "text"), "ndarray"
        ),
        **dict.fromkeys(("number", "label", "numpy_number"), "integer"),
        "real": "float",
        **dict.fromkeys(("name", "choice", "told"), "string"),
        "flag": "boolean",
        "raw": "bytes",
        **dict.fromkeys(("numbers", "pair", "mixed"), "list"),
        **dict.fromkeys(("scores", "box"), "map"),
        "anything": "any",
    }
    assert {name for name, field in found.items() if field.optional} == {"optional", "either", "far", "anything"}
    assert {name: field.dtype for name, field in found.items() if field.dtype} == {"typed": "<f4", "quoted": "|u1"}
    assert (found["numbers"].items, found["pair"].items, found["scores"].items) == ("integer", "float", "float")
    assert found["mixed"].items is None
    assert found["told"].description == "what it is"


def test_fields_come_in_declared_order_inherited_ones_first() -> None:
    """The order is that of the msgpack map, and frozen by it."""

    @dataclass
    class Child(Everything):
        last: int = field(default=0, metadata={"description": "the last one"})

    assert [f.name for f in fields_of(Child)] == [*(f.name for f in fields_of(Everything)), "last"]
    assert fields_of(Child)[-1] == Field("last", "integer", description="the last one")


def test_extensions_make_members() -> None:
    """A class whose fields have extensions is written as ordinary WebDataset members."""

    @dataclass
    class Picture:
        image: Annotated[NDArray[np.uint8], Extension("jpg", "jpeg")]
        label: Annotated[int, Extension("cls")]

    image, label = fields_of(Picture)

    assert is_multi_member(Picture)
    assert not is_multi_member(Everything)
    assert (image.kind, image.extension, image.extensions) == ("ndarray", "jpg;jpeg", ("jpg", "jpeg"))
    assert (label.kind, label.extension) == ("integer", "cls")


@pytest.mark.parametrize("name", ["", ".jpg", "JPG", "a/b", "__key__", "a b", "a;b", "é", "jpg."])
def test_an_extension_that_webdataset_would_change_is_refused(name: str) -> None:
    """webdataset reads extensions in lower case, from the first dot on."""
    with pytest.raises(SchemaMismatchError):
        Extension(name)


class NotADataclass:
    a: int


@dataclass
class Empty:
    pass


@dataclass
class WithSet:
    a: set[int]


@dataclass
class WithComplex:
    a: complex


@dataclass
class WithObjects:
    a: NDArray[np.object_]


@dataclass
class Half:
    a: Annotated[int, Extension("cls")]
    b: int


@dataclass
class Twice:
    a: Annotated[int, Extension("cls")]
    b: Annotated[int, Extension("id", "cls")]


@pytest.mark.parametrize(
    ("cls", "message"),
    [
        (NotADataclass, "NotADataclass is not a sample type"),
        (Empty, "Empty has no fields"),
        (WithSet, "WithSet.a: a set has no order"),
        (WithComplex, "WithComplex.a: a shard cannot hold a complex"),
        (WithObjects, "WithObjects.a: an array of objects is a pickle"),
        (Half, "Half.b has no Extension"),
        (Twice, "Twice.b and .a both are the member .cls"),
    ],
)
def test_a_type_that_no_shard_can_hold_is_refused_by_name(cls: type, message: str) -> None:
    """The error names the class, the field and the reason."""
    with pytest.raises(SchemaMismatchError, match=message):
        fields_of(cls)


def test_fields_that_take_views() -> None:
    """Those annotated as memoryview, in whichever way, and no others."""

    @dataclass
    class Photo:
        a: Annotated[memoryview, Extension("a")]
        b: Annotated[memoryview | None, Extension("b")]
        c: Annotated[bytes, Extension("c")]
        d: Annotated[bytes | memoryview, Extension("d")]

    assert view_fields(Photo) == {"a", "b"}
