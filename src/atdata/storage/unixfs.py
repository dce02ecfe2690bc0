"""UnixFS: files and folders as graphs of blocks (dag-pb and raw leaves). Decode one block; walk a file's bytes.

Decoding trusts nothing: a block that is what its CID says may still be made to hurt. Where blocks come from is the
caller's: `file_pieces` asks for them one by one, in the order in which a CAR of order ``dfs`` has them.
Sources: https://specs.ipfs.tech/unixfs/, https://ipld.io/specs/codecs/dag-pb/spec/.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum

from atdata.errors import IntegrityError, LimitError, UnsupportedStorageError
from atdata.storage.block import read_cid, read_varint
from atdata.syntax import DAG_PB, RAW, Cid

MAX_DEPTH = 32  # levels of a file; 174 links a node make 4 levels for 200 TB
MAX_LINKS = 1 << 16  # of one block; a folder of 256 KiB, where sharding begins, has about 5,000
MAX_SIZE = 1 << 44  # bytes of a file, 16 TiB
_MAX_FIELDS = 4 * MAX_LINKS  # of one message; a block of 4 MiB could have two million, which take a second to read
_MAX_NAME = 1024  # bytes of a name in a folder


class Kind(IntEnum):
    """What a node is (``Data.Type`` of UnixFS)."""

    RAW = 0
    DIRECTORY = 1
    FILE = 2
    METADATA = 3
    SYMLINK = 4
    HAMT_SHARD = 5


@dataclass(frozen=True, slots=True)
class Link:
    """A link of a node: ``size`` is of the file's bytes below it, and 0 in folders."""

    name: bytes
    cid: Cid
    size: int


@dataclass(frozen=True, slots=True)
class Node:
    """One decoded dag-pb block.

    Attributes:
        kind: What it is.
        links: In order.
        data: Bytes of the file that stand in the block itself, before those of the links.
        size: Bytes of the file below, and in, this node; 0 for folders.
        hash_type: Of a sharded folder: multihash code of the hash of names.
        fanout: Of a sharded folder: slots of a node.
    """

    kind: Kind
    links: tuple[Link, ...]
    data: memoryview
    size: int
    hash_type: int = 0
    fanout: int = 0


def decode_node(cid: Cid, block: memoryview | bytes) -> Node:
    """Read a dag-pb block that holds UnixFS. ``data`` is a view of ``block``.

    Raises:
        IntegrityError: It is not well formed, or its sizes contradict one another.
        LimitError: More than 65,536 links, or more than 16 TiB.
    """
    try:
        return _decode(memoryview(block))
    except IntegrityError as error:
        raise IntegrityError(f"block {cid} is no file or folder of IPFS: {error}") from None


def _decode(block: memoryview) -> Node:
    links: list[tuple[bytes, Cid]] = []
    data: memoryview | None = None
    for number, value in _fields(block):
        if number == 2 and isinstance(value, memoryview):
            if len(links) == MAX_LINKS:
                raise LimitError(f"a block with more than {MAX_LINKS:,} links", limit=MAX_LINKS)
            links.append(_link(value))
        elif number == 1 and isinstance(value, memoryview) and data is None:
            data = value
        else:
            raise IntegrityError("a field that dag-pb does not have")
    if data is None:
        raise IntegrityError("it has no UnixFS data")
    return _unixfs(data, links)


def _link(value: memoryview) -> tuple[bytes, Cid]:
    cid: Cid | None = None
    name = b""
    for number, field in _fields(value):
        if number == 1 and isinstance(field, memoryview):
            cid, end = read_cid(field)
            if end != len(field):
                raise IntegrityError("bytes stand behind the CID of a link")
        elif number == 2 and isinstance(field, memoryview):
            if len(field) > _MAX_NAME:
                raise IntegrityError(f"a name of {len(field):,} bytes")
            name = bytes(field)
    if cid is None:
        raise IntegrityError("a link without a CID")
    return name, cid


def _unixfs(message: memoryview, links: Sequence[tuple[bytes, Cid]]) -> Node:
    numbers: dict[int, int] = {}
    sizes: list[int] = []
    data = memoryview(b"")
    for number, value in _fields(message):
        if number == 4:
            sizes += [value] if isinstance(value, int) else _packed(value, len(links))
            if len(sizes) > len(links):
                raise IntegrityError("more sizes than links")
        elif number == 2 and isinstance(value, memoryview):
            data = value
        elif isinstance(value, int):
            numbers[number] = value
    try:
        kind = Kind(numbers.get(1, -1))
    except ValueError:
        raise IntegrityError("a type that UnixFS does not have") from None
    if kind not in (Kind.FILE, Kind.RAW):
        entries = tuple(Link(name, cid, 0) for name, cid in links)
        return Node(kind, entries, data, 0, hash_type=numbers.get(5, 0), fanout=numbers.get(6, 0))
    if len(sizes) != len(links):
        raise IntegrityError(f"{len(links)} links with {len(sizes)} sizes")
    size = len(data) + sum(sizes)
    if numbers.get(3, size) != size:
        raise IntegrityError(f"it says {numbers[3]:,} bytes, and its parts have {size:,}")
    if size > MAX_SIZE:
        raise LimitError(f"a file of {size:,} bytes; at most {MAX_SIZE:,} are allowed", limit=MAX_SIZE)
    parts = tuple(Link(name, cid, part) for (name, cid), part in zip(links, sizes, strict=True))
    return Node(kind, parts, data, size)


def _packed(value: memoryview, most: int) -> list[int]:
    """Repeated integers in one field, as newer writers of protobuf may have them; one more than ``most`` at most."""
    numbers: list[int] = []
    position = 0
    while position < len(value) and len(numbers) <= most:
        number, position = _protobuf_varint(value, position)
        numbers.append(number)
    return numbers


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """The fields of a protobuf message: number, and integer or bytes."""
    position = count = 0
    while position < len(message):
        count += 1
        if count > _MAX_FIELDS:
            raise LimitError(f"a message with more than {_MAX_FIELDS:,} fields", limit=_MAX_FIELDS)
        key, position = _protobuf_varint(message, position)
        if key & 7 == 0:
            value, position = _protobuf_varint(message, position)
            yield key >> 3, value
        elif key & 7 == 2:
            length, position = _protobuf_varint(message, position)
            if length > len(message) - position:
                raise IntegrityError("a field is cut")
            yield key >> 3, message[position : position + length]
            position += length
        else:
            raise IntegrityError(f"a field of wire type {key & 7}")


def _protobuf_varint(data: memoryview, position: int) -> tuple[int, int]:
    if position < len(data) and data[position] < 0x80:
        return data[position], position + 1
    return read_varint(data, position)


Fetch = Callable[[Cid, int, Sequence[Cid]], memoryview | bytes]


def file_pieces(root: Cid, size: int, fetch: Fetch, *, start: int, stop: int) -> Iterator[memoryview]:
    """The bytes of a file from ``start`` up to ``stop``, in pieces. Subtrees outside of these are never asked for.

    Every block is held to the size that its parent gives it, before a byte of it is handed out. Depth is bounded, and
    empty subtrees are passed over, so that each block asked for leads to bytes.

    Args:
        root: A raw or dag-pb block.
        size: Of the whole file.
        fetch: Gives the checked block of a CID. It is also told the place of the block's first byte in the file, and
            the CIDs of the blocks above it, root first. The block must hold until the next call.

    Raises:
        IntegrityError: The graph contradicts itself. Other gateways have the same graph.
        UnsupportedStorageError: A block is neither raw nor a part of a file.
    """
    path: list[Cid] = []
    pending = [(root, 0, size, 0)] if start < stop else []
    while pending:
        cid, begin, expected, depth = pending.pop()
        if begin + expected <= start or begin >= stop or not expected:
            continue
        if depth > MAX_DEPTH:
            raise IntegrityError(f"the file {root} has more than {MAX_DEPTH} levels of blocks")
        del path[depth:]
        block = fetch(cid, begin, path)
        data = memoryview(block)
        if cid.codec == DAG_PB:
            node = decode_node(cid, block)
            require_file(cid, node)
            data, found = node.data, node.size
            children = []
            place = begin + len(data)
            for link in node.links:
                children.append((link.cid, place, link.size, depth + 1))
                place += link.size
            pending += reversed(children)
            path.append(cid)
        elif cid.codec == RAW:
            found = len(data)
        else:
            raise UnsupportedStorageError(f"{cid}: codec 0x{cid.codec:x} is no part of a file", kind="ipfs")
        if found != expected:
            raise IntegrityError(f"block {cid} of the file {root} has {found:,} bytes, its parent says {expected:,}")
        piece = data[max(start - begin, 0) : max(stop - begin, 0)]
        if len(piece):
            yield piece


def require_file(cid: Cid, node: Node) -> None:
    """Refuse what is no file.

    Raises:
        UnsupportedStorageError: A folder, a symbolic link, or anything else; the message says what.
    """
    if node.kind not in (Kind.FILE, Kind.RAW):
        raise UnsupportedStorageError(f"{cid} is a {node.kind.name.lower().replace('_', ' ')}, not a file", kind="ipfs")
