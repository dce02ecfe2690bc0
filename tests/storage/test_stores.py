"""Every store keeps `StoreContract`. Over HTTP, against a small real server on loopback."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.storage.faults import Answer, FaultServer, serving
from tests.storage.shards import make_shard

from atdata.net import Policy, Transport
from atdata.storage.base import Shard, Store
from atdata.storage.blob import BlobStore
from atdata.storage.cache import Cache
from atdata.storage.composed import Lying, compose
from atdata.storage.file import FileStore
from atdata.storage.http import HttpStore
from atdata.storage.places import UrlStore
from atdata.storage.url import file_url
from atdata.storage.verified import VerifiedStore
from atdata.syntax import Did, parse_did, raw_cid
from atdata.testing import CONTENT, MemoryStore, StoreContract

DID = parse_did("did:web:pds.example")
CID = raw_cid(hashlib.sha256(CONTENT).digest())
OTHER_CID = raw_cid(hashlib.sha256(b"another").digest())
SHARD_BYTES, SHARD = make_shard(samples=60)
INSIDE = Policy(allow_private=True, backoff=0.01, connect_timeout=5, read_timeout=5)


class Pds:
    """A way to find a PDS that can be pickled."""

    def __init__(self, base: str) -> None:
        self.base = base

    def __call__(self, did: Did, *, fresh: bool = False) -> str:
        return self.base


@pytest.fixture
def server() -> Iterator[FaultServer]:
    blobs = "/xrpc/com.atproto.sync.getBlob"
    routes = {
        "/object.tar": [Answer(body=CONTENT, etag='"v1"')],
        "/plain.tar": [Answer(body=CONTENT, ranges=False)],
        "/shard.tar": [Answer(body=SHARD_BYTES, etag='"v1"')],
        "/plain-shard.tar": [Answer(body=SHARD_BYTES, ranges=False)],
        f"{blobs}?did={DID}&cid={CID}": [Answer(body=CONTENT, ranges=False)],
        blobs: [Answer(400, body=b'{"error":"BlobNotFound","message":"Blob not found"}')],
    }
    with serving(routes) as server:
        yield server


class TestMemoryStore(StoreContract):
    @pytest.fixture
    def store(self) -> MemoryStore:
        return MemoryStore({"a.tar": CONTENT})

    @pytest.fixture
    def path(self) -> str:
        return "a.tar"


class TestFileStore(StoreContract):
    @pytest.fixture
    def store(self) -> FileStore:
        return FileStore()

    @pytest.fixture(params=["path", "url"])
    def path(self, request: pytest.FixtureRequest, tmp_path: Path) -> str:
        file = tmp_path / "a b,%41.tar"
        file.write_bytes(CONTENT)
        return str(file) if request.param == "path" else file_url(file)


class TestHttpStore(StoreContract):
    @pytest.fixture
    def store(self) -> HttpStore:
        return HttpStore(Transport(INSIDE))

    @pytest.fixture(params=["/object.tar", "/plain.tar"])
    def path(self, request: pytest.FixtureRequest, server: FaultServer) -> str:
        return server.url(request.param)


class TestUrlStore(StoreContract):
    @pytest.fixture
    def store(self) -> UrlStore:
        return UrlStore(own=True, transport=Transport(INSIDE))

    @pytest.fixture(params=["http", "file"])
    def path(self, request: pytest.FixtureRequest, server: FaultServer, tmp_path: Path) -> str:
        (tmp_path / "a.tar").write_bytes(CONTENT)
        return server.url("/object.tar") if request.param == "http" else file_url(tmp_path / "a.tar")


class TestBlobStore(StoreContract):
    @pytest.fixture
    def store(self, server: FaultServer) -> BlobStore:
        return BlobStore(DID, Pds(server.url("")), Transport(INSIDE))

    @pytest.fixture
    def path(self) -> str:
        return str(CID)

    @pytest.fixture
    def missing(self) -> str:
        return str(OTHER_CID)


class TestVerifiedStoreByBlock(StoreContract):
    """The same contract over a real shard, which has an index, at a real server."""

    @pytest.fixture(autouse=True)
    def content(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("atdata.testing.CONTENT", SHARD_BYTES)

    @pytest.fixture
    def store(self, tmp_path: Path, path: str) -> Store:
        return VerifiedStore(HttpStore(Transport(INSIDE)), {path: SHARD}, cache=Cache(tmp_path))

    @pytest.fixture(params=["/shard.tar", "/plain-shard.tar"])
    def path(self, request: pytest.FixtureRequest, server: FaultServer) -> str:
        return server.url(request.param)


class TestCachedStore(TestVerifiedStoreByBlock):
    @pytest.fixture
    def store(self, tmp_path: Path, path: str) -> Store:
        place = Lying("here", HttpStore(Transport(INSIDE)), [path])
        return compose([place], [SHARD], cache=Cache(tmp_path))


class TestMirroredStore(TestVerifiedStoreByBlock):
    @pytest.fixture(params=["indexed", "whole"])
    def store(self, request: pytest.FixtureRequest, tmp_path: Path, path: str) -> Store:
        transport = Transport(INSIDE)
        places = [
            Lying("here", HttpStore(transport), [path]),
            Lying("gone", HttpStore(transport), [path + "-gone"]),
            Lying("there", MemoryStore({"a": SHARD_BYTES}), ["a"]),
        ]
        facts = SHARD if request.param == "indexed" else Shard(SHARD.cid, SHARD.bytes)
        return compose(places, [facts], cache=Cache(tmp_path, limit=0))

    @pytest.fixture
    def path(self, server: FaultServer) -> str:
        return server.url("/shard.tar")


class TestVerifiedStore(StoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> Store:
        facts = {"a.tar": Shard(cid=CID, bytes=len(CONTENT)), "a.tar-missing": Shard(cid=OTHER_CID)}
        return VerifiedStore(MemoryStore({"a.tar": CONTENT}), facts, cache=Cache(tmp_path))

    @pytest.fixture
    def path(self) -> str:
        return "a.tar"
