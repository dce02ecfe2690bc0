"""Blocks into columns: the samples of a block, field by field.

One decoder for each of the two ways in which a sample lies in a shard. Both hand out arrays that are writable, aligned
and share no bytes. Blocks are `atdata.data.blocks`, columns of equal layout `atdata.data.columns`, single values
`atdata.data.codec`; the order of shards and blocks is `atdata.data.reader`.
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeAlias, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from atdata.data.blocks import Block
from atdata.data.buffers import Buffers
from atdata.data.codec import decode_member, decode_msgpack
from atdata.data.columns import Column, Layout, rows_of
from atdata.data.fields import Field, fields_of, is_multi_member, view_fields
from atdata.data.members import equal_samples, msgpack_members, samples_in
from atdata.data.npy import decode_array
from atdata.data.tar import BLOCK, split_name
from atdata.data.walks import walk_columns
from atdata.errors import AtdataError, LimitError, SchemaMismatchError, ShardError

S = TypeVar("S")

_Part: TypeAlias = tuple[NDArray[np.int64], list[Column]]  # some samples of a block, by number, and their fields

_MIN_EQUAL = 6  # samples from which on columns are faster than one by one where all have one layout
_MIN_ROWS = 32  # the same where they have several, or go the walk
_MAX_LAYOUTS = 8  # layouts that are remembered, the one learnt last first


class Decoded:
    """What a decoder makes of the samples of a block, up to the first that does not decode.

    Args:
        columns: The fields in declared order, one column each; or
        rows: The samples one by one, each with its values in that order.
        error: Why the sample after them does not decode; None when all do.
    """

    def __init__(
        self,
        columns: list[Column] | None = None,
        *,
        rows: list[tuple[Any, ...]] | None = None,
        error: AtdataError | None = None,
    ) -> None:
        self._columns = columns
        self._rows = rows
        self.error = error

    def __len__(self) -> int:
        return len(self._rows or []) if self._columns is None else len(self._columns[0])

    @property
    def columns(self) -> list[Column]:
        """The fields in declared order."""
        return _transposed(self._rows or []) if self._columns is None else self._columns

    def rows(self) -> Iterable[tuple[Any, ...]]:
        """The values of each sample, in the order of the fields."""
        return zip(*map(rows_of, self._columns or []), strict=True) if self._rows is None else self._rows


class Decoder(Protocol):
    """Reads the samples of one type."""

    def count(self, block: Block) -> int:
        """The number of samples of a block."""
        ...

    def decode(self, block: Block, skip: int = 0, *, one_by_one: bool = False) -> Decoded:
        """The samples of a block but the first ``skip``.

        Args:
            one_by_one: The caller wants the samples and not columns; the result is the same, the faster way another.
        """
        ...


def decoder_of(sample_type: type) -> Decoder:
    """The decoder for a sample type.

    Raises:
        SchemaMismatchError: It cannot be a sample type.
    """
    return MemberDecoder(sample_type) if is_multi_member(sample_type) else MsgpackDecoder(sample_type)


def _defaults(sample_type: type) -> Mapping[str, Callable[[], Any]]:
    """What makes the value of a field that a sample lacks."""
    made: dict[str, Callable[[], Any]] = {}
    for field in dataclasses.fields(sample_type):
        if field.default_factory is not dataclasses.MISSING:
            made[field.name] = field.default_factory
        elif field.default is not dataclasses.MISSING:
            made[field.name] = lambda value=field.default: value  # type: ignore[misc]  # binds the value of now
    return made


def own_array(array: NDArray[Any]) -> NDArray[Any]:
    """The array itself, or a copy when it is read-only or not aligned."""
    return array if array.flags.behaved else array.copy("K")


class MsgpackDecoder:
    """Reads samples that are one ``.msgpack`` member each. Remembers the layouts that it has met."""

    def __init__(self, sample_type: type) -> None:
        self._type = sample_type
        self._fields = fields_of(sample_type)
        self._defaults = _defaults(sample_type)
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
            parts.append((rest, _transposed(rows)))
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
        return _until_error(lambda number: self._row(block, number), numbers.tolist())

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


class MemberDecoder:
    """Reads samples whose fields are members of their own."""

    def __init__(self, sample_type: type) -> None:
        self._fields = fields_of(sample_type)
        self._defaults = _defaults(sample_type)
        self._views = view_fields(sample_type)

    def count(self, block: Block) -> int:
        """The number of samples of a block."""
        extensions = equal_samples(block.members)
        if extensions:
            return len(block.members) // len(extensions)
        return sum(1 for _ in samples_in(block.members, shard=block.shard))

    def decode(self, block: Block, skip: int = 0, *, one_by_one: bool = False) -> Decoded:
        """The samples of a block but the first ``skip``."""
        extensions = equal_samples(block.members)
        if extensions:
            try:
                return Decoded([self._column(block, field, extensions, skip) for field in self._fields])
            except (_NoColumn, AtdataError, ValueError, RecursionError):
                pass  # one by one, which says what is wrong with which sample
        samples = list(samples_in(block.members, shard=block.shard))[skip:]
        rows, error = _until_error(lambda sample: self._row(block, *sample), samples)
        return Decoded(rows=rows, error=error)

    def _column(self, block: Block, field: Field, extensions: Sequence[str], skip: int) -> list[Any]:
        """One field of samples that all have the same members."""
        count = len(block.members) // len(extensions) - skip
        extension = next((name for name in field.extensions if name in extensions), None)
        if extension is None:
            if field.name in self._defaults:
                make = self._defaults[field.name]
                return [make() for _ in range(count)]
            if field.optional:
                return [None] * count
            raise _NoColumn
        members = slice(skip * len(extensions) + extensions.index(extension), None, len(extensions))
        starts = block.members.headers[members] + BLOCK
        stops = starts + block.members.sizes[members]
        data = block.members.buffer.data
        payloads = [data[start:stop] for start, stop in zip(starts.tolist(), stops.tolist(), strict=True)]
        if field.name in self._views:
            return payloads
        if field.kind == "bytes":
            return list(map(bytes, payloads))
        return [_own(decode_member(extension, payload, field)) for payload in payloads]

    def _row(self, block: Block, key: str, by_extension: Mapping[str, int]) -> tuple[Any, ...]:
        row: list[Any] = []
        for field in self._fields:
            extension = next((name for name in field.extensions if name in by_extension), None)
            if extension is not None:
                payload = block.payload(by_extension[extension])
                if field.name in self._views:
                    row.append(payload)
                else:
                    row.append(_decode_member(extension, payload, field, key=key, shard=block.shard))
            elif field.name in self._defaults:
                row.append(self._defaults[field.name]())
            elif field.optional:
                row.append(None)
            else:
                wanted = " or ".join(f".{name}" for name in field.extensions)
                there = ", ".join(f".{name}" for name in by_extension)
                raise ShardError(
                    f"sample {key!r} has no member {wanted} for the field {field.name!r}, only {there}",
                    shard=block.shard,
                )
        return tuple(row)


class _NoColumn(Exception):
    """A field that the samples do not have."""


def _own(value: Any) -> Any:
    return own_array(value) if isinstance(value, np.ndarray) else value


def _decode_member(extension: str, data: memoryview, field: Field | None, *, key: str, shard: str) -> Any:
    """The value of one member; errors name the sample and the shard."""
    try:
        return _own(decode_member(extension, data, field))
    except ShardError as error:
        raise ShardError(f"sample {key!r}: {error}", shard=shard) from error
    except LimitError as error:
        raise LimitError(f"{shard}: sample {key!r}: {error}", limit=error.limit) from error


def untyped_sample(key: str, members: Mapping[str, memoryview], *, shard: str) -> dict[str, Any]:
    """A sample without a type: its key as ``__key__``, and each member decoded by its extension.

    Raises:
        ShardError: A member is not what its extension says; the message names the sample and the shard.
        LimitError: A picture is too large.
    """
    sample: dict[str, Any] = {"__key__": key}
    for extension, data in members.items():
        sample[extension] = _decode_member(extension, data, None, key=key, shard=shard)
    return sample


def _until_error(
    decode: Callable[[S], tuple[Any, ...]], samples: Iterable[S]
) -> tuple[list[tuple[Any, ...]], AtdataError | None]:
    """The values of the samples up to the first that does not decode, and its error."""
    rows = []
    for sample in samples:
        try:
            rows.append(decode(sample))
        except AtdataError as error:
            return rows, error
    return rows, None


def _transposed(rows: list[tuple[Any, ...]]) -> list[Column]:
    return [list(column) for column in zip(*rows, strict=True)]


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
