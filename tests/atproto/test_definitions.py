"""The types of the Lexicon language: one by one, and against the reference implementation on thousands of records."""

import copy
from collections.abc import Iterator
from typing import Any

import pytest
from tests.atproto import examples
from tests.atproto.reference import ask_reference

from atdata.atproto.lexicon import Lexicons, read_documents
from atdata.errors import InvalidRecordError

CID = examples.cid(0)


def complaint(definition: dict[str, Any], value: Any, **other: dict[str, Any]) -> str | None:
    """What is said of an object whose property ``x`` has this definition."""
    main = {"type": "object", "properties": {"x": definition}, "nullable": ["nullable"]}
    lexicons = Lexicons([{"lexicon": 1, "id": "com.example.a", "defs": {"main": main, **other}}])
    try:
        lexicons.validate("com.example.a#main", {"x": value})
    except InvalidRecordError as error:
        return str(error)
    return None


@pytest.mark.parametrize(
    ("definition", "good", "bad"),
    [
        ({"type": "string"}, ["", "x"], [1, None, True, [], {}]),
        ({"type": "string", "maxLength": 4}, ["éé", "abcd"], ["ééé", "abcde"]),
        ({"type": "string", "minLength": 2}, ["é", "ab"], ["a", ""]),
        ({"type": "string", "maxGraphemes": 1}, ["", "👩‍👩‍👧‍👦", "e\u0301"], ["ab"]),
        ({"type": "string", "minGraphemes": 2}, ["ab", "👍👍"], ["a", "e\u0301", ""]),
        ({"type": "string", "enum": ["a", "b"]}, ["a"], ["c", ""]),
        ({"type": "string", "const": "a"}, ["a"], ["b"]),
        ({"type": "string", "knownValues": ["a"]}, ["a", "b"], [1]),
        ({"type": "integer"}, [0, -1, 2**53 - 1], ["1", True, None, 2**53]),
        ({"type": "integer", "minimum": 1, "maximum": 3}, [1, 3], [0, 4]),
        ({"type": "integer", "enum": [1, 5]}, [1, 5], [2]),
        ({"type": "integer", "const": 0}, [0], [1]),
        ({"type": "boolean"}, [True, False], [0, 1, "true", None]),
        ({"type": "boolean", "const": False}, [False], [True]),
        ({"type": "array", "items": {"type": "integer"}}, [[], [1, 2]], [["1"], "12", {"0": 1}, None]),
        (
            {"type": "array", "items": {"type": "integer"}, "minLength": 1, "maxLength": 2},
            [[1], [1, 2]],
            [[], [1, 2, 3]],
        ),
        (
            {"type": "bytes"},
            [{"$bytes": "YWI"}, {"$bytes": "YWI="}, {"$bytes": ""}],
            ["YWI", {"$bytes": "?"}, {"$bytes": 1}],
        ),
        (
            {"type": "bytes", "minLength": 2, "maxLength": 2},
            [{"$bytes": "YWI"}],
            [{"$bytes": "YQ"}, {"$bytes": "YWJj"}],
        ),
        ({"type": "cid-link"}, [{"$link": CID}], [CID, {"$link": "x"}, {"$link": CID, "y": 1}, None]),
        (
            {"type": "blob", "accept": ["image/*", "text/csv"]},
            [examples.blob(0, mimeType="image/png")],
            [examples.blob(0)],
        ),
        ({"type": "blob", "accept": ["text/csv"]}, [examples.blob(0, mimeType="text/csv")], [examples.blob(0)]),
        ({"type": "blob", "maxSize": 10}, [examples.blob(0, size=10)], [examples.blob(0, size=11)]),
        ({"type": "unknown"}, [{}, {"a": 1}], [1, "x", None, []]),
    ],
)
def test_each_type_takes_what_its_definition_allows(
    definition: dict[str, Any], good: list[Any], bad: list[Any]
) -> None:
    """All constraints of the language, on both sides of their limits."""
    for value in good:
        assert complaint(definition, value) is None, value
    for value in bad:
        assert (complaint(definition, value) or "").startswith("x"), value


def test_unions_are_told_apart_by_type() -> None:
    """A known ``$type`` is checked, an unknown one passes an open union and fails a closed one."""
    variant = {"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}}}
    for closed in (False, True):
        union = {"type": "union", "refs": ["#one"], "closed": closed}

        assert complaint(union, {"$type": "com.example.a#one", "n": 1}, one=variant) is None
        assert complaint(union, {"$type": "com.example.a#one"}, one=variant) == "x.n: is required and missing"
        assert (complaint(union, {"$type": "com.example.b"}, one=variant) is None) == (not closed)
        assert "$type" in str(complaint(union, {"n": 1}, one=variant))
        assert complaint(union, "com.example.a#one", one=variant) is not None


def test_main_may_be_named_or_not_in_a_type() -> None:
    """``com.example.a`` and ``com.example.a#main`` are the same variant."""
    main = {"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}}}
    record = {"type": "object", "properties": {"x": {"type": "union", "refs": ["com.example.a"], "closed": True}}}
    lexicons = Lexicons(
        [
            {"lexicon": 1, "id": "com.example.a", "defs": {"main": main}},
            {"lexicon": 1, "id": "com.example.b", "defs": {"main": record}},
        ]
    )

    for name in ("com.example.a", "com.example.a#main"):
        lexicons.validate("com.example.b#main", {"x": {"$type": name, "n": 1}})
        with pytest.raises(InvalidRecordError, match=r"x\.n"):
            lexicons.validate("com.example.b#main", {"x": {"$type": name}})


def test_null_passes_only_where_it_is_allowed() -> None:
    """``nullable`` names the properties that may be null; absent is another thing."""
    main = {
        "type": "object",
        "nullable": ["may"],
        "properties": {"may": {"type": "integer"}, "not": {"type": "integer"}},
    }
    lexicons = Lexicons([{"lexicon": 1, "id": "com.example.a", "defs": {"main": main}}])

    lexicons.validate("com.example.a#main", {"may": None})
    with pytest.raises(InvalidRecordError, match="not: must be an integer, not null"):
        lexicons.validate("com.example.a#main", {"not": None})


def test_definitions_may_refer_to_themselves() -> None:
    """A tree is checked down to its leaves."""
    tree = {"type": "object", "properties": {"left": {"type": "ref", "ref": "#main"}, "n": {"type": "integer"}}}
    lexicons = Lexicons([{"lexicon": 1, "id": "com.example.a", "defs": {"main": tree}}])

    with pytest.raises(InvalidRecordError) as caught:
        lexicons.validate("com.example.a#main", {"left": {"left": {"n": "x"}}})
    assert caught.value.path == "left.left.n"


REPLACEMENTS: list[Any] = [
    *(None, True, 0, -1, 1, 10**9, "", "x", "text " * 13, "é" * 100, "x" * 2001, "x" * 5001, "👩‍👩‍👧‍👦" * 70),
    *(
        "at://did:plc:abc/com.example.a/b",
        "https://example.com/x",
        "2026-01-07T12:00:00Z",
        CID,
        "did:plc:abc",
        "at://a",
    ),
    *({}, {"$type": "com.example.unknown"}, {"$type": "app.bsky.atdata.dataset#urlStorage", "urls": ["x"]}),
    *(examples.blob(7), [], ["a"], [1], [{}], ["x"] * 33, [{"name": "a", "start": 0, "end": 1}] * 257),
    *([examples.blob(7)], {"uri": "at://did:plc:abc/com.example.a/b", "cid": CID}, {"kind": "x"}, {"$link": CID}),
]


def places(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The paths of all values inside a value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield (*path, key)
        yield from places(item, (*path, key))


def variations(value: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The record with each of its values removed, and replaced by each of the others."""
    for path in places(value):
        for replacement in ["removed", *REPLACEMENTS]:
            changed = copy.deepcopy(value)
            holder: Any = changed
            for key in path[:-1]:
                holder = holder[key]
            if replacement == "removed":
                del holder[path[-1]]
            else:
                holder[path[-1]] = replacement
            yield changed


# Where we keep to the specification and the reference is laxer: JavaScript's arrays and links are objects, and of a
# blob it looks at the types alone.
STRICTER = (
    "must be an object, not an array",
    "must be an object, not a link",
    "must be a MIME type",
    "must be the number of bytes",
)


@pytest.mark.network
@pytest.mark.parametrize("name", ["dataset", "schema", "blobList"])
def test_records_are_judged_as_the_reference_judges(name: str) -> None:
    """Thousands of records, each one change away from a valid one, pass and fail as in ``@atproto/lexicon``."""
    valid = {"dataset": examples.dataset, "schema": examples.schema, "blobList": examples.blob_list}[name]()
    values = list(variations(valid))
    nsid = f"app.bsky.atdata.{name}"
    lexicons = Lexicons.load()

    complaints = ask_reference(read_documents(), [(nsid, value) for value in values]).complaints

    differences, refused = [], 0
    for value, said in zip(values, complaints, strict=True):
        try:
            lexicons.validate(nsid, value)
            ours = None
        except InvalidRecordError as error:
            ours = str(error)
            refused += 1
        if (ours is None) != (said is None) and not (ours and any(words in ours for words in STRICTER)):
            differences.append((ours, said, value))
    assert differences == []
    assert len(values) > 500
    assert 0.5 < refused / len(values) < 0.99
