"""Text of strangers can't act on the terminal, and styles follow the stream and the environment."""

import io
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atdata.cli.terminal import Colour, Style, safe, shorten, size_of, style_of, table, wrap


class _Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


class _AsciiTerminal(_Terminal):
    encoding = "ascii"


@given(st.text())
def test_safe_text_holds_no_control_characters(text: str) -> None:
    """Whatever comes in, nothing that a terminal acts on comes out: no escape, no override, no surrogate."""
    shown = safe(text)

    assert not any(unicodedata.category(character) in {"Cc", "Cs", "Zl", "Zp"} for character in shown)
    assert not set(shown) & set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff")


@given(st.text(alphabet=st.characters(categories=["L", "N", "P", "S", "Zs"])))
def test_safe_leaves_ordinary_text_alone(text: str) -> None:
    """Letters, marks and symbols of every script stay as they are."""
    assert safe(text) == text


def test_safe_shows_escapes_readably() -> None:
    """What is hidden is shown in the form that Python programmers know."""
    assert safe("a\x1b[31mred\u202e") == "a\\x1b[31mred\\u202e"
    assert safe("a\nb", keep="\n") == "a\nb"


@given(st.text(), st.integers(10, 100), st.integers(1, 6))
def test_wrapped_text_keeps_its_bounds(text: str, width: int, lines: int) -> None:
    """Never more lines than asked for, and none that is wider, however long the text."""
    wrapped = wrap(text * 50, width=width, lines=lines)

    assert 1 <= len(wrapped) <= lines
    assert all(len(line) <= width or line.startswith("…") for line in wrapped)


def test_what_is_copied_is_left_in_one_piece() -> None:
    """A URI that is broken in two is of no use; words are still wrapped, and the whole is still bounded."""
    uri = "at://did:plc:kakaipgnpfi7etdywhc5ibdn/app.bsky.atdata.dataset/3n2w2odqtpghh"

    assert wrap(uri, width=40, lines=2, whole=True) == [uri]
    assert wrap(f"see {uri}", width=40, lines=2, whole=True) == ["see", uri]
    assert wrap("x" * 1000, width=40, lines=2, whole=True)[-1] == "… (1,000 characters)"


def test_wrap_says_what_is_missing() -> None:
    """A text that is cut short says how long it is."""
    assert wrap("word " * 1000, width=20, lines=3)[-1] == "… (5,000 characters)"


def test_shorten_marks_the_cut() -> None:
    """The last character is an ellipsis only where something is missing."""
    assert shorten("abcdef", 4) == "abc…"
    assert shorten("abcd", 4) == "abcd"


def test_table_aligns_columns() -> None:
    """Each column is as wide as its widest cell, without blanks at the ends of lines."""
    assert table([["a", "bb", "c"], ["ccc", "d", "e"]], header=["x", "y", "z"]) == [
        "x    y   z",
        "a    bb  c",
        "ccc  d   e",
    ]
    assert table([]) == []


@pytest.mark.parametrize(
    ("count", "shown"),
    [(0, "0 bytes"), (999, "999 bytes"), (1000, "1.0 kB"), (5_242_880, "5.2 MB"), (10**16, "10000.0 TB")],
)
def test_sizes_are_decimal(count: int, shown: str) -> None:
    """Sizes are in decimal units, as disks and networks count."""
    assert size_of(count) == shown


def test_a_pipe_gets_no_colour() -> None:
    """What is not a terminal gets neither colour nor a width that depends on one."""
    assert (
        style_of(io.TextIOWrapper(io.BytesIO(), encoding="utf-8"), {"TERM": "xterm", "COLORTERM": "truecolor"})
        == Style()
    )


@pytest.mark.parametrize(
    ("environment", "colour"),
    [
        ({"TERM": "xterm-256color", "COLORTERM": "truecolor"}, Colour.FULL),
        ({"TERM": "xterm-256color"}, Colour.PALETTE),
        ({"TERM": "xterm-256color", "COLORTERM": "truecolor", "NO_COLOR": "1"}, Colour.NONE),
        ({"TERM": "dumb"}, Colour.NONE),
        ({}, Colour.NONE),
    ],
)
def test_colour_follows_the_environment(environment: dict[str, str], colour: Colour) -> None:
    """24 bits where the terminal announces them, the palette of 256 otherwise, none with ``NO_COLOR``."""
    assert style_of(_Terminal(), environment).colour is colour


def test_a_terminal_without_unicode_gets_ascii() -> None:
    """Block characters go only where the encoding has them."""
    assert not style_of(_AsciiTerminal(), {"TERM": "xterm"}).unicode
