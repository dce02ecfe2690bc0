"""Anybody's repository, read where it lies now.

What `atdata.atproto.network` reads at one PDS is read here wherever the repository is: `atdata.storage.home` follows it
when it moves, and says why it is not to be had.
"""

from collections.abc import Iterator

from atdata.atproto.identity import Resolver
from atdata.atproto.network import list_page, paged, read_record
from atdata.atproto.repository import Record
from atdata.atproto.xrpc import Xrpc
from atdata.net import Transport
from atdata.storage.home import Home
from atdata.syntax import Did, Nsid


class PublicRepository:
    """Reads one repository without an account. Thread-safe and picklable."""

    def __init__(self, did: Did, *, resolver: Resolver, transport: Transport) -> None:
        """Name the repository; ``resolver`` finds its PDS, over ``transport`` it is read."""
        self.did = did
        self._transport = transport
        self._home = Home(did, resolver.pds, transport)

    def get_record(self, collection: Nsid, rkey: str) -> Record:
        """Read one record.

        Raises:
            NotFoundError: There is no such account, repository or record; the message names the state of the account.
            IntegrityError: The PDS's value does not have the CID that it says.
            UnavailableError: A server did not answer, or not as one.
        """
        return self._home.visit(lambda pds: read_record(self._xrpc(pds), self.did, collection, rkey))

    def list_records(self, collection: Nsid) -> Iterator[Record]:
        """All records of a collection, the greatest record key first. Raises as `get_record`. Memory is one page."""

        def page(cursor: str | None) -> tuple[list[Record], str | None]:
            return self._home.visit(lambda pds: list_page(self._xrpc(pds), self.did, collection, cursor))

        return paged(page)

    def _xrpc(self, pds: str) -> Xrpc:
        return Xrpc(pds, self._transport)
