"""Reading typed samples in one process: atdata and webdataset on the same shards, and what the machine can do.

All of them read the same files, in turn, several times; a figure is the median, and what each one read is compared.
The floor is ``readinto`` a buffer of 1 MB that is used again. webdataset decodes as its documentation says: msgpack by
msgspec, arrays by `numpy.load`, its batches by numpy. Usage: python -m benchmarks.reading --help
"""

import argparse
import io
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Annotated, Any

import msgspec
import numpy as np
import webdataset
from benchmarks.report import Figure, report
from numpy.typing import NDArray

import atdata
from atdata import Extension
from atdata.data.batches import read_batches
from atdata.data.reader import read_samples
from atdata.storage.file import FileStore

SHARD_BYTES = 100_000_000
COUNTS = {"small": 100_000, "large": 3_000, "jpeg": 20_000, "tokens": 200_000, "tabular": 1_000_000, "ragged": 50_000}
LEAST = {"small": (60, 60), "large": (8, 8), "jpeg": (18, None), "tokens": (30, 18), "tabular": (40, 70)}
"""How many times webdataset's speed samples and batches have to reach."""


@dataclass
class Picture:
    """A picture as an array; small, large and ragged."""

    image: NDArray[np.uint8]
    label: int
    name: str


@atdata.packable
class PackablePicture:
    """The same as existing code declares it."""

    image: NDArray[np.uint8]
    label: int
    name: str


@dataclass
class Photo:
    """A JPEG as it is, in ordinary members."""

    photo: Annotated[memoryview, Extension("jpg")]
    about: Annotated[dict[str, Any], Extension("json")]
    label: Annotated[int, Extension("cls")]


@dataclass
class PhotoBytes:
    """The same with bytes of its own."""

    photo: Annotated[bytes, Extension("jpg")]
    about: Annotated[dict[str, Any], Extension("json")]
    label: Annotated[int, Extension("cls")]


@dataclass
class Document:
    """Tokens of a text."""

    tokens: NDArray[np.int32]
    label: int


@dataclass
class Row:
    """A row of a table."""

    a: float
    b: float
    c: float
    d: float
    e: float
    label: int
    g: int
    h: int
    word: str
    name: str


def pictures(count: int, side: int, *, ragged: bool = False) -> Iterator[Picture]:
    """Pictures; of one layout, or with labels and names of many lengths."""
    rng = np.random.default_rng(0)
    for number in range(count):
        name = "x" * int(rng.integers(40)) if ragged else f"{number:08d}"
        label = int(rng.integers(100_000)) if ragged else number % 10
        yield Picture(rng.integers(0, 256, (side, side, 3), dtype=np.uint8), label, name)


def photos(count: int) -> Iterator[PhotoBytes]:
    """Bytes of 10 to 200 kB, 41 kB on average, as photographs have: nobody decodes them here."""
    rng = np.random.default_rng(0)
    noise = rng.bytes(200_000)
    sizes = np.clip(rng.lognormal(10.4, 0.6, count), 10_000, 200_000).astype(int)
    for number, size in enumerate(sizes.tolist()):
        yield PhotoBytes(noise[:size], {"width": 640, "height": 480, "caption": f"photo {number}"}, number % 1000)


def documents(count: int) -> Iterator[Document]:
    """About 500 tokens each."""
    rng = np.random.default_rng(0)
    for number in range(count):
        yield Document(rng.integers(0, 50_000, int(rng.integers(10, 1000)), dtype=np.int32), number)


def rows(count: int) -> Iterator[Row]:
    """Five floats, three integers of many sizes, two texts."""
    rng = np.random.default_rng(0)
    floats = rng.normal(size=(count, 5)).tolist()
    numbers = rng.integers(0, 10 ** rng.integers(1, 10, (count, 3))).tolist()
    for number, ((a, b, c, d, e), (f, g, h)) in enumerate(zip(floats, numbers, strict=True)):
        yield Row(a, b, c, d, e, f, g, h, f"word{number % 1000}", f"name {number:07d}")


MAKERS: dict[str, Callable[[int], Iterator[Any]]] = {
    "small": partial(pictures, side=32),
    "large": partial(pictures, side=256),
    "ragged": partial(pictures, side=32, ragged=True),
    "jpeg": photos,
    "tokens": documents,
    "tabular": rows,
}


def by_atdata(paths: Sequence[str], sample_type: type, *, copy: bool = False) -> tuple[int, int]:
    """Each sample; the number of samples and the sum of labels, as all readers give."""
    count = total = 0
    sample: Any
    for sample in read_samples(FileStore(), paths, sample_type, copy=copy):
        count += 1
        total += sample.label
    return count, total


def by_batches(paths: Sequence[str], sample_type: type, size: int, **options: Any) -> tuple[int, int]:
    """Batches."""
    count = total = 0
    batch: Any
    for batch in read_batches(FileStore(), paths, sample_type, size, **options):
        count += len(batch)
        total += int(batch.label.sum())
    return count, total


def _decode(array: str | None, sample: dict[str, Any]) -> dict[str, Any]:
    values: dict[str, Any] = msgspec.msgpack.decode(sample["msgpack"])
    if array:
        values[array] = np.load(io.BytesIO(values[array]))
    return values


def _decode_members(sample: dict[str, Any]) -> dict[str, Any]:
    return {"photo": sample["jpg"], "about": json.loads(sample["json"]), "label": int(sample["cls"])}


def _collate(array: str | None, samples: list[dict[str, Any]]) -> dict[str, Any]:
    batch: dict[str, Any] = {name: [sample[name] for sample in samples] for name in samples[0]}
    for name, column in batch.items():
        if name == array and len({value.shape for value in column}) > 1:
            padded = np.zeros((len(column), max(map(len, column))), column[0].dtype)
            for row, value in zip(padded, column, strict=True):
                row[: len(value)] = value
            batch[name] = padded
        elif not isinstance(column[0], str):
            batch[name] = np.array(column)
    return batch


ARRAYS = {"small": "image", "large": "image", "ragged": "image", "tokens": "tokens"}


def by_webdataset(paths: Sequence[str], workload: str, size: int | None = None) -> tuple[int, int]:
    """The same by webdataset; in batches where a size is given."""
    array = ARRAYS.get(workload)
    samples: Any = webdataset.WebDataset(list(paths), shardshuffle=False)
    samples = samples.map(_decode_members if workload == "jpeg" else partial(_decode, array))
    count = total = 0
    if size is None:
        for sample in samples:
            count += 1
            total += sample["label"]
        return count, total
    for batch in samples.batched(size, collation_fn=partial(_collate, array), partial=True):
        count += len(batch["label"])
        total += int(batch["label"].sum())
    return count, total


def floor(paths: Sequence[str]) -> None:
    """All bytes, into nothing."""
    buffer = bytearray(1_000_000)
    for path in paths:
        with Path(path).open("rb", buffering=0) as file:
            while file.readinto(buffer):
                pass


def _rewrite(path: Path) -> None:
    """Put a file into the page cache as writes of 4 MB leave it there: small writes read at a third of the speed."""
    data = path.read_bytes()
    with path.open("wb", buffering=0) as file:
        for start in range(0, len(data), 4 << 20):
            file.write(data[start : start + (4 << 20)])


def _readers(workload: str, paths: Sequence[str]) -> dict[str, Callable[[], object]]:
    size = 1000 if workload == "tabular" else 256
    sample_type: type = {"jpeg": Photo, "tokens": Document, "tabular": Row}.get(workload, Picture)
    readers: dict[str, Callable[[], object]] = {
        "floor": partial(floor, paths),
        "webdataset": partial(by_webdataset, paths, workload),
        "atdata": partial(by_atdata, paths, sample_type),
    }
    if workload == "jpeg":
        return readers | {"atdata, own bytes": partial(by_atdata, paths, PhotoBytes)}
    readers["webdataset, batches"] = partial(by_webdataset, paths, workload, size)
    readers["atdata, batches"] = partial(by_batches, paths, sample_type, size)
    if workload != "tabular":
        readers["atdata, own copies"] = partial(by_atdata, paths, sample_type, copy=True)
    if workload == "tokens":
        readers["atdata, padded batches"] = partial(by_batches, paths, sample_type, size, pad=0)
    if sample_type is Picture:
        readers["atdata, @packable"] = partial(by_atdata, paths, PackablePicture)
    return readers


def _shards(folder: Path, workload: str, count: int) -> list[str]:
    """The shards of a workload; those that are in the folder already are taken."""
    paths = sorted(folder.glob(f"{workload}-{count}-*.tar"))
    if not paths:
        template = str(folder / f"{workload}-{count}-%06d.tar")
        paths = [
            shard.path for shard in atdata.write_samples(MAKERS[workload](count), template, shard_bytes=SHARD_BYTES)
        ]
        for path in paths:
            _rewrite(Path(path))
    return [str(path) for path in paths]


def measure(folder: Path, workload: str, count: int, runs: int) -> list[Figure]:
    """Time all readers on one workload."""
    readers = _readers(workload, _shards(folder, workload, count))
    times: dict[str, list[float]] = {name: [] for name in readers}
    results: set[object] = set()
    for _ in range(runs):
        for name, read in readers.items():
            started = perf_counter()
            result = read()
            times[name].append(perf_counter() - started)
            if result is not None:
                results.add(result)
    if len(results) != 1:
        raise AssertionError(f"{workload}: the readers differ: {results}")
    speeds = {name: count / median(seconds) for name, seconds in times.items()}
    figures = [Figure(f"{workload}: {name}", speed, "samples/s") for name, speed in speeds.items()]
    of_samples, of_batches = LEAST.get(workload, (None, None))
    least = {"atdata": of_samples, "atdata, padded batches" if workload == "tokens" else "atdata, batches": of_batches}
    for name, speed in speeds.items():
        if name.startswith("atdata"):
            peer = "webdataset, batches" if name.endswith("batches") else "webdataset"
            figures.append(
                Figure(f"{workload}: {name}, against {peer}", speed / speeds[peer], "times", least=least.get(name))
            )
            figures.append(Figure(f"{workload}: {name}, share of the floor", speed / speeds["floor"], "times"))
    return figures


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and report."""
    parser = argparse.ArgumentParser(prog="benchmarks.reading", description=__doc__)
    parser.add_argument("workloads", nargs="*", metavar="WORKLOAD", help=f"some of: {', '.join(COUNTS)}; default: all")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the samples to read (default: %(default)s)")
    parser.add_argument("--runs", type=int, default=5, help="how often each reads them (default: %(default)s)")
    parser.add_argument("--folder", type=Path, help="where shards are kept for the next time (default: nowhere)")
    parser.add_argument("--json", action="store_true", help="print nothing but the line of JSON")
    options = parser.parse_args(arguments)
    if unknown := set(options.workloads) - set(COUNTS):
        parser.error(f"no such workload: {', '.join(sorted(unknown))}")
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as temporary:
        for workload in options.workloads or COUNTS:
            folder = options.folder or Path(temporary)
            figures += measure(folder, workload, max(1, int(COUNTS[workload] * options.scale)), options.runs)
            for path in Path(temporary).iterdir():
                path.unlink()
    return report("reading", figures, as_json=options.json)


if __name__ == "__main__":
    sys.exit(main())
