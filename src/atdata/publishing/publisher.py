"""Publishing: from shards or samples to a dataset record in the caller's repository.

`DatasetPublisher` checks everything, then uploads, then writes: a dataset that is refused leaves nothing behind. What
was given is told apart by `inputs`, and measured and brought together by `shards`; a record that would be too large is
spread by `atdata.atproto.manifest`. Reading it all back is `atdata.loading`.
"""

import dataclasses
import inspect
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Literal, get_origin

from atdata.atproto.client import Client
from atdata.atproto.dagcbor import record_cid
from atdata.atproto.manifest import Spread, spread
from atdata.atproto.place_checks import count_shards
from atdata.atproto.records import (
    DatasetRecord,
    SchemaRecord,
    StrongRef,
    Totals,
    now,
    write_value,
)
from atdata.atproto.repository import Repository
from atdata.data.schema import definition_of
from atdata.errors import (
    AtdataError,
    AuthenticationError,
    InvalidSyntaxError,
    NotFoundError,
    RefusedError,
    SchemaMismatchError,
    UnavailableError,
)
from atdata.publishing.inputs import Splits, read_given, read_splits
from atdata.publishing.shards import Measured, Progress, measured, silent, upload, upload_checked
from atdata.storage.union import BlobStorage, UrlStorage
from atdata.syntax import AtUri, Nsid, RecordKey, family, new_tid, parse_at_uri, parse_nsid, parse_record_key

# Stands for the storage in the first check, which is made before the shards are read.
_SOMEWHERE = UrlStorage(("https://example.com/shard.tar",))
_GENERATED_DOCSTRING = re.compile(r"\w+\(.*\)( -> None)?", re.DOTALL)  # what `dataclass` writes where there is none


class DatasetPublisher:
    """Publishes datasets in the repository of a client."""

    def __init__(self, client: Client) -> None:
        """Publish for ``client``: an account, or the local repository."""
        self._client = client

    def publish_dataset(
        self,
        dataset: Any,
        name: str,
        *,
        description: str | None = None,
        urls: str | Sequence[str] | None = None,
        storage: Literal["auto", "url", "blobs"] = "auto",
        license: str | None = None,
        tags: str | Sequence[str] = (),
        splits: Splits | None = None,
        version: str | None = None,
        previous: str | None = None,
        citation: str | None = None,
        homepage: str | None = None,
        sample_type: type | None = None,
        scan: bool = False,
        rkey: str | None = None,
        allow_secret_urls: bool = False,
        progress: Progress = silent,
    ) -> str:
        """Publish a dataset: upload its shards where that is wanted, and write its record.

        Local shards are read once, for CID, size, samples and index; remote ones only with ``scan``, and for blobs.
        Everything is checked before anything is written, except whether the URLs answer.

        Args:
            dataset: What to publish: a `Dataset`; a URL or path in brace notation; a list of URLs or of paths to tar
                files; what `write_samples` returned; or an iterable of samples, which are written into shards first.
            name: Name for people, up to 200 characters.
            description: Plain text or Markdown, up to 2,000 characters.
            urls: Where others find these shards, in order and in brace notation. Without it, the URLs of ``dataset``.
            storage: ``url``: the record names URLs, and nothing is uploaded; local paths become ``file://`` URLs, which
                only the own machine reads. ``blobs``: the shards are uploaded into the repository. ``auto``: local
                files of at most 100 MB in all become blobs, remote ones stay at their URLs.
            license: SPDX identifier, or a URL.
            tags: Words to find it by, up to 32.
            splits: Named, half-open ranges of shard numbers: ``{"train": (0, 8), "test": range(8, 10)}``, several of
                them as a list; or a list of ``(name, start, end)``.
            version: Label of the version; semantic versioning is recommended.
            previous: AT-URI of the dataset record that this one replaces, which stays.
            citation: How to cite it, for example BibTeX.
            homepage: An http or https URL.
            sample_type: Type of one sample; by default that of ``dataset``, or of the first sample. It is published as
                a schema record, once in a repository. Without any type the dataset is read as dicts.
            scan: Read remote shards too.
            rkey: Key of the new record; by default a TID.
            allow_secret_urls: Publish URLs that carry a secret, such as presigned ones. Records are public.
            progress: Called with a step ("reading", "uploading"), bytes done and bytes in all.

        Returns:
            The AT-URI of the new dataset record.

        Raises:
            AuthenticationError: The client has no repository: log in, or use `Client.local`.
            InvalidRecordError: Something that was given breaks the lexicon; the path says which.
            InvalidSyntaxError: A URL, path, AT-URI or record key is malformed.
            LimitError: Too large for ``auto``, for a blob, or for a record; the message says what to do.
            NotFoundError: A file or the previous version is not there.
            RefusedError: A rule forbids a URL, or there is already a record under ``rkey``.
            SchemaMismatchError: The sample type is none, or a sample does not fit it.
            ShardError: A shard that was read is no tar of samples.
            IntegrityError: The repository took other bytes than were sent.
        """
        repository = self._repository()
        if storage not in ("auto", "url", "blobs"):
            raise InvalidSyntaxError(f"storage is 'auto', 'url' or 'blobs', not {storage!r}", value=str(storage))
        uri = _new_uri(repository, rkey)
        record = DatasetRecord(
            name=name,
            description=description,
            storage=_SOMEWHERE,
            created_at=now(),
            splits=read_splits(splits),
            version=version,
            previous_version=self._strong_ref(previous),
            license=license,
            tags=(tags,) if isinstance(tags, str) else tuple(tags),
            citation=citation,
            homepage=homepage,
        )
        write_value(dataclasses.replace(record, splits=()))  # whether splits fit the shards is only known later
        given = read_given(dataset, sample_type)
        schema = _plan_schema(repository, given.sample_type)
        if schema is not None:
            record = dataclasses.replace(record, schema_ref=schema.reference.uri, schema_cid=schema.reference.cid)
        with measured(
            given,
            urls=[urls] if isinstance(urls, str) else urls,
            storage=storage,
            scan=scan,
            repository=repository,
            transport=self._client.transport,
            progress=progress,
        ) as shards:
            record = _with_shards(record, shards)
            write_value(spread(record, uri=uri).record, allow_secrets=allow_secret_urls)
            if shards.files:
                record = dataclasses.replace(record, storage=BlobStorage(upload(repository, shards, progress)))
            fitting = _upload_parts(repository, spread(record, uri=uri))
            value = write_value(fitting.record, allow_secrets=allow_secret_urls)
            with _undone_on_error(repository) as create:
                if schema is not None and schema.value is not None:
                    create("schema", schema.value, schema.rkey)
                for item in fitting.lists:
                    create("blobList", item.value, item.rkey)
                return create("dataset", value, uri.rkey).uri

    def publish_schema(self, sample_type: type) -> str:
        """Publish a sample type as a schema record. Where the repository has an equal one, nothing is written.

        Returns:
            The AT-URI of the schema record.

        Raises:
            AuthenticationError: The client has no repository.
            SchemaMismatchError: The class is no sample type.
            InvalidRecordError: A name or description breaks the lexicon.
        """
        repository = self._repository()
        schema = _plan_schema(repository, sample_type)
        if schema is None:
            raise SchemaMismatchError(f"{sample_type.__name__} is not a sample type: a dataclass is one")
        if schema.value is not None:
            repository.create_record(_collection("schema"), schema.value, rkey=schema.rkey)
        return schema.reference.uri

    def _repository(self) -> Repository:
        if self._client.repository is None:
            raise AuthenticationError("publishing needs a repository: log in (Client.login), or use Client.local()")
        return self._client.repository

    def _strong_ref(self, raw: str | None) -> StrongRef | None:
        if raw is None:
            return None
        record = self._client.get_record(parse_at_uri(raw, handle_domain=self._client.handle_domain))
        return StrongRef(str(record.uri), record.cid)


@dataclass(frozen=True, slots=True)
class _PlannedSchema:
    """A schema record that is there, or is to be written: then with its key and value."""

    reference: StrongRef
    rkey: RecordKey | None = None
    value: Mapping[str, Any] | None = None


def _collection(name: str) -> Nsid:
    return parse_nsid(f"{family()}.{name}")


def _new_uri(repository: Repository, rkey: str | None) -> AtUri:
    """Where the record will be: known before the first upload, so that whatever is written can name it."""
    uri = AtUri(repository.did, _collection("dataset"), parse_record_key(rkey if rkey is not None else new_tid()))
    if rkey is not None:
        with suppress(NotFoundError):
            repository.get_record(_collection("dataset"), rkey)
            raise RefusedError(f"there is already a record {uri}, and a new version is a new record", rule="overwrite")
    return uri


def _plan_schema(repository: Repository, sample_type: type | None) -> _PlannedSchema | None:
    if sample_type is None or issubclass(get_origin(sample_type) or sample_type, dict):
        return None
    record = SchemaRecord(
        name=sample_type.__name__,
        definition=definition_of(sample_type, family=family()),
        description=_summary(sample_type),
        created_at=now(),
    )
    value = write_value(record)
    for known in repository.list_records(_collection("schema")):
        if all(known.value.get(key) == value.get(key) for key in ("name", "definition")):
            return _PlannedSchema(StrongRef(str(known.uri), known.cid))
    key = parse_record_key(new_tid())
    uri = AtUri(repository.did, _collection("schema"), key)
    return _PlannedSchema(StrongRef(str(uri), str(record_cid(value))), key, value)


def _summary(sample_type: type) -> str | None:
    """The first paragraph of a class's docstring, unless `dataclass` wrote it."""
    paragraph = inspect.cleandoc(sample_type.__doc__ or "").partition("\n\n")[0]
    return None if _GENERATED_DOCSTRING.fullmatch(paragraph) else paragraph or None


def _with_shards(record: DatasetRecord, shards: Measured) -> DatasetRecord:
    record = dataclasses.replace(record, storage=shards.storage, shards=shards.facts)
    if shards.facts is None:
        size = Totals(shards=count_shards(record.to_json()))
    else:
        size = Totals(
            samples=sum(shard.samples or 0 for shard in shards.facts),
            bytes=sum(shard.bytes or 0 for shard in shards.facts),
            shards=len(shards.facts),
        )
    return dataclasses.replace(record, size=None if size.shards is None else size)


def _upload_parts(repository: Repository, fitting: Spread) -> Spread:
    """Upload the manifest; its record then names the blobs as the repository has them."""
    manifest = tuple(
        dataclasses.replace(part, blob=upload_checked(repository, data, part.blob))
        for part, data in zip(fitting.record.manifest, fitting.parts, strict=True)
        if part.blob is not None
    )
    return dataclasses.replace(fitting, record=dataclasses.replace(fitting.record, manifest=manifest))


Create = Callable[[str, Mapping[str, Any], RecordKey | None], StrongRef]


@contextmanager
def _undone_on_error(repository: Repository) -> Iterator[Create]:
    """Create records; when the repository refuses one of them, delete those before it."""
    created: list[tuple[Nsid, str]] = []

    def create(name: str, value: Mapping[str, Any], rkey: RecordKey | None) -> StrongRef:
        reference = repository.create_record(_collection(name), value, rkey=rkey)
        created.append((_collection(name), parse_at_uri(reference.uri).rkey or ""))
        return reference

    try:
        yield create
    except UnavailableError:
        raise  # the last one may have been written all the same, and would name what is deleted here
    except AtdataError:
        for collection, rkey in reversed(created):
            with suppress(AtdataError):
                repository.delete_record(collection, rkey)
        raise
