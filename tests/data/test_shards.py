"""Laws of `atdata.data.shards`. What a user sees of them is `tests/test_dataset.py`."""

import gc
import pickle
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atdata.data.order import Position
from atdata.data.shards import Shards
from atdata.data.writer import write_samples
from atdata.storage.base import Shard
from atdata.storage.file import FileStore
from atdata.testing import MemoryStore


@dataclass
class Number:
    number: int


def known(counts: list[int]) -> Shards:
    return Shards(MemoryStore(), [str(i) for i in range(len(counts))], [Shard(samples=count) for count in counts])


@settings(max_examples=60)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=6), st.data())
def test_a_sample_lies_where_counting_finds_it(counts: list[int], data: st.DataObject) -> None:
    """Number ``i`` of all, from either end, is a number in one shard; any other is an IndexError."""
    shards = known(counts)
    places = [(number, i) for number, count in enumerate(counts) for i in range(count)]
    i = data.draw(st.integers(-len(places) - 2, len(places) + 2))

    if -len(places) <= i < len(places):
        assert shards.locate(i) == places[i]
    else:
        with pytest.raises(IndexError):
            shards.locate(i)


@settings(max_examples=60)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=6), st.data())
def test_settling_keeps_the_place(counts: list[int], data: st.DataObject) -> None:
    """A position beyond the end of its shard names the same sample, in the shard where it lies."""
    taken = data.draw(st.integers(0, sum(counts)))
    position = Position(sample=taken)

    known(counts).settle(position)

    assert position.before + position.sample == taken
    assert position.before == sum(counts[: position.shard])
    assert position.sample <= counts[position.shard]


def test_blobs_are_not_taken_for_files(tmp_path: Path) -> None:
    """A path without a scheme is a file only where a caller typed it: a CID in a store of blobs is none."""
    write_samples(map(Number, range(3)), str(tmp_path / "a-%d.tar"))
    store = MemoryStore({"bafk": (tmp_path / "a-0.tar").read_bytes()})

    assert Shards(store, ["bafk"]).indexed_total() is None
    assert Shards(store, ["bafk"], typed=True).indexed_total() == 3
    assert Shards(store, ["bafk"]).fingerprint() != Shards(store, ["bafk"], typed=True).fingerprint()


def test_what_was_learnt_is_not_pickled(tmp_path: Path) -> None:
    """A copy has place and facts, and opens shards of its own."""
    write_samples(map(Number, range(3)), str(tmp_path / "a-%d.tar"))
    store = MemoryStore({"a": (tmp_path / "a-0.tar").read_bytes()})
    shards = Shards(store, ["a"])
    assert (shards.known_total(), shards.count(0), shards.known_total()) == (None, 3, 3)

    twin = pickle.loads(pickle.dumps(shards))

    assert twin.known_total() is None
    assert twin.access(0).sample(2, Number) == Number(2)


def open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
def test_few_shards_are_held_open(tmp_path: Path) -> None:
    """Of many shards the files used last; where the samples of the others lie is still known."""
    paths = []
    for number in range(300):
        write_samples([Number(number)], str(tmp_path / f"{number}-%d.tar"))
        paths.append(str(tmp_path / f"{number}-0.tar"))
    gc.collect()  # what other tests have left open
    before = open_files()
    shards = Shards(FileStore(), paths)

    found = [shards.access(number).sample(0, Number).number for number in range(300)]

    assert found == list(range(300))
    assert open_files() - before == 256
    assert shards.access(0).sample(0, Number) == Number(0)
    del shards
    gc.collect()
    assert open_files() == before


@settings(max_examples=60)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=6), st.data())
def test_many_samples_lie_where_one_does(counts: list[int], data: st.DataObject) -> None:
    """`locate_all` is `locate` for each; one that is not there is an IndexError."""
    shards, total = known(counts), sum(counts)
    ids = data.draw(st.lists(st.integers(-total, total - 1), max_size=9) if total else st.just([]))

    numbers, places = shards.locate_all(shards.counted(np.array(ids, np.int64)))

    assert list(zip(numbers.tolist(), places.tolist(), strict=True)) == [shards.locate(i) for i in ids]
    for wrong in (total, -total - 1):
        with pytest.raises(IndexError, match=f"of {total:,} samples"):
            shards.counted(np.array([*ids, wrong]))
