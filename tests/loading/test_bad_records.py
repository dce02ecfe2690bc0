"""Records of strangers, and records that are wrong: each load fails with what is wrong, and touches nothing else."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.atproto.scripted_server import ScriptedServer
from tests.local_client import DATASET, SCHEMA, Digit
from tests.strangers import STRANGER, Stranger, stranger

from atdata.atproto.client import Client
from atdata.atproto.manifest import encode_part
from atdata.data.writer import WrittenShard
from atdata.errors import (
    AtdataError,
    InvalidRecordError,
    InvalidSyntaxError,
    LimitError,
    RefusedError,
    SchemaMismatchError,
    UnsupportedStorageError,
)
from atdata.loading.loader import DatasetLoader
from atdata.storage.base import Shard
from atdata.storage.url import file_url
from atdata.syntax import raw_cid

NOW = "2026-01-07T12:00:00.000Z"
CID = str(raw_cid(bytes(32)))
BLOB = {"$type": "blob", "ref": {"$link": CID}, "mimeType": "application/x-tar", "size": 10_240}


def dataset(**fields: Any) -> dict[str, Any]:
    """A valid dataset record by URL, but for ``fields``; None leaves one out."""
    value = {
        "$type": DATASET,
        "name": "Digits",
        "storage": {"$type": f"{DATASET}#urlStorage", "urls": ["https://nowhere.invalid/{0..3}.tar"]},
        "createdAt": NOW,
    }
    return {key: item for key, item in (value | fields).items() if item is not None}


def urls(*items: str) -> dict[str, Any]:
    return dataset(storage={"$type": f"{DATASET}#urlStorage", "urls": list(items)})


def schema(*names: str, **fields: Any) -> dict[str, Any]:
    """A schema record with string fields of these names."""
    definition = {"$type": f"{SCHEMA}#fields", "fields": [{"name": name, "kind": "string"} for name in names]}
    return {"$type": SCHEMA, "name": "Digit", "definition": definition, "createdAt": NOW} | fields


@pytest.fixture
def somebody(home: Path) -> Iterator[Stranger]:
    with stranger() as found:
        yield found


def load_from(somebody: Stranger, value: dict[str, Any], sample_type: type | None = None) -> Any:
    return DatasetLoader(somebody.client).load_dataset(somebody.record(value, collection=DATASET), sample_type)


def test_a_valid_record_is_loaded(somebody: Stranger) -> None:
    """The record that all others here differ from in one thing."""
    assert len(load_from(somebody, dataset()).shard_list) == 4


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (dataset(**{"$type": "app.bsky.feed.post"}), r"\$type.*app\.bsky\.feed\.post"),
        (dataset(**{"$type": None}), r"\$type"),
        (schema("a"), r"\$type"),
        (dataset(name=None), "name"),
        (dataset(name=5), "name"),
        (dataset(name="x" * 10_000), "name"),
        (dataset(name=""), "name"),
        (dataset(createdAt="yesterday"), "createdAt"),
        (dataset(tags=["tag"] * 33), "tags"),
        (dataset(tags=["x" * 65]), r"tags\[0\]"),
        (dataset(tags="tag"), "tags"),
        (dataset(size={"samples": 1.5}), "size.samples"),
        (dataset(size={"samples": -1}), "size.samples"),
        (dataset(other=2**60), "other"),
        (dataset(other=0.5), "other"),
        (dataset(schemaRef="nonsense"), "schemaRef"),
        (dataset(storage=None), "storage"),
        (dataset(storage={}), "storage"),
        (dataset(storage={"$type": f"{DATASET}#urlStorage"}), "urls"),
        (dataset(storage={"$type": f"{DATASET}#urlStorage", "urls": []}), "urls"),
        (dataset(storage={"$type": f"{DATASET}#urlStorage", "urls": [5]}), r"urls\[0\]"),
        (dataset(storage={"$type": f"{DATASET}#blobStorage", "blobs": [{}]}), r"blobs\[0\]"),
        (dataset(storage={"$type": f"{DATASET}#blobStorage", "blobs": [{"cid": CID, "mimeType": "a/b"}]}), "blobs"),
        (dataset(shards=[{"cid": "nonsense"}]), r"shards\[0\]\.cid"),
        (dataset(shards=[{"bytes": -1}]), r"shards\[0\]\.bytes"),
        (dataset(shards=[{"bytes": 1}]), "4 are"),
        (dataset(storage={"$type": f"{DATASET}#blobStorage", "blobs": [BLOB]}, shards=[{"bytes": 7}]), r"shards\[0\]"),
        (dataset(manifest=[{}]), r"manifest\[0\]"),
        (dataset(manifest=[{"url": "https://nowhere.invalid/{0..3}.gz"}]), r"manifest\[0\]"),
    ],
)
def test_a_record_that_breaks_its_lexicon_is_refused(somebody: Stranger, value: dict[str, Any], says: str) -> None:
    """The error says where it is wrong."""
    with pytest.raises(InvalidRecordError, match=says):
        load_from(somebody, value)


@pytest.mark.parametrize(
    ("url", "error", "says"),
    [
        ("pipe:touch {marker}", RefusedError, "pipe"),
        ("pipe:touch${{IFS}}{marker}", RefusedError, "pipe"),
        ("{marker}", RefusedError, "path"),
        ("-", RefusedError, "standard input"),
        ("::", RefusedError, "path"),
        ("https://nowhere.invalid/a.tar::https://nowhere.invalid/b.tar", RefusedError, "::"),
        ("https://nowhere.invalid/a.tar::pipe:touch {marker}", RefusedError, "not allowed"),
        ("file://{marker}", RefusedError, "file:"),
        ("FILE://{marker}", RefusedError, "file:"),
        ("file:{marker}", RefusedError, "file:"),
        ("file:///etc/passwd", RefusedError, "file:"),
        ("https://user:secret@nowhere.invalid/a.tar", RefusedError, "user"),
        ("https://nowhere.invalid/`id`.tar", RefusedError, "not allowed"),
        ("https://nowhere.invalid/$(id).tar", RefusedError, "not allowed"),
        ("https://nowhere.invalid/a\n.tar", RefusedError, "not allowed"),
        ("https://nowhere.invalid/{{0..99999999999}}.tar", LimitError, "100,000,000,000"),
        ("https://nowhere.invalid/{{0..9", InvalidSyntaxError, "brace"),
        ("https:///a.tar", InvalidSyntaxError, "host"),
        ("gopher://nowhere.invalid/a.tar", RefusedError, "gopher"),
        ("data:application/x-tar,x", RefusedError, "path"),
    ],
)
def test_what_a_stranger_may_not_name_is_refused(
    somebody: Stranger, tmp_path: Path, url: str, error: type[AtdataError], says: str
) -> None:
    """Nothing is run, read or asked: the record is all that was fetched."""
    marker = tmp_path / "marker.tar"

    with pytest.raises(error, match=says):
        load_from(somebody, urls(url.format(marker=marker)))

    assert not marker.exists()
    assert [asked.path for asked in somebody.server.asked[1:]] == ["/xrpc/com.atproto.repo.getRecord"]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "[::ffff:127.0.0.1]"])
def test_a_stranger_reaches_no_private_address(somebody: Stranger, host: str) -> None:
    """A URL on this machine is refused when it is opened, and the server there is never asked."""
    with ScriptedServer() as private:
        dataset = load_from(somebody, urls(f"http://{host}:{private.port}/secret.tar"))

        with pytest.raises(RefusedError, match="private-address"):
            next(iter(dataset))

        assert private.asked == []


def test_other_peoples_files_are_not_read_by_a_copied_record(
    somebody: Stranger, client: Client, shards: list[WrittenShard]
) -> None:
    """A record is one's own because the own repository gave it, not because of a DID: the same value, elsewhere."""
    value = urls(file_url(shards[0].path))
    assert client.repository is not None
    own = client.repository.create_record(DATASET, value).uri

    assert len(list(DatasetLoader(client).load_dataset(own))) == 3
    with pytest.raises(RefusedError, match="file-url"):
        load_from(somebody, value)


def test_an_unknown_storage_is_kept_listed_and_named_when_opened(client: Client, somebody: Stranger) -> None:
    """Its record goes round unchanged; a dataset of it is never an empty one."""
    storage = {"$type": "com.example.torrent#torrentStorage", "magnet": "magnet:?xt=urn:btih:0", "n": [1, {"a": None}]}
    value = dataset(storage=storage, size={"shards": 2**40})
    assert client.repository is not None
    client.repository.create_record(DATASET, value)

    (entry,) = DatasetLoader(client).list_datasets()
    assert entry.record.to_json() == value
    for loaded in (DatasetLoader(client).load_dataset(entry.uri), load_from(somebody, value)):
        assert loaded.name == "Digits"
        with pytest.raises(UnsupportedStorageError, match="torrentStorage") as caught:
            list(loaded)
        assert caught.value.kind == storage["$type"]


NAMES = ["class", "__init__", "__class__", "a b", "a.b", "", "ü" * 300, "1a", "None", "import os", "__dict__"]


@pytest.mark.parametrize("name", NAMES)
def test_a_hostile_field_name_never_becomes_an_attribute(somebody: Stranger, name: str) -> None:
    """Keywords, dunders and other names: the error names the field."""
    value = dataset(schemaRef=f"at://{STRANGER}/{SCHEMA}/digit")
    uri = somebody.record(value)
    somebody.record(schema("fine", name), rkey="digit")

    with pytest.raises(InvalidRecordError, match=r"definition\.fields\[1\]\.name"):
        DatasetLoader(somebody.client).load_dataset(uri)


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (schema(*(f"field_{i}" for i in range(10_000))), "definition.fields"),
        (schema("a", "a"), "twice"),
        (schema(), "definition.fields"),
        (schema("a", definition={"$type": "com.example#avro", "schema": "x"}), "com.example#avro"),
        (schema("a", definition=[]), "definition"),
        (dataset(), r"\$type"),
    ],
)
def test_a_broken_schema_record_is_refused(somebody: Stranger, value: dict[str, Any], says: str) -> None:
    """10,000 fields, doubles, none, another language, another record."""
    uri = somebody.record(dataset(schemaRef=f"at://{STRANGER}/{SCHEMA}/digit"))
    somebody.record(value, rkey="digit", collection=SCHEMA)

    with pytest.raises(InvalidRecordError, match=says):
        DatasetLoader(somebody.client).load_dataset(uri)


def test_code_in_a_schema_is_only_text(somebody: Stranger, tmp_path: Path) -> None:
    """Names, descriptions and dtypes that would be code if anything ran them."""
    marker = tmp_path / "marker"
    code = f"__import__('pathlib').Path({str(marker)!r}).touch()"
    field = {"name": "a", "kind": code, "dtype": code, "description": code, "items": code}
    uri = somebody.record(dataset(schemaRef=f"at://{STRANGER}/{SCHEMA}/digit"))
    somebody.record(
        schema(name=code, description=code, definition={"$type": f"{SCHEMA}#fields", "fields": [field]}), rkey="digit"
    )

    try:
        loaded = DatasetLoader(somebody.client).load_dataset(uri)
        assert code in (loaded.sample_type.__doc__ or "")
    except InvalidRecordError:
        pass

    assert not marker.exists()


def test_a_schema_that_does_not_fit_the_type_is_told(somebody: Stranger) -> None:
    """The given type and a stranger's schema differ."""
    uri = somebody.record(dataset(schemaRef=f"at://{STRANGER}/{SCHEMA}/digit"))
    somebody.record(schema("image", "extra"), rkey="digit")

    with pytest.raises(SchemaMismatchError) as caught:
        DatasetLoader(somebody.client).load_dataset(uri, Digit)

    assert {"image", "extra", "label"} <= {line.strip().partition(":")[0] for line in str(caught.value).splitlines()}


def test_lists_of_another_repository_are_refused(somebody: Stranger) -> None:
    """Blobs are those of the repository that the dataset is in."""
    more = [{"uri": "at://did:web:localhost/app.bsky.atdata.blobList/a", "cid": CID}]

    with pytest.raises(InvalidRecordError, match=r"storage\.more\[0\]"):
        load_from(somebody, dataset(storage={"$type": f"{DATASET}#blobStorage", "blobs": [BLOB], "more": more}))


def test_a_manifest_that_is_another_file_is_refused(somebody: Stranger) -> None:
    """Its CID is checked, and that it says as much as the record says."""
    data = encode_part([Shard(raw_cid(bytes(32)), 10_240, 1)])
    part = {"blob": BLOB | {"mimeType": "application/gzip"}, "cid": CID, "shards": 1, "bytes": 10}
    somebody.blob(data)

    with pytest.raises(AtdataError, match=r"manifest\[0\]"):
        load_from(somebody, dataset(manifest=[part]))


def test_very_many_urls_are_refused(somebody: Stranger) -> None:
    """By the lexicon, before one of them is looked at."""
    with pytest.raises(InvalidRecordError, match="urls"):
        load_from(somebody, urls(*["https://nowhere.invalid/a.tar"] * 10_001))


def test_shards_of_all_urls_are_counted_together(somebody: Stranger) -> None:
    """Eleven URLs of 10,000 shards each are more than a dataset may have."""
    with pytest.raises(LimitError, match="shards"):
        load_from(somebody, urls(*(f"https://nowhere.invalid/{i}/{{0..9999}}.tar" for i in range(11))))


def test_early_shapes_are_read(client: Client, shards: list[WrittenShard]) -> None:
    """The three shapes of early planning documents, by the same loader."""
    assert client.repository is not None
    url = file_url(shards[0].path)
    blob = client.repository.upload_blob(shards[0].path, mime_type="application/x-tar").to_json()
    for fields in (
        {"storage": {"kind": "external", "urls": [url]}},
        {"storage": {"kind": "blobs", "blobs": [blob]}},
        {"storage": None, "urls": [url]},
        {"storage": None, "blobs": [blob]},
    ):
        uri = client.repository.create_record(DATASET, dataset(**fields)).uri

        assert len(list(DatasetLoader(client).load_dataset(uri))) == 3
