"""Samples, shards and a local repository, for the tests of publishing and loading. A pytest plugin."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from atdata.atproto.client import Client
from atdata.atproto.local import LocalRepository
from atdata.atproto.records import DatasetRecord, read_dataset
from atdata.data.writer import WrittenShard, write_samples
from atdata.publishing.publisher import DatasetPublisher
from atdata.syntax import Nsid, parse_at_uri

DATASET, SCHEMA, LIST = (Nsid(f"app.bsky.atdata.{name}") for name in ("dataset", "schema", "blobList"))


@dataclasses.dataclass
class Digit:
    """A handwritten digit.

    More about it, which no schema record needs.
    """

    image: NDArray[np.uint8]
    label: int


@dataclasses.dataclass
class Word:
    text: str


def digits(count: int = 10) -> list[Digit]:
    """Samples."""
    return [Digit(np.full((4, 4), i, np.uint8), i) for i in range(count)]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of its own for atdata's files."""
    monkeypatch.setenv("ATDATA_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def client(tmp_path: Path, home: Path) -> Client:
    """An empty local repository, and a home of its own for atdata's files."""
    return Client.local(tmp_path / "repository")


@pytest.fixture
def publisher(client: Client) -> DatasetPublisher:
    """Publishes there."""
    return DatasetPublisher(client)


@pytest.fixture
def shards(tmp_path: Path) -> list[WrittenShard]:
    """Ten digits in four shards."""
    return write_samples(digits(), tmp_path / "shards" / "train-%06d.tar", shard_samples=3)


@pytest.fixture
def pattern(shards: list[WrittenShard]) -> str:
    """The four shards in brace notation."""
    return str(shards[0].path).replace("000000", "{000000..000003}")


def record_at(client: Client, uri: str) -> DatasetRecord:
    """What was published."""
    return read_dataset(client.get_record(parse_at_uri(uri)).value)


def contents(client: Client) -> list[str]:
    """All that a repository holds: records, and files of blobs."""
    assert isinstance(client.repository, LocalRepository)
    records = [str(record.uri) for name in (DATASET, SCHEMA, LIST) for record in client.repository.list_records(name)]
    return records + sorted(path.name for path in client.repository.folder.glob("*s/*"))
