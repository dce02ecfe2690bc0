"""A shard as a run of blocks: some megabytes of tar bytes each, and the members of whole samples in them.

Reading takes as many bytes at a time as a block has, finds all members in them at once (`atdata.data.headers`), and
copies what is left at the end, at most the last sample and a part of the next one, to the beginning of the next block.
A block's buffer is not written again while anything refers to it (`atdata.data.buffers`): an array or a memoryview of
it stays right after the reader has moved on or has been closed, and keeps the memory of the whole block alive.

A shard is finished by a block of zeros. One is enough at the very end, as for tarfile and GNU tar; where more
follows, there have to be two. What comes after them is read, so that a stream that checks its bytes sees all of them,
and not looked at.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from atdata.data.buffers import Buffers
from atdata.data.headers import Members, find_members
from atdata.data.members import before_last_sample
from atdata.data.tar import BLOCK, parse_header
from atdata.errors import ShardError
from atdata.storage.base import Stream

BLOCK_BYTES = 4 << 20
"""Bytes of a block: large enough that finding headers costs little for each sample, small enough for the cache."""


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Some consecutive samples of a shard, all of them whole.

    Attributes:
        shard: Name or URL of the shard.
        position: Where the block begins in the tar, in bytes.
        members: Its members, in a buffer that is not used again while anything refers to it.
    """

    shard: str
    position: int
    members: Members

    def payload(self, number: int) -> memoryview:
        """The bytes of one member: a writable view on the block's buffer."""
        start = int(self.members.headers[number]) + BLOCK
        return self.members.buffer.data[start : start + int(self.members.sizes[number])]


def read_blocks(
    stream: Stream, *, shard: str = "", block_bytes: int = BLOCK_BYTES, buffers: Buffers | None = None
) -> Iterator[Block]:
    """Read a tar in order. The stream is not closed.

    Memory is that of two blocks. A sample that is larger than a block gets a block that grows as its bytes come, so
    that a size that a header only claims takes no memory.

    Args:
        stream: The tar, not compressed.
        shard: Name or URL, for errors.
        block_bytes: How much is read at a time, at least 512.
        buffers: Where blocks take their memory from, for one reader of several shards; None for buffers of its own.

    Raises:
        ShardError: The bytes are no tar, are damaged, or stop before the end of the tar.
        LimitError: An extended header is larger than 1 MiB.
    """
    buffers = buffers or Buffers()
    left = np.empty(0, np.uint8)
    position = 0
    finished = False
    while not finished:
        buffer = buffers.take(max(block_bytes, 2 * len(left)))
        buffer[: len(left)] = left
        filled = _fill(stream, buffer, len(left))
        at_end = filled < len(buffer)
        buffer = buffer[:filled]
        found = find_members(buffer, shard=shard, position=position, at_end=at_end)
        members, finished = found.members, found.finished
        count = len(members) if finished else before_last_sample(members)
        if count:
            yield Block(shard, position, members if count == len(members) else members.first(count))
        if at_end and not finished:
            raise _cut_short(buffer, shard=shard, position=position)
        begin = int(members.starts[count]) if count < len(members) else found.end
        left = buffer[begin:]
        position += begin
    _drain(stream)


def _fill(stream: Stream, buffer: NDArray[np.uint8], filled: int) -> int:
    """Read until the buffer is full or the stream at its end; return how many bytes the buffer holds."""
    view = buffer.data
    while filled < len(buffer) and (count := stream.readinto(view[filled:])):
        filled += count
    return filled


def _drain(stream: Stream) -> None:
    view = memoryview(bytearray(64 << 10))
    while stream.readinto(view):
        pass


def _cut_short(buffer: NDArray[np.uint8], *, shard: str, position: int) -> ShardError:
    size = position + len(buffer)
    if size == 0:
        return ShardError("this is an empty file, not a tar", shard=shard)
    if size < BLOCK:
        try:
            parse_header(buffer.tobytes().ljust(BLOCK, b"\0"))
        except ShardError as error:
            return ShardError(str(error), shard=shard)
    return ShardError(
        f"cut short: it stops after {size:,} bytes, before the blocks of zeros that end a tar", shard=shard
    )
