"""A session: the right to write into one account's repository, got by handle and password.

It gives the authorization that `atdata.atproto.xrpc` sends, gets a new one when that has expired, and ends at logout.
Tokens and passwords are secrets: they are in no repr, no pickle, no message. Where sessions are kept between two
processes is `atdata.atproto.session_file`.

Source: https://atproto.com/specs/xrpc#authentication, lexicons com.atproto.server.{create,refresh,delete}Session
"""

import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any, NoReturn

from atdata.atproto.did_document import is_service_url
from atdata.atproto.session_file import SavedSession, SessionFile
from atdata.atproto.xrpc import Xrpc
from atdata.errors import AtdataError, AuthenticationError, InvalidSyntaxError, UnavailableError, XrpcError
from atdata.net import Transport
from atdata.syntax import Did, Handle, parse_did, parse_handle


class Session:
    """A login that is alive. Thread-safe; an `atdata.atproto.xrpc.Authorizer`.

    Attributes:
        did: The account.
        handle: Its handle.
        service: Base URL of the PDS that knows this session.
    """

    def __init__(self, saved: SavedSession, transport: Transport, *, file: SessionFile | None = None) -> None:
        """Go on with a login.

        Args:
            saved: The tokens.
            transport: Reaches the PDS.
            file: Where new tokens are kept; None keeps them in this process only.
        """
        self.did = saved.did
        self.handle = saved.handle
        self.service = saved.service
        self._saved = saved
        self._transport = transport
        self._file = file
        self._lock = threading.Lock()
        self._ended = False

    def __repr__(self) -> str:
        return f"Session({self.handle}, {self.did}, at {self.service})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a session holds secrets and cannot be pickled; use Client.saved() in the other process")

    def headers(self) -> Mapping[str, str]:
        """The header that authorizes a request. Secret.

        Raises:
            AuthenticationError: The session was ended here.
        """
        if self._ended:
            raise AuthenticationError(f"{self.handle} has logged out: log in again")
        return _bearer(self._saved.access_token)

    def renew(self, refused: Mapping[str, str], /) -> None:
        """Get new tokens in place of those that the server has refused as expired.

        Where another thread or process has done so already, theirs are taken: each refresh token serves once.

        Raises:
            AuthenticationError: The session is over: log in again.
            UnavailableError: The PDS did not answer.
        """
        with self._lock:
            if self.headers() != refused:
                return
            if self._file is None:
                self._saved = self._refreshed(self._saved)
                return
            with self._file.locked():
                kept = self._file.find(self.did)
                if kept is not None and kept.service == self.service and _bearer(kept.access_token) != refused:
                    self._saved = kept
                    return
                self._saved = self._refreshed(self._saved)
                self._file.replace(self._saved)

    def save(self, file: SessionFile) -> None:
        """Keep this session in ``file``, as the current one, and its later tokens too."""
        with self._lock:
            file.save(self._saved)
            self._file = file

    def end(self) -> None:
        """Log out: the PDS forgets the session, and so does the file. A session that is over already is no error.

        Raises:
            UnavailableError: The PDS did not answer. The file has forgotten the session all the same.
        """
        with self._lock:
            self._ended = True  # the access token would serve some minutes longer: no PDS can take it back
            kept = self._file.remove(self.did) if self._file is not None else None
            # Another process may have renewed it: only the newest token ends the session.
            last = kept if kept is not None and kept.service == self.service else self._saved
            xrpc = Xrpc(self.service, self._transport, authorizer=_Bearer(last.refresh_token))
            try:
                xrpc.procedure("com.atproto.server.deleteSession")
            except (AuthenticationError, XrpcError, UnavailableError) as error:
                if _is_passing(error):
                    raise UnavailableError(
                        f"{self.handle} is logged out here, but {xrpc.host} has not ended the session: {error}"
                    ) from error

    def _refreshed(self, saved: SavedSession) -> SavedSession:
        xrpc = Xrpc(self.service, self._transport, authorizer=_Bearer(saved.refresh_token))
        try:
            answer = xrpc.procedure("com.atproto.server.refreshSession")
        except (AuthenticationError, XrpcError) as error:
            if _is_passing(error):
                raise
            raise AuthenticationError(f"the session of {self.handle} is over, log in again: {error}") from error
        if answer.get("did", self.did) != self.did:
            raise UnavailableError(f"{xrpc.host} was asked for tokens of {self.did} and gave those of another account")
        access, refresh = _tokens(answer, self.service)
        with suppress(InvalidSyntaxError):
            self.handle = parse_handle(str(answer.get("handle")))  # it may have changed since the login
        return replace(saved, handle=self.handle, access_token=access, refresh_token=refresh)


def create_session(
    identifier: str,
    password: str,
    *,
    service: str,
    transport: Transport,
    did: Did | None = None,
    code: str | None = None,
) -> Session:
    """Log in at a PDS.

    Args:
        identifier: Handle or DID of the account.
        password: Best an App Password, which can be taken back and asks for no code.
        service: Base URL of the PDS.
        transport: Reaches it.
        did: The account that must be the one logged in, where it is known.
        code: The code that the PDS has mailed, for accounts with a second factor.

    Raises:
        AuthenticationError: Wrong password, a code is asked for, or the PDS has logged in somebody else.
        UnavailableError: The PDS did not answer as one.
        XrpcError: The PDS refused for a reason of its own; 429 where it limits logins, with its ``retry_after``.
        InvalidSyntaxError: ``service`` is no https address (http only where the transport allows private networks).
    """
    if not is_service_url(service, allow_http=transport.policy.allow_private):
        raise InvalidSyntaxError(f"{service!r} is not the address of a PDS: the form is https://HOST", value=service)
    xrpc = Xrpc(service, transport, hidden=(password,))
    body = {"identifier": identifier, "password": password} | ({"authFactorToken": code} if code else {})
    try:
        answer = xrpc.procedure("com.atproto.server.createSession", body)
    except AuthenticationError as error:
        if getattr(error.__cause__, "error", "") == "AuthFactorTokenRequired":
            raise AuthenticationError(
                f"{identifier} has two-factor login: give the code that {xrpc.host} has mailed (--code, code=), or an "
                "App Password, which needs none"
            ) from error
        raise AuthenticationError(f"cannot log in as {identifier}: {error}") from error
    access, refresh = _tokens(answer, service)
    account, handle = _account(answer, service)
    if did is not None and account != did:
        raise AuthenticationError(f"{xrpc.host} has logged in {account}, and {identifier} is {did}")
    return Session(SavedSession(account, handle, xrpc.service, access, refresh), transport)


class _Bearer:
    """One token that cannot be renewed."""

    def __init__(self, token: str) -> None:
        self._headers = _bearer(token)

    def headers(self) -> Mapping[str, str]:
        return self._headers

    def renew(self, refused: Mapping[str, str], /) -> None:
        raise AuthenticationError("the refresh token has expired")


def _is_passing(error: AtdataError) -> bool:
    """Whether it says nothing about the session: the PDS is busy, or does not answer."""
    return isinstance(error, UnavailableError) or (
        isinstance(error, XrpcError) and (error.status == 429 or error.status >= 500)
    )


def _bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def _tokens(answer: Mapping[str, Any], service: str) -> tuple[str, str]:
    access, refresh = answer.get("accessJwt"), answer.get("refreshJwt")
    for token in (access, refresh):
        # A token that is no plain word could smuggle other headers into requests.
        if not isinstance(token, str) or not token.isascii() or not token.isprintable() or " " in token or not token:
            raise UnavailableError(f"{service} gave a session without usable tokens")
    return str(access), str(refresh)


def _account(answer: Mapping[str, Any], service: str) -> tuple[Did, Handle]:
    try:
        return parse_did(str(answer.get("did"))), parse_handle(str(answer.get("handle")))
    except InvalidSyntaxError as error:
        raise UnavailableError(f"{service} gave a session without an account: {error}") from error
