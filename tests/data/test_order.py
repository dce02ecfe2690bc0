"""Laws of `atdata.data.order`."""

import itertools
from collections.abc import Iterator
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from atdata.data.order import Position, fingerprint, fingerprint_of_all, shuffle
from atdata.storage.base import Shard
from atdata.syntax import raw_cid

CID = raw_cid(bytes(32))


@settings(max_examples=60)
@given(st.lists(st.integers()), st.integers(0, 50), st.integers())
def test_shuffle_is_a_permutation(items: list[int], size: int, seed: int) -> None:
    """No item is lost, none comes twice, and a seed fixes the order."""
    once = list(shuffle(items, size=size, rng=Random(seed)))
    again = list(shuffle(items, size=size, rng=Random(seed)))

    assert sorted(once) == sorted(items)
    assert once == again


@settings(max_examples=60)
@given(st.integers(0, 200), st.integers(1, 50), st.integers())
def test_shuffle_moves_items_less_than_its_buffer_forward(count: int, size: int, seed: int) -> None:
    """An item comes fewer than ``size`` places earlier than it stood."""
    for place, item in enumerate(shuffle(range(count), size=size, rng=Random(seed))):
        assert item - place < size


def test_shuffle_holds_no_more_than_its_buffer() -> None:
    """Before the first item comes out, ``size`` and one have been taken in."""
    taken: list[int] = []

    def source() -> Iterator[int]:
        for i in range(100):
            taken.append(i)
            yield i

    next(shuffle(source(), size=10, rng=Random(0)))

    assert len(taken) == 11


def test_shuffle_mixes() -> None:
    """Items far apart come near each other: no order survives a buffer of a tenth of the items."""
    shuffled = list(shuffle(range(1000), size=100, rng=Random(0)))

    assert sum(b == a + 1 for a, b in itertools.pairwise(shuffled)) < 50


def test_a_position_counts_through_shards() -> None:
    """Going to the next shard adds what was taken of this one; starting again forgets all."""
    position = Position()
    position.sample += 3
    position.next_shard()
    position.sample += 2

    assert (position.shard, position.sample, position.before) == (1, 2, 3)
    position.restart()
    assert position == Position()


def test_a_shard_with_a_cid_is_the_same_anywhere() -> None:
    """The CID alone counts where there is one."""
    assert fingerprint(Shard(CID, 10, 2), "a.tar") == fingerprint(Shard(CID), "https://example.com/b.tar") == str(CID)


def test_a_shard_without_a_cid_is_known_by_place_and_size() -> None:
    """Another URL, another size or another number of samples is another shard."""
    shards = [
        (Shard(None, 10, 2), "a.tar"),
        (Shard(None, 10, 2), "b.tar"),
        (Shard(None, 11, 2), "a.tar"),
        (Shard(None, 10, 3), "a.tar"),
        (Shard(), "a.tar"),
    ]

    assert len({fingerprint(*shard) for shard in shards}) == len(shards)


def test_the_order_of_shards_counts() -> None:
    """A dataset is its shards in their order."""
    assert fingerprint_of_all(["a", "b"]) != fingerprint_of_all(["b", "a"])
    assert fingerprint_of_all(["a", "b"]) == fingerprint_of_all(iter(["a", "b"]))
