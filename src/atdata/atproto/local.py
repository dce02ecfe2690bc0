"""A repository on this disk, for datasets without an account: records in SQLite, blobs as files named by their CID.

It keeps the rules of a PDS, so that what works here works there: the same CIDs, the same limits of a record, blobs
that live as long as a record names them. Several processes may use one folder at once. Its DID, ``did:web:localhost``,
means nothing to other machines. Which folder is the user's, `atdata.atproto.client` says.

Layout: ``repository.sqlite``, the records as DAG-CBOR and which of them names which blob (`local_database`), and the
folders of blobs (`local_blobs`).
"""

import json
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

from atdata.atproto.dagcbor import block_cid, decode_record, encode_record
from atdata.atproto.local_blobs import BlobFolder, LocalBlobStore
from atdata.atproto.local_database import LocalDatabase
from atdata.atproto.records import StrongRef
from atdata.atproto.repository import Record
from atdata.errors import (
    InvalidRecordError,
    LimitError,
    NotFoundError,
    UnavailableError,
    XrpcError,
)
from atdata.storage.base import Store
from atdata.storage.union import Blob
from atdata.syntax import AtUri, Did, Nsid, RecordKey, new_tid, parse_record_key

LOCAL_DID = Did("did:web:localhost")
RECORD_LIMIT = 1_000_000  # bytes of JSON, as a PDS of today has it
BLOB_LIMIT = 1 << 30  # bytes; on a PDS it is the operator's choice
KEPT_UPLOAD = 24 * 3600  # seconds for which a blob that no record names is kept

_ABOVE_ALL_KEYS = "\x7f"  # record keys are ASCII without it


class LocalRepository:
    """The repository in one folder. Thread-safe, picklable, and safe to use from several processes.

    Attributes:
        did: Always ``did:web:localhost``.
        record_limit: Most bytes of JSON that one record may have.
        blob_limit: Most bytes that one blob may have.
    """

    def __init__(
        self, folder: Path | str, *, blob_limit: int = BLOB_LIMIT, clock: Callable[[], float] = time.time
    ) -> None:
        """Name the folder; it is made, mode 0700, when something is written first.

        Args:
            folder: Where the repository is kept.
            blob_limit: Most bytes that one blob may have.
            clock: Seconds since 1970, to tell how old an unused upload is.
        """
        self.did = LOCAL_DID
        self.record_limit = RECORD_LIMIT
        self.blob_limit = blob_limit
        self.folder = Path(folder).absolute()
        self._database = LocalDatabase(self.folder)
        self._blobs = BlobFolder(self.folder)
        self._clock = clock
        self._collected = False

    def __repr__(self) -> str:
        return f"LocalRepository({str(self.folder)!r})"

    def create_record(self, collection: Nsid, value: Mapping[str, Any], *, rkey: str | None = None) -> StrongRef:
        """As `atdata.atproto.repository.Repository.create_record`."""
        key = parse_record_key(rkey) if rkey is not None else parse_record_key(new_tid())
        block = self._encode(collection, value)
        with self._database.transaction() as database:
            if _current_cid(database, collection, key) is not None:
                raise _refusal("InvalidRequest", f"there is already a record {collection}/{key}")
            return self._write(database, collection, key, block)

    def put_record(
        self, collection: Nsid, rkey: str, value: Mapping[str, Any], *, swap: str | None = None
    ) -> StrongRef:
        """As `atdata.atproto.repository.Repository.put_record`."""
        key = parse_record_key(rkey)
        block = self._encode(collection, value)
        with self._database.transaction() as database:
            current = _current_cid(database, collection, key)
            if swap is not None and current != swap:
                raise _refusal("InvalidSwap", f"the record {collection}/{key} is now at {current or 'no CID'}")
            reference = self._write(database, collection, key, block)
        self._remove_garbage()
        return reference

    def get_record(self, collection: Nsid, rkey: str) -> Record:
        """As `atdata.atproto.repository.Repository.get_record`."""
        rows = self._database.select(
            "SELECT rkey, cid, block FROM records WHERE collection = ? AND rkey = ?", collection, rkey
        )
        if not rows:
            raise NotFoundError(f"the local repository has no record at://{LOCAL_DID}/{collection}/{rkey}")
        return self._record(collection, *rows[0])

    def list_records(self, collection: Nsid) -> Iterator[Record]:
        """As `atdata.atproto.repository.Repository.list_records`. One record at a time is in memory."""
        below = _ABOVE_ALL_KEYS
        while rows := self._database.select(
            "SELECT rkey, cid, block FROM records WHERE collection = ? AND rkey < ? ORDER BY rkey DESC LIMIT 1",
            collection,
            below,
        ):
            yield self._record(collection, *rows[0])
            below = rows[0][0]

    def delete_record(self, collection: Nsid, rkey: str) -> None:
        """As `atdata.atproto.repository.Repository.delete_record`."""
        with self._database.transaction() as database:
            database.execute("DELETE FROM records WHERE collection = ? AND rkey = ?", (collection, rkey))
            _drop_unused(database, _forget_uses(database, collection, rkey))
        self._remove_garbage()

    def upload_blob(self, data: bytes | BinaryIO | Path, *, mime_type: str) -> Blob:
        """As `atdata.atproto.repository.Repository.upload_blob`. A file is copied 1 MiB at a time."""
        self._drop_old_uploads()
        if isinstance(data, Path):
            with data.open("rb") as file:
                return self._upload(file, mime_type)
        return self._upload(BytesIO(data) if isinstance(data, bytes) else data, mime_type)

    def blob_store(self) -> Store:
        """As `atdata.atproto.repository.Repository.blob_store`."""
        return LocalBlobStore(self._blobs.readable)

    def _encode(self, collection: Nsid, value: Mapping[str, Any]) -> bytes:
        if (kind := value.get("$type", collection)) != collection:
            raise InvalidRecordError(f"the record says {kind!r}, and its collection is {collection}", path="$type")
        typed = {"$type": collection, **value}
        block = encode_record(typed)
        size = len(json.dumps(typed, ensure_ascii=False, separators=(",", ":")).encode())
        if size > self.record_limit:
            raise LimitError(
                f"the record has {size:,} bytes of JSON, at most {self.record_limit:,} are allowed",
                limit=self.record_limit,
            )
        return block

    def _record(self, collection: Nsid, rkey: str, cid: str, block: bytes) -> Record:
        uri = AtUri(LOCAL_DID, collection, parse_record_key(rkey))
        if str(block_cid(block)) != cid:
            raise UnavailableError(f"{self.folder} is damaged: the bytes of {uri} are not those of its CID {cid}")
        return Record(uri, cid, decode_record(block))

    def _write(self, database: sqlite3.Connection, collection: Nsid, rkey: RecordKey, block: bytes) -> StrongRef:
        cid = str(block_cid(block))
        blobs = list(_blobs_in(decode_record(block)))
        for blob in blobs:
            _check_blob(database, blob)
        before = _forget_uses(database, collection, rkey)
        for blob in blobs:
            database.execute("INSERT OR IGNORE INTO blob_uses VALUES (?, ?, ?)", (str(blob.cid), collection, rkey))
            self._blobs.make_readable(blob.cid)
        database.execute("INSERT OR REPLACE INTO records VALUES (?, ?, ?, ?)", (collection, rkey, cid, block))
        _drop_unused(database, before)
        return StrongRef(str(AtUri(LOCAL_DID, collection, rkey)), cid)

    def _upload(self, data: BinaryIO, mime_type: str) -> Blob:
        with self._blobs.receive(data, limit=self.blob_limit) as received, self._database.transaction() as database:
            self._blobs.keep(received)
            # The first upload's MIME type stays, since records may already name the blob with it.
            (stored,) = database.execute(
                "INSERT INTO blobs VALUES (?, ?, ?, ?)"
                " ON CONFLICT (cid) DO UPDATE SET uploaded = excluded.uploaded RETURNING mime_type",
                (str(received.cid), mime_type, received.size, self._clock()),
            ).fetchone()
        return Blob(received.cid, stored, received.size)

    def _remove_garbage(self) -> None:
        """Remove the files of blobs that were dropped, unless they have been uploaded again since.

        A transaction of its own: were the files removed in the one that drops the blobs, and the machine stopped
        before its end, a record would name a blob that is not there.
        """
        with self._database.transaction() as database:
            for (cid,) in database.execute("SELECT cid FROM garbage").fetchall():
                if database.execute("SELECT 1 FROM blobs WHERE cid = ?", (cid,)).fetchone() is None:
                    self._blobs.remove(cid)
            database.execute("DELETE FROM garbage")

    def _drop_old_uploads(self) -> None:
        """Once in the life of this object, drop what was uploaded long ago and never named by a record."""
        if self._collected:
            return
        self._collected = True
        oldest = self._clock() - KEPT_UPLOAD
        with self._database.transaction() as database:
            rows = database.execute("SELECT cid FROM blobs WHERE uploaded < ?", (oldest,)).fetchall()
            _drop_unused(database, [row[0] for row in rows])
        self._blobs.remove_unfinished(before=oldest)
        self._remove_garbage()


def _refusal(error: str, message: str) -> XrpcError:
    """What a PDS answers to the same request, so that callers treat both alike."""
    return XrpcError(message, status=400, error=error, host="the local repository")


def _current_cid(database: sqlite3.Connection, collection: Nsid, rkey: str) -> str | None:
    row = database.execute("SELECT cid FROM records WHERE collection = ? AND rkey = ?", (collection, rkey)).fetchone()
    return str(row[0]) if row else None


def _forget_uses(database: sqlite3.Connection, collection: Nsid, rkey: str) -> list[str]:
    rows = database.execute(
        "DELETE FROM blob_uses WHERE collection = ? AND rkey = ? RETURNING cid", (collection, rkey)
    ).fetchall()
    return [str(row[0]) for row in rows]


def _drop_unused(database: sqlite3.Connection, cids: Iterable[str]) -> None:
    for cid in cids:
        if database.execute("SELECT 1 FROM blob_uses WHERE cid = ?", (cid,)).fetchone() is None:
            database.execute("DELETE FROM blobs WHERE cid = ?", (cid,))
            database.execute("INSERT OR IGNORE INTO garbage VALUES (?)", (cid,))


def _check_blob(database: sqlite3.Connection, blob: Blob) -> None:
    row = database.execute("SELECT mime_type, size FROM blobs WHERE cid = ?", (str(blob.cid),)).fetchone()
    if row is None:
        raise _refusal("BlobNotFound", f"Could not find blob: {blob.cid}")
    if row[0] != blob.mime_type:
        raise _refusal(
            "InvalidMimeType", f"blob {blob.cid} was uploaded as {row[0]}, and the record says {blob.mime_type}"
        )
    if row[1] != blob.size:
        raise _refusal("InvalidSize", f"blob {blob.cid} has {row[1]:,} bytes, and the record says {blob.size:,}")


def _blobs_in(value: Any) -> Iterator[Blob]:
    """The blobs at any depth of a record, as a PDS finds them: by ``$type``, whatever the lexicon says."""
    if isinstance(value, dict):
        if value.get("$type") == "blob":
            yield Blob.from_json(value)
        else:
            for child in value.values():
                yield from _blobs_in(child)
    elif isinstance(value, list):
        for child in value:
            yield from _blobs_in(child)
