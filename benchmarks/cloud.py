"""Buckets: reading public and private objects, ranges, and uploads, on SeaweedFS on loopback, beside curl.

The server, the reader and curl share the machine, so the figures say how much of what curl gets is left, not how fast
a bucket is.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from benchmarks.report import Figure, report
from tests.cloud.plugin import Seaweed, running_seaweed

from atdata.net import Policy, Transport
from atdata.storage.base import Store
from atdata.storage.cloud import CloudStore

_BUFFER = 4 << 20


def main() -> int:
    """Measure, print, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=200)
    parser.add_argument("--ranges", type=int, default=500)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["ATDATA_HOME"] = folder
        with running_seaweed(Path(folder)) as seaweed:
            return report(
                "cloud", measure(seaweed, Path(folder), arguments.megabytes, arguments.ranges), as_json=arguments.json
            )


def measure(seaweed: Seaweed, folder: Path, megabytes: int, ranges: int) -> list[Figure]:
    """Each figure is the best of three."""
    settings = folder / "config" / "config.toml"
    settings.parent.mkdir()
    tables = [seaweed.settings(bucket=bucket) for bucket in ("public", "private")]
    settings.write_text("\n".join(line.strip() for line in "\n".join(tables).splitlines()))
    settings.chmod(0o600)
    chunk = os.urandom(1 << 20)
    signed = CloudStore(own=True)
    uploads = _best(lambda: signed.put("s3://private/large.tar", (chunk for _ in range(megabytes))))
    signed.put("s3://public/large.tar", (chunk for _ in range(megabytes)))
    public = CloudStore(own=False, transport=Transport(Policy(allow_private=True)), endpoint=seaweed.url)
    curl = _best(lambda: _curl(f"{seaweed.url}/public/large.tar"))
    anonymous = _best(lambda: _read(public, "s3://public/large.tar"))
    private = _best(lambda: _read(signed, "s3://private/large.tar"))
    spans = range(0, ranges * 4096, 4096)
    of_public = _best(lambda: _read_each(public, "s3://public/large.tar", spans))
    of_private = _best(lambda: _read_each(signed, "s3://private/large.tar", spans))
    return [
        Figure("curl, public", megabytes / curl, "MiB/s"),
        Figure("read, public", megabytes / anonymous, "MiB/s"),
        Figure("read, public, of curl", curl / anonymous, "", least=0.7),
        Figure("read, private", megabytes / private, "MiB/s"),
        Figure("upload", megabytes / uploads, "MiB/s"),
        Figure("ranges of 4 KiB, public", ranges / of_public, "a second"),
        Figure("ranges of 4 KiB, private", ranges / of_private, "a second"),
    ]


def _best(act: Callable[[], object]) -> float:
    times = []
    for _ in range(3):
        began = time.perf_counter()
        act()
        times.append(time.perf_counter() - began)
    return min(times)


def _read(store: Store, path: str, start: int = 0, stop: int | None = None) -> None:
    buffer = memoryview(bytearray(_BUFFER))
    stream = store.open(path, start=start, stop=stop)
    while stream.readinto(buffer):
        pass
    stream.close()


def _read_each(store: Store, path: str, starts: Iterable[int]) -> None:
    for start in starts:
        _read(store, path, start, start + 4096)


def _curl(url: str) -> None:
    subprocess.run(["curl", "-sf", "-o", "/dev/null", url], check=True)


if __name__ == "__main__":
    sys.exit(main())
