"""What a server may not do while it answers: drip, send headers without end, give two lengths.

The read timeout of a socket is for one ``recv``, so a server that sends a byte a minute never meets it. Here the bytes
that came are held against the time that was spent waiting for them. Time in which nobody reads does not count.
"""

import http.client
import io
import socket
import time
from typing import Any

from atdata.net.policy import Policy

MAX_HEAD = 256 << 10  # bytes of status lines and headers; servers themselves commonly take 8 to 64 KiB
_BUFFER = 64 << 10  # bytes; larger reads go straight into the caller's buffer


class PacedReader(io.RawIOBase):
    """The receiving side of a socket, with limits on how slow it may be and on the length of the headers."""

    def __init__(self, raw: io.RawIOBase, policy: Policy) -> None:
        self._raw = raw
        self._window = policy.read_timeout
        self._least = policy.min_rate * policy.read_timeout
        self._waited = 0.0
        self._came = 0
        self._head_left: int | None = MAX_HEAD

    def readable(self) -> bool:
        """True, as `io.BufferedReader` asks."""
        return True

    def end_head(self) -> None:
        """The headers have been read; what follows may be as long as it says."""
        self._head_left = None

    def readinto(self, buffer: Any, /) -> int | None:
        """Receive once.

        Raises:
            TimeoutError: Over ``read_timeout`` seconds of waiting, fewer than ``min_rate`` bytes a second have come.
            http.client.HTTPException: Status lines and headers are longer than 256 KiB.
        """
        began = time.monotonic()
        if self._head_left is not None:
            buffer = memoryview(buffer)[: self._head_left]
            if not len(buffer):
                raise http.client.HTTPException(f"more than {MAX_HEAD >> 10} KiB of headers")
        count = self._raw.readinto(buffer) or 0
        self._came += count
        if self._head_left is not None:
            self._head_left -= count
        self._waited += time.monotonic() - began
        if self._waited > self._window:
            if count and self._came < self._least:
                raise TimeoutError(f"only {self._came:,} bytes in {self._waited:.0f} s")
            self._waited, self._came = 0.0, 0
        return count

    def close(self) -> None:
        """Close the socket's side of it as well."""
        self._raw.close()
        super().close()


def paced_response(policy: Policy) -> type[http.client.HTTPResponse]:
    """The class of responses that a connection under ``policy`` reads."""

    class PacedResponse(http.client.HTTPResponse):
        def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
            super().__init__(sock, *args, **kwargs)
            self._reader = PacedReader(self.fp.detach(), policy)
            self.fp = io.BufferedReader(self._reader, _BUFFER)

        def begin(self) -> None:
            super().begin()
            self._reader.end_head()
            # The standard library reads a wrong Content-Length as none: a body of any length would pass for whole.
            lengths = {length.strip() for line in self.msg.get_all("Content-Length", []) for length in line.split(",")}
            if len(lengths) > 1 or not all(length.isascii() and length.isdigit() for length in lengths):
                raise http.client.HTTPException(f"no valid Content-Length: {', '.join(sorted(lengths))[:80]!r}")

    return PacedResponse
