"""Writing records so that each is there exactly once, whatever happened to the request before.

A record's key is chosen before it is written. So a request whose answer was lost can be looked up, and a run that was
killed finds what it has written.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, get_origin

from atdata.atproto.dagcbor import record_cid
from atdata.atproto.records import SchemaRecord, StrongRef, now, write_value
from atdata.atproto.repository import Repository
from atdata.data.schema import definition_of
from atdata.errors import AtdataError, NotFoundError
from atdata.publishing.describe import summary
from atdata.publishing.patience import Patience
from atdata.syntax import AtUri, Nsid, RecordKey, family, new_tid, parse_nsid, parse_record_key


@dataclass(frozen=True, slots=True)
class PlannedSchema:
    """A schema record that is there, or is to be written: then with its key and value."""

    reference: StrongRef
    rkey: RecordKey | None = None
    value: Mapping[str, Any] | None = None


def collection(name: str) -> Nsid:
    """A collection of our family, as in ``dataset``."""
    return parse_nsid(f"{family()}.{name}")


def plan_schema(repository: Repository, sample_type: type | None) -> PlannedSchema | None:
    """The schema record of a sample type: an equal one that the repository has, or a new one. None for no type.

    Raises:
        SchemaMismatchError: The class is no sample type.
        InvalidRecordError: A name or description breaks the lexicon.
    """
    if sample_type is None or issubclass(get_origin(sample_type) or sample_type, dict):
        return None
    return plan_schema_record(
        repository,
        SchemaRecord(
            name=sample_type.__name__,
            definition=definition_of(sample_type, family=family()),
            description=summary(sample_type),
            created_at=now(),
        ),
    )


def plan_schema_record(repository: Repository, record: SchemaRecord) -> PlannedSchema:
    """The record that says this: an equal one that the repository has, or a new one. Raises as `plan_schema`."""
    value = write_value(record)
    for known in repository.list_records(collection("schema")):
        if all(known.value.get(key) == value.get(key) for key in ("name", "definition")):
            return PlannedSchema(StrongRef(str(known.uri), known.cid))
    key = parse_record_key(new_tid())
    uri = AtUri(repository.did, collection("schema"), key)
    return PlannedSchema(StrongRef(str(uri), str(record_cid(value))), key, value)


def find_record(repository: Repository, name: str, rkey: str) -> StrongRef | None:
    """The record of a collection of ours under a key; None where there is none."""
    try:
        found = repository.get_record(collection(name), rkey)
    except NotFoundError:
        return None
    return StrongRef(str(found.uri), found.cid)


def ensure_record(
    repository: Repository,
    name: str,
    value: Mapping[str, Any],
    *,
    rkey: RecordKey,
    patience: Patience,
    may_exist: bool,
) -> StrongRef:
    """Write a record under a key that is ours alone; one that is there already is made to say the same.

    Args:
        may_exist: An earlier run may have written it: look before the first attempt too.

    Raises:
        The same as `Repository.create_record`, after all patience.
    """
    look = may_exist

    def attempt() -> StrongRef:
        nonlocal look
        if look and (found := find_record(repository, name, rkey)) is not None:
            if found.cid == str(record_cid(value)):
                return found
            return repository.put_record(collection(name), rkey, value, swap=found.cid)
        look = True
        return repository.create_record(collection(name), value, rkey=rkey)

    return patience.call(attempt)


def delete_quietly(repository: Repository, name: str, rkey: str) -> None:
    """Delete a record that nothing names; where that fails, the error that led here says more."""
    with suppress(AtdataError):
        repository.delete_record(collection(name), rkey)
