"""Who reads which part of an order: ranks of a training job, and the loader workers of each rank.

All parts are slices of one order, which knows nothing of them. Cut into *steps*, an order gives each rank as many
samples in each step as the others; the loader workers of a rank take its steps in turn, as torch's DataLoader asks them
for batches. So what a job has read after any number of steps is the beginning of the order, whatever the number of
ranks and workers was, and one number says how far it has come.

Orders are `atdata.data.orders`; this module asks torch, Ray and the environment, and counts.
"""

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")

Uneven: TypeAlias = Literal["drop", "pad"]

_BLOCK = 1 << 14  # positions that are counted out at a time
_VARIABLES = (("RANK", "WORLD_SIZE"), ("SLURM_PROCID", "SLURM_NTASKS"))


@dataclass(frozen=True, slots=True)
class Split:
    """The part of one rank.

    Attributes:
        rank: Its number, from 0.
        world: How many ranks there are.
        uneven: What becomes of samples that do not go evenly into the ranks: ``drop`` leaves the last ones of the order
            out, ``pad`` gives the first ones of it once more, so that all ranks have as many.
    """

    rank: int = 0
    world: int = 1
    uneven: Uneven = "drop"

    def share(self, count: int) -> int:
        """How many of ``count`` samples each rank takes."""
        return count // self.world if self.uneven == "drop" else -(-count // self.world)


def split_of(rank: int | None, world: int | None, uneven: Uneven) -> Split:
    """The part of a rank, checked; what is None is asked of the surroundings.

    torch.distributed is asked where it is initialised, then Ray Train where it is loaded and trains, then the
    environment: ``RANK`` and ``WORLD_SIZE``, ``SLURM_PROCID`` and ``SLURM_NTASKS``. Where nobody knows, there is one.

    Raises:
        ValueError: There is no such rank, or ``uneven`` is neither ``drop`` nor ``pad``.
    """
    if (rank is None) != (world is None):
        raise ValueError("rank and world: give both, or neither to take them from torch, Ray or the environment")
    if rank is None or world is None:
        rank, world = this_rank()
    if not 0 <= rank < world:
        raise ValueError(f"there is no rank {rank} in a world of {world}")
    if uneven not in ("drop", "pad"):
        raise ValueError(f"uneven is 'drop' or 'pad', not {uneven!r}")
    return Split(rank, world, uneven)


def this_rank(environment: Mapping[str, str] = os.environ) -> tuple[int, int]:
    """The number of this rank, and how many there are: ``(0, 1)`` outside of any job.

    Raises:
        ValueError: The environment has a rank without a world, or something else than numbers.
    """
    distributed: Any = sys.modules.get("torch.distributed")
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    ray: Any = sys.modules.get("ray.train")
    if ray is not None:
        try:
            context = ray.get_context()
            rank, world = context.get_world_rank(), context.get_world_size()
        except (RuntimeError, AttributeError):
            rank = world = None  # Ray Train is loaded, and this process is none of its workers
        if rank is not None and world is not None:
            return rank, world
    for names in _VARIABLES:
        values = [environment.get(name) for name in names]
        if any(values):
            try:
                number, count = (int(value or "") for value in values)
            except ValueError:
                shown = ", ".join(f"{name}={value!r}" for name, value in zip(names, values, strict=True))
                raise ValueError(f"the environment has {shown}: set both to numbers, or give rank and world") from None
            return number, count
    return 0, 1


def this_worker() -> tuple[int, int]:
    """The number of this loader worker, and how many there are: ``(0, 1)`` outside of any.

    ``WORKER`` and ``NUM_WORKERS`` in the environment count first, as with webdataset, then torch, where it is loaded.
    """
    if "WORKER" in os.environ and "NUM_WORKERS" in os.environ:
        return int(os.environ["WORKER"]), int(os.environ["NUM_WORKERS"])
    info = _torch_worker()
    return (0, 1) if info is None else (info.id, info.num_workers)


def seed_of_workers() -> int | None:
    """A number that torch gives to all workers of one epoch of a DataLoader; None outside of any."""
    info = None if "WORKER" in os.environ and "NUM_WORKERS" in os.environ else _torch_worker()
    return None if info is None else info.seed - info.id


def _torch_worker() -> Any:
    torch_data: Any = sys.modules.get("torch.utils.data")
    return torch_data.get_worker_info() if torch_data is not None else None


def split_by_worker(items: Sequence[T]) -> Sequence[T]:
    """This worker's share, round robin: all workers' shares together are ``items``, each item once."""
    worker, workers = this_worker()
    return items[worker::workers]


@dataclass(frozen=True, slots=True)
class Part:
    """What one loader worker of one rank reads of an order, from some place on.

    Attributes:
        total: Samples of the order.
        start: Where to begin: what comes before has been read.
        split: The rank.
        worker: Number of the loader worker.
        workers: How many the rank has.
        size: Samples of a step, a batch.
        runs: In a step, a rank takes samples that stand one after another; else one of each ``world`` in turn.
    """

    total: int
    start: int = 0
    split: Split = Split()
    worker: int = 0
    workers: int = 1
    size: int = 1
    runs: bool = False

    @property
    def share(self) -> int:
        """Samples of each rank."""
        return self.split.share(max(self.total - self.start, 0)) if self.total else 0

    @property
    def steps(self) -> int:
        """Steps of each rank; the last one may have fewer samples."""
        return -(-self.share // self.size)

    def after(self, steps: int) -> int:
        """Where in the order all ranks together are after some steps."""
        return min(self.start + min(steps * self.size, self.share) * self.split.world, max(self.total, self.start))

    def positions(self) -> Iterator[NDArray[np.int64]]:
        """The places of this worker's samples in the order, ascending until padding begins, in blocks. int64."""
        count = max(1, _BLOCK // self.size)  # steps at a time
        for first in range(self.worker, self.steps, count * self.workers):
            steps = np.arange(first, min(first + count * self.workers, self.steps), self.workers, dtype=np.int64)
            inside = steps[:, None] * self.size + np.arange(self.size, dtype=np.int64)
            world, rank = self.split.world, self.split.rank
            if self.runs:
                sizes = np.minimum(self.share - steps * self.size, self.size)[:, None]
                places = steps[:, None] * self.size * world + rank * sizes + np.arange(self.size, dtype=np.int64)
            else:
                places = inside * world + rank
            yield (self.start + places[inside < self.share]) % self.total

    def check(self) -> None:
        """Refuse an epoch in which no rank reads anything.

        Raises:
            ValueError: There are fewer samples than ranks, and what does not go evenly is dropped.
        """
        if 0 < self.total < self.split.world and self.split.uneven == "drop":
            raise ValueError(
                f"{self.total:,} samples for {self.split.world:,} ranks: none would read any; "
                "split_by_rank(uneven='pad') gives some of them samples twice"
            )
