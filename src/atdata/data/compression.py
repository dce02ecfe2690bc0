"""Compressed shards: a stream of tar bytes out of a stream of gzip or Zstandard bytes.

What a shard is compressed with is told by the end of its name: ``.tar.gz``, ``.tgz`` or ``.tar.zst``; every other name
passes through as it is. Tar itself is `atdata.data.blocks`. What comes out is bounded, since a few kilobytes of a
hostile file can stand for terabytes: see `MAX_RATIO`.

Sources: RFC 1952 (gzip, several members after one another), RFC 8878 (Zstandard, several frames likewise).
"""

import zlib
from typing import IO, Protocol, cast
from urllib.parse import urlsplit

from atdata.errors import LimitError, ShardError, UnsupportedStorageError
from atdata.storage.base import Stream

GZIP_ENDINGS = (".gz", ".tgz")
ZSTD_ENDINGS = (".zst", ".tzst")

MAX_RATIO = 200
"""Most bytes that may come out for each byte that went in. JSON and label maps reach 20 to 100."""

FREE_BYTES = 64 << 20
"""What may come out whatever the ratio, so that small shards of zeros are no error."""

_INPUT_BYTES = 256 << 10  # compressed bytes taken at a time
_GZIP_WINDOW = zlib.MAX_WBITS | 16  # zlib's manual, inflateInit2: 16 more means a gzip header and trailer
_ZSTD_WINDOW = 128 << 20  # what the zstd tool itself accepts by default (its --long without a number)


def is_compressed(path: str) -> bool:
    """Whether a shard of this name or URL has to be decompressed, so that its bytes cannot be read by range."""
    return _name(path).endswith(GZIP_ENDINGS + ZSTD_ENDINGS)


def decompressed(stream: Stream, path: str) -> Stream:
    """The tar bytes of a shard: ``stream`` itself unless its name says that it is compressed.

    Closing the result closes ``stream``.

    Args:
        stream: The bytes as they are stored.
        path: Name or URL of the shard; a query string of a URL does not count.

    Raises:
        UnsupportedStorageError: The shard is compressed by Zstandard and the extra ``zstd`` is not installed.

    The result's ``readinto`` raises ShardError for damaged or truncated data and LimitError when more comes out than
    `FREE_BYTES` and `MAX_RATIO` allow.
    """
    name = _name(path)
    if name.endswith(GZIP_ENDINGS):
        return _Bounded(_Gzip(_Input(stream), path), path)
    if name.endswith(ZSTD_ENDINGS):
        return _Bounded(_Zstd(_Input(stream), path), path)
    return stream


def _name(path: str) -> str:
    return (urlsplit(path).path if "://" in path else path).lower()


class _Input:
    """The compressed side: reads pieces and counts them."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._buffer = bytearray(_INPUT_BYTES)
        self.count = 0

    def read(self, size: int = _INPUT_BYTES) -> bytes:
        piece = memoryview(self._buffer)[:size]
        count = self._stream.readinto(piece)
        self.count += count
        return bytes(piece[:count])

    def close(self) -> None:
        self._stream.close()


class _Decompressor(Protocol):
    source: _Input

    def readinto(self, buffer: memoryview, /) -> int: ...


class _Bounded:
    """A stream that stops a bomb: it compares what came out with what went in."""

    def __init__(self, inner: _Decompressor, path: str) -> None:
        self._inner = inner
        self._path = path
        self._count = 0

    def readinto(self, buffer: memoryview, /) -> int:
        count = self._inner.readinto(buffer)
        self._count += count
        went_in = self._inner.source.count
        if self._count > FREE_BYTES and self._count > MAX_RATIO * went_in:
            raise LimitError(
                f"{self._path}: {went_in:,} compressed bytes became more than {self._count:,}; "
                f"at most {MAX_RATIO} times as many are allowed",
                limit=MAX_RATIO,
            )
        return count

    def close(self) -> None:
        self._inner.source.close()


class _Gzip:
    def __init__(self, source: _Input, path: str) -> None:
        self.source = source
        self._path = path
        self._member = zlib.decompressobj(_GZIP_WINDOW)
        self._waiting = b""  # compressed bytes that have been read and not yet decompressed
        self._inside = False  # in a member of which bytes have been seen
        self._finished = False  # a whole member has been seen

    def readinto(self, buffer: memoryview, /) -> int:
        while True:
            self._waiting = self._waiting or self.source.read()
            at_end = not self._waiting
            if not self._inside:
                if self._finished:
                    self._waiting = self._waiting.lstrip(b"\0")  # padding after a member, as on tapes
                if at_end:
                    return 0
                if not self._waiting:
                    continue
            self._inside = True
            try:
                # At the end of the input zlib may still hold output back, because of the limit of the call before.
                piece = self._member.decompress(self._waiting, len(buffer))
            except zlib.error as error:
                raise ShardError(f"the gzip data is damaged: {error}", shard=self._path) from error
            if self._member.eof:
                self._waiting = self._member.unused_data
                self._member = zlib.decompressobj(_GZIP_WINDOW)
                self._inside = False
                self._finished = True
            else:
                self._waiting = self._member.unconsumed_tail
            if piece:
                buffer[: len(piece)] = piece
                return len(piece)
            if at_end and self._inside:
                raise ShardError("the gzip data is cut short", shard=self._path)


class _Zstd:
    def __init__(self, source: _Input, path: str) -> None:
        try:
            import zstandard
        except ImportError as error:
            message = f"{path} is compressed by Zstandard; install it by: pip install 'atdata[zstd]'"
            raise UnsupportedStorageError(message, kind="zst") from error
        self.source = source
        self._path = path
        self._error: type[Exception] = zstandard.ZstdError
        decompressor = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW)
        input_file = cast("IO[bytes]", source)  # zstandard calls `read` only
        self._reader = decompressor.stream_reader(input_file, read_across_frames=True)

    def readinto(self, buffer: memoryview, /) -> int:
        try:
            return int(self._reader.readinto(buffer))
        except self._error as error:
            raise ShardError(f"the Zstandard data is damaged: {error}", shard=self._path) from error
