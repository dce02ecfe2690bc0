"""One stream out of several places: which is asked first, when it is left, and where the next one goes on.

The rules are told in `atdata.storage.mirrored`; this module is what they do to one stream.
"""

import queue
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from atdata.errors import AtdataError, IntegrityError, NotFoundError, UnavailableError
from atdata.storage.base import Store, Stream
from atdata.storage.index_footer import DIGEST_BLOCK
from atdata.storage.pump import Pump, Stalled

STALL = 5.0  # seconds without a byte after which another place is asked
PENALTY = 60.0  # seconds for which a place that failed is asked after the others
MAX_LIES = 3  # wrong blocks of one place in one stream, each of which comes from elsewhere, before it is left
MAX_RACE = 3  # places that are asked at once


@dataclass(frozen=True, slots=True)
class Source:
    """One place of the object that is read.

    Attributes:
        number: In the ranking.
        name: For errors.
        store: Opens it.
        path: Its path there.
        last: Whether it is to be asked after all others.
    """

    number: int
    name: str
    store: Store
    path: str
    last: bool = False


class Ranking:
    """Which place answers fastest, as far as this process has seen. Threads may use it at once, without a lock."""

    def __init__(self, count: int) -> None:
        self._seconds: list[float | None] = [None] * count
        self._worse_until = [0.0] * count

    def order(self) -> list[int]:
        """Numbers of the places, the best first. Of those that failed lately, the ones that have answered before."""
        return sorted(range(len(self._seconds)), key=self._cost)

    def _cost(self, number: int) -> tuple[bool, bool, float, int]:
        failed = self._worse_until[number] > time.monotonic()
        seconds = self._seconds[number]
        return failed, failed and seconds is None, seconds or 0.0, number

    def is_unknown(self, number: int) -> bool:
        """Whether a place has neither answered nor failed yet."""
        return self._seconds[number] is None and not self._worse_until[number]

    def answered(self, number: int, seconds: float) -> None:
        """A place has answered."""
        before = self._seconds[number]
        self._seconds[number] = seconds if before is None else 0.7 * before + 0.3 * seconds

    def failed(self, number: int) -> None:
        """A place has failed: others are asked before it for a while."""
        self._worse_until[number] = time.monotonic() + PENALTY


class Failures:
    """Why each place failed.

    Args:
        label: Names the object.
    """

    def __init__(self, label: str) -> None:
        self._label = label
        self._reasons: dict[str, AtdataError] = {}

    def add(self, place: str, error: AtdataError) -> None:
        """Remember why a place failed; the latest reason counts."""
        self._reasons[place] = error

    def error(self, where: str = "") -> AtdataError:
        """The error that names the object, every place and why each failed."""
        reasons = "; ".join(f"{place}: {error}" for place, error in self._reasons.items()) or "no place has it"
        message = f"no place gives it{where}: {reasons}"
        kinds = set(map(type, self._reasons.values()))
        if kinds == {IntegrityError}:
            return IntegrityError(message, shard=self._label)
        if kinds <= {NotFoundError}:
            return NotFoundError(f"{self._label}: {message}")
        return UnavailableError(f"{self._label}: {message}")


class JoinedStream:
    """Bytes of one object from ``start`` up to ``stop``, from whichever of its places gives them. A `Stream`.

    Args:
        sources: The places.
        ranking: Of all places of the store.
        label: Names the object.
        size: Its length, where it is known.
        joins: Whether bytes of two places may be joined, since they are checked, here or later.
        stall: Seconds without a byte after which another place is asked.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        ranking: Ranking,
        *,
        label: str,
        start: int,
        stop: int | None,
        size: int | None,
        joins: bool,
        stall: float,
    ) -> None:
        self._sources = {source.number: source for source in sources}
        self._ranking = ranking
        self._start = self._position = start
        ends = [end for end in (stop, size) if end is not None]
        self._stop = min(ends) if ends else None
        self._known_end = size is not None
        self._joins = joins
        self._stall = stall
        self._failures = Failures(label)
        self._tried: set[int] = set()  # since the last byte came
        self._slow: set[int] = set()
        self._lies: Counter[int] = Counter()
        self._home: int | None = None  # where to go back to after a detour
        self._pump: Pump | None = None
        self._current = -1
        self._patience: float | None = stall
        self._over = self._stop is not None and start >= self._stop
        if not self._over or not self._known_end:
            self._take_over(None)

    def readinto(self, buffer: memoryview, /) -> int:
        """Fill a buffer with what has come, from wherever; 0 only at the end.

        Raises:
            IntegrityError: What every place gives is wrong.
            UnavailableError: Every place failed; the message says how each did.
        """
        if self._stop is not None:
            buffer = buffer[: max(0, self._stop - self._position)]
        while len(buffer) and self._pump is not None:
            try:
                count = self._pump.readinto(buffer, self._patience)
            except Stalled:
                self._slow.add(self._current)
                self._fail(UnavailableError(f"no byte for {self._stall:g} s, at byte {self._position:,}"))
                continue
            except AtdataError as error:
                self._fail(error)
                continue
            if count:
                self._position += count
                self._tried.clear()
                self._slow.clear()
                self._patience = self._stall
                return count
            if self._home is not None:
                home, self._home = self._home, None
                self._take_over(None, first=home)
            elif self._known_end and self._stop is not None and self._position < self._stop:
                self._fail(UnavailableError(f"ended at byte {self._position:,} of {self._stop:,}"))
            else:
                return 0
        return 0

    def close(self) -> None:
        """Let go of the place. May be called twice."""
        pump, self._pump = self._pump, None
        if pump is not None:
            pump.close()

    def __del__(self) -> None:
        self.close()

    def _fail(self, error: AtdataError) -> None:
        """Leave the place that is read for another one; for one block only, where it lied and may be right again."""
        number = self._current
        self.close()
        self._tried.add(number)
        self._failures.add(self._sources[number].name, error)
        if not self._joins and self._position > self._start:
            raise self._failures.error(
                f" from byte {self._position:,} on, and what lies elsewhere may be another version"
            )
        stop = None
        if isinstance(error, IntegrityError) and self._lies[number] < MAX_LIES:
            self._lies[number] += 1
            self._home = number
            stop = (self._position // DIGEST_BLOCK + 1) * DIGEST_BLOCK
        else:
            self._home = None
            self._punish(number, error)
        self._take_over(stop)

    def _punish(self, number: int, error: AtdataError) -> None:
        if not isinstance(error, NotFoundError):  # a place that lacks one shard is no worse for the others
            self._ranking.failed(number)

    def _take_over(self, stop: int | None, *, first: int | None = None) -> None:
        """Find a place that gives bytes from here on, up to ``stop`` of a detour."""
        while True:
            left = [number for number in self._order() if number not in self._tried]
            if first is not None:
                batch, patience, first = [first], self._stall, None
            elif left and self._ranking.is_unknown(left[0]):
                unknown = (number for number in left if self._ranking.is_unknown(number))
                batch, patience = list(unknown)[:MAX_RACE], self._stall
            elif left:
                batch, patience = left[:1], self._stall
            elif self._slow:
                batch, patience = [self._slow.pop()], None
            else:
                raise self._failures.error(f" from byte {self._position:,} on" if self._position else "")
            self._patience = patience
            if self._ask(batch, stop, patience):
                return

    def _order(self) -> list[int]:
        present = [number for number in self._ranking.order() if number in self._sources]
        return sorted(present, key=lambda number: self._sources[number].last)

    def _ask(self, batch: Iterable[int], stop: int | None, patience: float | None) -> bool:
        """Ask some places at once, and take the first one that answers."""
        answers: queue.SimpleQueue[int] = queue.SimpleQueue()
        pumps = {number: Pump(self._opener(number, stop), on_answer=self._hear(number, answers)) for number in batch}
        deadline = None if patience is None else time.monotonic() + patience
        while pumps:
            try:
                number = answers.get(timeout=None if deadline is None else max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                for number, pump in pumps.items():
                    self._tried.add(number)
                    self._slow.add(number)
                    self._ranking.failed(number)
                    error = UnavailableError(f"no answer in {self._stall:g} s")
                    self._failures.add(self._sources[number].name, error)
                    pump.close()
                return False
            pump = pumps.pop(number)
            if pump.failed is None:
                for other in pumps.values():
                    other.close()
                self._pump, self._current = pump, number
                return True
            self._tried.add(number)
            pump.close()
            if not isinstance(pump.failed, AtdataError):
                raise pump.failed
            self._failures.add(self._sources[number].name, pump.failed)
        return False

    def _opener(self, number: int, stop: int | None) -> Callable[[], Stream]:
        source, start = self._sources[number], self._position
        ends = [end for end in (stop, self._stop) if end is not None]
        return lambda: source.store.open(source.path, start=start, stop=min(ends) if ends else None)

    def _hear(self, number: int, answers: "queue.SimpleQueue[int]") -> Callable[[Pump], None]:
        ranking = self._ranking

        def hear(pump: Pump) -> None:
            if pump.failed is None:
                ranking.answered(number, pump.answered or 0.0)
            elif not isinstance(pump.failed, NotFoundError):
                ranking.failed(number)
            answers.put(number)

        return hear
