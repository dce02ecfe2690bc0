"""Laws of `atdata.data.ranks`."""

import sys
import types
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atdata.data.ranks import Part, Split, Uneven, split_by_worker, split_of, this_rank, this_worker


@settings(max_examples=40)
@given(st.lists(st.integers(), unique=True), st.integers(1, 9))
def test_workers_share_everything_once(items: list[int], workers: int) -> None:
    """The shares of all workers are disjoint and together all items, dealt round robin."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NUM_WORKERS", str(workers))
        shares = []
        for worker in range(workers):
            patch.setenv("WORKER", str(worker))
            assert this_worker() == (worker, workers)
            shares.append(list(split_by_worker(items)))

    assert sorted(item for share in shares for item in share) == sorted(items)
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
    assert all(share[:1] == items[worker : worker + 1] for worker, share in enumerate(shares))


def test_without_workers_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Outside of any loader, one worker takes everything."""
    monkeypatch.delenv("WORKER", raising=False)
    monkeypatch.delenv("NUM_WORKERS", raising=False)

    assert this_worker() == (0, 1)
    assert split_by_worker([1, 2, 3]) == [1, 2, 3]


parts = st.fixed_dictionaries(
    {
        "total": st.integers(0, 300),
        "world": st.integers(1, 9),
        "workers": st.integers(1, 4),
        "size": st.integers(1, 9),
        "runs": st.booleans(),
        "uneven": st.sampled_from(["drop", "pad"]),
    }
)


def places(total: int, start: int, world: int, workers: int, size: int, runs: bool, uneven: Uneven) -> list[list[int]]:
    """What each rank reads, with its workers' steps in turn, as a DataLoader takes them."""
    ranks = []
    for rank in range(world):
        steps: dict[int, list[int]] = {}
        for worker in range(workers):
            part = Part(total, start, Split(rank, world, uneven), worker, workers, size, runs)
            flat = [place for block in part.positions() for place in block.tolist()]
            for number, at in enumerate(range(0, len(flat), size)):
                steps[worker + number * workers] = flat[at : at + size]
        assert sorted(steps) == list(range(part.steps))
        ranks.append([place for step in sorted(steps) for place in steps[step]])
    return ranks


@settings(max_examples=150)
@given(parts)
def test_ranks_and_workers_share_an_order(given: dict[str, Any]) -> None:
    """Parts are of equal length and disjoint; dropped are fewer than ranks, padded as few."""
    ranks = places(start=0, **given)
    total, world = given["total"], given["world"]
    flat = [place for rank in ranks for place in rank]

    assert len({len(rank) for rank in ranks}) == 1
    if given["uneven"] == "drop":
        assert len(set(flat)) == len(flat) == total // world * world
        assert set(flat) == set(range(total // world * world))
    else:
        assert len(flat) == -(-total // world) * world
        assert set(flat) == set(range(total))


@settings(max_examples=150)
@given(parts, st.integers(1, 9), st.integers(0, 40))
def test_after_some_steps_the_beginning_of_the_order_is_read(given: dict[str, Any], other: int, steps: int) -> None:
    """Whatever the number of ranks and workers; and others can go on from there, losing and doubling nothing."""
    part = Part(given["total"], 0, Split(0, given["world"], "drop"), size=given["size"])
    ranks = places(start=0, **given | {"uneven": "drop"})
    after = part.after(steps)

    read = [place for rank in ranks for place in rank[: steps * given["size"]]]
    assert sorted(read) == list(range(after))

    rest = places(start=after, **given | {"uneven": "pad", "world": other})
    assert set(range(after, given["total"])) <= {place for rank in rest for place in rank}
    assert sum(map(len, rest)) == -(-(given["total"] - after) // other) * other


def test_runs_are_neighbours() -> None:
    """A rank that reads in order takes a batch's samples from one place."""
    part = Part(100, 0, Split(1, 4), size=5, runs=True)

    assert next(part.positions())[:10].tolist() == [5, 6, 7, 8, 9, 25, 26, 27, 28, 29]


def test_a_world_larger_than_the_dataset() -> None:
    """To read nothing, silently, is no use to anybody; padded, each rank has one sample; no samples are none."""
    with pytest.raises(ValueError, match=r"3 samples for 5 ranks.*uneven='pad'"):
        Part(3, 0, Split(4, 5)).check()
    assert places(3, 0, 5, 1, 1, False, "pad") == [[0], [1], [2], [0], [1]]
    Part(0, 0, Split(4, 5)).check()
    assert places(0, 0, 5, 1, 1, False, "pad") == [[]] * 5


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, (0, 1)),
        ({"RANK": "2", "WORLD_SIZE": "4"}, (2, 4)),
        ({"SLURM_PROCID": "1", "SLURM_NTASKS": "3"}, (1, 3)),
        ({"RANK": "2", "WORLD_SIZE": "4", "SLURM_PROCID": "1", "SLURM_NTASKS": "3"}, (2, 4)),
    ],
)
def test_the_environment_tells_of_ranks(environment: dict[str, str], expected: tuple[int, int]) -> None:
    """As torchrun and SLURM set it; without any, there is one."""
    assert this_rank(environment) == expected


@pytest.mark.parametrize("environment", [{"RANK": "2"}, {"RANK": "x", "WORLD_SIZE": "4"}, {"SLURM_NTASKS": "3"}])
def test_half_an_environment_is_refused(environment: dict[str, str]) -> None:
    """Each rank would read everything: a ValueError that names the variables."""
    with pytest.raises(ValueError, match="set both"):
        this_rank(environment)


def module(name: str, **content: Any) -> types.ModuleType:
    made = types.ModuleType(name)
    vars(made).update(content)
    return made


def test_torch_and_ray_are_asked_where_they_are_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch.distributed once it is initialised, Ray Train within a worker of it; and neither is loaded for that."""
    environment = {"RANK": "2", "WORLD_SIZE": "4"}
    ready = {"is_available": lambda: True, "get_rank": lambda: 5, "get_world_size": lambda: 6}
    context = types.SimpleNamespace(get_world_rank=lambda: 1, get_world_size=lambda: 2)
    monkeypatch.setitem(sys.modules, "ray.train", module("ray.train", get_context=lambda: context))
    assert this_rank(environment) == (1, 2)
    monkeypatch.setitem(
        sys.modules, "torch.distributed", module("torch.distributed", is_initialized=lambda: False, **ready)
    )
    assert this_rank(environment) == (1, 2)
    monkeypatch.setitem(
        sys.modules, "torch.distributed", module("torch.distributed", is_initialized=lambda: True, **ready)
    )
    assert this_rank(environment) == (5, 6)
    monkeypatch.delitem(sys.modules, "torch.distributed")
    outside = types.SimpleNamespace(get_world_rank=lambda: None, get_world_size=lambda: None)
    monkeypatch.setitem(sys.modules, "ray.train", module("ray.train", get_context=lambda: outside))
    assert this_rank(environment) == (2, 4)


@pytest.mark.parametrize(
    ("rank", "world", "uneven"), [(2, 2, "drop"), (-1, 2, "drop"), (0, 0, "drop"), (1, None, "drop"), (0, 1, "keep")]
)
def test_what_is_no_part_is_refused(rank: int, world: int | None, uneven: Any) -> None:
    """A rank beyond the world, half of the two, or an unknown rule."""
    with pytest.raises(ValueError):
        split_of(rank, world, uneven)
