"""What every repository must do. The tests of each implementation subclass `RepositoryContract`."""

import hashlib
import io
from pathlib import Path

import pytest

from atdata.atproto.dagcbor import record_cid
from atdata.atproto.repository import Repository
from atdata.errors import InvalidRecordError, LimitError, NotFoundError, XrpcError
from atdata.storage.base import read_all
from atdata.storage.union import Blob
from atdata.syntax import Nsid, parse_at_uri, parse_tid, raw_cid

COLLECTION = Nsid("com.example.thing")


def thing(text: str, *blobs: Blob) -> dict[str, object]:
    """A record of no known lexicon, with blobs at some depth."""
    return {"$type": COLLECTION, "text": text, "deep": {"down": [{"blob": blob.to_json()} for blob in blobs]}}


def content(repository: Repository, blob: Blob) -> bytes:
    """The bytes of a blob, as its repository's store gives them."""
    return read_all(repository.blob_store(), str(blob.cid), limit=1 << 20)


class RepositoryContract:
    """Subclasses give a fixture ``repository``: an empty collection ``com.example.thing``."""

    def test_a_record_comes_back_with_the_cid_of_its_dag_cbor(self, repository: Repository) -> None:
        """The CID is computed alike on both sides, and the key is a TID."""
        value = thing("ü🙂") | {"n": 2**53 - 1, "link": {"$link": str(record_cid({}))}, "raw": {"$bytes": "AAEC"}}

        reference = repository.create_record(COLLECTION, value)

        uri = parse_at_uri(reference.uri)
        assert (uri.authority, uri.collection) == (repository.did, COLLECTION)
        parse_tid(uri.rkey or "")
        record = repository.get_record(COLLECTION, uri.rkey or "")
        assert (record.uri, record.cid, record.value) == (uri, reference.cid, value)
        assert record.cid == str(record_cid(value))

    def test_the_given_key_is_taken_once(self, repository: Repository) -> None:
        """``create_record`` never replaces; the first record stays."""
        repository.create_record(COLLECTION, thing("one"), rkey="only")

        with pytest.raises(XrpcError):
            repository.create_record(COLLECTION, thing("two"), rkey="only")

        assert repository.get_record(COLLECTION, "only").value["text"] == "one"

    def test_put_replaces_and_swap_guards(self, repository: Repository) -> None:
        """A writer whose view is stale gets ``InvalidSwap`` and changes nothing."""
        first = repository.put_record(COLLECTION, "self", thing("one"))
        second = repository.put_record(COLLECTION, "self", thing("two"), swap=first.cid)

        with pytest.raises(XrpcError) as caught:
            repository.put_record(COLLECTION, "self", thing("three"), swap=first.cid)

        assert caught.value.error == "InvalidSwap"
        assert repository.get_record(COLLECTION, "self").cid == second.cid

    def test_missing_records_are_not_found(self, repository: Repository) -> None:
        """Reading says so, deleting is silent."""
        with pytest.raises(NotFoundError):
            repository.get_record(COLLECTION, "nothing")
        repository.delete_record(COLLECTION, "nothing")

        assert list(repository.list_records(COLLECTION)) == []

    def test_listing_goes_from_the_greatest_key_down(self, repository: Repository) -> None:
        """All records of the one collection, each once, also more than a server gives in one page."""
        keys = [f"k{i:03d}" for i in range(120)]
        for key in keys:
            repository.create_record(COLLECTION, thing(key), rkey=key)
        repository.create_record(Nsid("com.example.other"), {"$type": "com.example.other"})

        records = list(repository.list_records(COLLECTION))

        assert [record.uri.rkey for record in records] == keys[::-1]
        assert [record.value["text"] for record in records] == keys[::-1]

    def test_a_deleted_record_is_gone(self, repository: Repository) -> None:
        """Deleting deletes, and only the one."""
        repository.create_record(COLLECTION, thing("one"), rkey="a")
        repository.create_record(COLLECTION, thing("two"), rkey="b")

        repository.delete_record(COLLECTION, "a")

        assert [record.uri.rkey for record in repository.list_records(COLLECTION)] == ["b"]

    @pytest.mark.parametrize("value", [1.5, 2**53, {"deep": [0.0]}])
    def test_numbers_that_records_cannot_hold_are_refused(self, repository: Repository, value: object) -> None:
        """Floats and integers that JavaScript would round never leave the machine."""
        with pytest.raises(InvalidRecordError, match="x"):
            repository.create_record(COLLECTION, {"$type": COLLECTION, "x": value})

        assert list(repository.list_records(COLLECTION)) == []

    def test_a_record_beyond_the_limit_is_refused(self, repository: Repository) -> None:
        """The limit is on bytes of JSON."""
        with pytest.raises(LimitError, match="bytes"):
            repository.create_record(COLLECTION, thing("ü" * (repository.record_limit // 2)))

        assert list(repository.list_records(COLLECTION)) == []

    def test_a_blob_has_the_cid_of_its_bytes_and_is_read_once_a_record_names_it(
        self, repository: Repository, tmp_path: Path
    ) -> None:
        """Bytes, files and paths upload alike; before a record names the blob, nobody reads it."""
        file = tmp_path / "data"
        file.write_bytes(b"from a path")
        blobs = [
            repository.upload_blob(b"from bytes", mime_type="application/octet-stream"),
            repository.upload_blob(io.BytesIO(b"from a file"), mime_type="application/octet-stream"),
            repository.upload_blob(file, mime_type="application/octet-stream"),
        ]
        with pytest.raises(NotFoundError):
            content(repository, blobs[0])

        repository.create_record(COLLECTION, thing("names them", *blobs))

        assert [content(repository, blob) for blob in blobs] == [b"from bytes", b"from a file", b"from a path"]
        assert blobs[0].cid == raw_cid(hashlib.sha256(b"from bytes").digest())
        assert blobs[0].size == len(b"from bytes")
        assert repository.blob_store().size(str(blobs[0].cid)) == len(b"from bytes")

    def test_a_blob_lives_as_long_as_a_record_names_it(self, repository: Repository) -> None:
        """It goes at once with the last one, by deletion or by update."""
        blob = repository.upload_blob(b"kept for a while", mime_type="application/octet-stream")
        repository.create_record(COLLECTION, thing("one", blob), rkey="a")
        repository.create_record(COLLECTION, thing("two", blob, blob), rkey="b")
        repository.put_record(COLLECTION, "b", thing("still", blob))
        repository.delete_record(COLLECTION, "a")
        assert content(repository, blob) == b"kept for a while"

        repository.put_record(COLLECTION, "b", thing("no more"))

        with pytest.raises(NotFoundError):
            content(repository, blob)
        with pytest.raises(XrpcError) as caught:
            repository.create_record(COLLECTION, thing("too late", blob))
        assert caught.value.error == "BlobNotFound"

    def test_only_blob_objects_keep_a_blob(self, repository: Repository) -> None:
        """Without ``$type`` it is no blob, and is not kept."""
        blob = repository.upload_blob(b"forgotten", mime_type="application/octet-stream")
        untyped = {key: value for key, value in blob.to_json().items() if key != "$type"}

        repository.create_record(COLLECTION, {"$type": COLLECTION, "blob": untyped})

        with pytest.raises(NotFoundError):
            content(repository, blob)

    def test_a_record_that_names_no_real_blob_is_refused(self, repository: Repository) -> None:
        """Never uploaded, or named with another MIME type: the server says which, and writes nothing."""
        blob = repository.upload_blob(b"as it is", mime_type="application/octet-stream")
        wrong = [
            (Blob(raw_cid(bytes(32)), "application/octet-stream", 8), "BlobNotFound"),
            (Blob(blob.cid, "image/png", blob.size), "InvalidMimeType"),
        ]

        for named, error in wrong:
            with pytest.raises(XrpcError) as caught:
                repository.create_record(COLLECTION, thing("wrong", named))
            assert caught.value.error == error
        assert list(repository.list_records(COLLECTION)) == []
