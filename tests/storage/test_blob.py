"""Blobs of a PDS: its error names in clear words, cuts survived without Range."""

import hashlib
import json

import pytest
from tests.storage.faults import Answer, serving

from atdata.errors import InvalidSyntaxError, NotFoundError, UnavailableError, XrpcError
from atdata.net import Policy, Transport
from atdata.storage.base import read_all
from atdata.storage.blob import BlobStore
from atdata.storage.home import FindPds
from atdata.syntax import Did, parse_at_uri, parse_did, raw_cid

DID = parse_did("did:plc:ewvi7nxzyoun6zhxrhs64oiz")
CID = str(raw_cid(hashlib.sha256(b"blob").digest()))
PATH = "/xrpc/com.atproto.sync.getBlob"
TRANSPORT = Transport(Policy(allow_private=True, backoff=0.001))


def at(*bases: str) -> FindPds:
    """Finds a PDS at the first base; each time that it is asked anew, at the next one."""
    left = list(bases)

    def find_pds(did: Did, *, fresh: bool = False) -> str:
        if fresh and len(left) > 1:
            left.pop(0)
        return left[0]

    return find_pds


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("BlobNotFound", "only while a record"),
        ("RepoNotFound", "does not have this repository"),
        ("RepoTakendown", "taken the account down"),
        ("RepoSuspended", "suspended"),
        ("RepoDeactivated", "deactivated"),
    ],
)
def test_missing_blobs_are_not_found(name: str, words: str) -> None:
    """A PDS says 400 for all of them; by the name we know better."""
    body = json.dumps({"error": name, "message": "whatever"}).encode()
    with serving({PATH: [Answer(400, body=body)]}) as server:
        store = BlobStore(DID, at(server.url("")), TRANSPORT)
        for act in (store.open, store.size):
            with pytest.raises(NotFoundError, match=words) as caught:
                act(CID)
            assert str(DID) in str(caught.value) or CID in str(caught.value)


def test_other_errors_keep_their_name() -> None:
    """What we do not know is said as the server said it."""
    body = b'{"error":"InvalidRequest","message":"cid must be a cid"}'
    with serving({PATH: [Answer(400, body=body)]}) as server:
        with pytest.raises(XrpcError, match="InvalidRequest: cid must be") as caught:
            BlobStore(DID, at(server.url("")), TRANSPORT).open(CID)
        assert (caught.value.status, caught.value.error) == (400, "InvalidRequest")


@pytest.mark.parametrize("body", [b"<html>Bad gateway", b"", b"[1]", b'{"error": ', b"\xff", b"[" * 60_000])
@pytest.mark.parametrize("status", [400, 502])
def test_what_is_no_xrpc_answer_is_unavailable(status: int, body: bytes) -> None:
    """HTML of a proxy, and worse."""
    with serving({PATH: [Answer(status, body=body)]}) as server, pytest.raises(UnavailableError, match=str(status)):
        BlobStore(DID, at(server.url("")), TRANSPORT).open(CID)


def test_a_cut_blob_goes_on_without_range() -> None:
    """The bytes of a CID never change, so the beginning is passed over."""
    rows = [Answer(body=b"blob", cut=2, ranges=False), Answer(body=b"blob", ranges=False)]
    with serving({PATH: rows}) as server:
        assert read_all(BlobStore(DID, at(server.url("/")), TRANSPORT), CID, limit=4) == b"blob"
        assert server.asked[0].path == f"{PATH}?did={DID}&cid={CID}"


STATUS = "/xrpc/com.atproto.sync.getRepoStatus"
RECORD = "/xrpc/com.atproto.repo.getRecord"
URI = parse_at_uri(f"at://{DID}/app.bsky.atdata.dataset/3k2a")


def told(error: str, status: int = 400) -> Answer:
    """An error as a PDS names it."""
    return Answer(status, body=json.dumps({"error": error, "message": "whatever"}).encode())


@pytest.mark.parametrize(
    ("status", "error", "words"),
    [
        ({"active": False, "status": "takendown"}, NotFoundError, "taken the account down.*another copy"),
        ({"active": False, "status": "suspended"}, NotFoundError, "suspended"),
        ({"active": False, "status": "deactivated"}, NotFoundError, "comes back when the owner activates it"),
        ({"active": False, "status": "deleted"}, NotFoundError, "was deleted"),
        ({"active": False, "status": "desynchronized"}, UnavailableError, "behind with this repository"),
        ({"active": False, "status": "throttled"}, UnavailableError, "less often"),
        ({"active": False, "status": "unheard of"}, XrpcError, "InvalidRequest"),
        ({"active": False}, XrpcError, "InvalidRequest"),
        ({"active": True}, XrpcError, "InvalidRequest"),
        ({"error": "RepoNotFound"}, NotFoundError, "does not have this repository"),
        ([], XrpcError, "InvalidRequest"),
    ],
)
def test_the_state_of_the_repository_explains(status: object, error: type[Exception], words: str) -> None:
    """What a PDS refuses without a reason is explained by what it says of the account, where it says something."""
    answer = Answer(body=json.dumps(status).encode())
    with (
        serving({PATH: [told("InvalidRequest")], STATUS: [answer]}) as server,
        pytest.raises(error, match=words),
    ):
        BlobStore(DID, at(server.url("")), TRANSPORT).open(CID)


@pytest.mark.parametrize(
    ("record", "words"),
    [
        (Answer(body=b"{}"), "taken it down or lost it; ask the publisher"),
        (told("RecordNotFound"), "dataset/3k2a was deleted, and a blob is kept only while"),
        (told("InvalidRequest"), "only while a record of its repository names it, and a PDS may take it down"),
        (Answer(502), "a PDS may take it down"),
    ],
)
def test_a_missing_blob_is_explained_by_its_record(record: Answer, words: str) -> None:
    """A dataset that was deleted meanwhile, and a blob that the PDS keeps back, are told apart."""
    with (
        serving({PATH: [told("BlobNotFound")], RECORD: [record]}) as server,
        pytest.raises(NotFoundError, match=words),
    ):
        BlobStore(DID, at(server.url("")), TRANSPORT, record=URI).open(CID)


@pytest.mark.parametrize(
    "left",
    [
        told("RepoNotFound"),
        told("RepoDeactivated"),
        told("BlobNotFound"),
        Answer(404),
        Answer(403),
        Answer(502, body=b"<html>"),
        Answer(body=b"blob", cut=2),
        Answer(raw=[b"no HTTP"]),
    ],
    ids=["not-found", "deactivated", "no-blob", "404", "403", "502", "cut", "no-http"],
)
def test_reading_goes_on_where_the_repository_has_moved(left: Answer) -> None:
    """Whatever the old PDS answers, the DID document is read again, and the new PDS gives the rest."""
    with serving({PATH: [left]}) as old, serving({PATH: [Answer(body=b"blob", ranges=False)]}) as new:
        store = BlobStore(DID, at(old.url(""), new.url("")), Transport(Policy(allow_private=True, backoff=0.0001)))

        assert read_all(store, CID, start=1, limit=4) == b"lob"


def test_reading_goes_on_in_the_middle_of_a_blob() -> None:
    """The old PDS cuts the stream and then is gone: the rest comes from the new one."""
    gone = told("RepoDeactivated")
    with serving({PATH: [Answer(body=b"blob", cut=2), gone]}) as old, serving({PATH: [Answer(body=b"blob")]}) as new:
        store = BlobStore(DID, at(old.url(""), new.url("")), TRANSPORT)

        assert read_all(store, CID, limit=4) == b"blob"
        assert len(new.asked) == 1
        assert store.size(CID) == 4


def test_a_repository_that_moves_for_ever_is_given_up() -> None:
    """Two servers that cut and point at each other hold nobody up."""
    rows = {PATH: [Answer(body=b"blob", cut=1, ranges=False)]}
    policy = Policy(allow_private=True, backoff=0.0001, resumptions=1)
    with serving(rows) as one, serving(rows) as two:
        bases = [one.url(""), two.url("")] * 10

        with pytest.raises(UnavailableError, match="ended at byte"):
            read_all(BlobStore(DID, at(*bases), Transport(policy)), CID, limit=4)

        assert len(one.asked) + len(two.asked) < 20


def test_a_document_that_nobody_gives_hides_no_error() -> None:
    """What the PDS said is told, where the DID document can't be read again; that the account is gone, is told."""
    errors = iter([UnavailableError("the directory is down"), NotFoundError("the account was deleted")])

    def find_pds(did: Did, *, fresh: bool = False) -> str:
        if fresh:
            raise next(errors)
        return server.url("")

    with serving({PATH: [told("RepoDeactivated")]}) as server:
        store = BlobStore(DID, find_pds, TRANSPORT)
        with pytest.raises(NotFoundError, match="deactivated"):
            store.open(CID)
        with pytest.raises(NotFoundError, match="the account was deleted"):
            store.open(CID)


def test_paths_are_cids() -> None:
    """Anything else never gets into a URL."""
    store = BlobStore(DID, lambda did, **_: pytest.fail("a PDS was looked up"), TRANSPORT)
    with pytest.raises(InvalidSyntaxError):
        store.open("../../admin?cid=x")
