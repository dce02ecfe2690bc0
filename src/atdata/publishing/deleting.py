"""Deleting a dataset: its record first, then the lists of blobs that no other dataset names.

With the last record that names a blob its PDS drops the blob, at once and for good: so what would go is told before.
Schema records stay, since other datasets, also of other people, are read by them.
"""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from atdata.atproto.client import Client
from atdata.atproto.repository import Repository
from atdata.errors import NotFoundError
from atdata.loading.versions import previous_of
from atdata.publishing.named import blobs_in, list_collection, lists_in
from atdata.publishing.own import OwnDataset, own_dataset
from atdata.storage.union import Blob
from atdata.syntax import AtUri, family, parse_nsid


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
    lists = tuple(item for item in plan.lists if item not in still_named)
    for item in lists:
        place.repository.delete_record(list_collection(), item.rkey or "")
    return Deletion(plan.uri, plan.name, plan.blobs, plan.kept_blobs, lists, plan.newer)


def _plan(place: OwnDataset) -> Deletion:
    record: Mapping[str, Any] | None = None
    missing: NotFoundError | None = None
    try:
        record = place.read().value
    except NotFoundError as error:
        missing = error
    named_elsewhere: set[str] = set()
    lists_elsewhere: set[AtUri] = set()
    newer = []
    for other in place.repository.list_records(place.collection):
        if other.uri != place.uri:
            named_elsewhere.update(str(blob.cid) for blob in blobs_in(other.value))
            lists_elsewhere.update(lists_in(other.value))
            if previous_of(other.value) == str(place.uri):
                newer.append(other.uri)
    named_here = set(lists_in(record or {}))
    blobs = list(blobs_in(record or {}))
    lists = []
    for item in place.repository.list_records(list_collection()):
        is_ours = item.uri in named_here or item.value.get("dataset") == str(place.uri)
        if goes := is_ours and item.uri not in lists_elsewhere:
            lists.append(item.uri)
        else:
            named_elsewhere.update(str(blob.cid) for blob in blobs_in(item.value))
        if goes or item.uri in named_here:
            blobs += blobs_in(item.value)
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


def _named_lists(repository: Repository, *, but: AtUri) -> set[AtUri]:
    records = repository.list_records(parse_nsid(f"{family()}.dataset"))
    return set(itertools.chain.from_iterable(lists_in(other.value) for other in records if other.uri != but))
