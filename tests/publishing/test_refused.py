"""What is not published: each refusal says what is wrong, and leaves the repository as it was."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.local_client import DATASET, Digit, Word, contents, digits, record_at

import atdata.atproto.manifest
import atdata.publishing.advice
from atdata.atproto.client import Client
from atdata.atproto.local import LocalRepository
from atdata.data.writer import WrittenShard
from atdata.errors import (
    AtdataError,
    AuthenticationError,
    IntegrityError,
    InvalidRecordError,
    InvalidSyntaxError,
    LimitError,
    NotFoundError,
    RefusedError,
    SchemaMismatchError,
    ShardError,
)
from atdata.publishing.publisher import DatasetPublisher
from atdata.storage.union import UrlStorage
from atdata.syntax import Nsid

NAMED = {"name": "Digits"}


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"name": "x" * 10_000}, InvalidRecordError, "name"),
        ({"name": ""}, InvalidRecordError, "name"),
        ({"name": "two\nlines"}, InvalidRecordError, "name"),
        ({**NAMED, "description": "x" * 20_001}, InvalidRecordError, "description"),
        ({**NAMED, "license": "x" * 257}, InvalidRecordError, "license"),
        ({**NAMED, "tags": ["tag"] * 33}, InvalidRecordError, "tags"),
        ({**NAMED, "tags": ["x" * 65]}, InvalidRecordError, r"tags\[0\]"),
        ({**NAMED, "version": 1.5}, InvalidRecordError, "version"),
        ({**NAMED, "homepage": "ftp://example.com"}, InvalidRecordError, "homepage"),
        ({**NAMED, "splits": {"train": (0, 5)}}, InvalidRecordError, r"splits\[0\]\.end"),
        ({**NAMED, "splits": {"train": (2, 1)}}, InvalidRecordError, r"splits\[0\]"),
        ({**NAMED, "splits": {"train": range(0, 4, 2)}}, InvalidRecordError, "splits"),
        ({**NAMED, "splits": {"train": (0, 1.5)}}, InvalidRecordError, "splits"),
        ({**NAMED, "splits": [("train", 0)]}, InvalidRecordError, "splits"),
        ({**NAMED, "previous": "at://did:web:localhost/dataset/none"}, NotFoundError, "none"),
        ({**NAMED, "previous": "nonsense"}, InvalidSyntaxError, "AT-URI"),
        ({**NAMED, "rkey": "a/b"}, InvalidSyntaxError, "record key"),
        ({**NAMED, "storage": "nowhere"}, InvalidSyntaxError, "nowhere"),
        ({**NAMED, "storage": "blobs", "urls": ["https://example.com/a.tar"]}, InvalidSyntaxError, "urls"),
        ({**NAMED, "urls": ["https://example.com/{0..2}.tar"]}, InvalidRecordError, "storage"),
        ({**NAMED, "sample_type": int}, SchemaMismatchError, "int"),
    ],
)
def test_wrong_descriptions_leave_nothing(
    client: Client,
    publisher: DatasetPublisher,
    pattern: str,
    options: dict[str, Any],
    error: type[AtdataError],
    says: str,
) -> None:
    """Each is refused by name, and neither blob nor record is written."""
    with pytest.raises(error, match=says):
        publisher.publish_dataset(pattern, **options)

    assert contents(client) == []


@pytest.mark.parametrize(
    ("url", "error", "says"),
    [
        ("pipe:cat a.tar", RefusedError, "pipe"),
        ("-", RefusedError, "standard"),
        ("::", InvalidSyntaxError, "::"),
        ("https://example.com/a.tar::", InvalidSyntaxError, "::"),
        ("https://user:secret@example.com/a.tar", RefusedError, "user"),
        ("https://example.com/a.tar?X-Amz-Signature=0123456789", RefusedError, "secret"),
        ("https://example.com/a.tar?token=0123456789", RefusedError, "secret"),
        ("https://example.com/{0..99999999999}.tar", LimitError, "100,000,000,000"),
        ("https://example.com/{0..9}/{0..99999}.tar", LimitError, "1,000,000"),
        ("https://example.com/{0..9.tar", InvalidSyntaxError, "brace"),
        ("https:///a.tar", InvalidSyntaxError, "host"),
        ("https://example.com", InvalidRecordError, "no file there"),
        ("s3://bucket/", InvalidRecordError, "no file there"),
        ("ftp://example.com/a.tar", RefusedError, "ftp"),
        ("s3://bucket/`id`.tar", RefusedError, "`"),
        ("https://example.com/a\n.tar", RefusedError, "character"),
        ("/nowhere/at/all.tar", NotFoundError, "/nowhere/at/all.tar"),
        ("", InvalidSyntaxError, "nothing stands"),
    ],
)
def test_wrong_urls_leave_nothing(
    client: Client, publisher: DatasetPublisher, url: str, error: type[AtdataError], says: str
) -> None:
    """As the dataset, and as its ``urls``: refused before anything is fetched or written."""
    with pytest.raises(error, match=says):
        publisher.publish_dataset(url, "Digits")
    if url not in ("/nowhere/at/all.tar", "", "::", "https://example.com/a.tar::"):
        with pytest.raises(AtdataError, match=says):
            publisher.publish_dataset("https://example.com/a.tar", "Digits", urls=[url])

    assert contents(client) == []


@pytest.mark.parametrize("url", ["/data/a.tar", "a.tar", "https://example.com/a.tar::https://example.com/b.tar"])
def test_urls_are_urls(client: Client, publisher: DatasetPublisher, url: str) -> None:
    """What may be typed as the dataset, paths and joins, is no URL for a record."""
    with pytest.raises(RefusedError):
        publisher.publish_dataset("https://example.com/a.tar", "Digits", urls=[url])

    assert contents(client) == []


def test_secrets_are_published_only_on_demand(client: Client, publisher: DatasetPublisher) -> None:
    """Who says so may publish a presigned URL."""
    url = "https://example.com/a.tar?X-Amz-Signature=0123456789"

    uri = publisher.publish_dataset(url, "Digits", allow_secret_urls=True)

    assert record_at(client, uri).storage == UrlStorage((url,))


@pytest.mark.parametrize("damage", [b"", b"<html>no tar</html>", "cut"])
def test_shards_that_are_none_leave_nothing(
    client: Client, publisher: DatasetPublisher, shards: list[WrittenShard], damage: bytes | str
) -> None:
    """One of four is no tar: not one is uploaded, and the error names it."""
    path = shards[2].path
    path.write_bytes(path.read_bytes()[:-2000] if isinstance(damage, str) else damage)

    with pytest.raises(ShardError, match="train-000002"):
        publisher.publish_dataset([shard.path for shard in shards], "Digits")

    assert contents(client) == []


def test_a_damaged_sample_of_undescribed_shards_is_named(
    client: Client, publisher: DatasetPublisher, shards: list[WrittenShard]
) -> None:
    """Finding out what samples are says where it came to its end."""
    path = shards[2].path
    content = bytearray(path.read_bytes())
    content[512] = 0xC1  # stands for nothing in msgpack; the first member's data begin there
    path.write_bytes(content)

    with pytest.raises(ShardError, match=r"sample '000002-00000000' of \S*train-000002\.tar"):
        publisher.publish_dataset([shard.path for shard in shards], "Digits")

    assert contents(client) == []


def test_many_local_bytes_are_not_uploaded_unasked(
    client: Client, publisher: DatasetPublisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond 100 MB in all the error says what can be done."""
    path = tmp_path / "large.tar"
    with path.open("wb") as file:
        file.truncate(100_000_001)

    with pytest.raises(LimitError, match=r"100,000,001 bytes.*urls=.*storage='blobs'.*1 upload and 1 day") as caught:
        publisher.publish_dataset(path, "Large")

    assert caught.value.limit == 100_000_000
    assert contents(client) == []


def test_endless_samples_end_at_the_limit(
    client: Client, publisher: DatasetPublisher, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The limit of ``auto`` holds while samples are written, and what was written goes."""
    monkeypatch.setattr(atdata.publishing.advice, "AUTO_BYTES", 30_000_000)

    def endless() -> Iterator[Word]:
        while True:
            yield Word("x" * 20_000)

    with pytest.raises(LimitError, match="30,000,000"):
        publisher.publish_dataset(endless(), "Endless")

    assert contents(client) == []
    assert list((home / "cache").iterdir()) == []


def test_shards_beyond_the_blob_limit_leave_nothing(tmp_path: Path, shards: list[WrittenShard]) -> None:
    """The error names the shard and the limit; samples are written into shards that fit."""
    client = Client.local(tmp_path / "repository")
    client.repository = LocalRepository(tmp_path / "repository", blob_limit=4096)

    with pytest.raises(LimitError, match=r"train-000000.tar.* 4,096"):
        DatasetPublisher(client).publish_dataset([shard.path for shard in shards], "Digits", reshard=False)
    assert contents(client) == []

    uri = DatasetPublisher(client).publish_dataset(digits(), "Digits")
    assert len(record_at(client, uri).shards or ()) > 1


def test_a_file_that_changes_meanwhile_is_noticed(
    client: Client, publisher: DatasetPublisher, shards: list[WrittenShard]
) -> None:
    """What is uploaded has the digest that was read; else no record is written."""
    shards[1].path.write_bytes(shards[0].path.read_bytes())

    with pytest.raises(IntegrityError, match="changed"):
        publisher.publish_dataset(shards, "Digits")

    assert not [name for name in contents(client) if name.startswith("at://")]


def test_nobody_publishes_without_a_repository() -> None:
    """The error says how to get one."""
    with pytest.raises(AuthenticationError, match=r"Client\.local"):
        DatasetPublisher(Client.anonymous()).publish_dataset(digits(), "Digits")


def test_other_things_are_no_datasets(client: Client, publisher: DatasetPublisher, shards: list[WrittenShard]) -> None:
    """Numbers, empty lists, and files mixed with URLs."""
    with pytest.raises(TypeError, match="int"):
        publisher.publish_dataset(5, "Five")
    with pytest.raises(InvalidSyntaxError, match="nothing to publish"):
        publisher.publish_dataset([], "Nothing")
    with pytest.raises(InvalidSyntaxError, match="cannot be parts of one"):
        publisher.publish_dataset([str(shards[0].path), "https://example.com/a.tar"], "Mixed")
    with pytest.raises(InvalidSyntaxError, match="write_samples"):
        publisher.publish_dataset(digits(), "Digits", storage="url")
    with pytest.raises(SchemaMismatchError):
        publisher.publish_dataset([Digit(np.zeros(3, np.uint8), 1), Word("two")], "Mixed")

    assert contents(client) == []


def test_a_repository_that_refuses_keeps_nothing(
    client: Client, publisher: DatasetPublisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the dataset record is refused at the very end, the records before it go."""
    repository = client.repository
    assert isinstance(repository, LocalRepository)
    write = repository.create_record

    def refuse(collection: Nsid, value: Any, *, rkey: str | None = None) -> Any:
        if collection == DATASET:
            raise LimitError("not today", limit=0)
        return write(collection, value, rkey=rkey)

    monkeypatch.setattr(repository, "create_record", refuse)
    with pytest.raises(LimitError, match="not today"):
        publisher.publish_dataset(digits(), "Digits")

    assert not [name for name in contents(client) if name.startswith("at://")]
