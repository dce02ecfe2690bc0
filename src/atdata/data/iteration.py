"""Iterating over a dataset itself, in order: samples or batches, from where an earlier iteration stopped.

A whole dataset is read shard by shard, and `AllIteration` counts shards and samples, so that a resume goes to its shard
without knowing those before. A choice of samples, or the part of a rank, is an order like any other:
`ChosenIteration`, over `atdata.data.pipeline`.
"""

import copy
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, Protocol

from atdata.data.batches import Batch, batch_of
from atdata.data.order import Position, position_in, state_of
from atdata.data.pipeline import Pipeline
from atdata.data.plan import Recipe
from atdata.data.selection import Selection
from atdata.data.view import View
from atdata.errors import SchemaMismatchError


class Iterations(Protocol):
    """Iterations in order over one dataset. What begins last is what the state tells of."""

    def samples(self) -> Iterator[Any]:
        """Samples; from where `load` says, the first time after it."""
        ...

    def batches(self, size: int, *, drop_last: bool) -> Iterator[Batch[Any]]:
        """Batches, the same way."""
        ...

    def state(self) -> dict[str, Any]:
        """Where the latest iteration stands."""
        ...

    def load(self, state: dict[str, Any]) -> None:
        """Let the next iteration begin where the one that gave ``state`` stood; a ValueError where it cannot."""
        ...


class AllIteration:
    """Over all samples. Picklable when ``place`` is."""

    def __init__(self, place: Callable[[], tuple[View[Any], Selection]]) -> None:
        self._place = place
        self._position = Position()
        self._resume: Position | None = None

    def samples(self) -> Iterator[Any]:
        """See `Iterations.samples`."""
        return self._samples(self._begin())

    def batches(self, size: int, *, drop_last: bool) -> Iterator[Batch[Any]]:
        """See `Iterations.batches`."""
        return self._batches(self._begin(), size, drop_last)

    def state(self) -> dict[str, Any]:
        """See `Iterations.state`."""
        shards = self._place()[1].shards
        shards.settle(self._position)
        return state_of(self._position, fingerprint=shards.fingerprint())

    def load(self, state: dict[str, Any]) -> None:
        """See `Iterations.load`."""
        shards = self._place()[1].shards
        self._resume = position_in(state, fingerprint=shards.fingerprint(), shards=len(shards.paths))
        self._position = copy.copy(self._resume)

    def _begin(self) -> Position:
        self._position, self._resume = self._resume or Position(), None
        return self._position

    def _samples(self, position: Position) -> Iterator[Any]:
        view, selection = self._place()
        shards = selection.shards
        while position.shard < len(shards.paths):
            path = shards.paths[position.shard : position.shard + 1]
            for sample in view.samples(shards, path, start=position.sample):
                position.sample += 1
                yield sample
            position.next_shard()
        position.restart()

    def _batches(self, position: Position, size: int, drop_last: bool) -> Iterator[Batch[Any]]:
        view, selection = self._place()
        shards = selection.shards
        paths = shards.paths[position.shard :]
        for batch in view.batches(shards, paths, size, start=position.sample, drop_last=drop_last):
            position.sample += len(batch)
            yield batch
        position.restart()


class ChosenIteration:
    """Over a choice of samples, or the part of a rank. Picklable when the recipe is.

    Args:
        recipe: In order, without batches.
    """

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe
        self._current: Pipeline[Any] = Pipeline(recipe)
        self._resume: dict[str, Any] | None = None

    def samples(self) -> Iterator[Any]:
        """See `Iterations.samples`."""
        return iter(self._begin(None))

    def batches(self, size: int, *, drop_last: bool) -> Iterator[Batch[Any]]:
        """See `Iterations.batches`."""
        view = self._recipe.place()[0]
        if view.seen_type is dict:
            raise SchemaMismatchError("batches need a sample type, whose fields become columns; dict has none")
        groups = (batch.samples for batch in self._begin(size))
        return (batch_of(view.seen_type, group) for group in groups if len(group) == size or not drop_last)

    def state(self) -> dict[str, Any]:
        """See `Iterations.state`."""
        return self._current.state_dict()

    def load(self, state: dict[str, Any]) -> None:
        """See `Iterations.load`."""
        self._begin(None).load_state_dict(state)
        self._resume = dict(state)

    def _begin(self, size: int | None) -> Pipeline[Any]:
        self._current = Pipeline(replace(self._recipe, batch_size=size))
        if self._resume is not None:
            self._current.load_state_dict(self._resume)
            self._resume = None
        return self._current
