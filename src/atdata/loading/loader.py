"""Loading: from an AT-URI to a typed dataset, without opening a shard.

The record is a stranger's unless the caller's own repository object gave it, and is held to the rules of
`atdata.storage.places`. Where a record says what its shards are, no byte is handed out before it was checked
(`atdata.storage.composed`). Reading samples is `atdata.dataset`; writing records is `atdata.publishing`.
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar, get_origin, overload

from atdata.atproto.client import Client
from atdata.atproto.records import DatasetRecord, SchemaRecord, read_dataset, read_schema
from atdata.data.schema import build_type, check_fits, fields_from
from atdata.dataset import Dataset, open_dataset
from atdata.errors import AtdataError, AuthenticationError, IntegrityError, NotFoundError
from atdata.loading.download import Download, download
from atdata.loading.places import ClosedStore
from atdata.loading.shards import RecordShards, find_shards
from atdata.loading.verify import ShardCheck, verify
from atdata.loading.versions import Version, find_versions
from atdata.loading.workers import THREADS, Progress, silent
from atdata.storage.base import Store
from atdata.storage.blob import BlobStore
from atdata.storage.composed import Lying, compose
from atdata.storage.union import BlobStorage, UrlStorage
from atdata.storage.url import scheme_of
from atdata.syntax import AtUri, family, parse_at_uri, parse_nsid

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class DatasetEntry:
    """A dataset record of a repository.

    Attributes:
        uri: Its AT-URI, the authority a DID.
        cid: Its CID.
        record: What it says.
    """

    uri: AtUri
    cid: str
    record: DatasetRecord


class DatasetLoader:
    """Loads datasets by their AT-URIs, with the eyes of a client."""

    def __init__(self, client: Client | None = None) -> None:
        """Load for ``client``. None: for nobody, which is enough for all that is public."""
        self._client = client if client is not None else Client.anonymous()

    @overload
    def load_dataset(self, uri: str | AtUri) -> Dataset[Any]: ...
    @overload
    def load_dataset(self, uri: str | AtUri, sample_type: type[T]) -> Dataset[T]: ...
    @overload
    def load_dataset(self, uri: str | AtUri, sample_type: None) -> Dataset[Any]: ...
    def load_dataset(self, uri: str | AtUri, sample_type: type[Any] | None = None) -> Dataset[Any]:
        """Load one dataset: read its record and its schema. No shard is opened.

        Where the record's storage is of a kind that this release cannot open, the dataset still says what it is; its
        shards raise `UnsupportedStorageError`, which names the kind, when they are opened.

        Args:
            uri: Of the dataset record; ``at://alice.example.com/dataset/3k2a`` is a short form of it.
            sample_type: What samples are read as: a dataclass, or `dict`. None: a dataclass is built from the schema
                record; without one, dicts.

        Raises:
            InvalidSyntaxError: The AT-URI is malformed, or names no record.
            NotFoundError: There is no such account, record or schema.
            InvalidRecordError: The record, its schema, manifest or list of blobs breaks its lexicon.
            SchemaMismatchError: ``sample_type`` does not fit the schema; the message lists every difference.
            RefusedError: The record names a place that a stranger's record may not.
            LimitError: More than 100,000 shards, or a manifest that is too large.
            IntegrityError: A schema, manifest or list is not the one that the record was written with.
            UnavailableError: A server did not answer.
        """
        found = find_shards(self._client, self._parse(uri))
        chosen = self._sample_type(found.record, sample_type)
        storage = found.storage
        return open_dataset(
            chosen,
            store=_store(found),
            paths=found.paths,
            shards=found.facts,
            url="::".join(storage.urls) if isinstance(storage, UrlStorage) else str(found.uri),
            name=found.record.name,
            uri=str(found.uri),
            record=found.record,
        )

    def download(
        self,
        uri: str | AtUri,
        folder: str | os.PathLike[str] | None = None,
        *,
        split: str | None = None,
        threads: int = THREADS,
        progress: Progress = silent,
    ) -> Download:
        """Fetch the shards of a dataset into a folder, whole and checked; see `atdata.loading.download`.

        The same call again goes on where an interrupted one stopped.

        Example:
            >>> here = loader.download(uri, "digits", split="train")  # doctest: +SKIP
            >>> Dataset[Digit](url=here.url)  # doctest: +SKIP
        """
        return download(
            find_shards(self._client, self._parse(uri)), folder, split=split, threads=threads, progress=progress
        )

    def verify(self, uri: str | AtUri, *, threads: int = THREADS, progress: Progress = silent) -> Iterator[ShardCheck]:
        """Check every shard of a dataset against its record, in order; see `atdata.loading.verify`."""
        return verify(find_shards(self._client, self._parse(uri)), threads=threads, progress=progress)

    def list_datasets(
        self, authority: str | None = None, *, on_error: Callable[[AtUri, AtdataError], None] | None = None
    ) -> Iterator[DatasetEntry]:
        """The datasets of one repository, the newest record key first.

        Args:
            authority: Handle or DID; None: the client's own repository.
            on_error: Is told of each record that breaks its lexicon; it is left out, and hides no other.

        Raises:
            AuthenticationError: Nobody is named, and the client has no repository.
            InvalidSyntaxError: ``authority`` is neither a handle nor a DID.
            NotFoundError: There is no such account.
            UnavailableError: A server did not answer.
        """
        did = self._client.did if authority is None else self._client.did_of(self._parse(f"at://{authority}"))
        if did is None:
            raise AuthenticationError("say whose datasets: nobody is logged in")
        for found in self._client.list_records(did, parse_nsid(f"{family()}.dataset")):
            try:
                record = read_dataset(found.value)
            except AtdataError as error:
                if on_error is not None:
                    on_error(found.uri, error)
            else:
                yield DatasetEntry(found.uri, found.cid, record)

    def list_versions(self, uri: str | AtUri) -> list[Version]:
        """All versions of a dataset, the newest first, each with what differs from the one before.

        Raises:
            InvalidSyntaxError: The AT-URI is malformed, or names no record.
            NotFoundError: There is no such account or record. One that is only linked is a version with a problem.
            UnavailableError: A server did not answer.
        """
        return find_versions(self._client, self._parse(uri))

    def _parse(self, uri: str | AtUri) -> AtUri:
        return uri if isinstance(uri, AtUri) else parse_at_uri(uri, handle_domain=self._client.handle_domain)

    def _sample_type(self, record: DatasetRecord, given: type[Any] | None) -> type[Any]:
        if record.schema_ref is None or (given is not None and issubclass(get_origin(given) or given, dict)):
            return given or dict
        try:
            schema = self._schema(record.schema_ref, record.schema_cid)
        except NotFoundError as error:
            if given is None:
                raise NotFoundError(
                    f"{error}; it is the schema of {record.name!r}: give sample_type to read without it"
                ) from error
            return given
        fields = fields_from(schema.definition)
        if given is None:
            return build_type(schema.name, fields, schema.description)
        check_fits(given, fields)
        return given

    def _schema(self, uri: str, cid: str | None) -> SchemaRecord:
        found = self._client.get_record(parse_at_uri(uri))
        if cid is not None and found.cid != cid:
            raise IntegrityError(
                f"the schema record {uri} has the CID {found.cid}, and the dataset was written for {cid}"
            )
        return read_schema(found.value)


def _store(found: RecordShards) -> Store:
    """What reads the shards: from whichever place answers, checked, and kept unless they are on this machine anyway."""
    if isinstance(found.store, ClosedStore) and not found.mirrors:
        return found.store
    if isinstance(found.storage, BlobStorage):
        near = not isinstance(found.store, BlobStore)
    else:
        near = all(scheme_of(path) == "file" for path in found.paths)
    return compose([Lying("storage", found.store, found.paths), *found.mirrors], found.facts, near=near)


def load(uri: str | AtUri, sample_type: type[Any] | None = None, *, client: Client | None = None) -> Dataset[Any]:
    """The short form of `DatasetLoader.load_dataset`."""
    return DatasetLoader(client).load_dataset(uri, sample_type)
