"""Where a repository lies now, and why a PDS does not give what is in it.

Accounts move: when a PDS does not give what it was asked for, the DID document is read again, and where it names
another PDS, that one is asked. When there is no other, the PDS is asked for the state of the repository, so that the
error can say what the caller can do. What is asked for is up to `atdata.storage.blob` and `atdata.atproto.public`.

Source: https://atproto.com/specs/account, lexicon com.atproto.sync.getRepoStatus
"""

import json
from collections.abc import Callable
from typing import Any, NoReturn, Protocol, TypeVar
from urllib.parse import quote, urlsplit

from atdata.errors import AtdataError, AuthenticationError, NotFoundError, UnavailableError, XrpcError
from atdata.net import Transport
from atdata.syntax import AtUri, Did

T = TypeVar("T")

_ANSWER = 64 << 10  # bytes of a state; a record may be larger, and then is there
# What a repository that moved away may look like from its old PDS: anything but a refusal of our own rules.
PERHAPS_MOVED = (NotFoundError, UnavailableError, XrpcError, AuthenticationError)

_ABSENT = "absent"  # our own word for a PDS that does not have the repository
_GONE = {
    "deactivated": "its owner has deactivated the account; it comes back when the owner activates it",
    "takendown": "{host} has taken the account down; ask its owner or {host}, or look for another copy",
    "suspended": "{host} has suspended the account for a time; ask its owner, or look for another copy",
    "deleted": "the account was deleted, and its records and blobs with it",
    _ABSENT: "{host} does not have this repository, although the DID document names it: the account was deleted there, "
    "or is moving just now",
}
_LATER = {
    "desynchronized": "{host} is behind with this repository; try again later",
    "throttled": "{host} serves this repository less often for a time; try again later",
}
_STATES = {
    "RepoDeactivated": "deactivated",
    "AccountDeactivated": "deactivated",
    "RepoTakendown": "takendown",
    "AccountTakedown": "takendown",
    "RepoSuspended": "suspended",
    "RepoNotFound": _ABSENT,
}


class FindPds(Protocol):
    """Finds the PDS of a DID. It must be picklable where a store that has it is pickled."""

    def __call__(self, did: Did, /, *, fresh: bool = False) -> str:
        """The base URL of the PDS; ``fresh``: by a DID document that is read again, whatever is kept.

        Raises:
            NotFoundError: There is no such account, or its document names no PDS.
            UnavailableError: Those who know did not answer.
        """
        ...


class Home:
    """The PDS of one repository, as its DID document names it at each time. Thread-safe and picklable."""

    def __init__(self, did: Did, find_pds: FindPds, transport: Transport) -> None:
        self._did = did
        self._find_pds = find_pds
        self._transport = transport

    def visit(self, act: Callable[[str], T]) -> T:
        """Do something at the PDS, whose base URL ``act`` is given; where it fails and the repository has moved, there.

        Raises:
            NotFoundError: The repository is not given; the message says in which state it is.
            Whatever else ``act`` raises.
        """
        pds = self._find_pds(self._did)
        try:
            return act(pds)
        except PERHAPS_MOVED as error:
            moved = self.moved_from(pds)
            if moved is None:
                self.raise_explained(pds, error)
        try:
            return act(moved)
        except PERHAPS_MOVED as error:
            self.raise_explained(moved, error)

    def moved_from(self, pds: str) -> str | None:
        """The PDS that the repository lies on now, where that is another one.

        Raises:
            NotFoundError: The account is gone.
        """
        try:
            now = self._find_pds(self._did, fresh=True)
        except NotFoundError:
            raise
        except AtdataError:
            return None  # what failed before tells more
        return now if now.rstrip("/") != pds.rstrip("/") else None

    def has_record(self, pds: str, uri: AtUri) -> bool | None:
        """Whether a record of the repository is there; None where the PDS does not say so clearly."""
        query = f"repo={quote(self._did, safe=':')}&collection={uri.collection}&rkey={uri.rkey}"
        status, answer = self._ask(f"{pds.rstrip('/')}/xrpc/com.atproto.repo.getRecord?{query}", limit=2 << 20)
        if status == 200:
            return True
        return False if answer.get("error") == "RecordNotFound" else None

    def raise_explained(self, pds: str, error: AtdataError) -> NoReturn:
        """Raise what a failure is by the state of the repository, or the failure itself where that tells nothing."""
        if isinstance(error, UnavailableError) or (isinstance(error, XrpcError) and _is_passing(error)):
            raise error
        named = error.error if isinstance(error, XrpcError) else ""
        state = _STATES.get(named) or self._state(pds)
        host = urlsplit(pds).netloc
        if words := _GONE.get(state):
            raise NotFoundError(f"the repository {self._did}: {words.format(host=host)} ({state})") from error
        if words := _LATER.get(state):
            raise UnavailableError(f"the repository {self._did}: {words.format(host=host)} ({state})") from error
        raise error

    def _state(self, pds: str) -> str:
        query = f"did={quote(self._did, safe=':')}"
        _, answer = self._ask(f"{pds.rstrip('/')}/xrpc/com.atproto.sync.getRepoStatus?{query}", limit=_ANSWER)
        if answer.get("active") is False:
            return str(answer.get("status"))
        return _STATES.get(str(answer.get("error")), "")

    def _ask(self, url: str, *, limit: int) -> tuple[int, dict[str, Any]]:
        """A status and a JSON object; 0 and nothing where there is none: it is asked to explain, and not needed."""
        try:
            response = self._transport.request("GET", url, limit=limit, retry=False)
            answer = json.loads(response.body)
        except (AtdataError, ValueError, RecursionError):
            return 0, {}
        return response.status, answer if isinstance(answer, dict) else {}


def _is_passing(error: XrpcError) -> bool:
    return error.status == 429 or error.status >= 500
