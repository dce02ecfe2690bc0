"""Stores put around stores: the one way in which shards that lie somewhere are read.

``cached(mirrored([verified(a), verified(b)]))``: each place checks what it gives, the best one is read and the others
stand by, and what has been read stays on this machine. Where there is one place, or nothing is known of the shards, the
layers that would do nothing are left out.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from atdata.storage.base import Shard, Store
from atdata.storage.cache import Cache
from atdata.storage.cached import CachedStore
from atdata.storage.mirrored import MirroredStore, Place
from atdata.storage.takeover import STALL
from atdata.storage.verified import VerifiedStore


@dataclass(frozen=True, slots=True)
class Lying:
    """Where the shards of a dataset lie.

    Attributes:
        name: Names the place in errors, without secrets.
        store: Reads it, unchecked.
        paths: Where each shard lies in ``store``, in order.
    """

    name: str
    store: Store
    paths: Sequence[str]


def compose(
    places: Sequence[Lying],
    facts: Sequence[Shard] | None,
    *,
    cache: Cache | None = None,
    near: bool = False,
    stall: float = STALL,
) -> Store:
    """One store over all places of the same shards. Its paths are those of the first place. Nothing is opened.

    Args:
        places: The storage of the record, then its mirrors; each has as many paths as there are shards.
        facts: What each shard is; without, what comes is not checked, and comes from one place at a time.
        cache: Where shards are kept; None for the user's cache.
        near: The first place is on this machine, so that nothing is kept once more.
        stall: Seconds without a byte after which another place is asked.

    Raises:
        ValueError: A place has another number of paths than the first one.
    """
    first = places[0]
    if len(places) == 1 and not any(fact.cid for fact in facts or ()):
        return first.store
    shards = list(facts or [Shard()] * len(first.paths))
    kept = cache or Cache()
    checked = [
        VerifiedStore(
            place.store,
            dict(zip(place.paths, shards, strict=True)),
            cache=kept,
            place=place.name if len(places) > 1 else "",
        )
        for place in places
    ]
    inner: VerifiedStore | MirroredStore = checked[0]
    if len(places) > 1:
        inner = MirroredStore(
            [
                Place(place.name, store, dict(zip(first.paths, place.paths, strict=True)))
                for place, store in zip(places, checked, strict=True)
            ],
            cache=kept,
            stall=stall,
        )
    return inner if near else CachedStore(inner, dict(zip(first.paths, shards, strict=True)), cache=kept)
