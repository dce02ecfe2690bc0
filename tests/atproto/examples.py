"""Records for the tests: one of each kind with every field, and CIDs to build others from."""

import hashlib
from typing import Any

import pytest

from atdata.atproto.records import read_dataset, write_value
from atdata.errors import InvalidRecordError
from atdata.syntax import raw_cid

FAMILY = "app.bsky.atdata"
DID = "did:plc:ewvi7nxzyoun6zhxrhs64oiz"
KEY = "3k2akkzsvnc2q"
THREE = "https://example.com/{0..2}.tar"
RECORD_CID = "bafyreigbtj4x7ip5legnfznufuopl4sg4knzc2cof6duas4b3q2fy6swua"


def cid(number: int) -> str:
    """The CID of some bytes."""
    return str(raw_cid(hashlib.sha256(number.to_bytes(8, "big")).digest()))


def shard(number: int, **fields: Any) -> dict[str, Any]:
    return {"cid": cid(number), "bytes": 10_240, "samples": 100, "index": cid(1_000_000 + number), **fields}


def blob(number: int, **fields: Any) -> dict[str, Any]:
    value = {"$type": "blob", "ref": {"$link": cid(number)}, "mimeType": "application/x-tar", "size": 10_240}
    return value | fields


def url_storage(*urls: str, **fields: Any) -> dict[str, Any]:
    return {"$type": f"{FAMILY}.dataset#urlStorage", "urls": list(urls), **fields}


def blob_storage(count: int, **fields: Any) -> dict[str, Any]:
    return {"$type": f"{FAMILY}.dataset#blobStorage", "blobs": [blob(i) for i in range(count)], **fields}


def record_uri(name: str, key: str = KEY) -> str:
    return f"at://{DID}/{FAMILY}.{name}/{key}"


MANIFEST_PART = {"url": "https://example.com/0.jsonl.gz", "cid": cid(7), "shards": 3, "bytes": 400}


def dataset(**fields: Any) -> dict[str, Any]:
    """A dataset of three shards with every field; fields given replace, None removes."""
    value: dict[str, Any] = {
        "$type": f"{FAMILY}.dataset",
        "name": "Digits",
        "description": "Handwritten digits.\n\n8 x 8 pixels.",
        "schemaRef": record_uri("schema"),
        "schemaCid": RECORD_CID,
        "storage": url_storage(
            "s3://digits/{00..01}.tar", "https://example.com/02.tar", endpoint="https://r2.example.com", region="auto"
        ),
        "shards": [shard(0), shard(1), shard(2)],
        "mirrors": [{"storage": blob_storage(3), "region": "eu-central-1"}],
        "splits": [{"name": "train", "start": 0, "end": 2}, {"name": "test", "start": 2, "end": 3}],
        "size": {"samples": 300, "bytes": 30_720, "shards": 3},
        "version": "1.0.0",
        "previousVersion": {"uri": record_uri("dataset", "3k2aaaaaaaa2a"), "cid": RECORD_CID},
        "derivedFrom": [
            {"record": {"uri": record_uri("dataset", "3k2aaaaaaaa2b"), "cid": RECORD_CID}, "relation": "subset"},
            {"uri": "https://doi.org/10.24432/C50P49", "relation": "import"},
        ],
        "license": "CC-BY-4.0",
        "tags": ["digits", "手書き"],
        "citation": "@misc{digits}",
        "homepage": "https://example.com/digits",
        "access": {
            "kind": "request",
            "requiredRole": "reader",
            "issuer": DID,
            "requestUrl": "https://example.com/ask",
        },
        "createdAt": "2026-01-07T12:00:00.000Z",
    }
    return _with(value, fields)


def plain(**fields: Any) -> dict[str, Any]:
    """A dataset of three shards that lie at URLs and nowhere else."""
    value = {"mirrors": None, "splits": None, "size": None, "storage": url_storage(THREE)}
    return dataset(**(value | fields))


def schema(**fields: Any) -> dict[str, Any]:
    """A schema with every field."""
    value: dict[str, Any] = {
        "$type": f"{FAMILY}.schema",
        "name": "Digit",
        "version": "1.0.0",
        "description": "One digit.",
        "definition": {
            "$type": f"{FAMILY}.schema#fields",
            "fields": [
                {"name": "image", "kind": "ndarray", "dtype": "|u1", "shape": [8, 8], "description": "0 to 16."},
                {"name": "label", "kind": "integer", "optional": False},
                {"name": "words", "kind": "list", "items": "string", "optional": True},
            ],
        },
        "previousVersion": {"uri": record_uri("schema", "3k2aaaaaaaa2c"), "cid": RECORD_CID},
        "createdAt": "2026-01-07T12:00:00Z",
    }
    return _with(value, fields)


def blob_list(**fields: Any) -> dict[str, Any]:
    """A list of two blobs with every field."""
    value: dict[str, Any] = {
        "$type": f"{FAMILY}.blobList",
        "blobs": [blob(0), blob(1)],
        "dataset": record_uri("dataset"),
        "createdAt": "2026-01-07T12:00:00+01:00",
    }
    return _with(value, fields)


def write_dataset(**fields: Any) -> dict[str, Any]:
    """Write `plain` with these fields."""
    return write_value(read_dataset(plain(**fields)))


def assert_refused(fields: dict[str, Any], path: str, words: str) -> None:
    """Writing `plain` with these fields is an error at this path, in these words."""
    with pytest.raises(InvalidRecordError) as caught:
        write_dataset(**fields)

    assert caught.value.path == path
    assert words in str(caught.value)


def wrong(path: str, words: str, **fields: Any) -> Any:
    """A case: the fields that differ from a valid dataset, the path of the error, words of its message."""
    return pytest.param(fields, path, words, id=f"{path}: {words}")


def _with(value: dict[str, Any], fields: dict[str, Any]) -> dict[str, Any]:
    return {key: item for key, item in (value | fields).items() if item is not None}
