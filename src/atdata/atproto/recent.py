"""Names that were found of late: a bounded memory, in number and in time.

What a name means changes, so nothing is kept for long; but while those who know do not answer, what they said last
serves a while longer. Asking them is `atdata.atproto.identity`.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")

MOST = 1000  # names
KEPT_FOR = 600.0  # seconds, after which a name is asked again
STALE_FOR = 24 * 3600.0  # seconds for which it may serve in all, while nobody answers: maxTTL of @atproto/identity
ASKED_AGAIN = 60.0  # seconds after which they are asked again then


@dataclass(slots=True)
class _Found(Generic[T]):
    value: T
    at: float
    until: float


class Recent(Generic[T]):
    """The names found last: at most `MOST` of them, each for `KEPT_FOR` seconds. Thread-safe."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin with nothing; ``clock`` gives seconds that only grow."""
        self._clock = clock
        self._lock = threading.Lock()
        self._found: OrderedDict[str, _Found[T]] = OrderedDict()

    def __reduce__(self) -> tuple[type["Recent[T]"], tuple[()]]:
        return type(self), ()  # another process asks again

    def get(self, name: str) -> T | None:
        """What was found; None where that is too long ago, or nothing was."""
        with self._lock:
            found = self._found.get(name)
            return found.value if found is not None and self._clock() < found.until else None

    def keep_on(self, name: str) -> T | None:
        """What was found serves for `ASKED_AGAIN` more seconds, up to `STALE_FOR` in all; None where it does not."""
        with self._lock:
            found, now = self._found.get(name), self._clock()
            if found is None or now >= found.at + STALE_FOR:
                return None
            found.until = now + ASKED_AGAIN
            return found.value

    def put(self, name: str, value: T) -> None:
        """Keep what was found just now."""
        with self._lock:
            now = self._clock()
            self._found[name] = _Found(value, now, now + KEPT_FOR)
            self._found.move_to_end(name)
            while len(self._found) > MOST:
                self._found.popitem(last=False)

    def drop(self, name: str) -> None:
        """Forget a name."""
        with self._lock:
            self._found.pop(name, None)
