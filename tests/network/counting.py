"""A TCP forwarder that counts: what a client really sends to a server, cut connections and all."""

import contextlib
import socket
import threading
from types import TracebackType
from urllib.parse import urlsplit

_CHUNK = 256 << 10


class CountingForwarder:
    """Forwards connections to a server. Use as a context manager.

    Attributes:
        url: Where it listens.
        sent: Bytes that clients have sent so far.
    """

    def __init__(self, target: str) -> None:
        """For the server at the URL ``target``, which may be down at times."""
        parts = urlsplit(target)
        self._target = (parts.hostname or "", parts.port or 80)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._lock = threading.Lock()
        self.url = f"http://localhost:{self._listener.getsockname()[1]}"
        self.sent = 0

    def __enter__(self) -> "CountingForwarder":
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._connect, args=(client,), daemon=True).start()

    def _connect(self, client: socket.socket) -> None:
        try:
            server = socket.create_connection(self._target)
        except OSError:
            client.close()
            return
        threading.Thread(target=self._pump, args=(server, client, False), daemon=True).start()
        self._pump(client, server, True)

    def _pump(self, source: socket.socket, sink: socket.socket, is_counted: bool) -> None:
        try:
            while data := source.recv(_CHUNK):
                if is_counted:
                    with self._lock:
                        self.sent += len(data)
                sink.sendall(data)
        except OSError:
            pass
        finally:
            for each in (source, sink):
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)
                each.close()
