"""The journal: what was done is found again, torn or not; what is damaged is not believed."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atdata.errors import RefusedError
from atdata.publishing.journal import Journal, open_journal, read_journal
from atdata.storage.base import Shard
from atdata.storage.union import Blob
from atdata.syntax import parse_record_key, raw_cid

COMMAND = {"name": "Digits"}
FILE = ("/data/a.tar", 10_240, 1_767_873_600_000_000_000)


def silent(text: str) -> None:
    """Say nothing."""


def blob(number: int) -> Blob:
    """One of many blobs."""
    return Blob(raw_cid(bytes([number]) * 32), "application/x-tar", 1000 + number)


def fill(journal: Journal) -> None:
    """A publish that is half done."""
    journal.add_facts(FILE, Shard(blob(0).cid, 1000, 7, None))
    journal.begin()
    for number in range(4):
        journal.add_uploaded(blob(number))
    (key,) = journal.list_keys(1)
    journal.add_list(key, "bafyrei")
    journal.forget([blob(1).cid])


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of a publish that is half done."""
    monkeypatch.setenv("ATDATA_HOME", str(tmp_path))
    with open_journal(COMMAND, announce=silent) as journal:
        fill(journal)
    (found,) = (tmp_path / "data" / "publishing").glob("*.journal")
    return found


def test_what_was_done_is_found_again(path: Path) -> None:
    """Key, time, facts, blobs and lists; without the blobs that were forgotten."""
    with open_journal(COMMAND, announce=silent) as journal:
        found = journal.progressed

    assert journal.is_resumed
    assert set(found.uploaded) == {blob(number).cid for number in (0, 2, 3)}
    assert found.uploaded[blob(2).cid] == blob(2)
    assert found.facts[FILE].samples == 7
    assert list(found.lists) == found.list_keys
    again = read_journal(COMMAND).progressed
    assert again == found
    assert path.stat().st_mode & 0o777 == 0o600


def test_another_command_is_another_journal(path: Path) -> None:
    """One that has done nothing leaves nothing behind."""
    with open_journal({"name": "Others"}, announce=silent) as journal:
        assert not journal.is_resumed
        assert not journal.progressed.uploaded

    assert list(path.parent.glob("*.journal")) == [path]


@given(st.data())
def test_a_torn_end_is_passed_over(data: st.DataObject) -> None:
    """Wherever a crash cuts the file: what stands before is there, and what follows can be read again."""
    with pytest.MonkeyPatch.context() as patch, TemporaryDirectory() as home:
        patch.setenv("ATDATA_HOME", home)
        with open_journal(COMMAND, announce=silent) as journal:
            fill(journal)
            key = journal.progressed.rkey
        (path,) = (Path(home) / "data" / "publishing").glob("*.journal")
        content = path.read_bytes()
        cut = data.draw(st.integers(0, len(content)))
        path.write_bytes(content[:cut])
        whole = content[:cut].count(b"\n")

        with open_journal(COMMAND, announce=pytest.fail) as journal:
            assert journal.is_resumed == (whole > 0)
            assert not whole or journal.progressed.rkey == key
            journal.begin()
            journal.add_uploaded(blob(9))
        with open_journal(COMMAND, announce=pytest.fail) as journal:
            assert blob(9).cid in journal.progressed.uploaded


def _flip(content: bytes, line: int) -> bytes:
    lines = content.splitlines(keepends=True)
    lines[line] = lines[line][:-5] + bytes([lines[line][-5] ^ 1]) + lines[line][-4:]
    return b"".join(lines)


@pytest.mark.parametrize(
    ("damage", "keeps_key"),
    [
        (lambda content: _flip(content, 2), True),
        (lambda content: _flip(content, 0), False),
        (lambda content: content[:300] + b"\0" * 64 + content[364:], True),
        (lambda content: b"no journal\n" * 3, False),
    ],
)
def test_a_damaged_journal_is_set_aside(path: Path, damage: Callable[[bytes], bytes], keeps_key: bool) -> None:
    """It is said and kept; nothing of it is believed but the key, where its own line is whole."""
    key = read_journal(COMMAND).progressed.rkey
    damaged = damage(path.read_bytes())
    path.write_bytes(damaged)
    told: list[str] = []

    with open_journal(COMMAND, announce=told.append) as journal:
        assert not journal.progressed.uploaded
        assert (journal.progressed.rkey == key) == keeps_key
        assert journal.is_resumed == keeps_key

    (message,) = told
    assert "damaged" in message
    (aside,) = path.parent.glob("*.damaged-*")
    assert str(aside) in message
    assert aside.read_bytes() == damaged


def test_one_publisher_at_a_time(path: Path) -> None:
    """Also in another process; when the first one has ended, the next may."""
    code = (
        "from atdata.publishing.journal import open_journal\n"
        f"with open_journal({COMMAND!r}, announce=print): print('open')"
    )
    with open_journal(COMMAND, announce=silent):
        with pytest.raises(RefusedError, match="one-publisher"), open_journal(COMMAND, announce=silent):
            pass
        other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert "one-publisher" in other.stderr
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout == b"open\n"


def test_a_complete_publish_leaves_nothing(path: Path) -> None:
    """Neither the file nor the folder beside it."""
    with open_journal(COMMAND, announce=silent) as journal:
        assert journal.folder is not None
        journal.folder.mkdir()
        (journal.folder / "cut.tar").write_bytes(b"x")
        journal.remove()

    assert list(path.parent.iterdir()) == []


FULL = """
import resource
from pathlib import Path
from tests.publishing.test_journal import COMMAND, blob
from atdata.errors import UnavailableError
from atdata.publishing.journal import open_journal
with open_journal(COMMAND, announce=print) as journal:
    size = journal._path.stat().st_size
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 200, resource.RLIM_INFINITY))
    try:
        for number in range(10, 20):
            journal.add_uploaded(blob(number))
    except UnavailableError as error:
        print(error)
"""


def test_a_full_disk_stops_and_does_no_harm(path: Path) -> None:
    """The error names the file; what was written before is found, the line that was cut is not."""
    done = subprocess.run([sys.executable, "-c", FULL], capture_output=True, text=True, check=True)

    assert str(path) in done.stdout
    with open_journal(COMMAND, announce=pytest.fail) as journal:
        assert blob(10).cid in journal.progressed.uploaded
        assert blob(12).cid not in journal.progressed.uploaded


def test_a_journal_that_cannot_be_gone_on_with_is_memory() -> None:
    """For samples that come one by one: the same interface, and no file."""
    journal = Journal.unsaved()
    fill(journal)

    assert not journal.is_saved
    assert journal.folder is None
    assert parse_record_key(journal.progressed.rkey)
