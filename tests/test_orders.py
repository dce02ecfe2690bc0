"""What a user sees of orders: `shuffled`, `split_by_rank`, `select`, `take`, `mix`, and their states."""

import http.server
import json
import pickle
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import atdata
from atdata.data.index import NAME
from atdata.data.order import batched
from atdata.data.pipeline import Pipeline
from atdata.data.ranks import Part, Split
from atdata.data.scan import scan_shard
from atdata.data.streams import in_turn, mixed_stream, part_of
from atdata.dataset import Dataset, open_dataset
from atdata.storage.base import Shard, Store
from atdata.storage.file import FileStore
from atdata.storage.verified import VerifiedStore
from atdata.testing import MemoryStore

TOTAL = 103
SHARDS = 7  # of 15 samples, the last one of 13


@dataclass
class Number:
    number: int


@dataclass
class Other:
    number: int


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("orders")
    atdata.write_samples(map(Number, range(TOTAL)), str(folder / "n-%d.tar"), shard_samples=15)
    for path in sorted(folder.glob("n-*.tar")):
        data = path.read_bytes()
        (folder / path.name.replace("n-", "bare-")).write_bytes(data[: data.index(NAME.encode())] + bytes(1024))
    return folder


class Made:
    """The same samples in other places, under other conditions."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.paths = [str(folder / f"n-{number}.tar") for number in range(SHARDS)]
        self.facts = [scan_shard(FileStore(), path) for path in self.paths]
        self.remote = MemoryStore({f"r{number}": Path(path).read_bytes() for number, path in enumerate(self.paths)})

    def local(self) -> Dataset[Number]:
        """Files with an index: a permutation of all."""
        return Dataset[Number](f"{self.folder}/n-{{0..{SHARDS - 1}}}.tar")

    def bare(self) -> Dataset[Number]:
        """Files without an index: through a buffer."""
        return Dataset[Number](f"{self.folder}/bare-{{0..{SHARDS - 1}}}.tar")

    def recorded(self, store: Store | None = None) -> Dataset[Number]:
        """Not files, but a record says what they are: windows."""
        paths = list(self.remote.objects)
        return open_dataset(Number, store=store or self.remote, paths=paths, shards=self.facts, url="x")

    def moved(self) -> Dataset[Number]:
        """The files, of which the same record speaks."""
        paths = [f"file://{path}" for path in self.paths]
        return open_dataset(Number, store=FileStore(), paths=paths, shards=self.facts, url="y")


@pytest.fixture(scope="module")
def made(folder: Path) -> Made:
    return Made(folder)


def numbers(items: Any) -> list[int]:
    """The numbers in samples or batches."""
    return [sample.number for item in items for sample in getattr(item, "samples", [item])]


KINDS: dict[str, Callable[[Made], Dataset[Number]]] = {
    "whole": Made.local,
    "windows": Made.recorded,
    "buffer": Made.bare,
}

kinds = st.sampled_from(sorted(KINDS))
sizes = st.none() | st.integers(1, 9)


def shuffled(made: Made, kind: str, size: int | None, rank: int = 0, world: int = 1, uneven: Any = "drop") -> Any:
    dataset = KINDS[kind](made)
    if world > 1:
        dataset = dataset.split_by_rank(rank, world, uneven=uneven)
    return dataset.shuffled(3, 20, size, seed=5, window=3000 if kind == "windows" else None)


def together(ranks: list[list[int]]) -> list[int]:
    """What ranks read, in the order of which each has every so many-th."""
    return [number for row in zip(*ranks, strict=True) for number in row]


@pytest.mark.parametrize("kind", KINDS)
def test_every_sample_comes_once(made: Made, kind: str) -> None:
    """In an order that the seed and the epoch fix, and which is not that of the shards."""
    pipeline = shuffled(made, kind, None)
    first = numbers(pipeline)

    assert sorted(first) == list(range(TOTAL))
    assert first != list(range(TOTAL))
    assert numbers(pipeline) == first
    pipeline.set_epoch(1)
    second = numbers(pipeline)
    assert sorted(second) == list(range(TOTAL))
    assert second != first
    pipeline.set_epoch(0)
    assert numbers(pipeline) == first
    assert pipeline.state_dict()["order"] == kind


@settings(max_examples=40, deadline=None)
@given(kinds, sizes, st.integers(1, 8), st.sampled_from(["drop", "pad"]))
def test_an_order_knows_nothing_of_ranks(made: Made, kind: str, size: int | None, world: int, uneven: str) -> None:
    """All ranks together read the order of one, in turn; all have as many: what is left over is dropped, or padded."""
    alone = numbers(shuffled(made, kind, None))

    ranks = [numbers(shuffled(made, kind, size, rank, world, uneven)) for rank in range(world)]

    if uneven == "drop":
        assert together(ranks) == alone[: TOTAL // world * world]
    else:
        assert together(ranks) == (alone + alone)[: -(-TOTAL // world) * world]


@settings(max_examples=40, deadline=None)
@given(kinds, sizes, st.integers(1, 5), st.integers(0, 30), st.integers(1, 5), st.integers(0, 30))
def test_a_resume_is_exact_with_any_number_of_ranks(
    made: Made, kind: str, size: int | None, first: int, steps: int, second: int, more: int
) -> None:
    """Stopped twice, each time gone on with by another number of ranks: the order of one that was never stopped."""
    alone = numbers(shuffled(made, kind, None))
    read: list[int] = []
    state: dict[str, Any] | None = None
    for world, count in ((first, steps), (second, more), (1, 1000)):
        ranks, states = [], []
        for rank in range(world):
            pipeline = shuffled(made, kind, size, rank, world)
            if state is not None:
                pipeline.load_state_dict(state)
            iterator = iter(pipeline)
            ranks.append(numbers(islice(iterator, count)))
            states.append(json.loads(json.dumps(pipeline.state_dict())))
        if count < 1000 and all(len(rank) == count * (size or 1) for rank in ranks):
            assert all(one == states[0] for one in states)
        else:
            assert world == 1 or len(read) + len(together(ranks)) > TOTAL - world
            read += together(ranks)
            break
        read += together(ranks)
        state = states[0]

    assert read == alone[: len(read)]
    assert len(read) > TOTAL - max(first, second)


@pytest.mark.parametrize("workers", [1, 2, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_loader_workers_take_batches_in_turn(
    made: Made, kind: str, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a DataLoader gives them out; what was taken of it says where to go on, with any number of workers."""
    alone = list(shuffled(made, kind, 4, 1, 3))
    monkeypatch.setenv("NUM_WORKERS", str(workers))
    parts = []
    for worker in range(workers):
        monkeypatch.setenv("WORKER", str(worker))
        parts.append(list(shuffled(made, kind, 4, 1, 3)))
    monkeypatch.undo()

    assert [numbers([parts[number % workers][number // workers]]) for number in range(len(alone))] == [
        numbers([batch]) for batch in alone
    ]
    pipeline = shuffled(made, kind, 4, 1, 3)
    pipeline.load_state_dict(pipeline.state_dict(taken=5))
    assert numbers(pipeline) == numbers(alone[5:])
    assert pipeline.state_dict()["samples"] == 0


def test_a_state_survives_a_move(made: Made) -> None:
    """Windows of remote shards are gone on with over files, and a permutation of files over remote shards."""
    for before, after in ((made.recorded, made.moved), (made.moved, made.recorded)):
        pipeline = before().shuffled(batch_size=None, seed=1)
        iterator = iter(pipeline)
        taken = [next(iterator).number for _ in range(40)]
        other = after().shuffled(batch_size=None, seed=1)
        other.load_state_dict(pipeline.state_dict())

        assert numbers(iterator) == numbers(other)
        assert len(set(taken)) == 40


def test_a_state_of_something_else_is_refused(made: Made) -> None:
    """Of another dataset, seed, kind or release, or of nothing at all: a ValueError that says which."""
    pipeline = shuffled(made, "whole", None)
    state = pipeline.state_dict()
    wrong: list[tuple[Any, dict[str, Any], str]] = [
        (made.bare().shuffled(seed=5), state, "another dataset"),
        (made.local().shuffled(seed=6), state, "seed 5, not 6"),
        (made.local().ordered(), state, "order 'whole'"),
        (pipeline, made.local().ordered().state_dict(), "order 'stored'"),
        (pipeline, state | {"version": 9}, "version 9"),
        (pipeline, state | {"samples": -1}, "sample -1"),
        (pipeline, state | {"samples": "1"}, "not a state"),
        (pipeline, state | {"order": "windows"}, "piece None"),
        (pipeline, state | {"order": "buffer"}, "buffers"),
        (pipeline, {}, "not a state"),
    ]
    for target, given_state, message in wrong:
        with pytest.raises(ValueError, match=message):
            target.load_state_dict(given_state)
    assert sorted(numbers(pipeline)) == list(range(TOTAL))


def test_an_unseeded_order_is_gone_on_with(made: Made) -> None:
    """Its seed was drawn, and stands in the state; but ranks cannot agree on one."""
    pipeline = made.local().shuffled(batch_size=None)
    iterator = iter(pipeline)
    taken = [next(iterator).number for _ in range(50)]
    other = made.local().shuffled(batch_size=None)
    other.load_state_dict(pipeline.state_dict())

    assert sorted(taken + numbers(other)) == list(range(TOTAL))
    assert numbers(other) != numbers(other)
    with pytest.raises(ValueError, match="one seed"):
        iter(made.local().split_by_rank(0, 2).shuffled())
    with pytest.raises(ValueError, match="workers drew"):
        made.local().shuffled().state_dict(taken=3)


def test_a_resume_stays_in_its_epoch(made: Made) -> None:
    """`set_epoch` with the epoch of the state goes on with it, any other one begins anew."""
    pipeline = shuffled(made, "whole", None)
    pipeline.set_epoch(3)
    iterator = iter(pipeline)
    head = [next(iterator).number for _ in range(60)]
    state = pipeline.state_dict()

    again = shuffled(made, "whole", None)
    again.load_state_dict(state)
    assert again.epoch == 3
    again.set_epoch(3)
    assert sorted(head + numbers(again)) == list(range(TOTAL))
    again.load_state_dict(state)
    again.set_epoch(4)
    assert sorted(numbers(again)) == list(range(TOTAL))


@pytest.mark.parametrize("world", [1, 4])
@pytest.mark.parametrize("source", ["local", "bare"])
def test_a_part_in_order(made: Made, source: str, world: int) -> None:
    """Iterating, batches and `ordered` of a rank's part: disjoint, of equal length, resumed by others."""
    parts = [getattr(made, source)().split_by_rank(rank, world) for rank in range(world)]

    for read in (list, lambda part: list(part.ordered(None)), lambda part: list(part.ordered(4))):
        flat = [numbers(read(part)) for part in parts]
        assert {len(one) for one in flat} == {TOTAL // world}
        assert sorted(chain.from_iterable(flat)) == list(range(TOTAL // world * world))
    batches = [[batch.number.tolist() for batch in part.batches(5, drop_last=True)] for part in parts]
    assert {len(one) for one in batches} == {TOTAL // world // 5}
    iterators = [iter(part) for part in parts]
    read_so_far = [next(iterator).number for _ in range(7) for iterator in iterators]
    states = [part.state_dict() for part in parts]
    assert all(state == states[0] for state in states)
    rest = getattr(made, source)().split_by_rank(0, 1)
    rest.load_state_dict(states[0])
    assert sorted(read_so_far + numbers(rest)) == list(range(TOTAL))


def test_the_length_of_a_part(made: Made) -> None:
    """Is that of every other part: dropped or padded; and the part says which it is."""
    assert len(made.local().split_by_rank(1, 4)) == 25
    assert len(made.local().split_by_rank(1, 4, uneven="pad")) == 26
    assert made.bare().split_by_rank(1, 4).count() == 25
    assert "rank=1 of 4" in repr(made.local().split_by_rank(1, 4))
    assert numbers(made.local().split_by_rank(1, 4).head(2)) == [1, 5]


def test_more_ranks_than_samples(made: Made) -> None:
    """None would read anything: a ValueError; padded, each reads one."""
    few = made.local().select(range(3))

    with pytest.raises(ValueError, match="3 samples for 5 ranks"):
        list(few.split_by_rank(4, 5).shuffled(seed=0))
    padded = [few.split_by_rank(rank, 5, uneven="pad").shuffled(batch_size=None, seed=0) for rank in range(5)]
    assert [len(numbers(pipeline)) for pipeline in padded] == [1] * 5


def test_nothing_chosen_is_nothing_read(made: Made) -> None:
    """An empty selection has no samples, in any order, and a state."""
    nothing = made.local().select([])

    assert len(nothing) == 0
    assert list(nothing) == list(nothing.shuffled()) == list(nothing.ordered()) == list(nothing.batches(3)) == []
    assert nothing.shuffled(seed=1).state_dict()["samples"] == 0


indices = st.lists(st.integers(-TOTAL, TOTAL - 1), max_size=12)


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(["local", "bare", "recorded"]), indices)
def test_taken_samples_are_those_of_their_numbers(made: Made, source: str, ids: list[int]) -> None:
    """In the order given, from either end, also when one comes twice; by `take`, in brackets, and as arrays."""
    dataset = getattr(made, source)()
    expected = [list(range(TOTAL))[i] for i in ids]

    assert numbers(dataset.take(ids)) == expected
    assert numbers(dataset[ids]) == expected
    assert numbers(dataset.take(np.array(ids, np.int32))) == expected
    assert numbers(dataset.select(ids)) == expected
    assert numbers(dataset.select(ids).ordered()) == expected


@pytest.mark.parametrize("wrong", [TOTAL, -TOTAL - 1, 1 << 70])
def test_a_number_that_is_not_there(made: Made, wrong: int) -> None:
    """Among others it is an IndexError, at once."""
    for choose in (made.local().take, made.local().select, made.local().__getitem__):
        with pytest.raises(IndexError):
            choose([0, wrong])
    for bad in (["a"], [1.5], np.array([1.5]), np.array([[1]]), np.array([True])):
        with pytest.raises(TypeError):
            made.local().take(bad)  # type: ignore[arg-type]  # the point of the test


@settings(max_examples=60, deadline=None)
@given(st.data(), st.lists(st.booleans(), min_size=1, max_size=3))
def test_selections_of_selections(made: Made, data: st.DataObject, steps: list[bool]) -> None:
    """Are what lists would give; ranges stay ranges, which take no memory."""
    dataset, expected = made.local(), list(range(TOTAL))
    for by_number in steps:
        if expected and by_number:
            ids = data.draw(st.lists(st.integers(-len(expected), len(expected) - 1), max_size=30))
            dataset, expected = dataset.select(ids), [expected[i] for i in ids]
        else:
            bound = st.none() | st.integers(-TOTAL - 3, TOTAL + 3)
            chosen = data.draw(st.builds(slice, bound, bound, st.sampled_from([None, 1, 2, 5, -1, -3])))
            dataset, expected = dataset.select(chosen), expected[chosen]

    assert len(dataset) == dataset.count() == len(expected)
    assert numbers(dataset) == expected
    assert numbers(dataset.take(range(len(expected)))) == expected
    assert sorted(numbers(dataset.shuffled(seed=1))) == sorted(expected)
    if expected:
        assert dataset[-1].number == expected[-1]
        assert numbers(dataset[1:4]) == expected[1:4]
    with pytest.raises(IndexError):
        _ = dataset[len(expected)]


def test_a_selection_is_resumed_and_pickled(made: Made) -> None:
    """With a state of its own, which is none of the whole dataset."""
    dataset = made.local().select(range(10, 60, 2))
    iterator = iter(dataset)
    head = [next(iterator).number for _ in range(9)]
    state = dataset.state_dict()
    twin = pickle.loads(pickle.dumps(made.local().select(range(10, 60, 2))))
    twin.load_state_dict(state)

    assert head + numbers(twin) == list(range(10, 60, 2))
    with pytest.raises(ValueError):
        made.local().load_state_dict(state)
    with pytest.raises(ValueError, match="another dataset"):
        made.local().select(range(10, 60, 3)).load_state_dict(state)


class Ranged(http.server.BaseHTTPRequestHandler):
    """Serves bytes with Range, and remembers what was asked for."""

    objects: dict[str, bytes]
    asked: list[tuple[str, int, int]]

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        data = self.objects[self.path]
        wanted = self.headers.get("Range")
        start, stop = 0, len(data)
        if wanted:
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            start, stop = int(first), min(int(last) + 1 if last else len(data), len(data))
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{len(data)}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(stop - start))
        self.end_headers()
        if body:
            self.asked.append((self.path, start, stop))
            self.wfile.write(data[start:stop])

    def log_message(self, *args: Any) -> None:
        """Not on the terminal."""


@pytest.fixture
def server(made: Made) -> Iterator[type[Ranged]]:
    objects = {f"/{number}.tar": data for number, data in enumerate(made.remote.objects.values())}
    handler = type("Handler", (Ranged,), {"objects": objects, "asked": []})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        handler.port = running.server_address[1]  # type: ignore[attr-defined]  # for the test alone
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield handler
        running.shutdown()
        thread.join()


def test_samples_over_http_come_by_few_ranges(made: Made, server: Any) -> None:
    """One for the index of each shard, and one for samples that lie near each other."""
    dataset = Dataset[Number](f"http://127.0.0.1:{server.port}/{{0..{SHARDS - 1}}}.tar")
    ids = [3, 1, 2, 40, 100]

    assert numbers(dataset.take(ids)) == ids
    assert len({path for path, _, _ in server.asked}) == SHARDS
    server.asked.clear()
    assert numbers(dataset.take(ids)) == ids
    assert len(server.asked) == 3
    assert sorted(numbers(dataset.shuffled(seed=1))) == list(range(TOTAL))


def test_verified_ranges_are_read_and_not_whole_shards(made: Made) -> None:
    """Where the record names the indexes, blocks are checked; a wrong byte is an error, and no sample."""
    facts = dict(zip(made.remote.objects, made.facts, strict=True))
    damaged = {path: bytearray(data) for path, data in made.remote.objects.items()}
    damaged["r2"][600] ^= 1
    store = VerifiedStore(MemoryStore({path: bytes(data) for path, data in damaged.items()}), facts)
    dataset = made.recorded(store)

    assert numbers(dataset.take([0, 100])) == [0, 100]
    with pytest.raises(atdata.IntegrityError, match="r2: block 0 has another digest"):
        dataset.take([0, 31])
    assert numbers(made.recorded().shuffled(seed=1)) == numbers(
        made.recorded(VerifiedStore(made.remote, facts)).shuffled(seed=1)
    )


def test_counts_that_a_record_has_wrong(made: Made) -> None:
    """Another number of samples than the index has is an error, not another sample."""
    facts = [Shard(shard.cid, shard.bytes, (shard.samples or 0) + 1, shard.index) for shard in made.facts]
    dataset = open_dataset(Number, store=made.remote, paths=list(made.remote.objects), shards=facts, url="x")

    with pytest.raises(atdata.IntegrityError, match="its record says 16"):
        list(dataset.shuffled())


def mixture(made: Made, **choices: Any) -> Any:
    """Two datasets of 60 and 30 samples."""
    datasets = [made.local().select(range(60)), made.recorded().select(range(70, 100))]
    split = choices.pop("split", None)
    if split is not None:
        datasets = [dataset.split_by_rank(*split[:2], uneven=split[2]) for dataset in datasets]
    return atdata.mix(datasets, **({"batch_size": None, "seed": 2} | choices))


def test_a_mixture_follows_its_weights(made: Made) -> None:
    """Until the first dataset is at its end; each gives its samples in its own order, none twice."""
    mixed = numbers(mixture(made, weights=[3, 1]))
    large = [number for number in mixed if number < 60]
    small = [number for number in mixed if number >= 70]

    assert len(set(mixed)) == len(mixed)
    assert len(large) == 60 or len(small) == 30
    assert 1.3 < len(large) / len(small) < 12  # 3, within four standard deviations of so few draws
    assert large != sorted(large)
    in_order = numbers(mixture(made, weights=[3, 1], shuffled=False))
    assert [number for number in in_order if number < 60] == list(range(len([n for n in in_order if n < 60])))


def test_a_mixture_of_all(made: Made) -> None:
    """Ends when each dataset has been read whole; those that end before begin again, in another order."""
    mixed = numbers(mixture(made, weights=[1, 3], stop="all"))
    small = [number for number in mixed if number >= 70]

    assert set(mixed) == {*range(60), *range(70, 100)}
    assert mixed[-1] < 60
    assert len([number for number in mixed if number < 60]) == 60
    assert sorted(small[:30]) == sorted(small[30:60]) == list(range(70, 100))
    assert small[:30] != small[30:60]


@settings(max_examples=30, deadline=None)
@given(
    st.sampled_from(["first", "all"]), sizes, st.integers(1, 4), st.integers(0, 12), st.sampled_from(["drop", "pad"])
)
def test_a_mixture_is_shared_and_resumed(
    made: Made, stop: str, size: int | None, world: int, steps: int, uneven: str
) -> None:
    """As the order of one dataset: equal parts, by any number of ranks, gone on with by another."""
    alone = numbers(mixture(made, stop=stop))
    choices = {"stop": stop, "batch_size": size}
    ranks = [numbers(mixture(made, split=(rank, world, uneven), **choices)) for rank in range(world)]

    count = len(alone) // world if uneven == "drop" else -(-len(alone) // world)
    assert together(ranks) == (alone + alone)[: count * world]
    pipeline = mixture(made, split=(0, world, uneven), **choices)
    iterator = iter(pipeline)
    read = len(numbers(islice(iterator, steps)))
    if read < count:
        rest = mixture(made, stop=stop)
        rest.load_state_dict(json.loads(json.dumps(pipeline.state_dict())))
        assert numbers(rest) == alone[read * world :]


def test_a_mixture_refuses_what_it_cannot_do(made: Made) -> None:
    """Wrong weights, no samples, unknown counts, types that make no batches, states of others."""
    local = made.local()
    wrong: list[tuple[list[Any], list[float] | None]] = [
        ([], None), ([local], [1, 2]), ([local], [0]), ([local], [float("nan")])
    ]  # fmt: skip
    for datasets, weights in wrong:
        with pytest.raises(ValueError):
            atdata.mix(datasets, weights)
    useless: list[tuple[list[Any], str]] = [
        ([local, local.split_by_rank(0, 2)], "split all of them alike"),
        ([local, local.select([])], "dataset 1 of the mixture has no samples"),
        ([open_dataset(Number, store=made.remote, paths=["r0"] * 9000, shards=None, url="x")], "dataset 0 of the mix"),
        ([local, Dataset[Other](local.url)], r"several types make no batches \(Number, Other\)"),
    ]
    for datasets, message in useless:
        with pytest.raises(ValueError, match=message):
            list(atdata.mix(datasets))
    state = mixture(made).state_dict()
    for other, message in (
        (mixture(made, seed=3), "seed 2, not 3"),
        (mixture(made, weights=[1, 2]), "another mixture"),
        (local.shuffled(seed=2), "another dataset"),
    ):
        with pytest.raises(ValueError, match=message):
            other.load_state_dict(state)
    for change in ({"counts": [1, 2]}, {"counts": None}, {"version": 7}, {"order": "whole"}):
        with pytest.raises(ValueError):
            mixture(made).load_state_dict(state | change)


def test_epochs_of_a_mixture_differ(made: Made) -> None:
    """In what is drawn, and in the order of each dataset."""
    pipeline = mixture(made)
    first = numbers(pipeline)
    pipeline.set_epoch(1)

    assert numbers(pipeline) != first
    assert isinstance(pipeline, Pipeline)
    assert numbers(pickle.loads(pickle.dumps(pipeline))) == numbers(pipeline)


def test_a_buffer_mixes_from_the_first_batch_on() -> None:
    """Of 20 shards of which nobody knows anything, each batch of 256 has 19 at least, the first as the last."""

    def read(shard: int) -> Iterator[int]:
        return iter([shard] * 3000)

    stream = mixed_stream(range(20), read, buffer_shards=100, buffer_samples=10_000, rng=Random(0))
    batches = list(batched(stream, 256))

    assert sum(map(len, batches)) == 60_000
    assert min(len(set(batch)) for batch in batches[:-1]) >= 19


def test_sources_in_turn() -> None:
    """One item of each of a few; the next one where one has ended."""
    sources = [iter("ab"), iter(""), iter("cdef"), iter("g")]

    assert "".join(in_turn(iter(sources), 2)) == "acbdgef"
    assert list(in_turn(iter([]), 2)) == []


def test_a_stream_shorter_than_the_world() -> None:
    """Padded, each rank has one; dropped, none has any."""
    read = partial(part_of, iter("ab"))
    assert list(read(Part(0, 0, Split(4, 5, "pad")))) == ["a"]
    assert list(part_of(iter("ab"), Part(0, 0, Split(1, 5, "drop")))) == []
    assert list(part_of(iter(""), Part(0, 0, Split(1, 5, "pad")))) == []
