"""Parts of a shard, read at any place: few calls for many samples, and checked where digests are known.

A file is kept open, and read as memory, or by one call for each run of neighbouring spans. From any other store come
ranges: spans that lie near each other are fetched together, several ranges at a time. `CheckedRanges` widens ranges to
the blocks of 256 KiB that the index of a shard has digests of, and hands out no byte before the digest of its block has
agreed. What lies in the spans is `atdata.data.access`.

A file that shrinks while it is read as memory ends the process, as with Arrow or safetensors. Nothing that atdata
writes does that: files are replaced, never cut short.
"""

import threading
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from atdata.data.digests import block_digests
from atdata.data.index import DIGEST_BLOCK, ShardIndex
from atdata.data.memory import Memory
from atdata.errors import IntegrityError, ShardError
from atdata.storage.base import Positioned, RandomAccess, Store

GAP = 128 << 10  # bytes between two spans that are fetched along: they cost less than another request
MOST = 8 << 20  # bytes of one range, unless a single sample is longer
REQUESTS = 8  # ranges of one shard that are fetched at a time

_ROW = 16 << 10  # bytes up to which spans of one size are faster copied as rows of a table

T = TypeVar("T")
Offsets = NDArray[np.int64]


class Ranges(Protocol):
    """Reads the bytes of one shard. Threads may read at once.

    Attributes:
        near: True where a call costs about as much as its bytes, so that threads would not help.
    """

    @property
    def near(self) -> bool: ...

    def readinto(self, buffer: memoryview, position: int, /) -> None:
        """Fill a buffer of bytes from ``position`` on.

        Raises:
            ShardError: The shard ends before.
            IntegrityError: A block has another digest than the index says.
        """
        ...

    def fill(self, target: NDArray[np.uint8], starts: Offsets, stops: Offsets, /, *, mapped: bool) -> None:
        """Fill memory with the bytes of increasing spans, one after another. Raises as `readinto` does.

        Args:
            mapped: Whether a file may be read as memory.
        """
        ...

    def close(self) -> None:
        """Let go of the file, if one is open; the next read opens it again."""
        ...


class StoreRanges:
    """The bytes of one object as its store gives them.

    Args:
        store: Where the object is.
        path: Its path there.
        memory: Shared with the other shards of the dataset.
    """

    def __init__(self, store: Store, path: str, *, memory: Memory) -> None:
        self._store = store
        self._path = path
        self._memory = memory
        self._kept: Positioned | None = None
        self._mapped: NDArray[np.uint8] | None = None
        self._opened = self._unmappable = False
        self._lock = threading.Lock()

    @property
    def near(self) -> bool:
        """True for a file of this machine."""
        return self._open() is not None

    def readinto(self, buffer: memoryview, position: int, /) -> None:
        """Fill a buffer from ``position`` on; see `Ranges.readinto`."""
        kept = self._kept or self._open()
        memory = self._as_memory(kept, position + len(buffer))
        if memory is not None:
            buffer[:] = memory.data[position : position + len(buffer)]
        else:
            self._read(kept, buffer, position)

    def fill(self, target: NDArray[np.uint8], starts: Offsets, stops: Offsets, /, *, mapped: bool) -> None:
        """Fill memory with the bytes of increasing spans; see `Ranges.fill`."""
        kept = self._open()
        if kept is None:
            gather(target, starts, stops, joined(starts, stops, gap=GAP), self._piece)
            return
        memory = self._as_memory(kept, int(stops[-1])) if mapped else None
        if memory is not None:
            _copy(target, memory, starts, stops)
            return
        view, place = target.data, 0
        for start, stop in joined(starts, stops, gap=0):
            self._read(kept, view[place : place + stop - start], start)
            place += stop - start

    def close(self) -> None:
        """Let go of the file. It is closed once no thread reads it any more."""
        with self._lock:
            if self._mapped is not None:
                self._memory.unmap(len(self._mapped))
            self._kept, self._mapped, self._opened = None, None, False

    def _open(self) -> Positioned | None:
        if self._opened:
            return self._kept
        with self._lock:
            if not self._opened:
                self._kept = self._store.open_at(self._path) if isinstance(self._store, RandomAccess) else None
                self._opened = True
            return self._kept

    def _as_memory(self, kept: Positioned | None, stop: int) -> NDArray[np.uint8] | None:
        """The file as memory, where that is possible and reaches up to ``stop``."""
        mapped = self._mapped
        if mapped is None and kept is not None and not self._unmappable:
            with self._lock:
                view = kept.mapped()
                self._unmappable = view is None or not self._memory.map(len(view))
                if view is not None and not self._unmappable:
                    mapped = self._mapped = np.frombuffer(view, np.uint8)
        return mapped if mapped is not None and stop <= len(mapped) else None

    def _read(self, kept: Positioned | None, buffer: memoryview, position: int) -> None:
        filled = kept.readinto_at(buffer, position) if kept is not None else self._fetch(buffer, position)
        if filled < len(buffer):
            raise ShardError(
                f"{len(buffer):,} bytes were asked for from byte {position:,}, {filled:,} came", shard=self._path
            )

    def _piece(self, start: int, stop: int) -> NDArray[np.uint8]:
        piece = np.empty(stop - start, np.uint8)
        self.readinto(piece.data, start)
        return piece

    def _fetch(self, buffer: memoryview, position: int) -> int:
        filled = 0
        with closing(self._store.open(self._path, start=position, stop=position + len(buffer))) as stream:
            while filled < len(buffer) and (count := stream.readinto(buffer[filled:])):
                filled += count
        return filled


class CheckedRanges:
    """The bytes of one shard before its index, each block checked against its digest.

    Args:
        ranges: Gives the bytes.
        index: The index that the record of the dataset names.
        memory: Shared with the other shards of the dataset.
        shard: Name of the shard, for errors.
    """

    def __init__(self, ranges: Ranges, index: ShardIndex, *, memory: Memory, shard: str) -> None:
        self._ranges = ranges
        self._digests = index.digests
        self._end = int(index.offsets[-1])
        self._memory = memory
        self._shard = shard
        # A file that stays open is checked once: who can change it can change the program as well.
        self._seen = np.zeros(len(index.digests), np.bool_)

    @property
    def near(self) -> bool:
        """True for a file of this machine."""
        return self._ranges.near

    def readinto(self, buffer: memoryview, position: int, /) -> None:
        """Fill a buffer from ``position`` on; see `Ranges.readinto`."""
        stop = position + len(buffer)
        first, last = position // DIGEST_BLOCK, (stop - 1) // DIGEST_BLOCK
        if self.near and self._seen[first : last + 1].all():
            self._ranges.readinto(buffer, position)
        else:
            target = np.frombuffer(buffer, np.uint8)
            self.fill(target, np.array([position]), np.array([stop]), mapped=True)

    def fill(self, target: NDArray[np.uint8], starts: Offsets, stops: Offsets, /, *, mapped: bool) -> None:
        """Fill memory with the bytes of increasing spans; see `Ranges.fill`."""
        begins = starts // DIGEST_BLOCK * DIGEST_BLOCK
        ends = np.minimum(-(-stops // DIGEST_BLOCK) * DIGEST_BLOCK, self._end)
        wide = joined(begins, ends, gap=0)
        if not self.near:
            gather(target, starts, stops, wide, self._piece)
            return
        for begin, end in wide:
            if not self._seen[begin // DIGEST_BLOCK : -(-end // DIGEST_BLOCK)].all():
                self._piece(begin, end)
        self._ranges.fill(target, starts, stops, mapped=mapped)

    def close(self) -> None:
        """Let go of the file; what it holds is checked again when it is opened again."""
        self._seen[:] = False
        self._ranges.close()

    def _piece(self, start: int, stop: int) -> NDArray[np.uint8]:
        """Whole blocks, checked. Runs of blocks that are not kept are read at once."""
        piece = np.empty(stop - start, np.uint8)
        numbers = range(start // DIGEST_BLOCK, -(-stop // DIGEST_BLOCK))
        known = {number: block for number in numbers if (block := self._memory.block(self._shard, number)) is not None}
        missing = [number for number in numbers if number not in known]
        for number, block in known.items():
            place = number * DIGEST_BLOCK - start
            piece[place : place + len(block)] = block
        position = 0
        while position < len(missing):
            count = 1
            while position + count < len(missing) and missing[position + count] == missing[position] + count:
                count += 1
            self._fetch(piece, start, missing[position], count)
            position += count
        return piece

    def _fetch(self, piece: NDArray[np.uint8], start: int, number: int, count: int) -> None:
        begin = number * DIGEST_BLOCK
        data = piece[begin - start : min(begin + count * DIGEST_BLOCK, self._end) - start]
        self._ranges.readinto(data.data, begin)
        for i, digest in enumerate(block_digests(data.data)):
            if digest != self._digests[number + i].tobytes():
                raise IntegrityError(f"block {number + i} has another digest than the index says", shard=self._shard)
            if not self.near:
                self._memory.keep(self._shard, number + i, data[i * DIGEST_BLOCK : (i + 1) * DIGEST_BLOCK].copy())
        self._seen[number : number + count] = True


def _copy(target: NDArray[np.uint8], memory: NDArray[np.uint8], starts: Offsets, stops: Offsets) -> None:
    """Copy spans of memory, one after another."""
    sizes = stops - starts
    size = int(sizes[0])
    if size <= _ROW and (sizes == size).all():
        rows = np.ndarray((len(memory) - size + 1, size), np.uint8, memory, 0, (1, 1))
        target.reshape(-1, size)[:] = rows[starts]
    else:
        pieces = [memory[start:stop] for start, stop in zip(starts.tolist(), stops.tolist(), strict=True)]
        np.concatenate(pieces, out=target)


def joined(starts: Offsets, stops: Offsets, *, gap: int) -> list[tuple[int, int]]:
    """Increasing spans as fewer ones: those within ``gap`` bytes of one another are one, of at most `MOST` bytes."""
    merged: list[tuple[int, int]] = []
    for start, stop in zip(starts.tolist(), stops.tolist(), strict=True):
        if merged and start - merged[-1][1] <= gap and stop - merged[-1][0] <= MOST:
            merged[-1] = merged[-1][0], max(stop, merged[-1][1])
        else:
            merged.append((start, stop))
    return merged


def gather(
    target: NDArray[np.uint8],
    starts: Offsets,
    stops: Offsets,
    wide: list[tuple[int, int]],
    fetch: Callable[[int, int], NDArray[np.uint8]],
) -> None:
    """Cut spans out of the wider ones that hold them, which are fetched several at a time."""
    pieces = at_once([partial(fetch, *span) for span in wide], REQUESTS)
    place = number = 0
    for start, stop in zip(starts.tolist(), stops.tolist(), strict=True):
        while stop > wide[number][1]:
            number += 1
        first = wide[number][0]
        target[place : place + stop - start] = pieces[number][start - first : stop - first]
        place += stop - start


def at_once(calls: Sequence[Callable[[], T]], threads: int) -> list[T]:
    """The results of some calls, made in as many threads; the first error in order is raised."""
    if len(calls) < 2 or threads < 2:
        return [call() for call in calls]
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(min(threads, len(calls)), thread_name_prefix="atdata-ranges") as pool:
        jobs = [pool.submit(call) for call in calls]
        try:
            return [job.result() for job in jobs]
        finally:
            for job in jobs:
                job.cancel()
