"""Which URLs are allowed where, and paths as URLs."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atdata.errors import InvalidSyntaxError, RefusedError
from atdata.storage.url import check_url, expand, file_path, file_url, scheme_of, split_joined

ALLOWED = [
    "s3://bucket/data-{000000..000009}.tar",
    "gs://bucket/a.tar",
    "https://example.com/a%20b.tar?page=1",
    "http://example.com:8080/a.tar",
    "https://xn--bcher-kva.example/a.tar",
    "https://{a,b}.example.com/x.tar",
    "https://example.com/bücher/ä.tar",
    "ipfs://bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi/a.tar",
    "at://did:plc:ewvi7nxzyoun6zhxrhs64oiz/app.bsky.atdata.dataset/3k2a",
    "https://[2001:db8::1]/a.tar",
]

REFUSED = {
    "pipe:curl https://example.com | tar x": "pipe-url",
    "PIPE:touch /tmp/x": "pipe-url",
    "-": "standard-input",
    " - ": "standard-input",
    "": "standard-input",
    "/etc/passwd": "bare-path",
    "etc/passwd": "bare-path",
    "../../etc/passwd": "bare-path",
    "~/.ssh/id_rsa": "bare-path",
    "C:\\Windows\\a.tar": "bare-path",
    "{https,file}:///etc/passwd": "bare-path",
    "h{ttp,ttps}://example.com/a.tar": "bare-path",
    " https://example.com/a.tar": "bare-path",
    "file:///etc/passwd": "file-url",
    "FILE:///etc/passwd": "file-url",
    "file:/etc/passwd": "file-url",
    "file:etc/passwd": "file-url",
    "file://localhost/etc/{passwd,shadow}": "file-url",
    "ftp://example.com/a.tar": "url-scheme",
    "data://text/plain,x": "url-scheme",
    "javascript://%0aalert(1)": "url-scheme",
    "hf://datasets/x": "url-scheme",
    "https://example.com/a.tar::https://example.com/b.tar": "joined-url",
    "https://example.com/a.tar::pipe:id": "joined-url",
    "https://example.com/`id`.tar": "url-characters",
    "https://example.com/$(id).tar": "url-characters",
    "https://example.com/a.tar|sh": "url-characters",
    "https://example.com/a.tar > /tmp/x": "url-characters",
    "https://example.com/a\n.tar": "url-characters",
    "https://example.com/a\x00.tar": "url-characters",
    "https://example.com\\@evil.example/a.tar": "url-characters",
    "https://example.com/a\u202egnp.tar": "url-characters",
    "https://user:pw@example.com/a.tar": "url-userinfo",
    "https://example.com@evil.example/a.tar": "url-userinfo",
    "s3://key:secret@bucket/a.tar": "url-userinfo",
}

MALFORMED = [
    "https:///a.tar",
    "https://",
    "s3://",
    "https://exam ple.com".replace(" ", "%20"),
    "https://bücher.example/a.tar",
    "https://ⓔxample.com/a.tar",
    "https://example.com:port/a.tar",
    "https://[2001/a.tar",
]


@pytest.mark.parametrize("url", ALLOWED)
def test_allowed_in_records(url: str) -> None:
    """The seven schemes, brace notation, other scripts in paths."""
    check_url(url, own=False)
    check_url(url, own=True, allow_secrets=False)


@pytest.mark.parametrize(("url", "rule"), REFUSED.items())
def test_refused_in_records_by_name_of_the_rule(url: str, rule: str) -> None:
    """Each refusal names its rule."""
    with pytest.raises(RefusedError) as caught:
        check_url(url, own=False)

    assert caught.value.rule == rule
    assert f"[rule: {rule}]" in str(caught.value)


@pytest.mark.parametrize("url", MALFORMED)
def test_without_a_host_it_is_no_url(url: str) -> None:
    """Hosts are ASCII: look-alikes have to be written as what they are (xn--)."""
    with pytest.raises(InvalidSyntaxError):
        check_url(url, own=False)


def test_own_records_may_name_files() -> None:
    """`file:` is for the machine on which it was written."""
    check_url("file:///data/a{0..9}.tar", own=True)
    with pytest.raises(RefusedError):
        check_url("/data/a.tar", own=True)


@pytest.mark.parametrize("own", [False, True])
def test_secrets_are_refused_for_publishing(own: bool) -> None:
    """A record is public."""
    url = "https://example.com/a.tar?X-Amz-Signature=hunter2"
    check_url(url, own=own)

    with pytest.raises(RefusedError) as caught:
        check_url(url, own=own, allow_secrets=False)
    assert caught.value.rule == "secret-url"
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("joined", "parts"),
    [
        ("a.tar", ["a.tar"]),
        ("a.tar::b.tar::c.tar", ["a.tar", "b.tar", "c.tar"]),
        ("http://[::1]:80/a.tar::b", ["http://[::1]:80/a.tar", "b"]),
        ("http://[2001:db8::1]/a::http://[::]/b", ["http://[2001:db8::1]/a", "http://[::]/b"]),
        ("a:::b", ["a", ":b"]),
    ],
)
def test_joined_urls_are_split(joined: str, parts: list[str]) -> None:
    """``::`` joins, as existing use has it; inside of an IPv6 address it does not."""
    assert split_joined(joined) == parts


@pytest.mark.parametrize("joined", ["::", "a::", "::a", "a::::b", ""])
def test_empty_parts_are_errors(joined: str) -> None:
    """Nothing is not a shard."""
    with pytest.raises(InvalidSyntaxError):
        split_joined(joined)


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("file:///data/a.tar", "/data/a.tar"),
        ("file://localhost/data/a.tar", "/data/a.tar"),
        ("FILE://LOCALHOST/data/a.tar", "/data/a.tar"),
        ("file:/data/a.tar", "/data/a.tar"),
        ("file:data/a.tar", "data/a.tar"),
        ("file:///a%20b%2Fc.tar", "/a b/c.tar"),
        ("data/a%20b.tar", "data/a%20b.tar"),
        ("./pipe:x", "pipe:x"),
        ("odd:name.tar", "odd:name.tar"),
    ],
)
def test_file_paths(url: str, path: str) -> None:
    """Escapes are decoded in URLs, and only there."""
    assert file_path(url) == Path(path)


@pytest.mark.parametrize("url", ["https://example.com/a", "s3://bucket/a", "ipfs://x", "at://a.b/c"])
def test_other_schemes_are_no_paths(url: str) -> None:
    """None, not a file of that name."""
    assert file_path(url) is None


@pytest.mark.parametrize(
    "url", ["file://server/share/a.tar", "file:///a.tar?x", "file:///a#b", "file:", "file:///%00", "a\0b"]
)
def test_files_of_other_hosts_and_odd_urls_are_refused(url: str) -> None:
    """What would be misread is an error."""
    with pytest.raises(InvalidSyntaxError):
        file_path(url)


@pytest.mark.parametrize(("url", "rule"), [("pipe:id", "pipe-url"), ("Pipe:id", "pipe-url"), ("-", "standard-input")])
def test_commands_and_standard_input_are_no_files(url: str, rule: str) -> None:
    """Refused here as well, for this is where typed paths pass."""
    with pytest.raises(RefusedError, match=rule):
        file_path(url)


@given(st.text(st.characters(exclude_characters="\0/", exclude_categories=["Cs"]), min_size=1, max_size=30))
def test_file_urls_come_back(name: str) -> None:
    """Whatever a file is called, its URL stands for it and no other, also after expansion."""
    path = Path("/data") / name
    if name in (".", ".."):
        return
    url = file_url(path)

    assert expand(url) == [url]
    assert file_path(url) == path
    check_url(url, own=True)


def test_file_urls_of_brace_notation_keep_it() -> None:
    """Everything else is encoded."""
    url = file_url("/my data/{a,b}-{0..1}.tar", braces=True)

    assert url == "file:///my%20data/{a,b}-{0..1}.tar"
    assert [str(file_path(one)) for one in expand(url)] == expand("/my data/{a,b}-{0..1}.tar")


def test_file_urls_are_absolute() -> None:
    """A record is read from elsewhere."""
    assert file_url("a.tar") == f"file://{os.getcwd()}/a.tar"  # noqa: PTH109


def test_schemes_are_found_in_any_case() -> None:
    """And a bare path has none."""
    assert [scheme_of(url) for url in ("S3://b/k", "file:x", "PIPE:x", "x", "a:b")] == [
        "s3",
        "file",
        "pipe",
        None,
        None,
    ]
