"""From names to accounts: over real HTTP and DNS servers on loopback, and on the real PLC directory."""

import pickle
import socket
import threading
from collections.abc import Iterator, Mapping
from typing import Any

import dns.message
import dns.rcode
import dns.rrset
import pytest
from tests.atproto.scripted_server import ScriptedServer
from tests.network.plugin import Network

from atdata.atproto.client import Client
from atdata.atproto.identity import Resolver, resolver_from_environment
from atdata.errors import (
    AtdataError,
    InvalidSyntaxError,
    LimitError,
    NotFoundError,
    RefusedError,
    UnavailableError,
)
from atdata.net import Policy, Response, Transport
from atdata.syntax import Did, Handle

DID = Did("did:plc:ewvi7nxzyoun6zhxrhs64oiz")
OTHER = Did("did:plc:aaaaaaaaaaaaaaaaaaaaaaaa")
HANDLE = "alice.pds1.test"
ASK = "/xrpc/com.atproto.identity.resolveHandle"


def document(did: str = DID, handle: str = HANDLE, pds: str = "https://pds.example.com") -> dict[str, Any]:
    """The smallest whole DID document."""
    service = {"id": "#atproto_pds", "type": "AtprotoPersonalDataServer", "serviceEndpoint": pds}
    return {"id": did, "alsoKnownAs": [f"at://{handle}"], "service": [service]}


class NameServer:
    """A DNS server on loopback that knows some TXT records."""

    def __init__(self, records: Mapping[str, list[str]]) -> None:
        self._records = records
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._socket.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> "NameServer":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stop:
            stop.sendto(b"", self._socket.getsockname())
        self._thread.join()
        self._socket.close()

    def _serve(self) -> None:
        while True:
            data, sender = self._socket.recvfrom(4096)
            if not data:
                return
            question = dns.message.from_wire(data)
            answer = dns.message.make_response(question)
            name = question.question[0].name.to_text()
            if texts := self._records.get(name.rstrip(".")):
                quoted = [f'"{text}"' for text in texts]
                answer.answer.append(dns.rrset.from_text(name, 60, "IN", "TXT", *quoted))
            else:
                answer.set_rcode(dns.rcode.NXDOMAIN)
            self._socket.sendto(answer.to_wire(), sender)


class Rerouted:
    """A transport that finds ``https://HOST`` at servers on loopback, in place of public DNS and certificates."""

    def __init__(self, hosts: Mapping[str, str]) -> None:
        self.policy = Policy(allow_private=True, attempts=1)
        self._inner = Transport(self.policy)
        self._hosts = hosts

    def request(self, method: str, url: str, *, limit: int = 1 << 20) -> Response:
        host = url.split("/")[2]
        if host not in self._hosts:
            raise UnavailableError(f"cannot find {host}")
        return self._inner.request(method, url.replace(f"https://{host}", self._hosts[host], 1), limit=limit)


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    """One server for everything: the PLC directory, and who knows the handles below ``pds1.test``."""
    with ScriptedServer() as server:
        server.say(ASK, {"did": DID})
        server.say(f"/{DID}", document())
        yield server


def resolver(server: ScriptedServer, **policy: Any) -> Resolver:
    """Asks ``server`` for everything, and DNS for nothing."""
    transport = Transport(Policy(**({"allow_private": True, "attempts": 1} | policy)))
    return Resolver(transport, plc=server.url, handle_resolver={"pds1.test": server.url}, dns=False)


def test_a_handle_leads_to_its_account(server: ScriptedServer) -> None:
    """Handle, DID and PDS, whichever name was asked for."""
    for authority in (HANDLE, "@Alice.PDS1.test", DID):
        identity = resolver(server).resolve(authority)

        assert (identity.did, identity.handle, identity.pds) == (DID, HANDLE, "https://pds.example.com")


def test_a_handle_that_the_document_does_not_name_is_refused(server: ScriptedServer) -> None:
    """The error says where the handle leads, and what is named there."""
    server.say(f"/{OTHER}", document(OTHER, "bob.pds1.test"))
    with ScriptedServer() as liar:
        liar.say(ASK, {"did": OTHER})
        both = Resolver(
            Transport(Policy(allow_private=True)), plc=server.url, handle_resolver={"pds1.test": liar.url}, dns=False
        )

        with pytest.raises(NotFoundError, match=f"{HANDLE} leads to {OTHER}, but .* names the handle bob.pds1.test"):
            both.resolve(HANDLE)
        identity = both.resolve(DID)

    assert (identity.did, identity.handle) == (DID, None)


def test_a_did_whose_handle_nobody_knows_has_none(server: ScriptedServer) -> None:
    """The claim of a document is not enough, and not an error either."""
    server.say(f"/{OTHER}", document(OTHER, "bob.elsewhere.invalid"))

    assert resolver(server).resolve(OTHER).handle is None


@pytest.mark.parametrize(
    ("authority", "error", "message"),
    [
        ("alice", InvalidSyntaxError, "must be a domain name with a dot"),
        ("al ice.pds1.test", InvalidSyntaxError, "not a label"),
        ("did:plc:short", InvalidSyntaxError, "24 characters"),
        ("did:key:zQ3shXjHeiBuRCKmM36cuYnm7YEMzhGnCmCyW92sRJ9pribSF", InvalidSyntaxError, "no did:key"),
        ("did:web:example.com:path", InvalidSyntaxError, "host name"),
        ("did:web:exa%2Fmple.com", InvalidSyntaxError, "host name"),
        ("did:web:user%40example.com", InvalidSyntaxError, "host name"),
        ("did:web:localhost", NotFoundError, "local repository"),
        ("alice.nowhere.invalid", NotFoundError, r"\.invalid is reserved"),
        (OTHER, NotFoundError, "there is no DID"),
    ],
)
def test_each_wrong_name_has_its_own_error(
    server: ScriptedServer, authority: str, error: type[AtdataError], message: str
) -> None:
    """What is wrong with it is said, and nobody is asked about names that cannot be."""
    with pytest.raises(error, match=message):
        resolver(server).resolve(authority)

    assert len(server.asked) == (authority == OTHER)


@pytest.mark.parametrize(
    ("status", "body", "error", "message"),
    [
        (410, {"message": "DID not available"}, NotFoundError, "deleted"),
        (404, {"message": "DID not registered"}, NotFoundError, "there is no DID"),
        (500, "oops", UnavailableError, "500"),
        (200, "<html>", UnavailableError, "did not answer with that document"),
        (200, {"id": DID}, UnavailableError, "did not answer with that document"),
        (200, ["[" * 1000], UnavailableError, "did not answer with that document"),
        (200, "x" * 300_000, LimitError, "longer"),
    ],
)
def test_each_answer_of_a_directory_has_its_own_error(
    server: ScriptedServer, status: int, body: Any, error: type[AtdataError], message: str
) -> None:
    """Deleted, unknown, broken, another's document, too long."""
    server.say(f"/{OTHER}", body, status=status)

    with pytest.raises(error, match=message):
        resolver(server).document(OTHER)


@pytest.mark.parametrize("pds", ["http://pds.example.com", "https://pds.example.com/elsewhere", "nonsense"])
def test_a_document_without_usable_pds(server: ScriptedServer, pds: str) -> None:
    """The account exists, and its repository cannot be reached: the error says so."""
    server.say(f"/{OTHER}", document(OTHER, pds=pds))
    private = resolver(server)

    if pds.startswith("http://"):
        assert private.pds(OTHER) == pds
    else:
        with pytest.raises(NotFoundError, match="names no PDS"):
            private.pds(OTHER)


def test_an_unknown_handle_is_not_found(server: ScriptedServer) -> None:
    """Whoever knows the domain says no."""
    with ScriptedServer() as empty:
        empty.say(ASK, {"error": "InvalidRequest", "message": "Unable to resolve handle"}, status=400)
        asking = Resolver(
            Transport(Policy(allow_private=True)), plc=server.url, handle_resolver={"test": empty.url}, dns=False
        )

        with pytest.raises(NotFoundError, match=f"nobody has the handle {HANDLE}"):
            asking.resolve(HANDLE)


def test_did_web_is_at_its_host(server: ScriptedServer) -> None:
    """A port is written %3A; on localhost it is plain http, for private networks alone."""
    did = Did(f"did:web:localhost%3A{server.port}")
    server.say("/.well-known/did.json", document(did))

    assert resolver(server).pds(did) == "https://pds.example.com"
    with pytest.raises(RefusedError, match="private-address"):
        resolver(server, allow_private=False).pds(did)
    assert len(server.asked) == 1


def test_dns_is_asked_before_the_web(server: ScriptedServer) -> None:
    """A TXT record at ``_atproto`` wins; without one, the host of the handle is asked over HTTPS."""
    by_dns, by_web = "dns.example.com", "web.example.com"
    with NameServer({f"_atproto.{by_dns}": ["v=spf1 -all", f"did={DID}"]}) as names, ScriptedServer() as host:
        host.say("/.well-known/atproto-did", f"{OTHER}\n")
        transport: Any = Rerouted({by_dns: host.url, by_web: host.url})
        asking = Resolver(transport, plc=server.url, nameserver=names.address)

        assert asking.did_of(Handle(by_dns)) == DID
        assert host.asked == []
        assert asking.did_of(Handle(by_web)) == OTHER
        assert len(host.asked) == 1


@pytest.mark.parametrize(
    ("texts", "error", "message"),
    [
        ([f"did={DID}", f"did={OTHER}"], NotFoundError, "ambiguous"),
        (["did=nonsense"], NotFoundError, "TXT record .* not a valid DID"),
        (["hello"], NotFoundError, "name no DID; cannot find"),
        ([], NotFoundError, "DNS has no TXT record.*cannot find"),
    ],
)
def test_what_dns_says_wrong_is_said(texts: list[str], error: type[AtdataError], message: str) -> None:
    """Two DIDs, no DID, no record: each its own words."""
    with NameServer({"_atproto.alice.example.com": texts}) as names:
        transport: Any = Rerouted({})

        with pytest.raises(error, match=message):
            Resolver(transport, nameserver=names.address).resolve("alice.example.com")


@pytest.mark.parametrize(
    ("status", "body", "error", "message"),
    [
        (404, "", NotFoundError, "answered 404"),
        (200, "<html>welcome</html>", NotFoundError, "something else than a DID"),
        (200, "x" * 300_000, NotFoundError, "longer"),
        (200, "did:nonsense", NotFoundError, "not a valid DID"),
        (302, "", NotFoundError, "answered 302"),
        (503, "", UnavailableError, "answered 503"),
    ],
)
def test_what_the_web_says_wrong_is_said(status: int, body: str, error: type[AtdataError], message: str) -> None:
    """No file, another page, no DID, a server that is down: only the last may be otherwise later."""
    with ScriptedServer() as host:
        host.say("/.well-known/atproto-did", body, status=status)
        transport: Any = Rerouted({"alice.example.com": host.url})

        with pytest.raises(error, match=message):
            Resolver(transport, dns=False).resolve("alice.example.com")


def test_silence_everywhere_is_not_an_answer() -> None:
    """Offline, a handle is not unknown: the error says to try again."""
    transport: Any = Rerouted({})

    with pytest.raises(UnavailableError, match="cannot find out who has the handle"):
        Resolver(transport, dns=False).resolve("alice.example.com")


def test_names_are_kept_and_asked_again_when_fresh(server: ScriptedServer) -> None:
    """One question for many resolutions; ``fresh`` asks again; a copy in another process knows nothing yet."""
    asking = resolver(server)
    for _ in range(3):
        asking.resolve(HANDLE)
    assert len(server.asked) == 2

    server.say(f"/{DID}", document(pds="https://moved.example.com"))
    server.say(f"/{DID}", document(pds="https://moved.example.com"))

    assert asking.pds(DID) == "https://pds.example.com"
    asking.pds(DID, fresh=True)
    assert asking.pds(DID, fresh=True) == "https://moved.example.com"
    copy: Resolver = pickle.loads(pickle.dumps(asking))
    assert copy.pds(DID) == "https://moved.example.com"


def test_a_document_serves_while_its_host_is_down(server: ScriptedServer) -> None:
    """For a day, and asked again each minute; not for who asks for a fresh one, and not when the account is gone."""
    times = [0.0]
    transport = Transport(Policy(allow_private=True, attempts=1))
    asking = Resolver(transport, plc=server.url, dns=False, clock=lambda: times[0])
    assert asking.pds(DID) == "https://pds.example.com"
    server.say(f"/{DID}", "down", status=503, replace=True)

    for times[0] in (700.0, 3600.0, 86000.0):
        assert [asking.pds(DID) for _ in range(3)] == ["https://pds.example.com"] * 3
    assert len(server.asked) == 4
    with pytest.raises(UnavailableError, match="503"):
        asking.pds(DID, fresh=True)
    times[0] = 90000.0
    with pytest.raises(UnavailableError, match="503"):
        asking.pds(DID)

    server.say(f"/{DID}", document(), replace=True)
    assert asking.pds(DID) == "https://pds.example.com"
    times[0] += 700
    server.say(f"/{DID}", "deleted", status=410, replace=True)
    with pytest.raises(NotFoundError, match="was deleted"):
        asking.pds(DID)
    server.say(f"/{DID}", "down", status=503, replace=True)
    with pytest.raises(UnavailableError):
        asking.pds(DID)


def test_a_host_of_did_web_that_is_down(server: ScriptedServer) -> None:
    """As with the directory: what it said last serves on."""
    did = Did(f"did:web:localhost%3A{server.port}")
    times = [0.0]
    asking = Resolver(Transport(Policy(allow_private=True, attempts=1)), dns=False, clock=lambda: times[0])
    server.say("/.well-known/did.json", document(did))
    assert asking.document(did).handle == HANDLE
    server.say("/.well-known/did.json", "<html>", replace=True)
    times[0] = 3600.0

    assert asking.document(did).handle == HANDLE


def test_a_handle_that_has_changed(server: ScriptedServer) -> None:
    """The old name is known for ten minutes at most, then it is an error that says so; the DID goes on."""
    times = [0.0]
    asking = Resolver(
        Transport(Policy(allow_private=True, attempts=1)),
        plc=server.url,
        handle_resolver={"pds1.test": server.url},
        dns=False,
        clock=lambda: times[0],
    )
    assert asking.resolve(HANDLE).did == DID
    server.say(f"/{DID}", document(handle="bob.pds1.test"), replace=True)
    assert asking.resolve(HANDLE).did == DID

    times[0] = 601.0
    with pytest.raises(NotFoundError, match=rf"{HANDLE} leads to {DID}, but the document of that DID names .*bob"):
        asking.resolve(HANDLE)
    assert asking.resolve("bob.pds1.test").did == DID
    assert asking.resolve(DID).handle == "bob.pds1.test"
    server.say(ASK, {"error": "InvalidRequest", "message": "no"}, replace=True, status=400)
    times[0] = 1300.0
    with pytest.raises(NotFoundError, match=f"nobody has the handle {HANDLE}"):
        asking.resolve(HANDLE)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ATDATA_PLC_URL", "plc.directory"),
        ("ATDATA_PLC_URL", "https://plc.directory/path"),
        ("ATDATA_HANDLE_RESOLVER", "pds1.test"),
        ("ATDATA_HANDLE_RESOLVER", "=http://localhost:1"),
        ("ATDATA_HANDLE_RESOLVER", "pds1.test=localhost:1"),
    ],
)
def test_wrong_settings_are_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    """A variable that makes no sense is named in the error."""
    monkeypatch.setenv(name, value)

    with pytest.raises(InvalidSyntaxError, match=name):
        resolver_from_environment(Transport())


def test_real_accounts_are_found(online: Network) -> None:
    """On the real PLC directory and PDSes: handle, DID, PDS and the key that signs, read from its legacy form."""
    for number in (0, 1):
        account = online.account("alice", pds=number)
        resolver = Client.anonymous().resolver

        by_handle, by_did = resolver.resolve(account.handle), resolver.resolve(account.did)

        assert by_handle == by_did
        assert (by_did.did, by_did.handle, by_did.pds) == (account.did, account.handle, account.pds.url)
        assert (by_did.signing_key or "").startswith("did:key:zQ3sh")  # every compressed secp256k1 key begins so
