"""Dataclasses from JSON objects and back, nothing lost: the mechanics below `atdata.atproto.records`.

The JSON name of a field is its Python name in camel case. What a class does not know stays in its field ``extra``.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from atdata.storage.base import Shard
from atdata.syntax import parse_cid

Extra = Mapping[str, Any]
Reader = Callable[[Any], Any]  # from the JSON value of one field to what the dataclass holds
T = TypeVar("T")

_OWN = frozenset({"extra", "shard_extra"})  # fields that hold what has no field


def read_object(cls: Callable[..., T], value: Mapping[str, Any], readers: Mapping[str, Reader]) -> T:
    """Build a dataclass from an object that has passed its lexicon.

    An empty array goes to ``extra`` too: so it stays distinct from an absent one.

    Args:
        readers: By JSON name, for the fields that are neither text nor number nor an array of these.
    """
    fields = dataclasses.fields(cls)  # type: ignore[arg-type]  # every class given here is a dataclass
    names = {_camel_case(item.name): item.name for item in fields if item.name not in _OWN}
    known: dict[str, Any] = {}
    extra: dict[str, Any] = {}
    for key, item in value.items():
        if key not in names or item == []:
            extra[key] = item
        elif key in readers:
            known[names[key]] = readers[key](item)
        else:
            known[names[key]] = tuple(item) if isinstance(item, list) else item
    return cls(**known, extra=extra)


def write_object(value: Any) -> dict[str, Any]:
    """The object that `read_object` would read: known fields in declared order, then the others."""
    written: dict[str, Any] = {}
    for item in dataclasses.fields(value):
        content = getattr(value, item.name)
        if item.name not in _OWN and content is not None and content != ():
            written[_camel_case(item.name)] = _plain(content)
    return written | {key: item for key, item in value.extra.items() if key not in written}


def each(reader: Reader) -> Reader:
    """A reader of arrays, from one of their items."""
    return lambda items: tuple(map(reader, items))


def read_shard(value: Mapping[str, Any]) -> Shard:
    """Read one entry of ``shards``, or one line of a manifest, that has passed its lexicon."""
    cid, index = value.get("cid"), value.get("index")
    return Shard(
        None if cid is None else parse_cid(cid),
        value.get("bytes"),
        value.get("samples"),
        None if index is None else parse_cid(index),
    )


def shard_json(shard: Shard) -> dict[str, Any]:
    """One entry of ``shards``, or one line of a manifest."""
    value: dict[str, Any] = {}
    if shard.cid is not None:
        value["cid"] = str(shard.cid)
    if shard.bytes is not None:
        value["bytes"] = shard.bytes
    if shard.samples is not None:
        value["samples"] = shard.samples
    if shard.index is not None:
        value["index"] = str(shard.index)
    return value


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Shard):
        return shard_json(value)
    if hasattr(value, "to_json"):
        return value.to_json()
    return write_object(value) if dataclasses.is_dataclass(value) else value


def _camel_case(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(map(str.capitalize, rest))
