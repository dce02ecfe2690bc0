"""The three shapes of early planning documents."""

import copy
from typing import Any

import pytest
from tests.atproto import examples

from atdata.atproto.normalize import normalize
from atdata.atproto.records import read_dataset, write_value
from atdata.errors import InvalidRecordError

BLOBS = [examples.blob(0), examples.blob(1)]
URLS = ["s3://bucket/{0..1}.tar"]
EARLY: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"storage": {"kind": "external", "urls": URLS}}, examples.url_storage(*URLS)),
    ({"storage": {"kind": "external", "urls": URLS, "note": "kept"}}, examples.url_storage(*URLS, note="kept")),
    ({"storage": {"kind": "blobs", "blobs": BLOBS}}, examples.blob_storage(2)),
    ({"urls": URLS}, examples.url_storage(*URLS)),
    ({"blobs": BLOBS}, examples.blob_storage(2)),
]
UNTOUCHED: list[dict[str, Any]] = [
    {"storage": examples.url_storage(*URLS)},
    {"storage": examples.url_storage(*URLS), "urls": ["an unknown field by now"]},
    {"storage": {"$type": "com.example.torrent", "kind": "external", "urls": URLS}},
    {"storage": {"kind": "hybrid", "urls": URLS}},
    {"storage": {"kind": "external", "blobs": BLOBS}},
    {"storage": {"kind": ["external"], "urls": URLS}},
    {"storage": None, "urls": URLS},
    {"storage": "s3://bucket"},
    {"urls": URLS, "blobs": BLOBS},
    {"urls": "s3://bucket/0.tar"},
    {},
]


def early(fields: dict[str, Any]) -> dict[str, Any]:
    value = {"$type": "app.bsky.atdata.dataset", "name": "Digits", "createdAt": "2025-11-22T00:00:00Z", "new": [1]}
    return value | fields


@pytest.mark.parametrize(("fields", "storage"), EARLY)
def test_early_shapes_become_the_union(fields: dict[str, Any], storage: dict[str, Any]) -> None:
    """Each gives the record that would be written today, with its other fields; what was given is not changed."""
    value = early(fields)
    before = copy.deepcopy(value)

    normalized = normalize(value)

    assert normalized == early({"storage": storage})
    assert value == before
    assert normalize(normalized) == normalized


@pytest.mark.parametrize("fields", UNTOUCHED)
def test_nothing_else_is_repaired(fields: dict[str, Any]) -> None:
    """What is already a union, or no early shape, stays as it is, for the lexicon to judge."""
    assert normalize(early(fields)) == early(fields)


@pytest.mark.parametrize(("fields", "storage"), EARLY)
def test_early_shapes_are_read_and_never_written(fields: dict[str, Any], storage: dict[str, Any]) -> None:
    """A record that was read from an early shape is written with the union."""
    record = read_dataset(early(fields))

    assert record.to_json()["storage"] == storage
    assert record.to_json().keys() >= {"new", "storage"}
    assert not record.to_json().keys() & {"urls", "blobs"}


def test_blobs_without_a_type_are_not_repaired() -> None:
    """A PDS has dropped the bytes of such a blob: the record is refused, and the message says why."""
    blob = {"cid": examples.cid(0), "mimeType": "application/x-tar"}

    with pytest.raises(InvalidRecordError, match=r"storage\.blobs\[0\]: .*PDS drops"):
        read_dataset(early({"blobs": [blob]}))


def test_the_family_of_the_environment_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Under another family the union is that of the other family."""
    monkeypatch.setenv("ATDATA_NSID", "com.example.data")
    value = early({"urls": ["https://example.com/0.tar"]}) | {"$type": "com.example.data.dataset"}

    record = read_dataset(value)

    assert write_value(record)["storage"]["$type"] == "com.example.data.dataset#urlStorage"
