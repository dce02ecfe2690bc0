"""Arrays as bytes."""

import contextlib
import io
import struct
import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from atdata.data.npy import decode_array, encode_array
from atdata.errors import SchemaMismatchError, ShardError

UNUSUAL: dict[str, NDArray[Any]] = {
    "0-d": np.zeros((), "f4"),
    "empty": np.zeros((0, 3)),
    "empty, Fortran": np.zeros((3, 0), order="F"),
    "Fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "transposed": np.arange(24).reshape(2, 3, 4).T,
    "strided": np.arange(12).reshape(3, 4)[::2, ::2],
    "reversed": np.arange(10)[::-1],
    "broadcast": np.broadcast_to(np.arange(3), (4, 3)),
    "big-endian": np.arange(3, dtype=">i4"),
    "unicode": np.array(["a", "bé", "漢"]),
    "bytes": np.array([b"x", b"yz"]),
    "bool": np.array([True, False]),
    "complex": np.ones(3, "c16"),
    "half": np.ones(3, "f2"),
    "long double": np.ones(2, "g"),
    "void": np.zeros(2, "V5"),
    "datetime": np.array(["2020-01-01"], "M8[D]"),
    "datetime of 25 seconds": np.array(["2020"], "M8[25s]"),
    "timedelta": np.array([1], "m8[ns]"),
    "datetime without unit": np.zeros(3, "M8"),
    "structured": np.zeros(3, [("a", "i4"), ("b", "U3", (2,))]),
    "nested": np.zeros(2, [("a", [("b", "i4"), ("c", "u1", (2, 2))])]),
    "aligned": np.zeros(2, np.dtype([("a", "i1"), ("b", "f8")], align=True)),
    "titled": np.zeros(1, [(("title", "n"), "f4")]),
    "version 2": np.zeros(1, [(f"field{i:060}", "f4") for i in range(800)]),
    "version 3": np.zeros(2, [("漢", "i4")]),
    "32 axes": np.zeros((1,) * 32),
}


def saved(array: NDArray[Any]) -> bytes:
    out = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of numpy, about versions 2 and 3
        np.save(out, array, allow_pickle=False)
    return out.getvalue()


@pytest.mark.parametrize("name", UNUSUAL)
def test_the_bytes_are_those_of_numpy_save(name: str) -> None:
    """Byte for byte, and they come back as the same array."""
    array = UNUSUAL[name]
    data = b"".join(encode_array(array))

    assert data == saved(array)
    if name != "version 2":  # its header is beyond what is believed
        back = decode_array(data)
        assert back.dtype == array.dtype
        assert back.shape == array.shape
        np.testing.assert_array_equal(back, array)


@settings(max_examples=200, deadline=None)
@given(
    hnp.arrays(
        st.one_of(hnp.scalar_dtypes(), hnp.unicode_string_dtypes(), hnp.byte_string_dtypes()),
        hnp.array_shapes(min_dims=0, min_side=0),
        elements=None,
        fill=st.nothing(),
    ),
    st.booleans(),
)
def test_any_array_goes_there_and_back(array: NDArray[Any], fortran: bool) -> None:
    """For any dtype and shape the bytes are numpy's, and give the array again."""
    array = np.asfortranarray(array) if fortran else array
    data = b"".join(encode_array(array))

    assert data == saved(array)
    back = decode_array(data)
    assert (back.dtype, back.shape) == (array.dtype, array.shape)
    assert back.tobytes() == array.tobytes()


def test_an_array_is_a_view_on_the_buffer() -> None:
    """Nothing is copied: writing to the buffer changes the array."""
    data = bytearray(b"".join(encode_array(np.zeros(4, np.uint8))))
    array = decode_array(data)
    data[-1] = 7

    assert array[3] == 7
    assert array.flags.writeable
    assert not decode_array(bytes(data)).flags.writeable


def compact(dtype: str, shape: tuple[int, ...], data: bytes) -> bytes:
    return bytes((len(dtype),)) + dtype.encode() + bytes((len(shape),)) + struct.pack(f"<{len(shape)}q", *shape) + data


def test_the_compact_form_of_an_earlier_release_is_read() -> None:
    """u8 length, dtype, u8 axes, int64 each, C order."""
    array = decode_array(compact("|u1", (2, 2), bytes(range(4))))

    assert array.tolist() == [[0, 1], [2, 3]]
    assert decode_array(compact("<f8", (), struct.pack("<d", 1.5))) == 1.5


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return print, ("this ran",)


def test_object_arrays_are_refused_both_ways(capsys: pytest.CaptureFixture[str]) -> None:
    """A pickle is never written and never run."""
    out = io.BytesIO()
    np.save(out, np.array([Bomb()], dtype=object), allow_pickle=True)

    with pytest.raises(ShardError, match="a pickle is never run"):
        decode_array(out.getvalue())
    with pytest.raises(SchemaMismatchError, match="pickle is never written or run"):
        encode_array(np.array([Bomb()], dtype=object))
    with pytest.raises(SchemaMismatchError, match="pickle is never written or run"):
        encode_array(np.zeros(1, [("a", "i4"), ("b", "O")]))
    with pytest.raises(ShardError):
        decode_array(compact("|O", (1,), bytes(8)))
    assert capsys.readouterr().out == ""


def test_a_masked_array_is_refused() -> None:
    """It would come back without its mask."""
    with pytest.raises(SchemaMismatchError, match="mask"):
        encode_array(np.ma.masked_array([1, 2], [True, False]))


def npy(header: str, data: bytes = b"", version: int = 1) -> bytes:
    raw = header.encode("latin1")
    return b"\x93NUMPY" + bytes((version, 0)) + struct.pack("<H" if version == 1 else "<I", len(raw)) + raw + data


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x93NUMPY",
        b"\x93NUMPY\x01\x00\xff\xff",
        b"\x93NUMPY\x02\x00\xff\xff\xff\x3f" + bytes(100),
        b"\x93NUMPY\x09\x00\x10\x00" + bytes(100),
        npy("{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }", bytes(7)),
        npy("{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }", bytes(9)),
        npy("{'descr': '<f4', 'fortran_order': False, 'shape': (9999999999999,), }"),
        npy("{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }"),
        npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1e3,), }"),
        npy("{'descr': '<f4', 'fortran_order': 0, 'shape': (), }", bytes(4)),
        npy("{'descr': '<f4', 'fortran_order': False, 'shape': [1], }", bytes(4)),
        npy("{'descr': '<f4', 'fortran_order': False, 'shape': (0, 999999999999999999, 999999999999999999), }"),
        npy("{'descr': '<f4', 'fortran_order': False, 'shape': (), 'more': 1}", bytes(4)),
        npy("{'descr': '<U0', 'fortran_order': False, 'shape': (999999999999,), }"),
        npy("{'descr': 'os.system', 'fortran_order': False, 'shape': (), }"),
        npy("{'descr': 'f4,O', 'fortran_order': False, 'shape': (), }", bytes(12)),
        npy("{'descr': [('a', '<f4', (999999999, 999999999))], 'fortran_order': False, 'shape': (), }"),
        npy("{'descr': {'names': ['a'], 'formats': ['<f4']}, 'fortran_order': False, 'shape': (), }", bytes(4)),
        npy("__import__('os').getcwd()"),
        npy("[" * 5000),
        npy("-" * 60000),
        npy("(" * 150 + ")" * 150),
        npy("{'descr': " + "[('a', " * 30 + "'<f4'" + ")]" * 30 + ", 'fortran_order': False, 'shape': (), }"),
        compact("<f4", (3,), bytes(8)),
        compact("<f4", (-1,), b""),
        compact("<f4", (1 << 62, 1 << 62), b""),
        compact("zz9", (), b""),
        compact("<f4", (1,) * 65, bytes(4)),
        b"\x80\x04\x95",  # a pickle
        b"\xff" * 300,
    ],
)
def test_bytes_that_are_no_array_are_refused(data: bytes) -> None:
    """Nothing is evaluated or allocated on the word of a header."""
    with pytest.raises(ShardError):
        decode_array(data)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_damaged_arrays_never_crash(data: st.DataObject) -> None:
    """Any change of bytes gives an array or a ShardError."""
    name = data.draw(st.sampled_from(["0-d", "Fortran", "structured", "unicode", "titled", "datetime"]))
    raw = bytearray(saved(UNUSUAL[name]))
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    raw = raw[: data.draw(st.integers(0, len(raw)))] + data.draw(st.binary(max_size=8))
    try:
        array = decode_array(bytes(raw))
    except ShardError:
        return
    assert array.nbytes <= len(raw)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_random_bytes_never_crash(raw: bytes) -> None:
    """Bytes in the compact form's place give an array or a ShardError."""
    for data in (raw, b"\x93NUMPY\x01\x00" + raw):
        with contextlib.suppress(ShardError):
            assert decode_array(data).nbytes <= len(data)
