"""What is wrong with a value, and where: how the checks of records report.

A check is a function from a value to the first `Problem` found in it, or None. Problems are values and not exceptions,
so that each level can put its own part before the path; `raise_problem` makes an error of one at the edge.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from atdata.errors import InvalidRecordError

_SHOWN = 80  # characters of a wrong value, or of one key in a path, that a message repeats


class Problem(NamedTuple):
    """One thing that is wrong.

    Attributes:
        message: What is wrong, and what is allowed.
        path: Where, from the value that was checked: ``.shards[3].bytes``; empty for that value as a whole.
    """

    message: str
    path: str = ""

    def under_key(self, key: str) -> "Problem":
        """The same problem, seen from the object that holds the value under ``key``."""
        return Problem(self.message, f".{shortened(key)}{self.path}")

    def under_index(self, index: int) -> "Problem":
        """The same problem, seen from the array that holds the value."""
        return Problem(self.message, f"[{index}]{self.path}")


Check = Callable[[Any], Problem | None]


def raise_problem(problem: Problem | None) -> None:
    """Raise what a check found, if it found anything.

    Raises:
        InvalidRecordError: There is a problem.
    """
    if problem is not None:
        raise InvalidRecordError(problem.message, path=problem.path.removeprefix("."))


def shortened(text: str) -> str:
    """Text from a record as a message may repeat it: short, in one line, without control characters."""
    shown = text if len(text) <= _SHOWN else text[:_SHOWN] + "…"
    return shown if shown.isprintable() else ascii(shown)[1:-1]


def quoted(text: str) -> str:
    """`shortened`, in quotes."""
    return f"'{shortened(text)}'"


def kind_of(value: Any) -> str:
    """What a JSON value is, in the words of the Lexicon language."""
    kinds = {bool: "boolean", int: "integer", float: "float", str: "string", list: "array", dict: "object"}
    article = {"integer": "an integer", "array": "an array", "object": "an object"}
    if value is None:
        return "null"
    kind = kinds.get(type(value), type(value).__name__)
    return article.get(kind, f"a {kind}")
