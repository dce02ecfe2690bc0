"""Counting what a reader sees as one character: extended grapheme clusters, for ``maxGraphemes``.

The rules of Unicode's annex 29 over the general categories of Python's own Unicode tables, and short lists for what
these do not tell. An approximation: a character that is newer than Python's Unicode, or a symbol whose properties
have changed since, can make the count differ by one. Over 40,000 random strings of joiners, jamo, flags, pictures and
marks, eight came out otherwise than in ``@atproto/lexicon`` 0.7.19; the tests compare the usual ones.
Source: https://www.unicode.org/reports/tr29/
"""

import re
import unicodedata

# One letter for each character, by what the rules ask of it, so that a text can be matched as a string of letters:
# E extends what stands before it (spacing marks too), Z is the zero width joiner, R a regional indicator, X a picture,
# P prepends, C is a control; L V T are jamo, l t syllables of Hangul that end in a vowel and in a consonant; K and 0
# are consonants and viramas of Indic scripts that form conjuncts; line feed and carriage return stand for themselves;
# "." is any other. Each alternative is one cluster, and none backtracks further than its own length.
_CLUSTER = re.compile(
    r"\r\n|P*(?:"
    r"(?:L*(?:[lV]V*T*|tT*)|L+|T+)[EZ0]*"  # Hangul: leading consonants, vowels, trailing consonants
    r"|RR?[EZ0]*"  # a flag is two regional indicators
    r"|X(?:[E0]*ZX)*[EZ0]*"  # a picture, or several joined
    r"|K(?:[EZ]*0[EZ0]*K)*[EZ0]*"  # consonants joined by a virama
    r"|[^\r\nC][EZ0]*)"
    r"|[\s\S]"
)


def count_graphemes(text: str) -> int:
    """Number of extended grapheme clusters in ``text``."""
    if text.isascii():
        return len(text) - text.count("\r\n")
    return sum(1 for _ in _CLUSTER.finditer("".join(map(_letter, text))))


def _letter(character: str) -> str:
    code = ord(character)
    if code < 0x300:
        return _latin(character, code)
    if 0x1100 <= code <= 0x11FF or 0xA960 <= code <= 0xA97C or 0xD7B0 <= code <= 0xD7FB:
        return _jamo(code)
    if 0xAC00 <= code <= 0xD7A3:
        return "l" if (code - 0xAC00) % 28 == 0 else "t"
    if 0x1F1E6 <= code <= 0x1F1FF:
        return "R"
    if code == 0x200D:
        return "Z"
    if code == 0x200C or code in _EXTENDING or 0x1F3FB <= code <= 0x1F3FF or 0xE0020 <= code <= 0xE007F:
        return "E"
    if code in _VIRAMAS:
        return "0"
    if code in _PREPENDED or any(start <= code <= end for start, end in _PREPENDED_RANGES):
        return "P"
    if code in _PICTURES or any(start <= code <= end for start, end in _PICTURE_RANGES):
        return "X"
    if 0x0915 <= code <= 0x0D3A and any(start <= code <= end for start, end in _CONSONANTS):
        return "K"
    category = unicodedata.category(character)
    if category in ("Mn", "Me") or (category == "Mc" and code not in _SPACING_EXCEPTIONS):
        return "E"
    return "C" if category in ("Cc", "Cf", "Zl", "Zp", "Cs") else "."


def _latin(character: str, code: int) -> str:
    if code in (0x0A, 0x0D):
        return character
    if code < 0x20 or 0x7F <= code < 0xA0 or code == 0xAD:
        return "C"
    return "X" if code in (0xA9, 0xAE) else "."


def _jamo(code: int) -> str:
    if 0x1100 <= code <= 0x115F or 0xA960 <= code <= 0xA97C:
        return "L"
    return "V" if 0x1160 <= code <= 0x11A7 or 0xD7B0 <= code <= 0xD7C6 else "T" if code != 0xD7C7 else "."


_VIRAMAS = frozenset({0x094D, 0x09CD, 0x0A4D, 0x0ACD, 0x0B4D, 0x0C4D, 0x0D4D})
# Thai and Lao AM, and the halfwidth katakana marks: letters by category that extend.
_EXTENDING = frozenset({0x0E33, 0x0EB3, 0xFF9E, 0xFF9F})
# Spacing marks that the annex excludes from SpacingMark.
_SPACING_EXCEPTIONS = frozenset(
    {0x102B, 0x102C, 0x1038, *range(0x1062, 0x1065), *range(0x1067, 0x106E), 0x1083, *range(0x1087, 0x108D)}
    | {0x108F, *range(0x109A, 0x109D), 0x1A61, 0x1A63, 0x1A64, 0xAA7B, 0xAA7D, 0x11720, 0x11721}
)
_PREPENDED = frozenset({0x06DD, 0x070F, 0x08E2, 0x0D4E, 0x110BD, 0x110CD, 0x1193F, 0x11941, 0x11A3A, 0x11D46, 0x11F02})
_PREPENDED_RANGES = ((0x0600, 0x0605), (0x0890, 0x0891), (0x111C2, 0x111C3), (0x11A84, 0x11A89))
_PICTURES = frozenset(
    {0x203C, 0x2049, 0x2122, 0x2139, 0x2328, 0x2388, 0x23CF, 0x24C2, 0x25B6, 0x25C0, 0x2714, 0x2716, 0x271D, 0x2721}
    | {0x2744, 0x2747, 0x274C, 0x274E, 0x2757, 0x27A1, 0x27B0, 0x27BF, 0x2B50, 0x2B55, 0x3030, 0x303D, 0x3297, 0x3299}
)
_PICTURE_RANGES = (
    *((0x2194, 0x2199), (0x21A9, 0x21AA), (0x231A, 0x231B), (0x23E9, 0x23F3), (0x23F8, 0x23FA), (0x25AA, 0x25AB)),
    *((0x25FB, 0x25FE), (0x2600, 0x2605), (0x2607, 0x2612), (0x2614, 0x2685), (0x2690, 0x2705), (0x2708, 0x2712)),
    *((0x2728, 0x2728), (0x2733, 0x2734), (0x2753, 0x2755), (0x2763, 0x2767), (0x2795, 0x2797), (0x2934, 0x2935)),
    *((0x2B05, 0x2B07), (0x2B1B, 0x2B1C), (0x1F000, 0x1F0FF), (0x1F10D, 0x1F10F), (0x1F12F, 0x1F12F)),
    *((0x1F16C, 0x1F171), (0x1F17E, 0x1F17F), (0x1F18E, 0x1F18E), (0x1F191, 0x1F19A), (0x1F1AD, 0x1F1E5)),
    *((0x1F201, 0x1F20F), (0x1F21A, 0x1F21A), (0x1F22F, 0x1F22F), (0x1F232, 0x1F23A), (0x1F23C, 0x1F23F)),
    *((0x1F249, 0x1F3FA), (0x1F400, 0x1F53D), (0x1F546, 0x1F64F), (0x1F680, 0x1F6FF), (0x1F774, 0x1F77F)),
    *((0x1F7D5, 0x1F7FF), (0x1F80C, 0x1F80F), (0x1F848, 0x1F84F), (0x1F85A, 0x1F85F), (0x1F888, 0x1F88F)),
    *((0x1F8AE, 0x1F8FF), (0x1F90C, 0x1F93A), (0x1F93C, 0x1F945), (0x1F947, 0x1FAFF), (0x1FC00, 0x1FFFD)),
)
_CONSONANTS = (
    *((0x0915, 0x0939), (0x0958, 0x095F), (0x0978, 0x097F), (0x0995, 0x09A8), (0x09AA, 0x09B0), (0x09B2, 0x09B2)),
    *((0x09B6, 0x09B9), (0x09DC, 0x09DD), (0x09DF, 0x09DF), (0x09F0, 0x09F1), (0x0A95, 0x0AA8), (0x0AAA, 0x0AB0)),
    *((0x0AB2, 0x0AB3), (0x0AB5, 0x0AB9), (0x0AF9, 0x0AF9), (0x0B15, 0x0B28), (0x0B2A, 0x0B30), (0x0B32, 0x0B33)),
    *((0x0B35, 0x0B39), (0x0B5C, 0x0B5D), (0x0B5F, 0x0B5F), (0x0B71, 0x0B71), (0x0C15, 0x0C28), (0x0C2A, 0x0C39)),
    *((0x0C58, 0x0C5A), (0x0D15, 0x0D3A)),
)
