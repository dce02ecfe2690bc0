"""The index, read from the end of a shard."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atdata.data.index import (
    CountedKeys,
    ShardIndex,
    count_blocks,
    decode_index,
    encode_index,
    payload_cid,
    payload_size,
    read_index,
)
from atdata.data.tar import END, member_header
from atdata.data.writer import ShardWriter
from atdata.errors import IntegrityError, LimitError, ShardError
from atdata.testing import MemoryStore


def index_of(units: list[int], keys: tuple[str, ...] | CountedKeys) -> ShardIndex:
    offsets = np.array(units, np.int64) * 512
    blocks = count_blocks(int(offsets[-1]))
    return ShardIndex(keys, offsets, np.arange(32 * blocks).astype(np.uint8).reshape(blocks, 32))


_KEYS = st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\n"), min_size=1), min_size=1, unique=True)


@settings(max_examples=100, deadline=None)
@given(_KEYS | st.tuples(st.integers(0, 1 << 40), st.integers(1, 300)), st.data())
def test_an_index_goes_there_and_back(keys: list[str] | tuple[int, int], data: st.DataObject) -> None:
    """For any keys and offsets; its length is a multiple of 512 and known beforehand."""
    names = CountedKeys(*keys) if isinstance(keys, tuple) else tuple(keys)
    units = np.cumsum([0] + [data.draw(st.integers(1, 3000)) for _ in names]).tolist()
    index = index_of(units, names)
    payload = encode_index(index)
    back = decode_index(payload, offset=512 * units[-1] + 512)

    assert back is not None
    assert tuple(back.keys) == tuple(names)
    np.testing.assert_array_equal(back.offsets, index.offsets)
    np.testing.assert_array_equal(back.digests, index.digests)
    assert back.cid == payload_cid(payload)
    assert len(back) == len(names)
    assert back.span(len(names) - 1) == (512 * units[-2], 512 * units[-1])
    assert len(payload) % 512 == 0
    key_bytes = 0 if isinstance(names, CountedKeys) else len("\n".join(names).encode())
    assert len(payload) <= payload_size(len(names), 512 * units[-1], key_bytes=key_bytes)


def test_keys_that_are_counted_are_never_written() -> None:
    """The same keys give the same bytes, whoever gave them."""
    listed = encode_index(index_of([0, 2, 4], ("000003-00000000", "000003-00000001")))

    assert listed == encode_index(index_of([0, 2, 4], CountedKeys(3, 2)))
    assert b"000003" not in listed


def test_counted_keys_behave_as_a_sequence() -> None:
    """Without a list of them."""
    keys = CountedKeys(12, 3)

    assert list(keys) == ["000012-00000000", "000012-00000001", "000012-00000002"]
    assert keys[-1] == "000012-00000002"
    assert keys[1:] == ["000012-00000001", "000012-00000002"]
    assert "000012-00000001" in keys
    with pytest.raises(IndexError):
        keys[3]


@pytest.mark.parametrize("keys", [("a", "a"), ("a\nb", "c"), ("\ud800", "a")])
def test_keys_that_an_index_cannot_hold_are_refused(keys: tuple[str, ...]) -> None:
    """Twice, with a line break, or not UTF-8."""
    with pytest.raises(ShardError, match="cannot hold these keys"):
        encode_index(index_of([0, 2, 4], keys))


def test_a_shard_beyond_2_tib_is_refused() -> None:
    """Offsets have 32 bits, in units of 512 bytes."""
    offsets = np.array([0, 1 << 41], np.int64)

    with pytest.raises(LimitError, match="2 TiB"):
        encode_index(ShardIndex(("a",), offsets, np.zeros((0, 32), np.uint8)))


@pytest.fixture
def shard(tmp_path: Path) -> bytes:
    """A shard of three samples with keys of their own, 600 kB."""
    path = tmp_path / "a.tar"
    with ShardWriter(path) as writer:
        for i in range(3):
            writer.write({"bin": bytes([i]) * 200_000, "cls": i}, key=f"key{i}")
    return path.read_bytes()


def test_the_index_is_found_at_the_end(shard: bytes) -> None:
    """With the size given or asked for."""
    store = MemoryStore({"a": shard})
    index = read_index(store, "a")
    again = read_index(store, "a", size=len(shard))

    assert index is not None
    assert again is not None
    assert tuple(index.keys) == ("key0", "key1", "key2")
    assert again.cid == index.cid
    for i in range(3):
        start, _ = index.span(i)
        assert shard[start : start + 8] == f"key{i}.bin".encode()


class Counting(MemoryStore):
    """A store that counts what is read."""

    reads = 0

    def open(self, path, *, start=0, stop=None):  # type: ignore[no-untyped-def] # as in MemoryStore
        self.reads += 1
        return super().open(path, start=start, stop=stop)


@pytest.mark.parametrize(("samples", "reads"), [(10_000, 1), (20_000, 2)])
def test_a_longer_index_takes_a_second_read(samples: int, reads: int, tmp_path: Path) -> None:
    """One read of 64 KiB reaches 10,000 small samples."""
    path = tmp_path / "a.tar"
    with ShardWriter(path, shard=7) as writer:
        for i in range(samples):
            writer.write({"cls": i})
    store = Counting({"a": path.read_bytes()})
    index = read_index(store, "a")

    assert index is not None
    assert len(index) == samples
    assert index.keys[-1] == f"000007-{samples - 1:08d}"
    assert store.reads == reads


@pytest.mark.parametrize("data", [b"", END, bytes(10240), b"x" * 4096, b"x" * 10_001])
def test_no_index_is_none(data: bytes) -> None:
    """Tars of others, empty files and files that are no tars have none; that is no error."""
    assert read_index(MemoryStore({"a": data}), "a") is None


def footer_of(tar: bytes) -> bytearray:
    return bytearray(tar[-1088:-1024])


def with_footer(tar: bytes, **changes: int) -> bytes:
    """The shard with other numbers in its footer and a checksum that fits the body it then claims."""
    names = ("magic", "version", "flags", "crc", "count", "body", "offset", "shard")
    values = dict(zip(names, struct.unpack("<8sHHIQQQQ16x", footer_of(tar)), strict=True)) | changes
    return tar[:-1088] + struct.pack("<8sHHIQQQQ16x", *values.values()) + tar[-1024:]


@pytest.mark.parametrize(
    "changes",
    [
        {"crc": 0},
        {"count": 0},
        {"count": 2},
        {"count": 4},
        {"count": 1 << 63},
        {"body": 0},
        {"body": 1 << 63},
        {"offset": 0},
        {"offset": 512},
        {"offset": 1 << 63},
        {"flags": 1},
    ],
)
def test_a_footer_that_lies_is_refused(shard: bytes, changes: dict[str, int]) -> None:
    """Each number is compared with the others and with the file."""
    with pytest.raises(IntegrityError, match=r"^a: the index "):
        read_index(MemoryStore({"a": with_footer(shard, **changes)}), "a")


@pytest.mark.parametrize("changes", [{"version": 2}, {"flags": 2}])
def test_a_newer_index_is_as_none(shard: bytes, changes: dict[str, int]) -> None:
    """A shard can then be read as one without an index."""
    assert read_index(MemoryStore({"a": with_footer(shard, **changes)}), "a") is None


def with_body(tar: bytes, at: int, value: bytes) -> bytes:
    """The shard with other bytes in the body of its index, and the right checksum."""
    _, _, _, _, _, size, offset, _ = struct.unpack("<8sHHIQQQQ16x", footer_of(tar))
    body = bytearray(tar[offset : offset + size])
    body[at : at + len(value)] = value
    return with_footer(tar[:offset] + body + tar[offset + size :], crc=zlib.crc32(body))


@pytest.mark.parametrize(
    ("at", "value"),
    [
        (0, b"\xff\xff\xff\xff"),
        (4, bytes(4)),
        (12, b"\0\0\0\1"),
        (16, b"key1"),
        (16, b"\xff"),
        (16, b"\n"),
    ],
)
def test_a_body_that_lies_is_refused(shard: bytes, at: int, value: bytes) -> None:
    """Offsets that do not increase or end elsewhere, keys twice, too many, or not UTF-8."""
    with pytest.raises(IntegrityError):
        read_index(MemoryStore({"a": with_body(shard, at, value)}), "a")


def test_another_member_in_its_place_is_refused(shard: bytes) -> None:
    """A sample's data may look like an index; only the member of that name is one."""
    _, _, _, _, _, _, offset, _ = struct.unpack("<8sHHIQQQQ16x", footer_of(shard))
    size = len(shard) - 1024 - offset
    for header in (member_header("a.bin", size), member_header("__index__", size + 1), bytes(512), b"x" * 512):
        with pytest.raises(IntegrityError):
            read_index(MemoryStore({"a": shard[: offset - 512] + header + shard[offset:]}), "a")
    with pytest.raises(IntegrityError, match="end of the archive"):
        read_index(MemoryStore({"a": shard[:-1] + b"x"}), "a")


def test_a_store_that_gives_too_little_is_an_error(shard: bytes) -> None:
    """The size is what the record says; the file is shorter."""
    with pytest.raises(ShardError, match="were asked for"):
        read_index(MemoryStore({"a": shard}), "a", size=len(shard) + 512)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_damaged_indexes_never_crash(data: st.DataObject) -> None:
    """Any change of bytes near the end gives an index, none, or an IntegrityError; a changed body never passes."""
    payload = encode_index(index_of([0, 700, 1400], ("cat", "dog")))
    tar = bytearray(bytes(512 * 1400) + member_header("__index__", len(payload)) + payload + END)
    first = 512 * 1400
    changes = data.draw(
        st.lists(st.tuples(st.integers(first, len(tar) - 1), st.integers(0, 255)), min_size=1, max_size=4)
    )
    for at, value in changes:
        tar[at] = value
    try:
        index = read_index(MemoryStore({"a": bytes(tar)}), "a")
    except IntegrityError:
        return
    if index is not None:
        assert tuple(index.keys) == ("cat", "dog")
        assert index.offsets.tolist() == [0, 512 * 700, 512 * 1400]
