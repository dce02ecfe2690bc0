"""Reading typed samples in one process: atdata, webdataset and tarfile on the same shards, and what the machine can do.

All of them read the same files, in turn, several times; a figure is the median. What each one read is compared. The
floor is ``readinto`` a buffer of 1 MB that is used again. Peers decode as their documentation says: msgpack by msgspec,
arrays by `numpy.load`. Usage: python -m benchmarks.reading [SAMPLES [RUNS]]
"""

import io
import os
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import msgspec
import numpy as np
import webdataset
from benchmarks.report import Figure, report
from numpy.typing import NDArray

import atdata
from atdata.data.access import ShardAccess
from atdata.data.batches import read_batches
from atdata.data.reader import read_samples
from atdata.storage.file import FileStore

SAMPLES = 100_000  # of the small workload; the large one has 3 for each 100
RUNS = 5
BATCH = 256
SHARD_BYTES = 100_000_000
TARGET = 1 / 10  # of webdataset's time for a sample


@dataclass
class Sample:
    """A picture.

    Attributes:
        image: uint8.
        label: 0 to 9.
        name: Some text.
    """

    image: NDArray[np.uint8]
    label: int
    name: str


@atdata.packable
class PackableSample:
    """The same as existing code declares it."""

    image: NDArray[np.uint8]
    label: int
    name: str


def _samples(count: int, side: int, *, ragged: bool) -> Iterator[Sample]:
    """Pictures; of one layout, or with labels and names of many lengths."""
    rng = np.random.default_rng(0)
    for number in range(count):
        name = "x" * int(rng.integers(40)) if ragged else f"{number:08d}"
        label = int(rng.integers(100_000)) if ragged else number % 10
        yield Sample(rng.integers(0, 256, (side, side, 3), dtype=np.uint8), label, name)


def by_atdata(paths: Sequence[str], sample_type: type = Sample, *, copy: bool = False) -> tuple[int, int]:
    """Each sample; the number of samples and the sum of labels, as all readers give."""
    count = total = 0
    sample: Any
    for sample in read_samples(FileStore(), paths, sample_type, copy=copy):
        count += 1
        total += sample.label
    return count, total


def by_batches(paths: Sequence[str]) -> tuple[int, int]:
    """Batches."""
    count = total = 0
    for batch in read_batches(FileStore(), paths, Sample, BATCH):
        count += len(batch)
        total += int(batch.label.sum())
    return count, total


def by_number(paths: Sequence[str]) -> tuple[int, int]:
    """Each sample of one shard by its number."""
    access = ShardAccess(FileStore(), paths[0])
    count = access.count()
    return count, sum(access.sample(i, Sample).label for i in range(count))


def _decode(sample: dict[str, Any]) -> dict[str, Any]:
    values: dict[str, Any] = msgspec.msgpack.decode(sample["msgpack"])
    values["image"] = np.load(io.BytesIO(values["image"]))
    return values


def by_webdataset(paths: Sequence[str]) -> tuple[int, int]:
    """The same by webdataset."""
    count = total = 0
    for values in webdataset.WebDataset(list(paths), shardshuffle=False).map(_decode):
        count += 1
        total += values["label"]
    return count, total


def by_tarfile(paths: Sequence[str]) -> tuple[int, int]:
    """The same by the standard library."""
    count = total = 0
    for path in paths:
        with tarfile.open(path, "r:") as archive:
            for info in archive:
                if info.name.endswith(".msgpack") and (file := archive.extractfile(info)):
                    count += 1
                    total += _decode({"msgpack": file.read()})["label"]
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


def measure(folder: Path, workload: str, count: int, side: int, runs: int) -> list[Figure]:
    """Time all readers on one workload."""
    made = _samples(count, side, ragged=workload == "ragged")
    written = atdata.write_samples(made, str(folder / f"{workload}-%06d.tar"), shard_bytes=SHARD_BYTES)
    paths = [str(shard.path) for shard in written]
    for path in paths:
        _rewrite(Path(path))
    readers: dict[str, Callable[[], object]] = {
        "floor": lambda: floor(paths),
        "webdataset": lambda: by_webdataset(paths),
        "tarfile": lambda: by_tarfile(paths),
        "atdata": lambda: by_atdata(paths),
        "atdata, own copies": lambda: by_atdata(paths, copy=True),
        "atdata, @packable": lambda: by_atdata(paths, PackableSample),
        f"atdata, batches of {BATCH}": lambda: by_batches(paths),
    }
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
        raise AssertionError(f"the readers differ: {results}")
    started = perf_counter()
    numbered, _ = by_number(paths)
    random_access = perf_counter() - started
    for path in paths:
        Path(path).unlink()
    each = {name: median(seconds) / count for name, seconds in times.items()}
    figures = [Figure(f"{workload}: {name}", 1 / time, "samples/s") for name, time in each.items()]
    figures.append(Figure(f"{workload}: atdata, one by its number", numbered / random_access, "samples/s"))
    limit = TARGET if workload == "small" else None
    return figures + [
        Figure(f"{workload}: time of {name} / webdataset", each[name] / each["webdataset"], "", limit)
        for name in ("atdata", f"atdata, batches of {BATCH}")
    ]


def main(count: int, runs: int) -> int:
    """Measure and report."""
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as folder:
        figures = [
            *measure(Path(folder), "small", count, 32, runs),
            *measure(Path(folder), "ragged", count // 2, 32, runs),
            *measure(Path(folder), "large", count * 3 // 100, 256, runs),
        ]
    return report("reading", figures)


if __name__ == "__main__":
    numbers = [int(argument) for argument in sys.argv[1:]]
    sys.exit(main(*(numbers + [SAMPLES, RUNS][len(numbers) :])))
