"""Versions: found backwards and forwards, compared, and however the links are broken."""

from pathlib import Path
from typing import Any

import pytest
from tests.local_client import DATASET, Digit, digits
from tests.network.plugin import Network

from atdata.atproto.client import Client
from atdata.data.writer import WrittenShard, write_samples
from atdata.errors import NotFoundError
from atdata.loading.loader import DatasetLoader
from atdata.loading.versions import find_newer
from atdata.publishing.publisher import DatasetPublisher
from atdata.syntax import AtUri, parse_at_uri


@pytest.fixture
def many(tmp_path: Path) -> list[WrittenShard]:
    """Six shards."""
    return write_samples(digits(18), tmp_path / "digits-%06d.tar", shard_samples=3)


def chain(publisher: DatasetPublisher, shards: list[WrittenShard]) -> list[str]:
    """Three versions, the oldest first."""
    first = publisher.publish_dataset(shards[:3], "Digits", version="1", sample_type=Digit)
    second = publisher.publish_dataset(
        shards[1:5], "Digits", version="2", license="CC0-1.0", previous=first, sample_type=Digit
    )
    third = publisher.publish_dataset(
        [str(shard.path) for shard in shards[1:5]],
        "Figures",
        version="3",
        license="CC0-1.0",
        previous=second,
        sample_type=Digit,
        storage="url",
        urls="https://example.com/digits-{000000..000003}.tar",
    )
    return [first, second, third]


def test_all_are_found_from_any_of_them(client: Client, publisher: DatasetPublisher, many: list[WrittenShard]) -> None:
    """The newest first, each with what differs from the one before: fields, storage, shards by their CIDs."""
    uris = chain(publisher, many)
    publisher.publish_dataset(digits(2), "Others")

    for uri in uris:
        found = DatasetLoader(client).list_versions(uri)

        assert [version.uri for version in found] == uris[::-1]
        assert [version.changes for version in found] == [
            ("name", "storage: blobs -> urls"),
            ("licence", "2 shards added", "1 shard removed"),
            (),
        ]
        assert [version.previous for version in found] == [uris[1], uris[0], None]
        assert {version.problem for version in found} == {""}


def test_found_on_the_network_by_handle(online: Network, many: list[WrittenShard]) -> None:
    """By nobody, through the handle, on a PDS."""
    account = online.account("vera")
    uris = chain(DatasetPublisher(Client.login(account.handle, account.password)), many)

    found = DatasetLoader().list_versions(f"at://{account.handle}/dataset/{parse_at_uri(uris[1]).rkey}")

    assert [version.uri for version in found] == uris[::-1]
    assert found[1].changes == ("licence", "2 shards added", "1 shard removed")


def put(client: Client, rkey: str, **fields: Any) -> str:
    """Write a record by hand."""
    assert client.repository is not None
    value = {"name": rkey, "createdAt": "2026-01-07T12:00:00Z"} | fields
    value = {"storage": {"$type": f"{DATASET}#urlStorage", "urls": ["https://example.com/a.tar"]}} | value
    return client.repository.put_record(DATASET, rkey, value).uri


def link(rkey: str) -> dict[str, str]:
    """A link to a record, by any CID."""
    cid = "bafyreifvm7wex7pk2kxfx6o6mbcolv3hqz4mrv3j7vssbxugohwtj6axy4"
    return {"uri": f"at://did:web:localhost/{DATASET}/{rkey}", "cid": cid}


def keys(client: Client, uri: str) -> list[str]:
    """The keys of the versions that are found."""
    return [str(parse_at_uri(version.uri).rkey) for version in DatasetLoader(client).list_versions(uri)]


def test_circles_end(client: Client) -> None:
    """Two that name each other, and one that names itself, are each found once."""
    put(client, "a", previousVersion=link("b"))
    put(client, "b", previousVersion=link("a"))
    itself = put(client, "c", previousVersion=link("c"))

    assert sorted(keys(client, f"at://did:web:localhost/{DATASET}/a")) == ["a", "b"]
    assert keys(client, itself) == ["c"]


def test_a_version_with_two_newer_ones_has_both(client: Client) -> None:
    """Branches are all listed, those further away first."""
    start = put(client, "a")
    put(client, "b", previousVersion=link("a"))
    put(client, "c", previousVersion=link("a"))
    put(client, "d", previousVersion=link("c"))

    assert keys(client, start) == ["d", "c", "b", "a"]


def test_broken_versions_are_listed_with_the_reason(client: Client) -> None:
    """A record that is gone ends the chain, one that breaks its lexicon does not; an edited one is told."""
    newest = put(client, "c", previousVersion=link("b"))
    put(client, "b", previousVersion=link("a"), tags="no list")

    c, b, a = DatasetLoader(client).list_versions(newest)

    assert c.changes[0].startswith("can't be compared: tags")
    assert "edited since" in c.problem
    assert (b.record, "tags" in b.problem) == (None, True)
    assert (a.record, a.cid, "no record" in a.problem) == (None, None, True)
    with pytest.raises(NotFoundError):
        DatasetLoader(client).list_versions(a.uri)


def test_shards_nobody_has_read_are_not_compared(client: Client) -> None:
    """Where a record says nothing of its shards, that is said."""
    put(client, "a")
    uri = put(client, "b", previousVersion=link("a"))

    assert DatasetLoader(client).list_versions(uri)[0].changes == ("name", "shards: not known")


def test_the_next_newer_one_alone(client: Client) -> None:
    """Cheap: the newest records of the repository are looked through; no answer is no newer version."""
    first = parse_at_uri(put(client, "a"))
    second = parse_at_uri(put(client, "b", previousVersion=link("a")))

    assert find_newer(client, first) == second
    assert find_newer(client, second) is None
    assert find_newer(client, AtUri(parse_at_uri("at://nobody.invalid").authority, DATASET, first.rkey)) is None
