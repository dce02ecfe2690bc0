"""Random faults, as a seed draws them, over a dataset: what comes is right to the byte, or an error names the shard.

The fault proxy of the tests serves shards of 1 MB, with a fault in a part of its answers: cuts, stalls, 5xx, 429 with
Retry-After, wrong lengths, wrong bytes, slow drips. Epochs are read until so many faults have come, in four ways: one
place and two, shards checked by block and as a whole. The exit code is 1 where a byte was wrong or an error nameless.
Usage: python -m benchmarks.faults [--faults N] [--megabytes N] [--seed N]
"""

import argparse
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from benchmarks.report import Figure, report
from tests.storage.faults import FaultProxy, running
from tests.storage.shards import make_shards

from atdata.errors import AtdataError
from atdata.net import Policy, Transport
from atdata.storage.base import Shard, Store, read_all
from atdata.storage.cache import Cache
from atdata.storage.composed import Lying, compose
from atdata.storage.http import HttpStore

THREADS = 4
PATIENCE = 0.5  # seconds; a stall is a stall sooner than in the world, so that many fit into a run
POLICY = Policy(
    allow_private=True, attempts=5, backoff=0.005, read_timeout=PATIENCE, deadline=60, max_wait=2, resumptions=30
)


class Epochs:
    """What came of reading the dataset again and again.

    Attributes:
        counts: ``shards`` that came right, ``errors`` that named theirs, ``wrong`` ones and ``nameless`` errors.
    """

    def __init__(self, objects: dict[str, bytes]) -> None:
        self._objects = objects
        self.counts: Counter[str] = Counter()

    def read(self, store: Store, paths: Sequence[str]) -> None:
        """One epoch, some shards at a time."""
        with ThreadPoolExecutor(THREADS) as pool:
            self.counts.update(pool.map(self._read, [store] * len(paths), paths, self._objects.values()))

    def _read(self, store: Store, path: str, data: bytes) -> str:
        try:
            return "shards" if read_all(store, path, limit=2 * len(data)) == data else "wrong"
        except AtdataError as error:
            return "errors" if path.rpartition("/")[2] in str(error) else "nameless"


def measure(objects: dict[str, bytes], facts: Sequence[Shard], *, places: int, faults: int, seed: int) -> list[Figure]:
    """Read epochs from so many places until so many faults have come."""
    kind = f"{places} place{'s' if places > 1 else ''}, {'by block' if facts[0].index else 'as a whole'}"
    epochs = Epochs(objects)
    begun = time.monotonic()
    with ExitStack() as stack:
        proxies = [
            stack.enter_context(running(FaultProxy(objects, seed=seed + i, retry_after=i % 2))) for i in range(places)
        ]
        lying = [
            Lying(f"place {i}", HttpStore(Transport(POLICY)), [proxy.url(path) for path in objects])
            for i, proxy in enumerate(proxies)
        ]
        while (came := sum(sum(proxy.drawn.values()) for proxy in proxies)) < faults:
            with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
                store = compose(lying, facts, cache=Cache(Path(folder)), stall=PATIENCE)
                epochs.read(store, lying[0].paths)
        drawn: Counter[str] = sum((proxy.drawn for proxy in proxies), Counter())
    print(
        f"{kind}: {came:,} faults {dict(drawn)}, {dict(epochs.counts)}, {time.monotonic() - begun:.0f} s",
        file=sys.stderr,
    )
    read = sum(epochs.counts.values())
    return [
        Figure(f"{kind}: faults", came, ""),
        Figure(f"{kind}: shards read", read, ""),
        Figure(f"{kind}: complete and right", 100 * epochs.counts["shards"] / read, "%"),
        Figure(
            f"{kind}: wrong, or errors without the shard", epochs.counts["wrong"] + epochs.counts["nameless"], "", 0
        ),
    ]


def main() -> int:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--faults", type=int, default=10_000)
    parser.add_argument("--megabytes", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="print JSON alone")
    arguments = parser.parse_args()
    objects, shards = make_shards(max(1, arguments.megabytes), samples=40, size=50_000)  # 1 MB each
    facts = list(shards.values())
    whole = [Shard(shard.cid, shard.bytes) for shard in facts]
    figures = []
    for number, (places, chosen) in enumerate([(1, facts), (1, whole), (2, facts), (2, whole)]):
        figures += measure(
            objects, chosen, places=places, faults=arguments.faults // 4, seed=arguments.seed + 10 * number
        )
    return report("faults", figures, as_json=arguments.json)


if __name__ == "__main__":
    sys.exit(main())
