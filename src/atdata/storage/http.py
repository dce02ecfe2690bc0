"""Objects at ``http`` and ``https`` URLs as a store. All of HTTP is `atdata.net`'s."""

from atdata.net import Transport
from atdata.storage.base import Stream


class HttpStore:
    """Reads objects over HTTP. A path is a URL.

    Args:
        transport: Holds the policy: which addresses, how many attempts.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def open(self, path: str, *, start: int = 0, stop: int | None = None) -> Stream:
        """Stream the object at a URL; see `Store.open` and `Transport.open`."""
        return self._transport.open(path, start=start, stop=stop)

    def size(self, path: str) -> int:
        """Length of the object at a URL, in bytes."""
        return self._transport.head_size(path)
