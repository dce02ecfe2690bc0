"""The client: who the caller is, and reading records of anybody.

The one place that puts transport, resolver, session and repository together, and that reads the settings of the
environment (``ATDATA_*``). Publishing and loading take a client; they are `atdata.publishing` and `atdata.loading`.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from atdata.atproto.identity import Resolver, pds_of, resolver_from_environment
from atdata.atproto.local import LOCAL_DID, LocalRepository
from atdata.atproto.network import NetworkRepository
from atdata.atproto.public import PublicRepository
from atdata.atproto.repository import Record, Repository
from atdata.atproto.session import Session, create_session
from atdata.atproto.session_file import SessionFile
from atdata.errors import AuthenticationError, InvalidSyntaxError
from atdata.folders import data_folder
from atdata.net import Policy, Transport
from atdata.syntax import AtUri, Did, Handle, Nsid, parse_did


class Client:
    """An account on the network, the local repository, or nobody. Thread-safe.

    Made by `login`, `saved`, `from_env`, `local` or `anonymous`. A pickled client leaves its session behind: the copy
    reads what everybody can read, and its own local repository.

    Attributes:
        did: The account; None for nobody.
        handle: Its handle; None for nobody and for the local repository.
        repository: What the client writes to; None for nobody.
        resolver: Finds accounts.
        transport: Fetches everything.
        handle_domain: Completes an authority of one label, as in ``at://alice/...``; None where none is set.
        is_local: True for the local repository.
    """

    def __init__(
        self,
        *,
        transport: Transport,
        resolver: Resolver,
        session: Session | None = None,
        local: LocalRepository | None = None,
        handle_domain: str | None = None,
    ) -> None:
        """Put a client together by hand; the class methods do so from the environment.

        Args:
            transport: Fetches everything.
            resolver: Finds accounts.
            session: The account to act for.
            local: The local repository, to act for it; not together with ``session``.
            handle_domain: Completes an authority of one label.
        """
        self.transport = transport
        self.resolver = resolver
        self.handle_domain = handle_domain
        self.is_local = local is not None
        self.repository: Repository | None = local
        self.did: Did | None = LOCAL_DID if local is not None else None
        self.handle: Handle | None = None
        self._session = session
        if session is not None:
            self.repository = NetworkRepository(session, transport=transport, resolver=resolver)
            self.did = session.did
            self.handle = session.handle

    @classmethod
    def login(
        cls,
        handle: str,
        password: str,
        *,
        pds: str | None = None,
        code: str | None = None,
        save: bool = False,
        transport: Transport | None = None,
        resolver: Resolver | None = None,
    ) -> "Client":
        """Log in to an account.

        Args:
            handle: Handle or DID.
            password: An App Password, made in the account's settings; the account's own password works as well.
            pds: Base URL of the PDS. None: the one that the DID document names.
            code: The code that the PDS has mailed, for accounts with a second factor.
            save: Keep the session in the configuration folder, for `saved` and the command line.
            transport: Fetches everything. None: as the environment says.
            resolver: Finds accounts. None: as the environment says.

        Raises:
            InvalidSyntaxError: The handle, or ``pds``, is malformed.
            NotFoundError: Nobody has this handle, or the account names no PDS.
            AuthenticationError: Wrong password, or a code is asked for.
            UnavailableError: The PDS, or who knows where it is, did not answer.
        """
        base = cls.anonymous(transport=transport, resolver=resolver)
        identity = base.resolver.resolve(handle)
        session = create_session(
            identity.handle or identity.did,
            password,
            service=pds or pds_of(identity),
            transport=base.transport,
            did=identity.did,
            code=code,
        )
        if save:
            session.save(SessionFile())
        return base._with(session)

    @classmethod
    def from_env(cls) -> "Client":
        """Log in by ``ATDATA_HANDLE`` and ``ATDATA_PASSWORD``, and ``ATDATA_PDS`` where it is set. Raises as `login`.

        Raises:
            AuthenticationError: One of the two is not set.
        """
        handle, password = os.environ.get("ATDATA_HANDLE", ""), os.environ.get("ATDATA_PASSWORD", "")
        if not handle or not password:
            raise AuthenticationError("ATDATA_HANDLE and ATDATA_PASSWORD must both be set")
        return cls.login(handle, password, pds=os.environ.get("ATDATA_PDS") or None)

    @classmethod
    def saved(cls, account: str | None = None) -> "Client | None":
        """The client of a saved login: of ``account`` (handle or DID), or of the current one. None without a login.

        Raises:
            AuthenticationError: The file of sessions is damaged.
        """
        file = SessionFile()
        kept = file.find(account)
        if kept is None:
            return None
        base = cls.anonymous()
        return base._with(Session(kept, base.transport, file=file))

    @classmethod
    def local(cls, path: Path | str | None = None) -> "Client":
        """The local repository: no account, no network. ``path`` is its folder; None: the user's own."""
        base = cls.anonymous()
        return cls(
            transport=base.transport,
            resolver=base.resolver,
            local=LocalRepository(path if path is not None else local_folder()),
            handle_domain=base.handle_domain,
        )

    @classmethod
    def anonymous(cls, *, transport: Transport | None = None, resolver: Resolver | None = None) -> "Client":
        """Nobody: reads what everybody can read."""
        transport = transport or Transport(Policy.from_environment())
        return cls(
            transport=transport,
            resolver=resolver or resolver_from_environment(transport),
            handle_domain=os.environ.get("ATDATA_HANDLE_DOMAIN") or None,
        )

    def __repr__(self) -> str:
        if self.is_local:
            return f"Client.local({self.repository!r})"
        return f"Client({self.handle}, {self.did})" if self.did else "Client.anonymous()"

    def logout(self) -> None:
        """End the session, on the PDS and in the file of saved sessions. Nothing to do for other clients.

        Raises:
            UnavailableError: The PDS did not answer. The file has forgotten the session all the same.
        """
        if self._session is not None:
            self._session.end()

    def is_own(self, did: Did) -> bool:
        """True for the client's own repository, and for the local one of this machine."""
        return did in (self.did, LOCAL_DID)

    def own_repository(self, did: Did) -> Repository | None:
        """The repository of ``did`` where it is the client's own, or the local one of this machine; else None."""
        if did == self.did:
            return self.repository
        return LocalRepository(local_folder()) if did == LOCAL_DID else None

    def did_of(self, uri: AtUri) -> Did:
        """The DID of the repository that an AT-URI names, its handle resolved and checked in both directions.

        Raises:
            NotFoundError: Nobody has this handle.
            UnavailableError: Those who know did not answer.
        """
        if uri.authority.startswith("did:"):
            return parse_did(uri.authority)
        return self.resolver.resolve(uri.authority).did

    def get_record(self, uri: AtUri) -> Record:
        """Read one record of anybody: of the local repository, of the client's own, or from its PDS.

        Raises:
            InvalidSyntaxError: The AT-URI names no record.
            NotFoundError: There is no such account, repository or record.
            IntegrityError: The PDS's value does not have the CID that it says.
            UnavailableError: A server did not answer.
        """
        if uri.collection is None or uri.rkey is None:
            raise InvalidSyntaxError(
                f"{uri} names no record: the form is at://AUTHORITY/COLLECTION/RKEY", value=str(uri)
            )
        did = self.did_of(uri)
        if (own := self.own_repository(did)) is not None:
            return own.get_record(uri.collection, uri.rkey)
        return self._public(did).get_record(uri.collection, uri.rkey)

    def list_records(self, did: Did, collection: Nsid) -> Iterator[Record]:
        """All records of a collection in anybody's repository, the greatest key first. Raises as `get_record`."""
        if (own := self.own_repository(did)) is not None:
            return own.list_records(collection)
        return self._public(did).list_records(collection)

    def _public(self, did: Did) -> PublicRepository:
        return PublicRepository(did, resolver=self.resolver, transport=self.transport)

    def _with(self, session: Session) -> "Client":
        return Client(
            transport=self.transport, resolver=self.resolver, session=session, handle_domain=self.handle_domain
        )

    def __getstate__(self) -> dict[str, Any]:
        if self._session is None:
            return self.__dict__
        return self.__dict__ | {"_session": None, "repository": None, "did": None, "handle": None}


def local_folder() -> Path:
    """Where the user's own local repository lies."""
    return data_folder() / "repository"
