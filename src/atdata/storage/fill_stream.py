"""Reading a file while it comes: up to its watermark, and from elsewhere where it comes to nothing.

Who fills the file is `atdata.storage.fills`; here is what a reader sees of it.
"""

import os
from collections.abc import Callable
from typing import Protocol

from atdata.errors import UnavailableError
from atdata.storage.base import Stream


class FillError(UnavailableError):
    """A file comes to nothing for a reason that is not the object's own: what was to be in it can be had without."""


class Progress(Protocol):
    """A file on its way, as readers see it."""

    @property
    def descriptor(self) -> int:
        """Of the file; readers make a duplicate."""
        ...

    @property
    def readable(self) -> int:
        """Bytes from the start that are known to be right."""
        ...

    @property
    def is_whole(self) -> bool:
        """Whether all of it is there, and right."""
        ...

    @property
    def error(self) -> BaseException | None:
        """Why it comes to nothing."""
        ...

    def wait(self, beyond: int) -> None:
        """Wait until more than ``beyond`` bytes are readable, or it has ended, or a moment has passed."""
        ...

    def leave(self) -> None:
        """A reader goes. A fill that nobody reads any more is given up."""
        ...


class FillStream:
    """Reads a file while it comes, from ``start`` up to ``stop``. A `Stream`.

    Args:
        progress: What comes; the stream leaves it when it is closed.
        fallback: Opens the same bytes elsewhere, from a given one on, where the file comes to nothing for a reason that
            is not the object's own.
    """

    def __init__(
        self,
        progress: Progress,
        *,
        start: int,
        stop: int,
        fallback: Callable[[int], Stream],
    ) -> None:
        self._progress: Progress | None = progress
        self._descriptor = os.dup(progress.descriptor)
        self._position, self._stop = start, stop
        self._fallback = fallback
        self._rest: Stream | None = None

    def readinto(self, buffer: memoryview, /) -> int:
        """Fill a buffer with what is there, waiting for the first byte; 0 only at the end.

        Raises:
            AtdataError: The object could not be had, or is not the right one.
        """
        buffer = buffer[: max(0, self._stop - self._position)]
        while len(buffer) and self._progress is not None:
            if self._rest is not None:
                count = self._rest.readinto(buffer)
            elif (count := min(len(buffer), self._progress.readable - self._position)) > 0:
                count = os.preadv(self._descriptor, [buffer[:count]], self._position)
            elif self._progress.is_whole:
                return 0
            elif (error := self._progress.error) is None:
                self._progress.wait(self._position)
                continue
            elif isinstance(error, FillError):
                self._rest = self._fallback(self._position)
                continue
            else:
                raise error
            self._position += count
            return count
        return 0

    def close(self) -> None:
        """Let go of the file. May be called twice."""
        progress, self._progress = self._progress, None
        if progress is not None:
            progress.leave()
            os.close(self._descriptor)
        rest, self._rest = self._rest, None
        if rest is not None:
            rest.close()

    def __del__(self) -> None:
        self.close()
