"""Other readers read the shards that we write, and we read what other writers write, live.

The peers: atdata 0.1.3b4 and 0.7.0b1, each in an environment that `prepare.py` makes (minutes, the first time);
webdataset; the standard library's tarfile, in both of its modes; GNU tar. ``make test-peers`` runs this.
"""

import gc
import io
import json
import shutil
import subprocess
import tarfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pytest
import webdataset
from numpy.typing import NDArray
from tests.peers import prepare, release

from atdata.data.fields import Extension
from atdata.data.writer import ShardWriter, write_samples
from atdata.dataset import Dataset

pytestmark = [pytest.mark.peers, pytest.mark.filterwarnings("ignore::DeprecationWarning")]

INDEX = "__index__"
SCRIPT = Path(release.__file__)


@dataclass
class Picture:
    """One sample as ordinary members."""

    array: Annotated[NDArray[np.float32], Extension("npy")]
    label: Annotated[int, Extension("cls")]
    caption: Annotated[str, Extension("txt")]
    info: Annotated[dict[str, Any], Extension("json")]
    raw: Annotated[bytes, Extension("bin")]


def picture(i: int) -> Picture:
    return Picture(np.full((2, 3), i, np.float32), i, f"picture {i} é", {"i": i, "list": [1, None]}, bytes([i]) * 700)


@pytest.fixture(scope="module")
def environments(request: pytest.FixtureRequest) -> dict[str, Path]:
    """The Python of each release that could be installed."""
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        assert prepare.main() == 0, "the environments of earlier releases could not be made"
    found = {name: prepare.interpreter(name) for name in prepare.RELEASES}
    return {name: python for name, python in found.items() if python is not None}


@pytest.fixture(params=prepare.RELEASES)
def python(request: pytest.FixtureRequest, environments: dict[str, Path]) -> Path:
    if request.param not in environments:
        pytest.skip(f"no Python 3.12 runs here, so atdata {request.param} is not tested")
    return environments[request.param]


@pytest.fixture(params=["index", "no index"])
def shards(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Our shards of `release.samples`, as they are, or without the index."""
    written = write_samples(release.samples(), str(tmp_path / "ours-%06d.tar"), shard_samples=4)
    assert len(written) == 3
    if request.param == "no index":
        for one in written:
            data = one.path.read_bytes()
            one.path.write_bytes(data[: data.index(INDEX.encode())] + bytes(1024))
    return f"{tmp_path}/ours-{{000000..000002}}.tar"


def expected() -> list[Any]:
    return [json.loads(json.dumps(release.described(sample))) for sample in release.samples()]


def run(python: Path, *arguments: str) -> list[Any]:
    """What `release.py` says under another release. ``-I`` keeps our own atdata out of its sight."""
    done = subprocess.run([str(python), "-I", str(SCRIPT), *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_the_environments_hold_what_they_say(environments: dict[str, Path]) -> None:
    """Each one imports the release that it is named for, not ours."""
    for name, python in environments.items():
        source = "import atdata, importlib.metadata as m; print(m.version('atdata'), atdata.__file__)"
        done = subprocess.run([str(python), "-I", "-c", source], capture_output=True, text=True, check=True)
        version, file = done.stdout.split()
        assert version == name
        assert file.startswith(str(prepare.environment(name)))


def test_earlier_releases_read_our_shards(python: Path, shards: str) -> None:
    """All values, in order, in samples and in batches."""
    assert run(python, "read", shards) == expected()


def test_we_read_what_earlier_releases_write(python: Path, tmp_path: Path) -> None:
    """All values, in order: of either wire format of arrays."""
    written = run(python, "write", str(tmp_path))
    dataset = Dataset[release.Everything](f"{tmp_path}/data-{{000000..000001}}.tar")

    assert [json.loads(json.dumps(release.described(sample))) for sample in dataset] == written == expected()
    assert release.described(dataset[7]) == release.described(list(release.samples())[7])
    assert [len(batch) for batch in dataset.batches(4)] == [4, 4, 1]


def by_webdataset(url: str, *, decode: bool = False) -> list[dict[str, Any]]:
    """All samples of some shards. webdataset leaves files open, about which Python would warn later, elsewhere."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        dataset = webdataset.WebDataset(url, shardshuffle=False)
        samples = list(dataset.decode() if decode else dataset)
        del dataset
        gc.collect()
    return samples


def test_webdataset_reads_our_shards(shards: str) -> None:
    """Each sample's key and packed bytes; the index is passed over."""
    samples = by_webdataset(shards)

    assert [sample["msgpack"] for sample in samples] == [sample.packed for sample in release.samples()]
    assert [sample["__key__"] for sample in samples] == [f"{i // 4:06d}-{i % 4:08d}" for i in range(9)]


def test_webdataset_decodes_our_members(tmp_path: Path) -> None:
    """Samples of several members come with every value decoded as it went in."""
    write_samples(map(picture, range(5)), str(tmp_path / "pictures-%06d.tar"), shard_samples=3)

    samples = by_webdataset(f"{tmp_path}/pictures-{{000000..000001}}.tar", decode=True)

    assert len(samples) == 5
    for i, sample in enumerate(samples):
        assert np.array_equal(sample["npy"], picture(i).array)
        assert sample["npy"].dtype == np.float32
        assert (sample["cls"], sample["txt"], sample["json"], sample["bin"]) == (
            i,
            picture(i).caption,
            picture(i).info,
            picture(i).raw,
        )


def test_we_read_what_webdataset_writes(tmp_path: Path) -> None:
    """Members as its writer encodes them, typed and untyped."""
    path = str(tmp_path / "theirs.tar")
    with webdataset.TarWriter(path) as writer:
        for i in range(3):
            one = picture(i)
            writer.write(
                {"__key__": f"k{i}", "npy": one.array, "cls": i, "txt": one.caption, "json": one.info, "bin": one.raw}
            )

    typed = list(Dataset[Picture](path))
    untyped: list[Any] = list(Dataset(path))

    for i in range(3):
        assert np.array_equal(typed[i].array, picture(i).array)
        assert (typed[i].label, typed[i].caption, typed[i].info, typed[i].raw) == (
            i,
            picture(i).caption,
            picture(i).info,
            picture(i).raw,
        )
        assert (untyped[i]["__key__"], untyped[i]["cls"]) == (f"k{i}", i)


def test_webdataset_reads_long_and_foreign_names(tmp_path: Path) -> None:
    """Keys that need a PAX header come back whole."""
    keys = ["short", "x" * 150, "ключ", "y" * 99]
    path = str(tmp_path / "names.tar")
    with ShardWriter(path) as writer:
        for i, key in enumerate(keys):
            writer.write({"cls": i}, key=key)

    samples = by_webdataset(path)

    assert [sample["__key__"] for sample in samples] == keys
    assert [untyped["__key__"] for untyped in Dataset[dict[str, Any]](path)] == keys


def members(path: str, mode: Literal["r:", "r|"]) -> Iterator[tuple[str, bytes]]:
    with tarfile.open(path, mode) as tar:
        for member in tar:
            file = tar.extractfile(member)
            assert file is not None
            assert (member.mtime, member.uid, member.gid, member.uname, member.mode) == (0, 0, 0, "", 0o644)
            yield member.name, file.read()


@pytest.mark.parametrize("mode", ["r:", "r|"])
def test_tarfile_reads_our_shards(shards: str, mode: Literal["r:", "r|"]) -> None:
    """Seeking or streaming: names, bytes, and plain metadata of every member."""
    found = [member for path in Dataset(shards).shard_list for member in members(path, mode)]

    assert [data for name, data in found if name != INDEX] == [sample.packed for sample in release.samples()]
    assert [name for name, _ in found if name != INDEX] == [f"{i // 4:06d}-{i % 4:08d}.msgpack" for i in range(9)]


def test_gnu_tar_extracts_our_shards(shards: str, tmp_path: Path) -> None:
    """Without a word of complaint, every file with its bytes."""
    if shutil.which("tar") is None:
        pytest.skip("there is no tar here")
    everything = list(release.samples())
    for number, path in enumerate(Dataset(shards).shard_list):
        folder = tmp_path / f"extracted-{number}"
        folder.mkdir()
        done = subprocess.run(["tar", "-xf", path, "-C", str(folder)], capture_output=True, text=True, check=True)

        assert done.stderr == ""
        files = sorted(file.name for file in folder.iterdir() if file.name != INDEX)
        chosen = everything[4 * number : 4 * number + 4]
        assert [(folder / name).read_bytes() for name in files] == [sample.packed for sample in chosen]


def test_we_read_what_gnu_tar_writes(tmp_path: Path) -> None:
    """GNU format with long names, and pax: the same samples."""
    folder = tmp_path / ("long" * 30)
    folder.mkdir()
    for i, sample in enumerate(release.samples()):
        (folder / f"{i:03d}.msgpack").write_bytes(sample.packed)
    names = sorted(f"{folder.name}/{file.name}" for file in folder.iterdir())
    for form in ("gnu", "pax"):
        path = tmp_path / f"{form}.tar"
        subprocess.run(["tar", f"--format={form}", "-cf", str(path), "-C", str(tmp_path), *names], check=True)

        read = [json.loads(json.dumps(release.described(one))) for one in Dataset[release.Everything](str(path))]

        assert read == expected()


def test_numpy_reads_our_arrays(shards: str) -> None:
    """An array in a sample is a whole ``.npy`` file, without pickle."""
    import msgspec

    for path in Dataset(shards).shard_list:
        for name, data in members(path, "r:"):
            if name != INDEX:
                array = np.load(io.BytesIO(msgspec.msgpack.decode(data)["image"]), allow_pickle=False)
                assert any(array.dtype == one.dtype and np.array_equal(array, one) for one in release.ARRAYS)
