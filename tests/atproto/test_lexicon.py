"""Lexicon documents: loaded, rewritten to another family, and used."""

import json
from pathlib import Path
from typing import Any

import pytest
from tests.atproto import examples
from tests.atproto.reference import ask_reference

from atdata.atproto.lexicon import Lexicons, read_documents
from atdata.errors import InvalidRecordError, InvalidSyntaxError
from atdata.syntax import Nsid

FOLDER = Path(__file__).parents[2] / "lexicons"
OTHER = Nsid("com.example.data")


def test_documents_are_those_of_the_repository() -> None:
    """The package ships ``lexicons/`` unchanged, at paths that follow from the NSIDs, and adds the strong reference."""
    on_disk = {path: json.loads(path.read_text()) for path in FOLDER.rglob("*.json")}

    loaded = {document["id"]: document for document in read_documents()}

    assert loaded.keys() - {document["id"] for document in on_disk.values()} == {"com.atproto.repo.strongRef"}
    for path, document in on_disk.items():
        assert path == FOLDER / (document["id"].replace(".", "/") + ".json")
        assert loaded[document["id"]] == document


def test_every_definition_and_property_is_described() -> None:
    """Who implements the lexicons finds the meaning in the documents themselves."""
    for document in read_documents():
        if document["id"].startswith("app.bsky.atdata."):
            for name, definition in document["defs"].items():
                assert definition.get("description"), name
                body = definition.get("record", definition)
                described = [key for key, item in body["properties"].items() if item.get("description")]
                plain = {"name", "start", "end", "urls", "region"}  # plain by their name in one place or other
                assert body["properties"].keys() - set(described) <= plain, name


def test_a_family_is_rewritten_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Under another family every id, reference and description names that one, and records are checked by it."""
    monkeypatch.setenv("ATDATA_NSID", OTHER)
    text = json.dumps(read_documents())
    value = json.loads(json.dumps(examples.dataset()).replace("app.bsky.atdata", OTHER))

    Lexicons.load().validate("com.example.data.dataset", value)

    assert "app.bsky" not in text
    assert read_documents() == read_documents(OTHER)
    with pytest.raises(InvalidRecordError, match=r"app\.bsky\.atdata\.dataset"):
        Lexicons.load().validate("com.example.data.dataset", examples.dataset())


def test_a_wrong_family_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """``ATDATA_NSID`` must be an NSID."""
    monkeypatch.setenv("ATDATA_NSID", "no family")

    with pytest.raises(InvalidSyntaxError, match="NSID"):
        Lexicons.load()


@pytest.mark.network
def test_documents_pass_the_reference_parser() -> None:
    """``@atproto/lexicon`` parses the documents, and accepts the examples of all records."""
    cases = [
        ("app.bsky.atdata.dataset", examples.dataset()),
        ("app.bsky.atdata.schema", examples.schema()),
        ("app.bsky.atdata.blobList", examples.blob_list()),
    ]

    assert ask_reference(read_documents(), cases).complaints == [None, None, None]


def test_documents_pass_the_python_parser() -> None:
    """The lexicon parser of the ``atproto`` package reads every document."""
    parser = pytest.importorskip("atproto_lexicon.parser")

    for path in FOLDER.rglob("*.json"):
        parsed = parser.lexicon_parse_file(path)

        assert parsed.id == json.loads(path.read_text())["id"]


@pytest.mark.parametrize(
    "value", [examples.dataset(), examples.schema(), examples.blob_list()], ids=["dataset", "schema", "blobList"]
)
def test_examples_are_valid(value: dict[str, Any]) -> None:
    """A record with every field passes, and passes with fields that nobody knows."""
    Lexicons.load().validate(value["$type"], value)
    Lexicons.load().validate(value["$type"], value | {"new": {"a": [1]}, "$other": "x"})


@pytest.mark.parametrize(
    ("change", "path", "words"),
    [
        ({"name": None}, "name", "required"),
        ({"name": ""}, "name", "at least 1"),
        ({"name": "x" * 10_000}, "name", "10,000"),
        ({"name": "é" * 201}, "name", "201 characters, at most 200"),
        ({"name": 7}, "name", "an integer"),
        ({"tags": ["a"] * 33}, "tags", "33 items, at most 32"),
        ({"tags": ["ok", "x" * 65]}, "tags[1]", "at most 64"),
        ({"tags": [["a"]]}, "tags[0]", "an array"),
        ({"shards": [examples.shard(0), examples.shard(1, bytes=-1)]}, "shards[1].bytes", "least allowed is 0"),
        ({"shards": [examples.shard(0, samples=0.5)]}, "shards[0].samples", "float"),
        ({"shards": [examples.shard(0, bytes=2**60)]}, "shards[0].bytes", "2**53"),
        ({"shards": [examples.shard(0, cid="bafy")]}, "shards[0].cid", "CID"),
        ({"shards": [True]}, "shards[0]", "a boolean"),
        ({"storage": None}, "storage", "required"),
        ({"storage": {"kind": "hybrid"}}, "storage", "#urlStorage"),
        ({"storage": []}, "storage", "an array"),
        ({"storage": examples.url_storage()}, "storage.urls", "at least 1"),
        ({"storage": examples.url_storage("")}, "storage.urls[0]", "at least 1"),
        ({"storage": examples.blob_storage(1, more=[{"uri": "x"}])}, "storage.more[0].cid", "required"),
        ({"createdAt": "yesterday"}, "createdAt", "datetime"),
        ({"createdAt": "2026-01-07T12:00:00"}, "createdAt", "time zone"),
        ({"schemaRef": "at://did:plc:abc/schema/3k2a"}, "schemaRef", "short form"),
        ({"splits": [{"name": "train", "start": 0}]}, "splits[0].end", "required"),
        ({"new": {"deep": [1, 2, 0.1]}}, "new.deep[2]", "float"),
        ({"$type": "app.bsky.feed.post"}, "$type", "app.bsky.feed.post"),
        ({"$type": None}, "$type", "missing"),
    ],
)
def test_what_breaks_the_lexicon_is_named_with_its_path(change: dict[str, Any], path: str, words: str) -> None:
    """Each error says where, what is wrong, and what is allowed."""
    with pytest.raises(InvalidRecordError) as caught:
        Lexicons.load().validate("app.bsky.atdata.dataset", examples.dataset(**change))

    assert caught.value.path == path
    assert words in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("blob", "path"),
    [
        ({"cid": examples.cid(0), "mimeType": "application/x-tar"}, ""),
        ({key: item for key, item in examples.blob(0).items() if key != "$type"}, ""),
        ({key: item for key, item in examples.blob(0).items() if key != "size"}, ".size"),
        ({key: item for key, item in examples.blob(0).items() if key != "ref"}, ".ref"),
        (examples.blob(0, size="10240"), ".size"),
        (examples.blob(0, size=-1), ".size"),
        (examples.blob(0, size=True), ".size"),
        (examples.blob(0, ref=examples.cid(0)), ".ref"),
        (examples.blob(0, ref={"$link": "bafy"}), ".ref.$link"),
        (examples.blob(0, mimeType=""), ".mimeType"),
        (examples.blob(0, alt="a picture"), ".alt"),
        ("bafy", ""),
        (None, ""),
    ],
)
def test_only_whole_blob_objects_are_blobs(blob: Any, path: str) -> None:
    """A PDS drops the bytes of any other, so no record with one is read as if the blob were there."""
    value = examples.blob_list(blobs=[examples.blob(0), blob])

    with pytest.raises(InvalidRecordError) as caught:
        Lexicons.load().validate("app.bsky.atdata.blobList", value)

    assert caught.value.path == f"blobs[1]{path}"


def test_an_unknown_variant_passes() -> None:
    """The union of storages is open: what we do not know yet is no error."""
    value = examples.dataset(storage={"$type": "com.example.torrent", "magnet": 1}, mirrors=None)

    Lexicons.load().validate("app.bsky.atdata.dataset", value)


@pytest.mark.parametrize("value", [None, [], "record", 7, 0.5])
def test_a_record_is_an_object(value: Any) -> None:
    """Anything else is refused."""
    with pytest.raises(InvalidRecordError, match="must be an object"):
        Lexicons.load().validate("app.bsky.atdata.dataset", value)


def test_parameters_of_a_query_are_checked_and_completed() -> None:
    """Wrong ones are named, defaults are filled in, unknown ones are left out."""
    properties = {
        "limit": {"type": "integer", "minimum": 1, "maximum": 100, "default": 50},
        "repo": {"type": "string", "format": "at-identifier"},
        "tags": {"type": "array", "items": {"type": "string"}},
    }
    parameters = {"type": "params", "required": ["repo"], "properties": properties}
    query = {"lexicon": 1, "id": "com.example.list", "defs": {"main": {"type": "query", "parameters": parameters}}}
    lexicons = Lexicons([query])

    found = lexicons.validate_params("com.example.list", {"repo": "did:plc:abc", "tags": ["a"], "other": 1})

    assert found == {"repo": "did:plc:abc", "tags": ["a"], "limit": 50}
    wrong: list[tuple[dict[str, Any], str]] = [
        ({}, "repo"),
        ({"repo": "me"}, "repo"),
        ({"repo": "did:plc:abc", "limit": 0}, "limit"),
    ]
    for params, path in wrong:
        with pytest.raises(InvalidRecordError) as caught:
            lexicons.validate_params("com.example.list", params)
        assert caught.value.path == path


@pytest.mark.parametrize(
    ("definition", "words"),
    [
        ({"type": "ref", "ref": "#nowhere"}, "com.example.a#nowhere"),
        ({"type": "union", "refs": ["com.example.b"]}, "com.example.b#main"),
        ({"type": "float"}, "float"),
        ({"type": "string", "format": "colour"}, "colour"),
        ({"type": "array"}, "items"),
    ],
)
def test_a_document_that_does_not_hold_together_is_refused(definition: dict[str, Any], words: str) -> None:
    """References to nothing, unknown types and formats are found when the documents are loaded, not later."""
    document = {
        "lexicon": 1,
        "id": "com.example.a",
        "defs": {"main": {"type": "object", "properties": {"x": definition}}},
    }

    with pytest.raises(InvalidRecordError, match=words):
        Lexicons([document])
