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
from atdata.storage.base import Shard
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


class CountingStore(MemoryStore):
    """Remembers what was read."""

    def __init__(self, objects: dict[str, bytes]) -> None:
        super().__init__(objects)
        self.reads: list[tuple[int, int | None]] = []

    def open(self, path: str, *, start: int = 0, stop: int | None = None) -> Any:
        self.reads.append((start, stop))
        return super().open(path, start=start, stop=stop)


def test_with_an_index(tmp_path: Path) -> None:
    """Two small reads for the first sample, one for each other; the shard is not scanned."""
    data = written(tmp_path)
    store = CountingStore({"x.tar": data})
    index = read_index(store, "x.tar")
    assert index is not None
    store.reads.clear()

    check(ShardAccess(store, "x.tar"), [59, 0, 30, 30])

    assert store.reads[0][1] == len(data)
    assert store.reads[1:] == [index.span(i) for i in (59, 59, 0, 0, 30, 30, 30, 30)]


def test_blocks_are_checked_where_a_record_names_the_index(tmp_path: Path) -> None:
    """Whole blocks are read, once, and none whose digest is wrong gives a sample."""
    data = bytearray(written(tmp_path))
    store = CountingStore({"x.tar": bytes(data)})
    index = read_index(store, "x.tar")
    assert index is not None
    facts = Shard(index=index.cid, bytes=len(data), samples=60)
    store.reads.clear()

    check(ShardAccess(store, "x.tar", facts=facts), [59, 0, 30])

    assert store.reads[1:] == [(0, int(index.offsets[-1]))]
    data[int(index.offsets[3]) + 512 + 300] ^= 1
    for place in (MemoryStore({"x.tar": bytes(data)}), FileStore()):
        path = "x.tar" if isinstance(place, MemoryStore) else str(tmp_path / "x.tar")
        (tmp_path / "x.tar").write_bytes(data)
        with pytest.raises(IntegrityError, match="block 0 has another digest"):
            ShardAccess(place, path, facts=facts).sample(3, Sample)


@pytest.mark.parametrize("checked", [True, False])
@pytest.mark.parametrize("near", [True, False])
def test_several_samples_at_once(tmp_path: Path, near: bool, checked: bool) -> None:
    """What each alone would be, in the order of their numbers."""
    data = written(tmp_path)
    store = FileStore() if near else MemoryStore({"x.tar": data})
    path = str(tmp_path / "x.tar") if near else "x.tar"
    index = read_index(store, path)
    assert index is not None
    access = ShardAccess(store, path, facts=Shard(index=index.cid) if checked else None)

    for numbers in ([], [0], [59], [3, 4, 5, 40], list(range(60))):
        found = access.samples(np.array(numbers, np.int64), Sample)
        assert [sample.label for sample in found] == numbers
        assert all(sample.image.flags.behaved and (sample.image == sample.label).all() for sample in found)
    with pytest.raises(IndexError):
        access.samples(np.array([3, 60]), Sample)
    access.close()
    assert access.sample(7, Sample).label == 7


def test_neighbours_of_one_key_stay_two_samples() -> None:
    """Taken together they stand side by side, which in a tar would make them one sample."""
    store, [path] = store_of(make_tar([("a.cls", b"1"), ("b.cls", b"2"), ("a.txt", b"x"), ("b.cls", b"3")]))
    access = ShardAccess(store, path)

    for numbers in ([0, 2], [1, 3]):
        together = access.samples(np.array(numbers), dict)
        assert together == [access.sample(number, dict) for number in numbers]


def test_another_number_of_samples_than_the_record_says(tmp_path: Path) -> None:
    """Is an IntegrityError, before any sample comes out."""
    store = MemoryStore({"x.tar": written(tmp_path)})

    with pytest.raises(IntegrityError, match="60 samples, its record says 61"):
        ShardAccess(store, "x.tar", facts=Shard(samples=61)).sample(0, Sample)


def test_an_index_that_is_not_the_one_announced(tmp_path: Path) -> None:
    store = MemoryStore({"x.tar": written(tmp_path), "y.tar": PLAIN})

    with pytest.raises(IntegrityError, match=r"^x\.tar: the index is bafk"):
        ShardAccess(store, "x.tar", facts=Shard(index=raw_cid(bytes(32)))).count()
    with pytest.raises(IntegrityError, match=r"^y\.tar: the shard has no index"):
        ShardAccess(store, "y.tar", facts=Shard(index=raw_cid(bytes(32)))).count()


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


def test_equal_and_unequal_sizes_of_a_file(tmp_path: Path) -> None:
    """A file read as memory: many small samples of one size, of several, and large ones."""
    for name, shapes in (("equal", [(3,)]), ("unequal", [(3,), (700,)]), ("large", [(5000,), (9000,)])):
        with ShardWriter(tmp_path / name) as writer:
            for number in range(40):
                writer.write(Sample(np.full(shapes[number % len(shapes)], number, np.float64), number))
        access = ShardAccess(FileStore(), str(tmp_path / name))
        for mapped in (True, False):
            for numbers in ([0, 1, 2, 39], list(range(1, 40, 2)), list(range(40))):
                found = access.samples(np.array(numbers), Sample, mapped=mapped)
                assert [(sample.label, set(sample.image.tolist())) for sample in found] == [(n, {n}) for n in numbers]
