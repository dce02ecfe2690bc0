"""As what samples are read and seen: the type in which shards store them, then the steps of lenses to another one.

Lenses themselves are `atdata.lens`; here they are functions, applied in order.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from atdata.data.batches import Batch, batch_of, read_batches
from atdata.data.blocks import BLOCK_BYTES
from atdata.data.order import batched
from atdata.data.reader import read_samples
from atdata.data.shards import Shards

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class View(Generic[T]):
    """How samples are seen.

    Attributes:
        stored_type: A dataclass, or `dict`; as this samples are read.
        seen_type: The type of what the last step gives; ``stored_type`` where there are no steps.
        steps: Each takes a sample and gives one.
    """

    stored_type: type
    seen_type: type[T]
    steps: tuple[Callable[[Any], Any], ...] = ()

    def through(self, seen_type: type, step: Callable[[Any], Any]) -> "View[Any]":
        """This view with one more step."""
        return View(self.stored_type, seen_type, (*self.steps, step))

    def seen(self, stored: Any) -> T:
        """One sample after all steps."""
        sample: T = reduce(lambda before, step: step(before), self.steps, stored)
        return sample

    def taken(self, shards: Shards, ids: NDArray[np.int64], *, mapped: bool = True) -> list[T]:
        """Samples by their numbers; see `atdata.data.take.take`."""
        from atdata.data.take import take

        samples: Iterator[Any] = iter(take(shards, ids, self.stored_type, mapped=mapped))
        return list(reduce(lambda before, step: map(step, before), self.steps, samples))

    def samples(
        self,
        shards: Shards,
        paths: Sequence[str],
        *,
        start: int = 0,
        copy: bool = False,
        block_bytes: int = BLOCK_BYTES,
    ) -> Iterator[T]:
        """Samples of some of the shards, in order; see `atdata.data.reader.read_samples`."""
        samples: Iterator[Any] = read_samples(
            shards.store, paths, self.stored_type, start=start, copy=copy, block_bytes=block_bytes
        )
        return reduce(lambda before, step: map(step, before), self.steps, samples)

    def batches(
        self, shards: Shards, paths: Sequence[str], size: int, *, start: int = 0, drop_last: bool = False
    ) -> Iterator[Batch[T]]:
        """Samples of some of the shards as columns; see `atdata.data.batches.read_batches`."""
        if not self.steps:
            return read_batches(shards.store, paths, self.seen_type, size, start=start, drop_last=drop_last)
        groups = batched(self.samples(shards, paths, start=start), size)
        return (batch_of(self.seen_type, group) for group in groups if len(group) == size or not drop_last)
