"""Promotion: a local dataset on the network is the same dataset."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.local_client import DATASET, LIST, SCHEMA, Digit, Word, digits, record_at
from tests.network.plugin import Network, use

from atdata.atproto.client import Client
from atdata.atproto.records import DatasetRecord
from atdata.data.writer import WrittenShard, write_samples
from atdata.dataset import Dataset
from atdata.errors import AtdataError, AuthenticationError, IntegrityError, NotFoundError, RefusedError
from atdata.lens import lens
from atdata.loading.loader import DatasetLoader, load
from atdata.publishing.publisher import DatasetPublisher
from atdata.storage.base import Shard
from atdata.storage.union import BlobStorage, UrlStorage
from atdata.syntax import parse_at_uri, raw_cid


@pytest.fixture(params=["network", "old_network"])
def account(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Client:
    """A fresh account on a PDS of today, and on an old one."""
    return account_on(request.getfixturevalue(request.param), monkeypatch, tmp_path)


@pytest.fixture
def today(network: Network, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Client:
    """A fresh account on a PDS of today."""
    return account_on(network, monkeypatch, tmp_path)


def account_on(network: Network, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Client:
    """A client of a fresh account."""
    made = use(network, monkeypatch, tmp_path / "home").account("pro")
    return Client.login(made.handle, made.password)


def local() -> DatasetPublisher:
    """Publishes in the user's local repository."""
    return DatasetPublisher(Client.local())


def rkey(uri: str) -> str:
    """The key of a record."""
    return parse_at_uri(uri).rkey or ""


def told(record: DatasetRecord) -> dict[str, Any]:
    """All that a record says but for whose schema it names."""
    return replace(record, schema_ref=None, schema_cid=None, previous_version=None).to_json()


def test_it_is_the_same_dataset(account: Client, home: Path) -> None:
    """Blobs by their CIDs, every field of the record, an unknown one too, its key and its time; the schema as it is."""
    here = local().publish_dataset(
        digits(),
        "Digits",
        description="Ten of them.",
        license="CC0-1.0",
        tags=["digits", "tiny"],
        splits={"train": (0, 1)},
        version="1.0.0",
        citation="Nobody, 2026",
        homepage="https://example.com/digits",
    )
    repository = Client.local().repository
    assert repository is not None
    repository.put_record(DATASET, rkey(here), Client.local().get_record(parse_at_uri(here)).value | {"new": {"x": 1}})

    there = DatasetPublisher(account).publish_dataset(here)

    assert there == f"at://{account.did}/{DATASET}/{rkey(here)}"
    before, after = record_at(Client.local(), here), record_at(account, there)
    assert told(after) == told(before)
    assert after.schema_ref is not None
    assert after.schema_ref.startswith(f"at://{account.did}/")
    schemas = [account.get_record(parse_at_uri(record.schema_ref or "")).value for record in (before, after)]
    assert schemas[0] == schemas[1]
    dataset = load(there)
    assert [sample.label for sample in dataset] == list(range(10))
    with pytest.raises(RefusedError, match="already a record"):
        DatasetPublisher(account).publish_dataset(here)


def test_what_is_said_while_promoting_counts(today: Client) -> None:
    """A field that is given replaces the local one; so does a key."""
    here = local().publish_dataset(digits(), "Digits", license="CC0-1.0", tags=["one"])

    there = DatasetPublisher(today).publish_dataset(here, "Figures", tags=["two"], version="2", rkey="figures")

    record = record_at(today, there)
    assert (record.name, record.license, record.tags, record.version) == ("Figures", "CC0-1.0", ("two",), "2")
    assert rkey(there) == "figures"


def test_versions_are_linked_where_both_were_promoted(today: Client) -> None:
    """From the oldest to the newest; one whose previous version stays at home has none, and that is said."""
    first = local().publish_dataset(digits(), "Digits")
    second = local().publish_dataset(digits(5), "Digits", previous=first)
    third = local().publish_dataset(digits(6), "Digits", previous=second)
    publisher = DatasetPublisher(today)
    said: list[str] = []

    there = [publisher.publish_dataset(uri, announce=said.append) for uri in (first, second)]
    assert said == []
    assert [version.uri for version in DatasetLoader(today).list_versions(there[0])] == there[::-1]

    publisher.delete_dataset(there[1])
    alone = publisher.publish_dataset(third, announce=said.append)
    assert record_at(today, alone).previous_version is None
    assert len(said) == 1
    assert "promote versions from the oldest to the newest" in said[0]


def test_another_record_under_the_key_of_a_previous_version_is_not_it(today: Client) -> None:
    """Keys that people choose may meet by accident; the time of making tells."""
    first = local().publish_dataset(digits(), "Digits", rkey="digits")
    second = local().publish_dataset(digits(5), "Digits", previous=first)
    DatasetPublisher(today).publish_dataset(digits(3), "Others", rkey="digits")

    there = DatasetPublisher(today).publish_dataset(second)

    assert record_at(today, there).previous_version is None


def test_files_of_this_machine_become_blobs(today: Client, shards: list[WrittenShard], pattern: str) -> None:
    """By URL they are refused, unless it is said where others find them; one that was changed is not published."""
    here = local().publish_dataset(pattern, storage="url", name="Digits", sample_type=Digit)
    publisher = DatasetPublisher(today)

    with pytest.raises(RefusedError, match="storage='blobs'"):
        publisher.publish_dataset(here, storage="url")
    there = record_at(today, publisher.publish_dataset(here))
    urls = ["https://example.com/train-{000000..000003}.tar"]
    elsewhere = record_at(today, publisher.publish_dataset(here, urls=urls, rkey="elsewhere"))

    assert isinstance(there.storage, BlobStorage)
    assert [blob.cid for blob in there.storage.blobs] == [shard.shard.cid for shard in shards]
    assert elsewhere.storage == UrlStorage(tuple(urls))
    assert there.shards == elsewhere.shards == tuple(shard.shard for shard in shards)
    shards[0].path.write_bytes(shards[0].path.read_bytes()[:-512])
    with pytest.raises(IntegrityError):
        publisher.publish_dataset(here, rkey="changed")
    assert len(list(DatasetLoader(today).list_datasets())) == 2


def test_urls_stay_where_they_are(today: Client) -> None:
    """Nothing is fetched or uploaded; facts of very many shards go with them."""
    url = "https://nowhere.invalid/{000000..002999}.tar"
    facts = [Shard(raw_cid(bytes(32)), 1000 + i, 10) for i in range(3000)]
    here = local().publish_dataset(Dataset[Word](url=url), "Far", shards=facts)

    there = record_at(today, DatasetPublisher(today).publish_dataset(here))

    assert there.storage == UrlStorage((url,))
    assert there.size == record_at(Client.local(), here).size
    assert [part.shards for part in there.manifest] == [3000]


def test_a_loaded_dataset_is_promoted_too(today: Client) -> None:
    """As the dataset that it is; seen through a lens it is its samples."""
    here = local().publish_dataset(digits(), "Digits")

    @lens
    def as_word(digit: Digit) -> Word:
        return Word(f"number {digit.label}")

    dataset = DatasetLoader(Client.local()).load_dataset(here, Digit)
    there = DatasetPublisher(today).publish_dataset(dataset)
    words = DatasetPublisher(today).publish_dataset(dataset.as_type(Word), "Words")

    assert rkey(there) == rkey(here)
    assert [word.text for word in load(words, Word)] == [f"number {i}" for i in range(10)]


def test_shards_above_the_blob_limit_are_cut(today: Client, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The local repository takes larger ones; samples and splits are the same."""
    shards = write_samples([Word("x" * 3000 + str(i)) for i in range(40)], tmp_path / "%06d.tar", shard_samples=20)
    here = local().publish_dataset(shards, "Words", sample_type=Word, splits={"train": (0, 1), "test": (1, 2)})
    monkeypatch.setattr(type(today.repository), "blob_limit", 50_000)

    there = DatasetPublisher(today).publish_dataset(here)

    record = record_at(today, there)
    assert record.size is not None
    assert (record.size.samples, record.size.shards) == (40, 4)
    assert [(split.name, split.start, split.end) for split in record.splits] == [("train", 0, 2), ("test", 2, 4)]
    assert [word.text for word in load(there, Word)] == ["x" * 3000 + str(i) for i in range(40)]


def test_nothing_but_a_local_dataset_is_promoted(today: Client, network: Network) -> None:
    """Others' and one's own published ones are refused, and so is a local one by nobody."""
    here = local().publish_dataset(digits(), "Digits")
    there = DatasetPublisher(today).publish_dataset(here)
    bob = network.account("bob")
    others = Client.login(bob.handle, bob.password)
    count = contents_of(today)

    attempts: list[tuple[DatasetPublisher, Any, type[AtdataError], str]] = [
        (DatasetPublisher(today), there, RefusedError, "in your repository"),
        (DatasetPublisher(others), there, RefusedError, "somebody else's"),
        (DatasetPublisher(others), load(there), RefusedError, "somebody else's"),
        (local(), here, AuthenticationError, "log in"),
        (DatasetPublisher(Client.anonymous()), here, AuthenticationError, "log in"),
        (DatasetPublisher(today), f"{here}x", NotFoundError, "no record"),
    ]
    for publisher, given, error, says in attempts:
        with pytest.raises(error, match=says):
            publisher.publish_dataset(given)
    assert contents_of(today) == count


def contents_of(client: Client) -> list[int]:
    """How many records there are."""
    assert client.repository is not None
    return [len(list(client.repository.list_records(name))) for name in (DATASET, SCHEMA, LIST)]
