"""Files of IPFS made by hand: blocks, the graphs that they form, and CARs of them, also such as nobody should make."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from atdata.storage.unixfs import Kind
from atdata.syntax import DAG_PB, RAW, SHA2_256, Cid


def varint(number: int) -> bytes:
    """An unsigned varint."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def message(*fields: tuple[int, int | bytes]) -> bytes:
    """A protobuf message."""
    parts = []
    for number, value in fields:
        if isinstance(value, int):
            parts.append(varint(number << 3) + varint(value))
        else:
            parts.append(varint(number << 3 | 2) + varint(len(value)) + value)
    return b"".join(parts)


def cid_of(block: bytes, codec: int, *, version: int = 1) -> Cid:
    """The CID of a block by sha-256."""
    return Cid(version, codec, SHA2_256, hashlib.sha256(block).digest())


def node(
    links: Sequence[tuple[bytes, Cid]],
    *,
    kind: int = Kind.FILE,
    data: bytes | None = None,
    sizes: Iterable[int] = (),
    size: int | None = None,
    more: Sequence[tuple[int, int]] = (),
) -> bytes:
    """A dag-pb block of UnixFS, right or wrong."""
    unixfs: list[tuple[int, int | bytes]] = [(1, int(kind))]
    if data is not None:
        unixfs.append((2, data))
    if size is not None:
        unixfs.append((3, size))
    unixfs += [(4, part) for part in sizes]
    entries = [(2, message((1, bytes(cid)), (2, name), (3, 0))) for name, cid in links]
    return message(*entries, (1, message(*unixfs, *more)))


@dataclass
class Blocks:
    """Blocks by CID, and the files that they make."""

    blocks: dict[Cid, bytes] = field(default_factory=dict)
    children: dict[Cid, list[tuple[Cid, int]]] = field(default_factory=dict)

    def put(self, block: bytes, codec: int, *, version: int = 1) -> Cid:
        """Keep a block; its CID."""
        cid = cid_of(block, codec, version=version)
        self.blocks[cid] = block
        return cid

    def add(self, content: bytes, *, chunk: int = 1000, links: int = 4) -> Cid:
        """A balanced file with raw leaves; its root."""
        level = [
            (self.put(content[at : at + chunk], RAW), len(content[at : at + chunk]))
            for at in range(0, max(len(content), 1), chunk)
        ]
        while len(level) > 1:
            level = [self._parent(level[at : at + links]) for at in range(0, len(level), links)]
        return level[0][0]

    def _parent(self, parts: list[tuple[Cid, int]]) -> tuple[Cid, int]:
        size = sum(part for _, part in parts)
        block = node([(b"", cid) for cid, _ in parts], sizes=[part for _, part in parts], size=size)
        cid = self.put(block, DAG_PB)
        self.children[cid] = parts
        return cid, size

    def in_order(self, root: Cid, start: int = 0, stop: int | None = None) -> Iterator[Cid]:
        """The CIDs of a file, depth first, of those that have bytes from ``start`` up to ``stop``."""
        pending = [(root, 0, float("inf"))]
        while pending:
            cid, begin, size = pending.pop()
            if begin + size <= start or (stop is not None and begin >= stop):
                continue
            yield cid
            place, below = begin, []
            for child, length in self.children.get(cid, ()):
                below.append((child, place, length))
                place += length
            pending += reversed(below)

    def car(self, cids: Iterable[Cid]) -> bytes:
        """A CAR of blocks in the order given."""
        return car((cid, self.blocks[cid]) for cid in cids)


def car(blocks: Iterable[tuple[Cid, bytes]], *, header: bytes | None = None) -> bytes:
    """A CARv1 of blocks, whether or not these are what their CIDs say."""
    if header is None:
        header = b"\xa2eroots\x80gversion\x01"
    return varint(len(header)) + header + b"".join(section(cid, block) for cid, block in blocks)


def section(cid: Cid, block: bytes) -> bytes:
    """One block as it stands in a CAR."""
    return varint(len(bytes(cid)) + len(block)) + bytes(cid) + block


def folder(entries: Mapping[bytes, Cid]) -> bytes:
    """The block of a folder."""
    return node(list(entries.items()), kind=Kind.DIRECTORY)
