"""Deleting: what goes and what stays, told before and true after."""

from pathlib import Path

import pytest
from tests.local_client import DATASET, LIST, SCHEMA, Word, digits

import atdata.atproto.manifest
from atdata.atproto.client import Client
from atdata.data.writer import WrittenShard, write_samples
from atdata.errors import NotFoundError, RefusedError
from atdata.loading.loader import DatasetLoader
from atdata.publishing.publisher import DatasetPublisher
from atdata.syntax import parse_at_uri


@pytest.fixture
def words(tmp_path: Path) -> list[WrittenShard]:
    """300 shards of one word each: more than stand in one record, with the limit of `small_records`."""
    return write_samples((Word(f"word {i}") for i in range(300)), tmp_path / "many" / "%06d.tar", shard_samples=1)


@pytest.fixture
def small_records(monkeypatch: pytest.MonkeyPatch) -> None:
    """Records of at most 40,000 bytes, so that 300 blobs need a list."""
    monkeypatch.setattr(atdata.atproto.manifest, "MAX_RECORD_BYTES", 40_000)


def count(client: Client) -> tuple[int, int, int]:
    """How many datasets, schemas and lists there are."""
    assert client.repository is not None
    found = [len(list(client.repository.list_records(name))) for name in (DATASET, SCHEMA, LIST)]
    return found[0], found[1], found[2]


def test_blobs_that_another_version_names_stay(client: Client, publisher: DatasetPublisher, tmp_path: Path) -> None:
    """The plan says which vanish; afterwards these are gone and the other version is whole."""
    shards = write_samples(digits(12), tmp_path / "digits-%06d.tar", shard_samples=3)
    first = publisher.publish_dataset(shards[:3], "Digits", sample_type=type(digits()[0]))
    second = publisher.publish_dataset(shards[1:], "Digits", previous=first, sample_type=type(digits()[0]))

    plan = publisher.plan_deletion(first)
    assert [blob.cid for blob in plan.blobs] == [shards[0].shard.cid]
    assert (plan.kept_blobs, plan.lists, [str(uri) for uri in plan.newer]) == (2, (), [second])
    assert count(client) == (2, 1, 0)
    assert publisher.delete_dataset(first) == plan

    assert count(client) == (1, 1, 0)
    assert len(list(DatasetLoader(client).load_dataset(second))) == 9
    assert client.repository is not None
    with pytest.raises(NotFoundError):
        client.repository.blob_store().size(str(shards[0].shard.cid))


@pytest.mark.usefixtures("small_records")
def test_lists_go_with_the_last_dataset_that_names_them(
    client: Client, publisher: DatasetPublisher, words: list[WrittenShard]
) -> None:
    """A list that a second dataset names stays for as long as that one does."""
    first = publisher.publish_dataset(words, "Words", sample_type=Word)
    assert client.repository is not None
    value = client.get_record(parse_at_uri(first)).value
    second = client.repository.create_record(DATASET, value | {"name": "Words again"}).uri

    kept = publisher.delete_dataset(first)
    assert (kept.blobs, kept.kept_blobs, kept.lists) == ((), 301, ())
    assert len(list(DatasetLoader(client).load_dataset(second, Word))) == 300
    gone = publisher.delete_dataset(second)

    assert (len(gone.blobs), gone.kept_blobs, len(gone.lists)) == (301, 0, 1)
    assert count(client) == (0, 1, 0)


@pytest.mark.usefixtures("small_records")
def test_what_was_cut_short_is_finished(client: Client, publisher: DatasetPublisher, words: list[WrittenShard]) -> None:
    """The record has gone and its list has not: deleting again removes it; then there is nothing to delete."""
    uri = publisher.publish_dataset(words, "Words", sample_type=Word)
    assert client.repository is not None
    client.repository.delete_record(DATASET, parse_at_uri(uri).rkey or "")

    deleted = publisher.delete_dataset(uri)

    assert (deleted.name, len(deleted.blobs), len(deleted.lists)) == (None, 300 - 256, 1)
    assert count(client) == (0, 1, 0)
    with pytest.raises(NotFoundError):
        publisher.delete_dataset(uri)


@pytest.mark.usefixtures("small_records")
def test_a_list_that_is_named_in_between_stays(
    client: Client, publisher: DatasetPublisher, words: list[WrittenShard], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A dataset that is written while another one is deleted keeps its blobs."""
    first = publisher.publish_dataset(words, "Words", sample_type=Word)
    repository = client.repository
    assert repository is not None
    delete = repository.delete_record
    written: list[str] = []

    def publish_meanwhile(collection: str, rkey: str) -> None:
        if not written:
            value = client.get_record(parse_at_uri(first)).value
            written.append(repository.create_record(DATASET, value | {"name": "Words again"}).uri)
        delete(DATASET if collection == DATASET else LIST, rkey)

    monkeypatch.setattr(repository, "delete_record", publish_meanwhile)

    assert publisher.delete_dataset(first).lists == ()

    assert len(list(DatasetLoader(client).load_dataset(written[0], Word))) == 300


def test_shards_at_urls_and_files_stay(
    client: Client, publisher: DatasetPublisher, shards: list[WrittenShard], pattern: str
) -> None:
    """Only the record goes."""
    uri = publisher.publish_dataset(pattern, "Digits", storage="url", infer_schema=False)

    assert publisher.delete_dataset(uri).blobs == ()

    assert count(client) == (0, 0, 0)
    assert all(shard.path.is_file() for shard in shards)


def test_others_datasets_are_not_deleted(publisher: DatasetPublisher) -> None:
    """Only the owner deletes."""
    with pytest.raises(RefusedError, match="only its owner"):
        publisher.delete_dataset("at://did:plc:ewvi7nxzyoun6zhxrhs64oiz/app.bsky.atdata.dataset/3k2a")
