"""Which gateways are asked: what the owner of the machine says, a local node where there is one, public ones."""

import pickle
from pathlib import Path

import pytest

from atdata.errors import InvalidSyntaxError
from atdata.net import Policy
from atdata.storage.gateways import (
    KUBO,
    PUBLIC,
    Failure,
    Gateway,
    Gateways,
    Outcome,
    configured_gateways,
    parse_gateways,
)

OPEN = Policy(allow_private=True)


def test_public_ones_by_default(tmp_path: Path) -> None:
    """Without a node on this machine nothing on this machine is asked."""
    assert configured_gateways(Policy(), {"HOME": str(tmp_path)}) == tuple(Gateway(url) for url in PUBLIC)
    assert configured_gateways(Policy(), {}) == tuple(Gateway(url) for url in PUBLIC)


def test_a_local_node_first(tmp_path: Path) -> None:
    """It is known by the file that Kubo writes; whatever listens at its port is asked only where that is allowed."""
    folder = tmp_path / ".ipfs"
    folder.mkdir()
    (folder / "gateway").write_text("http://127.0.0.1:8181\n")

    for environment in ({"HOME": str(tmp_path)}, {"IPFS_PATH": str(folder)}):
        assert configured_gateways(Policy(), environment)[0] == Gateway("http://127.0.0.1:8181", optional=True)
        assert [gateway.url for gateway in configured_gateways(Policy(), environment)[1:]] == list(PUBLIC)
    for policy in (OPEN, Policy(private_hosts=frozenset({"127.0.0.1:8080"}))):
        assert configured_gateways(policy, {})[0] == Gateway(KUBO, optional=True)


@pytest.mark.parametrize(
    "content", ["", "http://10.0.0.1:80", "https://evil.example", "\xff\xfe", "file:///etc/passwd"]
)
def test_what_is_no_address_of_a_local_node_is_passed_over(tmp_path: Path, content: str) -> None:
    """Only loopback is this machine."""
    (tmp_path / "gateway").write_text(content, encoding="latin-1")

    assert configured_gateways(Policy(), {"IPFS_PATH": str(tmp_path)}) == parse_gateways(PUBLIC)


def test_the_variable_replaces_all(tmp_path: Path) -> None:
    """Commas, spaces, slashes and ``/ipfs`` at the end as people write them; none twice."""
    (tmp_path / "gateway").write_text("http://127.0.0.1:8181")
    listed = " https://a.example/ipfs/, http://b.example:81/,,https://a.example"
    environment = {"ATDATA_IPFS_GATEWAYS": listed, "IPFS_PATH": str(tmp_path)}

    assert configured_gateways(OPEN, environment) == (Gateway("https://a.example"), Gateway("http://b.example:81"))


@pytest.mark.parametrize(
    "listed",
    [
        " , ",
        "a.example",
        "ftp://a.example",
        "https://me:secret@a.example",
        "https://a.example?token=secret",
        "https://a.example#x",
        "https://a.example:port",
    ],
)
def test_what_is_no_gateway_is_an_error(listed: str) -> None:
    """Not passed over in silence; a secret in it is not repeated."""
    with pytest.raises(InvalidSyntaxError) as caught:
        configured_gateways(Policy(), {"ATDATA_IPFS_GATEWAYS": listed})
    assert "secret" not in str(caught.value)


def test_copies_ask_the_same() -> None:
    """By pickle, as loader workers get them; what went wrong here is forgotten there."""
    gateways = Gateways(parse_gateways(["https://a.example", "https://b.example"]), Policy())
    gateways.blame("https://a.example", Failure(Outcome.DOWN, "no answer"))
    assert gateways.in_order() == ["https://b.example", "https://a.example"]

    copy: Gateways = pickle.loads(pickle.dumps(gateways))
    assert copy.in_order() == ["https://a.example", "https://b.example"]
    assert copy.policy == gateways.policy
