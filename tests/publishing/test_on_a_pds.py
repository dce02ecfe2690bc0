"""Publishing on a real PDS: its limits, its waits, its restarts; and what comes of kill -9."""

import json
import random
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.local_client import DATASET, LIST, Digit
from tests.network.further import FurtherPds
from tests.network.plugin import Account, Network
from tests.publishing.kills import ATDATA, Noise, environment, login, publish_under_kills, write_noise
from tests.publishing.proxy import Answer, PdsProxy, failure

import atdata.atproto.manifest
import atdata.atproto.place_checks
from atdata.atproto.client import Client
from atdata.atproto.records import read_dataset
from atdata.data.writer import WrittenShard, write_samples
from atdata.errors import AuthenticationError, LimitError, RefusedError, XrpcError
from atdata.loading.loader import load
from atdata.publishing.describe import Description, Options
from atdata.publishing.publisher import DatasetPublisher
from atdata.storage.union import BlobStorage
from atdata.syntax import parse_at_uri

LIMIT = 5 << 20  # bytes; what the reference PDS takes as one blob by default
UPLOAD, DESCRIBE = "com.atproto.repo.uploadBlob", "com.atproto.server.describeServer"


@pytest.fixture(scope="module")
def small_pds(network: Network, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FurtherPds]:
    """A PDS with the default limit, which tests may kill and must start again."""
    with FurtherPds(network.plc, tmp_path_factory.mktemp("small"), options=("--blob-limit", str(LIMIT))) as server:
        yield server


@pytest.fixture
def account(small_pds: FurtherPds, online: Network, monkeypatch: pytest.MonkeyPatch) -> Account:
    """A fresh account there; the environment knows the server."""
    resolver = f"{small_pds.pds.domain}={small_pds.pds.url}"
    monkeypatch.setenv("ATDATA_HANDLE_RESOLVER", resolver)
    return small_pds.account()


def logged_in(account: Account, service: str | None = None) -> Client:
    """A client of the account, by ``service`` where it stands before the PDS."""
    return Client.login(account.handle, account.password, pds=service)


@pytest.fixture
def large(tmp_path: Path) -> list[WrittenShard]:
    """Two shards of about 8 MB, and a small one."""
    rng = np.random.default_rng(0)
    samples = (Digit(rng.integers(0, 256, (1000, 1000), np.uint8), number) for number in range(16))
    small = (Digit(np.full((2, 2), number, np.uint8), number) for number in range(16, 18))
    return [
        *write_samples(samples, tmp_path / "large-%d.tar", shard_samples=8),
        *write_samples(small, tmp_path / "small-%d.tar", shard_samples=8),
    ]


def labels(uri: str) -> list[int]:
    """What the samples say, read without an account."""
    return [digit.label for digit in load(uri, Digit, client=Client.anonymous())]


def test_shards_above_the_limit_are_cut(account: Account, large: list[WrittenShard]) -> None:
    """Announced with both numbers; every sample in order, splits where they were; refused where it is not wanted."""
    publisher = DatasetPublisher(logged_in(account))
    paths = [shard.path for shard in large]
    told: list[str] = []

    with pytest.raises(LimitError, match=r"large-0\.tar has 8,.* at most 5,242,880.*reshard"):
        publisher.publish_dataset(paths, "Large", storage="blobs", reshard=False)
    uri = publisher.publish_dataset(
        paths, "Large", splits={"train": (0, 2), "test": (2, 3)}, announce=told.append, sample_type=Digit
    )

    record = read_dataset(Client.anonymous().get_record(parse_at_uri(uri)).value)
    assert record.shards is not None
    assert len(record.shards) == 5
    assert max(shard.bytes or 0 for shard in record.shards) <= LIMIT
    assert [(split.name, split.start, split.end) for split in record.splits] == [("train", 0, 4), ("test", 4, 5)]
    assert [text for text in told if "cut" in text] == [
        "2 of 3 shards are larger than the 5,242,880 bytes that the repository takes as one blob, and have been cut "
        "between samples: 3 shards become 5"
    ]
    assert labels(uri) == list(range(18))


def test_a_sample_above_the_limit_is_named(account: Account, tmp_path: Path) -> None:
    """It can't be cut: nothing is uploaded."""
    shards = write_samples([Digit(np.zeros((3000, 2000), np.uint8), 0)], tmp_path / "%d.tar")

    with pytest.raises(LimitError, match="the sample '000000-00000000'"):
        DatasetPublisher(logged_in(account)).publish_dataset(shards, "Large", sample_type=Digit)


def hidden_limit(method: str, before: int, answer: Answer | None) -> Answer | None:
    """A PDS that does not tell its limit."""
    if method != DESCRIBE or answer is None:
        return None
    status, headers, content = answer
    value = json.loads(content)
    value.pop("blobUploadLimit", None)
    return status, headers, json.dumps(value).encode()


def test_a_limit_that_is_not_told_is_learnt(account: Account, large: list[WrittenShard], small_pds: FurtherPds) -> None:
    """From one refusal, before anything else is sent; the next publish knows it."""
    told: list[str] = []
    with PdsProxy(small_pds.pds.url, hidden_limit) as proxy:
        publisher = DatasetPublisher(logged_in(account, proxy.url))
        uri = publisher.publish_dataset(large, "Large", sample_type=Digit, announce=told.append)
        uploads = proxy.calls.count(UPLOAD)
        publisher = DatasetPublisher(logged_in(account, proxy.url))
        publisher.publish_dataset(large, "Again", sample_type=Digit)
        later = proxy.calls.count(UPLOAD) - uploads

    assert labels(uri) == list(range(18))
    assert any("its limit is taken to be 5,242,880" in text for text in told)
    assert 6 <= uploads <= 8
    assert later == 5


def test_a_spent_limit_is_waited_for(account: Account, large: list[WrittenShard], small_pds: FurtherPds) -> None:
    """The server says that nothing is left, or 429: the wait is shown, and no upload is in vain."""

    def change(method: str, before: int, answer: Answer | None) -> Answer | None:
        if method != UPLOAD:
            return None
        if before == 2 and answer is None:
            return failure(429, "RateLimitExceeded", Retry_After="1")
        if before == 0 and answer is not None:
            status, headers, content = answer
            spent = {"RateLimit-Remaining": "0", "RateLimit-Reset": "1", "RateLimit-Policy": "1000;w=86400"}
            return status, headers | spent, content
        return None

    told: list[str] = []
    with PdsProxy(small_pds.pds.url, change) as proxy:
        publisher = DatasetPublisher(logged_in(account, proxy.url))
        options = Options(announce=told.append, sample_type=Digit, uploads=1)
        with publisher.prepared(large, Description("Waits"), options) as prepared:
            uri = prepared.publish()

    assert labels(uri) == list(range(18))
    assert [text for text in told if text.startswith("rate limit of the server: waiting until ")]
    assert proxy.calls.count(UPLOAD) == 6


def test_a_429_for_an_hour_says_how_to_go_on(
    account: Account, large: list[WrittenShard], small_pds: FurtherPds
) -> None:
    """What is uploaded by then is not sent again, by the same command an hour later."""

    def change(method: str, before: int, answer: Answer | None) -> Answer | None:
        is_refused = method == UPLOAD and before >= 2 and answer is None
        return failure(429, "RateLimitExceeded", Retry_After="3600") if is_refused else None

    with PdsProxy(small_pds.pds.url, change) as proxy:
        publisher = DatasetPublisher(logged_in(account, proxy.url))
        with pytest.raises(XrpcError, match="429") as caught:
            publisher.publish_dataset(large, "Hour", sample_type=Digit)
    with PdsProxy(small_pds.pds.url, lambda *_: None) as proxy:
        publisher = DatasetPublisher(logged_in(account, proxy.url))
        options = Options(sample_type=Digit)
        with publisher.prepared(large, Description("Hour"), options, dry_run=True) as prepared:
            plan = prepared.plan()
        uri = publisher.publish_dataset(large, "Hour", sample_type=Digit)

    notes = " ".join(caught.value.__notes__)
    assert "longer than the 15 minutes" in notes
    assert "2 of 5 blobs are uploaded: run the same command again" in notes
    assert str(plan.uri) == uri
    assert proxy.calls.count(UPLOAD) == 3
    assert labels(uri) == list(range(18))
    assert len(list(logged_in(account).list_records(parse_at_uri(uri).authority, DATASET))) == 1  # type: ignore[arg-type]  # a DID


def test_an_answer_that_is_lost_makes_no_second_record(
    account: Account, large: list[WrittenShard], small_pds: FurtherPds
) -> None:
    """The PDS has written the record and its answer is a 502: it is looked for, and found."""
    create = "com.atproto.repo.createRecord"

    def change(method: str, before: int, answer: Answer | None) -> Answer | None:
        return (502, {"Content-Type": "text/html"}, b"<html>") if method == create and answer is not None else None

    with PdsProxy(small_pds.pds.url, change) as proxy:
        uri = DatasetPublisher(logged_in(account, proxy.url)).publish_dataset(large[2:], "Once", sample_type=Digit)

    client = logged_in(account)
    assert client.did is not None
    assert [str(record.uri) for record in client.list_records(client.did, DATASET)] == [uri]
    assert proxy.calls.count(create) == 2  # schema and dataset


def test_a_blob_that_was_collected_is_uploaded_again(
    account: Account, large: list[WrittenShard], small_pds: FurtherPds
) -> None:
    """The PDS says which one it has dropped; that one is sent again, and no other."""
    cid = str(large[2].shard.cid)

    def change(method: str, before: int, answer: Answer | None) -> Answer | None:
        if method == "com.atproto.repo.createRecord" and before in (1, 2) and answer is None:
            return failure(400, "BlobNotFound", f"Could not find blob: {cid}")
        return None

    with PdsProxy(small_pds.pds.url, change) as proxy:
        uri = DatasetPublisher(logged_in(account, proxy.url)).publish_dataset(large, "Lost", sample_type=Digit)

    assert labels(uri) == list(range(18))
    assert proxy.calls.count(UPLOAD) == 5 + 1


def test_lists_pin_what_does_not_fit(
    account: Account, tmp_path: Path, small_pds: FurtherPds, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Broken off in the middle: lists that are complete are there, and are those of the record in the end."""
    monkeypatch.setattr(atdata.atproto.manifest, "MAX_RECORD_BYTES", 3_000)
    for module in (atdata.atproto.manifest, atdata.atproto.place_checks):
        monkeypatch.setattr(module, "BLOBS_PER_LIST", 8)
    shards = write_noise(tmp_path / "many", shards=30, shard_bytes=2_000)
    names = [shard.path for shard in shards]

    def change(method: str, before: int, answer: Answer | None) -> Answer | None:
        return failure(429, "RateLimitExceeded", Retry_After="3600") if method == UPLOAD and before > 18 else None

    with PdsProxy(small_pds.pds.url, change) as proxy:
        publisher = DatasetPublisher(logged_in(account, proxy.url))
        with pytest.raises(XrpcError):
            publisher.publish_dataset(names, "Lists", sample_type=dict)
        client = logged_in(account)
        assert client.did is not None
        pinned = {str(record.uri) for record in client.list_records(client.did, LIST)}
        sent = 19
    with PdsProxy(small_pds.pds.url, lambda *_: None) as proxy:
        publisher = DatasetPublisher(logged_in(account, proxy.url))
        uri = publisher.publish_dataset(names, "Lists", sample_type=dict)

    record = read_dataset(client.get_record(parse_at_uri(uri)).value)
    assert isinstance(record.storage, BlobStorage)
    more: list[Any] = record.storage.to_json()["more"]
    assert 1 <= len(pinned) <= 2
    assert pinned < {reference["uri"] for reference in more}
    assert {str(record.uri) for record in client.list_records(client.did, LIST)} == {each["uri"] for each in more}
    assert sent + proxy.calls.count(UPLOAD) == 30 + len(record.manifest)
    assert sum(1 for _ in load(uri, client=Client.anonymous())) == 60


@pytest.mark.parametrize(("victim", "kills"), [("client", 5), ("pds", 3)])
def test_kill_9(
    victim: Any,
    kills: int,
    account: Account,
    network: Network,
    small_pds: FurtherPds,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whoever is killed, whenever: one record, every sample, and nothing of the journal stays."""
    shards = write_noise(tmp_path / "shards", shards=40, shard_bytes=200_000)
    home = tmp_path / "killed"

    done = publish_under_kills(
        small_pds, network.plc, account, shards, home, victim=victim, kills=kills, longest=0.2, rng=random.Random(5)
    )

    client = Client.anonymous()
    assert [str(record.uri) for record in client.list_records(parse_at_uri(done.uri).authority, DATASET)] == [done.uri]  # type: ignore[arg-type]  # a DID
    assert [sample.number for sample in load(done.uri, Noise, client=client)] == list(range(80))
    assert done.sent < 2 * done.size
    assert list((home / "data" / "publishing").iterdir()) == []


def test_ctrl_c_leaves_one_sentence(
    account: Account, network: Network, small_pds: FurtherPds, tmp_path: Path, large: list[WrittenShard]
) -> None:
    """How far it came and how to go on, with exit code 130; the same command then goes on."""
    reached = tmp_path / "reached"

    def change(method: str, before: int, answer: Answer | None) -> Answer | None:
        if method == UPLOAD and before >= 2 and answer is None and not reached.exists():
            reached.touch()
            process.send_signal(signal.SIGINT)
        return failure(503, "Unavailable") if reached.exists() and method == UPLOAD and answer is None else None

    env = environment(small_pds, network.plc, account, tmp_path / "home2")
    names = [str(shard.path) for shard in large]
    with PdsProxy(small_pds.pds.url, change) as proxy:
        login(env, account, proxy.url)
        command = [*ATDATA, "publish", *names, "--name", "Stopped"]
        process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        out, err = process.communicate(timeout=60)

    assert (process.returncode, out) == (130, "")
    last = err.strip().splitlines()[-1]
    assert last.startswith("interrupted; ")
    assert "of 5 blobs are uploaded: run the same command again" in last


def test_a_second_publisher_says_so(account: Account, large: list[WrittenShard]) -> None:
    """While the first is at it; a dry run is no publisher."""
    publisher = DatasetPublisher(logged_in(account))
    options = Options(sample_type=Digit)
    with publisher.prepared(large, Description("Both"), options):
        with pytest.raises(RefusedError, match="one-publisher"):
            publisher.publish_dataset(large, "Both", sample_type=Digit)
        with publisher.prepared(large, Description("Both"), options, dry_run=True) as prepared:
            assert prepared.plan().shards == 5


def test_a_dry_run_writes_nothing(
    account: Account, network: Network, small_pds: FurtherPds, tmp_path: Path, large: list[WrittenShard]
) -> None:
    """Neither to the PDS nor to the data folder; what it says is what then happens."""
    home = tmp_path / "home3"
    env = environment(small_pds, network.plc, account, home)
    names = [str(shard.path) for shard in large]
    with PdsProxy(small_pds.pds.url, lambda *_: None) as proxy:
        login(env, account, proxy.url)
        command = [*ATDATA, "publish", *names, "--name", "Dry", "--dry-run"]
        said = subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout
        plan = json.loads(subprocess.run([*command, "--json"], env=env, capture_output=True, check=True).stdout)

    assert "3 shards are cut into 5" in said
    assert (plan["shards"], plan["givenShards"], plan["samples"], plan["uploads"]) == (5, 3, 18, 5)
    assert plan["blobLimit"] == LIMIT
    assert not {"com.atproto.repo.createRecord", UPLOAD} & set(proxy.calls)
    assert not (home / "data").exists()


def test_a_session_that_ends_in_the_middle_loses_nothing(
    account: Account, large: list[WrittenShard], small_pds: FurtherPds
) -> None:
    """The error says to log in again; what is uploaded stays known."""

    def change(method: str, before: int, answer: Answer | None) -> Answer | None:
        is_over = method == UPLOAD and before >= 2 and answer is None
        return failure(401, "InvalidToken", "Token has been revoked") if is_over else None

    with PdsProxy(small_pds.pds.url, change) as proxy:
        publisher = DatasetPublisher(logged_in(account, proxy.url))
        with pytest.raises(AuthenticationError) as caught:
            publisher.publish_dataset(large, "Ended", sample_type=Digit)

    assert "of 5 blobs are uploaded" in " ".join(caught.value.__notes__)


def test_paths_of_this_machine_are_not_published(account: Account, large: list[WrittenShard]) -> None:
    """Nobody else could read them, and everybody would see them."""
    client = logged_in(account)

    with pytest.raises(RefusedError, match="file-url"):
        DatasetPublisher(client).publish_dataset([shard.path for shard in large], "Private", storage="url")

    assert client.repository is not None
    assert list(client.repository.list_records(DATASET)) == []
