"""The tar format: headers written and read, and a plain walk over the members of a shard.

Written: ustar, with every field that could differ from run to run set to zero; PAX only where ustar cannot say it.
Read: ustar, v7, PAX and GNU long names. The walk is the reference that faster readers (`atdata.data.blocks`) are
tested against. What samples are is the naming rule of webdataset, `split_name`; nothing is ever extracted to a path.

Sources: POSIX.1-2017, pax, "ustar Interchange Format" and "pax Extended Header"; GNU tar manual, "Basic Tar Format";
webdataset 1.0.2, ``tariterators.py``.
"""

import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass

from atdata.errors import LimitError, ShardError
from atdata.storage.base import Stream

BLOCK = 512  # bytes
END = bytes(2 * BLOCK)  # the end of an archive; no blocking factor beyond it
MAX_USTAR_SIZE = 8**11 - 1  # bytes; eleven octal digits
MAX_USTAR_NAME = 100  # bytes
MAX_EXTENDED = 1 << 20  # bytes of one PAX header or GNU long name that are believed
MAX_MEMBER = 1 << 32  # bytes of one member that `walk` takes into memory

_MODE_AND_OWNERS = b"0000644\x000000000\x000000000\x00"
_MTIME = b"00000000000\0"
_MAGIC = b"ustar\x0000"
_DEVICES = b"0000000\x000000000\x00"
_CHECKSUM = b" " * 8  # counts as spaces while the sum is taken
_PAX_NAME = b"././@PaxHeader"

_NO_DATA = frozenset(b"123456")  # links, devices, directories, FIFOs: nothing follows, whatever the size says
_REGULAR = frozenset(b"07\0")
_KEY = re.compile(r"^((?:.*/|)[^.]+)[.]([^/]*)$")  # webdataset, base_plus_ext
_META = re.compile(r"__[^/]*__($|/)")  # webdataset, skip_meta


def padding(size: int) -> int:
    """Zeros that follow ``size`` bytes of data up to the next block."""
    return -size % BLOCK


def member_header(name: str, size: int) -> bytes:
    """What stands before the data of a regular file: one block, or three or more where a PAX header is needed.

    The same name and size always give the same bytes: mode 0644, mtime, owners and device numbers 0, empty owner names.
    A PAX header is written for a name of more than 100 bytes or beyond ASCII (record ``path``) and for 8 GiB or more
    (record ``size``), in this order; the ustar header after it then has the name cut to 100 bytes, with ``?`` for what
    is not ASCII, and the size 0 where it does not fit.
    """
    records = b""
    raw = name.encode("utf-8")
    if len(raw) > MAX_USTAR_NAME or not name.isascii():
        records += pax_record(b"path", raw)
        raw = name.encode("ascii", "replace")[:MAX_USTAR_NAME]
    if size > MAX_USTAR_SIZE:
        records += pax_record(b"size", b"%d" % size)
        size = 0
    header = _header(raw, size, b"0")
    if not records:
        return header
    return _header(_PAX_NAME, len(records), b"x") + records + bytes(padding(len(records))) + header


def _header(name: bytes, size: int, kind: bytes) -> bytes:
    middle, tail, total = _frame(size, kind)
    return b"%b%b%06o\0 %b" % (name.ljust(MAX_USTAR_NAME, b"\0"), middle, total + sum(name), tail)


@functools.lru_cache(maxsize=4096)
def _frame(size: int, kind: bytes) -> tuple[bytes, bytes, int]:
    """What stands between name and checksum, what stands behind it, and the sum of both."""
    middle = _MODE_AND_OWNERS + b"%011o\0" % size + _MTIME
    tail = kind + bytes(100) + _MAGIC + bytes(64) + _DEVICES + bytes(167)
    return middle, tail, sum(middle) + sum(_CHECKSUM) + sum(tail)


def pax_record(key: bytes, value: bytes) -> bytes:
    """``LENGTH KEY=VALUE\\n``, the length counting its own digits."""
    rest = len(key) + len(value) + 3
    length = rest + len(str(rest))
    length = rest + len(str(length))
    return b"%d %b=%b\n" % (length, key, value)


@dataclass(frozen=True, slots=True)
class Header:
    """One header block.

    Attributes:
        name: Name as the block has it, before any PAX or GNU long name.
        size: Bytes of data that follow, without their padding.
        kind: The type flag: ``0``, NUL and ``7`` regular, ``x`` and ``g`` PAX, ``L`` and ``K`` GNU long names ...
    """

    name: str
    size: int
    kind: int

    @property
    def is_regular(self) -> bool:
        """True for a file with data of its own; the old way to write a directory is a name that ends in ``/``."""
        return self.kind in _REGULAR and not (self.kind == 0 and self.name.endswith("/"))


def parse_header(block: bytes | bytearray | memoryview) -> Header:
    """Read one header block of 512 bytes that is not all zeros.

    Raises:
        ShardError: The checksum is wrong, or a number is none.
    """
    raw = bytes(block)
    if len(raw) != BLOCK:
        raise ShardError(f"a tar header has 512 bytes, here are {len(raw)}")
    try:
        stated = _number(raw[148:156])
    except ShardError as error:
        raise ShardError(_not_a_header(raw)) from error
    if stated not in (_checksum(raw), _signed_checksum(raw)):
        raise ShardError(_not_a_header(raw))
    name = _text(raw[:100])
    if raw[257:263] == b"ustar\0" and raw[345]:  # old GNU headers keep times where POSIX has the prefix
        name = f"{_text(raw[345:500])}/{name}"
    return Header(name, _number(raw[124:136]), raw[156])


def _checksum(raw: bytes) -> int:
    return sum(raw) - sum(raw[148:156]) + sum(_CHECKSUM)


def _signed_checksum(raw: bytes) -> int:
    """As some old writers took it, with bytes of -128 to 127."""
    above = sum(byte > 127 for byte in raw[:148]) + sum(byte > 127 for byte in raw[156:])
    return _checksum(raw) - 256 * above


def _text(raw: bytes) -> str:
    return raw.split(b"\0", 1)[0].decode("utf-8", "surrogateescape")


def _number(raw: bytes) -> int:
    """Octal digits, or GNU's base 256 with the top bit set."""
    if raw[0] == 0x80:
        return int.from_bytes(raw[1:], "big")
    digits = raw.split(b"\0", 1)[0].strip(b" ")
    if not digits:
        return 0
    if digits.strip(b"01234567"):
        raise ShardError(f"a tar header has {raw!r} where a number belongs")
    return int(digits, 8)


def _not_a_header(raw: bytes) -> str:
    if raw[:2] == b"\x1f\x8b":
        return "this is gzip, not a tar: name it .tar.gz or .tgz"
    if raw[:4] == b"\x28\xb5\x2f\xfd":
        return "this is zstd, not a tar: name it .tar.zst"
    if raw.lstrip()[:1] == b"<":
        return f"this is HTML or XML, not a tar: it begins {raw.lstrip()[:40].decode('latin1')!r}"
    return "a tar header has a wrong checksum: this is no tar, or it is damaged"


@dataclass(frozen=True, slots=True)
class Member:
    """One regular file of a tar.

    Attributes:
        name: Its name, from the PAX header or GNU long name where there is one.
        start: Where its first header begins, PAX and GNU headers included, in bytes from the start of the tar.
        offset: Where its data begin.
        size: Bytes of its data.
        data: The data; empty when `walk` was not asked for them.
    """

    name: str
    start: int
    offset: int
    size: int
    data: bytes = b""


def walk(stream: Stream, *, shard: str = "", data: bool = False, before: int = 0) -> Iterator[Member]:
    """The regular files of a tar, one after another, up to the first block of zeros.

    Directories, links, devices and FIFOs are passed over. Memory is one buffer of 1 MiB, and one member when its data
    are wanted.

    Args:
        shard: Name of the shard, for errors.
        data: Whether members carry their data.
        before: Bytes of the tar that stand before the stream, for errors.

    Raises:
        ShardError: The bytes are no tar, stop before its end, or have a sparse member.
        LimitError: A member is larger than 4 GiB and its data are wanted, or an extended header is larger than 1 MiB.
    """
    reader = _Reader(stream, shard)
    start: int | None = None
    extended: dict[str, bytes] = {}
    while True:
        at = reader.position
        block = reader.take(BLOCK)
        if not any(block):
            if start is not None:
                raise ShardError("the tar ends after an extended header, before its member", shard=shard)
            return
        try:
            header = parse_header(block)
            start = at if start is None else start
            if header.kind in b"xgLK":
                if header.size > MAX_EXTENDED:
                    raise LimitError(f"{shard}: an extended header of {header.size:,} bytes", limit=MAX_EXTENDED)
                _extend(extended, header.kind, reader.take(header.size))
                reader.skip(padding(header.size))
                continue
            name, size = _resolve(header, extended)
        except ShardError as error:
            raise ShardError(f"byte {before + at:,}: {error}", shard=shard) from error
        if header.kind not in _NO_DATA:
            member = Member(name, start, reader.position, size)
            wanted = header.is_regular and data
            if wanted and size > MAX_MEMBER:
                raise LimitError(f"{shard}: {name[:200]!r} has {size:,} bytes", limit=MAX_MEMBER)
            if wanted:
                member = Member(name, start, member.offset, size, reader.take(size))
            else:
                reader.skip(size)
            reader.skip(padding(size))
            if header.is_regular:
                yield member
        start, extended = None, {}


def parse_pax(data: bytes) -> dict[str, bytes]:
    """The records of a PAX extended header; the last one of a key counts.

    Raises:
        ShardError: A record's length is not that of the record.
    """
    records = {}
    position = 0
    while position < len(data):
        space = data.find(b" ", position, position + 10)
        digits = data[position:space]
        if space < 0 or not digits.isdigit():
            raise ShardError("a PAX header has a record without a length")
        end = position + int(digits)
        key, mark, value = data[space + 1 : end - 1].partition(b"=")
        if end > len(data) or end <= space or not mark or data[end - 1] != 0x0A:
            raise ShardError("a PAX header has a record of a wrong length")
        records[key.decode("utf-8", "surrogateescape")] = value
        position = end
    return records


def _extend(extended: dict[str, bytes], kind: int, payload: bytes) -> None:
    if kind == ord("L"):
        extended.setdefault("path", payload.split(b"\0", 1)[0])
    elif kind == ord("x"):
        extended.update(parse_pax(payload))
    elif kind == ord("g") and not parse_pax(payload).keys().isdisjoint(("path", "size")):
        raise ShardError("a global PAX header gives all members one name or size")


def _resolve(header: Header, extended: dict[str, bytes]) -> tuple[str, int]:
    """Name and size, of which an extended header knows better."""
    if header.kind == ord("S") or any(key.startswith("GNU.sparse.") for key in extended):
        raise ShardError(f"{header.name[:200]!r} is a sparse member, which no dataset needs")
    name = extended["path"].decode("utf-8", "surrogateescape") if "path" in extended else header.name
    if "size" not in extended:
        return name, header.size
    if not extended["size"].isdigit() or len(extended["size"]) > 20:
        raise ShardError(f"a PAX header gives the size {extended['size'][:40]!r}")
    return name, int(extended["size"])


class _Reader:
    """Exact reads from a stream."""

    def __init__(self, stream: Stream, shard: str) -> None:
        self.position = 0
        self._stream = stream
        self._shard = shard
        self._buffer = bytearray(1 << 20)

    def take(self, size: int) -> bytes:
        """The next ``size`` bytes. Memory grows with what comes, not with what a header says."""
        parts = bytearray()
        while len(parts) < size:
            parts += self._some(size - len(parts))
        return bytes(parts)

    def skip(self, size: int) -> None:
        while size:
            size -= len(self._some(size))

    def _some(self, size: int) -> memoryview:
        view = memoryview(self._buffer)[: min(size, len(self._buffer))]
        count = self._stream.readinto(view)
        if not count:
            raise ShardError(
                "this is empty" if not self.position else f"cut short at byte {self.position:,}, before the end blocks",
                shard=self._shard,
            )
        self.position += count
        return view[:count]


def split_name(name: str) -> tuple[str, str] | None:
    """``(key, extension)`` of a member's name, as webdataset splits it; None for a member that it passes over.

    The key ends at the first dot of the base name, the extension is in lower case. Passed over are names without a key
    or a dot, and those whose first part begins and ends with ``__``.

    Example:
        >>> split_name("a/0001.Seg.PNG")
        ('a/0001', 'seg.png')
        >>> split_name("__index__")
    """
    match = _KEY.match(name)
    if match is None or _META.match(name):
        return None
    return match[1], match[2].lower()
