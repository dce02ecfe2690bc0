"""A file that is written whole or not at all, with its digests taken on the way.

It has a hidden temporary name in its own folder until it is complete and on the disk. What is in it is
`atdata.data.writer`.
"""

import contextlib
import os
import secrets
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from atdata.data.digests import Digests

CHUNK = 4 << 20  # bytes written at a time, a multiple of the digest block; small writes make files that read slowly


class OutputFile:
    """Collects pieces of bytes into writes of 4 MiB. Memory is about three of them.

    Attributes:
        path: The name that it gets by `commit`, replacing what is there.
        position: Bytes so far.

    Raises:
        OSError: The folder is missing or not writable.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.position = 0
        self._temporary = path.with_name(f".atdata-{secrets.token_hex(8)}.part")
        self._buffer = bytearray()
        with self._explained():
            self._descriptor: int | None = os.open(
                self._temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666
            )
        self._digests = Digests()

    def write(self, pieces: Sequence[bytes | bytearray | memoryview], size: int) -> None:
        """Append pieces of ``size`` bytes together; they are copied, so that they may change afterwards.

        Raises:
            OSError: The disk is full or broken. The file is given up.
        """
        if size < CHUNK:
            self._buffer += b"".join(pieces)
        else:
            for piece in pieces:
                view = memoryview(piece)
                for start in range(0, len(view), CHUNK):
                    self._buffer += view[start : start + CHUNK]
                    self._drain()
        self.position += size
        if len(self._buffer) >= CHUNK:
            self._drain()

    def _drain(self) -> None:
        while len(self._buffer) >= CHUNK:
            chunk = self._buffer
            self._buffer = chunk[CHUNK:]
            del chunk[CHUNK:]
            self._digests.update(chunk)
            self._put(chunk)

    def block_digests(self) -> NDArray[np.uint8]:
        """BLAKE3 digests of the blocks of all that has been written, shape ``(blocks, 32)``; `commit` comes next."""
        self._digests.update(bytes(self._buffer))
        return self._digests.blocks()

    def commit(self, pieces: Iterable[bytes]) -> bytes:
        """Append the last pieces, which have no block digests, and give the file its name once it is on the disk.

        Returns:
            The sha-256 of the file.

        Raises:
            OSError: The disk is full or broken. The file is given up.
        """
        tail = b"".join(pieces)
        self.position += len(tail)
        self._digests.update(tail, blocks=False)
        self._put(self._buffer + tail)
        with self._explained():
            os.fsync(self._opened())
            digest = self._digests.sha256()
            self._temporary.replace(self.path)
        self.close()
        sync_folder(self.path.parent)
        return digest

    def close(self) -> None:
        """Release everything, and remove the file unless it was committed. May be called twice."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
            self._buffer = bytearray()
            self._digests.close()
            self._temporary.unlink(missing_ok=True)

    def _put(self, chunk: bytearray) -> None:
        with self._explained(), memoryview(chunk) as view:
            start = 0
            while start < len(view):
                start += os.write(self._opened(), view[start:])

    def _opened(self) -> int:
        if self._descriptor is None:
            raise ValueError(f"{self.path} was given up after an error")
        return self._descriptor

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if getattr(self, "_descriptor", None) is not None:
                self.close()
            reason = f"{error.strerror or error}; nothing of this file is kept"
            raise OSError(error.errno, reason, str(self.path)) from error


def sync_folder(folder: Path) -> None:
    """Make the names in a folder last through a loss of power."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
