"""Samples of any numbers, from any shards: one after another, or as an order gives them.

For each shard, the samples that are wanted of it are read together (`atdata.data.access`); files one after another,
other places several at a time. A *chunk* is what is read at once: as many samples as an order wants together, and
otherwise so many that calls are few and memory is bounded. From afar, the next chunk is fetched while one is handed
out.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from atdata.data.orders import Order
from atdata.data.ranges import at_once
from atdata.data.shards import Shards

T = TypeVar("T")

SHARDS_AT_ONCE = 16  # that are fetched from at a time, where they are not files
_CHUNK = 4096  # samples, at most
_FIRST_CHUNK = 256  # samples of the first chunk, so that the first sample comes soon; each is twice the one before
_CHUNK_BYTES = 16 << 20

Numbers = NDArray[np.int64]


def take(shards: Shards, ids: Numbers, sample_type: type[T]) -> list[T]:
    """Read samples by their numbers, in the order given; a number may come more than once.

    Raises:
        IndexError: A sample is not there, from either end.
        Whatever `atdata.data.access.ShardAccess.sample` raises.
    """
    numbers, places = shards.locate_all(ids)
    # The samples of one shard together, as they stand in it.
    order = np.lexsort((places, numbers))
    borders = np.flatnonzero(np.diff(numbers[order], prepend=-1))
    groups = [(int(numbers[group[0]]), group) for group in np.split(order, borders[1:]) if len(group)]

    def read(number: int, group: Numbers) -> list[T]:
        wanted = places[group]
        first = np.diff(wanted, prepend=-1) > 0
        found = shards.access(number).samples(wanted[first], sample_type)
        return found if len(found) == len(group) else [found[i] for i in (np.cumsum(first) - 1).tolist()]

    calls = [partial(read, number, group) for number, group in groups]
    near = all(shards.is_local(number) for number, _ in groups)
    samples: list[Any] = [None] * len(ids)
    for (_, group), found in zip(groups, at_once(calls, 1 if near else SHARDS_AT_ONCE), strict=True):
        for place, sample in zip(group.tolist(), found, strict=True):
            samples[place] = sample
    return samples


def taken(
    order: Order, positions: Iterable[Numbers], read: Callable[[Numbers], list[T]], *, sample_bytes: float, ahead: bool
) -> Iterator[T]:
    """The samples at some places of an order.

    Args:
        order: What stands where.
        positions: The places, in blocks.
        read: Gives the samples of some numbers.
        sample_bytes: About how large one is, to bound what is in memory.
        ahead: Fetch the next chunk while one is handed out.
    """
    most = int(min(max(_CHUNK_BYTES / max(sample_bytes, 1), 1), _CHUNK))
    chunks = (order.ids(chunk) for chunk in _chunks(order, positions, most))
    if not ahead:
        for ids in chunks:
            yield from read(ids)
        return
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1, thread_name_prefix="atdata-ahead") as pool:
        waiting = None
        for ids in chunks:
            following = pool.submit(read, ids)
            if waiting is not None:
                yield from waiting.result()
            waiting = following
        if waiting is not None:
            yield from waiting.result()


def _chunks(order: Order, positions: Iterable[Numbers], most: int) -> Iterator[Numbers]:
    """The places again, cut where the order wants it, else into chunks of at most ``most``."""
    size = min(_FIRST_CHUNK, most)
    waiting: list[Numbers] = []
    end: int | None = None
    for block in positions:
        rest = block
        while len(rest):
            if not waiting:
                end = order.until(int(rest[0]))
            # Padding starts again at the beginning of the order, below what came before.
            outside = (
                (rest < rest[0]) | (rest >= end) if end is not None else np.arange(len(rest)) >= size - _count(waiting)
            )
            count = int(outside.argmax()) if outside.any() else len(rest)
            if count:
                waiting.append(rest[:count])
            if count < len(rest) or (end is None and _count(waiting) >= size):
                if waiting:
                    yield np.concatenate(waiting)
                waiting, size = [], min(2 * size, most)
            rest = rest[count:]
    if waiting:
        yield np.concatenate(waiting)


def _count(parts: list[Numbers]) -> int:
    return sum(map(len, parts))
