"""Laws of `atdata.data.permutation`."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atdata.data.permutation import Permutation, keys_of


@settings(max_examples=60)
@given(st.integers(0, 3000), st.integers(), st.integers(0, 5))
def test_each_number_comes_once(size: int, seed: int, tweak: int) -> None:
    """Whatever the size and the seed, and for each tweak; places may be asked for in any order, and one by one."""
    permutation = Permutation(size, seed)
    places = np.arange(size)

    found = permutation(places, np.full(size, tweak))

    assert sorted(found.tolist()) == list(range(size))
    assert permutation(places[::-1], np.full(size, tweak))[::-1].tolist() == found.tolist()
    assert [int(permutation(places[i : i + 1], np.array([tweak]))[0]) for i in range(min(size, 5))] == found[
        :5
    ].tolist()


def test_sizes_beyond_32_bits() -> None:
    """No number is out of range, and none of some places is met twice."""
    size = 10**12 + 39

    found = Permutation(size, 1)(np.arange(10**11, 10**11 + 5000))

    assert 0 <= found.min() <= found.max() < size
    assert len(set(found.tolist())) == 5000


def test_seeds_and_tweaks_give_other_orders() -> None:
    """Of 1,000 places about one stays in its place."""
    places = np.arange(1000)
    orders = [Permutation(1000, seed)(places) for seed in range(3)]
    orders += [Permutation(1000, 0)(places, np.full(1000, tweak)) for tweak in (1, 2)]

    for number, order in enumerate(orders):
        assert (order == places).sum() < 10
        assert all((order == other).sum() < 10 for other in orders[:number])


def test_all_orders_of_few_things_come_about_equally_often() -> None:
    """24 orders of 4 things, 4,800 seeds: chi-squared with 23 degrees of freedom stays below its 99.99th percentile."""
    counts = Counter(tuple(Permutation(4, seed)(np.arange(4)).tolist()) for seed in range(4800))

    assert sum((counts[order] - 200) ** 2 / 200 for order in counts) < 55
    assert len(counts) == 24


def test_neighbours_go_anywhere() -> None:
    """Places that follow one another have numbers that do not: no correlation beyond chance."""
    found = Permutation(20_000, 7)(np.arange(20_000)).astype(float)

    assert abs(np.corrcoef(found[1:], found[:-1])[0, 1]) < 0.03
    assert abs(np.corrcoef(found, np.arange(20_000))[0, 1]) < 0.03


def test_an_order_never_changes() -> None:
    """A state that was saved means the same in each release and on each machine: these numbers are frozen."""
    assert Permutation(100, "whole", "abc", 7, 0)(np.arange(12)).tolist() == [
        31,
        57,
        41,
        20,
        23,
        45,
        46,
        85,
        32,
        62,
        60,
        76,
    ]
    assert keys_of(1, "a", 1) == [13_911_811_604_597_038_468]


@pytest.mark.parametrize("parts", [("a", "b"), ("a\nb",)])
def test_keys_are_numbers_of_64_bits(parts: tuple[str, ...]) -> None:
    """As many as are asked for, all different."""
    keys = keys_of(5, *parts)

    assert len(set(keys)) == 5
    assert all(0 <= key < 1 << 64 for key in keys)
