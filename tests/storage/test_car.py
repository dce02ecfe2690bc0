"""CARs read in one pass: each block is what its CID says, whatever the stream brings."""

import hashlib
import itertools
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.storage.ipfs_blocks import Blocks, car, cid_of, section, varint

from atdata.errors import AtdataError, IntegrityError, UnavailableError
from atdata.storage.block import BLAKE2B_256, IDENTITY, MAX_BLOCK, SHA2_512, is_block_of
from atdata.storage.car import MAX_HEADER, CarReader
from atdata.syntax import RAW, SHA2_256, Cid

ONE = (cid_of(b"one", RAW), b"one")
TWO = (cid_of(b"two", RAW), b"two")


class Pieces:
    """A stream that gives its bytes in given pieces, however large the buffer is."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)
        self._rest = b""
        self.given = 0

    def readinto(self, buffer: memoryview, /) -> int:
        while not self._rest:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._rest = piece
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        self.given += count
        return count

    def close(self) -> None:
        self._pieces = iter(())


def read(pieces: Iterable[bytes]) -> list[tuple[Cid, bytes]]:
    reader = CarReader(Pieces(pieces))
    return [(cid, bytes(block)) for cid, block in iter(reader.next_block, None)]


@given(
    st.lists(st.binary(max_size=300), max_size=8),
    st.lists(st.integers(1, 50), min_size=1, max_size=5),
)
def test_blocks_come_as_they_were_sent(contents: list[bytes], lengths: list[int]) -> None:
    """Wherever the stream is cut into pieces, the blocks and their order are the same."""
    blocks = [(cid_of(content, RAW), content) for content in contents]
    data = car(blocks)
    pieces, at = [], 0
    for length in itertools.cycle(lengths):
        if at >= len(data):
            break
        pieces.append(data[at : at + length])
        at += length

    assert read(pieces) == blocks


def test_blocks_as_large_as_they_may_be() -> None:
    """4 MiB, one after the other, through a buffer that is hardly larger."""
    content = bytes(range(256)) * (MAX_BLOCK // 256)
    blocks = [(cid_of(content, RAW), content)] * 3

    assert read([car(blocks)]) == blocks


@settings(max_examples=25)
@given(
    st.lists(st.integers(1, 3_000_000), min_size=2, max_size=8),
    st.lists(st.integers(1, 6), min_size=1, max_size=8),
)
def test_the_block_before_stays_as_it_was(sizes: list[int], firsts: list[int]) -> None:
    """While the next one is read and hashed, however its length and its bytes are cut apart on the way."""
    contents = [bytes([number]) * size for number, size in enumerate(sizes)]
    blocks = [(cid_of(content, RAW), content) for content in contents]
    pieces = [car([])]
    for (cid, content), first in zip(blocks, itertools.cycle(firsts), strict=False):
        whole = section(cid, content)
        pieces += [whole[:first], whole[first:]]

    reader = CarReader(Pieces(pieces))
    for cid, content in blocks:
        found = reader.next_block()
        assert found is not None
        assert found[0] == cid
        assert found[1] == content
    assert reader.next_block() is None


@pytest.mark.parametrize(
    "cid",
    [
        Cid(1, RAW, SHA2_512, hashlib.sha512(b"one").digest()),
        Cid(1, RAW, BLAKE2B_256, hashlib.blake2b(b"one", digest_size=32).digest()),
        Cid(1, RAW, IDENTITY, b"one"),
        Cid(0, 0x70, SHA2_256, hashlib.sha256(b"one").digest()),
    ],
)
def test_hashes_that_are_known(cid: Cid) -> None:
    """Each is read and checked; one bit less right is an error."""
    assert read([car([(cid, b"one")])]) == [(cid, b"one")]
    assert not is_block_of(cid, b"onf")
    with pytest.raises(IntegrityError, match=str(cid)):
        read([car([(cid, b"onf")])])


@pytest.mark.parametrize(
    "cid",
    [
        Cid(1, RAW, 0x11, hashlib.sha1(b"one").digest()),
        Cid(1, RAW, SHA2_256, hashlib.sha256(b"one").digest()[:31]),
        Cid(1, RAW, SHA2_512, hashlib.sha512(b"one").digest()[:20]),
        Cid(1, RAW, BLAKE2B_256, b""),
        Cid(1, RAW, IDENTITY, b"x" * 65),
    ],
)
def test_hashes_that_are_weak_cut_or_too_long_are_refused(cid: Cid) -> None:
    """A short digest is easily met by other bytes."""
    with pytest.raises(IntegrityError):
        read([car([(cid, cid.digest if cid.hash_code == IDENTITY else b"one")])])


@given(st.data())
def test_one_wrong_bit(data: st.DataObject) -> None:
    """Anywhere behind the header: no changed content comes out."""
    whole = bytearray(car([ONE, TWO]))
    header = len(car([]))
    place = data.draw(st.integers(header * 8, len(whole) * 8 - 1))
    whole[place // 8] ^= 1 << place % 8

    contents = []
    try:
        reader = CarReader(Pieces([bytes(whole)]))
        while block := reader.next_block():
            assert is_block_of(block[0], block[1])
            contents.append(bytes(block[1]))
    except AtdataError:
        assert contents in ([], [b"one"])
    else:
        assert contents == [b"one", b"two"]  # the bit was one of a codec, which no digest covers


@given(st.integers(0, len(car([ONE, TWO])) - 1))
def test_a_cut_is_seen(length: int) -> None:
    """Between two blocks the stream just ends, which is for the reader of the file to notice; else it is an error."""
    whole = car([ONE, TWO])
    if length in (len(car([])), len(car([ONE]))):
        assert read([whole[:length]]) == [ONE][: length > len(car([]))]
    else:
        with pytest.raises(UnavailableError):
            read([whole[:length]])


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"<!DOCTYPE html><html><body>Gateway Timeout" + b" " * 100,
        b"\xff" * 100,
        varint(MAX_HEADER + 1) + b"\xa0" * (MAX_HEADER + 1),
        b"\x00" * 100,
        varint(MAX_HEADER) + b"\x81" * MAX_HEADER,
        car([], header=b"\xa0"),
        car([], header=b"\xa1gversion\x02"),
        car([], header=b"\x80"),
        bytes.fromhex("0aa16776657273696f6e02") + b"a CARv2 begins so",
        b"\x80\x00" + car([]),
    ],
)
def test_what_is_no_car(data: bytes) -> None:
    """An error before any block, and not a byte more read than the limit."""
    stream = Pieces([data])
    with pytest.raises((IntegrityError, UnavailableError)):
        CarReader(stream)


@pytest.mark.parametrize(
    "rest",
    [
        b"\x00",
        varint(MAX_BLOCK + 1000),
        varint(2**62),
        b"\xff" * 20,
        b"\x81\x00",
        section(ONE[0], b"x" * (MAX_BLOCK + 200))[:100],
        varint(3) + b"\x01\x55\x12",
        varint(40) + b"\x01\x55\x12\xff\xff\xff\x7f" + b"x" * 40,
        varint(40) + b"\x02\x55\x12\x20" + b"x" * 40,
    ],
)
def test_sections_that_lie_about_themselves(rest: bytes) -> None:
    """Lengths of nothing, of too much, without end; CIDs that are none. Nothing waits for what they announce."""
    endless = itertools.chain([car([ONE]) + rest], itertools.repeat(bytes(1000)))
    stream = Pieces(endless)
    reader = CarReader(stream)
    assert reader.next_block() is not None

    with pytest.raises(IntegrityError):
        reader.next_block()
    assert stream.given < 2 * MAX_BLOCK


@given(st.binary(max_size=200) | st.binary(max_size=100).map(lambda tail: car([ONE]) + tail))
def test_any_bytes_end_in_blocks_or_our_errors(data: bytes) -> None:
    """No other exception, no block that is not what its CID says."""
    try:
        blocks = read([data])
    except AtdataError:
        return
    assert all(is_block_of(cid, block) for cid, block in blocks)


@given(st.data())
def test_changed_streams_end_in_blocks_or_our_errors(data: st.DataObject) -> None:
    """Starting from a right one, which random bytes hardly ever are."""
    whole = bytearray(car([ONE, TWO, (Cid(1, RAW, IDENTITY, b"three"), b"three")]))
    for _ in range(data.draw(st.integers(1, 5))):
        place = data.draw(st.integers(0, len(whole) - 1))
        change = data.draw(st.binary(max_size=3))
        whole[place : place + data.draw(st.integers(0, 3))] = change
        if not whole:
            break
    try:
        blocks = read([bytes(whole)])
    except AtdataError:
        return
    assert all(is_block_of(cid, block) and str(cid) for cid, block in blocks)


def test_order_is_the_senders() -> None:
    """The reader neither sorts nor leaves out."""
    blocks = Blocks()
    root = blocks.add(bytes(9000))
    order = [*blocks.in_order(root), root, root]

    assert [cid for cid, _ in read([blocks.car(order)])] == order
