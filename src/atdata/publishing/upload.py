"""Uploading: several blobs at a time, streamed from disk, each of them whole or to be sent again.

Threads send, and wait where the server asks for it (`patience`); the calling thread alone is told what is done, so that
whoever writes the journal needs no lock. Which blobs there are, and what names them, is the matter of `pinning`.

What is under way when something breaks must be sent again. So after a break blobs go one at a time, and the more at a
time the longer it goes well, as TCP does it with packets.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import BinaryIO, cast

from atdata.atproto.repository import Repository
from atdata.errors import IntegrityError, UnavailableError
from atdata.publishing.patience import Patience, Stopped
from atdata.storage.union import Blob

UPLOADS = 4  # blobs that are uploaded at the same time
_GROW = 32  # blobs that must arrive before one more is sent at the same time
_SHOW = 0.2  # seconds between two reports of progress
_END = 5.0  # seconds that threads have to notice that they are to end


@dataclass(frozen=True, slots=True)
class Item:
    """One blob to upload.

    Attributes:
        source: Its file, or its bytes.
        expected: What it is; the MIME type is what the server is told, and may find to be another.
    """

    source: Path | bytes
    expected: Blob


def upload_all(
    repository: Repository,
    items: Sequence[Item],
    *,
    patience: Patience,
    on_uploaded: Callable[[Blob], None],
    progress: Callable[[int], None],
    uploads: int = UPLOADS,
    is_careful: bool = False,
) -> None:
    """Upload blobs, the first ones first; each CID once.

    Args:
        repository: Takes them.
        items: What to upload.
        patience: Waits and retries; its ``stop`` is set when this ends by an error.
        on_uploaded: Is told of each blob as the repository has it, in the calling thread, as soon as it is there.
        progress: Is told how many bytes have been sent, in the calling thread, some times a second.
        uploads: How many at a time, at most. Memory is some 100 KiB for each.
        is_careful: Begin with one at a time: an earlier run has been broken off.

    Raises:
        IntegrityError: The repository took other bytes than were meant.
        LimitError: A blob is larger than the repository takes.
        XrpcError, UnavailableError, AuthenticationError: As `Repository.upload_blob`, after all patience.
    """
    waiting = deque({item.expected.cid: item for item in items}.values())
    left, sent = len(waiting), _Counter()
    lanes = _Lanes(uploads, patience.stop, open_now=1 if is_careful else uploads)
    results: SimpleQueue[Blob | BaseException] = SimpleQueue()

    def work() -> None:
        while not patience.stop.is_set():
            try:
                item = waiting.popleft()
            except IndexError:
                return
            try:
                results.put(_upload(repository, item, patience, lanes, sent))
            except BaseException as error:  # whatever it is, the calling thread must hear of it
                results.put(error)

    # Daemons: were a server to hold one of them for ever, the process could still end.
    threads = [
        threading.Thread(target=work, daemon=True, name=f"atdata-upload-{number}")
        for number in range(min(uploads, left))
    ]
    for thread in threads:
        thread.start()
    try:
        while left:
            try:
                result = results.get(timeout=_SHOW)
            except Empty:
                progress(sent.value)
                continue
            if isinstance(result, BaseException):
                raise result
            left -= 1
            on_uploaded(result)
            progress(sent.value)
    except BaseException:
        patience.stop.set()
        _join(threads)
        for blob in _finished(results):
            on_uploaded(blob)
        raise
    _join(threads)


def check_taken(blob: Blob, expected: Blob, source: Path | bytes) -> Blob:
    """Make sure that the repository has the bytes that were meant.

    Raises:
        IntegrityError: It has others: the file has changed since it was read, or was damaged on the way.
    """
    if (blob.cid, blob.size) != (expected.cid, expected.size):
        raise IntegrityError(
            f"uploaded as {blob.cid} of {blob.size:,} bytes, but {expected.cid} of {expected.size:,} bytes was read "
            "before: the file was changed in between",
            shard=str(source) if isinstance(source, Path) else "manifest",
        )
    return blob


def _upload(repository: Repository, item: Item, patience: Patience, lanes: "_Lanes", sent: "_Counter") -> Blob:
    def attempt() -> Blob:
        with (
            lanes.taken(),
            item.source.open("rb", buffering=0) if isinstance(item.source, Path) else BytesIO(item.source) as file,
        ):
            # It behaves as a file as far as an upload needs one: `read`, `seek`, `tell`, `seekable`.
            counted = _CountedFile(cast(BinaryIO, file), sent, patience.stop)
            try:
                return repository.upload_blob(cast(BinaryIO, counted), mime_type=item.expected.mime_type)
            except BaseException:
                counted.take_back()
                raise

    return check_taken(patience.call(attempt), item.expected, item.source)


class _Lanes:
    """How many uploads go at the same time: fewer after a break, one more for each `_GROW` that have arrived."""

    def __init__(self, most: int, stop: threading.Event, *, open_now: int) -> None:
        self._most = most
        self._stop = stop
        self._open = open_now
        self._taken = 0
        self._arrived = 0
        self._changed = threading.Condition()

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Wait for a lane and hold it."""
        with self._changed:
            while self._taken >= self._open and not self._stop.is_set():
                self._changed.wait(_SHOW)
            self._taken += 1
        try:
            yield
        except UnavailableError:
            self._leave(arrived=False)
            raise
        except BaseException:
            self._leave()
            raise
        self._leave(arrived=True)

    def _leave(self, *, arrived: bool | None = None) -> None:
        with self._changed:
            self._taken -= 1
            if arrived is False:
                self._open, self._arrived = 1, 0
            elif arrived:
                self._arrived += 1
                if self._arrived >= _GROW and self._open < self._most:
                    self._open, self._arrived = self._open + 1, 0
            self._changed.notify_all()


class _Counter:
    """Bytes sent by all threads."""

    def __init__(self) -> None:
        self.value = 0
        self._lock = threading.Lock()

    def add(self, count: int) -> None:
        with self._lock:
            self.value += count


class _CountedFile:
    """A file that is sent: its bytes are counted, and reading it ends when everything is to stop."""

    def __init__(self, file: BinaryIO, counter: _Counter, stop: threading.Event) -> None:
        self._file = file
        self._counter = counter
        self._stop = stop
        self._counted = 0

    def read(self, size: int = -1, /) -> bytes:
        if self._stop.is_set():
            raise Stopped
        data = self._file.read(size)
        self._count(len(data))
        return data

    def seek(self, offset: int, whence: int = 0, /) -> int:
        self.take_back()
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def seekable(self) -> bool:
        return True

    def take_back(self) -> None:
        """What was counted is sent again, or was not taken."""
        self._count(-self._counted)

    def _count(self, count: int) -> None:
        self._counted += count
        self._counter.add(count)


def _join(threads: Iterable[threading.Thread]) -> None:
    deadline = time.monotonic() + _END
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))


def _finished(results: "SimpleQueue[Blob | BaseException]") -> Iterable[Blob]:
    while True:
        try:
            result = results.get_nowait()
        except Empty:
            return
        if isinstance(result, Blob):
            yield result
