"""Public objects of Google Cloud Storage, by anonymous GETs over `atdata.net`.

The host is always Google's, unless the owner of the machine configured another one: the endpoint in a record is that of
its ``s3://`` URLs. Objects that need credentials are `atdata.storage.signed`'s.
"""

from atdata.net import Transport
from atdata.storage.base import Stream
from atdata.storage.bucket_answers import explain_answer
from atdata.storage.object_url import GOOGLE, gs_address, parse_endpoint, parse_object_url


class GsStore:
    """Reads public objects. A path is a ``gs://`` URL.

    Args:
        transport: Over which they are fetched.
        endpoint: That the owner of the machine configured.
    """

    def __init__(self, transport: Transport, *, endpoint: str = GOOGLE) -> None:
        self._transport = transport
        self._endpoint = parse_endpoint(endpoint)

    def open(self, path: str, *, start: int = 0, stop: int | None = None) -> Stream:
        """Stream an object; see `Store.open`.

        Raises:
            AuthenticationError: The object is not public; the message says what can be done.
        """
        url = gs_address(parse_object_url(path), endpoint=self._endpoint)
        return self._transport.open(url, start=start, stop=stop, explain=lambda answer: explain_answer(path, answer))

    def size(self, path: str) -> int:
        """Length of an object, in bytes. Raises as `open` does."""
        url = gs_address(parse_object_url(path), endpoint=self._endpoint)
        return self._transport.head_size(url, explain=lambda answer: explain_answer(path, answer))
