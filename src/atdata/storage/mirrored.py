"""A store around the places where the same shards lie. What one does not give another one does, from the same byte on.

Places are asked in the order in which they answered so far; those that nobody knows yet are asked at once, and the
first one to answer is taken. A place that brings no byte for some seconds (`STALL` in `atdata.storage.takeover`) is
left for the next one; so is one that cuts, refuses, or lies. When all have failed so, those that only were slow are
asked once more, with all the patience that their stores have. Only then there is an error, which names the shard, every
place, and why each failed.

What was handed out is never fetched again. Bytes that can be checked while they come are joined at the block where the
last place failed. Shards that must be checked as a whole are joined at the byte, and checked then; where that fails,
each place is taken alone. Shards that nobody can check come from one place each.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from atdata.errors import AtdataError, IntegrityError
from atdata.redaction import redacted
from atdata.storage.base import Shard, Store, Stream
from atdata.storage.cache import Cache
from atdata.storage.takeover import STALL, Failures, JoinedStream, Ranking, Source
from atdata.storage.verified import VerifiedStore


@dataclass(frozen=True, slots=True)
class Place:
    """One place where the shards lie.

    Attributes:
        name: Names it in errors, without secrets.
        store: Reads and checks them.
        paths: Where each shard lies there, by its path in the mirrored store.
    """

    name: str
    store: VerifiedStore
    paths: Mapping[str, str]


class MirroredStore:
    """Serves shards from several places as if they were one.

    Args:
        places: Of which the first is the one of the record's storage; its order counts until more is known.
        cache: Where shards are kept that must be checked as a whole; None for the user's cache.
        stall: Seconds without a byte after which another place is asked.
    """

    def __init__(self, places: Sequence[Place], *, cache: Cache | None = None, stall: float = STALL) -> None:
        self._places = tuple(places)
        self._cache = cache or Cache()
        self._stall = stall
        self._ranking = Ranking(len(self._places))
        facts: dict[str, Shard] = {}
        for place in self._places:
            for path, there in place.paths.items():
                if path not in facts and (shard := place.store.shards.get(there)) is not None:
                    facts[path] = shard
        self._facts = facts
        self._whole = VerifiedStore(_Joined(self), facts, cache=self._cache)

    def __getstate__(self) -> dict[str, Any]:
        return {"places": self._places, "cache": self._cache, "stall": self._stall}

    def __setstate__(self, state: dict[str, Any]) -> None:
        MirroredStore.__init__(self, state["places"], cache=state["cache"], stall=state["stall"])

    @property
    def plain(self) -> Store:
        """The same bytes, unchecked, of any place."""
        return _Joined(self)

    def streams(self, path: str) -> bool:
        """Whether a place gives a shard that is checked block by block."""
        return any(self._places[number].store.streams(self._path(number, path)) for number in self._having(path))

    def open(self, path: str, *, start: int = 0, stop: int | None = None) -> Stream:
        """Stream a shard from the places that have it; see `Store.open`.

        Raises:
            NotFoundError: No place has it.
            IntegrityError: What every place gives is wrong.
            UnavailableError: Every place failed; the message says how each did.
        """
        shard = self._facts.get(path, Shard())
        if shard.cid is None:
            return self._joined(path, start, stop, checked=False, joins=False)
        if self.streams(path):
            return self._joined(path, start, stop, checked=True, joins=True)
        try:
            return self._whole.open(path, start=start, stop=stop)
        except IntegrityError as error:
            return self._open_alone(path, start, stop, error)

    def size(self, path: str) -> int:
        """Length of a shard, in bytes: from its facts, else as the first place says that answers."""
        shard = self._facts.get(path, Shard())
        if shard.bytes is not None:
            return shard.bytes
        failures = Failures(redacted(path))
        for number in self._having(path):
            try:
                return self._places[number].store.size(self._path(number, path))
            except AtdataError as error:
                failures.add(self._places[number].name, error)
        raise failures.error()

    def _joined(self, path: str, start: int, stop: int | None, *, checked: bool, joins: bool) -> Stream:
        sources = []
        for number, place in enumerate(self._places):
            if path in place.paths:
                there = place.paths[path]
                last = checked and not place.store.streams(there)  # it would be read whole before its first byte
                sources.append(Source(number, place.name, place.store if checked else place.store.plain, there, last))
        return JoinedStream(
            sources,
            self._ranking,
            label=redacted(path),
            start=start,
            stop=stop,
            size=self._facts.get(path, Shard()).bytes,
            joins=joins,
            stall=self._stall,
        )

    def _open_alone(self, path: str, start: int, stop: int | None, first: IntegrityError) -> Stream:
        """Each place by itself: of bytes of several places that are wrong together, nobody knows whose are."""
        failures = Failures(redacted(path))
        for number in self._having(path):
            try:
                return self._places[number].store.open(self._path(number, path), start=start, stop=stop)
            except AtdataError as error:
                self._ranking.failed(number)
                failures.add(self._places[number].name, error)
        raise failures.error() from first

    def _having(self, path: str) -> list[int]:
        return [number for number in self._ranking.order() if path in self._places[number].paths]

    def _path(self, number: int, path: str) -> str:
        return self._places[number].paths[path]


class _Joined:
    """The plain bytes of all places, joined where one fails. For who checks the whole."""

    def __init__(self, mirrored: MirroredStore) -> None:
        self._mirrored = mirrored

    def open(self, path: str, *, start: int = 0, stop: int | None = None) -> Stream:
        return self._mirrored._joined(path, start, stop, checked=False, joins=True)

    def size(self, path: str) -> int:
        return self._mirrored.size(path)
