"""What a shard is that somebody else may have written: one pass gives its facts.

The walk is that of `atdata.data.tar`, the rule of what a sample is that of webdataset. An index, where there is one, is
compared with the tar that it describes; what it is for is `atdata.data.index`.
"""

import hashlib
import os
from array import array
from collections.abc import Iterable
from contextlib import closing

import numpy as np

from atdata.data.compression import decompressed, is_compressed
from atdata.data.digests import Digests, block_digests
from atdata.data.index import DIGEST_BLOCK, MAX_PAYLOAD, NAME, ShardIndex, decode_index
from atdata.data.tar import END, Member, padding, split_name, walk
from atdata.errors import IntegrityError, LimitError, ShardError
from atdata.storage.base import Shard, Store, Stream
from atdata.syntax import raw_cid

_CHUNK = 1 << 20  # bytes, a multiple of DIGEST_BLOCK


def scan_shard(store: Store, path: str) -> Shard:
    """Read a shard once: its CID, size, number of samples, and the CID of its index where it has one.

    Samples are counted as webdataset makes them: consecutive members of one key. An index is compared with the members
    and with the digests of the blocks. Memory is about 8 MiB and 8 bytes for each sample.

    Args:
        path: As the store has it; a name that ends in ``.tar.gz``, ``.tgz`` or ``.tar.zst`` is decompressed to be
            counted, while CID and size are those of the file as it is.

    Raises:
        ShardError: The bytes are no tar, are cut short, or have no samples.
        IntegrityError: The index does not describe this shard.
        LimitError: The index is longer than 256 MiB, or a compressed shard expands beyond measure.
        NotFoundError, RefusedError, UnavailableError: As `Store.open` raises them.
    """
    with closing(_Tee(store.open(path))) as tee:
        scan = _Scan(path, tee, compressed=is_compressed(path))
        for member in walk(decompressed(tee, path), shard=path, data=scan.is_index):
            scan.take(member)
        tee.drain()
        sha256 = tee.digests.sha256()
        if not scan.starts:
            raise ShardError("the tar has no samples", shard=path)
        index = scan.index(tee)
        return Shard(
            cid=raw_cid(sha256), bytes=tee.position, samples=len(scan.starts), index=index.cid if index else None
        )


def scan_shards(store: Store, paths: Iterable[str], *, threads: int | None = None) -> list[Shard]:
    """Scan several shards at a time, a thread each; the results are in the order of ``paths``.

    Args:
        threads: How many at a time; by default as many as there are processors.

    Raises:
        Whatever `scan_shard` raises; for the first shard in order that fails.
    """
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(threads or os.cpu_count() or 1, thread_name_prefix="atdata-scan") as pool:
        jobs = [pool.submit(scan_shard, store, path) for path in paths]
        try:
            return [job.result() for job in jobs]
        finally:
            for job in jobs:
                job.cancel()


class _Scan:
    """Counts samples, and keeps what is needed to check an index."""

    def __init__(self, path: str, tee: "_Tee", *, compressed: bool) -> None:
        self.starts = array("Q")
        self._path = path
        self._tee = tee
        self._compressed = compressed  # an index speaks of the tar as it is stored
        self._key: str | None = None
        self._keys = hashlib.sha256()  # of all keys, a line break behind each
        self._extensions: set[str] = set()
        self._index: Member | None = None
        self._before_index = b""  # what stands between the last whole block and the header of the index

    def is_index(self, member: Member) -> bool:
        """Whether to read a member's data; called while the bytes before it are still at hand."""
        if member.name != NAME or self._compressed:
            return False
        if member.size > MAX_PAYLOAD:
            raise LimitError(f"{self._path}: an index of {member.size:,} bytes", limit=MAX_PAYLOAD)
        self._before_index = self._tee.recent(member.start - member.start % DIGEST_BLOCK, member.start)
        return True

    def take(self, member: Member) -> None:
        self._index = member if member.name == NAME and not self._compressed else None
        name = split_name(member.name)
        if name is None:
            return
        key, extension = name
        if key != self._key:
            self.starts.append(member.start)
            self._key = key
            self._keys.update(_line(key))
            self._extensions = set()
        if extension in self._extensions:
            raise ShardError(f"the sample {key[:200]!r} has two members .{extension[:200]}", shard=self._path)
        self._extensions.add(extension)

    def index(self, tee: "_Tee") -> ShardIndex | None:
        """The index, when it is the last member and of a known format.

        Raises:
            IntegrityError: It does not describe this shard.
        """
        member = self._index
        if member is None or member.offset + member.size + padding(member.size) + len(END) != tee.position:
            return None
        try:
            index = decode_index(member.data, offset=member.offset)
            if index is None:
                return None
            if not np.array_equal(index.offsets, [*self.starts, member.start]):
                raise IntegrityError("the index has other samples than the tar")
            keys = hashlib.sha256()
            for key in index.keys:
                keys.update(_line(key))
            if keys.digest() != self._keys.digest():
                raise IntegrityError("the index has other keys than the tar")
            digests = [bytes(row) for row in tee.digests.blocks()[: member.start // DIGEST_BLOCK]]
            digests += block_digests(self._before_index)
            for block, (stated, found) in enumerate(zip(index.digests, digests, strict=True)):
                if bytes(stated) != found:
                    raise IntegrityError(f"block {block} of the tar has another digest than the index says")
        except IntegrityError as error:
            raise IntegrityError(str(error), shard=self._path) from error
        return index


def _line(key: str) -> bytes:
    return key.encode("utf-8", "surrogateescape") + b"\n"


class _Tee:
    """A stream whose bytes are digested as they pass; the last one to two MiB of them can be looked at again."""

    def __init__(self, stream: Stream) -> None:
        self.position = 0
        self.digests = Digests()
        self._stream = stream
        self._chunk = b""  # the last one taken from the stream
        self._before = b""  # the one before it
        self._used = 0  # bytes of the last one that have passed

    def readinto(self, buffer: memoryview, /) -> int:
        if self._used == len(self._chunk) and not self._fill():
            return 0
        count = min(len(buffer), len(self._chunk) - self._used)
        buffer[:count] = memoryview(self._chunk)[self._used : self._used + count]
        self._used += count
        self.position += count
        return count

    def _fill(self) -> bool:
        chunk = bytearray(_CHUNK)
        size = 0
        with memoryview(chunk) as view:
            while size < _CHUNK and (count := self._stream.readinto(view[size:])):
                size += count
        del chunk[size:]
        self._before, self._chunk, self._used = self._chunk, bytes(chunk), 0
        self.digests.update(self._chunk)
        return size > 0

    def recent(self, start: int, stop: int) -> bytes:
        """Bytes that have passed."""
        first = self.position - self._used - len(self._before)
        if start < first:
            raise ShardError(f"the extended header before byte {self.position:,} is too long for an index")
        return (self._before + self._chunk)[start - first : stop - first]

    def drain(self) -> None:
        """Let the rest pass."""
        self.position += len(self._chunk) - self._used
        while self._fill():
            self.position += len(self._chunk)
        self._used = len(self._chunk)

    def close(self) -> None:
        self.digests.close()
        self._stream.close()
