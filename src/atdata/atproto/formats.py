"""The string formats of the Lexicon language: ``at-uri``, ``cid``, ``datetime`` and the rest.

Most are the names of ATProto, which `atdata.syntax` parses; a record has them in their one long form, without the
short forms that people may type. Source: https://atproto.com/specs/lexicon#string-formats
"""

import re
from collections.abc import Callable
from datetime import date
from types import MappingProxyType
from typing import Final

from atdata.atproto.problems import Problem, quoted
from atdata.errors import InvalidSyntaxError
from atdata.syntax import parse_at_uri, parse_cid, parse_did, parse_handle, parse_nsid, parse_record_key, parse_tid

_MAX_DATETIME = 64  # characters
_MAX_URI = 8192  # bytes
_MAX_CID = 128  # characters, as in the reference implementation

_DATETIME = re.compile(
    r"(\d{4})-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])T(?:[01]\d|2[0-3]):[0-5]\d:(?:[0-5]\d|60)(?:\.\d+)?"
    r"(?:Z|[+-](?:[01]\d|2[0-3]):[0-5]\d)",
    re.ASCII,
)
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:(?://)?[^\s/]\S*")
# CIDv1 in base32, raw or dag-cbor, sha-256: nearly all that records hold. 288 bits: two bits of the last letter are 0.
_USUAL_CID = re.compile(r"baf[ky]rei[a-h][a-z2-7]{50}[aeimquy4]")
_LANGUAGE = re.compile(  # RFC 5646, section 2.1: langtag, private use; irregular grandfathered tags stand after it
    r"(?:[a-z]{2,3}(?:-[a-z]{3}){0,3}|[a-z]{4,8})(?:-[a-z]{4})?(?:-(?:[a-z]{2}|\d{3}))?"
    r"(?:-(?:[a-z0-9]{5,8}|\d[a-z0-9]{3}))*(?:-[0-9a-wy-z](?:-[a-z0-9]{2,8})+)*(?:-x(?:-[a-z0-9]{1,8})+)?"
    r"|x(?:-[a-z0-9]{1,8})+"
    r"|en-gb-oed|i-(?:ami|bnn|default|enochian|hak|klingon|lux|mingo|navajo|pwn|tao|tay|tsu)|sgn-(?:be-fr|be-nl|ch-de)"
    r"|art-lojban|cel-gaulish|no-bok|no-nyn|zh-(?:guoyu|hakka|min|min-nan|xiang)",
    re.IGNORECASE | re.ASCII,
)


def _named(parse: Callable[[str], object]) -> Callable[[str], Problem | None]:
    def check(value: str) -> Problem | None:
        try:
            parse(value)
        except InvalidSyntaxError as error:
            return Problem(str(error))
        return None

    return check


def _full_handle(value: str) -> object:
    if value.startswith("@"):
        raise InvalidSyntaxError(f"{quoted(value)} is not a valid handle: it begins with '@'", value=value)
    return parse_handle(value)


def _identifier(value: str) -> object:
    return parse_did(value) if value.startswith("did:") else _full_handle(value)


def _full_at_uri(value: str) -> object:
    uri = parse_at_uri(value)
    if str(uri).lower() != value.lower():
        raise InvalidSyntaxError(f"{quoted(value)} is a short form; a record names {str(uri)!r} in full", value=value)
    return uri


def _cid(value: str) -> object:
    if _USUAL_CID.fullmatch(value):
        return value
    if len(value) > _MAX_CID:
        raise InvalidSyntaxError(
            f"{quoted(value)} has more than {_MAX_CID} characters, too many for a CID", value=value
        )
    return parse_cid(value)


def _datetime(value: str) -> Problem | None:
    match = _DATETIME.fullmatch(value) if len(value) <= _MAX_DATETIME else None
    if match is None or value.endswith("-00:00"):
        return Problem(f"{quoted(value)} is not a datetime: write it as in 2026-01-07T12:00:00Z, with a time zone")
    year, month, day = map(int, match.groups())
    try:
        date(year or 4, month, day)  # the year 0000 is allowed, Python has none; 4 is a leap year as well
    except ValueError:
        return Problem(f"{quoted(value)} is not a datetime: there is no such day")
    return None


def _uri(value: str) -> Problem | None:
    if not _URI.fullmatch(value):
        return Problem(f"{quoted(value)} is not a URI: it needs a scheme, as in https://, and has no white space")
    if len(value.encode()) > _MAX_URI:
        return Problem(f"the URI has more than {_MAX_URI:,} bytes")
    return None


def _language(value: str) -> Problem | None:
    return None if _LANGUAGE.fullmatch(value) else Problem(f"{quoted(value)} is not a BCP 47 language tag")


FORMATS: Final = MappingProxyType(
    {
        "at-identifier": _named(_identifier),
        "at-uri": _named(_full_at_uri),
        "cid": _named(_cid),
        "datetime": _datetime,
        "did": _named(parse_did),
        "handle": _named(_full_handle),
        "language": _language,
        "nsid": _named(parse_nsid),
        "record-key": _named(parse_record_key),
        "tid": _named(parse_tid),
        "uri": _uri,
    }
)
