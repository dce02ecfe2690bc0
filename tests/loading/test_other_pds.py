"""Datasets on PDSes of other make, on lying ones and on silent ones: right samples, or an error in clear words."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.local_client import DATASET, SCHEMA, Digit, digits
from tests.network.fault_pds import DID, HTML, LIES, MAKES, SILENCES, FaultPds, refused, said
from tests.storage.faults import Answer, running, serving

from atdata.atproto.client import Client
from atdata.atproto.identity import Resolver
from atdata.errors import NotFoundError, RefusedError, ShardError, UnavailableError
from atdata.loading.loader import DatasetLoader, load
from atdata.net import Policy, Transport
from atdata.publishing.publisher import DatasetPublisher

QUICK = Policy(allow_private=True, backoff=0.001, read_timeout=0.3, min_rate=0, deadline=2, attempts=2, resumptions=2)
URI = f"at://{DID}/{DATASET}/digits"
BLOB = "/xrpc/com.atproto.sync.getBlob"
RECORD = "/xrpc/com.atproto.repo.getRecord"


def client_of(pds: FaultPds, policy: Policy = QUICK) -> Client:
    """Nobody, who knows the server as directory and resolver of handles."""
    transport = Transport(policy)
    base = pds.url("", host="localhost")
    return Client(
        transport=transport,
        resolver=Resolver(transport, plc=base, handle_resolver={"fault.test": base}, dns=False),
    )


@pytest.fixture
def pds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultPds]:
    """A server with a dataset of ten digits, as one blob."""
    monkeypatch.setenv("ATDATA_HOME", str(tmp_path / "home"))
    local = Client.local(tmp_path / "repository")
    DatasetPublisher(local).publish_dataset(digits(), name="Digits", storage="blobs", rkey="digits")
    with running(FaultPds()) as server:
        server.adopt(local, DATASET, SCHEMA)
        yield server


def labels(uri: str, client: Client) -> list[int]:
    """All samples, in order."""
    return [sample.label for sample in load(uri, Digit, client=client)]


@pytest.mark.parametrize("make", MAKES)
def test_pdses_of_any_make_are_read(pds: FaultPds, make: str) -> None:
    """In order, as batches and one by one, also where a server compresses, cuts into chunks or tells no length."""
    pds.row = MAKES[make]
    dataset = load(URI, Digit, client=client_of(pds))

    assert [sample.label for sample in dataset] == list(range(10))
    assert [int(label) for batch in dataset.batches(4) for label in batch.label] == list(range(10))
    assert [dataset[i].label for i in (9, 0, 5)] == [9, 0, 5]


@pytest.mark.parametrize("make", ["reference", "gzip", "range"])
def test_a_blob_behind_a_redirect_is_read(pds: FaultPds, make: str) -> None:
    """A PDS may send readers on to where its blobs lie."""
    (blob,) = pds.blobs.values()
    with serving({"/blob": [MAKES[make](blob)]}) as cdn:
        pds.row = lambda blob: Answer(302, headers={"Location": cdn.url("/blob")})

        assert labels(URI, client_of(pds)) == list(range(10))


def test_a_redirect_is_checked_like_the_pds(pds: FaultPds) -> None:
    """Not to a private address, unless those are allowed; not in a circle; not to what is no web server."""
    ports = frozenset({f"localhost:{pds.port}"})
    strict = client_of(pds, Policy(private_hosts=ports, upgrade=False, backoff=0.001))
    # Only a private network has PDSes without TLS: the document is read by its rules, the blob by the public ones.
    strict.resolver = client_of(pds).resolver
    with serving({"/blob": [Answer(body=b"reached")]}) as inside:
        pds.row = lambda blob: Answer(302, headers={"Location": inside.url("/blob")})
        with pytest.raises(RefusedError, match="private-address"):
            labels(URI, strict)
        assert inside.asked == []
    for location, rule in ((f"{BLOB}?did={DID}", "redirect-limit"), ("file:///etc/passwd", "redirect-scheme")):
        pds.instead[BLOB] = Answer(302, headers={"Location": location})
        with pytest.raises(RefusedError, match=rule):
            labels(URI, client_of(pds))


@pytest.mark.parametrize("lie", LIES)
def test_wrong_bytes_never_become_samples(pds: FaultPds, lie: str) -> None:
    """Too few, too many, endless, changed or something else: an error, and not one sample, however one reads."""
    pds.row = LIES[lie]
    dataset = load(URI, Digit, client=client_of(pds))
    seen: list[object] = []

    for read in (lambda: dataset, lambda: dataset.batches(4), lambda: (dataset[i] for i in (3,))):
        with pytest.raises((ShardError, UnavailableError)):
            seen.extend(read())

    assert seen == []


def test_another_blob_of_the_repository_is_a_wrong_one(pds: FaultPds, tmp_path: Path) -> None:
    """A whole valid shard under the wrong CID is no better than noise."""
    local = Client.local(tmp_path / "other")
    DatasetPublisher(local).publish_dataset(digits(5), name="Others", storage="blobs", rkey="others")
    wanted = list(pds.blobs)
    pds.adopt(local, DATASET)
    (other,) = (blob for cid, blob in pds.blobs.items() if cid not in wanted)
    pds.row = lambda blob: Answer(body=other, ranges=False)

    with pytest.raises(ShardError):
        labels(URI, client_of(pds))


@pytest.mark.parametrize("silence", SILENCES)
def test_a_pds_that_gives_nothing_is_unavailable(pds: FaultPds, silence: str) -> None:
    """Broken, cut, or never: an error within the limits of time, which names the server."""
    pds.row = SILENCES[silence]

    with pytest.raises(UnavailableError, match=f"localhost:{pds.port}"):
        labels(URI, client_of(pds))


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        (Answer(body=b"<html>Sign in", headers=HTML), UnavailableError, "does not answer as an ATProto server does"),
        (Answer(500, body=b"<html>", headers=HTML), UnavailableError, "out of order: 500"),
        (Answer(body=b"{}", stall=1), UnavailableError, "no answer in time"),
        (said({"uri": URI, "cid": "bafy", "value": 7}), UnavailableError, "something else than a record"),
        (refused("RecordNotFound"), NotFoundError, "there is no such record"),
        (Answer(302, headers={"Location": "https://localhost:1/"}), UnavailableError, "Connection refused"),
    ],
    ids=["html", "500", "never", "no-record", "deleted", "redirect"],
)
def test_a_record_that_is_not_to_be_had(pds: FaultPds, answer: Answer, error: type[Exception], words: str) -> None:
    """Each has its own error, before any blob is asked for."""
    pds.instead[RECORD] = answer

    with pytest.raises(error, match=words):
        load(URI, client=client_of(pds))
    assert not any(asked.path.startswith(BLOB) for asked in pds.asked)


def test_a_document_without_a_pds_is_said_so(pds: FaultPds) -> None:
    """Also one whose PDS is no https address: plain http is for private networks."""
    pds.endpoint = None
    with pytest.raises(NotFoundError, match="names no PDS"):
        load(URI, client=client_of(pds))
    pds.endpoint = "http://127.0.0.1:2583"
    with pytest.raises(NotFoundError, match="names no PDS with an https address"):
        load(URI, client=client_of(pds, Policy(private_hosts=frozenset({f"localhost:{pds.port}"}), upgrade=False)))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "169.254.169.254", "10.0.0.1", "0.0.0.0"])
def test_a_document_with_a_private_pds_is_refused(pds: FaultPds, host: str) -> None:
    """Whatever one writes into a DID document, readers reach no private address by it."""
    pds.endpoint = f"https://{host}"
    policy = Policy(private_hosts=frozenset({f"localhost:{pds.port}"}), upgrade=False, backoff=0.001)

    with pytest.raises(RefusedError, match="private-address"):
        load(URI, client=client_of(pds, policy))


def test_a_record_deleted_while_it_is_loaded(pds: FaultPds) -> None:
    """The dataset was opened, then its owner deleted it, and its blob went with it."""
    dataset = load(URI, Digit, client=client_of(pds))
    pds.records.clear()
    pds.blobs.clear()

    with pytest.raises(NotFoundError, match=rf"the record {URI} was deleted, and a blob is kept only while"):
        list(dataset)


def test_a_dataset_is_read_on_after_its_repository_moved(pds: FaultPds) -> None:
    """Opened at one PDS, read at another, by one client: the DID document is read again when it is needed."""
    client = client_of(pds)
    dataset = load(URI, Digit, client=client)
    with running(FaultPds()) as new:
        new.records, new.blobs = pds.records, dict(pds.blobs)
        pds.endpoint = new.url("", host="localhost")
        pds.blobs = {}

        assert [sample.label for sample in dataset] == list(range(10))
        pds.instead[RECORD] = refused("RepoDeactivated")
        assert labels(URI, client) == list(range(10))
        (entry,) = DatasetLoader(client).list_datasets(DID)
        assert str(entry.uri) == URI
