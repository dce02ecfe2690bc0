"""Editing: what describes a dataset changes, nothing else does, and nobody's edit is lost."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.local_client import DATASET, digits
from tests.network.plugin import Network, use

from atdata.atproto.client import Client
from atdata.atproto.records import StrongRef
from atdata.errors import AuthenticationError, InvalidRecordError, InvalidSyntaxError, NotFoundError, RefusedError
from atdata.loading.loader import DatasetLoader
from atdata.publishing.editing import Changes
from atdata.publishing.publisher import DatasetPublisher
from atdata.syntax import Nsid, parse_at_uri


@pytest.fixture(params=["local", "network", "old_network"])
def anywhere(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Client:
    """A client of the local repository, of a PDS, and of an old PDS."""
    if request.param == "local":
        client: Client = request.getfixturevalue("client")
        return client
    network: Network = use(
        request.getfixturevalue(request.param), monkeypatch, request.getfixturevalue("tmp_path") / "home"
    )
    account = network.account("edith")
    return Client.login(account.handle, account.password)


def value_at(client: Client, uri: str) -> dict[str, Any]:
    """The record as it is now."""
    return client.get_record(parse_at_uri(uri)).value


def test_what_describes_changes_and_all_else_stays(anywhere: Client) -> None:
    """Blobs, shards, schema and unknown fields are the same to the byte, and the samples are still there."""
    publisher = DatasetPublisher(anywhere)
    uri = publisher.publish_dataset(digits(), "Digits", tags=["one", "two"], homepage="https://example.com/")
    place = parse_at_uri(uri)
    assert anywhere.repository is not None
    before = value_at(anywhere, uri) | {"com.example.note": {"list": [], "number": 7}}
    anywhere.repository.put_record(DATASET, place.rkey or "", before)

    edited = publisher.edit_dataset(
        uri, name="Figures", license="CC0-1.0", add_tags=["three"], remove_tags=["one"], clear=["homepage"]
    )

    after = value_at(anywhere, uri)
    expected = before | {"name": "Figures", "license": "CC0-1.0", "tags": ["two", "three"]}
    del expected["homepage"]
    assert after == expected
    assert edited.cid == anywhere.get_record(place).cid
    assert edited.changed == {
        "name": ("Digits", "Figures"),
        "license": (None, "CC0-1.0"),
        "tags": (["one", "two"], ["two", "three"]),
        "homepage": ("https://example.com/", None),
    }
    assert len(list(DatasetLoader(anywhere).load_dataset(uri))) == 10


def test_what_is_so_already_is_not_written(client: Client, publisher: DatasetPublisher) -> None:
    """Same name, a tag that is there, a tag and a field that are not: the record keeps its CID."""
    uri = publisher.publish_dataset(digits(), "Digits", tags=["one"])
    cid = client.get_record(parse_at_uri(uri)).cid

    edited = publisher.edit_dataset(uri, name="Digits", add_tags=["one"], remove_tags=["two"], clear=["citation"])

    assert (edited.cid, edited.changed) == (cid, {})


def test_the_last_tag_leaves_no_empty_list(client: Client, publisher: DatasetPublisher) -> None:
    """All tags replaced; then all removed."""
    uri = publisher.publish_dataset(digits(), "Digits", tags=["one", "two"])

    publisher.edit_dataset(uri, tags="three")
    assert value_at(client, uri)["tags"] == ["three"]
    publisher.edit_dataset(uri, remove_tags=["three"])
    assert "tags" not in value_at(client, uri)


@pytest.mark.parametrize("field", ["storage", "shards", "manifest", "mirrors", "size", "splits", "schemaRef"])
def test_what_the_shards_are_is_not_edited(publisher: DatasetPublisher, field: str) -> None:
    """It is refused with the way that there is: a new version."""
    uri = publisher.publish_dataset(digits(), "Digits")

    with pytest.raises(RefusedError, match="publish a new version"):
        publisher.edit_dataset(uri, clear=[field])


@pytest.mark.parametrize(
    ("changes", "error", "says"),
    [
        ({"name": ""}, InvalidRecordError, "name"),
        ({"name": "x" * 300}, InvalidRecordError, "name"),
        ({"clear": ["name"]}, InvalidRecordError, "name"),
        ({"description": "\x07"}, InvalidRecordError, "description"),
        ({"homepage": "ftp://example.com"}, InvalidRecordError, "homepage"),
        ({"homepage": "https://user:secret@example.com/"}, RefusedError, "homepage"),
        ({"add_tags": [str(i) for i in range(33)]}, InvalidRecordError, "tags"),
        ({"clear": ["createdAt"]}, InvalidSyntaxError, "createdAt"),
        ({"license": "MIT", "clear": ["license"]}, InvalidSyntaxError, "license"),
        ({"tags": ["a"], "add_tags": ["b"]}, InvalidSyntaxError, "tags"),
    ],
)
def test_a_bad_value_changes_nothing(
    client: Client, publisher: DatasetPublisher, changes: Mapping[str, Any], error: type[Exception], says: str
) -> None:
    """It is refused before anything is written, and the field is named."""
    uri = publisher.publish_dataset(digits(), "Digits")
    before = value_at(client, uri)

    with pytest.raises(error, match=says):
        publisher.edit_dataset(uri, **changes)

    assert value_at(client, uri) == before


def test_only_datasets_that_are_there_are_edited(publisher: DatasetPublisher) -> None:
    """Not others' ones, no schemas, and nothing by nobody."""
    uri = publisher.publish_dataset(digits(), "Digits")
    schema = publisher.publish_schema(type(digits()[0]))

    with pytest.raises(InvalidSyntaxError, match="names no dataset"):
        publisher.edit_dataset(schema, name="x")
    with pytest.raises(NotFoundError):
        publisher.edit_dataset(f"{uri}x", name="x")
    others = "at://did:plc:ewvi7nxzyoun6zhxrhs64oiz/app.bsky.atdata.dataset/3k2a"
    with pytest.raises(RefusedError, match="only its owner"):
        publisher.edit_dataset(others, name="x")
    with pytest.raises(AuthenticationError):
        DatasetPublisher(Client.anonymous()).edit_dataset(others, name="x")


class Interrupted:
    """A repository in which somebody else writes just before each of the next writes."""

    def __init__(self, inner: Any, others: list[Mapping[str, Any]]) -> None:
        self._inner = inner
        self._others = others

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def put_record(
        self, collection: Nsid, rkey: str, value: Mapping[str, Any], *, swap: str | None = None
    ) -> StrongRef:
        """Write what the others write, then this."""
        if self._others:
            there = self._inner.get_record(collection, rkey).value
            self._inner.put_record(collection, rkey, there | self._others.pop(0))
        written: StrongRef = self._inner.put_record(collection, rkey, value, swap=swap)
        return written


def test_an_edit_of_other_fields_at_the_same_time_is_kept(anywhere: Client) -> None:
    """The record is read again as often as somebody else was quicker, and both changes are in it."""
    publisher = DatasetPublisher(anywhere)
    uri = publisher.publish_dataset(digits(), "Digits", tags=["one"])
    others: list[Mapping[str, Any]] = [{"description": "Ten of them."}, {"tags": ["two"]}, {"name": "Figures"}]
    anywhere.repository = Interrupted(anywhere.repository, others)

    publisher.edit_dataset(uri, name="Figures", license="CC0-1.0", add_tags=["three"])

    after = value_at(anywhere, uri)
    assert (after["name"], after["license"], after["description"]) == ("Figures", "CC0-1.0", "Ten of them.")
    assert after["tags"] == ["two", "three"]


def test_two_edits_of_one_field_at_the_same_time_are_an_error(anywhere: Client) -> None:
    """The first one stays; the error shows both values."""
    publisher = DatasetPublisher(anywhere)
    uri = publisher.publish_dataset(digits(), "Digits")
    anywhere.repository = Interrupted(anywhere.repository, [{"name": "Theirs"}])

    with pytest.raises(RefusedError, match='now "Theirs", and was to become "Ours"'):
        publisher.edit_dataset(uri, name="Ours", license="CC0-1.0")

    assert value_at(anywhere, uri)["name"] == "Theirs"
    assert "license" not in value_at(anywhere, uri)


def test_many_editors_at_once_lose_nothing(anywhere: Client) -> None:
    """Each adds a tag; all are there."""
    publisher = DatasetPublisher(anywhere)
    uri = publisher.publish_dataset(digits(), "Digits")

    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(publisher.edit_dataset, uri, add_tags=[f"tag{i}"]) for i in range(8)]:
            done.result()

    assert set(value_at(anywhere, uri)["tags"]) == {f"tag{i}" for i in range(8)}


def test_an_early_record_is_edited_as_it_is(client: Client, publisher: DatasetPublisher) -> None:
    """The shapes of planning documents are read and never written: their storage stays as it came."""
    assert client.repository is not None
    early = {
        "name": "Early",
        "createdAt": "2026-01-07T12:00:00Z",
        "storage": {"kind": "external", "urls": ["s3://a/b"]},
    }
    uri = client.repository.create_record(DATASET, early).uri

    publisher.edit_dataset(uri, name="Edited")

    assert value_at(client, uri) == early | {"$type": DATASET, "name": "Edited"}


tags = st.lists(st.sampled_from("abcdef"), max_size=6)


@given(before=tags, added=tags, removed=tags)
def test_tags_are_a_set_in_order(before: list[str], added: list[str], removed: list[str]) -> None:
    """What is added is there, what is removed is not, the others keep their order; an empty list is no list."""
    before = list(dict.fromkeys(before))
    changes = Changes({}, frozenset(), added, [tag for tag in removed if tag not in added])

    after = changes.made_to({"name": "x", "tags": before, "other": 1})

    kept = [tag for tag in before if tag not in changes.removed_tags]
    found = after.get("tags", [])
    assert set(found) == set(kept) | set(added)
    assert len(found) == len(set(found))
    assert found[: len(kept)] == kept
    assert after.get("tags") != [] or not (added or changes.removed_tags)
    assert (after["name"], after["other"]) == ("x", 1)
