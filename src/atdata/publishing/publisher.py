"""Publishing: from shards or samples to a dataset record in the caller's repository.

`DatasetPublisher` checks everything, then uploads, then writes: a dataset that is refused leaves nothing behind, and
one that was interrupted can be gone on with. What was given is told apart by `inputs`; `prepared` is one publish.
Reading it all back is `atdata.loading`.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Literal

from atdata.atproto.client import Client
from atdata.atproto.records import DatasetRecord, StrongRef, now, write_value
from atdata.atproto.repository import Repository
from atdata.errors import AuthenticationError, InvalidRecordError, InvalidSyntaxError, RefusedError, SchemaMismatchError
from atdata.publishing.deleting import Deletion, delete, plan_deletion
from atdata.publishing.describe import Description, Options, command_of
from atdata.publishing.editing import Changes, Edited, edit
from atdata.publishing.inputs import Given, Splits, inferred_type, read_given, read_splits, with_facts
from atdata.publishing.journal import Journal, open_journal, read_journal
from atdata.publishing.named import blobs_of
from atdata.publishing.patience import PATIENCE, Patience, silent
from atdata.publishing.places import find_destination
from atdata.publishing.prepared import Prepared
from atdata.publishing.promotion import Promotion, find_promotion
from atdata.publishing.shards import Progress, no_progress, surveyed
from atdata.publishing.writing import PlannedSchema, collection, find_record, plan_schema, plan_schema_record
from atdata.storage.base import Shard
from atdata.storage.union import UrlStorage
from atdata.syntax import AtUri, parse_at_uri, parse_record_key

# Stands for the storage in the first check, which is made before the shards are read.
_SOMEWHERE = UrlStorage(("https://example.com/shard.tar",))


class DatasetPublisher:
    """Publishes datasets in the repository of a client."""

    def __init__(self, client: Client) -> None:
        """Publish for ``client``: an account, or the local repository."""
        self._client = client

    def publish_dataset(
        self,
        dataset: Any,
        name: str | None = None,
        *,
        description: str | None = None,
        urls: str | Sequence[str] | None = None,
        to: str | None = None,
        storage: Literal["auto", "url", "blobs"] = "auto",
        license: str | None = None,
        tags: str | Sequence[str] = (),
        splits: Splits | None = None,
        version: str | None = None,
        previous: str | None = None,
        citation: str | None = None,
        homepage: str | None = None,
        sample_type: type | None = None,
        infer_schema: bool = True,
        shards: Sequence[Shard] | None = None,
        scan: bool = False,
        rkey: str | None = None,
        allow_secret_urls: bool = False,
        reshard: bool = True,
        force: bool = False,
        patience: float = PATIENCE,
        progress: Progress = no_progress,
        announce: Callable[[str], None] = silent,
    ) -> str:
        """Publish a dataset: upload its shards where that is wanted, and write its record.

        Local shards are read once, for CID, size, samples and index; remote ones only with ``scan``, and for blobs.
        Everything is checked before anything is written, except whether the URLs answer.

        A publish that was interrupted, in whatever way, goes on when the same is published again: nothing is uploaded
        twice, and one record results. That holds for shards; samples that come one by one cannot be gone on with.

        Args:
            dataset: What to publish: a `Dataset`; a URL or path in brace notation; a list of URLs or of paths to tar
                files; what `write_samples` returned; or an iterable of samples, which are written into shards first.
                Also a dataset of the local repository, by its AT-URI or loaded: then it is published as it is there,
                under the same key, its files and blobs as blobs; all that is not given here is taken from its record.
            name: Name for people, up to 200 characters.
            description: Plain text or Markdown, up to 2,000 characters.
            urls: Where others find these shards, in order and in brace notation. Without it, the URLs of ``dataset``.
            to: Where to upload the shards, which must be files: ``s3://bucket/prefix``, ``gs://bucket/prefix``, or, in
                the local repository, a folder. The record names them there.
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
            infer_schema: Where nobody says what a sample is, read all samples of local shards to find out.
            shards: What the shards are, in order, where you know it: they are not read for it then. So a hundred
                thousand shards at URLs are published with their digests.
            scan: Read remote shards too.
            rkey: Key of the new record; by default a TID.
            allow_secret_urls: Publish URLs that carry a secret, such as presigned ones. Records are public.
            reshard: Cut shards that are larger than the repository's limit for blobs into smaller ones, between
                samples; members stay byte for byte. False: refuse them.
            force: Upload more than 10 GB as blobs.
            patience: Seconds that a rate limit, or a server that does not answer, is waited for.
            progress: Called with a step ("reading", "fetching", "cutting", "uploading"), bytes done and bytes in all.
            announce: Called with sentences for people: advice, shards that are cut, waits.

        Returns:
            The AT-URI of the new dataset record.

        Raises:
            AuthenticationError: The client has no repository: log in, or use `Client.local`.
            InvalidRecordError: Something that was given breaks the lexicon; the path says which.
            InvalidSyntaxError: A URL, path, AT-URI or record key is malformed.
            LimitError: Too large for ``auto``, for blobs, or for a record; the message says what to do.
            NotFoundError: A file or the previous version is not there.
            RefusedError: A rule forbids a URL, there is already a record under ``rkey``, or another process is
                publishing the same at this moment.
            SchemaMismatchError: The sample type is none, or a sample does not fit it.
            ShardError: A shard that was read is no tar of samples.
            IntegrityError: The repository took other bytes than were sent.
            UnavailableError, XrpcError: The repository did not answer, or refused; a note says how to go on.
        """
        described = Description(
            name=name,
            description=description,
            license=license,
            tags=tags,
            splits=splits,
            version=version,
            previous=previous,
            citation=citation,
            homepage=homepage,
        )
        options = Options(
            urls=urls,
            to=to,
            storage=storage,
            sample_type=sample_type,
            infer_schema=infer_schema,
            shards=shards,
            scan=scan,
            rkey=rkey,
            allow_secret_urls=allow_secret_urls,
            reshard=reshard,
            force=force,
            patience=patience,
            progress=progress,
            announce=announce,
        )
        with self.prepared(dataset, described, options) as prepared:
            return prepared.publish()

    @contextmanager
    def prepared(
        self, dataset: Any, description: Description, options: Options, *, dry_run: bool = False
    ) -> Iterator[Prepared]:
        """Look at what is to be published, and check it: `Prepared.plan` says what `Prepared.publish` would do.

        Args:
            dataset: As for `publish_dataset`.
            description: What people read about it.
            options: How it is published.
            dry_run: Only the plan is wanted: write nothing, and do not keep others from publishing the same.

        Raises:
            The same as `publish_dataset`.
        """
        repository = self._repository()
        if options.storage not in ("auto", "url", "blobs"):
            raise InvalidSyntaxError(
                f"storage is 'auto', 'url' or 'blobs', not {options.storage!r}", value=str(options.storage)
            )
        if options.rkey is not None:
            parse_record_key(options.rkey)
        promotion = find_promotion(self._client, repository, dataset)
        if promotion is not None:
            description, options = promotion.described(description), promotion.options(options)
        record = self._described(description)
        if promotion is not None:
            record = promotion.completed(record, options.announce)
        write_value(dataclasses.replace(record, splits=()))  # whether splits fit the shards is only known later
        given = read_given(dataset, options.sample_type) if promotion is None else promotion.given
        if promotion is not None:
            given = dataclasses.replace(given, sample_type=options.sample_type)
        given = with_facts(given, options.shards)
        destination = None
        if options.to is not None:
            if options.urls or options.storage == "blobs":
                raise InvalidSyntaxError(
                    "give to=, or urls=, or storage='blobs': each says where it lies", value=options.to
                )
            destination = find_destination(
                options.to, given, transport=self._client.transport, is_local=self._client.is_local
            )
            options = dataclasses.replace(options, urls=destination.storage.urls)
        if given.is_local and options.storage == "url" and not options.urls and not self._client.is_local:
            raise RefusedError(
                "nobody else can read files of this machine, and the record would tell their paths: say where others "
                "find the shards (urls=, --url), or upload them (storage='blobs', --storage blobs; to=, --to)",
                rule="file-url",
            )
        if given.sample_type is None and given.is_local and options.infer_schema:
            options.announce("nobody has said what a sample is: reading all of them to find out")
            given = dataclasses.replace(given, sample_type=inferred_type(given, record.name))
        wait = Patience(options.patience, options.announce)  # for a repository that is away at this moment
        schema = wait.call(lambda: _plan_schema(repository, given, promotion))
        if schema is not None:
            record = dataclasses.replace(record, schema_ref=schema.reference.uri, schema_cid=schema.reference.cid)
        with ExitStack() as stack:
            journal = _journal(repository, given, description, options, stack, dry_run=dry_run)
            if record.previous_version is not None:  # what the version before keeps there need not be uploaded again
                before = parse_at_uri(record.previous_version.uri)
                kept = wait.call(lambda: list(blobs_of(repository, before)))
                journal.progressed.uploaded.update((blob.cid, blob) for blob in kept)
            key = options.rkey if options.rkey is not None else journal.progressed.rkey
            uri = AtUri(repository.did, collection("dataset"), parse_record_key(key))
            is_new = options.rkey is not None and not journal.is_resumed
            if is_new and wait.call(lambda: find_record(repository, "dataset", key)):
                raise RefusedError(
                    f"there is already a record {uri}, and a new version is a new record", rule="overwrite"
                )
            survey = stack.enter_context(
                surveyed(
                    given,
                    urls=[options.urls] if isinstance(options.urls, str) else options.urls,
                    storage=options.storage,
                    scan=options.scan,
                    force=options.force,
                    blob_limit=lambda: wait.call(lambda: repository.blob_limit),
                    transport=self._client.transport,
                    journal=journal,
                    progress=options.progress,
                    announce=options.announce,
                )
            )
            prepared = Prepared(
                uri=uri,
                record=dataclasses.replace(
                    record,
                    created_at=journal.progressed.created_at if promotion is None else promotion.created_at,
                ),
                survey=survey,
                schema=schema,
                journal=journal,
                repository=repository,
                transport=self._client.transport,
                options=options,
                destination=destination,
            )
            prepared.check()
            yield prepared
            # Only now: until then the caller may be killed before anybody has seen the AT-URI, and the same publish
            # must find the same record.
            if prepared.is_complete:
                journal.remove()

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
        schema = plan_schema(repository, sample_type)
        if schema is None:
            raise SchemaMismatchError(f"{sample_type.__name__} is not a sample type: a dataclass is one")
        if schema.value is not None:
            repository.create_record(collection("schema"), schema.value, rkey=schema.rkey)
        return schema.reference.uri

    def edit_dataset(
        self,
        uri: str | AtUri,
        *,
        name: str | None = None,
        description: str | None = None,
        license: str | None = None,
        tags: str | Sequence[str] | None = None,
        add_tags: Sequence[str] = (),
        remove_tags: Sequence[str] = (),
        citation: str | None = None,
        homepage: str | None = None,
        version: str | None = None,
        clear: Sequence[str] = (),
    ) -> Edited:
        """Change what describes a dataset of one's own; what its shards are, and where they lie, stays.

        Where somebody else edits at the same time, both edits are kept, unless they change the same field.

        Args:
            uri: Of the dataset record.
            name, description, license, citation, homepage, version: New values, as for `publish_dataset`.
            tags: These instead of all others.
            add_tags: Tags to append.
            remove_tags: Tags to take out.
            clear: Names of fields to remove.

        Returns:
            The record's new CID, and what has changed.

        Raises:
            AuthenticationError: Nobody is logged in.
            InvalidRecordError: A new value breaks the lexicon; the path says which.
            InvalidSyntaxError: The AT-URI names no dataset, or there is no such field.
            NotFoundError: The record is not there.
            RefusedError: The record is somebody else's; the field says what the shards are; or somebody else has
                changed the same field at this moment.
        """
        values = {
            "name": name,
            "description": description,
            "license": license,
            "tags": None if tags is None else [tags] if isinstance(tags, str) else list(tags),
            "citation": citation,
            "homepage": homepage,
            "version": version,
        }
        replaced = {key: value for key, value in values.items() if value is not None}
        return edit(self._client, uri, Changes(replaced, frozenset(clear), tuple(add_tags), tuple(remove_tags)))

    def plan_deletion(self, uri: str | AtUri) -> Deletion:
        """What `delete_dataset` would take along. Nothing is changed; raises as `delete_dataset` does."""
        return plan_deletion(self._client, uri)

    def delete_dataset(self, uri: str | AtUri) -> Deletion:
        """Delete a dataset of one's own, for good: its record, the blobs that no other one names, and their lists.

        Shards at URLs stay where they are, and so do schema records. Done again after it was cut short, it removes
        what was left.

        Returns:
            What was deleted.

        Raises:
            AuthenticationError: Nobody is logged in.
            InvalidSyntaxError: The AT-URI names no dataset.
            NotFoundError: The record is not there, and nothing is left of it.
            RefusedError: The record is somebody else's.
        """
        return delete(self._client, uri)

    def _repository(self) -> Repository:
        if self._client.repository is None:
            raise AuthenticationError("publishing needs a repository: log in (Client.login), or use Client.local()")
        return self._client.repository

    def _described(self, description: Description) -> DatasetRecord:
        tags = description.tags
        if description.name is None:
            raise InvalidRecordError("a dataset has one: give it", path="name")
        return DatasetRecord(
            name=description.name,
            description=description.description,
            storage=_SOMEWHERE,
            created_at=now(),
            splits=read_splits(description.splits),
            version=description.version,
            previous_version=self._strong_ref(description.previous),
            license=description.license,
            tags=(tags,) if isinstance(tags, str) else tuple(tags),
            citation=description.citation,
            homepage=description.homepage,
        )

    def _strong_ref(self, raw: str | None) -> StrongRef | None:
        if raw is None:
            return None
        record = self._client.get_record(parse_at_uri(raw, handle_domain=self._client.handle_domain))
        return StrongRef(str(record.uri), record.cid)


def _plan_schema(repository: Repository, given: Given, promotion: Promotion | None) -> PlannedSchema | None:
    if promotion is not None and promotion.schema is not None and given.sample_type is None:
        return plan_schema_record(repository, promotion.schema)
    return plan_schema(repository, given.sample_type)


def _journal(
    repository: Repository,
    given: Given,
    description: Description,
    options: Options,
    stack: ExitStack,
    *,
    dry_run: bool,
) -> Journal:
    """The journal of this publish. Samples have none: they do not come a second time."""
    if given.samples is not None:
        return Journal.unsaved()
    command = command_of(repository.did, given, description, options)
    if dry_run:
        return read_journal(command)
    return stack.enter_context(open_journal(command, announce=options.announce))
