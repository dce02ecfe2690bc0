"""What each benchmark prints: a table for people, then one line of JSON for machines."""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Figure:
    """One measured figure.

    Attributes:
        name: What was measured.
        value: The figure.
        unit: Its unit.
        limit: The most that it may be; None where it is only told.
        least: The least that it may be, likewise.
    """

    name: str
    value: float
    unit: str
    limit: float | None = None
    least: float | None = None

    @property
    def holds(self) -> bool:
        """Whether the figure keeps its limits."""
        return (self.limit is None or self.value <= self.limit) and (self.least is None or self.value >= self.least)


def report(benchmark: str, figures: Sequence[Figure], *, as_json: bool = False) -> int:
    """Print the figures, or their JSON alone; return the exit code: 1 where one does not keep its limits."""
    if not as_json:
        _print_table(benchmark, figures)
    print(json.dumps({"benchmark": benchmark, "figures": [asdict(figure) for figure in figures]}))
    sys.stdout.flush()
    return 0 if all(figure.holds for figure in figures) else 1


def _print_table(benchmark: str, figures: Sequence[Figure]) -> None:
    width = max(len(figure.name) for figure in figures)
    print(f"== {benchmark}")
    for figure in figures:
        limit = "" if figure.limit is None else f"  at most {figure.limit:g}{'' if figure.holds else ': OVER'}"
        limit += "" if figure.least is None else f"  at least {figure.least:g}{'' if figure.holds else ': UNDER'}"
        print(f"{figure.name.ljust(width)}  {figure.value:10.2f} {figure.unit:12}{limit}".rstrip())


def peak_memory() -> int:
    """Most memory that this process has had resident, in bytes.

    Not ``ru_maxrss``: on Linux a child inherits that of the process it was forked from.
    """
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("/proc/self/status has no VmHWM: this benchmark needs Linux")
