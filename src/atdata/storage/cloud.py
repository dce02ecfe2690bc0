"""``s3://`` and ``gs://`` URLs as a store: without credentials as far as nothing is configured, signed where it is.

A stranger's URLs are anonymous GETs over `atdata.net` (`s3`, `gs`), unless the owner of the machine configured exactly
that bucket as ``shared``. One's own follow the configuration (`credentials`); where that has credentials, they go
through obstore (`signed`).
"""

import dataclasses
from collections.abc import Iterable
from typing import Any

from atdata.errors import AuthenticationError, UnavailableError, UnsupportedStorageError
from atdata.net import Policy, Transport
from atdata.redaction import redacted
from atdata.settings import Settings, read_settings
from atdata.storage.base import Store, Stream
from atdata.storage.credentials import GsAccess, S3Access, gs_access, s3_access
from atdata.storage.gs import GsStore
from atdata.storage.object_url import ObjectUrl, check_service, parse_object_url
from atdata.storage.s3 import S3Store, bucket_region
from atdata.storage.signed import SignedStore, has_obstore, require_obstore
from atdata.storage.url import hosts_of


class CloudStore:
    """Reads objects in buckets, and writes them where credentials are configured. A path is a URL.

    Picklable without any secret: the copy reads the configuration again.

    Args:
        own: The caller typed the URLs, or the caller's own repository gave them.
        transport: Over which public objects are fetched; None builds one of the environment.
        endpoint: Of the service that the ``s3://`` URLs belong to, as a record says it.
        region: Of their buckets.
        settings: Instead of those in ``config.toml``; such a store cannot be pickled.

    Raises:
        InvalidSyntaxError: Endpoint or region is none.
    """

    def __init__(
        self,
        *,
        own: bool,
        transport: Transport | None = None,
        endpoint: str | None = None,
        region: str | None = None,
        settings: Settings | None = None,
    ) -> None:
        self._own = own
        self._transport = transport or Transport(Policy.from_environment())
        check_service(endpoint, region)
        self._endpoint = endpoint
        self._region = region
        self._given = settings
        self._forget()

    def _forget(self) -> None:
        self._settings: Settings | None = self._given
        self._access: dict[tuple[str, str], S3Access | GsAccess] = {}
        self._anonymous: dict[S3Access | GsAccess, Store] = {}
        self._signed = SignedStore(self._reached_by, ca_file=self._transport.policy.ca_file)

    def __getstate__(self) -> dict[str, Any]:
        if self._given is not None:
            raise TypeError("a store with settings of its own is not pickled: they may hold secrets")
        return {
            "own": self._own,
            "transport": self._transport,
            "endpoint": self._endpoint,
            "region": self._region,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        CloudStore.__init__(self, **state)

    def __repr__(self) -> str:
        return f"CloudStore(own={self._own}, endpoint={self._endpoint!r}, region={self._region!r})"

    def open(self, path: str, *, start: int = 0, stop: int | None = None) -> Stream:
        """Stream an object; see `Store.open`.

        Raises:
            AuthenticationError: It is not public, or the credentials do not suffice; the message says what to do.
            UnsupportedStorageError: It needs credentials, and the extra ``cloud`` is not installed.
        """
        return self._store(path).open(path, start=start, stop=stop)

    def size(self, path: str) -> int:
        """Length of an object, in bytes. Raises as `open` does."""
        return self._store(path).size(path)

    def put(self, path: str, chunks: Iterable[bytes], *, cid: str | None = None) -> int:
        """Store an object whole or not at all; see `SignedStore.put`.

        Raises:
            AuthenticationError: No credentials are configured, or they do not suffice.
            UnsupportedStorageError: The extra ``cloud`` is not installed.
        """
        self.check_writable(path)
        return self._signed.put(path, chunks, cid=cid)

    def check_writable(self, path: str) -> S3Access | GsAccess:
        """How a bucket is reached that is to be written to. Raises as `put` does, as far as is known beforehand."""
        access = self._reached_by(parse_object_url(path))
        if not access.is_signed:
            raise AuthenticationError(
                f"{redacted(path)}: no credentials are configured to write there; docs/places.md says where they go"
            )
        require_obstore()
        return access

    def marked_cid(self, path: str) -> str | None:
        """The CID that `put` was given with the object; None where it was stored by other means."""
        return self._signed.marked_cid(path)

    def _store(self, path: str) -> Store:
        access = self._reached_by(parse_object_url(path))
        # What stands in the environment anyhow must not keep somebody without the extra from reading public data.
        if access.is_signed and (access.explicit or has_obstore()):
            return self._signed
        if access not in self._anonymous:
            self._anonymous[access] = self._build(access)
        return self._anonymous[access]

    def _build(self, access: S3Access | GsAccess) -> Store:
        transport = self._transport
        # Hosts that the owner named may be private; what a stranger's record names may not.
        if access.endpoint is not None and (self._own or access.explicit):
            policy = transport.policy
            hosts = policy.private_hosts | hosts_of([access.endpoint])
            transport = Transport(dataclasses.replace(policy, private_hosts=hosts))
        if isinstance(access, GsAccess):
            return GsStore(transport, endpoint=access.endpoint)
        return S3Store(transport, endpoint=access.endpoint, region=access.region)

    def _reached_by(self, location: ObjectUrl) -> S3Access | GsAccess:
        name = (location.scheme, location.bucket)
        if name not in self._access:
            if self._settings is None:
                self._settings = read_settings()
            self._access[name] = self._look_up(location, self._settings)
        return self._access[name]

    def _look_up(self, location: ObjectUrl, settings: Settings) -> S3Access | GsAccess:
        if location.scheme == "gs":
            return gs_access(location.bucket, own=self._own, settings=settings)
        access = s3_access(
            location.bucket, own=self._own, settings=settings, endpoint=self._endpoint, region=self._region
        )
        told = self._region is not None or (access.explicit and access.region is not None)
        if access.is_signed and access.endpoint is None and not told:
            access = dataclasses.replace(access, region=self._asked_region(location.bucket) or access.region)
        return access

    def _asked_region(self, bucket: str) -> str | None:
        """A signature is for one region; AWS tells everyone which it is."""
        try:
            return bucket_region(self._transport, bucket)
        except (UnavailableError, UnsupportedStorageError):
            return None
