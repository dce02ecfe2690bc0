"""What is checked on writing, beyond the lexicon."""

from typing import Any

import pytest
from tests.atproto import examples
from tests.atproto.examples import MANIFEST_PART, THREE, assert_refused, plain, write_dataset, wrong

from atdata.atproto.checks import MAX_RECORD_BYTES, count_bytes
from atdata.atproto.records import read_blob_list, read_dataset, read_schema, write_value
from atdata.errors import InvalidRecordError, LimitError, RefusedError

OTHER_CID = "bafyreigbtj4x7ip5legnfznufuopl4sg4knzc2cof6duas4b3q2fy6swua"  # dag-cbor, not raw


BLOB_PART = {"blob": examples.blob(7), "cid": examples.cid(7), "shards": 3, "bytes": 10_240}


@pytest.mark.parametrize(
    ("fields", "path", "words"),
    [
        wrong("shards[0].cid", "always all", shards=[{}] * 3),
        wrong("shards[1].samples", "missing", shards=[examples.shard(0), {"cid": examples.cid(1), "bytes": 1}]),
        wrong("shards[0].cid", "raw, sha-256", shards=[examples.shard(0, cid=OTHER_CID)]),
        wrong("shards[0].index", "raw, sha-256", shards=[examples.shard(0, index=OTHER_CID)]),
        wrong("shards[0].bytes", "end blocks", shards=[examples.shard(0, bytes=0)]),
        wrong("shards", "empty", shards=[]),
        wrong("manifest", "empty", shards=None, manifest=[]),
        wrong("manifest", "not both", manifest=[MANIFEST_PART]),
        wrong("manifest[0]", "one of", shards=None, manifest=[{"cid": examples.cid(7), "shards": 3, "bytes": 400}]),
        wrong("manifest[0]", "one of", shards=None, manifest=[MANIFEST_PART | BLOB_PART]),
        wrong("manifest[0].shards", "missing", shards=None, manifest=[{**MANIFEST_PART, "shards": None}]),
        wrong("manifest[0].cid", "raw", shards=None, manifest=[MANIFEST_PART | {"cid": OTHER_CID}]),
        wrong("manifest[0]", "those of the blob", shards=None, manifest=[BLOB_PART | {"bytes": 1}]),
        wrong("schemaRef", "must name a record", schemaRef="at://did:plc:abc/app.bsky.atdata.schema"),
        wrong("schemaRef", "a DID", schemaRef="at://alice.example.com/app.bsky.atdata.schema/3k2a"),
        wrong("schemaCid", "does not name", schemaRef=None),
        wrong("splits[0].end", "is empty", splits=[{"name": "train", "start": 1, "end": 1}]),
        wrong("splits[0].end", "is empty", splits=[{"name": "train", "start": 2, "end": 1}]),
        wrong("splits[0].end", "there are 3", splits=[{"name": "train", "start": 0, "end": 4}]),
        wrong("splits[0].name", "ASCII letters", splits=[{"name": "a/b", "start": 0, "end": 1}]),
        wrong("splits[0].name", "ASCII letters", splits=[{"name": "..", "start": 0, "end": 1}]),
        wrong("splits[1]", "overlap", splits=[
            {"name": "a", "start": 0, "end": 2}, {"name": "a", "start": 1, "end": 3}]),
        wrong("size.samples", "300", size={"samples": 299}),
        wrong("size.bytes", "30,720", size={"bytes": 0}),
        wrong("size.shards", "have 3", size={"shards": 2}),
        wrong("previousVersion.uri", "no app.bsky.atdata.dataset", previousVersion={
            "uri": examples.record_uri("schema"), "cid": OTHER_CID}),
        wrong("derivedFrom[0]", "one of", derivedFrom=[{"relation": "merge"}]),
        wrong("derivedFrom[0]", "one of", derivedFrom=[{
            "uri": "doi:1", "record": {"uri": examples.record_uri("dataset"), "cid": OTHER_CID}}]),
        wrong("name", "empty", name=" \t"),
        wrong("name", "control character", name="a\x1b[31m"),
        wrong("tags[1]", "empty", tags=["a", ""]),
        wrong("version", "control character", version="1\n2"),
        wrong("license", "empty", license=" "),
        wrong("description", "control character", description="a\x00b"),
        wrong("new[0]", "$type", new=[{"ref": {"$link": examples.cid(0)}, "mimeType": "a/b", "size": 1}]),
        wrong("new", "$type", new={"cid": examples.cid(0), "mimeType": "a/b"}),
        wrong("new.size", "missing", new={"$type": "blob", "ref": {"$link": examples.cid(0)}, "mimeType": "a/b"}),
        wrong("new.ref", "raw", new=examples.blob(0, ref={"$link": OTHER_CID})),
        wrong("new.mimeType", "MIME", new=examples.blob(0, mimeType="tar")),
        wrong("new.size", "empty blob", new=examples.blob(0, size=0)),
    ],
)  # fmt: skip
def test_what_is_refused_on_writing(fields: dict[str, Any], path: str, words: str) -> None:
    """Each of these passes the lexicon, or is built in code, and is refused with its path."""
    if "manifest" in fields:
        fields["manifest"] = [{k: v for k, v in part.items() if v is not None} for part in fields["manifest"]]

    assert_refused(fields, path, words)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"shards": None, "splits": None},
        {"shards": None, "manifest": [MANIFEST_PART]},
        {"shards": None, "manifest": [BLOB_PART]},
        {"shards": [examples.shard(i, samples=0) for i in range(3)]},
        {"splits": [{"name": "all", "start": 0, "end": 3}, {"name": "train", "start": 0, "end": 2}]},
        {"splits": [{"name": "a", "start": 0, "end": 1}, {"name": "a", "start": 1, "end": 3}]},
        {"description": "Two\nlines\tand ‮ marks", "name": "שלום"},
        {"storage": {"$type": "com.example.torrent", "magnet": "x"}},
        {"new": {"$type": "com.example.thing", "mimeType": "a/b"}},
    ],
)
def test_what_is_fine(fields: dict[str, Any]) -> None:
    """Nothing more is asked for than what is wrong above."""
    assert write_dataset(**fields) == plain(**fields)


def test_a_record_has_a_size() -> None:
    """At 150,000 bytes of JSON it passes, one more is an error that says what to do."""
    room = MAX_RECORD_BYTES - count_bytes(plain(new=[""]))
    fits = [""] + ["x" * 997] * (room // 1000)
    fits[0] = "x" * (room - sum(map(len, fits)) - 3 * (len(fits) - 1))
    value = plain(new=fits)
    assert count_bytes(value) == MAX_RECORD_BYTES

    assert write_value(read_dataset(value)) == value
    with pytest.raises(LimitError, match=r"150,001 bytes.*'manifest'"):
        write_value(read_dataset(plain(new=[*fits[:-1], fits[-1] + "x"])))


def test_many_shards_are_told_to_go_into_a_manifest() -> None:
    """1,500 shards with their facts are more than a record takes."""
    value = plain(
        storage=examples.url_storage("https://example.com/{0..1499}.tar"),
        shards=[examples.shard(i) for i in range(1500)],
    )

    with pytest.raises(LimitError, match=r"'shards'.*manifest") as caught:
        write_value(read_dataset(value))
    assert caught.value.limit == MAX_RECORD_BYTES


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ([{"name": "a", "kind": "integer"}, {"name": "a", "kind": "string"}], "definition.fields[1].name"),
        ([{"name": "a\n", "kind": "integer"}], "definition.fields[0].name"),
        (
            [{"name": "a", "kind": "image", "extension": "jpg"}, {"name": "b", "kind": "json"}],
            "definition.fields[1].extension",
        ),
        (
            [
                {"name": "a", "kind": "image", "extension": "jpg;png"},
                {"name": "b", "kind": "image", "extension": "png"},
            ],
            "definition.fields[1].extension",
        ),
        ([{"name": "a", "kind": "image", "extension": "jpg;"}], "definition.fields[0].extension"),
    ],
)
def test_fields_of_a_schema_are_told_apart(fields: list[dict[str, Any]], path: str) -> None:
    """Names and extensions are unique; all fields are members of their own, or none."""
    definition = {"$type": "app.bsky.atdata.schema#fields", "fields": fields}

    with pytest.raises(InvalidRecordError) as caught:
        write_value(read_schema(examples.schema(definition=definition)))
    assert caught.value.path == path


def test_names_of_fields_are_data() -> None:
    """Keywords and words with spaces are names that a dataset may have; which become attributes is another matter."""
    fields = [{"name": name, "kind": "string"} for name in ("class", "__init__", "first name", "größe")]
    value = examples.schema(definition={"$type": "app.bsky.atdata.schema#fields", "fields": fields})

    assert write_value(read_schema(value)) == value


def test_another_schema_language_passes() -> None:
    """The union of definitions is open on writing too."""
    value = examples.schema(definition={"$type": "com.example.jsonSchema", "schema": {"type": "object"}})

    assert write_value(read_schema(value)) == value


@pytest.mark.parametrize(
    ("change", "words"),
    [({"dataset": None}, "missing"), ({"dataset": examples.record_uri("schema")}, "dataset record")],
)
def test_a_blob_list_names_its_dataset(change: dict[str, Any], words: str) -> None:
    """So that lists of an interrupted publication can be told from those in use."""
    with pytest.raises(InvalidRecordError, match=words) as caught:
        write_value(read_blob_list(examples.blob_list(**change)))

    assert caught.value.path == "dataset"


def test_secrets_pass_only_when_that_was_asked_for() -> None:
    """A presigned URL is refused, unless the caller insists."""
    fields = {"storage": examples.url_storage(f"{THREE}?X-Amz-Signature=0f")}

    with pytest.raises(RefusedError, match="secret"):
        write_dataset(**fields)
    assert write_value(read_dataset(plain(**fields)), allow_secrets=True) == plain(**fields)
