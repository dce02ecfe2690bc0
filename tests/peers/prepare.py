"""Makes the virtual environments in which earlier releases of atdata read our shards and write theirs.

Run from the repository's root: ``python tests/peers/prepare.py``. Two environments below ``.venv-peers/``, one for each
release, each with Python 3.12, since those releases ask for it. A second run finds them made and ends at once. Where
no Python 3.12 runs, it says aloud that these peers are left out, and ends with success: webdataset, tarfile and GNU
tar are still tested. What the environments are used for is `tests/peers/test_peers.py`.
"""

import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

RELEASES = ("0.1.3b4", "0.7.0b1")
FOLDER = Path(__file__).resolve().parents[2] / ".venv-peers"
READY = "ready"  # written last, so that an installation that was cut short is done again


def environment(release: str) -> Path:
    """The folder of one release's environment, made or not."""
    return FOLDER / f"atdata-{release}"


def interpreter(release: str) -> Path | None:
    """The Python of one release's environment, or None while it is not complete."""
    folder = environment(release)
    return folder / "bin" / "python" if (folder / READY).exists() else None


def find_python() -> str | None:
    """A Python 3.12 that really runs: on PATH, else one of pyenv's.

    A name on PATH proves nothing: pyenv puts a ``python3.12`` there that only says that another version is active.
    """
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    candidates = [shutil.which("python3.12"), *map(str, sorted((root / "versions").glob("3.12*/bin/python")))]
    for candidate in candidates:
        if candidate is None:
            continue
        answer = subprocess.run(
            [candidate, "-c", "import sys; print(*sys.version_info[:2])"], capture_output=True, text=True, check=False
        )
        if answer.stdout.split() == ["3", "12"]:
            return candidate
    return None


def install(python: str, release: str) -> None:
    """Make one environment, from nothing.

    Raises:
        subprocess.CalledProcessError: pip failed; its own words are on stderr.
    """
    folder = environment(release)
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([python, "-m", "venv", str(folder)], check=True)
    subprocess.run([str(folder / "bin" / "pip"), "install", "--quiet", f"atdata=={release}"], check=True)
    (folder / READY).touch()


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")


def main() -> int:
    """Make what is missing; 1 when an installation failed."""
    missing = [release for release in RELEASES if interpreter(release) is None]
    if not missing:
        return 0
    python = find_python()
    if python is None:
        _say(f"SKIPPED: no Python 3.12 runs here, so atdata {' and '.join(missing)} are not tested")
        return 0
    _say(f"installing atdata {' and '.join(missing)} with {python} (minutes, once)")
    FOLDER.mkdir(exist_ok=True)
    with ThreadPoolExecutor(len(missing)) as pool:
        installations = {release: pool.submit(install, python, release) for release in missing}
    failed = 0
    for release, installation in installations.items():
        if (error := installation.exception()) is not None:
            _say(f"atdata {release} could not be installed: {error}")
            failed = 1
    return failed


if __name__ == "__main__":
    sys.exit(main())
