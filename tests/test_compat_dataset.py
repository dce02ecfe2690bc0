"""What existing code expects of `Dataset`; facts measured on the releases 0.1.3b4 and 0.2.0a1.

Shards are written as existing code writes them, by webdataset's own writer.
"""

import http.server
import inspect
import pickle
import tarfile
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import webdataset
from numpy.typing import NDArray

import atdata.dataset as module
from atdata.dataset import Dataset, SampleBatch, packable
from atdata.lens import Lens, LensNetwork, lens


@packable
class Example:
    label: int
    image: NDArray[Any]


@packable
class Label:
    label: int


@lens
def label_of(example: Example) -> Label:
    return Label(example.label)


def example(label: int) -> Any:
    return Example(label, np.full((2, 3), label, np.float32))


def write(path: Path, labels: range) -> str:
    with webdataset.TarWriter(str(path)) as writer:
        for label in labels:
            writer.write(example(label).as_wds)
    return str(path)


@pytest.fixture
def shards(tmp_path: Path) -> str:
    """Ten samples in three shards, in brace notation."""
    for number, labels in enumerate((range(4), range(4, 8), range(8, 10))):
        write(tmp_path / f"data-{number:06d}.tar", labels)
    return f"{tmp_path}/data-{{000000..000002}}.tar"


def labels_of(samples: Any) -> list[int]:
    return [sample.label for sample in samples]


def test_names_are_where_they_were() -> None:
    """Names, aliases and private helpers that existing code and its tests import from ``atdata.dataset``."""
    for name in (
        *("PackableSample", "SampleBatch", "Dataset", "packable", "MsgpackRawSample", "WDSRawSample", "WDSRawBatch"),
        *("SampleExportRow", "SampleExportMap", "Pathlike", "_batch_aggregate"),
    ):
        assert hasattr(module, name)


def test_signatures_are_what_they_were() -> None:
    """Names, order and defaults of parameters."""

    def parameters(function: Any) -> dict[str, Any]:
        return {
            name: parameter.default
            for name, parameter in inspect.signature(function).parameters.items()
            if parameter.kind is parameter.POSITIONAL_OR_KEYWORD and name != "self"
        }

    empty = inspect.Parameter.empty
    assert parameters(Dataset) == {"url": empty, "metadata_url": None}
    assert parameters(Dataset.ordered) == {"batch_size": 1}
    assert parameters(Dataset.shuffled) == {"buffer_shards": 100, "buffer_samples": 10_000, "batch_size": 1}
    assert parameters(Dataset.as_type) == {"other": empty}
    assert parameters(Dataset.to_parquet) == {"path": empty, "sample_map": None, "maxcount": None}
    assert list(parameters(Dataset.wrap)) == ["sample"]
    assert list(parameters(Dataset.wrap_batch)) == ["batch"]


def test_the_url_is_kept_as_it_was_given(shards: str) -> None:
    """By position or by keyword, and not expanded."""
    assert Dataset[Example](shards).url == Dataset[Example](url=shards).url == shards


def test_types_of_samples_and_batches(shards: str) -> None:
    """``sample_type`` is what stood in the brackets, ``batch_type`` the SampleBatch of it."""
    dataset = Dataset[Example](shards)

    assert dataset.sample_type is Example
    assert dataset.batch_type == SampleBatch[Example]


def test_without_a_type_only_the_type_is_missing(shards: str) -> None:
    """``Dataset(url)`` can be made; asking for its sample type is an AttributeError."""
    dataset: Dataset[Any] = Dataset(shards)

    with pytest.raises(AttributeError, match="__orig_class__"):
        _ = dataset.sample_type


def test_a_dataset_opens_nothing_before_it_is_used(tmp_path: Path) -> None:
    """Neither the constructor nor a pipeline looks at the URL; iterating does."""
    dataset = Dataset[Example](str(tmp_path / "missing-{0..3}.tar"))
    pipeline = dataset.ordered()

    with pytest.raises(FileNotFoundError):
        next(iter(pipeline))


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("a.tar", ["a.tar"]),
        ("data-{000008..000010}.tar", ["data-000008.tar", "data-000009.tar", "data-000010.tar"]),
        ("{a,b}/x.tar", ["a/x.tar", "b/x.tar"]),
        ("a-{0..1}.tar::b.tar", ["a-0.tar", "a-1.tar", "b.tar"]),
    ],
)
def test_the_list_of_shards_is_the_url_expanded(url: str, expected: list[str]) -> None:
    """Brace notation of ranges and of alternatives; ``::`` joins."""
    assert Dataset[Example](url).shard_list == expected


def test_joined_shards_are_read_one_after_another(tmp_path: Path) -> None:
    """``::`` joins shards of several places."""
    url = write(tmp_path / "b.tar", range(3)) + "::" + write(tmp_path / "a.tar", range(3, 5))

    assert labels_of(Dataset[Example](url).ordered(batch_size=None)) == [0, 1, 2, 3, 4]


def test_a_pipe_is_never_run(tmp_path: Path) -> None:
    """webdataset runs ``pipe:`` URLs; here they are refused, also behind a ``::``."""
    proof = tmp_path / "ran"
    good = write(tmp_path / "a.tar", range(1))

    for url in (f"pipe:touch {proof}", f"{good}::pipe:touch {proof}"):
        with pytest.raises(PermissionError):
            list(Dataset[Example](url).ordered())
    assert not proof.exists()


def test_ordered_gives_batches_of_one(shards: str) -> None:
    """The default is a batch of one sample, in the order of the shards and of each tar."""
    batches = list(Dataset[Example](shards).ordered())

    assert all(isinstance(batch, SampleBatch) and batch.sample_type is Example for batch in batches)
    assert [batch.label for batch in batches] == [[i] for i in range(10)]
    assert batches[3].image.shape == (1, 2, 3)


def test_ordered_gives_samples_where_no_batch_is_wanted(shards: str) -> None:
    """``batch_size=None`` is samples."""
    samples = list(Dataset[Example](shards).ordered(batch_size=None))

    assert all(type(sample) is Example for sample in samples)
    assert labels_of(samples) == list(range(10))
    assert np.array_equal(samples[7].image, np.full((2, 3), 7))


def test_the_last_short_batch_is_kept(shards: str) -> None:
    """Batches go over the ends of shards; what is left makes the last one."""
    batches = list(Dataset[Example](shards).ordered(batch_size=3))

    assert [batch.label for batch in batches] == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9]]
    assert batches[1].image.shape == (3, 2, 3)


def test_samples_can_be_changed_in_place(shards: str) -> None:
    """An array of a sample is its own: writing to it changes no other."""
    first, second, *_ = Dataset[Example](shards).ordered(batch_size=None)

    first.image += 5

    assert np.array_equal(first.image, np.full((2, 3), 5))
    assert np.array_equal(second.image, np.full((2, 3), 1))


def test_pipelines_can_be_iterated_again(shards: str) -> None:
    """Each iteration over one pipeline gives everything, also while another one is under way."""
    pipeline = Dataset[Example](shards).ordered(batch_size=None)
    iterator = iter(pipeline)
    next(iterator)

    assert labels_of(pipeline) == labels_of(pipeline) == list(range(10))
    assert labels_of(iterator) == list(range(1, 10))


def test_shuffled_gives_every_sample_once(shards: str) -> None:
    """Whatever the buffers; batches of one by default, samples where no batch is wanted."""
    dataset = Dataset[Example](shards)

    assert sorted(batch.label[0] for batch in dataset.shuffled()) == list(range(10))
    assert sorted(labels_of(dataset.shuffled(batch_size=None))) == list(range(10))
    assert sorted(labels_of(dataset.shuffled(1, 1, None))) == list(range(10))
    assert sorted(len(batch.samples) for batch in dataset.shuffled(2, 4, batch_size=4)) == [2, 4, 4]


def test_shuffled_is_another_order_each_time(shards: str) -> None:
    """No seed is fixed: of 20 iterations over ten samples, no two neighbours would all be equal by chance."""
    pipeline = Dataset[Example](shards).shuffled(batch_size=None)

    assert len({tuple(labels_of(pipeline)) for _ in range(20)}) > 1


def test_a_seed_fixes_the_order(shards: str) -> None:
    """With ``seed=`` each iteration gives the same order, another seed another one."""
    shuffled = partial(Dataset[Example](shards).shuffled, batch_size=None)

    assert labels_of(shuffled(seed=3)) == labels_of(shuffled(seed=3))
    assert len({tuple(labels_of(shuffled(seed=seed))) for seed in range(5)}) > 1


@pytest.mark.parametrize("how", ["ordered", "shuffled"])
def test_workers_share_the_shards(shards: str, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards are dealt round robin to the workers that the environment tells of; together they read all, once."""
    pipeline = getattr(Dataset[Example](shards), how)(batch_size=None)
    monkeypatch.setenv("NUM_WORKERS", "2")
    parts = []
    for worker in "01":
        monkeypatch.setenv("WORKER", worker)
        parts.append(sorted(labels_of(pipeline)))

    assert parts == [[0, 1, 2, 3, 8, 9], [4, 5, 6, 7]]


@pytest.mark.parametrize("size", [0, -1])
def test_a_batch_has_samples(shards: str, size: int) -> None:
    """A batch size below one is a ValueError, at once."""
    for how in (Dataset[Example](shards).ordered, Dataset[Example](shards).shuffled):
        with pytest.raises(ValueError, match="one sample or more"):
            how(batch_size=size)


def test_a_lens_shows_another_type(shards: str) -> None:
    """``as_type`` keeps the URL and gives samples, batches and their types as the lens makes them."""
    dataset = Dataset[Example](shards).as_type(Label)

    assert (dataset.url, dataset.sample_type, dataset.batch_type) == (shards, Label, SampleBatch[Label])
    assert list(dataset.ordered(batch_size=None)) == [Label(i) for i in range(10)]
    assert [batch.label for batch in dataset.ordered(batch_size=6)] == [list(range(6)), [6, 7, 8, 9]]


def test_a_lens_must_be_registered(shards: str) -> None:
    """Exactly from this type to that one; nothing is composed or reversed."""
    with pytest.raises(ValueError, match="No registered lens from source"):
        Dataset[Label](shards).as_type(Example)
    assert (Example, Label) in LensNetwork()._registry


def test_views_follow_each_other(shards: str) -> None:
    """``as_type`` of a view goes on from what the view shows."""

    @packable
    class Doubled:
        doubled: int

    def double(label: Label) -> Doubled:
        return Doubled(2 * label.label)

    LensNetwork().register(Lens(double))

    assert Dataset[Example](shards).as_type(Label).as_type(Doubled)[4] == Doubled(8)


def test_wrapping_what_webdataset_reads() -> None:
    """``wrap`` and ``wrap_batch`` take the dicts of webdataset, through the lens where there is one."""
    dataset = Dataset[Example]("unused.tar")
    raws = [example(i).as_wds for i in range(3)]

    assert dataset.wrap(raws[2]).label == 2
    assert dataset.as_type(Label).wrap(raws[2]) == Label(2)
    batch = dataset.wrap_batch({"msgpack": [raw["msgpack"] for raw in raws]})
    assert isinstance(batch, SampleBatch)
    assert batch.label == [0, 1, 2]
    assert dataset.as_type(Label).wrap_batch({"msgpack": [raws[1]["msgpack"]]}).samples == [Label(1)]


@pytest.mark.parametrize("raw", [{}, {"__key__": "a"}, {"msgpack": "text"}])
def test_wrapping_needs_msgpack(raw: dict[str, Any]) -> None:
    """Anything without it is an AssertionError."""
    with pytest.raises(AssertionError):
        Dataset[Example]("unused.tar").wrap(raw)
    with pytest.raises(AssertionError):
        Dataset[Example]("unused.tar").wrap_batch({"__key__": ["a"]})


def test_other_members_are_passed_over(tmp_path: Path) -> None:
    """Of a sample with several members only ``.msgpack`` is read, for a type without extensions."""
    path = str(tmp_path / "a.tar")
    with webdataset.TarWriter(path) as writer:
        writer.write({**example(1).as_wds, "txt": "hello", "jpg": b"\xff\xd8"})

    assert labels_of(Dataset[Example](path).ordered(batch_size=None)) == [1]


def test_a_sample_without_msgpack_is_an_error(tmp_path: Path) -> None:
    """It is not passed over silently: a ValueError that says so."""
    path = str(tmp_path / "a.tar")
    with webdataset.TarWriter(path) as writer:
        writer.write({"__key__": "k", "txt": "hello"})

    with pytest.raises(ValueError, match=r"no \.msgpack member"):
        list(Dataset[Example](path).ordered())


@pytest.mark.parametrize("cut", [100, 700, 2048, 4000])
def test_a_truncated_tar_is_a_read_error(tmp_path: Path, cut: int) -> None:
    """Wherever it is cut, between members too."""
    path = Path(write(tmp_path / "a.tar", range(5)))
    path.write_bytes(path.read_bytes()[:cut])

    with pytest.raises(tarfile.ReadError):
        list(Dataset[Example](str(path)).ordered())


@pytest.mark.parametrize("content", [b"", b"<!DOCTYPE html><html>not found</html>", b"x" * 5000])
def test_what_is_no_tar_is_a_read_error(tmp_path: Path, content: bytes) -> None:
    """An empty file, a web page, anything else."""
    path = tmp_path / "a.tar"
    path.write_bytes(content)

    with pytest.raises(tarfile.ReadError):
        list(Dataset[Example](str(path)).ordered())


def test_corrupt_msgpack_is_a_value_error(tmp_path: Path) -> None:
    """A sample that does not decode ends the iteration with an error that names the shard."""
    path = str(tmp_path / "broken.tar")
    with webdataset.TarWriter(path) as writer:
        writer.write({"__key__": "k", "msgpack": b"\x82\xa5label"})

    with pytest.raises(ValueError, match=r"broken\.tar"):
        list(Dataset[Example](path).ordered())


def test_samples_of_another_type_are_a_type_error(tmp_path: Path) -> None:
    """Reading is as strict as ``from_data``: a field too few or too many is a TypeError."""
    path = write(tmp_path / "a.tar", range(2))

    with pytest.raises(TypeError, match="image"):
        list(Dataset[Label](path).ordered())


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        calls: list[str] = self.server.calls  # type: ignore[attr-defined]  # set by the fixture
        calls.append(self.path)
        body = msgspec.msgpack.encode({"name": "Digits", "sizes": [1, 2]})
        self.send_response(200 if self.path == "/metadata" else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[http.server.ThreadingHTTPServer]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        server.calls = []  # type: ignore[attr-defined]  # what was asked for
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_metadata_are_fetched_once(server: http.server.ThreadingHTTPServer, shards: str) -> None:
    """``metadata`` is the msgpack at ``metadata_url``, fetched on first use and kept."""
    dataset = Dataset[Example](shards, metadata_url=f"http://127.0.0.1:{server.server_port}/metadata")
    calls: list[str] = server.calls  # type: ignore[attr-defined]  # set by the fixture

    assert calls == []
    assert dataset.metadata == dataset.metadata == {"name": "Digits", "sizes": [1, 2]}
    assert calls == ["/metadata"]


def test_missing_metadata_are_an_os_error(server: http.server.ThreadingHTTPServer, shards: str) -> None:
    """A 404 is an OSError, as it was."""
    dataset = Dataset[Example](shards, f"http://127.0.0.1:{server.server_port}/nothing")

    with pytest.raises(OSError):
        _ = dataset.metadata


def test_without_a_metadata_url_there_are_no_metadata(shards: str) -> None:
    """None, and nothing is fetched."""
    assert Dataset[Example](shards).metadata is None


def test_a_dataset_and_its_pipelines_can_be_pickled(shards: str) -> None:
    """As loader workers need them: type, lens and URL arrive."""
    dataset = pickle.loads(pickle.dumps(Dataset[Example](shards).as_type(Label)))
    pipeline = pickle.loads(pickle.dumps(Dataset[Example](shards).shuffled(batch_size=None, seed=1)))

    assert (dataset.url, dataset.sample_type) == (shards, Label)
    assert list(dataset) == [Label(i) for i in range(10)]
    assert sorted(labels_of(pipeline)) == list(range(10))
