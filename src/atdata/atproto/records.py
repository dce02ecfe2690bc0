"""Our records as values: a dataset, a schema, a list of blobs. From JSON and back, nothing lost.

Each class has the fields of its lexicon definition, in Python's spelling; what a definition does not know is kept in
``extra`` and written back where it stood. An absent field is None or an empty tuple. Reading is `read_dataset` and its
kin: `atdata.atproto.normalize`, then the lexicon. Writing is `write_value`: the lexicon, then `atdata.atproto.checks`.
The bytes that a record speaks of, and the repository that it lies in, are no matter of this module.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from atdata.atproto.checks import check_blob_list, check_dataset, check_schema
from atdata.atproto.json_objects import Extra, each, read_object, read_shard, shard_json, write_object
from atdata.atproto.lexicon import Lexicons
from atdata.atproto.normalize import normalize
from atdata.atproto.record_parts import Access, ManifestPart, Mirror, Origin, Split, StrongRef, Totals
from atdata.storage.base import Shard
from atdata.storage.union import Blob, Storage, parse_storage
from atdata.syntax import family

__all__ = [
    "Access",
    "BlobListRecord",
    "DatasetRecord",
    "ManifestPart",
    "Mirror",
    "Origin",
    "SchemaRecord",
    "Split",
    "StrongRef",
    "Totals",
    "now",
    "read_blob_list",
    "read_dataset",
    "read_schema",
    "write_value",
]


def now() -> str:
    """This moment as records write it: UTC, in milliseconds, as in ``2026-01-07T12:00:00.000Z``."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetRecord:
    """A dataset: what its shards are, and where they lie.

    Attributes:
        storage: Where the shards lie.
        created_at: RFC 3339 datetime with a time zone, as `now` gives it.
        schema_ref: AT-URI of the schema record.
        shards: What the shards are, in order; None when nobody has read them, or `manifest` says it.
        manifest: The same in files of their own, for very many shards.
        mirrors: Further places of the same shards, best first.
        shard_extra: By index of a shard: fields that this release does not know, and a CID spelt unusually.
        extra: Unknown fields of the record.
    """

    name: str
    storage: Storage
    created_at: str
    description: str | None = None
    schema_ref: str | None = None
    schema_cid: str | None = None
    shards: tuple[Shard, ...] | None = None
    manifest: tuple[ManifestPart, ...] = ()
    mirrors: tuple[Mirror, ...] = ()
    splits: tuple[Split, ...] = ()
    size: Totals | None = None
    version: str | None = None
    previous_version: StrongRef | None = None
    derived_from: tuple[Origin, ...] = ()
    license: str | None = None
    tags: tuple[str, ...] = ()
    citation: str | None = None
    homepage: str | None = None
    access: Access | None = None
    shard_extra: Mapping[int, Extra] = field(default_factory=dict, hash=False)
    extra: Extra = field(default_factory=dict, hash=False)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "DatasetRecord":
        """Read a record that has passed its lexicon; `read_dataset` is for any other."""
        readers = {
            "storage": parse_storage,
            "shards": each(read_shard),
            "manifest": each(ManifestPart.from_json),
            "mirrors": each(Mirror.from_json),
            "splits": each(Split.from_json),
            "size": Totals.from_json,
            "previousVersion": StrongRef.from_json,
            "derivedFrom": each(Origin.from_json),
            "access": Access.from_json,
        }
        record = read_object(cls, _without_type(value), readers)
        pairs = zip(record.shards or (), value.get("shards", ()), strict=True)
        extra = {index: rest for index, (shard, entry) in enumerate(pairs) if (rest := _unknown_in(entry, shard))}
        return dataclasses.replace(record, shard_extra=extra) if extra else record

    def to_json(self) -> dict[str, Any]:
        """The record as JSON, unchecked; `write_value` checks."""
        value = {"$type": f"{family()}.dataset", **write_object(self)}
        for index, rest in self.shard_extra.items():
            if self.shards is not None and index < len(self.shards):
                value["shards"][index] |= rest
        return value


@dataclass(frozen=True, slots=True, kw_only=True)
class SchemaRecord:
    """The type of one sample.

    Attributes:
        definition: A member of an open union, as JSON; `atdata.data.schema` reads the variant ``#fields``.
    """

    name: str
    definition: Mapping[str, Any]
    created_at: str
    version: str | None = None
    description: str | None = None
    previous_version: StrongRef | None = None
    extra: Extra = field(default_factory=dict, hash=False)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "SchemaRecord":
        """Read a record that has passed its lexicon; `read_schema` is for any other."""
        return read_object(cls, _without_type(value), {"previousVersion": StrongRef.from_json})

    def to_json(self) -> dict[str, Any]:
        """The record as JSON, unchecked; `write_value` checks."""
        return {"$type": f"{family()}.schema", **write_object(self)}


@dataclass(frozen=True, slots=True, kw_only=True)
class BlobListRecord:
    """Further blobs of a dataset, which keep their PDS from dropping them.

    Attributes:
        dataset: AT-URI of the dataset that the list was first written for.
    """

    blobs: tuple[Blob, ...]
    created_at: str
    dataset: str | None = None
    extra: Extra = field(default_factory=dict, hash=False)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "BlobListRecord":
        """Read a record that has passed its lexicon; `read_blob_list` is for any other."""
        return read_object(cls, _without_type(value), {"blobs": each(Blob.from_json)})

    def to_json(self) -> dict[str, Any]:
        """The record as JSON, unchecked; `write_value` checks."""
        return {"$type": f"{family()}.blobList", **write_object(self)}


def read_dataset(value: Any) -> DatasetRecord:
    """Read a dataset record from anywhere: `normalize`, the lexicon, then the typed value.

    Raises:
        InvalidRecordError: It is another record, or breaks its lexicon; the path says where.
    """
    normalized = normalize(value) if isinstance(value, Mapping) else value
    Lexicons.load().validate(f"{family()}.dataset", normalized)
    return DatasetRecord.from_json(normalized)


def read_schema(value: Any) -> SchemaRecord:
    """Read a schema record from anywhere. Raises as `read_dataset` does."""
    Lexicons.load().validate(f"{family()}.schema", value)
    return SchemaRecord.from_json(value)


def read_blob_list(value: Any) -> BlobListRecord:
    """Read a ``blobList`` record from anywhere. Raises as `read_dataset` does."""
    Lexicons.load().validate(f"{family()}.blobList", value)
    return BlobListRecord.from_json(value)


def write_value(
    record: DatasetRecord | SchemaRecord | BlobListRecord, *, allow_secrets: bool = False
) -> dict[str, Any]:
    """The record as JSON that is ready to be sent: it keeps its lexicon and all that no validator sees.

    Args:
        allow_secrets: Let URLs pass that carry a secret, such as presigned ones. Records are public.

    Raises:
        InvalidRecordError: Something is wrong; the path says where.
        RefusedError: A URL that a rule forbids, or one that carries a secret.
        LimitError: More bytes of JSON than a PDS takes, or more shards than a reader does; the message says what to do.
    """
    value = record.to_json()
    Lexicons.load().validate(value["$type"], value)
    match record:
        case DatasetRecord():
            check_dataset(value, allow_secrets=allow_secrets)
        case SchemaRecord():
            check_schema(value)
        case BlobListRecord():
            check_blob_list(value)
    return value


def _without_type(value: Mapping[str, Any]) -> dict[str, Any]:
    return {key: item for key, item in value.items() if key != "$type"}


def _unknown_in(entry: Mapping[str, Any], shard: Shard) -> Extra:
    known = shard_json(shard)
    return {key: item for key, item in entry.items() if key not in known or known[key] != item}
