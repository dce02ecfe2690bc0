"""Pipelines: what `Dataset.ordered` and `Dataset.shuffled` return. Each iteration over one begins anew.

torch's DataLoader asks with ``isinstance`` whether it has an IterableDataset before it. A pipeline is one as soon as
torch is loaded, and torch is never loaded by this module. How an epoch is read is `atdata.data.plan`, and
`atdata.data.mix` where several datasets are read as one.
"""

import sys
from collections.abc import Iterator, Mapping
from typing import Any, Generic, Protocol, TypeVar

from atdata.data.order import batched, check_batch_size
from atdata.data.ranks import Part
from atdata.data.sample import SampleBatch

T = TypeVar("T")


class Plan(Protocol):
    """How one epoch is read: `atdata.data.plan.Plan`, or `atdata.data.mix.MixPlan`."""

    @property
    def part(self) -> Part: ...
    @property
    def epoch(self) -> int: ...
    @property
    def batch_type(self) -> type[SampleBatch[Any]]: ...
    def samples(self) -> Iterator[Any]: ...
    def after(self, steps: int, /) -> int: ...
    def state(self, place: int, /) -> dict[str, Any]: ...


class Recipe(Protocol):
    """What is read: `atdata.data.plan.Recipe`, or `atdata.data.mix.MixRecipe`."""

    @property
    def batch_size(self) -> int | None: ...
    @property
    def is_drawn(self) -> bool: ...
    def plan(self, epoch: int, state: Mapping[str, Any] | None = None, /) -> Plan: ...


class Pipeline(Generic[T]):
    """Samples or batches, as often as they are asked for. Picklable when ``recipe`` is.

    Args:
        recipe: What is read, and how.

    Raises:
        ValueError: The batch size is less than one.
    """

    def __init__(self, recipe: Recipe) -> None:
        if recipe.batch_size is not None:
            check_batch_size(recipe.batch_size)
        self._recipe = recipe
        self._epoch = 0
        self._resume: dict[str, Any] | None = None
        self._current: _Progress | None = None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_current": None}

    def __iter__(self) -> Iterator[T]:
        """An epoch, or the rest of one after `load_state_dict`, the first time after it."""
        state, self._resume = self._resume, None
        progress = self._current = _Progress(self._recipe.plan(self._epoch, state))
        return self._run(progress)

    def _run(self, progress: "_Progress") -> Iterator[T]:
        plan = progress.plan
        items: Iterator[Any] = plan.samples()
        if self._recipe.batch_size is not None:
            items = map(plan.batch_type, batched(items, self._recipe.batch_size))
        for number, item in enumerate(items):
            progress.steps = plan.part.worker + number * plan.part.workers + 1
            yield item
        if self._current is progress:
            self._current = None

    @property
    def epoch(self) -> int:
        """Number of the epoch that is read next, or now."""
        return self._epoch

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that is read next: with one seed, each epoch has another order.

        A resume stays where it is in its epoch, and is forgotten for any other one. A DataLoader's workers learn of it
        when they are started, so not where they are persistent.
        """
        if epoch != self._epoch:
            self._epoch, self._resume, self._current = epoch, None, None

    def state_dict(self, *, taken: int | None = None) -> dict[str, Any]:
        """Where the latest iteration stands, all ranks together, as a JSON value; one that has ended is at the start.

        Args:
            taken: How many items, batches or samples, have been taken since the epoch began or was resumed. None: as
                many as this object has given; a DataLoader takes them in its workers, so say how many came out of it.

        Raises:
            ValueError: The order is random and was drawn by workers: give a seed.
        """
        if self._current is not None:
            plan, steps = self._current.plan, self._current.steps
        else:
            if taken and self._recipe.is_drawn and self._resume is None:
                raise ValueError("an order that the workers drew cannot be gone on with: shuffled(seed=...)")
            plan, steps = self._recipe.plan(self._epoch, self._resume), 0
        return plan.state(plan.after(steps if taken is None else taken))

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Let the next iteration go on where the one that gave ``state`` stood, with any number of ranks and workers.

        Raises:
            ValueError: It is the state of another dataset, seed or way of reading, or none at all.
        """
        self._epoch = self._recipe.plan(0, state).epoch
        self._resume, self._current = dict(state), None

    @property
    def __class__(self) -> type:
        """The class; asked for by ``isinstance``, which is the moment to tell torch what a pipeline is."""
        torch_data: Any = sys.modules.get("torch.utils.data")
        if torch_data is not None:
            torch_data.IterableDataset.register(Pipeline)  # an abstract base class: a second time changes nothing
        return Pipeline

    @__class__.setter
    def __class__(self, value: type) -> None:
        raise TypeError("the class of a pipeline cannot be changed")


class _Progress:
    """An iteration that has begun.

    Attributes:
        plan: What it reads.
        steps: How far the rank has come with all of its workers, who take steps in turn.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.steps = 0
