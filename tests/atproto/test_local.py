"""The local repository: the contract of all repositories, and what a folder shared by processes adds."""

import multiprocessing
import os
import pickle
import sqlite3
import stat
from pathlib import Path

import pytest
from tests.atproto.repository_contract import COLLECTION, RepositoryContract, content, thing

from atdata.atproto.local import KEPT_UPLOAD, LOCAL_DID, LocalRepository
from atdata.atproto.local_database import LocalDatabase
from atdata.errors import InvalidRecordError, InvalidSyntaxError, LimitError, NotFoundError, UnavailableError, XrpcError
from atdata.storage.union import Blob
from atdata.syntax import Nsid

OCTETS = "application/octet-stream"


@pytest.fixture
def repository(tmp_path: Path) -> LocalRepository:
    return LocalRepository(tmp_path / "repository")


class TestLocalRepository(RepositoryContract):
    @pytest.fixture
    def repository(self, tmp_path: Path) -> LocalRepository:
        return LocalRepository(tmp_path / "repository")


def test_it_is_found_again(repository: LocalRepository) -> None:
    """Another object on the same folder, also one that was pickled, sees the same records and blobs."""
    blob = repository.upload_blob(b"abc", mime_type=OCTETS)
    repository.create_record(COLLECTION, thing("kept", blob), rkey="a")

    for again in (LocalRepository(repository.folder), pickle.loads(pickle.dumps(repository))):
        assert again.get_record(COLLECTION, "a").value["text"] == "kept"
        assert content(again, blob) == b"abc"
        assert again.did == LOCAL_DID == "did:web:localhost"


def test_reading_writes_nothing(repository: LocalRepository) -> None:
    """A folder appears when something is written, not when somebody looks."""
    assert list(repository.list_records(COLLECTION)) == []
    with pytest.raises(NotFoundError):
        repository.get_record(COLLECTION, "a")

    assert not repository.folder.exists()


def test_nobody_else_can_read_the_files(repository: LocalRepository) -> None:
    """Folders have mode 0700 and files 0600, whatever the umask."""
    old = os.umask(0)
    try:
        blob = repository.upload_blob(b"abc", mime_type=OCTETS)
        repository.upload_blob(b"unused", mime_type=OCTETS)
        repository.create_record(COLLECTION, thing("private", blob))
    finally:
        os.umask(old)

    paths = [repository.folder, *repository.folder.rglob("*")]
    assert len(paths) > 4
    assert {(path.is_dir(), stat.S_IMODE(path.stat().st_mode)) for path in paths} == {(True, 0o700), (False, 0o600)}


def test_a_record_of_another_type_is_refused(repository: LocalRepository) -> None:
    """``$type`` is the collection; where it is missing it is added."""
    with pytest.raises(InvalidRecordError, match=r"\$type"):
        repository.create_record(COLLECTION, {"$type": "com.example.other"})

    repository.create_record(COLLECTION, {"text": "untyped"}, rkey="a")
    assert repository.get_record(COLLECTION, "a").value == {"$type": COLLECTION, "text": "untyped"}


@pytest.mark.parametrize("rkey", ["", ".", "..", "a/b", "ü", "a" * 513])
def test_malformed_keys_are_refused(repository: LocalRepository, rkey: str) -> None:
    """A record key that no PDS would take is not taken here."""
    with pytest.raises(InvalidSyntaxError, match="record key"):
        repository.create_record(COLLECTION, thing("x"), rkey=rkey)


def test_a_blob_beyond_the_limit_leaves_nothing(tmp_path: Path) -> None:
    """The upload ends at the limit, and no file stays."""
    repository = LocalRepository(tmp_path, blob_limit=10)

    with pytest.raises(LimitError, match="10"):
        repository.upload_blob(b"x" * 11, mime_type=OCTETS)

    assert list((tmp_path / "uploads").iterdir()) == []
    assert repository.upload_blob(b"x" * 10, mime_type=OCTETS).size == 10


def test_a_wrong_size_is_refused(repository: LocalRepository) -> None:
    """The size that a record says is the one that the upload had."""
    blob = repository.upload_blob(b"abc", mime_type=OCTETS)

    with pytest.raises(XrpcError) as caught:
        repository.create_record(COLLECTION, thing("wrong", Blob(blob.cid, OCTETS, 4)))

    assert caught.value.error == "InvalidSize"


def test_the_same_bytes_twice_are_one_blob(repository: LocalRepository) -> None:
    """The first MIME type stays, so that a record which names it stays true."""
    first = repository.upload_blob(b"abc", mime_type="text/plain")
    repository.create_record(COLLECTION, thing("one", first))

    assert repository.upload_blob(b"abc", mime_type=OCTETS) == first
    assert len(list(repository.folder.glob("*s/*"))) == 1


def test_a_dropped_blob_can_be_uploaded_again(repository: LocalRepository) -> None:
    """After its last record has gone, it is as if it had never been."""
    blob = repository.upload_blob(b"abc", mime_type=OCTETS)
    repository.create_record(COLLECTION, thing("one", blob), rkey="a")
    repository.delete_record(COLLECTION, "a")
    assert list(repository.folder.glob("*s/*")) == []

    repository.upload_blob(b"abc", mime_type=OCTETS)
    repository.create_record(COLLECTION, thing("two", blob))

    assert content(repository, blob) == b"abc"


def test_uploads_that_no_record_names_go_after_a_day(tmp_path: Path) -> None:
    """Old ones go, fresh ones and those in use stay."""
    early = LocalRepository(tmp_path, clock=lambda: 0.0)
    used, unused = (early.upload_blob(data, mime_type=OCTETS) for data in (b"used", b"unused"))
    early.create_record(COLLECTION, thing("one", used))
    late = LocalRepository(tmp_path, clock=lambda: KEPT_UPLOAD + 1.0)

    fresh = late.upload_blob(b"fresh", mime_type=OCTETS)

    assert {path.name for path in tmp_path.glob("*s/*")} == {str(used.cid), str(fresh.cid)}
    with pytest.raises(XrpcError, match=str(unused.cid)):
        late.create_record(COLLECTION, thing("too late", unused))


def test_a_refused_record_changes_nothing(repository: LocalRepository) -> None:
    """Of two blobs one is missing: the record as it was stays, with its blob."""
    blob, other = (repository.upload_blob(data, mime_type=OCTETS) for data in (b"abc", b"other"))
    repository.put_record(COLLECTION, "a", thing("one", blob))

    with pytest.raises(XrpcError):
        repository.put_record(COLLECTION, "a", thing("two", other, Blob(other.cid, OCTETS, 7)))

    assert repository.get_record(COLLECTION, "a").value["text"] == "one"
    assert content(repository, blob) == b"abc"
    with pytest.raises(NotFoundError):
        content(repository, other)


def _write_many(folder: Path, name: str) -> None:
    repository = LocalRepository(folder)
    for i in range(10):
        shared = repository.upload_blob(b"shared", mime_type=OCTETS)
        own = repository.upload_blob(f"{name} {i}".encode(), mime_type=OCTETS)
        repository.create_record(COLLECTION, thing(name, own, shared), rkey=f"{name}-{i}")
        if i % 2:
            repository.delete_record(COLLECTION, f"{name}-{i}")


def test_several_processes_write_at_once(tmp_path: Path) -> None:
    """Also into a folder that none has made yet: every record arrives, and exactly the blobs in use stay."""
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_write_many, args=(tmp_path / "new", name)) for name in ("a", "b", "c")]
    for process in processes:
        process.start()
    for process in processes:
        process.join()

    repository = LocalRepository(tmp_path / "new")
    assert [process.exitcode for process in processes] == [0, 0, 0]
    keys = {record.uri.rkey for record in repository.list_records(COLLECTION)}
    assert keys == {f"{name}-{i}" for name in "abc" for i in range(0, 10, 2)}
    assert len(list((repository.folder / "blobs").iterdir())) == 16
    assert list((repository.folder / "uploads").iterdir()) == []


def test_a_damaged_database_is_named(repository: LocalRepository) -> None:
    """The error says which folder, and what to do."""
    repository.create_record(COLLECTION, thing("x"))
    for path in repository.folder.glob("repository.sqlite*"):
        path.unlink()
    (repository.folder / "repository.sqlite").write_bytes(b"no database at all" * 100)

    with pytest.raises(UnavailableError, match=f"{repository.folder} is damaged"):
        list(repository.list_records(COLLECTION))


def test_a_changed_record_is_noticed(repository: LocalRepository) -> None:
    """Bytes that do not have the CID of their row are never handed out."""
    repository.create_record(COLLECTION, thing("true"), rkey="a")
    database = sqlite3.connect(repository.folder / "repository.sqlite")
    database.execute("UPDATE records SET block = CAST(replace(block, x'74727565', x'66616b65') AS BLOB)")
    database.commit()
    database.close()

    with pytest.raises(UnavailableError, match="damaged"):
        repository.get_record(COLLECTION, "a")


def test_a_locked_database_is_said_to_be_in_use(tmp_path: Path) -> None:
    """After the wait the error says that another process holds it."""
    database = LocalDatabase(tmp_path, wait=0.05)
    with (
        database.transaction(),
        pytest.raises(UnavailableError, match="in use by another process"),
        database.transaction(),
    ):
        pytest.fail("two writers at once")


def test_a_database_of_a_newer_release_is_left_alone(tmp_path: Path) -> None:
    """It is not written to, and the error says to upgrade."""
    repository = LocalRepository(tmp_path)
    repository.create_record(Nsid("com.example.thing"), thing("x"))
    newer = sqlite3.connect(tmp_path / "repository.sqlite")
    newer.execute("PRAGMA user_version = 99")
    newer.close()

    with pytest.raises(UnavailableError, match="newer release"):
        repository.create_record(COLLECTION, thing("y"))
