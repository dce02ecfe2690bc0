"""From a storage to a store and its paths, in shard order.

Here it is decided what may be opened: what a caller typed may be a path, a file, or join shards with ``::``; what a
record says is held to `atdata.storage.url.check_url`, and ``file:`` to the caller's own records. A store for another
scheme is one module, one line in `UrlStore`, and a contract test.
"""

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from atdata.errors import InvalidRecordError, LimitError, RefusedError, UnsupportedStorageError
from atdata.redaction import shown
from atdata.storage.base import Positioned, Store, Stream
from atdata.storage.file import FileStore
from atdata.storage.object_url import check_service, parse_object_url
from atdata.storage.union import BlobStorage, Storage, UnknownStorage, UrlStorage
from atdata.storage.url import (
    MAX_SHARDS,
    SCHEMES,
    check_url,
    count_braces,
    expand,
    file_path,
    hosts_of,
    ipfs_path,
    scheme_of,
    split_joined,
)
from atdata.syntax import AtUri, Did

if TYPE_CHECKING:
    from atdata.net import Transport
    from atdata.storage.home import FindPds


class UrlStore:
    """Opens each URL by its scheme. Files are reached only where ``own`` is True.

    Args:
        own: The caller typed the URLs, or the caller's own repository gave them.
        transport: For all that is fetched; None builds one when the first such URL is opened.
        typed_hosts: Hosts that may have a private address, since the caller named them.
        endpoint: Of the service that the ``s3://`` URLs belong to; None for AWS, or what is configured.
        region: Of their buckets.
    """

    def __init__(
        self,
        *,
        own: bool,
        transport: "Transport | None" = None,
        typed_hosts: frozenset[str] = frozenset(),
        endpoint: str | None = None,
        region: str | None = None,
    ) -> None:
        self._own = own
        self._transport = transport
        self._typed_hosts = typed_hosts
        self._endpoint = endpoint
        self._region = region
        self._http: Store | None = None
        self._ipfs: Store | None = None
        self._cloud: Store | None = None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_http": None, "_ipfs": None, "_cloud": None}

    def open(self, path: str, *, start: int = 0, stop: int | None = None) -> Stream:
        """Stream the object at a URL; see `Store.open`."""
        return self._store(path).open(path, start=start, stop=stop)

    def size(self, path: str) -> int:
        """Length of the object at a URL, in bytes."""
        return self._store(path).size(path)

    def open_at(self, path: str) -> Positioned | None:
        """A file kept open; None for every other scheme."""
        store = self._store(path)
        return store.open_at(path) if isinstance(store, FileStore) else None

    def _store(self, path: str) -> Store:
        scheme = scheme_of(path)
        if scheme in ("http", "https"):
            if self._http is None:
                self._http = _http_store(self._transport, self._typed_hosts)
            return self._http
        if scheme == "ipfs":
            if self._ipfs is None:
                self._ipfs = _ipfs_store(self._transport)
            return self._ipfs
        if scheme in ("s3", "gs"):
            if self._cloud is None:
                self._cloud = self._cloud_store()
            return self._cloud
        if scheme in (None, "file", "pipe"):
            if not self._own:
                check_url(path, own=False)
                raise RefusedError(f"{shown(path)} is not a place of other people's shards", rule="file-url")
            return FileStore()
        raise _unsupported(path, scheme or "")

    def _cloud_store(self) -> Store:
        from atdata.storage.cloud import CloudStore

        return CloudStore(own=self._own, transport=self._transport, endpoint=self._endpoint, region=self._region)


def _http_store(transport: "Transport | None", typed_hosts: frozenset[str]) -> Store:
    # Imported here, for urllib3 takes longer to import than all the rest.
    from atdata.net import Policy, Transport
    from atdata.storage.http import HttpStore

    policy = transport.policy if transport else Policy.from_environment()
    if typed_hosts:
        return HttpStore(Transport(dataclasses.replace(policy, private_hosts=policy.private_hosts | typed_hosts)))
    return HttpStore(transport or Transport(policy))


def _ipfs_store(transport: "Transport | None") -> Store:
    # A stranger chooses the content only: the gateways are those of the owner of this machine.
    from atdata.net import Policy, Transport
    from atdata.storage.ipfs import IpfsStore

    return IpfsStore(transport or Transport(Policy.from_environment()))


def _unsupported(url: str, scheme: str) -> UnsupportedStorageError:
    if scheme in SCHEMES:
        return UnsupportedStorageError(f"{shown(url)}: this release cannot open {scheme}:// URLs yet", kind=scheme)
    known = ", ".join(SCHEMES)
    return UnsupportedStorageError(f"{shown(url)}: the scheme {scheme!r} is not known; known are {known}", kind=scheme)


def typed_place(url: str, *, transport: "Transport | None" = None) -> tuple[Store, list[str]]:
    """The store and the paths of what a caller typed: paths, files and URLs, in brace notation, joined by ``::``.

    Nothing is opened. Hosts that the caller names may have private addresses; hosts they redirect to may not.

    Raises:
        InvalidSyntaxError: Braces are not balanced, or a part between ``::`` is empty.
        LimitError: More than 100,000 shards.
        RefusedError: ``pipe:`` or ``-``.
        UnsupportedStorageError: A scheme that this release cannot open; the message names it.
    """
    parts = split_joined(url)
    for part in parts:
        _check_typed(part)
    paths = _expanded(parts)
    for path in paths:
        _check_typed(path)  # braces may stand in a scheme
        if scheme_of(path) == "ipfs":
            ipfs_path(path)
        elif scheme_of(path) in ("s3", "gs"):
            parse_object_url(path)
    return UrlStore(own=True, transport=transport, typed_hosts=hosts_of(paths)), paths


def _check_typed(url: str) -> None:
    if file_path(url) is None and (scheme := scheme_of(url)) not in ("http", "https", "ipfs", "s3", "gs"):
        raise _unsupported(url, scheme or "")


def record_place(
    storage: Storage,
    *,
    own: bool,
    did: Did | None = None,
    find_pds: "FindPds | None" = None,
    record: AtUri | None = None,
    transport: "Transport | None" = None,
) -> tuple[Store, list[str]]:
    """The store and the paths of a record's storage. Nothing is opened.

    Args:
        storage: Its ``more`` must have been fetched already: all blobs stand in ``blobs``.
        own: The caller's own repository object gave the record; never because of the DID in it.
        did: Whose blobs they are.
        find_pds: Gives the base URL of the PDS of a DID, at the time when a blob is opened.
        record: That names the blobs; a blob that is missing is explained by whether it is still there.
        transport: Over which everything is fetched.

    Raises:
        RefusedError: A rule forbids a URL of the record; see `check_url`.
        LimitError: More than 100,000 shards.
        UnsupportedStorageError: A variant or scheme that this release cannot open; the message names it.
        ValueError: Blobs without ``did`` and ``find_pds``, or with ``more``.
    """
    if isinstance(storage, UnknownStorage):
        raise UnsupportedStorageError(
            f"this release cannot open storage of type {storage.type!r}; a newer one may", kind=storage.type
        )
    if isinstance(storage, BlobStorage):
        return _blob_place(storage, did, find_pds, record, transport)
    return _url_place(storage, own, transport)


def _url_place(storage: UrlStorage, own: bool, transport: "Transport | None") -> tuple[Store, list[str]]:
    for url in storage.urls:
        check_url(url, own=own)
        scheme = scheme_of(url)
        if scheme not in ("http", "https", "ipfs", "file", "s3", "gs"):
            raise _unsupported(url, scheme or "")
        if scheme == "s3":
            check_service(storage.endpoint, storage.region)
    paths = _expanded(storage.urls)
    store = UrlStore(
        own=own,
        transport=transport,
        typed_hosts=hosts_of(paths) if own else frozenset(),
        endpoint=storage.endpoint,
        region=storage.region,
    )
    return store, paths


def _blob_place(
    storage: BlobStorage,
    did: Did | None,
    find_pds: "FindPds | None",
    record: AtUri | None,
    transport: "Transport | None",
) -> tuple[Store, list[str]]:
    if did is None or find_pds is None:
        raise ValueError("blobs need the DID of their repository and a way to find its PDS")
    if storage.more:
        raise ValueError("the blobs that 'more' names must be fetched and added to 'blobs' first")
    from atdata.net import Policy, Transport
    from atdata.storage.blob import BlobStore

    store = BlobStore(did, find_pds, transport or Transport(Policy.from_environment()), record=record)
    return store, [str(blob.cid) for blob in storage.blobs]


def _expanded(urls: Sequence[str]) -> list[str]:
    counts = [count_braces(url) for url in urls]
    if not counts:
        raise InvalidRecordError("must name one shard at least", path="urls")
    if sum(counts) > MAX_SHARDS:
        largest = shown(urls[counts.index(max(counts))])
        raise LimitError(
            f"{largest}: {sum(counts):,} shards in all, at most {MAX_SHARDS:,} are allowed", limit=MAX_SHARDS
        )
    return [path for url in urls for path in expand(url)]
