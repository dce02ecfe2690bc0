"""The repository on a PDS, and reading any repository without an account: on real servers, and on ones that lie."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.atproto.repository_contract import COLLECTION, RepositoryContract, thing
from tests.atproto.scripted_server import ScriptedServer
from tests.network.plugin import Network, post

from atdata.atproto.client import Client
from atdata.atproto.dagcbor import record_cid
from atdata.atproto.network import NetworkRepository, list_repository, read_record
from atdata.atproto.repository import Repository
from atdata.atproto.xrpc import Xrpc
from atdata.errors import AtdataError, IntegrityError, LimitError, NotFoundError, UnavailableError
from atdata.net import Policy, Transport
from atdata.storage.base import read_all
from atdata.syntax import Did, new_tid, parse_at_uri

DID = Did("did:plc:ewvi7nxzyoun6zhxrhs64oiz")
READ_IN_A_FRESH_PROCESS = """
import json, sys
from atdata.atproto.client import Client
from atdata.syntax import parse_at_uri
client = Client.anonymous()
record = client.get_record(parse_at_uri(sys.argv[1]))
listed = [str(each.uri) for each in client.list_records(record.uri.authority, record.uri.collection)]
print(json.dumps({"uri": str(record.uri), "cid": record.cid, "value": record.value, "listed": listed}))
"""


class TestNetworkRepository(RepositoryContract):
    @pytest.fixture
    def repository(self, online: Network) -> Repository:
        account = online.account()
        repository = Client.login(account.handle, account.password).repository
        assert repository is not None
        return repository


def test_a_process_without_account_reads_both_servers(online: Network) -> None:
    """Records of two PDSes, by handle and by DID, in fresh processes that know nothing of who wrote them."""
    for number in (0, 1):
        account = online.account("alice", pds=number)
        repository = Client.login(account.handle, account.password).repository
        assert repository is not None
        key = new_tid()
        reference = repository.create_record(COLLECTION, thing("here"), rkey=key)

        by_handle = f"at://{account.handle}/{COLLECTION}/{key}"
        command = [sys.executable, "-c", READ_IN_A_FRESH_PROCESS, by_handle]
        read = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

        assert read == {
            "uri": reference.uri,
            "cid": reference.cid,
            "value": thing("here"),
            "listed": [reference.uri],
        }


def test_a_deactivated_account_is_said_to_be_none(online: Network) -> None:
    """Its records are not found, alone and listed, and the message gives the reasons that there may be."""
    account = online.account()
    client = Client.login(account.handle, account.password)
    assert client.repository is not None
    uri = parse_at_uri(client.repository.create_record(COLLECTION, thing("one")).uri)
    token = post(
        account.pds.url,
        "com.atproto.server.createSession",
        {"identifier": account.handle, "password": account.password},
    )["accessJwt"]
    post(account.pds.url, "com.atproto.server.deactivateAccount", {}, token=token)

    with pytest.raises(NotFoundError, match="deactivated"):
        Client.anonymous().get_record(uri)
    with pytest.raises(NotFoundError, match="deactivated"):
        list(Client.anonymous().list_records(Did(account.did), COLLECTION))


def test_limit_of_blobs_is_the_servers(online: Network, tmp_path: Path) -> None:
    """What the PDS tells is the limit, and a larger file is refused before a byte is sent."""
    account = online.account()
    repository = Client.login(account.handle, account.password).repository
    assert repository is not None
    file = tmp_path / "large"
    with file.open("wb") as sparse:
        sparse.truncate(repository.blob_limit + 1)

    with pytest.raises(LimitError, match=r"209,715,201 bytes, .* at most 209,715,200") as caught:
        repository.upload_blob(file, mime_type="application/x-tar")

    assert caught.value.limit == repository.blob_limit == 200 * 1024 * 1024


def test_a_stream_is_uploaded_from_where_it_stands(online: Network, tmp_path: Path) -> None:
    """Several megabytes go up from the middle of a file and come back the same."""
    account = online.account()
    repository = Client.login(account.handle, account.password).repository
    assert repository is not None
    content = bytes(range(256)) * 20_000
    (tmp_path / "file").write_bytes(content)

    with (tmp_path / "file").open("rb") as file:
        file.seek(1000)
        blob = repository.upload_blob(file, mime_type="application/octet-stream")
    repository.create_record(COLLECTION, thing("one", blob))

    assert blob.size == len(content) - 1000
    assert read_all(repository.blob_store(), str(blob.cid), limit=len(content)) == content[1000:]


def test_repr_shows_no_secret(online: Network) -> None:
    """Whose repository and where, and nothing else."""
    account = online.account()
    repository = Client.login(account.handle, account.password).repository

    assert isinstance(repository, NetworkRepository)
    assert repr(repository) == f"NetworkRepository({account.did}, at {account.pds.url})"


@pytest.fixture
def pds() -> Iterator[ScriptedServer]:
    with ScriptedServer() as server:
        yield server


def anonymous(server: ScriptedServer) -> Xrpc:
    """Calls to a server that answers as a test says."""
    return Xrpc(server.url, Transport(Policy(allow_private=True, attempts=1)))


def record(**changes: Any) -> dict[str, Any]:
    """What a PDS says of one record."""
    value = {"$type": COLLECTION, "text": "true"}
    return {"uri": f"at://{DID}/{COLLECTION}/self", "cid": str(record_cid(value)), "value": value, **changes}


@pytest.mark.parametrize(
    ("answer", "error", "message"),
    [
        (record(value={"$type": COLLECTION, "text": "false"}), IntegrityError, "has the CID"),
        (record(uri=f"at://{DID}/{COLLECTION}/other"), UnavailableError, "was asked for"),
        (record(uri="at://did:plc:aaaaaaaaaaaaaaaaaaaaaaaa/com.example.thing/self"), UnavailableError, "was asked for"),
        (record(uri="https://example.com"), UnavailableError, "AT-URI"),
        (record(value=["not", "a", "record"]), UnavailableError, "something else than a record"),
        ({"hello": "world"}, UnavailableError, "something else than a record"),
    ],
)
def test_a_server_that_lies_is_not_believed(
    pds: ScriptedServer, answer: dict[str, Any], error: type[AtdataError], message: str
) -> None:
    """A value that is not what was asked for, or does not have its CID, never becomes a record."""
    pds.say("/xrpc/com.atproto.repo.getRecord", answer)
    pds.say("/xrpc/com.atproto.repo.listRecords", {"records": [answer]})

    with pytest.raises(error, match=message):
        read_record(anonymous(pds), DID, COLLECTION, "self")
    if "other" not in str(answer):
        with pytest.raises(error):
            list(list_repository(anonymous(pds), DID, COLLECTION))


def test_a_record_without_cid_gets_its_own(pds: ScriptedServer) -> None:
    """The lexicon lets a server leave the CID out; it follows from the value."""
    pds.say("/xrpc/com.atproto.repo.getRecord", {key: value for key, value in record().items() if key != "cid"})

    assert read_record(anonymous(pds), DID, COLLECTION, "self").cid == record()["cid"]


@pytest.mark.parametrize(
    ("name", "message"),
    [("RepoDeactivated", "deactivated"), ("RepoTakendown", "taken down"), ("RecordNotFound", "no such record")],
)
def test_what_is_gone_is_not_found(pds: ScriptedServer, name: str, message: str) -> None:
    """Each of the server's reasons is told in words."""
    pds.say("/xrpc/com.atproto.repo.getRecord", {"error": name, "message": "x"}, status=400)

    with pytest.raises(NotFoundError, match=message):
        read_record(anonymous(pds), DID, COLLECTION, "self")


def test_a_cursor_that_stands_still_ends_the_list(pds: ScriptedServer) -> None:
    """A server that repeats a page with its cursor for ever does not hold the reader for ever."""
    pds.say("/xrpc/com.atproto.repo.listRecords", {"records": [record()], "cursor": "again"})

    assert len(list(list_repository(anonymous(pds), DID, COLLECTION))) == 2
