"""Editing: what describes a dataset may change, what its shards are never does.

A change is made to the record as it stands in the repository, as JSON: unknown fields, blobs and all else go back as
they came. It is written only over the very record that was read (``swapRecord``). Where somebody else was quicker, the
record is read again, and the change made again to that one, unless both changed the same field.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from atdata.atproto.client import Client
from atdata.atproto.records import DatasetRecord, now, read_dataset, write_value
from atdata.atproto.repository import Record
from atdata.errors import InvalidRecordError, InvalidSyntaxError, RefusedError, XrpcError
from atdata.publishing.own import own_dataset
from atdata.storage.union import UrlStorage
from atdata.syntax import AtUri

EDITABLE = ("name", "description", "license", "tags", "citation", "homepage", "version")
"""Fields of a record that describe its dataset."""

_FIXED = ("storage", "shards", "manifest", "mirrors", "size", "splits", "schemaRef", "schemaCid")
_ATTEMPTS = 20  # at writing; each one that fails means that somebody else has written

Value = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Changes:
    """What to change; each field by its name in the record.

    Attributes:
        replaced: New values.
        cleared: Fields that are removed.
        added_tags: Tags that are appended, unless they are there.
        removed_tags: Tags that are taken out, where they are there.
    """

    replaced: Value
    cleared: frozenset[str] = frozenset()
    added_tags: Sequence[str] = ()
    removed_tags: Sequence[str] = ()

    @property
    def fields(self) -> list[str]:
        """All fields that may change, in the order of `EDITABLE`."""
        tags = {"tags"} if self.added_tags or self.removed_tags else set()
        return [name for name in EDITABLE if name in self.replaced or name in self.cleared | tags]

    def made_to(self, value: Value) -> dict[str, Any]:
        """The record with the changes; all other fields as they are, and in order."""
        cleared, replaced = set(self.cleared), dict(self.replaced)
        if self.added_tags or self.removed_tags:
            kept = [tag for tag in value.get("tags", []) if tag not in self.removed_tags]
            tags = [*kept, *(tag for tag in dict.fromkeys(self.added_tags) if tag not in kept)]
            cleared, replaced = (cleared, replaced | {"tags": tags}) if tags else (cleared | {"tags"}, replaced)
        return {key: item for key, item in value.items() if key not in cleared} | replaced


@dataclass(frozen=True, slots=True)
class Edited:
    """A dataset record after an edit.

    Attributes:
        uri: Its AT-URI, as before.
        cid: The CID that it has now.
        changed: By field, the value before and the value now; None for none. Empty where all was so already.
    """

    uri: str
    cid: str
    changed: Mapping[str, tuple[Any, Any]]


def edit(client: Client, uri: str | AtUri, changes: Changes) -> Edited:
    """Change what describes one of the caller's datasets.

    Raises:
        InvalidSyntaxError: The AT-URI names no dataset, or there is no such field.
        InvalidRecordError: A new value breaks the lexicon.
        AuthenticationError: Nobody is logged in.
        RefusedError: The record is somebody else's; a field says what the shards are; or somebody else has changed the
            same field at this moment.
        NotFoundError: The record is not there.
    """
    _check_fields(changes, str(uri))
    place = own_dataset(client, uri)
    first = latest = place.read()
    for attempt in range(1, _ATTEMPTS + 1):
        value = changes.made_to(latest.value)
        changed = {
            name: (latest.value.get(name), value.get(name))
            for name in changes.fields
            if latest.value.get(name) != value.get(name)
        }
        if not changed:
            return Edited(str(place.uri), latest.cid, {})
        _check(value, changed)
        try:
            written = place.repository.put_record(place.collection, place.rkey, value, swap=latest.cid)
        except XrpcError as error:
            if error.error != "InvalidSwap" or attempt == _ATTEMPTS:
                raise
        else:
            return Edited(str(place.uri), written.cid, changed)
        latest = place.read()
        _refuse_conflict(changes, first, latest)
    raise AssertionError("unreachable: the last attempt returns or raises")


def _check_fields(changes: Changes, uri: str) -> None:
    for name in [*changes.replaced, *changes.cleared]:
        if name in _FIXED:
            raise RefusedError(
                f"{name} says what the shards are or where they lie, and under one AT-URI that stays: publish a new "
                f"version that names this one (--previous {uri}, previous=)",
                rule="new-version",
            )
        if name not in EDITABLE:
            raise InvalidSyntaxError(f"{name!r} is no field to edit: these are {', '.join(EDITABLE)}", value=name)
        if name in changes.replaced and name in changes.cleared:
            raise InvalidSyntaxError(f"{name!r} cannot be replaced and cleared at once", value=name)
    if "name" in changes.cleared:
        raise InvalidRecordError("a dataset always has one; give a new one instead", path="name")
    if (changes.added_tags or changes.removed_tags) and "tags" in {*changes.replaced, *changes.cleared}:
        raise InvalidSyntaxError("give all tags, or those to add and to remove, not both", value="tags")


def _check(value: Value, changed: Mapping[str, tuple[Any, Any]]) -> None:
    """The whole record keeps its lexicon, and what changes all that a writer keeps.

    The rest may be of another program, which asked less of itself; it gets no worse.
    """
    described = {name: after for name, (_, after) in changed.items() if after is not None}
    storage = UrlStorage(("https://example.com/shard.tar",)).to_json()
    write_value(DatasetRecord.from_json({"name": "-", "storage": storage, "createdAt": now()} | described))
    read_dataset(value)


def _refuse_conflict(changes: Changes, first: Record, latest: Record) -> None:
    for name in [*changes.replaced, *changes.cleared]:
        theirs, ours = latest.value.get(name), changes.replaced.get(name)
        if theirs not in (first.value.get(name), ours):
            raise RefusedError(
                f"{name} was changed by somebody else at the same time: it is now {_shown(theirs)}, and was to become "
                f"{_shown(ours)}; nothing was changed. Look, and edit again",
                rule="concurrent-edit",
            )


def _shown(value: Any) -> str:
    return "absent" if value is None else json.dumps(value, ensure_ascii=False)
