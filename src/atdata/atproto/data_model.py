"""What any record may hold, whatever its lexicon: no floats, small integers, Unicode text, string keys, few levels.

`atdata.atproto.lexicon` asks this first, so that what follows may recurse; `atdata.atproto.dagcbor` writes such values.
Source: https://atproto.com/specs/data-model
"""

from typing import Any

from atdata.atproto.dagcbor import MAX_DEPTH, MAX_INTEGER
from atdata.atproto.problems import Problem, kind_of


def find_data_problem(value: Any) -> Problem | None:
    """The first value in a JSON value that no record can hold."""
    return _find(value, 0)


def _find(value: Any, depth: int) -> Problem | None:
    kind = type(value)
    if kind is str:
        return None if value.isascii() else _find_in_text(value)
    if kind is int:
        if -MAX_INTEGER <= value <= MAX_INTEGER:
            return None
        return Problem("the integer is beyond 2**53 - 1, the greatest that a record can hold; write a string")
    if kind is dict:
        if depth >= MAX_DEPTH:
            return Problem(f"nested more than {MAX_DEPTH} levels deep")
        for key, item in value.items():
            if type(key) is not str:
                return Problem(f"the key {key!r} is {kind_of(key)}; keys are strings")
            if problem := _find_in_text(key):
                return problem
            if problem := _find(item, depth + 1):
                return problem.under_key(key)
        return None
    if kind is list:
        if depth >= MAX_DEPTH:
            return Problem(f"nested more than {MAX_DEPTH} levels deep")
        for index, item in enumerate(value):
            if problem := _find(item, depth + 1):
                return problem.under_index(index)
        return None
    if value is None or kind is bool:
        return None
    if kind is float:
        return Problem(f"{value!r} is a float, which a record cannot hold; write a string, or an integer of a unit")
    return Problem(f"a value of the Python type {kind.__name__} cannot be part of a record")


def _find_in_text(text: str) -> Problem | None:
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            return Problem("the text holds a lone surrogate, which is not Unicode")
    return None
