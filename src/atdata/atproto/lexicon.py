"""Lexicons: the documents that say what a record of ours is, and the check of records against them.

The documents are ``lexicons/**.json``, shipped with the package and written for the family ``app.bsky.atdata``; they
are rewritten to another family when they are loaded. The types of the language are in `atdata.atproto.definitions`,
what no lexicon can say in `atdata.atproto.checks`.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any

from atdata.atproto.data_model import find_data_problem
from atdata.atproto.definitions import compile_definition, compile_object
from atdata.atproto.problems import Check, Problem, kind_of, quoted, raise_problem
from atdata.errors import InvalidRecordError
from atdata.syntax import Nsid, family

_WRITTEN_FAMILY = "app.bsky.atdata"  # the family in the documents as they lie on disk

# Not ours, but named by ours. Source: github.com/bluesky-social/atproto, lexicons/com/atproto/repo/strongRef.json
_STRONG_REF: Mapping[str, Any] = {
    "lexicon": 1,
    "id": "com.atproto.repo.strongRef",
    "description": "A URI with a content-hash fingerprint.",
    "defs": {
        "main": {
            "type": "object",
            "required": ["uri", "cid"],
            "properties": {
                "uri": {"type": "string", "format": "at-uri"},
                "cid": {"type": "string", "format": "cid"},
            },
        }
    },
}


class Lexicons:
    """A set of lexicon documents that refer to each other.

    Attributes:
        documents: The documents, by their NSID.

    Example:
        >>> Lexicons.load().validate("app.bsky.atdata.schema", {"$type": "app.bsky.atdata.schema"})
        Traceback (most recent call last):
        atdata.errors.InvalidRecordError: name: is required and missing
    """

    def __init__(self, documents: Iterable[Mapping[str, Any]]) -> None:
        """Compile documents of the Lexicon language, version 1.

        Raises:
            InvalidRecordError: A document is malformed, comes twice, or refers to what no document defines; the path
                names the definition.
        """
        self.documents: dict[str, Mapping[str, Any]] = {}
        self._checks: dict[str, Check] = {}  # by NSID#name, for objects and for what records are
        self._parameters: dict[str, tuple[Check, Mapping[str, Any]]] = {}
        for document in documents:
            name = document["id"]
            if document.get("lexicon") != 1 or name in self.documents:
                raise InvalidRecordError("is not a document of version 1, or comes twice", path=name)
            self.documents[name] = document
        references: set[tuple[str, str]] = set()
        for name, document in self.documents.items():
            for definition_name, definition in document["defs"].items():
                absolute = _with_absolute_references(definition, name)
                references.update((name, reference) for reference in _references(absolute))
                self._compile(name, definition_name, absolute)
        for name, reference in sorted(references):
            if reference not in self._checks:
                raise InvalidRecordError(f"refers to {reference}, which no document defines", path=name)

    @staticmethod
    def load(wanted: Nsid | None = None) -> "Lexicons":
        """The lexicons of this package, in the family ``wanted``; without it in that of the environment."""
        return _compiled(family() if wanted is None else wanted)

    def validate(self, nsid: str, value: Any) -> None:
        """Check a record, or an object such as ``app.bsky.atdata.dataset#shard``. Unknown fields are allowed.

        Args:
            nsid: The record type or definition that the value must be of.
            value: JSON: blobs are ``{"$type": "blob", ...}``, CIDs ``{"$link": ...}``, bytes ``{"$bytes": ...}``.

        Raises:
            InvalidRecordError: It is not; the path says where, the message what is allowed.
            KeyError: No document defines ``nsid``.
        """
        if not isinstance(value, dict):
            raise InvalidRecordError(f"must be an object, not {kind_of(value)}")
        check = self._checks[_absolute("", nsid)]
        if "#" not in nsid:
            raise_problem(_find_type_problem(nsid, value))
        raise_problem(find_data_problem(value) or check(value))

    def validate_params(self, nsid: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """Check the parameters of a query or procedure, already converted to their types.

        Returns:
            The known parameters, completed with their defaults.

        Raises:
            InvalidRecordError: One is wrong or missing; the path is its name.
            KeyError: No document defines ``nsid`` as a query or procedure.
        """
        check, properties = self._parameters[nsid]
        raise_problem(check(params))
        defaults = {name: item["default"] for name, item in properties.items() if "default" in item}
        return defaults | {name: value for name, value in params.items() if name in properties}

    def _compile(self, nsid: str, name: str, definition: Mapping[str, Any]) -> None:
        resolve = self._checks.__getitem__
        key = f"{nsid}#{name}"
        try:
            match definition["type"]:
                case "record":
                    self._checks[key] = compile_definition(definition["record"], resolve)
                case "query" | "procedure":
                    parameters = definition.get("parameters", {})
                    self._parameters[nsid] = compile_object(parameters, resolve), parameters.get("properties", {})
                case "token":
                    pass  # a name and no more: values only mention it
                case _:
                    self._checks[key] = compile_definition(definition, resolve)
        except (InvalidRecordError, KeyError) as error:
            raise InvalidRecordError(f"the definition does not compile: {error}", path=key) from error


@lru_cache(maxsize=4)  # compiling takes some milliseconds; nothing changes a set of lexicons
def _compiled(name: Nsid) -> Lexicons:
    return Lexicons(read_documents(name))


def read_documents(wanted: Nsid | None = None) -> tuple[dict[str, Any], ...]:
    """The lexicon documents of this package, and those that they need, rewritten to a family; sorted by NSID."""
    name = family() if wanted is None else wanted
    texts = (path.read_text(encoding="utf-8") for path in _json_files(files("atdata") / "lexicons"))
    # The family stands in ids, in references and in prose, always as the beginning of an NSID.
    documents = [json.loads(text.replace(f"{_WRITTEN_FAMILY}.", f"{name}.")) for text in texts]
    return tuple(sorted([*documents, dict(_STRONG_REF)], key=lambda document: str(document["id"])))


def _json_files(folder: Traversable) -> Iterator[Traversable]:
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _json_files(entry)
        elif entry.name.endswith(".json"):
            yield entry


def _absolute(nsid: str, reference: str) -> str:
    name, _, fragment = reference.partition("#")
    return f"{name or nsid}#{fragment or 'main'}"


def _with_absolute_references(value: Any, nsid: str) -> Any:
    """A part of a document, each ``ref`` of it as ``NSID#name``."""
    if isinstance(value, list):
        return [_with_absolute_references(item, nsid) for item in value]
    if not isinstance(value, Mapping):
        return value
    copy = {key: _with_absolute_references(item, nsid) for key, item in value.items()}
    if copy.get("type") == "ref":
        copy["ref"] = _absolute(nsid, copy["ref"])
    elif copy.get("type") == "union":
        copy["refs"] = [_absolute(nsid, reference) for reference in copy["refs"]]
    return copy


def _references(value: Any) -> Iterator[str]:
    """All references in a definition."""
    if isinstance(value, Mapping):
        if value.get("type") == "ref":
            yield value["ref"]
        elif value.get("type") == "union":
            yield from value["refs"]
        for item in value.values():
            yield from _references(item)


def _find_type_problem(nsid: str, value: Mapping[str, Any]) -> Problem | None:
    kind = value.get("$type")
    if kind == nsid:
        return None
    if not isinstance(kind, str):
        return Problem(f'is missing; a record of this type has "$type": "{nsid}"').under_key("$type")
    return Problem(f"the record is of the type {quoted(kind)}, not {nsid}").under_key("$type")
