"""Progress bars, on a terminal only, and what is said between them."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Never

from atdata.cli.output import say
from atdata.cli.terminal import safe

if TYPE_CHECKING:
    from tqdm import tqdm


class Bars:
    """A bar on stderr for each step, with rate and time left; removed when its step is done."""

    def __init__(self, *, is_shown: bool) -> None:
        """Where ``is_shown`` is False, sentences alone are written."""
        self._is_shown = is_shown
        self._bar: tqdm[Never] | None = None
        self._step = ""

    def __call__(self, step: str, done: int, total: int) -> None:
        """What the library tells: a step, the bytes done and the bytes in all."""
        if not self._is_shown:
            return
        from tqdm import tqdm

        if self._bar is None or self._step != step:
            self.close()
            self._step = step
            # What was done before is no part of the rate: a publish that goes on has not sent it now.
            self._bar = tqdm(
                desc=step, total=total, initial=done, unit="B", unit_scale=True, leave=False, file=sys.stderr
            )
        self._bar.total = total
        self._bar.update(done - self._bar.n)

    def say(self, text: str) -> None:
        """A sentence on stderr, on a line of its own."""
        if self._bar is not None:
            self._bar.clear()
        say(safe(text))
        if self._bar is not None:
            self._bar.refresh()

    def close(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


@contextmanager
def progress_bars() -> Iterator[Bars]:
    """Bars where stderr is a terminal, else none."""
    bars = Bars(is_shown=sys.stderr.isatty())
    try:
        yield bars
    finally:
        bars.close()
