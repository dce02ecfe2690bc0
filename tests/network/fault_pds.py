"""A PDS of another make, or a broken one, as a table: beside the real servers, what the field has and they do not.

`FaultPds` is one account and the directory that knows it: its DID document, its records and its blobs. How it answers
``getBlob`` is a row of `MAKES` (good bytes, in many ways), `LIES` (bytes that are not the blob's) or `SILENCES` (no
bytes at all); any other path can be given an answer of its own. It also keeps sessions, as strictly as any PDS may:
each refresh token serves once.
"""

import gzip
import itertools
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import parse_qs

from tests.storage.faults import Answer, Asked, FaultServer

from atdata.atproto.client import Client
from atdata.atproto.dagcbor import record_cid
from atdata.atproto.local import LOCAL_DID
from atdata.storage.base import read_all
from atdata.storage.union import Blob
from atdata.syntax import Did, Nsid

DID = Did("did:plc:ewvi7nxzyoun6zhxrhs64oiz")
HANDLE = "alice.fault.test"
GET_BLOB = "com.atproto.sync.getBlob"

Row = Callable[[bytes], Answer]


def raw(head: str, *pieces: bytes) -> Answer:
    """An answer byte by byte; the connection ends with it."""
    return Answer(raw=[f"{head}\r\n\r\n".encode(), *pieces])


def chunks(data: bytes) -> Iterator[bytes]:
    """Chunked transfer coding."""
    for at in range(0, len(data), 1000):
        piece = data[at : at + 1000]
        yield b"%x\r\n%s\r\n" % (len(piece), piece)
    yield b"0\r\n\r\n"


def flipped(data: bytes) -> bytes:
    """The bytes with one bit changed in the middle."""
    changed = bytearray(data)
    changed[len(data) // 2] ^= 1
    return bytes(changed)


TAR = {"Content-Type": "application/x-tar"}
HTML = {"Content-Type": "text/html; charset=utf-8"}

MAKES: dict[str, Row] = {
    "reference": lambda blob: Answer(body=blob, ranges=False, headers=TAR),
    "range": lambda blob: Answer(body=blob, etag='"blob"', headers=TAR),
    "range-without-etag": lambda blob: Answer(body=blob),
    "octet-stream": lambda blob: Answer(body=blob, ranges=False, headers={"Content-Type": "application/octet-stream"}),
    "no-type": lambda blob: Answer(body=blob, ranges=False),
    "gzip": lambda blob: Answer(
        body=gzip.compress(blob), ranges=False, headers={"Content-Encoding": "gzip", "Vary": "Accept-Encoding"}
    ),
    "gzip-chunked": lambda blob: raw(
        "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked", *chunks(gzip.compress(blob))
    ),
    "chunked": lambda blob: raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked", *chunks(blob)),
    "http-1.0": lambda blob: raw("HTTP/1.0 200 OK\r\nContent-Type: application/x-tar", blob),
    "until-closed": lambda blob: raw("HTTP/1.1 200 OK\r\nConnection: close", blob),
    "weak-etag": lambda blob: Answer(body=blob, etag='W/"blob"', ranges=False),
}

LIES: dict[str, Row] = {
    "too-few": lambda blob: Answer(body=blob[:-1], ranges=False),
    "too-few-blocks": lambda blob: Answer(body=blob[:512], ranges=False),
    "nothing": lambda blob: Answer(ranges=False),
    "too-many": lambda blob: Answer(body=blob + b"\0" * 512, ranges=False),
    "one-bit": lambda blob: Answer(body=flipped(blob), ranges=False),
    "one-bit-gzip": lambda blob: Answer(
        body=gzip.compress(flipped(blob)), ranges=False, headers={"Content-Encoding": "gzip"}
    ),
    "another-order": lambda blob: Answer(body=blob[512:] + blob[:512], ranges=False),
    "html": lambda blob: Answer(body=b"<!doctype html><title>Sign in</title>" * 200, headers=HTML, ranges=False),
    "json": lambda blob: Answer(body=b'{"error": "InternalServerError"}', ranges=False),
    "endless": lambda blob: Answer(
        raw=itertools.chain([b"HTTP/1.1 200 OK\r\n\r\n", blob], itertools.repeat(bytes(65536)))
    ),
    "bomb": lambda blob: Answer(
        body=gzip.compress(blob + bytes(32 << 20)), ranges=False, headers={"Content-Encoding": "gzip"}
    ),
}

SILENCES: dict[str, Row] = {
    "500": lambda blob: Answer(500, body=b'{"error": "InternalServerError", "message": "Internal Server Error"}'),
    "502-html": lambda blob: Answer(502, body=b"<html>Bad gateway", headers=HTML),
    "cut": lambda blob: Answer(body=blob, cut=10, ranges=False),
    "never": lambda blob: Answer(body=blob, stall=0, ranges=False),
    "no-http": lambda blob: Answer(raw=[b"220 mail.example.com ESMTP\r\n"]),
}


class FaultPds(FaultServer):
    """One account on one server, which is also the PLC directory and knows the handles below ``fault.test``.

    Attributes:
        did: The account.
        handle: Its handle.
        endpoint: The PDS that the DID document names; None for a document without one.
        records: Values by collection and key.
        blobs: Bytes by CID.
        row: How `getBlob` answers.
        instead: Answers that other paths get, such as ``/xrpc/com.atproto.repo.getRecord``.
        sessions: What it keeps of logins.
    """

    def __init__(self) -> None:
        super().__init__({})
        self.did = DID
        self.handle = HANDLE
        self.endpoint: str | None = self.url("", host="localhost")
        self.records: dict[tuple[str, str], dict[str, Any]] = {}
        self.blobs: dict[str, bytes] = {}
        self.row = MAKES["reference"]
        self.instead: dict[str, Answer] = {}
        self.sessions = Sessions()

    def environment(self) -> dict[str, str]:
        """The variables that point atdata at this server."""
        base = self.url("", host="localhost")
        return {"ATDATA_PLC_URL": base, "ATDATA_HANDLE_RESOLVER": f"fault.test={base}", "ATDATA_ALLOW_PRIVATE": "1"}

    def adopt(self, client: Client, *collections: Nsid) -> None:
        """Take over the records of a local repository, and the blobs that they name."""
        assert client.repository is not None
        store = client.repository.blob_store()
        for collection in collections:
            for record in client.repository.list_records(collection):
                text = json.dumps(record.value).replace(LOCAL_DID, self.did)
                self.records[collection, str(record.uri.rkey)] = json.loads(text)
                for blob in _blobs_in(record.value):
                    self.blobs[str(blob.cid)] = read_all(store, str(blob.cid), limit=64 << 20)

    def take(self, asked: Asked) -> Answer:
        """The answer to a request."""
        with self.lock:
            self.asked.append(asked)
        path, _, query = asked.path.partition("?")
        if path in self.instead:
            return self.instead[path]
        if path == f"/{self.did}":
            return said(self._document())
        parameters = {name: values[0] for name, values in parse_qs(query).items()}
        method = path.removeprefix("/xrpc/")
        if answer := self.sessions.answer(method, asked):
            return answer
        if (parameters.get("did") or parameters.get("repo") or self.did) != self.did:
            return refused("RepoNotFound")
        return self._answer(method, parameters)

    def _answer(self, method: str, parameters: Mapping[str, str]) -> Answer:
        match method:
            case "com.atproto.identity.resolveHandle":
                return said({"did": self.did}) if parameters["handle"] == self.handle else refused("InvalidRequest")
            case "com.atproto.server.describeServer":
                return said({"did": "did:web:fault.test", "availableUserDomains": [".fault.test"]})
            case "com.atproto.sync.getRepoStatus":
                return said({"did": self.did, "active": True})
            case "com.atproto.repo.getRecord":
                collection, rkey = parameters["collection"], parameters["rkey"]
                if (collection, rkey) not in self.records:
                    return refused("RecordNotFound")
                return said(self._record(collection, rkey))
            case "com.atproto.repo.listRecords":
                wanted = parameters["collection"]
                return said({"records": [self._record(*key) for key in sorted(self.records) if key[0] == wanted]})
            case "com.atproto.sync.getBlob":
                blob = self.blobs.get(parameters["cid"])
                return self.row(blob) if blob is not None else refused("BlobNotFound")
        return refused("MethodNotImplemented", status=501)

    def _document(self) -> dict[str, Any]:
        service = {"id": "#atproto_pds", "type": "AtprotoPersonalDataServer", "serviceEndpoint": self.endpoint}
        services = [service] if self.endpoint is not None else []
        return {"id": self.did, "alsoKnownAs": [f"at://{self.handle}"], "service": services}

    def _record(self, collection: str, rkey: str) -> dict[str, Any]:
        value = self.records[collection, rkey]
        return {"uri": f"at://{self.did}/{collection}/{rkey}", "cid": str(record_cid(value)), "value": value}


class Sessions:
    """One login, kept strictly: an access token serves ``uses`` requests, a refresh token once.

    Attributes:
        uses: Requests that one access token authorizes; what comes after that is told that it has expired.
        grace: True: a spent refresh token gives once more what it gave, as the reference PDS has it for two hours.
        renewals: How often new tokens were given.
        reused: How often a spent refresh token came.
        writes: Records that were written.
    """

    def __init__(self, *, uses: int = 1_000_000, grace: bool = False) -> None:
        self.uses = uses
        self.grace = grace
        self.renewals = 0
        self.reused = 0
        self.writes = 0
        self._left = uses
        self._number = 0
        self._lock = threading.Condition()

    def answer(self, method: str, asked: Asked) -> Answer | None:
        """The answer to a request that needs a session; None for others."""
        token = asked.headers.get("authorization", "").removeprefix("Bearer ")
        with self._lock:
            match method:
                case "com.atproto.server.createSession":
                    self._left = self.uses
                    return said(self._tokens())
                case "com.atproto.server.refreshSession":
                    return self._renew(token)
                case "com.atproto.server.deleteSession":
                    self._number += 1
                    return Answer()
                case "com.atproto.repo.createRecord":
                    return self._write(token, json.loads(asked.body))
                case _:
                    return None

    def expire(self) -> None:
        """The access token serves no more."""
        with self._lock:
            self._left = 0

    def wait_for(self, writes: int) -> None:
        """Wait until that many records were written."""
        with self._lock:
            assert self._lock.wait_for(lambda: self.writes >= writes, timeout=60)

    def _tokens(self) -> dict[str, str]:
        number = self._number
        return {"did": DID, "handle": HANDLE, "accessJwt": f"access-{number}", "refreshJwt": f"refresh-{number}"}

    def _renew(self, token: str) -> Answer:
        if token == f"refresh-{self._number}":
            self._number += 1
            self.renewals += 1
            self._left = self.uses
            return said(self._tokens())
        self.reused += 1
        if self.grace and token == f"refresh-{self._number - 1}":
            return said(self._tokens())
        return refused("ExpiredToken")

    def _write(self, token: str, body: Mapping[str, Any]) -> Answer:
        if token != f"access-{self._number}" or not self._left:
            return refused("ExpiredToken")
        self._left -= 1
        self.writes += 1
        self._lock.notify_all()
        uri = f"at://{DID}/{body['collection']}/{self.writes}"
        return said({"uri": uri, "cid": str(record_cid(body["record"]))})


def said(value: object) -> Answer:
    """JSON."""
    return Answer(body=json.dumps(value).encode(), headers={"Content-Type": "application/json"})


def refused(error: str, *, status: int = 400, message: str = "no", **headers: str) -> Answer:
    """An error as XRPC has it."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    body = json.dumps({"error": error, "message": message}).encode()
    return Answer(status, body=body, headers={"Content-Type": "application/json", **named})


def _blobs_in(value: Any) -> Iterator[Blob]:
    if isinstance(value, dict):
        if value.get("$type") == "blob":
            yield Blob.from_json(value)
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from _blobs_in(item)
