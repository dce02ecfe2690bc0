"""Blobs of a repository as a store, read from the PDS on which it lies at that time.

The reference PDS answers ``getBlob`` without Range and without ETag. The bytes behind a CID never change, so a cut read
may start anew and pass over what it has, also on another PDS, to which the repository has moved meanwhile; whether they
are the right bytes, `atdata.storage.verified` checks.
Source: https://docs.bsky.app/docs/api/com-atproto-sync-get-blob
"""

import json
from collections.abc import Callable
from typing import NoReturn
from urllib.parse import quote

from atdata.errors import AtdataError, NotFoundError, UnavailableError, XrpcError
from atdata.net import Response, Transport
from atdata.storage.base import Stream
from atdata.storage.home import PERHAPS_MOVED, FindPds, Home
from atdata.syntax import AtUri, Cid, Did, parse_cid

_MOVES = 3  # of a repository, while one blob is read
_KEPT = "a blob is kept only while a record of its repository names it"
_NO_BLOB = "BlobNotFound"  # in the lexicon of com.atproto.sync.getBlob


class BlobStore:
    """Reads blobs of one repository. A path is the CID of a blob.

    Args:
        did: Whose blobs they are.
        find_pds: Gives the base URL of the PDS of a DID.
        transport: Over which they are fetched.
        record: That names the blobs: where one is missing, it is asked whether it is still there.

    Attributes:
        ranges: False: a PDS sends a blob from its start, so a range costs as much as all that is before it.
    """

    ranges = False

    def __init__(self, did: Did, find_pds: FindPds, transport: Transport, *, record: AtUri | None = None) -> None:
        self._home = Home(did, find_pds, transport)
        self._did = did
        self._transport = transport
        self._record = record

    def open(self, path: str, *, start: int = 0, stop: int | None = None) -> Stream:
        """Stream a blob; see `Store.open`.

        Raises:
            NotFoundError: The PDS does not give the blob, or not the repository any more; the message says why.
            InvalidSyntaxError: ``path`` is not a CID.
        """
        cid = parse_cid(path)
        return _BlobStream(self._home, lambda pds, at: self._open_at(pds, cid, at, stop), start)

    def size(self, path: str) -> int:
        """Length of a blob, in bytes. Raises as `open` does."""
        cid = parse_cid(path)
        return self._home.visit(lambda pds: self._size_at(pds, cid))

    def _size_at(self, pds: str, cid: Cid) -> int:
        try:
            return self._transport.head_size(self._url(pds, cid), explain=_explain)
        except XrpcError as error:
            self._raise(error, pds, cid)

    def _open_at(self, pds: str, cid: Cid, start: int, stop: int | None) -> Stream:
        try:
            return self._transport.open(self._url(pds, cid), start=start, stop=stop, immutable=True, explain=_explain)
        except XrpcError as error:
            self._raise(error, pds, cid)

    def _url(self, pds: str, cid: Cid) -> str:
        query = f"did={quote(self._did, safe=':')}&cid={cid}"  # quoted, since a did:web may hold %3A
        return f"{pds.rstrip('/')}/xrpc/com.atproto.sync.getBlob?{query}"

    def _raise(self, error: XrpcError, pds: str, cid: Cid) -> NoReturn:
        """Raise the error, or why a blob is not there where it says that."""
        if error.error != _NO_BLOB:
            raise error
        there = self._home.has_record(pds, self._record) if self._record is not None else None
        why = f"{_KEPT}, and a PDS may take it down"
        if there is False:
            why = f"the record {self._record} was deleted, and {_KEPT}"
        elif there:
            why = (
                f"the record {self._record} names it, but the PDS has taken it down or lost it; ask the publisher, or "
                "look for another copy"
            )
        raise NotFoundError(f"{error.host} has no blob {cid}: {why}") from error


class _BlobStream:
    """A blob, read on at another PDS where its repository moves away in the middle. A `Stream`."""

    def __init__(self, home: Home, open_at: Callable[[str, int], Stream], start: int) -> None:
        self._home = home
        self._open_at = open_at
        self._position = start
        self._moves = 0
        self._pds, self._stream = home.visit(lambda pds: (pds, open_at(pds, start)))

    def readinto(self, buffer: memoryview, /) -> int:
        """As `Stream.readinto`."""
        while True:
            try:
                count = self._stream.readinto(buffer)
            except PERHAPS_MOVED as error:
                self._go_on_elsewhere(error)
            else:
                self._position += count
                return count

    def close(self) -> None:
        """Release the connection. May be called twice."""
        self._stream.close()

    def _go_on_elsewhere(self, error: AtdataError) -> None:
        self._moves += 1
        moved = self._home.moved_from(self._pds) if self._moves <= _MOVES else None
        if moved is None:
            self._home.raise_explained(self._pds, error)
        self._stream.close()
        self._pds, self._stream = moved, self._open_at(moved, self._position)


def _explain(response: Response) -> AtdataError | None:
    """The error that a PDS names; None where it does not answer as one."""
    try:
        answer = json.loads(response.body)
        name, message = str(answer["error"]), str(answer.get("message", ""))
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    if (name, message) == ("InvalidRequest", "Blob not found"):
        name = _NO_BLOB  # the reference PDS (0.5.35) has no name for it
    host = response.url.split("/")[2]
    if response.status >= 500 or response.status == 429:
        return UnavailableError(f"{host} answered {response.status} {name[:100]} instead of a blob")
    return XrpcError(message[:300], status=response.status, error=name[:100], host=host)
