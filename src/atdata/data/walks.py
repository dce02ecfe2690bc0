"""Samples of unequal layout as columns: one walk through all of them at once.

Samples of one type have the same fields in the same order, but texts, integers and arrays of many lengths, so that no
`atdata.data.columns.Layout` fits many of them. Here each step of decoding msgpack is done for all samples of a block
together: where the next value begins is an array of positions. What does not go along, a value of another kind in one
sample or a field too many, ends the walk without a result; then the samples are decoded one by one.

Every position is checked against the end of its sample before it is believed. Sources: those of
`atdata.data.columns`.
"""

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from atdata.data.buffers import Buffers
from atdata.data.columns import Column
from atdata.data.fields import Field
from atdata.data.npy import array_header
from atdata.errors import ShardError

_MAX_FIELDS = 15  # of the short form of a map
_NUMBERS = {0xCC: ">u1", 0xCD: ">u2", 0xCE: ">u4", 0xCF: ">u8", 0xD0: ">i1", 0xD1: ">i2", 0xD2: ">i4", 0xD3: ">i8"}
_FLOATS = {0xCA: ">f4", 0xCB: ">f8"}
_TEXTS = {0xD9: ">u1", 0xDA: ">u2", 0xDB: ">u4"}
_BINARY = {0xC4: ">u1", 0xC5: ">u2", 0xC6: ">u4"}
_NPY_V1 = np.frombuffer(b"\x93NUMPY\x01\x00", np.uint8)


class _Stop(Exception):
    """The samples do not go along."""


def walk_columns(
    buffer: NDArray[np.uint8],
    starts: NDArray[np.int64],
    sizes: NDArray[np.int64],
    fields: Sequence[Field],
    *,
    memory: Buffers,
) -> list[Column] | None:
    """The fields of ``.msgpack`` members as columns, or None where they differ in more than lengths.

    Args:
        buffer: A block.
        starts: Where the members' bytes begin in it, one or more.
        sizes: How many they are.
        fields: From `atdata.data.fields.fields_of`.
        memory: Where arrays go that do not lie aligned in the block.
    """
    if len(fields) > _MAX_FIELDS or not len(starts) or not sizes.all():
        return None
    try:
        return _Walk(buffer, starts, starts + sizes, memory).columns(fields)
    except (_Stop, UnicodeDecodeError, ShardError):
        return None


class _Walk:
    """Where each sample's next byte is."""

    def __init__(
        self, buffer: NDArray[np.uint8], starts: NDArray[np.int64], ends: NDArray[np.int64], memory: Buffers
    ) -> None:
        self._buffer = buffer
        self._at = starts.copy()
        self._ends = ends
        self._memory = memory

    def columns(self, fields: Sequence[Field]) -> list[Column]:
        self._expect(np.array([0x80 | len(fields)], np.uint8))
        columns = []
        for field in fields:
            self._expect(np.frombuffer(msgspec.msgpack.encode(field.name), np.uint8))
            columns.append(self._value(field))
        if (self._at != self._ends).any():
            raise _Stop
        return columns

    def _peek(self, length: int, rows: NDArray[np.intp] | slice = slice(None)) -> NDArray[np.uint8]:
        """The next bytes of some samples, shape ``(n, length)``. Not moved on: `_advance` does that and checks."""
        last = len(self._buffer) - length
        if last < 0:
            raise _Stop
        windows = np.ndarray((last + 1, length), np.uint8, self._buffer, 0, (1, 1))
        # What is beyond the buffer is beyond the sample too, which `_advance` finds.
        peeked: NDArray[np.uint8] = windows[np.minimum(self._at[rows], last)]
        return peeked

    def _advance(self, lengths: NDArray[np.int64] | int) -> None:
        self._at += lengths
        if (self._at > self._ends).any():
            raise _Stop

    def _expect(self, expected: NDArray[np.uint8]) -> None:
        if (self._peek(len(expected)) != expected).any():
            raise _Stop
        self._advance(len(expected))

    def _value(self, field: Field) -> Column:
        codes = self._peek(1)[:, 0]
        self._advance(1)
        first = int(codes[0])
        if first in _FLOATS:
            return self._fixed(codes, first, _FLOATS[first])
        if first == 0xC0 and (codes == first).all():
            return [None] * len(codes)
        if first in (0xC2, 0xC3) and (codes & 0xFE == 0xC2).all():
            true: NDArray[np.bool_] = codes == 0xC3
            return true
        if first < 0x80 or first >= 0xE0 or first in _NUMBERS:
            return self._integers(codes)
        if first & 0xE0 == 0xA0 or first in _TEXTS:
            return self._texts(self._lengths(codes, _TEXTS, short=True))
        if first in _BINARY and field.kind == "ndarray":
            return self._arrays(self._lengths(codes, _BINARY, short=False))
        raise _Stop

    def _fixed(self, codes: NDArray[np.uint8], code: int, dtype: str) -> Column:
        if (codes != code).any():
            raise _Stop
        values = self._peek(np.dtype(dtype).itemsize).view(dtype)[:, 0].astype(np.float64)
        self._advance(np.dtype(dtype).itemsize)
        return values

    def _integers(self, codes: NDArray[np.uint8]) -> NDArray[np.int64]:
        values = codes.astype(np.int8).astype(np.int64)  # right for those within their type byte
        known = (codes < 0x80) | (codes >= 0xE0)
        widths = np.zeros(len(codes), np.int64)
        if not known.all():
            for code, dtype in _NUMBERS.items():
                rows = np.flatnonzero(codes == code)
                if len(rows):
                    width = np.dtype(dtype).itemsize
                    found = self._peek(width, rows).view(dtype)[:, 0]
                    if code == 0xCF and found.max() > np.iinfo(np.int64).max:
                        raise _Stop
                    values[rows] = found
                    known[rows] = True
                    widths[rows] = width
            if not known.all():
                raise _Stop
            self._advance(widths)
        return values

    def _lengths(self, codes: NDArray[np.uint8], wide: dict[int, str], *, short: bool) -> NDArray[np.int64]:
        """The lengths of texts or binary values; moves on to where their bytes begin."""
        lengths = (codes & 0x1F).astype(np.int64)
        known = (codes & 0xE0 == 0xA0) if short else np.zeros(len(codes), np.bool_)
        widths = np.zeros(len(codes), np.int64)
        for code, dtype in wide.items():
            rows = np.flatnonzero(codes == code)
            if len(rows):
                width = np.dtype(dtype).itemsize
                lengths[rows] = self._peek(width, rows).view(dtype)[:, 0]
                known[rows] = True
                widths[rows] = width
        if not known.all():
            raise _Stop
        self._advance(widths)
        return lengths

    def _texts(self, lengths: NDArray[np.int64]) -> list[str]:
        begin = self._at.copy()
        self._advance(lengths)
        # All texts one after another with a NUL behind each, decoded and split at once.
        ends = np.cumsum(lengths + 1)
        places = np.arange(int(ends[-1])) + np.repeat(begin - ends + lengths + 1, lengths + 1)
        joined = self._buffer[np.minimum(places, len(self._buffer) - 1)]
        joined[ends - 1] = 0
        texts = joined[:-1].tobytes().decode("utf-8").split("\0")
        if len(texts) != len(lengths):  # one has a NUL in it
            raise _Stop
        return texts

    def _arrays(self, lengths: NDArray[np.int64]) -> Column:
        """Arrays of one dtype, each with a ``.npy`` header of the same length."""
        begin = self._at.copy()
        head = self._peek(10)
        self._advance(lengths)
        if (head[:, :8] != _NPY_V1).any() or (head[:, 8:] != head[0, 8:]).any():
            raise _Stop
        header = 10 + int(head[0, 8]) + 256 * int(head[0, 9])
        if (lengths < header).any():
            raise _Stop
        windows = np.ndarray((len(self._buffer) - header + 1, header), np.uint8, self._buffer, 0, (1, 1))
        raw = windows[begin].view(f"V{header}")[:, 0].tolist()
        headers = list(map(array_header, raw))
        dtype = headers[0][0]
        if any(one[0] != dtype or one[2] for one in headers):
            raise _Stop
        data = lengths - header
        if not data.all() or (np.array([one[3] for one in headers]) != data).any():
            raise _Stop
        return self._views(begin + header, data, dtype, [one[1] for one in headers])

    def _views(
        self, begin: NDArray[np.int64], lengths: NDArray[np.int64], dtype: np.dtype[Any], shapes: list[tuple[int, ...]]
    ) -> list[NDArray[Any]]:
        """Arrays at these places, aligned.

        An array begins anywhere in a map. One copy of the block, moved by the bytes that are wanting, aligns all arrays
        that lie equally skew, which is faster than a copy of each.
        """
        buffer = self._buffer
        skew = (begin + buffer.__array_interface__["data"][0]) % dtype.alignment
        views: list[Any] = [None] * len(begin)
        for amount in np.unique(skew).tolist():
            rows = np.flatnonzero(skew == amount)
            first, stop = int(begin[rows[0]]), int(begin[rows[-1]] + lengths[rows[-1]])
            source = buffer[first:stop]
            if amount:
                source = self._memory.take(1 << (stop - first - 1).bit_length())[: stop - first]
                source[:] = buffer[first:stop]
            places = rows.tolist()
            cut = _cut_out(source, begin[rows] - first, lengths[rows], dtype, [shapes[place] for place in places])
            if len(cut) == len(views):
                return cut
            for place, view in zip(places, cut, strict=True):
                views[place] = view
        return views


def _cut_out(
    source: NDArray[np.uint8],
    offsets: NDArray[np.int64],
    lengths: NDArray[np.int64],
    dtype: np.dtype[Any],
    shapes: list[tuple[int, ...]],
) -> list[NDArray[Any]]:
    """Views on ``source``, which begins where the first of the arrays does."""
    size = dtype.itemsize
    shape = shapes[0]
    if shape and shapes.count(shape) == len(shapes):
        # One view that has an array at every step: the wanted ones are rows of it.
        inner = np.empty(shape, dtype).strides
        steps = offsets // dtype.alignment
        every = np.ndarray((int(steps[-1]) + 1, *shape), dtype, source, 0, (dtype.alignment, *inner))
        return list(map(every.__getitem__, steps.tolist()))
    if all(len(shape) == 1 for shape in shapes) and not (offsets % size).any():
        items = source[: len(source) // size * size].view(dtype)
        bounds = zip((offsets // size).tolist(), ((offsets + lengths) // size).tolist(), strict=True)
        return [items[start:stop] for start, stop in bounds]
    return [np.ndarray(shape, dtype, source, offset) for shape, offset in zip(shapes, offsets.tolist(), strict=True)]
