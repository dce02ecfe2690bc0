"""What a dataset record names beside its shards' bytes: the store to read them from, manifests, lists of blobs.

Own is a record that the caller's own repository object gave; any other is a stranger's. Which places either may name
is decided in `atdata.storage.places`; the type of the samples is `atdata.loading`'s.
"""

import dataclasses
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from atdata.atproto.client import Client
from atdata.atproto.manifest import PART_LIMIT, decode_part
from atdata.atproto.records import ManifestPart, StrongRef, read_blob_list
from atdata.errors import IntegrityError, InvalidRecordError, LimitError, UnsupportedStorageError
from atdata.storage.base import Shard, Store, Stream, read_all
from atdata.storage.places import record_place
from atdata.storage.union import BlobStorage, Storage, UrlStorage
from atdata.storage.url import MAX_SHARDS, expand
from atdata.syntax import AtUri, Did, parse_at_uri, raw_cid


@dataclass(frozen=True, slots=True)
class ClosedStore:
    """Stands for shards in a place that this release cannot open. Each use raises, and says which kind it is.

    Attributes:
        message: What the error says.
        kind: Variant of storage, or scheme.
    """

    message: str
    kind: str

    def open(self, path: str, *, start: int = 0, stop: int | None = None) -> Stream:
        """Raise.

        Raises:
            UnsupportedStorageError: Always.
        """
        raise UnsupportedStorageError(self.message, kind=self.kind)

    def size(self, path: str) -> int:
        """Raise, as `open` does."""
        raise UnsupportedStorageError(self.message, kind=self.kind)


@dataclass(frozen=True, slots=True)
class RecordPlaces:
    """Finds what one dataset record names.

    Attributes:
        client: Who asks.
        uri: AT-URI of the record, the authority a DID.
    """

    client: Client
    uri: AtUri

    @property
    def did(self) -> Did:
        """Whose record it is."""
        return self.client.did_of(self.uri)

    def place(self, storage: Storage, *, shards: int = 0) -> tuple[Store, list[str]]:
        """The store of a storage and the paths of its shards, in order. Nothing is opened.

        Storage that this release cannot open gives a store that says so when it is used.

        Args:
            storage: With all blobs in ``blobs``; see `whole`.
            shards: How many there are, as far as the record says.

        Raises:
            The same as `atdata.storage.places.record_place`, but for UnsupportedStorageError.
        """
        own = self.client.own_repository(self.did)
        if isinstance(storage, BlobStorage) and own is not None:
            return own.blob_store(), [str(blob.cid) for blob in storage.blobs]
        try:
            return record_place(
                storage,
                own=own is not None,
                did=self.did,
                find_pds=self.client.resolver.pds,
                record=self.uri,
                transport=self.client.transport,
            )
        except UnsupportedStorageError as error:
            if isinstance(storage, UrlStorage):
                paths = [path for url in storage.urls for path in expand(url)]
            else:
                # One at least, for a dataset of no shards would read as an empty one.
                paths = [f"{error.kind} {i}" for i in range(max(shards, 1))]
            return ClosedStore(str(error), error.kind), paths

    def whole(self, storage: Storage) -> Storage:
        """The storage with the blobs of its further lists, which are fetched.

        Raises:
            InvalidRecordError: A list is in another repository, or is none.
            IntegrityError: A list is not the one that the record was written with.
            NotFoundError: A list is not there.
        """
        if not isinstance(storage, BlobStorage) or not storage.more:
            return storage
        blobs = list(storage.blobs)
        for i, item in enumerate(storage.more):
            path = f"storage.more[{i}]"
            reference = StrongRef.from_json(item)
            uri = parse_at_uri(reference.uri)
            if uri.authority != self.did:
                raise InvalidRecordError("is in another repository, whose blobs are not this dataset's", path=path)
            found = self.client.get_record(uri)
            if found.cid != reference.cid:
                raise IntegrityError(f"{path}: {uri} has the CID {found.cid}, and the record names {reference.cid}")
            blobs += read_blob_list(found.value).blobs
            _check_count(len(blobs), path)
        return dataclasses.replace(storage, blobs=tuple(blobs), more=())

    def manifest(self, parts: Sequence[ManifestPart]) -> tuple[Shard, ...]:
        """The facts that the parts of a manifest hold, in order; the parts are fetched.

        Raises:
            InvalidRecordError: A part is not what `atdata.atproto.manifest` writes.
            IntegrityError: A part does not have its CID.
            LimitError: A part is too large, or there are too many shards.
            NotFoundError: A part is not there.
        """
        shards: list[Shard] = []
        for i, part in enumerate(parts):
            path = f"manifest[{i}]"
            found = decode_part(self._fetch(part, path), path=path)
            if part.shards is not None and part.shards != len(found):
                raise InvalidRecordError(f"has {len(found):,} lines, and the record says {part.shards:,}", path=path)
            shards += found
            _check_count(len(shards), path)
        return tuple(shards)

    def _fetch(self, part: ManifestPart, path: str) -> bytes:
        if part.blob is not None:
            store, places = self.place(BlobStorage((part.blob,)))
        elif part.url is not None:
            store, places = self.place(UrlStorage((part.url,)))
        else:
            raise InvalidRecordError("has neither 'blob' nor 'url'", path=path)
        if len(places) != 1:
            raise InvalidRecordError("must be one URL, without brace notation", path=path)
        data = read_all(store, places[0], limit=PART_LIMIT)
        expected = part.cid if part.blob is None else str(part.blob.cid)
        found = str(raw_cid(hashlib.sha256(data).digest()))
        if expected is not None and found != expected:
            raise IntegrityError(f"expected the CID {expected}, found {found}", shard=path)
        return data


def _check_count(count: int, path: str) -> None:
    if count > MAX_SHARDS:
        raise LimitError(f"{path}: more than {MAX_SHARDS:,} shards", limit=MAX_SHARDS)
