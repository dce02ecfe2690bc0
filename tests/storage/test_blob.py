"""Blobs of a PDS: its error names in clear words, cuts survived without Range."""

import hashlib
import json

import pytest
from tests.storage.faults import Answer, serving

from atdata.errors import InvalidSyntaxError, NotFoundError, UnavailableError, XrpcError
from atdata.net import Policy, Transport
from atdata.storage.base import read_all
from atdata.storage.blob import BlobStore
from atdata.syntax import parse_did, raw_cid

DID = parse_did("did:plc:ewvi7nxzyoun6zhxrhs64oiz")
CID = str(raw_cid(hashlib.sha256(b"blob").digest()))
PATH = "/xrpc/com.atproto.sync.getBlob"
TRANSPORT = Transport(Policy(allow_private=True, backoff=0.001))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("BlobNotFound", "only while a record"),
        ("RepoNotFound", "no repository"),
        ("RepoTakendown", "taken down"),
        ("RepoSuspended", "suspended"),
        ("RepoDeactivated", "deactivated"),
    ],
)
def test_missing_blobs_are_not_found(name: str, words: str) -> None:
    """A PDS says 400 for all of them; by the name we know better."""
    body = json.dumps({"error": name, "message": "whatever"}).encode()
    with serving({PATH: [Answer(400, body=body)]}) as server:
        store = BlobStore(DID, lambda did: server.url(""), TRANSPORT)
        for act in (store.open, store.size):
            with pytest.raises(NotFoundError, match=words) as caught:
                act(CID)
            assert name in str(caught.value)


def test_other_errors_keep_their_name() -> None:
    """What we do not know is said as the server said it."""
    body = b'{"error":"InvalidRequest","message":"cid must be a cid"}'
    with serving({PATH: [Answer(400, body=body)]}) as server:
        with pytest.raises(XrpcError, match="InvalidRequest: cid must be") as caught:
            BlobStore(DID, lambda did: server.url(""), TRANSPORT).open(CID)
        assert (caught.value.status, caught.value.error) == (400, "InvalidRequest")


@pytest.mark.parametrize("body", [b"<html>Bad gateway", b"", b"[1]", b'{"error": ', b"\xff", b"[" * 60_000])
@pytest.mark.parametrize("status", [400, 502])
def test_what_is_no_xrpc_answer_is_unavailable(status: int, body: bytes) -> None:
    """HTML of a proxy, and worse."""
    with serving({PATH: [Answer(status, body=body)]}) as server, pytest.raises(UnavailableError, match=str(status)):
        BlobStore(DID, lambda did: server.url(""), TRANSPORT).open(CID)


def test_a_cut_blob_goes_on_without_range() -> None:
    """The bytes of a CID never change, so the beginning is passed over."""
    rows = [Answer(body=b"blob", cut=2, ranges=False), Answer(body=b"blob", ranges=False)]
    with serving({PATH: rows}) as server:
        assert read_all(BlobStore(DID, lambda did: server.url("/"), TRANSPORT), CID, limit=4) == b"blob"
        assert server.asked[0].path == f"{PATH}?did={DID}&cid={CID}"


def test_paths_are_cids() -> None:
    """Anything else never gets into a URL."""
    store = BlobStore(DID, lambda did: pytest.fail("a PDS was looked up"), TRANSPORT)
    with pytest.raises(InvalidSyntaxError):
        store.open("../../admin?cid=x")
