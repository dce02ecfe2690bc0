"""Pipelines: what `Dataset.ordered` and `Dataset.shuffled` return. Each iteration over one begins anew.

torch's DataLoader asks with ``isinstance`` whether it has an IterableDataset before it. A pipeline is one as soon as
torch is loaded, and torch is never loaded by this module.
"""

import sys
from collections.abc import Callable, Iterator
from functools import partial
from random import Random
from typing import Any, Generic, TypeVar

from atdata.data.order import batched, check_batch_size, shuffle, split_by_worker
from atdata.data.sample import SampleBatch
from atdata.data.shards import Shards
from atdata.data.view import View

T = TypeVar("T")


class Pipeline(Generic[T]):
    """Samples or batches, as often as they are asked for. Picklable when ``start`` is.

    Args:
        start: Begins one iteration.
    """

    def __init__(self, start: Callable[[], Iterator[T]]) -> None:
        self._start = start

    def __iter__(self) -> Iterator[T]:
        return self._start()

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


def pipeline(
    place: Callable[[], tuple[View[Any], Shards]],
    order: Callable[[View[Any], Shards], Iterator[Any]],
    *,
    batch_size: int | None,
) -> Pipeline[Any]:
    """The pipeline of samples, or of `SampleBatch`, in some order. Nothing is opened before it is iterated.

    Args:
        place: Gives the samples' view and shards; picklable.
        order: `in_order`, or `in_random_order` with its keywords bound; picklable.
        batch_size: Samples a batch, the last one of what is left; None gives samples.

    Raises:
        ValueError: ``batch_size`` is less than one.
    """
    if batch_size is not None:
        check_batch_size(batch_size)
    return Pipeline(partial(_begin, place, order, batch_size))


def _begin(
    place: Callable[[], tuple[View[Any], Shards]],
    order: Callable[[View[Any], Shards], Iterator[Any]],
    batch_size: int | None,
) -> Iterator[Any]:
    view, shards = place()
    samples = order(view, shards)
    if batch_size is None:
        return samples
    batch_type: type[SampleBatch[Any]] = SampleBatch[view.seen_type]  # type: ignore[name-defined]  # known at run time
    return map(batch_type, batched(samples, batch_size))


def in_order(view: View[T], shards: Shards) -> Iterator[T]:
    """Samples of this worker's shards: in the order of the shards, in each in the order of the tar."""
    return view.samples(shards, split_by_worker(shards.paths))


def in_random_order(
    view: View[T], shards: Shards, *, buffer_shards: int, buffer_samples: int, seed: int | None
) -> Iterator[T]:
    """Samples of this worker's shards, shards and samples shuffled; another order each time where ``seed`` is None."""
    rng = Random(seed)  # noqa: S311 - order, not secrets
    # Shared out before they are shuffled: workers that shuffle differently would miss shards, and read others twice.
    paths = list(shuffle(split_by_worker(shards.paths), size=buffer_shards, rng=rng))
    # Copies: in the buffer, a view would keep the whole block alive from which it came.
    return shuffle(view.samples(shards, paths, copy=True), size=buffer_samples, rng=rng)
