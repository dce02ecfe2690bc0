"""Publishing under kill -9, of the client or of the PDS, at random moments: for tests and the benchmark.

Everything is real: the command line in processes of its own, a PDS that is started again on its folder and port. A
forwarder between the two counts what was sent.
"""

import os
import random
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from tests.network.counting import CountingForwarder
from tests.network.further import FurtherPds
from tests.network.plugin import Account

from atdata.data.writer import WrittenShard, write_samples

# Where the tests run in the background of a shell, their children inherit that Ctrl-C is ignored.
ATDATA = [
    sys.executable,
    "-c",
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from atdata.cli.main import main; main()",
]
_UNDER_WAY = 50_000  # bytes; more than all requests that come before the first blob
LONGEST = 300  # seconds that one run of the command may take


@dataclass
class Noise:
    """A sample that does not compress.

    Attributes:
        data: Random bytes.
        number: Counts the samples from 0.
    """

    data: NDArray[np.uint8]
    number: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a publish.

    Attributes:
        uri: The AT-URI that the last run printed.
        kills: Times that a process was killed before the publish was complete.
        runs: Times that the command was started.
        size: Bytes of all shards.
        sent: Bytes that were sent, requests and all.
        seconds: From the first start to the last end.
        sending: The same, from when the last run had its first blob on its way.
    """

    uri: str
    kills: int
    runs: int
    size: int
    sent: int
    seconds: float
    sending: float


def write_noise(folder: Path, *, shards: int, shard_bytes: int, samples: int = 2) -> list[WrittenShard]:
    """Shards of random bytes, each with that many samples."""
    rng = np.random.default_rng(0)
    noise = (
        Noise(rng.integers(0, 256, shard_bytes // samples, dtype=np.uint8), number)
        for number in range(samples * shards)
    )
    return write_samples(noise, str(folder / "noise-%06d.tar"), shard_samples=samples)


def environment(server: FurtherPds, plc: str, account: Account, home: Path) -> dict[str, str]:
    """The variables under which the command line works on this server, with files of its own."""
    return os.environ | {
        "ATDATA_PLC_URL": plc,
        "ATDATA_HANDLE_RESOLVER": f"{server.pds.domain}={server.pds.url}",
        "ATDATA_ALLOW_PRIVATE": "1",
        "ATDATA_HOME": str(home),
        "ATDATA_PASSWORD": account.password,
    }


def login(env: dict[str, str], account: Account, service: str) -> None:
    """Log in through ``service``, which is then where everything is sent."""
    done = subprocess.run(
        [*ATDATA, "login", account.handle, "--pds", service], env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def publish_under_kills(
    server: FurtherPds,
    plc: str,
    account: Account,
    shards: list[WrittenShard],
    home: Path,
    *,
    victim: Literal["client", "pds"],
    kills: int,
    longest: float,
    rng: random.Random,
) -> Outcome:
    """Publish shards as blobs while somebody kills, until it is complete.

    Args:
        victim: Who is killed.
        kills: How often, unless the publish is complete before.
        longest: Seconds; the time from when blobs are on their way (again) to the kill is random up to this.
        rng: Chooses the moments.
    """
    home.mkdir(parents=True)
    env = environment(server, plc, account, home)
    names = [str(shard.path) for shard in shards]
    command = [*ATDATA, "publish", *names, "--name", "Noise", "--storage", "blobs", "--no-schema"]
    done_kills = runs = 0
    with CountingForwarder(server.pds.url) as forwarder:
        login(env, account, forwarder.url)
        started = time.perf_counter()
        before = forwarder.sent
        while True:
            process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            runs += 1
            under_way = _wait_for(forwarder, process)
            while process.poll() is None and done_kills < kills:
                try:
                    process.wait(rng.uniform(0, longest))
                except subprocess.TimeoutExpired:
                    done_kills += 1
                    if victim == "client":
                        process.kill()
                        process.wait()
                    else:
                        server.end(kill=True)
                        server.start()
                        _wait_for(forwarder, process)
            out, err = process.communicate(timeout=LONGEST)
            # Killed when all was done and said: nobody would run it again. A journal that is left is gone on with.
            if process.returncode == 0 or (out and not any((home / "data" / "publishing").iterdir())):
                seconds, sent = time.perf_counter() - started, forwarder.sent - before
                size = sum(shard.shard.bytes or 0 for shard in shards)
                return Outcome(out.strip(), done_kills, runs, size, sent, seconds, time.perf_counter() - under_way)
            assert (victim, process.returncode) == ("client", -9), err


def _wait_for(forwarder: CountingForwarder, process: "subprocess.Popen[str]") -> float:
    """Wait until blobs are on their way: before that a kill costs nothing, and would prove nothing."""
    sent = forwarder.sent + _UNDER_WAY
    while forwarder.sent < sent:
        with suppress(subprocess.TimeoutExpired):
            process.wait(0.002)
            break
    return time.perf_counter()
