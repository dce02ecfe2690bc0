"""The test network itself: real servers that answer, and that end with the process which started them."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.request import urlopen

import pytest
from tests.network.plugin import FOLDER, Network, post

CHILD = """
import os, signal
def test_die(network):
    print("\\n" + network.pds[0].url, flush=True)
    # Inherited as ignored where the tests themselves were started in the background of a shell.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.kill(os.getpid(), {signal})
"""


def test_accounts_lie_on_two_servers(network: Network) -> None:
    """Each account is on the PDS asked for and can log in there."""
    accounts = [network.account("alice"), network.account("bob", pds=1)]

    assert accounts[0].pds.url != accounts[1].pds.url
    for account in accounts:
        login = {"identifier": account.handle, "password": account.password}
        assert post(account.pds.url, "com.atproto.server.createSession", login)["did"] == account.did


def test_plc_directory_names_the_pds(network: Network) -> None:
    """The DID document of an account names its handle and its PDS."""
    account = network.account("carol", pds=1)

    with urlopen(f"{network.plc}/{account.did}") as answer:
        document = json.load(answer)

    assert document["alsoKnownAs"] == [f"at://{account.handle}"]
    assert [service["serviceEndpoint"] for service in document["service"]] == [account.pds.url]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_servers_end_with_the_tests(network: Network, tmp_path: Path, number: signal.Signals) -> None:
    """Interrupted by Ctrl-C or killed outright, a test session leaves no server behind."""
    test = tmp_path / "test_child.py"
    test.write_text(CHILD.format(signal=int(number)))
    command = [sys.executable, "-m", "pytest", "-s", "-p", "tests.network.plugin", "-p", "no:cacheprovider", str(test)]
    environment = os.environ | {"PYTHONPATH": str(FOLDER.parents[1])}
    options = ["--rootdir", str(tmp_path), "-c", os.devnull]

    run = subprocess.run(
        [*command, *options], env=environment, capture_output=True, text=True, timeout=100, check=False
    )

    assert run.returncode != 0
    url = next(line for line in run.stdout.splitlines() if line.startswith("http://localhost:"))
    assert wait_until_closed(int(url.rpartition(":")[2])), f"{url} still answers"
    assert network.pds[0].url != url


def wait_until_closed(port: int) -> bool:
    """True once nobody listens on a loopback port, False after 20 seconds."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1):
                pass
        except OSError:
            return True
        time.sleep(0.05)
    return False
