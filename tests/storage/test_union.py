"""The storage union: known variants typed, unknown ones and unknown fields kept."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atdata.errors import InvalidRecordError
from atdata.storage.union import Blob, BlobStorage, UnknownStorage, UrlStorage, parse_storage
from atdata.testing import cids

FAMILY = "app.bsky.atdata"
CID = "bafkreifzjut3te7nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e"
BLOB = {"$type": "blob", "ref": {"$link": CID}, "mimeType": "application/x-tar", "size": 10}
URL = {"$type": f"{FAMILY}.dataset#urlStorage", "urls": ["s3://b/{0..9}.tar"]}
json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
unknown_fields = st.dictionaries(
    st.text(min_size=1, max_size=5).filter(lambda key: key[0] not in "$ubmer"), json, max_size=4
)


@given(st.lists(st.text(max_size=20), max_size=4), st.none() | st.text(max_size=9), unknown_fields)
def test_url_storage_comes_back(urls: list[str], endpoint: str | None, extra: dict[str, Any]) -> None:
    """Known fields typed, unknown ones untouched and in order."""
    value = {
        "$type": f"{FAMILY}.dataset#urlStorage",
        "urls": urls,
        **({"endpoint": endpoint} if endpoint else {}),
        **extra,
    }
    storage = parse_storage(value)

    assert isinstance(storage, UrlStorage)
    assert storage.urls == tuple(urls)
    assert storage.to_json() == value
    assert list(storage.to_json()) == list(value)


@given(st.lists(cids(), max_size=3), unknown_fields)
def test_blob_storage_comes_back(found: list[Any], extra: dict[str, Any]) -> None:
    """Blobs are whole blob objects, ``more`` stays as it is."""
    blobs = tuple(Blob(cid, "application/x-tar", i) for i, cid in enumerate(found))
    more = ({"uri": "at://did:web:a.example/app.bsky.atdata.blobList/1", "cid": CID, "new": 1},)
    value = BlobStorage(blobs, more, extra).to_json()

    assert parse_storage(value) == BlobStorage(blobs, more, extra)
    assert parse_storage(value).to_json() == value
    assert all(blob["$type"] == "blob" for blob in value["blobs"])


@given(st.text(min_size=1).filter(lambda kind: not kind.startswith(FAMILY)), unknown_fields)
def test_unknown_variants_are_kept(kind: str, fields: dict[str, Any]) -> None:
    """Whatever another release or project writes comes back as it was."""
    storage = parse_storage({"$type": kind, **fields})

    assert storage == UnknownStorage(kind, {"$type": kind, **fields})
    assert storage.to_json() == {"$type": kind, **fields}


def test_only_the_own_family_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Under another family, ours is foreign, and what is written is of that one."""
    monkeypatch.setenv("ATDATA_NSID", "com.example.data")

    assert isinstance(parse_storage(URL), UnknownStorage)
    assert UrlStorage(("a",)).to_json()["$type"] == "com.example.data.dataset#urlStorage"
    assert isinstance(parse_storage(UrlStorage(("a",)).to_json()), UrlStorage)


@pytest.mark.parametrize(
    ("value", "path"),
    [
        (None, "storage"),
        ([], "storage"),
        ({"urls": []}, "storage"),
        ({"$type": 1}, "storage"),
        ({**URL, "urls": "s3://b/a.tar"}, "storage.urls"),
        ({**URL, "urls": ["s3://b/a.tar", 5]}, "storage.urls[1]"),
        ({**URL, "region": 5}, "storage.region"),
        ({"$type": f"{FAMILY}.dataset#blobStorage"}, "storage.blobs"),
        (
            {"$type": f"{FAMILY}.dataset#blobStorage", "blobs": [BLOB, {"cid": CID, "mimeType": "x"}]},
            "storage.blobs[1]",
        ),
        ({"$type": f"{FAMILY}.dataset#blobStorage", "blobs": [{**BLOB, "size": -1}]}, "storage.blobs[0].size"),
        ({"$type": f"{FAMILY}.dataset#blobStorage", "blobs": [{**BLOB, "size": True}]}, "storage.blobs[0].size"),
        ({"$type": f"{FAMILY}.dataset#blobStorage", "blobs": [{**BLOB, "ref": CID}]}, "storage.blobs[0].ref"),
        (
            {"$type": f"{FAMILY}.dataset#blobStorage", "blobs": [{**BLOB, "ref": {"$link": "x"}}]},
            "storage.blobs[0].ref",
        ),
        ({"$type": f"{FAMILY}.dataset#blobStorage", "blobs": [BLOB], "more": [5]}, "storage.more[0]"),
    ],
)
def test_errors_say_where(value: Any, path: str) -> None:
    """The path of what is wrong stands in the error."""
    with pytest.raises(InvalidRecordError) as caught:
        parse_storage(value)

    assert caught.value.path == path
