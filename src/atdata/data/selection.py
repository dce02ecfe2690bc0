"""Which samples of a dataset, and in which order: all of them, or those that somebody chose. Nothing is read here."""

import hashlib
import operator
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from atdata.data.shards import Shards, counted_from_start

Numbers = NDArray[np.int64]
Chosen: TypeAlias = "range | slice | Iterable[int] | NDArray[Any]"


def numbers_in(ids: Iterable[int] | NDArray[Any]) -> Numbers:
    """Numbers of samples as an array. Shape ``(n,)``, int64.

    Raises:
        TypeError: They are something else than whole numbers in a row.
        IndexError: One is beyond 64 bits.
    """
    if isinstance(ids, np.ndarray):
        if ids.ndim != 1 or ids.dtype.kind not in "iu":
            raise TypeError(f"samples are chosen by whole numbers in a row, not by {ids.dtype} of shape {ids.shape}")
        return ids.astype(np.int64, copy=False)
    try:
        return np.array([operator.index(i) for i in ids], np.int64)
    except OverflowError as error:
        raise IndexError("the number of a sample is beyond 64 bits") from error


@dataclass(frozen=True, slots=True, eq=False)
class Selection:
    """Some samples of some shards.

    Attributes:
        shards: The shards.
        chosen: The numbers of the samples; None for all.
    """

    shards: Shards
    chosen: range | Numbers | None = None

    def total(self) -> int:
        """How many samples; reads through shards where there is no other way."""
        return self.shards.borders()[-1] if self.chosen is None else len(self.chosen)

    def known_total(self) -> int | None:
        """How many samples, where no shard has to be read for that."""
        return self.shards.indexed_total() if self.chosen is None else len(self.chosen)

    def locate(self, i: int) -> tuple[int, int]:
        """The shard in which one sample lies, and its number there.

        Raises:
            IndexError: There are not so many samples, from either end.
        """
        if self.chosen is None:
            return self.shards.locate(i)
        if not -len(self.chosen) <= i < len(self.chosen):
            raise IndexError(f"sample {i:,} of a dataset of {len(self.chosen):,} samples")
        return self.shards.locate(int(self.chosen[i]))

    def stored(self, ids: Numbers) -> Numbers:
        """The numbers of samples in the shards, by their numbers in the selection, which may count from the end.

        Raises:
            IndexError: There are not so many.
        """
        if self.chosen is None:
            return ids  # as the shards count them
        ids = counted_from_start(ids, len(self.chosen))
        if isinstance(self.chosen, range):
            return self.chosen.start + ids * self.chosen.step
        return self.chosen[ids]

    def select(self, chosen: Chosen) -> "Selection":
        """Some of these samples.

        Raises:
            IndexError: One is not there, from either end.
            TypeError: Something else than whole numbers.
        """
        total = self.total()
        inside: range | Numbers
        if isinstance(chosen, slice):
            inside = range(total)[chosen]
        elif isinstance(chosen, range) and all(0 <= end < total for end in (*chosen[:1], *chosen[-1:])):
            inside = chosen
        else:
            inside = counted_from_start(numbers_in(chosen), total)
        if isinstance(inside, range):
            whole = range(total) if self.chosen is None else self.chosen
            if isinstance(whole, range):
                step = whole.step * inside.step
                start = whole.start + inside.start * whole.step
                return replace(self, chosen=range(start, start + len(inside) * step, step))
            return replace(self, chosen=self.stored(np.arange(inside.start, inside.stop, inside.step, dtype=np.int64)))
        return replace(self, chosen=self.stored(inside))

    def of_worker(self, worker: int, workers: int) -> "Selection":
        """What falls to one of several workers: shards, round robin, or of a choice every so many samples."""
        if self.chosen is None:
            return Selection(self.shards.part(worker, workers))
        return replace(self, chosen=self.chosen[worker::workers])

    def fingerprint(self) -> str:
        """What tells this selection from another: that of the shards, with a hash of what was chosen."""
        whole = self.shards.fingerprint()
        if self.chosen is None:
            return whole
        chosen = repr(self.chosen).encode() if isinstance(self.chosen, range) else self.chosen.tobytes()
        return hashlib.sha256(whole.encode() + chosen).hexdigest()
