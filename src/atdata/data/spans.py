"""Samples that stand where an index says, one plain member each: found and checked without looking for headers.

The common case of random access. What is odd in any way is left to `atdata.data.headers` and `atdata.data.members`,
with the same result.
"""

from zlib import adler32

import numpy as np
from numpy.typing import NDArray

from atdata.data.headers import NAME_BYTES, Members, has_magic, plain_headers
from atdata.data.tar import BLOCK, padding

_ADLER = 65521  # RFC 1950; the low half of an Adler-32 is 1 + the sum of all bytes, modulo this prime
_SUFFIX = b".msgpack"
_LENGTH = 6 + 1 + 8 + len(_SUFFIX) + 1  # ``000000-00000000.msgpack`` and the end of the name
_TENS = 10 ** np.arange(7, -1, -1, dtype=np.int64)  # what each of the 8 digits of a counted key counts


def members_at(data: NDArray[np.uint8], places: NDArray[np.int64]) -> Members | None:
    """The members of spans of tar bytes that hold one plain member each; None where one does not.

    Args:
        data: The spans, one after another. Their number is not 0.
        places: Where each begins, then where the last one ends. Shape ``(n + 1,)``.
    """
    headers = data.reshape(-1, BLOCK)[places[:-1] // BLOCK]
    sizes, plain, is_file, _ = plain_headers(headers)
    ends = places[:-1] + BLOCK + (sizes + BLOCK - 1) // BLOCK * BLOCK
    if not (plain & is_file & has_magic(headers) & (ends == places[1:])).all():
        return None
    return Members(data, places[:-1], places[:-1], sizes, {})


def are_counted(members: Members, shards: NDArray[np.int64], numbers: NDArray[np.int64]) -> bool:
    """Whether the members are the ``.msgpack`` members of these samples of these shards, by their counted keys."""
    if int(shards.max()) >= 10**6 or int(numbers.max()) >= 10**8:
        return False
    expected = np.empty((len(numbers), _LENGTH), np.uint8)
    expected[:, :6] = shards[:, None] // _TENS[2:] % 10 + ord("0")
    expected[:, 6] = ord("-")
    expected[:, 7:15] = numbers[:, None] // _TENS % 10 + ord("0")
    expected[:, 15:] = np.frombuffer(_SUFFIX + b"\0", np.uint8)
    return bool((members.name_field()[:, :_LENGTH] == expected).all())


def plain_payload(data: memoryview) -> tuple[bytes, memoryview] | None:
    """Key and bytes of one plain ``.msgpack`` member whose header is right and which fills ``data``; else None.

    Without numpy, whose calls cost more than a small sample.
    """
    header = data[:BLOCK].tobytes()
    try:
        size, stated = int(header[124:135], 8), int(header[148:154], 8)
    except ValueError:
        return None
    end = BLOCK + size
    if header[156:157] != b"0" or header[257:262] != b"ustar" or header[345] or end + padding(size) != len(data):
        return None
    # The checksum is that of a header whose checksum field is eight spaces.
    if adler32(header) & 0xFFFF != (1 + stated - 8 * ord(" ") + sum(header[148:156])) % _ADLER:
        return None
    key, dot, rest = header[:NAME_BYTES].partition(b".")
    if rest.rstrip(b"\0") != _SUFFIX[1:] or not dot or key[:2] == b"__":
        return None
    return key, data[BLOCK:end]
