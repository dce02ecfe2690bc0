"""Datasets as files in a folder."""

import fcntl
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.local_client import Word, record_at
from tests.storage.faults import Answer, serving

from atdata.atproto.client import Client
from atdata.data.writer import WrittenShard, write_samples
from atdata.dataset import Dataset
from atdata.errors import (
    IntegrityError,
    InvalidSyntaxError,
    NotFoundError,
    RefusedError,
    UnavailableError,
    UnsupportedStorageError,
)
from atdata.loading.loader import DatasetLoader
from atdata.publishing.publisher import DatasetPublisher
from atdata.syntax import Nsid

# Downloads one shard after another, and prints each report of progress.
DOWNLOAD = """
import sys
from atdata import Client, DatasetLoader
DatasetLoader(Client.local(sys.argv[1])).download(
    sys.argv[2], sys.argv[3], threads=1, progress=lambda step, done, total: print(done, flush=True))
"""

# The same, which says when something has come; Ctrl-C works also where the tests run in the background.
INTERRUPTED = """
import signal, sys
from atdata import Client, DatasetLoader
signal.signal(signal.SIGINT, signal.default_int_handler)
DatasetLoader(Client.local(sys.argv[1])).download(
    sys.argv[2], sys.argv[3], progress=lambda step, done, total: done and print(done, flush=True))
"""


@pytest.fixture
def uri(publisher: DatasetPublisher, pattern: str) -> str:
    """Ten digits as four blobs, with two splits."""
    splits = [("train", 0, 3), ("test", 3, 4)]
    return publisher.publish_dataset(pattern, name="My digits", storage="blobs", splits=splits)


def names(folder: Path) -> list[str]:
    """What lies in a folder."""
    return sorted(path.name for path in folder.iterdir())


def contents(shards: Sequence[WrittenShard]) -> list[bytes]:
    """The bytes of shards."""
    return [shard.path.read_bytes() for shard in shards]


def test_blobs_become_files(client: Client, uri: str, shards: list[WrittenShard], tmp_path: Path) -> None:
    """Byte for byte; their brace notation is a dataset, and the folder says what it is for."""
    told: list[tuple[str, int, int]] = []
    folder = tmp_path / "new" / "folder"

    found = DatasetLoader(client).download(uri, folder, progress=lambda *what: told.append(what))

    assert found.url == f"{folder}/my-digits-{{000000..000003}}.tar"
    assert [path.read_bytes() for path in found.files] == contents(shards)
    assert (found.bytes, found.kept, found.unchecked) == (sum(map(len, contents(shards))), 0, 0)
    assert len(list(Dataset[dict](url=found.url))) == 10  # type: ignore[type-arg]  # of anything
    about = json.loads((folder / "dataset.json").read_text())
    assert (about["uri"], about["files"]) == (uri, "my-digits-{000000..000003}.tar")
    assert about["record"]["name"] == "My digits"
    assert {(step, total) for step, _, total in told} == {("downloading", found.bytes)}


def test_a_split_has_its_own_files(client: Client, uri: str, tmp_path: Path) -> None:
    """Named by their place in the whole, so that the rest can come later; what is there does not come again."""
    loader = DatasetLoader(client)
    test = loader.download(uri, tmp_path / "d", split="test")
    assert names(tmp_path / "d") == ["dataset.json", "my-digits-000003.tar"]
    assert test.url == f"{tmp_path}/d/my-digits-000003.tar"

    whole = loader.download(uri, tmp_path / "d")
    assert (whole.kept, len(whole.files)) == (1, 4)
    with pytest.raises(NotFoundError, match="has no split 'valid'; it has 'train', 'test'"):
        loader.download(uri, tmp_path / "d", split="valid")


def test_the_folder_is_named_after_the_dataset(
    client: Client, uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where none is given, it is made in the current one."""
    monkeypatch.chdir(tmp_path)

    assert DatasetLoader(client).download(uri).url == "my-digits/my-digits-{000000..000003}.tar"


def test_a_damaged_file_comes_again(client: Client, uri: str, shards: list[WrittenShard], tmp_path: Path) -> None:
    """In the folder of this dataset; the whole ones are not touched."""
    loader = DatasetLoader(client)
    files = loader.download(uri, tmp_path / "d").files
    files[1].write_bytes(files[1].read_bytes()[:-1] + b"!")
    files[2].unlink()
    before = [files[0].stat().st_mtime_ns, files[3].stat().st_mtime_ns]

    found = loader.download(uri, tmp_path / "d")

    assert found.kept == 2
    assert [path.read_bytes() for path in found.files] == contents(shards)
    assert [files[0].stat().st_mtime_ns, files[3].stat().st_mtime_ns] == before


def test_other_files_are_never_replaced(client: Client, uri: str, shards: list[WrittenShard], tmp_path: Path) -> None:
    """A file of the same name in a folder that is not of this dataset; one that is the shard already is taken."""
    (tmp_path / "my-digits-000001.tar").write_bytes(b"mine")
    with pytest.raises(RefusedError, match="other-file"):
        DatasetLoader(client).download(uri, tmp_path)
    assert (tmp_path / "my-digits-000001.tar").read_bytes() == b"mine"
    assert not (tmp_path / "dataset.json").exists()

    (tmp_path / "my-digits-000001.tar").write_bytes(shards[1].path.read_bytes())
    assert DatasetLoader(client).download(uri, tmp_path).kept == 1


@pytest.mark.parametrize("about", ['{"uri": "at://did:web:localhost/app.bsky.atdata.dataset/b"}', "{}", "[]", "x"])
def test_a_folder_of_another_dataset_is_refused(client: Client, uri: str, tmp_path: Path, about: str) -> None:
    """Whatever its dataset.json is about."""
    (tmp_path / "dataset.json").write_text(about)

    with pytest.raises(RefusedError, match="other-dataset"):
        DatasetLoader(client).download(uri, tmp_path)
    assert (tmp_path / "dataset.json").read_text() == about


def test_one_download_at_a_time(client: Client, uri: str, tmp_path: Path) -> None:
    """A second one in the same folder says so at once."""
    descriptor = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    with pytest.raises(UnavailableError, match="another download works in"):
        DatasetLoader(client).download(uri, tmp_path)
    os.close(descriptor)

    DatasetLoader(client).download(uri, tmp_path)


@pytest.mark.parametrize("folder", ["https://data.example.com/x", "a::b", ""])
def test_what_is_no_folder(client: Client, uri: str, folder: str, tmp_path: Path) -> None:
    """Is refused before anything is made; a file is none either."""
    for place in (folder, str(tmp_path / "file")):
        (tmp_path / "file").touch()
        with pytest.raises(InvalidSyntaxError):
            DatasetLoader(client).download(uri, place)


def test_braces_in_the_name_of_a_folder(client: Client, uri: str, tmp_path: Path) -> None:
    """Stay to be read in the URL that is returned."""
    found = DatasetLoader(client).download(uri, tmp_path / "{a,b}")

    assert len(list(Dataset[dict](url=found.url))) == 10  # type: ignore[type-arg]  # of anything


def test_wrong_and_missing_shards_do_not_keep_the_others(
    client: Client, publisher: DatasetPublisher, shards: list[WrittenShard], pattern: str, tmp_path: Path
) -> None:
    """They are counted at the end, the first one by name; put right, the same call gets them."""
    uri = publisher.publish_dataset(pattern, name="Digits", storage="url")
    first, third = shards[0].path.read_bytes(), shards[2].path.read_bytes()
    shards[0].path.write_bytes(first[:-1] + b"!")
    shards[2].path.unlink()

    with pytest.raises(IntegrityError, match=r"2 of 4 shards did not come, the others did; .*train-000000\.tar: exp"):
        DatasetLoader(client).download(uri, tmp_path / "d")

    assert names(tmp_path / "d") == ["dataset.json", "train-000001.tar", "train-000003.tar"]
    shards[0].path.write_bytes(first)
    shards[2].path.write_bytes(third)
    assert DatasetLoader(client).download(uri, tmp_path / "d").kept == 2


def test_without_digests_the_size_counts(
    client: Client, publisher: DatasetPublisher, shards: list[WrittenShard], tmp_path: Path
) -> None:
    """It is told that nothing could be checked; a file of another size comes again."""
    routes = {f"/{i}.tar": [Answer(body=content)] for i, content in enumerate(contents(shards))}
    with serving(routes) as server:
        uri = publisher.publish_dataset([server.url(path) for path in routes], name="Digits")
        loader = DatasetLoader(client)
        assert loader.download(uri, tmp_path / "d").unchecked == 4
        (tmp_path / "d" / "1.tar").write_bytes(b"short")

        found = loader.download(uri, tmp_path / "d")

        assert (found.kept, found.unchecked) == (3, 4)
        assert [path.read_bytes() for path in found.files] == contents(shards)


def test_storage_of_another_release(client: Client, tmp_path: Path) -> None:
    """Is said by its name, and the folder stays empty but for the record."""
    assert client.repository is not None
    storage = {"$type": "com.example.moon#storage"}
    value = {"$type": "app.bsky.atdata.dataset", "createdAt": "2026-01-07T12:00:00Z", "name": "M", "storage": storage}
    uri = client.repository.create_record(Nsid("app.bsky.atdata.dataset"), value).uri

    with pytest.raises(UnsupportedStorageError, match=r"com\.example\.moon"):
        DatasetLoader(client).download(uri, tmp_path / "d")
    assert names(tmp_path / "d") == ["dataset.json"]


def test_interrupted_it_ends_at_once(client: Client, publisher: DatasetPublisher, tmp_path: Path) -> None:
    """Ctrl-C while a server says nothing is not waited out, and what has come stays."""
    (shard,) = write_samples([Word(f"{i}") for i in range(100)], tmp_path / "t-%06d.tar")
    body = shard.path.read_bytes()
    with serving({"/t.tar": [Answer(body=body, stall=1000)]}) as server:
        uri = publisher.publish_dataset(str(shard.path), name="T", urls=[server.url("/t.tar")])
        command = [sys.executable, "-c", INTERRUPTED, str(tmp_path / "repository"), uri, str(tmp_path / "d")]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert any(int(line) == 1000 for line in process.stdout)
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=30)  # a server may be silent for 60 seconds

    assert errors.splitlines()[-1] == "KeyboardInterrupt"
    assert (tmp_path / "d" / "t.tar.part").read_bytes() == body[:1000]


def test_killed_in_the_middle_it_goes_on(client: Client, publisher: DatasetPublisher, tmp_path: Path) -> None:
    """kill -9 inside the third of five shards: two are not asked for again, and of the third only the rest is."""
    written = write_samples([Word(f"{i}") for i in range(2000)], tmp_path / "web" / "t-%06d.tar", shard_samples=400)
    bodies = contents(written)
    half = len(bodies[2]) // 2
    routes = {f"/t-{i:06d}.tar": [Answer(body=body, etag=f'"{i}"')] for i, body in enumerate(bodies)}
    routes["/t-000002.tar"].insert(0, Answer(body=bodies[2], etag='"2"', stall=half))
    with serving(routes) as server:
        urls = [server.url("/t-{000000..000004}.tar")]
        uri = publisher.publish_dataset(str(tmp_path / "web" / "t-{000000..000004}.tar"), name="T", urls=urls)
        assert record_at(client, uri).shards == tuple(shard.shard for shard in written)
        command = [sys.executable, "-c", DOWNLOAD, str(tmp_path / "repository"), uri, str(tmp_path / "d")]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            until = len(bodies[0]) + len(bodies[1]) + half
            assert any(int(line) >= until for line in process.stdout)
            process.send_signal(signal.SIGKILL)
        assert names(tmp_path / "d") == ["dataset.json", "t-000000.tar", "t-000001.tar", "t-000002.tar.part"]
        there = (tmp_path / "d" / "t-000002.tar.part").stat().st_size
        before = len(server.asked)

        found = DatasetLoader(client).download(uri, tmp_path / "d")

        asked = {request.path: request.headers.get("range") for request in server.asked[before:]}
    assert 0 < there <= half
    assert asked == {"/t-000002.tar": f"bytes={there}-", "/t-000003.tar": None, "/t-000004.tar": None}
    assert found.kept == 2
    assert [path.read_bytes() for path in found.files] == bodies
    assert names(tmp_path / "d") == ["dataset.json", *(f"t-{i:06d}.tar" for i in range(5))]
