"""Brace notation: the same as webdataset's, counted before it is expanded."""

import time

import pytest
from braceexpand import braceexpand
from hypothesis import given, settings
from hypothesis import strategies as st

from atdata.errors import InvalidSyntaxError, LimitError
from atdata.storage.braces import MAX_SHARDS, count_braces, expand

PIECES = ["{", "}", ",", "..", "0", "1", "07", "-", "a", "e", "Z", "\\", "x", "\n", "{a..e}", "{01..03}", "{3..-2..2}"]


@settings(max_examples=400, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=12).map("".join))
def test_is_the_notation_of_braceexpand(pattern: str) -> None:
    """Same strings in the same order, the same patterns refused; and as many as were counted."""
    try:
        count = count_braces(pattern)
    except InvalidSyntaxError:
        with pytest.raises(ValueError):
            list(braceexpand(pattern))
        return
    if count <= 2000:
        expected = list(braceexpand(pattern))

        assert expand(pattern) == expected
        assert count == len(expected)


@pytest.mark.parametrize(
    "pattern",
    [
        "s3://bucket/data-{000000..000009}.tar",
        "{a,b}-{1..3}",
        "{9..007}",
        "{-01..10..3}",
        "{0..10..-4}",
        "{e..a..2}",
        "{Z..a}",
        "{b..A}",
        "{x,{1..3},{p,q}{r,s}}",
        "{}",
        "{single}",
        r"\{1,2\}",
        r"a\,{b\,c,d}",
        "a\\",
        "{1..5..0}",
        "",
        "}{",
    ],
)
def test_examples(pattern: str) -> None:
    """Zero padding, steps, letters, nesting, escapes, and what is no range."""
    assert expand(pattern) == list(braceexpand(pattern))


@pytest.mark.parametrize(
    ("pattern", "count"),
    [
        ("{0..99999999999}", 100_000_000_000),
        ("{0..99999}{0..99999}{0..99999}", 10**15),
        ("{{0..999999},{0..999999}}{a,b}", 4_000_000),
        ("{a,b}" * 200, 2**200),
        ("{-999999999999999999..999999999999999999}", 2 * 10**18 - 1),
    ],
)
def test_counts_without_expanding(pattern: str, count: int) -> None:
    """However many there would be, counting and refusing take no time and no memory."""
    began = time.perf_counter()

    assert count_braces(pattern) == count
    with pytest.raises(LimitError, match=f"{count:,}") as caught:
        expand(pattern)
    assert caught.value.limit == MAX_SHARDS
    assert time.perf_counter() - began < 0.5


@pytest.mark.parametrize(
    "pattern", ["{" * 1000 + "a,b" + "}" * 1000, "{0.." + "9" * 5000 + "}", "{1..2.." + "1" * 50 + "}"]
)
def test_what_takes_long_to_parse_is_refused(pattern: str) -> None:
    """Deep nesting and numbers of thousands of digits."""
    with pytest.raises(LimitError):
        count_braces(pattern)


@pytest.mark.parametrize("pattern", ["{1..3", "a}", "{a,{b}", "}}"])
def test_unbalanced_braces_are_refused(pattern: str) -> None:
    """As braceexpand does, with a ValueError."""
    with pytest.raises(ValueError, match="unbalanced"):
        expand(pattern)


def test_limit_is_inclusive() -> None:
    """Exactly as many as the limit are allowed."""
    assert len(expand("{1..10}", limit=10)) == 10
    with pytest.raises(LimitError):
        expand("{1..11}", limit=10)
