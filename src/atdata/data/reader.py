"""Samples out of shards, one after another: in the order of the shards, and in each in the order of the tar.

A sample type is a dataclass, whose fields lie in one ``.msgpack`` member or in members of their own, or `dict` for
whatever a shard has. Blocks come from `atdata.data.blocks` and become columns in `atdata.data.decoders`; here they
become samples again.

Arrays that are handed out are writable, aligned, share no bytes with one another, and stay right for as long as they
are referenced, whatever the reader does. Most are views on the block that they came from and keep its memory alive
(`atdata.data.blocks.BLOCK_BYTES`): copy what you keep of few samples out of many, or read with ``copy=True``.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from itertools import starmap
from typing import Any, TypeVar

import numpy as np

from atdata.data.blocks import BLOCK_BYTES, Block, read_blocks
from atdata.data.buffers import Buffers
from atdata.data.columns import Column
from atdata.data.compression import decompressed
from atdata.data.decoded import Decoded
from atdata.data.decoders import decoder_of
from atdata.data.member_decoder import untyped_sample
from atdata.data.members import samples_in
from atdata.storage.base import Store

T = TypeVar("T")


def read_samples(
    store: Store,
    paths: Sequence[str],
    sample_type: type[T],
    *,
    start: int = 0,
    copy: bool = False,
    block_bytes: int = BLOCK_BYTES,
) -> Iterator[T]:
    """Read the samples of some shards in order.

    Memory is a few blocks, and one sample where that is larger.

    Args:
        store: Where the shards are.
        paths: The shards, in order.
        sample_type: A dataclass, or `dict` for untyped samples ``{"__key__": key, "jpg": ..., "cls": ...}``.
        start: How many samples at the front of the first shard are passed over.
        copy: Give each array of a dataclass memory of its own, so that a sample that is kept, as in a shuffle buffer,
            does not keep the memory of its block.
        block_bytes: How much is read at a time.

    Raises:
        ShardError: A shard is damaged or cut short, or a sample does not decode; nothing is passed over silently.
        SchemaMismatchError: A sample has not the fields of its type, or the type cannot be a sample type.
        NotFoundError, UnavailableError, RefusedError: As the store raises them.
        LimitError: A compressed shard or a picture is larger than its limits.
    """
    if sample_type is dict:
        for key, members, shard in _records(store, paths, start, block_bytes):
            yield untyped_sample(key, members, shard=shard)  # type: ignore[misc]  # T is dict
        return
    construct = constructor(sample_type)
    for decoded in _decoded(store, paths, sample_type, start, block_bytes, one_by_one=True):
        rows = decoded.rows()
        del decoded  # it would keep the memory of its block while the next one is read
        yield from starmap(construct, map(_private, rows) if copy else rows)
        del rows


def _private(row: tuple[Any, ...]) -> list[Any]:
    return [value.copy("K") if isinstance(value, np.ndarray) else value for value in row]


def read_records(
    store: Store, paths: Sequence[str], *, start: int = 0, block_bytes: int = BLOCK_BYTES
) -> Iterator[tuple[str, dict[str, memoryview]]]:
    """Read the samples of some shards as they are: key, and the bytes of each member by extension.

    The views stay right for as long as they are referenced. Arguments and errors are those of `read_samples`.
    """
    for key, members, _ in _records(store, paths, start, block_bytes):
        yield key, members


def read_columns(
    store: Store, paths: Sequence[str], sample_type: type, *, start: int = 0, block_bytes: int = BLOCK_BYTES
) -> Iterator[list[Column]]:
    """Read the samples of some shards block by block, each field as a column.

    Arguments and errors are those of `read_samples`; `dict` is no type that has columns.

    Yields:
        The fields in declared order, one column each, all of the same length of one or more.
    """
    for decoded in _decoded(store, paths, sample_type, start, block_bytes, one_by_one=False):
        columns = decoded.columns
        del decoded
        yield columns
        del columns


def _decoded(
    store: Store, paths: Sequence[str], sample_type: type, start: int, block_bytes: int, *, one_by_one: bool
) -> Iterator[Decoded]:
    """Blocks of one or more samples; the error of one that does not decode comes after those before it."""
    decoder = decoder_of(sample_type)
    buffers = Buffers()  # of all shards: fresh memory for each would cost more than reading it
    for number, path in enumerate(paths):
        skip = start if number == 0 else 0
        for block in shard_blocks(store, path, block_bytes=block_bytes, buffers=buffers):
            if skip and skip >= (count := decoder.count(block)):
                skip -= count
                continue
            decoded = decoder.decode(block, skip, one_by_one=one_by_one)
            skip, error = 0, decoded.error
            del block
            if len(decoded):
                yield decoded
            del decoded
            if error is not None:
                raise error


def shard_blocks(
    store: Store, path: str, *, block_bytes: int = BLOCK_BYTES, buffers: Buffers | None = None
) -> Iterator[Block]:
    """The blocks of one shard, decompressed where its name says so. Closing the iterator closes the stream."""
    with closing(decompressed(store.open(path), path)) as stream:
        yield from read_blocks(stream, shard=path, block_bytes=block_bytes, buffers=buffers)


def _records(
    store: Store, paths: Sequence[str], start: int, block_bytes: int
) -> Iterator[tuple[str, dict[str, memoryview], str]]:
    buffers = Buffers()
    for number, path in enumerate(paths):
        skip = start if number == 0 else 0
        for block in shard_blocks(store, path, block_bytes=block_bytes, buffers=buffers):
            for key, by_extension in samples_in(block.members, shard=path):
                if skip:
                    skip -= 1
                    continue
                yield key, {extension: block.payload(member) for extension, member in by_extension.items()}, path


def constructor(sample_type: type[T]) -> Callable[..., T]:
    """What makes a sample of the values of its fields in order: the type itself, unless a field wants its name said."""
    fields = dataclasses.fields(sample_type)  # type: ignore[arg-type]  # `fields_of` has checked that it is a dataclass
    if all(field.init and not field.kw_only for field in fields):
        return sample_type
    names = [field.name for field in fields if field.init]
    chosen = [field.init for field in fields]

    def construct(*values: Any) -> T:
        given = [value for value, wanted in zip(values, chosen, strict=True) if wanted]
        return sample_type(**dict(zip(names, given, strict=True)))

    return construct
