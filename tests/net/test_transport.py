"""Requests: refused addresses, redirects, retries, limits, and what is never sent or shown."""

import dataclasses
import datetime
import gzip
import io
import ipaddress
import itertools
import multiprocessing
import os
import pickle
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from tests.storage.faults import Answer, FaultServer, serving
from urllib3.util.connection import create_connection

from atdata.errors import InvalidSyntaxError, LimitError, RefusedError, UnavailableError
from atdata.net import Policy, Transport
from atdata.net.exchange import parse_target, redirected

INSIDE = Policy(allow_private=True, backoff=0.001, connect_timeout=5, read_timeout=5)
OK = Answer(body=b"fine")


@pytest.fixture
def transport() -> Transport:
    return Transport(INSIDE)


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with serving({"/": [OK]}) as server:
        yield server


LOOPBACK = [
    "127.0.0.1",
    "127.1",
    "127.0.1",
    "2130706433",
    "0x7f000001",
    "0x7f.1",
    "0177.0.0.1",
    "017700000001",
    "0",
    "0.0.0.0",
    "localhost",
    "LOCALHOST",
    "localhost.",
    "[::1]",
    "[0:0:0:0:0:0:0:1]",
    "[::]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[::ffff:0:127.0.0.1]",
    "[::127.0.0.1]",
    "[64:ff9b::127.0.0.1]",
    "[64:ff9b:1::7f00:1]",
    "[2002:7f00:1::]",
    "[2001:0:1:2:3:4:80ff:fffe]",
]


@pytest.mark.parametrize("host", LOOPBACK)
def test_no_spelling_of_loopback_is_reached(server: FaultServer, host: str) -> None:
    """Not a byte is sent, not even a connection made, and it is not tried again."""
    began = time.monotonic()

    with pytest.raises(RefusedError) as caught:
        Transport(Policy(backoff=60)).request("GET", server.url("/", host=host))

    assert caught.value.rule == "private-address"
    assert "ATDATA_ALLOW_PRIVATE" in str(caught.value)
    assert server.asked == []
    assert server.count_connections() == 0
    assert time.monotonic() - began < 30


@pytest.mark.parametrize("address", ["169.254.169.254", "10.0.0.1", "192.168.0.1", "[fe80::1]", "[fd00:ec2::254]"])
def test_private_addresses_are_refused_at_once(address: str) -> None:
    """Refused before a connection is tried, so without waiting for a host that may not be there."""
    with pytest.raises(RefusedError, match="private-address"):
        Transport(Policy(connect_timeout=60)).request("GET", f"http://{address}/latest/meta-data/")


def test_metadata_is_refused_even_where_intranets_are_allowed() -> None:
    """``allow_private`` does not open instance metadata."""
    with pytest.raises(RefusedError, match="instance metadata"):
        Transport(INSIDE).request("GET", "http://169.254.169.254/latest/meta-data/")


def test_a_name_that_turns_private_the_second_time_gains_nothing(
    server: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The address that was checked is the one that is connected to: a name is resolved once for each connection."""
    real = socket.getaddrinfo
    answers = iter(["93.184.215.14", "127.0.0.1"])
    resolved: list[str] = []

    def rebinding(host: str, *args: object, **kwargs: object) -> object:
        if host == "rebind.example":
            host = next(answers)
            resolved.append(host)
        return real(host, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    reached: list[str] = []

    def reach(address: tuple[str, int], *args: object, **kwargs: object) -> socket.socket:
        reached.append(address[0])
        raise ConnectionRefusedError

    monkeypatch.setattr("atdata.net.connection.create_connection", reach)
    transport = Transport(Policy(attempts=1))

    with pytest.raises(UnavailableError):
        transport.request("GET", server.url("/", host="rebind.example"))
    assert resolved == reached == ["93.184.215.14"]
    with pytest.raises(RefusedError):
        transport.request("GET", server.url("/", host="rebind.example"))
    assert reached == ["93.184.215.14"]


def test_the_peer_is_checked_as_well(server: FaultServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Should a connection end elsewhere than at the address that was looked up, nothing is sent over it."""
    elsewhere = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("93.184.215.14", 80))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: [elsewhere])
    monkeypatch.setattr(
        "atdata.net.connection.create_connection",
        lambda *args, **kwargs: _connect_to_loopback(server.port),
    )

    with pytest.raises(RefusedError, match=r"127\.0\.0\.1"):
        Transport(Policy(upgrade=False)).request("GET", "http://elsewhere.example/")
    assert server.asked == []


def _connect_to_loopback(port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET)
    sock.settimeout(5)
    sock.connect(("127.0.0.1", port))
    return sock


def test_a_public_name_with_a_private_address_among_others_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """One address of ours among a stranger's is reason enough."""
    mixed = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, 80)) for ip in ("93.184.215.14", "10.0.0.1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: mixed)

    with pytest.raises(RefusedError, match=r"10\.0\.0\.1"):
        Transport(Policy()).request("GET", "https://mixed.example/")


def test_hosts_that_the_caller_named_may_be_private_but_not_where_they_lead(server: FaultServer) -> None:
    """``private_hosts`` opens exactly one host and port; a redirect to another is refused."""
    with serving({"/": [OK], "/away": [Answer(302, headers={"Location": server.url("/")})]}) as named:
        transport = Transport(Policy(private_hosts=frozenset({f"127.0.0.1:{named.port}"})))

        assert transport.request("GET", named.url("/")).body == b"fine"
        with pytest.raises(RefusedError, match="private-address"):
            transport.request("GET", named.url("/away"))
    assert server.asked == []


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.com/",
        "file:///etc/passwd",
        "//example.com/",
        "/etc/passwd",
        "-",
        "http:///nohost",
        "http://exa mple.com/",
        "http://ex\nample.com/",
        "http://example.com/a\r\nX-Injected: 1",
        "http://example.com\\@127.0.0.1/",
        "http://[::1/",
        "http://example.com:99999/",
        "http://example.com:0/",
        "http://bücher.example/",
        "http://exam%70le.com/",
        "http://1.2.3.4%00.example/",
        "http://ⓛocalhost/",
        "http://" + "a" * 300 + "/",
    ],
)
def test_what_is_no_url_is_not_resolved(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Look-alikes, other schemes and control characters end before any name is looked up."""
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: pytest.fail("a name was looked up"))

    with pytest.raises((InvalidSyntaxError, RefusedError)):
        Transport(INSIDE).request("GET", url)


def test_userinfo_is_refused_and_not_shown(transport: Transport, server: FaultServer) -> None:
    """A password in a URL is neither sent nor repeated in the message."""
    with pytest.raises(RefusedError) as caught:
        transport.request("GET", server.url("/").replace("127", "user:hunter2@127"))

    assert caught.value.rule == "url-userinfo"
    assert "hunter2" not in str(caught.value)
    assert server.asked == []


def test_proxy_variables_are_ignored(
    server: FaultServer, transport: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy would connect in our place, past the check."""
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")

    assert transport.request("GET", server.url("/")).status == 200


def test_requests_say_who_asks_and_ask_for_no_compression(server: FaultServer, transport: Transport) -> None:
    """A PDS that compresses tars on the fly does it at a tenth of the speed."""
    transport.request("GET", server.url("/"), headers={"X-More": "1"})

    assert server.asked[0].headers["accept-encoding"] == "identity"
    assert server.asked[0].headers["user-agent"].startswith("atdata/")
    assert server.asked[0].headers["x-more"] == "1"


def test_presigned_urls_are_sent_as_they_are(transport: Transport) -> None:
    """Path and query go out byte for byte."""
    path = "/a%20b/c+d=e/~x?X-Amz-Credential=AK%2F2026%2Fs3&X-Amz-Signature=0f&empty=&list=a,b;c"
    with serving({"/a b/c+d=e/~x": [OK]}) as server:
        response = transport.request("GET", server.url(path))

        assert response.status == 200
        assert response.url.endswith(path)


class TestRedirects:
    def test_five_are_followed_and_six_refused(self, transport: Transport) -> None:
        """The limit holds, and the message names the rule."""
        hops = {f"/{i}": [Answer(302, headers={"Location": f"/{i + 1}"})] for i in range(6)}
        with serving({**hops, "/6": [OK]}) as server:
            assert transport.request("GET", server.url("/1")).body == b"fine"
            with pytest.raises(RefusedError, match="redirect-limit"):
                transport.request("GET", server.url("/0"))

    @pytest.mark.parametrize("first", ["/a", "/self"])
    def test_circles_are_refused(self, transport: Transport, first: str) -> None:
        """A redirect to where it came from ends at once."""
        routes = {
            "/a": [Answer(302, headers={"Location": "/b"})],
            "/b": [Answer(301, headers={"Location": "/a"})],
            "/self": [Answer(307, headers={"Location": "/self"})],
        }
        with serving(routes) as server:
            with pytest.raises(RefusedError, match="redirect-limit"):
                transport.request("GET", server.url(first))
            assert len(server.asked) <= 2

    @pytest.mark.parametrize(
        "location",
        ["file:///etc/passwd", "ftp://example.com/", "gopher://127.0.0.1/", "http://user:pw@127.0.0.1/", "http://[/"],
    )
    def test_only_to_http(self, transport: Transport, location: str) -> None:
        """Other schemes, and credentials in a location, are refused."""
        with (
            serving({"/": [Answer(302, headers={"Location": location})]}) as server,
            pytest.raises(RefusedError),
        ):
            transport.request("GET", server.url("/"))

    @pytest.mark.parametrize("host", ["127.0.0.2", "localhost", "[::ffff:127.0.0.1]", "169.254.169.254", "2130706434"])
    def test_to_private_addresses_are_refused(self, server: FaultServer, host: str) -> None:
        """Each hop is checked like the first."""
        away = server.url("/", host=host)
        with serving({"/": [Answer(302, headers={"Location": away})]}) as first:
            transport = Transport(Policy(private_hosts=frozenset({f"127.0.0.1:{first.port}"}), upgrade=False))
            with pytest.raises(RefusedError, match="private-address"):
                transport.request("GET", first.url("/"))
        assert server.asked == []

    def test_credentials_stay_with_their_origin(self, server: FaultServer, transport: Transport) -> None:
        """Another port is another origin: authorization and cookies do not go along, harmless headers do."""
        secrets = {"Authorization": "Bearer t", "Cookie": "c", "DPoP": "d", "X-Harmless": "x"}
        there = Answer(302, headers={"Location": server.url("/")})
        with serving({"/near": [Answer(302, headers={"Location": "/far"})], "/far": [there]}) as first:
            transport.request("GET", first.url("/near"), headers=secrets)

            assert [set(asked.headers) >= {"authorization", "cookie", "dpop"} for asked in first.asked] == [True, True]
        assert not {"authorization", "cookie", "dpop"} & set(server.asked[0].headers)
        assert server.asked[0].headers["x-harmless"] == "x"

    def test_are_returned_where_asked_or_where_a_body_was_sent(self, transport: Transport) -> None:
        """A POST is not sent anew somewhere else."""
        with serving({"/": [Answer(307, headers={"Location": "/other"})], "/other": [OK]}) as server:
            assert transport.request("POST", server.url("/"), body=b"x").status == 307
            assert transport.request("GET", server.url("/"), redirect=False).status == 307
            assert [asked.path for asked in server.asked] == ["/", "/"]


class TestRetries:
    @pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504, 522])
    def test_passing_statuses_are_tried_again(self, transport: Transport, status: int) -> None:
        """A GET gets its answer in the end."""
        with serving({"/": [Answer(status), Answer(status), OK]}) as server:
            assert transport.request("GET", server.url("/")).body == b"fine"
            assert len(server.asked) == 3

    @pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 501])
    def test_other_statuses_are_answers(self, transport: Transport, status: int) -> None:
        """They come back as they are, at the first attempt."""
        with serving({"/": [Answer(status, body=b"why"), OK]}) as server:
            response = transport.request("GET", server.url("/"))

            assert (response.status, response.body, len(server.asked)) == (status, b"why", 1)

    def test_the_last_answer_is_returned(self, transport: Transport) -> None:
        """After the last attempt a 503 is an answer, not an exception."""
        with serving({"/": [Answer(503, body=b"busy")]}) as server:
            assert transport.request("GET", server.url("/")).status == 503
            assert len(server.asked) == INSIDE.attempts

    def test_what_may_have_been_done_is_not_done_twice(self, transport: Transport) -> None:
        """A POST is tried again only where the server says that it did nothing (429)."""
        with serving({"/": [Answer(500), OK], "/limited": [Answer(429), OK]}) as server:
            assert transport.request("POST", server.url("/"), body=b"x").status == 500
            assert transport.request("POST", server.url("/limited"), body=b"x").status == 200
            assert transport.request("PUT", server.url("/"), body=b"x").status == 200

    def test_retry_false_is_one_attempt(self, transport: Transport) -> None:
        """Nothing is tried again."""
        with serving({"/": [Answer(503), OK]}) as server:
            assert transport.request("GET", server.url("/"), retry=False).status == 503

    def test_long_retry_after_is_not_waited_for(self, transport: Transport) -> None:
        """A server that wants an hour has no answer for us now; the 429 is returned at once."""
        with serving({"/": [Answer(429, headers={"Retry-After": "3600"}), OK]}) as server:
            assert transport.request("GET", server.url("/")).status == 429
            assert len(server.asked) == 1

    def test_short_retry_after_is_obeyed(self, transport: Transport) -> None:
        """``Retry-After: 0`` comes before the second attempt; dates and nonsense are passed over."""
        rows = [Answer(503, headers={"Retry-After": text}) for text in ("0", "Wed, 21 Oct 2015 07:28:00 GMT", "-1")]
        with serving({"/": [*rows, OK]}) as server:
            assert transport.request("GET", server.url("/")).status == 200

    @pytest.mark.parametrize(
        "fault",
        [
            Answer(raw=[]),
            Answer(raw=[b"nonsense\r\n\r\n"]),
            Answer(body=b"0123456789", cut=4),
            Answer(body=b"0123456789", length=20),
            Answer(raw=[b"HTTP/1.1 200 OK\r\nContent-Length: 5, 6\r\n\r\nfffff"]),
            Answer(raw=[b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nfffff"]),
            Answer(raw=[b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nfffff"]),
            Answer(raw=[b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\nfffff"]),
            Answer(raw=[b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nfine\r\n"]),
            Answer(raw=[b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"]),
        ],
        ids=[
            "closed",
            "nonsense",
            "cut",
            "too-long-length",
            "two-lengths",
            "two-length-headers",
            "negative-length",
            "no-number",
            "unfinished-chunks",
            "wrong-chunks",
        ],
    )
    def test_broken_answers_are_tried_again_and_never_passed_on(self, transport: Transport, fault: Answer) -> None:
        """A body that ends before its length is no answer; in the end it is an error that shows no secret."""
        with serving({"/": [fault, OK], "/always": [fault]}) as server:
            assert transport.request("GET", server.url("/")).body == b"fine"
            with pytest.raises(UnavailableError) as caught:
                transport.request("GET", server.url("/always?token=hunter2"))
            assert "hunter2" not in str(caught.value)

    def test_bodies_are_sent_whole_at_every_attempt(self, transport: Transport) -> None:
        """A file is sent from where it stood; an iterable can be sent once only."""
        data = os.urandom(200_000)
        file = io.BytesIO(b"head" + data)
        file.seek(4)
        with serving({"/": [Answer(500), OK], "/once": [Answer(500), OK]}) as server:
            assert transport.request("PUT", server.url("/"), body=file).status == 200
            assert transport.request("PUT", server.url("/"), body=data).status == 200
            assert transport.request("PUT", server.url("/once"), body=iter([data[:10], data[10:]])).status == 500

            assert all(asked.body == data for asked in server.asked)
            assert server.asked[0].headers["content-length"] == str(len(data))


def test_nobody_there_is_said_in_words(transport: Transport) -> None:
    """A refused connection and an unknown name are told apart, and the secret is not shown."""
    with pytest.raises(UnavailableError, match="Connection refused") as refused:
        transport.request("GET", "http://127.0.0.1:1/?token=hunter2")
    with pytest.raises(UnavailableError, match="cannot be resolved"):
        transport.request("GET", "http://nobody.invalid:1/")

    assert "hunter2" not in str(refused.value)


class TestLimits:
    @pytest.mark.parametrize("length", [None, -1])
    def test_long_bodies_are_not_read(self, transport: Transport, length: int | None) -> None:
        """Whether the length is announced or not."""
        with (
            serving({"/": [Answer(body=b"x" * 100_000, length=length)]}) as server,
            pytest.raises(LimitError, match="1,000 bytes"),
        ):
            transport.request("GET", server.url("/"), limit=1000)

    def test_endless_bodies_end_at_the_limit(self, transport: Transport) -> None:
        """Chunks without end fill no memory."""
        endless = itertools.chain(
            [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"], itertools.repeat(b"4\r\nxxxx\r\n")
        )
        with serving({"/": [Answer(raw=endless)]}) as server, pytest.raises(LimitError):
            transport.request("GET", server.url("/"), limit=100_000)

    @pytest.mark.parametrize(
        "endless",
        [
            itertools.chain([b"HTTP/1.1 200 OK\r\n"], itertools.repeat(b"X-More: and more\r\n")),
            itertools.repeat(b"HTTP/1.1 100 Continue\r\n\r\n"),
            itertools.chain([b"HTTP/1.1 200 OK\r\nX-Long: "], itertools.repeat(b"x" * 1000)),
        ],
        ids=["headers", "continue", "one-header"],
    )
    def test_endless_headers_end(self, endless: Iterator[bytes]) -> None:
        """So do interim answers without end, which the standard library would read for ever."""
        with serving({"/": [Answer(raw=endless)]}) as server, pytest.raises(UnavailableError):
            Transport(Policy(allow_private=True, attempts=1)).request("GET", server.url("/"))

    def test_a_stall_ends_by_the_read_timeout(self) -> None:
        """Nothing for ``read_timeout`` seconds is an error, after the last attempt."""
        policy = Policy(allow_private=True, attempts=2, backoff=0.001, read_timeout=0.1)
        with serving({"/": [Answer(body=b"0123456789", stall=4)]}) as server:
            with pytest.raises(UnavailableError, match="no answer in time"):
                Transport(policy).request("GET", server.url("/"))
            assert len(server.asked) == 2

    @pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", b"HTTP/1.1 200 OK\r\nX: "])
    def test_a_drip_ends_by_its_rate(self, head: bytes) -> None:
        """A byte now and then keeps no connection open: headers and bodies alike."""
        stop = threading.Event()

        def drip() -> Iterator[bytes]:
            yield head
            while not stop.wait(0.02):
                yield b"x"

        policy = Policy(allow_private=True, attempts=1, read_timeout=0.2, min_rate=1000)
        with serving({"/": [Answer(raw=drip())]}) as server:
            with pytest.raises(UnavailableError, match="in time"):
                Transport(policy).request("GET", server.url("/"))
            stop.set()

    def test_compressed_answers_are_decompressed_within_the_limit(self, transport: Transport) -> None:
        """Some servers compress although asked not to; a bomb ends at the limit."""
        plain = b'{"ok": true}' * 100
        bomb = gzip.compress(bytes(10 << 20))
        gzipped = {"Content-Encoding": "gzip"}
        routes = {
            "/": [Answer(body=gzip.compress(plain), headers=gzipped)],
            "/bomb": [Answer(body=bomb, headers=gzipped)],
            "/cut": [Answer(body=bomb[:-8], headers=gzipped)],
            "/br": [Answer(body=b"?", headers={"Content-Encoding": "br"})],
        }
        with serving(routes) as server:
            assert transport.request("GET", server.url("/")).body == plain
            with pytest.raises(LimitError):
                transport.request("GET", server.url("/bomb"), limit=1 << 20)
            with pytest.raises(UnavailableError, match="cut short"):
                transport.request("GET", server.url("/cut"), limit=20 << 20)
            with pytest.raises(UnavailableError, match="br"):
                transport.request("GET", server.url("/br"))


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate of 127.0.0.1 and its key, in one file: an authority of one's own."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "atdata tests")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = tmp_path_factory.mktemp("tls") / "certificate.pem"
    file.write_bytes(
        made.public_bytes(Encoding.PEM) + key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    return file


@pytest.fixture
def tls(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


class TestHttps:
    def test_an_own_authority_is_trusted_where_it_is_named(self, tls: ssl.SSLContext, certificate: Path) -> None:
        """By the policy, and by nothing else; a name that the certificate does not have is refused all the same."""
        trusting = Transport(dataclasses.replace(INSIDE, ca_file=str(certificate)))
        with serving({"/": [OK]}, tls=tls) as server:
            assert trusting.request("GET", server.url("/")).body == b"fine"
            with pytest.raises(UnavailableError, match="TLS failed"):
                Transport(INSIDE).request("GET", server.url("/"))
            with pytest.raises(UnavailableError, match="TLS failed"):
                trusting.request("GET", server.url("/", host="localhost"))
            assert [asked.path for asked in server.asked] == ["/"]

    def test_private_addresses_are_refused_before_tls(self, tls: ssl.SSLContext) -> None:
        """Not even a handshake begins."""
        with serving({"/": [OK]}, tls=tls) as server:
            with pytest.raises(RefusedError, match="private-address"):
                Transport(Policy()).request("GET", server.url("/"))
            assert server.accepted == 0

    def test_no_redirect_leads_from_https_to_http(self, tls: ssl.SSLContext, certificate: Path) -> None:
        """Nothing is asked in clear."""
        with (
            serving({"/": [OK]}) as clear,
            serving({"/": [Answer(302, headers={"Location": clear.url("/")})]}, tls=tls) as server,
        ):
            with pytest.raises(RefusedError, match="redirect-downgrade"):
                Transport(dataclasses.replace(INSIDE, ca_file=str(certificate))).request("GET", server.url("/"))
            assert clear.asked == []

    def test_certificates_are_verified(self) -> None:
        """A server without TLS, or of an unknown authority, is no https server; not tried again."""
        with serving({"/": [OK]}) as server:
            with pytest.raises(UnavailableError, match="TLS failed"):
                Transport(INSIDE).request("GET", server.url("/").replace("http:", "https:"))
            assert server.count_connections() == 1

    def test_downgrades_are_refused(self) -> None:
        """A redirect from https to http is refused where the URL said https."""
        target = parse_target("https://example.com/a")

        with pytest.raises(RefusedError, match="redirect-downgrade"):
            redirected(target, "http://example.com/a", tried_upgrade=False)
        assert redirected(target, "http://example.com/a", tried_upgrade=True).scheme == "http"

    def test_http_on_the_default_port_goes_over_https_where_there_is_some(
        self, tls: ssl.SSLContext, certificate: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Nothing is asked in clear, unless https itself leads back to http."""
        routes = {"/": [OK], "/clear": [Answer(302, headers={"Location": "http://127.0.0.1/clear"})]}
        with serving({"/": [OK], "/clear": [OK]}) as clear, serving(routes, tls=tls) as secure:

            def reach(address: tuple[str, int], *args: Any, **kwargs: Any) -> socket.socket:
                port = {80: clear.port, 443: secure.port}[address[1]]
                return create_connection((address[0], port), *args, **kwargs)

            monkeypatch.setattr("atdata.net.connection.create_connection", reach)
            transport = Transport(dataclasses.replace(INSIDE, ca_file=str(certificate)))

            assert transport.request("GET", "http://127.0.0.1/").url == "https://127.0.0.1/"
            assert transport.request("GET", "http://127.0.0.1:80/").url == "https://127.0.0.1/"
            assert clear.asked == []
            assert transport.request("GET", "http://127.0.0.1/clear").url == "http://127.0.0.1/clear"
            assert [asked.path for asked in clear.asked] == ["/clear"]

    def test_http_on_the_default_port_is_tried_as_https_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The decision is kept: a host that has no https is asked for it once."""
        tried: list[int] = []
        resolve, connect = socket.getaddrinfo, create_connection

        def find(host: str, port: int, *args: Any) -> list[Any]:
            if host != "plain.example":
                return resolve(host, port, *args)
            tried.append(port)
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

        def reach(address: tuple[str, int], *args: Any, **kwargs: Any) -> socket.socket:
            return connect((address[0], plain.port if address[1] == 80 else 1), *args, **kwargs)

        monkeypatch.setattr(socket, "getaddrinfo", find)
        monkeypatch.setattr("atdata.net.connection.create_connection", reach)
        with serving({"/": [OK]}) as plain:
            transport = Transport(INSIDE)
            assert transport.request("GET", "http://plain.example/").url == "http://plain.example/"
            transport.close()
            assert transport.request("GET", "http://plain.example/").status == 200

        assert tried == [443, 80, 80]


class TestProcesses:
    def test_survives_pickling_without_its_connections(self, server: FaultServer, transport: Transport) -> None:
        """The policy goes along, sockets do not."""
        transport.request("GET", server.url("/"))
        copy: Transport = pickle.loads(pickle.dumps(transport))

        assert copy.policy == transport.policy
        assert copy.request("GET", server.url("/")).body == b"fine"

    @pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
    def test_works_in_a_forked_child(self, server: FaultServer, transport: Transport) -> None:
        """A child makes connections of its own and leaves its parent's alone."""
        transport.request("GET", server.url("/"))
        context = multiprocessing.get_context("fork")
        child = context.Process(target=_ask, args=(transport, server.url("/")))
        child.start()
        child.join(30)

        assert child.exitcode == 0
        assert transport.request("GET", server.url("/")).body == b"fine"
        assert server.count_connections() == 2

    def test_threads_share_it(self, server: FaultServer, transport: Transport) -> None:
        """Eight threads at once, each with its own answer."""
        with ThreadPoolExecutor(8) as pool:
            bodies = list(pool.map(lambda _: transport.request("GET", server.url("/")).body, range(64)))

        assert bodies == [b"fine"] * 64

    def test_connections_are_used_again(self, server: FaultServer, transport: Transport) -> None:
        """One connection does for requests that follow one another."""
        for _ in range(5):
            transport.request("GET", server.url("/"))

        assert server.count_connections() == 1


def _ask(transport: Transport, url: str) -> None:
    assert transport.request("GET", url).body == b"fine"


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_own_authorities_that_are_none_are_an_error(tmp_path: Path, content: str | None) -> None:
    """A file that is no certificate is an error at once, which names it, not a connection without a check."""
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_text(content)

    with pytest.raises(InvalidSyntaxError, match=r"ca\.pem gives no certificate authorities: .*ATDATA_CA_FILE"):
        Transport(Policy(ca_file=str(path))).request("GET", "https://example.com/")
