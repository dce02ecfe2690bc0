"""What a shard is that somebody else may have written: one pass gives its facts.

Members and samples are found as for reading (`atdata.data.blocks`, `atdata.data.members`). An index, where there is
one, is compared with the tar that it describes; what it is for is `atdata.data.index`.
"""

import hashlib
import os
from array import array
from collections.abc import Iterable, Sequence
from contextlib import closing

import numpy as np

from atdata.data.blocks import Block, read_blocks
from atdata.data.compression import decompressed, is_compressed
from atdata.data.digests import Digests, block_digests
from atdata.data.index import DIGEST_BLOCK, MAX_PAYLOAD, NAME, ShardIndex, decode_index
from atdata.data.members import samples_in
from atdata.data.tar import BLOCK, END, padding
from atdata.errors import IntegrityError, LimitError, ShardError
from atdata.storage.base import Shard, Store, Stream
from atdata.syntax import raw_cid

_CHUNK = 1 << 20  # bytes that are digested at a time, a multiple of DIGEST_BLOCK


def scan_shard(store: Store, path: str) -> Shard:
    """Read a shard once: its CID, size, number of samples, and the CID of its index where it has one.

    Samples are counted as webdataset makes them: consecutive members of one key. An index is compared with the members
    and with the digests of the blocks. Memory is about 16 MiB, 8 bytes for each sample, and one sample.

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
        scan = _Scan(path)
        # Blocks as small as the chunks that are digested: a thread holds a handful of them, and no view is kept.
        for block in read_blocks(decompressed(tee, path), shard=path, block_bytes=_CHUNK):
            scan.take(block)
        size, sha256, blocks = tee.finish()
        if not scan.samples:
            raise ShardError("the tar has no samples", shard=path)
        # In a compressed shard an index stands where it does not say.
        index = None if is_compressed(path) else scan.index(size, blocks)
        return Shard(cid=raw_cid(sha256), bytes=size, samples=scan.samples, index=index.cid if index else None)


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

    def __init__(self, path: str) -> None:
        self._path = path
        self._starts = array("Q")
        self._keys = hashlib.sha256()  # of all keys, a line break behind each
        self._before = b""  # what comes before the current block, the last 256 KiB of it
        self._block: Block | None = None

    @property
    def samples(self) -> int:
        """Number of samples so far."""
        return len(self._starts)

    def take(self, block: Block) -> None:
        if self._block is not None:
            covered = self._block.members.buffer[: block.position - self._block.position]
            self._before = (self._before + covered[-DIGEST_BLOCK:].tobytes())[-DIGEST_BLOCK:]
        self._block = block
        keys = []
        for key, by_extension in samples_in(block.members, shard=self._path):
            first = next(iter(by_extension.values()))
            self._starts.append(block.position + int(block.members.starts[first]))
            keys.append(key)
        self._keys.update(_lines(keys))

    def index(self, size: int, blocks: Sequence[bytes]) -> ShardIndex | None:
        """The index, when it is the last member and of a known format.

        Args:
            size: Bytes of the tar.
            blocks: BLAKE3 of each 256 KiB of it.

        Raises:
            IntegrityError: It does not describe this shard.
        """
        if self._block is None:
            return None
        members = self._block.members
        last = len(members) - 1
        start = self._block.position + int(members.starts[last])
        offset = self._block.position + int(members.headers[last]) + BLOCK
        length = int(members.sizes[last])
        if members.name(last) != NAME or offset + length + padding(length) + len(END) != size:
            return None
        if length > MAX_PAYLOAD:
            raise LimitError(f"{self._path}: an index of {length:,} bytes", limit=MAX_PAYLOAD)
        try:
            index = decode_index(bytes(self._block.payload(last)), offset=offset)
            if index is not None:
                self._check(index, start, blocks)
        except IntegrityError as error:
            raise IntegrityError(str(error), shard=self._path) from error
        return index

    def _check(self, index: ShardIndex, start: int, blocks: Sequence[bytes]) -> None:
        if not np.array_equal(index.offsets, [*self._starts, start]):
            raise IntegrityError("the index has other samples than the tar")
        if hashlib.sha256(_lines(index.keys)).digest() != self._keys.digest():
            raise IntegrityError("the index has other keys than the tar")
        whole, rest = divmod(start, DIGEST_BLOCK)
        found = [*blocks[:whole], *block_digests(self._tail(start, rest))]
        for number, (stated, digest) in enumerate(zip(index.digests, found, strict=True)):
            if bytes(stated) != digest:
                raise IntegrityError(f"block {number} of the tar has another digest than the index says")

    def _tail(self, stop: int, count: int) -> bytes:
        """The ``count`` bytes before ``stop``, which is in the last block."""
        if self._block is None or count == 0:
            return b""
        here = self._block.members.buffer[: stop - self._block.position]
        return (self._before + here[-count:].tobytes())[-count:]


def _lines(keys: Iterable[str]) -> bytes:
    return "".join(f"{key}\n" for key in keys).encode("utf-8", "surrogateescape")


class _Tee:
    """A stream whose bytes are digested as they pass."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._size = 0
        self._digests = Digests()
        self._waiting = bytearray()

    def readinto(self, buffer: memoryview, /) -> int:
        count = self._stream.readinto(buffer)
        self._size += count
        self._waiting += buffer[:count]
        if len(self._waiting) >= _CHUNK:
            whole = len(self._waiting) // _CHUNK * _CHUNK
            rest = self._waiting[whole:]
            del self._waiting[whole:]
            self._digests.update(self._waiting)
            self._waiting = rest
        return count

    def finish(self) -> tuple[int, bytes, Sequence[bytes]]:
        """Let the rest pass; return the size, the sha-256, and the BLAKE3 of each block of 256 KiB."""
        with memoryview(bytearray(_CHUNK)) as buffer:
            while self.readinto(buffer):
                pass
        self._digests.update(self._waiting)
        return self._size, self._digests.sha256(), [bytes(row) for row in self._digests.blocks()]

    def close(self) -> None:
        self._digests.close()
        self._stream.close()
