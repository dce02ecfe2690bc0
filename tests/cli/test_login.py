"""Sessions from the command line, on a real PDS."""

import io
import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from tests.network.fault_pds import FaultPds, refused
from tests.storage.faults import running

import atdata
from atdata.cli.main import run
from atdata.demo import Digit

if TYPE_CHECKING:
    from tests.network.plugin import Account, Network


@pytest.fixture
def account(network: "Network", monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> "Account":
    """A fresh account; the environment points at the test network, and nobody is logged in."""
    monkeypatch.setenv("ATDATA_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    for name, value in network.environment().items():
        monkeypatch.setenv(name, value)
    return network.account()


def test_a_session_from_login_to_logout(
    account: "Account", capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Log in by a password on stdin, publish, list, show, log out; then commands work on the local repository."""
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{account.password}\n"))
    assert run(["login", account.handle, "--password-stdin", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"did": account.did, "handle": account.handle}

    assert run(["whoami", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["did"] == account.did
    atdata.write_samples([Digit(image=np.eye(8, dtype=np.uint8), label=1)], "one-%06d.tar")
    assert run(["publish", "one-000000.tar", "--name", "One", "--sample-type", "atdata.demo:Digit"]) == 0
    published = capsys.readouterr()
    uri = published.out.strip()
    assert uri.startswith(f"at://{account.did}/")
    assert "local repository" not in published.err
    assert run(["list"]) == 0
    assert uri in capsys.readouterr().out

    assert run(["logout"]) == 0
    assert f"logged out {account.handle}" in capsys.readouterr().err
    assert run(["whoami", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["did"] == "did:web:localhost"
    assert run(["head", uri.replace(account.did, account.handle)]) == 0
    assert "label" in capsys.readouterr().out


def test_a_wrong_password_is_one_line(
    account: "Account", capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server's refusal is told, the password is not, and nobody is logged in afterwards."""
    monkeypatch.setenv("ATDATA_PASSWORD", "wrong-password")

    assert run(["login", account.handle]) == 1
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith("error: ")
    assert output.err.count("\n") == 1
    assert "wrong-password" not in output.err
    assert run(["whoami", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["did"] == "did:web:localhost"


def test_commands_act_for_the_account_that_is_named(
    account: "Account", network: "Network", capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two logins the last counts, unless ``--account`` or ``ATDATA_ACCOUNT`` says otherwise, by handle or DID."""
    bob = network.account("bob", pds=1)
    for each in (account, bob):
        monkeypatch.setattr("sys.stdin", io.StringIO(each.password))
        assert run(["login", each.handle, "--password-stdin", "--json"]) == 0
    atdata.write_samples([Digit(image=np.eye(8, dtype=np.uint8), label=1)], "one-%06d.tar")
    capsys.readouterr()

    assert run(["whoami", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["did"], [kept["did"] for kept in told["accounts"]]) == (bob.did, [account.did, bob.did])
    assert "secret" not in str(told)
    for chosen in ([], ["--account", account.handle], ["--account", account.did]):
        assert run(["publish", "one-000000.tar", "--name", "One", *chosen]) == 0
        assert (account.did if chosen else bob.did) in capsys.readouterr().out
    monkeypatch.setenv("ATDATA_ACCOUNT", account.handle)
    assert run(["whoami"]) == 0
    shown = capsys.readouterr().out
    assert shown.index(account.did) < shown.index("also logged in") < shown.index(bob.did)
    assert run(["logout"]) == 0
    assert run(["whoami", "--account", account.handle]) == 1
    assert f"{account.handle} is not logged in (logged in: {bob.handle}): run atdata login" in capsys.readouterr().err


def test_the_environment_names_the_account(
    account: "Account", capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two variables make commands act for an account, which is said, and nothing is kept."""
    monkeypatch.setenv("ATDATA_HANDLE", account.handle)
    monkeypatch.setenv("ATDATA_PASSWORD", account.password)

    assert run(["whoami", "--json"]) == 0
    output = capsys.readouterr()
    assert json.loads(output.out)["did"] == account.did
    assert json.loads(output.out)["accounts"] == []
    assert f"acting as {account.handle}, by ATDATA_HANDLE" in output.err


def test_a_server_that_asks_for_more_or_for_patience(
    account: "Account", capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two-factor login and a limit on logins are one line each, which says what to do; a code is sent as given."""
    create = "/xrpc/com.atproto.server.createSession"
    with running(FaultPds()) as pds:
        for name, value in (pds.environment() | {"ATDATA_PASSWORD": "hunter2"}).items():
            monkeypatch.setenv(name, value)
        answers = {
            "AuthFactorTokenRequired": ({}, 401, "two-factor login: give the code"),
            "RateLimitExceeded": ({"Retry_After": "3600"}, 429, "takes requests again in 1 hour, at "),
        }
        for error, (headers, status, words) in answers.items():
            pds.instead[create] = refused(error, status=status, **headers)
            assert run(["login", pds.handle]) == 1
            message = capsys.readouterr().err
            assert message.count("\n") == 1
            assert words in message
            assert "hunter2" not in message
        del pds.instead[create]
        assert run(["login", pds.handle, "--code", "ABCDE-FGHIJ"]) == 0
        assert json.loads(pds.asked[-1].body)["authFactorToken"] == "ABCDE-FGHIJ"
