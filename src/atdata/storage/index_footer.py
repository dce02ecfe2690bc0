"""The frame of a shard's index: where it stands, where its digests lie in it, and which header stands before it.

What the index says of samples is `atdata.data.index`, which builds on this module; here is only what is needed to check
a shard block by block without knowing what its bytes mean. The format is frozen: ``docs/format.md``, section 3.
"""

import struct
from dataclasses import dataclass

from atdata.errors import IntegrityError

NAME = "__index__"
DIGEST_BLOCK = 256 << 10  # bytes of a shard that one BLAKE3 digest covers
DIGEST_BYTES = 32
MAX_PAYLOAD = 256 << 20  # bytes; 60 million counted samples, or 6 million keys of 36 characters
TAIL = 64 << 10  # bytes at the end of a shard that are read first: enough for about 10,000 counted samples
END_BYTES = 1024  # zeros that end an archive

TAR_BLOCK = 512
MAGIC = b"ATDINDEX"
VERSION = 1
COUNTED = 1  # flag: keys are the counted ones
FOOTER = struct.Struct("<8sHHIQQQQ16x")  # magic, version, flags, crc32, n, body bytes, body offset, shard number


@dataclass(frozen=True, slots=True)
class Frame:
    """Where the index of a shard stands.

    Attributes:
        start: Of its header; the blocks that have digests end here.
        payload: Where its payload begins.
        digests: Where its digests begin.
        zeros: Where its digests end.
        stop: Where its payload ends, 1,024 bytes before the end of the shard.
    """

    start: int
    payload: int
    digests: int
    zeros: int
    stop: int


def zeros_after(body: int) -> int:
    """Zeros between a body of so many bytes and the footer, so that the payload is a multiple of 512."""
    return -(body + FOOTER.size) % TAR_BLOCK


def count_blocks(size: int) -> int:
    """Digests that an index has for ``size`` bytes before it."""
    return -(-size // DIGEST_BLOCK)


def find_frame(footer: bytes, size: int) -> Frame | None:
    """What the footer of a shard says; None where it is none, or of a format that this release does not know.

    Args:
        footer: The 64 bytes that stand 1,088 bytes before the end of the shard.
        size: Bytes of the shard.

    Raises:
        IntegrityError: It says a place that it has not.
    """
    if len(footer) != FOOTER.size or not footer.startswith(MAGIC):
        return None
    _, version, flags, _, count, body, payload, _ = FOOTER.unpack(footer)
    if version != VERSION or flags & ~COUNTED:
        return None
    stop = size - END_BYTES
    length = body + zeros_after(body) + FOOTER.size
    digests = payload + body - DIGEST_BYTES * count_blocks(payload - TAR_BLOCK)
    if payload != stop - length or payload < 2 * TAR_BLOCK or digests < payload + 4 * (count + 1):
        raise IntegrityError("the index says a place that it has not")
    return Frame(payload - TAR_BLOCK, payload, digests, payload + body, stop)


def index_header(length: int) -> bytes:
    """The 512 bytes that stand before an index of so many bytes, as the format has them."""
    header = bytearray(TAR_BLOCK)
    fields = {100: b"0000644", 108: b"0000000", 116: b"0000000", 124: b"%011o" % length, 136: b"00000000000"}
    fields |= {0: NAME.encode(), 156: b"0", 257: b"ustar", 263: b"00", 329: b"0000000", 337: b"0000000"}
    for place, text in fields.items():
        header[place : place + len(text)] = text
    header[148:156] = b"%06o\0 " % (sum(header) + 8 * ord(" "))
    return bytes(header)
