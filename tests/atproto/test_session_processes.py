"""One login used by several processes at once: each refresh token serves once, and nobody is logged out."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from tests.atproto.test_session import keep_expired
from tests.network.fault_pds import FaultPds, Sessions, refused
from tests.network.plugin import Network
from tests.storage.faults import running

from atdata.atproto.client import Client
from atdata.atproto.repository import Repository
from atdata.atproto.session_file import SessionFile
from atdata.errors import AuthenticationError, UnavailableError, XrpcError
from atdata.syntax import Nsid

COLLECTION = Nsid("com.example.thing")
PROCESSES = 3

# Writes one record for each line that comes.
WRITE = """
import sys
from atdata.atproto.client import Client
from atdata.syntax import Nsid
client = Client.saved()
print("ready", flush=True)
for line in sys.stdin:
    client.repository.create_record(Nsid("com.example.thing"), {"text": line})
    print("written", flush=True)
"""

# Writes without end, whoever has made the token expire meanwhile.
WRITE_ON = """
from contextlib import suppress
from atdata.atproto.client import Client
from atdata.errors import AuthenticationError
from atdata.syntax import Nsid
client = Client.saved()
print("ready", flush=True)
while True:
    with suppress(AuthenticationError):
        client.repository.create_record(Nsid("com.example.thing"), {"text": "on"})
"""


@pytest.fixture
def pds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultPds]:
    """A strict server, with the environment set so that atdata uses it."""
    with running(FaultPds()) as server:
        for name, value in server.environment().items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("ATDATA_HOME", str(tmp_path / "home"))
        yield server


@contextmanager
def writers(program: str) -> Iterator[list[subprocess.Popen[str]]]:
    """Processes that have read the file of sessions."""
    command = [sys.executable, "-c", program]
    with ExitStack() as stack:
        processes = []
        for _ in range(PROCESSES):
            process = subprocess.Popen(command, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            processes.append(stack.enter_context(process))
            stack.callback(process.kill)
        for process in processes:
            assert line_of(process) == "ready\n"
        yield processes


def line_of(process: subprocess.Popen[str]) -> str:
    """The next line that a process prints."""
    assert process.stdout is not None
    return process.stdout.readline()


def write_at_once(processes: list[subprocess.Popen[str]]) -> None:
    """Let each process write one record, all in the same moment."""
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("one\n")
        process.stdin.flush()
    assert [line_of(process) for process in processes] == ["written\n"] * len(processes)


def logged_in() -> Repository:
    """The repository of the login that is kept."""
    client = Client.saved()
    assert client is not None
    assert client.repository is not None
    return client.repository


def test_each_refresh_token_serves_once(pds: FaultPds) -> None:
    """Processes and threads meet an expired token in the same moment, again and again: one renews, all write."""
    Client.login(pds.handle, "password", save=True)
    repository = logged_in()
    rounds = 8

    with writers(WRITE) as processes, ThreadPoolExecutor(2) as pool:
        for _ in range(rounds):
            pds.sessions.expire()
            threads = [pool.submit(repository.create_record, COLLECTION, {"text": "thread"}) for _ in range(2)]
            write_at_once(processes)
            assert [thread.result().uri for thread in threads]

    assert pds.sessions.writes == rounds * (PROCESSES + 2)
    assert (pds.sessions.renewals, pds.sessions.reused) == (rounds, 0)


def test_processes_killed_while_they_renew_leave_a_whole_file(pds: FaultPds) -> None:
    """After kill -9 at any moment the file is whole, nobody waits for a dead process, and the login goes on.

    As with the reference PDS, a token whose answer got lost with its process serves a while longer.
    """
    pds.sessions = Sessions(uses=1, grace=True)
    Client.login(pds.handle, "password", save=True)
    file = SessionFile()

    for writes in (3, 8, 14):
        with writers(WRITE_ON) as processes:
            pds.sessions.wait_for(pds.sessions.writes + writes)
            for process in processes:
                process.kill()
                assert len(file.all()) == 1
        assert json.loads(file.path.read_bytes())
        logged_in().create_record(COLLECTION, {"text": "after"})

    assert sorted(path.name for path in file.path.parent.iterdir()) == ["sessions.json", "sessions.lock"]


def test_processes_renew_at_once_on_a_real_pds(online: Network) -> None:
    """All meet an expired token in the same moment; the login is alive for all of them, and afterwards."""
    keep_expired(online.account())
    with writers(WRITE) as processes:
        for _ in range(3):
            write_at_once(processes)

    assert len(list(logged_in().list_records(COLLECTION))) == 3 * PROCESSES
    logged_in().create_record(COLLECTION, {"text": "after"})


def test_logout_ends_what_another_process_has_renewed(pds: FaultPds, monkeypatch: pytest.MonkeyPatch) -> None:
    """The newest refresh token is revoked, whichever this process knows."""
    pds.sessions.uses = 1
    Client.login(pds.handle, "password", save=True)
    here, there = Client.saved(), logged_in()
    for _ in range(3):
        there.create_record(COLLECTION, {"text": "renewed"})
    kept = SessionFile().find()
    assert kept is not None
    assert here is not None
    here.logout()

    (revoked,) = (asked for asked in pds.asked if asked.path.endswith("deleteSession"))
    assert revoked.headers["authorization"] == f"Bearer {kept.refresh_token}"


def test_a_clock_that_is_wrong_changes_nothing(online: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    """An hour ahead or behind: whether a token has expired is for the PDS to say."""
    account = online.account()
    Client.login(account.handle, account.password, save=True)
    first = SessionFile().find()
    now = time.time

    for wrong in (-3600, 3600):
        monkeypatch.setattr(time, "time", lambda wrong=wrong: now() + wrong)
        logged_in().create_record(COLLECTION, {"text": str(wrong)})
    assert SessionFile().find() == first

    keep_expired(account)
    monkeypatch.setattr(time, "time", lambda: now() - 7200)
    logged_in().create_record(COLLECTION, {"text": "expired, and not by this clock"})
    assert SessionFile().find() != first


@pytest.mark.parametrize(
    ("headers", "words"),
    [
        ({"Retry_After": "3600"}, "again in 1 hour, at "),
        ({"RateLimit_Reset": "3600", "RateLimit_Limit": "30"}, "again in 1 hour, at "),
        ({"RateLimit_Reset": "1767877200", "Date": "Thu, 08 Jan 2026 12:00:00 GMT"}, "again in 1 hour, at "),
        ({}, "RateLimitExceeded: Rate Limit Exceeded$"),
    ],
    ids=["retry-after", "seconds", "time-of-the-server", "unsaid"],
)
def test_a_limit_on_logins_says_until_when(pds: FaultPds, headers: Mapping[str, str], words: str) -> None:
    """And is not waited for: the person at the terminal decides."""
    limit = refused("RateLimitExceeded", status=429, message="Rate Limit Exceeded", **headers)
    pds.instead["/xrpc/com.atproto.server.createSession"] = limit
    began = time.monotonic()

    with pytest.raises(XrpcError, match=words) as caught:
        Client.login(pds.handle, "password")

    assert caught.value.status == 429
    assert caught.value.retry_after == (3600 if headers else None)
    assert time.monotonic() - began < 20


def test_a_busy_pds_ends_no_session(pds: FaultPds) -> None:
    """A limit on renewals is no reason to log in again: the login works once the limit is over."""
    pds.sessions.uses = 1
    Client.login(pds.handle, "password", save=True)
    logged_in().create_record(COLLECTION, {"text": "one"})
    renewal = "/xrpc/com.atproto.server.refreshSession"
    for answer, error in (
        (refused("RateLimitExceeded", status=429, Retry_After="3600"), XrpcError),
        (refused("UpstreamFailure", status=502), XrpcError),
    ):
        pds.instead[renewal] = answer
        with pytest.raises(error):
            logged_in().create_record(COLLECTION, {"text": "two"})
    del pds.instead[renewal]

    logged_in().create_record(COLLECTION, {"text": "two"})
    assert pds.sessions.writes == 2


def test_logout_from_a_pds_that_does_not_answer(pds: FaultPds) -> None:
    """It is forgotten here, and the error says that it lives on there."""
    client = Client.login(pds.handle, "password", save=True)
    pds.instead["/xrpc/com.atproto.server.deleteSession"] = refused("InternalServerError", status=500)

    with pytest.raises(UnavailableError, match=r"is logged out here, but .* has not ended the session"):
        client.logout()
    assert Client.saved() is None


@pytest.mark.parametrize(
    ("error", "message"),
    [
        ("AuthFactorTokenRequired", "two-factor login: give the code that .* has mailed .*or an App Password"),
        ("AccountTakedown", "cannot log in as .*taken down"),
        ("AuthenticationRequired", "cannot log in as .*Invalid identifier or password"),
    ],
)
def test_a_login_that_is_refused_says_why(pds: FaultPds, error: str, message: str) -> None:
    """And never repeats the password."""
    said = "Account has been taken down" if error == "AccountTakedown" else "Invalid identifier or password"
    pds.instead["/xrpc/com.atproto.server.createSession"] = refused(error, status=401, message=said)

    with pytest.raises(AuthenticationError, match=message) as caught:
        Client.login(pds.handle, "hunter2")
    assert "hunter2" not in str(caught.value)


def test_the_reference_pds_takes_blobs_of_an_account_without_a_verified_address(online: Network) -> None:
    """No account of the test network has one."""
    account = online.account()
    repository = Client.login(account.handle, account.password).repository
    assert repository is not None

    assert repository.upload_blob(b"blob", mime_type="text/plain").size == 4


def test_a_pds_that_wants_a_verified_address_says_so_itself(pds: FaultPds) -> None:
    """Its own words are shown, with its name for the error."""
    words = "Confirm your email address before you upload"
    pds.instead["/xrpc/com.atproto.repo.uploadBlob"] = refused("EmailNotVerified", message=words, status=403)
    repository = Client.login(pds.handle, "password").repository
    assert repository is not None

    with pytest.raises(XrpcError, match=f"answered 403 EmailNotVerified: {words}"):
        repository.upload_blob(b"blob", mime_type="text/plain")
