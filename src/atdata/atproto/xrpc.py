"""XRPC: calling the methods of a PDS or another ATProto server over HTTP.

It encodes parameters, sends the caller's authorization to this one server and to nobody else, and turns every answer
that is not a good one into an error in clear words. Which methods there are and what they mean is up to the callers;
where the authorization comes from is `atdata.atproto.session`.

Source: https://atproto.com/specs/xrpc
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, BinaryIO, Protocol
from urllib.parse import urlencode, urlsplit

import msgspec

from atdata.atproto.rate_limit import clock_time, said, wait_asked
from atdata.errors import AuthenticationError, UnavailableError, XrpcError
from atdata.net import Response, Transport

Parameter = str | int | bool | Sequence[str] | None

ANSWER_LIMIT = 10 << 20  # bytes; the largest record is 1 MB
_SHOWN = 300  # characters of a server's message that ours repeats
_LEFT = "AccountDeactivated"  # also what the PDS says that an account has moved away from
_SESSION_ERRORS = frozenset({"ExpiredToken", "InvalidToken", "AuthMissing", "AuthenticationRequired"})


class Authorizer(Protocol):
    """Gives the header that authorizes a request, and a new one when that has expired. Thread-safe."""

    def headers(self) -> Mapping[str, str]:
        """The headers to send now. Their values are secrets."""
        ...

    def renew(self, refused: Mapping[str, str], /) -> None:
        """Get another authorization in place of the one that the server has refused as expired.

        Raises:
            AuthenticationError: The session is over.
        """
        ...


class Xrpc:
    """One server, by its base URL. Thread-safe.

    Attributes:
        service: The base URL, without a slash at its end.
        host: Host and port, for messages.
    """

    def __init__(
        self,
        service: str,
        transport: Transport,
        *,
        authorizer: Authorizer | None = None,
        hidden: Iterable[str] = (),
    ) -> None:
        """Name the server.

        Args:
            service: Its base URL.
            transport: Reaches it.
            authorizer: Authorizes requests; None makes them anonymous.
            hidden: Further secrets, such as a password, that no message may repeat.
        """
        self.service = service.rstrip("/")
        self.host = urlsplit(self.service).netloc
        self._transport = transport
        self._authorizer = authorizer
        self._hidden = tuple(hidden)

    def query(
        self, nsid: str, parameters: Mapping[str, Parameter] | None = None, *, limit: int = ANSWER_LIMIT
    ) -> dict[str, Any]:
        """Call a query (GET) and return its answer.

        Args:
            parameters: None values are left out; a list gives its name once for each item.
            limit: Most bytes of the answer.

        Raises:
            AuthenticationError: The server asks for a login, or the session is over.
            XrpcError: The server answered with an error; see its ``error``.
            LimitError: The answer has more than ``limit`` bytes.
            UnavailableError: Nobody answered, or something that does not speak XRPC.
        """
        return self._call("GET", nsid, parameters, limit=limit)

    def procedure(self, nsid: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Call a procedure (POST) with a JSON body and return its answer, which may be empty. Raises as `query`."""
        if body is None:
            return self._call("POST", nsid)
        return self._call("POST", nsid, body=msgspec.json.encode(body), mime_type="application/json")

    def upload(
        self,
        nsid: str,
        file: BinaryIO,
        *,
        mime_type: str,
        observe: Callable[[Mapping[str, str]], None] | None = None,
    ) -> dict[str, Any]:
        """Call a procedure whose input is bytes, streamed from a file, once. Raises as `query`.

        Args:
            file: Sent from where it stands to its end; it must be able to seek.
            mime_type: Media type of the bytes.
            observe: Is given the headers of the answer, whatever it is.
        """
        return self._call("POST", nsid, body=file, mime_type=mime_type, retry=False, observe=observe)

    def _call(
        self,
        method: str,
        nsid: str,
        parameters: Mapping[str, Parameter] | None = None,
        *,
        body: bytes | BinaryIO | None = None,
        mime_type: str | None = None,
        limit: int = ANSWER_LIMIT,
        retry: bool = True,
        observe: Callable[[Mapping[str, str]], None] | None = None,
    ) -> dict[str, Any]:
        url = f"{self.service}/xrpc/{nsid}" + (f"?{query}" if (query := encode_parameters(parameters or {})) else "")
        headers = {"Accept": "application/json"} | ({"Content-Type": mime_type} if mime_type else {})
        start = 0 if body is None or isinstance(body, bytes) else body.tell()
        for last in (False, True):
            authorization = dict(self._authorizer.headers()) if self._authorizer else {}
            response = self._transport.request(
                method,
                url,
                headers=headers | authorization,
                body=body,
                limit=limit,
                retry=retry,
                redirect=not authorization,  # an authorization is for this server alone
            )
            if observe is not None:
                observe(response.headers)
            if 200 <= response.status < 300:
                return self._answer(response, may_be_empty=method == "POST")
            error = self._error(response, hide=(*self._hidden, *authorization.values()))
            if self._authorizer is None or last or getattr(error, "error", "") != "ExpiredToken":
                break
            self._authorizer.renew(authorization)
            if body is not None and not isinstance(body, bytes):
                body.seek(start)
        if not isinstance(error, XrpcError):
            raise error
        if error.status == 401 or error.error in _SESSION_ERRORS:
            hint = "; an account that has moved to another PDS must log in again" if error.error == _LEFT else ""
            raise AuthenticationError(f"{error}{hint}") from error
        raise error

    def _answer(self, response: Response, *, may_be_empty: bool) -> dict[str, Any]:
        if not response.body and may_be_empty:
            return {}
        value = _json(response.body)
        if not isinstance(value, dict):
            raise UnavailableError(
                f"{self.host} does not answer as an ATProto server does: {_described(response)} instead of a JSON "
                f"object. Is {self.service} the address of a PDS?"
            )
        return value

    def _error(self, response: Response, *, hide: Iterable[str]) -> XrpcError | UnavailableError:
        if 300 <= response.status < 400:
            location = response.headers.get("Location", "")
            return UnavailableError(f"{self.host} redirects to {_clean(location, ())!r}, where no session is sent")
        value = _json(response.body)
        if isinstance(value, dict) and isinstance(name := value.get("error"), str):
            message = value.get("message")
            text = _clean(message if isinstance(message, str) else "no message", hide)
            return self._refusal(response, text, error=_clean(name, hide))
        if response.status >= 500:
            return UnavailableError(f"{self.host} is out of order: {response.status}, {_described(response)}")
        return self._refusal(response, f"{_described(response)} and no error of ATProto's")

    def _refusal(self, response: Response, text: str, *, error: str = "") -> XrpcError:
        wait = wait_asked(response.headers, now=time.time()) if response.status in (429, 503) else None
        if wait:
            text += f"; it takes requests again in {said(wait)}, at {clock_time(wait)}"
        return XrpcError(text, status=response.status, error=error, host=self.host, retry_after=wait)


def encode_parameters(parameters: Mapping[str, Parameter]) -> str:
    """A query string: booleans as ``true`` and ``false``, a list as one pair for each item, None left out."""
    pairs: list[tuple[str, str]] = []
    for name, value in parameters.items():
        if value is None:
            continue
        if isinstance(value, bool):
            pairs.append((name, "true" if value else "false"))
        elif isinstance(value, str | int):
            pairs.append((name, str(value)))
        else:
            pairs.extend((name, item) for item in value)
    return urlencode(pairs)


def _json(body: bytes) -> Any:
    with suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return msgspec.json.decode(body)
    return None


def _described(response: Response) -> str:
    kind = response.headers.get("Content-Type", "").partition(";")[0].strip()
    return f"{len(response.body):,} bytes of {_clean(kind, ()) or 'no stated type'}"


def _clean(text: str, hide: Iterable[str]) -> str:
    """A server's words as a message may show them: no control characters, not too long, and without our secrets."""
    for secret in hide:
        text = text.replace(secret.removeprefix("Bearer "), "***")
    text = "".join(character if character.isprintable() else " " for character in text)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"
