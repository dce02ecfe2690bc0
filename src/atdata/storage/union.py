"""Storage: the value in a record that says where shards lie. An open union of variants.

Values only, from JSON and back; `atdata.storage.places` makes stores of them. What is not known here is kept as it
came: fields in ``extra``, whole variants in `UnknownStorage`. The lexicon is ``app.bsky.atdata.dataset``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from atdata.errors import InvalidRecordError, InvalidSyntaxError
from atdata.syntax import Cid, family, parse_cid

StrongRefJson = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Blob:
    """A blob of a repository, as ``uploadBlob`` returned it.

    Attributes:
        cid: CIDv1, raw, sha-256 of the bytes.
        mime_type: Media type, as the PDS found it.
        size: Length, in bytes.

    Source: https://atproto.com/specs/data-model#blob-type
    """

    cid: Cid
    mime_type: str
    size: int

    def to_json(self) -> dict[str, Any]:
        """The blob object as a record holds it."""
        return {"$type": "blob", "ref": {"$link": str(self.cid)}, "mimeType": self.mime_type, "size": self.size}

    @classmethod
    def from_json(cls, value: Any, *, path: str = "blob") -> "Blob":
        """Read a blob object.

        Raises:
            InvalidRecordError: It is none, or one of the legacy form without ``$type``, ``ref`` and ``size``.
        """
        if not isinstance(value, Mapping) or value.get("$type") != "blob":
            raise InvalidRecordError("must be a blob object with '$type': 'blob'", path=path)
        ref, mime_type, size = value.get("ref"), value.get("mimeType"), value.get("size")
        if not isinstance(ref, Mapping) or not isinstance(ref.get("$link"), str):
            raise InvalidRecordError("must be a CID link", path=f"{path}.ref")
        if not isinstance(mime_type, str):
            raise InvalidRecordError("must be a string", path=f"{path}.mimeType")
        if not isinstance(size, int) or isinstance(size, bool) or size < 0:
            raise InvalidRecordError("must be an integer of 0 or more", path=f"{path}.size")
        try:
            cid = parse_cid(ref["$link"])
        except InvalidSyntaxError as error:
            raise InvalidRecordError(str(error), path=f"{path}.ref") from error
        return cls(cid, mime_type, size)


@dataclass(frozen=True, slots=True)
class UrlStorage:
    """Shards at URLs.

    Attributes:
        urls: As written, with brace notation; their order after expansion is the order of the shards.
        endpoint: Of an S3-compatible service; None for AWS.
        region: Of the bucket.
        extra: Fields that this release does not know, in order.
    """

    urls: tuple[str, ...]
    endpoint: str | None = None
    region: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def to_json(self) -> dict[str, Any]:
        """The value of a record's ``storage``."""
        value: dict[str, Any] = {"$type": f"{family()}.dataset#urlStorage", "urls": list(self.urls)}
        if self.endpoint is not None:
            value["endpoint"] = self.endpoint
        if self.region is not None:
            value["region"] = self.region
        return value | dict(self.extra)


@dataclass(frozen=True, slots=True)
class BlobStorage:
    """Shards as blobs of the publisher's repository.

    Attributes:
        blobs: In the order of the shards.
        more: Strong references to ``blobList`` records that hold the further blobs, in order.
        extra: Fields that this release does not know, in order.
    """

    blobs: tuple[Blob, ...]
    more: tuple[StrongRefJson, ...] = field(default=(), hash=False)
    extra: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def to_json(self) -> dict[str, Any]:
        """The value of a record's ``storage``."""
        value: dict[str, Any] = {
            "$type": f"{family()}.dataset#blobStorage",
            "blobs": [blob.to_json() for blob in self.blobs],
        }
        if self.more:
            value["more"] = [dict(ref) for ref in self.more]
        return value | {key: item for key, item in self.extra.items() if key not in value}


@dataclass(frozen=True, slots=True)
class UnknownStorage:
    """A variant of another release or project: kept, shown, and an error only when it is opened.

    Attributes:
        type: Its ``$type``.
        value: The whole value as it came.
    """

    type: str
    value: Mapping[str, Any] = field(hash=False)

    def to_json(self) -> dict[str, Any]:
        """The value as it came."""
        return dict(self.value)


Storage = UrlStorage | BlobStorage | UnknownStorage


def parse_storage(value: Any, *, path: str = "storage") -> Storage:
    """Read one variant of the union. Only variants of our own family are known.

    Args:
        path: Where the value stands in its record, for messages.

    Raises:
        InvalidRecordError: The value is no union member, or does not have the fields of its variant.
    """
    if not isinstance(value, Mapping) or not isinstance(value.get("$type"), str):
        raise InvalidRecordError("must be an object with a '$type'", path=path)
    kind = value["$type"]
    if kind == f"{family()}.dataset#urlStorage":
        return _url_storage(value, path)
    if kind == f"{family()}.dataset#blobStorage":
        return _blob_storage(value, path)
    return UnknownStorage(kind, dict(value))


def _url_storage(value: Mapping[str, Any], path: str) -> UrlStorage:
    urls = _list(value, "urls", path)
    for i, url in enumerate(urls):
        if not isinstance(url, str):
            raise InvalidRecordError("must be a string", path=f"{path}.urls[{i}]")
    for key in ("endpoint", "region"):
        if not isinstance(value.get(key, ""), str):
            raise InvalidRecordError("must be a string", path=f"{path}.{key}")
    extra = _others(value, "urls", "endpoint", "region")
    return UrlStorage(tuple(urls), value.get("endpoint"), value.get("region"), extra)


def _blob_storage(value: Mapping[str, Any], path: str) -> BlobStorage:
    blobs = _list(value, "blobs", path)
    more = _list(value, "more", path) if "more" in value else []
    for i, ref in enumerate(more):
        if not isinstance(ref, Mapping):
            raise InvalidRecordError("must be a strong reference", path=f"{path}.more[{i}]")
    return BlobStorage(
        tuple(Blob.from_json(blob, path=f"{path}.blobs[{i}]") for i, blob in enumerate(blobs)),
        tuple(dict(ref) for ref in more),
        _others(value, "blobs", *(["more"] if more else [])),  # an empty array stays distinct from an absent one
    )


def _list(value: Mapping[str, Any], key: str, path: str) -> Sequence[Any]:
    items = value.get(key)
    if not isinstance(items, list | tuple):
        raise InvalidRecordError("must be an array", path=f"{path}.{key}")
    return items


def _others(value: Mapping[str, Any], *known: str) -> dict[str, Any]:
    return {key: item for key, item in value.items() if key != "$type" and key not in known}
