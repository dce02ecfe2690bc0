"""Identity: from a handle to a DID, from a DID to its document, and back again as a check.

Who has a handle is asked by `atdata.atproto.handle_lookup`; what a DID document says is read by
`atdata.atproto.did_document`. Everything that is fetched comes from strangers: sizes are limited, and addresses are
checked by `atdata.net`.

Sources: https://atproto.com/specs/handle#handle-resolution, https://atproto.com/specs/did
"""

import os
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import unquote

from atdata.atproto.did_document import DidDocument, is_service_url, read_document
from atdata.atproto.handle_lookup import DOCUMENT_LIMIT, ask_everywhere, ask_server, json_object
from atdata.atproto.recent import Recent
from atdata.errors import AtdataError, InvalidSyntaxError, NotFoundError, RefusedError, UnavailableError
from atdata.net import Transport
from atdata.syntax import Did, Handle, parse_did, parse_handle

PLC_DIRECTORY = "https://plc.directory"
LOCAL = Did("did:web:localhost")  # the repository on this disk, of `atdata.atproto.local`: never fetched
_PLC = re.compile(r"did:plc:[a-z2-7]{24}")
_WEB_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?(?::[0-9]{1,5})?")


@dataclass(frozen=True, slots=True)
class Identity:
    """Who an account is, and where its repository lies.

    Attributes:
        did: The permanent name.
        handle: The name for people, checked in both directions; None where the check fails.
        pds: Base URL of the server that holds the repository; None where the DID document names none.
        signing_key: The key that signs the repository, as a ``did:key``; None where the document names none.
    """

    did: Did
    handle: Handle | None
    pds: str | None
    signing_key: str | None


class Resolver:
    """Finds who is behind a handle or DID. Thread-safe and picklable.

    What it has found is kept for ten minutes. A DID document serves for a day while nobody answers who has it: the host
    of a ``did:web``, or the PLC directory. A copy in another process begins with nothing.
    """

    def __init__(
        self,
        transport: Transport,
        *,
        plc: str = PLC_DIRECTORY,
        handle_resolver: Mapping[str, str] | None = None,
        dns: bool = True,
        nameserver: str | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Say whom to ask.

        Args:
            transport: Fetches everything; its policy says whether plain http and private addresses are allowed.
            plc: Base URL of the directory of ``did:plc``.
            handle_resolver: For private networks: from a domain, such as ``pds1.test``, to the base URL of the server
                that answers ``com.atproto.identity.resolveHandle`` for all handles below it.
            dns: False leaves DNS out; handles are then asked over HTTPS alone.
            nameserver: ``ADDRESS:PORT`` of the DNS server to ask. None: those of this machine.
            clock: Seconds that only grow, for how long names are kept.
        """
        self._transport = transport
        self._plc = plc.rstrip("/")
        self._handle_resolver = {
            domain.strip(".").lower(): base.rstrip("/") for domain, base in (handle_resolver or {}).items()
        }
        self._dns = dns
        self._nameserver = nameserver
        self._documents: Recent[DidDocument] = Recent(clock)
        self._dids: Recent[Did] = Recent(clock)

    @property
    def allow_private(self) -> bool:
        """True where private addresses and plain http are allowed: on private networks and in tests."""
        return self._transport.policy.allow_private

    def resolve(self, authority: str, *, fresh: bool = False) -> Identity:
        """Find who is behind a handle or a DID, and check the handle in both directions.

        Args:
            authority: A handle or a DID.
            fresh: Ask again, whatever is kept.

        Raises:
            InvalidSyntaxError: It is neither a handle nor a DID, or a DID of a method that ATProto does not have.
            NotFoundError: Nobody has this name; the account was deleted; or the handle leads to a DID whose document
                names another handle.
            UnavailableError: Those who know did not answer.
        """
        if authority.startswith("did:"):
            did = parse_did(authority)
            document = self.document(did, fresh=fresh)
            handle = document.handle if self._leads_to(document.handle, did, fresh=fresh) else None
            return Identity(did, handle, document.pds, document.signing_key)
        handle = parse_handle(authority)
        did = self.did_of(handle, fresh=fresh)
        document = self.document(did, fresh=fresh)
        if document.handle != handle and not fresh:
            document = self.document(did, fresh=True)  # a handle changes, and what is kept may be older than that
        if document.handle != handle:
            named = f"names the handle {document.handle}" if document.handle else "names no handle"
            raise NotFoundError(
                f"the handle {handle} leads to {did}, but the document of that DID {named}; AT-URIs by that DID go on"
            )
        return Identity(did, handle, document.pds, document.signing_key)

    def pds(self, did: Did, *, fresh: bool = False) -> str:
        """The base URL of the server that holds the repository of ``did`` now.

        Raises:
            NotFoundError: There is no such account, or its document names no PDS that can be used.
            The same as `document`.
        """
        return pds_of(self.document(did, fresh=fresh))

    def did_of(self, handle: Handle, *, fresh: bool = False) -> Did:
        """The DID that a handle leads to. Whether that DID agrees is not checked: `resolve` does.

        Raises:
            NotFoundError: Nobody has this handle.
            UnavailableError: Neither DNS nor the web server of the handle answered.
        """
        if fresh or (did := self._dids.get(handle)) is None:
            did = self._ask_for_handle(handle)
            self._dids.put(handle, did)
        return did

    def document(self, did: Did, *, fresh: bool = False) -> DidDocument:
        """The DID document of ``did``.

        Args:
            did: Whose.
            fresh: Ask again, whatever is kept.

        Raises:
            InvalidSyntaxError: The DID's method is not one of ATProto's, or its identifier cannot be.
            NotFoundError: There is no such DID, or its account was deleted.
            UnavailableError: Those who know did not answer, or not with a DID document.
        """
        if not fresh and (document := self._documents.get(did)) is not None:
            return document
        try:
            document = self._fetch_document(did)
        except NotFoundError:
            self._documents.drop(did)
            raise
        except UnavailableError:
            if fresh or (document := self._documents.keep_on(did)) is None:
                raise
        else:
            self._documents.put(did, document)
        return document

    def _leads_to(self, handle: Handle | None, did: Did, *, fresh: bool) -> bool:
        try:
            return handle is not None and self.did_of(handle, fresh=fresh) == did
        except AtdataError:
            return False

    def _ask_for_handle(self, handle: Handle) -> Did:
        labels = handle.split(".")
        for start in range(len(labels)):
            if base := self._handle_resolver.get(".".join(labels[start:])):
                return ask_server(handle, base, self._transport)
        return ask_everywhere(handle, self._transport, dns=self._dns, nameserver=self._nameserver)

    def _fetch_document(self, did: Did) -> DidDocument:
        if did == LOCAL:
            raise NotFoundError(f"{did} is the local repository of each machine: nobody else can read it")
        url = self._document_url(did)
        response = self._transport.request("GET", url, limit=DOCUMENT_LIMIT)
        if response.status == 410:
            raise NotFoundError(f"the account {did} was deleted: its DID is tombstoned")
        if response.status == 404:
            raise NotFoundError(f"there is no DID {did}: {url} answered 404")
        if response.status != 200:
            raise UnavailableError(f"cannot read the document of {did}: {url} answered {response.status}")
        value = json_object(response.body)
        if value.get("id") != did:
            raise UnavailableError(f"cannot read the document of {did}: {url} did not answer with that document")
        return read_document(did, value, allow_http=self.allow_private)

    def _document_url(self, did: Did) -> str:
        method, _, name = did.removeprefix("did:").partition(":")
        if method == "plc":
            if not _PLC.fullmatch(did):
                raise InvalidSyntaxError(
                    f"{did!r} is not a valid did:plc: 24 characters of a-z and 2-7 follow", value=did
                )
            return f"{self._plc}/{did}"
        if method != "web":
            raise InvalidSyntaxError(f"{did!r}: ATProto has did:plc and did:web, and no did:{method}", value=did)
        host = unquote(name)
        if ":" in name or not _WEB_HOST.fullmatch(host):
            raise InvalidSyntaxError(
                f"{did!r} is not a valid did:web: a host name and perhaps %3APORT follow", value=did
            )
        if host.partition(":")[0].lower() != "localhost":
            return f"https://{host}/.well-known/did.json"
        if not self.allow_private:
            raise RefusedError(f"{did} is on this machine, which no stranger may name", rule="private-address")
        return f"http://{host}/.well-known/did.json"


def pds_of(document: DidDocument | Identity) -> str:
    """The base URL of the PDS.

    Raises:
        NotFoundError: The document names none that can be used.
    """
    if document.pds is None:
        raise NotFoundError(f"the DID document of {document.did} names no PDS with an https address")
    return document.pds


def resolver_from_environment(transport: Transport) -> Resolver:
    """The resolver that the environment describes.

    ``ATDATA_PLC_URL`` is the base URL of the PLC directory; ``ATDATA_HANDLE_RESOLVER`` maps domains of handles to
    servers, as in ``pds1.test=http://localhost:2583,pds2.test=http://localhost:2584``.

    Raises:
        InvalidSyntaxError: One of the variables is malformed; the message names it.
    """
    plc = os.environ.get("ATDATA_PLC_URL") or PLC_DIRECTORY
    _check_url("ATDATA_PLC_URL", plc)
    servers = {}
    for item in filter(None, os.environ.get("ATDATA_HANDLE_RESOLVER", "").split(",")):
        domain, mark, base = item.strip().partition("=")
        if not mark or not domain:
            raise InvalidSyntaxError(f"ATDATA_HANDLE_RESOLVER: {item!r} must be DOMAIN=URL", value=item)
        _check_url("ATDATA_HANDLE_RESOLVER", base)
        servers[domain] = base
    return Resolver(transport, plc=plc, handle_resolver=servers)


def _check_url(variable: str, url: str) -> None:
    # Plain http is for the policy of the transport to judge; here it is the user's own setting.
    if not is_service_url(url, allow_http=True):
        raise InvalidSyntaxError(f"{variable}: {url!r} must be https://HOST and nothing behind it", value=url)
