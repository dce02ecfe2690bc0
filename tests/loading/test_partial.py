"""One shard into one file: whole and checked, or not there."""

import errno
import hashlib
from pathlib import Path

import pytest

from atdata.errors import IntegrityError, NotFoundError, UnavailableError
from atdata.loading.partial import fetch, is_whole, part_of
from atdata.loading.workers import Meter
from atdata.storage.base import Shard, Stream
from atdata.syntax import raw_cid
from atdata.testing import CONTENT, MemoryStore

FACT = Shard(raw_cid(hashlib.sha256(CONTENT).digest()), len(CONTENT))


class Noted(MemoryStore):
    """A store that keeps where reading began."""

    def __init__(self, objects: dict[str, bytes]) -> None:
        super().__init__(objects)
        self.starts: list[int] = []

    def open(self, path: str, *, start: int = 0, stop: int | None = None) -> Stream:
        """Stream an object; see `Store.open`."""
        self.starts.append(start)
        return super().open(path, start=start, stop=stop)


@pytest.fixture
def store() -> Noted:
    """`CONTENT` is at ``a``."""
    return Noted({"a": CONTENT})


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where it shall go."""
    return tmp_path / "a.tar"


@pytest.mark.parametrize("fact", [FACT, Shard(cid=FACT.cid), Shard(bytes=FACT.bytes), Shard()], ids=str)
def test_a_whole_file_comes(store: Noted, file: Path, fact: Shard) -> None:
    """With all that is known of it, or with nothing; no part stays, and what was there is replaced."""
    file.write_bytes(b"old")
    fetch(store, "a", file, fact, meter=Meter())

    assert file.read_bytes() == CONTENT
    assert [path.name for path in file.parent.iterdir()] == ["a.tar"]
    assert is_whole(file, FACT)


@pytest.mark.parametrize("size", [1, 100_000, len(CONTENT) - 1])
def test_a_part_is_continued(store: Noted, file: Path, size: int) -> None:
    """Only what is missing is read, and the whole is checked; the bytes that were there count as progress."""
    part_of(file).write_bytes(CONTENT[:size])
    meter = Meter()
    fetch(store, "a", file, FACT, meter=meter)

    assert store.starts == [size]
    assert file.read_bytes() == CONTENT
    assert meter.done == size  # the rest is counted by a metered store


def test_a_whole_part_is_not_read_again(store: Noted, file: Path) -> None:
    """Interrupted between the last byte and the rename."""
    part_of(file).write_bytes(CONTENT)
    fetch(store, "a", file, FACT, meter=Meter())

    assert store.starts == []
    assert file.read_bytes() == CONTENT


@pytest.mark.parametrize("part", [b"?" * 1000, CONTENT + b"more", CONTENT[:-1] + b"?"], ids=len)
def test_a_part_of_something_else_begins_anew(store: Noted, file: Path, part: bytes) -> None:
    """The fault is found by the digest, and the file comes all the same."""
    part_of(file).write_bytes(part)
    fetch(store, "a", file, FACT, meter=Meter())

    assert store.starts[-1] == 0
    assert file.read_bytes() == CONTENT
    assert not part_of(file).exists()


def test_without_a_digest_nothing_is_continued(store: Noted, file: Path) -> None:
    """Nothing says that both halves are of one object."""
    part_of(file).write_bytes(CONTENT[:1000])
    fetch(store, "a", file, Shard(bytes=len(CONTENT)), meter=Meter())

    assert store.starts == [0]
    assert file.read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (CONTENT[:-1] + b"?", "expected the CID bafkrei.*, found bafkrei"),
        (CONTENT[:-1], "expected 261,383 bytes, found 261,382"),
        (CONTENT + b"?", "longer than the 261,383 bytes"),
    ],
)
def test_another_object_is_refused(file: Path, content: bytes, message: str) -> None:
    """Nothing of it stays; a file that was there does."""
    file.write_bytes(b"old")
    with pytest.raises(IntegrityError, match=message):
        fetch(MemoryStore({"a": content}), "a", file, FACT, meter=Meter())

    assert file.read_bytes() == b"old"
    assert not part_of(file).exists()


def test_two_writers_are_found_out(file: Path) -> None:
    """Bytes that another thread has put into the part are in no digest: the file does not get its name."""

    class Disturbed(MemoryStore):
        """A store during whose reading somebody else writes."""

        def open(self, path: str, *, start: int = 0, stop: int | None = None) -> Stream:
            """Stream an object; see `Store.open`."""
            part_of(file).write_bytes(b"x")
            return super().open(path, start=start, stop=stop)

    with pytest.raises(IntegrityError, match="something else has written"):
        fetch(Disturbed({"a": CONTENT}), "a", file, FACT, meter=Meter())
    assert list(file.parent.iterdir()) == []


def test_what_is_missing_leaves_nothing(file: Path) -> None:
    """Not even an empty part."""
    with pytest.raises(NotFoundError):
        fetch(MemoryStore(), "a", file, FACT, meter=Meter())
    assert list(file.parent.iterdir()) == []


def test_a_cut_keeps_the_part(file: Path) -> None:
    """What came before the server failed is there for the next time."""

    class Cut:
        """A store that fails after 1,000 bytes."""

        def open(self, path: str, *, start: int = 0, stop: int | None = None) -> Stream:
            """Stream what there is."""
            return self

        def readinto(self, buffer: memoryview, /) -> int:
            """The first 1,000 bytes, then an error."""
            if self.sent:
                raise UnavailableError("cut")
            self.sent = True
            buffer[:1000] = CONTENT[:1000]
            return 1000

        def close(self) -> None:
            """Do nothing."""

        def size(self, path: str) -> int:
            """Is known."""
            return len(CONTENT)

        sent = False

    with pytest.raises(UnavailableError):
        fetch(Cut(), "a", file, FACT, meter=Meter())
    assert part_of(file).read_bytes() == CONTENT[:1000]
    fetch(MemoryStore({"a": CONTENT}), "a", file, FACT, meter=Meter())
    assert file.read_bytes() == CONTENT


def test_a_full_disk_is_named(store: Noted) -> None:
    """The error has the file's name, which a write alone does not know."""
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("this system has no /dev/full")
    from atdata.loading import partial

    with full.open("ab", buffering=0) as file, pytest.raises(OSError, match=r"No space left on device: 'a\.part'") as e:
        partial._write(file, memoryview(b"x"), Path("a.part"))
    assert e.value.errno == errno.ENOSPC
