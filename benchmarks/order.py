"""Random access and shuffled orders: how fast, how well mixed, how much memory.

How well mixed: the different shards in a batch of 256, over 20 shards, in the first batch and in the worst whole one.
Memory is the peak of a process over its import while it reads the beginning of a shuffle of many samples; its shards
are many names of one file, so that it takes little disk. Usage: python -m benchmarks.order [--json] [--quick]
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from benchmarks.report import Figure, peak_memory, report
from numpy.typing import NDArray

import atdata
from atdata.data.index import NAME
from atdata.data.orders import Order, Whole, Windows, piece_of

BATCH = 256
SHARDS = 20
MOST_MEMORY = 200.0  # MB, of a shuffle of ten million samples
LEAST_SHARDS = 19  # different ones in a batch


@dataclass
class Picture:
    """A picture.

    Attributes:
        image: uint8.
        label: 0 to 9.
        name: Some text.
    """

    image: NDArray[np.uint8]
    label: int
    name: str


@dataclass
class Number:
    """A small sample.

    Attributes:
        number: Which one it is.
    """

    number: int


def _pictures(count: int, side: int) -> Iterator[Picture]:
    rng = np.random.default_rng(0)
    for number in range(count):
        yield Picture(rng.integers(0, 256, (side, side, 3), dtype=np.uint8), number % 10, f"{number:08d}")


def _rate(read: Callable[[], int], runs: int = 3) -> float:
    """Samples a second, the best of some runs."""
    best = 0.0
    for _ in range(runs):
        started = perf_counter()
        count = read()
        best = max(best, count / (perf_counter() - started))
    return best


def access(folder: Path, workload: str, count: int, side: int) -> list[Figure]:
    """Samples by number and in random order."""
    written = atdata.write_samples(_pictures(count, side), str(folder / f"{workload}-%d.tar"), shard_bytes=20_000_000)
    dataset = atdata.Dataset[Picture](f"{folder}/{workload}-{{0..{len(written) - 1}}}.tar")
    ids = np.random.default_rng(1).permutation(count)
    some = ids[: min(count, 4096)].tolist()

    def one_by_one() -> int:
        return sum(dataset[i].label >= 0 for i in some)

    def together() -> int:
        return sum(len(dataset.take(ids[at : at + BATCH])) for at in range(0, len(some) - BATCH + 1, BATCH))

    def shuffled() -> int:
        return sum(1 for _ in dataset.shuffled(batch_size=None, seed=0))

    def ordered() -> int:
        return sum(1 for _ in dataset)

    ways = {"dataset[i]": one_by_one, f"take({BATCH})": together, "shuffled": shuffled, "in order": ordered}
    return [Figure(f"{workload}: {name}", _rate(read), "samples/s") for name, read in ways.items()]


def _mixed(name: str, shards: Iterable[int]) -> list[Figure]:
    drawn = np.fromiter(shards, np.int64)
    distinct = [len(np.unique(drawn[at : at + BATCH])) for at in range(0, len(drawn) - BATCH + 1, BATCH)]
    return [
        Figure(f"{name}: first batch", distinct[0], "shards", least=LEAST_SHARDS),
        Figure(f"{name}: worst batch", min(distinct), "shards", least=LEAST_SHARDS),
    ]


def quality(folder: Path, each: int) -> list[Figure]:
    """How well orders mix 20 shards."""
    total = SHARDS * each
    orders: dict[str, Order] = {
        "permutation": Whole(total, "quality"),
        "windows of 64 MiB, samples of 3.5 KB": Windows(total, piece_of(64 << 20, 3500), "quality"),
        "windows of 64 MiB, samples of 200 KB": Windows(total, piece_of(64 << 20, 200_000), "quality"),
    }
    figures = []
    for name, order in orders.items():
        figures += _mixed(name, order.ids(np.arange(total)) // each)
    atdata.write_samples(map(Number, range(total)), str(folder / "n-%d.tar"), shard_samples=each)
    for number in range(SHARDS):
        data = (folder / f"n-{number}.tar").read_bytes()
        (folder / f"b-{number}.tar").write_bytes(data[: data.rindex(NAME.encode())] + bytes(1024))
    bare = atdata.Dataset[Number](f"{folder}/b-{{0..{SHARDS - 1}}}.tar")
    return figures + _mixed("buffer", (sample.number // each for sample in bare.shuffled(batch_size=None, seed=0)))


def memory(folder: Path, shards: int, each: int, read: int) -> list[Figure]:
    """Peak of a process that reads the beginning of a shuffle."""
    [written] = atdata.write_samples(map(Number, range(each)), str(folder / "one-%d.tar"), shard_bytes=1 << 40)
    for number in range(shards):
        (folder / f"many-{number}.tar").symlink_to(written.path)
    url = f"{folder}/many-{{0..{shards - 1}}}.tar"
    command = [sys.executable, "-m", "benchmarks.order", "--part", url, str(read)]
    printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    peak, first, rate = map(float, printed.split())
    name = f"shuffle of {shards * each:,} samples in {shards:,} shards"
    return [
        Figure(f"{name}: memory above the import", peak / 1e6, "MB", MOST_MEMORY),
        Figure(f"{name}: first sample after", first * 1e3, "ms"),
        Figure(f"{name}: then", rate, "samples/s"),
    ]


def _part(url: str, read: int) -> None:
    before, started = peak_memory(), perf_counter()
    samples: Iterator[Any] = iter(atdata.Dataset[Number](url).shuffled(batch_size=None, seed=0))
    next(samples)
    first = perf_counter() - started
    count = sum(1 for _ in islice(samples, read))
    print(peak_memory() - before, first, count / (perf_counter() - started - first))


def main() -> int:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of everything")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--part", nargs=2, metavar=("URL", "SAMPLES"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.part:
        _part(arguments.part[0], int(arguments.part[1]))
        return 0
    scale = 10 if arguments.quick else 1
    with tempfile.TemporaryDirectory(prefix="atdata-order-", dir=os.environ.get("TMPDIR")) as name:
        folder = Path(name)
        figures = [
            *access(folder, "small", 40_000 // scale, 32),
            *access(folder, "large", 1_500 // scale, 256),
            *quality(folder, 5_000),
            *memory(folder, 100, 100_000 // scale, 1_000_000 // scale),
        ]
    return report("order", figures, as_json=arguments.json)


if __name__ == "__main__":
    sys.exit(main())
