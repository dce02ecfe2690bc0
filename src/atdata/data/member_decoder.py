"""Samples of several members as columns: ``KEY.jpg``, ``KEY.cls`` and so on, each field a member of its own.

Blocks are `atdata.data.blocks`, what makes up a sample `atdata.data.members`, single values `atdata.data.codec`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from atdata.data.blocks import Block
from atdata.data.codec import decode_member
from atdata.data.decoded import Decoded, defaults_of, own_array, until_error
from atdata.data.fields import Field, fields_of, view_fields
from atdata.data.members import equal_samples, samples_in
from atdata.data.tar import BLOCK
from atdata.errors import AtdataError, LimitError, ShardError


class MemberDecoder:
    """Reads samples whose fields are members of their own."""

    def __init__(self, sample_type: type) -> None:
        self._fields = fields_of(sample_type)
        self._defaults = defaults_of(sample_type)
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
        rows, error = until_error(lambda sample: self._row(block, *sample), samples)
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
