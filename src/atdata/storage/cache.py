"""The cache: a folder of whole, checked objects by name and size, bounded in bytes, shared by processes.

A file that is being filled has ``.part`` behind its name and is locked (flock) by whoever fills it, for as long as that
process lives; it gets its own name by a rename once all of it is there and right. So a name means a whole object, and a
part without a lock is rubbish. What was used longest ago goes first. Who fills parts is `atdata.storage.fills`.

``ATDATA_CACHE_BYTES`` bounds the folder, parts included; 0 keeps nothing. A file that somebody still reads when it goes
takes its bytes until he has done.
"""

import contextlib
import errno
import fcntl
import os
import re
import secrets
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from atdata.errors import InvalidSyntaxError, RefusedError
from atdata.folders import cache_folder

DEFAULT_BYTES = 10_000_000_000
_NAME = re.compile(r"[A-Za-z0-9_-]{1,200}\.(\d{1,18})(\.part|\.blocks\.part)?")


@dataclass(frozen=True, slots=True)
class Key:
    """What an object is called in the cache.

    Attributes:
        name: Its CID, or another name of letters and digits that says which bytes it has.
        size: Its length in bytes.
    """

    name: str
    size: int

    def __str__(self) -> str:
        return f"{self.name}.{self.size}"


class Part:
    """A file of the cache that is not whole yet.

    Attributes:
        checked: Whether each byte has been checked before it was written; else nothing is known before the end.
        descriptor: Of the file, open for reading.
    """

    def __init__(self, descriptor: int, *, checked: bool, path: Path | None = None, target: Path | None = None) -> None:
        self.descriptor = descriptor
        self.checked = checked
        self._path = path
        self._target = target

    @classmethod
    def unnamed(cls, folder: Path) -> "Part":
        """A file that is in no cache and goes with its last descriptor."""
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
            return cls(os.dup(file.fileno()), checked=False)

    @classmethod
    def in_memory(cls) -> "Part":
        """The same in memory, which goes the same way."""
        if not hasattr(os, "memfd_create"):
            raise OSError(errno.ENOSYS, "this system has no files in memory")
        return cls(os.memfd_create("atdata", os.MFD_CLOEXEC), checked=False)

    @property
    def watermark(self) -> int:
        """Bytes that are in the file."""
        return os.fstat(self.descriptor).st_size

    def write(self, data: memoryview) -> None:
        """Append bytes. Raises OSError, as on a full disk."""
        while data:
            data = data[os.write(self.descriptor, data) :]

    def finish(self) -> None:
        """Give the file its own name: it is whole and right.

        Without fsync: where a power failure takes bytes, it takes the length as well, and a file of another length than
        its name says is not used.
        """
        if self._path is not None and self._target is not None:
            self._path.replace(self._target)
            fcntl.flock(self.descriptor, fcntl.LOCK_UN)

    def abandon(self) -> None:
        """Remove the file."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    def is_named(self) -> bool:
        """Whether the file has its own name now. For those who look on."""
        try:
            return self._target is not None and os.path.samestat(os.fstat(self.descriptor), self._target.stat())
        except OSError:
            return False

    def is_being_filled(self) -> bool:
        """Whether the process that fills it lives, and has not come to an end with it. For those who look on."""
        try:
            fcntl.flock(self.descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
        fcntl.flock(self.descriptor, fcntl.LOCK_UN)
        return False

    def __del__(self) -> None:
        os.close(self.descriptor)


class Cache:
    """Objects in a folder. Picklable; threads and processes may use the same folder at once.

    Args:
        folder: None: ``shards`` in the cache folder of this user. It is made with mode 0700.
        limit: Most bytes in it; None asks ``ATDATA_CACHE_BYTES``, else 10 GB.

    Attributes:
        folder: Where it is.
        limit: Its bound in bytes; 0 where nothing is kept.
    """

    def __init__(self, folder: Path | None = None, *, limit: int | None = None) -> None:
        self.folder = cache_folder() / "shards" if folder is None else folder
        self.limit = _limit_from_environment() if limit is None else limit

    def find(self, key: Key) -> int | None:
        """A descriptor of a whole object, to be closed by the caller; None where it is not here. It counts as used."""
        path = self.folder / str(key)
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError:
            return None
        found = os.fstat(descriptor)
        if found.st_size != key.size or not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid():
            os.close(descriptor)
            path.unlink(missing_ok=True)
            return None
        with contextlib.suppress(OSError):
            os.utime(descriptor)
        return descriptor

    def discard(self, key: Key) -> None:
        """Remove an object, if it is here; those who read it go on."""
        (self.folder / str(key)).unlink(missing_ok=True)

    def begin(self, key: Key, *, checked: bool) -> Part | None:
        """A new part, locked by this process; None where somebody else fills it or has done, or there is no room.

        Raises:
            OSError: The folder or the disk does not let us.
            RefusedError: The folder is another user's (rule ``cache-folder``).
        """
        if key.size > self.limit:
            return None
        self._make_folder()
        path = self._part_path(key, checked=checked)
        with self._locked():
            if (self.folder / str(key)).exists() or not self._make_room(key.size):
                return None
            temporary = self.folder / f".{secrets.token_hex(8)}"
            descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            part = Part(descriptor, checked=checked, path=path, target=self.folder / str(key))
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            try:
                # A link appears locked: nobody ever sees a part that lives and has no lock.
                os.link(temporary, path)
            except FileExistsError:
                return None
            finally:
                temporary.unlink(missing_ok=True)
        return part

    def look_on(self, key: Key, *, checked: bool) -> Part | None:
        """A part that somebody else fills, to follow it, or has just filled; None where nobody does."""
        for path in (self._part_path(key, checked=checked), self.folder / str(key)):
            with contextlib.suppress(OSError):
                descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
                part = Part(descriptor, checked=checked, target=self.folder / str(key))
                if part.is_named() or part.is_being_filled():
                    return part
        return None

    def _part_path(self, key: Key, *, checked: bool) -> Path:
        return self.folder / f"{key}{'.blocks' if checked else ''}.part"

    def _make_folder(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        found = self.folder.stat()
        if found.st_uid != os.geteuid():
            raise RefusedError(f"{self.folder} belongs to another user, and what is in it too", rule="cache-folder")
        if found.st_mode & 0o077:
            self.folder.chmod(0o700)

    def _make_room(self, size: int) -> bool:
        """Remove what is left over, and then what was used longest ago, until so many bytes fit. Under the lock."""
        kept: list[tuple[float, int, Path]] = []
        total = size
        for path, found in self._files():
            match = _NAME.fullmatch(path.name)
            if match is None or match[2] is not None:
                if _is_left_over(path):
                    path.unlink(missing_ok=True)
                elif match is not None:
                    total += int(match[1])  # as large as it is going to be
            else:
                kept.append((found.st_mtime, found.st_size, path))
                total += found.st_size
        for _, length, path in sorted(kept):
            if total <= self.limit:
                break
            path.unlink(missing_ok=True)
            total -= length
        return total <= self.limit

    def _files(self) -> Iterator[tuple[Path, os.stat_result]]:
        with os.scandir(self.folder) as entries:
            for entry in entries:
                if entry.name != ".lock":
                    with contextlib.suppress(FileNotFoundError):
                        yield Path(entry.path), entry.stat(follow_symlinks=False)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        descriptor = os.open(self.folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def _is_left_over(path: Path) -> bool:
    """Whether nobody holds the lock of a part, so that whoever filled it is gone."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True


def _limit_from_environment() -> int:
    text = os.environ.get("ATDATA_CACHE_BYTES", "")
    if not text:
        return DEFAULT_BYTES
    if not (text.isascii() and text.isdigit()):
        raise InvalidSyntaxError(f"ATDATA_CACHE_BYTES is {text!r}, and a number of bytes is wanted", value=text)
    return int(text)
