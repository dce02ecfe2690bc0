"""A small HTTP server in a thread that answers as a test says, and remembers what it was asked."""

import json
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any


@dataclass(frozen=True, slots=True)
class Asked:
    """One request that came in."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    headers: dict[str, str]
    body: bytes


class ScriptedServer:
    """Use as a context manager. ``url`` is its base URL, ``asked`` the requests in order."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self._answers: dict[str, list[_Answer]] = {}
        handler = type("Handler", (_Handler,), {"script": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self.port = self._server.server_address[1]
        self.url = f"http://localhost:{self.port}"

    def __enter__(self) -> "ScriptedServer":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def say(
        self,
        path: str,
        body: dict[str, Any] | list[Any] | str | bytes,
        *,
        status: int = 200,
        replace: bool = False,
        **headers: str,
    ) -> None:
        """Answer the next requests at ``path`` like this; said twice, the first answer is given once or replaced."""
        kind = "text/plain"
        if isinstance(body, dict | list):
            body, kind = json.dumps(body), "application/json"
        named = {"Content-Type": kind} | {name.replace("_", "-"): value for name, value in headers.items()}
        answer = _Answer(status, named, body.encode() if isinstance(body, str) else body)
        if replace:
            self._answers[path] = []
        self._answers.setdefault(path, []).append(answer)

    def answer(self, asked: Asked) -> _Answer:
        """What the handler sends: the last thing said stays."""
        self.asked.append(asked)
        answers = self._answers.get(asked.path, [_Answer(404, {"Content-Type": "text/plain"}, b"nothing here")])
        return answers.pop(0) if len(answers) > 1 else answers[0]


class _Handler(BaseHTTPRequestHandler):
    script: ScriptedServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path, _, query = self.path.partition("?")
        answer = self.script.answer(Asked(self.command, path, query, dict(self.headers), body))
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.body)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(answer.body)
        self.close_connection = True

    do_POST = do_GET

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""
