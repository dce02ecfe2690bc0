"""``s3://`` and ``gs://`` URLs as https: whatever they say, the host stays the one of the service."""

from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atdata.errors import AtdataError, InvalidSyntaxError, RefusedError
from atdata.net.exchange import parse_target
from atdata.storage.object_url import ObjectUrl, gs_address, parse_endpoint, parse_object_url, s3_address
from atdata.storage.places import record_place
from atdata.storage.union import UrlStorage

HOSTILE = [
    "127.0.0.1:8080/x?", "127.0.0.1#", "a@127.0.0.1", "evil.com/", "evil.com?", "evil.com#", "evil.com\\", "[::1]",
    "a..b", "..", ".", "a/../b", "%2f", "a%2fb", "a\nb", "a\r\nHost: x", "a b", "", "-a-", "ä.com", "a" * 300, "a:b",
    "evil.com/x?y=", "{a", "*", "$(id)", "`id`", "a\tb", "a\x00b", "//evil.com", "https://evil.com",
]  # fmt: skip
texts = st.sampled_from(HOSTILE) | st.text(max_size=40) | st.text("abc.-/:@?#%[]\\09{}", max_size=12)


@pytest.mark.parametrize(
    ("url", "endpoint", "region", "expected"),
    [
        ("s3://bucket/a.tar", None, None, "https://bucket.s3.amazonaws.com/a.tar"),
        ("s3://bucket/a.tar", None, "eu-central-1", "https://bucket.s3.eu-central-1.amazonaws.com/a.tar"),
        ("s3://bucket/a.tar", None, "us-gov-west-1", "https://bucket.s3.us-gov-west-1.amazonaws.com/a.tar"),
        ("s3://bucket/a.tar", None, "cn-north-1", "https://bucket.s3.cn-north-1.amazonaws.com.cn/a.tar"),
        ("s3://dotted.bucket/a.tar", None, "eu-west-1", "https://s3.eu-west-1.amazonaws.com/dotted.bucket/a.tar"),
        ("s3://Old_Bucket/a.tar", None, None, "https://s3.amazonaws.com/Old_Bucket/a.tar"),
        ("s3://bucket/a.tar", "https://0f.r2.cloudflarestorage.com", "auto", None),
        ("s3://bucket/a.tar", "https://minio.example.com:9000/", None, "https://minio.example.com:9000/bucket/a.tar"),
        ("s3://bucket/a.tar", "https://x.example.com/storage/v1/s3", None, "https://x.example.com/storage/v1/s3/bucket/a.tar"),
        ("S3://bucket/a b/é+%25%3F&=.tar", None, None, "https://bucket.s3.amazonaws.com/a%20b/%C3%A9%2B%25%3F%26%3D.tar"),
        ("s3://bucket/a//b.tar", None, None, "https://bucket.s3.amazonaws.com/a//b.tar"),
    ],
)  # fmt: skip
def test_addresses_of_services(url: str, endpoint: str | None, region: str | None, expected: str | None) -> None:
    """AWS by host or path, R2, MinIO; keys encoded as S3 signs them."""
    expected = expected or "https://0f.r2.cloudflarestorage.com/bucket/a.tar"

    assert s3_address(parse_object_url(url), endpoint=endpoint, region=region) == expected


def test_addresses_of_google() -> None:
    """Always in the path."""
    url = gs_address(parse_object_url("gs://a_bucket.example.com/x y.tar"))

    assert url == "https://storage.googleapis.com/a_bucket.example.com/x%20y.tar"


@given(bucket=texts, key=texts, region=st.none() | texts)
def test_nothing_leads_away_from_aws(bucket: str, key: str, region: str | None) -> None:
    """Bucket, key and region are refused, or the host is one of Amazon's, over https, and the key is in the path."""
    try:
        location = parse_object_url(f"s3://{bucket}/{key}")
        url = s3_address(location, region=region)
    except AtdataError:
        return
    target = parse_target(url)

    assert (target.scheme, target.port) == ("https", 443)
    assert target.host.endswith((".amazonaws.com", ".amazonaws.com.cn", ".amazonaws.eu")) or target.host == (
        "s3.amazonaws.com"
    )
    assert target.host == urlsplit(url).hostname
    assert "?" not in target.path
    assert unquote(target.path).endswith("/" + location.key)


@given(endpoint=texts.map("https://{}".format) | texts, bucket=texts, key=texts)
def test_nothing_leads_away_from_the_endpoint(endpoint: str, bucket: str, key: str) -> None:
    """Refused, or the host of the https URL is the endpoint's, as two parsers see it, and bucket and key its path."""
    try:
        location = parse_object_url(f"s3://{bucket}/{key}")
        base = parse_target(parse_endpoint(endpoint))
        target = parse_target(s3_address(location, endpoint=endpoint))
    except AtdataError:
        return

    assert target.origin == base.origin
    assert target.host == urlsplit(endpoint).hostname
    assert unquote(target.path).endswith(f"/{location.bucket}/{location.key}")


@given(bucket=texts, key=texts)
def test_nothing_leads_away_from_google(bucket: str, key: str) -> None:
    """As for S3."""
    try:
        target = parse_target(gs_address(parse_object_url(f"gs://{bucket}/{key}")))
    except AtdataError:
        return

    assert target.origin == ("https", "storage.googleapis.com", 443)


@given(st.text(st.characters(min_codepoint=32, exclude_characters="\x7f", exclude_categories=["Cs"]), min_size=1))
def test_keys_come_back(key: str) -> None:
    """What a URL encodes is the key, whatever stands in it."""
    location = ObjectUrl("s3", "bucket", key)
    if key.endswith("/") or not {".", ".."}.isdisjoint(key.split("/")) or len(key.encode()) > 1024:
        return

    assert parse_object_url(f"s3://bucket/{location.quoted_key}") == location


@pytest.mark.parametrize("bucket", HOSTILE)
def test_hostile_buckets_are_refused(bucket: str) -> None:
    """Before anything is opened or resolved: typed and in a record alike."""
    for scheme in ("s3", "gs"):
        with pytest.raises((InvalidSyntaxError, RefusedError)):
            parse_object_url(f"{scheme}://{bucket}/../../a.tar")


@pytest.mark.parametrize("endpoint", [*HOSTILE, "https://", "ftp://evil.com", "https://a@b.com", "https://a.com/?x",
    "https://a.com/../b", "https://a.com#x", "https://a b.com", "https://a.com\n", "https://a.com:x", "//a.com", "https://-a.com",
    "https://a..com", "https:\\\\a.com", "https://user:pw@a.com"])  # fmt: skip
def test_hostile_endpoints_are_refused(endpoint: str) -> None:
    """When the record is opened: no store is made."""
    if endpoint == "https://evil.com":  # an endpoint as good as any other
        return
    with pytest.raises((InvalidSyntaxError, RefusedError)):
        record_place(UrlStorage(("s3://bucket/a.tar",), endpoint=endpoint), own=False)


@pytest.mark.parametrize(
    "region", [*HOSTILE, "us-east-1.evil.com", "us-east-1/", "us-east-1@x", "US-EAST-1", "us-east-1\n"]
)
def test_hostile_regions_are_refused(region: str) -> None:
    """When the record is opened: no store is made."""
    with pytest.raises(InvalidSyntaxError):
        record_place(UrlStorage(("s3://bucket/a.tar",), region=region), own=False)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("s3://bucket", "not an object"),
        ("s3://bucket/folder/", "not an object"),
        ("s3://bucket/a.tar?versionId=1", "%3F"),
        ("s3://bucket/100%.tar", "%25"),
        ("s3://bucket/%ff.tar", "UTF-8"),
        ("s3://bucket/a%0ab.tar", "control"),
        ("s3://bucket/a/%2e%2e/b.tar", "lead out"),
        ("s3://bucket/" + "a" * 1025, "1024"),
    ],
)
def test_errors_say_what_to_write(url: str, words: str) -> None:
    """A key that cannot be is explained."""
    with pytest.raises(InvalidSyntaxError, match=words):
        parse_object_url(url)


def test_secrets_in_urls_are_not_repeated() -> None:
    """Neither of a URL nor of an endpoint."""
    for attempt in (
        lambda: parse_object_url("s3://key:planted@bucket/a.tar"),
        lambda: parse_endpoint("https://key:planted@example.com"),
    ):
        with pytest.raises(RefusedError) as caught:
            attempt()
        assert "planted" not in str(caught.value)
