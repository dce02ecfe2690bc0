"""Loading: from an AT-URI to typed samples, each shard checked, none opened before its time."""

import dataclasses
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.local_client import DATASET, Digit, Word, digits, record_at
from tests.storage.faults import Answer, serving
from tests.strangers import STRANGER, stranger

import atdata.atproto.manifest
from atdata.atproto.client import Client
from atdata.atproto.local import LOCAL_DID, LocalRepository
from atdata.data.fields import Extension
from atdata.data.writer import WrittenShard, write_samples
from atdata.dataset import Dataset, packable
from atdata.errors import (
    AuthenticationError,
    IntegrityError,
    InvalidSyntaxError,
    NotFoundError,
    SchemaMismatchError,
    UnsupportedStorageError,
)
from atdata.loading.loader import DatasetLoader, load
from atdata.publishing.publisher import DatasetPublisher
from atdata.syntax import AtUri, parse_at_uri


@pytest.fixture
def loader(client: Client) -> DatasetLoader:
    return DatasetLoader(client)


@pytest.mark.parametrize("storage", ["blobs", "url"])
def test_what_is_published_is_what_is_loaded(
    publisher: DatasetPublisher, loader: DatasetLoader, pattern: str, storage: Any
) -> None:
    """Iteration, batches, length, random access and state, by either storage, with and without a type."""
    uri = publisher.publish_dataset(Dataset[Digit](pattern), "Digits", storage=storage)

    for dataset in (loader.load_dataset(uri), loader.load_dataset(uri, Digit)):
        assert [sample.label for sample in dataset] == list(range(10))
        assert all((sample.image == sample.label).all() for sample in dataset)
        assert len(dataset) == 10
        assert dataset[7].label == 7
        assert [len(batch) for batch in dataset.batches(4)] == [4, 4, 2]
        assert (dataset.name, dataset.uri, dataset.record.name) == ("Digits", uri, "Digits")
        assert "Digits" in repr(dataset)


def test_a_type_is_built_from_the_schema(publisher: DatasetPublisher, loader: DatasetLoader) -> None:
    """A real dataclass, with annotations and a docstring, equal each time."""
    uri = publisher.publish_dataset(digits(), "Digits")

    sample_type = loader.load_dataset(uri).sample_type

    assert dataclasses.is_dataclass(sample_type)
    assert sample_type.__name__ == "Digit"
    assert sample_type.__annotations__ == {"image": NDArray[np.uint8], "label": int}
    assert "A handwritten digit." in (sample_type.__doc__ or "")
    assert loader.load_dataset(uri).sample_type is sample_type


def test_packable_and_multi_member_types_come_back(
    publisher: DatasetPublisher, loader: DatasetLoader, tmp_path: Path
) -> None:
    """A decorated class, and one that maps fields to extensions."""

    @packable
    class Packed:
        values: NDArray[Any]
        name: str

    @dataclasses.dataclass
    class Caption:
        text: Annotated[str, Extension("txt")]
        label: Annotated[int, Extension("cls")]

    packed = publisher.publish_dataset([Packed(np.arange(3), "a")], "Packed")
    members = publisher.publish_dataset([Caption("a cat", 3)], "Captions")

    for dataset in (loader.load_dataset(packed, Packed), loader.load_dataset(packed)):
        assert dataset[0].name == "a"
        assert dataset[0].values.tolist() == [0, 1, 2]
    for captions in (loader.load_dataset(members, Caption), loader.load_dataset(members)):
        assert (captions[0].text, captions[0].label) == ("a cat", 3)
    assert loader.load_dataset(members, dict)[0]["txt"] == "a cat"


def test_a_type_that_does_not_fit_is_refused_with_every_difference(
    publisher: DatasetPublisher, loader: DatasetLoader
) -> None:
    """Before a sample is read."""

    @dataclasses.dataclass
    class Wrong:
        image: str
        name: str

    uri = publisher.publish_dataset(digits(), "Digits")

    with pytest.raises(SchemaMismatchError) as caught:
        loader.load_dataset(uri, Wrong)

    for name in ("image", "label", "name"):
        assert f"{name}:" in str(caught.value)


def test_no_shard_is_opened(publisher: DatasetPublisher, loader: DatasetLoader, pattern: str, tmp_path: Path) -> None:
    """Files that are gone, and a host that does not exist: everything is said but the samples."""
    published = [
        publisher.publish_dataset(Dataset[Digit](pattern), "Digits", storage="url"),
        publisher.publish_dataset(Dataset[Digit](pattern), "Digits", urls="https://nowhere.invalid/{0..3}.tar"),
    ]
    shutil.rmtree(tmp_path / "shards")

    for uri in published:
        dataset = loader.load_dataset(uri)
        assert len(dataset) == 10
        assert len(dataset.shard_list) == 4
        assert "samples=10" in repr(dataset)
    with pytest.raises(NotFoundError):
        next(iter(loader.load_dataset(published[0])))


def test_changed_shards_never_become_samples(
    publisher: DatasetPublisher, loader: DatasetLoader, shards: list[WrittenShard], pattern: str
) -> None:
    """One bit of the last shard is wrong: the samples before it come, and of it none."""
    uri = publisher.publish_dataset(Dataset[Digit](pattern), "Digits", storage="url")
    data = bytearray(shards[3].path.read_bytes())
    data[700] ^= 1
    shards[3].path.write_bytes(data)
    samples = iter(loader.load_dataset(uri))

    assert [next(samples).label for _ in range(9)] == list(range(9))
    with pytest.raises(IntegrityError, match="000003"):
        next(samples)
    with pytest.raises(IntegrityError):
        loader.load_dataset(uri)[9]


def test_damaged_blobs_never_become_samples(client: Client, publisher: DatasetPublisher, loader: DatasetLoader) -> None:
    """Also those of the own repository, on the own disk."""
    uri = publisher.publish_dataset(digits(), "Digits")
    assert isinstance(client.repository, LocalRepository)
    (blob,) = (client.repository.folder / "blobs").iterdir()
    blob.write_bytes(blob.read_bytes().replace(b"label", b"libel"))

    with pytest.raises(IntegrityError, match=blob.name):
        loader.load_dataset(uri).head(1)


def test_short_forms_and_objects_name_the_same_dataset(publisher: DatasetPublisher, loader: DatasetLoader) -> None:
    """A collection of one word, and a parsed AT-URI."""
    uri = publisher.publish_dataset(digits(), "Digits", rkey="digits")

    for form in (uri, f"at://{LOCAL_DID}/dataset/digits", parse_at_uri(uri)):
        assert loader.load_dataset(form).uri == uri


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        ("", "at://"),
        ("https://example.com", "at://"),
        ("at://", "AUTHORITY"),
        ("at://alice/dataset/x", "handle"),
        ("at://did:web:localhost", "names no record"),
        ("at://did:web:localhost/dataset", "names no record"),
        ("at://did:nonsense/dataset/x", "DID"),
        ("at://did:web:localhost/data_set/x", "NSID"),
        ("at://did:web:localhost/dataset/a b", "record key"),
    ],
)
def test_wrong_uris_say_what_is_wrong(loader: DatasetLoader, uri: str, says: str) -> None:
    """Before anybody is asked."""
    with pytest.raises(InvalidSyntaxError, match=says):
        loader.load_dataset(uri)


def test_what_is_not_there_is_not_found(loader: DatasetLoader) -> None:
    """A dataset that nobody has published."""
    with pytest.raises(NotFoundError, match="nothing"):
        loader.load_dataset("at://did:web:localhost/dataset/nothing")


def test_a_deleted_schema_can_be_done_without(
    client: Client, publisher: DatasetPublisher, loader: DatasetLoader
) -> None:
    """The error says how: by giving the type."""
    uri = publisher.publish_dataset(digits(), "Digits")
    schema = parse_at_uri(record_at(client, uri).schema_ref or "")
    assert client.repository is not None
    client.repository.delete_record(schema.collection, schema.rkey)  # type: ignore[arg-type]  # it names a record

    with pytest.raises(NotFoundError, match="sample_type"):
        loader.load_dataset(uri)
    assert loader.load_dataset(uri, Digit)[3].label == 3


def test_a_changed_schema_is_noticed(client: Client, publisher: DatasetPublisher, loader: DatasetLoader) -> None:
    """A schema record is never changed; one that was is not the one that the dataset was written for."""
    uri = publisher.publish_dataset([Word("a")], "Words")
    schema = parse_at_uri(record_at(client, uri).schema_ref or "")
    assert client.repository is not None
    assert schema.collection is not None
    assert schema.rkey is not None
    value = client.get_record(schema).value
    client.repository.put_record(schema.collection, schema.rkey, {**value, "name": "Other"})

    with pytest.raises(IntegrityError, match="schema"):
        loader.load_dataset(uri)


def test_schemes_that_cannot_be_opened_are_named(publisher: DatasetPublisher, loader: DatasetLoader) -> None:
    """The dataset says what it is; opening it says which scheme is missing."""
    other = "at://did:web:localhost/app.bsky.atdata.dataset/3k2aaaaaaaaaa"
    uri = publisher.publish_dataset("https://example.com/0.tar", "Far", urls=[other], sample_type=Digit)

    dataset = loader.load_dataset(uri)

    assert dataset.shard_list == [other]
    with pytest.raises(UnsupportedStorageError, match="at://") as caught:
        next(iter(dataset))
    assert caught.value.kind == "at"


def test_a_loaded_dataset_can_be_pickled(publisher: DatasetPublisher, loader: DatasetLoader) -> None:
    """Loader workers get a copy, which reads the same samples."""
    dataset = loader.load_dataset(publisher.publish_dataset(digits(), "Digits"))

    copy = pickle.loads(pickle.dumps(dataset))

    assert [sample.label for sample in copy] == list(range(10))


def test_another_process_loads_it_without_an_account(home: Path, publisher: DatasetPublisher) -> None:
    """`load` with nothing but the AT-URI: the local repository is read by whoever is on this machine."""
    uri = DatasetPublisher(Client.local()).publish_dataset(digits(), "Digits")
    program = "import sys, atdata\nprint(sum(sample.label for sample in atdata.load(sys.argv[1])))"

    done = subprocess.run(
        [sys.executable, "-c", program, uri],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"ATDATA_HOME": str(home)},
    )

    assert done.stdout.strip() == "45"
    assert load(uri)[3].label == 3


def test_datasets_of_a_repository_are_listed_newest_first(
    client: Client, publisher: DatasetPublisher, loader: DatasetLoader
) -> None:
    """One that breaks its lexicon hides no other, and is told where that is asked for."""
    uris = [publisher.publish_dataset([Word(name)], name) for name in ("one", "two")]
    assert client.repository is not None
    broken = client.repository.create_record(DATASET, {"$type": DATASET, "name": 5}).uri
    told: list[AtUri] = []

    entries = list(loader.list_datasets(on_error=lambda uri, error: told.append(uri)))

    assert [str(entry.uri) for entry in entries] == uris[::-1]
    assert [entry.record.name for entry in entries] == ["two", "one"]
    assert [str(uri) for uri in told] == [broken]
    assert [entry.cid for entry in loader.list_datasets(LOCAL_DID)] == [entry.cid for entry in entries]


def test_nobody_has_no_datasets_of_their_own() -> None:
    """Without an account one has to say whose."""
    with pytest.raises(AuthenticationError, match="whose"):
        list(DatasetLoader(Client.anonymous()).list_datasets())


def test_a_strangers_dataset_of_blobs_is_read_from_its_server(
    client: Client, publisher: DatasetPublisher, shards: list[WrittenShard]
) -> None:
    """Record and schema from the PDS of the DID document, and then the blob, checked by its CID."""
    uri = publisher.publish_dataset([shards[0].path], "Digits", sample_type=Digit)
    value = client.get_record(parse_at_uri(uri)).value
    schema = client.get_record(parse_at_uri(value["schemaRef"]))

    with stranger() as somebody:
        theirs = f"at://{STRANGER}/app.bsky.atdata.schema/digit"
        foreign = somebody.record(value | {"schemaRef": theirs})
        somebody.record(schema.value, rkey="digit")
        somebody.blob(shards[0].path.read_bytes())
        dataset = DatasetLoader(somebody.client).load_dataset(foreign)
        assert not [asked for asked in somebody.server.asked if "getBlob" in asked.path]

        assert [sample.label for sample in dataset] == [0, 1, 2]
        assert dataset.uri == foreign


def test_wrong_bytes_from_a_server_never_become_samples(
    client: Client, publisher: DatasetPublisher, shards: list[WrittenShard]
) -> None:
    """A whole, valid shard, only another one."""
    uri = publisher.publish_dataset([shards[0].path], "Digits", infer_schema=False)
    value = client.get_record(parse_at_uri(uri)).value

    with stranger() as somebody:
        foreign = somebody.record(value)
        somebody.blob(shards[1].path.read_bytes())

        with pytest.raises(IntegrityError, match=str(shards[0].shard.cid)):
            next(iter(DatasetLoader(somebody.client).load_dataset(foreign)))


@pytest.mark.parametrize("indexed", [True, False], ids=["by block", "as a whole"])
def test_a_dead_storage_is_read_from_its_mirrors(
    client: Client, publisher: DatasetPublisher, shards: list[WrittenShard], indexed: bool
) -> None:
    """One mirror lies, one cannot be opened, one has another number of shards, one is good, under a path of its own."""
    uri = publisher.publish_dataset([shards[0].path], "Digits", sample_type=Digit)
    value = client.get_record(parse_at_uri(uri)).value
    data = shards[0].path.read_bytes()
    lie = data[:700] + bytes([data[700] ^ 1]) + data[701:]
    facts = [{name: fact for name, fact in value["shards"][0].items() if indexed or name != "index"}]

    with stranger() as somebody, serving({"/a/0.tar": [Answer(body=lie)], "/b/x.tar": [Answer(body=data)]}) as server:
        hosts = somebody.client.transport.policy.private_hosts | {f"127.0.0.1:{server.port}"}
        somebody.client.transport.policy = dataclasses.replace(
            somebody.client.transport.policy, private_hosts=hosts, attempts=1
        )
        places = [
            [server.url("/a/0.tar")],
            ["torrent://x/y.tar"],
            [server.url("/{a,b}/0.tar")],
            [server.url("/b/x.tar")],
        ]
        kind = "app.bsky.atdata.dataset#urlStorage"
        mirrors = [{"storage": {"$type": kind, "urls": urls}} for urls in places]
        gone = {"$type": kind, "urls": [server.url("/gone.tar")]}
        foreign = somebody.record(
            {name: field for name, field in value.items() if name != "schemaRef"}
            | {"storage": gone, "mirrors": mirrors, "shards": facts}
        )
        dataset = DatasetLoader(somebody.client).load_dataset(foreign, Digit)
        for _ in range(2):
            assert [sample.label for sample in dataset] == [0, 1, 2]
        assert dataset[1].label == 1


def test_a_manifest_and_lists_are_checked_by_their_cids(
    client: Client, publisher: DatasetPublisher, loader: DatasetLoader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What has changed since the record was written is not taken for what it named."""
    monkeypatch.setattr(atdata.atproto.manifest, "MAX_RECORD_BYTES", 1_000)
    monkeypatch.setattr(atdata.atproto.manifest, "BLOBS_PER_LIST", 4)
    shards = write_samples((Word(f"word {i}") for i in range(7)), tmp_path / "many" / "%06d.tar", shard_samples=1)
    uri = publisher.publish_dataset(shards, "Many", sample_type=Word)
    repository = client.repository
    assert isinstance(repository, LocalRepository)
    record = record_at(client, uri)
    assert [word.text for word in loader.load_dataset(uri)] == [f"word {i}" for i in range(7)]

    manifest = repository.folder / "blobs" / (record.manifest[0].cid or "")
    manifest.write_bytes(manifest.read_bytes() + b"\0")
    with pytest.raises(IntegrityError, match=r"manifest\[0\]"):
        loader.load_dataset(uri)
    listed = parse_at_uri(record.storage.to_json()["more"][0]["uri"])
    assert listed.collection is not None
    assert listed.rkey is not None
    value = client.get_record(listed).value
    repository.put_record(listed.collection, listed.rkey, value | {"blobs": value["blobs"][::-1]})
    with pytest.raises(IntegrityError, match=r"storage\.more\[0\]"):
        loader.load_dataset(uri)
