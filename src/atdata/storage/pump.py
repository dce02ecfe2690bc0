"""A stream that is read by a thread of its own, so that whoever waits for it can stop waiting.

A store's own time limits are made for the only place that there is: minutes. Where there are others, a reader wants to
turn to one after seconds. A thread that waits for a dead server can't be stopped; it is left alone, and ends when the
store's own limits end it.
"""

import queue
import threading
import time
from collections.abc import Callable

from atdata.storage.base import Stream

AHEAD = 4  # pieces that are read before they are asked for: 1 MiB a stream
_PIECE = 256 << 10  # bytes
_LOOK = 0.1  # seconds between two looks at a stream that counts what it receives


class Stalled(Exception):
    """No byte has come for a while."""


class Pump:
    """Opens a stream and reads it, in a thread.

    Args:
        source: Opens the stream.
        on_answer: Called in the thread once the first bytes, the end or an error are there.

    Attributes:
        answered: Seconds until then; None before.
    """

    def __init__(self, source: Callable[[], Stream], *, on_answer: Callable[["Pump"], None] | None = None) -> None:
        self._source = source
        self._on_answer = on_answer
        self._pieces: queue.Queue[memoryview | BaseException] = queue.Queue(AHEAD)
        self._left = memoryview(b"")
        self._ended = False
        self._closed = threading.Event()
        self._stream: Stream | None = None
        self._began = self._progress = time.monotonic()
        self._received = 0
        self.answered: float | None = None
        self.failed: BaseException | None = None
        threading.Thread(target=self._run, name="atdata-pump", daemon=True).start()

    def readinto(self, buffer: memoryview, patience: float | None) -> int:
        """Fill a buffer with what has come; 0 only at the end.

        Args:
            patience: Seconds without a byte after which it gives up; None waits for the store's own limits.

        Raises:
            Stalled: No byte came for that long.
            The same as the stream and as what opens it.
        """
        if not len(self._left):
            if self._ended:
                return 0
            piece = self._next(patience)
            if isinstance(piece, BaseException):
                self._ended = True
                raise piece
            self._left = piece
            self._ended = not len(piece)
        count = min(len(buffer), len(self._left))
        buffer[:count] = self._left[:count]
        self._left = self._left[count:]
        return count

    def close(self) -> None:
        """Let the thread end, as soon as it can. May be called twice."""
        self._closed.set()
        while not self._pieces.empty():  # the thread may wait for room
            self._pieces.get_nowait()

    def _next(self, patience: float | None) -> memoryview | BaseException:
        since = time.monotonic()
        while True:
            try:
                return self._pieces.get(timeout=_LOOK if patience is None else min(_LOOK, patience))
            except queue.Empty:
                # A stream that hands out whole blocks only says what of them is there.
                received = getattr(self._stream, "received", 0)
                if received > self._received:
                    self._received, self._progress = received, time.monotonic()
                if patience is not None and time.monotonic() - max(since, self._progress) > patience:
                    raise Stalled from None

    def _run(self) -> None:
        try:
            self._stream = stream = self._source()
            try:
                self._read(stream)
            finally:
                stream.close()
        except BaseException as error:
            self.failed = error
            self._answer()
            self._put(error)

    def _read(self, stream: Stream) -> None:
        while not self._closed.is_set():
            buffer = bytearray(_PIECE)
            count = stream.readinto(memoryview(buffer))
            self._progress = time.monotonic()
            self._answer()
            self._put(memoryview(buffer)[:count])
            if not count:
                return

    def _answer(self) -> None:
        if self.answered is None:
            self.answered = time.monotonic() - self._began
            if self._on_answer is not None:
                self._on_answer(self)

    def _put(self, piece: memoryview | BaseException) -> None:
        while not self._closed.is_set():
            try:
                self._pieces.put(piece, timeout=_LOOK)
            except queue.Full:
                continue
            return
