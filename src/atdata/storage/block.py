"""Content-addressed blocks: binary CIDs, the digests behind them, and the limits on both.

Text forms of CIDs are `atdata.syntax`'s; what a block means is `atdata.storage.unixfs`'s; streams of blocks are
`atdata.storage.car`'s.
Sources: https://github.com/multiformats/cid, .../unsigned-varint, .../multicodec/blob/master/table.csv.
"""

import hashlib
from collections.abc import Callable
from typing import Any

from atdata.errors import IntegrityError, UnsupportedStorageError
from atdata.syntax import DAG_PB, SHA2_256, Cid

MAX_BLOCK = 4 << 20  # bytes; 2 MiB is what IPFS nodes exchange, some tools write larger ones
MAX_INLINE = 64  # bytes of any digest, and so of content that stands in a CID; Kubo writes 32 unless told otherwise

IDENTITY = 0x00  # multihash table, "identity": the digest is the content
SHA2_512 = 0x13
BLAKE2B_256 = 0xB220


def _blake2b_256(data: memoryview | bytes) -> Any:
    return hashlib.blake2b(data, digest_size=32)


_HASHES: dict[int, tuple[int, Callable[[memoryview | bytes], Any]]] = {
    SHA2_256: (32, hashlib.sha256),
    SHA2_512: (64, hashlib.sha512),
    BLAKE2B_256: (32, _blake2b_256),
}


def multihash(cid: Cid) -> tuple[int, bytes]:
    """What two CIDs of the same bytes have in common, whatever their version and codec."""
    return cid.hash_code, cid.digest


def is_checkable(cid: Cid) -> bool:
    """Whether the digest of a CID is one that `is_block_of` can check."""
    if cid.hash_code == IDENTITY:
        return len(cid.digest) <= MAX_INLINE
    known = _HASHES.get(cid.hash_code)
    return known is not None and known[0] == len(cid.digest)


def require_checkable(cid: Cid) -> None:
    """Refuse a CID whose content could not be checked.

    Raises:
        UnsupportedStorageError: Its hash is none of sha2-256, sha2-512, blake2b-256 and identity, or was shortened.
    """
    if not is_checkable(cid):
        raise UnsupportedStorageError(
            f"{cid}: its hash (function 0x{cid.hash_code:x}, {len(cid.digest)} bytes) cannot be checked; known are "
            f"sha2-256, sha2-512, blake2b-256 in full length, and identity up to {MAX_INLINE} bytes",
            kind="ipfs",
        )


def is_block_of(cid: Cid, data: memoryview | bytes) -> bool:
    """Whether bytes are those that a CID names. False as well where its hash is not known."""
    if not is_checkable(cid):
        return False
    if cid.hash_code == IDENTITY:
        return cid.digest == data
    return bool(_HASHES[cid.hash_code][1](data).digest() == cid.digest)


def read_varint(data: memoryview | bytes, position: int) -> tuple[int, int]:
    """An unsigned varint and the position after it.

    Raises:
        IntegrityError: It is cut, longer than nine bytes, or not in its shortest form.
    """
    value = 0
    for i in range(9):
        if position + i >= len(data):
            raise IntegrityError("a varint is cut")
        byte = data[position + i]
        value |= (byte & 0x7F) << (7 * i)
        if byte < 0x80:
            if not byte and i:
                raise IntegrityError("a varint is longer than it need be")
            return value, position + i + 1
    raise IntegrityError("a varint is longer than nine bytes")


def read_cid(data: memoryview | bytes, position: int = 0) -> tuple[Cid, int]:
    """A binary CID of version 0 or 1, and the position after it.

    Raises:
        IntegrityError: There is none, or its digest is longer than 64 bytes.
    """
    if bytes(data[position : position + 2]) == b"\x12\x20":
        digest, end = _digest(data, position + 2, 32)
        return Cid(0, DAG_PB, SHA2_256, digest), end
    version, position = read_varint(data, position)
    if version != 1:
        raise IntegrityError(f"a CID of version {version}")
    codec, position = read_varint(data, position)
    hash_code, position = read_varint(data, position)
    length, position = read_varint(data, position)
    if length > MAX_INLINE:
        raise IntegrityError(f"a CID with a digest of {length:,} bytes")
    digest, position = _digest(data, position, length)
    return Cid(1, codec, hash_code, digest), position


def _digest(data: memoryview | bytes, position: int, length: int) -> tuple[bytes, int]:
    digest = bytes(data[position : position + length])
    if len(digest) < length:
        raise IntegrityError("a CID is cut")
    return digest, position + length
