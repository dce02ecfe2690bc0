"""File names out of strangers' URLs, and paths in brace notation."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atdata.loading.names import brace_notation, file_names, plain_name
from atdata.storage.union import Blob, BlobStorage, UrlStorage
from atdata.storage.url import expand, split_joined
from atdata.syntax import raw_cid

URLS = st.lists(
    st.text("ab01.-/_ %\\\n\u202e", min_size=1, max_size=20).map(lambda text: f"https://x.example/{text}")
    | st.sampled_from(["https://x.example/a.tar", "https://x.example/A.tar?b=c.tar", "https://x.example/../c.tar.gz"]),
    min_size=1,
    max_size=40,
)


def names_of(urls: list[str], name: str = "Digits") -> list[str]:
    """The names of shards at URLs."""
    return file_names(UrlStorage(tuple(urls)), urls, name=name)


@given(URLS, st.text())
def test_names_are_plain_and_different(urls: list[str], name: str) -> None:
    """Whatever the URLs and the dataset's name are: no folder, no hidden file, none twice on any file system."""
    names = names_of(urls, name)

    assert len(names) == len(urls)
    assert len({one.lower() for one in names}) == len(names)
    assert all(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*\.(tar|tgz|tar\.gz|tar\.zst|tzst)", one) for one in names)


@pytest.mark.parametrize(
    ("urls", "names"),
    [
        (["https://x/t/train-00.tar", "https://x/t/train-01.tar?v=2"], ["train-00.tar", "train-01.tar"]),
        (["https://x/a.tar", "https://y/a.tar"], ["digits-000000.tar", "digits-000001.tar"]),
        (["https://x/a.tar", "https://x/A.tar"], ["digits-000000.tar", "digits-000001.tar"]),
        (["https://x/get?shard=0", "https://x/b.tgz"], ["digits-000000.tar", "digits-000001.tgz"]),
        (["https://x/%2e%2e%2fa.tar.gz"], ["digits-000000.tar.gz"]),
        ([f"https://x/{'ab'[i % 2]}{i}.tar" for i in range(40)], [f"digits-{i:06d}.tar" for i in range(40)]),
    ],
    ids=["kept", "twice", "case", "no name", "escape", "no order"],
)
def test_clear_names_are_kept(urls: list[str], names: list[str]) -> None:
    """Those of the URLs where they are clear, else counted ones; the compression stays to be seen."""
    assert names_of(urls) == names


def test_blobs_get_counted_names() -> None:
    """Their MIME type says how they are compressed."""
    blobs = tuple(Blob(raw_cid(bytes(32)), kind, 1) for kind in ("application/x-tar", "application/gzip"))

    names = file_names(BlobStorage(blobs), [str(blob.cid) for blob in blobs], name="A b")
    assert names == ["a-b-000000.tar", "a-b-000001.tar.gz"]


PATHS = st.lists(
    st.text("ab019{}\\,./-", min_size=1, max_size=12) | st.integers(0, 300).map(lambda i: f"x/t-{i:03d}.tar"),
    min_size=1,
    max_size=30,
)


@given(PATHS)
def test_brace_notation_names_the_paths(paths: list[str]) -> None:
    """Expanded again it gives the same paths in the same order."""
    assert [path for part in split_joined(brace_notation(paths)) for path in expand(part)] == paths


def test_brace_notation_is_short() -> None:
    """A run of any length is one pattern."""
    assert brace_notation([f"a{{}}/t-{i:06d}.tar" for i in range(100_000)]) == r"a\{\}/t-{000000..099999}.tar"


def test_names_of_nothing() -> None:
    """A dataset may be named in any script."""
    assert plain_name("数字") == "shard"
    assert plain_name("-Größe-") == "gr-e"
