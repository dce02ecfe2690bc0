"""The cache: whole objects by name and size, within its bound, whoever comes and goes."""

import fcntl
import os
import pickle
from pathlib import Path

import pytest

from atdata.errors import InvalidSyntaxError
from atdata.storage.cache import DEFAULT_BYTES, Cache, Key


def put(cache: Cache, key: Key, *, age: int = 0) -> None:
    part = cache.begin(key, checked=True)
    assert part is not None
    part.write(memoryview(bytes(key.size)))
    part.finish()
    os.utime(cache.folder / str(key), (1e9 - age, 1e9 - age))


def has(cache: Cache, key: Key) -> bool:
    found = cache.find(key)
    if found is not None:
        os.close(found)
    return found is not None


def names(cache: Cache) -> set[str]:
    return {path.name for path in cache.folder.iterdir()} - {".lock"}


def test_a_name_appears_when_all_is_there(tmp_path: Path) -> None:
    """Before, there is a part; the folder is for its owner only."""
    cache = Cache(tmp_path / "cache")
    key = Key("a", 10)
    part = cache.begin(key, checked=False)
    assert part is not None
    part.write(memoryview(b"01234"))
    assert not has(cache, key)
    assert part.watermark == 5
    part.write(memoryview(b"56789"))
    part.finish()

    assert has(cache, key)
    assert names(cache) == {"a.10"}
    assert cache.folder.stat().st_mode & 0o777 == 0o700
    assert (cache.folder / "a.10").stat().st_mode & 0o777 == 0o600


def test_a_folder_that_others_may_enter_is_closed(tmp_path: Path) -> None:
    """Hits are not hashed again, so nobody else may put files there."""
    (tmp_path / "cache").mkdir(mode=0o777)
    cache = Cache(tmp_path / "cache")
    put(cache, Key("a", 1))

    assert cache.folder.stat().st_mode & 0o777 == 0o700


def test_a_torn_file_is_not_served(tmp_path: Path) -> None:
    """One of another length than its name says is removed; so are links and folders not followed."""
    cache = Cache(tmp_path)
    put(cache, Key("a", 10))
    (tmp_path / "a.10").write_bytes(b"short")
    (tmp_path / "elsewhere").write_bytes(bytes(10))
    (tmp_path / "b.10").symlink_to(tmp_path / "elsewhere")

    assert not has(cache, Key("a", 10))
    assert not (tmp_path / "a.10").exists()
    assert not has(cache, Key("b", 10))


def test_what_was_used_longest_ago_goes(tmp_path: Path) -> None:
    """Until the new one fits; use counts, not age of the file."""
    cache = Cache(tmp_path, limit=30)
    for number in range(3):
        put(cache, Key(f"k{number}", 10), age=10 - number)
    assert has(cache, Key("k0", 10))
    put(cache, Key("new", 15))

    assert names(cache) == {"k0.10", "new.15"}


def test_a_part_counts_as_large_as_it_will_be(tmp_path: Path) -> None:
    """Several fills at once keep the bound as well; what does not fit is not begun."""
    cache = Cache(tmp_path, limit=30)
    first = cache.begin(Key("a", 20), checked=True)

    assert first is not None
    assert cache.begin(Key("b", 11), checked=True) is None
    assert cache.begin(Key("c", 31), checked=True) is None
    first.abandon()
    del first
    assert cache.begin(Key("b", 11), checked=True) is not None


def test_one_fills_at_a_time(tmp_path: Path) -> None:
    """The second one may look on."""
    cache = Cache(tmp_path)
    first = cache.begin(Key("a", 4), checked=True)
    assert first is not None
    assert Cache(tmp_path).begin(Key("a", 4), checked=True) is None
    seen = Cache(tmp_path).look_on(Key("a", 4), checked=True)
    assert seen is not None
    first.write(memoryview(b"ab"))
    assert (seen.watermark, seen.is_being_filled(), seen.is_named()) == (2, True, False)
    first.write(memoryview(b"cd"))
    first.finish()

    assert (seen.watermark, seen.is_named()) == (4, True)
    assert os.pread(seen.descriptor, 4, 0) == b"abcd"


def test_what_a_dead_process_left_is_removed(tmp_path: Path) -> None:
    """Its lock has gone with it: the next one begins anew, and nobody follows it."""
    child = os.fork()
    if child == 0:
        part = Cache(tmp_path).begin(Key("a", 100), checked=True)
        if part is not None:
            part.write(memoryview(b"half"))
        os._exit(0)
    os.waitpid(child, 0)
    cache = Cache(tmp_path)
    assert names(cache) == {"a.100.blocks.part"}
    assert cache.look_on(Key("a", 100), checked=True) is None
    part = cache.begin(Key("a", 100), checked=True)

    assert part is not None
    assert part.watermark == 0


def test_bytes_that_are_read_outlive_their_name(tmp_path: Path) -> None:
    """Who has opened an object goes on when it is pushed out."""
    cache = Cache(tmp_path, limit=10)
    put(cache, Key("a", 10))
    found = cache.find(Key("a", 10))
    assert found is not None
    put(cache, Key("b", 10))

    assert names(cache) == {"b.10"}
    assert os.pread(found, 10, 0) == bytes(10)
    os.close(found)


def test_the_bound_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A number of bytes; 0 keeps nothing."""
    monkeypatch.setenv("ATDATA_HOME", str(tmp_path))
    assert Cache().limit == DEFAULT_BYTES
    assert Cache().folder == tmp_path / "cache" / "shards"
    monkeypatch.setenv("ATDATA_CACHE_BYTES", "0")
    assert Cache().begin(Key("a", 1), checked=True) is None
    monkeypatch.setenv("ATDATA_CACHE_BYTES", "10 GB")
    with pytest.raises(InvalidSyntaxError, match="number of bytes"):
        Cache()


def test_a_copy_is_the_same_cache(tmp_path: Path) -> None:
    """Workers get copies."""
    cache = Cache(tmp_path, limit=50)
    put(cache, Key("a", 10))
    copy: Cache = pickle.loads(pickle.dumps(cache))

    assert has(copy, Key("a", 10))
    assert copy.limit == 50


def test_locks_are_those_of_flock(tmp_path: Path) -> None:
    """Other programs can see them."""
    part = Cache(tmp_path).begin(Key("a", 10), checked=False)
    assert part is not None
    with (tmp_path / "a.10.part").open("rb") as file, pytest.raises(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
