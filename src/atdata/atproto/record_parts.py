"""The smaller values that `atdata.atproto.records` is made of, each after its lexicon definition.

What a definition does not know is kept in ``extra``; an absent field is None.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from atdata.atproto.json_objects import Extra, read_object, write_object
from atdata.storage.union import Blob, Storage, parse_storage


@dataclass(frozen=True, slots=True)
class StrongRef:
    """A record at one state: its AT-URI and the CID that it had."""

    uri: str
    cid: str
    extra: Extra = field(default_factory=dict, hash=False)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "StrongRef":
        """Read a value that has passed its lexicon."""
        return read_object(cls, value, {})

    def to_json(self) -> dict[str, Any]:
        """The value as a record holds it."""
        return write_object(self)


@dataclass(frozen=True, slots=True)
class Split:
    """A named, half-open range of shards.

    Attributes:
        name: For example ``train``.
        start: Index of the first shard, from 0.
        end: Index after the last shard.
    """

    name: str
    start: int
    end: int
    extra: Extra = field(default_factory=dict, hash=False)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Split":
        """Read a value that has passed its lexicon."""
        return read_object(cls, value, {})


@dataclass(frozen=True, slots=True)
class Mirror:
    """A further place of the same shards.

    Attributes:
        region: A hint where it lies, for example ``eu-central-1``.
    """

    storage: Storage
    region: str | None = None
    extra: Extra = field(default_factory=dict, hash=False)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Mirror":
        """Read a value that has passed its lexicon."""
        return read_object(cls, value, {"storage": parse_storage})


@dataclass(frozen=True, slots=True)
class ManifestPart:
    """A part of the list of shards, in a file of its own: exactly one of ``blob`` and ``url``.

    Attributes:
        cid: CIDv1, raw, sha-256 of the gzipped file.
        shards: Number of lines.
        bytes: Size of the gzipped file.
    """

    blob: Blob | None = None
    url: str | None = None
    cid: str | None = None
    shards: int | None = None
    bytes: int | None = None
    extra: Extra = field(default_factory=dict, hash=False)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "ManifestPart":
        """Read a value that has passed its lexicon."""
        return read_object(cls, value, {"blob": Blob.from_json})


@dataclass(frozen=True, slots=True)
class Totals:
    """The record's ``size``: sums over all shards; ``bytes`` are those of the tars."""

    samples: int | None = None
    bytes: int | None = None
    shards: int | None = None
    extra: Extra = field(default_factory=dict, hash=False)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Totals":
        """Read a value that has passed its lexicon."""
        return read_object(cls, value, {})


@dataclass(frozen=True, slots=True)
class Origin:
    """What a dataset was made from: a record, or else a URI; ``relation`` says how."""

    record: StrongRef | None = None
    uri: str | None = None
    relation: str | None = None
    extra: Extra = field(default_factory=dict, hash=False)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Origin":
        """Read a value that has passed its lexicon."""
        return read_object(cls, value, {"record": StrongRef.from_json})


@dataclass(frozen=True, slots=True)
class Access:
    """How to get at bytes that are not public: a method, never a secret.

    Attributes:
        kind: ``public``, ``authenticated``, ``request``, or what a later release adds.
        issuer: DID of the service that hands out short-lived URLs.
        request_url: Page on which to ask.
    """

    kind: str
    required_role: str | None = None
    issuer: str | None = None
    request_url: str | None = None
    extra: Extra = field(default_factory=dict, hash=False)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Access":
        """Read a value that has passed its lexicon."""
        return read_object(cls, value, {})
