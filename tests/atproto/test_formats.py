"""String formats, on the examples of the specification, and compared with the reference implementation."""

import pytest
from tests.atproto.reference import ask_reference

from atdata.atproto.formats import FORMATS

VALID = {
    "at-identifier": ["did:plc:abc", "alice.example.com"],
    "at-uri": [
        "at://did:plc:abc",
        "at://alice.example.com/com.example.thing",
        "at://did:web:example.com/com.example.thing/3k2akkzsvnc2q",
        "at://did:plc:abc/com.example.thing/3k2a#/storage/blobs/3",
    ],
    "cid": [
        "bafkreidogqfzz75tpkmjzjke425xqcrmpcib2p5tg44hnbirumdbpl5adu",
        "bafyreigbtj4x7ip5legnfznufuopl4sg4knzc2cof6duas4b3q2fy6swua",
        "QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbdG",
        "zb2rhe5P4gXftAwvA4eXQ5HJwsER2owDyS9sKaQRRVQPn93bA",
    ],
    "datetime": [
        "1985-04-12T23:20:50.123Z",
        "1985-04-12T23:20:50Z",
        "1985-04-12T23:20:50.1234567+01:45",
        "2024-02-29T00:00:00Z",
        "0001-01-01T00:00:00+23:59",
    ],
    "did": ["did:plc:abc", "did:web:localhost%3A2583", "did:method:val:two"],
    "handle": ["alice.example.com", "A.co", "xn--ls8h.test"],
    "language": ["en", "pt-BR", "zh-Hant", "de-CH-1996", "i-klingon", "x-private", "sl-rozaj-biske-1994"],
    "nsid": ["com.example.thing", "app.bsky.atdata.blobList", "a-1.b-2.c3"],
    "record-key": ["3k2akkzsvnc2q", "self", "a:b_c~d-e.f", "x" * 512],
    "tid": ["3jzfcijpj2z2a", "7777777777777", "2222222222222"],
    "uri": ["https://example.com/a", "dns:example.com", "s3://bucket/key", "at://alice.example.com", "urn:isbn:1"],
}
INVALID = {
    "at-identifier": ["", "did:", "alice", "@alice.example.com"],
    "at-uri": [
        "at://",
        "at://alice",
        "at://@alice.example.com/com.example.thing",
        "at://did:plc:abc/dataset/3k2a",
        "at://did:plc:abc/com.example.thing/",
        "at://did:plc:abc/com.example.thing/a/b",
        "at://did:plc:abc/com.example.thing/a b",
        "https://example.com",
    ],
    "cid": ["", "bafy", "bafkreidogqfzz75tpkmjzjke425xqcrmpcib2p5tg44hnbirumdbpl5ad", "b" * 200, "not a cid"],
    "datetime": [
        "1985-04-12",
        "1985-04-12T23:20Z",
        "1985-04-12T23:20:50.Z",
        "1985-04-12 23:20:50Z",
        "1985-04-12t23:20:50z",
        "1985-13-12T23:20:50Z",
        "1985-04-12T23:20:50-00:00",
        "1985-04-12T23:20:50.123",
        "١٩٨٥-04-12T23:20:50Z",
        "1985-04-12T23:20:50Z\n",
        "1985-04-12T23:20:50." + "0" * 60 + "Z",
    ],
    "did": ["did:plc", "DID:plc:abc", "did:plc:", "did:UPPER:abc", "plc:abc", "did:plc:abc%"],
    "handle": ["alice", "@alice.example.com", "-a.com", "a..com", "a.1", "ali ce.com", "x" * 250 + ".com"],
    "language": ["", "a", "en_US", "en-", "123", "en-US-"],
    "nsid": ["com.example", "com.example.", "com.example.3", "com.exa mple.a", "com.example.a-b"],
    "record-key": ["", ".", "..", "a/b", "a b", "x" * 513, "é"],
    "tid": ["", "3jzfcijpj2z2", "3jzfcijpj2z2aa", "zzzzzzzzzzzzz", "0000000000000"],
    "uri": ["", "example.com/a", "https://", "https:// a", "a b:c"],
}
# Where we follow the specification and the reference does otherwise.
STRICTER = {
    "datetime": ["1985-04-12T23:20:50.123", "2023-02-30T00:00:00Z", "20230101T000000Z"],
    "uri": ["1https://example.com", "h_t:a"],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in VALID.items() for value in values])
def test_valid_values_pass(name: str, value: str) -> None:
    """Each format takes the forms that its specification allows."""
    assert FORMATS[name](value) is None


@pytest.mark.parametrize(
    ("name", "value"),
    [(name, value) for table in (INVALID, STRICTER) for name, values in table.items() for value in values],
)
def test_invalid_values_are_refused_in_words_and_short(name: str, value: str) -> None:
    """Each format refuses the others, and the message does not repeat ten thousand characters."""
    problem = FORMATS[name](value)

    assert problem is not None
    assert 10 < len(problem.message) < 500


@pytest.mark.network
def test_formats_agree_with_the_reference() -> None:
    """``@atproto/lexicon`` accepts and refuses the same values, but for those listed as stricter here."""
    documents = [
        {
            "lexicon": 1,
            "id": f"com.example.{name.replace('-', '')}",
            "defs": {"main": {"type": "object", "properties": {"text": {"type": "string", "format": name}}}},
        }
        for name in FORMATS
    ]
    tables = (VALID, INVALID, STRICTER)
    asked = [(name, value) for table in tables for name, values in table.items() for value in values]

    cases = [(f"com.example.{name.replace('-', '')}#main", {"text": value}) for name, value in asked]
    complaints = ask_reference(documents, cases).complaints

    for (name, value), complaint in zip(asked, complaints, strict=True):
        accepted = value in VALID[name] or value in STRICTER.get(name, ())
        assert (complaint is None) == accepted, (name, value, complaint)
