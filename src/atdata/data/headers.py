"""Which members lie in a buffer of tar bytes, found for all of them at once.

A header is plain when it is a regular file's, in the form that nearly every writer gives it: ustar or GNU magic,
octal digits, a name of at most 100 bytes, and before it at most one PAX header that holds nothing but ``mtime`` (as
webdataset's writer puts there). The leading run of plain members is found and checked by a few numpy operations over
the whole buffer. From the first member that is anything else on, a plain walk goes from header to header through
`atdata.data.tar`, with the same result. Reading the buffers is `atdata.data.blocks`; what names mean is
`atdata.data.members`.

Source: POSIX.1-2017, pax, "ustar Interchange Format" and "pax Interchange Format".
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from atdata.data.tar import BLOCK, Member, padding, walk
from atdata.errors import ShardError

NAME_BYTES = 100  # length of the name field, which comes first

# Bytes 256 to 263 of a header: the end of an empty link name, magic, the first byte of the version.
_USTAR = np.frombuffer(b"\0ustar\x000", np.uint64)[0]
_GNU = np.frombuffer(b"\0ustar  ", np.uint64)[0]
_OCTAL = 8 ** np.arange(10, -1, -1, dtype=np.int64)  # what each of 11 octal digits counts


@dataclass(frozen=True, slots=True, eq=False)
class Members:
    """The regular files that lie whole in a buffer of tar bytes, in order. ``n`` of them.

    Attributes:
        buffer: Tar bytes; the first one is the first of a header. Shape ``(bytes,)``, uint8.
        starts: Where the first header of each member stands, an extension header (PAX, GNU) if there is one.
            Shape ``(n,)``, int64, positions in ``buffer``.
        headers: Where its own header stands. Shape ``(n,)``, int64. Its bytes begin 512 further.
        sizes: Its length in bytes, without padding. Shape ``(n,)``, int64.
        names: Names of the members whose header alone does not say them, by number.
    """

    buffer: NDArray[np.uint8]
    starts: NDArray[np.int64]
    headers: NDArray[np.int64]
    sizes: NDArray[np.int64]
    names: dict[int, str]

    def __len__(self) -> int:
        return len(self.headers)

    def name_field(self) -> NDArray[np.uint8]:
        """The name fields of all headers, as they stand there. Shape ``(n, 100)``, uint8, a copy."""
        rows = self.buffer[: len(self.buffer) // BLOCK * BLOCK].reshape(-1, BLOCK)
        return rows[:, :NAME_BYTES][self.headers // BLOCK]

    def all_names(self) -> list[str]:
        """The names of all members, in order."""
        raw = self.name_field().view(f"S{NAME_BYTES}").ravel().tolist()
        names = [name.partition(b"\0")[0].decode("utf-8", "surrogateescape") for name in raw]
        for number, name in self.names.items():
            names[number] = name
        return names

    def name(self, number: int) -> str:
        """The name of one member."""
        if number in self.names:
            return self.names[number]
        start = int(self.headers[number])
        raw = self.buffer[start : start + NAME_BYTES].tobytes()
        return raw.partition(b"\0")[0].decode("utf-8", "surrogateescape")

    def first(self, count: int) -> "Members":
        """The first ``count`` members, in the same buffer."""
        names = {number: name for number, name in self.names.items() if number < count}
        return Members(self.buffer, self.starts[:count], self.headers[:count], self.sizes[:count], names)


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """What a buffer holds.

    Attributes:
        members: The members that lie whole in it, padding included.
        end: Where what comes after them begins: a member that is not whole, or the end of the archive.
        finished: True when that is the end of the archive.
    """

    members: Members
    end: int
    finished: bool


def find_members(buffer: NDArray[np.uint8], *, shard: str = "", position: int = 0, at_end: bool = False) -> Found:
    """Find the members of a buffer that begins with a header.

    Args:
        shard: Name of the shard, for errors.
        position: Where in the shard the buffer begins, in bytes, for errors.
        at_end: No bytes follow the buffer.

    Raises:
        ShardError: A header is damaged, a member is sparse, or a lone block of zeros is followed by something else.
        LimitError: An extended header is larger than 1 MiB.
    """
    members, end, exhausted = plain_members(buffer)
    if exhausted:
        return Found(members, end, finished=False)
    return _walk_on(members, end, shard=shard, position=position, at_end=at_end)


def plain_members(buffer: NDArray[np.uint8]) -> tuple[Members, int, bool]:
    """The plain members at the start of a buffer, up to the first that is odd or not whole.

    Returns:
        The members, where they end, and whether the buffer ends there or in the midst of another plain member.
    """
    rows = buffer[: len(buffer) // BLOCK * BLOCK].reshape(-1, BLOCK)
    candidates = np.flatnonzero(has_magic(rows))
    if len(candidates) == 0 or candidates[0] != 0:
        nothing = candidates[:0]
        return _members(buffer, nothing, nothing, nothing), 0, len(rows) == 0
    headers = rows[candidates]
    sizes, plain, is_file, is_pax = plain_headers(headers)
    plain &= is_file | is_pax
    plain[is_pax] &= _only_mtime(rows, candidates[is_pax], sizes[is_pax])
    plain[1:] &= ~(is_pax[1:] & is_pax[:-1])
    # A candidate may be the content of a member, a tar in a tar: each has to stand where the one before it ends.
    following = candidates + 1 + (sizes + BLOCK - 1) // BLOCK
    plain[1:] &= following[:-1] == candidates[1:]
    count = len(plain) if plain.all() else int(plain.argmin())
    exhausted = count > 0 and bool(following[count - 1] >= len(rows))
    files = np.flatnonzero(is_file[:count] & (following[:count] <= len(rows)))
    starts = candidates[np.where((files > 0) & is_pax[files - 1], files - 1, files)]
    end = int(following[files[-1]]) * BLOCK if len(files) else 0
    return _members(buffer, starts, candidates[files], sizes[files]), end, exhausted


def plain_headers(
    headers: NDArray[np.uint8],
) -> tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]:
    """Size, whether it is well formed and right by its checksum, whether it is a file's, and whether a PAX header.

    Args:
        headers: Header blocks that have a magic. Shape ``(n, 512)``.
    """
    sizes, plain = _sizes(headers)
    plain &= (headers[:, 345] == 0) & _checksums_agree(headers)  # no prefix to the name
    types = headers[:, 156]
    return sizes, plain, types == ord("0"), types == ord("x")


def has_magic(headers: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Which blocks may be ustar or GNU headers. Shape ``(n, 512)``, aligned."""
    magic = headers.view(np.uint64)[:, 256 // 8]
    found: NDArray[np.bool_] = (magic == _USTAR) | (magic == _GNU)
    return found


def _walk_on(plain: Members, end: int, *, shard: str, position: int, at_end: bool) -> Found:
    """Go on from ``end`` by the plain walk, up to the end of the buffer or of the archive."""
    buffer = plain.buffer
    rest = _Rest(buffer.data[end:])
    walked: list[Member] = []
    zeros = None
    try:
        walked.extend(walk(rest, shard=shard, before=position + end))
        zeros = end + rest.position - BLOCK
    except _NoMoreBytes:
        pass
    members = _append(plain, walked, end)
    if walked:
        last = walked[-1]
        end += last.offset + last.size + padding(last.size)
    if zeros is None:
        return Found(members, end, finished=False)
    after = buffer[zeros + BLOCK : zeros + 2 * BLOCK]
    if len(after) == BLOCK and after.any():
        at = position + zeros
        raise ShardError(f"byte {at:,}: a lone block of zeros amid the tar, which is damaged", shard=shard)
    # A tar may end after a single block of zeros; but then it has to end there.
    return Found(members, end, finished=len(after) == BLOCK or at_end)


def _append(plain: Members, walked: list[Member], end: int) -> Members:
    if not walked:
        return plain
    return Members(
        plain.buffer,
        np.append(plain.starts, [end + member.start for member in walked]),
        np.append(plain.headers, [end + member.offset - BLOCK for member in walked]),
        np.append(plain.sizes, [member.size for member in walked]),
        {len(plain) + number: member.name for number, member in enumerate(walked)},
    )


class _NoMoreBytes(Exception):
    """The walk has come to the end of the buffer, which need not be that of the shard."""


class _Rest:
    """A stream over the rest of a buffer."""

    def __init__(self, view: memoryview) -> None:
        self.position = 0
        self._view = view

    def readinto(self, buffer: memoryview, /) -> int:
        piece = self._view[self.position : self.position + len(buffer)]
        if not piece:
            raise _NoMoreBytes
        buffer[: len(piece)] = piece
        self.position += len(piece)
        return len(piece)

    def close(self) -> None:
        """Nothing to release."""


def _members(
    buffer: NDArray[np.uint8], starts: NDArray[np.int64], headers: NDArray[np.int64], sizes: NDArray[np.int64]
) -> Members:
    return Members(buffer, starts * BLOCK, headers * BLOCK, sizes, {})


def _sizes(headers: NDArray[np.uint8]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The size fields, and for which of them they are 11 octal digits and an end."""
    digits = headers[:, 124:135] - np.uint8(ord("0"))
    ends = headers[:, 135]
    return digits @ _OCTAL, (digits <= 7).all(1) & ((ends == 0) | (ends == ord(" ")))


def _checksums_agree(headers: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """True where the checksum is right and written as six digits, NUL, space."""
    field = headers[:, 148:156]
    digits = field[:, :6] - np.uint8(ord("0"))
    # The checksum is that of a header whose checksum field is eight spaces.
    total = _byte_sums(headers) - field.sum(1, dtype=np.int64) + 8 * ord(" ")
    written = (digits <= 7).all(1) & (field[:, 6] == 0) & (field[:, 7] == ord(" "))
    agree: NDArray[np.bool_] = written & (digits @ _OCTAL[5:] == total)
    return agree


def _byte_sums(headers: NDArray[np.uint8]) -> NDArray[np.int64]:
    """The sum of the bytes of each header. They mostly differ in name and size alone: what is equal is summed once."""
    words = headers.view(np.uint64)
    differing = np.flatnonzero((words != words[0]).any(0))
    others = words.take(differing, 1).view(np.uint8).sum(1, dtype=np.int64)
    sums: NDArray[np.int64] = others + (headers[0].sum(dtype=np.int64) - others[0])
    return sums


def _only_mtime(rows: NDArray[np.uint8], candidates: NDArray[np.int64], sizes: NDArray[np.int64]) -> NDArray[np.bool_]:
    """True where the body of a PAX header is one record of at most 99 bytes, ``NN mtime=...``."""
    inside = candidates + 1 < len(rows)
    body = rows[np.where(inside, candidates + 1, 0)]
    digits = body[:, :2] - np.uint8(ord("0"))
    length = digits[:, 0] * np.int64(10) + digits[:, 1]
    starts_right = (body[:, 2:9] == np.frombuffer(b" mtime=", np.uint8)).all(1)
    ends_right = body[np.arange(len(body)), np.clip(length - 1, 0, 99)] == ord("\n")
    only: NDArray[np.bool_] = inside & (digits <= 9).all(1) & (length == sizes) & starts_right & ends_right
    return only
