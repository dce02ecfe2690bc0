"""Samples of equal layout as columns: their fields read for all of them at once.

Samples of one type mostly differ in values alone: the map, its keys and the headers of its arrays stand at the same
places with the same bytes. A `Layout` is learnt from one sample: which bytes are fixed, and where the values lie. Where
the fixed bytes agree, an array field of all samples is one strided view of the block, and numbers are one array. What
fits no layout is decoded one by one (`atdata.data.reader`), with the same values.

Source: https://github.com/msgpack/msgpack/blob/master/spec.md.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from atdata.data.fields import Field
from atdata.data.npy import decode_array
from atdata.data.tar import BLOCK
from atdata.errors import ShardError

Column: TypeAlias = NDArray[Any] | list[Any]
"""A field of ``n`` samples: numbers, shape ``(n,)``; arrays, shape ``(n, *shape)``; or a list of anything."""

_NUMBERS = {
    code: np.dtype(name)
    for codes, names in ((range(0xCA, 0xCC), ">f4 >f8"), (range(0xCC, 0xD4), ">u1 >u2 >u4 >u8 >i1 >i2 >i4 >i8"))
    for code, name in zip(codes, names.split(), strict=True)
}
_LENGTHS = {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xD9: 1, 0xDA: 2, 0xDB: 4}  # bytes of the length of bin and str


def rows_of(column: Column) -> list[Any]:
    """The values one by one: Python's numbers, arrays that are views on the column."""
    if isinstance(column, list):
        return column
    return column.tolist() if column.ndim == 1 else list(column)


@dataclass(frozen=True, slots=True)
class _Spot:
    """Where the value of a field lies in each sample.

    Attributes:
        form: ``array``, ``number``, ``small`` (an integer within its type byte), ``boolean``, ``none``, ``text`` or
            ``bytes``.
        offset: First byte, from the start of the sample.
        length: Number of bytes.
        dtype: Of an array or number.
        shape: Of an array.
        fortran: The array is in Fortran order.
    """

    form: str
    offset: int
    length: int
    dtype: np.dtype[Any] = np.dtype(np.uint8)  # noqa: RUF009  # a dtype does not change
    shape: tuple[int, ...] = ()
    fortran: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """The form of a ``.msgpack`` member.

    Attributes:
        size: Its bytes.
        fixed: What is the same in all: offset and bytes of each run.
        spots: Where the values lie, in the order of the fields.
    """

    size: int
    fixed: tuple[tuple[int, NDArray[np.uint8]], ...]
    spots: tuple[_Spot, ...]

    @classmethod
    def learn(cls, payload: memoryview, fields: Sequence[Field]) -> Self | None:
        """The layout of one sample, or None: it has not exactly these fields, or lists, maps or arrays without axes."""
        try:
            spots = _spots(payload, fields)
        except (IndexError, UnicodeDecodeError, ShardError):  # damaged: decoding it alone will say how
            return None
        if spots is None:
            return None
        fixed = []
        begin = 0
        for spot in sorted(spots, key=lambda spot: spot.offset):
            if spot.offset > begin:
                fixed.append((begin, np.frombuffer(payload[begin : spot.offset], np.uint8).copy()))
            begin = spot.offset + spot.length
        if begin < len(payload):
            fixed.append((begin, np.frombuffer(payload[begin:], np.uint8).copy()))
        return cls(len(payload), tuple(fixed), spots)

    def matching(self, buffer: NDArray[np.uint8], starts: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of the samples of this size, at ``starts`` in a block's buffer, have this layout."""
        step = _step(starts)
        match = np.ones(len(starts), np.bool_)
        for offset, expected in self.fixed:
            equal = _cut(buffer, starts, step, offset, len(expected)) == expected
            if not equal.all():
                match &= equal.all(1)
        for spot in self.spots:
            if spot.form in ("small", "boolean"):
                codes = _cut(buffer, starts, step, spot.offset, 1)[:, 0]
                match &= (codes < 0x80) | (codes >= 0xE0) if spot.form == "small" else (codes & 0xFE) == 0xC2
        return match

    def columns(self, buffer: NDArray[np.uint8], starts: NDArray[np.int64]) -> list[Column]:
        """The fields of the samples at ``starts``, which match. Arrays are writable, aligned, and share no bytes.

        Raises:
            UnicodeDecodeError: A text is not UTF-8.
        """
        step = _step(starts)
        return [_column(spot, buffer, starts, step) for spot in self.spots]


def _spots(payload: memoryview, fields: Sequence[Field]) -> tuple[_Spot, ...] | None:
    if payload[0] & 0xF0 == 0x80:
        count, position = payload[0] & 0x0F, 1
    elif payload[0] == 0xDE:
        count, position = int.from_bytes(payload[1:3], "big"), 3
    else:
        return None
    by_name = {field.name: field for field in fields}
    spots: dict[str, _Spot] = {}
    for _ in range(count):
        name, position = _name(payload, position)
        if name not in by_name or name in spots:
            return None
        spot = _spot(payload, position, by_name[name])
        if spot is None:
            return None
        spots[name] = spot
        position = spot.offset + spot.length
    if len(spots) != len(fields) or position != len(payload):
        return None
    return tuple(spots[field.name] for field in fields)


def _name(payload: memoryview, position: int) -> tuple[str, int]:
    start, length = _extent(payload, position)
    return str(payload[start : start + length], "utf-8"), start + length


def _extent(payload: memoryview, position: int) -> tuple[int, int]:
    """Where the bytes of a str or bin begin, and how many they are; IndexError when it is neither."""
    code = payload[position]
    if code & 0xE0 == 0xA0:
        return position + 1, code & 0x1F
    if code not in _LENGTHS:
        raise IndexError
    start = position + 1 + _LENGTHS[code]
    return start, int.from_bytes(payload[position + 1 : start], "big")


def _spot(payload: memoryview, position: int, field: Field) -> _Spot | None:
    code = payload[position]
    if code < 0x80 or code >= 0xE0:
        return _Spot("small", position, 1)
    if code in _NUMBERS:
        return _Spot("number", position + 1, _NUMBERS[code].itemsize, _NUMBERS[code])
    if code in (0xC2, 0xC3):
        return _Spot("boolean", position, 1)
    if code == 0xC0:
        return _Spot("none", position + 1, 0)
    if not (code & 0xE0 == 0xA0 or code in _LENGTHS):
        return None
    start, length = _extent(payload, position)
    if code & 0xE0 == 0xA0 or code >= 0xD9:
        return _Spot("text", start, length)
    if field.kind != "ndarray":
        return _Spot("bytes", start, length)
    array = decode_array(payload[start : start + length])
    if array.ndim == 0 or array.nbytes == 0:
        return None
    fortran = array.flags.f_contiguous and not array.flags.c_contiguous
    return _Spot("array", start + length - array.nbytes, array.nbytes, array.dtype, array.shape, fortran)


def _step(starts: NDArray[np.int64]) -> int:
    """Bytes from one sample to the next where that is the same for all; else 0."""
    steps = np.diff(starts)
    return int(steps[0]) if len(steps) and (steps == steps[0]).all() else 0


def _cut(
    buffer: NDArray[np.uint8], starts: NDArray[np.int64], step: int, offset: int, length: int
) -> NDArray[np.uint8]:
    """The same bytes out of each sample, shape ``(n, length)``: a view where the samples stand in equal steps."""
    if step:
        return np.ndarray((len(starts), length), np.uint8, buffer, int(starts[0]) + offset, (step, 1))
    if not length:
        return np.empty((len(starts), 0), np.uint8)
    windows = np.ndarray((len(buffer) - length + 1, length), np.uint8, buffer, 0, (1, 1))
    cut: NDArray[np.uint8] = windows[starts + offset]
    return cut


def _column(spot: _Spot, buffer: NDArray[np.uint8], starts: NDArray[np.int64], step: int) -> Column:
    if spot.form == "none":
        return [None] * len(starts)
    if spot.form == "array":
        return _arrays(spot, buffer, starts, step)
    cut = _cut(buffer, starts, step, spot.offset, spot.length)
    if spot.form == "small":
        return cut[:, 0].astype(np.int8).astype(np.int64)
    if spot.form == "boolean":
        true: NDArray[np.bool_] = cut[:, 0] == 0xC3
        return true
    if spot.form == "number":
        wide = {"f": np.float64, "u": np.uint64, "i": np.int64}[spot.dtype.kind]
        return np.ascontiguousarray(cut).view(spot.dtype)[:, 0].astype(wide)
    return _texts(cut) if spot.form == "text" else _pieces(cut.tobytes(), spot.length, len(starts))


def _arrays(spot: _Spot, buffer: NDArray[np.uint8], starts: NDArray[np.int64], step: int) -> Column:
    inner = spot.dtype.itemsize * _unit_strides(spot.shape, fortran=spot.fortran)
    first = int(starts[0]) + spot.offset
    if spot.dtype.alignment > 1:
        # In a map, an array begins anywhere: larger items are copied to where the processor wants them.
        aligned = np.empty((len(starts), spot.length), np.uint8)
        aligned[...] = _cut(buffer, starts, step, spot.offset, spot.length)
        return np.ndarray((len(starts), *spot.shape), spot.dtype, aligned, 0, (spot.length, *inner))
    if step:
        return np.ndarray((len(starts), *spot.shape), spot.dtype, buffer, first, (step, *inner))
    # Members stand at multiples of a tar's blocks: one view has all arrays that could begin at one, and some do.
    places = (starts - starts[0]) // BLOCK
    possible = np.ndarray((int(places[-1]) + 1, *spot.shape), spot.dtype, buffer, first, (BLOCK, *inner))
    return list(map(possible.__getitem__, places.tolist()))


def _unit_strides(shape: tuple[int, ...], *, fortran: bool) -> NDArray[np.int64]:
    """Strides in items."""
    order = shape[:-1] if fortran else shape[:0:-1]
    strides = np.cumprod([1, *order])
    return strides if fortran else strides[::-1]


def _texts(cut: NDArray[np.uint8]) -> list[str]:
    count, length = cut.shape
    raw = cut.tobytes()
    text = raw.decode("utf-8")
    if len(text) == len(raw):
        return [text[at : at + length] for at in range(0, len(text), length)] if length else [""] * count
    return [piece.decode("utf-8") for piece in _pieces(raw, length, count)]


def _pieces(raw: bytes, length: int, count: int) -> list[bytes]:
    return [raw[at * length : (at + 1) * length] for at in range(count)]
