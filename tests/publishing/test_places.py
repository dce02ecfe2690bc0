"""Publishing to a place: uploaded whole, gone on with, never over something else, and read back from there."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.cloud.plugin import Seaweed

from atdata import Client, DatasetLoader, DatasetPublisher, write_samples
from atdata.errors import AtdataError, AuthenticationError, InvalidSyntaxError, RefusedError, ShardError
from atdata.storage.base import chunks_of, read_all
from atdata.storage.cloud import CloudStore
from atdata.storage.file import FileStore
from atdata.syntax import parse_at_uri

Configure = Callable[[str], Path]


@dataclass
class Row:
    """One sample."""

    values: NDArray[np.int64]
    name: str


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    """Three shards of this machine."""
    rows = [Row(np.arange(40) + number, f"row {number}") for number in range(30)]
    written = write_samples(rows, str(tmp_path / "given-%06d.tar"), shard_samples=10)
    return [str(shard.path) for shard in written]


@pytest.fixture
def publisher(configured: Configure, tmp_path: Path) -> DatasetPublisher:
    """In a local repository, with no bucket configured yet."""
    return DatasetPublisher(Client.local(tmp_path / "repository"))


def prefix_of(tmp_path: Path) -> str:
    return f"s3://private/places/{tmp_path.name}"


def test_shards_go_into_a_bucket_and_come_back(
    publisher: DatasetPublisher, seaweed: Seaweed, configured: Configure, files: list[str], tmp_path: Path
) -> None:
    """The record has brace notation, endpoint and region, and no secret; a second publish sends nothing again."""
    configured(seaweed.settings())
    place, said = prefix_of(tmp_path), list[str]()
    uri = publisher.publish_dataset(files, "Rows", to=place, sample_type=Row)
    again = publisher.publish_dataset(files, "Rows again", to=place + "/", sample_type=Row, announce=said.append)

    dataset = DatasetLoader(publisher._client).load_dataset(uri, Row)
    assert [row.name for row in dataset] == [f"row {number}" for number in range(30)]
    storage = publisher._client.get_record(parse_at_uri(uri)).value["storage"]
    assert storage["urls"] == [f"{place}/{{000000..000002}}.tar"]
    assert (storage["endpoint"], storage["region"]) == (seaweed.url, "us-east-1")
    assert "planted" not in str(storage)
    assert again != uri
    assert any("3 of 3 shards were there already" in text for text in said)


def test_what_is_there_already_is_never_overwritten(
    publisher: DatasetPublisher, seaweed: Seaweed, configured: Configure, files: list[str], tmp_path: Path
) -> None:
    """Another dataset's record may name it. What other tools have put there is the same where its bytes are."""
    configured(seaweed.settings())
    place, store = prefix_of(tmp_path), CloudStore(own=True)
    store.put(f"{place}/000000.tar", chunks_of(FileStore(), files[0]))  # without a mark
    store.put(f"{place}/000001.tar", iter([b"something else"]))
    with pytest.raises(RefusedError, match=r"000001\.tar.*overwrite"):
        publisher.publish_dataset(files, "Rows", to=place, sample_type=Row)

    assert read_all(store, f"{place}/000001.tar", limit=100) == b"something else"
    assert list(DatasetLoader(publisher._client).list_datasets()) == []


def test_an_interrupted_publish_goes_on(
    publisher: DatasetPublisher, seaweed: Seaweed, configured: Configure, files: list[str], tmp_path: Path
) -> None:
    """What was uploaded stays and is not sent again; one record results."""
    configured(seaweed.settings())

    def interrupt(step: str, done: int, total: int) -> None:
        if step == "uploading" and done:
            raise KeyboardInterrupt

    place, said = prefix_of(tmp_path), list[str]()
    with pytest.raises(KeyboardInterrupt) as caught:
        publisher.publish_dataset(files, "Rows", to=place, sample_type=Row, progress=interrupt)
    publisher.publish_dataset(files, "Rows", to=place, sample_type=Row, announce=said.append)

    assert any("goes on" in note for note in caught.value.__notes__)
    assert any("were there already" in text for text in said)
    assert len(list(DatasetLoader(publisher._client).list_datasets())) == 1


def test_a_file_that_changes_on_the_way_is_not_stored(
    publisher: DatasetPublisher, seaweed: Seaweed, configured: Configure, files: list[str], tmp_path: Path
) -> None:
    """Between measuring and sending: the record's digest would be wrong, so nothing is there."""
    configured(seaweed.settings())

    def change(step: str, done: int, total: int) -> None:
        if step == "uploading" and done == 0:
            content = bytearray(Path(files[2]).read_bytes())
            content[600] ^= 1
            Path(files[2]).write_bytes(content)

    with pytest.raises(ShardError, match="changed"):
        publisher.publish_dataset(files, "Rows", to=prefix_of(tmp_path), sample_type=Row, progress=change)
    with pytest.raises(FileNotFoundError):
        CloudStore(own=True).size(f"{prefix_of(tmp_path)}/000002.tar")


def test_a_folder_is_a_place_of_the_local_repository(
    publisher: DatasetPublisher, files: list[str], tmp_path: Path
) -> None:
    """Copied whole; a single shard has no braces."""
    uri = publisher.publish_dataset(files[:1], "Rows", to=str(tmp_path / "place here"), sample_type=Row)

    assert (tmp_path / "place here" / "000000.tar").read_bytes() == Path(files[0]).read_bytes()
    assert len(list(DatasetLoader(publisher._client).load_dataset(uri, Row))) == 10


@pytest.mark.parametrize(
    ("place", "error"),
    [
        ("https://example.com/x", InvalidSyntaxError),
        ("s3://bucket/{a,b}", InvalidSyntaxError),
        ("s3://a@bucket/x", AtdataError),
        ("s3://bucket/x", AuthenticationError),
    ],
)
def test_places_that_cannot_be_written_to_are_refused(
    publisher: DatasetPublisher, files: list[str], place: str, error: type[Exception]
) -> None:
    """Before anything is read or sent."""
    with pytest.raises(error):
        publisher.publish_dataset(files, "Rows", to=place, sample_type=Row)


def test_one_way_to_say_where_it_lies(publisher: DatasetPublisher, files: list[str]) -> None:
    """Two at once contradict each other."""
    with pytest.raises(InvalidSyntaxError, match="to="):
        publisher.publish_dataset(files, "Rows", to="s3://bucket/x", urls=["https://example.com/{0..2}.tar"])
