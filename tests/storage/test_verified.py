"""The verified store: no byte before the check, bounded disk."""

import hashlib
import multiprocessing
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from atdata.errors import IntegrityError, ShardError, UnavailableError
from atdata.storage.base import Shard, Stream, read_all
from atdata.storage.cache import Cache
from atdata.storage.fills import KEPT
from atdata.storage.verified import VerifiedStore
from atdata.syntax import Cid, parse_cid, raw_cid
from atdata.testing import CONTENT, MemoryStore


class CountingStore:
    """Counts how often each path is opened."""

    def __init__(self, inner: MemoryStore) -> None:
        self.inner = inner
        self.opened: list[str] = []

    def open(self, path: str, *, start: int = 0, stop: int | None = None) -> Stream:
        self.opened.append(path)
        return self.inner.open(path, start=start, stop=stop)

    def size(self, path: str) -> int:
        return self.inner.size(path)


OPEN_FILES = Path("/proc/self/fd")


def count(folder: Path) -> int:
    return len(list(folder.iterdir()))


def cid_of(data: bytes) -> Cid:
    return raw_cid(hashlib.sha256(data).digest())


def nowhere(folder: Path) -> Cache:
    """A cache that keeps nothing: shards are spooled into files without a name."""
    return Cache(folder, limit=0)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(min_size=1, max_size=2000), place=st.integers(0), bit=st.integers(0, 7), known=st.booleans())
def test_one_wrong_bit_is_found_before_a_byte_is_handed_out(
    tmp_path: Path, data: bytes, place: int, bit: int, known: bool
) -> None:
    """Wherever it is, whatever part is asked for, with and without a known length."""
    wrong = bytearray(data)
    wrong[place % len(data)] ^= 1 << bit
    facts = Shard(cid=cid_of(data), bytes=len(data) if known else None)
    store = VerifiedStore(MemoryStore({"a.tar": bytes(wrong)}), {"a.tar": facts}, cache=nowhere(tmp_path))

    with pytest.raises(IntegrityError, match=r"a\.tar") as caught:
        store.open("a.tar", start=0, stop=1)
    assert str(cid_of(data)) in str(caught.value)
    assert str(cid_of(bytes(wrong))) in str(caught.value)


@pytest.mark.parametrize("found", [CONTENT[:-1], CONTENT + b"!", b""])
def test_wrong_lengths_are_found(tmp_path: Path, found: bytes) -> None:
    """Shorter and longer, by the length that the record says; what is too long is not read to its end."""
    facts = Shard(cid=cid_of(CONTENT), bytes=len(CONTENT))
    store = VerifiedStore(MemoryStore({"a.tar": found}), {"a.tar": facts}, cache=nowhere(tmp_path))

    with pytest.raises(ShardError, match="261,383"):
        store.open("a.tar")


def test_a_shard_is_fetched_once_and_two_are_kept(tmp_path: Path) -> None:
    """Ranges of one shard cost one reading; the disk holds the two that were used last, without names."""
    objects = {f"{i}.tar": os.urandom(1000) for i in range(4)}
    inner = CountingStore(MemoryStore(objects))
    store = VerifiedStore(
        inner, {path: Shard(cid=cid_of(data)) for path, data in objects.items()}, cache=nowhere(tmp_path)
    )
    for path, data in objects.items():
        for start in (0, 500, 10):
            assert read_all(store, path, start=start, limit=1000) == data[start:]
    assert inner.opened == list(objects)

    descriptors = count(OPEN_FILES) if OPEN_FILES.exists() else None
    read_all(store, "3.tar", limit=1000)
    read_all(store, "2.tar", limit=1000)
    assert inner.opened == list(objects)
    read_all(store, "0.tar", limit=1000)
    assert inner.opened == [*objects, "0.tar"]
    assert KEPT == 2
    assert count(tmp_path) == 0
    if descriptors is not None:
        assert count(OPEN_FILES) == descriptors


def test_an_open_stream_outlives_its_place_among_the_kept(tmp_path: Path) -> None:
    """A slow reader goes on when others have pushed its shard out."""
    objects = {f"{i}.tar": os.urandom(1000) for i in range(4)}
    store = VerifiedStore(
        MemoryStore(objects),
        {path: Shard(cid=cid_of(data)) for path, data in objects.items()},
        cache=nowhere(tmp_path),
    )
    stream = store.open("0.tar")
    for path in ("1.tar", "2.tar", "3.tar"):
        read_all(store, path, limit=1000)
    buffer = bytearray(2000)

    assert bytes(buffer[: stream.readinto(memoryview(buffer))]) == objects["0.tar"]
    stream.close()


def test_threads_that_want_the_same_shard_fetch_it_once(tmp_path: Path) -> None:
    """The others wait for the first."""
    inner = CountingStore(MemoryStore({"a.tar": CONTENT}))
    store = VerifiedStore(inner, {"a.tar": Shard(cid=cid_of(CONTENT))}, cache=nowhere(tmp_path))
    together = threading.Barrier(6)

    def read(start: int) -> bytes:
        together.wait(timeout=30)
        return read_all(store, "a.tar", start=start, limit=len(CONTENT))

    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(read, range(6))) == [CONTENT[start:] for start in range(6)]
    assert inner.opened == ["a.tar"]


def test_a_failed_check_is_made_again(tmp_path: Path) -> None:
    """A wrong copy is not remembered: a source that has mended itself is read."""
    inner = MemoryStore({"a.tar": b"wrong"})
    store = VerifiedStore(inner, {"a.tar": Shard(cid=cid_of(CONTENT))}, cache=nowhere(tmp_path))
    with pytest.raises(IntegrityError):
        store.open("a.tar")
    inner.objects["a.tar"] = CONTENT

    assert read_all(store, "a.tar", limit=len(CONTENT)) == CONTENT


def test_what_has_no_facts_passes_through(tmp_path: Path) -> None:
    """Unknown paths, and shards of which only the length is known."""
    store = VerifiedStore(MemoryStore({"a": b"a", "b": b"b"}), {"b": Shard(bytes=1)}, cache=nowhere(tmp_path))

    assert read_all(store, "a", limit=1) + read_all(store, "b", limit=1) == b"ab"
    assert store.size("a") == store.size("b") == 1


@pytest.mark.parametrize(
    "text",
    ["QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbdG", "bafyreigbtj4x7ip5legnfznufuopl4sg4knzc2cof6duas4b3q2fy6swua"],
)
def test_digests_of_something_else_are_not_compared(tmp_path: Path, text: str) -> None:
    """A CID that is no sha-256 of the bytes themselves cannot be right."""
    store = VerifiedStore(MemoryStore({"a": b"a"}), {"a": Shard(cid=parse_cid(text))}, cache=nowhere(tmp_path))

    with pytest.raises(IntegrityError, match="not the CID of a shard"):
        store.open("a")


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    """The message names it."""
    (tmp_path / "file").write_text("")
    store = VerifiedStore(MemoryStore({"a": b"a"}), {"a": Shard(cid=cid_of(b"a"))}, cache=nowhere(tmp_path / "file"))

    with pytest.raises(UnavailableError, match="file"):
        store.open("a")


def test_spools_into_the_cache_folder_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which only the user may enter."""
    monkeypatch.setenv("ATDATA_HOME", str(tmp_path))
    store = VerifiedStore(MemoryStore({"a": b"a"}), {"a": Shard(cid=cid_of(b"a"), bytes=1)})

    assert read_all(store, "a", limit=1) == b"a"
    assert (tmp_path / "cache" / "shards").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "cache" / "shards" / f"{cid_of(b'a')}.1").read_bytes() == b"a"


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_works_in_a_forked_child(tmp_path: Path) -> None:
    """Parent and child read at once and do not move one another's place."""
    store = VerifiedStore(MemoryStore({"a": CONTENT}), {"a": Shard(cid=cid_of(CONTENT))}, cache=nowhere(tmp_path))
    stream = store.open("a")
    child = multiprocessing.get_context("fork").Process(target=_read, args=(store,))
    child.start()
    child.join(30)

    assert child.exitcode == 0
    buffer = bytearray(len(CONTENT))
    assert bytes(buffer[: stream.readinto(memoryview(buffer))]) == CONTENT
    stream.close()


def _read(store: VerifiedStore) -> None:
    assert read_all(store, "a", limit=len(CONTENT)) == CONTENT
