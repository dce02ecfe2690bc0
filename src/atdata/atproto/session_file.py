"""The file of saved sessions: several accounts, one of them current, in the user's configuration folder.

The file holds secrets: mode 0600 in a folder of mode 0700, written whole or not at all, one process at a time. What a
session does is `atdata.atproto.session`.
"""

import contextlib
import fcntl
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import msgspec

from atdata.errors import AuthenticationError
from atdata.folders import config_folder
from atdata.syntax import Did, Handle

_UNFINISHED = ".sessions-"


@dataclass(frozen=True, slots=True)
class SavedSession:
    """One login as the file keeps it.

    Attributes:
        did: The account.
        handle: Its handle at the time of the login.
        service: Base URL of the PDS that gave the tokens; they are sent to no other.
        access_token: Authorizes requests, for some minutes or hours. Secret.
        refresh_token: Gets new tokens, for some weeks. Secret.
    """

    did: Did
    handle: Handle
    service: str
    access_token: str = field(repr=False)
    refresh_token: str = field(repr=False)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a session holds secrets and cannot be pickled; use Client.saved() in the other process")


class _Content(msgspec.Struct):
    current: str | None = None
    accounts: dict[str, SavedSession] = {}


class SessionFile:
    """The saved sessions of one user. Safe to use from several threads and processes."""

    def __init__(self, path: Path | None = None) -> None:
        """Name the file; None: ``sessions.json`` in the configuration folder."""
        self.path = path or config_folder() / "sessions.json"

    def find(self, account: str | None = None) -> SavedSession | None:
        """The session of an account, by DID or handle; without one, the session that is current.

        Raises:
            AuthenticationError: The file cannot be read.
        """
        content = self._read()
        if account is None:
            return content.accounts.get(content.current or "")
        wanted = account.removeprefix("@")
        accounts = content.accounts.values()
        return next((saved for saved in accounts if saved.did == wanted or saved.handle == wanted.lower()), None)

    def all(self) -> tuple[SavedSession, ...]:
        """All sessions, the oldest login first. Raises as `find` does."""
        return tuple(self._read().accounts.values())

    def save(self, session: SavedSession, *, make_current: bool = True) -> None:
        """Keep a session, in place of an earlier one of the same account. Raises as `find` does."""
        with self.locked():
            content = self._read()
            content.accounts[session.did] = session
            if make_current or content.current is None:
                content.current = session.did
            self._write(content)

    def replace(self, session: SavedSession) -> None:
        """Keep new tokens of an account, unless it was removed meanwhile. The caller holds `locked`."""
        content = self._read()
        if session.did in content.accounts:
            content.accounts[session.did] = session
            self._write(content)

    def remove(self, did: Did) -> SavedSession | None:
        """Forget an account; return what was kept of it. Raises as `find` does.

        The oldest login that is left becomes current if this one was.
        """
        with self.locked():
            content = self._read()
            removed = content.accounts.pop(did, None)
            if removed is not None:
                if content.current == did:
                    content.current = next(iter(content.accounts), None)
                self._write(content)
            return removed

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other threads and processes from writing the file."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # A file beside it: the sessions' own file is replaced by each write, and a lock on it would be lost.
        with self.path.with_suffix(".lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _read(self) -> _Content:
        try:
            return msgspec.json.decode(self.path.read_bytes(), type=_Content)
        except FileNotFoundError:
            return _Content()
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise AuthenticationError(f"{self.path} is damaged; delete it and log in again") from error
        except PermissionError as error:
            raise AuthenticationError(f"{self.path} cannot be read: {error.strerror}") from error

    def _write(self, content: _Content) -> None:
        for left in self.path.parent.glob(f"{_UNFINISHED}*"):  # by a process that was killed: we hold the lock
            left.unlink(missing_ok=True)
        descriptor, name = tempfile.mkstemp(dir=self.path.parent, prefix=_UNFINISHED)  # of mode 0600
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(msgspec.json.format(msgspec.json.encode(content), indent=2) + b"\n")
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(self.path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
