"""The body of an HTTP response as a stream that goes on after a cut.

It never joins bytes of two versions: after a cut the server must show, by a strong ETag or an equal Last-Modified and
length, that it still has what the first bytes came from; else the stream ends with an error. Opening, and opening
again, is `Transport`'s; this module counts bytes.
"""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass

from urllib3 import BaseHTTPResponse
from urllib3.exceptions import HTTPError

from atdata.errors import UnavailableError
from atdata.net.encoding import Decompressed, encoding_of
from atdata.net.exchange import unavailable, wait_before
from atdata.net.policy import Policy
from atdata.redaction import redacted

_CONTENT_RANGE = re.compile(r"bytes (?:(\d{1,18})-(\d{1,18})|\*)/(\d{1,18}|\*)")
_READ_BYTES = 1 << 20  # at most, in one call


@dataclass(frozen=True, slots=True)
class Opened:
    """An answer to a range request, before its body.

    Attributes:
        response: Its body begins at ``start``; None for an empty range.
        start: Offset of the first byte, in the whole object.
        stop: Offset after the last byte of this answer; None where the server did not say.
        size: Size of the whole object; None where the server did not say.
        etag: A strong validator.
        modified: ``Last-Modified``.
    """

    response: BaseHTTPResponse | Decompressed | None
    start: int
    stop: int | None
    size: int | None
    etag: str | None
    modified: str | None

    @property
    def validator(self) -> str | None:
        """What ``If-Range`` may say; None where the server gives nothing."""
        return self.etag or self.modified

    def same_version(self, other: "Opened") -> bool:
        """Whether bytes of both may stand in one file."""
        if self.size is not None and other.size is not None and self.size != other.size:
            return False
        if self.etag or other.etag:
            return self.etag == other.etag
        return self.modified is not None and self.modified == other.modified and self.size == other.size


def opened(response: BaseHTTPResponse, start: int, url: str) -> Opened:
    """Read the head of a 200, 206 or 416 answer to a request for bytes from ``start`` on.

    Raises:
        UnavailableError: It contradicts itself, or is compressed in a way that we do not know.
    """
    headers = response.headers
    etag = headers.get("ETag")
    etag = etag if etag and etag.startswith('"') else None
    modified = headers.get("Last-Modified")
    match = _CONTENT_RANGE.fullmatch(headers.get("Content-Range", "").strip())
    if response.status == 416:
        size = int(match[3]) if match and match[3] != "*" else None
        if size is not None and start < size:
            raise UnavailableError(f"{redacted(url)}: the server refuses a range inside of its own size")
        return Opened(None, start, start, size, etag, modified)
    if response.status == 200 and (encoding := encoding_of(headers, url)):
        return Opened(Decompressed(response, encoding, url), 0, None, None, etag, modified)
    length = None if "chunked" in headers.get("Transfer-Encoding", "").lower() else response.length_remaining
    if response.status == 200:
        return Opened(response, 0, length, length, etag, modified)
    if not match or match[1] is None:
        raise UnavailableError(f"{redacted(url)}: a partial answer without a valid Content-Range")
    first, last = int(match[1]), int(match[2])
    size = int(match[3]) if match[3] != "*" else None
    if first != start or last < first or (size is not None and last >= size):
        raise UnavailableError(f"{redacted(url)}: asked for bytes from {start}, the server sends {match[0]!r}")
    if length is not None and length != last - first + 1:
        raise UnavailableError(f"{redacted(url)}: Content-Length {length} contradicts {match[0]!r}")
    return Opened(response, first, last + 1, size, etag, modified)


class HttpStream:
    """Bytes of one object over HTTP, from ``start`` up to ``stop``. A `Stream`.

    After a cut or stall it asks for the rest, ``resumptions`` times at most.
    """

    def __init__(
        self,
        reopen: Callable[[int, str | None], Opened],
        url: str,
        policy: Policy,
        *,
        start: int,
        stop: int | None,
        immutable: bool,
    ) -> None:
        self._reopen = reopen
        self._url = url
        self._policy = policy
        self._position = self._start = start
        self._stop = stop
        self._immutable = immutable
        self._resumed = 0
        self._response: BaseHTTPResponse | Decompressed | None = None
        self._part_end: int | None = None
        self._ahead = 0
        self._over = False
        self._first = reopen(start, None)
        self._enter(self._first)

    @property
    def size(self) -> int | None:
        """Size of the whole object, in bytes; None where the server did not say."""
        return self._first.size

    @property
    def passed_over(self) -> int:
        """Bytes before the place asked for that a server without Range sends as well; they are read and dropped."""
        return self._ahead

    def readinto(self, buffer: memoryview, /) -> int:
        """Fill a buffer with what has come; 0 only at the end.

        Raises:
            UnavailableError: The server kept failing, ended early, or now has another version.
        """
        if self._stop is not None:
            buffer = buffer[: max(0, self._stop - self._position)]
        if not len(buffer):
            return 0
        while True:
            data, failure = self._read(min(len(buffer), _READ_BYTES))
            if data:
                buffer[: len(data)] = data
                self._position += len(data)
                return len(data)
            if failure is None and self._is_complete():
                self._end_response()
                return 0
            self._resume(failure)

    def close(self) -> None:
        """Release the connection. May be called twice."""
        self._end_response()

    def __del__(self) -> None:
        if getattr(self, "_response", None) is not None:
            self._end_response()

    def _read(self, count: int) -> tuple[bytes, HTTPError | None]:
        if self._response is None:
            return b"", None
        if self._part_end is not None:
            count = min(count, self._part_end - self._position)
            if not count:
                return b"", None
        try:
            while self._ahead > 0:  # a server without Range sends what stands before the place as well
                skipped = len(self._response.read1(min(self._ahead, _READ_BYTES), decode_content=False))
                if not skipped:
                    self._over = True  # the object ends before the place: an empty stream
                    return b"", None
                self._ahead -= skipped
            return self._response.read1(count, decode_content=False), None
        except HTTPError as error:
            return b"", error

    def _is_complete(self) -> bool:
        """Whether the end of what came is the end of what was asked for."""
        if self._over or self._part_end is None:  # chunked, or until the connection closes: nothing says there is more
            return True
        wanted = [end for end in (self._stop, self.size) if end is not None]
        return self._position >= (min(wanted) if wanted else self._part_end)

    def _resume(self, failure: HTTPError | None) -> None:
        self._end_response()
        where = f"{redacted(self._url)}: ended at byte {self._position:,}"
        where += f" of {self.size:,}" if self.size is not None else ""
        reason = unavailable("GET", self._url, failure) if failure else UnavailableError(where)
        fresh = self._position == self._start
        if not fresh and not self._immutable and self._first.validator is None:
            raise UnavailableError(
                f"{where}, and the server gives neither ETag nor Last-Modified to go on by"
            ) from reason
        if self._resumed >= self._policy.resumptions:
            raise UnavailableError(f"{where}, after {self._resumed} resumptions") from reason
        self._resumed += 1
        wait = wait_before(2, self._policy, retry_after=None, left=float("inf"))
        time.sleep(wait or 0)
        again = self._reopen(self._position, None if fresh or self._immutable else self._first.validator)
        sizes = {again.size, self._first.size} - {None}
        if fresh:
            self._first = again
        elif len(sizes) > 1 or not (self._immutable or self._first.same_version(again)):
            if again.response is not None:
                again.response.close()
            raise UnavailableError(f"{where}, and the server now has another version of it") from reason
        self._enter(again)

    def _enter(self, answer: Opened) -> None:
        self._response, self._part_end = answer.response, answer.stop
        self._ahead = self._position - answer.start
        self._over = answer.response is None

    def _end_response(self) -> None:
        response, self._response = self._response, None
        if response is not None:
            response.close() if response.length_remaining != 0 else response.release_conn()
