"""Blocks into columns: the samples of a block, field by field.

`decoder_of` chooses between the two ways in which a sample lies in a shard: one ``.msgpack`` member, which is read
here, or several members (`atdata.data.member_decoder`). Blocks are `atdata.data.blocks`, columns of equal layout
`atdata.data.columns`, single values `atdata.data.codec`; the order of shards and blocks is `atdata.data.reader`.
"""

from typing import Any, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from atdata.data.blocks import Block
from atdata.data.buffers import Buffers
from atdata.data.codec import decode_msgpack
from atdata.data.columns import Column, Layout, rows_of
from atdata.data.decoded import Decoded, Decoder, defaults_of, own_array, transposed, until_error
from atdata.data.fields import fields_of, is_multi_member
from atdata.data.member_decoder import MemberDecoder
from atdata.data.members import msgpack_members
from atdata.data.npy import decode_array
from atdata.data.tar import BLOCK, split_name
from atdata.data.walks import walk_columns
from atdata.errors import AtdataError, SchemaMismatchError, ShardError

_Part: TypeAlias = tuple[NDArray[np.int64], list[Column]]  # some samples of a block, by number, and their fields

_MIN_EQUAL = 6  # samples from which on columns are faster than one by one where all have one layout
_MIN_ROWS = 32  # the same where they have several, or go the walk
_MAX_LAYOUTS = 8  # layouts that are remembered, the one learnt last first


class MsgpackDecoder:
    """Reads samples that are one ``.msgpack`` member each. Remembers the layouts that it has met."""

    def __init__(self, sample_type: type) -> None:
        self._type = sample_type
        self._fields = fields_of(sample_type)
        self._defaults = defaults_of(sample_type)
        self._layouts: list[Layout] = []
        self._buffers = Buffers()
        self._arrays = [number for number, field in enumerate(self._fields) if field.kind == "ndarray"]
        # Neutral names, since msgspec forbids some that a dataclass may have.
        names = {f"f{number}": field.name for number, field in enumerate(self._fields)}
        types = [
            (name, memoryview | None if field.kind == "ndarray" else Any)
            for name, field in zip(names, self._fields, strict=True)
        ]
        row = msgspec.defstruct("Row", types, rename=names, forbid_unknown_fields=True, gc=False)
        self._decode = msgspec.msgpack.Decoder(row).decode

    def count(self, block: Block) -> int:
        """The number of samples of a block."""
        return len(msgpack_members(block.members, shard=block.shard))

    def decode(self, block: Block, skip: int = 0, *, one_by_one: bool = False) -> Decoded:
        """The samples of a block but the first ``skip``."""
        numbers = msgpack_members(block.members, shard=block.shard)[skip:]
        starts = block.members.headers[numbers] + BLOCK
        sizes = block.members.sizes[numbers]
        columns = self._of_one_layout(block, starts, sizes) if len(numbers) >= _MIN_EQUAL else None
        if columns is not None:
            return Decoded(columns)
        if len(numbers) >= _MIN_ROWS:
            # Texts and numbers of many lengths become Python's objects fastest by msgspec, one sample after another.
            if self._arrays or not one_by_one:
                columns = walk_columns(block.members.buffer, starts, sizes, self._fields, memory=self._buffers)
            if columns is not None:
                return Decoded(columns)
            if self._arrays:
                return self._mixed(block, numbers, starts, sizes)
        rows, error = self._rows(block, numbers, starts, sizes)
        return Decoded(rows=rows, error=error)

    def _of_one_layout(self, block: Block, starts: NDArray[np.int64], sizes: NDArray[np.int64]) -> list[Column] | None:
        """The fields where all samples have one layout; else None."""
        if (sizes != sizes[0]).any():
            return None
        buffer = block.members.buffer
        first = int(starts[0])
        known = [layout for layout in self._layouts if layout.matching(buffer, starts[:1])[0]]
        layout = known[0] if known else Layout.learn(buffer.data[first : first + int(sizes[0])], self._fields)
        if layout is None or layout.size != sizes[0] or not layout.matching(buffer, starts).all():
            return None
        if not known:
            self._layouts = [layout, *self._layouts][:_MAX_LAYOUTS]
        try:
            return layout.columns(buffer, starts)
        except UnicodeDecodeError:  # decoding one by one will say which sample it is
            return None

    def _mixed(
        self, block: Block, numbers: NDArray[np.int64], starts: NDArray[np.int64], sizes: NDArray[np.int64]
    ) -> Decoded:
        """Samples of several layouts in turn, and what fits none one by one."""
        parts: list[_Part] = []
        count = len(numbers)
        rest = self._by_layout(block, starts, sizes, parts)
        rows, error = self._rows(block, numbers[rest], starts[rest], sizes[rest])
        if error is not None:
            count = int(rest[len(rows)])
            rest = rest[: len(rows)]
            parts = [_before(count, part) for part in parts]
        if rows:
            parts.append((rest, transposed(rows)))
        return Decoded(_merged(parts, count, len(self._fields)), error=error)

    def _rows(
        self, block: Block, numbers: NDArray[np.int64], starts: NDArray[np.int64], sizes: NDArray[np.int64]
    ) -> tuple[list[tuple[Any, ...]], AtdataError | None]:
        """The values of samples one by one, up to the first that does not decode, and its error."""
        if not self._arrays:
            data = block.members.buffer.data
            bounds = zip(starts.tolist(), (starts + sizes).tolist(), strict=True)
            try:
                structs = [self._decode(data[start:stop]) for start, stop in bounds]
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                pass  # one of them needs a closer look
            else:
                return list(map(msgspec.structs.astuple, structs)), None
        return until_error(lambda number: self._row(block, number), numbers.tolist())

    def _by_layout(
        self, block: Block, starts: NDArray[np.int64], sizes: NDArray[np.int64], parts: list[_Part]
    ) -> NDArray[np.int64]:
        """Read what fits a layout, known or learnt now, into ``parts``; return the samples that are left."""
        rest = np.arange(len(starts))

        def take(layout: Layout) -> bool:
            nonlocal rest
            rows = rest[sizes[rest] == layout.size]
            if len(rows) >= _MIN_ROWS:
                rows = rows[layout.matching(block.members.buffer, starts[rows])]
            if len(rows) < _MIN_ROWS:
                return False
            try:
                parts.append((rows, layout.columns(block.members.buffer, starts[rows])))
            except UnicodeDecodeError:  # decoding one by one will say which sample it is
                return False
            left = np.ones(len(starts), np.bool_)
            left[rows] = False
            rest = rest[left[rest]]
            return True

        for layout in tuple(self._layouts):
            if len(rest) < _MIN_ROWS:
                return rest
            take(layout)
        while len(rest) >= _MIN_ROWS:
            first = int(starts[rest[0]])
            payload = block.members.buffer.data[first : first + int(sizes[rest[0]])]
            learnt = Layout.learn(payload, self._fields)
            if learnt is None or not take(learnt):
                break
            self._layouts = [learnt, *self._layouts][:_MAX_LAYOUTS]
        return rest

    def _row(self, block: Block, number: int) -> tuple[Any, ...]:
        """The values of one sample, in the order of the fields."""
        payload = block.payload(number)
        values = self.values(payload)
        return tuple(self._careful_row(block, number, payload) if values is None else values)

    def values(self, payload: memoryview) -> list[Any] | None:
        """The values in one ``.msgpack`` member, in the order of the fields; None where a closer look is needed."""
        try:
            values = list(msgspec.structs.astuple(self._decode(payload)))
            for place in self._arrays:
                if values[place] is not None:
                    values[place] = own_array(decode_array(values[place]))
        except (msgspec.MsgspecError, ShardError, UnicodeDecodeError, RecursionError):
            return None
        return values

    def _careful_row(self, block: Block, number: int, payload: memoryview) -> list[Any]:
        """The same without assumptions: for what is rare, and for errors that say what is wrong."""
        parts = split_name(block.members.name(number))
        key = parts[0] if parts else ""
        try:
            values = decode_msgpack(payload, self._fields)
        except ShardError as error:
            raise ShardError(f"sample {key!r}: {error}", shard=block.shard) from error
        row = []
        missing = []
        for field in self._fields:
            if field.name in values:
                value = values.pop(field.name)
                row.append(own_array(value) if isinstance(value, np.ndarray) else value)
            elif field.name in self._defaults:
                row.append(self._defaults[field.name]())
            else:
                missing.append(field.name)
        if missing or values:
            wrong = [f"it has no field {name!r}" for name in missing]
            wrong += [f"its field {name!r} is unknown" for name in values]
            raise SchemaMismatchError(
                f"{block.shard}: sample {key!r} does not fit {self._type.__qualname__}: {', '.join(wrong)}"
            )
        return row


def _before(stop: int, part: _Part) -> _Part:
    """What of a part belongs to samples before the number ``stop``."""
    rows, columns = part
    count = int(np.searchsorted(rows, stop))
    return rows[:count], [column[:count] for column in columns]


def _merged(parts: list[_Part], count: int, width: int) -> list[Column]:
    """The columns of all samples out of those of some of them each."""
    if not parts:
        return [[] for _ in range(width)]
    if len(parts[0][0]) == count:
        return parts[0][1]
    merged: list[list[Any]] = [[None] * count for _ in range(width)]
    for rows, columns in parts:
        places = rows.tolist()
        for target, column in zip(merged, columns, strict=True):
            for place, value in zip(places, rows_of(column), strict=True):
                target[place] = value
    return list(merged)


def decoder_of(sample_type: type) -> Decoder:
    """The decoder for a sample type.

    Raises:
        SchemaMismatchError: It cannot be a sample type.
    """
    return MemberDecoder(sample_type) if is_multi_member(sample_type) else MsgpackDecoder(sample_type)
