"""How one epoch is read: which order, from where, and by what means.

A `Recipe` is what a caller asked for; a `Plan` is made of it when an iteration begins, from what is known of the shards
then, or from the state of an earlier iteration, which is gone on with as it was. Orders are `atdata.data.orders` and,
where counts are not known, `atdata.data.streams`; who reads which part is `atdata.data.ranks`. Samples are handed out
by `atdata.data.pipeline`.
"""

import operator
import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from random import Random
from typing import Any

from atdata.data.orders import WINDOW, InOrder, Order, Whole, Windows, piece_of
from atdata.data.ranks import Part, Split, seed_of_workers, this_worker
from atdata.data.sample import SampleBatch
from atdata.data.selection import Selection
from atdata.data.streams import BLOCK_BYTES, mixed_stream, part_of
from atdata.data.take import taken
from atdata.data.view import View

VERSION = 1  # of a state


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a caller asked for. Picklable when ``place`` is.

    Attributes:
        place: Gives the view and the samples.
        shuffled: In random order, or as they are stored.
        seed: Fixes the random order; None draws another one each time.
        buffer_shards: Shards that are read at a time where counts are not known.
        buffer_samples: Samples among which the next one is drawn, there.
        window: Bytes of a window; None: all of local shards, `atdata.data.orders.WINDOW` of others.
        batch_size: Samples of a batch; None gives samples.
        split: Whose part it is of what all ranks read together; None: nobody said that there are ranks.
    """

    place: Callable[[], tuple[View[Any], Selection]]
    shuffled: bool
    seed: int | None = None
    buffer_shards: int = 100
    buffer_samples: int = 10_000
    window: int | None = None
    batch_size: int | None = None
    split: Split | None = None

    @property
    def by_shards(self) -> bool:
        """Whether loader workers take whole shards, as in earlier releases, rather than parts of one order."""
        return self.split is None and not self.shuffled

    @property
    def is_drawn(self) -> bool:
        """Whether nobody fixed the order."""
        return self.shuffled and self.seed is None

    def plan(self, epoch: int, state: Mapping[str, Any] | None = None) -> "Plan":
        """The plan of an epoch, or of the rest of one.

        Args:
            epoch: Its number; that in the state counts where there is one.
            state: From `Plan.state`.

        Raises:
            ValueError: The state is that of another dataset, seed or way of reading, or none at all; or several ranks
                shall read in random order and nobody fixed it.
        """
        return _plan(self, epoch, state)


@dataclass(frozen=True, slots=True)
class Plan:
    """One epoch.

    Attributes:
        recipe: What was asked for.
        view: As what samples are seen.
        selection: Which samples.
        order: Where they stand; None for a stream of unknown length.
        seed: That of the order; None where it is not random.
        epoch: Number of the epoch.
        part: What this worker reads.
    """

    recipe: Recipe
    view: View[Any]
    selection: Selection
    order: Order | None
    seed: int | None
    epoch: int
    part: Part

    def samples(self) -> Iterator[Any]:
        """This worker's samples, in order."""
        if self.order is None:
            return part_of(self._stream(), self.part) if not self.recipe.by_shards else self._from(self.part.start)
        self.part.check()
        shards = self.selection.shards
        sample_bytes = shards.sample_bytes() if self.order.total else 1.0

        def read(ids: Any) -> list[Any]:
            return self.view.taken(shards, self.selection.stored(ids), mapped=False)

        ahead = not shards.are_local()
        return taken(self.order, self.part.positions(), read, sample_bytes=sample_bytes, ahead=ahead)

    @property
    def batch_type(self) -> type[SampleBatch[Any]]:
        """The type of batches."""
        return SampleBatch[self.view.seen_type]  # type: ignore[name-defined]  # known at run time only

    def after(self, steps: int) -> int:
        """Where all ranks together stand after some steps of each."""
        if self.order is not None:
            return self.part.after(steps)
        return self.part.start + steps * self.part.size * self.part.split.world

    def state(self, place: int) -> dict[str, Any]:
        """Where an iteration stands that all ranks together have brought to ``place``, as a JSON value."""
        state: dict[str, Any] = {"version": VERSION, "fingerprint": self.selection.fingerprint()}
        if self.order is not None:
            state |= self.order.state()
        elif self.recipe.shuffled:
            state |= {"order": "buffer", "buffers": [self.recipe.buffer_shards, self.recipe.buffer_samples]}
        else:
            state |= {"order": "stored"}
        if self.recipe.shuffled:
            state |= {"seed": self.seed, "epoch": self.epoch}
        return state | {"samples": place}

    def _stream(self) -> Iterator[Any]:
        view, shards = self.view, self.selection.shards
        if not self.recipe.shuffled:
            return view.samples(shards, shards.paths)
        return mixed_stream(
            range(len(shards.paths)),
            lambda number: view.samples(shards, shards.paths[number : number + 1], copy=True, block_bytes=BLOCK_BYTES),
            buffer_shards=self.recipe.buffer_shards,
            buffer_samples=self.recipe.buffer_samples,
            rng=Random(f"{self.selection.fingerprint()}\n{self.seed}\n{self.epoch}"),  # noqa: S311 - order, not secrets
        )

    def _from(self, start: int) -> Iterator[Any]:
        """Samples as they are stored, without the first ones; shards are passed over where their count is known."""
        view, shards = self.view, self.selection.shards
        number = 0
        if start and shards.indexed_total() is not None:
            if start >= shards.borders()[-1]:
                return iter(())
            number, start = shards.locate(start)
            return view.samples(shards, shards.paths[number:], start=start)
        return islice(view.samples(shards, shards.paths), start, None)


def _plan(recipe: Recipe, epoch: int, state: Mapping[str, Any] | None) -> Plan:
    view, selection = recipe.place()
    worker, workers = this_worker()
    seed = recipe.seed
    if recipe.by_shards:
        if workers > 1:
            selection, worker, workers = selection.of_worker(worker, workers), 0, 1
    elif recipe.shuffled and seed is None:
        if state is not None:
            seed = state.get("seed")
        elif recipe.split is not None and recipe.split.world > 1:
            raise ValueError("several ranks in random order need one seed: shuffled(seed=...)")
        elif (seed := seed_of_workers()) is None:
            if workers > 1:  # strangers to each other, who could not agree on an order
                selection, worker, workers = selection.of_worker(worker, workers), 0, 1
            seed = secrets.randbits(48)
    if state is not None:
        recipe, epoch = _checked(recipe, state, selection, seed)
    order = _order(recipe, selection, state, seed, epoch)
    part = Part(
        total=order.total if order is not None else 0,
        start=operator.index(state["samples"]) if state is not None else 0,
        split=recipe.split or Split(),
        worker=worker,
        workers=workers,
        size=recipe.batch_size or 1,
        runs=order is not None and order.runs,
    )
    return Plan(recipe, view, selection, order, seed, epoch, part)


def _order(
    recipe: Recipe, selection: Selection, state: Mapping[str, Any] | None, seed: int | None, epoch: int
) -> Order | None:
    said = state["order"] if state is not None else None
    if said == "buffer" or (recipe.by_shards and selection.chosen is None):
        return None
    if selection.chosen is None and said in (None, "stored") and not selection.shards.is_addressable():
        return None
    return order_of(recipe, selection, state, selection.fingerprint(), seed, epoch)


def order_of(recipe: Recipe, selection: Selection, state: Mapping[str, Any] | None, *parts: object) -> Order:
    """The order of samples whose number is known.

    Args:
        state: That of an earlier iteration, whose kind of order is kept.
        parts: What a random order depends on.
    """
    total, shards = selection.total(), selection.shards
    if not recipe.shuffled:
        return InOrder(total)
    said = state["order"] if state is not None else None
    if said == "windows" or (said is None and (recipe.window is not None or not shards.are_local())):
        given = state.get("piece") if state is not None else None
        window = WINDOW if recipe.window is None else recipe.window
        return Windows(total, given or piece_of(window, shards.sample_bytes() if total else 1.0), *parts)
    return Whole(total, *parts)


def _checked(recipe: Recipe, state: Mapping[str, Any], selection: Selection, seed: int | None) -> tuple[Recipe, int]:
    """The recipe and the epoch of the iteration that gave a state."""
    try:
        version, theirs, order = state["version"], state["fingerprint"], state["order"]
        samples, epoch = operator.index(state["samples"]), operator.index(state.get("epoch", 0))
    except (KeyError, TypeError) as error:
        raise ValueError(f"not a state of this kind of iteration: {error!r}") from error
    if version != VERSION:
        raise ValueError(f"a state of version {version!r}; this release reads version {VERSION}")
    if theirs != selection.fingerprint():
        raise ValueError("the state of another dataset, or of one whose shards have changed since")
    if samples < 0 or order not in (("whole", "windows", "buffer") if recipe.shuffled else ("stored",)):
        raise ValueError(f"not a state of this kind of iteration: order {order!r}, sample {samples}")
    if recipe.shuffled and (seed is None or state.get("seed") != seed):
        raise ValueError(f"the state of an order with the seed {state.get('seed')!r}, not {seed!r}")
    if order == "buffer":
        try:
            shards, buffered = map(operator.index, state["buffers"])
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"not a state of this kind of iteration: {error!r}") from error
        recipe = replace(recipe, buffer_shards=shards, buffer_samples=buffered)
    if order == "windows" and not (isinstance(state.get("piece"), int) and state["piece"] > 0):
        raise ValueError(f"not a state of this kind of iteration: piece {state.get('piece')!r}")
    return recipe, epoch
