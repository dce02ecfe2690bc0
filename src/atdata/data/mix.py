"""Several datasets read as one, in proportion to weights: which sample of which dataset stands where.

At each place of a mixture, a hash of its number draws the dataset, and the dataset gives its next sample. Where a
mixture stands is the number of samples that have passed, and how many of them came from each dataset; so it goes on
with another number of ranks and workers, as one dataset does (`atdata.data.plan`). The order of each dataset is its own
(`atdata.data.orders`).
"""

import hashlib
import math
import operator
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from atdata.data.orders import Order
from atdata.data.permutation import keys_of, mixed
from atdata.data.plan import VERSION, Recipe, order_of
from atdata.data.ranks import Part, Split, this_worker
from atdata.data.sample import SampleBatch
from atdata.data.selection import Selection
from atdata.data.take import taken
from atdata.data.view import View

Stop: TypeAlias = Literal["first", "all"]
Numbers = NDArray[np.int64]
Cells: TypeAlias = tuple[Numbers, Numbers]  # of some places in a row: the dataset, and which of its samples

_BLOCK = 1 << 14  # places that are drawn at a time


@dataclass(frozen=True, slots=True)
class MixRecipe:
    """What a caller asked for.

    Attributes:
        recipes: How each dataset is read.
        weights: How often a sample comes from each, in proportion; None: as often as it has samples.
        seed: Fixes the mixture and the orders.
        stop: The epoch ends when the ``first`` dataset has no more samples, or when ``all`` have been read whole:
            then those that end before begin again, in another order.
        batch_size: Samples of a batch; None gives samples.
        split: The rank.
    """

    recipes: tuple[Recipe, ...]
    weights: tuple[float, ...] | None
    seed: int
    stop: Stop
    batch_size: int | None
    split: Split

    @property
    def is_drawn(self) -> bool:
        """Whether nobody fixed the order."""
        return False

    def plan(self, epoch: int, state: Mapping[str, Any] | None = None) -> "MixPlan":
        """The plan of an epoch, or of the rest of one; see `atdata.data.plan.Recipe.plan`."""
        places = [recipe.place() for recipe in self.recipes]
        totals = [_counted(selection, number) for number, (_, selection) in enumerate(places)]
        weights = np.array(self.weights if self.weights is not None else totals, np.float64)
        text = [selection.fingerprint() for _, selection in places]
        fingerprint = hashlib.sha256("\n".join([*text, *map(repr, weights.tolist()), self.stop]).encode()).hexdigest()
        start, counts = 0, [0] * len(totals)
        known: list[Mapping[str, Any] | None] = [None] * len(totals)
        if state is not None:
            start, epoch, counts, known = _checked(state, fingerprint, self.seed, len(totals))
        worker, workers = this_worker()
        part = Part(0, start, self.split, worker, workers, self.batch_size or 1)
        borders = np.cumsum(weights / weights.sum())
        return MixPlan(self, places, totals, borders, fingerprint, epoch, part, np.array(counts, np.int64), known)


def recipe_of(
    recipes: Sequence[Recipe], weights: Sequence[float] | None, *, seed: int, stop: Stop, batch_size: int | None
) -> MixRecipe:
    """The recipe of a mixture, checked.

    Raises:
        ValueError: Weights that are not as many positive numbers as there are datasets; no datasets; or some that are
            split for other ranks than others.
    """
    if not recipes:
        raise ValueError("a mixture needs one dataset or more")
    if weights is not None and len(weights) != len(recipes):
        raise ValueError(f"{len(weights)} weights for {len(recipes)} datasets")
    if weights is not None and not all(0 < weight < math.inf for weight in weights):
        raise ValueError(f"weights are positive numbers, not {list(weights)}")
    if stop not in ("first", "all"):
        raise ValueError(f"stop is 'first' or 'all', not {stop!r}")
    splits = {recipe.split or Split() for recipe in recipes}
    if len(splits) > 1:
        raise ValueError("the datasets of a mixture are split for several ranks or worlds: split all of them alike")
    given = None if weights is None else tuple(map(float, weights))
    return MixRecipe(tuple(recipes), given, seed, stop, batch_size, splits.pop())


def _counted(selection: Selection, number: int) -> int:
    shards = selection.shards
    if selection.chosen is None and not shards.is_addressable() and not shards.are_local():
        raise ValueError(
            f"dataset {number} of the mixture has shards of which nobody knows how many samples they hold: a mixture "
            "needs shards with an index, or files of this machine"
        )
    if not (total := selection.total()):
        raise ValueError(f"dataset {number} of the mixture has no samples")
    return total


@dataclass(frozen=True, eq=False, slots=True)
class MixPlan:
    """One epoch of a mixture; see `atdata.data.plan.Plan`.

    Attributes:
        recipe: What was asked for.
        places: View and samples of each dataset.
        totals: Samples of each.
        borders: Of the numbers from 0 to 1, those below the first belong to the first dataset, and so on.
        fingerprint: What tells this mixture from another.
        epoch: Number of the epoch.
        part: What this worker reads.
        counts: How many samples of each dataset come before the part.
        known: What the state says of each order.
    """

    recipe: MixRecipe
    places: Sequence[tuple[View[Any], Selection]]
    totals: Sequence[int]
    borders: NDArray[np.float64]
    fingerprint: str
    epoch: int
    part: Part
    counts: Numbers
    known: Sequence[Mapping[str, Any] | None]

    @property
    def batch_type(self) -> type[SampleBatch[Any]]:
        """The type of batches.

        Raises:
            ValueError: The datasets have samples of several types.
        """
        types = {view.seen_type for view, _ in self.places}
        if len(types) > 1:
            named = ", ".join(sorted(kind.__qualname__ for kind in types))
            raise ValueError(f"samples of several types make no batches ({named}): mix(..., batch_size=None)")
        [seen_type] = types
        return SampleBatch[seen_type]  # type: ignore[valid-type]  # known at run time only

    def samples(self) -> Iterator[Any]:
        """This worker's samples, in order."""
        sources = [self._source(number) for number in range(len(self.places))]
        for numbers, _ in self._mine():
            for number in numbers.tolist():
                yield next(sources[number])

    def after(self, steps: int) -> int:
        """Where all ranks together stand after some steps of each, or beyond the end."""
        return self.part.start + steps * self.part.size * self.part.split.world

    def state(self, place: int) -> dict[str, Any]:
        """Where an iteration stands that all ranks together have brought to ``place``, as a JSON value."""
        counts, passed = self.counts.copy(), self.part.start
        for numbers, _ in self._cells(passed, counts):
            numbers = numbers[: place - passed]
            counts += np.bincount(numbers, minlength=len(counts))
            passed += len(numbers)
            if passed >= place:
                break
        orders = [self._order(number, 0).state() for number in range(len(self.places))]
        return {
            "version": VERSION,
            "fingerprint": self.fingerprint,
            "order": "mix",
            "orders": orders,
            "seed": self.recipe.seed,
            "epoch": self.epoch,
            "samples": passed,
            "counts": counts.tolist(),
        }

    def _order(self, number: int, lap: int) -> Order:
        """The order of a dataset in the epoch; each time that it begins again in it, another one."""
        recipe, (_, selection) = self.recipe.recipes[number], self.places[number]
        parts = selection.fingerprint(), self.recipe.seed, self.epoch, number, lap
        return order_of(recipe, selection, self.known[number], *parts)

    def _source(self, number: int) -> Iterator[Any]:
        """This worker's samples of one dataset, in order."""
        view, selection = self.places[number]
        shards, total = selection.shards, self.totals[number]

        def laps() -> Iterator[tuple[int, Numbers]]:
            for numbers, cells in self._mine():
                places = cells[numbers == number]
                for lap in np.unique(places // total).tolist():
                    yield lap, places[places // total == lap] % total

        def read(ids: Numbers) -> list[Any]:
            return view.taken(shards, selection.stored(ids), mapped=False)

        for lap, blocks in groupby(laps(), key=operator.itemgetter(0)):
            order = self._order(number, lap)
            positions = (places for _, places in blocks)
            yield from taken(order, positions, read, sample_bytes=shards.sample_bytes(), ahead=not shards.are_local())

    def _mine(self) -> Iterator[Cells]:
        """What falls to this worker: rows of one place for each rank, and of those its steps."""
        split, size = self.part.split, self.part.size
        row = 0
        waiting: Cells = (np.empty(0, np.int64), np.empty(0, np.int64))
        for cells in self._padded():
            waiting = np.concatenate((waiting[0], cells[0])), np.concatenate((waiting[1], cells[1]))
            rows = len(waiting[0]) // split.world
            mine = (row + np.arange(rows)) // size % self.part.workers == self.part.worker
            places = np.flatnonzero(mine) * split.world + split.rank
            yield waiting[0][places], waiting[1][places]
            row += rows
            waiting = waiting[0][rows * split.world :], waiting[1][rows * split.world :]

    def _padded(self) -> Iterator[Cells]:
        """All places, and where they are to go evenly into the ranks, some of the first ones once more."""
        count = 0
        for cells in self._cells(self.part.start, self.counts.copy()):
            count += len(cells[0])
            yield cells
        rest = -count % self.part.split.world if self.part.split.uneven == "pad" else 0
        while rest:
            for numbers, places in self._cells(0, np.zeros_like(self.counts)):
                yield numbers[:rest], places[:rest]
                rest -= min(rest, len(numbers))
                if not rest:
                    break

    def _cells(self, place: int, counts: Numbers) -> Iterator[Cells]:
        """What stands at each place from one on, before which so many samples of each dataset came."""
        counts = counts.copy()
        totals = np.array(self.totals)
        key = np.uint64(keys_of(1, "mix", self.fingerprint, self.recipe.seed, self.epoch)[0])
        while self.recipe.stop == "first" or (counts < totals).any():
            hashed = mixed(np.arange(place, place + _BLOCK, dtype=np.uint64) + key)
            drawn = np.searchsorted(self.borders[:-1], (hashed >> np.uint64(11)) * 2.0**-53, side="right")
            nth = np.empty(len(drawn), np.int64)
            for number in range(len(counts)):
                inside = drawn == number
                nth[inside] = counts[number] + np.arange(np.count_nonzero(inside))
            end = self._end(drawn, nth, counts, totals)
            yield drawn[:end], nth[:end]
            if end < len(drawn):
                return
            counts += np.bincount(drawn, minlength=len(counts))
            place += len(drawn)

    def _end(self, drawn: Numbers, nth: Numbers, counts: Numbers, totals: Numbers) -> int:
        """Where in a block of places the epoch ends; beyond it where it does not."""
        if self.recipe.stop == "first":
            beyond = nth >= totals[drawn]
            return int(beyond.argmax()) if beyond.any() else len(drawn)
        # Each dataset that was not yet read whole: where it gives its last sample.
        finished = np.flatnonzero(nth == totals[drawn] - 1)
        if len(finished) < np.count_nonzero(counts < totals):
            return len(drawn)
        return int(finished[-1]) + 1


def _checked(
    state: Mapping[str, Any], fingerprint: str, seed: int, count: int
) -> tuple[int, int, list[int], list[Mapping[str, Any] | None]]:
    try:
        version, theirs, order, said = state["version"], state["fingerprint"], state["order"], state["seed"]
        start, epoch = operator.index(state["samples"]), operator.index(state["epoch"])
        counts, orders = [operator.index(one) for one in state["counts"]], list(state["orders"])
    except (KeyError, TypeError) as error:
        raise ValueError(f"not a state of a mixture: {error!r}") from error
    if version != VERSION:
        raise ValueError(f"a state of version {version!r}; this release reads version {VERSION}")
    if order != "mix" or theirs != fingerprint:
        raise ValueError("the state of another mixture: its datasets, their order, their weights or the rule differ")
    if said != seed:
        raise ValueError(f"the state of a mixture with the seed {said!r}, not {seed!r}")
    if min(counts, default=-1) < 0 or sum(counts) != start or len(counts) != count or len(orders) != count:
        raise ValueError("not a state of a mixture: its counts do not agree")
    return start, epoch, counts, orders
