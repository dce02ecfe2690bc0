# ruff: noqa: S101  # tests assert
"""For tests, ours and those of other stores: a store in memory, and the contract that every store keeps.

A store's tests subclass `StoreContract` and give it two fixtures. Hypothesis strategies stand at the end of the page.
This module needs pytest and hypothesis, which the package itself does not.
"""

import pickle
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest
from hypothesis import strategies as st

from atdata.errors import NotFoundError
from atdata.storage.base import Shard, Store, Stream, chunks_of, read_all
from atdata.syntax import Cid, raw_cid

CONTENT = bytes(range(256)) * 1021 + b"the end"  # 261,383 bytes: no multiple of any block


class MemoryStore:
    """A writable store in memory. A path is any string."""

    def __init__(self, objects: dict[str, bytes] | None = None) -> None:
        self.objects = dict(objects or {})

    def open(self, path: str, *, start: int = 0, stop: int | None = None) -> Stream:
        """Stream an object; see `Store.open`."""
        return _MemoryStream(self._get(path)[start:stop])

    def size(self, path: str) -> int:
        """Length of an object, in bytes."""
        return len(self._get(path))

    def put(self, path: str, chunks: Iterable[bytes]) -> int:
        """Keep an object; return its size in bytes."""
        data = b"".join(chunks)
        self.objects[path] = data
        return len(data)

    def _get(self, path: str) -> bytes:
        try:
            return self.objects[path]
        except KeyError:
            raise NotFoundError(f"there is no object {path!r}") from None


class _MemoryStream:
    def __init__(self, data: bytes) -> None:
        self._rest = memoryview(data)

    def readinto(self, buffer: memoryview, /) -> int:
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count

    def close(self) -> None:
        self._rest = memoryview(b"")


class StoreContract:
    """What every store keeps. Subclasses give the fixtures ``store`` and ``path``, and may give ``missing``.

    The object at ``path`` is `CONTENT`; nothing is at ``missing``.
    """

    @pytest.fixture
    def store(self) -> Store:
        """The store, with `CONTENT` in it."""
        raise NotImplementedError

    @pytest.fixture
    def path(self) -> str:
        """Where `CONTENT` lies."""
        raise NotImplementedError

    @pytest.fixture
    def missing(self, path: str) -> str:
        """Where nothing lies."""
        return path + "-missing"

    def test_whole_object_is_read(self, store: Store, path: str) -> None:
        """Without a range, `open` gives every byte in order, and `size` their number."""
        assert read_all(store, path, limit=len(CONTENT)) == CONTENT
        assert store.size(path) == len(CONTENT)

    @pytest.mark.parametrize(
        ("start", "stop"),
        [(0, 1), (2, 5), (0, len(CONTENT)), (255, 70_000), (len(CONTENT) - 1, len(CONTENT)), (7, None), (9, 9), (0, 0)],
    )
    def test_range_is_half_open(self, store: Store, path: str, start: int, stop: int | None) -> None:
        """`open` includes ``start`` and excludes ``stop``, in bytes."""
        assert read_all(store, path, start=start, stop=stop, limit=len(CONTENT)) == CONTENT[start:stop]

    @pytest.mark.parametrize("start", [0, len(CONTENT) - 3, len(CONTENT), len(CONTENT) + 1, 10 * len(CONTENT)])
    def test_range_beyond_the_end_gives_what_there_is(self, store: Store, path: str, start: int) -> None:
        """A ``stop`` beyond the end is no error, nor is a ``start``: the stream is shorter, or empty."""
        stop = 11 * len(CONTENT)

        assert read_all(store, path, start=start, stop=stop, limit=len(CONTENT)) == CONTENT[start:stop]
        assert read_all(store, path, start=start, limit=len(CONTENT)) == CONTENT[start:]

    def test_small_buffers_lose_nothing(self, store: Store, path: str) -> None:
        """Whatever the size of the buffers, the bytes are the same."""
        parts = chunks_of(store, path, start=1, stop=5000, size=7)

        assert b"".join(parts) == CONTENT[1:5000]

    def test_end_stays_the_end(self, store: Store, path: str) -> None:
        """After the first 0 every further `readinto` gives 0, and `close` may be called twice."""
        buffer = memoryview(bytearray(8))
        stream = store.open(path, start=len(CONTENT) - 2)
        got = 0
        while count := stream.readinto(buffer):
            got += count

        assert got == 2
        assert stream.readinto(buffer) == 0
        stream.close()
        stream.close()

    def test_missing_object_is_not_found(self, store: Store, missing: str) -> None:
        """What is not there is a `NotFoundError`, which is a `FileNotFoundError`, from `open` and `size`."""
        with pytest.raises(NotFoundError):
            store.open(missing)
        with pytest.raises(FileNotFoundError):
            store.size(missing)

    def test_survives_pickling(self, store: Store, path: str) -> None:
        """A copy by pickle reads the same, also when the original has been used before."""
        read_all(store, path, stop=10, limit=10)
        copy: Store = pickle.loads(pickle.dumps(store))  # noqa: S301  # our own bytes

        assert read_all(copy, path, start=3, stop=9, limit=10) == CONTENT[3:9]
        assert copy.size(path) == len(CONTENT)

    def test_threads_read_at_once(self, store: Store, path: str) -> None:
        """Streams of one store do not disturb one another."""
        together = threading.Barrier(4)

        def read(start: int) -> bytes:
            together.wait(timeout=30)
            return read_all(store, path, start=start, limit=len(CONTENT))

        with ThreadPoolExecutor(4) as pool:
            results = list(pool.map(read, [0, 1000, 100_000, 200_000]))

        assert results == [CONTENT, CONTENT[1000:], CONTENT[100_000:], CONTENT[200_000:]]

    def test_closed_early_harms_nothing(self, store: Store, path: str) -> None:
        """A stream that is given up in the middle leaves the store as it was."""
        with closing(store.open(path)) as stream:
            stream.readinto(memoryview(bytearray(10)))

        assert read_all(store, path, limit=len(CONTENT)) == CONTENT


def cids() -> st.SearchStrategy[Cid]:
    """CIDs of shards, indexes and blobs."""
    return st.binary(min_size=32, max_size=32).map(raw_cid)


def shards() -> st.SearchStrategy[Shard]:
    """Facts of shards, each of which may be unknown."""
    count = st.integers(0, 2**53)
    return st.builds(Shard, st.none() | cids(), st.none() | count, st.none() | count, st.none() | cids())
