"""What a store is, and what a shard is, wherever it lies.

A *store* is the live object that reads bytes from one kind of place; a *storage* is the value in a record that says
where shards lie (`atdata.storage.union`). Stores are synchronous, thread-safe and picklable: loader workers get a
copy. One contract test class covers them all (`atdata.testing.StoreContract`).
"""

from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from atdata.errors import LimitError

if TYPE_CHECKING:
    from atdata.syntax import Cid


@dataclass(frozen=True, slots=True)
class Shard:
    """What one shard is, wherever it lies. None for what is not known.

    Attributes:
        cid: CIDv1, raw codec, sha-256 of the whole tar: the CID that it has, or would have, as a blob.
        bytes: Size of the tar, in bytes.
        samples: Number of samples.
        index: CID of the payload of its ``__index__`` member (`atdata.data.index`).
    """

    cid: "Cid | None" = None
    bytes: int | None = None
    samples: int | None = None
    index: "Cid | None" = None


class Stream(Protocol):
    """Bytes of one object in order. Not thread-safe: one reader each."""

    def readinto(self, buffer: memoryview, /) -> int:
        """Fill a writable buffer of bytes from its start; return how many came, 0 only at the end.

        May return fewer than asked for before the end.

        Raises:
            UnavailableError: The remote kept failing, or ended before the length that it had announced.
        """
        ...

    def close(self) -> None:
        """Release the connection or file. May be called twice."""
        ...


class Store(Protocol):
    """Reads objects under paths; what a path is (URL, file name, CID) each store says."""

    def open(self, path: str, *, start: int = 0, stop: int | None = None) -> Stream:
        """Stream the bytes from ``start`` up to, not including, ``stop`` (None: the end).

        A ``stop`` beyond the end gives what there is; a ``start`` at or beyond the end gives an empty stream.

        Raises:
            NotFoundError: Nothing is stored at ``path``.
            RefusedError: A rule of safety forbids the place.
            UnavailableError: The remote kept failing after the store's own retries.
        """
        ...

    def size(self, path: str) -> int:
        """Length of one object, in bytes. Raises as `open` does."""
        ...


class Positioned(Protocol):
    """An object that is kept open and read at any place. Several threads may read at once."""

    def readinto_at(self, buffer: memoryview, position: int, /) -> int:
        """Fill a writable buffer of bytes from ``position`` on; return how many came, fewer only at the end."""
        ...

    def mapped(self) -> memoryview | None:
        """All bytes as memory that the system fills when it is looked at; None where that cannot be had.

        An object that shrinks meanwhile ends the process: only what nobody cuts short in place is to be mapped.
        """
        ...

    def close(self) -> None:
        """Release the file. May be called twice."""
        ...


@runtime_checkable
class RandomAccess(Protocol):
    """What a store may offer besides reading ranges: objects kept open, so that one sample costs one call."""

    def open_at(self, path: str) -> Positioned | None:
        """Open an object to read at any place; None where the object of this path cannot be kept open.

        Raises as `Store.open` does.
        """
        ...


@runtime_checkable
class Verifying(Protocol):
    """What a store has that checks shards as a whole before it hands out a byte of them."""

    @property
    def unverified(self) -> Store | None:
        """The store behind it, for who checks blocks by the index of a shard; None where it reads no ranges."""
        ...


class WritableStore(Store, Protocol):
    """A store one can publish to. HTTPS and IPFS gateways are not."""

    def put(self, path: str, chunks: Iterable[bytes]) -> int:
        """Store an object whole or not at all; return its size in bytes."""
        ...


def read_all(store: Store, path: str, *, start: int = 0, stop: int | None = None, limit: int) -> bytes:
    """The bytes of one object or range, for small ones.

    Args:
        limit: Most bytes taken, as protection of memory.

    Raises:
        LimitError: There are more than ``limit`` bytes.
    """
    parts = bytearray()
    for chunk in chunks_of(store, path, start=start, stop=stop):
        parts += chunk
        if len(parts) > limit:
            raise LimitError(f"{path}: more than {limit:,} bytes", limit=limit)
    return bytes(parts)


def chunks_of(
    store: Store, path: str, *, start: int = 0, stop: int | None = None, size: int = 1 << 20
) -> Iterator[bytes]:
    """The bytes of one object as chunks of at most ``size`` bytes. Memory is one chunk."""
    buffer = bytearray(size)
    with closing(store.open(path, start=start, stop=stop)) as stream:
        while count := stream.readinto(memoryview(buffer)):
            yield bytes(memoryview(buffer)[:count])
