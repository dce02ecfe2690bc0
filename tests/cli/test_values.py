"""Samples as text that a person reads, and as JSON that a machine reads."""

import io
import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from atdata.cli.terminal import Style
from atdata.cli.values import describe_array, sample_lines, to_json, value_lines

STYLE = Style(width=80)


@dataclass(slots=True)
class Point:
    """A sample without ``__dict__``."""

    name: str
    weight: float


def test_fields_stand_below_each_other() -> None:
    """A sample is a field a line, values aligned; dataclasses and dictionaries alike."""
    assert sample_lines(Point("a", 1 / 3), style=STYLE) == ["  name    a", "  weight  0.333333"]
    assert sample_lines({"name": "a", "weight": 2}, style=STYLE) == ["  name    a", "  weight  2"]


def test_images_are_shown_as_pictures() -> None:
    """An image has a line of figures and the picture below it."""
    lines = value_lines(np.full((8, 8), 7, np.uint8), style=STYLE, width=60)

    assert lines[0] == "uint8 8x8, 7 to 7, mean 7: 7 7 7 7 7 7 …"
    assert lines[1:] == ["▒" * 16] * 8


def test_names_and_texts_of_strangers_are_escaped() -> None:
    """Neither a field's name nor its value reaches the terminal as a control sequence."""
    hostile = "\x1b]0;owned\x07\x9b31m\u202e"
    lines = sample_lines({hostile: hostile, "nested": {hostile: [hostile]}, "array": np.array([hostile])}, style=STYLE)

    assert not set("\x1b\x07\x9b\u202e") & set("".join(lines))


@pytest.mark.parametrize(
    ("array", "shown"),
    [
        (np.arange(10, dtype=np.int32), "int32 10, 0 to 9, mean 4.5: 0 1 2 3 4 5 …"),
        (np.array(3.5, np.float32), "float32 scalar: 3.5"),
        (np.zeros((0, 3)), "float64 0x3, empty"),
        (np.array([1.5, np.nan]), "float64 2, nan to nan, mean nan: 1.5 nan"),
        (np.array([True, False]), "bool 2, False to True, mean 0.5: True False"),
        (np.array(["a", "b"]), "<U1 2: a b"),
        (np.array([1 + 2j]), "complex128 1: (1+2j)"),
    ],
)
def test_arrays_are_described(array: np.ndarray[Any, Any], shown: str) -> None:
    """dtype, shape, range, mean and a few values; no warning for NaN."""
    assert describe_array(array) == shown


@given(hnp.arrays(hnp.scalar_dtypes(), hnp.array_shapes(min_dims=0, max_side=3)))
def test_any_array_can_be_shown(array: np.ndarray[Any, Any]) -> None:
    """Every dtype and shape has a text of bounded width and a JSON form."""
    lines = value_lines(array, style=STYLE, width=60)

    assert len(lines[0]) <= 60
    json.dumps(to_json(array), allow_nan=False)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner),
        max_leaves=10,
    )
)
def test_any_value_can_be_shown(value: object) -> None:
    """What msgpack and JSON can hold has a text and a JSON form that any parser reads."""
    assert value_lines(value, style=STYLE, width=60)
    json.dumps(to_json(value), allow_nan=False)


def test_an_untyped_msgpack_member_is_told_by_its_fields() -> None:
    """Without a type a person sees the fields all the same: arrays as arrays, and bytes that only look so as bytes."""
    buffer = io.BytesIO()
    np.save(buffer, np.arange(3, dtype=np.int16))
    sample = {"__key__": "k", "msgpack": {"a": buffer.getvalue(), "b": b"\x93NUMPY nonsense", "c": 1}}

    assert sample_lines(sample, style=STYLE) == [
        "  __key__  k",
        "  a        int16 3, 0 to 2, mean 1: 0 1 2",
        "  b        15 bytes: 93 4e 55 4d 50 59 20 6e 6f 6e 73 65 6e 73 65",
        "  c        1",
    ]


def test_long_values_are_cut() -> None:
    """A text of a megabyte, a thousand fields: a screen, not a flood."""
    assert len(value_lines("word " * 200_000, style=STYLE, width=60)) == 6
    assert sample_lines({f"f{i}": i for i in range(1000)}, style=STYLE)[-1] == "  … and 950 more fields"


def test_json_forms() -> None:
    """Arrays keep dtype, shape and values; bytes are base64; NaN is text."""
    assert to_json(np.array([[1, 2]], "<i2")) == {"dtype": "<i2", "shape": [1, 2], "values": [[1, 2]]}
    assert to_json(b"abc") == {"$bytes": "YWJj"}
    assert to_json({"x": (float("nan"), np.float32(0.5))}) == {"x": ["nan", 0.5]}
