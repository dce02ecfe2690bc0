"""What a record must keep beyond its lexicon before it is written: what no validator sees.

Each check takes the record's JSON, which has passed its lexicon, and raises at the first thing that is wrong. Reading
asks none of this: a stranger's record that its lexicon accepts is read as far as it goes, and each store checks what it
opens. The rules for URLs are `atdata.storage.url`, those for blob objects `atdata.atproto.definitions`.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from atdata.atproto.definitions import find_blob_problem
from atdata.atproto.place_checks import check_places, count_shards
from atdata.atproto.problems import quoted
from atdata.errors import InvalidRecordError, LimitError
from atdata.syntax import family, parse_at_uri, parse_cid

MAX_RECORD_BYTES = 150_000  # of JSON; a PDS of before May 2026 takes 150 KiB for the record and the call around it

_SPLIT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_CONTROL_IN_PROSE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")

Value = Mapping[str, Any]


def check_dataset(value: Value, *, allow_secrets: bool = False) -> None:
    """Check a dataset record that is about to be written.

    Raises:
        InvalidRecordError: Something is wrong; the path says where.
        RefusedError: A URL that a rule forbids, or that carries a secret.
        LimitError: It is too large.
    """
    _check_lines(value, "name", "version", "license")
    _check_prose(value, "description", "citation")
    for i, tag in enumerate(value.get("tags", ())):
        _check_line(tag, f"tags[{i}]")
    _check_blobs(value)
    _check_schema_reference(value)
    _check_shards(value)
    check_places(value, allow_secrets=allow_secrets)
    _check_splits(value)
    _check_totals(value)
    _check_previous(value, "dataset")
    for i, origin in enumerate(value.get("derivedFrom", ())):
        if ("record" in origin) == ("uri" in origin):
            raise InvalidRecordError("must have one of 'record' and 'uri'", path=f"derivedFrom[{i}]")
    check_size(value)


def check_schema(value: Value) -> None:
    """Check a schema record that is about to be written. Raises as `check_dataset` does."""
    _check_lines(value, "name", "version")
    _check_prose(value, "description")
    _check_blobs(value)
    _check_previous(value, "schema")
    if value["definition"]["$type"] == f"{family()}.schema#fields":
        _check_fields(value["definition"]["fields"])
    check_size(value)


def check_blob_list(value: Value) -> None:
    """Check a ``blobList`` record that is about to be written. Raises as `check_dataset` does."""
    _check_blobs(value)
    if "dataset" not in value:
        raise InvalidRecordError("is missing; a list names the dataset that it is written for", path="dataset")
    check_record_uri(value["dataset"], "dataset", path="dataset")
    check_size(value)


def check_size(value: Value) -> None:
    """Check that a record has at most `MAX_RECORD_BYTES` of JSON.

    Raises:
        LimitError: It has more; the message says what to do.
    """
    size = count_bytes(value)
    if size > MAX_RECORD_BYTES:
        largest = max(value, key=lambda key: count_bytes(value[key]))
        raise LimitError(
            f"the record has {size:,} bytes of JSON, at most {MAX_RECORD_BYTES:,} are taken by every PDS; most of "
            f"them are {largest!r}. Facts of very many shards go into 'manifest', further blobs into blobList records, "
            "counted URLs into brace notation",
            limit=MAX_RECORD_BYTES,
        )


def count_bytes(value: Any) -> int:
    """Bytes of a JSON value as it is sent: compact UTF-8."""
    return len(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode())


def check_record_uri(text: str, name: str | None, *, path: str) -> None:
    """Check an AT-URI that must name one record for good: a DID, a collection, a record key.

    Args:
        name: Last part of the collection in our family, such as ``dataset``; None for any collection.

    Raises:
        InvalidRecordError: It does not.
    """
    uri = parse_at_uri(text)
    if uri.collection is None or uri.rkey is None or uri.fragment is not None:
        raise InvalidRecordError(f"{quoted(text)} must name a record: at://DID/COLLECTION/RKEY", path=path)
    if not uri.authority.startswith("did:"):
        raise InvalidRecordError(f"{quoted(text)} must begin with a DID; a handle can change its owner", path=path)
    if name is not None and uri.collection != f"{family()}.{name}":
        raise InvalidRecordError(f"{quoted(text)} is no {family()}.{name} record", path=path)


def _check_lines(value: Value, *keys: str) -> None:
    for key in keys:
        if key in value:
            _check_line(value[key], key)


def _check_line(text: str, path: str) -> None:
    if not text.strip():
        raise InvalidRecordError("is empty", path=path)
    if match := _CONTROL.search(text):
        raise InvalidRecordError(f"holds the control character {match[0]!r}; it must be one line of text", path=path)


def _check_prose(value: Value, *keys: str) -> None:
    for key in keys:
        if match := _CONTROL_IN_PROSE.search(value.get(key, "")):
            raise InvalidRecordError(f"holds the control character {match[0]!r}", path=key)


def _check_blobs(value: Value) -> None:
    """A PDS silently drops a blob whose object is not whole, wherever in the record it stands."""
    for blob, path in _blob_like(value, ""):
        if problem := find_blob_problem(blob):
            raise InvalidRecordError(problem.message, path=f"{path}{problem.path}")
        if not parse_cid(blob["ref"]["$link"]).is_raw_sha256:
            raise InvalidRecordError("is not the CID of a blob: CIDv1, raw, sha-256", path=f"{path}.ref")
        if not re.fullmatch(r"[^/\s]+/[^/\s]+", blob["mimeType"]):
            raise InvalidRecordError(f"{quoted(blob['mimeType'])} is not a MIME type", path=f"{path}.mimeType")
        if blob["size"] == 0:
            raise InvalidRecordError("is 0; an empty blob cannot be part of a dataset", path=f"{path}.size")


def _blob_like(value: Any, path: str) -> Iterator[tuple[Value, str]]:
    if isinstance(value, Mapping):
        legacy = "mimeType" in value and ("cid" in value or "ref" in value)
        if value.get("$type") == "blob" or legacy:
            yield value, path
            return
        for key, item in value.items():
            yield from _blob_like(item, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        for i, item in enumerate(value):
            yield from _blob_like(item, f"{path}[{i}]")


def _check_schema_reference(value: Value) -> None:
    if "schemaRef" in value:
        check_record_uri(value["schemaRef"], None, path="schemaRef")
    elif "schemaCid" in value:
        raise InvalidRecordError("is the CID of a schema that 'schemaRef' does not name", path="schemaCid")


def _check_shards(value: Value) -> None:
    if "shards" in value and "manifest" in value:
        raise InvalidRecordError("a record has 'shards' or 'manifest', not both", path="manifest")
    for key in ("shards", "manifest"):
        if key in value and not value[key]:
            raise InvalidRecordError("is empty; where the shards are not known, leave it out", path=key)
    for i, shard in enumerate(value.get("shards", ())):
        path = f"shards[{i}]"
        _check_present(shard, ("cid", "bytes", "samples"), path)
        for key in ("cid", "index"):
            if key in shard:
                _check_raw_cid(shard[key], f"{path}.{key}")
        if shard["bytes"] == 0:
            raise InvalidRecordError("is 0; a tar has at least its end blocks", path=f"{path}.bytes")
    for i, part in enumerate(value.get("manifest", ())):
        path = f"manifest[{i}]"
        if ("blob" in part) == ("url" in part):
            raise InvalidRecordError("must have one of 'blob' and 'url'", path=path)
        _check_present(part, ("cid", "shards", "bytes"), path)
        _check_raw_cid(part["cid"], f"{path}.cid")
        if "blob" in part and (part["cid"], part["bytes"]) != (part["blob"]["ref"]["$link"], part["blob"]["size"]):
            raise InvalidRecordError("'cid' and 'bytes' must be those of the blob", path=path)


def _check_present(value: Value, keys: Sequence[str], path: str) -> None:
    for key in keys:
        if key not in value:
            raise InvalidRecordError(f"is missing; {', '.join(keys)} are always all written", path=f"{path}.{key}")


def _check_raw_cid(text: str, path: str) -> None:
    cid = parse_cid(text)
    if not cid.is_raw_sha256 or str(cid) != text:
        raise InvalidRecordError(f"{quoted(text)} must be a CIDv1, raw, sha-256, in base32", path=path)


def _check_splits(value: Value) -> None:
    count = count_shards(value)
    taken: dict[str, list[tuple[int, int]]] = {}
    for i, split in enumerate(value.get("splits", ())):
        path, start, end = f"splits[{i}]", split["start"], split["end"]
        if not _SPLIT_NAME.fullmatch(split["name"]):
            message = (
                f"{quoted(split['name'])} must be ASCII letters, digits, '.', '_' and '-', a letter or digit first"
            )
            raise InvalidRecordError(message, path=f"{path}.name")
        if end <= start:
            raise InvalidRecordError(f"is {end:,}, but the split starts at {start:,}: it is empty", path=f"{path}.end")
        if count is not None and end > count:
            raise InvalidRecordError(f"is {end:,}, but there are {count:,} shards", path=f"{path}.end")
        ranges = taken.setdefault(split["name"], [])
        if any(start < other_end and other_start < end for other_start, other_end in ranges):
            raise InvalidRecordError(f"the ranges of {split['name']!r} overlap: shards would come twice", path=path)
        ranges.append((start, end))


def _check_totals(value: Value) -> None:
    size, shards, count = value.get("size", {}), value.get("shards"), count_shards(value)
    expected: dict[str, int] = {} if count is None else {"shards": count}
    if shards is not None:
        expected |= {key: sum(shard[key] for shard in shards) for key in ("samples", "bytes")}
    for key, total in expected.items():
        if key in size and size[key] != total:
            raise InvalidRecordError(f"is {size[key]:,}, but the shards have {total:,} in all", path=f"size.{key}")


def _check_previous(value: Value, name: str) -> None:
    if "previousVersion" in value:
        check_record_uri(value["previousVersion"]["uri"], name, path="previousVersion.uri")


def _check_fields(fields: Sequence[Value]) -> None:
    names: set[str] = set()
    extensions: set[str] = set()
    for i, item in enumerate(fields):
        path = f"definition.fields[{i}]"
        _check_line(item["name"], f"{path}.name")
        if item["name"] in names:
            raise InvalidRecordError(f"{quoted(item['name'])} comes twice", path=f"{path}.name")
        names.add(item["name"])
        if ("extension" in item) != ("extension" in fields[0]):
            raise InvalidRecordError("all fields have an extension, or none has", path=f"{path}.extension")
        for extension in item.get("extension", "").split(";") if "extension" in item else ():
            if not extension or extension in extensions:
                raise InvalidRecordError(f"{quoted(extension)} is empty or comes twice", path=f"{path}.extension")
            extensions.add(extension)
