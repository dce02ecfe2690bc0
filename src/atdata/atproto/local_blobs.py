"""The blobs of a local repository as files named by their CID: received, made readable, removed, read.

A blob that no record names yet lies in ``uploads/``, one that a record names in ``blobs/``; only the latter are read.
Which is which the database knows (`local`); here files move.
"""

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from atdata.errors import LimitError, NotFoundError
from atdata.storage.base import Stream
from atdata.storage.file import FileStore
from atdata.syntax import Cid, parse_cid, raw_cid

_CHUNK = 1 << 20  # bytes copied at a time
_PART = ".part"  # ends the name of an upload that is not whole yet


class LocalBlobStore:
    """Reads the blobs of a local repository that a record names. A path is a CID."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files = FileStore()

    def open(self, path: str, *, start: int = 0, stop: int | None = None) -> Stream:
        """As `atdata.storage.base.Store.open`."""
        return self._files.open(self.file(path), start=start, stop=stop)

    def size(self, path: str) -> int:
        """As `atdata.storage.base.Store.size`."""
        return self._files.size(self.file(path))

    def file(self, path: str) -> str:
        """The file of a blob, which is not to be changed.

        Raises:
            NotFoundError: No record names it.
        """
        file = self._folder / str(parse_cid(path))
        if not file.is_file():
            raise NotFoundError(f"the local repository has no blob {path} that a record names")
        return str(file)


@dataclass(frozen=True, slots=True)
class Received:
    """A blob that has been copied whole, under a temporary name.

    Attributes:
        path: The temporary file.
        cid: CID of its bytes.
        size: Their number.
    """

    path: Path
    cid: Cid
    size: int


@dataclass(frozen=True, slots=True)
class BlobFolder:
    """The two folders of blobs below a local repository's own."""

    folder: Path

    @property
    def readable(self) -> Path:
        """Blobs that a record names."""
        return self.folder / "blobs"

    @property
    def uploads(self) -> Path:
        """Blobs that no record names yet, and unfinished ones."""
        return self.folder / "uploads"

    @contextmanager
    def receive(self, data: BinaryIO, *, limit: int) -> Iterator[Received]:
        """Copy a blob to a temporary file, which goes at the end unless it was kept.

        Raises:
            LimitError: There are more than ``limit`` bytes.
        """
        for folder in (self.folder, self.readable, self.uploads):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=self.uploads, suffix=_PART)
        try:
            with os.fdopen(handle, "wb") as file:
                digest, size = hashlib.sha256(), 0
                while chunk := data.read(_CHUNK):
                    size += len(chunk)
                    if size > limit:
                        raise LimitError(f"the blob has more than {limit:,} bytes", limit=limit)
                    digest.update(chunk)
                    file.write(chunk)
                file.flush()
                os.fsync(file.fileno())
            yield Received(Path(name), raw_cid(digest.digest()), size)
        finally:
            Path(name).unlink(missing_ok=True)

    def keep(self, blob: Received) -> None:
        """Give an upload its name, unless the same bytes are there already."""
        if not (self.uploads / str(blob.cid)).is_file() and not (self.readable / str(blob.cid)).is_file():
            blob.path.rename(self.uploads / str(blob.cid))
            _sync(self.uploads)

    def make_readable(self, cid: Cid) -> None:
        """Move an upload to the readable ones.

        Raises:
            NotFoundError: It lies in neither folder.
        """
        readable = self.readable / str(cid)
        if not readable.is_file():
            try:
                (self.uploads / str(cid)).rename(readable)
            except FileNotFoundError as error:
                raise NotFoundError(f"the file of blob {cid} has gone from {self.folder}; upload it again") from error
            _sync(self.readable)

    def remove(self, cid: str) -> None:
        """Remove a blob. No error where there is none."""
        for folder in (self.uploads, self.readable):
            (folder / cid).unlink(missing_ok=True)

    def remove_unfinished(self, *, before: float) -> None:
        """Remove what uploads left behind that never ended, by time of the last write in seconds since 1970."""
        for part in self.uploads.glob(f"*{_PART}"):
            with suppress(FileNotFoundError):  # another process may end or remove it at this moment
                if part.stat().st_mtime < before:
                    part.unlink()


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
