"""The values that a sample may hold: compared with the fields of its type, and made plain.

*Plain* is what msgpack and JSON have in common: None, bool, int, float, str, lists, maps, and bytes. Arrays are plain
only as the value of a field (`atdata.data.npy`). How plain values become bytes is `atdata.data.codec`.
"""

import dataclasses
import datetime
import enum
import functools
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from atdata.data.fields import Field
from atdata.errors import SchemaMismatchError

MAX_NESTING = 256  # of lists and maps in a sample that is written; reading goes as deep as the interpreter does
ATOMS = frozenset((int, str, float, bool, type(None), bytes))
_KINDS: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "text": (str,),
    "integer": (int, np.integer),
    "float": (float, int, np.floating, np.integer),
    "boolean": (bool, np.bool_),
    "bytes": (bytes, bytearray, memoryview),
    "ndarray": (np.ndarray,),
    "list": (list, tuple),
    "map": (dict, Mapping),
}

_USUAL = {kind: accepted[0] for kind, accepted in _KINDS.items()}


def plain(value: Any, depth: int = 0) -> Any:
    """A value made of None, bool, int, float, str, bytes, lists and maps alone, as msgpack and JSON have it.

    Raises:
        SchemaMismatchError: It has no such form: a set, an array inside of something, a complex number ...
    """
    kind = type(value)
    if kind in ATOMS:
        return value
    if depth > MAX_NESTING:
        raise SchemaMismatchError(f"lists and maps nested more than {MAX_NESTING} deep, or one that contains itself")
    if isinstance(value, (list, tuple)):
        return [item if type(item) in ATOMS else plain(item, depth + 1) for item in value]
    if isinstance(value, Mapping):
        return {_map_key(key): plain(item, depth + 1) for key, item in value.items()}
    for base, convert in _CONVERSIONS:
        if isinstance(value, base):
            return convert(value)
    if isinstance(value, np.generic) and type(value.item()) in ATOMS:
        return value.item()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name), depth + 1) for field in dataclasses.fields(value)}
    if isinstance(value, (set, frozenset)):
        raise SchemaMismatchError("a set has no order, so its bytes would differ from run to run: use a list")
    if isinstance(value, np.ndarray):
        raise SchemaMismatchError("an array inside of a list or map: stack them into one array, or give it a field")
    raise SchemaMismatchError(f"a {kind.__module__}.{kind.__qualname__} has no place in a shard")


# Subclasses of the plain types, and what ormsgpack, which earlier releases used, turned into text.
_CONVERSIONS: tuple[tuple[type | tuple[type, ...], Callable[[Any], Any]], ...] = (
    (enum.IntEnum, int),
    (enum.Enum, lambda value: plain(value.value, 1)),
    (str, str.__str__),
    (bool, bool),
    (int, int),
    (float, float.__float__),
    ((bytes, bytearray, memoryview), bytes),
    (uuid.UUID, str),
    ((datetime.date, datetime.time), lambda value: str(value.isoformat())),
)


def _map_key(key: Any) -> Any:
    key = plain(key, 1)
    if type(key) is list or type(key) is dict:
        raise SchemaMismatchError(f"a map with the key {key!r}: keys are text")
    return key


def values_of(sample: object, fields: Sequence[Field]) -> list[Any]:
    """The values of all fields.

    Raises:
        SchemaMismatchError: The sample lacks a field.
    """
    try:
        return [getattr(sample, field.name) for field in fields]
    except AttributeError:
        missing = next(field.name for field in fields if not hasattr(sample, field.name))
        raise SchemaMismatchError(f"field {missing!r}: the {type(sample).__qualname__} has none") from None


def values_checker(fields: Sequence[Field]) -> Callable[[object], list[Any]]:
    """A function that gives the values of a sample, compared with what a schema record promises of ``fields``.

    The function raises SchemaMismatchError where the sample lacks a field, a value is of another kind, dtype or shape,
    or is None where the field is not optional.
    """
    # The type of value, and dtype of an array, that needs no closer look.
    usual = [None if field.shape is not None else _USUAL.get(field.kind) for field in fields]
    dtypes = [None if field.dtype is None else np.dtype(field.dtype) for field in fields]
    expected = list(zip(usual, dtypes, fields, strict=True))

    def checked(sample: object) -> list[Any]:
        values = values_of(sample, fields)
        for value, (kind, dtype, field) in zip(values, expected, strict=True):
            if type(value) is not kind or (dtype is not None and getattr(value, "dtype", None) != dtype):
                _check_value(value, field)
        return values

    return checked


def _check_value(value: Any, field: Field) -> None:
    accepted: Any = _KINDS.get(field.kind, object)
    if value is None:
        if not field.optional and accepted is not object:
            raise SchemaMismatchError(f"field {field.name!r} is None: annotate it with '| None' to allow that")
        return
    if not isinstance(value, accepted) or (type(value) is bool and field.kind in ("integer", "float")):
        if field.extension and isinstance(value, (bytes, bytearray, memoryview)):
            return  # a member that is encoded already
        raise SchemaMismatchError(f"field {field.name!r} is a {type(value).__qualname__}, its type says {field.kind}")
    if field.dtype is not None and not _same_dtype(value.dtype, field.dtype):
        raise SchemaMismatchError(f"field {field.name!r} is an array of {value.dtype}, its type says {field.dtype}")
    if field.shape is not None and not _fits_shape(value.shape, field.shape):
        raise SchemaMismatchError(f"field {field.name!r} has the shape {value.shape}, its type says {field.shape}")


@functools.lru_cache(maxsize=1024)
def _same_dtype(dtype: np.dtype[Any], expected: str) -> bool:
    """Equal but for byte order, which each array states for itself."""
    return dtype.newbyteorder("=") == np.dtype(expected).newbyteorder("=")


def _fits_shape(shape: tuple[int, ...], expected: tuple[int, ...]) -> bool:
    return len(shape) == len(expected) and all(want in (-1, have) for have, want in zip(shape, expected, strict=True))
