"""``s3://`` and ``gs://`` on real servers: public without credentials, private signed; and no secret gets out."""

import io
import logging
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from tests.cloud.plugin import ACCESS_KEY_ID, SECRET_ACCESS_KEY, FakeGcs, Seaweed
from tests.storage.faults import Answer, serving

from atdata.errors import (
    AtdataError,
    AuthenticationError,
    InvalidSyntaxError,
    NotFoundError,
    RefusedError,
    UnavailableError,
    UnsupportedStorageError,
)
from atdata.net import Policy, Transport
from atdata.settings import read_settings
from atdata.storage.base import read_all
from atdata.storage.cloud import CloudStore
from atdata.storage.places import UrlStore, record_place, typed_place
from atdata.storage.signed import PART
from atdata.storage.union import UrlStorage
from atdata.testing import CONTENT, StoreContract

Configure = Callable[[str], Path]
ODD_KEY = "a b/é+%41&=.tar"
ODD_URL = "a%20b/%C3%A9+%2541&=.tar"


class TestPublicS3(StoreContract):
    """A stranger's objects, by anonymous GETs."""

    @pytest.fixture
    def store(self, seaweed: Seaweed, configured: Configure) -> UrlStore:
        seaweed.put("public", ODD_KEY, CONTENT)
        transport = Transport(Policy(allow_private=True))
        storage = UrlStorage((f"s3://public/{ODD_URL}",), endpoint=seaweed.url, region="us-east-1")
        store, _ = record_place(storage, own=False, transport=transport)
        assert isinstance(store, UrlStore)
        return store

    @pytest.fixture
    def path(self) -> str:
        return f"s3://public/{ODD_URL}"


class TestPrivateS3(StoreContract):
    """Objects of one's own, signed."""

    @pytest.fixture
    def store(self, seaweed: Seaweed, configured: Configure) -> CloudStore:
        configured(seaweed.settings())
        seaweed.put("private", ODD_KEY, CONTENT)
        return CloudStore(own=True)

    @pytest.fixture
    def path(self) -> str:
        return f"s3://private/{ODD_URL}"


class TestPublicGs(StoreContract):
    """Anonymous GETs where Google's storage is, or a server in its place that the owner configured."""

    @pytest.fixture
    def store(self, fake_gcs: FakeGcs, configured: Configure) -> CloudStore:
        configured(f'[[gs]]\nendpoint = "{fake_gcs.url}"\nanonymous = true')
        fake_gcs.put("public", "a/0.tar", CONTENT)
        return CloudStore(own=True)

    @pytest.fixture
    def path(self) -> str:
        return "gs://public/a/0.tar"


class TestPrivateGs(StoreContract):
    """Requests signed by a service account."""

    @pytest.fixture
    def store(self, fake_gcs: FakeGcs, configured: Configure, service_account: Path) -> CloudStore:
        configured(f'[[gs]]\nbucket = "public"\nendpoint = "{fake_gcs.url}"\ncredentials = "{service_account}"')
        fake_gcs.put("public", "a/0.tar", CONTENT)
        return CloudStore(own=True)

    @pytest.fixture
    def path(self) -> str:
        return "gs://public/a/0.tar"


@pytest.fixture(scope="session")
def service_account(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a service account whose key nobody else knows."""
    import json
    import shutil

    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed, which makes the key of a service account")
    made = subprocess.run([openssl, "genpkey", "-algorithm", "RSA"], capture_output=True, text=True, check=True)
    file = tmp_path_factory.mktemp("account") / "account.json"
    account = {
        "type": "service_account",
        "private_key": made.stdout,
        "private_key_id": "planted",
        "client_email": "tests@example.com",
    }
    file.write_text(json.dumps(account))
    return file


@pytest.fixture
def own(seaweed: Seaweed, configured: Configure) -> CloudStore:
    """A store with the credentials of the private bucket."""
    configured(seaweed.settings())
    return CloudStore(own=True)


def test_typed_urls_follow_the_configuration(seaweed: Seaweed, configured: Configure) -> None:
    """Existing use: brace notation over ``s3://``; signed where credentials are configured, anonymous where not."""
    configured(seaweed.settings() + f'\n[[s3]]\nbucket = "public"\nendpoint = "{seaweed.url}"\nanonymous = true')
    for number in range(2):
        seaweed.put("private", f"typed-{number}.tar", b"%d" % number)
    seaweed.put("public", "typed-2.tar", b"2")
    store, paths = typed_place("s3://private/typed-{0..1}.tar::s3://public/typed-2.tar")

    assert [read_all(store, path, limit=9) for path in paths] == [b"0", b"1", b"2"]


def test_variables_of_aws_sign_own_urls(
    seaweed: Seaweed, configured: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As for AWS's own tools: keys and endpoint from the environment, or from a profile."""
    seaweed.put("private", "variables.tar", b"here")
    monkeypatch.setenv("AWS_ENDPOINT_URL", seaweed.url)
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    with pytest.raises(AuthenticationError, match=r"not public.*access"):
        CloudStore(own=True).size("s3://private/variables.tar")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY_ID)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_ACCESS_KEY)
    assert CloudStore(own=True).size("s3://private/variables.tar") == 4

    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.setenv("AWS_PROFILE", "work")
    profile = f"[work]\naws_access_key_id = {ACCESS_KEY_ID}\naws_secret_access_key = {SECRET_ACCESS_KEY}\n"
    Path(os.environ["AWS_SHARED_CREDENTIALS_FILE"]).write_text(profile)
    assert CloudStore(own=True).size("s3://private/variables.tar") == 4


def test_strangers_get_nothing_signed(seaweed: Seaweed, configured: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is configured or set: a stranger's record is read without credentials, and only public objects are."""
    seaweed.put("private", "mine.tar", b"mine")
    configured(seaweed.settings())
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY_ID)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_ACCESS_KEY)
    monkeypatch.setenv("AWS_ENDPOINT_URL", seaweed.url)
    storage = UrlStorage(("s3://private/mine.tar",), endpoint=seaweed.url)
    store, paths = record_place(storage, own=False, transport=Transport(Policy(allow_private=True)))
    with pytest.raises(AuthenticationError, match="AccessDenied"):
        store.open(paths[0])

    with serving({"/private/mine.tar": [Answer(403)]}) as server:
        storage = UrlStorage(("s3://private/mine.tar",), endpoint=server.url(""))
        store, paths = record_place(storage, own=False, transport=Transport(Policy(allow_private=True)))
        with pytest.raises(AuthenticationError):
            store.size(paths[0])
        sent = [set(asked.headers) for asked in server.asked]
    assert sent
    assert all(names <= {"host", "user-agent", "accept-encoding", "range"} for names in sent)


def test_shared_buckets_open_other_peoples_records(seaweed: Seaweed, configured: Configure) -> None:
    """A private dataset of a colleague: the owner of the machine says for which bucket, at which endpoint."""
    seaweed.put("private", "shared.tar", b"shared")
    configured(seaweed.settings(more="shared = true"))
    storage = UrlStorage(("s3://private/shared.tar",), endpoint=seaweed.url)
    store, paths = record_place(storage, own=False)
    assert read_all(store, paths[0], limit=10) == b"shared"

    with serving({"/private/shared.tar": [Answer(403)]}) as server:  # the same bucket elsewhere is another one
        storage = UrlStorage(("s3://private/shared.tar",), endpoint=server.url(""))
        store, paths = record_place(storage, own=False, transport=Transport(Policy(allow_private=True)))
        with pytest.raises(AuthenticationError):
            store.open(paths[0])
        assert all("authorization" not in asked.headers for asked in server.asked)


def test_a_strangers_endpoint_may_not_be_private(configured: Configure) -> None:
    """As with any URL: nothing is sent."""
    with serving({"/bucket/a.tar": [Answer(body=b"inside")]}) as server:
        storage = UrlStorage(("s3://bucket/a.tar",), endpoint=server.url(""))
        store, paths = record_place(storage, own=False, transport=Transport(Policy()))
        with pytest.raises(RefusedError, match="private-address"):
            store.open(paths[0])
        assert server.asked == []

        store, paths = record_place(storage, own=True, transport=Transport(Policy()))
        assert read_all(store, paths[0], limit=10) == b"inside"


def test_missing_buckets_and_objects_are_not_found(own: CloudStore, seaweed: Seaweed, configured: Configure) -> None:
    """Said in the words of buckets."""
    with pytest.raises(NotFoundError, match="no such object"):
        own.open("s3://private/nothing.tar")
    seaweed.put("public", "x.tar", b"")
    store = CloudStore(own=True, endpoint=seaweed.url)
    with pytest.raises(NotFoundError, match=r"no such object.*NoSuchKey"):
        store.open("s3://public/nothing.tar")


def test_empty_objects_are_objects(own: CloudStore) -> None:
    """Written, sized and read."""
    assert own.put("s3://private/empty.tar", iter([])) == 0
    assert own.size("s3://private/empty.tar") == 0
    assert read_all(own, "s3://private/empty.tar", limit=1) == b""


@pytest.mark.parametrize("size", [1, PART - 1, PART, PART + 1, 3 * PART + 5])
def test_what_is_put_is_got(own: CloudStore, size: int) -> None:
    """In one piece or in parts; the CID is kept with it."""
    content = os.urandom(size)
    chunks = (content[at : at + 5_000_001] for at in range(0, size, 5_000_001))

    assert own.put(f"s3://private/put%20{size}.tar", chunks, cid="bafkrei") == size
    assert read_all(own, f"s3://private/put%20{size}.tar", limit=size) == content
    assert own.marked_cid(f"s3://private/put%20{size}.tar") == "bafkrei"


class Gate(BaseHTTPRequestHandler):
    """Lets through who shows a token, and hands the request on without it."""

    behind = ""
    shown: ClassVar[list[str]] = []

    def _hand_on(self) -> None:
        self.shown.append(self.headers.get("Authorization", ""))
        del self.headers["Authorization"]
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        request = Request(self.behind + self.path, data=body or None, headers=dict(self.headers), method=self.command)
        try:
            with urlopen(request, timeout=30) as answer:
                status, headers, content = answer.status, answer.headers, answer.read()
        except HTTPError as error:
            with error:
                status, headers, content = error.code, error.headers, error.read()
        self.send_response(status)
        for name in ("ETag", "Content-Type", "Content-Range", "Last-Modified", "x-amz-meta-atdata-cid"):
            if name in headers:
                self.send_header(name, headers[name])
        self.send_header("Content-Length", headers["Content-Length"] if self.command == "HEAD" else str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _hand_on

    def log_message(self, *args: object) -> None:
        """Say nothing."""


def test_google_takes_uploads_in_parts(seaweed: Seaweed, configured: Configure, service_account: Path) -> None:
    """Google's XML API has the same uploads in parts as S3, which stands in for it; each request shows a token."""
    content = os.urandom(PART + 7)

    class Behind(Gate):
        behind = seaweed.url
        shown: ClassVar[list[str]] = []

    with ThreadingHTTPServer(("127.0.0.1", 0), Behind) as server:
        thread = threading.Thread(target=lambda: server.serve_forever(poll_interval=0.01))
        thread.start()
        url = f"http://127.0.0.1:{server.server_address[1]}"
        configured(f'[[gs]]\nbucket = "open"\nendpoint = "{url}"\ncredentials = "{service_account}"')
        store = CloudStore(own=True)
        try:
            assert store.put("gs://open/parts.tar", iter([content])) == len(content)
            assert read_all(store, "gs://open/parts.tar", limit=len(content)) == content
        finally:
            server.shutdown()
            thread.join()

    assert Behind.shown
    assert all(token.startswith("Bearer ey") for token in Behind.shown)


class Broken(Exception):
    """An error of whoever gives the chunks."""


def broken(pieces: int) -> Iterator[bytes]:
    for _ in range(pieces):
        yield bytes(PART)
    raise Broken


@pytest.mark.parametrize("pieces", [0, 1, 3])
def test_what_ends_too_soon_is_not_there(own: CloudStore, seaweed: Seaweed, pieces: int) -> None:
    """Whole or not at all: after an error of the source, and what was there before stays."""
    own.put("s3://private/kept.tar", iter([b"before"]))
    for name in ("kept", "torn"):
        with pytest.raises(Broken):
            own.put(f"s3://private/{name}.tar", broken(pieces))

    assert read_all(own, "s3://private/kept.tar", limit=10) == b"before"
    with pytest.raises(NotFoundError):
        own.size("s3://private/torn.tar")
    assert not [name for name in seaweed.names("private") if name.startswith("torn")]
    assert seaweed.names("private", ".uploads") == []


def test_writing_needs_credentials(configured: Configure) -> None:
    """Nothing is sent without; the error says where they go."""
    with pytest.raises(AuthenticationError, match=r"docs/places\.md"):
        CloudStore(own=True).put("s3://bucket/a.tar", iter([b"x"]))


def test_a_missing_extra_is_named(own: CloudStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says what to install."""
    monkeypatch.setitem(sys.modules, "obstore", None)
    with pytest.raises(UnsupportedStorageError, match=r"atdata\[cloud\]"):
        own.size("s3://private/a.tar")


def test_proxy_variables_are_ignored(seaweed: Seaweed, configured: Configure, tmp_path: Path) -> None:
    """A process that writes and reads connects to the service itself; the proxy gets no connection."""
    configured(seaweed.settings())
    with serving({}) as proxy:
        variables = {name: proxy.url("") for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "https_proxy")}
        code = """if True:
            from atdata.storage.cloud import CloudStore
            store = CloudStore(own=True)
            store.put("s3://private/proxied.tar", iter([b"x"]))
            assert store.size("s3://private/proxied.tar") == 1
        """
        subprocess.run([sys.executable, "-c", code], env={**os.environ, **variables}, check=True, timeout=60)
        assert proxy.count_connections() == 0
        assert proxy.asked == []


FORKS = """if True:
    import os, sys, warnings
    warnings.simplefilter("ignore")
    from atdata.storage.cloud import CloudStore
    store = CloudStore(own=True)
    store.size("s3://private/forked.tar")
    if os.fork() == 0:
        try:
            (store if sys.argv[1] == "same" else CloudStore(own=True)).open("s3://private/forked.tar")
        except ValueError as error:
            print(error, flush=True)
        os._exit(0)
    os.wait()
"""


@pytest.mark.parametrize("which", ["same", "new"])
def test_forked_children_are_told(own: CloudStore, which: str) -> None:
    """Instead of waiting for ever: an error that names what works."""
    own.put("s3://private/forked.tar", iter([b"x"]))
    command = [sys.executable, "-c", FORKS, which]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)

    assert "spawn" in done.stdout
    assert "forkserver" in done.stdout


def test_public_objects_are_read_after_a_fork(seaweed: Seaweed, configured: Configure) -> None:
    """Whatever does not sign has no threads to lose."""
    seaweed.put("public", "forked.tar", b"x")
    configured(f'[[s3]]\nbucket = "public"\nendpoint = "{seaweed.url}"\nanonymous = true')
    command = [sys.executable, "-c", FORKS.replace("private", "public").replace(".open(", ".size("), "same"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)

    assert done.stdout == ""


def test_a_secret_never_shows(
    own: CloudStore, seaweed: Seaweed, configured: Configure, caplog: pytest.LogCaptureFixture
) -> None:
    """Not in a repr, a pickle, a log or an error, whatever goes wrong."""
    caplog.set_level(logging.DEBUG)
    own.put("s3://private/quiet.tar", iter([b"x"]))
    stream = own.open("s3://private/quiet.tar")
    settings = read_settings()
    seen: list[str] = [
        repr(own),
        str(own),
        repr(stream),
        repr(settings),
        repr(own.check_writable("s3://private/a.tar")),
    ]
    seen.append(pickle.dumps(own).decode("latin-1"))
    seen.append(repr(vars(own)))
    wrong = "wrong-secret-that-is-planted-too"
    configured(seaweed.settings(secret=wrong))
    for act in (
        lambda: CloudStore(own=True).size("s3://private/quiet.tar"),
        lambda: CloudStore(own=True).open("s3://private/quiet.tar"),
        lambda: CloudStore(own=True).put("s3://private/quiet.tar", iter([b"x"])),
        lambda: configured("secret_access_key = 'half" + SECRET_ACCESS_KEY) and read_settings(),
        lambda: configured(f"[[s3]]\nsecret_access_key = '{SECRET_ACCESS_KEY}'") and read_settings(),
    ):
        with pytest.raises(AtdataError) as caught:
            act()
        seen += [str(caught.value), repr(caught.value), pickle.dumps(caught.value).decode("latin-1")]
        seen.append("".join(str(error) for error in (caught.value.__cause__, caught.value.__context__) if error))
    seen += [record.getMessage() for record in caplog.records]

    for text in seen:
        assert SECRET_ACCESS_KEY not in text
        assert wrong not in text


def test_credentials_refuse_to_be_pickled(own: CloudStore) -> None:
    """A pickle that held them would be written where nobody looks for secrets."""
    access = own.check_writable("s3://private/a.tar")
    for holder in (access, own._signed, CloudStore(own=True, settings=read_settings())):
        with pytest.raises(TypeError, match="pickled"):
            pickle.dump(holder, io.BytesIO())


def test_panics_of_rust_are_errors(own: CloudStore, seaweed: Seaweed, configured: Configure) -> None:
    """obstore panics where a region has a newline, by an exception that is none of Python's `Exception`."""
    configured(seaweed.settings().replace('"us-east-1"', r'"a\nb"'))
    with pytest.raises((UnavailableError, InvalidSyntaxError)):
        CloudStore(own=True).size("s3://private/a.tar")


def test_threads_write_at_once(own: CloudStore) -> None:
    """Objects of several threads do not mix."""

    def write(number: int) -> None:
        own.put(f"s3://private/thread-{number}.tar", iter([bytes([number]) * 100]))

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    for number in range(4):
        assert read_all(own, f"s3://private/thread-{number}.tar", limit=100) == bytes([number]) * 100
