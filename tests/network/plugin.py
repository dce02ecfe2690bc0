"""A pytest plugin: the real ATProto network on loopback, as the session fixture ``network``.

It installs the npm packages of this folder when they are absent, starts ``network.mjs`` (PLC directory and two PDSes)
and makes accounts there. It speaks to the servers with the standard library alone, so that no test of atdata stands on
atdata. ``old_network`` is the same with the packages of the folder ``old``: PDSes of before May 2026. Every test that
uses one of the two gets the marker ``network``.
"""

import base64
import itertools
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from tests.node import running_script

FOLDER = Path(__file__).parent
PASSWORD = "correct horse battery staple"  # of every account; App Passwords are made from it


@dataclass(frozen=True, slots=True)
class Pds:
    """One PDS.

    Attributes:
        url: Its base URL.
        did: Its own DID.
        domain: Below which its handles lie, as in ``pds1.test``.
        secret: Signs its tokens, so that a test can make one that has expired.
        admin: Password of its administrator, who takes accounts and blobs down.
    """

    url: str
    did: str
    domain: str
    secret: str
    admin: str


@dataclass(frozen=True, slots=True)
class Account:
    """One account on a PDS of the network."""

    did: str
    handle: str
    password: str
    pds: Pds


@dataclass(frozen=True)
class Network:
    """The running servers."""

    plc: str
    pds: tuple[Pds, ...]
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def account(self, name: str = "alice", *, pds: int = 0) -> Account:
        """A fresh account, whose handle begins with ``name`` (2 to 14 letters); ``pds`` is the number of its server."""
        server = self.pds[pds]
        handle = f"{name}{next(self._numbers)}.{server.domain}"
        body = {"handle": handle, "email": f"{handle}@example.com", "password": PASSWORD}
        answer = post(server.url, "com.atproto.server.createAccount", body)
        return Account(answer["did"], handle, PASSWORD, server)

    def environment(self) -> dict[str, str]:
        """The variables that point atdata at this network instead of the public one."""
        resolvers = ",".join(f"{server.domain}={server.url}" for server in self.pds)
        return {"ATDATA_PLC_URL": self.plc, "ATDATA_HANDLE_RESOLVER": resolvers, "ATDATA_ALLOW_PRIVATE": "1"}


def post(base: str, nsid: str, body: dict[str, Any] | None, *, token: str | None = None) -> dict[str, Any]:
    """Call an XRPC procedure without atdata."""
    data = b"" if body is None else json.dumps(body).encode()
    headers = {} if body is None else {"Content-Type": "application/json"}
    return _called(Request(f"{base}/xrpc/{nsid}", data=data, headers=headers, method="POST"), token)


def administer(pds: Pds, nsid: str, body: dict[str, Any]) -> dict[str, Any]:
    """Call an XRPC procedure as the administrator of a PDS."""
    request = Request(f"{pds.url}/xrpc/{nsid}", data=json.dumps(body).encode(), method="POST")
    request.add_header("Content-Type", "application/json")
    request.add_header("Authorization", "Basic " + base64.b64encode(f"admin:{pds.admin}".encode()).decode())
    return _called(request, None)


def get(base: str, nsid: str, *, token: str | None = None) -> dict[str, Any]:
    """Call an XRPC query without atdata."""
    return _called(Request(f"{base}/xrpc/{nsid}"), token)


def _called(request: Request, token: str | None) -> dict[str, Any]:
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    try:
        with urlopen(request, timeout=60) as answer:
            content = answer.read()
    except HTTPError as error:
        with error:
            raise AssertionError(f"{request.full_url} answered {error.code}: {error.read()!r}") from None
    parsed: dict[str, Any] = json.loads(content) if content else {}
    return parsed


@contextmanager
def running(folder: Path, data: Path) -> Iterator[Network]:
    """PLC directory and two PDSes of the packages in ``folder``; ``data`` gets what they keep, and goes at the end."""
    try:
        with running_script(folder / "network.mjs", ["--data", str(data)], data / "servers.log") as started:
            yield Network(started["plc"], tuple(Pds(**server) for server in started["pds"]))
    finally:
        shutil.rmtree(data, ignore_errors=True)


@pytest.fixture(scope="session")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    """PLC directory and two PDSes, alive until the test session ends."""
    with running(FOLDER, tmp_path_factory.mktemp("network")) as servers:
        yield servers


@pytest.fixture(scope="session")
def old_network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    """The same with PDSes of before May 2026, which take records of at most 150 KiB."""
    with running(FOLDER / "old", tmp_path_factory.mktemp("old-network")) as servers:
        yield servers


def use(network: Network, monkeypatch: pytest.MonkeyPatch, home: Path) -> Network:
    """Set the environment so that atdata uses these servers, and a home of its own for its files."""
    for name, value in network.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("ATDATA_HOME", str(home))
    return network


@pytest.fixture
def online(network: Network, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Network:
    """The network, which atdata uses during the test."""
    return use(network, monkeypatch, tmp_path / "home")


@pytest.fixture
def old_online(old_network: Network, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Network:
    """The network of old PDSes, which atdata uses during the test."""
    return use(old_network, monkeypatch, tmp_path / "home")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs the servers, before ``-m`` selects."""
    for item in items:
        if {"network", "old_network"} & set(getattr(item, "fixturenames", ())):
            item.add_marker("network")
