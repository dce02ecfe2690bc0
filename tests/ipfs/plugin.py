"""A pytest plugin: a real IPFS gateway (Helia, from npm) on loopback, as the session fixture ``ipfs``.

It starts ``gateway.mjs`` on the packages of this folder. Content is added with the standard library alone. Every test
that uses the fixture gets the marker ``network``.
"""

import base64
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import pytest
from tests.node import running_script

FOLDER = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class IpfsGateway:
    """The running gateway.

    Attributes:
        url: Its base URL.
    """

    url: str

    def add(
        self, content: bytes, *, version: int = 1, chunk: int = 262144, links: int = 174, layout: str = "balanced"
    ) -> str:
        """Add a file; its CID. Version 0 has leaves of dag-pb, version 1 raw ones; the defaults are those of Kubo."""
        query = urlencode({"version": version, "chunk": chunk, "links": links, "layout": layout})
        return self._cid("POST", f"/file?{query}", content)

    def add_folder(self, files: Mapping[str, bytes], *, version: int = 1, shard: int = 262144) -> str:
        """Add files by their paths; the CID of the folder, which is sharded from ``shard`` bytes on."""
        body = {path: base64.b64encode(content).decode() for path, content in files.items()}
        return self._cid(
            "POST", f"/folder?{urlencode({'version': version, 'shard': shard})}", json.dumps(body).encode()
        )

    def put(self, cid: object, block: bytes) -> None:
        """Add one block as it is."""
        self._cid("PUT", f"/block/{cid}", block)

    def get(self, path: str) -> bytes:
        """What the gateway answers to a GET, without atdata."""
        with urlopen(self.url + path, timeout=60) as answer:
            content: bytes = answer.read()
        return content

    def _cid(self, method: str, path: str, body: bytes) -> str:
        headers = {"Content-Type": "application/octet-stream"}
        with urlopen(Request(self.url + path, data=body, headers=headers, method=method), timeout=60) as answer:
            return str(json.load(answer)["cid"])


@pytest.fixture(scope="session")
def ipfs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[IpfsGateway]:
    """A gateway without content, alive until the test session ends."""
    data = tmp_path_factory.mktemp("ipfs")
    with running_script(FOLDER / "gateway.mjs", ["--blocks", str(data / "blocks")], data / "gateway.log") as started:
        yield IpfsGateway(started["url"])


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs the gateway, before ``-m`` selects."""
    for item in items:
        if "ipfs" in getattr(item, "fixturenames", ()):
            item.add_marker("network")
