"""Accounts and blobs as they come and go, on real PDSes: what a reader sees, and what it can do."""

from collections.abc import Callable

import pytest
from tests.network.moving import MovableAccount, token_of
from tests.network.plugin import Account, Network, administer, post
from tests.network.test_chain import Picture, pictures

from atdata.atproto.client import Client
from atdata.atproto.session_file import SessionFile
from atdata.errors import AtdataError, NotFoundError
from atdata.loading.loader import DatasetLoader, load
from atdata.publishing.publisher import DatasetPublisher
from atdata.syntax import Did, family, parse_at_uri, parse_nsid

STATUS = "com.atproto.admin.updateSubjectStatus"


def published(account: Account, *, samples: int = 10) -> str:
    """The AT-URI of a dataset of several blobs."""
    publisher = DatasetPublisher(Client.login(account.handle, account.password))
    return publisher.publish_dataset(pictures(samples), name="Pictures", storage="blobs")


def labels(uri: str, client: Client) -> list[int]:
    """All samples, in order."""
    return [sample.label for sample in load(uri, Picture, client=client)]


def deactivate(account: Account) -> None:
    """As the owner does."""
    post(account.pds.url, "com.atproto.server.deactivateAccount", {}, token=token_of(account))


def take_down(account: Account, *, applied: bool = True) -> None:
    """As the administrator does."""
    subject = {"$type": "com.atproto.admin.defs#repoRef", "did": account.did}
    administer(account.pds, STATUS, {"subject": subject, "takedown": {"applied": applied}})


def delete(account: Account) -> None:
    """As the administrator does; the DID document stays as it is."""
    administer(account.pds, "com.atproto.admin.deleteAccount", {"did": account.did})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (deactivate, r"its owner has deactivated the account; .* \(deactivated\)"),
        (take_down, r"localhost:\d+ has taken the account down; .* another copy \(takendown\)"),
        (delete, r"localhost:\d+ does not have this repository, although the DID document names it"),
    ],
)
def test_the_state_of_an_account_is_named(online: Network, change: Callable[[Account], None], words: str) -> None:
    """For its records, its lists and its blobs alike, also of a dataset that was opened before."""
    account = online.account()
    uri = published(account)
    anybody = Client.anonymous()
    opened = load(uri, Picture, client=anybody)
    change(account)

    readings: list[Callable[[], object]] = [
        lambda: load(uri, client=anybody),
        lambda: list(opened),
        lambda: list(DatasetLoader(anybody).list_datasets(account.did)),
    ]
    for read in readings:
        with pytest.raises(NotFoundError, match=rf"the repository {account.did}: {words}"):
            read()


def test_an_account_that_comes_back_is_read_again(online: Network) -> None:
    """Nothing is remembered against it."""
    account = online.account()
    uri, anybody = published(account), Client.anonymous()
    take_down(account)
    with pytest.raises(NotFoundError, match="takendown"):
        labels(uri, anybody)
    take_down(account, applied=False)

    assert labels(uri, anybody) == list(range(10))


def test_a_blob_that_was_taken_down_is_told_from_one_that_is_gone(online: Network) -> None:
    """The record still names it: the PDS keeps it back, and nobody else's mistake is looked for."""
    account = online.account()
    uri = published(account)
    (entry,) = DatasetLoader(Client.anonymous()).list_datasets(account.did)
    blob = entry.record.to_json()["storage"]["blobs"][0]["ref"]["$link"]
    subject = {"$type": "com.atproto.admin.defs#repoBlobRef", "did": account.did, "cid": blob, "recordUri": uri}
    administer(account.pds, STATUS, {"subject": subject, "takedown": {"applied": True}})

    with pytest.raises(NotFoundError, match=rf"has no blob {blob}: the record {uri} names it, but the PDS has taken"):
        labels(uri, Client.anonymous())


def test_a_record_that_was_taken_down_is_not_there(online: Network) -> None:
    """As with one that was deleted: the PDS makes no difference."""
    account = online.account()
    uri = published(account)
    record = Client.anonymous().get_record(parse_at_uri(uri))
    subject = {"$type": "com.atproto.repo.strongRef", "uri": uri, "cid": record.cid}
    administer(account.pds, STATUS, {"subject": subject, "takedown": {"applied": True}})

    with pytest.raises(NotFoundError, match="there is no such record"):
        labels(uri, Client.anonymous())


def test_a_record_deleted_while_it_is_loaded(online: Network) -> None:
    """The blobs go with the record, and the error says which record that was."""
    account = online.account()
    uri = published(account)
    opened = load(uri, Picture, client=Client.anonymous())
    place = parse_at_uri(uri)
    body = {"repo": account.did, "collection": place.collection, "rkey": place.rkey}
    post(account.pds.url, "com.atproto.repo.deleteRecord", body, token=token_of(account))

    with pytest.raises(NotFoundError, match=f"the record {uri} was deleted"):
        list(opened)


def test_reading_follows_an_account_that_moves(online: Network) -> None:
    """A dataset that was opened before is read on at the new PDS; by handle it is found under the new name."""
    mover = MovableAccount(online, "mover")
    before = mover.account
    uri = published(before)
    anybody = Client.anonymous()
    opened = load(uri, Picture, client=anybody)
    Client.login(before.handle, before.password, save=True)
    mover.copy_to(1)
    assert labels(uri, anybody) == list(range(10))

    mover.switch_to(1)

    assert [sample.label for sample in opened] == list(range(10))
    assert labels(uri, anybody) == list(range(10))
    assert len(list(anybody.list_records(Did(before.did), parse_nsid(f"{family()}.dataset")))) == 1
    assert anybody.resolver.pds(Did(before.did)) == online.pds[1].url
    fresh = Client.anonymous()
    assert labels(uri.replace(before.did, mover.account.handle), fresh) == list(range(10))
    with pytest.raises(NotFoundError, match=f"nobody has the handle {before.handle}"):
        labels(uri.replace(before.did, before.handle), fresh)
    assert "AccountDeactivated" in (late := old_session_error())
    assert "log in again" in late
    assert Client.login(mover.account.handle, mover.account.password).did == before.did


def old_session_error() -> str:
    """What a login at the PDS that an account has left is told when it writes."""
    client = Client.saved()
    assert client is not None
    assert SessionFile().all()
    assert client.repository is not None
    with pytest.raises(AtdataError) as caught:
        client.repository.create_record(parse_nsid("com.example.thing"), {"text": "late"})
    return str(caught.value)
