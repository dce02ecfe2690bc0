"""Random access: one sample of a shard by its number.

Where the samples lie is told by the shard's index (`atdata.data.index`); a shard without one is scanned once, and
what was found stays in memory: about 100 bytes a sample. A compressed shard has no ranges: it is unpacked once into a
temporary file, which the limits of `atdata.data.compression` bound. Reading in order is `atdata.data.reader`.
"""

import threading
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import IO, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from atdata.data.blocks import Block
from atdata.data.columns import rows_of
from atdata.data.compression import decompressed, is_compressed
from atdata.data.decoders import Decoder, decoder_of, untyped_sample
from atdata.data.headers import find_members
from atdata.data.index import read_index
from atdata.data.members import samples_in
from atdata.data.reader import constructor, shard_blocks
from atdata.data.tar import BLOCK, padding
from atdata.errors import IntegrityError, ShardError
from atdata.storage.base import Store
from atdata.storage.file import FileStore
from atdata.syntax import Cid

T = TypeVar("T")

_COPIED = 1 << 20  # bytes that are unpacked at a time


@dataclass(frozen=True, slots=True, eq=False)
class _Places:
    """Where the ``n`` samples of a shard lie.

    Attributes:
        keys: Their keys.
        starts: Where the first header of each stands. Shape ``(n,)``, int64, bytes from the start of the tar.
        stops: Where each one's last member ends, with its padding. Shape ``(n,)``, int64.
    """

    keys: Sequence[str]
    starts: NDArray[np.int64]
    stops: NDArray[np.int64]


class ShardAccess:
    """The samples of one shard by number.

    Nothing is opened before the first call. It can be used by several threads; a pickle of it holds the place alone.

    Args:
        store: Where the shard is.
        path: Its path there.
        index: CID of its index, where a record tells it: another index is refused.
    """

    def __init__(self, store: Store, path: str, *, index: Cid | None = None) -> None:
        self._given = (store, path, index)
        self._lock = threading.Lock()
        self._places: _Places | None = None
        self._unpacked: IO[bytes] | None = None
        self._decoders: dict[type, Decoder] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, self._given

    def count(self) -> int:
        """The number of samples: from the index, else by a scan of the shard.

        Raises:
            IntegrityError: The index contradicts itself, or is not the one that was announced.
            ShardError: The shard had to be scanned and is damaged.
        """
        return len(self._known_places().starts)

    def sample(self, i: int, sample_type: type[T]) -> T:
        """Read one sample.

        Args:
            i: Its number in the shard, from 0.
            sample_type: A dataclass, or `dict` as for `atdata.data.reader.read_samples`.

        Raises:
            IndexError: The shard has no sample ``i``.
            IntegrityError: The index says a place where that sample is not.
            ShardError, SchemaMismatchError: As `atdata.data.reader.read_samples` raises them.
        """
        places = self._known_places()
        if not 0 <= i < len(places.starts):
            raise IndexError(f"{self._given[1]}: there is no sample {i} among {len(places.starts):,}")
        block = self._read(int(places.starts[i]), int(places.stops[i]), places.keys[i])
        if sample_type is dict:
            [(key, by_extension)] = samples_in(block.members, shard=block.shard)
            payloads = {extension: block.payload(number) for extension, number in by_extension.items()}
            return untyped_sample(key, payloads, shard=block.shard)  # type: ignore[return-value]  # T is dict
        if sample_type not in self._decoders:
            self._decoders[sample_type] = decoder_of(sample_type)
        decoded = self._decoders[sample_type].decode(block)
        if decoded.error is not None:
            raise decoded.error
        return constructor(sample_type)(*(rows_of(column)[0] for column in decoded.columns))

    def close(self) -> None:
        """Remove the temporary file, if there is one. May be called twice; the next call unpacks again."""
        with self._lock:
            if self._unpacked is not None:
                self._unpacked.close()
            self._unpacked = self._places = None

    def _known_places(self) -> _Places:
        with self._lock:
            if self._places is None:
                store, path = self._place()
                self._places = self._indexed(store, path) or _scanned(store, path)
            return self._places

    def _place(self) -> tuple[Store, str]:
        """Where the tar lies: where it was said to, or in the temporary file."""
        store, path, _ = self._given
        if not is_compressed(path):
            return store, path
        if self._unpacked is None:
            self._unpacked = _unpack(store, path)
        return FileStore(), self._unpacked.name

    def _indexed(self, store: Store, path: str) -> _Places | None:
        expected = self._given[2]
        found = read_index(store, path)
        if found is None:
            if expected is not None:
                raise IntegrityError(f"the shard has no index; its record names {expected}", shard=path)
            return None
        if expected is not None and found.cid != expected:
            raise IntegrityError(f"the index is {found.cid}; its record names {expected}", shard=path)
        return _Places(found.keys, found.offsets[:-1], found.offsets[1:])

    def _read(self, start: int, stop: int, key: str) -> Block:
        """The members of one sample, checked against what the index says of it."""
        store, path = self._place()
        shard = self._given[1]
        buffer = np.empty(stop - start, np.uint8)
        filled = 0
        with closing(store.open(path, start=start, stop=stop)) as stream:
            while filled < len(buffer) and (count := stream.readinto(buffer.data[filled:])):
                filled += count
        try:
            found = find_members(buffer[:filled], position=start)
            keys = [name for name, _ in samples_in(found.members, shard=shard)]
        except ShardError as error:
            raise IntegrityError(f"sample {key!r} is not where the index says: {error}", shard=shard) from error
        if keys != [key] or found.end != len(buffer):
            raise IntegrityError(
                f"the index says that bytes {start:,} to {stop:,} are the sample {key!r}; there is "
                + (f"{', '.join(map(repr, keys))}" if keys and keys != [key] else "no whole sample"),
                shard=shard,
            )
        return Block(shard, start, found.members)


def _rebuild(store: Store, path: str, index: Cid | None) -> ShardAccess:
    return ShardAccess(store, path, index=index)


def _scanned(store: Store, path: str) -> _Places:
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
    return _Places(keys, np.array(starts, np.int64), np.array(stops, np.int64))


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
