"""Brace notation, as in ``train-{000000..000009}.tar``: counted first, then expanded.

The notation is that of the ``braceexpand`` package, which webdataset uses, to the character; the tests hold this
module to it. What differs is what protects us: a pattern is parsed into ranges and choices of which no string has
been made yet, so that ``{0..99999999999}`` is counted, and refused, in microseconds.
"""

import itertools
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass

from atdata.errors import InvalidSyntaxError, LimitError
from atdata.redaction import shown

MAX_SHARDS = 100_000  # shards of one dataset; enough for 10 TB in shards of 100 MB
_MAX_DEPTH = 32  # nested braces; each level is one level of recursion
_MAX_DIGITS = 18  # of a number in a range; more cannot be meant, and int() of very many takes long

# These three are those of braceexpand, to the character: its quirks are part of existing use.
_INT_RANGE = re.compile(r"^(-?\d+)\.\.(-?\d+)(?:\.\.-?(\d+))?$")
_CHAR_RANGE = re.compile(r"^([A-Za-z])\.\.([A-Za-z])(?:\.\.-?(\d+))?$")
_ESCAPED = re.compile(r"\\(.)")
_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True, slots=True)
class _Numbers:
    """``{start..end..step}``: no string of it is made before it is asked for."""

    numbers: range
    width: int

    def strings(self) -> Iterator[str]:
        return (f"{number:0{self.width}d}" for number in self.numbers)


# A pattern is what stands one after the other; at each place one of some choices: fixed text (or letters), numbers,
# or patterns of their own.
_Pattern = tuple["_Item", ...]


@dataclass(frozen=True, slots=True)
class _Item:
    texts: str | tuple[str, ...] = ()
    numbers: _Numbers | None = None
    patterns: tuple[_Pattern, ...] = ()

    def count(self) -> int:
        if self.numbers is not None:
            return len(self.numbers.numbers)
        return len(self.texts) + sum(_count(pattern) for pattern in self.patterns)

    def strings(self) -> Iterator[str]:
        if self.numbers is not None:
            return self.numbers.strings()
        return itertools.chain(self.texts, *(_strings(pattern) for pattern in self.patterns))


def _count(pattern: _Pattern) -> int:
    return math.prod(item.count() for item in pattern)


def _strings(pattern: _Pattern) -> Iterator[str]:
    return map("".join, itertools.product(*(item.strings() for item in pattern)))


def _parse_pattern(pattern: str, depth: int) -> _Pattern:
    if depth > _MAX_DEPTH:
        raise LimitError(f"braces nested deeper than {_MAX_DEPTH}", limit=_MAX_DEPTH)
    start = position = level = 0
    items: list[_Item] = []
    while position < len(pattern):
        character = pattern[position]
        if character == "\\":
            position += 2
            continue
        if character == "{":
            if level == 0 and position > start:
                items.append(_Item(texts=(pattern[start:position],)))
                start = position
            level += 1
        elif character == "}":
            level -= 1
            if level == 0:
                items.extend(_parse_braces(pattern[start + 1 : position], depth))
                start = position + 1
        position += 1
    if level != 0:
        raise InvalidSyntaxError(f"unbalanced braces in {shown(pattern)}", value=pattern)
    if start < position:
        items.append(_Item(texts=(pattern[start:],)))
    return tuple(items)


def _parse_braces(inside: str, depth: int) -> list[_Item]:
    if match := _INT_RANGE.match(inside):
        return [_Item(numbers=_int_range(*match.groups()))]
    if match := _CHAR_RANGE.match(inside):
        return [_Item(texts=_char_range(*match.groups()))]
    parts = _split_commas(inside)
    if len(parts) > 1:
        return [_Item(patterns=tuple(_parse_pattern(part, depth + 1) for part in parts))]
    return [_Item(texts=("{",)), _Item(patterns=(_parse_pattern(inside, depth + 1),)), _Item(texts=("}",))]


def _split_commas(inside: str) -> list[str]:
    """The parts between commas outside of inner braces; one part where braces are unbalanced, as in braceexpand."""
    start = position = level = 0
    parts = []
    while position < len(inside):
        character = inside[position]
        if character == "\\":
            position += 2
            continue
        level += (character == "{") - (character == "}")
        if character == "," and level == 0:
            parts.append(inside[start:position])
            start = position + 1
        position += 1
    return [inside] if level != 0 else [*parts, inside[start:]]


def _int_range(start: str, end: str, step: str | None) -> _Numbers:
    longest = max(start.lstrip("-"), end.lstrip("-"), step or "", key=len)
    if len(longest) > _MAX_DIGITS:
        raise LimitError(f"the number {longest[:24]} of a range has more than {_MAX_DIGITS} digits", limit=_MAX_DIGITS)
    padded = any(text.startswith(("0", "-0")) for text in (start, end) if text not in ("0", "-0"))
    width = max(len(start), len(end)) if padded else 0
    first, last, stride = int(start), int(end), int(step or 1) or 1
    return _Numbers(range(first, last + 1, stride) if first < last else range(first, last - 1, -stride), width)


def _char_range(start: str, end: str, step: str | None) -> str:
    stride = (int(step or 1) or 1) if len(step or "") <= _MAX_DIGITS else len(_ALPHABET)
    first, last = _ALPHABET.index(start), _ALPHABET.index(end)
    if first < last:
        return _ALPHABET[first : last + 1 : stride]
    return _ALPHABET[first : (last or -len(_ALPHABET)) - 1 : -stride]


def count_braces(url: str) -> int:
    """How many URLs brace notation stands for, without making them.

    Raises:
        InvalidSyntaxError: The braces are not balanced.
        LimitError: Braces are nested more than 32 deep, or a number has more than 18 digits.

    Example:
        >>> count_braces("{0..99999999999}.tar")
        100000000000
    """
    return _count(_parse_pattern(url, 0))


def expand(url: str, *, limit: int = MAX_SHARDS) -> list[str]:
    """The URLs that brace notation stands for, in the order of ``braceexpand``.

    Raises:
        InvalidSyntaxError: The braces are not balanced.
        LimitError: There would be more than ``limit``; nothing has been expanded then.

    Example:
        >>> expand("s3://bucket/{train-{00..01},test}.tar")
        ['s3://bucket/train-00.tar', 's3://bucket/train-01.tar', 's3://bucket/test.tar']
    """
    pattern = _parse_pattern(url, 0)
    count = _count(pattern)
    if count > limit:
        raise LimitError(f"{shown(url)} stands for {count:,} shards, at most {limit:,} are allowed", limit=limit)
    return [_ESCAPED.sub(r"\1", text) if "\\" in text else text for text in _strings(pattern)]
