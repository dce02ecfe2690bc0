"""A proxy before a real PDS that changes some answers: what an older server, or one in trouble, would say."""

import contextlib
import http.client
import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

Answer = tuple[int, dict[str, str], bytes]
Change = Callable[[str, int, Answer | None], Answer | None]
"""Given the XRPC method, how many calls of it came before, and the PDS's answer (None before it is asked): another
answer, or None to leave it."""


class PdsProxy:
    """Use as a context manager. ``url`` is its base URL, ``calls`` the methods that were called, in order."""

    def __init__(self, target: str, change: Change) -> None:
        self.calls: list[str] = []
        lock = threading.Lock()
        address = urlsplit(target).netloc
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                method = self.path.partition("?")[0].rpartition("/")[2]
                with lock:
                    before = proxy.calls.count(method)
                    proxy.calls.append(method)
                answer = change(method, before, None)
                if answer is None:
                    found = self._forward(body)
                    answer = change(method, before, found) or found
                status, headers, content = answer
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(content))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

            do_POST = do_GET

            def _forward(self, body: bytes) -> Answer:
                names = ("Authorization", "Content-Type", "Accept")
                headers = {name: self.headers[name] for name in names if name in self.headers}
                connection = http.client.HTTPConnection(address, timeout=60)
                try:
                    # A server that refuses a body answers before it has read all of it.
                    with contextlib.suppress(ConnectionError):
                        connection.request(self.command, self.path, body or None, headers)
                    answer = connection.getresponse()
                    return answer.status, {"Content-Type": answer.headers["Content-Type"] or ""}, answer.read()
                finally:
                    connection.close()

            def log_message(self, format: str, *args: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self.url = f"http://localhost:{self._server.server_address[1]}"

    def __enter__(self) -> "PdsProxy":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def failure(status: int, error: str, message: str = "", **headers: str) -> Answer:
    """An error as a PDS gives it; in names of headers an underscore stands for a hyphen."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return (
        status,
        {"Content-Type": "application/json", **named},
        json.dumps({"error": error, "message": message}).encode(),
    )
