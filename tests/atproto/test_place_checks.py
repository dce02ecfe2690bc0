"""What is checked of the places in a record that is written."""

from typing import Any

import pytest
from tests.atproto import examples
from tests.atproto.examples import MANIFEST_PART, THREE, assert_refused, plain, write_dataset, wrong

from atdata.atproto.place_checks import BLOBS_PER_LIST, count_shards
from atdata.errors import LimitError, RefusedError

PART = examples.record_uri("dataset", "3k2aaaaaaaa2a")


def more(count: int, **fields: Any) -> list[dict[str, Any]]:
    return [
        {"uri": examples.record_uri("blobList", f"list{i}"), "cid": examples.RECORD_CID} | fields for i in range(count)
    ]


@pytest.mark.parametrize(
    ("fields", "path", "words"),
    [
        wrong("storage", "names 2 places", storage=examples.url_storage("https://example.com/{0,1}.tar")),
        wrong("storage", "names 4 places", storage=examples.url_storage(THREE, "https://example.com/3.tar")),
        wrong("storage", "4 or more", storage=examples.url_storage(THREE, PART)),
        wrong("storage", "names 2 places", storage=examples.blob_storage(2)),
        wrong("storage", "4 to 259", storage=examples.blob_storage(3, more=more(1))),
        wrong("mirrors[0].storage", "names 1 places", mirrors=[{"storage": examples.url_storage("https://e.com/0.tar")}]),
        wrong("storage", "5 shards", shards=None, manifest=[MANIFEST_PART | {"shards": 5}]),
        wrong("shards", "always written", storage=examples.blob_storage(3), shards=None),
        wrong("storage.blobs[1]", "another blob", storage=examples.blob_storage(3) | {
            "blobs": [examples.blob(0), examples.blob(9), examples.blob(2)]}),
        wrong("storage.blobs[0]", "another blob", storage=examples.blob_storage(3) | {
            "blobs": [examples.blob(0, size=1), examples.blob(1), examples.blob(2)]}),
        wrong("storage.more[0].uri", "blobList", storage=examples.blob_storage(2, more=more(1, uri=PART))),
        wrong("storage.urls[0]", "no valid host", storage=examples.url_storage("https:///{0..2}.tar")),
        wrong("storage.urls[1]", "short form", storage=examples.url_storage(
            "https://example.com/{0,1}.tar", f"at://{examples.DID}/dataset/3k2a")),
        wrong("storage.urls[0]", "by its DID", storage=examples.url_storage(
            "at://alice.example.com/app.bsky.atdata.dataset/3k2a")),
        wrong("storage.urls[0]", "by its DID", storage=examples.url_storage(examples.record_uri("schema"))),
        wrong("storage.urls[0]", "/storage/blobs/", storage=examples.url_storage(f"{PART}#/name")),
        wrong("storage.endpoint", "http or https", storage=examples.url_storage(THREE, endpoint="ftp://example.com")),
        wrong("manifest[0].url", "without brace", shards=None, manifest=[
            MANIFEST_PART | {"url": "https://example.com/{0,1}.gz"}]),
        wrong("homepage", "http or https", homepage="javascript:alert(1)"),
        wrong("access.requestUrl", "http or https", access={"kind": "request", "requestUrl": "mailto:a@example.com"}),
    ],
)  # fmt: skip
def test_places_that_do_not_fit_are_refused(fields: dict[str, Any], path: str, words: str) -> None:
    """As many places as shards, the blobs that the shards are, URLs that a record may hold."""
    assert_refused(fields, path, words)


@pytest.mark.parametrize(
    "fields",
    [
        {"storage": examples.blob_storage(3)},
        {"storage": examples.blob_storage(2, more=more(1))},
        {"storage": examples.url_storage("ipfs://QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWKPbdG/{0..2}.tar")},
        {"storage": examples.url_storage("file:///data/{0..2}.tar")},
        {"storage": examples.url_storage(PART)},
        {"storage": examples.url_storage("gs://b/{0,1}.tar", f"{PART}#/storage/blobs/3")},
        {"mirrors": [{"storage": {"$type": "com.example.torrent"}}, {"storage": examples.url_storage(THREE)}]},
    ],
)
def test_places_that_fit_pass(fields: dict[str, Any]) -> None:
    """Each kind of place, also where the number of its shards cannot be told."""
    assert write_dataset(**fields) == plain(**fields)


@pytest.mark.parametrize(
    ("url", "rule"),
    [
        ("pipe:cat /etc/passwd", "pipe-url"),
        ("-", "standard-input"),
        ("data/{0..2}.tar", "bare-path"),
        ("/data/{0..2}.tar", "bare-path"),
        ("https://a.example/0.tar::https://a.example/1.tar", "joined-url"),
        ("ftp://example.com/{0..2}.tar", "url-scheme"),
        ("https://example.com/`id`.tar", "url-characters"),
        ("https://me:secret@example.com/{0..2}.tar", "url-userinfo"),
    ],
)
@pytest.mark.parametrize("where", ["storage", "mirrors", "manifest"])
def test_urls_that_a_rule_forbids_are_refused_everywhere(url: str, rule: str, where: str) -> None:
    """In storage, in mirrors and in manifests."""
    storage = examples.url_storage(url)
    choices: dict[str, dict[str, Any]] = {
        "storage": {"storage": storage},
        "mirrors": {"mirrors": [{"storage": storage}]},
        "manifest": {"shards": None, "manifest": [MANIFEST_PART | {"url": url}]},
    }

    with pytest.raises(RefusedError) as caught:
        write_dataset(**choices[where])

    assert caught.value.rule == rule
    assert "secret@" not in str(caught.value)


@pytest.mark.parametrize("count", [200_000, 99_999_999_999])
def test_urls_are_counted_and_not_expanded(count: int) -> None:
    """More shards than any reader takes are refused at once."""
    with pytest.raises(LimitError):
        write_dataset(shards=None, storage=examples.url_storage(f"https://example.com/{{0..{count}}}.tar"))


@pytest.mark.parametrize(
    "fields",
    [
        {"homepage": "https://example.com/?token=abc"},
        {"derivedFrom": [{"uri": "https://example.com/?sig=abc"}]},
        {"access": {"kind": "request", "requestUrl": "https://example.com/?token=abc"}},
        {"storage": examples.url_storage(THREE, endpoint="https://me:pw@example.com")},
    ],
)
def test_secrets_are_refused_wherever_a_url_stands(fields: dict[str, Any]) -> None:
    """Records are public."""
    with pytest.raises(RefusedError, match="secret-url"):
        write_dataset(**fields)


def test_shards_are_counted_by_the_best_that_is_known() -> None:
    """By shards, else by the manifest, else by the storage; None where that does not say."""
    assert count_shards(plain()) == 3
    assert count_shards(plain(shards=None, manifest=[MANIFEST_PART, MANIFEST_PART])) == 6
    assert count_shards(plain(shards=None)) == 3
    assert count_shards(plain(shards=None, storage=examples.url_storage(PART))) is None
    assert count_shards(plain(shards=None, storage=examples.blob_storage(1, more=more(2)))) is None
    assert count_shards(plain(shards=None, storage={"$type": "com.example.torrent"})) is None
    assert BLOBS_PER_LIST == 256
