"""A whole response: read within limits, and as an error where its status is one."""

import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import urllib3
from urllib3.exceptions import HTTPError

from atdata.errors import AtdataError, AuthenticationError, LimitError, NotFoundError, UnavailableError
from atdata.redaction import redacted

_CHUNK = 64 << 10
_ERROR_BYTES = 64 << 10  # of an error's body that `Explain` sees


@dataclass(frozen=True, slots=True)
class Response:
    """A whole response.

    Attributes:
        status: HTTP status code.
        headers: Case does not matter.
        body: Decoded, where the server compressed it although asked not to.
        url: Where it came from, after redirects.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    url: str


Explain = Callable[[Response], AtdataError | None]


def read_body(response: urllib3.BaseHTTPResponse, limit: int, deadline: float, url: str) -> bytes:
    """The body, decompressed where the server compressed it.

    Raises:
        LimitError: More than ``limit`` bytes, as sent or decompressed.
        UnavailableError: The time is over, or the body does not decode.
    """

    def too_long() -> LimitError:
        return LimitError(f"{redacted(url)}: the response is longer than {limit:,} bytes", limit=limit)

    if (response.length_remaining or 0) > limit:
        raise too_long()
    data = bytearray()
    while chunk := response.read1(_CHUNK, decode_content=False):
        data += chunk
        if len(data) > limit:
            raise too_long()
        if time.monotonic() > deadline:
            raise UnavailableError(f"{redacted(url)}: the response took too long")
    encoding = response.headers.get("Content-Encoding", "").strip().lower()
    if encoding in ("", "identity") or not data:
        return bytes(data)
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise UnavailableError(f"{redacted(url)}: the response is encoded as {encoding!r}, although asked not to be")
    decoder = zlib.decompressobj(wbits=47)  # 47: gzip or zlib, by its header
    try:
        plain = decoder.decompress(data, limit + 1)
    except zlib.error as error:
        raise UnavailableError(f"{redacted(url)}: the response does not decode as {encoding}") from error
    if len(plain) > limit:
        raise too_long()
    if not decoder.eof:
        raise UnavailableError(f"{redacted(url)}: the compressed response is cut short")
    return plain


def status_error(
    response: urllib3.BaseHTTPResponse,
    url: str,
    deadline: float,
    explain: Explain | None,
) -> AtdataError:
    """The error that a status is. ``explain`` may know better, from what the server says in the body."""
    label = redacted(url)
    if explain is not None:
        try:
            body = read_body(response, _ERROR_BYTES, deadline, url)
        except (HTTPError, AtdataError):
            body = b""  # what the server says about its error is help, not needed
        if explained := explain(Response(response.status, response.headers, body, url)):
            return explained
    if response.status in (404, 410):
        return NotFoundError(f"{label}: there is nothing at this address ({response.status})")
    if response.status in (401, 403):
        return AuthenticationError(f"{label}: the server does not let us read it ({response.status})")
    return UnavailableError(f"{label}: the server answered {response.status}")
