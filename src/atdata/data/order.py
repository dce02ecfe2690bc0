"""Shuffling through a buffer, grouping, how far an iteration in order has come, and what tells datasets apart.

Functions of their arguments alone: reading is `atdata.data.reader`, orders of all samples are `atdata.data.orders`. A
dataset is known by what its shards are, not by where they lie, so one that has moved goes on where it stopped.
"""

import hashlib
import operator
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from random import Random
from typing import Any, TypeVar

from atdata.storage.base import Shard

T = TypeVar("T")

_STATE_VERSION = 1


def shuffle(items: Iterable[T], *, size: int, rng: Random) -> Iterator[T]:
    """Shuffle through a buffer of ``size`` items.

    Memory is ``size`` items. An item moves fewer than ``size`` places earlier, and any distance later. A size of 1 or
    less leaves the order alone.
    """
    if size <= 1:
        yield from items
        return
    buffer: list[T] = []
    for item in items:
        if len(buffer) < size:
            buffer.append(item)
            continue
        i = int(rng.random() * size)
        buffer[i], item = item, buffer[i]
        yield item
    rng.shuffle(buffer)
    yield from buffer


def check_batch_size(size: int) -> None:
    """Refuse a batch of no samples.

    Raises:
        ValueError: ``size`` is less than one.
    """
    if size < 1:
        raise ValueError(f"a batch has one sample or more, not {size}")


def batched(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of ``size`` items, one or more; the last one of what is left."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch


@dataclass(slots=True)
class Position:
    """How far an iteration in order has come.

    Attributes:
        shard: Number of the current shard.
        sample: Samples taken, counted from the start of that shard; may go on beyond its end.
        before: Samples of the shards before it.
    """

    shard: int = 0
    sample: int = 0
    before: int = 0

    def next_shard(self) -> None:
        """Go on to the start of the next shard."""
        self.shard, self.sample, self.before = self.shard + 1, 0, self.before + self.sample

    def restart(self) -> None:
        """Go back to the start."""
        self.shard = self.sample = self.before = 0


def state_of(position: Position, *, fingerprint: str) -> dict[str, Any]:
    """A position as a JSON value, with the fingerprint of the dataset that it belongs to."""
    return {
        "version": _STATE_VERSION,
        "fingerprint": fingerprint,
        "shard": position.shard,
        "sample": position.sample,
        "samples": position.before + position.sample,
    }


def position_in(state: Mapping[str, Any], *, fingerprint: str, shards: int) -> Position:
    """The position in what `state_of` gave.

    Args:
        state: Perhaps of another dataset or release.
        fingerprint: That of the dataset in which to go on.
        shards: How many it has.

    Raises:
        ValueError: It is the state of another dataset, or none at all.
    """
    try:
        version, theirs = state["version"], state["fingerprint"]
        shard, sample, samples = (operator.index(state[key]) for key in ("shard", "sample", "samples"))
    except (KeyError, TypeError) as error:
        raise ValueError(f"not a state of a dataset: {error!r}") from error
    if version != _STATE_VERSION:
        raise ValueError(f"a state of version {version!r}; this release reads version {_STATE_VERSION}")
    if theirs != fingerprint:
        raise ValueError("the state of another dataset, or of one whose shards have changed since")
    if not (0 <= shard <= shards and 0 <= sample <= samples):
        raise ValueError(f"not a state of a dataset: shard {shard} of {shards}, sample {sample} of {samples}")
    return Position(shard, sample, samples - sample)


def fingerprint(shard: Shard, url: str) -> str:
    """What tells one shard from another: its CID, else a hash of ``(URL as written, size, samples)``.

    Args:
        shard: What is known of it.
        url: Where it is read from; counts only where there is no CID.
    """
    if shard.cid is not None:
        return str(shard.cid)
    return hashlib.sha256(f"{url}\n{shard.bytes}\n{shard.samples}".encode()).hexdigest()


def fingerprint_of_all(fingerprints: Iterable[str]) -> str:
    """What tells one dataset from another: a hash of the fingerprints of its shards, in order. 64 hex digits."""
    whole = hashlib.sha256()
    for one in fingerprints:
        whole.update(one.encode() + b"\n")
    return whole.hexdigest()
