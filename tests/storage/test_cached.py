"""The cached store: fetched once, followed by all, right or not at all."""

import hashlib
import multiprocessing
import os
import pickle
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from tests.storage.shards import flipped, make_shard, make_shards, open_files

from atdata.errors import IntegrityError
from atdata.storage.base import Shard, Store, Stream, chunks_of, read_all
from atdata.storage.cache import Cache, Key
from atdata.storage.cached import CachedStore
from atdata.storage.fill_stream import FillError
from atdata.storage.fills import HELD_BACK, Fill, Fills
from atdata.storage.verified import VerifiedStore
from atdata.syntax import raw_cid
from atdata.testing import MemoryStore

DATA, SHARD = make_shard(samples=100)
KEY = Key(str(SHARD.cid), len(DATA))


class Gate:
    """A store whose bytes wait until they are let through. Counts how often it is opened."""

    def __init__(self, data: bytes, *, open_to: int) -> None:
        self.data = data
        self.limit = open_to
        self.more = threading.Condition()
        self.opened: list[tuple[int, int | None]] = []

    def open(self, path: str, *, start: int = 0, stop: int | None = None) -> Stream:
        self.opened.append((start, stop))
        return _Waiting(self, start, len(self.data) if stop is None else stop)

    def size(self, path: str) -> int:
        return len(self.data)

    def let(self, limit: int) -> None:
        with self.more:
            self.limit = limit
            self.more.notify_all()

    @property
    def streams(self) -> int:
        """How often it was opened from its start."""
        return sum(start == 0 for start, _ in self.opened)


class _Waiting:
    def __init__(self, gate: Gate, start: int, stop: int) -> None:
        self.gate, self.position, self.stop = gate, start, stop

    def readinto(self, buffer: memoryview, /) -> int:
        with self.gate.more:
            tail = self.position > len(self.gate.data) - (70 << 10)
            assert self.gate.more.wait_for(lambda: tail or self.gate.limit > self.position, timeout=20)
            count = min(len(buffer), self.stop - self.position, 65536)
            buffer[:count] = self.gate.data[self.position : self.position + count]
            self.position += count
            return count

    def close(self) -> None:
        pass


def cached(inner: Store, folder: Path, shard: Shard = SHARD, *, limit: int = 1 << 30) -> CachedStore:
    cache = Cache(folder, limit=limit)
    facts = {"a.tar": shard}
    return CachedStore(VerifiedStore(inner, facts, cache=cache), facts, cache=cache)


def whole(store: Store) -> bytes:
    return read_all(store, "a.tar", limit=len(DATA))


WHOLE = Shard(SHARD.cid, SHARD.bytes, SHARD.samples)


@pytest.mark.parametrize("shard", [SHARD, WHOLE], ids=["by block", "as a whole"])
def test_a_shard_is_fetched_once(tmp_path: Path, shard: Shard) -> None:
    """Also for another store, a copy and ranges, which come from the cache then."""
    gate = Gate(DATA, open_to=len(DATA))
    with open_files():
        store = cached(gate, tmp_path, shard)
        assert whole(store) == DATA
        wait_for(lambda: (tmp_path / str(KEY)).exists())
        gate.opened.clear()
        assert whole(store) == DATA
        assert whole(cached(gate, tmp_path, shard)) == DATA
        assert read_all(store, "a.tar", start=700, stop=900, limit=200) == DATA[700:900]
        kept = store.open_at("a.tar")
        assert kept is not None
        buffer = bytearray(50)
        assert kept.readinto_at(memoryview(buffer), 1000) == 50
        assert buffer == DATA[1000:1050]
        kept.close()
        assert gate.opened == []
        del store, gate, kept


def wait_for(true: Callable[[], bool]) -> None:
    for _ in range(2000):
        if true():
            return
        threading.Event().wait(0.005)
    raise AssertionError("it did not come about")


def test_readers_follow_a_fill(tmp_path: Path) -> None:
    """What has been checked can be read before the rest has come, by several at once, at one fetching."""
    gate = Gate(DATA, open_to=600_000)
    store = cached(gate, tmp_path)
    with closing(store.open("a.tar")) as first, closing(store.open("a.tar")) as second:
        for stream in (first, second):
            got = bytearray()
            buffer = memoryview(bytearray(100_000))
            while len(got) < 2 * (256 << 10):
                got += buffer[: stream.readinto(buffer)]
            assert got == DATA[: len(got)]
        gate.let(len(DATA))
        with ThreadPoolExecutor(4) as pool:
            assert set(pool.map(lambda _: whole(store), range(4))) == {DATA}
    assert gate.streams == 1


def test_another_process_follows_a_fill(tmp_path: Path) -> None:
    """By the file and its lock alone. Here another store, whose fills are its own, as in another process."""
    gate, other = Gate(DATA, open_to=600_000), Gate(DATA, open_to=len(DATA))
    first, second = cached(gate, tmp_path), cached(other, tmp_path)
    with closing(first.open("a.tar")), ThreadPoolExecutor(1) as pool:
        reading = pool.submit(whole, second)
        gate.let(len(DATA))
        assert reading.result(timeout=20) == DATA
    assert other.streams == 0


@pytest.mark.parametrize("shard", [SHARD, WHOLE], ids=["by block", "as a whole"])
def test_readers_of_a_fill_that_dies_go_on_by_themselves(tmp_path: Path, shard: Shard) -> None:
    """A process that fills is killed in the middle; who followed it has every byte once."""
    context = multiprocessing.get_context("spawn")
    started, never = context.Event(), context.Event()
    child = context.Process(target=_fill_half, args=(tmp_path, shard, started, never))
    child.start()
    assert started.wait(30)
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(whole, cached(MemoryStore({"a.tar": DATA}), tmp_path, shard))
        child.kill()
        child.join()
        assert reading.result(timeout=30) == DATA


def _fill_half(folder: Path, shard: Shard, started: threading.Event, never: threading.Event) -> None:
    half = Gate(DATA, open_to=300_000)
    with ThreadPoolExecutor(1) as pool:
        pool.submit(whole, cached(half, folder, shard))
        wait_for(lambda: any(path.stat().st_size > 200_000 for path in folder.glob("*.part")))
        started.set()
        never.wait(60)


def test_a_stream_that_nobody_reads_is_given_up(tmp_path: Path) -> None:
    """Five samples of a large shard do not fetch all of it; the next reader begins anew."""
    gate = Gate(DATA, open_to=600_000)
    store = cached(gate, tmp_path)
    with closing(store.open("a.tar")) as stream:
        stream.readinto(memoryview(bytearray(1000)))
    gate.let(len(DATA))
    wait_for(lambda: not list(tmp_path.glob("*.part")))
    assert not (tmp_path / str(KEY)).exists()

    assert whole(store) == DATA


@pytest.mark.parametrize("shard", [SHARD, WHOLE], ids=["by block", "as a whole"])
def test_wrong_bytes_leave_nothing(tmp_path: Path, shard: Shard) -> None:
    """The error names the shard; nothing stays in the cache; what came before the block is right."""
    wrong = MemoryStore({"a.tar": flipped(DATA, 400_000)})
    store = cached(wrong, tmp_path, shard)
    with pytest.raises(IntegrityError, match=r"a\.tar"):
        whole(store)
    assert {path.name for path in tmp_path.iterdir()} <= {".lock"}
    wrong.objects["a.tar"] = DATA

    assert whole(store) == DATA


@pytest.mark.parametrize("shard", [SHARD, WHOLE], ids=["by block", "as a whole"])
def test_a_full_disk_does_not_stop_reading(tmp_path: Path, shard: Shard, monkeypatch: pytest.MonkeyPatch) -> None:
    """By block past the cache, from the byte where it broke off; as a whole in memory."""
    written = os.write
    left = 300_000

    def write(descriptor: int, data: memoryview) -> int:
        nonlocal left
        if Path(f"/proc/self/fd/{descriptor}").readlink().is_relative_to(tmp_path):
            left -= len(data)
            if left < 0:
                raise OSError(28, "No space left on device")
        return written(descriptor, data)

    monkeypatch.setattr(os, "write", write)
    store = cached(MemoryStore({"a.tar": DATA}), tmp_path, shard)

    assert b"".join(chunks_of(store, "a.tar", size=50_000)) == DATA
    assert {path.name for path in tmp_path.iterdir()} <= {".lock"}


@pytest.mark.parametrize("limit", [0, len(DATA) - 1])
@pytest.mark.parametrize("shard", [SHARD, WHOLE], ids=["by block", "as a whole"])
def test_a_cache_that_is_too_small_is_passed_by(tmp_path: Path, shard: Shard, limit: int) -> None:
    """Nothing is kept, and everything checked."""
    assert whole(cached(MemoryStore({"a.tar": DATA}), tmp_path, shard, limit=limit)) == DATA
    assert {path.name for path in tmp_path.iterdir()} <= {".lock"}


def test_ranges_of_an_indexed_shard_do_not_fetch_it(tmp_path: Path) -> None:
    """Blocks alone are read, and the index once."""
    gate = Gate(DATA, open_to=len(DATA))
    store = cached(gate, tmp_path)
    for start in (300_000, 10, 290_000):
        assert read_all(store, "a.tar", start=start, stop=start + 100, limit=100) == DATA[start : start + 100]

    assert gate.opened[1:] == [(262144, 524288), (0, 262144), (262144, 524288)]
    assert not list(tmp_path.glob("*"))


def test_the_next_shard_comes_while_one_is_read(tmp_path: Path) -> None:
    """Of shards that are checked as a whole and read in order, one ahead and no more; not after a mere look."""
    objects, facts = make_shards(4)
    whole_facts = {path: Shard(shard.cid, shard.bytes) for path, shard in facts.items()}
    store = VerifiedStore(MemoryStore(objects), whole_facts, cache=Cache(tmp_path))
    paths = list(objects)
    with closing(store.open(paths[0])) as stream:
        stream.readinto(memoryview(bytearray(1000)))
        assert len(list(tmp_path.glob("*"))) == 2  # and the lock
        while stream.readinto(memoryview(bytearray(50_000))):
            pass
    wait_for(lambda: (tmp_path / f"{facts[paths[1]].cid}.{facts[paths[1]].bytes}").exists())

    assert not list(tmp_path.glob(f"{facts[paths[2]].cid}*"))


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_works_in_a_child(tmp_path: Path, method: str) -> None:
    """Of a process that has filled and read."""
    store = cached(MemoryStore({"a.tar": DATA}), tmp_path)
    with closing(store.open("a.tar")) as stream:
        stream.readinto(memoryview(bytearray(1000)))
        context: Any = multiprocessing.get_context(method)
        child = context.Process(target=_read, args=(store,))
        child.start()
        child.join(30)

    assert child.exitcode == 0


def _read(store: CachedStore) -> None:
    os._exit(0 if whole(store) == DATA and whole(pickle.loads(pickle.dumps(store))) == DATA else 1)


def test_a_server_passes_on_all_but_the_end_before_the_digest(tmp_path: Path) -> None:
    """Who serves what comes sees the watermark grow, and is told; the last 64 KiB wait for the digest."""
    gate = Gate(DATA, open_to=500_000)
    fills = Fills(Cache(tmp_path))
    told = threading.Semaphore(0)
    fill = fills.enter(
        KEY, lambda: gate.open("a"), checked=False, cid=SHARD.cid, label="a.tar", on_progress=told.release
    )
    assert isinstance(fill, Fill)
    while fill.watermark < 500_000:
        told.acquire(timeout=20)
    assert fill.releasable == fill.watermark
    assert fill.readable == 0
    gate.let(len(DATA) - 1)
    while not fill.is_whole:
        assert fill.releasable <= len(DATA) - HELD_BACK
        told.acquire(timeout=20)
    assert fill.releasable == len(DATA)
    assert os.pread(fill.descriptor, len(DATA), 0) == DATA
    fill.leave()


def test_the_end_of_a_wrong_shard_is_never_passed_on(tmp_path: Path) -> None:
    """Whatever came, the last 64 KiB stay."""
    fills = Fills(Cache(tmp_path))
    wrong = MemoryStore({"a": flipped(DATA, 5)})
    fill = fills.enter(KEY, lambda: wrong.open("a"), checked=False, cid=SHARD.cid, label="a.tar")
    assert isinstance(fill, Fill)
    while fill.error is None:
        fill.wait(len(DATA))

    assert isinstance(fill.error, IntegrityError)
    assert fill.releasable <= len(DATA) - HELD_BACK
    assert not isinstance(fill.error, FillError)
    fill.leave()


def test_a_shard_whose_index_is_right_and_digest_is_not(tmp_path: Path) -> None:
    """Blocks agree with the index that the record names, the whole not with the CID: it is not kept."""
    other = Shard(raw_cid(hashlib.sha256(b"another").digest()), SHARD.bytes, SHARD.samples, SHARD.index)
    store = cached(MemoryStore({"a.tar": DATA}), tmp_path, other)

    assert whole(store) == DATA
    wait_for(lambda: not list(tmp_path.glob("*.part")))
    assert not list(tmp_path.glob(f"{other.cid}*"))
