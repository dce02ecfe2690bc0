"""The client: who the caller is, whose records it reads, and what a pickled one takes along."""

import pickle
from pathlib import Path

import pytest
from tests.atproto.repository_contract import COLLECTION, thing
from tests.network.plugin import Network

from atdata.atproto.client import Client
from atdata.atproto.local import LOCAL_DID, LocalRepository
from atdata.errors import InvalidSyntaxError, NotFoundError
from atdata.syntax import Did, parse_at_uri

STRANGER = Did("did:plc:ewvi7nxzyoun6zhxrhs64oiz")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of its own for atdata's files."""
    monkeypatch.setenv("ATDATA_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def write_locally(client: Client, text: str = "local") -> str:
    """Write one record; return its AT-URI."""
    assert client.repository is not None
    return client.repository.create_record(COLLECTION, thing(text)).uri


def test_nobody_is_logged_in_at_first(home: Path) -> None:
    """Without a file of sessions there is no saved client, and asking makes no file."""
    assert Client.saved() is None
    assert not home.exists()


def test_anonymous_client_is_nobody() -> None:
    """It has no DID, no handle and nothing to write to."""
    client = Client.anonymous()

    assert (client.did, client.handle, client.repository, client.is_local) == (None, None, None, False)
    assert repr(client) == "Client.anonymous()"
    client.logout()


def test_local_client_is_the_local_repository(home: Path, tmp_path: Path) -> None:
    """In the user's own folder, or in the one that is given."""
    for client, folder in ((Client.local(), home / "data" / "repository"), (Client.local(tmp_path), tmp_path)):
        assert (client.did, client.handle, client.is_local) == (LOCAL_DID, None, True)
        assert isinstance(client.repository, LocalRepository)
        assert client.repository.folder == folder


def test_every_client_reads_the_local_repository() -> None:
    """What was published without an account can be read by whoever is logged in, on the same machine."""
    uri = parse_at_uri(write_locally(Client.local()))

    for client in (Client.local(), Client.anonymous()):
        assert client.get_record(uri).value["text"] == "local"
        assert [record.uri for record in client.list_records(LOCAL_DID, COLLECTION)] == [uri]


def test_a_local_client_reads_its_own_folder(tmp_path: Path) -> None:
    """Two local repositories are not mixed up."""
    write_locally(Client.local(), "in the user's own")
    uri = parse_at_uri(write_locally(Client.local(tmp_path), "elsewhere"))

    assert Client.local(tmp_path).get_record(uri).value["text"] == "elsewhere"
    with pytest.raises(NotFoundError):
        Client.local().get_record(uri)


@pytest.mark.parametrize("uri", ["at://did:web:localhost", "at://did:web:localhost/com.example.thing"])
def test_a_uri_without_record_is_said_so(uri: str) -> None:
    """A repository or a collection is not a record."""
    with pytest.raises(InvalidSyntaxError, match="names no record"):
        Client.anonymous().get_record(parse_at_uri(uri))


def test_own_is_the_local_repository_and_the_account() -> None:
    """Nobody else's, whatever a record says."""
    assert Client.local().is_own(LOCAL_DID)
    assert Client.anonymous().is_own(LOCAL_DID)
    assert not Client.local().is_own(STRANGER)
    assert not Client.anonymous().is_own(STRANGER)


def test_handle_domain_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """For AT-URIs with an authority of one label."""
    assert Client.anonymous().handle_domain is None
    monkeypatch.setenv("ATDATA_HANDLE_DOMAIN", "example.com")

    assert Client.local().handle_domain == Client.anonymous().handle_domain == "example.com"


def test_a_local_client_survives_pickling() -> None:
    """The copy reads and writes the same folder."""
    client = Client.local()
    uri = parse_at_uri(write_locally(client))
    copy: Client = pickle.loads(pickle.dumps(client))

    assert copy.get_record(uri).value["text"] == "local"
    assert copy.is_local


def test_a_copy_of_a_login_is_nobody(online: Network) -> None:
    """The session stays behind: the copy reads what everybody can read."""
    account = online.account()
    client = Client.login(account.handle, account.password)
    uri = parse_at_uri(write_locally(client, "on the network"))
    copy: Client = pickle.loads(pickle.dumps(client))

    assert copy.get_record(uri).value["text"] == "on the network"
    assert (copy.did, copy.repository) == (None, None)
    assert repr(client) == f"Client({account.handle}, {account.did})"


def test_login_by_did_and_at_a_given_server(online: Network) -> None:
    """The DID is as good as the handle, and the PDS may be named."""
    account = online.account(pds=1)

    client = Client.login(account.did, account.password, pds=account.pds.url)

    assert (client.did, client.handle) == (account.did, account.handle)
    assert client.is_own(Did(account.did))


@pytest.mark.parametrize("handle", ["alice", "alice@example.com", "", "at://alice.example.com"])
def test_login_with_no_handle_says_what_one_is(handle: str) -> None:
    """Before anybody is asked."""
    with pytest.raises(InvalidSyntaxError, match="not a valid handle"):
        Client.login(handle, "password")


def test_login_with_an_unknown_handle(online: Network) -> None:
    """The error is about the handle, not about the password."""
    with pytest.raises(NotFoundError, match="nobody has the handle"):
        Client.login("nobody.pds1.test", "password")
