"""The names of ATProto: what is accepted, what is refused and why."""

import hashlib
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atdata.errors import InvalidSyntaxError
from atdata.syntax import (
    DAG_CBOR,
    AtUri,
    Cid,
    Did,
    Nsid,
    RecordKey,
    family,
    new_tid,
    parse_at_uri,
    parse_cid,
    parse_did,
    parse_handle,
    parse_nsid,
    parse_record_key,
    parse_tid,
    raw_cid,
)


@pytest.mark.parametrize(
    "did", ["did:plc:ewvi7nxzyoun6zhxrhs64oiz", "did:web:example.com", "did:web:localhost%3A2583", "did:method:val:two"]
)
def test_a_did_of_the_specification_is_accepted(did: str) -> None:
    """The examples of https://atproto.com/specs/did."""
    assert parse_did(did) == did


@pytest.mark.parametrize(
    ("did", "why"),
    [
        ("plc:abc", "must start with 'did:'"),
        ("did:plc", "the form is did:METHOD:IDENTIFIER"),
        ("did:plc:", "the form is"),
        ("did:PLC:abc", "the form is"),
        ("did:plc:abc:", "the form is"),
        ("did:plc:a b", "the form is"),
        ("did:plc:abc\n", "the form is"),
        ("did:plc:ä", "the form is"),
        ("did:web:" + "a" * 2048, "at most 2,048"),
    ],
)
def test_a_wrong_did_is_refused_with_its_reason(did: str, why: str) -> None:
    """The message says what is wrong, and the value is kept for programs."""
    with pytest.raises(InvalidSyntaxError, match="is not a valid DID") as caught:
        parse_did(did)

    assert why in str(caught.value)
    assert caught.value.value == did


@pytest.mark.parametrize(
    ("raw", "handle"),
    [
        ("jay.bsky.social", "jay.bsky.social"),
        ("@Alice.Example.COM", "alice.example.com"),
        ("8.cn", "8.cn"),
        ("xn--ls8h.test", "xn--ls8h.test"),
    ],
)
def test_a_handle_is_put_into_lower_case(raw: str, handle: str) -> None:
    """Handles are case-insensitive; people write an @ before them."""
    assert parse_handle(raw) == handle


@pytest.mark.parametrize(
    ("handle", "why"),
    [
        ("alice", "with a dot"),
        ("alice..com", "is not a label"),
        ("-alice.com", "is not a label"),
        ("alice.com-", "is not a label"),
        ("john.0", "must begin with a letter"),
        ("127.0.0.1", "must begin with a letter"),
        ("jo@hn.test", "is not a label"),
        ("älice.test", "only ASCII"),
        (("a" * 64) + ".test", "is not a label"),
        (".".join(["a" * 60] * 5), "at most 253"),
        ("alice.test\n", "is not a label"),
        ("", "with a dot"),
    ],
)
def test_a_wrong_handle_is_refused_with_its_reason(handle: str, why: str) -> None:
    """Source of the cases: https://atproto.com/specs/handle."""
    with pytest.raises(InvalidSyntaxError, match="is not a valid handle") as caught:
        parse_handle(handle)

    assert why in str(caught.value)


@pytest.mark.parametrize("nsid", ["com.example.fooBar", "net.users.bob.ping", "a-0.b-1.c", "cn.8.lex.stuff"])
def test_an_nsid_of_the_specification_is_accepted(nsid: str) -> None:
    """The examples of https://atproto.com/specs/nsid."""
    assert parse_nsid(nsid) == nsid


@pytest.mark.parametrize(
    ("nsid", "why"),
    [
        ("com.example", "three parts"),
        ("com.exa💩ple.thing", "is not a label"),
        ("com.example.3thing", "begin with a letter"),
        ("com.example.foo-bar", "begin with a letter"),
        ("1com.example.thing", "first part"),
        ("com..thing", "is not a label"),
        ("a." * 200 + "b", "at most 317"),
    ],
)
def test_a_wrong_nsid_is_refused_with_its_reason(nsid: str, why: str) -> None:
    """The message names the part that is wrong."""
    with pytest.raises(InvalidSyntaxError, match="is not a valid NSID") as caught:
        parse_nsid(nsid)

    assert why in str(caught.value)


@pytest.mark.parametrize("key", ["3jui7kd54zh2y", "self", "example.com", "~1.2-3_", "dHJ1ZQ", "pre:fix", "_"])
def test_a_record_key_of_the_specification_is_accepted(key: str) -> None:
    """The examples of https://atproto.com/specs/record-key."""
    assert parse_record_key(key) == key


@pytest.mark.parametrize(
    "key", ["", ".", "..", "alpha/beta", "#extra", "@handle", "any space", "number[3]", "a" * 513, "self\n"]
)
def test_a_wrong_record_key_is_refused(key: str) -> None:
    """A record key never names a folder above, nor another part of an AT-URI."""
    with pytest.raises(InvalidSyntaxError, match="is not a valid record key"):
        parse_record_key(key)


@pytest.mark.parametrize("tid", ["3jzfcijpj2z2a", "7777777777777", "3zzzzzzzzzzzz"])
def test_a_tid_of_the_specification_is_accepted(tid: str) -> None:
    """The examples of https://atproto.com/specs/tid."""
    assert parse_tid(tid) == tid


@pytest.mark.parametrize(
    "tid", ["", "3jzfcijpj2z21", "0000000000000", "3jzfcijpj2z2aa", "zzzzzzzzzzzzz", "3jzf-cij-pj2z-2a"]
)
def test_a_wrong_tid_is_refused(tid: str) -> None:
    """Wrong length, wrong letters, or the high bit set."""
    with pytest.raises(InvalidSyntaxError, match="is not a valid TID"):
        parse_tid(tid)


def test_new_tids_are_valid_and_increase() -> None:
    """Order of creation is order of sorting, however quickly they are made."""
    tids = [new_tid() for _ in range(2000)]

    assert all(parse_tid(tid) for tid in tids)
    assert all(earlier < later for earlier, later in pairwise(tids))


@given(st.binary(max_size=64))
def test_a_raw_cid_reads_back(data: bytes) -> None:
    """Printing and parsing are inverse, and the CID is the one that a PDS gives."""
    cid = raw_cid(hashlib.sha256(data).digest())

    assert parse_cid(str(cid)) == cid
    assert cid.is_raw_sha256
    assert str(cid).startswith("bafkrei")


@pytest.mark.parametrize(
    ("raw", "version", "codec"),
    [
        ("QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPrFA", 0, 0x70),
        ("bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi", 1, 0x70),
        ("bafyreihffx5a2e7k5uwrmmgofbvzujc5cmw5h4espouwuxt3liqoflx3ee", 1, DAG_CBOR),
    ],
)
def test_cids_of_the_field_read_and_print_unchanged(raw: str, version: int, codec: int) -> None:
    """IPFS files (v0 and v1) and records."""
    cid = parse_cid(raw)

    assert (cid.version, cid.codec) == (version, codec)
    assert str(cid) == raw


@pytest.mark.parametrize(
    "raw",
    [
        "",
        "bafkrei",
        "bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52z",
        "bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zyy",
        "Qm" + "1" * 44,
        "bafkrei gh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy",
        "b" * 300,
        "../../etc/passwd",
        "bäfkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy",
    ],
)
def test_a_wrong_cid_is_refused(raw: str) -> None:
    """Cut, prolonged, of other letters, or no CID at all."""
    with pytest.raises(InvalidSyntaxError, match="is not a valid CID"):
        parse_cid(raw)


@given(st.text(max_size=80))
def test_no_text_is_both_wrong_and_accepted(raw: str) -> None:
    """Any text either parses and prints as itself, or raises the one error: nothing else escapes."""
    for parse in (parse_did, parse_nsid, parse_tid, parse_record_key, parse_cid, parse_at_uri):
        try:
            parsed = parse(raw)
        except InvalidSyntaxError:
            continue
        if isinstance(parsed, Cid):
            assert parse_cid(str(parsed)) == parsed
        else:
            assert str(parsed) == raw or isinstance(parsed, AtUri)


def test_a_whole_at_uri_reads_and_prints() -> None:
    """Authority, collection, record key and fragment each find their place."""
    raw = "at://did:plc:abc/app.bsky.atdata.dataset/3k2a#/storage/blobs/3"

    uri = parse_at_uri(raw)

    assert uri == AtUri(Did("did:plc:abc"), Nsid("app.bsky.atdata.dataset"), RecordKey("3k2a"), "/storage/blobs/3")
    assert str(uri) == raw


def test_short_forms_are_completed() -> None:
    """``dataset`` is a collection of our family; one label is completed with the domain of handles."""
    uri = parse_at_uri("at://alice/dataset/3k2a", handle_domain=".example.com")

    assert str(uri) == "at://alice.example.com/app.bsky.atdata.dataset/3k2a"


def test_the_family_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """``ATDATA_NSID`` moves every short form, and a wrong one is an error, not a surprise later."""
    monkeypatch.setenv("ATDATA_NSID", "com.example.data")
    assert str(parse_at_uri("at://alice.test/dataset/a")) == "at://alice.test/com.example.data.dataset/a"

    monkeypatch.setenv("ATDATA_NSID", "nonsense")
    with pytest.raises(InvalidSyntaxError, match="NSID"):
        family()


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        ("https://alice.test", "must start with 'at://'"),
        ("at://", "the form is"),
        ("at://alice.test/", "the form is"),
        ("at://alice.test/a.b.c/d/e", "the form is"),
        ("at://alice/dataset/a", "is not a valid handle"),
        ("at://alice.test/data set/a", "is not a valid NSID"),
        ("at://alice.test/dataset/..", "is not a valid record key"),
        ("at://alice.test/dataset/a#b", "JSON pointer"),
        ("at://alice.test/dataset/" + "a" * 9000, "at most 8,192"),
        ("at://user:pass@alice.test/dataset/a", "is not a valid handle"),
    ],
)
def test_a_wrong_at_uri_is_refused_with_its_reason(raw: str, why: str) -> None:
    """The message says which part is wrong."""
    with pytest.raises(InvalidSyntaxError, match="is not a valid AT-URI") as caught:
        parse_at_uri(raw)

    assert why in str(caught.value)
