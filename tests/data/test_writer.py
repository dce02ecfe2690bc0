"""Shards that are written: their bytes, their faults, and that there is never half of one."""

import contextlib
import errno
import gc
import os
import resource
import subprocess
import sys
import tarfile
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pytest
import webdataset
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from tests.data import decoder

from atdata.data.fields import Extension
from atdata.data.output import CHUNK
from atdata.data.writer import ShardWriter, WrittenShard, scan_shard, write_samples
from atdata.errors import InvalidSyntaxError, SchemaMismatchError, ShardError
from atdata.storage.file import FileStore


@dataclass
class Sample:
    image: NDArray[np.uint8]
    label: int
    text: str


@dataclass
class Picture:
    image: Annotated[bytes, Extension("jpg")]
    label: Annotated[int, Extension("cls")]
    caption: Annotated[str | None, Extension("txt")] = None


def samples(count: int) -> Iterator[Sample]:
    for i in range(count):
        yield Sample(np.full((i % 5, 3), i % 256, np.uint8), i, f"text {i}")


def decoded(shard: WrittenShard) -> decoder.Decoded:
    """By the independent decoder; the facts must be those that it finds."""
    found = decoder.decode(shard.path.read_bytes())
    assert shard.shard.cid is not None
    assert shard.shard.index is not None
    assert bytes(shard.shard.cid) == found.cid
    assert bytes(shard.shard.index) == found.index_cid
    assert shard.shard.bytes == shard.path.stat().st_size
    assert shard.shard.samples == len(found.keys)
    return found


def test_a_shard_is_what_the_format_says(tmp_path: Path) -> None:
    """The independent decoder finds every sample, digest and fact."""
    (shard,) = write_samples(samples(300), tmp_path / "a-%06d.tar")
    found = decoded(shard)

    assert found.keys == [f"000000-{i:08d}" for i in range(300)]
    values = decoder.msgpack(found.members[299][0][1])
    assert isinstance(values, dict)
    assert list(values) == ["image", "label", "text"]
    assert values["image"].endswith(bytes([43]) * 12)
    assert (values["label"], values["text"]) == (299, "text 299")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # webdataset leaves files open
def test_others_read_it(tmp_path: Path) -> None:
    """webdataset, tarfile in both modes and GNU tar see the samples and pass over the index."""
    (shard,) = write_samples(samples(20), tmp_path / "a-%06d.tar")

    found = list(webdataset.WebDataset(str(shard.path), shardshuffle=False))
    assert [sample["__key__"] for sample in found] == [f"000000-{i:08d}" for i in range(20)]
    assert {tuple(sorted(sample)) for sample in found} == {("__key__", "__local_path__", "__url__", "msgpack")}
    for mode in ("r:", "r|"):
        with tarfile.open(shard.path, mode) as tar:
            assert len([info for info in tar if info.name.endswith(".msgpack")]) == 20
    listed = subprocess.run(["tar", "-tf", shard.path], capture_output=True, text=True, check=True)
    assert listed.stdout.splitlines()[-1] == "__index__"
    assert listed.stderr == ""


def test_the_same_samples_give_the_same_bytes(tmp_path: Path) -> None:
    """In another folder, at another time, through another writer."""
    first = write_samples(samples(50), tmp_path / "a" / "x-%06d.tar", shard_samples=20)
    second = write_samples(list(samples(50)), tmp_path / "b" / "y-%03d.tar", shard_samples=20, sample_type=Sample)
    with ShardWriter(tmp_path / "c.tar", shard=1) as writer:
        for i, sample in enumerate(list(samples(50))[20:40]):
            writer.write(sample, key=f"000001-{i:08d}")

    assert [shard.shard for shard in first] == [shard.shard for shard in second]
    assert [shard.path.read_bytes() for shard in first] == [shard.path.read_bytes() for shard in second]
    assert writer.shard == first[1].shard


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 3000), min_size=1, max_size=12), st.integers(1, 12_000), st.none() | st.integers(1, 9))
def test_shards_keep_within_their_limits(sizes: list[int], shard_bytes: int, shard_samples: int | None) -> None:
    """No sample is lost or moved; a shard is larger than asked for only when it has a single sample."""
    with tempfile.TemporaryDirectory() as folder:
        shards = write_samples(
            ({"bin": bytes(size)} for size in sizes),
            f"{folder}/a-%06d.tar",
            shard_bytes=shard_bytes,
            shard_samples=shard_samples,
        )
        found = [decoded(shard) for shard in shards]

    assert [len(data) for shard in found for sample in shard.members for _, data in sample] == sizes
    for shard in shards:
        assert shard.shard.samples is not None
        assert shard.shard.bytes is not None
        assert shard.shard.samples <= (shard_samples or len(sizes))
        assert shard.shard.bytes <= shard_bytes or shard.shard.samples == 1


def test_large_samples_and_many_blocks(tmp_path: Path) -> None:
    """Samples larger than the buffer, and samples on its border."""
    sizes = [CHUNK - 512 - 512, 1, CHUNK, 3 * CHUNK + 17, 0, 262144]
    (shard,) = write_samples(({"bin": bytes([i]) * size} for i, size in enumerate(sizes)), tmp_path / "a-%06d.tar")

    assert [data for sample in decoded(shard).members for _, data in sample] == [
        bytes([i]) * size for i, size in enumerate(sizes)
    ]


def test_ordinary_members(tmp_path: Path) -> None:
    """A type with extensions, or mappings; None leaves a member out."""
    pictures = [Picture(b"\xff\xd8", 3, "a cat"), Picture(b"\xff\xd8", 4)]
    (shard,) = write_samples(pictures, tmp_path / "a-%06d.tar")
    with ShardWriter(tmp_path / "b.tar") as writer:
        writer.write({"jpg": b"\xff\xd8", "cls": 3, "txt": "a cat"})
        writer.write({"jpg": b"\xff\xd8", "cls": 4, "__url__": "not written"})

    assert decoded(shard).members == [
        [("000000-00000000.jpg", b"\xff\xd8"), ("000000-00000000.cls", b"3"), ("000000-00000000.txt", b"a cat")],
        [("000000-00000001.jpg", b"\xff\xd8"), ("000000-00000001.cls", b"4")],
    ]
    assert writer.path.read_bytes() == shard.path.read_bytes()


def test_keys_of_ones_own(tmp_path: Path) -> None:
    """From the argument or from ``__key__``, beside counted ones, long and beyond ASCII."""
    with ShardWriter(tmp_path / "a.tar", shard=2) as writer:
        writer.write({"cls": 0})
        writer.write({"cls": 1}, key="größe")
        writer.write({"cls": 2, "__key__": "k" * 300})
        writer.write({"cls": 3})

    assert decoded(WrittenShard(writer.path, writer.shard)).keys == [
        "000002-00000000",
        "größe",
        "k" * 300,
        "000002-00000003",
    ]
    assert scan_shard(FileStore(), str(writer.path)) == writer.shard


@pytest.mark.parametrize(
    "key", ["", "a.b", "a/b", "__x__", "__x", "a\nb", "a\0", "\ud800", "k" * 2000, "000000-00000000"]
)
def test_keys_that_would_not_come_back_are_refused(tmp_path: Path, key: str) -> None:
    """webdataset cuts keys at dots and passes over double underscores; none may come twice. The shard goes on."""
    with ShardWriter(tmp_path / "a.tar") as writer:
        writer.write({"cls": 0})
        with pytest.raises(SchemaMismatchError, match="sample 1: "):
            writer.write({"cls": 1}, key=key)
        writer.write({"cls": 2})

    assert decoded(WrittenShard(writer.path, writer.shard)).keys == ["000000-00000000", "000000-00000001"]


def test_a_counted_key_may_be_taken_already(tmp_path: Path) -> None:
    """Then it is refused as any key that comes twice."""
    with ShardWriter(tmp_path / "a.tar") as writer:
        writer.write({"cls": 0}, key="000000-00000001")
        with pytest.raises(SchemaMismatchError, match="is in the shard already"):
            writer.write({"cls": 1})


def test_arrays_may_change_once_they_are_written(tmp_path: Path) -> None:
    """Samples are copied: one array may be used for all of them."""

    def reused() -> Iterator[Sample]:
        image = np.zeros((2, 2), np.uint8)
        for i in range(4):
            image[:] = i
            yield Sample(image, i, "")

    (shard,) = write_samples(reused(), tmp_path / "a-%06d.tar", shard_samples=100)
    values = [decoder.msgpack(sample[0][1]) for sample in decoded(shard).members]

    assert [value["image"][-4:] for value in values] == [bytes([i]) * 4 for i in range(4)]  # type: ignore[index] # maps


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (Sample(np.zeros(2, np.uint8), "7", ""), "sample 12: field 'label' is a str, its type says integer"),  # type: ignore[arg-type] # the point
        (Sample(np.array([None]), 7, ""), "sample 12: field 'image' is an array of object"),
        (Sample(np.zeros(2, np.uint8), 1 << 70, ""), "sample 12: field 'label': an integer beyond 64 bits"),
        ({"cls": 3}, "sample 12: a dict, where the others are Sample"),
        (7, "sample 12: a int, where the others are Sample"),
    ],
)
def test_a_sample_that_does_not_fit_leaves_no_file(tmp_path: Path, bad: Any, message: str) -> None:
    """The error has the field and the number of the sample over all shards; finished shards go too."""
    with pytest.raises(SchemaMismatchError, match=message):
        write_samples([*samples(12), bad, *samples(3)], tmp_path / "out" / "a-%06d.tar", shard_samples=5)

    assert list((tmp_path / "out").iterdir()) == []


def test_a_source_that_fails_leaves_no_file(tmp_path: Path) -> None:
    """Whatever it raises comes through."""

    def failing() -> Iterator[Sample]:
        yield from samples(12)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_samples(failing(), tmp_path / "a-%06d.tar", shard_samples=5)

    assert list(tmp_path.iterdir()) == []
    assert not [thread for thread in threading.enumerate() if thread.name == "atdata-digests"]


def test_a_file_that_was_there_stays_until_the_new_one_is_whole(tmp_path: Path) -> None:
    """It is replaced at once, or not at all."""
    path = tmp_path / "a.tar"
    path.write_bytes(b"old")
    with contextlib.suppress(ZeroDivisionError), ShardWriter(path) as writer:
        writer.write({"cls": 1})
        raise ZeroDivisionError
    assert path.read_bytes() == b"old"

    with ShardWriter(path) as writer:
        writer.write({"cls": 1})
        assert path.read_bytes() == b"old"
    assert writer.shard.bytes == path.stat().st_size
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.tar"]
    assert path.stat().st_mode & 0o777 == 0o666 & ~_umask()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_no_shard_is_empty(tmp_path: Path) -> None:
    """webdataset refuses a shard without samples."""
    with pytest.raises(ShardError, match="no samples"):
        write_samples([], tmp_path / "a-%06d.tar")
    with pytest.raises(ShardError, match="no sample was written"), ShardWriter(tmp_path / "a.tar"):
        pass

    assert list(tmp_path.iterdir()) == []


def test_a_writer_is_used_inside_its_block(tmp_path: Path) -> None:
    """Outside there is no file."""
    writer = ShardWriter(tmp_path / "a.tar")
    with pytest.raises(ValueError, match="inside of its 'with' block"):
        writer.write({"cls": 1})
    with pytest.raises(ValueError, match="not written yet"):
        _ = writer.shard
    with pytest.raises(FileNotFoundError), ShardWriter(tmp_path / "missing" / "a.tar"):
        pass
    with pytest.raises(SchemaMismatchError, match="not a sample type"):
        ShardWriter(tmp_path / "a.tar", sample_type=int)


@pytest.mark.parametrize(
    "pattern",
    ["a.tar", "a-%06d.tgz", "a-%06d", "a-%s.tar", "a-%d-%d.tar", "%%a-%d.tar", "a-{000..009}-%d.tar", "a::%d.tar",
     "file:///a-%06d.tar", "a%x.tar", ""],
)  # fmt: skip
def test_patterns_that_could_not_be_read_back_are_refused(pattern: str) -> None:
    """One number, no braces, no joined names."""
    with pytest.raises(InvalidSyntaxError, match="is not a pattern of shards"):
        write_samples(samples(1), pattern)


@pytest.mark.parametrize("arguments", [{"shard_bytes": 0}, {"shard_samples": 0}])
def test_limits_are_at_least_one(tmp_path: Path, arguments: dict[str, int]) -> None:
    """Zero would mean no shard."""
    with pytest.raises(ValueError, match="at least 1"):
        write_samples(samples(1), tmp_path / "a-%06d.tar", **arguments)  # type: ignore[arg-type] # both are integers


_FULL = """
import errno, resource, signal, sys, threading
from atdata.data.writer import write_samples
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), int(sys.argv[2])))
try:
    write_samples(({"bin": bytes(100_000)} for _ in range(200)), sys.argv[1], shard_bytes=6_000_000)
except OSError as error:
    assert error.errno == errno.EFBIG, error
    assert "nothing of this file is kept" in str(error), error
    assert "a-000000.tar" in str(error), error
    assert threading.active_count() == 1
    sys.exit(42)
"""


@pytest.mark.parametrize("limit", [1_000_000, 4_200_000, 5_900_000])
def test_a_file_that_may_not_grow_leaves_nothing(tmp_path: Path, limit: int) -> None:
    """Wherever the limit strikes, in the samples or in the last write: the error names the file, and nothing stays."""
    done = subprocess.run([sys.executable, "-c", _FULL, str(tmp_path / "a-%06d.tar"), str(limit)], check=False)

    assert done.returncode == 42
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 10 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=10m", "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("a small disk needs the right to mount one")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_full_disk_leaves_nothing(small_disk: Path) -> None:
    """Shards that were finished before are removed as well, so that the space comes back."""
    with pytest.raises(OSError, match="No space left on device; nothing of this file is kept") as caught:
        write_samples(({"bin": bytes(100_000)} for _ in range(200)), small_disk / "a-%06d.tar", shard_bytes=4_000_000)

    assert caught.value.errno == errno.ENOSPC
    assert caught.value.filename == str(small_disk / "a-000002.tar")
    assert list(small_disk.iterdir()) == []
    assert os.statvfs(small_disk).f_bfree * os.statvfs(small_disk).f_bsize > 9_000_000


def test_memory_is_bounded(tmp_path: Path) -> None:
    """200 MB in samples of 1 MB take less than 32 MB beyond what there was."""
    pixels = np.zeros((1000, 1000), np.uint8)
    write_samples((Sample(pixels, i, "") for i in range(2)), tmp_path / "warm-%06d.tar")
    gc.collect()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    write_samples((Sample(pixels, i, "") for i in range(200)), tmp_path / "a-%06d.tar")

    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 32_000
