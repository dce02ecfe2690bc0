"""From storage to store: what may be opened, and what a stranger's record never reaches."""

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest
from tests.storage.faults import Answer, serving

from atdata.errors import (
    AtdataError,
    InvalidRecordError,
    InvalidSyntaxError,
    LimitError,
    NotFoundError,
    RefusedError,
    UnsupportedStorageError,
)
from atdata.net import Policy, Transport
from atdata.storage.base import read_all
from atdata.storage.places import UrlStore, record_place, typed_place
from atdata.storage.union import Blob, BlobStorage, UnknownStorage, UrlStorage
from atdata.storage.url import MAX_SHARDS, file_url
from atdata.syntax import Did, parse_did, raw_cid

DID = parse_did("did:web:pds.example")


@pytest.fixture
def planted(tmp_path: Path) -> Path:
    """A file that nobody else may read, with which nothing may be made beside it."""
    (tmp_path / "secret.tar").write_bytes(b"secret")
    return tmp_path


def test_typed_paths_are_read(planted: Path) -> None:
    """Bare paths, ``file:`` URLs, brace notation and ``::``, in order."""
    for name in ("a0", "a1", "b"):
        (planted / f"{name}.tar").write_text(name)
    store, paths = typed_place(f"{planted}/a{{0..1}}.tar::{file_url(planted / 'b.tar')}")

    assert [read_all(store, path, limit=10) for path in paths] == [b"a0", b"a1", b"b"]


def test_typed_hosts_may_be_private(monkeypatch: pytest.MonkeyPatch) -> None:
    """Existing use reads from the local network; what the caller names is the caller's choice."""
    monkeypatch.delenv("ATDATA_ALLOW_PRIVATE", raising=False)
    with serving({"/0.tar": [Answer(body=b"zero")], "/1.tar": [Answer(body=b"one")]}) as server:
        store, paths = typed_place(server.url("/{0..1}.tar", host="localhost"))

        assert [read_all(store, path, limit=10) for path in paths] == [b"zero", b"one"]


def test_typed_hosts_do_not_open_others() -> None:
    """A redirect from a typed host to another private one is refused."""
    with serving({"/a.tar": [Answer(body=b"inner")]}) as inner:
        routes = {"/a.tar": [Answer(302, headers={"Location": inner.url("/a.tar")})]}
        with serving(routes) as server:
            store, paths = typed_place(server.url("/a.tar"))
            with pytest.raises(RefusedError, match="private-address"):
                store.open(paths[0])
        assert inner.asked == []


@pytest.mark.parametrize(
    "url",
    ["pipe:touch {}/made", "PIPE:touch {}/made", "a.tar::pipe:touch {}/made", "pipe:cat {}/secret.tar | tee {}/made"],
)
def test_pipes_never_run(planted: Path, url: str) -> None:
    """Typed or in a record, alone or joined: nothing is made, nothing is started."""
    url = url.replace("{}", str(planted))
    with pytest.raises(RefusedError, match="pipe-url"):
        typed_place(url)
    for own in (True, False):
        with pytest.raises(RefusedError):
            record_place(UrlStorage((url,)), own=own)
    for path in (url, f"x{url}"):
        with pytest.raises(AtdataError):
            UrlStore(own=True).open(path)

    assert sorted(file.name for file in planted.iterdir()) == ["secret.tar"]


def test_standard_input_is_not_read() -> None:
    """A process whose input has bytes leaves them there."""
    code = """if True:
        import sys
        from atdata.storage.places import typed_place
        try:
            typed_place("-")
        except PermissionError:
            print(sys.stdin.read())
    """
    done = subprocess.run([sys.executable, "-c", code], input="untouched", capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "untouched"


@pytest.mark.parametrize("form", ["file://{}", "file:{}", "FILE://localhost{}", "{}", "https://example.com/a::{}"])
def test_files_in_other_peoples_records_are_not_read(planted: Path, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refused when the record is opened, and again should a path get as far as the store."""
    monkeypatch.setattr("os.open", lambda *args, **kwargs: pytest.fail("a file was opened"))
    url = form.format(planted / "secret.tar")

    with pytest.raises(RefusedError):
        record_place(UrlStorage((url,)), own=False)
    if not url.startswith("https"):
        with pytest.raises(RefusedError):
            UrlStore(own=False).open(url)
        with pytest.raises(RefusedError):
            UrlStore(own=False).size(url)


def test_files_in_own_records_are_read(planted: Path) -> None:
    """By their URL."""
    store, paths = record_place(UrlStorage((file_url(planted / "secret.tar"),)), own=True)

    assert read_all(store, paths[0], limit=10) == b"secret"


def test_private_addresses_in_other_peoples_records_are_not_reached() -> None:
    """Nothing is sent; in one's own record the same URL is read."""
    with serving({"/a.tar": [Answer(body=b"inside")]}) as server:
        storage = UrlStorage((server.url("/a.tar"),))
        store, paths = record_place(storage, own=False, transport=Transport(Policy()))
        with pytest.raises(RefusedError, match="private-address"):
            store.open(paths[0])
        assert server.asked == []

        store, paths = record_place(storage, own=True, transport=Transport(Policy()))
        assert read_all(store, paths[0], limit=10) == b"inside"


@pytest.mark.parametrize("url", ["https://example.com/{0..99999999999}.tar", "{0..99999}{0..99999}.tar"])
def test_brace_bombs_are_refused(url: str) -> None:
    """Counted, not expanded."""
    with pytest.raises(LimitError):
        typed_place(url)


def test_shards_of_all_urls_are_counted_together() -> None:
    """Each URL may be within the limit, their sum is not."""
    half = f"https://example.com/{{1..{MAX_SHARDS // 2 + 1}}}.tar"
    with pytest.raises(LimitError, match="100,002"):
        record_place(UrlStorage((half, half)), own=False)


@pytest.mark.parametrize("scheme", ["at"])
def test_schemes_of_later_releases_are_named(scheme: str) -> None:
    """The error says which scheme it is, typed or in a record."""
    url = f"{scheme}://bucket/a.tar"
    with pytest.raises(UnsupportedStorageError, match=f"{scheme}://") as typed:
        typed_place(url)
    with pytest.raises(UnsupportedStorageError, match=f"{scheme}://") as recorded:
        record_place(UrlStorage((url,)), own=False)

    assert typed.value.kind == recorded.value.kind == scheme


def test_braces_hide_no_scheme() -> None:
    """A scheme that comes out of braces is looked at as well."""
    with pytest.raises(UnsupportedStorageError):
        typed_place("{s3,at}://bucket/a.tar")
    with pytest.raises(RefusedError, match="pipe-url"):
        typed_place("{pipe,file}:id")


def test_unknown_variants_are_named() -> None:
    """Kept and shown before, an error only here."""
    with pytest.raises(UnsupportedStorageError, match=r"com\.example\.torrent") as caught:
        record_place(UnknownStorage("com.example.torrent", {}), own=True)
    assert caught.value.kind == "com.example.torrent"


def test_blobs_are_read_from_the_pds() -> None:
    """By DID and CID, at the PDS that is named at that time."""
    cid = raw_cid(hashlib.sha256(b"blob").digest())
    path = f"/xrpc/com.atproto.sync.getBlob?did={DID}&cid={cid}"
    with serving({path: [Answer(body=b"blob", ranges=False)]}) as server:
        asked: list[Did] = []

        def find_pds(did: Did, *, fresh: bool = False) -> str:
            asked.append(did)
            return server.url("/")

        storage = BlobStorage((Blob(cid, "application/x-tar", 4),))
        transport = Transport(Policy(allow_private=True))
        store, paths = record_place(storage, own=False, did=DID, find_pds=find_pds, transport=transport)
        assert asked == []
        assert read_all(store, paths[0], start=1, stop=3, limit=10) == b"lo"
        assert asked == [DID]


def test_blobs_need_their_repository_and_all_of_their_list() -> None:
    """Half a dataset is never opened in silence."""
    storage = BlobStorage((), ({"uri": "at://x", "cid": "y"},))
    with pytest.raises(ValueError, match="more"):
        record_place(storage, own=True, did=DID, find_pds=lambda did, **_: did)
    with pytest.raises(ValueError, match="DID"):
        record_place(BlobStorage(()), own=True)


def test_wrong_urls_are_errors_before_anything_is_opened() -> None:
    """Empty parts, unbalanced braces, an impossible port, no shard at all."""
    for url in ("a::", "a{1..2.tar", "http://example.com:99999/a.tar"):
        with pytest.raises(InvalidSyntaxError):
            typed_place(url)
    with pytest.raises(InvalidRecordError):
        record_place(UrlStorage(()), own=True)


def test_missing_files_are_found_missing_when_opened(tmp_path: Path) -> None:
    """`typed_place` itself opens nothing."""
    store, paths = typed_place(str(tmp_path / "nothing.tar"))

    with pytest.raises(NotFoundError, match=r"nothing\.tar"):
        store.open(paths[0])
