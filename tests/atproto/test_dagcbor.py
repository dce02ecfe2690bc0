"""Records have the CIDs that every other implementation gives them, and nothing ambiguous gets one."""

from typing import Any

import libipld
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atdata.atproto.dagcbor import MAX_DEPTH, MAX_INTEGER, block_cid, decode_record, encode_record, record_cid
from atdata.errors import InvalidRecordError

LINK = "bafyreidfayvfuwqa7qlnopdjiqrxzs6blmoeu4rujcjtnci5beludirz2a"

# The vectors "basic" and "ipld" of the reference implementation, packages/common/tests/interop-files in atproto.
BASIC = {
    "string": "abc",
    "unicode": "a~öñ©⽘☎𓋓😀👨‍👩‍👧‍👧",
    "integer": 123,
    "bool": True,
    "null": None,
    "array": ["abc", "def", "ghi"],
    "object": {"string": "abc", "number": 123, "bool": True, "arr": ["abc", "def", "ghi"]},
}
IPLD = {
    "a": {"$link": LINK},
    "b": {"$bytes": "nFERjvLLiw9qm45JrqH9QTzyC2Lu1Xb4ne6+sBrCzI0"},
    "c": {
        "$type": "blob",
        "ref": {"$link": "bafkreiccldh766hwcnuxnf2wh6jgzepf2nlu2lvcllt63eww5p6chi4ity"},
        "mimeType": "image/jpeg",
        "size": 10000,
    },
}

scalars = st.none() | st.booleans() | st.integers(-MAX_INTEGER, MAX_INTEGER) | st.text()
values = st.recursive(
    scalars, lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(), children, max_size=4)
)
records = st.dictionaries(st.text().filter(lambda key: not key.startswith("$")), values, max_size=6)


@pytest.mark.parametrize(
    ("value", "cid"),
    [
        (BASIC, "bafyreiclp443lavogvhj3d2ob2cxbfuscni2k5jk7bebjzg7khl3esabwq"),
        (IPLD, "bafyreihldkhcwijkde7gx4rpkkuw7pl6lbyu5gieunyc7ihactn5bkd2nm"),
    ],
)
def test_known_records_have_their_known_cids(value: dict[str, Any], cid: str) -> None:
    """The CIDs are those of the reference implementation, links, bytes and blobs included."""
    assert str(record_cid(value)) == cid
    assert decode_record(encode_record(value)) == value


def no_special_maps(value: Any) -> bool:
    if isinstance(value, dict):
        return not {"$link", "$bytes"} & value.keys() and all(map(no_special_maps, value.values()))
    return all(map(no_special_maps, value)) if isinstance(value, list) else True


@settings(max_examples=60)
@given(records.filter(no_special_maps))
def test_encoding_is_canonical_and_reversible(record: dict[str, Any]) -> None:
    """Decoding gives the value back, key order does not count, and libipld writes the same bytes."""
    block = encode_record(record)

    assert decode_record(block) == record
    assert encode_record(dict(reversed(record.items()))) == block
    assert bytes(libipld.encode_dag_cbor(record)) == block
    assert block_cid(block) == record_cid(record)


def test_bytes_that_look_like_a_cid_stay_bytes() -> None:
    """A ``$bytes`` value that happens to hold a CID is not turned into a link."""
    as_bytes = {"x": {"$bytes": "AXESIGUGKlpaAPwW1zxpRCN8y8Fa2E5yNEiTNokdCRdBojnQ"}}
    as_link = {"x": {"$link": LINK}}

    assert decode_record(encode_record(as_bytes)) == as_bytes
    assert decode_record(encode_record(as_link)) == as_link
    assert record_cid(as_bytes) != record_cid(as_link)


@pytest.mark.parametrize(
    ("value", "path", "why"),
    [
        ({"a": {"b": [1, 1.0]}}, "a.b[1]", "float"),
        ({"a": float("nan")}, "a", "float"),
        ({"a": 2**53}, "a", "2**53"),
        ({"a": -(2**53)}, "a", "2**53"),
        ({"a": {"$link": "nonsense!"}}, "a.$link", "not a valid CID"),
        ({"a": {"$bytes": "%%%"}}, "a", "base64"),
        ({"a": {1: 2}}, "a", "not a string"),
        ({"a": "\ud800"}, "a", "surrogate"),
        ({"a": b"raw"}, "a", "bytes"),
    ],
)
def test_what_no_record_can_hold_is_refused_with_its_path(value: dict[str, Any], path: str, why: str) -> None:
    """Each refusal says where and what."""
    with pytest.raises(InvalidRecordError) as caught:
        record_cid(value)

    assert caught.value.path == path
    assert why in str(caught.value)


def test_deep_nesting_is_refused_not_a_crash() -> None:
    """100,000 levels give an error in both directions."""
    value: Any = []
    for _ in range(100_000):
        value = [value]

    with pytest.raises(InvalidRecordError, match=f"more than {MAX_DEPTH} levels"):
        encode_record({"a": value})
    with pytest.raises(InvalidRecordError, match=f"more than {MAX_DEPTH} levels"):
        decode_record(b"\xa1\x61a" + b"\x81" * 100_000 + b"\x80")


@settings(max_examples=100)
@given(st.binary(max_size=60) | records.filter(no_special_maps).map(lambda record: encode_record(record)[:-1]))
def test_other_bytes_are_refused(block: bytes) -> None:
    """What is not one canonical record is an `InvalidRecordError`, never another exception."""
    try:
        value = decode_record(block)
    except InvalidRecordError:
        return
    assert encode_record(value) == block


@pytest.mark.parametrize(
    "block",
    [
        b"",
        b"\x01",  # an integer
        b"\xa1\x61a\xfb\x3f\xf0\0\0\0\0\0\0",  # a float
        b"\xa1\x61a\x18\x01",  # an integer written longer than needed
        b"\xa2\x61b\x01\x61a\x01",  # keys out of order
        b"\xbf\xff",  # a map of indefinite length
        b"\xa1\x01\x01",  # a key that is no string
        b"\xa1\x61a\xc1\x01",  # another tag
        b"\xa1\x61a\xd8\x2a\x41\x01",  # a link without its zero byte
        b"\xbb\xff\xff\xff\xff\xff\xff\xff\xff",  # a map of 2**64 entries
        b"\xa0\xa0",  # two records
    ],
)
def test_malformed_blocks_are_refused(block: bytes) -> None:
    """Each way in which a block can be wrong is noticed."""
    with pytest.raises(InvalidRecordError):
        decode_record(block)
