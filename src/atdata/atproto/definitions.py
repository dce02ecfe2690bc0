"""The types of the Lexicon language as checks: each definition is compiled into a function once, then only called.

What is compiled: object, array, string, integer, boolean, blob, cid-link, bytes, ref, union, unknown. What a document
is, and which definition a reference means, `atdata.atproto.lexicon` knows.

Stricter than ``@atproto/lexicon`` in what the specification says and that leaves out: a blob must be a typed one, of an
accepted MIME type and size; a datetime has a time zone; an array is not an object.
Source: https://atproto.com/specs/lexicon
"""

import binascii
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from atdata.atproto.formats import FORMATS
from atdata.atproto.graphemes import count_graphemes
from atdata.atproto.problems import Check, Problem, kind_of, quoted
from atdata.errors import InvalidRecordError

Definition = Mapping[str, Any]
Resolve = Callable[[str], Check]  # from ``NSID#name`` to the check of what that names

_BLOB_KEYS = frozenset({"$type", "ref", "mimeType", "size"})


def compile_definition(definition: Definition, resolve: Resolve) -> Check:
    """The check for values of one definition.

    Raises:
        InvalidRecordError: The definition is not of the Lexicon language, or of a part of it that is not built here.
    """
    kind = definition.get("type")
    if kind == "ref":
        return _reference(definition, resolve)
    if kind == "union":
        return _union(definition, resolve)
    if kind == "object":
        return compile_object(definition, resolve)
    if kind == "array":
        return _array(definition, resolve)
    leaf = {
        "string": _string,
        "integer": _integer,
        "boolean": _boolean,
        "blob": _blob,
        "bytes": _bytes,
        "cid-link": _cid_link,
        "unknown": _unknown,
    }.get(str(kind))
    if leaf is None:
        raise InvalidRecordError(f"the lexicon has a definition of the type {kind!r}, which is not known here")
    return leaf(definition)


def compile_object(definition: Definition, resolve: Resolve) -> Check:
    """The check for an object, also for the parameters of a query, which have the same form."""
    properties = [(key, compile_definition(item, resolve)) for key, item in definition.get("properties", {}).items()]
    required = tuple(definition.get("required", ()))
    nullable = frozenset(definition.get("nullable", ()))

    def check(value: Any) -> Problem | None:
        if problem := _find_no_object(value):
            return problem
        for key in required:
            if key not in value:
                return Problem("is required and missing").under_key(key)
        for key, check_item in properties:
            if key in value:
                item = value[key]
                if item is None and key in nullable:
                    continue
                if problem := check_item(item):
                    return problem.under_key(key)
        return None

    return check


def _find_no_object(value: Any) -> Problem | None:
    if not isinstance(value, Mapping):
        return Problem(f"must be an object, not {kind_of(value)}")
    if len(value) == 1 and ("$link" in value or "$bytes" in value):  # JSON's way to write what is no object in CBOR
        return Problem(f"must be an object, not {'a link' if '$link' in value else 'bytes'}")
    return None


def _array(definition: Definition, resolve: Resolve) -> Check:
    check_item = compile_definition(definition["items"], resolve)
    check_length = _length(definition, "Length", "items")

    def check(value: Any) -> Problem | None:
        if not isinstance(value, list | tuple):
            return Problem(f"must be an array, not {kind_of(value)}")
        if problem := check_length(len(value)):
            return problem
        for index, item in enumerate(value):
            if problem := check_item(item):
                return problem.under_index(index)
        return None

    return check


def _reference(definition: Definition, resolve: Resolve) -> Check:
    name = definition["ref"]
    return lambda value: resolve(name)(value)  # resolved when called: definitions may refer to each other in a circle


def _union(definition: Definition, resolve: Resolve) -> Check:
    refs: Sequence[str] = definition["refs"]
    names = frozenset(ref.removesuffix("#main") for ref in refs)
    closed = definition.get("closed", False)
    allowed = " or ".join(sorted(names))

    def check(value: Any) -> Problem | None:
        if not isinstance(value, Mapping):
            return Problem(f"must be an object with a $type, such as {allowed}, not {kind_of(value)}")
        kind = value.get("$type")
        if not isinstance(kind, str) or kind == "blob":
            return Problem(f"needs a $type that says which variant it is, such as {allowed}")
        if (name := kind.removesuffix("#main")) in names:
            return resolve(name if "#" in name else f"{name}#main")(value)
        return Problem(f"{quoted(kind)} is not one of the variants {allowed}").under_key("$type") if closed else None

    return check


def _length(definition: Definition, suffix: str, unit: str) -> Callable[[int], Problem | None]:
    least, most = definition.get(f"min{suffix}"), definition.get(f"max{suffix}")

    def check(count: int) -> Problem | None:
        if most is not None and count > most:
            return Problem(f"has {count:,} {unit}, at most {most:,} are allowed")
        if least is not None and count < least:
            return Problem(f"has {count:,} {unit}, at least {least:,} must be there")
        return None

    return check


def _one_of(definition: Definition) -> Check:
    constant, choices = definition.get("const"), definition.get("enum")

    def check(value: Any) -> Problem | None:
        if constant is not None and value != constant:
            return Problem(f"must be {constant!r}")
        if choices is not None and value not in choices:
            return Problem(f"must be one of {', '.join(map(repr, choices))}")
        return None

    return check


def _string(definition: Definition) -> Check:
    check_value = _one_of(definition)
    check_bytes = _length(definition, "Length", "bytes of UTF-8")
    check_graphemes = _length(definition, "Graphemes", "characters")
    most_graphemes, least_graphemes = definition.get("maxGraphemes"), definition.get("minGraphemes")
    check_format: Check | None = None
    if (name := definition.get("format")) is not None:
        if name not in FORMATS:
            raise InvalidRecordError(f"the lexicon names the string format {name!r}, which is not known here")
        check_format = FORMATS[name]

    def check(value: Any) -> Problem | None:
        if not isinstance(value, str):
            return Problem(f"must be a string, not {kind_of(value)}")
        length = len(value) if value.isascii() else len(value.encode(errors="surrogatepass"))
        if problem := check_value(value) or check_bytes(length):
            return problem
        many = most_graphemes is not None and len(value) > most_graphemes  # fewer code points cannot be too many
        if (many or least_graphemes is not None) and (problem := check_graphemes(count_graphemes(value))):
            return problem
        return check_format(value) if check_format is not None else None

    return check


def _integer(definition: Definition) -> Check:
    check_value = _one_of(definition)
    least, most = definition.get("minimum"), definition.get("maximum")

    def check(value: Any) -> Problem | None:
        if not isinstance(value, int) or isinstance(value, bool):
            return Problem(f"must be an integer, not {kind_of(value)}")
        if least is not None and value < least:
            return Problem(f"is {value:,}, the least allowed is {least:,}")
        if most is not None and value > most:
            return Problem(f"is {value:,}, the greatest allowed is {most:,}")
        return check_value(value)

    return check


def _boolean(definition: Definition) -> Check:
    check_value = _one_of(definition)

    def check(value: Any) -> Problem | None:
        if not isinstance(value, bool):
            return Problem(f"must be a boolean, not {kind_of(value)}")
        return check_value(value)

    return check


def _blob(definition: Definition) -> Check:
    accepted: Sequence[str] = definition.get("accept", ("*/*",))
    most = definition.get("maxSize")

    def check(value: Any) -> Problem | None:
        if problem := find_blob_problem(value):
            return problem
        mime_type, size = value["mimeType"], value["size"]
        if not any(_accepts(pattern, mime_type) for pattern in accepted):
            return Problem(f"{quoted(mime_type)} is not one of {', '.join(accepted)}").under_key("mimeType")
        if most is not None and size > most:
            return Problem(f"is {size:,}, at most {most:,} bytes are allowed").under_key("size")
        return None

    return check


def find_blob_problem(value: Any) -> Problem | None:
    """What keeps a value from being a blob object that a PDS keeps: all four fields, as uploadBlob returned them."""
    if not isinstance(value, Mapping):
        return Problem(f"must be a blob object, not {kind_of(value)}")
    if value.get("$type") != "blob":
        return Problem('is not a blob object: it needs "$type": "blob", else the PDS drops the blob\'s bytes')
    if missing := _BLOB_KEYS - value.keys():
        return Problem("is required in a blob object and missing").under_key(min(missing))
    if unknown := value.keys() - _BLOB_KEYS:
        return Problem("is not part of a blob object, which the PDS therefore would not know").under_key(min(unknown))
    if problem := _find_link_problem(value["ref"]):
        return problem.under_key("ref")
    mime_type, size = value["mimeType"], value["size"]
    if not isinstance(mime_type, str) or not mime_type:
        return Problem("must be a MIME type, as in application/x-tar").under_key("mimeType")
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        return Problem("must be the number of bytes, an integer of at least 0").under_key("size")
    return None


def _accepts(pattern: str, mime_type: str) -> bool:
    if pattern.endswith("/*"):
        return pattern == "*/*" or mime_type.startswith(pattern[:-1])
    return pattern in ("*", mime_type)


def _cid_link(_definition: Definition) -> Check:
    return _find_link_problem


def _find_link_problem(value: Any) -> Problem | None:
    if not isinstance(value, Mapping) or value.keys() != {"$link"} or not isinstance(value["$link"], str):
        return Problem('must be a link to a CID, as in {"$link": "bafy…"}')
    problem = FORMATS["cid"](value["$link"])
    return problem.under_key("$link") if problem else None


def _bytes(definition: Definition) -> Check:
    check_length = _length(definition, "Length", "bytes")

    def check(value: Any) -> Problem | None:
        if not isinstance(value, Mapping) or value.keys() != {"$bytes"} or not isinstance(value["$bytes"], str):
            return Problem('must be bytes, as in {"$bytes": "base64"}')
        text = value["$bytes"]
        try:
            data = binascii.a2b_base64(text + "=" * (-len(text) % 4), strict_mode=True)
        except (binascii.Error, ValueError):
            return Problem("is not base64").under_key("$bytes")
        return check_length(len(data))

    return check


def _unknown(_definition: Definition) -> Check:
    return _find_no_object
