"""Objects in buckets of one's own: signed reads and uploads, by obstore (extra ``cloud``).

Only places that the owner of the machine configured come here (`atdata.storage.credentials`). obstore knows nothing of
`atdata.net`'s rules: it follows redirects, and would obey proxy variables and ask the metadata address if it were let.

obstore runs threads of its own, which a fork does not copy: a forked child would wait for them for ever. So a process
that has forked from one that used obstore gets an error instead.
"""

import importlib
import importlib.util
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import chain
from typing import Any, Protocol

from atdata.errors import (
    AtdataError,
    AuthenticationError,
    IntegrityError,
    InvalidSyntaxError,
    NotFoundError,
    RefusedError,
    UnavailableError,
    UnsupportedStorageError,
)
from atdata.redaction import redacted, shown
from atdata.storage.base import Stream
from atdata.storage.bucket_answers import HOW_TO_CONFIGURE
from atdata.storage.credentials import GsAccess, S3Access
from atdata.storage.object_url import ObjectUrl, aws_host, is_in_host, parse_object_url

PART = 16 << 20  # bytes; S3 takes 10,000 parts, so an object has at most 160 GB
PARTS_AT_ONCE = 4  # so that an upload takes about 80 MB of memory
_RESUMPTIONS = 8  # of one stream
_READ = 4 << 20  # bytes that obstore hands over at a time
_MARK = "atdata-cid"  # of an object's own metadata: the CID of its bytes

# A proxy would connect in our place: to no address at all is one taken. reqwest, which obstore is built on, reads the
# proxy variables only where no proxy is set.
_NO_PROXY = {"proxy_url": "http://127.0.0.1:9", "proxy_excludes": "*,0.0.0.0/0,::/0"}

# The threads of obstore belong to the process, not to one of our objects; hence the one thing that is kept here.
_used_in: set[int] = set()


class ReachedBy(Protocol):
    """Tells how the bucket of an object is reached."""

    def __call__(self, location: ObjectUrl, /) -> S3Access | GsAccess: ...


class SignedStore:
    """Reads and writes objects. A path is an ``s3://`` or ``gs://`` URL. Not picklable: it may hold secrets.

    Args:
        reached_by: Gives the access to a bucket, when its first object is asked for.
        ca_file: Certificate authorities (PEM) that are trusted besides those of the system.
    """

    def __init__(self, reached_by: ReachedBy, *, ca_file: str | None = None) -> None:
        self._reached_by = reached_by
        self._ca_file = ca_file
        self._buckets: dict[tuple[str, str], tuple[Any, str]] = {}

    def __reduce__(self) -> str | tuple[object, ...]:
        raise TypeError("a store with credentials is not pickled; another process makes its own")

    def open(self, path: str, *, start: int = 0, stop: int | None = None) -> Stream:
        """Stream an object; see `Store.open`.

        Raises:
            AuthenticationError: The credentials do not suffice.
            UnsupportedStorageError: The extra ``cloud`` is not installed, or this is a forked process.
        """
        bucket, key, source = self._bucket(path)
        if stop is not None and stop <= start:
            self.size(path)
            return _SignedStream(None, path, source, start, stop)
        return _SignedStream((bucket, key), path, source, start, stop)

    def size(self, path: str) -> int:
        """Length of an object, in bytes. Raises as `open` does."""
        bucket, key, source = self._bucket(path)
        with _translated(path, source):
            return int(require_obstore().head(bucket, key)["size"])

    def marked_cid(self, path: str) -> str | None:
        """The CID that `put` was given with the object; None where it was stored by other means."""
        bucket, key, source = self._bucket(path)
        with _translated(path, source):
            attributes: Mapping[str, str] = require_obstore().get(bucket, key, options={"head": True}).attributes
        return {name.lower(): value for name, value in attributes.items()}.get(_MARK)

    def put(self, path: str, chunks: Iterable[bytes], *, cid: str | None = None) -> int:
        """Store an object whole or not at all, large ones in parts, several at a time; return its size in bytes.

        Args:
            chunks: An error that they raise ends the upload, and is raised.
            cid: Kept with the object, for `marked_cid`.

        Raises:
            IntegrityError: The service says that it has another number of bytes.
        """
        bucket, key, source = self._bucket(path)
        counted = _Counted(chunks)
        first = counted.take(PART)
        attributes = {"Content-Type": "application/x-tar" if key.endswith(".tar") else "application/octet-stream"}
        if cid is not None:
            attributes[_MARK] = cid
        try:
            with _translated(path, source):
                if len(first) < PART:
                    require_obstore().put(bucket, key, bytes(first), attributes=attributes, use_multipart=False)
                else:
                    require_obstore().put(
                        bucket,
                        key,
                        chain([bytes(first)], counted),
                        attributes=attributes,
                        chunk_size=PART,
                        max_concurrency=PARTS_AT_ONCE,
                    )
        except AtdataError:
            if counted.error is not None:
                raise counted.error from None
            raise
        if (size := self.size(path)) != counted.bytes:
            raise IntegrityError(f"{counted.bytes:,} bytes were sent, the service has {size:,}", shard=redacted(path))
        return counted.bytes

    def _bucket(self, path: str) -> tuple[Any, str, str]:
        """obstore's object for the bucket of a URL, the key, and where the credentials come from."""
        _refuse_fork()
        location = parse_object_url(path)
        if "" in location.key.split("/"):
            raise InvalidSyntaxError(f"{shown(path)}: no two slashes may stand together in a key", value=redacted(path))
        name = (location.scheme, location.bucket)
        if name not in self._buckets:
            access = self._reached_by(location)
            with _translated(path, access.source):
                self._buckets[name] = (self._build(location.bucket, access), access.source)
        _used_in.add(os.getpid())
        return self._buckets[name][0], location.key, self._buckets[name][1]

    def _build(self, bucket: str, access: S3Access | GsAccess) -> Any:
        obstore = require_obstore()
        client = {
            "allow_http": True,  # the endpoint says which it is
            "connect_timeout": "10s",
            "read_timeout": "60s",
            "timeout": "1d",  # of a whole body: a large shard on a slow line takes long, a silent server 60 seconds
            **_NO_PROXY,
        }
        if self._ca_file is not None:
            client["root_certificate"] = _read(self._ca_file)
        if isinstance(access, GsAccess):
            options: dict[str, Any] = {"base_url": access.endpoint}
            if access.credentials is not None:
                options["application_credentials"] = str(access.credentials)
            if not access.is_signed:
                options["skip_signature"] = True
            return obstore.store.GCSStore(bucket, client_options=client, **options)
        region = access.region or "us-east-1"
        usual = access.endpoint is None and is_in_host(bucket)
        in_host = usual if access.path_style is None else not access.path_style
        # Always said: without it AWS_ENDPOINT_URL would count, also for a bucket that lies elsewhere.
        endpoint = access.endpoint or f"https://{aws_host(region)}"
        if in_host:
            scheme, _, host = endpoint.partition("://")
            endpoint = f"{scheme}://{bucket}.{host}"
        options = {"endpoint": endpoint, "region": region, "virtual_hosted_style_request": in_host}
        if access.keys is not None:
            keys = access.keys
            # By a function, since else variables of AWS that are set would be mixed with these.
            options["credential_provider"] = lambda: {
                "access_key_id": keys.access_key_id,
                "secret_access_key": keys.secret_access_key,
                "token": keys.session_token,
                "expires_at": None,
            }
        options["skip_signature"] = not access.is_signed
        return obstore.store.S3Store(bucket, client_options=client, **options)


class _SignedStream:
    """Bytes of one object, gone on with after a cut, of the same version only. A `Stream`."""

    def __init__(self, place: Any, path: str, source: str, start: int, stop: int | None) -> None:
        self._place = place
        self._path = path
        self._source = source
        self._position = start
        self._stop = stop
        self._etag: str | None = None
        self._left = _RESUMPTIONS
        self._chunks: Iterator[Any] = iter(())
        self._rest = memoryview(b"")
        if place is not None:
            self._begin()

    def readinto(self, buffer: memoryview, /) -> int:
        """As `Stream.readinto`."""
        while not len(self._rest):
            if self._place is None:
                return 0
            try:
                with _translated(self._path, self._source):
                    self._rest = memoryview(next(self._chunks, b""))
            except UnavailableError:
                self._left -= 1
                if self._left < 0:
                    raise
                self._begin()
                continue
            if not len(self._rest):
                self.close()
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        self._position += count
        return count

    def close(self) -> None:
        """Release the connection. May be called twice."""
        self._place = None
        self._chunks = iter(())
        self._rest = memoryview(b"")

    def _begin(self) -> None:
        """Ask for the bytes from the position on."""
        _refuse_fork()
        obstore, (bucket, key), start = require_obstore(), self._place, self._position
        options: dict[str, Any] = {}
        if self._stop is not None:
            options["range"] = (start, self._stop)
        elif start:
            options["range"] = {"offset": start}
        if self._etag is not None:
            options["if_match"] = self._etag
        try:
            with _translated(self._path, self._source):
                result = obstore.get(bucket, key, options=options)
                self._etag = result.meta.get("e_tag")
                self._chunks = iter(result.stream(min_chunk_size=_READ))
        except UnavailableError:
            # A range that begins at the end or behind it is an error of HTTP, and here an empty stream.
            with _translated(self._path, self._source):
                if not start or start < int(obstore.head(bucket, key)["size"]):
                    raise
            self.close()


class _Counted:
    """Chunks, with their bytes counted and their error kept."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self.bytes = 0
        self.error: BaseException | None = None

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        try:
            chunk = next(self._chunks)
        except StopIteration:
            raise
        except BaseException as error:
            self.error = error
            raise
        self.bytes += len(chunk)
        return chunk

    def take(self, least: int) -> bytearray:
        """Chunks of ``least`` bytes in all, fewer where these are all."""
        taken = bytearray()
        for chunk in self:
            taken += chunk
            if len(taken) >= least:
                break
        return taken


def require_obstore() -> Any:
    """The package; an error that names the extra where it is not installed."""
    try:
        obstore = importlib.import_module("obstore")
        importlib.import_module("obstore.store")
    except ModuleNotFoundError as error:
        raise UnsupportedStorageError(
            "buckets that need credentials, and uploads, need the extra 'cloud': pip install 'atdata[cloud]'", kind="s3"
        ) from error
    return obstore


def has_obstore() -> bool:
    """Whether the extra ``cloud`` is installed."""
    return importlib.util.find_spec("obstore") is not None


def _refuse_fork() -> None:
    if _used_in and os.getpid() not in _used_in:
        raise UnsupportedStorageError(
            "this process was forked from one that had used a bucket with credentials, which cannot work (obstore's "
            "threads are not there any more); start workers by spawn or forkserver, as in "
            "DataLoader(multiprocessing_context='spawn')",
            kind="s3",
        )


def _read(file: str) -> bytes:
    try:
        with open(file, "rb") as content:  # noqa: PTH123  # a name as the environment gave it
            return content.read()
    except OSError as error:
        raise NotFoundError(f"certificate authorities: {file}: {error.strerror or error}") from error


@contextmanager
def _translated(path: str, source: str) -> Iterator[None]:
    """Turn obstore's errors into ours, without what they repeat of the request."""
    label = redacted(path)
    try:
        yield
    except AtdataError:
        raise
    except FileNotFoundError:
        raise NotFoundError(f"{label}: there is no such object, or no such bucket") from None
    except Exception as error:
        name = type(error).__name__
        if name in ("PermissionDeniedError", "UnauthenticatedError"):
            raise AuthenticationError(
                f"{label}: the credentials that are configured ({source}) are not accepted for this; {HOW_TO_CONFIGURE}"
            ) from None
        if name == "PreconditionError":
            raise UnavailableError(f"{label}: it was replaced by another version while it was read") from None
        if name == "AlreadyExistsError":
            raise RefusedError(f"{label}: there is an object already", rule="overwrite") from None
        raise UnavailableError(f"{label}: {_first_line(error)}") from None
    except BaseException as error:
        if type(error).__name__ == "PanicException":  # of Rust; it is no Exception
            raise UnavailableError(f"{label}: obstore failed: {_first_line(error)}") from None
        raise


def _first_line(error: BaseException) -> str:
    """What happened, without the request, the answer's body and the structures that obstore prints."""
    line = (str(error).splitlines() or [type(error).__name__])[0]
    return redacted(line.partition(": <?xml")[0])[:300]
