"""What the terminal can show, and strangers' text made safe for it.

Pure functions over strings and a `Style` value; `style_of` is the only one that looks at a stream and at the
environment. Pictures are `atdata.cli.pictures`, samples `atdata.cli.values`.
"""

import shutil
import textwrap
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TextIO

MAX_WIDTH = 100  # columns; longer lines of text are hard to read
_JOINERS = "\u200c\u200d"  # format characters that Persian, Indic scripts and emoji need
_ESCAPED = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}  # general categories of the Unicode Standard, chapter 4.5


class Colour(Enum):
    """How many colours the terminal shows."""

    NONE = "none"
    PALETTE = "256"
    FULL = "24 bit"


@dataclass(frozen=True, slots=True)
class Style:
    """What one output can show.

    Attributes:
        width: Columns.
        colour: Colours that it understands; `Colour.NONE` where it is no terminal.
        unicode: Whether block characters can be printed.
    """

    width: int = 80
    colour: Colour = Colour.NONE
    unicode: bool = True


def style_of(stream: TextIO, environment: Mapping[str, str]) -> Style:
    """What ``stream`` can show: colours only on a terminal, and never where ``NO_COLOR`` is set.

    Sources: https://no-color.org for ``NO_COLOR``; ``COLORTERM`` is how terminals announce 24-bit colour.
    """
    encoding = (stream.encoding or "ascii").lower().replace("-", "").replace("_", "")
    unicode = encoding.startswith("utf")
    if not stream.isatty():
        return Style(unicode=unicode)
    width = min(shutil.get_terminal_size().columns, MAX_WIDTH)
    term = environment.get("TERM", "")
    if environment.get("NO_COLOR") or term in ("", "dumb") or not unicode:
        colour = Colour.NONE
    elif environment.get("COLORTERM") in ("truecolor", "24bit") or term.endswith(("-direct", "-kitty")):
        colour = Colour.FULL
    else:
        colour = Colour.PALETTE
    return Style(width=max(width, 20), colour=colour, unicode=unicode)


def safe(text: str, *, keep: str = "") -> str:
    """Text with control and format characters shown as escapes, so that it can't act on the terminal or hide.

    Args:
        keep: Characters to leave as they are, such as a newline.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        character
        if character in keep or character in _JOINERS or unicodedata.category(character) not in _ESCAPED
        else _escape(character)
        for character in text
    )


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def shorten(text: str, limit: int) -> str:
    """At most ``limit`` characters, the last one an ellipsis where something is missing."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def wrap(text: str, *, width: int, lines: int, whole: bool = False) -> list[str]:
    """Safe lines of at most ``width`` characters, at most ``lines`` of them; the last one says what is missing.

    Args:
        whole: Leave words in one piece, URIs for example, also where one is longer than ``width``.
    """
    # Beyond this no line would be shown in any case; a text of megabytes is not wrapped for nothing.
    shown = text[: width * lines * 2]
    wrapped: list[str] = []
    for line in shown.splitlines() or [""]:
        wrapper = textwrap.TextWrapper(
            width, drop_whitespace=False, break_long_words=not whole, break_on_hyphens=not whole
        )
        wrapped += [part.rstrip() for part in wrapper.wrap(safe(line, keep="\t")) or [""]]
    if len(wrapped) > lines or len(shown) < len(text):
        wrapped = [*wrapped[: lines - 1], f"… ({len(text):,} characters)"]
    return wrapped


def table(rows: Sequence[Sequence[str]], *, header: Sequence[str] = ()) -> list[str]:
    """Columns padded to their widest cell, two spaces apart; the last column is not padded."""
    every = [header, *rows] if header else list(rows)
    if not every:
        return []
    widths = [max(len(row[column]) for row in every) for column in range(len(every[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in every]


def size_of(count: int) -> str:
    """A number of bytes for people, in decimal units."""
    size = float(count)
    for unit in ("bytes", "kB", "MB", "GB", "TB"):
        if size < 1000 or unit == "TB":
            break
        size /= 1000
    return f"{count:,} bytes" if unit == "bytes" else f"{size:.1f} {unit}"
