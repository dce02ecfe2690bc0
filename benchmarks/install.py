"""How much an installation of the core brings: distributions and megabytes, in a fresh environment.

pip and setuptools are not counted; ``python -m venv`` puts them there. Usage: python -m benchmarks.install
"""

import subprocess
import sys
import tempfile
import venv
from pathlib import Path

from benchmarks.report import Figure, report

MOST_MEGABYTES = 100.0
MOST_DISTRIBUTIONS = 15.0
ROOT = Path(__file__).resolve().parents[1]
NOT_COUNTED = ("pip", "setuptools", "_distutils_hack", "distutils-precedence", "pkg_resources")

_COUNT = "import importlib.metadata as m; print(*sorted({d.name for d in m.distributions()} - {'pip', 'setuptools'}))"


def main() -> int:
    """Install into a temporary environment, measure and report."""
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        python = Path(folder, "bin", "python")
        install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", str(ROOT)]
        subprocess.run(install, check=True)
        names = subprocess.run([python, "-c", _COUNT], check=True, capture_output=True, text=True).stdout.split()
        packages = next(Path(folder, "lib").glob("python*/site-packages"))
        size = sum(
            file.stat().st_size
            for entry in packages.iterdir()
            if not entry.name.startswith(NOT_COUNTED)
            for file in ([entry] if entry.is_file() else entry.rglob("*"))
            if file.is_file()
        )
    print("distributions:", *names)
    return report(
        "install",
        [
            Figure("site-packages", size / 1e6, "MB", MOST_MEGABYTES),
            Figure("distributions", float(len(names)), "", MOST_DISTRIBUTIONS),
        ],
    )


if __name__ == "__main__":
    sys.exit(main())
