"""The fields of shards that nobody has described: what all of their samples turn out to hold.

Every sample is looked at, since a schema that fits only the first ones would make the others unreadable. Only what all
samples agree on is said: a dtype, a length along an axis, a kind. A class is built of the fields by
`atdata.data.schema`. Pictures are not decoded.
"""

import keyword
import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from atdata.data.codec import INTEGER_EXTENSIONS, decode_member
from atdata.data.fields import Field
from atdata.data.npy import MAGIC, decode_array
from atdata.data.schema import MAX_FIELDS
from atdata.errors import ShardError

# What a member holds is known by its extension; see `atdata.data.codec.decode_member`.
_KINDS_BY_EXTENSION = {
    **dict.fromkeys(INTEGER_EXTENSIONS, "integer"),
    **dict.fromkeys(("txt", "text", "transcript"), "string"),
    **dict.fromkeys(("json", "jsn", "mp", "msg", "msgpack"), "any"),
    **dict.fromkeys(("jpg", "jpeg", "png"), "ndarray"),
}


def infer_fields(records: Iterable[tuple[str, Mapping[str, memoryview]]]) -> tuple[Field, ...] | None:
    """The fields that describe all of some samples.

    Memory is what has been seen of each field, not the samples.

    Args:
        records: A name for errors and the members of each sample, as `atdata.data.reader.read_records` gives them.

    Returns:
        In the order in which they first came: the entries of the ``.msgpack`` member where samples are that alone,
        else one field for each member. None where no class could have such fields: there are no samples, both forms
        are mixed, a name is no Python identifier, or there are more than 1,000.

    Raises:
        ShardError: A sample does not decode.
    """
    seen: dict[str, _Seen] = {}
    forms = set()
    samples = 0
    for name, members in records:
        samples += 1
        packed = members.keys() == {"msgpack"}
        forms.add(packed)
        if len(forms) > 1 or len(seen) > MAX_FIELDS:
            return None
        try:
            if packed:
                value = decode_member("msgpack", members["msgpack"])
                if not isinstance(value, dict):
                    return None
                for entry, item in value.items():
                    _of(seen, str(entry)).take(item)
            else:
                for extension, data in members.items():
                    _of(seen, extension).take_member(extension, data)
        except ShardError as error:
            raise ShardError(f"sample {name}: {error}") from error
    if not samples:
        return None
    members_apart = forms == {False}
    fields = tuple(
        found.field(_name(key) if members_apart else key, samples, extension=key if members_apart else None)
        for key, found in seen.items()
    )
    names = {field.name for field in fields}
    usable = all(name.isidentifier() and not keyword.iskeyword(name) and not name.startswith("__") for name in names)
    return fields if usable and len(names) == len(fields) and 0 < len(fields) <= MAX_FIELDS else None


def _of(seen: dict[str, "_Seen"], key: str) -> "_Seen":
    if key not in seen:
        seen[key] = _Seen()
    return seen[key]


def _name(extension: str) -> str:
    """``seg.png`` as the name of a field: ``seg_png``."""
    return re.sub(r"\W", "_", extension)


class _Seen:
    """What the values of one field had in common so far."""

    def __init__(self) -> None:
        self._count = 0  # samples that have the field, None or not
        self._none = False
        self._kinds: set[str] = set()
        self._items: set[str] = set()
        self._dtypes: set[str] = set()
        self._shape: tuple[int, ...] | None = None
        self._ranks: set[int] = set()

    def take(self, value: Any) -> None:
        """Look at one value."""
        self._count += 1
        if value is None:
            self._none = True
            return
        if isinstance(value, bytes) and value.startswith(MAGIC):
            value = decode_array(value)
        kind = _kind(value)
        self._kinds.add(kind)
        if isinstance(value, np.ndarray):
            self._dtypes.add(value.dtype.str)
            self._ranks.add(value.ndim)
            if self._shape is None or len(self._shape) != value.ndim:
                self._shape = value.shape
            elif self._shape != value.shape:
                pairs = zip(self._shape, value.shape, strict=True)
                self._shape = tuple(one if one == other else -1 for one, other in pairs)
        elif kind in ("list", "map"):
            self._items.update(map(_kind, value.values() if isinstance(value, Mapping) else value))

    def take_member(self, extension: str, data: memoryview) -> None:
        """Look at one member, which is decoded only where its extension does not tell all."""
        last = extension.rpartition(".")[2]
        if last == "npy":
            self.take(decode_member(extension, data))
        else:
            self._count += 1
            self._kinds.add(_KINDS_BY_EXTENSION.get(last, "bytes"))

    def field(self, name: str, samples: int, *, extension: str | None) -> Field:
        """The field that all values fit, out of ``samples`` samples."""
        kinds = self._kinds
        kind = "float" if kinds == {"integer", "float"} else next(iter(kinds)) if len(kinds) == 1 else "any"
        array = kind == "ndarray"
        return Field(
            name,
            kind,
            dtype=next(iter(self._dtypes)) if array and len(self._dtypes) == 1 else None,
            shape=self._shape if array and len(self._ranks) == 1 else None,
            items=next(iter(self._items)) if kind in ("list", "map") and self._items in _PLAIN_ITEMS else None,
            extension=extension,
            optional=self._none or self._count < samples,
        )


_PLAIN_ITEMS = [{kind} for kind in ("boolean", "integer", "float", "string", "bytes", "ndarray", "list", "map")]
_KINDS: tuple[tuple[type | tuple[type, ...], str], ...] = (
    (bool, "boolean"),  # before int: bool is one
    (int, "integer"),
    (float, "float"),
    (str, "string"),
    ((bytes, memoryview), "bytes"),
    (np.ndarray, "ndarray"),
    (Mapping, "map"),
    (list, "list"),
)


def _kind(value: Any) -> str:
    return next((kind for cls, kind in _KINDS if isinstance(value, cls)), "any")
