"""One sample as bytes and back: the general path, one value at a time.

A sample is either one ``.msgpack`` member or several ordinary members (``.jpg``, ``.cls``, ``.json`` ...). Faster paths
for whole blocks of samples are `atdata.data.columns`; they give the same values. Arrays are `atdata.data.npy`, pictures
`atdata.data.images`. No pickle is read or written here: members that webdataset would unpickle stay bytes.

Sources: https://github.com/msgpack/msgpack/blob/master/spec.md; webdataset 1.0.2, ``autodecode.py`` and ``writer.py``
for the extensions.
"""

import functools
import math
import struct
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import msgspec
import numpy as np

from atdata.data.fields import Field, check_extension
from atdata.data.images import IMAGE_EXTENSIONS, decode_image, encode_image
from atdata.data.npy import decode_array, encode_array
from atdata.data.values import ATOMS, plain, values_of
from atdata.errors import SchemaMismatchError, ShardError

Piece: TypeAlias = bytes | bytearray | memoryview

INTEGER_EXTENSIONS = frozenset(("cls", "cls2", "count", "index", "inx", "id"))
TEXT_EXTENSIONS = frozenset(("txt", "text", "transcript"))
JSON_EXTENSIONS = frozenset(("json", "jsn"))
MSGPACK_EXTENSIONS = frozenset(("msgpack", "mp", "msg"))

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode
_from_json = msgspec.json.Decoder().decode


def encode_msgpack(sample: object, fields: Sequence[Field]) -> list[Piece]:
    """A sample as the data of its ``.msgpack`` member, in pieces: a map in the order of ``fields``.

    Integers take their shortest form, floats are always float64, an array is the bytes of a ``.npy`` file, tuples are
    lists, numpy scalars Python's. Values are not compared with the kinds of their fields:
    `atdata.data.values.values_checker` does that.

    Args:
        sample: An instance of the sample type, of which exactly ``fields`` are taken; or a mapping, of which all is
            taken: first ``fields``, where present, then the rest as it comes.
        fields: From `atdata.data.fields.fields_of`.

    Raises:
        SchemaMismatchError: A value has no msgpack form; the message names the field.
    """
    if isinstance(sample, Mapping):
        names = [field.name for field in fields if field.name in sample]
        names += [name for name in sample if name not in names]
        return encode_map(names, [sample[name] for name in names])
    return encode_map([field.name for field in fields], values_of(sample, fields))


def encode_map(names: Sequence[str], values: Sequence[Any]) -> list[Piece]:
    """A map of names and values as msgpack, as `encode_msgpack` has it.

    Raises:
        SchemaMismatchError: A value has no msgpack form; the message names the field.
    """
    pieces: list[Piece] = [_map_header(len(names))]
    for name, value in zip(names, values, strict=True):
        pieces.append(_key(name))
        try:
            if type(value) in ATOMS:
                pieces.append(_encode(value))
            elif isinstance(value, np.ndarray):
                array = encode_array(value)
                pieces.append(_bin_header(len(array[0]) + value.nbytes))
                pieces += array
            else:
                pieces.append(_encode(plain(value)))
        except (SchemaMismatchError, OverflowError, UnicodeEncodeError, ValueError) as error:
            raise SchemaMismatchError(f"field {name!r}: {_reason(error)}") from error
    return pieces


@functools.lru_cache(maxsize=4096)
def _key(name: str) -> bytes:
    return _encode(name)


def _map_header(count: int) -> bytes:
    if count < 16:
        return bytes((0x80 | count,))
    return struct.pack(">BH", 0xDE, count) if count < 1 << 16 else struct.pack(">BI", 0xDF, count)


@functools.lru_cache(maxsize=4096)
def _bin_header(size: int) -> bytes:
    if size < 1 << 8:
        return struct.pack(">BB", 0xC4, size)
    if size < 1 << 16:
        return struct.pack(">BH", 0xC5, size)
    if size < 1 << 32:
        return struct.pack(">BI", 0xC6, size)
    raise SchemaMismatchError(f"an array of {size:,} bytes; msgpack holds less than 4 GiB")


def _reason(error: Exception) -> str:
    if isinstance(error, OverflowError):
        return "an integer beyond 64 bits"
    if isinstance(error, UnicodeEncodeError):
        return "text with a lone surrogate, which UTF-8 cannot hold"
    return str(error)


def decode_msgpack(data: Piece, fields: Sequence[Field] = ()) -> dict[str, Any]:
    """The values of a ``.msgpack`` member by name. Arrays, of ``fields`` of kind ``ndarray``, are read-only views.

    Raises:
        ShardError: The bytes are no msgpack map with text keys, or nested too deep, or an array does not decode.
    """
    try:
        values = _decode(data)
    except RecursionError:
        raise ShardError("msgpack nested too deep") from None
    except (ValueError, TypeError, MemoryError) as error:
        raise ShardError(f"not a msgpack map: {error}") from error
    if type(values) is not dict or not all(type(key) is str for key in values):
        raise ShardError("a .msgpack member must be a map with text keys")
    for field in fields:
        if field.kind == "ndarray" and type(values.get(field.name)) is bytes:
            try:
                values[field.name] = decode_array(values[field.name])
            except ShardError as error:
                raise ShardError(f"field {field.name!r}: {error}") from error
    return values


def encode_members(sample: object, fields: Sequence[Field]) -> list[tuple[str, list[Piece]]]:
    """A sample as ordinary members: ``(extension, pieces of its data)``.

    Bytes are written as they are, whatever the extension; None leaves the member out.

    Args:
        sample: An instance of a sample type whose ``fields`` have extensions; or a mapping of extensions to values, as
            in ``{"jpg": bytes, "cls": 3}``, with ``fields`` empty. Keys that begin with ``__`` are webdataset's own and
            are passed over.

    Raises:
        SchemaMismatchError: A value has no form under its extension, or no member would be written.
    """
    if isinstance(sample, Mapping):
        items = [(str(key), str(key), value) for key, value in sample.items() if not str(key).startswith("__")]
        for extension, _, _ in items:
            check_extension(extension)
    else:
        values = values_of(sample, fields)
        items = [(field.name, field.extensions[0], value) for field, value in zip(fields, values, strict=True)]
    members = []
    for name, extension, value in items:
        if value is not None:
            try:
                members.append((extension, encode_member(extension, value)))
            except (SchemaMismatchError, ValueError, OverflowError) as error:
                raise SchemaMismatchError(f"field {name!r}: {_reason(error)}") from error
    if not members:
        raise SchemaMismatchError("the sample has no members: all of its fields are None")
    return members


def encode_member(extension: str, value: Any) -> list[Piece]:
    """The data of one member, by the last part of its extension (``seg.png`` is a png).

    Raises:
        SchemaMismatchError: The value has no form under this extension.
    """
    if isinstance(value, (bytes, bytearray, memoryview)):
        return [bytes(value)]
    last = extension.rpartition(".")[2]
    if last in INTEGER_EXTENSIONS and isinstance(value, (int, np.integer)) and not isinstance(value, bool):
        return [b"%d" % int(value)]
    if last in TEXT_EXTENSIONS and isinstance(value, str):
        return [value.encode("utf-8")]
    if last in TEXT_EXTENSIONS and isinstance(value, (int, float, np.integer, np.floating)):
        return [str(plain(value)).encode("ascii")]
    if last in JSON_EXTENSIONS:
        return [_encode_json(value)]
    if last in MSGPACK_EXTENSIONS:
        return encode_map(list(value), list(value.values())) if isinstance(value, Mapping) else [_encode(plain(value))]
    if isinstance(value, np.ndarray):
        if last == "npy":
            return list(encode_array(value))
        if last in IMAGE_EXTENSIONS:
            return [encode_image(last, value)]
    raise SchemaMismatchError(f"a {type(value).__qualname__} cannot be written as .{extension}: give bytes")


def _encode_json(value: Any) -> bytes:
    """Compact UTF-8, keys in the order given. A value must come back as it went in."""
    import json

    value = plain(value)
    _check_json(value)
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8")


def _check_json(value: Any) -> None:
    if isinstance(value, dict):
        for key in value:
            if type(key) is not str:
                raise SchemaMismatchError(f"JSON has no map with the key {key!r}: keys are text")
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            _check_json(item)
    elif isinstance(value, bytes):
        raise SchemaMismatchError("JSON has no bytes: use a member of its own")
    elif isinstance(value, float) and not math.isfinite(value):
        raise SchemaMismatchError(f"JSON has no {value}: use None")


def decode_member(extension: str, data: Piece, field: Field | None = None) -> Any:
    """The value of one member, by the last part of its extension, and by the kind of its field where there is one.

    Text, numbers, JSON, msgpack, ``.npy`` arrays and pictures are decoded; anything else, and any member of a field of
    kind ``bytes``, is bytes. Pickles (``.pyd``, ``.pkl``, ``.pth``) always are.

    Raises:
        ShardError: The data are not what the extension says.
        LimitError: A picture has more pixels than `atdata.data.images.MAX_PIXELS`.
    """
    if field is not None and field.kind == "bytes":
        return bytes(data)
    last = extension.rpartition(".")[2]
    try:
        if last in INTEGER_EXTENSIONS:
            return _number_of_kind(int(bytes(data)), field)
        if last in TEXT_EXTENSIONS:
            return _text_of_kind(str(data, "utf-8"), field)
        if last in JSON_EXTENSIONS:
            return _decode_json(data)
        if last in MSGPACK_EXTENSIONS:
            return _decode(data)
    except RecursionError:
        raise ShardError(f"a .{extension} member is nested too deep") from None
    except (ValueError, TypeError, MemoryError) as error:
        raise ShardError(f"a .{extension} member does not decode: {error}") from error
    if last == "npy":
        return decode_array(data)
    if last in IMAGE_EXTENSIONS:
        return decode_image(last, data)
    return bytes(data)


def _decode_json(data: Piece) -> Any:
    try:
        return _from_json(data)
    except (ValueError, RecursionError):  # what `json` takes all the same: NaN, a byte order mark, lone surrogates
        import json

        return json.loads(bytes(data))


def _number_of_kind(number: int, field: Field | None) -> Any:
    return str(number) if field is not None and field.kind == "string" else number


def _text_of_kind(text: str, field: Field | None) -> Any:
    """Numbers are often kept as text members."""
    if field is not None and field.kind == "integer":
        return int(text)
    return float(text) if field is not None and field.kind == "float" else text
