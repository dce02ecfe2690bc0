"""A store whose shards stay on this machine once they have been read.

Whole, checked shards lie in the cache by their CID. One that is read from its start to its end comes into the cache
while it is read, by a thread that runs ahead, and whoever else reads it follows. Ranges of a shard that is not there
are read past the cache where they can be checked alone. Shards that must be checked as a whole the store behind puts
into the same cache (`atdata.storage.verified`).

A dataset that is larger than the whole cache would only turn it over: its shards are read past it where they can be.
"""

from collections.abc import Mapping
from typing import Any, Protocol

from atdata.redaction import redacted
from atdata.storage.base import Positioned, Shard, Store, Stream
from atdata.storage.cache import Cache, Key
from atdata.storage.file import FileAt, FileStream
from atdata.storage.fill_stream import FillStream
from atdata.storage.fills import Fills


class Checking(Store, Protocol):
    """A store that checks what it gives, as `VerifiedStore` and `MirroredStore` do."""

    def streams(self, path: str) -> bool:
        """Whether a shard is checked while it comes, and not as a whole before."""
        ...


class CachedStore:
    """Serves shards of another store, from this machine where they have been read before.

    Args:
        inner: Checks what it gives, and puts what it must check as a whole into the same cache.
        shards: What is at each path. Those without CID or length pass through.
        cache: Where whole shards are kept; None for the user's cache.
    """

    def __init__(self, inner: Checking, shards: Mapping[str, Shard], *, cache: Cache | None = None) -> None:
        self._inner = inner
        self._shards = dict(shards)
        self._cache = cache or Cache()
        self._fills = Fills(self._cache)
        self._fits = sum(shard.bytes or 0 for shard in self._shards.values()) <= self._cache.limit

    def __getstate__(self) -> dict[str, Any]:
        return {"inner": self._inner, "shards": self._shards, "cache": self._cache}

    def __setstate__(self, state: dict[str, Any]) -> None:
        CachedStore.__init__(self, state["inner"], state["shards"], cache=state["cache"])

    def open(self, path: str, *, start: int = 0, stop: int | None = None) -> Stream:
        """Stream a shard; see `Store.open`. Raises as the inner store does."""
        key = self._key(path)
        if key is None:
            return self._inner.open(path, start=start, stop=stop)
        if (found := self._cache.find(key)) is not None:
            return FileStream(found, redacted(path), start, stop)
        if not self._fits or start > 0 or (stop is not None and stop < key.size) or not self._inner.streams(path):
            return self._inner.open(path, start=start, stop=stop)
        inner = self._inner
        progress = self._fills.enter(
            key, lambda: inner.open(path), checked=True, cid=self._shards[path].cid, label=redacted(path)
        )
        if progress is None:
            return inner.open(path, start=start, stop=stop)
        return FillStream(
            progress, start=start, stop=key.size, fallback=lambda position: inner.open(path, start=position, stop=stop)
        )

    def open_at(self, path: str) -> Positioned | None:
        """A shard that is on this machine, or has to come there as a whole, kept open; None for any other."""
        key = self._key(path)
        if key is None:
            return None
        if (found := self._cache.find(key)) is None and not self._inner.streams(path):
            self._inner.open(path, stop=0).close()  # brings it
            found = self._cache.find(key)
        return None if found is None else FileAt(found, redacted(path))

    def size(self, path: str) -> int:
        """Length of a shard, in bytes."""
        return self._inner.size(path)

    def _key(self, path: str) -> Key | None:
        shard = self._shards.get(path, Shard())
        known = shard.cid is not None and shard.cid.is_raw_sha256 and shard.bytes is not None
        return Key(str(shard.cid), shard.bytes or 0) if known else None
