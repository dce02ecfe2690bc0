"""Graphs of blocks as files: right ones give their bytes, wrong ones errors; what is not needed is not asked for."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.storage.ipfs_blocks import Blocks, cid_of, folder, message, node, varint

from atdata.errors import AtdataError, IntegrityError, LimitError, UnsupportedStorageError
from atdata.storage.hamt import MURMUR3_X64_64, find_entry, murmur3_x64_64
from atdata.storage.unixfs import MAX_DEPTH, MAX_LINKS, MAX_SIZE, Kind, decode_node, file_pieces
from atdata.syntax import DAG_PB, RAW, Cid

LEAF = cid_of(b"leaf", RAW)


def read(blocks: Blocks, root: Cid, size: int, start: int = 0, stop: int | None = None) -> tuple[bytes, list[Cid]]:
    """The bytes of a range, and the blocks that were asked for."""
    asked = []

    def fetch(cid: Cid, place: int, above: Sequence[Cid]) -> bytes:
        asked.append(cid)
        return blocks.blocks[cid]

    pieces = file_pieces(root, size, fetch, start=start, stop=size if stop is None else stop)
    return b"".join(pieces), asked


def decode(block: bytes) -> None:
    decode_node(cid_of(block, DAG_PB), block)


@given(
    content=st.binary(max_size=300),
    chunk=st.integers(1, 40),
    links=st.integers(2, 5),
    start=st.integers(0, 310),
    length=st.integers(0, 310),
)
def test_any_range_of_any_file(content: bytes, chunk: int, links: int, start: int, length: int) -> None:
    """The bytes are right, and only the blocks that have some of them are asked for, in the order of a CAR."""
    blocks = Blocks()
    root = blocks.add(content, chunk=chunk, links=links)
    stop = min(start + length, len(content))

    data, asked = read(blocks, root, len(content), start, stop)

    assert data == content[start:stop]
    assert asked == (list(blocks.in_order(root, start, stop)) if start < stop else [])


def test_fetch_is_told_where_a_block_stands() -> None:
    """Its place in the file and the blocks above it, which a CAR from there on begins with."""
    blocks = Blocks()
    content = bytes(range(250)) * 4
    root = blocks.add(content, chunk=100, links=2)
    seen = {}

    def fetch(cid: Cid, place: int, above: Sequence[Cid]) -> bytes:
        seen[place, len(above)] = tuple(above)
        return blocks.blocks[cid]

    list(file_pieces(root, 1000, fetch, start=0, stop=1000))

    for (place, depth), above in seen.items():
        wanted = list(blocks.in_order(root, place, place + 1))
        assert list(above) == wanted[:depth]


def test_data_before_links() -> None:
    """Inner blocks may hold bytes themselves, as those of trickle graphs do."""
    blocks = Blocks()
    leaf = blocks.put(b"world", RAW)
    root = blocks.put(node([(b"", leaf)], data=b"hello ", sizes=[5], size=11), DAG_PB)

    assert read(blocks, root, 11)[0] == b"hello world"
    assert read(blocks, root, 11, 6) == (b"world", [root, leaf])
    assert read(blocks, root, 11, 0, 3) == (b"hel", [root])


def test_sizes_may_be_packed() -> None:
    """Repeated numbers in one field, as newer protobuf writers have them."""
    block = message((2, message((1, bytes(LEAF)))), (1, message((1, 2), (4, varint(4)))))

    assert decode_node(LEAF, block).size == 4


@pytest.mark.parametrize(
    "block",
    [
        b"",
        b"\x0a",
        b"\x0a\x05abc",
        b"\x0d\x00\x00\x00\x00",
        b"\x0b\x0c",
        message((1, b"")),
        message((1, message((1, 9)))),
        message((3, b"x"), (1, message((1, 2)))),
        message((1, message((1, 2))), (1, message((1, 2)))),
        message((1, 7)),
        message((2, message((2, b"no cid"))), (1, message((1, 2)))),
        message((2, message((1, bytes(LEAF) + b"x"))), (1, message((1, 2), (4, 1)))),
        message((2, message((1, b"\x01\x55\x12\x20short"))), (1, message((1, 2), (4, 1)))),
        node([(b"", LEAF)], size=4),
        node([(b"", LEAF)], sizes=[4], size=5),
        node([(b"", LEAF)], sizes=[2, 2], size=4),
        node([(b"x" * 2000, LEAF)], sizes=[4], size=4),
        node([], data=b"abc", size=4),
        node([(b"", LEAF)], sizes=[2**64], size=4),
        b"\xff" * 30,
    ],
)
def test_blocks_that_are_no_unixfs(block: bytes) -> None:
    """Cut, contradictory, of other types: an `IntegrityError` that names the block."""
    cid = cid_of(block, DAG_PB)
    with pytest.raises(IntegrityError, match=str(cid)):
        decode_node(cid, block)


@pytest.mark.parametrize(
    "block",
    [
        node([(b"", LEAF)] * (MAX_LINKS + 1), sizes=[4] * (MAX_LINKS + 1)),
        node([(b"", LEAF)] * 2, sizes=[MAX_SIZE, 1]),
        message((1, message(*[(3, 1)] * 300_000))),
    ],
    ids=["links", "size", "fields"],
)
def test_blocks_that_are_too_much(block: bytes) -> None:
    """Counted before they are kept."""
    with pytest.raises(LimitError):
        decode(block)


def test_a_child_must_be_what_its_parent_says() -> None:
    """Nothing of a leaf of another length is handed out."""
    blocks = Blocks()
    leaf = blocks.put(b"leaf", RAW)
    for said in (3, 5):
        root = blocks.put(node([(b"", leaf)], sizes=[said], size=said), DAG_PB)
        with pytest.raises(IntegrityError, match=str(leaf)):
            read(blocks, root, said)


def test_depth_is_bounded() -> None:
    """A chain of blocks that goes on is an error after 32."""
    blocks = Blocks()
    cid = blocks.put(b"x", RAW)
    for _ in range(MAX_DEPTH + 1):
        cid = blocks.put(node([(b"", cid)], sizes=[1], size=1), DAG_PB)

    with pytest.raises(IntegrityError, match="levels"):
        read(blocks, cid, 1)


def test_empty_subtrees_are_passed_over() -> None:
    """Of 100 ** 30 empty leaves none is asked for."""
    blocks = Blocks()
    cid = blocks.put(b"", RAW)
    for _ in range(30):
        cid = blocks.put(node([(b"", cid)] * 100, sizes=[0] * 100, size=0), DAG_PB)
    leaf = blocks.put(b"x", RAW)
    root = blocks.put(node([(b"", cid), (b"", leaf)], sizes=[0, 1], size=1), DAG_PB)

    assert read(blocks, root, 1) == (b"x", [root, leaf])


@pytest.mark.parametrize("kind", [Kind.DIRECTORY, Kind.SYMLINK, Kind.METADATA, Kind.HAMT_SHARD])
def test_what_is_no_file(kind: Kind) -> None:
    """The message says what it is."""
    blocks = Blocks()
    root = blocks.put(node([], kind=kind), DAG_PB)

    with pytest.raises(UnsupportedStorageError, match=kind.name.split("_")[0].lower()):
        read(blocks, root, 1)


def test_leaves_of_other_codecs() -> None:
    """A block of DAG-CBOR holds no bytes of a file."""
    blocks = Blocks()
    leaf = blocks.put(b"\xa0", 0x71)
    root = blocks.put(node([(b"", leaf)], sizes=[1], size=1), DAG_PB)

    with pytest.raises(UnsupportedStorageError, match="0x71"):
        read(blocks, root, 1)


@given(st.binary(max_size=300))
def test_any_bytes_are_a_node_or_our_error(data: bytes) -> None:
    """No other exception; what is decoded adds up."""
    try:
        found = decode_node(LEAF, data)
    except AtdataError:
        return
    if found.kind in (Kind.FILE, Kind.RAW):
        assert found.size == len(found.data) + sum(link.size for link in found.links)


@given(st.data())
def test_changed_blocks_are_a_node_or_our_error(data: st.DataObject) -> None:
    """Starting from a right one, which random bytes hardly ever are."""
    block = bytearray(node([(b"name", LEAF)] * 3, data=b"abc", sizes=[4, 300, 2], size=309))
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(block) - 1))
        if data.draw(st.booleans()):
            block[place] = data.draw(st.integers(0, 255))
        else:
            del block[place]
    try:
        found = decode_node(LEAF, bytes(block))
    except AtdataError:
        return
    if found.kind in (Kind.FILE, Kind.RAW):
        assert found.size == len(found.data) + sum(link.size for link in found.links)


def test_names_in_folders() -> None:
    """Each leads to its CID, others nowhere."""
    other = cid_of(b"other", RAW)
    block = folder({b"a": LEAF, b"b \xc3\xa9": other})
    found = decode_node(cid_of(block, DAG_PB), block)

    assert find_entry(found, b"b \xc3\xa9", 0) == (other, True)
    assert find_entry(found, b"c", 0) is None


@pytest.mark.parametrize(
    ("name", "hashed"),
    [
        (b"", 0),
        (b"hello", 0xCBD8A7B341BD9B02),
        (b"hello, world", 0x342FAC623A5EBC8E),
        (b"19 Jan 2038 at 3:14:07 AM", 0xB89E5988B737AFFC),
        (b"The quick brown fox jumps over the lazy dog.", 0xCD99481F9EE902C9),
    ],
)
def test_hash_of_names(name: bytes, hashed: int) -> None:
    """The values that the tests of the Go package spaolacci/murmur3 have."""
    assert murmur3_x64_64(name) == hashed


def test_sharded_folders_of_other_makes_are_refused() -> None:
    """Another hash, a fanout that is no power of two or too large; and a name whose hash is used up."""
    for hash_type, fanout in ((0x23, 256), (MURMUR3_X64_64, 255), (MURMUR3_X64_64, 4096), (MURMUR3_X64_64, 0)):
        block = node([], kind=Kind.HAMT_SHARD, more=[(5, hash_type), (6, fanout)])
        with pytest.raises(UnsupportedStorageError):
            find_entry(decode_node(LEAF, block), b"a", 0)
    block = node([], kind=Kind.HAMT_SHARD, more=[(5, MURMUR3_X64_64), (6, 256)])
    assert find_entry(decode_node(LEAF, block), b"a", 7) is None
    with pytest.raises(IntegrityError):
        find_entry(decode_node(LEAF, block), b"a", 8)
