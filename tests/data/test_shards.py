"""Laws of `atdata.data.shards`. What a user sees of them is `tests/test_dataset.py`."""

import pickle
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atdata.data.order import Position
from atdata.data.shards import Shards
from atdata.data.writer import write_samples
from atdata.storage.base import Shard
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


def test_few_shards_are_held_for_random_access(tmp_path: Path) -> None:
    """The shard used last is kept, of many shards not all are."""
    write_samples(map(Number, range(3)), str(tmp_path / "a-%d.tar"))
    store = MemoryStore({str(i): (tmp_path / "a-0.tar").read_bytes() for i in range(100)})
    shards = Shards(store, list(store.objects))

    accesses = [shards.access(i) for i in range(100)]

    assert shards.access(99) is accesses[99]
    assert shards.access(0) is not accesses[0]
    assert shards.access(0).count() == 3
