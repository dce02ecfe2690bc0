"""Deleting a dataset: its record first, then the lists of blobs that no other dataset names.

With the last record that names a blob its PDS drops the blob, at once and for good: so what would go is told before.
Schema records stay, since other datasets, also of other people, are read by them.
"""

import itertools
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from atdata.atproto.client import Client
from atdata.atproto.repository import Repository
from atdata.errors import AtdataError, NotFoundError
from atdata.publishing.own import OwnDataset, own_dataset
from atdata.storage.union import Blob
from atdata.syntax import AtUri, Nsid, family, parse_at_uri, parse_nsid


@dataclass(frozen=True, slots=True)
class Deletion:
    """What deleting one dataset does, or has done.

    Attributes:
        uri: AT-URI of its record, the authority a DID.
        name: What the record calls it; None where the record has gone already, and only lists are left.
        blobs: Those that vanish with it: no other dataset record or list of the repository names them.
        kept_blobs: How many it names that stay.
        lists: The ``blobList`` records that go too, since no other dataset names them.
        newer: Datasets of the repository that name this one as their previous version, and will name nothing then.
    """

    uri: AtUri
    name: str | None
    blobs: tuple[Blob, ...]
    kept_blobs: int
    lists: tuple[AtUri, ...]
    newer: tuple[AtUri, ...]


def plan_deletion(client: Client, uri: str | AtUri) -> Deletion:
    """Find out what deleting a dataset would take along. Nothing is changed.

    Looked at are the datasets and lists of the same repository; that records of other programs name the same blobs,
    which would keep them, is not found out.

    Raises:
        InvalidSyntaxError: The AT-URI is malformed, or names no dataset.
        AuthenticationError: Nobody is logged in.
        RefusedError: It is in somebody else's repository.
        NotFoundError: There is no such record, nor lists that were written for it.
    """
    return _plan(own_dataset(client, uri))


def delete(client: Client, uri: str | AtUri) -> Deletion:
    """Delete a dataset. Done again after it was cut short, it removes what was left. Raises as `plan_deletion` does.

    Returns:
        What was deleted.
    """
    place = own_dataset(client, uri)
    plan = _plan(place)
    place.repository.delete_record(place.collection, place.rkey)
    # Asked again, now that the record has gone: a dataset written in between may name one of the lists.
    still_named = _named_lists(place.repository, but=place.uri)
    lists = tuple(item for item in plan.lists if str(item) not in still_named)
    for item in lists:
        place.repository.delete_record(_list_collection(), item.rkey or "")
    return Deletion(plan.uri, plan.name, plan.blobs, plan.kept_blobs, lists, plan.newer)


def _plan(place: OwnDataset) -> Deletion:
    record: Mapping[str, Any] | None = None
    missing: NotFoundError | None = None
    try:
        record = place.read().value
    except NotFoundError as error:
        missing = error
    named_elsewhere: set[str] = set()
    lists_elsewhere: set[str] = set()
    newer = []
    for other in place.repository.list_records(place.collection):
        if other.uri != place.uri:
            named_elsewhere.update(str(blob.cid) for blob in _blobs_in(other.value))
            lists_elsewhere.update(_lists_of(other.value))
            if _previous_of(other.value) == str(place.uri):
                newer.append(other.uri)
    named_here = set(_lists_of(record or {}))
    blobs = list(_blobs_in(record or {}))
    lists = []
    for item in place.repository.list_records(_list_collection()):
        uri = str(item.uri)
        is_ours = uri in named_here or item.value.get("dataset") == str(place.uri)
        if goes := is_ours and uri not in lists_elsewhere:
            lists.append(item.uri)
        else:
            named_elsewhere.update(str(blob.cid) for blob in _blobs_in(item.value))
        if goes or uri in named_here:
            blobs += _blobs_in(item.value)
    if missing is not None and not lists:
        raise missing
    distinct = {str(blob.cid): blob for blob in blobs}
    going = tuple(blob for cid, blob in distinct.items() if cid not in named_elsewhere)
    return Deletion(
        uri=place.uri,
        name=str(record.get("name")) if record is not None else None,
        blobs=going,
        kept_blobs=len(distinct) - len(going),
        lists=tuple(lists),
        newer=tuple(newer),
    )


def _named_lists(repository: Repository, *, but: AtUri) -> set[str]:
    records = repository.list_records(parse_nsid(f"{family()}.dataset"))
    return set(itertools.chain.from_iterable(_lists_of(other.value) for other in records if other.uri != but))


def _list_collection() -> Nsid:
    return parse_nsid(f"{family()}.blobList")


def _blobs_in(value: Any) -> Iterator[Blob]:
    """The blobs at any depth, as a PDS finds them; the record may be of any program, and break its lexicon."""
    for item in _objects_in(value):
        if item.get("$type") == "blob":
            with suppress(AtdataError):
                yield Blob.from_json(item)


def _lists_of(value: Any) -> Iterator[str]:
    """AT-URIs of the ``blobList`` records that a dataset names, in its storage or a mirror's."""
    for item in _objects_in(value):
        uri = item.get("uri")
        if isinstance(uri, str) and f"/{_list_collection()}/" in uri:
            yield uri


def _previous_of(value: Mapping[str, Any]) -> str | None:
    previous = value.get("previousVersion")
    uri = previous.get("uri") if isinstance(previous, Mapping) else None
    with suppress(AtdataError):
        return str(parse_at_uri(uri)) if isinstance(uri, str) else None
    return None


def _objects_in(value: Any) -> Iterator[Mapping[str, Any]]:
    children: Iterable[Any] = ()
    if isinstance(value, Mapping):
        yield value
        children = value.values()
    elif isinstance(value, list):
        children = value
    for child in children:
        yield from _objects_in(child)
