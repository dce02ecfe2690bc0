"""Shuffling where nobody knows how many samples there are: several shards are read at a time, through a buffer.

Nothing is known of such shards but their names: they have no index, and no record counts their samples. A fixed number
of them are read in turn, so that the buffer, which is full before the first sample leaves it, holds samples of all of
them. The stream is the same for all ranks and workers, who take their parts of it as it goes by; where it stands is the
number of samples that have passed, and a resume lets as many pass again.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from random import Random
from typing import TypeVar

from atdata.data.order import shuffle
from atdata.data.ranks import Part

T = TypeVar("T")

MOST_READ = 24  # shards that are read at a time
BLOCK_BYTES = 512 << 10  # of each, so that all of them together take no more than a few blocks of usual size


def mixed_stream(
    shards: Sequence[int], read: Callable[[int], Iterator[T]], *, buffer_shards: int, buffer_samples: int, rng: Random
) -> Iterator[T]:
    """All samples of some shards, shuffled. Memory is ``buffer_samples`` samples and a block of each shard being read.

    Args:
        shards: Their numbers.
        read: Gives the samples of a shard.
        buffer_shards: Shards that are read at a time; at most `MOST_READ` are.
        buffer_samples: Samples among which the next one is drawn.
        rng: Draws.
    """
    waiting = list(shards)
    rng.shuffle(waiting)
    return shuffle(in_turn(map(read, waiting), min(buffer_shards, MOST_READ)), size=buffer_samples, rng=rng)


def in_turn(sources: Iterable[Iterator[T]], width: int) -> Iterator[T]:
    """One item of each of ``width`` sources in turn; the next source takes the place of one that is at its end."""
    rest = iter(sources)
    current = deque(islice(rest, max(width, 1)))
    while current:
        source = current.popleft()
        for item in source:
            current.append(source)
            yield item
            break
        else:
            current.extendleft(islice(rest, 1))


def part_of(stream: Iterator[T], part: Part) -> Iterator[T]:
    """What one worker of one rank reads of a stream whose length nobody knows; ``part.total`` does not count.

    A row, a sample for each rank, is read whole before anything of it is handed out, so that all ranks have as many. Of
    a last row that is not full, nobody gets any, or it is filled with the first samples of the stream.
    """
    split = part.split
    pads = split.uneven == "pad"
    first: list[T] = []
    for item in islice(stream, part.start):
        if pads and len(first) < split.world:
            first.append(item)
    number = 0
    while row := list(islice(stream, split.world)):
        if pads and len(first) < split.world:
            first += row[: split.world - len(first)]
        while pads and len(row) < split.world:
            row += first[: split.world - len(row)]
        if len(row) == split.world and number // part.size % part.workers == part.worker:
            yield row[split.rank]
        number += 1
