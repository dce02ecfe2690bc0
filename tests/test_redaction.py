"""Secrets in URLs are found and not shown."""

import pytest

from atdata.redaction import carries_secret, redacted, shown

SECRET = "hunter2"

CARRYING = {
    f"https://user:{SECRET}@example.com/a.tar": "userinfo",
    f"s3://{SECRET}@bucket/a.tar": "userinfo",
    f"https://example.com/a.tar?X-Amz-Date=1&X-Amz-Signature={SECRET}": "X-Amz-Signature",
    f"https://example.com/a.tar?X-Goog-Signature={SECRET}&b=1": "X-Goog-Signature",
    f"https://example.blob/a.tar?sv=1&sig={SECRET}": "sig",
    f"https://example.com/a.tar?token={SECRET}": "token",
    f"https://example.com/a.tar?TOKEN={SECRET}#part": "TOKEN",
    f"https://example.com/a.tar?my_access_token={SECRET}": "my_access_token",
    f"https://example.com/a.tar?a=1;api_key={SECRET}": "api_key",
    f"https://example.com/a.tar?t%6Fken={SECRET}": "t%6Fken",
}


@pytest.mark.parametrize(("url", "part"), CARRYING.items())
def test_secrets_are_found_named_and_hidden(url: str, part: str) -> None:
    """The name of the part is said; its value is in no message."""
    assert carries_secret(url) == part
    assert SECRET not in redacted(url)
    assert SECRET not in shown(url)


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com/user@host/a.tar?page=2&size=10#token=1",
        "s3://bucket/{000..009}.tar",
        "at://did:plc:abc/app.bsky.atdata.dataset/3k2a",
        "https://example.com/a.tar?token=",
        "/home/me@work/a.tar",
    ],
)
def test_harmless_urls_are_shown_as_they_are(url: str) -> None:
    """Nothing is found where nothing is."""
    assert carries_secret(url) is None
    assert redacted(url) == url or url.endswith("token=")


def test_long_urls_are_cut_in_messages() -> None:
    """A URL of a million characters makes no message of a million."""
    assert len(shown("https://example.com/" + "a" * 1_000_000)) < 300
