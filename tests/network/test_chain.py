"""The whole chain on the real network: samples, shards, a record, and back in a process that has no account."""

import functools
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.network.plugin import Network

from atdata.atproto.client import Client
from atdata.data.writer import WrittenShard, write_samples
from atdata.dataset import Dataset
from atdata.errors import IntegrityError, NotFoundError
from atdata.loading.loader import DatasetLoader, load
from atdata.publishing.publisher import DatasetPublisher
from atdata.syntax import Nsid, family, parse_at_uri

# Reads a dataset by its AT-URI with nothing else in hand: no account, no class, no file of the process that wrote it.
READ = """
import json, sys
from atdata.loading.loader import load
dataset = load(sys.argv[1])
samples = [[sample.label, sample.word, sample.image.dtype.str, sample.image.tolist()] for sample in dataset]
batch = next(iter(dataset.batches(4)))
print(json.dumps({
    "name": dataset.name, "type": dataset.sample_type.__name__, "doc": dataset.sample_type.__doc__.splitlines()[0],
    "count": len(dataset), "samples": samples, "batch": list(batch.image.shape), "ninth": dataset[9].label,
}))
"""


@dataclass
class Picture:
    """A small picture and what it shows."""

    image: NDArray[np.uint8]
    label: int
    word: str


def pictures(count: int = 10) -> list[Picture]:
    """Some samples, all different."""
    return [Picture(np.full((2, 3), i, np.uint8), i, f"number {i}") for i in range(count)]


def as_json(samples: list[Picture]) -> list[list[object]]:
    """The samples as `READ` prints them."""
    return [[sample.label, sample.word, sample.image.dtype.str, sample.image.tolist()] for sample in samples]


class _Files(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def file_server(tmp_path: Path) -> Iterator[str]:
    """The base URL of a plain web server over the folder ``tmp_path / "web"``. It knows no Range requests."""
    folder = tmp_path / "web"
    folder.mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Files, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://localhost:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def written(tmp_path: Path, file_server: str) -> list[WrittenShard]:
    """Three shards in the folder of the web server."""
    return write_samples(pictures(), str(tmp_path / "web" / "pictures-%06d.tar"), shard_samples=4)


def read_in_a_fresh_process(uri: str) -> dict[str, object]:
    """What a process without an account reads, which shares with this one but the environment."""
    done = subprocess.run([sys.executable, "-W", "error", "-c", READ, uri], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    answer: dict[str, object] = json.loads(done.stdout)
    return answer


def logged_in(network: Network, *, pds: int = 0) -> Client:
    """A client of a fresh account."""
    account = network.account("alice", pds=pds)
    return Client.login(account.handle, account.password)


Publish = Callable[[DatasetPublisher, Dataset[Picture], str], str]


def by_url(publisher: DatasetPublisher, dataset: Dataset[Picture], base: str) -> str:
    """Names the URLs of the web server; nothing is uploaded."""
    urls = [f"{base}/pictures-{{000000..000002}}.tar"]
    return publisher.publish_dataset(dataset, name="Pictures", urls=urls, storage="url")


def as_blobs(publisher: DatasetPublisher, dataset: Dataset[Picture], base: str) -> str:
    """Uploads the shards."""
    return publisher.publish_dataset(dataset, name="Pictures", storage="blobs")


@pytest.mark.parametrize("name", ["app.bsky.atdata", "com.example.data"])
@pytest.mark.parametrize("publish", [by_url, as_blobs])
@pytest.mark.usefixtures("written")
def test_published_on_a_pds_and_loaded_by_a_stranger(
    online: Network,
    tmp_path: Path,
    file_server: str,
    monkeypatch: pytest.MonkeyPatch,
    publish: Publish,
    name: str,
) -> None:
    """Every sample comes back, typed by the schema record, under either family of records and from either place."""
    monkeypatch.setenv("ATDATA_NSID", name)
    dataset = Dataset[Picture](url=str(tmp_path / "web" / "pictures-{000000..000002}.tar"))
    client = logged_in(online)

    uri = publish(DatasetPublisher(client), dataset, file_server)

    assert uri.startswith(f"at://{client.did}/{name}.dataset/")
    assert read_in_a_fresh_process(uri) == {
        "name": "Pictures",
        "type": "Picture",
        "doc": "A small picture and what it shows.",
        "count": 10,
        "samples": as_json(pictures()),
        "batch": [4, 2, 3],
        "ninth": 9,
    }


def test_found_by_handle_and_read_by_another_account(online: Network) -> None:
    """Published on one PDS, listed and loaded by an account of the other, by handle and in the short form."""
    alice, bob = logged_in(online), logged_in(online, pds=1)
    uri = DatasetPublisher(alice).publish_dataset(pictures(), name="Pictures", rkey="first")
    loader = DatasetLoader(bob)

    (entry,) = loader.list_datasets(alice.handle)
    assert str(entry.uri) == uri
    short = loader.load_dataset(f"at://{alice.handle}/dataset/first", Picture)

    assert as_json(list(short)) == as_json(pictures())


def test_publishing_again_uses_the_schema_again(online: Network) -> None:
    """Two datasets of one sample type share one schema record; each has a record of its own."""
    client = logged_in(online)
    publisher = DatasetPublisher(client)

    uris = {publisher.publish_dataset(pictures(count), name=f"{count} pictures") for count in (3, 5)}

    assert len(uris) == 2
    assert client.repository is not None
    assert len(list(client.repository.list_records(Nsid(f"{family()}.schema")))) == 1
    assert {len(load(uri, Picture)) for uri in uris} == {3, 5}


@pytest.mark.usefixtures("written")
def test_changed_bytes_never_become_samples(online: Network, tmp_path: Path, file_server: str) -> None:
    """A shard that was changed after it was published is an error, and no sample of it comes before."""
    dataset = Dataset[Picture](url=str(tmp_path / "web" / "pictures-{000000..000002}.tar"))
    uri = by_url(DatasetPublisher(logged_in(online)), dataset, file_server)
    shard = tmp_path / "web" / "pictures-000001.tar"
    content = bytearray(shard.read_bytes())
    content[-3000] ^= 1
    shard.write_bytes(content)

    samples = iter(load(uri, Picture))

    assert [next(samples).label for _ in range(4)] == [0, 1, 2, 3]
    with pytest.raises(IntegrityError, match=r"pictures-000001\.tar"):
        next(samples)


def test_a_deleted_dataset_is_gone_with_its_blobs(online: Network) -> None:
    """The record is not found any more, and a dataset that was loaded before says why it cannot be read."""
    client = logged_in(online)
    uri = DatasetPublisher(client).publish_dataset(pictures(), name="Pictures", storage="blobs")
    loaded = load(uri, Picture)
    place = parse_at_uri(uri)
    assert client.repository is not None
    assert place.collection is not None
    assert place.rkey is not None

    client.repository.delete_record(place.collection, place.rkey)

    with pytest.raises(NotFoundError, match="no such record"):
        load(uri)
    with pytest.raises(NotFoundError, match="kept only while a record of its repository names it"):
        list(loaded)
