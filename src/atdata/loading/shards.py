"""The shards that a dataset record speaks of: what each is, and the store that has it.

The record is read, with its manifest and its further lists of blobs; no shard is opened. What their samples are is
`atdata.loading.loader`'s. The store is the plain one: whoever hands bytes on checks them.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from atdata.atproto.client import Client
from atdata.atproto.records import DatasetRecord, read_dataset
from atdata.errors import AtdataError, InvalidRecordError
from atdata.loading.places import ClosedStore, RecordPlaces
from atdata.storage.base import Shard, Store
from atdata.storage.composed import Lying
from atdata.storage.union import BlobStorage, Storage
from atdata.syntax import AtUri


@dataclass(frozen=True, slots=True)
class RecordShards:
    """A dataset record and its shards.

    Attributes:
        uri: AT-URI of the record, the authority a DID.
        cid: CID of the record.
        value: The record as it came.
        record: What it says.
        storage: Its storage, with all blobs in it.
        store: Reads the shards, unchecked.
        paths: Where they lie in ``store``, in order.
        facts: What the record says of each; None where it says nothing.
        mirrors: Where the same shards lie as well, unchecked: those that can be opened.
    """

    uri: AtUri
    cid: str
    value: dict[str, Any]
    record: DatasetRecord
    storage: Storage
    store: Store
    paths: tuple[str, ...]
    facts: tuple[Shard, ...] | None
    mirrors: tuple[Lying, ...] = ()

    def fact(self, number: int) -> Shard:
        """What the record says of one shard; nothing is known where it does not."""
        return Shard() if self.facts is None else self.facts[number]


def find_shards(client: Client, uri: AtUri) -> RecordShards:
    """Read a dataset record and find its shards.

    Raises:
        InvalidSyntaxError: The AT-URI names no record.
        NotFoundError: There is no such account or record.
        InvalidRecordError: The record, its manifest or list of blobs breaks its lexicon, or they contradict each other.
        RefusedError: The record names a place that a stranger's record may not.
        LimitError: More than 100,000 shards, or a manifest that is too large.
        IntegrityError: A manifest or list is not the one that the record was written with.
        UnavailableError: A server did not answer.
    """
    found = client.get_record(uri)
    record = read_dataset(found.value)
    places = RecordPlaces(client, found.uri)
    storage = places.whole(record.storage)
    facts = places.manifest(record.manifest) if record.manifest else record.shards
    store, paths = places.place(storage, shards=len(facts or ()))
    if facts is not None and len(facts) != len(paths):
        raise InvalidRecordError(
            f"the record says what {len(facts):,} shards are, but where {len(paths):,} are",
            path="manifest" if record.manifest else "shards",
        )
    if isinstance(storage, BlobStorage):
        facts = _facts_of_blobs(storage, facts)
    mirrors = tuple(_mirrors(places, record, len(paths)))
    return RecordShards(found.uri, found.cid, dict(found.value), record, storage, store, tuple(paths), facts, mirrors)


def _mirrors(places: RecordPlaces, record: DatasetRecord, count: int) -> Iterator[Lying]:
    """The mirrors that may be opened and have as many shards; one that cannot is no reason not to read the others."""
    for i, mirror in enumerate(record.mirrors):
        try:
            store, paths = places.place(places.whole(mirror.storage), shards=count)
        except AtdataError:
            continue
        if len(paths) == count and not isinstance(store, ClosedStore):
            yield Lying(f"mirror {i + 1}", store, paths)


def _facts_of_blobs(storage: BlobStorage, facts: Sequence[Shard] | None) -> tuple[Shard, ...]:
    """What blobs are, they say themselves; the record adds to it."""
    shards = []
    for i, blob in enumerate(storage.blobs):
        shard = facts[i] if facts is not None else Shard()
        if shard.cid not in (None, blob.cid) or shard.bytes not in (None, blob.size):
            raise InvalidRecordError(
                f"the shard is not the blob {blob.cid} of {blob.size:,} bytes", path=f"shards[{i}]"
            )
        shards.append(dataclasses.replace(shard, cid=blob.cid, bytes=blob.size))
    return tuple(shards)
