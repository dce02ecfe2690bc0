"""Facts of very many shards in files of their own, and what else a record of them needs."""

import gzip
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atdata.atproto.json_objects import read_shard
from atdata.atproto.manifest import decode_lines, decode_part, encode_part, spread
from atdata.atproto.records import DatasetRecord, now, write_value
from atdata.errors import (
    InvalidRecordError,
    LimitError,
)
from atdata.storage.base import Shard
from atdata.storage.union import UrlStorage
from atdata.syntax import parse_at_uri, raw_cid


def many_shards(count: int) -> tuple[Shard, ...]:
    return tuple(
        Shard(raw_cid(i.to_bytes(32, "big")), 1000 + i, i, raw_cid((i + 1).to_bytes(32, "little")))
        for i in range(count)
    )


def test_manifest_parts_are_deterministic_and_reversible() -> None:
    """The same shards give the same bytes, which are gzipped JSON Lines."""
    shards = many_shards(500)

    assert tuple(decode_part(encode_part(shards), path="manifest[0]")) == shards
    assert encode_part(shards) == encode_part(list(shards))
    first = json.loads(gzip.decompress(encode_part(shards)).splitlines()[0])
    assert list(first) == ["cid", "bytes", "samples", "index"]


def test_100_000_shards_fit_into_a_record() -> None:
    """By URL the facts go into parts below the blob limit of a PDS, and the record stays small."""
    record = DatasetRecord(
        name="Large",
        storage=UrlStorage(("https://example.com/{000000..099999}.tar",)),
        created_at=now(),
        shards=many_shards(100_000),
    )

    fitting = spread(record, uri=parse_at_uri("at://did:web:localhost/app.bsky.atdata.dataset/large"))

    write_value(fitting.record)
    assert [part.shards for part in fitting.record.manifest] == [10_000] * 10
    assert max(map(len, fitting.parts)) < 1 << 20
    assert [part.blob and part.blob.size for part in fitting.record.manifest] == [len(part) for part in fitting.parts]


counts = st.integers(0, 2**53 - 1)
cids = st.binary(min_size=32, max_size=32).map(raw_cid)
shard_values = st.builds(Shard, *(st.none() | kind for kind in (cids, counts, counts, cids)))


@given(st.lists(shard_values, max_size=5))
def test_all_that_may_be_said_of_shards_comes_back(shards: list[Shard]) -> None:
    """Whatever of their facts is known."""
    assert decode_part(encode_part(shards), path="manifest[0]") == shards


@pytest.mark.parametrize(
    "line",
    [
        b'{"cid": "bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy", "new": [{}, null], "bytes": 3}',
        b'  {"samples":3 , "bytes" : 12}  ',
        b'{"samples": 1, "samples": 2}',
        b'{"index": "bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy"}\r',
        b"{}",
    ],
)
def test_unknown_keys_and_other_spellings_are_read(line: bytes) -> None:
    """As a lexicon and JSON read them, one by one."""
    value = json.loads(line)

    assert decode_lines(line + b"\n" + line, path="") == [read_shard(value)] * 2


@pytest.mark.parametrize(
    "line",
    [
        b'{"samples": -1}',
        b'{"samples": 9007199254740992}',
        b'{"bytes": "12"}',
        b'{"bytes": true}',
        b'{"cid": null}',
        b'{"cid": 7}',
        b"",
        b'{"samples": 1} {"samples": 2}',
        b'{"samples":',
        b"\xff",
    ],
)
def test_a_wrong_line_is_named(line: bytes) -> None:
    """Between right ones, and whatever is wrong with it."""
    with pytest.raises(InvalidRecordError, match="line 2"):
        decode_lines(b"\n".join([b"{}", line, b"{}"]), path="file")


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "cut short"),
        (b"no gzip", "gzip"),
        (encode_part(many_shards(50))[:-20], "cut short"),
        (gzip.compress(b"[]\n", mtime=0), "line 1"),
        (gzip.compress(b"{}\nnonsense\n", mtime=0), "line 2"),
        (gzip.compress(b'{"bytes": 1.5}\n', mtime=0), "line 1"),
        (gzip.compress(b'{"cid": "nonsense"}\n', mtime=0), "line 1"),
        (gzip.compress(b"[" * 4000, mtime=0), "line 1"),
        (gzip.compress(b" " * 5000, mtime=0), "line 1"),
    ],
)
def test_other_files_are_no_manifest(data: bytes, says: str) -> None:
    """The error says which line, or what else is wrong."""
    with pytest.raises(InvalidRecordError, match=says):
        decode_part(data, path="manifest[0]")


def test_a_manifest_cannot_fill_the_memory() -> None:
    """A small file that inflates to very much is left at the limit."""
    with pytest.raises(LimitError, match="inflates"):
        decode_part(gzip.compress(bytes(100 << 20)), path="manifest[0]")
