"""Laws of `atdata.data.schema`."""

import dataclasses
import keyword
import pickle
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from atdata.data.fields import Extension, Field, fields_of
from atdata.data.schema import build_type, check_fits, definition_of, fields_from
from atdata.errors import InvalidRecordError, SchemaMismatchError

FAMILY = "com.example.data"
KINDS = (
    "string integer float boolean bytes ndarray image audio video text json list map embedding3d".split()  # noqa: SIM905
)


@dataclass
class Everything:
    image: NDArray[np.float32]
    label: int
    weight: float
    name: str
    seen: bool
    raw: bytes
    tags: list[str]
    counts: dict[str, int]
    anything: Any
    mask: NDArray[np.uint8] | None
    note: Annotated[str | None, "What the annotator said."] = None


@dataclass
class Picture:
    image: Annotated[NDArray[np.uint8], Extension("jpg", "jpeg")]
    label: Annotated[int, Extension("cls")]
    caption: Annotated[str | None, Extension("txt")]


names = st.from_regex(r"[a-z_é][a-z0-9_é]{0,8}", fullmatch=True).filter(
    lambda name: not keyword.iskeyword(name) and not name.startswith("__")
)
awkward = st.sampled_from(
    ["self", "cls", "MISSING", "object", "mro", "_type_x", "dataclass", "match", "__", "x"]
).filter(lambda name: not name.startswith("__"))


@st.composite
def field_values(draw: st.DrawFn) -> list[dict[str, Any]]:
    members = draw(st.booleans())
    values = []
    for i, name in enumerate(draw(st.lists(names | awkward, min_size=1, max_size=8, unique=True))):
        value: dict[str, Any] = {"name": name, "kind": draw(st.sampled_from(KINDS))}
        if draw(st.booleans()):
            value["dtype"] = draw(st.sampled_from(["<f4", "|u1", ">i4", "<U3", "<M8[ns]", "|b1", "bfloat16", "O"]))
        if draw(st.booleans()):
            value["items"] = draw(st.sampled_from(KINDS))
        if members:
            value["extension"] = f"x{i}"
        if draw(st.booleans()):
            value["description"] = draw(st.text(min_size=1, max_size=20))
        if draw(st.booleans()):
            value["shape"] = draw(st.lists(st.integers(-1, 9), max_size=3))
        if draw(st.booleans()):
            value["optional"] = True
        values.append(value)
    return values


@settings(max_examples=60, deadline=None)
@given(field_values())
def test_a_built_type_gives_back_its_definition(values: list[dict[str, Any]]) -> None:
    """Definition to fields to class to definition changes nothing, not even what this release does not know."""
    definition = {"$type": f"{FAMILY}.schema#fields", "fields": values}

    built = build_type("Thing", fields_from(definition), "A thing.")

    assert definition_of(built, family=FAMILY) == definition
    assert [field.name for field in dataclasses.fields(built)] == [value["name"] for value in values]


@settings(max_examples=60, deadline=None)
@given(field_values())
def test_a_built_type_is_a_usable_sample_type(values: list[dict[str, Any]]) -> None:
    """Its annotations fit the schema, and it takes values by position and by keyword, in the order of the schema."""
    fields = fields_from({"fields": values})
    built = build_type("Thing", fields)

    check_fits(built, fields)
    contents = list(range(len(fields)))
    sample = built(*contents)
    assert sample == built(**dict(zip([field.name for field in fields], contents, strict=True)))
    assert [getattr(sample, field.name) for field in fields] == contents
    assert pickle.loads(pickle.dumps(sample)) == sample
    assert pickle.loads(pickle.dumps(built)) is built


@pytest.mark.parametrize("cls", [Everything, Picture])
def test_a_written_type_fits_its_own_definition(cls: type) -> None:
    """A class describes samples of itself, and so does the class that is built of its definition."""
    fields = fields_from(definition_of(cls, family=FAMILY))

    check_fits(cls, fields)
    check_fits(build_type(cls.__name__, fields), fields)


def test_a_definition_says_what_the_annotations_say() -> None:
    """Kind, dtype, items, optional and description of each field, in declared order."""
    definition = definition_of(Everything, family=FAMILY)

    assert definition == {
        "$type": "com.example.data.schema#fields",
        "fields": [
            {"name": "image", "kind": "ndarray", "dtype": "<f4"},
            {"name": "label", "kind": "integer"},
            {"name": "weight", "kind": "float"},
            {"name": "name", "kind": "string"},
            {"name": "seen", "kind": "boolean"},
            {"name": "raw", "kind": "bytes"},
            {"name": "tags", "kind": "list", "items": "string"},
            {"name": "counts", "kind": "map", "items": "integer"},
            {"name": "anything", "kind": "json", "optional": True},
            {"name": "mask", "kind": "ndarray", "dtype": "|u1", "optional": True},
            {"name": "note", "kind": "string", "description": "What the annotator said.", "optional": True},
        ],
    }


def test_members_are_described_by_what_their_files_are() -> None:
    """An array in a ``.jpg`` is an image, a string in a ``.txt`` is text; all extensions of a field are kept."""
    fields = definition_of(Picture, family=FAMILY)["fields"]

    assert [(field["kind"], field["extension"]) for field in fields] == [
        ("image", "jpg;jpeg"),
        ("integer", "cls"),
        ("text", "txt"),
    ]


def test_a_built_type_has_annotations_and_a_docstring() -> None:
    """A person who looks at the class sees what a written one would say."""
    fields = (
        Field("image", "ndarray", dtype="|u1", shape=(8, 8)),
        Field("label", "integer", description="Which digit it is."),
        Field("note", "string", optional=True),
    )

    built = build_type("Digit", fields, "Handwritten digits.")

    assert built.__name__ == "Digit"
    assert built.__annotations__ == {"image": NDArray[np.uint8], "label": int, "note": str | None}
    assert fields_of(built) == (fields[0].__class__("image", "ndarray", dtype="|u1"), *fields[1:])
    assert built.__doc__ is not None
    assert built.__doc__.startswith("Handwritten digits.")
    assert "image: ndarray, dtype |u1, shape (8, 8)." in built.__doc__
    assert "label: integer. Which digit it is." in built.__doc__


def test_members_keep_their_extensions_in_the_built_type() -> None:
    """A class built for samples of several members reads the same members."""
    built = build_type("Picture", fields_from(definition_of(Picture, family=FAMILY)))

    assert [field.extensions for field in fields_of(built)] == [("jpg", "jpeg"), ("cls",), ("txt",)]
    assert fields_of(built)[2].optional


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Digit", "Digit"),
        ("my digits, v2!", "MyDigitsV2"),
        ("class", "Class"),
        ("__init__", "Init"),
        ("3D", "Sample3D"),
        ("手", "手"),
        ("…", "Sample"),
        ("None", "SampleNone"),
    ],
)
def test_a_name_becomes_a_class_name(name: str, expected: str) -> None:
    """Whatever a record is called, its class has a name that is one."""
    assert build_type(name, (Field("x", "integer"),)).__name__ == expected


@pytest.mark.parametrize(
    "name",
    [
        "class",
        "None",
        "__init__",
        "__class__",
        "__",
        "__x",
        "my-field",
        "a b",
        "1x",
        "x: int = __import__('os').system('true') #",
        "x\n",
        "ﬁ",  # the ligature: Python takes it for the two letters
        "x" * 257,
        "x" * 10_000,
    ],
)
def test_a_hostile_name_is_refused(name: str) -> None:
    """Keywords, dunders, what is no identifier and what Python would read as another name: the error says where."""
    good = {"name": "x", "kind": "integer"}

    with pytest.raises(InvalidRecordError) as caught:
        fields_from({"fields": [good, {"name": name, "kind": "integer"}]})

    assert caught.value.path == "definition.fields[1].name"
    assert len(str(caught.value)) < 300
    with pytest.raises(InvalidRecordError):
        build_type("Thing", (Field(name, "integer"),))


@pytest.mark.parametrize(
    ("definition", "path"),
    [
        ({}, "definition.fields"),
        ({"fields": []}, "definition.fields"),
        ({"fields": "abc"}, "definition.fields"),
        ({"fields": 3}, "definition.fields"),
        ({"fields": [{"name": f"x{i}", "kind": "integer"} for i in range(10_000)]}, "definition.fields"),
        ({"fields": [{"name": "x", "kind": "a"}, {"name": "x", "kind": "b"}]}, "definition.fields[1].name"),
        ({"fields": ["x"]}, "definition.fields[0]"),
        ({"fields": [{"kind": "integer"}]}, "definition.fields[0].name"),
        ({"fields": [{"name": 3, "kind": "integer"}]}, "definition.fields[0].name"),
        ({"fields": [{"name": "x"}]}, "definition.fields[0].kind"),
        ({"fields": [{"name": "x", "kind": "ndarray", "dtype": 4}]}, "definition.fields[0].dtype"),
        ({"fields": [{"name": "x", "kind": "ndarray", "shape": "8"}]}, "definition.fields[0].shape"),
        ({"fields": [{"name": "x", "kind": "ndarray", "shape": [-2]}]}, "definition.fields[0].shape"),
        ({"fields": [{"name": "x", "kind": "ndarray", "shape": [True]}]}, "definition.fields[0].shape"),
        ({"fields": [{"name": "x", "kind": "image", "extension": "../x"}]}, "definition.fields[0].extension"),
        ({"$type": "com.example.arrow#schema", "fields": []}, "definition.$type"),
        ({"$type": 7, "fields": []}, "definition.$type"),
    ],
)
def test_a_wrong_definition_is_refused_where_it_is_wrong(definition: dict[str, Any], path: str) -> None:
    """Each error has the path of what is wrong."""
    with pytest.raises(InvalidRecordError) as caught:
        fields_from(definition)

    assert caught.value.path == path


def test_a_type_of_too_many_fields_is_refused() -> None:
    """Neither a class nor a definition of more than 1,000 fields is made."""
    fields = tuple(Field(f"x{i}", "integer") for i in range(1001))
    wide = dataclasses.make_dataclass("Wide", [(field.name, int) for field in fields])

    with pytest.raises(InvalidRecordError, match="1,001 fields"):
        build_type("Wide", fields)
    with pytest.raises(SchemaMismatchError, match="1,001 fields"):
        definition_of(wide, family=FAMILY)


def test_a_docstring_cannot_steer_a_terminal() -> None:
    """Control characters of a stranger's description are left out of the docstring."""
    built = build_type("Thing", (Field("x", "integer", description="a\x1b[2Jb\rc"),), "d\x07e")

    assert built.__doc__ is not None
    assert all(character.isprintable() or character == "\n" for character in built.__doc__)
    assert "a[2Jbc" in built.__doc__


def test_every_difference_is_listed() -> None:
    """A type that does not fit is told everything at once: names, kinds, dtypes, and what may be None."""

    @dataclass
    class Other:
        image: NDArray[np.float64]
        label: str
        weight: float
        name: str
        seen: bool
        raw: bytes
        tags: list[int]
        counts: dict[str, int]
        anything: int
        mask: NDArray[np.uint8]
        extra: int

    with pytest.raises(SchemaMismatchError) as caught:
        check_fits(Other, fields_of(Everything))

    message = str(caught.value)
    for part in (
        "image: dtype <f8 in the type, <f4 in the dataset",
        "label: string in the type, integer in the dataset",
        "tags: items integer in the type, string in the dataset",
        "anything: may be None in the dataset, not in the type",
        "mask: may be None in the dataset, not in the type",
        "note: missing in the type",
        "extra: not in the dataset",
    ):
        assert part in message
    assert message.count("\n  ") == 7


def test_wider_types_fit() -> None:
    """Integers fit floats, anything fits ``Any``, any dtype fits a plain array; a default fills what is not there."""

    @dataclass
    class Wide:
        label: float
        image: NDArray[Any]
        name: Any
        mark: int = 0

    check_fits(Wide, (Field("image", "ndarray", dtype="<f4"), Field("label", "integer"), Field("name", "string")))


def test_members_may_be_left_out_or_taken_raw() -> None:
    """Of samples of several members a type may take some, and any of them as bytes."""

    @dataclass
    class Raw:
        image: Annotated[bytes, Extension("jpeg")]

    check_fits(Raw, fields_from(definition_of(Picture, family=FAMILY)))


def test_another_layout_does_not_fit() -> None:
    """A type for one member does not fit samples of several, nor a type that names other members."""

    @dataclass
    class Single:
        label: int

    @dataclass
    class Png:
        image: Annotated[NDArray[np.uint8], Extension("png")]

    fields = fields_from(definition_of(Picture, family=FAMILY))
    with pytest.raises(
        SchemaMismatchError, match=r"samples of one \.msgpack member, the dataset has samples of several"
    ):
        check_fits(Single, fields)
    with pytest.raises(SchemaMismatchError, match=r"member \.png in the type, \.jpg;jpeg in the dataset"):
        check_fits(Png, fields)
