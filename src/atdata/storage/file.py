"""Files of this machine as a store: paths, and ``file://`` URLs.

Only what the caller typed or the caller's own record says comes here; `atdata.storage.places` keeps other people's
``file://`` URLs out.
"""

import contextlib
import errno
import mmap
import os
import secrets
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from atdata.errors import AuthenticationError, InvalidSyntaxError, NotFoundError, UnavailableError
from atdata.storage.base import Stream
from atdata.storage.url import file_path


class FileStore:
    """Reads and writes local files. A path is a file name or a ``file://`` URL.

    `put` writes beside the place under a temporary name, flushes to the disk and renames: the file is there whole or
    not at all.
    """

    def open(self, path: str, *, start: int = 0, stop: int | None = None) -> Stream:
        """Stream a file; see `Store.open`.

        Raises:
            NotFoundError: There is no such file, or it is a folder or a device.
            AuthenticationError: The file may not be read.
            RefusedError: ``pipe:`` or ``-``.
        """
        return FileStream(_open(_local(path)), path, start, stop)

    def open_at(self, path: str) -> "FileAt":
        """Open a file to read at any place; raises as `open` does."""
        return FileAt(_open(_local(path)), path)

    def size(self, path: str) -> int:
        """Length of a file, in bytes."""
        descriptor = _open(_local(path))
        try:
            return os.fstat(descriptor).st_size
        finally:
            os.close(descriptor)

    def put(self, path: str, chunks: Iterable[bytes]) -> int:
        """Write a file whole or not at all; return its size in bytes. Missing folders are made.

        Raises:
            UnavailableError: The disk is full, or failed.
            AuthenticationError: The folder may not be written to.
        """
        target = _local(path)
        with _translated(target):
            target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.parent / f".{secrets.token_hex(8)}.part"
        total = 0
        try:
            with _translated(target), temporary.open("xb", buffering=0) as file:
                for chunk in chunks:
                    rest = memoryview(chunk).cast("B")
                    total += len(rest)
                    while rest:
                        rest = rest[file.write(rest) :]
                os.fsync(file.fileno())
            with _translated(target):
                temporary.replace(target)
                _sync_folder(target.parent)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        return total


class FileStream:
    """A part of an open file, from ``start`` up to ``stop``."""

    def __init__(self, descriptor: int, path: str, start: int, stop: int | None) -> None:
        self._descriptor = descriptor
        self._path = path
        self._position = start
        self._stop = stop
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(descriptor, start, 0, os.POSIX_FADV_SEQUENTIAL)

    def readinto(self, buffer: memoryview, /) -> int:
        """Fill a buffer straight from the file; 0 at the end."""
        if self._stop is not None:
            buffer = buffer[: max(0, self._stop - self._position)]
        if not len(buffer):
            return 0
        try:
            count = os.preadv(self._descriptor, [buffer], self._position)
        except OSError as error:
            raise UnavailableError(f"{self._path}: {error.strerror or error}") from error
        self._position += count
        return count

    def close(self) -> None:
        """Close the file. May be called twice."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def __del__(self) -> None:
        self.close()


class FileAt:
    """An open file, read at any place. A fork shares it safely: it has no position."""

    def __init__(self, descriptor: int, path: str) -> None:
        self._descriptor = descriptor
        self._path = path

    def readinto_at(self, buffer: memoryview, position: int, /) -> int:
        """Fill a buffer from ``position`` on, by one call of the system where it gives all at once."""
        try:
            count = filled = os.preadv(self._descriptor, [buffer], position)
            while count and filled < len(buffer):
                count = os.preadv(self._descriptor, [buffer[filled:]], position + filled)
                filled += count
        except OSError as error:
            raise UnavailableError(f"{self._path}: {error.strerror or error}") from error
        return filled

    def mapped(self) -> memoryview | None:
        """The file as memory; None where it is empty, or its file system maps nothing."""
        try:
            return memoryview(mmap.mmap(self._descriptor, 0, access=mmap.ACCESS_READ))
        except (OSError, ValueError):
            return None

    def close(self) -> None:
        """Close the file. May be called twice."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def __del__(self) -> None:
        self.close()


def _local(path: str) -> Path:
    local = file_path(path)
    if local is None:
        raise InvalidSyntaxError(f"{path!r} is not a path of this machine", value=path)
    return local


def _open(path: Path) -> int:
    with _translated(path):
        # Without O_NONBLOCK, opening a FIFO that nobody writes to would wait for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        kind = "a folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "a pipe or device"
        os.close(descriptor)
        raise NotFoundError(f"{path} is {kind}, not a file")
    return descriptor


def _sync_folder(folder: Path) -> None:
    """Make a rename last through a power failure; some file systems have no such thing and say so."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        with contextlib.suppress(OSError):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _translated(path: Path) -> Iterator[None]:
    """Turn errors of the operating system into ours, which say what to do."""
    try:
        yield
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NotFoundError(f"there is no file {path}") from error
    except PermissionError as error:
        raise AuthenticationError(f"{path}: no permission ({error.strerror})") from error
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise InvalidSyntaxError(f"the file name {str(path)[:80]!r}… is too long", value=str(path)) from error
        raise UnavailableError(f"{path}: {error.strerror or error}") from error
