"""A dataset of 100,000 shards at URLs: publishing it with its facts, and loading it, in seconds of CPU and in memory.

The repository is the local one, and no shard is opened: what is measured is the record and its manifest. Each step runs
in a process of its own. Usage: python -m benchmarks.large [--shards N] [--json]
"""

import argparse
import hashlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from time import process_time

from benchmarks.report import Figure, peak_memory, report

import atdata
from atdata.syntax import raw_cid

SHARDS = 100_000
MOST_SECONDS = 1.0  # of loading
MOST_MEMORY = 100.0  # MB above the import, of loading


def publish(folder: Path, shards: int) -> int:
    """Publish the dataset; its facts are made up."""
    digests = (hashlib.sha256(str(number).encode()).digest() for number in range(2 * shards))
    facts = [atdata.Shard(raw_cid(next(digests)), 1_000_000 + i, 1000, raw_cid(next(digests))) for i in range(shards)]
    publisher = atdata.DatasetPublisher(atdata.Client.local(folder))
    started = process_time()
    uri = publisher.publish_dataset(f"https://example.com/{{000000..{shards - 1:06d}}}.tar", "Large", shards=facts)
    print(process_time() - started, file=sys.stderr)
    (folder / "uri").write_text(uri)
    return 1000 * shards


def load(folder: Path, shards: int) -> int:
    """Load it."""
    loader = atdata.DatasetLoader(atdata.Client.local(folder))
    started = process_time()
    dataset = loader.load_dataset((folder / "uri").read_text())
    print(process_time() - started, file=sys.stderr)
    return len(dataset)


STEPS = {"publish": publish, "load": load}


def _measure(step: str, folder: Path, shards: int) -> tuple[float, float]:
    """CPU seconds of one step in a process of its own, and MB above its import."""
    command = [
        sys.executable,
        "-m",
        "benchmarks.large",
        "--step",
        step,
        "--folder",
        str(folder),
        "--shards",
        str(shards),
    ]
    environment = os.environ | {"ATDATA_HOME": str(folder / "home")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    samples, memory = done.stdout.split()
    if int(samples) != 1000 * shards:
        raise RuntimeError(f"{step}: {samples} samples, expected {1000 * shards}")
    return float(done.stderr.split()[-1]), float(memory)


def main() -> int:
    """Measure both steps and report them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shards", type=int, default=SHARDS)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--step", choices=STEPS)
    parser.add_argument("--folder", type=Path)
    arguments = parser.parse_args()
    if arguments.step is not None:
        before = peak_memory()
        samples = STEPS[arguments.step](arguments.folder, arguments.shards)
        print(samples, (peak_memory() - before) / 1e6)
        return 0
    figures = []
    with tempfile.TemporaryDirectory() as folder:
        for step in STEPS:
            seconds, memory = _measure(step, Path(folder), arguments.shards)
            is_load = step == "load"
            figures.append(Figure(f"{step}: CPU", seconds, "s", limit=MOST_SECONDS if is_load else None))
            figures.append(Figure(f"{step}: memory", memory, "MB", limit=MOST_MEMORY if is_load else None))
    return report(f"{arguments.shards:,} shards", figures, as_json=arguments.json)


if __name__ == "__main__":
    sys.exit(main())
