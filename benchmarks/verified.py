"""Verified streaming over HTTP against ``curl | sha256sum``: the same server, the same files, in turn.

A server on loopback in a process of its own sends files by sendfile, with Range. `curl` reads all shards on one
connection and pipes them into ``sha256sum``; ours are the same shards by block (with the CID of the index) and as a
whole (without), nothing of them in a cache before, and through all of the loader's layers. Figures are medians of the
runs. A second part lets three mirrors misbehave, each held to a rate as a network would: one is dead, one stalls
after each megabyte that it has sent, one has one wrong bit in every shard.
Usage: python -m benchmarks.verified [--megabytes N] [--runs N] [--rate MB/S]
"""

import argparse
import hashlib
import os
import random
import re
import shutil
import socketserver
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.report import Figure, report

from atdata.data.writer import ShardWriter
from atdata.net import Policy, Transport
from atdata.storage.base import Shard, Store, chunks_of
from atdata.storage.cache import Cache
from atdata.storage.composed import Lying, compose
from atdata.storage.http import HttpStore
from atdata.storage.verified import VerifiedStore

SHARD_BYTES = 50_000_000
_SENT = 1 << 20


class _Server(socketserver.ThreadingTCPServer):
    """Sends the files of a folder; at a rate, and with a fault, where asked to."""

    daemon_threads = True
    allow_reuse_address = True
    folder: Path
    rate: float | None
    fault: str


class _Handler(socketserver.StreamRequestHandler):
    disable_nagle_algorithm = True
    server: _Server

    def handle(self) -> None:
        with suppress(ConnectionError):  # the client goes when it has enough
            self._answer()

    def _answer(self) -> None:
        while line := self.rfile.readline().split():
            headers = {}
            while header := self.rfile.readline().strip():
                name, _, value = header.decode("latin-1").partition(":")
                headers[name.lower()] = value.strip()
            self._send(self.server.folder / line[1].decode().lstrip("/"), headers.get("range", ""))

    def _send(self, path: Path, wanted: str) -> None:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            match = re.fullmatch(r"bytes=(\d+)-(\d*)", wanted)
            start, stop = (int(match[1]), min(int(match[2] or size) + 1, size)) if match else (0, size)
            extra = f"Content-Range: bytes {start}-{stop - 1}/{size}\r\n" if match else ""
            head = f'HTTP/1.1 {206 if match else 200} OK\r\nContent-Length: {stop - start}\r\nETag: "1"\r\n{extra}\r\n'
            self.connection.sendall(head.encode())
            begun, first = time.perf_counter(), start
            lie = size // 2
            while start < stop:
                if self.server.fault == "stalls" and start - first >= 1_000_000:
                    time.sleep(3600)
                if self.server.fault == "lies" and start <= lie < min(start + _SENT, stop):
                    data = bytearray(os.pread(file.fileno(), min(_SENT, stop - start), start))
                    data[lie - start] ^= 1
                    self.connection.sendall(data)
                    start += len(data)
                else:
                    start += os.sendfile(self.connection.fileno(), file.fileno(), start, min(_SENT, stop - start))
                if self.server.rate:
                    time.sleep(max(0.0, (start - first) / self.server.rate - (time.perf_counter() - begun)))


def serve(folder: Path, rate: float | None, fault: str, port: Any) -> None:
    """Serve until the process is ended."""
    with _Server(("127.0.0.1", 0), _Handler) as server:
        server.folder, server.rate, server.fault = folder, rate, fault
        port.send(server.server_address[1])
        server.serve_forever()


class Servers:
    """Servers in processes of their own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._processes: list[Any] = []

    def start(self, *, rate: float | None = None, fault: str = "") -> str:
        """Start one; its base URL."""
        context = get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=serve, args=(self._folder, rate, fault, theirs), daemon=True)
        process.start()
        self._processes.append(process)
        return f"http://127.0.0.1:{ours.recv()}"

    def stop(self) -> None:
        """End all."""
        for process in self._processes:
            process.kill()
            process.join()
        self._processes.clear()


def write(folder: Path, total: int) -> dict[str, Shard]:
    """Shards of random samples; their facts by file name."""
    rng = random.Random(0)
    facts = {}
    for number in range(max(1, total // SHARD_BYTES)):
        path = folder / f"{number:06d}.tar"
        with ShardWriter(path, shard=number) as writer:
            for _ in range(SHARD_BYTES // 100_000):
                writer.write({"bin": rng.randbytes(100_000)})
        facts[path.name] = writer.shard
    return facts


def seconds(work: Callable[[], None]) -> float:
    """How long it takes."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def drain(store: Store, paths: Sequence[str]) -> None:
    """Read all shards into one buffer."""
    buffer = memoryview(bytearray(4 << 20))
    for path in paths:
        stream = store.open(path)
        while stream.readinto(buffer):
            pass
        stream.close()


def digest(store: Store, paths: Sequence[str]) -> str:
    """sha-256 of all shards, one after another."""
    found = hashlib.sha256()
    for path in paths:
        for chunk in chunks_of(store, path):
            found.update(chunk)
    return found.hexdigest()


def by_curl(base: str, names: Sequence[str], *, tool: str) -> None:
    """``curl URL... | sha256sum``."""
    urls = [f"{base}/{name}" for name in names]
    with subprocess.Popen(["curl", "-sf", *urls], stdout=subprocess.PIPE) as curl:
        subprocess.run(tool.split(), stdin=curl.stdout, stdout=subprocess.DEVNULL, check=True)


def streaming(servers: Servers, facts: dict[str, Shard], runs: int) -> list[Figure]:
    """MB/s of each way, and the ratios to curl."""
    base = servers.start()
    paths = [f"{base}/{name}" for name in facts]
    total = sum(shard.bytes or 0 for shard in facts.values()) / 1e6
    indexed = dict(zip(paths, facts.values(), strict=True))
    whole = {path: Shard(shard.cid, shard.bytes) for path, shard in indexed.items()}
    http = HttpStore(Transport(Policy(allow_private=True)))

    def emptied(make: Callable[[Cache], Store]) -> None:
        with tempfile.TemporaryDirectory(dir=servers._folder, ignore_cleanup_errors=True) as folder:
            drain(make(Cache(Path(folder), limit=4 * int(total * 1e6))), paths)

    lying = [Lying("here", http, paths)]
    ways: dict[str, Callable[[], None]] = {
        "curl | sha256sum": lambda: by_curl(base, list(facts), tool="sha256sum"),
        "curl | openssl sha256": lambda: by_curl(base, list(facts), tool="openssl sha256"),
        "curl > /dev/null": lambda: by_curl(base, list(facts), tool="cat"),
        "unchecked": lambda: drain(http, paths),
        "verified by block": lambda: emptied(lambda cache: VerifiedStore(http, indexed, cache=cache)),
        "verified as a whole": lambda: emptied(lambda cache: VerifiedStore(http, whole, cache=cache)),
        "loader's layers, by block, empty cache": lambda: emptied(
            lambda cache: compose(lying, list(facts.values()), cache=cache)
        ),
    }
    if not shutil.which("openssl"):
        del ways["curl | openssl sha256"]
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(runs):
        for name, work in ways.items():
            times[name].append(seconds(work))
    rates = {name: total / median(found) for name, found in times.items()}
    figures = [Figure(name, rate, "MB/s") for name, rate in rates.items()]
    curl = rates["curl | sha256sum"]
    for name, least in (("verified by block", 1.8), ("verified as a whole", 0.9)):
        figures.append(Figure(f"{name}, times curl | sha256sum", rates[name] / curl, "x", least=least))
    return figures


def mirrors(servers: Servers, facts: dict[str, Shard], rate: float) -> list[Figure]:
    """Time with three bad mirrors against that with three good ones."""
    found = {}
    good, bad = ["", "", ""], ["dead", "stalls", "lies"]
    expected: str | None = None
    for kind, faults in (("three good mirrors", good), ("dead, stalling, lying", bad)):
        places = []
        for fault in faults:
            base = "http://127.0.0.1:9" if fault == "dead" else servers.start(rate=rate, fault=fault)
            transport = Transport(Policy(allow_private=True))
            places.append(Lying(fault or "good", HttpStore(transport), [f"{base}/{name}" for name in facts]))
        store = compose(places, list(facts.values()), cache=Cache(servers._folder / "none", limit=0))
        digests: list[str] = []
        found[kind] = seconds(lambda: digests.append(digest(store, list(places[0].paths))))  # noqa: B023
        if expected is None:
            expected = digests[0]
        assert digests == [expected]
    figures = [Figure(f"{kind}, at {rate / 1e6:g} MB/s each", time, "s") for kind, time in found.items()]
    ratio = found["dead, stalling, lying"] / found["three good mirrors"]
    return [*figures, Figure("the bad ones, times the good ones", ratio, "x", 1.5)]


def main() -> int:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--megabytes", type=int, default=500)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--rate", type=float, default=25, help="MB/s of each mirror")
    parser.add_argument("--json", action="store_true", help="print JSON alone")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        facts = write(Path(folder), arguments.megabytes * 1_000_000)
        servers = Servers(Path(folder))
        try:
            figures = streaming(servers, facts, arguments.runs) + mirrors(servers, facts, arguments.rate * 1e6)
        finally:
            servers.stop()
    return report("verified", figures, as_json=arguments.json)


if __name__ == "__main__":
    sys.exit(main())
