"""Somebody else's repository: records of any content on a server of their own, as `Client` meets them."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.atproto.scripted_server import ScriptedServer

from atdata.atproto.client import Client
from atdata.atproto.dagcbor import record_cid
from atdata.atproto.identity import Resolver
from atdata.net import Policy, Transport
from atdata.syntax import Did

STRANGER = Did("did:plc:ewvi7nxzyoun6zhxrhs64oiz")


class Stranger:
    """An account on a server of its own, and the client of somebody who reads there."""

    def __init__(self, server: ScriptedServer) -> None:
        self.server = server
        endpoint = {"id": "#atproto_pds", "type": "AtprotoPersonalDataServer", "serviceEndpoint": server.url}
        server.say(f"/{STRANGER}", {"id": STRANGER, "alsoKnownAs": [], "service": [endpoint]})
        # The client may reach this one server, and no other on this machine.
        transport = Transport(Policy(private_hosts=frozenset({f"localhost:{server.port}"})))
        resolver = Resolver(Transport(Policy(allow_private=True)), plc=server.url)
        self.client = Client.anonymous(transport=transport, resolver=resolver)

    def record(self, value: dict[str, Any], *, rkey: str = "self", collection: str | None = None) -> str:
        """Answer the next question for a record with this one; its AT-URI."""
        uri = f"at://{STRANGER}/{collection or value['$type']}/{rkey}"
        try:
            cid = str(record_cid(value))
        except ValueError:  # no repository could hold it, but a server can say anything
            cid = str(record_cid({}))
        self.server.say("/xrpc/com.atproto.repo.getRecord", {"uri": uri, "cid": cid, "value": value})
        return uri

    def blob(self, data: bytes) -> None:
        """Answer the next question for a blob with these bytes."""
        self.server.say("/xrpc/com.atproto.sync.getBlob", data)


@contextmanager
def stranger() -> Iterator[Stranger]:
    """A stranger, as long as the server runs."""
    with ScriptedServer() as server:
        yield Stranger(server)
