"""The transport: requests and streams over checked connections, with redirects, retries and limits."""

import itertools
import os
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, BinaryIO, Protocol, TypeVar

import urllib3
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NewConnectionError, SSLError

from atdata._version import __version__
from atdata.errors import RefusedError, UnavailableError
from atdata.net.connection import build_pools
from atdata.net.encoding import encoding_of
from atdata.net.exchange import (
    IDEMPOTENT,
    REDIRECTS,
    Body,
    Target,
    find_refusal,
    is_before_sending,
    is_passing,
    make_body,
    parse_target,
    redirected,
    unavailable,
    wait_before,
    without_secrets,
)
from atdata.net.policy import Policy
from atdata.net.response import Explain, Response, read_body, status_error
from atdata.net.stream import HttpStream, Opened, opened
from atdata.redaction import redacted

_MAX_HOSTS = 4096  # hosts of which we remember whether they speak https


class _Answer(Protocol):
    @property
    def status(self) -> int: ...
    @property
    def headers(self) -> Mapping[str, str]: ...


A = TypeVar("A", bound=_Answer)


class Transport:
    """Fetches over HTTP under one policy. Thread-safe, picklable, and safe to use after a fork.

    Args:
        policy: What may be reached, and how much. The default refuses private addresses; `Policy.from_environment`
            asks the environment.
    """

    def __init__(self, policy: Policy | None = None) -> None:
        self.policy = policy or Policy()
        self._pools: tuple[int, urllib3.PoolManager] | None = None
        self._speaks_https: dict[str, bool] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {"policy": self.policy}

    def __setstate__(self, state: dict[str, Any]) -> None:
        Transport.__init__(self, state["policy"])

    def __repr__(self) -> str:
        return f"Transport({self.policy!r})"

    def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | Iterable[bytes] | BinaryIO | None = None,
        limit: int = 10 << 20,
        retry: bool = True,
        redirect: bool = True,
    ) -> Response:
        """Send a request and read the whole response, whatever its status.

        A cut, a stall, 429 and 5xx are tried again where that is safe: idempotent methods, or nothing was sent yet, or
        the server said 429. Redirects are followed for GET and HEAD; other methods get the 3xx as it is.

        Args:
            body: A seekable file is sent from where it stands. Any other iterable can be sent once only.
            limit: Most bytes of a body, compressed or not.
            retry: False: one attempt.
            redirect: False: a redirect is returned as it is.

        Raises:
            LimitError: The body is longer than ``limit``.
            RefusedError: A rule forbids the place: ``private-address``, ``url-userinfo``, ``redirect-scheme``,
                ``redirect-downgrade``, ``redirect-limit``. Never tried again.
            UnavailableError: Nobody answered, or not completely.
            InvalidSyntaxError: Not an http or https URL.
        """
        content = make_body(body)
        deadline = time.monotonic() + self.policy.deadline

        def once() -> Response:
            response, final = self._follow(method, url, headers or {}, content, redirect=redirect)
            try:
                # An upload may have taken longer than the deadline; its answer is still to be read.
                data = read_body(response, limit, max(deadline, time.monotonic() + self.policy.read_timeout), final)
                return Response(response.status, response.headers, data, final)
            finally:
                response.close() if response.length_remaining != 0 else response.release_conn()

        return self._attempts(once, method, url, deadline, replayable=content.replayable and retry)

    def open(
        self,
        url: str,
        *,
        start: int = 0,
        stop: int | None = None,
        headers: Mapping[str, str] | None = None,
        immutable: bool = False,
        explain: Explain | None = None,
    ) -> HttpStream:
        """Stream the bytes from ``start`` up to, not including, ``stop``.

        A server without Range is read from the beginning, and what stands before ``start`` is passed over.

        Args:
            immutable: The bytes behind the URL never change, as those of a CID: a cut stream goes on without ETag.
            explain: Makes an error of a response that is neither 2xx nor 416; None for what it does not know.

        Raises:
            NotFoundError: 404 or 410.
            AuthenticationError: 401 or 403.
            RefusedError: As `request`.
            UnavailableError: Any other status, or no answer.
        """
        bounds = (start, stop)

        def reopen(position: int, if_range: str | None) -> Opened:
            wanted = dict(headers or {})
            end = bounds[1]
            if position > 0 or end is not None:
                # An empty range cannot be asked for: one byte is, and not read.
                wanted["Range"] = f"bytes={position}-{'' if end is None else max(end - 1, position)}"
            if if_range:
                wanted["If-Range"] = if_range
            return self._open_range(url, position, wanted, explain)

        return HttpStream(reopen, url, self.policy, start=start, stop=stop, immutable=immutable)

    def head_size(
        self,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        explain: Explain | None = None,
    ) -> int:
        """Length of what is at a URL, in bytes. Raises as `open` does.

        Asked by HEAD; where that gives no length, by a GET of which no body is read.
        """
        response = self.request("HEAD", url, headers=headers)
        length = response.headers.get("Content-Length", "")
        told = length.isascii() and length.isdigit() and not encoding_of(response.headers, url)
        if response.status == 200 and told:
            return int(length)
        answer = self._open_range(url, 0, {**(headers or {}), "Range": "bytes=0-0"}, explain)
        if answer.response is not None:
            answer.response.close()
        if answer.size is None:
            raise UnavailableError(f"{redacted(url)}: the server does not tell its length")
        return answer.size

    def close(self) -> None:
        """Close idle connections. The transport can be used again."""
        pools, self._pools = self._pools, None
        if pools and pools[0] == os.getpid():
            pools[1].clear()

    def _open_range(
        self,
        url: str,
        start: int,
        headers: Mapping[str, str],
        explain: Explain | None,
    ) -> Opened:
        deadline = time.monotonic() + self.policy.deadline

        def once() -> urllib3.BaseHTTPResponse:
            return self._follow("GET", url, headers, Body(), redirect=True)[0]

        response = self._attempts(once, "GET", url, deadline, replayable=True)
        if response.status == 206 and encoding_of(response.headers, url):
            response.close()  # a part of what the server has compressed is of no use
            headers = {name: value for name, value in headers.items() if name not in ("Range", "If-Range")}
            response = self._attempts(once, "GET", url, deadline, replayable=True)
        try:
            if response.status in (200, 206, 416):
                answer = opened(response, start, url)
                if answer.response is None:
                    response.close()
                return answer
            raise status_error(response, url, deadline, explain)
        except BaseException:
            response.close()
            raise

    def _attempts(self, once: Callable[[], A], method: str, url: str, deadline: float, *, replayable: bool) -> A:
        for attempt in itertools.count(2):
            answer: A | None = None
            failure = HTTPError()
            try:
                answer = once()
                safe = method in IDEMPOTENT or answer.status == 429
                if not is_passing(answer.status) or not (safe and replayable):
                    return answer
            except HTTPError as error:
                if refused := find_refusal(error):
                    raise refused from None
                failure = error
                safe = method in IDEMPOTENT or is_before_sending(error)
                if not (safe and replayable) or isinstance(error, SSLError):
                    raise unavailable(method, url, error) from error
            retry_after = answer.headers.get("Retry-After") if answer is not None else None
            left = deadline - time.monotonic()
            wait = wait_before(attempt, self.policy, retry_after=retry_after, left=left)
            if wait is None:
                if answer is not None:
                    return answer
                raise unavailable(method, url, failure) from failure
            if isinstance(answer, urllib3.BaseHTTPResponse):
                answer.close()
            time.sleep(wait)
        raise AssertionError("unreachable")

    def _follow(
        self, method: str, url: str, headers: Mapping[str, str], body: Body, *, redirect: bool
    ) -> tuple[urllib3.BaseHTTPResponse, str]:
        target = parse_target(url)
        seen = {target.url}
        while True:
            response, sent_to = self._send(method, target, headers, body)
            location = response.headers.get("Location")
            if not redirect or location is None or response.status not in REDIRECTS or method not in ("GET", "HEAD"):
                return response, sent_to.url
            response.close()
            following = redirected(sent_to, location, tried_upgrade=target.scheme == "http")
            if following.url == target.url and sent_to is not target:
                self._speaks_https[target.host] = False  # its https leads back to http: http it is
            elif following.url in seen or len(seen) > self.policy.max_redirects:
                raise RefusedError(
                    f"{redacted(url)}: more than {self.policy.max_redirects} redirects, or in a circle",
                    rule="redirect-limit",
                )
            if following.origin not in (target.origin, sent_to.origin):
                headers = without_secrets(headers)
            seen.add(following.url)
            target = following

    def _send(
        self, method: str, target: Target, headers: Mapping[str, str], body: Body
    ) -> tuple[urllib3.BaseHTTPResponse, Target]:
        """Send one request; ``http`` on its default port goes over ``https`` where the host speaks that."""
        if target.scheme != "http" or target.port != 80 or not self.policy.upgrade:
            return self._send_plain(method, target, headers, body), target
        known = self._speaks_https.get(target.host)
        if known is not False:
            host = f"[{target.host}]" if ":" in target.host else target.host
            secure = Target("https", target.host, 443, target.path, f"https://{host}{target.path}")
            try:
                response = self._send_plain(method, secure, headers, body)
            except (NewConnectionError, ConnectTimeoutError, SSLError) as error:
                if known or find_refusal(error):
                    raise
                self._decide(target.host, speaks_https=False)
            else:
                self._decide(target.host, speaks_https=True)
                return response, secure
        return self._send_plain(method, target, headers, body), target

    def _decide(self, host: str, *, speaks_https: bool) -> None:
        if len(self._speaks_https) >= _MAX_HOSTS:
            self._speaks_https.clear()
        self._speaks_https[host] = speaks_https

    def _send_plain(
        self, method: str, target: Target, headers: Mapping[str, str], body: Body
    ) -> urllib3.BaseHTTPResponse:
        sent = {"User-Agent": f"atdata/{__version__}", "Accept-Encoding": "identity", **headers}
        if body.length is not None:
            sent["Content-Length"] = str(body.length)
        pool = self._manager().connection_from_host(target.host, target.port, target.scheme)
        return pool.urlopen(
            method,
            target.path,
            body=body.chunks() if body.chunks else None,
            headers=sent,
            retries=False,
            redirect=False,
            assert_same_host=False,
            timeout=urllib3.Timeout(connect=self.policy.connect_timeout, read=self.policy.read_timeout),
            preload_content=False,
            decode_content=False,
        )

    def _manager(self) -> urllib3.PoolManager:
        # A forked child must not speak over its parent's connections. No lock: after a fork it might be held for ever;
        # two threads that come here at once make a manager too many, which does no harm.
        pools = self._pools
        if pools is None or pools[0] != os.getpid():
            self._pools = pools = (os.getpid(), build_pools(self.policy))
        return pools[1]
