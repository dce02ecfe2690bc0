"""Random access: samples of a shard by their numbers.

Where the samples lie is told by the shard's index (`atdata.data.index`), which is read once; a shard without one is
scanned once. What is kept is 4 bytes a sample, 8 where keys are not the counted ones, 12 after a scan. A compressed
shard has no ranges: it is unpacked once into a temporary file, which the limits of `atdata.data.compression` bound.
Bytes come from `atdata.data.ranges`; samples of many shards at once are `atdata.data.take`, reading in order is
`atdata.data.reader`.
"""

import os
import threading
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import IO, Any, TypeVar
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from atdata.data.blocks import Block
from atdata.data.columns import rows_of
from atdata.data.compression import decompressed, is_compressed
from atdata.data.decoded import Decoder
from atdata.data.decoders import MsgpackDecoder, decoder_of
from atdata.data.headers import find_members
from atdata.data.index import CountedKeys, ShardIndex, counted_key, read_index
from atdata.data.member_decoder import untyped_sample
from atdata.data.members import samples_in
from atdata.data.memory import Memory
from atdata.data.ranges import CheckedRanges, Ranges, StoreRanges
from atdata.data.reader import constructor, shard_blocks
from atdata.data.spans import plain_payload
from atdata.data.tar import BLOCK, padding
from atdata.errors import IntegrityError, ShardError
from atdata.storage.base import Shard, Store, Verifying
from atdata.storage.file import FileStore

T = TypeVar("T")

_COPIED = 1 << 20  # bytes that are unpacked at a time


@dataclass(frozen=True, slots=True, eq=False)
class Spans:
    """Where some samples lie.

    Attributes:
        starts: Where the first header of each stands. Shape ``(n,)``, int64, bytes from the start of the tar.
        stops: Where each one's last member ends, with its padding. Shape ``(n,)``, int64.
        size: Bytes of all of them.
        shard: The number in their keys, where those are the counted ones.
    """

    starts: NDArray[np.int64]
    stops: NDArray[np.int64]
    size: int
    shard: int | None


@dataclass(frozen=True, slots=True, eq=False)
class Places:
    """Where the ``n`` samples of a shard lie.

    Attributes:
        starts: Where the first header of each stands. Shape ``(n,)``, in units of 512 bytes from the start of the tar.
        stops: Where each one's last member ends, with its padding. Shape ``(n,)``, the same units.
        shard: The number in the keys, where those are the counted ones.
        checksums: CRC-32 of each key, where they are not. Shape ``(n,)``, uint32.
    """

    starts: NDArray[np.unsignedinteger[Any]]
    stops: NDArray[np.unsignedinteger[Any]]
    shard: int | None
    checksums: NDArray[np.uint32] | None = None

    def __len__(self) -> int:
        return len(self.starts)

    def says(self, i: int, key: str) -> bool:
        """Whether sample ``i`` has this key."""
        if self.checksums is None:
            return self.shard is not None and key == counted_key(self.shard, i)
        return int(self.checksums[i]) == _checksum(key)


def _checksum(key: str) -> int:
    return crc32(key.encode("utf-8", "surrogateescape"))


def _in_blocks(offsets: NDArray[np.int64]) -> NDArray[np.unsignedinteger[Any]]:
    """Offsets in bytes, increasing, in units of 512 bytes."""
    large = len(offsets) > 0 and int(offsets[-1]) // BLOCK >= 1 << 32
    return (offsets // BLOCK).astype(np.uint64 if large else np.uint32)


def _indexed(index: ShardIndex) -> Places:
    offsets = _in_blocks(index.offsets)
    if isinstance(index.keys, CountedKeys):
        return Places(offsets[:-1], offsets[1:], index.keys.shard)
    return Places(offsets[:-1], offsets[1:], None, _checksums(index.keys))


def _checksums(keys: Sequence[str]) -> NDArray[np.uint32]:
    return np.fromiter(map(_checksum, keys), np.uint32, len(keys))


class Decoders:
    """What decodes samples of each type, shared by the shards of a dataset, whose layouts it learns."""

    def __init__(self) -> None:
        self._known: dict[type, tuple[Decoder, Callable[..., Any]]] = {}

    def of(self, sample_type: type) -> tuple[Decoder, Callable[..., Any]]:
        """The decoder, and what makes a sample of the values of its fields."""
        found = self._known.get(sample_type)
        if found is None:
            found = self._known[sample_type] = decoder_of(sample_type), constructor(sample_type)
        return found

    def samples(self, block: Block, sample_type: type[T]) -> list[T]:
        """The samples of a block, of a dataclass. Raises as `atdata.data.reader.read_samples` does."""
        decoder, construct = self.of(sample_type)
        decoded = decoder.decode(block)
        if decoded.error is not None:
            raise decoded.error
        return list(map(construct, *map(rows_of, decoded.columns)))


class ShardAccess:
    """The samples of one shard by number.

    Nothing is opened before the first call. It can be used by several threads; a pickle of it holds the place alone.

    Args:
        store: Where the shard is.
        path: Its path there.
        facts: What a record says of it. Another index than the one that it names is refused, and then every block
            that is read is checked against its digest in the index.
        decoders: Shared with other shards of the dataset.
        memory: Shared with other shards of the dataset.
    """

    def __init__(
        self,
        store: Store,
        path: str,
        *,
        facts: Shard | None = None,
        decoders: Decoders | None = None,
        memory: Memory | None = None,
    ) -> None:
        self._store = store
        self._path = path
        self._facts = facts or Shard()
        self._decoders = decoders or Decoders()
        self._memory = memory or Memory()
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._found: tuple[Places, Ranges] | None = None
        self._unpacked: IO[bytes] | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (self._store, self._path, self._facts)

    @property
    def near(self) -> bool:
        """True where reading a sample costs about as much as its bytes."""
        return self._find()[1].near

    @property
    def kept(self) -> int:
        """Samples whose places are in memory."""
        return len(self._found[0]) if self._found is not None else 0

    def places(self) -> Places:
        """Where the samples lie: from the index, else by a scan of the shard.

        Raises:
            IntegrityError: The index contradicts itself, or is not the one that the record names.
            ShardError: The shard had to be scanned and is damaged.
        """
        return self._find()[0]

    def count(self) -> int:
        """The number of samples; raises as `places` does."""
        return len(self.places())

    def sample(self, i: int, sample_type: type[T]) -> T:
        """Read one sample.

        Args:
            i: Its number in the shard, from 0.
            sample_type: A dataclass, or `dict` as for `atdata.data.reader.read_samples`.

        Raises:
            IndexError: The shard has no sample ``i``.
            IntegrityError: The index says a place where that sample is not, or a block has another digest.
            ShardError, SchemaMismatchError: As `atdata.data.reader.read_samples` raises them.
        """
        places, ranges = self._find()
        if not 0 <= i < len(places):
            raise IndexError(f"{self._path}: there is no sample {i} among {len(places):,}")
        start, stop = int(places.starts[i]) * BLOCK, int(places.stops[i]) * BLOCK
        data = memoryview(bytearray(stop - start))
        ranges.readinto(data, start)
        if sample_type is not dict:
            decoder, construct = self._decoders.of(sample_type)
            plain = plain_payload(data) if isinstance(decoder, MsgpackDecoder) else None
            if plain is not None and places.says(i, plain[0].decode("utf-8", "surrogateescape")):
                values = decoder.values(plain[1])  # type: ignore[attr-defined]  # it is a MsgpackDecoder
                if values is not None:
                    sample: T = construct(*values)
                    return sample
        [sample] = self._decode(np.frombuffer(data, np.uint8), [i], sample_type)
        return sample

    def samples(self, numbers: NDArray[np.int64], sample_type: type[T], *, mapped: bool = True) -> list[T]:
        """Read several samples of increasing numbers, each once. Raises as `sample` does.

        Args:
            mapped: A file may be read as memory, which counts as memory of this process for as long as it is open.
        """
        if not len(numbers):
            return []
        spans = self.spans(numbers)
        data = self._memory.empty(spans.size)
        self.fill(data, spans, mapped=mapped)
        return self._decode(data, numbers.tolist(), sample_type)

    def spans(self, numbers: NDArray[np.int64]) -> "Spans":
        """Where samples of increasing numbers lie. Raises as `places` does, and IndexError where one is not there."""
        places = self._find()[0]
        if not 0 <= numbers[0] <= numbers[-1] < len(places):
            raise IndexError(f"{self._path}: there is no sample {numbers[-1]:,} among {len(places):,}")
        starts = places.starts[numbers].astype(np.int64) * BLOCK
        stops = places.stops[numbers].astype(np.int64) * BLOCK
        return Spans(starts, stops, int((stops - starts).sum()), places.shard)

    def fill(self, target: NDArray[np.uint8], spans: "Spans", *, mapped: bool) -> None:
        """Fill memory of ``spans.size`` bytes with what lies there, checked against digests that are known."""
        self._find()[1].fill(target, spans.starts, spans.stops, mapped=mapped)

    def close(self) -> None:
        """Let go of the file, and of the temporary one if there is one. The next call opens it again."""
        with self._lock:
            if self._unpacked is not None:
                self._unpacked.close()
                self._unpacked = self._found = None
            elif self._found is not None:
                self._found[1].close()

    def _find(self) -> tuple[Places, Ranges]:
        if self._found is None:
            if self._process != os.getpid():  # after a fork the lock may be held by a thread that is not here
                self._process, self._lock = os.getpid(), threading.Lock()
            with self._lock:
                if self._found is None:
                    found = self._locate()
                    if self._facts.samples not in (None, len(found[0])):
                        raise IntegrityError(
                            f"the shard has {len(found[0]):,} samples, its record says {self._facts.samples:,}",
                            shard=self._path,
                        )
                    self._found = found
        return self._found

    def _locate(self) -> tuple[Places, Ranges]:
        """Where the samples lie, and what reads them."""
        expected = self._facts.index
        if is_compressed(self._path):
            self._unpacked = self._unpacked or _unpack(self._store, self._path)
            store: Store = FileStore()
            path, size = self._unpacked.name, None
        else:
            store, path, size = self._store, self._path, self._facts.bytes
            if expected is not None and isinstance(store, Verifying):
                store = store.unverified or store
        index = read_index(store, path, size=size)
        if expected is not None and (index is None or index.cid != expected):
            there = "the shard has no index" if index is None else f"the index is {index.cid}"
            raise IntegrityError(f"{there}; its record names {expected}", shard=self._path)
        ranges: Ranges = StoreRanges(store, path, memory=self._memory)
        if index is None:
            return _scanned(store, path), ranges
        if expected is not None:
            ranges = CheckedRanges(ranges, index, memory=self._memory, shard=self._path)
        return _indexed(index), ranges

    def _decode(self, data: NDArray[np.uint8], numbers: list[int], sample_type: type[T]) -> list[T]:
        """The samples in tar bytes that are theirs, one after another, checked against what the index says of them."""
        places, shard = self.places(), self._path
        try:
            found = find_members(data)
            samples = list(samples_in(found.members, shard=shard))
        except ShardError as error:
            if len(numbers) > 1:
                return self._one_by_one(numbers, sample_type)
            raise IntegrityError(f"sample {numbers[0]:,} is not where the index says: {error}", shard=shard) from error
        keys = [key for key, _ in samples]
        if len(keys) != len(numbers) or found.end != len(data) or not all(map(places.says, numbers, keys)):
            if len(numbers) > 1:
                return self._one_by_one(numbers, sample_type)
            there = ", ".join(map(repr, keys)) if keys and found.end == len(data) else "no whole sample"
            raise IntegrityError(f"sample {numbers[0]:,} is not where the index says: there is {there}", shard=shard)
        block = Block(shard, 0, found.members)
        if sample_type is dict:
            return [
                untyped_sample(key, {name: block.payload(number) for name, number in members.items()}, shard=shard)  # type: ignore[misc]  # T is dict
                for key, members in samples
            ]
        return self._decoders.samples(block, sample_type)

    def _one_by_one(self, numbers: list[int], sample_type: type[T]) -> list[T]:
        """What together is odd: two samples of one key that now are neighbours, or one that is not in its place."""
        return [self.sample(number, sample_type) for number in numbers]


def _rebuild(store: Store, path: str, facts: Shard) -> ShardAccess:
    return ShardAccess(store, path, facts=facts)


def _scanned(store: Store, path: str) -> Places:
    keys: list[str] = []
    starts: list[int] = []
    stops: list[int] = []
    for block in shard_blocks(store, path):
        members = block.members
        for key, by_extension in samples_in(members, shard=path):
            numbers = by_extension.values()
            first, last = min(numbers), max(numbers)
            size = int(members.sizes[last])
            keys.append(key)
            starts.append(block.position + int(members.starts[first]))
            stops.append(block.position + int(members.headers[last]) + BLOCK + size + padding(size))
    begins, ends = _in_blocks(np.array(starts, np.int64)), _in_blocks(np.array(stops, np.int64))
    return Places(begins, ends, None, _checksums(keys))


def _unpack(store: Store, path: str) -> IO[bytes]:
    """The tar in a temporary file, which goes when it is closed."""
    import tempfile

    file = tempfile.NamedTemporaryFile(prefix="atdata-", suffix=".tar")  # noqa: SIM115  # lives as long as the access
    view = memoryview(bytearray(_COPIED))
    with closing(decompressed(store.open(path), path)) as stream:
        while count := stream.readinto(view):
            file.write(view[:count])
    file.flush()
    return file
