"""The shapes that early planning documents gave to a dataset record, turned into the one that is written today.

Three are read, none is written: ``storage: {kind: external, urls}``, ``storage: {kind: blobs, blobs}``, and ``urls``
or ``blobs`` at the top of the record. Nothing else is repaired: a value that stays wrong fails its lexicon.
"""

from collections.abc import Mapping
from typing import Any

from atdata.syntax import family


def normalize(value: Mapping[str, Any]) -> dict[str, Any]:
    """A dataset record in today's shape. The value given is not changed; unknown fields stay where they are."""
    record = dict(value)
    storage = record.get("storage")
    if storage is None and "storage" not in record:
        at_top = [key for key in ("urls", "blobs") if isinstance(record.get(key), list)]
        if len(at_top) == 1:  # both would be two places, and no way to tell which one is meant
            key = at_top[0]
            record["storage"] = {"$type": _variant(key), key: record.pop(key)}
    elif isinstance(storage, Mapping) and "$type" not in storage:
        key = {"external": "urls", "blobs": "blobs"}.get(str(storage.get("kind")), "")
        if key in storage:
            others = {name: item for name, item in storage.items() if name != "kind"}
            record["storage"] = {"$type": _variant(key), **others}
    return record


def _variant(key: str) -> str:
    return f"{family()}.dataset#{'urlStorage' if key == 'urls' else 'blobStorage'}"
