"""`mix`: several datasets read as one. What stands where in a mixture is `atdata.data.mix`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from atdata.dataset import Dataset

if TYPE_CHECKING:
    from atdata.data.pipeline import Pipeline


def mix(
    datasets: Sequence[Dataset[Any]],
    weights: Sequence[float] | None = None,
    *,
    seed: int = 0,
    batch_size: int | None = 1,
    shuffled: bool = True,
    stop: Literal["first", "all"] = "first",
) -> "Pipeline[Any]":
    """Several datasets read as one, each sample from a dataset that is drawn by weights.

    The mixture depends on the datasets, the weights, the seed and the epoch (`Pipeline.set_epoch`), not on ranks and
    workers, and is gone on with by its state like any other order.

    Args:
        datasets: One or more; their shards have an index, or are files of this machine. For the part of a rank, all of
            them are split alike by `Dataset.split_by_rank`.
        weights: How often a sample comes from each, in proportion. None: as often as it has samples.
        seed: Gives the same mixture each time.
        batch_size: Samples a batch, the last one of what is left; None gives samples, not batches.
        shuffled: Each dataset in random order, or in its own.
        stop: The epoch ends when the ``first`` dataset that is drawn has no more samples; or when ``all`` have been
            read whole, and those that end before begin again, in another order.

    Raises:
        ValueError: Weights that are not as many positive numbers as there are datasets; no datasets; or some that are
            split for other ranks than others.
    """
    from atdata.data.mix import recipe_of
    from atdata.data.pipeline import Pipeline
    from atdata.data.plan import Recipe

    recipes = [
        Recipe(dataset._place, shuffled=shuffled, seed=seed if shuffled else None, split=dataset._split)
        for dataset in datasets
    ]
    return Pipeline(recipe_of(recipes, weights, seed=seed, stop=stop, batch_size=batch_size))
