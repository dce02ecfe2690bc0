"""One publish, looked through and ready: its plan, and carrying it out so that it can be gone on with.

The order is what makes that possible: the journal has the record's key before the first upload, and the dataset record
is written last, after everything that it names. What was given is looked at by `shards`, files are brought together by
`files`, `pinning` uploads, `writing` writes.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from atdata.atproto.manifest import Spread, spread
from atdata.atproto.place_checks import count_shards
from atdata.atproto.records import DatasetRecord, StrongRef, Totals, write_value
from atdata.atproto.repository import Repository
from atdata.errors import AtdataError, AuthenticationError, LimitError, UnavailableError, XrpcError
from atdata.net import Transport
from atdata.publishing.describe import Options
from atdata.publishing.files import gather, renumbered, working_folder
from atdata.publishing.journal import Journal
from atdata.publishing.patience import Patience, is_passing
from atdata.publishing.pinning import Pinning
from atdata.publishing.places import Destination
from atdata.publishing.plan import Plan
from atdata.publishing.shards import Survey, plan_blobs
from atdata.publishing.upload import Item
from atdata.publishing.writing import PlannedSchema, delete_quietly, ensure_record, find_record
from atdata.storage.base import Shard
from atdata.storage.union import Blob, BlobStorage, Storage, UrlStorage
from atdata.syntax import AtUri, RecordKey, parse_record_key, raw_cid

TAR_TYPE = "application/x-tar"  # what a PDS finds by looking into a tar


@dataclass(slots=True)
class Prepared:
    """A publish that has been checked and not begun. Made by `DatasetPublisher.prepared`.

    Attributes:
        uri: Where the record will be.
        record: What it will say, without shards and storage.
        survey: The shards.
        schema: The record of the sample type; None for none.
        journal: Open, and locked for this publish.
        repository: Where it goes.
        transport: Fetches remote shards.
        options: How it is done.
        destination: The place that the shards are uploaded to; None where they stay, or become blobs.
        is_complete: Whether `publish` has done all; then who prepared it removes the journal.
    """

    uri: AtUri
    record: DatasetRecord
    survey: Survey
    schema: PlannedSchema | None
    journal: Journal
    repository: Repository
    transport: Transport
    options: Options
    destination: Destination | None = None
    is_complete: bool = field(default=False, init=False)
    _blobs: int = field(default=0, init=False)
    _spread_before: tuple[DatasetRecord, Spread] | None = field(default=None, init=False)

    def check(self) -> None:
        """Check the record that will be written, as far as its shards are known.

        Raises:
            LimitError: A sample, or a shard that is not to be cut, is larger than a blob may be.
            The same as `atdata.atproto.records.write_value`.
        """
        survey, facts = self.survey, self.survey.facts
        if survey.is_blobs and facts is None:
            return
        storage = BlobStorage(_expected(facts or ())) if survey.is_blobs else self._url_storage
        self._value(self._spread(_with_shards(self.record, storage, facts)))
        if survey.is_blobs:
            plan_blobs(survey, limit=self.repository.blob_limit, cut=self.options.reshard)

    def plan(self) -> Plan:
        """What `publish` will do. Nothing is written. Raises as `check` does."""
        survey, facts = self.survey, self.survey.facts
        schema_records = int(self.schema is not None and self.schema.value is not None)
        if not survey.is_blobs:
            record = _with_shards(self.record, self._url_storage, facts)
            size = record.size or Totals()
            parts = self._spread(record).parts
            return Plan(
                uri=str(self.uri),
                storage="url",
                shards=size.shards,
                samples=size.samples,
                bytes=size.bytes,
                given_shards=size.shards,
                uploads=len(parts),
                schema_records=schema_records,
            )
        limit = self.repository.blob_limit
        pieces = plan_blobs(survey, limit=limit, cut=self.options.reshard)
        sizes = [size for each in pieces for size in each]
        whole = {shard.cid for shard, each in zip(facts or (), pieces, strict=False) if len(each) == 1}
        there = [blob for cid, blob in self.journal.progressed.uploaded.items() if cid in whole]
        fitting = self._spread(_with_shards(self.record, *_stand_ins(sizes)))
        return Plan(
            uri=str(self.uri),
            storage="blobs",
            shards=len(sizes),
            samples=None if facts is None else sum(shard.samples or 0 for shard in facts),
            bytes=sum(sizes),
            given_shards=len(pieces),
            blob_limit=limit,
            uploads=len(sizes) - len(there) + len(fitting.parts),
            upload_bytes=sum(sizes) - sum(blob.size for blob in there),
            uploaded=len(there),
            schema_records=schema_records,
            list_records=len(fitting.lists),
        )

    def publish(self) -> str:
        """Carry it out, and return the AT-URI of the record.

        Raises:
            The same as `DatasetPublisher.publish_dataset`.
        """
        try:
            if self.journal.is_resumed and self._patience().call(self._find):
                self.options.announce(f"{self.uri} was written by an earlier run")
            elif self.survey.is_blobs:
                with working_folder(self.journal) as folder:
                    self._publish_blobs(folder)
            else:
                if self.destination is not None:
                    self._upload_to(self.destination)
                record = _with_shards(self.record, self._url_storage, self.survey.facts)
                self._write_last(self._pinning(), lambda: record, ())
        except BaseException as error:
            self._add_how_to_go_on(error)
            raise
        self.is_complete = True
        return str(self.uri)

    @property
    def _url_storage(self) -> UrlStorage:
        return UrlStorage(self.survey.urls) if self.destination is None else self.destination.storage

    def _upload_to(self, destination: Destination) -> None:
        self.journal.begin()
        files = [Path(place) for place in self.survey.given.places]
        options = self.options
        destination.upload(files, self.survey.facts or (), progress=options.progress, announce=options.announce)

    def _publish_blobs(self, folder: Path) -> None:
        while True:
            limit = self.repository.blob_limit
            plan_blobs(self.survey, limit=limit, cut=self.options.reshard)
            gathered = gather(
                self.survey,
                limit=limit,
                folder=folder,
                transport=self.transport,
                journal=self.journal,
                progress=self.options.progress,
                announce=self.options.announce,
            )
            described = dataclasses.replace(self.record, splits=renumbered(self.record.splits, gathered.numbering))
            expected = _expected(gathered.facts)
            items = [Item(file, blob) for file, blob in zip(gathered.files, expected, strict=True)]
            self._blobs = len({blob.cid for blob in expected})
            planned = self._spread(_with_shards(described, BlobStorage(expected), gathered.facts))
            self._value(planned)
            self.journal.begin()
            pinning = self._pinning()
            try:
                pinning.upload(items, lists=[(each.rkey, len(each.value["blobs"])) for each in planned.lists])
            except LimitError as error:
                if (learnt := self.repository.blob_limit) >= limit:
                    raise
                self.options.announce(f"{error}: its limit is taken to be {learnt:,} bytes")
                continue
            break

        def record() -> DatasetRecord:
            return _with_shards(described, BlobStorage(pinning.taken(items)), gathered.facts)

        self._write_last(pinning, record, items)

    def _write_last(self, pinning: Pinning, record: Callable[[], DatasetRecord], items: Sequence[Item]) -> None:
        """Write the records: the schema, lists that there are not yet, and the dataset. A refusal leaves none.

        Args:
            record: Makes the dataset record, of the blobs as the repository has them.
            items: Its shards that are blobs.
        """
        self.journal.begin()
        fitting = self._spread(record())
        self._value(fitting)
        parts = [
            Item(data, part.blob)
            for data, part in zip(fitting.parts, fitting.record.manifest, strict=True)
            if part.blob is not None
        ]
        pinning.send(parts)

        def value() -> Mapping[str, Any]:
            fitting = self._spread(record()).record
            manifest = zip(fitting.manifest, pinning.taken(parts), strict=True)
            blobs = tuple(dataclasses.replace(part, blob=blob) for part, blob in manifest)
            return write_value(
                dataclasses.replace(fitting, manifest=blobs), allow_secrets=self.options.allow_secret_urls
            )

        storage, schema = fitting.record.storage, self.schema
        named = [*items[: len(storage.blobs)], *parts] if isinstance(storage, BlobStorage) else parts
        try:
            if schema is not None and schema.value is not None and schema.rkey is not None:
                self._ensure("schema", schema.rkey, schema.value)
            for item in fitting.lists:
                if item.rkey not in self.journal.progressed.lists:
                    self.journal.add_list(item.rkey, self._ensure("blobList", item.rkey, item.value).cid)
            pinning.write("dataset", self._rkey, value, named)
        except AtdataError as error:
            if not _may_go_on(error):
                self._undo()
            raise

    @property
    def _rkey(self) -> RecordKey:
        return parse_record_key(self.uri.rkey or "")

    def _find(self) -> StrongRef | None:
        return find_record(self.repository, "dataset", self._rkey)

    def _pinning(self) -> Pinning:
        return Pinning(
            self.repository,
            self.journal,
            self.uri,
            created_at=self.record.created_at,
            patience=self._patience(),
            options=self.options,
        )

    def _patience(self) -> Patience:
        return Patience(self.options.patience, self.options.announce)

    def _spread(self, record: DatasetRecord) -> Spread:
        """The record as it fits, with the same keys of lists at every call and run."""
        if self._spread_before is not None and self._spread_before[0] == record:
            return self._spread_before[1]
        fitting = spread(record, uri=self.uri, list_keys=self.journal.progressed.list_keys)
        if len(fitting.lists) > len(self.journal.progressed.list_keys):
            fitting = spread(record, uri=self.uri, list_keys=self.journal.list_keys(len(fitting.lists)))
        self._spread_before = record, fitting
        return fitting

    def _value(self, fitting: Spread) -> Mapping[str, Any]:
        return write_value(fitting.record, allow_secrets=self.options.allow_secret_urls)

    def _ensure(self, name: str, rkey: RecordKey, value: Mapping[str, Any]) -> StrongRef:
        return ensure_record(
            self.repository, name, value, rkey=rkey, patience=self._patience(), may_exist=self.journal.is_resumed
        )

    def _undo(self) -> None:
        """Remove the records that were written for a dataset that is not to be."""
        for key in self.journal.progressed.lists:
            delete_quietly(self.repository, "blobList", key)
        if self.schema is not None and self.schema.rkey is not None:
            delete_quietly(self.repository, "schema", self.schema.rkey)
        self.journal.remove()

    def _add_how_to_go_on(self, error: BaseException) -> None:
        if not self.journal.has_begun:
            error.add_note("nothing has been uploaded or written")
        elif not self.journal.is_saved:
            error.add_note(
                "samples that come one by one cannot be gone on with: write them with write_samples(), and publish "
                "the paths"
            )
        elif self.destination is not None:
            error.add_note("what is uploaded stays there: run the same command again, and it goes on from there")
        else:
            done = len(self.journal.progressed.uploaded)
            error.add_note(
                f"{done:,} of {max(done, self._blobs):,} blobs are uploaded: run the same command again, and it goes "
                "on from there"
            )


def _with_shards(record: DatasetRecord, storage: Storage, facts: tuple[Shard, ...] | None) -> DatasetRecord:
    record = dataclasses.replace(record, storage=storage, shards=facts)
    if facts is None:
        size = Totals(shards=count_shards(record.to_json()))
    else:
        size = Totals(
            samples=sum(shard.samples or 0 for shard in facts),
            bytes=sum(shard.bytes or 0 for shard in facts),
            shards=len(facts),
        )
    return dataclasses.replace(record, size=None if size.shards is None else size)


def _expected(facts: Sequence[Shard]) -> tuple[Blob, ...]:
    """The blobs that shards will be."""
    blobs = []
    for number, shard in enumerate(facts):
        if shard.cid is None or shard.bytes is None:
            raise ValueError(f"shard {number}: CID and size are not known")
        blobs.append(Blob(shard.cid, TAR_TYPE, shard.bytes))
    return tuple(blobs)


def _stand_ins(sizes: Sequence[int]) -> tuple[BlobStorage, tuple[Shard, ...]]:
    """Blobs of these sizes, to see how many records they take before their CIDs are known."""
    cid = raw_cid(bytes(32))
    facts = tuple(Shard(cid, size, size // 512, cid) for size in sizes)
    return BlobStorage(_expected(facts)), facts


def _may_go_on(error: AtdataError) -> bool:
    """Whether the same command may succeed later, so that what is there should stay."""
    if isinstance(error, XrpcError | UnavailableError):
        return is_passing(error)
    return isinstance(error, AuthenticationError)
