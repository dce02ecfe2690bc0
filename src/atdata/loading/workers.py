"""Work on many shards, several at a time: results in order, bounded memory, progress, and a way to stop.

What is done with a shard is `atdata.loading.download` and `atdata.loading.verify`.
"""

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import TypeVar

from atdata.errors import UnavailableError
from atdata.storage.base import Store, Stream

THREADS = 4  # shards at a time
_TICK = 0.2  # seconds between two reports of progress

Progress = Callable[[str, int, int], None]
Item = TypeVar("Item")
Result = TypeVar("Result")


def silent(step: str, done: int, total: int) -> None:
    """Report no progress."""


class Meter:
    """Counts bytes that threads have read, and stops them. Thread-safe.

    Attributes:
        done: Bytes so far.
    """

    def __init__(self) -> None:
        self.done = 0
        self._lock = threading.Lock()
        self._stopped = False

    def add(self, count: int) -> None:
        """Count bytes.

        Raises:
            UnavailableError: `stop` has been called.
        """
        if self._stopped:
            raise UnavailableError("given up, since something else failed")
        with self._lock:
            self.done += count

    def stop(self) -> None:
        """Let every further `add` raise."""
        self._stopped = True


class MeteredStore:
    """A store whose bytes are counted as they are read."""

    def __init__(self, inner: Store, meter: Meter) -> None:
        self._inner = inner
        self._meter = meter

    def open(self, path: str, *, start: int = 0, stop: int | None = None) -> Stream:
        """Stream an object; see `Store.open`."""
        return _MeteredStream(self._inner.open(path, start=start, stop=stop), self._meter)

    def size(self, path: str) -> int:
        """Length of an object, in bytes."""
        return self._inner.size(path)


class _MeteredStream:
    def __init__(self, inner: Stream, meter: Meter) -> None:
        self._inner = inner
        self._meter = meter

    def readinto(self, buffer: memoryview, /) -> int:
        count = self._inner.readinto(buffer)
        self._meter.add(count)
        return count

    def close(self) -> None:
        self._inner.close()


def in_order(
    work: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    meter: Meter,
    threads: int = THREADS,
    tick: Callable[[], None],
) -> Generator[Result, None, None]:
    """What ``work`` returns for each item, in order, by several threads.

    At most ``2 * threads`` items are taken ahead. When this ends before all is done, by an error, by Ctrl-C or since
    it is closed, the meter stops the threads; they are waited for after an error alone.

    Args:
        meter: Is asked by ``work`` as it goes; used up at the end.
        tick: Called by the thread that iterates, some times a second while it waits.

    Raises:
        Whatever ``work`` raises, for the first item in order that fails.
    """
    waiting: deque[Future[Result]] = deque()
    jobs: SimpleQueue[tuple[Future[Result], Item] | None] = SimpleQueue()
    # Not a pool: its threads would keep the process alive after Ctrl-C for as long as a server says nothing.
    workers = [
        threading.Thread(target=_run, args=(work, jobs), name="atdata-shards", daemon=True) for _ in range(threads)
    ]
    for worker in workers:
        worker.start()
    interrupted = True
    try:
        for item in items:
            waiting.append(Future())
            jobs.put((waiting[-1], item))
            if len(waiting) >= 2 * threads:
                yield _result(waiting.popleft(), tick)
        while waiting:
            yield _result(waiting.popleft(), tick)
        interrupted = False
    except Exception:
        interrupted = False
        raise
    finally:
        meter.stop()
        for future in waiting:
            future.cancel()
        for _ in workers:
            jobs.put(None)
        for worker in () if interrupted else workers:
            worker.join()


def _run(work: Callable[[Item], Result], jobs: "SimpleQueue[tuple[Future[Result], Item] | None]") -> None:
    while (job := jobs.get()) is not None:
        future, item = job
        if future.set_running_or_notify_cancel():
            try:
                future.set_result(work(item))
            except BaseException as error:
                future.set_exception(error)  # raised where the result is asked for


def _result(future: Future[Result], tick: Callable[[], None]) -> Result:
    while True:
        tick()
        try:
            return future.result(timeout=_TICK)
        except TimeoutError:
            if future.done():  # raised by the work itself
                raise
