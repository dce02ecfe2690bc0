"""What a repository is, wherever it lies: records by collection and key, and the blobs that they name.

Two implementations: `atdata.atproto.local` on this disk, `atdata.atproto.network` on a PDS. Their shared contract is
``tests/atproto/repository_contract.py``. Values are ATProto JSON: a blob is ``{"$type": "blob", "ref": {"$link": ...},
"mimeType", "size"}``, a CID ``{"$link": ...}``, bytes ``{"$bytes": ...}``. What the records mean is
`atdata.atproto.records`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from atdata.atproto.records import StrongRef
from atdata.storage.base import Store
from atdata.storage.union import Blob
from atdata.syntax import AtUri, Did, Nsid


@dataclass(frozen=True, slots=True)
class Record:
    """One record as a repository gives it.

    Attributes:
        uri: Its AT-URI, the authority a DID.
        cid: CID of its DAG-CBOR form.
        value: The record itself, as JSON.
    """

    uri: AtUri
    cid: str
    value: dict[str, Any]


class Repository(Protocol):
    """The caller's own repository. Thread-safe.

    Attributes:
        did: Whose repository it is.
        record_limit: Most bytes of JSON that one record may have.
        blob_limit: Most bytes that one blob may have.
    """

    @property
    def did(self) -> Did: ...
    @property
    def record_limit(self) -> int: ...
    @property
    def blob_limit(self) -> int: ...

    def create_record(self, collection: Nsid, value: Mapping[str, Any], *, rkey: str | None = None) -> StrongRef:
        """Write a new record, under a fresh TID unless ``rkey`` names its key.

        Raises:
            InvalidRecordError: A float, an integer beyond 2**53 - 1, or another value that no record can hold.
            LimitError: The record has more bytes than ``record_limit``.
            XrpcError: The key is taken (whatever the server calls that), or ``BlobNotFound``: the record names a blob
                that was never uploaded, or has gone.
        """
        ...

    def put_record(
        self, collection: Nsid, rkey: str, value: Mapping[str, Any], *, swap: str | None = None
    ) -> StrongRef:
        """Write a record, over the one with this key where there is one. Raises as `create_record` does.

        Args:
            swap: CID that the record must have now. None: whatever is there is replaced.

        Raises:
            XrpcError: ``InvalidSwap``: somebody else has changed the record since; read it again.
        """
        ...

    def get_record(self, collection: Nsid, rkey: str) -> Record:
        """Read one record.

        Raises:
            NotFoundError: There is none under this key.
        """
        ...

    def list_records(self, collection: Nsid) -> Iterator[Record]:
        """All records of a collection, from the greatest record key to the least: the newest TID first."""
        ...

    def delete_record(self, collection: Nsid, rkey: str) -> None:
        """Delete one record, and with it each blob that no other record names. No error where there is none."""
        ...

    def upload_blob(self, data: bytes | BinaryIO | Path, *, mime_type: str) -> Blob:
        """Store a blob, which stays unreadable until a record names it.

        Raises:
            LimitError: It has more bytes than ``blob_limit``.
        """
        ...

    def blob_store(self) -> Store:
        """Reads this repository's blobs; a path is a CID."""
        ...
