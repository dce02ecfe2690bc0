"""Work on many shards at a time."""

import threading
from collections.abc import Iterator

import pytest

from atdata.errors import UnavailableError
from atdata.loading.workers import Meter, MeteredStore, in_order
from atdata.storage.base import read_all
from atdata.testing import MemoryStore


def nothing() -> None:
    """Report nothing."""


def test_results_come_in_order() -> None:
    """Also where later ones are ready first, and several run at the same time."""
    second = threading.Event()

    def work(number: int) -> int:
        if number == 0:
            assert second.wait(30)
        if number == 1:
            second.set()
        return number * number

    assert list(in_order(work, range(20), meter=Meter(), threads=2, tick=nothing)) == [i * i for i in range(20)]


def test_few_are_taken_ahead() -> None:
    """What is taken is bounded by the number of threads, not by that of the items."""
    taken = []

    def items() -> Iterator[int]:
        for number in range(1000):
            taken.append(number)
            yield number

    results = in_order(lambda number: number, items(), meter=Meter(), threads=2, tick=nothing)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    assert len(taken) <= 3 + 4
    results.close()


def test_an_error_stops_the_others() -> None:
    """The first one in order is raised, and threads that still work find out by the meter."""
    meter = Meter()
    failed = threading.Event()
    stopped = threading.Event()

    def work(number: int) -> int:
        if number == 0:
            failed.wait(30)
            raise ValueError("broken")
        try:
            while True:
                failed.set()
                meter.add(1)
        except UnavailableError:
            stopped.set()
            raise

    with pytest.raises(ValueError, match="broken"):
        list(in_order(work, range(2), meter=meter, threads=2, tick=nothing))
    assert stopped.is_set()


def test_what_hangs_does_not_keep_who_gives_up() -> None:
    """Closed early, as by Ctrl-C, nobody waits for a server that says nothing; its answer counts for nothing."""
    meter = Meter()
    answer, ended = threading.Event(), threading.Event()

    def work(number: int) -> int:
        if number:
            answer.wait(30)
            try:
                meter.add(1)
            finally:
                ended.set()
        return number

    results = in_order(work, range(2), meter=meter, threads=2, tick=nothing)
    assert next(results) == 0
    results.close()

    assert not ended.is_set()
    answer.set()
    assert ended.wait(30)
    assert meter.done == 0


def test_a_timeout_of_the_work_is_an_error() -> None:
    """It is not taken for that of the wait."""

    def work(number: int) -> int:
        raise TimeoutError(f"{number} took too long")

    with pytest.raises(TimeoutError, match="0 took too long"):
        list(in_order(work, range(3), meter=Meter(), threads=1, tick=nothing))


def test_waiting_is_reported() -> None:
    """The one who iterates is told again and again while nothing is ready."""
    ticks = threading.Semaphore(0)

    def work(number: int) -> bool:
        return all(ticks.acquire(timeout=30) for _ in range(3))

    assert list(in_order(work, [0], meter=Meter(), threads=1, tick=ticks.release)) == [True]


def test_bytes_are_counted() -> None:
    """All that passes the store."""
    meter = Meter()
    store = MeteredStore(MemoryStore({"a": bytes(1000)}), meter)

    assert read_all(store, "a", start=10, limit=1000) == bytes(990)
    assert store.size("a") == 1000
    assert meter.done == 990
