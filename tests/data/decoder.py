"""A decoder of shards written from docs/format.md alone: struct, hashlib, blake3, and no line of atdata.

It is what somebody would write in another language, and checks everything that the page promises of a shard that
atdata wrote. It is strict: a tar by another writer does not pass.
"""

import hashlib
import itertools
import struct
import zlib
from dataclasses import dataclass

from blake3 import blake3

CHUNK = 262144


@dataclass
class Decoded:
    keys: list[str]
    members: list[list[tuple[str, bytes]]]  # for each sample: (name, data)
    cid: bytes  # CIDv1 in binary
    index_cid: bytes


def decode(tar: bytes) -> Decoded:
    assert len(tar) % 512 == 0
    assert tar[-1024:] == bytes(1024)
    footer = tar[-1088:-1024]
    magic, version, flags, crc, count, body_size, body_offset, shard, zero_1, zero_2 = struct.unpack(
        "<8sHHIQQQQQQ", footer
    )
    assert (magic, version, zero_1, zero_2) == (b"ATDINDEX", 1, 0, 0)
    payload = tar[body_offset:-1024]
    assert len(payload) % 512 == 0
    body = payload[:body_size]
    assert len(payload) - 64 - body_size < 512
    assert payload[body_size:-64].strip(b"\0") == b""
    assert zlib.crc32(body) == crc

    end = body_offset - 512
    assert header(tar, end) == ("__index__", len(payload))
    blocks = -(-end // CHUNK)
    offsets = [512 * unit for unit in struct.unpack_from(f"<{count + 1}I", body)]
    assert offsets[0] == 0
    assert offsets[-1] == end
    raw_keys = body[4 * (count + 1) : body_size - 32 * blocks]
    if flags & 1:
        assert raw_keys == b""
        keys = [f"{shard:06d}-{i:08d}" for i in range(count)]
    else:
        assert flags == 0
        assert shard == 0
        keys = raw_keys.decode("utf-8").split("\n")
    assert len(keys) == count == len(set(keys))
    digests = body[body_size - 32 * blocks :]
    for block in range(blocks):
        data = tar[block * CHUNK : min(end, (block + 1) * CHUNK)]
        assert blake3(data).digest() == digests[32 * block : 32 * block + 32]

    samples = [members(tar, start, stop) for start, stop in itertools.pairwise(offsets)]
    for key, sample in zip(keys, samples, strict=True):
        assert all(name.startswith(f"{key}.") for name, _ in sample)
    return Decoded(keys, samples, cid(tar), cid(payload))


def members(tar: bytes, start: int, stop: int) -> list[tuple[str, bytes]]:
    found = []
    while start < stop:
        kind = tar[start + 156 : start + 157]
        name, size = header(tar, start, kind)
        start += 512
        if kind == b"x":
            records = pax(tar[start : start + size])
            start += size + -size % 512
            name, size = header(tar, start)
            start += 512
            name = records.get("path", name)
            size = int(records.get("size", size))
        found.append((name, tar[start : start + size]))
        assert tar[start + size : start + size + -size % 512].strip(b"\0") == b""
        start += size + -size % 512
    assert start == stop
    return found


def header(tar: bytes, at: int, kind: bytes = b"0") -> tuple[str, int]:
    block = tar[at : at + 512]
    expected = bytearray(512)
    expected[:100] = block[:100]
    expected[100:124] = b"0000644\x000000000\x000000000\x00"
    expected[124:136] = block[124:136]
    expected[136:148] = b"00000000000\0"
    expected[148:156] = b" " * 8
    expected[156:157] = kind
    expected[257:265] = b"ustar\x0000"
    expected[329:345] = b"0000000\x000000000\x00"
    expected[148:156] = b"%06o\0 " % sum(expected)
    assert block == bytes(expected)
    return block[:100].rstrip(b"\0").decode("ascii"), int(block[124:135], 8)


def pax(data: bytes) -> dict[str, str]:
    records = {}
    while data:
        digits, _, _ = data.partition(b" ")
        record, data = data[: int(digits)], data[int(digits) :]
        assert record.endswith(b"\n")
        name, _, value = record[len(digits) + 1 : -1].decode("utf-8").partition("=")
        records[name] = value
    return records


def cid(data: bytes) -> bytes:
    """CIDv1, raw (0x55), sha-256 (0x12) of 32 bytes."""
    return bytes((0x01, 0x55, 0x12, 0x20)) + hashlib.sha256(data).digest()


def msgpack(data: bytes) -> object:
    """The part of msgpack that shards use."""
    value, end = _msgpack(data, 0)
    assert end == len(data)
    return value


def _msgpack(data: bytes, at: int) -> tuple[object, int]:
    first = data[at]
    at += 1
    if first < 0x80 or first >= 0xE0:
        return first - 256 * (first >= 0xE0), at
    if first < 0x90:
        return _map(data, at, first & 0x0F)
    if first < 0xA0:
        return _list(data, at, first & 0x0F)
    if first < 0xC0:
        return data[at : at + (first & 0x1F)].decode("utf-8"), at + (first & 0x1F)
    if first in (0xC0, 0xC2, 0xC3):
        return {0xC0: None, 0xC2: False, 0xC3: True}[first], at
    formats = {
        0xC4: ">B", 0xC5: ">H", 0xC6: ">I", 0xCB: ">d", 0xCC: ">B", 0xCD: ">H", 0xCE: ">I", 0xCF: ">Q", 0xD0: ">b",
        0xD1: ">h", 0xD2: ">i", 0xD3: ">q", 0xD9: ">B", 0xDA: ">H", 0xDB: ">I", 0xDC: ">H", 0xDD: ">I", 0xDE: ">H",
        0xDF: ">I",
    }  # fmt: skip
    (number,) = struct.unpack_from(formats[first], data, at)
    at += struct.calcsize(formats[first])
    if first <= 0xC6:
        return data[at : at + number], at + number
    if first in (0xD9, 0xDA, 0xDB):
        return data[at : at + number].decode("utf-8"), at + number
    if first in (0xDC, 0xDD):
        return _list(data, at, number)
    if first in (0xDE, 0xDF):
        return _map(data, at, number)
    return number, at


def _list(data: bytes, at: int, count: int) -> tuple[list[object], int]:
    items = []
    for _ in range(count):
        item, at = _msgpack(data, at)
        items.append(item)
    return items, at


def _map(data: bytes, at: int, count: int) -> tuple[dict[object, object], int]:
    items = {}
    for _ in range(count):
        key, at = _msgpack(data, at)
        items[key], at = _msgpack(data, at)
    return items, at
