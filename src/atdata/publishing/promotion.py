"""Promotion: a dataset of the local repository is published on the network, with all that its record says.

The shards are the same: blobs keep their CIDs, URLs stay as they are, files of this machine become blobs. The record
keeps its key and the time of its making, and by these two an earlier version is known again that was promoted before.
What leads back to this machine and nowhere else is left out, and said.
"""

import dataclasses
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from atdata.atproto.client import Client
from atdata.atproto.local import LOCAL_DID
from atdata.atproto.local_blobs import LocalBlobStore
from atdata.atproto.records import DatasetRecord, Mirror, Origin, SchemaRecord, StrongRef, read_schema
from atdata.atproto.repository import Repository
from atdata.dataset import Dataset
from atdata.errors import AuthenticationError, IntegrityError, NotFoundError, RefusedError, UnsupportedStorageError
from atdata.loading.shards import RecordShards, find_shards
from atdata.publishing.describe import Description, Options
from atdata.publishing.inputs import Given, read_given
from atdata.storage.base import Shard
from atdata.storage.union import UrlStorage
from atdata.storage.url import file_path
from atdata.syntax import AtUri, Nsid, parse_at_uri, parse_nsid


@dataclass(frozen=True, slots=True)
class Promotion:
    """A dataset of the local repository that is to be published elsewhere.

    Attributes:
        found: Its record and its shards.
        given: The shards, as any that are to be published.
        schema: The record of its sample type, where that is local too.
        previous: Its previous version on the network, where that was promoted too.
    """

    found: RecordShards
    given: Given
    schema: SchemaRecord | None
    previous: StrongRef | None

    @property
    def created_at(self) -> str:
        """When the local record was made, which the new one keeps."""
        return self.found.record.created_at

    def described(self, said: Description) -> Description:
        """What people read about it: what the caller says, and where that is nothing, what the local record says."""
        record = self.found.record
        return Description(
            name=said.name or record.name,
            description=said.description or record.description,
            license=said.license or record.license,
            tags=said.tags or record.tags,
            splits=said.splits or [(split.name, split.start, split.end) for split in record.splits] or None,
            version=said.version or record.version,
            previous=said.previous or (self.previous.uri if self.previous is not None else None),
            citation=said.citation or record.citation,
            homepage=said.homepage or record.homepage,
        )

    def options(self, options: Options) -> Options:
        """How it is published: under the same key; nothing is found out that the local record does not say.

        Raises:
            RefusedError: Files of this machine are to be published by URL.
        """
        if self.given.is_local and options.storage == "url" and options.urls is None:
            raise RefusedError(
                f"the shards of {self.found.uri} lie on this machine, where nobody else reads them: say "
                "storage='blobs' to upload them, or put them where others find them and say urls=[...]",
                rule="file-url",
            )
        rkey = options.rkey if options.rkey is not None else self.found.uri.rkey
        return dataclasses.replace(options, rkey=rkey, infer_schema=False)

    def completed(self, record: DatasetRecord, announce: Callable[[str], None]) -> DatasetRecord:
        """A record of what people read, with all else that the local one says and that is true elsewhere."""
        local = self.found.record
        mirrors = tuple(mirror for mirror in local.mirrors if _is_public(mirror))
        origins = tuple(origin for origin in local.derived_from if not _is_here(origin))
        if len(mirrors) < len(local.mirrors):
            announce("mirrors on this machine are left out: nobody else reads them")
        if len(origins) < len(local.derived_from):
            announce("origins in the local repository are left out: they lead nowhere on the network")
        if local.previous_version is not None and record.previous_version is None:
            announce(
                f"the previous version {local.previous_version.uri} is left out, for it was not promoted: promote "
                "versions from the oldest to the newest"
            )
        return dataclasses.replace(
            record,
            schema_ref=local.schema_ref if self.schema is None else None,
            schema_cid=local.schema_cid if self.schema is None else None,
            mirrors=mirrors,
            derived_from=origins,
            access=local.access,
            extra=local.extra,
        )


def find_promotion(client: Client, repository: Repository, dataset: Any) -> Promotion | None:
    """What was given, as a dataset of the local repository; None where it is no dataset record.

    Args:
        client: Who publishes.
        repository: Where it is to be published.
        dataset: An AT-URI, alone or in a list; a dataset that was loaded by one; or anything else.

    Raises:
        AuthenticationError: It is local, and so is ``repository``.
        RefusedError: It is published already, by the caller or somebody else.
        UnsupportedStorageError: Its storage cannot be promoted.
        IntegrityError: Its schema is not the one that it was written with.
        The same as `atdata.loading.shards.find_shards`.
    """
    uri = _uri_of(client, dataset)
    if uri is None:
        return None
    did = client.did_of(uri)
    if did != LOCAL_DID:
        whose = "in your repository" if did == client.did else "in somebody else's repository"
        raise RefusedError(
            f"{uri} is published already, {whose}: `atdata edit` changes what describes a dataset of yours; shards "
            "from elsewhere are published from where you have them (atdata download), or by their URLs",
            rule="already-published",
        )
    if repository.did == LOCAL_DID:
        raise AuthenticationError(f"{uri} is in the local repository already: log in to bring it to the network")
    found = find_shards(client, uri)
    schema = _local_schema(client, found.record)
    return Promotion(found, _given(found), schema, _promoted_before(client, repository, found.record))


def _uri_of(client: Client, dataset: Any) -> AtUri | None:
    if isinstance(dataset, list | tuple) and len(dataset) == 1:
        dataset = dataset[0]
    if isinstance(dataset, Dataset) and not dataset._view.steps:
        is_local = dataset.uri is not None and dataset.uri.startswith(f"at://{LOCAL_DID}/")
        dataset = dataset.uri if is_local else dataset.url
    if isinstance(dataset, AtUri):
        return dataset
    if not isinstance(dataset, str) or not dataset.startswith("at://") or "#" in dataset:
        return None
    return parse_at_uri(dataset, handle_domain=client.handle_domain)


def _given(found: RecordShards) -> Given:
    facts = found.facts if all(_is_known(shard) for shard in found.facts or ()) else None
    if isinstance(found.store, LocalBlobStore):
        return Given(places=tuple(map(found.store.file, found.paths)), is_local=True, facts=facts)
    storage = found.storage
    if not isinstance(storage, UrlStorage):
        kind = str(storage.to_json()["$type"])
        raise UnsupportedStorageError(f"{found.uri}: storage of type {kind!r} cannot be promoted", kind=kind)
    if storage.endpoint is not None or storage.region is not None or storage.extra:
        raise UnsupportedStorageError(
            f"{found.uri} says more of its URLs than this release publishes ({', '.join(storage.to_json())})",
            kind="urlStorage",
        )
    return dataclasses.replace(read_given(list(storage.urls), None), facts=facts)


def _is_known(shard: Shard) -> bool:
    return shard.cid is not None and shard.bytes is not None and shard.samples is not None


def _local_schema(client: Client, record: DatasetRecord) -> SchemaRecord | None:
    if record.schema_ref is None:
        return None
    uri = parse_at_uri(record.schema_ref)
    if client.did_of(uri) != LOCAL_DID:
        return None
    found = client.get_record(uri)
    if record.schema_cid not in (None, found.cid):
        raise IntegrityError(f"{uri} has the CID {found.cid}, and the dataset was written for {record.schema_cid}")
    return dataclasses.replace(read_schema(found.value), previous_version=None)


def _promoted_before(client: Client, repository: Repository, record: DatasetRecord) -> StrongRef | None:
    """The previous version of a local record, on the network: by its key, and by the time of its making."""
    if record.previous_version is None:
        return None
    uri = parse_at_uri(record.previous_version.uri)
    if client.did_of(uri) != LOCAL_DID:
        return record.previous_version
    collection = _collection(uri)
    with suppress(NotFoundError):
        local = client.get_record(uri)
        there = repository.get_record(collection, uri.rkey or "")
        if there.value.get("createdAt") == local.value.get("createdAt"):
            return StrongRef(str(there.uri), there.cid)
    return None


def _collection(uri: AtUri) -> Nsid:
    return parse_nsid(str(uri.collection))


def _is_public(mirror: Mirror) -> bool:
    return isinstance(mirror.storage, UrlStorage) and all(file_path(url) is None for url in mirror.storage.urls)


def _is_here(origin: Origin) -> bool:
    here = f"at://{LOCAL_DID}/"
    return (origin.uri or "").startswith(here) or (origin.record is not None and origin.record.uri.startswith(here))
