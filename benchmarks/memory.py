"""Peak memory of writing, reading, publishing and loading 1 GB, above what the import takes.

Each step runs in a process of its own, so that one does not hide another. Usage: python -m benchmarks.memory [MB]
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import numpy as np
from benchmarks.report import Figure, peak_memory, report
from numpy.typing import NDArray

import atdata

MEGABYTES = 1000
SHARD_BYTES = 100_000_000
MOST_MEMORY = 64.0  # MB above the import
SIDE = 128  # pixels; a sample has about 49 kB


@dataclass
class Picture:
    """A random picture.

    Attributes:
        image: Shape ``(128, 128, 3)``, uint8.
        label: Its number.
    """

    image: NDArray[np.uint8]
    label: int


def _pictures(megabytes: int) -> Iterator[Picture]:
    rng = np.random.default_rng(0)
    for label in range(megabytes * 1_000_000 // (SIDE * SIDE * 3)):
        yield Picture(rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8), label)


def _pattern(folder: Path) -> str:
    return f"{folder}/shard-{{000000..{len(list(folder.glob('shard-*.tar'))) - 1:06d}}}.tar"


def write(folder: Path, megabytes: int) -> int:
    """Write the shards; return the number of samples, as each step does."""
    shards = atdata.write_samples(_pictures(megabytes), str(folder / "shard-%06d.tar"), shard_bytes=SHARD_BYTES)
    return sum(written.shard.samples or 0 for written in shards)


def read(folder: Path, megabytes: int) -> int:
    """Read every sample of the shards."""
    return sum(picture.image.shape == (SIDE, SIDE, 3) for picture in atdata.Dataset[Picture](url=_pattern(folder)))


def publish(folder: Path, megabytes: int) -> int:
    """Publish the shards as blobs of a local repository."""
    client = atdata.Client.local(folder / "repository")
    dataset = atdata.Dataset[Picture](url=_pattern(folder))
    uri = atdata.DatasetPublisher(client).publish_dataset(dataset, "Memory", storage="blobs")
    (folder / "uri").write_text(uri)
    return len(atdata.load(uri, Picture, client=client))


def load(folder: Path, megabytes: int) -> int:
    """Load the dataset by its AT-URI and read every sample, verified."""
    client = atdata.Client.local(folder / "repository")
    dataset = atdata.load((folder / "uri").read_text(), Picture, client=client)
    return sum(picture.image.shape == (SIDE, SIDE, 3) for picture in dataset)


STEPS: dict[str, Callable[[Path, int], int]] = {"write": write, "read": read, "publish": publish, "load": load}


def run_step(name: str, folder: Path, megabytes: int) -> None:
    """Run one step in this process; print samples, seconds, and bytes of memory above the import."""
    before, started = peak_memory(), perf_counter()
    samples = STEPS[name](folder, megabytes)
    print(samples, perf_counter() - started, peak_memory() - before)


def main(megabytes: int) -> int:
    """Run the steps one after the other, each in a process of its own, and report."""
    figures = []
    with tempfile.TemporaryDirectory(prefix="atdata-memory-") as folder:
        for name in STEPS:
            command = [sys.executable, "-m", "benchmarks.memory", str(megabytes), name, folder]
            environment = os.environ | {"ATDATA_HOME": f"{folder}/home"}
            printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment).stdout
            samples, seconds, memory = printed.split()
            if int(samples) != megabytes * 1_000_000 // (SIDE * SIDE * 3):
                raise RuntimeError(f"{name}: {samples} samples")
            figures.append(Figure(f"{name}: memory above the import", int(memory) / 1e6, "MB", MOST_MEMORY))
            figures.append(Figure(f"{name}: time", float(seconds), "s"))
    return report(f"memory, {megabytes} MB", figures)


if __name__ == "__main__":
    size = int(sys.argv[1]) if len(sys.argv) > 1 else MEGABYTES
    if len(sys.argv) > 2:
        run_step(sys.argv[2], Path(sys.argv[3]), size)
    else:
        sys.exit(main(size))
