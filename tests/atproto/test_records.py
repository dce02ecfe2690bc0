"""Records as typed values."""

import copy
import json
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings
from tests.atproto import examples

from atdata.atproto.lexicon import Lexicons
from atdata.atproto.records import (
    Access,
    BlobListRecord,
    DatasetRecord,
    ManifestPart,
    Mirror,
    Origin,
    SchemaRecord,
    Split,
    StrongRef,
    Totals,
    now,
    read_blob_list,
    read_dataset,
    read_schema,
    write_value,
)
from atdata.errors import InvalidRecordError
from atdata.storage.base import Shard
from atdata.storage.union import Blob, BlobStorage, UnknownStorage, UrlStorage
from atdata.syntax import parse_cid

DOCS = Path(__file__).parents[2] / "docs" / "records.md"

# Values that no lexicon of ours knows: any JSON that a record can hold.
unknown = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
fields = st.dictionaries(
    st.text("XYZ", min_size=1, max_size=3) | st.sampled_from(["extra", "shardExtra"]), unknown, max_size=2
)


def optional(
    strategies: dict[str, st.SearchStrategy[Any]], **required: st.SearchStrategy[Any]
) -> st.SearchStrategy[Any]:
    """Objects with some of the optional fields, and with unknown ones."""
    known = st.fixed_dictionaries(required, optional=strategies)
    return st.builds(lambda value, others: value | others, known, fields)


cids = st.integers(0, 99).map(examples.cid)
counts = st.integers(0, 2**53 - 1)
texts = st.text(min_size=1, max_size=20)
references = optional({}, uri=st.just(examples.record_uri("dataset")), cid=st.just(examples.RECORD_CID))
blobs = st.integers(0, 99).map(examples.blob)
storages = st.one_of(
    optional({"region": texts}, **{
        "$type": st.just("app.bsky.atdata.dataset#urlStorage"),
        "urls": st.lists(texts, min_size=1, max_size=3),
    }),
    optional({"more": st.lists(references, max_size=2)}, **{
        "$type": st.just("app.bsky.atdata.dataset#blobStorage"),
        "blobs": st.lists(blobs, min_size=1, max_size=3),
    }),
    optional({"urls": unknown, "blobs": unknown}, **{"$type": st.just("com.example.torrent#storage")}),
)  # fmt: skip
shards = optional({"cid": cids, "bytes": counts, "samples": counts, "index": cids, "$type": texts})
parts = optional({"blob": blobs, "url": texts, "cid": cids, "shards": counts, "bytes": counts})
datasets = optional(
    {
        "description": texts,
        "schemaRef": st.just(examples.record_uri("schema")),
        "shards": st.lists(shards, max_size=3),
        "manifest": st.lists(parts, max_size=2),
        "mirrors": st.lists(optional({"region": texts}, storage=storages), max_size=2),
        "splits": st.lists(optional({}, name=texts, start=counts, end=counts), max_size=2),
        "size": optional({"samples": counts, "bytes": counts, "shards": counts}),
        "previousVersion": references,
        "derivedFrom": st.lists(optional({"record": references, "uri": texts, "relation": texts}), max_size=2),
        "tags": st.lists(texts, max_size=2),
        "access": optional({"requiredRole": texts, "issuer": st.just(examples.DID)}, kind=texts),
    },
    **{
        "$type": st.just("app.bsky.atdata.dataset"),
        "name": texts,
        "storage": storages,
        "createdAt": st.just("2026-01-07T12:00:00Z"),
    },
)


@given(datasets)
@settings(max_examples=150, deadline=None)
def test_datasets_survive_unchanged(value: dict[str, Any]) -> None:
    """Reading and writing gives the same JSON, unknown fields and variants at every level included."""
    before = copy.deepcopy(value)

    record = read_dataset(value)

    assert record.to_json() == before
    assert value == before
    assert DatasetRecord.from_json(record.to_json()) == record


@pytest.mark.parametrize(
    ("value", "read", "kind"),
    [
        (examples.dataset(), read_dataset, DatasetRecord),
        (examples.schema(), read_schema, SchemaRecord),
        (examples.blob_list(), read_blob_list, BlobListRecord),
    ],
    ids=["dataset", "schema", "blobList"],
)
def test_every_field_is_read_and_written(
    value: dict[str, Any], read: Callable[[Any], DatasetRecord | SchemaRecord | BlobListRecord], kind: type
) -> None:
    """A record with every field of its lexicon is typed throughout, pickles, and passes the checks on writing."""
    record = read(value)

    assert type(record) is kind
    assert record.extra == {}
    assert pickle.loads(pickle.dumps(record)) == record
    assert write_value(record) == value
    assert write_value(read(value | {"new": [1, {"a": None}]})) == value | {"new": [1, {"a": None}]}


def test_a_dataset_is_typed() -> None:
    """Each field is what its class says."""
    record = read_dataset(examples.dataset())

    assert record.storage == UrlStorage(
        ("s3://digits/{00..01}.tar", "https://example.com/02.tar"), "https://r2.example.com", "auto"
    )
    assert record.shards is not None
    assert record.shards[1] == Shard(parse_cid(examples.cid(1)), 10_240, 100, parse_cid(examples.cid(1_000_001)))
    blobs = tuple(Blob(parse_cid(examples.cid(i)), "application/x-tar", 10_240) for i in range(3))
    assert record.mirrors == (Mirror(BlobStorage(blobs), "eu-central-1"),)
    assert record.splits == (Split("train", 0, 2), Split("test", 2, 3))
    assert record.size == Totals(samples=300, bytes=30_720, shards=3)
    assert record.previous_version == StrongRef(examples.record_uri("dataset", "3k2aaaaaaaa2a"), examples.RECORD_CID)
    assert record.derived_from[1] == Origin(uri="https://doi.org/10.24432/C50P49", relation="import")
    assert record.access == Access("request", "reader", examples.DID, "https://example.com/ask")
    assert record.manifest == ()
    assert record.tags == ("digits", "手書き")


def test_a_manifest_is_typed() -> None:
    """Parts are blobs or URLs."""
    part = {"blob": examples.blob(5), "cid": examples.cid(5), "shards": 20_000, "bytes": 10_240}
    record = read_dataset(examples.dataset(shards=None, manifest=[part, {"url": "https://example.com/1.gz"}]))

    blob = Blob(parse_cid(examples.cid(5)), "application/x-tar", 10_240)
    assert record.shards is None
    assert record.manifest[0] == ManifestPart(blob, None, examples.cid(5), 20_000, 10_240)
    assert record.manifest[1].url == "https://example.com/1.gz"


def test_what_others_leave_out_is_none() -> None:
    """A stranger's record with as little as its lexicon asks for is read."""
    value = {"name": "x", "storage": {"$type": "com.example.torrent"}, "createdAt": "2026-01-07T12:00:00Z"}
    record = read_dataset(value | {"$type": "app.bsky.atdata.dataset", "shards": [{}, {"bytes": 1}]})

    assert record.storage == UnknownStorage("com.example.torrent", {"$type": "com.example.torrent"})
    assert record.shards == (Shard(), Shard(bytes=1))
    assert record.schema_ref is None


def test_an_unusual_spelling_of_a_cid_is_kept() -> None:
    """The same CID in base58 is the same shard, and is written back as it was."""
    base58 = "zb2rhe5P4gXftAwvA4eXQ5HJwsER2owDyS9sKaQRRVQPn93bA"
    value = examples.dataset(shards=[examples.shard(0, cid=base58)], mirrors=None, splits=None, size=None)

    record = read_dataset(value)

    assert record.shards is not None
    assert record.shards[0].cid == parse_cid(base58)
    assert record.to_json() == value


@pytest.mark.parametrize("read", [read_dataset, read_schema, read_blob_list])
@pytest.mark.parametrize("value", [None, [], "x", {}, {"$type": "app.bsky.feed.post", "text": "hello"}])
def test_another_record_is_refused(read: Callable[[Any], object], value: Any) -> None:
    """A record of another type, or no record at all, is an error that says so."""
    with pytest.raises(InvalidRecordError):
        read(value)


def test_records_nested_very_deep_are_refused() -> None:
    """100,000 levels in an unknown field end in an error and not in a crash."""
    value: Any = 0
    for _ in range(100_000):
        value = [value]

    with pytest.raises(InvalidRecordError, match="levels deep"):
        read_dataset(examples.dataset(new=value))


def test_another_family_is_used_throughout(monkeypatch: pytest.MonkeyPatch) -> None:
    """Under ``com.example.data`` records are written and read with that name in each ``$type``."""
    monkeypatch.setenv("ATDATA_NSID", "com.example.data")
    other = {
        name: json.loads(json.dumps(value).replace("app.bsky.atdata", "com.example.data"))
        for name, value in (("dataset", examples.dataset()), ("schema", examples.schema()))
    }

    for value, read in ((other["dataset"], read_dataset), (other["schema"], read_schema)):
        assert write_value(read(value)) == value
        assert "app.bsky" not in json.dumps(write_value(read(value)))


def test_now_is_a_datetime_of_records() -> None:
    """With milliseconds, in UTC."""
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", now())


def test_the_records_in_the_docs_are_what_is_written() -> None:
    """Every JSON record on the page of the records passes all that is checked on writing; each kind has one."""
    text = DOCS.read_text(encoding="utf-8")
    records = [json.loads(block) for block in re.findall(r"```json\n(.*?)```", text, re.DOTALL)]
    readers: dict[str, Callable[[Any], DatasetRecord | SchemaRecord | BlobListRecord]] = {
        "dataset": read_dataset,
        "schema": read_schema,
        "blobList": read_blob_list,
    }

    for value in records:
        assert write_value(readers[value["$type"].rpartition(".")[2]](value)) == value
    assert {value["$type"].rpartition(".")[2] for value in records} == readers.keys()
    storages = {value["storage"]["$type"] for value in records if "storage" in value}
    assert storages == {"app.bsky.atdata.dataset#urlStorage", "app.bsky.atdata.dataset#blobStorage"}
    part = next(value["manifest"][0] for value in records if "manifest" in value)
    lines = re.findall(r"```jsonl\n(.*?)```", text, re.DOTALL)[0].splitlines()
    assert len(lines) == part["shards"]
    for line in lines:
        Lexicons.load().validate("app.bsky.atdata.dataset#shard", json.loads(line))
