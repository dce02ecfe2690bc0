"""Fills: objects on their way into a file, read while they come.

One thread fills a file, any number of readers follow it up to its watermark, in this process and in others; an object
is fetched once at a time. Bytes that were checked before they were written can be read at once, others only when the
digest of the whole has been found right. Where a fill comes to nothing, its readers are told why, or go on by
themselves at the byte where they stand.

A server that passes bytes on while they come (`Fill.releasable`) keeps back the last 64 KiB until the digest agrees.
"""

import hashlib
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import closing, suppress

from atdata.errors import AtdataError, IntegrityError
from atdata.storage.base import Stream
from atdata.storage.cache import Cache, Key, Part
from atdata.storage.fill_stream import FillError
from atdata.syntax import Cid, raw_cid

HELD_BACK = 64 << 10  # bytes at the end that are not passed on before the digest agrees
STALL = 5.0  # seconds without a byte after which another process's fill is not waited for
KEPT = 2  # objects in unnamed files: the one that is read, and the one before or after it
_CHUNK = 1 << 20
_POLL = 0.01  # seconds between two looks at what another process does


class Fill:
    """An object that a thread of this process puts into a file.

    Args:
        part: The file; it becomes whole, or is removed.
        source: Opens the bytes, from the first one on. Called in the thread.
        cid: What they must be; None where nobody knows.
        size: How many there must be; None where nobody knows.
        label: Names object and place, for errors.
        on_progress: Called in the thread whenever there is more, and at the end.
    """

    def __init__(
        self,
        part: Part,
        source: Callable[[], Stream],
        *,
        cid: Cid | None,
        size: int | None,
        label: str,
        on_progress: Callable[[], None] | None = None,
    ) -> None:
        self._part = part
        self._source = source
        self._cid = cid
        self._size = size
        self._label = label
        self._on_progress = on_progress
        self._more = threading.Condition()
        self._watermark = 0
        self._whole = False
        self._error: BaseException | None = None
        self._readers = 0
        self._unwanted = False
        self._thread = threading.Thread(target=self._run, name="atdata-fill", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    @property
    def descriptor(self) -> int:
        """Of the file; see `atdata.storage.fill_stream.Progress`. It stays open as long as this object lives."""
        return self._part.descriptor

    @property
    def watermark(self) -> int:
        """Bytes that are in the file."""
        return self._watermark

    @property
    def readable(self) -> int:
        """Bytes from the start that are known to be right."""
        return self._watermark if self._part.checked or self._whole else 0

    @property
    def releasable(self) -> int:
        """Bytes that may be passed on to somebody who checks the end of them himself, or sees the connection end."""
        return self.readable or max(0, min(self._watermark, (self._size or 0) - HELD_BACK))

    @property
    def is_whole(self) -> bool:
        """Whether all of it is there, and right."""
        return self._whole

    @property
    def error(self) -> BaseException | None:
        """Why it comes to nothing."""
        return self._error

    def join(self) -> None:
        """Count one more reader."""
        with self._more:
            self._readers += 1
            self._unwanted = False

    def leave(self) -> None:
        """Count one reader less; the last one to leave ends the fill."""
        with self._more:
            self._readers -= 1
            self._unwanted = self._readers == 0

    def wait(self, beyond: int) -> None:
        """Wait for more; see `atdata.storage.fill_stream.Progress`."""
        with self._more:
            self._more.wait_for(lambda: self.readable > beyond or self._whole or self._error, timeout=1)

    def _run(self) -> None:
        try:
            self._fill()
        except BaseException as error:
            self._part.abandon()
            self._tell(error=error)

    def _tell(self, *, watermark: int | None = None, whole: bool = False, error: BaseException | None = None) -> None:
        with self._more:
            self._watermark = self._watermark if watermark is None else watermark
            self._whole, self._error = whole, error
            self._more.notify_all()
        if self._on_progress is not None:
            self._on_progress()

    def _fill(self) -> None:
        digest = hashlib.sha256()
        buffer = memoryview(bytearray(_CHUNK))
        length = 0
        with closing(self._source()) as stream:
            while count := stream.readinto(buffer):
                length += count
                if self._size is not None and length > self._size:
                    raise IntegrityError(f"longer than the {self._size:,} bytes expected", shard=self._label)
                digest.update(buffer[:count])
                self._write(buffer[:count])
                if self._unwanted:
                    raise FillError(f"{self._label}: given up, since nobody reads it")
                self._tell(watermark=length)
        if self._size is not None and length < self._size:
            raise IntegrityError(f"expected {self._size:,} bytes, found {length:,}", shard=self._label)
        found = raw_cid(digest.digest())
        if self._cid is not None and found != self._cid:
            raise IntegrityError(f"expected the CID {self._cid}, found {found}", shard=self._label)
        with suppress(OSError):  # right it is all the same
            self._part.finish()
        self._tell(whole=True)

    def _write(self, data: memoryview) -> None:
        try:
            self._part.write(data)
        except OSError as error:
            raise FillError(
                f"{self._label}: cannot be kept on disk ({error.strerror}); ATDATA_HOME names a folder on another "
                "disk, ATDATA_CACHE_BYTES bounds the cache"
            ) from error


class Following:
    """An object that another process puts into a file of the cache."""

    def __init__(self, part: Part) -> None:
        self._part = part
        self._seen = (part.watermark, time.monotonic())
        self._whole = False
        self._error: BaseException | None = None

    @property
    def descriptor(self) -> int:
        """Of the file; see `atdata.storage.fill_stream.Progress`."""
        return self._part.descriptor

    @property
    def readable(self) -> int:
        """Bytes from the start that are known to be right."""
        return self._part.watermark if self._part.checked or self._whole else 0

    @property
    def is_whole(self) -> bool:
        """Whether all of it is there, and right."""
        return self._whole

    @property
    def error(self) -> BaseException | None:
        """Why it is not waited for any more."""
        return self._error

    def wait(self, beyond: int) -> None:
        """Look again in a moment. A file is whole when its lock is gone and its name has changed."""
        watermark, since = self._seen
        if self._part.is_named():
            self._whole = True
            return
        if not self._part.is_being_filled() and not self._part.is_named():
            self._error = FillError("whoever filled it has gone")
            return
        now = time.monotonic()
        if (found := self._part.watermark) != watermark:
            self._seen = (found, now)
        elif now - since > STALL:
            self._error = FillError("whoever fills it does not go on")
            return
        if self.readable <= beyond:
            time.sleep(_POLL)

    def leave(self) -> None:
        """Nothing depends on who looks on."""


class Fills:
    """The fills of this process in one cache. Threads may use it at once; a fork begins without any.

    Args:
        cache: Where whole objects go.
    """

    def __init__(self, cache: Cache) -> None:
        self.cache = cache
        self._begin()

    def _begin(self) -> None:
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._running: dict[tuple[object, bool], Fill] = {}
        self._unnamed: OrderedDict[object, Fill] = OrderedDict()

    def __getstate__(self) -> Cache:
        return self.cache

    def __setstate__(self, state: Cache) -> None:
        Fills.__init__(self, state)

    def enter(
        self,
        key: Key,
        source: Callable[[], Stream],
        *,
        checked: bool,
        cid: Cid | None,
        label: str,
        on_progress: Callable[[], None] | None = None,
    ) -> "Fill | Following | None":
        """Follow an object into the cache, as a reader who will `leave`; begin to fill it where nobody does.

        Look for it with `Cache.find` first.

        Args:
            source: Opens its bytes.
            checked: Whether ``source`` gives bytes that have been checked.

        Returns:
            None where the cache cannot have it: it is too large, or the disk does not take it.

        Raises:
            RefusedError: The folder of the cache is another user's.
        """
        if self._process != os.getpid():
            self._begin()  # after a fork a lock may be held by a thread that is not here
        with self._lock:
            fill = self._running.get((key, checked))
            if fill is None or fill.error is not None:
                try:
                    part = self.cache.begin(key, checked=checked)
                except OSError as error:
                    if isinstance(error, AtdataError):
                        raise
                    return None
                if part is None:
                    part = self.cache.look_on(key, checked=checked)
                    return None if part is None else Following(part)
                fill = Fill(part, source, cid=cid, size=key.size, label=label, on_progress=on_progress)
                self._running = {running: other for running, other in self._running.items() if _is_running(other)}
                self._running[key, checked] = fill
                fill.start()
            fill.join()
            return fill

    def spool(
        self,
        name: object,
        source: Callable[[], Stream],
        *,
        cid: Cid,
        size: int | None,
        label: str,
        in_memory: bool = False,
    ) -> Fill:
        """Follow an object into a file without a name, as a reader; the two that were used last are kept.

        Args:
            in_memory: The file takes memory instead of disk.

        Raises:
            FillError: No file can be made.
        """
        if self._process != os.getpid():
            self._begin()
        with self._lock:
            fill = self._unnamed.get(name)
            if fill is None or fill.error is not None:
                fill = Fill(self._unnamed_part(in_memory), source, cid=cid, size=size, label=label)
                self._unnamed[name] = fill
                fill.start()
            self._unnamed.move_to_end(name)
            while len(self._unnamed) > KEPT:
                self._unnamed.popitem(last=False)
            fill.join()
            return fill

    def _unnamed_part(self, in_memory: bool) -> Part:
        try:
            return Part.in_memory() if in_memory else Part.unnamed(self.cache.folder)
        except OSError as error:
            raise FillError(f"{self.cache.folder}: no file can be made there ({error.strerror})") from error


def _is_running(fill: Fill) -> bool:
    return not fill.is_whole and fill.error is None
