"""Reading a file from IPFS, each block checked, against ``curl | sha256sum`` of the same CAR from the same server.

Many builds of sha256sum do without the instructions that processors have for it; openssl uses them, and is told, too.
The server is a process of its own that sends files by sendfile. Runs alternate, and the best of each side counts: the
machine may have other work. Usage: python -m benchmarks.ipfs [--megabytes N] [--runs N] [--json]
"""

import argparse
import itertools
import os
import re
import socketserver
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from time import perf_counter

from benchmarks.report import Figure, report
from tests.storage.ipfs_blocks import Blocks, car, section

from atdata.net import Policy, Transport
from atdata.storage.ipfs import IpfsStore
from atdata.syntax import Cid

LEAST = 0.8  # of the rate of curl | sha256sum
LINKS = 174  # of one node, as Kubo writes them
BUFFER = 4 << 20  # bytes; that of the reader of shards
CHUNKS = (256 << 10, 1 << 20)  # bytes; what Kubo wrote for years, and what it writes now


class _Handler(socketserver.StreamRequestHandler):
    """Sends ``root.raw``, the block at the root, and ``file.car``, whatever CID is asked for."""

    disable_nagle_algorithm = True

    def handle(self) -> None:
        while match := re.match(rb"GET \S*format=(raw|car)", self.rfile.readline()):
            while self.rfile.readline().strip():
                pass
            with Path("root.raw" if match[1] == b"raw" else "file.car").open("rb") as file:
                left = os.fstat(file.fileno()).st_size
                self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % left)
                self.wfile.flush()
                try:
                    while left:
                        left -= os.sendfile(self.connection.fileno(), file.fileno(), None, left)
                except OSError:
                    return  # the client has what it wanted


def serve() -> None:
    """Serve the files of the working folder until standard input closes."""
    socketserver.ThreadingTCPServer.daemon_threads = True
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Handler) as server:
        print(server.server_address[1], flush=True)
        server.serve_forever()


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """The URL of a server of a folder."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path) or "."}
    command = [sys.executable, "-m", "benchmarks.ipfs", "--serve"]
    with subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.terminate()


def make(folder: Path, size: int, chunk: int) -> Cid:
    """Write a CAR of a file and its root block; the root."""
    blocks = Blocks()
    noise = os.urandom(chunk - 8)
    content = b"".join(number.to_bytes(8, "big") + noise for number in range(size // chunk))
    root = blocks.add(content, chunk=chunk, links=LINKS)
    (folder / "root.raw").write_bytes(blocks.blocks[root])
    with (folder / "file.car").open("wb") as file:
        file.write(car([]))
        file.writelines(section(cid, blocks.blocks[cid]) for cid in blocks.in_order(root))
    return root


def run_curl(url: str, hasher: str) -> float:
    """Seconds that curl and a program that hashes take together."""
    began = perf_counter()
    subprocess.run(["bash", "-c", f"curl -sS '{url}' | {hasher}"], check=True, stdout=subprocess.DEVNULL)
    return perf_counter() - began


def run_store(base: str, root: Cid, size: int) -> float:
    """Seconds that our reader takes."""
    store = IpfsStore(Transport(Policy()), gateways=[base])
    buffer = memoryview(bytearray(BUFFER))
    began = perf_counter()
    total = 0
    with closing(store.open(f"ipfs://{root}")) as stream:
        while count := stream.readinto(buffer):
            total += count
    seconds = perf_counter() - began
    assert total == size
    return seconds


def measure(chunk: int, size: int, runs: int) -> list[Figure]:
    """Both sides on a file of one size of leaves."""
    size = size // chunk * chunk
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        root = make(folder, size, chunk)
        megabytes = (folder / "file.car").stat().st_size / 1e6
        with serving(folder) as base:
            url = f"{base}/ipfs/{root}?format=car"
            run_curl(url, "cat")
            times = [
                (run_store(base, root, size), run_curl(url, "sha256sum"), run_curl(url, "openssl dgst -sha256"))
                for _ in itertools.repeat(None, runs)
            ]
    ours, curl, fast = (megabytes / min(each) for each in zip(*times, strict=True))
    label = f"leaves of {chunk >> 10} KiB"
    return [
        Figure(f"{label}: curl | sha256sum", curl, "MB/s"),
        Figure(f"{label}: curl | openssl dgst", fast, "MB/s"),
        Figure(f"{label}: ipfs, each block checked", ours, "MB/s"),
        Figure(f"{label}: of curl | sha256sum", ours / curl, "", least=LEAST),
        Figure(f"{label}: of curl | openssl dgst", ours / fast, ""),
    ]


def main() -> int:
    """Measure, print, and say by the exit code whether the figures hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=500, help="size of the file")
    parser.add_argument("--runs", type=int, default=5, help="of each side")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve()
        return 0
    figures = [figure for chunk in CHUNKS for figure in measure(chunk, options.megabytes * 1_000_000, options.runs)]
    return report("ipfs", figures, as_json=options.json)


if __name__ == "__main__":
    sys.exit(main())
