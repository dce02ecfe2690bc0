"""One sample as bytes and back."""

import datetime
import enum
import json
import struct
import tarfile
import uuid
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from tests.data import decoder

from atdata.data.codec import decode_member, decode_msgpack, encode_member, encode_members, encode_msgpack
from atdata.data.fields import Extension, Field, fields_of
from atdata.data.npy import decode_array
from atdata.errors import LimitError, SchemaMismatchError, ShardError

FIXTURES = Path(__file__).parents[1] / "fixtures"


@dataclass
class Example:
    label: int
    image: NDArray[Any]


EXAMPLE = Example(7, np.array([[0, 1], [2, 3]], np.uint8))


def packed(sample: object, fields: tuple[Field, ...] = ()) -> bytes:
    return b"".join(encode_msgpack(sample, fields))


def test_a_sample_is_the_bytes_that_every_release_reads() -> None:
    """148 bytes, as earlier releases wrote them."""
    header = b"\x93NUMPY\x01\x00\x76\x00{'descr': '|u1', 'fortran_order': False, 'shape': (2, 2), }" + b" " * 58 + b"\n"
    expected = b"\x82\xa5label\x07\xa5image\xc4\x84" + header + bytes(range(4))

    assert packed(EXAMPLE, fields_of(Example)) == expected
    assert len(expected) == 148


@pytest.mark.parametrize("release", ["v013", "v020"])
@pytest.mark.parametrize("name", ["basic", "arr", "nested", "dtypes", "shapes"])
def test_what_earlier_releases_wrote_comes_out_the_same(release: str, name: str) -> None:
    """Decoded and encoded again, each sample of the fixtures has its old bytes."""
    count = 0
    with tarfile.open(FIXTURES / release / f"{name}.tar") as tar:
        for info in tar:
            data = tar.extractfile(info).read()  # type: ignore[union-attr] # a file
            values = decode_msgpack(data)
            arrays = {k: decode_array(v) for k, v in values.items() if type(v) is bytes and v[:6] == b"\x93NUMPY"}
            assert packed(values | arrays) == data
            count += 1

    assert count == json.loads((FIXTURES / release / "meta.json").read_text())["files"][name]["n"]


# The right-hand sides are what ormsgpack 1.x gave for the same values.
@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (127, "7f"),
        (128, "cc80"),
        (256, "cd0100"),
        (1 << 16, "ce00010000"),
        (1 << 32, "cf0000000100000000"),
        ((1 << 64) - 1, "cfffffffffffffffff"),
        (-1, "ff"),
        (-32, "e0"),
        (-33, "d0df"),
        (-129, "d1ff7f"),
        (-(1 << 15) - 1, "d2ffff7fff"),
        (-(1 << 63), "d38000000000000000"),
        (1.0, "cb3ff0000000000000"),
        (float("nan"), "cb7ff8000000000000"),
        (True, "c3"),
        (None, "c0"),
        ("é", "a2c3a9"),
        ("a" * 32, "d920" + "61" * 32),
        (b"", "c400"),
        (b"\0" * 256, "c50100" + "00" * 256),
        ((1, 2), "920102"),
        ([], "90"),
        ({"a": (None,)}, "81a16191c0"),
        ([0] * 16, "dc0010" + "00" * 16),
        ({1: 2}, "810102"),
        (bytearray(b"a"), "c40161"),
        (memoryview(b"a"), "c40161"),
        (np.float32(1), "cb3ff0000000000000"),
        (np.uint8(7), "07"),
        (np.bool_(True), "c3"),
        (np.str_("a"), "a161"),
        ([np.int64(-1)], "91ff"),
        (enum.Enum("E", {"A": 5}).A, "05"),  # type: ignore[attr-defined] # made here
        (uuid.UUID(int=5), "d924" + b"00000000-0000-0000-0000-000000000005".hex()),
        (datetime.date(2020, 1, 1), "aa" + b"2020-01-01".hex()),
        (datetime.datetime(2020, 1, 2, tzinfo=datetime.UTC), "b9" + b"2020-01-02T00:00:00+00:00".hex()),
        (EXAMPLE.__class__(1, None), "82a56c6162656c01a5696d616765c0"),  # type: ignore[arg-type] # an empty field
    ],
)
def test_values_take_the_form_of_earlier_releases(value: object, expected: str) -> None:
    """Shortest integers, float64 always, tuples as lists, numpy scalars as Python's."""
    assert packed({"x": value}).hex() == "81a178" + expected


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 63), (1 << 64) - 1) | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=17) | st.dictionaries(st.text(max_size=5), inner, max_size=5),
    max_leaves=20,
)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.text(max_size=40), _VALUES, max_size=17))
def test_any_plain_sample_goes_there_and_back(sample: dict[str, Any]) -> None:
    """Both by our decoder and by the independent one."""
    data = packed(sample)

    assert repr(decode_msgpack(data)) == repr(sample)
    assert repr(decoder.msgpack(data)) == repr(sample)


def test_fields_lead_and_other_attributes_follow() -> None:
    """A mapping is packed whole, in the order of the fields; an instance only by its fields."""
    sample = Example(1, np.zeros(0))
    sample.extra = "x"  # type: ignore[attr-defined] # as users do

    assert list(decode_msgpack(packed(dict(reversed(vars(sample).items())), fields_of(Example)))) == [
        "label",
        "image",
        "extra",
    ]
    assert list(decode_msgpack(packed(sample, fields_of(Example)))) == ["label", "image"]


def test_array_fields_come_back_as_arrays() -> None:
    """By the fields; without them arrays are the bytes that they are."""
    data = packed(EXAMPLE, fields_of(Example))

    assert decode_msgpack(data, fields_of(Example))["image"].tolist() == [[0, 1], [2, 3]]
    assert type(decode_msgpack(data)["image"]) is bytes


def nested(value: Any, depth: int) -> Any:
    for _ in range(depth):
        value = [value]
    return value


LOOP: list[Any] = []
LOOP.append(LOOP)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({1, 2}, "a set has no order"),
        (1 << 64, "an integer beyond 64 bits"),
        (-(1 << 63) - 1, "an integer beyond 64 bits"),
        ("\ud800", "lone surrogate"),
        (1j, "a builtins.complex has no place"),
        (object(), "has no place"),
        ([np.zeros(2)], "an array inside of a list"),
        ({(1, 2): 3}, "keys are text"),
        (np.array([object()]), "pickle is never written or run"),
        (np.datetime64("2020"), "has no place"),
        (nested(1, 1000), "nested more than"),
        (LOOP, "contains itself"),
    ],
)
def test_what_has_no_form_is_refused_with_its_field(value: object, message: str) -> None:
    """The error names the field and says what to do."""
    with pytest.raises(SchemaMismatchError, match=rf"field 'x': .*{message}"):
        encode_msgpack({"x": value}, ())


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x81",
        b"\xc1",
        b"\x01",
        b"\x90",
        b"\x81\x01\x02",
        b"\x80\x80",
        b"\x81\xa1\xff\x01",
        b"\xdf\xff\xff\xff\xff",
        b"\x81\xa1x\xdd\xff\xff\xff\xff",
        b"\x81\xa1x\xc6\xff\xff\xff\xff",
        b"\x81\xa1x" + b"\x91" * 100_000 + b"\xc0",
        b"\x81\xa1x" * 100_000 + b"\xc0",
    ],
)
def test_bytes_that_are_no_sample_are_refused(data: bytes) -> None:
    """Cut, damaged, huge on their own word, or nested 100,000 deep."""
    with pytest.raises(ShardError):
        decode_msgpack(data)


def test_an_array_that_does_not_decode_is_named() -> None:
    """The error names the field."""
    with pytest.raises(ShardError, match="field 'image'"):
        decode_msgpack(packed({"label": 1, "image": b"\x80\x04"}), fields_of(Example))


@dataclass
class Picture:
    image: Annotated[NDArray[np.uint8], Extension("png")]
    label: Annotated[int, Extension("cls")]
    caption: Annotated[str | None, Extension("txt")] = None


PIXELS = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)


@pytest.mark.parametrize(
    ("extension", "value", "data"),
    [
        ("cls", 3, b"3"),
        ("cls", np.int64(-3), b"-3"),
        ("txt", "é", b"\xc3\xa9"),
        ("json", {"b": [1, 2.5, None], "a": "é"}, '{"b":[1,2.5,null],"a":"é"}'.encode()),
        ("msgpack", {"a": 1}, b"\x81\xa1a\x01"),
        ("bin", b"\0", b"\0"),
        ("seg.cls", 3, b"3"),
    ],
)
def test_members_take_the_form_of_their_extension(extension: str, value: object, data: bytes) -> None:
    """And come back from it."""
    assert b"".join(encode_member(extension, value)) == data
    assert decode_member(extension, data) == value
    assert decode_member(extension, memoryview(data)) == value


json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(st.characters())),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=3)),
    max_leaves=8,
)


@given(json_values, st.booleans(), st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]))
def test_json_is_what_the_standard_library_reads(value: Any, ascii_only: bool, encoding: str) -> None:
    """Integers of any length, NaN, lone surrogates, byte order marks included."""
    data = json.dumps(value, ensure_ascii=ascii_only).encode(encoding, "surrogatepass")

    assert repr(decode_member("json", memoryview(data))) == repr(json.loads(data))


def test_a_sample_of_members() -> None:
    """One for each field that is not None; pictures without loss as PNG; bytes as they are."""
    members = {extension: b"".join(data) for extension, data in encode_members(Picture(PIXELS, 3), fields_of(Picture))}

    assert list(members) == ["png", "cls"]
    np.testing.assert_array_equal(decode_member("png", members["png"]), PIXELS)
    assert encode_members({"__key__": "a", "png": members["png"]}, ()) == [("png", [members["png"]])]


def test_the_field_has_its_say_when_members_are_decoded() -> None:
    """Bytes stay bytes; numbers kept as text, and text kept as numbers, become what the field says."""
    assert decode_member("jpg", b"\xff\xd8", Field("image", "bytes", extension="jpg")) == b"\xff\xd8"
    assert decode_member("txt", b" 12\n", Field("n", "integer", extension="txt")) == 12
    assert decode_member("txt", b"1.5", Field("n", "float", extension="txt")) == 1.5
    assert decode_member("cls", b"7", Field("n", "string", extension="cls")) == "7"


@pytest.mark.parametrize("extension", ["pyd", "pkl", "pickle", "pth", "unknown"])
def test_pickles_stay_bytes(extension: str) -> None:
    """What webdataset would unpickle is not looked at."""
    data = b"cos\nsystem\n(S'true'\ntR."

    assert decode_member(extension, data) == data


@pytest.mark.parametrize(
    ("extension", "value"),
    [
        ("cls", "3"),
        ("cls", True),
        ("txt", b"".join),
        ("json", float("nan")),
        ("json", {1: 2}),
        ("json", b"".join),
        ("json", [b"a"]),
        ("jpg", "x"),
        ("png", np.zeros((2, 2, 2), np.uint8)),
        ("png", np.zeros((2, 2))),
        ("npy", [1]),
        ("bin", 3),
        ("pkl", {"a": 1}),
        ("npy", np.array([None])),
    ],
)
def test_what_an_extension_cannot_hold_is_refused(extension: str, value: object) -> None:
    """Nothing is written that would come back as something else."""
    with pytest.raises(SchemaMismatchError, match=f"field '{extension}': "):
        encode_members({extension: value}, ())


@pytest.mark.parametrize(
    ("extension", "data"),
    [
        ("cls", b"x"),
        ("cls", b"9" * 100_000),
        ("txt", b"\xff"),
        ("json", b"{"),
        ("json", b"[" * 100_000),
        ("json", b'{"a":' * 100_000),
        ("json", b"9" * 100_000),
        ("msgpack", b"\x91" * 100_000),
        ("npy", b"\x80\x04"),
        ("jpg", b""),
        ("jpg", b"\xff\xd8\xff"),
        ("png", b"\x89PNG\r\n\x1a\n"),
        ("png", b"GIF89a"),
    ],
)
def test_members_that_do_not_decode_are_refused(extension: str, data: bytes) -> None:
    """By one kind of error, whatever lies beneath; nesting of 100,000 included."""
    with pytest.raises(ShardError):
        decode_member(extension, data)


def png_of(width: int, height: int) -> bytes:
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = b"IDAT" + zlib.compress(bytes(100))
    chunks = [
        struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) for chunk in (header, data)
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_forged_picture_takes_no_memory() -> None:
    """The pixels are counted before they are decoded."""
    jpeg = b"".join(encode_member("jpg", np.zeros((16, 16, 3), np.uint8)))
    at = jpeg.index(b"\xff\xc0") + 5
    forged = jpeg[:at] + (20000).to_bytes(2, "big") * 2 + jpeg[at + 4 :]

    with pytest.raises(LimitError, match="20,000 x 20,000"):
        decode_member("jpg", forged)
    with pytest.raises(LimitError):
        decode_member("png", png_of(100_000, 100_000))


def test_pictures_have_known_shapes() -> None:
    """A JPEG always is RGB; a PNG is what it is."""
    grey = PIXELS[:, :, 0]
    alpha = np.zeros((4, 4, 4), np.uint8)

    assert decode_member("jpg", b"".join(encode_member("jpg", grey))).shape == (4, 4, 3)
    assert decode_member("jpeg", b"".join(encode_member("jpeg", PIXELS))).shape == (4, 4, 3)
    for pixels in (grey, alpha, PIXELS):
        np.testing.assert_array_equal(decode_member("png", b"".join(encode_member("png", pixels))), pixels)
