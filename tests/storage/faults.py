"""A small HTTP server on loopback whose answers, and faults, are a table. It keeps what it was asked.

Each path has a row of `Answer`; each request takes the next one, and the last one stays. A fault is a field of the
answer: add one here when a test needs it, and every test can have it. `FaultProxy` serves objects, with faults that a
seed draws.
"""

import re
import socket
import socketserver
import ssl
import sys
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any, TypeVar
from urllib.parse import unquote

S = TypeVar("S", bound="FaultServer")


MOMENT = 0.002  # seconds between two pieces of what drips
FAULTS = ("cut", "stall", "error", "busy", "length", "bytes", "drip")


@dataclass(frozen=True)
class Answer:
    """One answer. Without any argument, an empty 200.

    Attributes:
        status: HTTP status code.
        body: The whole object; a Range is cut out of it where ``ranges`` is True.
        headers: Sent as they are.
        ranges: Whether the server knows Range and If-Range.
        etag: None sends none.
        length: A Content-Length that lies; -1 sends none.
        cut: Bytes of the body after which the connection is closed.
        stall: Bytes of the body after which nothing comes any more, and the connection stays open.
        drip: Bytes of the body that come at a time, a moment after the ones before.
        wait: Seconds before the answer begins.
        raw: Sent instead of anything else, forever where it is an endless iterable, then the connection is closed.
    """

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    ranges: bool = True
    etag: str | None = None
    length: int | None = None
    cut: int | None = None
    stall: int | None = None
    drip: int | None = None
    wait: float = 0
    raw: Iterable[bytes] | None = None


@dataclass(frozen=True)
class Asked:
    """A request as the server got it. Names of headers are in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


class FaultServer(socketserver.ThreadingTCPServer):
    """Serves ``routes``; the requests stand in ``asked``."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(
        self, routes: Mapping[str, Sequence[Answer]], *, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None
    ) -> None:
        self.tls = tls
        self.routes = {path: list(answers) for path, answers in routes.items()}
        self.asked: list[Asked] = []
        self.accepted = 0
        self.hold: float | None = None  # seconds after which a connection that stalls is closed; None: with the server
        self.closing = threading.Event()
        self.lock = threading.Lock()
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, 0), _Handler)

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def url(self, path: str, *, host: str = "127.0.0.1") -> str:
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}{path}"

    def get_request(self) -> tuple[Any, Any]:
        connection, address = super().get_request()
        self.accepted += 1
        if self.tls:  # the handshake waits for the handler, which has a thread of its own
            connection = self.tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        return connection, address

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away in the middle is what is tested, not news."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)

    def count_connections(self) -> int:
        """Connections that others made. One of our own goes last, and connections are accepted in order."""
        with socket.create_connection((str(self.server_address[0]), self.port), timeout=30) as probe:
            probe.sendall(b"GET /probe HTTP/1.1\r\nConnection: close\r\n\r\n")
            probe.recv(1)
        with self.lock:
            self.asked = [asked for asked in self.asked if asked.path != "/probe"]
        self.accepted -= 1
        return self.accepted

    def take(self, asked: Asked) -> Answer:
        with self.lock:
            self.asked.append(asked)
            row = self.routes.get(asked.path) or self.routes.get(asked.path.partition("?")[0])
            if not row:
                return Answer(404)
            return row.pop(0) if len(row) > 1 else row[0]


class FaultProxy(FaultServer):
    """Serves objects by path; a part of its answers have a fault, drawn by a seed.

    Attributes:
        drawn: How often each fault came.
    """

    def __init__(
        self,
        objects: Mapping[str, bytes],
        *,
        seed: int,
        rate: float = 0.5,
        faults: Sequence[str] = FAULTS,
        ranges: bool = True,
        retry_after: int = 0,
    ) -> None:
        """Serve objects.

        Args:
            rate: Part of the answers that have a fault.
            faults: Those that may be drawn, of `FAULTS`.
            ranges: Whether the server knows Range.
            retry_after: Seconds that a busy server asks for.
        """
        super().__init__({})
        self.objects = objects
        self.rate = rate
        self.faults = tuple(faults)
        self.ranges = ranges
        self.retry_after = retry_after
        self.drawn: Counter[str] = Counter()
        self.hold = 2.0
        self._random = Random(seed)

    def take(self, asked: Asked) -> Answer:
        body = self.objects.get(asked.path)
        if body is None:
            return Answer(404)
        whole = Answer(body=body, etag='"v1"', ranges=self.ranges)
        with self.lock:
            if asked.method == "HEAD" or self._random.random() >= self.rate:
                return whole
            fault = self._random.choice(self.faults)
            self.drawn[fault] += 1
            return self._faulty(fault, whole, asked)

    def _faulty(self, fault: str, whole: Answer, asked: Asked) -> Answer:
        status, sent, headers = _cut_out(asked, whole)
        start = int(headers["Content-Range"].removeprefix("bytes ").partition("-")[0]) if status == 206 else 0
        place = self._random.randrange(max(len(sent), 1))
        match fault:
            case "cut":
                return replace(whole, cut=place)
            case "stall":
                return replace(whole, stall=place)
            case "error":
                return Answer(self._random.choice((500, 502, 503, 504)), body=b"no")
            case "busy":
                return Answer(429, headers={"Retry-After": str(self.retry_after)})
            case "length":
                return replace(whole, length=max(0, len(sent) + self._random.choice((-600, -1, 1, 600))))
            case "bytes":
                wrong = bytearray(whole.body)
                wrong[start + place] ^= 1 << self._random.randrange(8)
                return replace(whole, body=bytes(wrong))
            case _:
                return replace(whole, drip=max(1, len(sent) // 8))


@contextmanager
def serving(
    routes: Mapping[str, Sequence[Answer]], *, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None
) -> Iterator[FaultServer]:
    """A server for the length of a block."""
    with running(FaultServer(routes, host=host, tls=tls)) as server:
        yield server


@contextmanager
def running(server: S) -> Iterator[S]:
    """Run a server for the length of a block."""
    with server:
        thread = threading.Thread(target=lambda: server.serve_forever(poll_interval=0.01))
        thread.start()
        try:
            yield server
        finally:
            server.closing.set()
            server.shutdown()
            thread.join()


class _Handler(socketserver.StreamRequestHandler):
    server: FaultServer
    disable_nagle_algorithm = True
    wbufsize = -1

    def handle(self) -> None:
        try:
            while asked := self._read():
                if not self._send(asked, self.server.take(asked)):
                    return
        except OSError:
            return  # the client went away

    def _read(self) -> Asked | None:
        line = self.rfile.readline(65537).decode("latin-1").split()
        if len(line) != 3:
            return None
        headers = {}
        while (raw := self.rfile.readline(65537).decode("latin-1").strip()) != "":
            name, _, value = raw.partition(":")
            headers[name.strip().lower()] = value.strip()
        return Asked(line[0], unquote(line[1]), headers, self._body(headers))

    def _body(self, headers: Mapping[str, str]) -> bytes:
        if headers.get("transfer-encoding") != "chunked":
            return self.rfile.read(int(headers.get("content-length", 0)))
        data = b""
        while size := int(self.rfile.readline(), 16):
            data += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return data

    def _send(self, asked: Asked, answer: Answer) -> bool:
        """Send an answer; False where the connection ends with it."""
        if answer.raw is not None:
            for piece in answer.raw:
                self.wfile.write(piece)
                self.wfile.flush()
            return False
        self.server.closing.wait(answer.wait)
        status, body, extra = _cut_out(asked, answer)
        headers = {"Content-Length": str(len(body)), **extra, **answer.headers}
        if answer.length is not None:
            headers["Content-Length"] = str(answer.length)
        if answer.length == -1:
            del headers["Content-Length"]
        head = f"HTTP/1.1 {status} Whatever\r\n" + "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self.wfile.write(head.encode("latin-1") + b"\r\n")
        if asked.method == "HEAD":
            self.wfile.flush()
            return True
        end = min((place for place in (answer.cut, answer.stall) if place is not None), default=len(body))
        step = answer.drip or max(end, 1)
        for begin in range(0, end, step):
            self.wfile.write(body[begin : min(end, begin + step)])
            self.wfile.flush()
            if answer.drip:
                self.server.closing.wait(MOMENT)
        self.wfile.flush()
        if answer.stall is not None:
            self.server.closing.wait(self.server.hold)
        return answer.cut is None and answer.stall is None and answer.length is None


def _cut_out(asked: Asked, answer: Answer) -> tuple[int, bytes, dict[str, str]]:
    extra = {"ETag": answer.etag} if answer.etag else {}
    wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", asked.headers.get("range", ""))
    condition = asked.headers.get("if-range")
    known = {answer.etag, answer.headers.get("Last-Modified")} - {None}
    if answer.status != 200 or not answer.ranges or not wanted or (condition is not None and condition not in known):
        return answer.status, answer.body, extra
    size = len(answer.body)
    start, stop = int(wanted[1]), min(int(wanted[2] or size) + 1, size)
    if start >= size:
        return 416, b"", {**extra, "Content-Range": f"bytes */{size}"}
    extra["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
    return 206, answer.body[start:stop], extra
