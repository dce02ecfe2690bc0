"""``s3://`` and ``gs://`` URLs: bucket and key, and how they stand in an https URL.

Text only. Strict patterns: whatever bucket, key, endpoint and region say, the host of the https URL is the one of the
endpoint, or of the bucket at AWS or Google. In a URL a key is percent-encoded where it needs to be, as in every URL of
a record: ``%20`` is a space, and ``%`` itself is ``%25``.

Sources: Amazon S3 User Guide, "Bucket naming rules", "Object key naming", "Virtual hosting of buckets"; Google Cloud
Storage, "Bucket names", "Request endpoints"
"""

import re
from dataclasses import dataclass
from urllib.parse import quote, unquote

from atdata.errors import InvalidSyntaxError, RefusedError
from atdata.redaction import redacted, shown

GOOGLE = "https://storage.googleapis.com"
MAX_KEY_BYTES = 1024  # of S3 and of Google Cloud Storage alike

_URL = re.compile(r"(s3|gs)://([^/]*)(?:/(.*))?", re.IGNORECASE | re.DOTALL)
_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
# Wider than the rules for new buckets: old ones of AWS have capitals and underscores, those of Google underscores.
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,253}[A-Za-z0-9]")
_HOST = r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)*"
_ENDPOINT = re.compile(rf"https?://(?:{_HOST}|\[[0-9A-Fa-f:.]{{2,45}}\])(?::[0-9]{{1,5}})?((?:/[A-Za-z0-9._~-]+)*)/?")


_REGION = re.compile(r"[a-z]{2,5}(?:-[a-z]{2,10}){1,3}-[0-9]{1,2}")
_DNS_BUCKET = re.compile(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]")  # a dot would break the certificate of the host


@dataclass(frozen=True, slots=True)
class ObjectUrl:
    """One object in a bucket.

    Attributes:
        scheme: ``s3`` or ``gs``.
        bucket: Letters, digits, dots, hyphens and underscores.
        key: Decoded; without control characters, and without ``.`` and ``..`` as a segment.
    """

    scheme: str
    bucket: str
    key: str

    @property
    def quoted_key(self) -> str:
        """The key in the path of an https URL."""
        # S3 signs, and so expects, everything encoded but these (Signature Version 4, "UriEncode").
        return quote(self.key, safe="/-_.~")


def parse_object_url(url: str) -> ObjectUrl:
    """Take an ``s3://`` or ``gs://`` URL apart.

    Raises:
        InvalidSyntaxError: No such URL, no valid bucket, or no key of an object.
        RefusedError: User name or password in it (rule ``url-userinfo``).

    Example:
        >>> parse_object_url("s3://bucket/a%20b/0.tar").key
        'a b/0.tar'
    """

    def wrong(why: str) -> InvalidSyntaxError:
        return InvalidSyntaxError(f"{shown(url)}: {why}", value=redacted(url))

    match = _URL.fullmatch(url)
    if not match:
        raise wrong("the form is s3://bucket/key or gs://bucket/key")
    scheme, bucket, raw = match[1].lower(), match[2], match[3] or ""
    if "@" in bucket:
        raise RefusedError(f"{shown(url)}: credentials are configured, never part of a URL", rule="url-userinfo")
    if not _BUCKET.fullmatch(bucket) or ".." in bucket:
        raise wrong("no valid name of a bucket stands after '//'")
    if "?" in raw or "#" in raw:
        raise wrong("in the key of an object '?' is written %3F, and '#' is written %23")
    if _ESCAPE.search(raw):
        raise wrong("a '%' that is part of the key is written %25")
    try:
        key = unquote(raw, errors="strict")
    except UnicodeDecodeError as error:
        raise wrong("the key is not UTF-8") from error
    if not key or key.endswith("/"):
        raise wrong("this is a bucket or folder, not an object in it")
    if _CONTROL.search(key) or len(key.encode()) > MAX_KEY_BYTES:
        raise wrong(f"a key has at most {MAX_KEY_BYTES} bytes and no control characters")
    if not {".", ".."}.isdisjoint(key.split("/")):
        raise wrong("'.' and '..' between slashes lead out of the bucket")
    return ObjectUrl(scheme, bucket, key)


def parse_endpoint(endpoint: str) -> str:
    """The base URL of a service, without a slash at its end.

    Raises:
        InvalidSyntaxError: Not ``https://host``, with a port and a plain path at most.
        RefusedError: User name or password in it (rule ``url-userinfo``).
    """
    if "@" in endpoint:
        raise RefusedError(
            f"the endpoint {shown(endpoint)}: credentials are configured, never part of a URL", rule="url-userinfo"
        )
    match = _ENDPOINT.fullmatch(endpoint)
    if not match or len(endpoint) > 500 or not {".", ".."}.isdisjoint(match[1].split("/")):
        raise InvalidSyntaxError(
            f"the endpoint {shown(endpoint)} is not the base URL of a service, as in https://s3.example.com",
            value=redacted(endpoint),
        )
    return endpoint.rstrip("/")


def is_region(region: str) -> bool:
    """Whether a text is in the form of a region of AWS."""
    return bool(_REGION.fullmatch(region))


def aws_host(region: str | None) -> str:
    """The host of S3 in a region of AWS; the one that knows of all regions where it is None.

    Raises:
        InvalidSyntaxError: Not in the form of a region.
    """
    if region is None:
        return "s3.amazonaws.com"
    if not is_region(region):
        raise InvalidSyntaxError(f"{shown(region)} is not a region of AWS, such as eu-central-1", value=region[:100])
    domain = {"cn": "amazonaws.com.cn", "eusc": "amazonaws.eu"}.get(region.partition("-")[0], "amazonaws.com")
    return f"s3.{region}.{domain}"


def check_service(endpoint: str | None, region: str | None) -> None:
    """Check what a record says about the service of its ``s3://`` URLs.

    Raises:
        InvalidSyntaxError: Endpoint or region is none.
        RefusedError: The endpoint has a user name or password (rule ``url-userinfo``).
    """
    if endpoint is not None:
        parse_endpoint(endpoint)
    else:
        aws_host(region)


def is_in_host(bucket: str) -> bool:
    """Whether AWS serves a bucket under a host of its own; names with dots and old ones stand in the path."""
    return bool(_DNS_BUCKET.fullmatch(bucket))


def s3_address(location: ObjectUrl, *, endpoint: str | None = None, region: str | None = None) -> str:
    """The https URL of an object.

    Args:
        endpoint: Of an S3-compatible service, which gets the bucket in the path; None for AWS.
        region: Of AWS.

    Raises:
        InvalidSyntaxError: Endpoint or region is none.

    Example:
        >>> s3_address(ObjectUrl("s3", "bucket", "a b.tar"), region="eu-central-1")
        'https://bucket.s3.eu-central-1.amazonaws.com/a%20b.tar'
    """
    if endpoint is not None:
        return f"{parse_endpoint(endpoint)}/{location.bucket}/{location.quoted_key}"
    host = aws_host(region)
    if is_in_host(location.bucket):
        return f"https://{location.bucket}.{host}/{location.quoted_key}"
    return f"https://{host}/{location.bucket}/{location.quoted_key}"


def gs_address(location: ObjectUrl, *, endpoint: str = GOOGLE) -> str:
    """The https URL of an object.

    Example:
        >>> gs_address(ObjectUrl("gs", "bucket", "a b.tar"))
        'https://storage.googleapis.com/bucket/a%20b.tar'
    """
    return f"{parse_endpoint(endpoint)}/{location.bucket}/{location.quoted_key}"
