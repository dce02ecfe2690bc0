"""One more PDS in a network that runs: with limits of its own, and one that can be killed and started again.

Usable without pytest, by benchmarks.
"""

import itertools
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.network.plugin import FOLDER, PASSWORD, Account, Pds, post
from tests.node import end_script, start_script


class FurtherPds:
    """A PDS in a process of its own. Use as a context manager.

    Attributes:
        pds: What it says of itself; the same after `restart`.
    """

    def __init__(self, plc: str, data: Path, *, number: int = 9, options: tuple[str, ...] = ()) -> None:
        """For the PLC directory at ``plc``.

        Args:
            plc: Base URL of the directory.
            data: A folder for what it keeps.
            number: Which domain it has: ``pds9.test``.
            options: Of ``network.mjs``, as in ``("--blob-limit", "5242880")``.
        """
        data.mkdir(parents=True, exist_ok=True)
        self._arguments = ["--data", str(data), "--pds", "1", "--first", str(number), "--plc", plc, *options]
        self._log = data / "server.log"
        self._numbers: Iterator[int] = itertools.count()
        self._process: subprocess.Popen[bytes] | None = None
        self.pds: Pds

    def __enter__(self) -> "FurtherPds":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def start(self) -> None:
        """Start it, for the first time or again."""
        self._process, said = start_script(FOLDER / "network.mjs", self._arguments, self._log)
        self.pds = Pds(**said["pds"][0])

    def end(self, *, kill: bool = False) -> None:
        """End it; with ``kill`` by SIGKILL."""
        if self._process is not None:
            end_script(self._process, kill=kill)
            self._process = None

    def account(self, name: str = "alice") -> Account:
        """A fresh account."""
        handle = f"{name}{next(self._numbers)}.{self.pds.domain}"
        body = {"handle": handle, "email": f"{handle}@example.com", "password": PASSWORD}
        answer = post(self.pds.url, "com.atproto.server.createAccount", body)
        return Account(answer["did"], handle, PASSWORD, self.pds)
