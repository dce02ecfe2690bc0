"""A store around a store that hands out no byte before a digest has been found right.

Where the record names the CID of a shard's index, and the place serves ranges, a shard is checked block by block while
it streams, and ranges are widened to whole blocks (`atdata.storage.block_table`). Else the whole shard is read into the
cache first (`atdata.storage.fills`), checked there, and served from there; while shards are read in order, the next one
comes in the meantime, one at most.
"""

import os
import sys
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

from atdata.errors import IntegrityError
from atdata.redaction import redacted
from atdata.storage.base import RandomAccess, Shard, Store, Stream
from atdata.storage.block_table import BlockTable, CheckedStream, read_table
from atdata.storage.cache import Cache, Key
from atdata.storage.file import FileStream
from atdata.storage.fill_stream import FillError, Progress
from atdata.storage.fills import Fill, Fills
from atdata.syntax import Cid

MAX_TABLES = 256  # shards whose digests are kept; those of a shard of 1 GB take 128 KB
MAX_IN_MEMORY = 128 << 20  # bytes of a shard that may be spooled in memory, where the disk does not take it
AHEAD_AFTER = 8 << 20  # bytes of a shard that are read before the next one is fetched; half of it, where that is less


class VerifiedStore:
    """Serves shards of another store, each byte checked before it is handed out.

    Paths without facts, and shards without a CID, pass through unchecked.

    Args:
        inner: Where the bytes come from.
        shards: What is at each path, in the order in which they are mostly read. Only CIDv1 raw sha-256 can be checked.
        cache: Where shards are kept that must be checked as a whole; None for the user's cache. Files of this machine
            are copied as well, since they may change, but not kept.
        place: Names the place in errors, where the path does not.
    """

    def __init__(
        self, inner: Store, shards: Mapping[str, Shard], *, cache: Cache | None = None, place: str = ""
    ) -> None:
        self._inner = inner
        self._shards = dict(shards)
        self._cache = cache or Cache()
        self._place = place
        self._fills = Fills(self._cache)
        self._following = dict(zip(self._shards, list(self._shards)[1:], strict=False))
        self._begin()

    def _begin(self) -> None:
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._tables: OrderedDict[str, BlockTable | None] = OrderedDict()
        self._expected = next(iter(self._shards), None)

    def __getstate__(self) -> dict[str, Any]:
        return {"inner": self._inner, "shards": self._shards, "cache": self._cache, "place": self._place}

    def __setstate__(self, state: dict[str, Any]) -> None:
        VerifiedStore.__init__(self, state["inner"], state["shards"], cache=state["cache"], place=state["place"])

    @property
    def plain(self) -> Store:
        """The inner store: the same bytes, unchecked."""
        return self._inner

    @property
    def unverified(self) -> Store | None:
        """The inner store, for who checks blocks by the index of a shard; None where it has no ranges."""
        return self._inner if getattr(self._inner, "ranges", True) else None

    @property
    def shards(self) -> Mapping[str, Shard]:
        """What is at each path."""
        return self._shards

    def streams(self, path: str) -> bool:
        """Whether a shard is checked block by block, as far as is known without asking its place."""
        shard = self._shards.get(path, Shard())
        known = shard.index is not None and shard.cid is not None and shard.bytes is not None
        return known and getattr(self._inner, "ranges", True) and self._tables.get(path, True) is not None

    def open(self, path: str, *, start: int = 0, stop: int | None = None) -> Stream:
        """Stream a checked shard; see `Store.open`.

        Raises:
            IntegrityError: The bytes have another digest or length than the facts say.
            UnavailableError: The place does not answer, or the disk does not take a shard that must be checked whole.
        """
        shard = self._shards.get(path)
        if shard is None or shard.cid is None:
            return self._inner.open(path, start=start, stop=stop)
        label = self.label(path)
        if not shard.cid.is_raw_sha256:
            raise IntegrityError(f"{shard.cid} is not the CID of a shard (CIDv1, raw, sha-256)", shard=label)
        if (table := self._table(path, shard)) is not None:
            end = table.size if stop is None else stop
            return CheckedStream(self._inner, path, table, start=start, stop=end, label=label)
        file = FileStream(self._whole(path, shard, shard.cid), path, start, stop)
        following = self._next(path) if start == 0 and stop is None else None
        if following is None:
            return file
        return _Watched(file, min(AHEAD_AFTER, (shard.bytes or 0) // 2), lambda: self._fetch_ahead(following))

    def size(self, path: str) -> int:
        """Length of a shard, in bytes: from its facts, else as the inner store says."""
        shard = self._shards.get(path)
        return shard.bytes if shard is not None and shard.bytes is not None else self._inner.size(path)

    def label(self, path: str) -> str:
        """Names a shard and its place, without secrets."""
        return f"{redacted(path)} at {self._place}" if self._place else redacted(path)

    def _table(self, path: str, shard: Shard) -> BlockTable | None:
        if self._process != os.getpid():
            self._begin()  # after a fork the lock may be held by a thread that is not here
        if not self.streams(path) or shard.index is None or shard.bytes is None:
            return None
        with self._lock:
            if path in self._tables:
                self._tables.move_to_end(path)
                return self._tables[path]
        try:
            table = read_table(self._inner, path, index=shard.index, size=shard.bytes)
        except IntegrityError:
            table = self._table_again(path, shard.index, shard.bytes)
        with self._lock:
            self._tables[path] = table
            while len(self._tables) > MAX_TABLES:
                self._tables.popitem(last=False)
        return table

    def _table_again(self, path: str, index: Cid, size: int) -> BlockTable | None:
        try:
            return read_table(self._inner, path, index=index, size=size)
        except IntegrityError as error:
            raise IntegrityError(str(error), shard=self.label(path)) from error

    def _whole(self, path: str, shard: Shard, cid: Cid) -> int:
        """A descriptor of the whole shard, checked. What is wrong is fetched once more."""
        try:
            return self._fetched(path, shard, cid)
        except IntegrityError:
            return self._fetched(path, shard, cid)

    def _fetched(self, path: str, shard: Shard, cid: Cid) -> int:
        in_memory = False
        if shard.bytes is not None and not self._is_near(path):
            key = Key(str(cid), shard.bytes)
            if (found := self._cache.find(key)) is not None:
                return found
            progress = self._fill(path, shard, cid)
            if progress is not None:
                try:
                    return _wait_whole(progress)
                except FillError:
                    in_memory = shard.bytes <= MAX_IN_MEMORY
        fill = self._spool(path, shard, cid, in_memory=in_memory)
        try:
            return _wait_whole(fill)
        finally:
            fill.leave()

    def _fill(self, path: str, shard: Shard, cid: Cid) -> Progress | None:
        key = Key(str(cid), shard.bytes or 0)
        inner = self._inner
        return self._fills.enter(key, lambda: inner.open(path), checked=False, cid=cid, label=self.label(path))

    def _spool(self, path: str, shard: Shard, cid: Cid, *, in_memory: bool = False) -> Fill:
        inner = self._inner
        return self._fills.spool(
            path, lambda: inner.open(path), cid=cid, size=shard.bytes, label=self.label(path), in_memory=in_memory
        )

    def _is_near(self, path: str) -> bool:
        kept = self._inner.open_at(path) if isinstance(self._inner, RandomAccess) else None
        if kept is not None:
            kept.close()
        return kept is not None

    def _next(self, path: str) -> str | None:
        """The shard that will be wanted after this one, where they are read in order."""
        expected, self._expected = self._expected, self._following.get(path)
        return self._expected if path == expected else None

    def _fetch_ahead(self, path: str) -> None:
        shard = self._shards[path]
        if shard.cid is None or shard.bytes is None or self._is_near(path) or self.streams(path):
            return
        if (found := self._cache.find(Key(str(shard.cid), shard.bytes))) is not None:
            os.close(found)
        elif self._fill(path, shard, shard.cid) is None:
            self._spool(path, shard, shard.cid)


def _wait_whole(progress: Progress) -> int:
    while not progress.is_whole:
        if progress.error is not None:
            raise progress.error
        progress.wait(sys.maxsize)
    return os.dup(progress.descriptor)


class _Watched:
    """A stream that says once that so many bytes of it have been read."""

    def __init__(self, inner: Stream, after: int, tell: Callable[[], None]) -> None:
        self._inner = inner
        self._left: int | None = after
        self._tell = tell

    def readinto(self, buffer: memoryview, /) -> int:
        count = self._inner.readinto(buffer)
        if self._left is not None:
            self._left -= count
            if self._left < 0:
                self._left = None
                self._tell()
        return count

    def close(self) -> None:
        self._inner.close()
