"""Records as DAG-CBOR: the one form whose sha-256 is a record's CID.

JSON <-> DAG-CBOR of the ATProto data model, with ``{"$link": CID}`` for links and ``{"$bytes": base64}`` for bytes.
Ours, and not that of libipld, since libipld writes any bytes that look like a CID as a link, and reads links as bytes:
the CIDs of such records would differ from those of a PDS. Nothing here knows a lexicon.

Sources: https://ipld.io/specs/codecs/dag-cbor/spec/, https://atproto.com/specs/data-model
"""

import base64
import binascii
import hashlib
from collections.abc import Mapping
from typing import Any

import libipld

from atdata.errors import InvalidRecordError, InvalidSyntaxError
from atdata.syntax import DAG_CBOR, SHA2_256, Cid, parse_cid

MAX_INTEGER = 2**53 - 1  # the greatest that every JSON reader keeps exact, JavaScript's included
MAX_DEPTH = 100  # levels of nesting; far more than any lexicon has, far fewer than Python's stack
_LINK_TAG = 42  # https://github.com/ipld/cid-cbor

_UNSIGNED, _NEGATIVE, _BYTES, _TEXT, _ARRAY, _MAP, _TAG, _SIMPLE = range(8)  # RFC 8949, section 3.1
_FALSE, _TRUE, _NULL = b"\xf4", b"\xf5", b"\xf6"


def record_cid(value: Mapping[str, Any]) -> Cid:
    """The CID that a repository gives to a record: CIDv1, dag-cbor, sha-256.

    Raises:
        InvalidRecordError: The value has no DAG-CBOR form; the path says where.
    """
    return block_cid(encode_record(value))


def block_cid(block: bytes) -> Cid:
    """The CID of bytes that are DAG-CBOR."""
    return Cid(1, DAG_CBOR, SHA2_256, hashlib.sha256(block).digest())


def encode_record(value: Mapping[str, Any]) -> bytes:
    """Write a record's JSON value as canonical DAG-CBOR: the same value gives the same bytes.

    Raises:
        InvalidRecordError: A float, an integer beyond 2**53 - 1, a wrong ``$link`` or ``$bytes``, a key that is no
            string, text that is not Unicode, another type, or nesting beyond `MAX_DEPTH`; the path says where.
    """
    out = bytearray()
    _encode(value, out, "", 0)
    return bytes(out)


def decode_record(block: bytes) -> dict[str, Any]:
    """Read a DAG-CBOR block back into a record's JSON value. The inverse of `encode_record`.

    Raises:
        InvalidRecordError: It is not one DAG-CBOR map in canonical form.
    """
    try:
        value, end = _decode(block, 0, 0)
        if end == len(block) and isinstance(value, dict) and encode_record(value) == block:
            return value
    except (IndexError, ValueError) as error:
        raise InvalidRecordError(f"the block is not DAG-CBOR of a record: {error}") from error
    raise InvalidRecordError("the block is not one record in canonical DAG-CBOR")


def _encode(value: Any, out: bytearray, path: str, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise InvalidRecordError(f"nested more than {MAX_DEPTH} levels deep", path=path)
    if value is None:
        out += _NULL
    elif isinstance(value, bool):
        out += _TRUE if value else _FALSE
    elif isinstance(value, int):
        _encode_integer(value, out, path)
    elif isinstance(value, str):
        text = _utf8(value, path)
        out += _head(_TEXT, len(text)) + text
    elif isinstance(value, Mapping):
        _encode_map(value, out, path, depth)
    elif isinstance(value, list | tuple):
        out += _head(_ARRAY, len(value))
        for number, item in enumerate(value):
            _encode(item, out, f"{path}[{number}]", depth + 1)
    elif isinstance(value, float):
        raise InvalidRecordError(f"{value!r} is a float, which records cannot hold; write a string", path=path)
    else:
        raise InvalidRecordError(f"a value of type {type(value).__name__} cannot be part of a record", path=path)


def _encode_integer(value: int, out: bytearray, path: str) -> None:
    if abs(value) > MAX_INTEGER:
        raise InvalidRecordError(f"{value:,} is beyond 2**53 - 1, the greatest integer of records", path=path)
    out += _head(_UNSIGNED, value) if value >= 0 else _head(_NEGATIVE, -1 - value)


def _encode_map(value: Mapping[str, Any], out: bytearray, path: str, depth: int) -> None:
    if len(value) == 1 and isinstance(link := value.get("$link"), str):
        try:
            cid = bytes(parse_cid(link))
        except InvalidSyntaxError as error:
            raise InvalidRecordError(str(error), path=f"{path}.$link".lstrip(".")) from error
        out += _head(_TAG, _LINK_TAG) + _head(_BYTES, len(cid) + 1) + b"\0" + cid
        return
    if len(value) == 1 and isinstance(encoded := value.get("$bytes"), str):
        data = _from_base64(encoded, path)
        out += _head(_BYTES, len(data)) + data
        return
    for key in value:
        if not isinstance(key, str):
            raise InvalidRecordError(f"the key {key!r} is not a string", path=path)
    out += _head(_MAP, len(value))
    # The order that DAG-CBOR asks for: shorter keys first, then by bytes.
    for text, key in sorted(((_utf8(key, path), key) for key in value), key=lambda pair: (len(pair[0]), pair[0])):
        out += _head(_TEXT, len(text)) + text
        _encode(value[key], out, f"{path}.{key}" if path else key, depth + 1)


def _utf8(value: str, path: str) -> bytes:
    try:
        return value.encode()
    except UnicodeEncodeError as error:
        raise InvalidRecordError("the text holds a lone surrogate, which is not Unicode", path=path) from error


def _from_base64(encoded: str, path: str) -> bytes:
    try:
        return base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except binascii.Error as error:
        raise InvalidRecordError("'$bytes' is not base64", path=path) from error


def _head(major: int, number: int) -> bytes:
    if number < 24:
        return bytes([major << 5 | number])
    for code, size in ((24, 1), (25, 2), (26, 4)):
        if number < 1 << 8 * size:
            return bytes([major << 5 | code]) + number.to_bytes(size, "big")
    return bytes([major << 5 | 27]) + number.to_bytes(8, "big")


def _decode(block: bytes, at: int, depth: int) -> tuple[Any, int]:
    if depth > MAX_DEPTH:
        raise ValueError(f"nested more than {MAX_DEPTH} levels deep")
    major, code = block[at] >> 5, block[at] & 31
    if major == _SIMPLE:
        simple = {0xF4: False, 0xF5: True, 0xF6: None}
        if block[at] not in simple:
            raise ValueError(f"byte 0x{block[at]:02x} begins a float or another value that records cannot hold")
        return simple[block[at]], at + 1
    number, at = _number(block, at, code)
    if major == _UNSIGNED:
        return number, at
    if major == _NEGATIVE:
        return -1 - number, at
    if major in (_BYTES, _TEXT):
        data = _take(block, at, number)
        if major == _TEXT:
            return data.decode(), at + number
        return {"$bytes": base64.b64encode(data).decode().rstrip("=")}, at + number
    if major == _TAG:
        return _decode_link(block, at, number)
    if number > len(block) - at:
        raise ValueError("it ends too early")
    if major == _ARRAY:
        items = []
        for _ in range(number):
            item, at = _decode(block, at, depth + 1)
            items.append(item)
        return items, at
    entries = {}
    for _ in range(number):
        key, at = _decode(block, at, depth + 1)
        if not isinstance(key, str):
            raise ValueError("a key is not a string")
        entries[key], at = _decode(block, at, depth + 1)
    return entries, at


def _number(block: bytes, at: int, code: int) -> tuple[int, int]:
    if code < 24:
        return code, at + 1
    if code > 27:
        raise ValueError("a length is not definite")
    size = 1 << code - 24
    return int.from_bytes(_take(block, at + 1, size), "big"), at + 1 + size


def _take(block: bytes, at: int, size: int) -> bytes:
    if size > len(block) - at:
        raise ValueError("it ends too early")
    return block[at : at + size]


def _decode_link(block: bytes, at: int, tag: int) -> tuple[dict[str, str], int]:
    if tag != _LINK_TAG or block[at] >> 5 != _BYTES:
        raise ValueError(f"tag {tag} is not a link")
    size, at = _number(block, at, block[at] & 31)
    data = _take(block, at, size)
    if data[:1] != b"\0":
        raise ValueError("a link does not start with its zero byte")
    return {"$link": str(libipld.encode_cid(data[1:]))}, at + size
