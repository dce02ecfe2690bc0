"""Laws of `atdata.dataset`: what is new beside existing use (`test_compat_dataset.py`)."""

import json
import pickle
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from atdata.data.fields import Extension
from atdata.data.writer import ShardWriter, write_samples
from atdata.dataset import Dataset, open_dataset, packable
from atdata.lens import lens
from atdata.storage.base import Shard, Stream
from atdata.storage.file import FileStore
from atdata.syntax import raw_cid


@dataclass
class Digit:
    image: NDArray[np.uint8]
    label: int
    name: str


@dataclass
class Label:
    label: int


@packable
class Packed:
    image: NDArray[np.uint8]
    label: int
    name: str


@dataclass
class Caption:
    text: Annotated[str, Extension("txt")]
    label: Annotated[int, Extension("cls")]


@lens
def label_of(digit: Digit) -> Label:
    return Label(digit.label)


def digit(i: int) -> Digit:
    return Digit(np.full((2, 2), i % 256, np.uint8), i, f"digit {i}")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve samples in shards of 5, 5 and 2, each with its index."""
    folder = tmp_path_factory.mktemp("digits")
    write_samples(map(digit, range(12)), str(folder / "digits-%06d.tar"), shard_samples=5)
    return folder


@pytest.fixture
def url(folder: Path) -> str:
    return f"{folder}/digits-{{000000..000002}}.tar"


@pytest.fixture
def bare_url(folder: Path, tmp_path: Path) -> str:
    """The same samples in shards that have no index."""
    for number in range(3):
        data = (folder / f"digits-{number:06d}.tar").read_bytes()
        end = data.index(b"__index__")
        (tmp_path / f"bare-{number}.tar").write_bytes(data[:end] + bytes(1024))
    return f"{tmp_path}/bare-{{0..2}}.tar"


def labels(samples: Any) -> list[int]:
    return [sample.label for sample in samples]


class CountingStore:
    """Reads files, and remembers which were opened."""

    def __init__(self) -> None:
        self.opened: list[str] = []

    def open(self, path: str, *, start: int = 0, stop: int | None = None) -> Stream:
        self.opened.append(Path(path).name)
        return FileStore().open(path, start=start, stop=stop)

    def size(self, path: str) -> int:
        return FileStore().size(path)


def test_iterating_gives_samples_in_order(url: str) -> None:
    """Samples, not batches; again and again; of plain dataclasses as of packable ones."""
    for sample_type in (Digit, Packed):
        dataset = Dataset[sample_type](url)  # type: ignore[valid-type]  # a type at run time
        samples: list[Any] = list(dataset)

        assert all(type(sample) is sample_type for sample in samples)
        assert labels(samples) == labels(dataset) == list(range(12))
        assert np.array_equal(samples[7].image, digit(7).image)
        assert samples[7].name == "digit 7"


def test_untyped_samples_are_dicts(url: str, tmp_path: Path) -> None:
    """``Dataset[dict](url)`` and ``Dataset(url)`` give what each member holds, by extension, and the key."""
    path = str(tmp_path / "captions.tar")
    with ShardWriter(path) as writer:
        writer.write({"txt": "hello", "cls": 3}, key="first")

    assert list(Dataset[dict](path)) == [{"__key__": "first", "txt": "hello", "cls": 3}]  # type: ignore[type-arg]  # bare
    assert list(Dataset[dict[str, Any]](path)) == list(Dataset(path))
    untyped: Any = Dataset(url)[11]
    assert untyped["msgpack"]["label"] == 11


def test_a_class_maps_fields_to_members(tmp_path: Path) -> None:
    """Samples of several members, typed by extensions."""
    path = str(tmp_path / "captions.tar")
    with ShardWriter(path, sample_type=Caption) as writer:
        writer.write(Caption("hello", 3))

    assert list(Dataset[Caption](path)) == [Caption("hello", 3)]
    assert Dataset[Caption](path)[0] == Caption("hello", 3)


def test_batches_are_columns(url: str) -> None:
    """Arrays stacked and contiguous, numbers as arrays, the rest as lists; the last one is short, or dropped."""
    dataset = Dataset[Digit](url)
    batches = list(dataset.batches(5))

    assert [len(batch) for batch in batches] == [5, 5, 2]
    assert batches[1].image.shape == (5, 2, 2)
    assert np.array_equal(batches[1].label, range(5, 10))
    assert batches[2].name == ["digit 10", "digit 11"]
    assert [len(batch) for batch in dataset.batches(5, drop_last=True)] == [5, 5]
    with pytest.raises(ValueError, match="one sample or more"):
        dataset.batches(0)


def test_batches_need_a_type(url: str) -> None:
    """Untyped samples have no fields that could be columns: a TypeError that says so."""
    with pytest.raises(TypeError, match="sample type"):
        next(Dataset[dict[str, Any]](url).batches(2))


def test_batches_of_a_view(url: str) -> None:
    """Through a lens, columns are those of the type that it gives."""
    batches = list(Dataset[Digit](url).as_type(Label).batches(7))

    assert [batch.label.tolist() for batch in batches] == [list(range(7)), list(range(7, 12))]
    assert [len(batch) for batch in Dataset[Digit](url).as_type(Label).batches(7, drop_last=True)] == [7]


def test_head_is_the_first_samples(url: str) -> None:
    """Five where nothing is said, fewer where there are no more."""
    dataset = Dataset[Digit](url)

    assert labels(dataset.head()) == [0, 1, 2, 3, 4]
    assert labels(dataset.head(2)) == [0, 1]
    assert labels(dataset.head(100)) == list(range(12))


def test_len_comes_from_the_indexes_of_local_shards(url: str) -> None:
    """Known without reading through a shard."""
    assert len(Dataset[Digit](url)) == 12


def test_len_comes_from_the_record(url: str) -> None:
    """Where the record says how many samples a shard has, no shard is opened."""
    store = CountingStore()
    dataset = open_dataset(Digit, store=store, paths=["a", "b"], shards=[Shard(samples=3), Shard(samples=4)], url=url)

    assert len(dataset) == 7
    assert store.opened == []


def test_len_is_never_a_scan(bare_url: str) -> None:
    """Without record and index it is a TypeError, which says how to count; `list` and `bool` work all the same."""
    dataset = Dataset[Digit](bare_url)

    with pytest.raises(TypeError, match=r"dataset\.count\(\)"):
        len(dataset)
    assert labels(list(dataset)) == list(range(12))
    assert dataset.count() == 12


def test_a_dataset_is_true(tmp_path: Path) -> None:
    """Also one whose length is not known, or that is not there."""
    assert Dataset[Digit](str(tmp_path / "missing.tar"))


@pytest.mark.parametrize("source", ["url", "bare_url"])
def test_samples_by_number(source: str, request: pytest.FixtureRequest) -> None:
    """From either end, by index or by a scan, and through a lens."""
    dataset = Dataset[Digit](request.getfixturevalue(source))

    assert [dataset[i].label for i in range(-12, 12)] == [*range(12), *range(12)]
    assert dataset[np.int64(5)].label == 5  # type: ignore[call-overload]  # numpy's integers count as integers
    assert np.array_equal(dataset[6].image, digit(6).image)
    assert dataset.as_type(Label)[-1] == Label(11)


@pytest.mark.parametrize("i", [12, -13, 1 << 70])
def test_a_sample_that_is_not_there(url: str, i: int) -> None:
    """An IndexError that says how many there are."""
    with pytest.raises(IndexError, match="12 samples"):
        Dataset[Digit](url)[i]


def test_what_is_no_number_is_a_type_error(url: str) -> None:
    """As with any sequence."""
    with pytest.raises(TypeError):
        Dataset[Digit](url)["label"]  # type: ignore[index]  # the point of the test


@pytest.mark.parametrize(
    "chosen", [slice(3, 8), slice(None, None, 4), slice(-2, None), slice(None, None, -5), slice(9, 3)]
)
def test_a_slice_is_a_list(url: str, chosen: slice) -> None:
    """The samples that a list of all would give."""
    assert labels(Dataset[Digit](url)[chosen]) == list(range(12))[chosen]


def test_one_sample_opens_one_shard(folder: Path) -> None:
    """Shards behind the one where it lies are not looked at; where counts are known, neither are those before."""
    paths = [f"{folder}/digits-{number:06d}.tar" for number in range(3)]
    store = CountingStore()
    dataset = open_dataset(Digit, store=store, paths=paths, shards=None, url="x")

    assert dataset[7].label == 7
    assert set(store.opened) == {"digits-000000.tar", "digits-000001.tar"}

    store.opened.clear()
    known = [Shard(samples=5), Shard(samples=5), Shard(samples=2)]
    assert open_dataset(Digit, store=store, paths=paths, shards=known, url="x")[-1].label == 11
    assert set(store.opened) == {"digits-000002.tar"}


def test_the_representation_is_readable(url: str, bare_url: str) -> None:
    """Type, place, shards, and samples once they are known; no I/O, and no secrets."""
    dataset = Dataset[Digit](url)

    assert repr(dataset) == f"Dataset[Digit](url={url!r}, shards=3)"
    assert len(dataset) == 12
    assert repr(dataset) == f"Dataset[Digit](url={url!r}, shards=3, samples=12)"
    assert repr(Dataset(bare_url)) == f"Dataset(url={bare_url!r}, shards=3)"
    assert "hunter2" not in repr(Dataset[Digit]("https://me:hunter2@example.com/a.tar?token=hunter2"))
    assert repr(Dataset[Digit]("pipe:true")) == "Dataset[Digit](url='pipe:true')"
    opened = open_dataset(
        Digit, store=FileStore(), paths=["a"], shards=[Shard(samples=3)], url="a.tar", name="Digits", uri="at://x/y/z"
    )
    assert repr(opened) == "Dataset[Digit](name='Digits', uri='at://x/y/z', url='a.tar', shards=1, samples=3)"


def test_facts_and_paths_must_agree() -> None:
    """A record that describes more shards than it places is a ValueError."""
    with pytest.raises(ValueError, match="facts of 2 shards, but paths of 1"):
        open_dataset(Digit, store=FileStore(), paths=["a"], shards=[Shard(), Shard()], url="a")


def _take(dataset: Dataset[Digit], how: str, count: int) -> list[int]:
    """Labels of about ``count`` samples, one by one or in batches of three."""
    if how == "samples":
        iterator: Iterator[Any] = iter(dataset)
        return [next(iterator).label for _ in range(count)]
    batches = dataset.batches(3)
    return [label for _ in range(count // 3) for label in next(batches)["label"]]


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 12),
    st.integers(0, 12),
    st.sampled_from(["samples", "batches"]),
    st.sampled_from(["samples", "batches"]),
)
def test_a_resume_is_exact(folder: Path, first: int, second: int, how: str, then: str) -> None:
    """Stopped anywhere, twice, by samples or by batches: no sample is lost, none comes twice. States are JSON."""
    place = f"{folder}/digits-{{000000..000002}}.tar"
    dataset = Dataset[Digit](place)
    taken = _take(dataset, how, first)
    state = json.loads(json.dumps(dataset.state_dict()))

    again = Dataset[Digit](place)
    again.load_state_dict(state)
    assert again.state_dict() == state
    taken += _take(again, then, min(second, 12 - len(taken)))
    last = Dataset[Digit](place)
    last.load_state_dict(again.state_dict())
    rest = labels(last)

    assert taken + rest == list(range(12))
    assert state["samples"] == (first if how == "samples" else first // 3 * 3)


def test_a_resume_without_an_index_is_exact(bare_url: str) -> None:
    """Shards without an index are counted where a batch has gone over their end."""
    dataset = Dataset[Digit](bare_url)
    batches = dataset.batches(4)
    next(batches)
    next(batches)

    state = dataset.state_dict()
    assert (state["shard"], state["sample"], state["samples"]) == (1, 3, 8)
    again = Dataset[Digit](bare_url)
    again.load_state_dict(state)
    assert labels(again) == list(range(8, 12))


def test_a_resume_holds_once(url: str) -> None:
    """The iteration after the one that went on begins at the start."""
    dataset = Dataset[Digit](url)
    dataset.load_state_dict(dataset.state_dict() | {"shard": 2, "sample": 1, "samples": 11})

    assert labels(dataset) == [11]
    assert labels(dataset) == list(range(12))


def test_the_end_of_an_iteration_is_the_start_of_the_next(url: str) -> None:
    """What came to its end stands at the start again; so an epoch that is over is not gone on with."""
    dataset = Dataset[Digit](url)
    fresh = dataset.state_dict()

    assert len(list(dataset)) == 12
    assert dataset.state_dict() == fresh
    assert len(list(dataset.batches(5))) == 3
    assert dataset.state_dict() == fresh


def test_the_latest_iteration_counts(url: str) -> None:
    """`head`, numbers and pipelines leave the state alone; a second iteration takes it over."""
    dataset = Dataset[Digit](url)
    first = iter(dataset)
    next(first)
    dataset.head(4)
    _ = dataset[9]
    list(dataset.ordered())
    assert dataset.state_dict()["samples"] == 1

    second = iter(dataset)
    next(second), next(second), next(second)
    next(first)
    assert dataset.state_dict()["samples"] == 3


def test_a_state_belongs_to_its_dataset(url: str, bare_url: str, folder: Path) -> None:
    """The state of another dataset is a ValueError, that of the same shards in another place is not."""
    state = Dataset[Digit](url).state_dict()
    with pytest.raises(ValueError, match="another dataset"):
        Dataset[Digit](bare_url).load_state_dict(state)

    facts = [Shard(raw_cid(bytes([number] * 32)), samples=count) for number, count in enumerate((5, 5, 2))]
    paths = [f"{folder}/digits-{number:06d}.tar" for number in range(3)]
    before = open_dataset(Digit, store=FileStore(), paths=["x", "y", "z"], shards=facts, url="before")
    before.load_state_dict(before.state_dict() | {"shard": 1, "sample": 2, "samples": 7})
    after = open_dataset(Digit, store=FileStore(), paths=paths, shards=facts, url="after")
    after.load_state_dict(before.state_dict())
    assert labels(after) == list(range(7, 12))


def test_a_local_shard_that_changed_is_another(tmp_path: Path) -> None:
    """A file of another size is no longer the shard of which the state tells."""
    path = str(tmp_path / "a.tar")
    for count in (3, 300):
        write_samples(map(digit, range(count)), str(tmp_path / "a-%d.tar"))
        (tmp_path / "a-0.tar").rename(path)
        if count == 3:
            state = Dataset[Digit](path).state_dict()

    with pytest.raises(ValueError, match="changed since"):
        Dataset[Digit](path).load_state_dict(state)


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"fingerprint": None},
        {"shard": "1"},
        {"shard": 4},
        {"shard": -1},
        {"sample": -1},
        {"sample": 5, "samples": 4},
        {"samples": 1.5},
    ],
)
def test_what_is_no_state_is_refused(url: str, change: dict[str, Any]) -> None:
    """A state of another release, or one that nobody gave, is a ValueError; so is one that lacks something."""
    dataset = Dataset[Digit](url)
    state = dataset.state_dict()

    with pytest.raises(ValueError):
        dataset.load_state_dict(state | change)
    with pytest.raises(ValueError):
        dataset.load_state_dict({name: value for name, value in state.items() if name not in change})
    assert labels(dataset) == list(range(12))


def test_a_dataset_can_be_pickled_in_use(url: str) -> None:
    """No file is open in it; the copy knows place, type, name and position."""
    dataset = open_dataset(
        Digit, store=FileStore(), paths=Dataset(url).shard_list, shards=None, url=url, name="Digits", uri="at://x/y/z"
    )
    iterator = iter(dataset)
    next(iterator)
    _ = dataset[3]

    twin = pickle.loads(pickle.dumps(dataset))

    assert (twin.url, twin.name, twin.uri, twin.sample_type) == (url, "Digits", "at://x/y/z", Digit)
    assert twin.state_dict() == dataset.state_dict()
    assert labels(twin) == list(range(12))
