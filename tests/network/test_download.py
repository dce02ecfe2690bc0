"""Downloading and verifying on the real network: blobs of a PDS, shards at URLs, by people without an account."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.network.plugin import Network

from atdata.atproto.client import Client
from atdata.cli.main import run
from atdata.data.writer import WrittenShard, write_samples
from atdata.loading.loader import DatasetLoader
from atdata.loading.verify import State
from atdata.publishing.publisher import DatasetPublisher
from atdata.syntax import parse_at_uri

# Downloads without an account, one shard after another, and prints each report of progress.
DOWNLOAD = """
import sys
from atdata import DatasetLoader
DatasetLoader().download(sys.argv[1], sys.argv[2], threads=1, progress=lambda step, done, all: print(done, flush=True))
"""
SHARDS = 40


@pytest.fixture
def alice(online: Network) -> Client:
    """A fresh account."""
    account = online.account("alice")
    return Client.login(account.handle, account.password)


def written(folder: Path, count: int = SHARDS) -> list[WrittenShard]:
    """Shards of 100 kB, all different."""
    samples = ({"bin": bytes([i]) * 100_000, "cls": i} for i in range(count))
    return write_samples(samples, folder / "t-%06d.tar", shard_samples=1)


def published(client: Client, shards: list[WrittenShard]) -> str:
    """Their blobs, with a split."""
    splits = [("train", 0, len(shards) - 1), ("test", len(shards) - 1, len(shards))]
    paths = [str(shard.path) for shard in shards]
    return DatasetPublisher(client).publish_dataset(paths, name="Blobs", storage="blobs", splits=splits)


def test_blobs_are_downloaded_and_verified(
    alice: Client, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By somebody without an account, with the commands; found by handle."""
    shards = written(tmp_path / "shards", 4)
    place = parse_at_uri(published(alice, shards))
    uri = f"at://{alice.handle}/dataset/{place.rkey}"
    monkeypatch.setenv("ATDATA_HOME", str(tmp_path / "nobody"))
    monkeypatch.chdir(tmp_path)

    assert run(["download", uri, "here", "--split", "train"]) == 0
    assert run(["verify", uri]) == 0

    out, err = capsys.readouterr()
    assert out.splitlines()[0] == "here/blobs-{000000..000002}.tar"
    assert err.splitlines() == ["3 shards, 311.8 kB", "4 shards: 4 ok"]
    found = [(tmp_path / "here" / f"blobs-{i:06d}.tar").read_bytes() for i in range(3)]
    assert found == [shard.path.read_bytes() for shard in shards[:3]]


def test_a_deleted_dataset(alice: Client, tmp_path: Path) -> None:
    """Its blobs went with the record: who still holds the record's shards is told that each is missing."""
    uri = published(alice, written(tmp_path / "shards", 2))
    place = parse_at_uri(uri)
    checks = DatasetLoader().verify(uri)
    assert alice.repository is not None
    assert place.collection is not None
    assert place.rkey is not None
    alice.repository.delete_record(place.collection, place.rkey)

    assert [check.state for check in checks] == [State.MISSING, State.MISSING]


def test_killed_while_blobs_come(alice: Client, tmp_path: Path) -> None:
    """kill -9 of the client: what was whole is not fetched again, and all of it is right in the end."""
    shards = written(tmp_path / "shards")
    uri = published(alice, shards)
    folder = tmp_path / "here"
    with subprocess.Popen(
        [sys.executable, "-c", DOWNLOAD, uri, str(folder)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert any(int(line) > 500_000 for line in process.stdout)
        process.send_signal(signal.SIGKILL)
    before = {path.name: path.stat().st_ino for path in folder.glob("*.tar")}
    assert 0 < len(before) < SHARDS

    found = DatasetLoader().download(uri, folder)

    assert found.kept == len(before)
    assert {name: (folder / name).stat().st_ino for name in before} == before
    assert [path.read_bytes() for path in found.files] == [shard.path.read_bytes() for shard in shards]
    assert sorted(path.name for path in folder.iterdir()) == sorted(["dataset.json", *(p.name for p in found.files)])
