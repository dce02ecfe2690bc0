"""Blobs of a repository as a store, read from its PDS. Which PDS that is, the caller's ``resolve`` says.

A PDS answers ``getBlob`` without Range and without ETag. The bytes behind a CID never change, so a cut read may start
anew and pass over what it has; whether they are the right ones, `atdata.storage.verified` checks.
Source: https://docs.bsky.app/docs/api/com-atproto-sync-get-blob
"""

import json
from collections.abc import Callable
from urllib.parse import quote

from atdata.errors import AtdataError, NotFoundError, UnavailableError, XrpcError
from atdata.net import Response, Transport
from atdata.storage.base import Stream
from atdata.syntax import Did, parse_cid

# Names of errors that say that the blob is not to be had, from the lexicon of com.atproto.sync.getBlob.
_GONE = {
    "BlobNotFound": "the PDS has no blob {cid}; a blob is kept only while a record of its repository names it",
    "RepoNotFound": "the PDS has no repository {did}",
    "RepoTakendown": "the repository {did} has been taken down",
    "RepoSuspended": "the repository {did} is suspended",
    "RepoDeactivated": "the repository {did} has been deactivated by its owner",
}


class BlobStore:
    """Reads blobs of one repository. A path is the CID of a blob.

    Args:
        did: Whose blobs they are.
        resolve: Gives the base URL of the PDS of a DID, as the DID document names it now. Must be picklable where the
            store is pickled.
        transport: Over which they are fetched.

    Attributes:
        ranges: False: a PDS sends a blob from its start, so a range costs as much as all that is before it.
    """

    ranges = False

    def __init__(self, did: Did, resolve: Callable[[Did], str], transport: Transport) -> None:
        self._did = did
        self._resolve = resolve
        self._transport = transport

    def open(self, path: str, *, start: int = 0, stop: int | None = None) -> Stream:
        """Stream a blob; see `Store.open`.

        Raises:
            NotFoundError: The PDS does not have the blob, or not the repository any more.
            InvalidSyntaxError: ``path`` is not a CID.
        """
        url = self._url(path)
        return self._transport.open(url, start=start, stop=stop, immutable=True, explain=self._explain(path))

    def size(self, path: str) -> int:
        """Length of a blob, in bytes."""
        return self._transport.head_size(self._url(path), explain=self._explain(path))

    def _url(self, cid: str) -> str:
        query = f"did={quote(self._did, safe=':')}&cid={parse_cid(cid)}"  # quoted, since a did:web may hold %3A
        pds = self._resolve(self._did).rstrip("/")
        return f"{pds}/xrpc/com.atproto.sync.getBlob?{query}"

    def _explain(self, cid: str) -> Callable[[Response], AtdataError | None]:
        def explain(response: Response) -> AtdataError | None:
            try:
                answer = json.loads(response.body)
                name, message = str(answer["error"]), str(answer.get("message", ""))
            except (ValueError, KeyError, TypeError, RecursionError):
                return None
            if (name, message) == ("InvalidRequest", "Blob not found"):
                name = "BlobNotFound"  # the reference PDS (0.5.35) has no name for it
            if name in _GONE:
                return NotFoundError(_GONE[name].format(cid=cid, did=self._did) + f" ({name})")
            if response.status >= 500 or response.status == 429:
                return UnavailableError(f"blob {cid}: the PDS answered {response.status} {name}")
            host = response.url.split("/")[2]
            return XrpcError(message[:300], status=response.status, error=name[:100], host=host)

        return explain
