"""Fields out of samples: what is said holds for all of them."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import atdata
from atdata.data.fields import Field, fields_of
from atdata.data.infer import infer_fields
from atdata.data.reader import read_records, read_samples
from atdata.data.schema import build_type, check_fits
from atdata.errors import ShardError
from atdata.storage.file import FileStore


@dataclass
class Sample:
    """One of everything."""

    image: np.ndarray
    label: int
    weight: float
    name: str
    flag: bool
    raw: bytes
    tags: list[str]


def inferred(path: Path, samples: Iterable[Any]) -> tuple[Field, ...] | None:
    """The fields of samples that were written into a shard."""
    (written,) = atdata.write_samples(samples, str(path / "s-%06d.tar"))
    return infer_fields(read_records(FileStore(), [str(written.path)]))


def test_each_kind_is_found(tmp_path: Path) -> None:
    """Kinds, dtype, items; a length that differs is -1."""
    samples = (Sample(np.zeros((4, 3 + i), "<f4"), i, i / 2, str(i), i > 0, b"\x00", ["a"]) for i in range(3))

    assert inferred(tmp_path, samples) == (
        Field("image", "ndarray", dtype="<f4", shape=(4, -1)),
        Field("label", "integer"),
        Field("weight", "float"),
        Field("name", "string"),
        Field("flag", "boolean"),
        Field("raw", "bytes"),
        Field("tags", "list", items="string"),
    )


def test_samples_read_back_by_the_type_that_they_gave(tmp_path: Path) -> None:
    """The class built of the fields reads every sample, and the class that wrote them fits the fields."""
    (written,) = atdata.write_samples(
        (Sample(np.full(2, i, np.uint8), i, 0.5, "x", True, b"y", []) for i in range(5)), str(tmp_path / "s-%06d.tar")
    )
    fields = infer_fields(read_records(FileStore(), [str(written.path)]))

    assert fields is not None
    check_fits(Sample, fields)
    built = build_type("Built", fields)
    again: list[Any] = list(read_samples(FileStore(), [str(written.path)], built))
    assert [sample.label for sample in again] == [0, 1, 2, 3, 4]
    assert fields_of(built)[0].kind == "ndarray"


def packed(value: Any) -> tuple[str, dict[str, memoryview]]:
    """A sample of one ``.msgpack`` member with one field."""
    import msgspec

    return "key", {"msgpack": memoryview(msgspec.msgpack.encode(value))}


def test_what_differs_is_left_open() -> None:
    """None makes a field optional, as does its absence; kinds that do not agree say nothing."""
    records = [packed({"a": 1, "b": None, "c": 1}), packed({"a": 1.5, "b": 2, "c": "x", "d": True})]

    assert infer_fields(records) == (
        Field("a", "float"),
        Field("b", "integer", optional=True),
        Field("c", "any"),
        Field("d", "boolean", optional=True),
    )


def test_members_are_fields_by_their_extension() -> None:
    """A picture is known without decoding it; a name is made of the extension."""
    members = {"jpg": memoryview(b"no picture"), "cls": memoryview(b"3"), "seg.png": memoryview(b"")}

    assert infer_fields([("a", members), ("b", {"jpg": memoryview(b"")})]) == (
        Field("jpg", "ndarray", extension="jpg"),
        Field("cls", "integer", extension="cls", optional=True),
        Field("seg_png", "ndarray", extension="seg.png", optional=True),
    )


def test_a_sample_that_does_not_decode_is_named() -> None:
    """Whoever has a million samples wants to know which one is damaged."""
    damaged = ("'b' of train.tar", {"msgpack": memoryview(b"\xc1")})

    with pytest.raises(ShardError, match=r"sample 'b' of train\.tar: a \.msgpack member does not decode"):
        infer_fields([packed({"a": 1}), damaged])


def test_nothing_is_said_of_what_no_class_can_be() -> None:
    """Mixed forms, names that are no identifiers, too many fields, and no samples at all."""
    plain = ("a", {"txt": memoryview(b"x")})

    assert infer_fields([]) is None
    assert infer_fields([packed({"a": 1}), plain]) is None
    assert infer_fields([packed({"class": 1})]) is None
    assert infer_fields([packed({"two words": 1})]) is None
    assert infer_fields([packed({f"f{i}": i for i in range(1001)})]) is None
    assert infer_fields([packed({})]) is None


@given(st.lists(st.dictionaries(st.sampled_from("abc"), st.none() | st.integers(0, 9) | st.text() | st.floats())))
def test_every_sample_fits_the_fields(rows: list[dict[str, Any]]) -> None:
    """A field is optional where a sample lacks it, and has a kind only where all agree."""
    fields = infer_fields(packed(row) for row in rows) or ()

    for row in rows:
        for field in fields:
            assert field.optional or row.get(field.name) is not None
            assert field.kind != "string" or isinstance(row.get(field.name), str | None)
    assert not fields or {field.name for field in fields} == {name for row in rows for name in row}
