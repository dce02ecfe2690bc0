"""Laws of `atdata.data.orders`."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atdata.data.orders import LANES, InOrder, Order, Whole, Windows, piece_of


@settings(max_examples=80)
@given(st.integers(0, 5000), st.integers(1, 60), st.integers(0, 3))
def test_each_sample_has_one_place(total: int, piece: int, epoch: int) -> None:
    """Of every order, whatever the sizes; places may be asked for in any order."""
    orders: list[Order] = [InOrder(total), Whole(total, "x", 1, epoch), Windows(total, piece, "x", 1, epoch)]
    for order in orders:
        ids = order.ids(np.arange(total))

        assert sorted(ids.tolist()) == list(range(total))
        assert order.ids(np.arange(total)[::-1])[::-1].tolist() == ids.tolist()


@pytest.mark.parametrize("kind", ["whole", "windows"])
def test_an_order_depends_on_all_of_its_parts(kind: str) -> None:
    """Another fingerprint, seed or epoch, another order; the same ones, the same order."""

    def order(*parts: object) -> list[int]:
        made: Order = Whole(1000, *parts) if kind == "whole" else Windows(1000, 3, *parts)
        return list(made.ids(np.arange(1000)).tolist())

    assert order("f", 1, 0) == order("f", 1, 0)
    assert len({tuple(order(*parts)) for parts in (("f", 1, 0), ("g", 1, 0), ("f", 2, 0), ("f", 1, 1))}) == 4


@pytest.mark.parametrize("total", [20_000, 20_190, 100_001])
@pytest.mark.parametrize("kind", ["whole", "windows"])
def test_each_batch_is_mixed(total: int, kind: str) -> None:
    """Of 20 equal shards, a batch of 256 has samples of 19 at least, the first one as the last one."""
    order: Order = Whole(total, "x", 5) if kind == "whole" else Windows(total, 17, "x", 5)
    shards = order.ids(np.arange(total)) * 20 // total

    distinct = [len(set(shards[at : at + 256].tolist())) for at in range(0, total - 255, 256)]

    assert min(distinct) >= 19


def test_a_window_has_each_piece_once_and_whole() -> None:
    """A window is as many runs of neighbours as there are lanes, so each piece is fetched once."""
    order = Windows(LANES * 100, 10, "x", 3)

    for window in range(10):
        place = window * 10 * LANES
        ids = np.sort(order.ids(np.arange(place, place + 10 * LANES)))
        runs = np.flatnonzero(np.diff(ids) != 1)
        assert order.until(place) == place + 10 * LANES
        assert len(runs) + 1 <= LANES + 1  # and one more where the ring begins


@pytest.mark.parametrize("world", [2, 3, 4, 8, 12, 64])
def test_a_rank_reads_pieces_of_its_own(world: int) -> None:
    """Where their number divides the lanes, no two ranks need the same piece of a window."""
    order = Windows(LANES * 100, 10, "x", 3)
    window = order.ids(np.arange(10 * LANES))
    pieces = (window - order._turn) % order.total // 10

    read = [set(pieces[rank::world].tolist()) for rank in range(world)]

    assert sum(map(len, read)) == len(set().union(*read)) == LANES


def test_a_place_costs_nothing() -> None:
    """In an order of a billion samples any place is found at once: nothing is made or kept."""
    places = np.arange(10**8, 10**8 + 100)

    assert len(set(Whole(10**9, "x").ids(places).tolist())) == 100
    assert len(set(Windows(10**9, 400, "x").ids(places).tolist())) == 100


def test_a_piece_has_a_lanes_part_of_a_window() -> None:
    """And one sample at least."""
    assert piece_of(64 << 20, 3500) == 99
    assert piece_of(64 << 20, 10_000_000) == 1
    assert piece_of(64 << 20, 0) == (64 << 20) // LANES
