"""Digests of all blocks of one shard, and a stream that hands out no byte before the digest of its block has agreed.

The chain of trust: the record names the CID of the index (sha-256), the index has a BLAKE3 digest of each 256 KiB
before it. The index itself, and the zeros behind it, are checked when the table is made, and get digests of their own
then, so that every byte of the shard has one. Nothing of a shard is kept but its digests: 32 bytes for each 256 KiB.
"""

import hashlib
from contextlib import closing
from dataclasses import dataclass

from atdata.errors import IntegrityError
from atdata.storage.base import Store, Stream, read_all
from atdata.storage.index_footer import (
    DIGEST_BLOCK,
    DIGEST_BYTES,
    END_BYTES,
    FOOTER,
    MAGIC,
    MAX_PAYLOAD,
    TAIL,
    Frame,
    find_frame,
    index_header,
)
from atdata.syntax import Cid, raw_cid


@dataclass(frozen=True, slots=True)
class BlockTable:
    """The digests of a shard's blocks.

    Blocks have 256 KiB; the last one before the index is shorter, the next one begins with the index, and the last one
    is shorter again.

    Attributes:
        size: Bytes of the shard.
        middle: Where the index begins.
        digests: BLAKE3 of each block, 32 bytes each.
    """

    size: int
    middle: int
    digests: bytes

    def span(self, position: int) -> tuple[int, int]:
        """``(start, stop)`` of the block in which a byte lies."""
        first, last = (0, self.middle) if position < self.middle else (self.middle, self.size)
        start = first + (position - first) // DIGEST_BLOCK * DIGEST_BLOCK
        return start, min(start + DIGEST_BLOCK, last)

    def number(self, start: int) -> int:
        """The number of the block that begins at a byte."""
        if start < self.middle:
            return start // DIGEST_BLOCK
        return -(-self.middle // DIGEST_BLOCK) + (start - self.middle) // DIGEST_BLOCK

    def is_right(self, start: int, data: memoryview) -> bool:
        """Whether these are the bytes of the block that begins at ``start``."""
        place = self.number(start) * DIGEST_BYTES
        return _blake3(data) == self.digests[place : place + DIGEST_BYTES]


def _blake3(data: bytes | memoryview) -> bytes:
    from blake3 import blake3

    return blake3(data).digest()


def read_table(store: Store, path: str, *, index: Cid, size: int) -> BlockTable | None:
    """Read the end of a shard, check it, and make the table.

    One read of 64 KiB, a second one where the index is longer; memory is the index itself, 256 MiB at most.

    Args:
        index: CID of the payload of the index, as the record names it.
        size: Bytes of the shard.

    Returns:
        None where the end of the shard can't be had, or not be checked by the CID of the index alone: the server knows
        no Range; the index is of a format that this release does not know, or its header is not as the format says.

    Raises:
        IntegrityError: The index is not the one that the record names.
        The same as `Store.open`.
    """
    start = max(0, size - TAIL)
    tail = _read_tail(store, path, start, size)
    if tail is None:
        return None
    if len(tail) != size - start:
        raise IntegrityError(f"expected {size:,} bytes, found {start + len(tail):,}")
    footer = tail[-END_BYTES - FOOTER.size : -END_BYTES]
    if not footer.startswith(MAGIC):
        raise IntegrityError(f"the shard has no index; its record names {index}")
    frame = find_frame(footer, size)
    if frame is None or frame.stop - frame.payload > MAX_PAYLOAD:
        return None
    if frame.start < start:
        tail = read_all(store, path, start=frame.start, stop=start, limit=start - frame.start) + tail
    else:
        tail = tail[frame.start - start :]
    if len(tail) != size - frame.start:
        raise IntegrityError("the shard ends inside of its index")
    return _checked_table(memoryview(tail), frame, index=index, size=size)


def _read_tail(store: Store, path: str, start: int, stop: int) -> bytes | None:
    """The end of a shard; None where a server without Range would send all that is before it."""
    data = bytearray(stop - start)
    filled = 0
    with closing(store.open(path, start=start, stop=stop)) as stream:
        if getattr(stream, "passed_over", 0):
            return None
        while filled < len(data) and (count := stream.readinto(memoryview(data)[filled:])):
            filled += count
    return bytes(data[:filled])


def _checked_table(tail: memoryview, frame: Frame, *, index: Cid, size: int) -> BlockTable | None:
    payload = tail[frame.payload - frame.start : frame.stop - frame.start]
    found = raw_cid(hashlib.sha256(payload).digest())
    if found != index:
        raise IntegrityError(f"expected an index with the CID {index}, found {found}")
    if tail[: frame.payload - frame.start] != index_header(len(payload)) or any(tail[-END_BYTES:]):
        return None
    digests = bytes(tail[frame.digests - frame.start : frame.zeros - frame.start])
    own = b"".join(_blake3(tail[at : at + DIGEST_BLOCK]) for at in range(0, len(tail), DIGEST_BLOCK))
    return BlockTable(size, frame.start, digests + own)


class CheckedStream:
    """Bytes of a shard from ``start`` up to ``stop``, each checked with its block before it is handed out.

    A block that is wrong is fetched once more, since the fault may lie on the way.

    Args:
        store: Gives the bytes; the range is widened to whole blocks.
        label: Names the shard and its place, for errors.

    Attributes:
        received: Bytes that have come, checked or not: whoever waits sees that there is progress.
    """

    def __init__(self, store: Store, path: str, table: BlockTable, *, start: int, stop: int, label: str) -> None:
        self._store = store
        self._path = path
        self._table = table
        self._label = label
        self._position, self._stop = start, min(stop, table.size)
        self._left = memoryview(b"")
        self._own: memoryview | None = None
        self.received = 0
        self._inner: Stream | None = None
        if self._position < self._stop:
            self._next = table.span(self._position)[0]
            self._inner = self._open(self._next)

    def readinto(self, buffer: memoryview, /) -> int:
        """Fill a buffer with at most one block; 0 only at the end.

        Raises:
            IntegrityError: A block has another digest, or is cut short.
            The same as `Stream.readinto`.
        """
        buffer = buffer[: max(0, self._stop - self._position)]
        if not len(buffer):
            return 0
        if not len(self._left):
            start, stop = self._next, self._table.span(self._next)[1]
            if start == self._position and stop - start <= len(buffer):
                self._fetch(buffer[: stop - start], start)
                self._position = stop
                return stop - start
            if self._own is None:
                self._own = memoryview(bytearray(DIGEST_BLOCK))
            self._fetch(self._own[: stop - start], start)
            self._left = self._own[self._position - start : stop - start]
        count = min(len(buffer), len(self._left))
        buffer[:count] = self._left[:count]
        self._left = self._left[count:]
        self._position += count
        return count

    def close(self) -> None:
        """Release the inner stream. May be called twice."""
        self._stop = self._position
        inner, self._inner = self._inner, None
        if inner is not None:
            inner.close()

    def _open(self, start: int) -> Stream:
        return self._store.open(self._path, start=start, stop=self._table.span(self._stop - 1)[1])

    def _fetch(self, block: memoryview, start: int) -> None:
        try:
            self._receive(block, start)
        except IntegrityError:
            if self._inner is not None:
                self._inner.close()
            self._inner = self._open(start)
            self._receive(block, start)
        self._next = start + len(block)

    def _receive(self, block: memoryview, start: int) -> None:
        filled = 0
        if self._inner is not None:
            while filled < len(block) and (count := self._inner.readinto(block[filled:])):
                filled += count
                self.received += count
        if filled < len(block):
            raise IntegrityError(f"ends at byte {start + filled:,} of {self._table.size:,}", shard=self._label)
        if not self._table.is_right(start, block):
            number = self._table.number(start)
            raise IntegrityError(
                f"block {number:,} (bytes {start:,} to {start + len(block):,}) has another digest than the index says",
                shard=self._label,
            )
