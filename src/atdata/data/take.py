"""Samples of any numbers, from any shards: one after another, or as an order gives them.

For each shard, the samples that are wanted of it are read together (`atdata.data.access`); files one after another,
other places several at a time. A *chunk* is what is read at once: as many samples as an order wants together, and
otherwise so many that calls are few and memory is bounded. From afar, the next chunk is fetched while one is handed
out.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import chain, pairwise
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from atdata.data.blocks import Block
from atdata.data.orders import Order
from atdata.data.ranges import at_once
from atdata.data.shards import Shards
from atdata.data.spans import are_counted, members_at
from atdata.errors import AtdataError

T = TypeVar("T")

SHARDS_AT_ONCE = 16  # that are fetched from at a time, where they are not files
_CHUNK = 4096  # samples, at most
_FIRST_CHUNK = 256  # samples of the first chunk, so that the first sample comes soon; each is twice the one before
_CHUNK_BYTES = 16 << 20

Numbers = NDArray[np.int64]


def take(shards: Shards, ids: Numbers, sample_type: type[T], *, mapped: bool = True) -> list[T]:
    """Read samples by their numbers, in the order given; a number may come more than once.

    Args:
        mapped: Files may be read as memory, which counts as memory of this process: not for whole datasets.

    Raises:
        IndexError: A sample is not there, from either end.
        Whatever `atdata.data.access.ShardAccess.sample` raises.
    """
    if not len(ids):
        return []
    # Increasing, so the samples of one shard come together, as they stand in it, and each once.
    wanted, back = np.unique(shards.counted(ids), return_inverse=True)
    numbers, places = shards.locate_all(wanted)
    borders = [0, *(np.flatnonzero(np.diff(numbers)) + 1).tolist(), len(numbers)]
    groups = [(int(numbers[first]), places[first:last]) for first, last in pairwise(borders)]
    found = _together(shards, groups, sample_type, mapped=mapped) if shards.are_local() else None
    if found is None:
        calls = [partial(_read, shards, number, inside, sample_type, mapped) for number, inside in groups]
        lists = at_once(calls, 1 if shards.are_local() else SHARDS_AT_ONCE)
        found = list(chain.from_iterable(lists))
    return list(map(found.__getitem__, back.tolist()))


def _read(shards: Shards, number: int, places: Numbers, sample_type: type[T], mapped: bool) -> list[T]:
    return shards.access(number).samples(places, sample_type, mapped=mapped)


def _together(
    shards: Shards, groups: Sequence[tuple[int, Numbers]], sample_type: type[T], *, mapped: bool
) -> list[T] | None:
    """The samples of several files decoded as one block, which costs little for each file.

    None where that is not possible, or any of them is odd or wrong: each shard alone will say what it is.
    """
    if sample_type is dict:
        return None
    accesses = [shards.access(number) for number, _ in groups]
    spans = [access.spans(places) for access, (_, places) in zip(accesses, groups, strict=True)]
    if any(span.shard is None for span in spans):
        return None
    data = shards.memory.empty(sum(span.size for span in spans))
    place = 0
    for access, span in zip(accesses, spans, strict=True):
        access.fill(data[place : place + span.size], span, mapped=mapped)
        place += span.size
    sizes = np.concatenate([span.stops - span.starts for span in spans])
    members = members_at(data, np.concatenate(([0], np.cumsum(sizes))))
    names = np.repeat([span.shard or 0 for span in spans], [len(places) for _, places in groups])
    if members is None or not are_counted(members, names, np.concatenate([places for _, places in groups])):
        return None
    try:
        return shards.decoders.samples(Block("", 0, members), sample_type)
    except AtdataError:
        return None


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
