"""Verification: every shard of a dataset against what its record says.

Each shard is read once, as it lies, and nothing of it is kept. A record that says nothing of its shards leaves little
to check: that they are there, and are shards.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from atdata.data.scan import scan_shard
from atdata.errors import AtdataError, LimitError, NotFoundError, ShardError
from atdata.loading.shards import RecordShards
from atdata.loading.workers import THREADS, Meter, MeteredStore, Progress, in_order, silent
from atdata.redaction import redacted
from atdata.storage.base import Shard


class State(StrEnum):
    """What was found of a shard."""

    OK = "ok"
    """It is the one that the record speaks of."""
    NO_DIGEST = "no digest"
    """It can be read, and the record has no digest to compare it with."""
    WRONG = "wrong"
    """It is another one, or none that can be read."""
    MISSING = "missing"
    """There is nothing at its place."""
    UNREACHABLE = "unreachable"
    """Its place can't be reached now, or not by this release."""


@dataclass(frozen=True, slots=True)
class ShardCheck:
    """What was found of one shard.

    Attributes:
        number: Of the shard, from 0.
        place: URL, path or CID, without secrets.
        state: In a word.
        why: In words; empty for `State.OK`.
        found: What the shard is; None where it could not be read to its end.
    """

    number: int
    place: str
    state: State
    why: str
    found: Shard | None = None

    @property
    def is_bad(self) -> bool:
        """Whether somebody has to look after it."""
        return self.state not in (State.OK, State.NO_DIGEST)


def verify(shards: RecordShards, *, threads: int = THREADS, progress: Progress = silent) -> Iterator[ShardCheck]:
    """Check the shards, several at a time; a `ShardCheck` for each one, in order.

    Compared are size, sha-256 (CID), number of samples, and the CID of the index; an index is compared with the shard
    as well, to each block. Memory is some 20 MiB a thread, however large the shards are.

    Args:
        threads: Shards at a time.
        progress: Is told the bytes that have been read, and the bytes in all, 0 where they are not known.
    """
    meter = Meter()
    store = MeteredStore(shards.store, meter)
    total = sum(fact.bytes or 0 for fact in shards.facts or ())

    def check(number: int) -> ShardCheck:
        path = shards.paths[number]
        found: Shard | None = None
        try:
            found = scan_shard(store, path)
            state, why = _compare(shards.fact(number), found)
        except NotFoundError as error:
            state, why = State.MISSING, str(error)
        except (ShardError, LimitError) as error:
            state, why = State.WRONG, str(error)
        except AtdataError as error:
            state, why = State.UNREACHABLE, str(error)
        return ShardCheck(number, redacted(path), state, why.removeprefix(f"{path}: "), found)

    yield from in_order(
        check,
        range(len(shards.paths)),
        meter=meter,
        threads=threads,
        tick=lambda: progress("verifying", meter.done, total),
    )


def _compare(said: Shard, found: Shard) -> tuple[State, str]:
    differences = [
        f"{name} {_text(is_)}, and the record says {_text(expected)}"
        for name, is_, expected in (
            ("bytes:", found.bytes, said.bytes),
            ("samples:", found.samples, said.samples),
            ("CID", found.cid, said.cid),
            ("index", found.index, said.index),
        )
        if expected is not None and is_ != expected
    ]
    if differences:
        return State.WRONG, "; ".join(differences)
    if said.cid is None:
        return State.NO_DIGEST, "the record has no digest of it: it was only read and counted"
    return State.OK, ""


def _text(value: object) -> str:
    return "none" if value is None else f"{value:,}" if isinstance(value, int) else str(value)
