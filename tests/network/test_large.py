"""Very large datasets on PDSes of today and of before May 2026: published, loaded, given a new version, deleted."""

import functools
import hashlib
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from tests.local_client import Word
from tests.network.plugin import Network, use

import atdata.atproto.manifest
from atdata.atproto.client import Client
from atdata.atproto.records import read_dataset
from atdata.data.writer import write_samples
from atdata.dataset import Dataset
from atdata.loading.loader import DatasetLoader, load
from atdata.publishing.describe import Description, Options
from atdata.publishing.publisher import DatasetPublisher
from atdata.storage.base import Shard
from atdata.storage.union import BlobStorage
from atdata.syntax import parse_at_uri, raw_cid


@pytest.fixture(params=["network", "old_network"])
def account(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Client:
    """A fresh account on a PDS of today, and on an old one."""
    network: Network = use(request.getfixturevalue(request.param), monkeypatch, tmp_path / "home")
    made = network.account("larry")
    return Client.login(made.handle, made.password)


class _Files(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def file_server(tmp_path: Path) -> Iterator[str]:
    """The base URL of a plain web server over the folder ``tmp_path / "web"``."""
    (tmp_path / "web").mkdir()
    handler = functools.partial(_Files, directory=str(tmp_path / "web"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://localhost:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def some_shard(number: int) -> Shard:
    """What a shard could be that nobody will open."""
    digest, index = (hashlib.sha256(f"{kind} {number}".encode()).digest() for kind in ("tar", "index"))
    return Shard(raw_cid(digest), 1_000_000 + number, 1000, raw_cid(index))


def test_100_000_shards_at_urls(account: Client, file_server: str, tmp_path: Path) -> None:
    """Their facts are in manifest files; the last sample is read by nobody's account, from the last shard alone."""
    (last,) = write_samples([Word("the last")], tmp_path / "web" / "%06d.tar")
    last.path.rename(tmp_path / "web" / "099999.tar")
    facts = [*map(some_shard, range(99_999)), last.shard]
    url = f"{file_server}/{{000000..099999}}.tar"
    publisher = DatasetPublisher(account)

    first = publisher.publish_dataset(Dataset[Word](url=url), "Large", shards=facts, splits={"test": (99_999, 100_000)})

    value = account.get_record(parse_at_uri(first)).value
    assert value["size"] == {"samples": 99_999_001, "bytes": sum(s.bytes or 0 for s in facts), "shards": 100_000}
    assert [part["shards"] for part in value["manifest"]] == [10_000] * 10
    dataset = load(first, Word)
    assert len(dataset) == 99_999_001
    assert dataset[-1] == Word("the last")

    facts[7] = replace(facts[8], bytes=5)
    second = publisher.publish_dataset(Dataset[Word](url=url), "Large", shards=facts, previous=first)

    newer, older = DatasetLoader().list_versions(first)
    assert (newer.uri, newer.changes) == (second, ("splits", "1 shard added", "1 shard removed"))
    assert older.uri == first
    assert len(publisher.delete_dataset(first).blobs) == 1  # the other nine manifest files are the second version's too
    assert load(second, Word)[-1] == Word("the last")


def test_1_000_blobs_on_an_old_pds(old_online: Network, tmp_path: Path) -> None:
    """They just fit into one record; a new version uploads its new shard alone, and keeps the others."""
    made = old_online.account("larry")
    account = Client.login(made.handle, made.password)
    shards = write_samples((Word(f"word {i}") for i in range(1001)), tmp_path / "many" / "%06d.tar", shard_samples=1)
    publisher = DatasetPublisher(account)

    first = publisher.publish_dataset(shards[:1000], "Words", sample_type=Word)

    record = read_dataset(account.get_record(parse_at_uri(first)).value)
    assert isinstance(record.storage, BlobStorage)
    assert (len(record.storage.blobs), record.storage.more, len(record.manifest)) == (1000, (), 1)
    dataset = load(first, Word)
    assert len(dataset) == 1000
    assert [dataset[i].text for i in (0, 999)] == ["word 0", "word 999"]

    described, options = Description("Words", previous=first), Options(sample_type=Word)
    with publisher.prepared(shards[1:], described, options) as prepared:
        assert prepared.plan().uploaded == 999
        second = prepared.publish()

    assert DatasetLoader().list_versions(first)[0].changes == ("1 shard added", "1 shard removed")
    deleted = publisher.delete_dataset(first)
    assert shards[0].shard.cid in {blob.cid for blob in deleted.blobs}
    assert (len(deleted.blobs), deleted.kept_blobs) == (2, 999)  # a shard and a manifest file go
    again = load(second, Word)
    assert [again[i].text for i in (0, 998, 999)] == ["word 1", "word 999", "word 1000"]


def test_lists_of_blobs(online: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """More than fit into a record (a smaller one here): a new version has lists of its own, and they go with it."""
    made = online.account("larry")
    account = Client.login(made.handle, made.password)
    monkeypatch.setattr(atdata.atproto.manifest, "MAX_RECORD_BYTES", 40_000)
    shards = write_samples((Word(f"word {i}") for i in range(301)), tmp_path / "many" / "%06d.tar", shard_samples=1)
    publisher = DatasetPublisher(account)

    first = publisher.publish_dataset(shards[:300], "Words", sample_type=Word)
    second = publisher.publish_dataset(shards[1:], "Words", sample_type=Word, previous=first)

    record = read_dataset(account.get_record(parse_at_uri(second)).value)
    assert isinstance(record.storage, BlobStorage)
    assert (len(record.storage.blobs), len(record.storage.more)) == (256, 1)
    deleted = publisher.delete_dataset(first)
    assert (len(deleted.blobs), deleted.kept_blobs, len(deleted.lists)) == (2, 299, 1)
    dataset = load(second, Word)
    assert [dataset[i].text for i in (0, 255, 256, 299)] == ["word 1", "word 256", "word 257", "word 300"]
