"""Versions of a dataset: the records that ``previousVersion`` links, and what differs between them.

Backwards the records themselves lead, also into other repositories; forwards nothing does, so the datasets of the
repository are listed. The links are strangers' data: they may form a circle, lead nowhere, or have several newer ends.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import Any

from atdata.atproto.client import Client
from atdata.atproto.records import DatasetRecord, read_dataset
from atdata.atproto.repository import Record
from atdata.errors import AtdataError
from atdata.loading.places import RecordPlaces
from atdata.storage.union import BlobStorage, UnknownStorage, UrlStorage
from atdata.syntax import AtUri, Did, family, parse_at_uri, parse_nsid

Shards = Callable[[str], Counter[str] | None]
"""By AT-URI of a version, the CIDs of its shards; None where the record does not say them."""

MOST = 1000  # versions that are followed; a stranger's chain must end
_NEWEST = 100  # records looked through for a newer version: one page of a PDS

_DESCRIBED = {
    "name": "name",
    "description": "description",
    "license": "licence",
    "tags": "tags",
    "citation": "citation",
    "homepage": "homepage",
    "splits": "splits",
    "schemaRef": "schema",
}


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a dataset.

    Attributes:
        uri: AT-URI of its record.
        cid: CID of the record; None where it can't be read.
        record: What it says; None where it can't be read.
        previous: AT-URI that it names as its previous version.
        changes: What differs from ``previous``, in words; empty where nothing does, or there is none to compare with.
        problem: Why the record can't be read, or how the link to it is broken; empty where all is well.
    """

    uri: str
    cid: str | None = None
    record: DatasetRecord | None = None
    previous: str | None = None
    changes: tuple[str, ...] = ()
    problem: str = ""


def find_versions(client: Client, uri: AtUri) -> list[Version]:
    """All versions of a dataset, the newest first.

    Newer ones are found in the repository of ``uri``, older ones wherever the records lead. Of very many versions those
    next to ``uri`` are given, `MOST` each way.

    Raises:
        InvalidSyntaxError: ``uri`` names no record.
        NotFoundError: There is no such record.
        UnavailableError: A server did not answer.
    """
    start = client.get_record(uri)
    found: dict[str, _Found] = {}
    newer = list(_newer(client, start.uri))
    for each in [*reversed(newer), start.uri]:
        found[str(each)] = _read(client, str(each))
    following = found[str(start.uri)].previous
    for _ in range(MOST):
        if following is None or following in found:
            break
        older = _read(client, following)
        if older.uri in found:  # the link named its repository by handle
            break
        found[older.uri] = older
        following = older.previous

    @lru_cache(maxsize=2)  # each version is compared with two others, one after the other
    def shards(uri: str) -> Counter[str] | None:
        record = found[uri].record
        return _shards(client, record) if record is not None else None

    return [_version(each, found, shards) for each in found.values()]


def find_newer(client: Client, uri: AtUri) -> AtUri | None:
    """A dataset that names this one as its previous version, among the newest of its repository; None for none.

    One request; what can't be read counts as not there.
    """
    try:
        did = client.did_of(uri)
        name = str(AtUri(did, uri.collection, uri.rkey))
        for other in islice(client.list_records(did, parse_nsid(f"{family()}.dataset")), _NEWEST):
            if previous_of(other.value) == name:
                return other.uri
    except AtdataError:
        return None
    return None


@dataclass(frozen=True, slots=True)
class _Found:
    """A record on the way, as far as it could be read."""

    uri: str
    record: Record | None = None
    problem: str = ""

    @property
    def previous(self) -> str | None:
        return previous_of(self.record.value) if self.record is not None else None


def _newer(client: Client, uri: AtUri) -> Iterator[AtUri]:
    """All that follow a dataset, nearer ones first: those that name it, then those that name these."""
    followers: dict[str, list[AtUri]] = {}
    did = Did(uri.authority)
    for other in client.list_records(did, parse_nsid(f"{family()}.dataset")):
        if (previous := previous_of(other.value)) is not None:
            followers.setdefault(previous, []).append(other.uri)
    seen = {str(uri)}
    waiting = [str(uri)]
    while waiting and len(seen) <= MOST:
        for follower in reversed(followers.get(waiting.pop(0), [])):
            if str(follower) not in seen:
                seen.add(str(follower))
                waiting.append(str(follower))
                yield follower


def _read(client: Client, uri: str) -> _Found:
    try:
        record = client.get_record(parse_at_uri(uri))
        return _Found(str(record.uri), record)
    except AtdataError as error:
        return _Found(uri, problem=str(error))


def _version(found: _Found, all_found: Mapping[str, _Found], shards: Shards) -> Version:
    if found.record is None:
        return Version(found.uri, problem=found.problem)
    try:
        record = read_dataset(found.record.value)
    except AtdataError as error:
        return Version(found.uri, found.record.cid, previous=found.previous, problem=str(error))
    changes: tuple[str, ...] = ()
    problem = ""
    before = all_found.get(found.previous) if found.previous is not None else None
    if before is not None and before.record is not None:
        changes = _changes(before.record, found.record, shards)
        if record.previous_version is not None and record.previous_version.cid != before.record.cid:
            problem = "the previous version was edited since"
    return Version(found.uri, found.record.cid, record, found.previous, changes, problem)


def _changes(before: Record, after: Record, shards: Shards) -> tuple[str, ...]:
    try:
        old, new = read_dataset(before.value), read_dataset(after.value)
        words = [word for key, word in _DESCRIBED.items() if before.value.get(key) != after.value.get(key)]
        if _kind(new) != _kind(old):
            words.append(f"storage: {_kind(old)} -> {_kind(new)}")
        elif not isinstance(new.storage, BlobStorage) and new.storage != old.storage:
            words.append("storage")
        return (*words, *_shard_changes(shards(str(before.uri)), shards(str(after.uri))))
    except AtdataError as error:
        return (f"can't be compared: {error}",)


def _shard_changes(before: Counter[str] | None, after: Counter[str] | None) -> Iterator[str]:
    if before is None or after is None:
        yield "shards: not known"
        return
    added, removed = (after - before).total(), (before - after).total()
    if added:
        yield f"{added:,} shard{'s' * (added != 1)} added"
    if removed:
        yield f"{removed:,} shard{'s' * (removed != 1)} removed"


def _shards(client: Client, found: Record) -> Counter[str] | None:
    """The CIDs of all shards, as far as the record says them: its lists and manifests are fetched, no shard is."""
    record = read_dataset(found.value)
    places = RecordPlaces(client, found.uri)
    if isinstance(record.storage, BlobStorage):
        storage = places.whole(record.storage)
        assert isinstance(storage, BlobStorage)  # noqa: S101  for the type checker: the lists are of the same kind
        return Counter(str(blob.cid) for blob in storage.blobs)
    facts = places.manifest(record.manifest) if record.manifest else record.shards
    if facts is None or any(shard.cid is None for shard in facts):
        return None
    return Counter(str(shard.cid) for shard in facts)


def _kind(record: DatasetRecord) -> str:
    match record.storage:
        case UrlStorage():
            return "urls"
        case BlobStorage():
            return "blobs"
        case UnknownStorage(type=name):
            return name


def previous_of(value: Mapping[str, Any]) -> str | None:
    """The AT-URI that a record names as its previous version, whatever else the record is."""
    previous = value.get("previousVersion")
    uri = previous.get("uri") if isinstance(previous, Mapping) else None
    try:
        return str(parse_at_uri(uri)) if isinstance(uri, str) else None
    except AtdataError:
        return None
