"""Bodies that a server compresses on the way although it was asked not to: read as they were before.

Only a body as a whole can be decompressed: a part of one (206) is asked for again without a range, and a stream that
was cut goes on from the beginning, passing over what it has. What comes out is bounded, since a few kilobytes can stand
for terabytes. Small answers are `atdata.net.response`'s; shards that are stored so, `atdata.data.compression`'s.

Source: RFC 9110, section 8.4 (Content-Encoding)
"""

import zlib
from collections.abc import Mapping

from urllib3 import BaseHTTPResponse
from urllib3.exceptions import ProtocolError

from atdata.errors import LimitError, UnavailableError
from atdata.redaction import redacted

MAX_RATIO = 200  # bytes that may come out for each byte that went in, as for shards that are stored compressed
FREE_BYTES = 64 << 20  # bytes that may come out whatever the ratio
_INPUT = 256 << 10  # compressed bytes taken at a time
_GZIP_OR_ZLIB = zlib.MAX_WBITS | 32  # zlib's manual, inflateInit2: 32 more finds out by the header which of the two
_KNOWN = ("gzip", "x-gzip", "deflate")
_STORED = (".gz", ".tgz", ".zst")  # servers commonly label a stored file with the encoding that it has inside


def encoding_of(headers: Mapping[str, str], url: str) -> str | None:
    """The encoding that a body has got on the way; None where it is as it is stored."""
    encoding = headers.get("Content-Encoding", "").strip().lower()
    if encoding in ("", "identity") or redacted(url).partition("?")[0].endswith(_STORED):
        return None
    return encoding


class Decompressed:
    """The body of a response, decompressed. It stands in the place of the response for who reads it."""

    def __init__(self, response: BaseHTTPResponse, encoding: str, url: str) -> None:
        """Read the body of ``response`` from its beginning.

        Raises:
            UnavailableError: The encoding is none that we know.
        """
        if encoding not in _KNOWN:
            raise UnavailableError(
                f"{redacted(url)}: the server sends it compressed ({encoding[:40]!r}), although asked not to"
            )
        self._response = response
        self._url = redacted(url)
        self._decoder = zlib.decompressobj(wbits=_GZIP_OR_ZLIB)
        self._taken = 0
        self._given = 0

    @property
    def length_remaining(self) -> int | None:
        """Compressed bytes that are still to come; None where that is not known."""
        return self._response.length_remaining

    def read1(self, amt: int, decode_content: bool = False) -> bytes:
        """At most ``amt`` bytes; none at the end alone.

        Raises:
            HTTPError: The connection was cut, or the body ends too soon.
            UnavailableError: The bytes are not what the encoding says.
            LimitError: More comes out than `FREE_BYTES` and `MAX_RATIO` allow.
        """
        while True:
            piece = self._piece()
            if not piece and self._decoder.eof:
                return b""
            try:
                plain = self._decoder.decompress(piece, amt)
            except zlib.error as error:
                raise UnavailableError(f"{self._url}: the compressed answer is damaged ({error})") from error
            if plain:
                self._count(len(plain))
                return plain
            if not piece and not self._decoder.eof:
                raise ProtocolError(f"the compressed body ends after {self._taken:,} bytes, before its end")

    def close(self) -> None:
        """End the connection."""
        self._response.close()

    def release_conn(self) -> None:
        """Give the connection back."""
        self._response.release_conn()

    def _piece(self) -> bytes:
        """The next compressed bytes, for a new decoder where one member of a gzip body has ended."""
        rest = self._decoder.unused_data if self._decoder.eof else self._decoder.unconsumed_tail
        if not rest:
            rest = self._response.read1(_INPUT, decode_content=False)
            self._taken += len(rest)
        if rest and self._decoder.eof:
            self._decoder = zlib.decompressobj(wbits=_GZIP_OR_ZLIB)
        return rest

    def _count(self, more: int) -> None:
        self._given += more
        limit = max(FREE_BYTES, MAX_RATIO * self._taken)
        if self._given > limit:
            raise LimitError(
                f"{self._url}: {self._taken:,} bytes that the server has compressed give more than {limit:,}",
                limit=limit,
            )
