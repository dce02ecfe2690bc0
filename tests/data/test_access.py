"""Random access: the samples that reading in order gives, by number; an index that lies is found out."""

import dataclasses
import gzip
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.data.tars import make_tar, packed, store_of, typed_tar

from atdata.data.access import ShardAccess
from atdata.data.index import ShardIndex, encode_index, read_index
from atdata.data.reader import read_samples
from atdata.data.tar import END, member_header
from atdata.data.writer import ShardWriter
from atdata.errors import IntegrityError, ShardError
from atdata.storage.file import FileStore
from atdata.syntax import raw_cid
from atdata.testing import MemoryStore


@dataclasses.dataclass
class Sample:
    image: NDArray[Any]
    label: int


PAYLOADS = [packed(image=np.full((2, 2), n, np.float32), label=n) for n in range(60)]
PLAIN = typed_tar(PAYLOADS, ["ustar", "mtime"])


def check(access: ShardAccess, order: list[int]) -> None:
    assert access.count() == 60
    for i in order:
        sample = access.sample(i, Sample)
        assert (sample.label, sample.image.tolist()) == (i, [[i, i]] * 2)
        assert sample.image.flags.behaved
        assert access.sample(i, dict)["msgpack"]["label"] == i


def test_without_an_index() -> None:
    """The shard is scanned, once."""
    store, [path] = store_of(PLAIN)
    access = ShardAccess(store, path)

    check(access, [59, 0, 30, 30])
    check(pickle.loads(pickle.dumps(access)), [1])
    for i in (60, -1):
        with pytest.raises(IndexError, match=f"no sample {i} among 60"):
            access.sample(i, Sample)


def written(folder: Path) -> bytes:
    with ShardWriter(folder / "x.tar") as writer:
        for number in range(60):
            writer.write(Sample(np.full((2, 2), number, np.float32), number))
    return (folder / "x.tar").read_bytes()


def test_with_an_index(tmp_path: Path) -> None:
    """Two small reads for the first sample, one for each other; the shard is not scanned."""
    data = written(tmp_path)
    reads = []

    class Counting(MemoryStore):
        def open(self, path: str, *, start: int = 0, stop: int | None = None) -> Any:
            reads.append((start, stop))
            return super().open(path, start=start, stop=stop)

    store = Counting({"x.tar": data})
    index = read_index(store, "x.tar")
    assert index is not None
    reads.clear()

    check(ShardAccess(store, "x.tar", index=index.cid), [59, 0, 30, 30])

    assert reads[0][1] == len(data)
    assert all(span == index.span(i) for i, span in zip((59, 59, 0, 0, 30, 30, 30, 30), reads[1:], strict=True))


def test_an_index_that_is_not_the_one_announced(tmp_path: Path) -> None:
    store = MemoryStore({"x.tar": written(tmp_path), "y.tar": PLAIN})

    with pytest.raises(IntegrityError, match=r"^x\.tar: the index is bafk"):
        ShardAccess(store, "x.tar", index=raw_cid(bytes(32))).count()
    with pytest.raises(IntegrityError, match=r"^y\.tar: the shard has no index"):
        ShardAccess(store, "y.tar", index=raw_cid(bytes(32))).count()


def lying(data: bytes, change: Callable[[ShardIndex], ShardIndex]) -> bytes:
    """The shard with another index, consistent in itself."""
    index = read_index(MemoryStore({"x": data}), "x")
    assert index is not None
    payload = encode_index(change(index))
    return data[: int(index.offsets[-1])] + member_header("__index__", len(payload)) + payload + END


def moved(index: ShardIndex, which: int, by: int) -> ShardIndex:
    offsets = index.offsets.copy()
    offsets[which] += by
    return dataclasses.replace(index, offsets=offsets)


@pytest.mark.parametrize(
    "change",
    [
        lambda index: moved(index, 5, 512),
        lambda index: moved(index, 5, -512),
        lambda index: dataclasses.replace(index, keys=[f"other{i}" for i in range(len(index))]),
        lambda index: dataclasses.replace(index, keys=index.keys[:-1], offsets=np.delete(index.offsets, 5)),
        lambda index: dataclasses.replace(index, keys=index.keys[:-1], offsets=np.delete(index.offsets, 0)),
    ],
    ids=["later", "earlier", "keys", "two in one", "first left out"],
)
def test_an_index_that_lies_is_found_out(tmp_path: Path, change: Callable[[ShardIndex], ShardIndex]) -> None:
    """At the sample where it lies, never another sample in its place."""
    store = MemoryStore({"x.tar": lying(written(tmp_path), change)})
    access = ShardAccess(store, "x.tar")
    wrong = 0

    for i in range(access.count()):
        try:
            assert access.sample(i, Sample).label == i
        except IntegrityError as error:
            assert "x.tar" in str(error)  # noqa: PT017  # some samples are right, others not
            wrong += 1
    assert wrong
    assert [sample.label for sample in read_samples(store, ["x.tar"], Sample)] == list(range(60))


def test_several_members_a_sample() -> None:
    """Passed-over members in between and behind do no harm."""
    names = ["a.cls", "a.txt", "__meta__", "LICENSE", "b.cls", "b.txt", "a.cls", "__index__"]
    store, [path] = store_of(make_tar([(name, b"1") for name in names]))
    access = ShardAccess(store, path)

    found = [access.sample(i, dict) for i in range(access.count())]

    assert found == [
        {"__key__": "a", "cls": 1, "txt": "1"}, {"__key__": "b", "cls": 1, "txt": "1"}, {"__key__": "a", "cls": 1},
    ]  # fmt: skip


def test_a_compressed_shard_is_unpacked_once(tmp_path: Path) -> None:
    """Into a temporary file, which goes with the access."""
    (tmp_path / "x.tar.gz").write_bytes(gzip.compress(PLAIN))
    access = ShardAccess(FileStore(), str(tmp_path / "x.tar.gz"))

    check(access, [59, 0, 30])
    (tmp_path / "x.tar.gz").unlink()
    check(access, [7])
    assert access._unpacked is not None
    name = Path(access._unpacked.name)
    assert name.exists()
    access.close()
    access.close()
    assert not name.exists()


def test_a_damaged_shard_is_an_error() -> None:
    store, [path] = store_of(PLAIN[:5000])

    with pytest.raises(ShardError, match="cut short"):
        ShardAccess(store, path).count()


def test_a_bad_sample_harms_no_other() -> None:
    store, [path] = store_of(typed_tar([PAYLOADS[0], b"\xc1", PAYLOADS[2]]))
    access = ShardAccess(store, path)

    assert [access.sample(i, Sample).label for i in (0, 2)] == [0, 2]
    with pytest.raises(ShardError, match="'000001'"):
        access.sample(1, Sample)
