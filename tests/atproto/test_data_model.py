"""What any record may hold."""

import math
from typing import Any

import pytest

from atdata.atproto.dagcbor import MAX_DEPTH
from atdata.atproto.data_model import find_data_problem


@pytest.mark.parametrize(
    ("value", "path", "words"),
    [
        ({"a": [1, {"b": 0.5}]}, ".a[1].b", "float"),
        ({"a": 1.0}, ".a", "float"),
        ({"a": math.nan}, ".a", "float"),
        ({"a": 2**53}, ".a", "2**53"),
        ({"a": -(2**53)}, ".a", "2**53"),
        ({"a": "\ud800"}, ".a", "surrogate"),
        ({"\udc00": 1}, "", "surrogate"),
        ({"a": {7: 1}}, ".a", "keys are strings"),
        ({"a": b"bytes"}, ".a", "bytes"),
        ({"k" * 10_000: 0.5}, f".{'k' * 80}…", "float"),
    ],
)
def test_what_no_record_can_hold_is_found_with_its_path(value: Any, path: str, words: str) -> None:
    """Floats, great integers, text that is not Unicode, other keys and types, at any depth."""
    problem = find_data_problem(value)

    assert problem is not None
    assert problem.path == path
    assert words in problem.message


def test_the_values_of_json_are_fine() -> None:
    """Text, integers to 2**53 - 1, booleans, null, arrays and objects."""
    assert find_data_problem({"a": ["é", 2**53 - 1, -(2**53) + 1, True, None, {"b": []}]}) is None


@pytest.mark.parametrize("container", ["array", "object"])
def test_nesting_has_a_limit(container: str) -> None:
    """A value nested 100,000 deep is refused without using the stack for it."""
    value: Any = 0
    for _ in range(100_000):
        value = [value] if container == "array" else {"a": value}

    problem = find_data_problem(value)

    assert problem is not None
    assert f"{MAX_DEPTH}" in problem.message
