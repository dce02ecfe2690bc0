"""The index: where each sample lies in its shard, and a digest of each block of the shard.

Written as the last member, ``__index__``, which other readers pass over; format and reasons are in ``docs/format.md``
(frozen). It is derived data: one pass over the tar brings it back (`atdata.data.scan`). This module does arithmetic on
offsets and reads the end of a shard; the chain of trust is record -> CID of the payload -> BLAKE3 of each block, and
whoever reads blocks checks them (`ShardIndex.digests`).
"""

import hashlib
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np
from numpy.typing import NDArray

from atdata.data.tar import BLOCK, END, parse_header
from atdata.errors import IntegrityError, LimitError, ShardError
from atdata.storage.base import Store, read_all
from atdata.storage.index_footer import COUNTED, FOOTER, MAGIC, TAIL, VERSION, find_frame, zeros_after
from atdata.storage.index_footer import DIGEST_BLOCK as DIGEST_BLOCK
from atdata.storage.index_footer import DIGEST_BYTES as DIGEST_BYTES
from atdata.storage.index_footer import MAX_PAYLOAD as MAX_PAYLOAD
from atdata.storage.index_footer import NAME as NAME
from atdata.storage.index_footer import count_blocks as count_blocks
from atdata.syntax import Cid, raw_cid


@dataclass(frozen=True, slots=True)
class CountedKeys(Sequence[str]):
    """The keys that a writer counts, ``{shard:06d}-{sample:08d}``, without a list of them.

    Attributes:
        shard: Number of the shard.
        samples: Number of samples.
    """

    shard: int
    samples: int

    def __len__(self) -> int:
        return self.samples

    @overload
    def __getitem__(self, i: int) -> str: ...
    @overload
    def __getitem__(self, i: slice) -> Sequence[str]: ...
    def __getitem__(self, i: int | slice) -> str | Sequence[str]:
        if isinstance(i, slice):
            return [counted_key(self.shard, j) for j in range(self.samples)[i]]
        return counted_key(self.shard, range(self.samples)[i])


def counted_key(shard: int, sample: int) -> str:
    """The key of a sample that nobody has named."""
    return f"{shard:06d}-{sample:08d}"


@dataclass(frozen=True, eq=False, slots=True)
class ShardIndex:
    """Byte spans of the ``n`` samples of one shard.

    Attributes:
        keys: Sample keys in shard order. Length ``n``, unique.
        offsets: Where each sample's first header stands, then where the header of the index does. Shape ``(n + 1,)``,
            int64, in bytes from the start of the tar; increasing, each a multiple of 512.
        digests: BLAKE3 of each block of 256 KiB of the bytes before the header of the index, the last block shorter.
            Shape ``(blocks, 32)``, uint8.
        cid: CID of the payload that this was read from, to compare with the one in the record.
    """

    keys: Sequence[str]
    offsets: NDArray[np.int64]
    digests: NDArray[np.uint8]
    cid: Cid | None = None

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def span(self, i: int) -> tuple[int, int]:
        """``(start, stop)`` of sample ``i`` in bytes, as `Store.open` takes them.

        Raises:
            IndexError: The shard has no sample ``i``.
        """
        i = range(len(self))[i]
        return int(self.offsets[i]), int(self.offsets[i + 1])


def payload_size(samples: int, size: int, *, key_bytes: int = 0) -> int:
    """Length of the payload for ``samples`` samples in ``size`` bytes.

    Args:
        key_bytes: Length of the joined keys; 0 for counted ones.
    """
    body = 4 * (samples + 1) + key_bytes + DIGEST_BYTES * count_blocks(size)
    return body + zeros_after(body) + FOOTER.size


def payload_cid(payload: bytes) -> Cid:
    """The ``index`` of a shard in a record."""
    return raw_cid(hashlib.sha256(payload).digest())


def encode_index(index: ShardIndex) -> bytes:
    """The payload of the ``__index__`` member. Keys that are the counted ones of one shard number are left out.

    Raises:
        LimitError: The shard is larger than 2 TiB, or the index than 256 MiB.
        ShardError: A key comes twice, has a line break, or is not UTF-8.
    """
    end = int(index.offsets[-1])
    if end // BLOCK >= 1 << 32:
        raise LimitError(f"a shard of {end:,} bytes; an index reaches 2 TiB", limit=BLOCK << 32)
    shard = _counted_shard(index.keys)
    keys = b"" if shard is not None else _encode_keys(index.keys)
    body = (index.offsets // BLOCK).astype("<u4").tobytes() + keys + index.digests.tobytes()
    size = len(body) + zeros_after(len(body)) + FOOTER.size
    if size > MAX_PAYLOAD:
        raise LimitError(f"an index of {size:,} bytes: write smaller shards", limit=MAX_PAYLOAD)
    flags = 0 if shard is None else COUNTED
    footer = FOOTER.pack(
        MAGIC, VERSION, flags, zlib.crc32(body), len(index), len(body), end + BLOCK, 0 if shard is None else shard
    )
    return body + bytes(zeros_after(len(body))) + footer


def _encode_keys(keys: Sequence[str]) -> bytes:
    joined = "\n".join(keys)
    if joined.count("\n") != len(keys) - 1 or len(set(keys)) != len(keys):
        raise ShardError("an index cannot hold these keys: one comes twice, or has a line break")
    try:
        return joined.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ShardError("an index cannot hold these keys: one is not UTF-8") from error


def _counted_shard(keys: Sequence[str]) -> int | None:
    """The shard number when the keys are the counted ones, so that the same keys always give the same bytes."""
    if isinstance(keys, CountedKeys):
        return keys.shard
    digits = keys[0].partition("-")[0]
    if not (digits.isascii() and digits.isdigit()) or len(digits) > 18:
        return None
    counted = CountedKeys(int(digits), len(keys))
    return counted.shard if all(key == other for key, other in zip(keys, counted, strict=True)) else None


def decode_index(payload: bytes, *, offset: int) -> ShardIndex | None:
    """Read a payload; None when it is of a version, or has a flag, that this release does not know.

    Args:
        offset: Where the payload stands in the tar, in bytes.

    Raises:
        IntegrityError: It contradicts itself or its place.
    """
    if len(payload) < BLOCK or payload[-FOOTER.size :][: len(MAGIC)] != MAGIC:
        raise IntegrityError("the index has no footer")
    _, version, flags, crc, count, body_size, body_offset, shard = FOOTER.unpack_from(payload, len(payload) - 64)
    if version != VERSION or flags & ~COUNTED:
        return None
    _require(body_offset == offset, f"stands at byte {offset:,} and says {body_offset:,}")
    _require(body_size + zeros_after(body_size) + FOOTER.size == len(payload), "says a length that it has not")
    body = memoryview(payload)[:body_size]
    _require(zlib.crc32(body) == crc, "has a wrong checksum")
    blocks = count_blocks(offset - BLOCK)
    key_bytes = body_size - 4 * (count + 1) - DIGEST_BYTES * blocks
    _require(count > 0 and key_bytes >= 0, f"has no room for {count:,} samples")
    offsets = np.frombuffer(body, "<u4", count + 1).astype(np.int64) * BLOCK
    _require(bool((offsets[1:] > offsets[:-1]).all()), "has offsets that do not increase")
    _require(int(offsets[-1]) == offset - BLOCK, "does not end where its header stands")
    keys = _decode_keys(bytes(body[4 * (count + 1) :][:key_bytes]), flags, count, shard)
    digests = np.frombuffer(body, np.uint8, DIGEST_BYTES * blocks, body_size - DIGEST_BYTES * blocks)
    return ShardIndex(keys, offsets, digests.reshape(blocks, DIGEST_BYTES), payload_cid(payload))


def _decode_keys(raw: bytes, flags: int, count: int, shard: int) -> Sequence[str]:
    if flags & COUNTED:
        _require(not raw, "has keys and says that they are counted")
        return CountedKeys(shard, count)
    try:
        keys = tuple(raw.decode("utf-8").split("\n"))
    except UnicodeDecodeError as error:
        raise IntegrityError("the index has keys that are not UTF-8") from error
    _require(len(keys) == count, f"has {len(keys):,} keys for {count:,} samples")
    _require(len(set(keys)) == count, "has a key twice")
    return keys


def _require(true: bool, otherwise: str) -> None:
    if not true:
        raise IntegrityError(f"the index {otherwise}")


def read_index(store: Store, path: str, *, size: int | None = None) -> ShardIndex | None:
    """Read the index from the end of a shard: one read of 64 KiB, a second one where it is longer.

    Args:
        size: Bytes of the shard, where known.

    Returns:
        The index; None when the shard has none, or one of a newer format.

    Raises:
        IntegrityError: The index contradicts itself or its place. Whether it is that of the record, or fits the
            samples, is not checked here.
        LimitError: It is longer than 256 MiB.
        ShardError: The store gave fewer bytes than the size.
    """
    size = store.size(path) if size is None else size
    if size % BLOCK or size < 3 * BLOCK + len(END):
        return None
    try:
        return _read_index(store, path, size)
    except IntegrityError as error:
        raise IntegrityError(str(error), shard=path) from error


def _read_index(store: Store, path: str, size: int) -> ShardIndex | None:
    start = max(0, size - TAIL)
    tail = _read(store, path, start, size)
    footer = tail[-len(END) - FOOTER.size : -len(END)]
    if (frame := find_frame(footer, size)) is None:
        return None
    offset, length = frame.payload, frame.stop - frame.payload
    _require(tail[-len(END) :] == END, "is not followed by the end of the archive")
    if length > MAX_PAYLOAD:
        raise LimitError(f"{path}: an index of {length:,} bytes", limit=MAX_PAYLOAD)
    head = offset - BLOCK
    member = tail[head - start :] if head >= start else _read(store, path, head, start) + tail
    try:
        header = parse_header(member[:BLOCK])
    except ShardError as error:
        raise IntegrityError(f"the index has a bad header: {error}") from error
    _require(header.is_regular and header.name == NAME and header.size == length, "is not the member __index__")
    return decode_index(member[BLOCK : BLOCK + length], offset=offset)


def _read(store: Store, path: str, start: int, stop: int) -> bytes:
    data = read_all(store, path, start=start, stop=stop, limit=stop - start)
    if len(data) != stop - start:
        raise ShardError(f"{stop - start:,} bytes were asked for from byte {start:,}, {len(data):,} came", shard=path)
    return data
