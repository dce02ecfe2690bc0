"""What the fields of a sample type are: name, kind, dtype, file name extension.

A sample type is a dataclass. Its annotations are read once per class and become `Field` values, which the codecs, the
reader and the schema records share. Values are not looked at here (`atdata.data.codec` does that), and schema records
are `atdata.data.schema`.

The kinds are those of the schema lexicon (``app.bsky.atdata.schema#field``).
"""

import dataclasses
import functools
import re
import sys
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import numpy as np

from atdata.errors import SchemaMismatchError

_EXTENSION = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*")
_MAX_EXTENSION = 64  # bytes of all extensions of a field; maxLength in the schema lexicon


class Extension:
    """Says which WebDataset member a field is, in an annotation.

    ``image: Annotated[NDArray[np.uint8], Extension("jpg", "jpeg")]`` is written as ``KEY.jpg`` and read from
    ``KEY.jpg`` or, where there is none, from ``KEY.jpeg``.

    Attributes:
        names: Extensions without the leading dot, in lower case, the one that is written first.

    Raises:
        SchemaMismatchError: No name, or one that webdataset would not give back as it is.
    """

    __slots__ = ("names",)

    def __init__(self, *names: str) -> None:
        if not names:
            raise SchemaMismatchError("Extension needs a file name extension, as in Extension('jpg')")
        for name in names:
            check_extension(name)
        if len(";".join(names)) > _MAX_EXTENSION:
            raise SchemaMismatchError(f"Extension{names}: more than {_MAX_EXTENSION} characters in all")
        self.names = names

    def __repr__(self) -> str:
        return f"Extension({', '.join(map(repr, self.names))})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Extension) and other.names == self.names

    def __hash__(self) -> int:
        return hash(self.names)


def check_extension(name: str) -> None:
    """Check one file name extension: lower case, since webdataset reads all of them in lower case.

    Raises:
        SchemaMismatchError: It is none; the message says why.
    """
    if not _EXTENSION.fullmatch(name) or name.startswith("__"):
        raise SchemaMismatchError(
            f"{name!r} is not a file name extension: it must be lower-case letters, digits, '_', '-' and inner dots, "
            "without a leading dot or '__'"
        )


@dataclasses.dataclass(frozen=True, slots=True)
class Field:
    """One field of a sample type.

    Attributes:
        name: Name of the field.
        kind: One of the schema lexicon's kinds: ``string integer float boolean bytes ndarray image audio video text
            json list map``; or ``any``, for an annotation that says nothing (a schema record has ``json`` there).
        dtype: NumPy type string of an array, as in ``<f4``; None when any will do.
        shape: Shape of an array, -1 where not fixed; None when any will do.
        items: Kind of the items of a list or of the values of a map; None when any will do.
        extension: Extensions of the member that holds the field, joined by ``;``, the one that is written first;
            None when the field lies in the sample's ``.msgpack`` member.
        optional: True when the value may be None.
        description: What the field means.
    """

    name: str
    kind: str
    dtype: str | None = None
    shape: tuple[int, ...] | None = None
    items: str | None = None
    extension: str | None = None
    optional: bool = False
    description: str | None = None

    @property
    def extensions(self) -> tuple[str, ...]:
        """The extensions one by one; empty for a field of the ``.msgpack`` member."""
        return tuple(self.extension.split(";")) if self.extension else ()


@functools.lru_cache(maxsize=1024)
def fields_of(cls: type) -> tuple[Field, ...]:
    """The fields of a sample type, in declared order, inherited ones first as `dataclasses.fields` has them.

    Raises:
        SchemaMismatchError: ``cls`` is not a dataclass, has no fields, annotates a field with a type that no shard can
            hold, or gives an extension to some fields and not to others.
    """
    if not isinstance(cls, type) or not dataclasses.is_dataclass(cls):
        name = getattr(cls, "__qualname__", repr(cls))
        raise SchemaMismatchError(f"{name} is not a sample type: decorate it with @atdata.packable or @dataclass")
    hints = _hints(cls)
    found = []
    for field in dataclasses.fields(cls):
        description = field.metadata.get("description")
        try:
            found.append(_field(field.name, hints[field.name], description=description))
        except SchemaMismatchError as error:
            raise SchemaMismatchError(f"{cls.__qualname__}.{field.name}: {error}") from None
    if not found:
        raise SchemaMismatchError(f"{cls.__qualname__} has no fields")
    if any(field.extension for field in found):
        _check_members(cls, found)
    return tuple(found)


def is_multi_member(cls: type) -> bool:
    """True when each field is a member of its own (``KEY.jpg``, ``KEY.cls``), not one of the ``.msgpack`` member."""
    return any(field.extension for field in fields_of(cls))


def view_fields(cls: type) -> frozenset[str]:
    """Names of the fields annotated as `memoryview`: their bytes are views on what was read, not copies."""
    found = set()
    for name, hint in _hints(cls).items():
        annotation = get_args(hint)[0] if get_origin(hint) is Annotated else hint
        alternatives = get_args(annotation) if get_origin(annotation) in (Union, types.UnionType) else (annotation,)
        if set(alternatives) - {type(None)} == {memoryview}:
            found.add(name)
    return frozenset(found)


def _check_members(cls: type, fields: Sequence[Field]) -> None:
    owner: dict[str, str] = {}
    for field in fields:
        if not field.extension:
            raise SchemaMismatchError(
                f"{cls.__qualname__}.{field.name} has no Extension, other fields have one: give one to all or to none"
            )
        for extension in field.extensions:
            if extension in owner:
                raise SchemaMismatchError(
                    f"{cls.__qualname__}.{field.name} and .{owner[extension]} both are the member .{extension}"
                )
            owner[extension] = field.name


def _hints(cls: type) -> dict[str, Any]:
    """Annotations with strings resolved; a string that names something out of reach stays a string."""
    try:
        return typing.get_type_hints(cls, include_extras=True)
    except Exception:  # a forward reference is an expression: it may raise anything
        hints: dict[str, Any] = {}
    for base in reversed(cls.__mro__):
        module = vars(sys.modules.get(base.__module__, types.ModuleType("")))
        for name, annotation in vars(base).get("__annotations__", {}).items():
            holder = types.SimpleNamespace(__annotations__={name: annotation})
            try:
                hints.update(typing.get_type_hints(holder, module, dict(vars(base)), include_extras=True))
            except Exception:
                hints[name] = annotation
    return hints


def _field(name: str, annotation: Any, *, description: str | None) -> Field:
    extension = None
    while get_origin(annotation) is Annotated:
        annotation, *extras = get_args(annotation)
        for extra in extras:
            if isinstance(extra, Extension):
                extension = ";".join(extra.names)
            elif isinstance(extra, str) and description is None:
                description = extra
    kind, dtype, items, optional = _kind(annotation)
    return Field(name, kind, dtype=dtype, items=items, extension=extension, optional=optional, description=description)


def _kind(annotation: Any) -> tuple[str, str | None, str | None, bool]:
    """``(kind, dtype, items, optional)`` of an annotation."""
    if isinstance(annotation, typing.ForwardRef):
        annotation = annotation.__forward_arg__
    if isinstance(annotation, str):  # not to be resolved here: a name imported for type checkers only, or a local one
        array = re.search(r"\b(NDArray|ndarray)\b", annotation) is not None
        return "ndarray" if array else "any", None, None, bool(re.search(r"\b(None|Optional)\b", annotation))
    annotation = getattr(annotation, "__value__", annotation)  # type X = ... (PEP 695)
    origin = get_origin(annotation)
    if origin is Annotated:
        return _kind(get_args(annotation)[0])
    if origin in (Union, types.UnionType):
        return _union(get_args(annotation))
    if origin is Literal:
        return _union(tuple(dict.fromkeys(type(value) for value in get_args(annotation))))
    if origin is np.ndarray or (isinstance(annotation, type) and issubclass(annotation, np.ndarray)):
        return "ndarray", _dtype(annotation), None, False
    return _plain_kind(annotation, origin)


def _plain_kind(annotation: Any, origin: Any) -> tuple[str, str | None, str | None, bool]:
    if annotation is None or annotation is type(None):
        return "any", None, None, True
    if isinstance(annotation, typing.NewType):
        return _kind(annotation.__supertype__)
    cls = origin or annotation
    if cls is Any or not isinstance(cls, type):  # Any is a class since Python 3.11; else a type variable
        return "any", None, None, cls is Any or isinstance(cls, TypeVar)
    arguments = tuple(argument for argument in get_args(annotation) if argument is not Ellipsis)
    if issubclass(cls, AbstractSet):
        raise SchemaMismatchError("a set has no order, so its bytes would differ from run to run: use a list")
    for kind, classes in _KINDS:
        if issubclass(cls, classes):
            return kind, None, None, False
    if typing.is_typeddict(cls) or dataclasses.is_dataclass(cls):
        return "map", None, None, False
    if issubclass(cls, Mapping):
        return "map", None, _items(arguments[1:]), False
    if issubclass(cls, Sequence):
        return "list", None, _items(arguments), False
    if cls is object:
        return "any", None, None, True
    if cls.__module__ == "builtins" or issubclass(cls, Iterable) or callable(getattr(cls, "__next__", None)):
        raise SchemaMismatchError(f"a shard cannot hold a {cls.__qualname__}")
    return "any", None, None, False


_KINDS: tuple[tuple[str, tuple[type, ...]], ...] = (
    ("boolean", (bool, np.bool_)),  # before int: bool is one
    ("integer", (int, np.integer)),
    ("float", (float, np.floating)),
    ("string", (str,)),
    ("bytes", (bytes, bytearray, memoryview)),
)


def _union(members: tuple[Any, ...]) -> tuple[str, str | None, str | None, bool]:
    found = [_kind(member) for member in members if member not in (None, type(None))]
    optional = len(found) < len(members) or any(part[3] for part in found)
    arrays = [part for part in found if part[0] == "ndarray"]
    if arrays:  # NDArray | list is an array field in every release
        dtypes = {part[1] for part in arrays}
        return "ndarray", dtypes.pop() if len(dtypes) == 1 else None, None, optional
    kinds = {part[0] for part in found}
    if kinds == {"integer", "float"}:
        return "float", None, None, optional
    if len(kinds) != 1:
        return "any", None, None, optional
    items = {part[2] for part in found}
    return kinds.pop(), None, items.pop() if len(items) == 1 else None, optional


def _items(arguments: tuple[Any, ...]) -> str | None:
    kinds = {_kind(argument)[0] for argument in arguments}
    kind = kinds.pop() if len(kinds) == 1 else "any"
    return None if kind == "any" else kind


def _dtype(annotation: Any) -> str | None:
    """``<f4`` of ``NDArray[np.float32]``; None for ``NDArray``, ``np.ndarray`` and abstract scalar types."""
    for argument in get_args(annotation):
        if get_origin(argument) is np.dtype:
            (scalar,) = get_args(argument)
            if isinstance(scalar, type) and issubclass(scalar, np.generic) and scalar not in _FLEXIBLE:
                try:
                    dtype = np.dtype(scalar)
                except TypeError:  # abstract, as np.floating is
                    return None
                if dtype.hasobject:
                    raise SchemaMismatchError("an array of objects is a pickle, and pickle is never written or run")
                return dtype.str
    return None


_FLEXIBLE = (np.generic, np.str_, np.bytes_, np.void, np.datetime64, np.timedelta64)
