"""What has been learnt about the largest blob that a PDS takes, kept from one run to the next.

Newer PDSes tell their limit; older ones, and proxies before any of them, only answer 413 to what is too large. From
such an answer the next smaller limit that is in use is taken to be theirs. Operators raise limits, so that what was
learnt is forgotten after a month.
"""

import contextlib
import fcntl
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from atdata.folders import data_folder

IN_USE = (100 << 20, 60 << 20, 50 << 20, 5 << 20, 1 << 20)
"""Limits in bytes that PDSes and their proxies have, the default of the reference PDS (5 MiB) among them."""
KEPT = 30 * 24 * 3600  # seconds


class _Learnt(msgspec.Struct):
    limit: int
    at: float


class BlobLimits:
    """Limits by the base URL of a PDS, in one file. Safe to use from several threads and processes."""

    def __init__(self, path: Path | None = None, *, clock: Callable[[], float] = time.time) -> None:
        """Name the file; None: ``blob-limits.json`` in the data folder."""
        self._path = path or data_folder() / "blob-limits.json"
        self._clock = clock

    def find(self, service: str) -> int | None:
        """The limit of a PDS in bytes; None where nothing has been learnt, or too long ago."""
        learnt = self._read().get(service)
        return learnt.limit if learnt and abs(self._clock() - learnt.at) < KEPT else None

    def refused(self, service: str, size: int) -> int:
        """A blob of ``size`` bytes was too large: remember the limit that follows, and return it."""
        limit = next((limit for limit in IN_USE if limit < size), size // 2)
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._path.with_suffix(".lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            learnt = {each: value for each, value in self._read().items() if self._clock() - value.at < KEPT}
            learnt[service] = _Learnt(limit, self._clock())
            self._write(learnt)
        return limit

    def _read(self) -> dict[str, _Learnt]:
        # A file that is damaged is as good as none: what it held is learnt again.
        with contextlib.suppress(OSError, msgspec.DecodeError, UnicodeDecodeError):
            return msgspec.json.decode(self._path.read_bytes(), type=dict[str, _Learnt])
        return {}

    def _write(self, learnt: dict[str, _Learnt]) -> None:
        descriptor, name = tempfile.mkstemp(dir=self._path.parent, prefix=".blob-limits-")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(msgspec.json.encode(learnt))
            Path(name).replace(self._path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
