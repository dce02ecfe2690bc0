"""Counting graphemes."""

import itertools

import pytest
from tests.atproto.reference import ask_reference

from atdata.atproto.graphemes import count_graphemes


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("", 0),
        ("digits", 6),
        ("a\r\nb", 3),
        ("\n\r", 2),
        ("e\u0301", 1),
        ("手書き", 3),
        ("한국어", 3),
        ("\u1112\u1161\u11ab", 1),
        ("🇩🇪🇫🇷", 2),
        ("🇩🇪🇫", 2),
        ("👩‍👩‍👧‍👦", 1),
        ("👍🏽", 1),
        ("❤️", 1),
        ("क्षि", 1),
        ("1️⃣", 1),
        ("\u0600\u0661", 1),
        ("e" + "\u0301" * 1000, 1),
    ],
)
def test_what_a_reader_sees_as_one_character_counts_once(text: str, count: int) -> None:
    """Marks, joined pictures, flags, Hangul, Indic conjuncts: one each."""
    assert count_graphemes(text) == count


@pytest.mark.network
def test_counts_as_the_reference_does() -> None:
    """All triples of the pieces that the rules speak of give the count of ``@atproto/lexicon``."""
    pieces = [*"a \n\r", "é", "e\u0301", "手", "👩", "\u200d", "\ufe0f", "🏽", "🇩", "🇪", "한", "하", "\u1112", "\u1161"]
    pieces += ["\u11ab", "क", "\u094d", "\u093f", "\u0e33", "\u0600", "\u20e3", "❤", "\u200b"]
    texts = ["".join(triple) for triple in itertools.product(pieces, repeat=3)]

    expected = ask_reference(texts=texts).graphemes

    assert {text: count_graphemes(text) for text in texts} == dict(zip(texts, expected, strict=True))
