"""Sample type <-> schema definition: what a schema record says of the fields, and the class that it describes.

A definition is the value of a schema record's ``definition`` (``app.bsky.atdata.schema#fields``); the record around it
is `atdata.atproto.records`. A definition comes from strangers, so a class is built only of names that are Python
identifiers, and of annotations and defaults that are made here: no text of a record is ever run.
"""

import dataclasses
import functools
import keyword
import re
import types
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from atdata.data.fields import Extension, Field, fields_of, is_multi_member
from atdata.errors import InvalidRecordError, SchemaMismatchError

MAX_FIELDS = 1000  # maxLength of ``fields`` in the schema lexicon
_MAX_NAME = 256  # maxLength of a field's name there
_SHOWN = 80  # characters of a wrong value that a message repeats
_FIELDS = ".schema#fields"

_TYPES: Mapping[str, Any] = {
    "string": str,
    "text": str,
    "integer": int,
    "float": float,
    "boolean": bool,
    "bytes": bytes,
    "audio": bytes,
    "video": bytes,
    "ndarray": NDArray[Any],
    "image": NDArray[Any],
    "list": list,
    "map": dict,
}
_MEDIA = {
    **dict.fromkeys(("jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff"), ("ndarray", "image")),
    **dict.fromkeys(("wav", "flac", "mp3", "ogg", "opus", "m4a"), ("bytes", "audio")),
    **dict.fromkeys(("mp4", "webm", "mov", "mkv", "avi"), ("bytes", "video")),
    "txt": ("string", "text"),
    "json": ("any", "json"),
}
# Plain scalar types only: `np.dtype` of a stranger's text may mean a structure of any size, or objects.
_DTYPE = re.compile(r"[<>|=]?(b1|i[1248]|u[1248]|f[248]|c(8|16)|[SUV]\d{1,6}|[mM]8(\[[a-z]{1,2}\])?)")


def definition_of(cls: type, *, family: str) -> dict[str, Any]:
    """The definition that describes a sample type.

    Args:
        cls: A dataclass, packable or not. One that `build_type` made gives the definition that it was made of.
        family: The family of the lexicons, as `atdata.syntax.family` gives it.

    Returns:
        A JSON value: ``{"$type": "FAMILY.schema#fields", "fields": [...]}``, fields in declared order.

    Raises:
        SchemaMismatchError: ``cls`` is no sample type, or has more than 1,000 fields.
    """
    fields = vars(cls).get("__schema_fields__") or fields_of(cls)
    if len(fields) > MAX_FIELDS:
        raise SchemaMismatchError(
            f"{cls.__qualname__} has {len(fields):,} fields; a schema record holds at most {MAX_FIELDS:,}"
        )
    return {"$type": family + _FIELDS, "fields": [_field_json(field) for field in fields]}


def _field_json(field: Field) -> dict[str, Any]:
    kind = field.kind
    if field.extension is not None:
        plain, medium = _MEDIA.get(field.extensions[0].rpartition(".")[2], ("", ""))
        kind = medium if kind == plain else kind
    value: dict[str, Any] = {"name": field.name, "kind": "json" if kind == "any" else kind}
    for key in ("dtype", "items", "extension", "description"):
        if (given := getattr(field, key)) is not None:
            value[key] = given
    if field.shape is not None:
        value["shape"] = list(field.shape)
    if field.optional:
        value["optional"] = True
    return value


def fields_from(definition: Mapping[str, Any]) -> tuple[Field, ...]:
    """Read a definition. Kinds and dtypes that this release does not know are kept as they are.

    Raises:
        InvalidRecordError: It is not a list of fields, or a name cannot be that of a field; ``path`` says which one.
    """
    kind = definition.get("$type", _FIELDS)
    if not isinstance(kind, str) or not kind.endswith(_FIELDS):
        raise InvalidRecordError(
            f"this release reads definitions of fields, not {_short(kind)}", path="definition.$type"
        )
    values = definition.get("fields")
    if not isinstance(values, Sequence) or isinstance(values, str) or not values:
        raise InvalidRecordError("must be an array of one field or more", path="definition.fields")
    if len(values) > MAX_FIELDS:
        raise InvalidRecordError(
            f"has {len(values):,} fields, at most {MAX_FIELDS:,} are allowed", path="definition.fields"
        )
    fields: dict[str, Field] = {}
    for i, value in enumerate(values):
        path = f"definition.fields[{i}]"
        field = _field_from(value, path)
        if field.name in fields:
            raise InvalidRecordError(f"{_short(field.name)} is there twice", path=f"{path}.name")
        fields[field.name] = field
    return tuple(fields.values())


def _field_from(value: Any, path: str) -> Field:
    if not isinstance(value, Mapping):
        raise InvalidRecordError("must be an object", path=path)
    for key in ("name", "kind", "dtype", "items", "extension", "description"):
        if not isinstance(value.get(key, ""), str):
            raise InvalidRecordError("must be a string", path=f"{path}.{key}")
    for key in ("name", "kind"):
        if not value.get(key):
            raise InvalidRecordError("is missing", path=f"{path}.{key}")
    _check_name(value["name"], f"{path}.name")
    shape = value.get("shape")
    if shape is not None and not (
        isinstance(shape, Sequence)
        and all(isinstance(length, int) and not isinstance(length, bool) and length >= -1 for length in shape)
    ):
        raise InvalidRecordError("must be an array of integers, -1 or more", path=f"{path}.shape")
    if value.get("extension") is not None:
        try:
            Extension(*value["extension"].split(";"))
        except SchemaMismatchError as error:
            raise InvalidRecordError(str(error), path=f"{path}.extension") from error
    return Field(
        value["name"],
        value["kind"],
        dtype=value.get("dtype"),
        shape=None if shape is None else tuple(shape),
        items=value.get("items"),
        extension=value.get("extension"),
        optional=value.get("optional") is True,
        description=value.get("description"),
    )


def _check_name(name: str, path: str) -> None:
    """Refuse what is not safe and usable as an attribute: names end up in source that `dataclasses` compiles."""
    if len(name) > _MAX_NAME:
        raise InvalidRecordError(f"has {len(name):,} characters, at most {_MAX_NAME} are allowed", path=path)
    if not name.isidentifier() or unicodedata.normalize("NFKC", name) != name:
        raise InvalidRecordError(f"{_short(name)} is not a Python identifier", path=path)
    if keyword.iskeyword(name):
        raise InvalidRecordError(f"{_short(name)} is a keyword of Python", path=path)
    if name.startswith("__"):
        raise InvalidRecordError(f"{_short(name)} begins with two underscores", path=path)


def _short(value: object) -> str:
    text = value if isinstance(value, str) else repr(value)
    return repr(text if len(text) <= _SHOWN else text[:_SHOWN] + "…")


class BuiltType(type):
    """The type of the classes that `build_type` makes: pickle sends their fields, since no module holds them."""


def _rebuild(cls: type) -> tuple[Any, ...]:
    return build_type, (cls.__name__, vars(cls)["__schema_fields__"], vars(cls)["__schema_description__"])


def build_type(name: str, fields: tuple[Field, ...], description: str | None = None) -> type:
    """The dataclass that a schema describes.

    The same arguments give the same class, so that samples can be compared, pickled and looked up in lenses.

    Args:
        name: Name of the schema; what is no identifier is made one.
        fields: As `fields_from` gives them.
        description: First part of the docstring.

    Returns:
        A dataclass with annotations and a docstring; positional arguments in the order of ``fields``, no defaults.

    Raises:
        InvalidRecordError: A name cannot be that of a field, or is there twice.
    """
    return _build(name, fields, description)  # by position, or the cache would keep one class for each way to call


@functools.lru_cache(maxsize=256)
def _build(name: str, fields: tuple[Field, ...], description: str | None) -> type:
    import copyreg

    if len(fields) > MAX_FIELDS:
        raise InvalidRecordError(
            f"{len(fields):,} fields, at most {MAX_FIELDS:,} are allowed", path="definition.fields"
        )
    annotations: dict[str, Any] = {}
    for i, field in enumerate(fields):
        _check_name(field.name, f"definition.fields[{i}].name")
        if field.name in annotations:
            raise InvalidRecordError(f"{_short(field.name)} is there twice", path=f"definition.fields[{i}].name")
        annotations[field.name] = _annotation(field)
    # A `field` for each, also where it says nothing: else a field called "mro" would have `type.mro` as its default.
    namespace: dict[str, Any] = {
        field.name: dataclasses.field(metadata={"description": field.description} if field.description else None)
        for field in fields
    }
    namespace |= {
        "__annotations__": annotations,
        "__doc__": _docstring(fields, description),
        "__module__": __name__,
        "__schema_fields__": fields,
        "__schema_description__": description,
    }
    copyreg.pickle(BuiltType, _rebuild)
    built = types.new_class(_class_name(name), (), {"metaclass": BuiltType}, lambda body: body.update(namespace))
    return dataclasses.dataclass(built)


def _class_name(name: str) -> str:
    if name.isidentifier() and not keyword.iskeyword(name) and not name.startswith("__"):
        return name[:_MAX_NAME]
    words = re.findall(r"[A-Za-z0-9]+", name)
    joined = "".join(word[0].upper() + word[1:] for word in words)[:_MAX_NAME]
    return joined if joined.isidentifier() and not keyword.iskeyword(joined) else f"Sample{joined}"[:_MAX_NAME]


def _annotation(field: Field) -> Any:
    annotation = _TYPES.get(field.kind, Any)
    items = _TYPES.get(field.items or "", Any)
    if annotation == NDArray[Any] and field.dtype is not None and _DTYPE.fullmatch(field.dtype):
        dtype = np.dtype(field.dtype)
        if dtype.isnative:  # a scalar type says nothing of the order of bytes: NDArray[np.int32] would exclude >i4
            annotation = NDArray[dtype.type]  # type: ignore[name-defined]  # known at run time only
    elif annotation is list:
        annotation = types.GenericAlias(list, (items,))
    elif annotation is dict:
        annotation = types.GenericAlias(dict, (str, items))
    if field.optional and annotation is not Any:
        annotation = annotation | None
    return Annotated[annotation, Extension(*field.extensions)] if field.extension else annotation


def _docstring(fields: Sequence[Field], description: str | None) -> str:
    lines = [_printable(description or "A sample of a published dataset."), "", "Attributes:"]
    for field in fields:
        facts = [field.kind]
        if field.dtype is not None:
            facts.append(f"dtype {_printable(field.dtype)}")
        if field.shape is not None:
            facts.append(f"shape {field.shape}")
        if field.extension is not None:
            facts.append(f"member .{field.extension}")
        if field.optional:
            facts.append("or None")
        told = f" {_printable(field.description)}" if field.description else ""
        lines.append(f"    {field.name}: {_printable(', '.join(facts))}.{told}")
    return "\n".join(lines)


def _printable(text: str) -> str:
    """Without what could steer a terminal: `help` prints docstrings as they are."""
    return "".join(character for character in text if character.isprintable() or character == "\n")


def check_fits(cls: type, fields: Sequence[Field]) -> None:
    """Check that samples of a schema can be read as a sample type.

    A class may leave out members of samples that have several; it may have more fields than the schema where those
    have a default. Integers fit a float field, and ``json`` and annotations that say nothing fit everything.

    Raises:
        SchemaMismatchError: They cannot; the message lists every difference.
    """
    own = {field.name: field for field in fields_of(cls)}
    theirs = {field.name: field for field in fields}
    members = any(field.extension for field in fields)
    found = []
    if is_multi_member(cls) != members:
        ours, other = ("several members", "one .msgpack member")[:: 1 if is_multi_member(cls) else -1]
        found.append(f"the type describes samples of {ours}, the dataset has samples of {other}")
    if not members:
        found += [f"{name}: missing in the type" for name in theirs if name not in own]
    filled = {field.name for field in dataclasses.fields(cls) if not _is_required(field)}
    found += [f"{name}: not in the dataset" for name in own if name not in theirs and name not in filled]
    for name in own:
        if name in theirs:
            found += [f"{name}: {difference}" for difference in _differences(own[name], theirs[name])]
    if found:
        raise SchemaMismatchError(f"{cls.__qualname__} does not fit the dataset's schema:\n  " + "\n  ".join(found))


def _is_required(field: "dataclasses.Field[Any]") -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


_SAME = {"text": "string", "image": "ndarray", "audio": "bytes", "video": "bytes", "json": "any"}


def _differences(own: Field, theirs: Field) -> list[str]:
    found = []
    ours, other = (_SAME.get(field.kind, field.kind) for field in (own, theirs))
    raw = ours == "bytes" and theirs.extension is not None  # any member can be taken as its bytes
    known = {"any", *_TYPES}
    if not (
        ours == other or raw or "any" in (ours, other) or other not in known or (ours, other) == ("float", "integer")
    ):
        found.append(f"{own.kind} in the type, {theirs.kind} in the dataset")
    elif ours == other:
        for what in ("dtype", "items"):
            one, two = getattr(own, what), getattr(theirs, what)
            if None not in (one, two) and _SAME.get(one, one) != _SAME.get(two, two) and _SAME.get(two) != "any":
                found.append(f"{what} {one} in the type, {two} in the dataset")
    if theirs.optional and not own.optional and ours != "any":
        found.append("may be None in the dataset, not in the type")
    if own.extensions and theirs.extensions and not set(own.extensions) & set(theirs.extensions):
        found.append(f"member .{own.extension} in the type, .{theirs.extension} in the dataset")
    return found
