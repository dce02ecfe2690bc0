"""A store around a store that hands out no byte before the digest of the whole shard has been found right.

A shard whose CID is known is read once into an unnamed temporary file, hashed on the way, and served from there. The
two shards used last are kept, so the disk that is taken is bounded by the two largest shards. Checking block by block
by a shard's index, and a cache that several processes share, are other stores.
"""

import errno
import hashlib
import os
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from atdata.errors import IntegrityError, UnavailableError
from atdata.folders import cache_folder
from atdata.redaction import redacted
from atdata.storage.base import Shard, Store, Stream
from atdata.storage.file import FileStream
from atdata.syntax import Cid, raw_cid

KEPT = 2  # shards on the disk: the one that is read, and the one before or after it
_CHUNK = 1 << 20


class VerifiedStore:
    """Serves shards of another store, each checked whole before its first byte is handed out.

    Paths without facts, and shards without a CID, pass through unchecked.

    Args:
        inner: Where the bytes come from.
        shards: What is at each path. Only CIDv1 raw sha-256 can be checked.
        folder: Where shards are spooled; None for the cache folder. The files have no name: they go with the process.
    """

    def __init__(self, inner: Store, shards: Mapping[str, Shard], *, folder: Path | None = None) -> None:
        self._inner = inner
        self._shards = dict(shards)
        self._folder = folder
        self._begin()

    def _begin(self) -> None:
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._spooled: OrderedDict[str, _Spool] = OrderedDict()
        self._busy: dict[str, threading.Lock] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {"inner": self._inner, "shards": self._shards, "folder": self._folder}

    def __setstate__(self, state: dict[str, Any]) -> None:
        VerifiedStore.__init__(self, state["inner"], state["shards"], folder=state["folder"])

    @property
    def unverified(self) -> Store | None:
        """The inner store, for who checks blocks by the index of a shard; None where it has no ranges."""
        return self._inner if getattr(self._inner, "ranges", True) else None

    def open(self, path: str, *, start: int = 0, stop: int | None = None) -> Stream:
        """Stream a checked shard; see `Store.open`. The first time, the whole shard is read.

        Raises:
            IntegrityError: The bytes have another digest or length than the facts say.
            UnavailableError: The disk for the temporary file is full.
        """
        shard = self._shards.get(path)
        if shard is None or shard.cid is None:
            return self._inner.open(path, start=start, stop=stop)
        return FileStream(self._spool(path, shard).duplicate(), path, start, stop)

    def size(self, path: str) -> int:
        """Length of a shard, in bytes: from its facts, else as the inner store says."""
        shard = self._shards.get(path)
        return shard.bytes if shard is not None and shard.bytes is not None else self._inner.size(path)

    def _spool(self, path: str, shard: Shard) -> "_Spool":
        if self._process != os.getpid():
            self._begin()  # after a fork a lock may be held by a thread that is not here
        with self._lock:
            busy = self._busy.setdefault(path, threading.Lock())
        with busy:
            with self._lock:
                if spool := self._spooled.get(path):
                    self._spooled.move_to_end(path)
                    return spool
            try:
                spool = _Spool(_fetch(self._inner, path, shard, self._folder or cache_folder() / "spool"))
                with self._lock:
                    self._spooled[path] = spool
                    while len(self._spooled) > KEPT:
                        self._spooled.popitem(last=False)
            finally:
                with self._lock:
                    self._busy.pop(path, None)
            return spool


class _Spool:
    """One checked shard in an unnamed file. It is closed when nobody holds it any more."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def duplicate(self) -> int:
        return os.dup(self._descriptor)

    def __del__(self) -> None:
        os.close(self._descriptor)


def _fetch(inner: Store, path: str, shard: Shard, folder: Path) -> int:
    """Read a shard whole into an unnamed file and check it; the file's descriptor."""
    label = redacted(path)
    if shard.cid is None or not shard.cid.is_raw_sha256:
        raise IntegrityError(f"{shard.cid} is not the CID of a shard (CIDv1, raw, sha-256)", shard=label)
    descriptor = _unnamed_file(folder)
    try:
        length, found = _copy(inner, path, descriptor, limit=shard.bytes)
        if shard.bytes is not None and length < shard.bytes:
            raise IntegrityError(f"expected {shard.bytes:,} bytes, found {length:,}", shard=label)
        if found != shard.cid:
            raise IntegrityError(f"expected the CID {shard.cid}, found {found}", shard=label)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _copy(inner: Store, path: str, descriptor: int, *, limit: int | None) -> tuple[int, Cid]:
    digest = hashlib.sha256()
    buffer = memoryview(bytearray(_CHUNK))
    length = 0
    with closing(inner.open(path)) as stream:
        while count := stream.readinto(buffer):
            length += count
            if limit is not None and length > limit:
                raise IntegrityError(f"longer than the {limit:,} bytes expected", shard=redacted(path))
            digest.update(buffer[:count])
            _write(descriptor, buffer[:count], path)
    return length, raw_cid(digest.digest())


def _unnamed_file(folder: Path) -> int:
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
            return os.dup(file.fileno())
    except OSError as error:
        raise UnavailableError(f"{folder}: no temporary file can be made there ({error.strerror})") from error


def _write(descriptor: int, data: memoryview, path: str) -> None:
    try:
        while data:
            data = data[os.write(descriptor, data) :]
    except OSError as error:
        hint = "; ATDATA_HOME names a folder on another disk" if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
        raise UnavailableError(f"{redacted(path)}: cannot be spooled to disk ({error.strerror}){hint}") from error
