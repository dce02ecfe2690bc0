"""Progress bars, on a terminal only."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Never


@contextmanager
def progress_bars() -> Iterator[Callable[[str, int, int], None]]:
    """Yield what the library tells a step, the bytes done and the bytes in all; a bar for each step on stderr.

    Where stderr is no terminal, nothing is shown. The bar is removed when its step is done.
    """
    if not sys.stderr.isatty():
        yield lambda step, done, total: None
        return
    from tqdm import tqdm

    bar: tqdm[Never] | None = None

    def show(step: str, done: int, total: int) -> None:
        nonlocal bar
        if bar is None or bar.desc != f"{step}: ":
            if bar is not None:
                bar.close()
            bar = tqdm(desc=step, total=total, unit="B", unit_scale=True, leave=False, file=sys.stderr)
        bar.total = total
        bar.update(done - bar.n)

    try:
        yield show
    finally:
        if bar is not None:
            bar.close()
