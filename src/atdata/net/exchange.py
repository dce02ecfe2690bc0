"""One request and its answer: targets, redirects, retries and waits. `Transport` puts them together.

A URL is taken apart once, here, strictly; urllib3 gets host, port and target apart, so that no second parser can see
another host in it.
"""

import random
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import BinaryIO, cast
from urllib.parse import quote, urljoin

import urllib3
from urllib3.exceptions import ConnectTimeoutError as ConnectTimeout
from urllib3.exceptions import HTTPError, NameResolutionError, NewConnectionError, SSLError

from atdata.errors import InvalidSyntaxError, RefusedError, UnavailableError
from atdata.net.policy import Policy
from atdata.redaction import redacted, shown

REDIRECTS = frozenset({301, 302, 303, 307, 308})
IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})  # RFC 9110, section 9.2.2
_SECRET_HEADERS = frozenset({"authorization", "proxy-authorization", "cookie", "dpop"})
_SEND_BYTES = 64 << 10  # the timeout of a socket is for one sendall, so a large body goes out in pieces
_DEFAULT_PORTS = {"http": 80, "https": 443}

_URL = re.compile(r"(https?)://([^/?#]*)([^#]*)(?:#.*)?", re.IGNORECASE | re.DOTALL)
_AUTHORITY = re.compile(r"(?:([A-Za-z0-9._-]{1,255})|\[([0-9A-Fa-f:.]{2,45})\])(?::([0-9]{0,5}))?")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
# What RFC 3986 lets stand in a path or query. All of it stays as it is: presigned URLs depend on it.
_SAFE = "/?:@!$&'()*+,;=-._~%[]"


@dataclass(frozen=True, slots=True)
class Target:
    """Where one request goes.

    Attributes:
        scheme: ``http`` or ``https``.
        host: In lower case; an IPv6 address without its brackets.
        port: Always a number.
        path: What stands in the request line: path and query, percent-encoded.
        url: As given, without fragment.
    """

    scheme: str
    host: str
    port: int
    path: str
    url: str

    @property
    def origin(self) -> tuple[str, str, int]:
        """What must be the same for credentials to go along."""
        return self.scheme, self.host, self.port


def parse_target(url: str) -> Target:
    """Take an ``http`` or ``https`` URL apart.

    Raises:
        InvalidSyntaxError: Not such a URL, or no valid host.
        RefusedError: User name or password in it (rule ``url-userinfo``).
    """
    match = _URL.fullmatch(url)
    if not match or _CONTROL.search(url):
        raise InvalidSyntaxError(f"{shown(url)} is not an http or https URL", value=redacted(url))
    scheme, authority, path = match[1].lower(), match[2], match[3]
    if "@" in authority:
        raise RefusedError(f"{shown(url)}: a user name or password in a URL is not sent", rule="url-userinfo")
    host = _AUTHORITY.fullmatch(authority)
    if not host:
        raise InvalidSyntaxError(f"{shown(url)} has no valid host", value=redacted(url))
    port = int(host[3]) if host[3] else _DEFAULT_PORTS[scheme]
    if not 0 < port < 65536:
        raise InvalidSyntaxError(f"{shown(url)}: there is no port {port}", value=redacted(url))
    path = quote(path if path.startswith("/") else "/" + path, safe=_SAFE)
    return Target(scheme, (host[1] or host[2]).lower(), port, path, url.partition("#")[0])


def redirected(target: Target, location: str, *, tried_upgrade: bool) -> Target:
    """Where a redirect leads.

    Args:
        tried_upgrade: The URL said ``http``, and ``https`` was our own idea: back to ``http`` is no downgrade.

    Raises:
        RefusedError: Not to http or https (rule ``redirect-scheme``), or from https to http (``redirect-downgrade``).
    """
    try:
        url = urljoin(target.url, location)
        following = parse_target(url)
    except (InvalidSyntaxError, ValueError) as error:
        raise RefusedError(
            f"{redacted(target.url)} redirects to {shown(location)}, which is not an http or https URL",
            rule="redirect-scheme",
        ) from error
    if target.scheme == "https" and following.scheme == "http" and not tried_upgrade:
        raise RefusedError(
            f"{redacted(target.url)} redirects to {shown(url)}, from https to http", rule="redirect-downgrade"
        )
    return following


def without_secrets(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers that may go to another origin."""
    return {name: value for name, value in headers.items() if name.lower() not in _SECRET_HEADERS}


@dataclass(frozen=True, slots=True)
class Body:
    """What a request sends.

    Attributes:
        chunks: Gives the bytes, anew at each call where ``replayable``; None for no body.
        length: In bytes; None where it is not known.
        replayable: Whether the request can be sent a second time.
    """

    chunks: Callable[[], Iterator[bytes]] | None = None
    length: int | None = None
    replayable: bool = True


def make_body(body: bytes | Iterable[bytes] | BinaryIO | None) -> Body:
    """Bytes, a seekable file from where it stands, or any iterable of bytes, which can be sent but once."""
    if body is None:
        return Body()
    if isinstance(body, bytes | bytearray | memoryview):
        view = memoryview(body).cast("B")
        return Body(lambda: (bytes(view[at : at + _SEND_BYTES]) for at in range(0, len(view), _SEND_BYTES)), len(view))
    if hasattr(body, "read"):
        return _file_body(cast(BinaryIO, body))
    return Body(lambda: iter(body), replayable=False)


def _file_body(file: BinaryIO) -> Body:
    def chunks() -> Iterator[bytes]:
        if seekable:
            file.seek(start)
        return iter(lambda: file.read(_SEND_BYTES), b"")

    seekable = file.seekable()
    if not seekable:
        return Body(chunks, replayable=False)
    start = file.tell()
    return Body(chunks, file.seek(0, 2) - start)


def is_passing(status: int) -> bool:
    """Whether a status may be another one after a wait."""
    return status in (408, 425, 429) or (status >= 500 and status not in (501, 505))


def is_before_sending(error: HTTPError) -> bool:
    """Whether no byte of the request was sent, so that any method may be tried again."""
    return isinstance(error, NewConnectionError | NameResolutionError | ConnectTimeout)


def wait_before(attempt: int, policy: Policy, *, retry_after: str | None, left: float) -> float | None:
    """Seconds to wait before attempt number ``attempt`` (the second is 2); None: give up.

    Full jitter: a random part of an exponential bound, so that many clients do not come back at once
    (https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/). ``Retry-After`` in seconds is obeyed
    up to ``max_wait``; a server that asks for more has no answer for us now.
    """
    if attempt > policy.attempts:
        return None
    wait = random.uniform(0, min(policy.max_wait, policy.backoff * 2.0 ** (attempt - 2)))  # noqa: S311  # no secret
    if retry_after is not None and re.fullmatch(r"\s*\d{1,9}\s*", retry_after):
        asked = int(retry_after)
        if asked > policy.max_wait:
            return None
        wait += asked
    return wait if wait < left else None


def find_refusal(error: BaseException) -> RefusedError | None:
    """The refusal inside an error of urllib3, which wraps every OSError that it meets."""
    seen: set[int] = set()
    pending: list[BaseException | None] = [error]
    while pending:
        current = pending.pop()
        if current is None or id(current) in seen:
            continue
        seen.add(id(current))
        if isinstance(current, RefusedError):
            return current
        inner = (arg for arg in current.args if isinstance(arg, BaseException))
        pending += [current.__cause__, current.__context__, *inner]
    return None


def unavailable(method: str, url: str, error: HTTPError) -> UnavailableError:
    """What an error of urllib3 is for our callers."""
    label = f"{method} {redacted(url)}"
    if isinstance(error, SSLError):
        return UnavailableError(
            f"{label}: TLS failed: {error.args[0] if error.args else error}; an authority of one's own is named by "
            "Policy(ca_file=...) or ATDATA_CA_FILE"
        )
    if isinstance(error, NameResolutionError):
        return UnavailableError(f"{label}: the host name cannot be resolved")
    # A NewConnectionError is a TimeoutError by its class only.
    if isinstance(error, urllib3.exceptions.TimeoutError) and not isinstance(error, NewConnectionError):
        return UnavailableError(f"{label}: no answer in time")
    inner = error.args[-1] if error.args and isinstance(error.args[-1], Exception) else error
    text = redacted(str(inner)).rpartition("): ")[2] or type(inner).__name__
    return UnavailableError(f"{label}: {text}")
