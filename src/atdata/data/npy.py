"""Arrays as bytes: the ``.npy`` format, and the compact form that atdata 0.7 wrote.

Writing gives the very bytes of `numpy.save`, without its file objects: a header, kept per dtype, shape and order, and
the data. Reading gives a view on the buffer. A header comes from strangers: it is parsed strictly, nothing is
evaluated, sizes are compared before memory is taken, and object arrays are refused in both directions, since they are
pickles and a pickle is a program.

Sources: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html (versions 1.0, 2.0, 3.0); the compact
form is told in ``docs/format.md``.
"""

import ast
import functools
import math
import re
import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from atdata.errors import SchemaMismatchError, ShardError

MAGIC = b"\x93NUMPY"
_ALIGN = 64  # bytes; numpy.lib.format.ARRAY_ALIGN
_GROWTH_DIGITS = 21  # numpy.lib.format.GROWTH_AXIS_MAX_DIGITS: room for the first axis to grow in place
_MAX_HEADER = 1 << 16  # bytes; numpy.load stops at 10,000 by default. A structured dtype of 1,000 fields takes 30,000
_MAX_NDIM = 64  # numpy 2; numpy 1 stops at 32 by itself
_MAX_NESTING = 16  # of structured dtypes

_VERSIONS = ((b"\x01\x00", "latin1", "<H"), (b"\x02\x00", "latin1", "<I"), (b"\x03\x00", "utf-8", "<I"))
_COMMON = re.compile(
    r"\{'descr': '([^']{1,64})', 'fortran_order': (True|False), 'shape': \(((?:\d{1,19}, ?)*(?:\d{1,19})?)\), \} *\n?"
)
_DTYPE = re.compile(r"[<>|=]?(?:[biufcSUV]\d{1,10}|\?|[mM]8(?:\[\d{0,9}[a-zA-Zμ]{1,7}(?:/\d{1,9})?\])?)")


def encode_array(array: NDArray[Any]) -> list[bytes | memoryview]:
    """The bytes that `numpy.save` would write, in pieces: the header, then the data.

    An array in C or Fortran order is not copied: its piece is a view, so write it out before the array changes. Any
    other is copied into C order.

    Raises:
        SchemaMismatchError: The array holds Python objects, or something else that ``.npy`` cannot hold.
    """
    if type(array) is not np.ndarray:
        if np.ma.isMaskedArray(array):
            raise SchemaMismatchError("a masked array would lose its mask: fill it first, or use two fields")
        array = np.asarray(array)
    flags = array.flags
    fortran = flags.f_contiguous and not flags.c_contiguous
    header = _header(array.dtype, array.shape, fortran)
    if not array.nbytes:
        return [header]
    if fortran:
        array = array.T
    elif not flags.c_contiguous:
        array = np.ascontiguousarray(array)
    return [header, array.reshape(-1).view(np.uint8).data]


@functools.lru_cache(maxsize=4096)
def _header(dtype: np.dtype[Any], shape: tuple[int, ...], fortran: bool) -> bytes:
    text = f"{{'descr': {_descr(dtype)!r}, 'fortran_order': {fortran!r}, 'shape': {shape!r}, }}"
    if shape:
        text += " " * (_GROWTH_DIGITS - len(repr(shape[-1 if fortran else 0])))
    for version, encoding, length in _VERSIONS:
        try:
            encoded = text.encode(encoding)
            start = len(MAGIC) + 2 + struct.calcsize(length)
            # At least the newline, and a whole line more where it fits exactly: as numpy does.
            padding = _ALIGN - (start + len(encoded) + 1) % _ALIGN
            return MAGIC + version + struct.pack(length, len(encoded) + padding + 1) + encoded + b" " * padding + b"\n"
        except (UnicodeEncodeError, struct.error):
            continue
    raise SchemaMismatchError(f"the header of dtype {dtype} is longer than .npy allows")


def _descr(dtype: np.dtype[Any]) -> Any:
    if dtype.hasobject:
        raise SchemaMismatchError(
            f"an array of dtype {dtype} holds Python objects: numpy would pickle it, and pickle is never written or "
            "run; use a numeric or a string dtype"
        )
    descr: Any = dtype.descr if dtype.names is not None else dtype.str
    if dtype.itemsize == 0:
        raise SchemaMismatchError(f"an array of dtype {dtype} has items of no bytes")
    try:
        back = np.lib.format.descr_to_dtype(descr)
    except (TypeError, ValueError) as error:
        raise SchemaMismatchError(f".npy cannot hold dtype {dtype}: {error}") from error
    if back != dtype:
        raise SchemaMismatchError(f".npy cannot hold dtype {dtype}, it would come back as {back}: view it as integers")
    return descr


def decode_array(buffer: bytes | bytearray | memoryview) -> NDArray[Any]:
    """Read an array as a view on ``buffer``: read-only when the buffer is, alive as long as the array is.

    Takes ``.npy`` files of version 1.0, 2.0 and 3.0, and the compact form of atdata 0.7.

    Raises:
        ShardError: The bytes are no array, hold Python objects, or are more or fewer than the header says.
    """
    view = memoryview(buffer)
    if view.format != "B" or view.ndim != 1:
        view = view.cast("B")
    start = _npy_start(view) if view[:6] == MAGIC else _compact_start(view)
    dtype, shape, fortran, size = array_header(bytes(view[:start]))
    if size != len(view) - start:
        raise ShardError(
            f"an array of dtype {dtype} and shape {shape} has {size:,} bytes, here are {len(view) - start:,}"
        )
    try:
        return np.ndarray(shape, dtype, view, start, order="F" if fortran else "C") if size else np.empty(shape, dtype)
    except (ValueError, TypeError, MemoryError, OverflowError) as error:
        raise ShardError(f"an array of dtype {dtype} and shape {shape} is not possible: {error}") from error


def _npy_start(view: memoryview) -> int:
    """Where the data of a ``.npy`` file begin."""
    if len(view) < 12:
        raise ShardError("an array's .npy header is cut short")
    if view[6] == 1:
        start = 10 + (view[8] | view[9] << 8)
    elif view[6] in (2, 3):
        start = 12 + int.from_bytes(view[8:12], "little")
    else:
        raise ShardError(f"an array has .npy version {view[6]}.{view[7]}; known are 1.0, 2.0 and 3.0")
    if start > len(view) or start > _MAX_HEADER:
        raise ShardError(f"an array's .npy header says that it has {start:,} bytes, which it cannot have")
    return start


def _compact_start(view: memoryview) -> int:
    """Where the data of the compact form begin: u8 length, dtype, u8 ndim, ndim times int64."""
    if len(view) < 2 or not 2 <= view[0] <= 64 or len(view) < view[0] + 2:
        raise ShardError("an array's bytes are neither .npy nor the compact form of atdata 0.7; pickles are never run")
    start = view[0] + 2 + 8 * view[view[0] + 1]
    if start > len(view):
        raise ShardError("an array's compact header is cut short")
    return start


@functools.lru_cache(maxsize=4096)
def array_header(header: bytes) -> tuple[np.dtype[Any], tuple[int, ...], bool, int]:
    """``(dtype, shape, Fortran order, bytes of the data)`` of a header, which is all that comes before the data.

    Raises:
        ShardError: It is not readable, or of an array that cannot be.
    """
    descr, fortran, shape = _parse_npy(header) if header[:6] == MAGIC else _parse_compact(header)
    if len(shape) > _MAX_NDIM:
        raise ShardError(f"an array has {len(shape)} axes, at most {_MAX_NDIM} are possible")
    dtype = _dtype(descr)
    return dtype, shape, fortran, dtype.itemsize * math.prod(shape)


def _parse_npy(header: bytes) -> tuple[Any, bool, tuple[int, ...]]:
    try:
        text = header[10 if header[6] == 1 else 12 :].decode("utf-8" if header[6] == 3 else "latin1")
        if match := _COMMON.fullmatch(text):
            descr, fortran, axes = match.groups()
            return descr, fortran == "True", tuple(int(axis) for axis in axes.split(",") if axis.strip())
        value = ast.literal_eval(text)  # literals only: no names, no calls
        descr, order, shape = value["descr"], value["fortran_order"], value["shape"]
    except (ValueError, SyntaxError, TypeError, KeyError, RecursionError, MemoryError) as error:
        raise ShardError("an array's .npy header is not readable") from error
    if len(value) != 3 or type(order) is not bool or type(shape) is not tuple:
        raise ShardError("an array's .npy header is not readable")
    if not all(type(axis) is int and 0 <= axis < 1 << 63 for axis in shape):
        raise ShardError(f"an array's .npy header has the shape {str(shape)[:80]}")
    return descr, order, shape


def _parse_compact(header: bytes) -> tuple[str, bool, tuple[int, ...]]:
    length = header[0]
    shape = struct.unpack_from(f"<{header[length + 1]}q", header, length + 2)
    if any(axis < 0 for axis in shape):
        raise ShardError(f"an array's compact header has the shape {shape}")
    return header[1 : length + 1].decode("latin1"), False, shape


def _dtype(descr: Any) -> np.dtype[Any]:
    _check_descr(descr, 0)
    try:
        dtype = np.lib.format.descr_to_dtype(descr)
    except (ValueError, TypeError, KeyError, IndexError, RecursionError, MemoryError, OverflowError) as error:
        raise ShardError(f"an array's dtype {str(descr)[:80]!r} is not known") from error
    if dtype.hasobject or dtype.itemsize == 0:
        raise ShardError(f"an array's dtype {str(descr)[:80]!r} has no fixed bytes")
    return dtype


def _check_descr(descr: Any, depth: int) -> None:
    """Let nothing reach numpy but type strings, lists of fields, and sub-arrays of them."""
    if isinstance(descr, str):
        if _DTYPE.fullmatch(descr):
            return
        if "O" in descr:
            raise ShardError("an array holds Python objects: that is a pickle, and a pickle is never run")
    elif depth < _MAX_NESTING:
        if isinstance(descr, tuple) and len(descr) == 2 and _is_shape(descr[1]):
            return _check_descr(descr[0], depth + 1)
        if isinstance(descr, list) and descr:
            for field in descr:
                if not isinstance(field, tuple) or len(field) not in (2, 3) or not _is_name(field[0]):
                    break
                if len(field) == 3 and not _is_shape(field[2]):
                    break
                _check_descr(field[1], depth + 1)
            else:
                return None
    raise ShardError(f"an array's dtype {str(descr)[:80]!r} is not known")


def _is_shape(value: Any) -> bool:
    return isinstance(value, tuple) and all(type(axis) is int and 0 <= axis < 1 << 31 for axis in value)


def _is_name(value: Any) -> bool:
    """A name, or a title and a name."""
    if isinstance(value, tuple):
        return len(value) == 2 and all(isinstance(part, str) for part in value)
    return isinstance(value, str)
