"""What ``import atdata`` costs: time against ``import numpy``, and memory.

Each figure is the median over fresh interpreters, atdata and numpy in turn. Usage: python -m benchmarks.imports [N]
"""

import os
import subprocess
import sys
from statistics import median

from benchmarks.report import Figure, report

RUNS = 15
MOST_TIMES_NUMPY = 1.6
MOST_MEMORY = 60.0  # MB

_PROGRAM = """
import time
started = time.perf_counter()
import {module}
seconds = time.perf_counter() - started
from benchmarks.report import peak_memory
print(seconds, peak_memory())
"""


def _import(module: str) -> tuple[float, float]:
    """Milliseconds, and megabytes at the peak, of an import in a fresh interpreter."""
    program = _PROGRAM.format(module=module)
    command = [sys.executable, "-c", program]
    printed = subprocess.run(command, check=True, capture_output=True, text=True, env=_environment()).stdout
    seconds, peak = printed.split()
    return float(seconds) * 1000, int(peak) / 1e6


def _environment() -> dict[str, str]:
    """Ours, with compiled files allowed: pip compiles what it installs, and so numpy, but not an editable atdata."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def main(runs: int) -> int:
    """Measure and report."""
    for module in ("numpy", "atdata"):
        _import(module)  # once unmeasured: the first import reads the files from disk, and compiles those of atdata
    pairs = [(_import("numpy"), _import("atdata")) for _ in range(runs)]
    numpy = median(time for (time, _), _ in pairs)
    atdata = median(time for _, (time, _) in pairs)
    return report(
        "imports",
        [
            Figure("import numpy", numpy, "ms"),
            Figure("import atdata", atdata, "ms"),
            Figure("atdata / numpy", atdata / numpy, "times", MOST_TIMES_NUMPY),
            Figure("memory after import numpy", median(peak for (_, peak), _ in pairs), "MB"),
            Figure("memory after import atdata", median(peak for _, (_, peak) in pairs), "MB", MOST_MEMORY),
        ],
    )


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else RUNS))
