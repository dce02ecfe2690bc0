"""Local files: whole or not at all, and nothing but files."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from atdata.errors import AtdataError, InvalidSyntaxError, NotFoundError, RefusedError, UnavailableError
from atdata.storage.base import read_all
from atdata.storage.file import FileStore
from atdata.storage.url import file_url


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


@pytest.mark.parametrize("as_url", [False, True])
def test_put_writes_whole_files(tmp_path: Path, as_url: bool) -> None:
    """Folders are made, an older file is replaced, nothing else stays, and others may read it."""
    target = tmp_path / "new" / "a.tar"
    store = FileStore()
    for content in (b"older and longer", b"newer"):
        assert store.put(file_url(target) if as_url else str(target), iter([content[:3], b"", content[3:]])) == len(
            content
        )

    assert target.read_bytes() == b"newer"
    assert names(target.parent) == ["a.tar"]
    assert stat.S_IMODE(target.stat().st_mode) & 0o600 == 0o600


def test_put_that_fails_leaves_what_was(tmp_path: Path) -> None:
    """When the bytes stop coming, the older file is still there, whole, and no temporary one."""
    (tmp_path / "a.tar").write_bytes(b"older")

    def failing() -> Iterator[bytes]:
        yield b"half"
        raise RuntimeError("the source failed")

    with pytest.raises(RuntimeError):
        FileStore().put(str(tmp_path / "a.tar"), failing())

    assert (tmp_path / "a.tar").read_bytes() == b"older"
    assert names(tmp_path) == ["a.tar"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_an_error_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message says which file; nothing half-written stays."""
    real = Path.open
    monkeypatch.setattr(Path, "open", lambda self, *args, **kwargs: real(Path("/dev/full"), "wb", buffering=0))

    with pytest.raises(UnavailableError, match=r"a\.tar.*[Nn]o space"):
        FileStore().put(str(tmp_path / "a.tar"), [b"data"])
    assert names(tmp_path) == []


def test_only_files_are_opened(tmp_path: Path) -> None:
    """A folder, a FIFO, a device: an error at once, not a wait for ever."""
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path, tmp_path / "fifo", Path("/dev/zero"), tmp_path / "missing", tmp_path / "missing" / "a"):
        with pytest.raises(NotFoundError):
            FileStore().open(str(path))


@pytest.mark.parametrize(
    "path", ["pipe:id", "-", "", "https://example.com/a", "s3://b/a", "file://host/a", "a\0b", "n" * 5000]
)
def test_what_is_no_file_name_is_refused(path: str) -> None:
    """Each with an error of ours."""
    for act in (FileStore().open, FileStore().size, lambda path: FileStore().put(path, [b""])):
        with pytest.raises((RefusedError, InvalidSyntaxError)):
            act(path)


def test_a_replaced_file_is_read_as_it_was_opened(tmp_path: Path) -> None:
    """A stream belongs to the file that was there when it was opened."""
    path = str(tmp_path / "a.tar")
    FileStore().put(path, [b"older"])
    stream = FileStore().open(path)
    FileStore().put(path, [b"newer"])
    buffer = bytearray(10)

    assert bytes(buffer[: stream.readinto(memoryview(buffer))]) == b"older"
    stream.close()
    assert read_all(FileStore(), path, limit=10) == b"newer"


def test_a_put_to_a_folder_is_an_error(tmp_path: Path) -> None:
    """And leaves the folder as it was."""
    (tmp_path / "folder").mkdir()
    with pytest.raises(AtdataError):
        FileStore().put(str(tmp_path / "folder"), [b"x"])
    assert names(tmp_path) == ["folder"]
