"""Publishing on a real PDS on loopback: rate against curl, memory, and what kill -9 costs.

The rate is that of uploading alone, which is what curl does, and that of the whole publish beside it: with reading the
shards for their digests before, and the record after, for which the server takes each blob into the repository. curl
uploads the same files one after another, and four at a time, to the same server. Each figure is the median of
several rounds in which the sides take turns.

Usage: python -m benchmarks.publishing [--megabytes 200] [--rounds 3] [--memory 1000] [--kills 30]
"""

import argparse
import os
import random
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter

from benchmarks.report import Figure, peak_memory, report
from tests.network.further import FurtherPds
from tests.network.plugin import FOLDER, Account, post
from tests.node import running_script
from tests.publishing.kills import environment, login, publish_under_kills, write_noise

SHARD_BYTES = 5_000_000  # what fits into a blob of the reference PDS, as it is by default
LEAST_AT_ONCE = 1.3  # of the rate of curl one file after another, where curl reaches that itself four at a time
MOST_MEMORY = 64.0  # MB above the import
MOST_TWICE = 5.0  # percent
KILLED_BLOBS = 300
KILLED_BLOB_BYTES = 1_000_000


def publish_in_this_process(paths: list[str], uploads: int) -> None:
    """Publish shards as blobs for who is logged in; print seconds, seconds of uploading, and memory."""
    import atdata
    from atdata.publishing.describe import Description, Options

    client = atdata.Client.saved()
    if client is None:
        raise RuntimeError("nobody is logged in")
    uploading: list[float] = []

    def progress(step: str, done: int, total: int) -> None:
        if step == "uploading":
            uploading.append(perf_counter())

    before, started = peak_memory(), perf_counter()
    options = Options(storage="blobs", uploads=uploads, progress=progress, sample_type=dict)
    with atdata.DatasetPublisher(client).prepared(paths, Description(f"Benchmark {started}"), options) as prepared:
        prepared.publish()
    ended = perf_counter()
    print(ended - started, uploading[-1] - uploading[0], peak_memory() - before)


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=200, help="uploaded in each round; 0 leaves the rate out")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--memory", type=int, default=0, help="MB that are published to measure memory")
    parser.add_argument("--kills", type=int, default=0, help="kills of the client, and as many of the PDS")
    parser.add_argument("--seed", type=int, default=0, help="of the moments of the kills")
    parser.add_argument("--json", action="store_true", help="print JSON alone")
    parser.add_argument("--uploads", type=int, default=4, help=argparse.SUPPRESS)
    parser.add_argument("--publish", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.publish:
        publish_in_this_process(options.publish, options.uploads)
        return 0
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory(prefix="atdata-publishing-") as folder:
        work = Path(folder)
        arguments = ["--data", str(work), "--pds", "0"]
        with (
            running_script(FOLDER / "network.mjs", arguments, work / "plc.log") as said,
            FurtherPds(said["plc"], work / "pds") as server,
        ):
            if options.megabytes:
                figures += _rates(server, said["plc"], work, options.megabytes, options.rounds)
            if options.memory:
                figures.append(_memory(server, said["plc"], work, options.memory))
            if options.kills:
                figures += _kills(server, said["plc"], work, options.kills, options.seed)
    return report("publishing", figures, as_json=options.json)


def _rates(server: FurtherPds, plc: str, work: Path, megabytes: int, rounds: int) -> list[Figure]:
    shards = write_noise(work / "rate", shards=megabytes * 1_000_000 // SHARD_BYTES, shard_bytes=SHARD_BYTES)
    paths = [str(shard.path) for shard in shards]
    seconds: dict[str, list[float]] = {}

    for number in range(rounds):
        for at_once in (1, 4):
            # A fresh account for each: a blob that is there already is cheaper for the server.
            curl = _curl(server.account("curl"), paths, at_once)
            home = work / f"home-{number}-{at_once}"
            whole, uploading, _ = _published(server, plc, home, paths, uploads=at_once)
            for side, value in (("curl", curl), ("publish", whole), ("uploading", uploading)):
                seconds.setdefault(f"{side}, {at_once} at a time", []).append(value)
    middle = {side: statistics.median(values) for side, values in seconds.items()}
    one_by_one = middle["curl, 1 at a time"]
    figures = [Figure(f"{side}: rate", megabytes / value, "MB/s") for side, value in middle.items()]
    figures += [Figure(f"{side}: of curl, 1 at a time", one_by_one / value, "times") for side, value in middle.items()]
    rate = one_by_one / middle["uploading, 1 at a time"]
    figures.append(Figure("one at a time: uploading over curl", rate, "times", least=1))
    if one_by_one / middle["curl, 4 at a time"] >= LEAST_AT_ONCE:
        rate = one_by_one / middle["uploading, 4 at a time"]
        figures.append(Figure("uploading 4 at a time over curl 1 at a time", rate, "times", least=LEAST_AT_ONCE))
    return figures


def _curl(account: Account, paths: list[str], at_once: int) -> float:
    """Seconds in which curl uploads the files over connections that it keeps."""
    body = {"identifier": account.handle, "password": account.password}
    token = post(account.pds.url, "com.atproto.server.createSession", body)["accessJwt"]
    url = f"{account.pds.url}/xrpc/com.atproto.repo.uploadBlob"
    headers = ["-H", f"Authorization: Bearer {token}", "-H", "Content-Type: application/x-tar", "-H", "Expect:"]
    command = ["curl", "-sS", "--fail-early", *(["--parallel", "--parallel-max", str(at_once)] if at_once > 1 else [])]
    for number, path in enumerate(paths):
        # -T streams from disk, where --data-binary would read the whole file first.
        transfer = ["-f", "-X", "POST", *headers, "-T", path, "-o", os.devnull, url]
        command += (["--next"] if number else []) + transfer
    started = perf_counter()
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    return perf_counter() - started


def _published(server: FurtherPds, plc: str, home: Path, paths: list[str], *, uploads: int) -> tuple[float, ...]:
    """Seconds, seconds of uploading and bytes of memory of one publish in a fresh process, for a fresh account."""
    account = server.account("atdata")
    env = environment(server, plc, account, home)
    login(env, account, server.pds.url)
    command = [sys.executable, "-m", "benchmarks.publishing", "--uploads", str(uploads), "--publish", *paths]
    done = subprocess.run(command, env=env, stdout=subprocess.PIPE, text=True, check=True)
    return tuple(map(float, done.stdout.split()))


def _memory(server: FurtherPds, plc: str, work: Path, megabytes: int) -> Figure:
    shards = write_noise(work / "memory", shards=megabytes // 50, shard_bytes=50_000_000, samples=1000)
    paths = [str(shard.path) for shard in shards]
    _, _, memory = _published(server, plc, work / "home-memory", paths, uploads=4)
    return Figure(f"publishing {megabytes} MB: memory above the import", memory / 1e6, "MB", MOST_MEMORY)


def _kills(server: FurtherPds, plc: str, work: Path, kills: int, seed: int) -> list[Figure]:
    import atdata

    shards = write_noise(work / "kills", shards=KILLED_BLOBS, shard_bytes=KILLED_BLOB_BYTES)
    rng = random.Random(seed)
    plain = publish_under_kills(
        server, plc, server.account("plain"), shards, work / "plain", victim="client", kills=0, longest=1, rng=rng
    )
    figures = [Figure("undisturbed: time", plain.seconds, "s")]
    for victim in ("client", "pds"):
        account = server.account("killed")
        done = publish_under_kills(
            server,
            plc,
            account,
            shards,
            work / f"killed-{victim}",
            victim=victim,
            kills=kills,
            longest=2 * plain.sending / kills,  # so that the kills are spread over the whole
            rng=rng,
        )
        os.environ.update(environment(server, plc, account, work / f"killed-{victim}"))
        client = atdata.Client.anonymous()
        records = list(atdata.DatasetLoader(client).list_datasets(account.did))
        samples = sum(1 for _ in atdata.load(done.uri, client=client))
        twice = 100 * (done.sent - plain.sent) / done.size
        figures += [
            Figure(f"{victim} killed, with blobs on their way", done.kills, "times", least=kills),
            Figure(f"{victim} killed: records beyond one", len(records) - 1, "", 0),
            Figure(f"{victim} killed: samples missing", 2 * KILLED_BLOBS - samples, "", 0),
            Figure(f"{victim} killed: sent twice", twice, "%", MOST_TWICE),
            Figure(f"{victim} killed: time", done.seconds, "s"),
        ]
    return figures


if __name__ == "__main__":
    sys.exit(main())
