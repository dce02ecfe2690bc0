"""Names in folders of IPFS: plain ones, and those that are sharded over many blocks (HAMT).

IPFS shards a folder from about 256 KiB on, some 5,000 names. A name's hash says which slot of which block holds it, so
one block a level is fetched, whatever the number of names.
Sources: https://specs.ipfs.tech/unixfs/ (HAMTDirectory); MurmurHash3_x64_128 by Austin Appleby, public domain.
"""

from atdata.errors import IntegrityError, UnsupportedStorageError
from atdata.storage.unixfs import Kind, Node
from atdata.syntax import Cid

MURMUR3_X64_64 = 0x22  # multihash table, "murmur3-x64-64"
MAX_FANOUT = 1024  # slots of one node; everybody writes 256
_MASK = (1 << 64) - 1
_C1, _C2 = 0x87C37B91114253D5, 0x4CF5AD432745937F


def find_entry(node: Node, name: bytes, level: int) -> tuple[Cid, bool] | None:
    """Where a name of a folder leads; None where the folder does not have it.

    Args:
        node: A folder, or a node of a sharded one.
        level: How many nodes of the same sharded folder stand above it.

    Returns:
        A CID, and whether the name itself has been found; else it is that of the next node, to be asked at
        ``level + 1``.

    Raises:
        UnsupportedStorageError: Another hash or fanout than all known writers use.
        IntegrityError: The hash of the name is used up: a folder made to go on for ever.
    """
    if node.kind == Kind.DIRECTORY:
        return next(((link.cid, True) for link in node.links if link.name == name), None)
    prefix = _slot(node, name, level)
    for link in node.links:
        if link.name == prefix:
            return link.cid, False
        if link.name == prefix + name:
            return link.cid, True
    return None


def _slot(node: Node, name: bytes, level: int) -> bytes:
    """The prefix that links have in the slot of a name: its number in hexadecimal, as wide as the largest one."""
    bits = node.fanout.bit_length() - 1
    if node.hash_type != MURMUR3_X64_64 or not 8 <= node.fanout <= MAX_FANOUT or node.fanout != 1 << bits:
        raise UnsupportedStorageError(
            f"a sharded folder with hash 0x{node.hash_type:x} and fanout {node.fanout} is not known", kind="ipfs"
        )
    used = bits * (level + 1)
    if used > 64:
        raise IntegrityError("a sharded folder has more levels than a name has bits")
    slot = murmur3_x64_64(name) >> (64 - used) & (node.fanout - 1)
    return f"{slot:0{len(f'{node.fanout - 1:X}')}X}".encode()


def murmur3_x64_64(data: bytes) -> int:
    """The first half of MurmurHash3_x64_128 with seed 0.

    Example:
        >>> f"{murmur3_x64_64(b'hello'):x}"
        'cbd8a7b341bd9b02'
    """
    first = second = 0
    whole = len(data) // 16 * 16
    for i in range(0, whole, 16):
        low, high = int.from_bytes(data[i : i + 8], "little"), int.from_bytes(data[i + 8 : i + 16], "little")
        first = ((_rotate(first ^ _mix(low, _C1, 31, _C2), 27) + second) * 5 + 0x52DCE729) & _MASK
        second = ((_rotate(second ^ _mix(high, _C2, 33, _C1), 31) + first) * 5 + 0x38495AB5) & _MASK
    tail = data[whole:]
    second ^= _mix(int.from_bytes(tail[8:], "little"), _C2, 33, _C1)
    first ^= _mix(int.from_bytes(tail[:8], "little"), _C1, 31, _C2)
    first, second = first ^ len(data), second ^ len(data)
    first = (first + second) & _MASK
    second = (second + first) & _MASK
    return (_final(first) + _final(second)) & _MASK


def _mix(number: int, before: int, turn: int, after: int) -> int:
    return _rotate(number * before & _MASK, turn) * after & _MASK


def _rotate(number: int, bits: int) -> int:
    return (number << bits | number >> (64 - bits)) & _MASK


def _final(number: int) -> int:
    number = (number ^ number >> 33) * 0xFF51AFD7ED558CCD & _MASK
    number = (number ^ number >> 33) * 0xC4CEB9FE1A85EC53 & _MASK
    return number ^ number >> 33
