"""Repositories on a PDS: anybody's for reading, the caller's own for writing.

`read_record` and `list_repository` need no account; what they return agrees with its CID, whatever the PDS says.
`NetworkRepository` is the `atdata.atproto.repository.Repository` of one session. What a record means is
`atdata.atproto.records`; on which PDS a repository lies, `atdata.atproto.identity`.

Source: lexicons com.atproto.repo.*, com.atproto.server.describeServer
"""

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from functools import cached_property, partial
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from atdata.atproto.blob_limits import BlobLimits
from atdata.atproto.dagcbor import encode_record, record_cid
from atdata.atproto.identity import Resolver
from atdata.atproto.rate_limit import is_spent, wait_asked
from atdata.atproto.records import StrongRef
from atdata.atproto.repository import Record
from atdata.atproto.session import Session
from atdata.atproto.xrpc import Parameter, Xrpc
from atdata.errors import (
    IntegrityError,
    InvalidRecordError,
    InvalidSyntaxError,
    LimitError,
    NotFoundError,
    UnavailableError,
    XrpcError,
)
from atdata.net import Transport
from atdata.storage.base import Store
from atdata.storage.union import Blob
from atdata.syntax import AtUri, Did, Nsid, parse_at_uri, parse_record_key

RECORD_LIMIT = 150_000  # bytes of JSON that PDSes of before May 2026 take as well
BLOB_LIMIT = 100 << 20  # bytes; the most that is seen in the field, where a PDS does not tell its limit
PAGE = 100  # records; the most that listRecords gives at once
PAGE_LIMIT = 128 << 20  # bytes: `PAGE` records of 1 MB each, the most that one may have, and some air

# What a PDS says of something that is not there. The reference PDS answers InvalidRequest for a repository that it does
# not have, or whose account is deactivated or taken down; our own requests are valid, so nothing else is meant.
_ABSENT = {
    "RecordNotFound": "there is no such record",
    "RepoNotFound": "the PDS does not have this repository",
    "InvalidRequest": "there is no such record, or its account is deactivated, taken down or elsewhere",
    "RepoDeactivated": "its owner has deactivated the account",
    "RepoTakendown": "the account was taken down by its PDS",
    "RepoSuspended": "the account was suspended by its PDS",
}


def read_record(xrpc: Xrpc, did: Did, collection: Nsid, rkey: str) -> Record:
    """Read one record from the PDS that ``xrpc`` calls.

    Raises:
        NotFoundError: There is none, or its account is not active.
        IntegrityError: The PDS's value does not have the CID that it says.
        UnavailableError: The PDS did not answer, or not as one.
    """
    uri = AtUri(did, collection, parse_record_key(rkey))
    try:
        answer = xrpc.query("com.atproto.repo.getRecord", {"repo": did, "collection": collection, "rkey": rkey})
    except XrpcError as error:
        raise _absent(error, str(uri)) from error
    record = _record(answer, xrpc.host)
    if record.uri != uri:
        raise UnavailableError(f"{xrpc.host} was asked for {uri} and answered with {record.uri}")
    return record


def list_repository(xrpc: Xrpc, did: Did, collection: Nsid) -> Iterator[Record]:
    """All records of a collection, the greatest record key first. Raises as `read_record`. Memory is one page."""
    return paged(partial(list_page, xrpc, did, collection))


def paged(page: Callable[[str | None], tuple[list[Record], str | None]]) -> Iterator[Record]:
    """The records of all pages; ``page`` gives the one behind a cursor, and the next cursor."""
    records, cursor = page(None)
    yield from records
    while cursor is not None:
        records, cursor = page(cursor)
        yield from records


def list_page(xrpc: Xrpc, did: Did, collection: Nsid, cursor: str | None) -> tuple[list[Record], str | None]:
    """The records of a collection behind ``cursor`` (None: from the greatest key on), and the next cursor, if any.

    Raises as `read_record`.
    """
    parameters: dict[str, Parameter] = {"repo": did, "collection": collection, "limit": PAGE, "cursor": cursor}
    try:
        answer = xrpc.query("com.atproto.repo.listRecords", parameters, limit=PAGE_LIMIT)
    except XrpcError as error:
        raise _absent(error, f"at://{did}/{collection}") from error
    items = answer.get("records")
    if not isinstance(items, list):
        raise UnavailableError(f"{xrpc.host} gave a list of records that is none")
    records = [_record(item, xrpc.host) for item in items]
    for record in records:
        if (record.uri.authority, record.uri.collection) != (did, collection):
            raise UnavailableError(f"{xrpc.host} was asked for at://{did}/{collection} and listed {record.uri}")
    following = answer.get("cursor")
    more = bool(records) and isinstance(following, str) and following != cursor
    return records, str(following) if more else None


class NetworkRepository:
    """The repository of one account on its PDS. Thread-safe.

    Attributes:
        did: Whose repository it is.
        record_limit: Most bytes of JSON that one record may have, on any PDS of the last years.
    """

    def __init__(self, session: Session, *, transport: Transport, resolver: Resolver) -> None:
        """Write by ``session``; ``resolver`` finds the PDS for whoever reads blobs later."""
        self.did = session.did
        self.record_limit = RECORD_LIMIT
        self._transport = transport
        self._resolver = resolver
        self._xrpc = Xrpc(session.service, transport, authorizer=session)
        self._public = Xrpc(session.service, transport)
        self._uploads_from = 0.0  # on the monotonic clock: before, the PDS has said, it takes no blob

    def __repr__(self) -> str:
        return f"NetworkRepository({self.did}, at {self._xrpc.service})"

    @property
    def blob_limit(self) -> int:
        """Most bytes that one blob may have: as the PDS tells, or as an earlier refusal has taught; else 100 MiB."""
        learnt = BlobLimits().find(self._xrpc.service)
        told = self._told_blob_limit
        return min(told, learnt) if told and learnt else told or learnt or BLOB_LIMIT

    @cached_property
    def _told_blob_limit(self) -> int | None:
        told = self._public.query("com.atproto.server.describeServer").get("blobUploadLimit")
        return told if isinstance(told, int) and not isinstance(told, bool) and told > 0 else None

    def create_record(self, collection: Nsid, value: Mapping[str, Any], *, rkey: str | None = None) -> StrongRef:
        """As `atdata.atproto.repository.Repository.create_record`."""
        key = {"rkey": parse_record_key(rkey)} if rkey is not None else {}
        return self._write("com.atproto.repo.createRecord", collection, value, key)

    def put_record(
        self, collection: Nsid, rkey: str, value: Mapping[str, Any], *, swap: str | None = None
    ) -> StrongRef:
        """As `atdata.atproto.repository.Repository.put_record`."""
        key = {"rkey": parse_record_key(rkey)} | ({"swapRecord": swap} if swap is not None else {})
        return self._write("com.atproto.repo.putRecord", collection, value, key)

    def get_record(self, collection: Nsid, rkey: str) -> Record:
        """As `atdata.atproto.repository.Repository.get_record`."""
        return read_record(self._public, self.did, collection, rkey)

    def list_records(self, collection: Nsid) -> Iterator[Record]:
        """As `atdata.atproto.repository.Repository.list_records`."""
        return list_repository(self._public, self.did, collection)

    def delete_record(self, collection: Nsid, rkey: str) -> None:
        """As `atdata.atproto.repository.Repository.delete_record`."""
        body = {"repo": self.did, "collection": collection, "rkey": parse_record_key(rkey)}
        self._xrpc.procedure("com.atproto.repo.deleteRecord", body)

    def upload_blob(self, data: bytes | BinaryIO | Path, *, mime_type: str) -> Blob:
        """As `atdata.atproto.repository.Repository.upload_blob`. Files are streamed.

        A stream is sent from where it stands to its end, and must be able to seek. It is sent once: waiting and trying
        again, also where the rate limit has been reached (`XrpcError` 429 with its ``retry_after``), is the caller's.
        """
        with ExitStack() as stack:
            if isinstance(data, Path):
                file: BinaryIO = stack.enter_context(data.open("rb"))
            else:
                file = BytesIO(data) if isinstance(data, bytes) else data
            start = file.tell()
            size = file.seek(0, os.SEEK_END) - start
            if size > (limit := self.blob_limit):
                raise LimitError(f"the blob has {size:,} bytes, {self._xrpc.host} takes at most {limit:,}", limit=limit)
            file.seek(start)
            self._check_pause()
            try:
                answer = self._xrpc.upload(
                    "com.atproto.repo.uploadBlob", file, mime_type=mime_type, observe=self._observe
                )
            except XrpcError as error:
                if error.status == 413:
                    limit = BlobLimits().refused(self._xrpc.service, size)
                    raise LimitError(
                        f"{self._xrpc.host} refuses a blob of {size:,} bytes as too large", limit=limit
                    ) from error
                raise
        try:
            blob = Blob.from_json(answer.get("blob"))
        except InvalidRecordError as error:
            raise UnavailableError(f"{self._xrpc.host} took a blob and gave no usable answer: {error}") from error
        if blob.size != size:
            raise IntegrityError(f"{self._xrpc.host} was sent {size:,} bytes and has a blob of {blob.size:,}")
        return blob

    def blob_store(self) -> Store:
        """As `atdata.atproto.repository.Repository.blob_store`. The PDS is the one of the DID document at that time."""
        from atdata.storage.blob import BlobStore

        return BlobStore(self.did, self._resolver.pds, self._transport)

    def _observe(self, headers: Mapping[str, str]) -> None:
        if is_spent(headers) and (wait := wait_asked(headers, now=time.time())):
            self._uploads_from = time.monotonic() + wait

    def _check_pause(self) -> None:
        """Send nothing where the PDS has said that it would be refused."""
        if (left := self._uploads_from - time.monotonic()) > 0:
            raise XrpcError(
                "all uploads that it allows for now have been used",
                status=429,
                error="RateLimitExceeded",
                host=self._xrpc.host,
                retry_after=left,
            )

    def _write(self, method: str, collection: Nsid, value: Mapping[str, Any], key: Mapping[str, str]) -> StrongRef:
        record = {"$type": collection, **value}
        encode_record(record)  # a PDS answers with a 500 to some of the values that no record can hold
        if (size := len(msgspec.json.encode(record))) > self.record_limit:
            raise LimitError(
                f"the record has {size:,} bytes of JSON, at most {self.record_limit:,} are allowed",
                limit=self.record_limit,
            )
        # `validate` is left out: the PDS then checks the lexicons that it knows, and takes the others as they are.
        answer = self._xrpc.procedure(method, {"repo": self.did, "collection": collection, "record": record, **key})
        uri, cid = answer.get("uri"), answer.get("cid")
        if not isinstance(uri, str) or not isinstance(cid, str):
            raise UnavailableError(f"{self._xrpc.host} wrote a record and did not say where")
        return StrongRef(uri, cid)


def _record(answer: Any, host: str) -> Record:
    value, raw, cid = (answer.get(key) if isinstance(answer, dict) else None for key in ("value", "uri", "cid"))
    if not isinstance(value, dict) or not isinstance(raw, str):
        raise UnavailableError(f"{host} answered with something else than a record")
    try:
        uri = parse_at_uri(raw)
    except InvalidSyntaxError as error:
        raise UnavailableError(f"{host} answered with a record without an AT-URI: {error}") from error
    found = str(record_cid(value))
    if cid is not None and cid != found:
        raise IntegrityError(f"{host} says that the record {raw} has the CID {cid}, and its value has {found}")
    return Record(uri, found, value)


def _absent(error: XrpcError, what: str) -> XrpcError | NotFoundError:
    if error.status in (400, 404) and error.error in _ABSENT:
        return NotFoundError(f"{what}: {_ABSENT[error.error]} ({error})")
    return error
