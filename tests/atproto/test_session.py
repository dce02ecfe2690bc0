"""Sessions: login, renewal, logout, and that no secret gets out; on real servers where a server is needed."""

import base64
import hashlib
import hmac
import json
import logging
import pickle
import stat
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.atproto.repository_contract import COLLECTION, thing
from tests.atproto.scripted_server import ScriptedServer
from tests.network.plugin import Account, Network

from atdata.atproto.client import Client
from atdata.atproto.session import Session, create_session
from atdata.atproto.session_file import SavedSession, SessionFile
from atdata.errors import AtdataError, AuthenticationError, InvalidSyntaxError, UnavailableError
from atdata.folders import config_folder
from atdata.net import Policy, Transport
from atdata.syntax import Did, Handle

DID = Did("did:plc:ewvi7nxzyoun6zhxrhs64oiz")
CREATE = "/xrpc/com.atproto.server.createSession"
REFRESH = "/xrpc/com.atproto.server.refreshSession"
ACCESS, NEW_ACCESS, KEY, NEW_KEY = "planted-access", "planted-new-access", "planted-refresh", "planted-new-refresh"
PASSWORD = "planted-password"
PLANTED = "planted-"


def saved(service: str = "https://pds.example.com", name: str = "alice", did: Did = DID) -> SavedSession:
    """A session with planted secrets."""
    return SavedSession(did, Handle(f"{name}.example.com"), service, ACCESS, KEY)


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer() as server:
        yield server


@pytest.fixture
def transport() -> Transport:
    return Transport(Policy(allow_private=True, attempts=1))


@pytest.fixture
def file(tmp_path: Path) -> SessionFile:
    return SessionFile(tmp_path / "config" / "sessions.json")


def expired(token: str, secret: str) -> str:
    """A PDS's token as it would be, had it been given a day earlier."""
    head, body, _ = token.split(".")
    claims = json.loads(base64.urlsafe_b64decode(body + "=="))
    claims |= {"iat": claims["iat"] - 86400, "exp": claims["iat"] - 80000}
    old = head + "." + base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    signature = hmac.digest(secret.encode(), old.encode(), hashlib.sha256)
    return old + "." + base64.urlsafe_b64encode(signature).decode().rstrip("=")


def keep_expired(account: Account) -> SavedSession:
    """Log in, and leave a session in the file whose access token has expired meanwhile."""
    Client.login(account.handle, account.password, save=True)
    file = SessionFile()
    fresh = file.find()
    assert fresh is not None
    old = SavedSession(
        fresh.did, fresh.handle, fresh.service, expired(fresh.access_token, account.pds.secret), fresh.refresh_token
    )
    file.save(old)
    return old


class TestOnRealServers:
    def test_the_wrong_password_is_an_error_of_authentication(self, online: Network) -> None:
        """It names the account, and not the password."""
        account = online.account()

        with pytest.raises(AuthenticationError, match=rf"cannot log in as {account.handle}: .*Invalid") as caught:
            Client.login(account.handle, PASSWORD)

        assert PLANTED not in str(caught.value)

    def test_an_expired_session_is_renewed_and_kept(self, online: Network) -> None:
        """The first write goes through, with new tokens in the file; the next process uses those."""
        account = online.account()
        old = keep_expired(account)
        client = Client.saved()
        assert client is not None
        assert client.repository is not None

        client.repository.create_record(COLLECTION, thing("one"))

        kept = SessionFile().find()
        assert kept is not None
        assert kept.access_token != old.access_token
        assert kept.refresh_token != old.refresh_token
        again = Client.saved()
        assert again is not None
        assert again.repository is not None
        again.repository.create_record(COLLECTION, thing("two"))
        assert SessionFile().find() == kept

    def test_an_upload_survives_an_expired_token(self, online: Network, tmp_path: Path) -> None:
        """A file of 30 MB is sent again from its start, whatever the server had taken of it."""
        keep_expired(online.account())
        client = Client.saved()
        assert client is not None
        assert client.repository is not None
        content = bytes(range(256)) * 117_188
        (tmp_path / "shard.tar").write_bytes(content)

        blob = client.repository.upload_blob(tmp_path / "shard.tar", mime_type="application/octet-stream")

        assert blob.cid.digest == hashlib.sha256(content).digest()

    def test_threads_renew_once(self, online: Network) -> None:
        """Four writers with one expired token use up one refresh token, not four."""
        keep_expired(online.account())
        client = Client.saved()
        assert client is not None
        repository = client.repository
        assert repository is not None

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda i: repository.create_record(COLLECTION, thing(str(i))), range(8)))

        assert len(list(repository.list_records(COLLECTION))) == 8

    def test_another_process_takes_what_the_first_has_renewed(self, online: Network) -> None:
        """Two clients of one file: the second finds the tokens of the first, and needs no refresh of its own."""
        keep_expired(online.account())
        clients = [Client.saved(), Client.saved()]
        for client in clients:
            assert client is not None
            assert client.repository is not None
            client.repository.create_record(COLLECTION, thing("one"))
            kept = SessionFile().find()
            if client is clients[0]:
                first = kept

        assert kept == first

    def test_logout_revokes(self, online: Network) -> None:
        """The file forgets the session, the PDS refuses its refresh token, and the client writes no more."""
        account = online.account()
        client = Client.login(account.handle, account.password, save=True)
        kept = SessionFile().find()
        assert kept is not None
        assert client.repository is not None

        client.logout()

        assert Client.saved() is None
        with pytest.raises(AuthenticationError, match="logged out"):
            client.repository.create_record(COLLECTION, thing("one"))
        ghost = Session(kept, client.transport)
        with pytest.raises(AuthenticationError, match="log in again"):
            ghost.renew(ghost.headers())
        client.logout()

    def test_several_accounts_are_kept(self, online: Network) -> None:
        """The last login is current; the others are found by handle and by DID; logout goes back to what is left."""
        alice, bob = online.account("alice"), online.account("bob", pds=1)
        for account in (alice, bob):
            Client.login(account.handle, account.password, save=True)

        current, by_handle, by_did = Client.saved(), Client.saved(f"@{alice.handle.upper()}"), Client.saved(alice.did)

        assert current is not None
        assert by_handle is not None
        assert by_did is not None
        assert (current.did, by_handle.did, by_did.did) == (bob.did, alice.did, alice.did)
        assert Client.saved("nobody.pds1.test") is None
        current.logout()
        left = Client.saved()
        assert left is not None
        assert left.did == alice.did

    def test_login_by_the_environment(self, online: Network, monkeypatch: pytest.MonkeyPatch) -> None:
        """Two variables make a client, and no file."""
        account = online.account()
        with pytest.raises(AuthenticationError, match="ATDATA_HANDLE and ATDATA_PASSWORD"):
            Client.from_env()
        monkeypatch.setenv("ATDATA_HANDLE", account.handle)
        monkeypatch.setenv("ATDATA_PASSWORD", account.password)

        assert Client.from_env().did == account.did
        assert Client.saved() is None
        assert not config_folder().exists()


def login(server: ScriptedServer, transport: Transport, **options: str) -> Session:
    """Log in to a server that answers as a test says."""
    known = Did(options["did"]) if "did" in options else None
    return create_session(
        "alice.example.com", PASSWORD, service=server.url, transport=transport, did=known, code=options.get("code")
    )


def test_second_factor_is_asked_for(server: ScriptedServer, transport: Transport) -> None:
    """The error says what to do; with the code, the login goes through."""
    server.say(CREATE, {"error": "AuthFactorTokenRequired", "message": "A sign in code has been sent"}, status=401)
    server.say(CREATE, {"did": DID, "handle": "alice.example.com", "accessJwt": ACCESS, "refreshJwt": KEY})

    with pytest.raises(AuthenticationError, match=r"two-factor login.*App Password"):
        login(server, transport)

    assert login(server, transport, code="ABCDE-FGHIJ").did == DID
    assert json.loads(server.asked[1].body)["authFactorToken"] == "ABCDE-FGHIJ"


@pytest.mark.parametrize("service", ["http://pds.example.com", "pds.example.com", "https://pds.example.com/xrpc"])
def test_a_password_goes_over_https_only(service: str) -> None:
    """Outside private networks a PDS without TLS gets none, and an address that is none is said so."""
    with pytest.raises(InvalidSyntaxError, match="not the address of a PDS"):
        create_session("alice.example.com", PASSWORD, service=service, transport=Transport())


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"did": "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa"}, AuthenticationError, "has logged in"),
        ({"did": "nonsense"}, UnavailableError, "without an account"),
        ({"handle": "nonsense"}, UnavailableError, "without an account"),
        ({"accessJwt": None}, UnavailableError, "usable tokens"),
        ({"accessJwt": "a\r\nHost: evil"}, UnavailableError, "usable tokens"),
        ({"refreshJwt": "two words"}, UnavailableError, "usable tokens"),
        ({"refreshJwt": ""}, UnavailableError, "usable tokens"),
    ],
)
def test_odd_sessions_are_refused(
    server: ScriptedServer, transport: Transport, change: dict[str, object], error: type[AtdataError], message: str
) -> None:
    """Another account than asked for, none, and tokens that are no tokens."""
    answer = {"did": DID, "handle": "alice.example.com", "accessJwt": ACCESS, "refreshJwt": KEY, **change}
    server.say(CREATE, answer)

    with pytest.raises(error, match=message) as caught:
        login(server, transport, did=DID)

    assert "evil" not in str(caught.value)


def test_a_session_that_is_over_says_so(server: ScriptedServer, transport: Transport) -> None:
    """Whatever the PDS has against the refresh token, the caller can only log in again."""
    session = Session(saved(server.url), transport)
    for name in ("ExpiredToken", "AccountTakedown"):
        server.say(REFRESH, {"error": name, "message": "no"}, status=400)

        with pytest.raises(AuthenticationError, match="is over, log in again"):
            session.renew(session.headers())


def test_a_broken_server_ends_no_session(server: ScriptedServer, transport: Transport, file: SessionFile) -> None:
    """While the PDS is down, the tokens stay; logout forgets them all the same."""
    server.say(REFRESH, "down", status=502)
    server.say("/xrpc/com.atproto.server.deleteSession", "down", status=502)
    session = Session(saved(server.url), transport)
    session.save(file)

    with pytest.raises(UnavailableError):
        session.renew(session.headers())
    assert file.find() == saved(server.url)
    with pytest.raises(UnavailableError):
        session.end()
    assert file.find() is None


def test_the_file_is_for_the_user_alone(file: SessionFile) -> None:
    """Mode 0600 in a folder of mode 0700, from the first moment."""
    file.save(saved())

    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.path.parent.stat().st_mode) == 0o700
    assert sorted(each.name for each in file.path.parent.iterdir()) == ["sessions.json", "sessions.lock"]


@pytest.mark.parametrize("content", [b"", b"{", b'{"accounts": {"a": 7}}', b"\xff\xff", b'{"accounts": {"a": {}}}'])
def test_a_damaged_file_says_what_to_do(file: SessionFile, content: bytes) -> None:
    """Nothing of it is shown, and nothing is written over it."""
    file.path.parent.mkdir()
    file.path.write_bytes(content)

    for use in (file.find, file.all, lambda: file.save(saved())):
        with pytest.raises(AuthenticationError, match="delete it and log in again"):
            use()
    assert file.path.read_bytes() == content


SAVE_MANY = """
import sys
from pathlib import Path
from atdata.atproto.session_file import SavedSession, SessionFile
for i in range(20):
    SessionFile(Path(sys.argv[1])).save(SavedSession(f"did:web:{sys.argv[2]}{i}.example", "a.b", "https://c", "d", "e"))
"""


def test_processes_lose_nothing_of_each_other(file: SessionFile) -> None:
    """Three processes that save twenty logins each leave sixty."""
    command = [sys.executable, "-c", SAVE_MANY, str(file.path)]
    processes = [subprocess.Popen([*command, name]) for name in "abc"]

    assert [process.wait(timeout=60) for process in processes] == [0, 0, 0]
    assert len(file.all()) == 60


def test_a_full_disk_leaves_the_old_file(file: SessionFile, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be written whole is not written."""
    file.save(saved())

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        file.save(saved(name="bob", did=Did("did:web:bob.example")))

    assert file.all() == (saved(),)
    assert len(list(file.path.parent.iterdir())) == 2


def test_new_tokens_do_not_bring_a_removed_account_back(
    server: ScriptedServer, transport: Transport, file: SessionFile
) -> None:
    """Logged out in one process, renewed in another: the logout stands."""
    server.say(REFRESH, {"accessJwt": NEW_ACCESS, "refreshJwt": NEW_KEY})
    session = Session(saved(server.url), transport)
    session.save(file)
    file.remove(DID)

    session.renew(session.headers())

    assert file.all() == ()


def test_no_secret_gets_out(
    server: ScriptedServer, transport: Transport, file: SessionFile, caplog: pytest.LogCaptureFixture
) -> None:
    """Not by repr, str, pickle, log, error, traceback or the names of files; only the file itself has them."""
    caplog.set_level(logging.DEBUG)
    out = []

    def attempt(action: Callable[[], object]) -> None:
        try:
            out.append(repr(action()))
        except Exception as error:
            out.extend(traceback.format_exception(error))

    server.say(CREATE, {"error": "Odd", "message": f"your password {PASSWORD} is odd"}, status=401)
    server.say(CREATE, {"did": DID, "handle": "alice.example.com", "accessJwt": ACCESS, "refreshJwt": KEY})
    attempt(lambda: login(server, transport))
    session = login(server, transport)
    session.save(file)
    client = Client(transport=transport, resolver=Client.anonymous().resolver, session=session)
    for thing_with_secrets in (session, saved(), file, client, client.repository, file.find()):
        out.append(f"{thing_with_secrets!r} {thing_with_secrets}")
        attempt(lambda kept=thing_with_secrets: pickle.dumps(kept))  # type: ignore[misc]  # bound in the loop
    server.say(REFRESH, {"error": "Odd", "message": f"{KEY} is odd"}, status=400)
    attempt(lambda: session.renew(session.headers()))
    out.extend(record.getMessage() for record in caplog.records)
    out.extend(str(path) for path in file.path.parent.iterdir())

    assert server.asked
    assert PLANTED not in "".join(out)
    assert PLANTED in file.path.read_text()
