"""Publishing: whatever form a dataset has, one record says what it is."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from tests.local_client import DATASET, LIST, Digit, Word, contents, digits, record_at

import atdata.atproto.manifest
import atdata.publishing.shards
from atdata.atproto.client import Client
from atdata.atproto.local import LOCAL_DID
from atdata.atproto.records import read_schema
from atdata.data.writer import WrittenShard, write_samples
from atdata.dataset import Dataset
from atdata.errors import (
    LimitError,
    RefusedError,
    ShardError,
)
from atdata.lens import lens
from atdata.loading.loader import DatasetLoader
from atdata.publishing.publisher import DatasetPublisher
from atdata.storage.union import BlobStorage, UrlStorage
from atdata.syntax import parse_at_uri


def test_local_shards_become_blobs_with_all_their_facts(
    client: Client, publisher: DatasetPublisher, shards: list[WrittenShard], pattern: str
) -> None:
    """Of few bytes, and unless told otherwise: CIDs, sizes and counts are those of the files."""
    uri = publisher.publish_dataset(
        Dataset[Digit](url=pattern),
        name="Digits",
        description="Ten of them.",
        license="CC0-1.0",
        tags=["digits", "tiny"],
        splits={"train": (0, 2), "test": [range(2, 3), (3, 4)]},
        version="1.0.0",
        citation="Nobody, 2026",
        homepage="https://example.com/digits",
    )

    record = record_at(client, uri)
    assert isinstance(record.storage, BlobStorage)
    assert [blob.cid for blob in record.storage.blobs] == [shard.shard.cid for shard in shards]
    assert {blob.mime_type for blob in record.storage.blobs} == {"application/x-tar"}
    assert record.shards == tuple(shard.shard for shard in shards)
    assert record.size is not None
    assert (record.size.samples, record.size.shards) == (10, 4)
    assert record.size.bytes == sum(shard.path.stat().st_size for shard in shards)
    assert [(split.name, split.start, split.end) for split in record.splits] == [
        ("train", 0, 2),
        ("test", 2, 3),
        ("test", 3, 4),
    ]
    assert (record.name, record.description, record.license) == ("Digits", "Ten of them.", "CC0-1.0")
    assert (record.tags, record.version, record.citation) == (("digits", "tiny"), "1.0.0", "Nobody, 2026")
    assert record.homepage == "https://example.com/digits"


def test_every_form_of_the_same_shards_gives_the_same_facts(
    client: Client, publisher: DatasetPublisher, shards: list[WrittenShard], pattern: str
) -> None:
    """A dataset, a pattern, joined paths, lists of paths or strings, and what `write_samples` gave."""
    paths = [shard.path for shard in shards]
    forms: list[Any] = [
        Dataset[Digit](pattern),
        pattern,
        "::".join(map(str, paths)),
        f"file://{pattern}",
        paths,
        [str(path) for path in paths],
        iter(paths),
        shards,
    ]

    for form in forms:
        uri = publisher.publish_dataset(form, "Digits")
        assert record_at(client, uri).shards == tuple(shard.shard for shard in shards)


def test_samples_are_written_and_uploaded(client: Client, publisher: DatasetPublisher, home: Path) -> None:
    """Any iterable of them; their type is that of the first one, and no file stays behind."""
    uri = publisher.publish_dataset((digit for digit in digits()), "Digits")

    record = record_at(client, uri)
    assert isinstance(record.storage, BlobStorage)
    assert record.schema_ref is not None
    assert [digit.label for digit in DatasetLoader(client).load_dataset(uri, Digit)] == list(range(10))
    assert list((home / "cache").iterdir()) == [] or {path.name for path in (home / "cache").iterdir()} == {"spool"}


def test_samples_of_ordinary_members_may_be_dicts(client: Client, publisher: DatasetPublisher) -> None:
    """They have no type, and are read as dicts."""
    uri = publisher.publish_dataset([{"txt": "one", "cls": 1}, {"txt": "two", "cls": 2}], "Words")

    assert record_at(client, uri).schema_ref is None
    assert [sample["txt"] for sample in DatasetLoader(client).load_dataset(uri)] == ["one", "two"]


def test_a_dataset_seen_through_a_lens_is_its_samples(
    client: Client, publisher: DatasetPublisher, pattern: str
) -> None:
    """The shards hold the other type, so new ones are written."""

    @lens
    def as_word(digit: Digit) -> Word:
        return Word(f"number {digit.label}")

    uri = publisher.publish_dataset(Dataset[Digit](pattern).as_type(Word), "Words")

    assert [word.text for word in DatasetLoader(client).load_dataset(uri, Word)] == [f"number {i}" for i in range(10)]


def test_compressed_shards_are_published_by_url(
    client: Client, publisher: DatasetPublisher, shards: list[WrittenShard], tmp_path: Path
) -> None:
    """Their names say how to read them; as blobs they would have none."""
    path = tmp_path / "train.tar.gz"
    path.write_bytes(gzip.compress(shards[0].path.read_bytes()))

    with pytest.raises(ShardError, match="compressed"):
        publisher.publish_dataset(path, "Digits", sample_type=Digit)
    assert contents(client) == []
    uri = publisher.publish_dataset(path, "Digits", sample_type=Digit, storage="url")

    assert [digit.label for digit in DatasetLoader(client).load_dataset(uri)] == [0, 1, 2]


def test_by_url_nothing_is_uploaded(client: Client, publisher: DatasetPublisher, pattern: str) -> None:
    """Local paths are file URLs, the braces as they were written; the facts are there all the same."""
    uri = publisher.publish_dataset(Dataset[Digit](pattern), "Digits", storage="url")

    record = record_at(client, uri)
    assert record.storage == UrlStorage((f"file://{pattern}",))
    assert record.shards is not None
    assert [shard.samples for shard in record.shards] == [3, 3, 3, 1]
    assert len(contents(client)) == 2


def test_names_that_are_no_urls_are_encoded(client: Client, publisher: DatasetPublisher, tmp_path: Path) -> None:
    """Spaces, percent signs and letters of other scripts in a path; a `Path` has no brace notation."""
    folder = tmp_path / "a b%20c ü"
    folder.mkdir()
    for shard, name in zip(
        write_samples(digits(), tmp_path / "x-%d.tar", shard_samples=5), ("{0..1}.tar", "x-1.tar"), strict=True
    ):
        shard.path.rename(folder / name)

    for given in (str(folder / "x-{1..1}.tar"), folder / "{0..1}.tar"):
        uri = publisher.publish_dataset(given, "Digits", sample_type=Digit, storage="url")
        assert len(list(DatasetLoader(client).load_dataset(uri))) == 5


def test_remote_urls_are_published_unread(client: Client, publisher: DatasetPublisher) -> None:
    """Whatever the scheme: nothing is fetched, and how many shards there are is what braces say."""
    for url in (
        "s3://bucket/data-{000000..000009}.tar",
        "gs://bucket/data-{000000..000009}.tar",
        "https://nowhere.invalid/data-{000000..000009}.tar",
        "ipfs://bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi/{0..9}.tar",
    ):
        record = record_at(client, publisher.publish_dataset(Dataset[Digit](url=url), name="Far"))

        assert record.storage == UrlStorage((url,))
        assert record.shards is None
        assert record.size is not None
        assert (record.size.shards, record.size.samples) == (10, None)
        assert record.schema_ref is not None


def test_local_shards_are_measured_for_urls_elsewhere(
    client: Client, publisher: DatasetPublisher, shards: list[WrittenShard], pattern: str
) -> None:
    """``urls`` says where others find them; the facts come from the files here."""
    urls = ["https://example.com/train-{000000..000003}.tar"]

    record = record_at(client, publisher.publish_dataset(Dataset[Digit](pattern), "Digits", urls=urls))

    assert record.storage == UrlStorage(tuple(urls))
    assert record.shards == tuple(shard.shard for shard in shards)


def test_remote_shards_are_read_where_that_is_wanted(
    client: Client, publisher: DatasetPublisher, shards: list[WrittenShard]
) -> None:
    """With ``scan`` for their facts; for blobs they are fetched and uploaded."""
    from tests.atproto.scripted_server import ScriptedServer

    with ScriptedServer() as server:
        for number, shard in enumerate(shards):
            server.say(f"/{number}.tar", shard.path.read_bytes())
        url = f"{server.url}/{{0..3}}.tar"
        scanned = record_at(client, publisher.publish_dataset(url, "Digits", scan=True))
        uploaded = record_at(client, publisher.publish_dataset(url, "Digits", storage="blobs"))

    assert isinstance(scanned.storage, UrlStorage)
    assert isinstance(uploaded.storage, BlobStorage)
    assert scanned.shards == uploaded.shards == tuple(shard.shard for shard in shards)


def test_a_schema_is_published_once_per_sample_type(client: Client, publisher: DatasetPublisher) -> None:
    """An equal one is used again, also by another publisher; another type gets its own."""
    first, second, third = (
        record_at(client, DatasetPublisher(client).publish_dataset(samples, "Samples"))
        for samples in (digits(), digits(3), [Word("one")])
    )

    assert (first.schema_ref, first.schema_cid) == (second.schema_ref, second.schema_cid)
    assert third.schema_ref != first.schema_ref
    schema = client.get_record(parse_at_uri(first.schema_ref or ""))
    assert schema.cid == first.schema_cid
    assert read_schema(schema.value).name == "Digit"
    assert read_schema(schema.value).description == "A handwritten digit."
    assert publisher.publish_schema(Digit) == first.schema_ref
    assert "description" not in client.get_record(parse_at_uri(third.schema_ref or "")).value


def test_a_type_that_was_built_from_a_schema_is_that_schema(client: Client, publisher: DatasetPublisher) -> None:
    """Publishing a dataset that was loaded without a type makes no second schema record."""
    uri = publisher.publish_dataset(digits(), "Digits")
    loaded = DatasetLoader(client).load_dataset(uri)

    again = publisher.publish_dataset(list(loaded), "Digits again")

    assert record_at(client, again).schema_ref == record_at(client, uri).schema_ref


def test_a_new_version_names_the_one_before(client: Client, publisher: DatasetPublisher) -> None:
    """By AT-URI and CID, which it keeps; both records stay."""
    first = publisher.publish_dataset(digits(), "Digits", version="1")
    second = publisher.publish_dataset(digits(5), "Digits", version="2", previous=first)

    previous = record_at(client, second).previous_version
    assert previous is not None
    assert (previous.uri, previous.cid) == (first, client.get_record(parse_at_uri(first)).cid)


def test_the_record_key_is_a_tid_or_the_one_given(client: Client, publisher: DatasetPublisher) -> None:
    """A key is used once: a new version is a new record."""
    uri = publisher.publish_dataset(digits(), "Digits", rkey="digits")
    before = contents(client)

    assert uri == "at://did:web:localhost/app.bsky.atdata.dataset/digits"
    with pytest.raises(RefusedError, match="already a record"):
        publisher.publish_dataset(digits(5), "Others", rkey="digits")
    assert contents(client) == before


def test_another_family_has_its_own_records(
    client: Client, publisher: DatasetPublisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A whole publish and load under another family; nothing of the first one appears."""
    monkeypatch.setenv("ATDATA_NSID", "com.example.data")

    uri = publisher.publish_dataset(digits(), "Digits")

    assert parse_at_uri(uri).collection == "com.example.data.dataset"
    assert "app.bsky" not in json.dumps(client.get_record(parse_at_uri(uri)).value)
    assert [digit.label for digit in DatasetLoader(client).load_dataset(uri)] == list(range(10))
    assert list(client.list_records(LOCAL_DID, DATASET)) == []


def test_progress_reaches_its_total(publisher: DatasetPublisher, pattern: str) -> None:
    """Each step is told in bytes, up to all of them."""
    told: list[tuple[str, int, int]] = []

    publisher.publish_dataset(pattern, "Digits", progress=lambda *step: told.append(step))

    for step in ("reading", "uploading"):
        done = [(count, total) for name, count, total in told if name == step]
        assert done == sorted(done)
        assert done[-1][0] == done[-1][1] > 0


def test_very_many_blobs_go_into_lists_and_come_back(
    client: Client, publisher: DatasetPublisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond the limit of a record (a lower one here) the first 256 blobs stand in it, the others in lists."""
    monkeypatch.setattr(atdata.atproto.manifest, "MAX_RECORD_BYTES", 40_000)
    shards = write_samples((Word(f"word {i}") for i in range(300)), tmp_path / "many" / "%06d.tar", shard_samples=1)

    uri = publisher.publish_dataset(shards, "Many", sample_type=Word)

    record = record_at(client, uri)
    assert isinstance(record.storage, BlobStorage)
    assert (len(record.storage.blobs), len(record.storage.more)) == (256, 1)
    assert (record.shards, len(record.manifest)) == (None, 1)
    (found,) = client.list_records(LOCAL_DID, LIST)
    assert found.value["dataset"] == uri
    dataset = DatasetLoader(client).load_dataset(uri, Word)
    assert len(dataset) == 300
    assert [dataset[i].text for i in (0, 255, 256, 299)] == ["word 0", "word 255", "word 256", "word 299"]


def test_a_schema_is_found_out_where_nobody_gives_one(
    client: Client, publisher: DatasetPublisher, pattern: str
) -> None:
    """From the shell one publishes files alone; who loads them gets a class all the same, which fits the true one."""
    told: list[str] = []
    uri = publisher.publish_dataset(pattern, "Digits of a file", announce=told.append)

    loader = DatasetLoader(client)
    dataset = loader.load_dataset(uri)

    assert any("reading all of them" in line for line in told)
    assert dataset.sample_type.__name__ == "DigitsOfAFile"
    assert [sample.label for sample in dataset] == [digit.label for digit in digits()]
    assert next(iter(dataset)).image.shape == (4, 4)
    assert next(iter(loader.load_dataset(uri, Digit))).label == 0


def test_a_schema_is_not_looked_for_against_ones_will(
    client: Client, publisher: DatasetPublisher, pattern: str
) -> None:
    """Then samples are dicts."""
    uri = publisher.publish_dataset(pattern, "Digits", infer_schema=False)

    assert record_at(client, uri).schema_ref is None
    assert "msgpack" in next(iter(DatasetLoader(client).load_dataset(uri)))


def test_very_many_urls_are_written_in_brace_notation(client: Client, publisher: DatasetPublisher) -> None:
    """One by one they would not fit into a record; few stay as they are, and so do those with braces of their own."""
    many = [f"https://example.com/{folder}/train-{i:06d}.tar" for folder in ("a", "b") for i in range(40_000)]
    braces = [f"https://example.com/{i}/{{0..1}}.tar" for i in range(300)]

    found = [record_at(client, publisher.publish_dataset(urls, "Far")) for urls in (many, many[:256], braces)]

    folded = tuple(f"https://example.com/{folder}/train-{{000000..039999}}.tar" for folder in ("a", "b"))
    assert [record.storage for record in found] == [
        UrlStorage(folded),
        UrlStorage(tuple(many[:256])),
        UrlStorage(tuple(braces)),
    ]
    assert found[0].size is not None
    assert found[0].size.shards == 80_000
    named = record_at(client, publisher.publish_dataset(folded, "Far", urls=many))
    assert named.storage == UrlStorage(folded)
    with pytest.raises(LimitError, match="brace notation"):
        publisher.publish_dataset([f"https://example.com/{'x' * 80}/{i * 3:06d}.tar" for i in range(1900)], "Far")
