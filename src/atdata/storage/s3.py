"""Public objects of S3 and of services that speak S3, by anonymous GETs.

A stranger's record may name them, so all goes over `atdata.net`, which checks addresses, and nothing of ours is signed
or sent along. Where the bucket lies in another region than was thought, AWS says which; that answer counts only if it
looks like a region. Objects that need credentials are `atdata.storage.signed`'s.

Source: Amazon S3 User Guide, "Virtual hosting of buckets", "Request redirection and the REST API"
"""

from collections.abc import Callable
from typing import TypeVar

from atdata.errors import AtdataError, UnavailableError
from atdata.net import Response, Transport
from atdata.storage.base import Stream
from atdata.storage.bucket_answers import explain_answer
from atdata.storage.object_url import (
    aws_host,
    check_service,
    is_in_host,
    is_region,
    parse_object_url,
    s3_address,
)

T = TypeVar("T")


class S3Store:
    """Reads public objects. A path is an ``s3://`` URL.

    Args:
        transport: Over which they are fetched.
        endpoint: Of the service that all the URLs belong to; None for AWS.
        region: Of the buckets; None: AWS is asked.
    """

    def __init__(self, transport: Transport, *, endpoint: str | None = None, region: str | None = None) -> None:
        self._transport = transport
        check_service(endpoint, region)
        self._endpoint = endpoint
        self._region = region
        self._found: dict[str, str] = {}

    def __getstate__(self) -> dict[str, object]:
        return self.__dict__ | {"_found": {}}

    def open(self, path: str, *, start: int = 0, stop: int | None = None) -> Stream:
        """Stream an object; see `Store.open`.

        Raises:
            AuthenticationError: The object is not public; the message says what can be done.
        """

        return self._ask(
            path,
            lambda url, answers: self._transport.open(url, start=start, stop=stop, explain=answers.explain),
        )

    def size(self, path: str) -> int:
        """Length of an object, in bytes. Raises as `open` does."""
        return self._ask(path, lambda url, answers: self._transport.head_size(url, explain=answers.explain))

    def _ask(self, path: str, question: Callable[[str, "_Answers"], T]) -> T:
        """Ask, and once more where AWS names another region."""
        location = parse_object_url(path)
        region = self._found.get(location.bucket, self._region)
        answers = _Answers(path)
        try:
            return question(s3_address(location, endpoint=self._endpoint, region=region), answers)
        except UnavailableError:
            named = answers.region
            if self._endpoint is not None or named is None or named == region:
                raise
        self._found[location.bucket] = named
        return question(s3_address(location, region=named), _Answers(path))


class _Answers:
    """What a server says beside its bytes, about one object."""

    def __init__(self, path: str) -> None:
        self._path = path
        self.region: str | None = None

    def explain(self, response: Response) -> AtdataError | None:
        region = response.headers.get("x-amz-bucket-region", "")
        if response.status in (301, 307, 400) and is_region(region):
            self.region = region
        return explain_answer(self._path, response)


def bucket_region(transport: Transport, bucket: str) -> str | None:
    """The region of a bucket of AWS, which AWS tells everyone; None where it does not.

    Raises:
        UnavailableError: Nobody answers.
    """
    host = aws_host(None)
    url = f"https://{bucket}.{host}/" if is_in_host(bucket) else f"https://{host}/{bucket}"
    response = transport.request("HEAD", url, redirect=False)
    region = response.headers.get("x-amz-bucket-region", "")
    return region if is_region(region) else None
