"""Values compared with what their type promises."""

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from atdata.data.fields import Field, fields_of
from atdata.data.values import values_checker
from atdata.errors import SchemaMismatchError


@dataclass
class Sample:
    number: int = 1
    real: float = 1.0
    name: str = "a"
    flag: bool = True
    raw: bytes = b""
    array: NDArray[np.float32] | None = None
    numbers: list[int] | None = None
    anything: Any = None


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("number", np.int64(3)),
        ("real", 3),
        ("real", np.float32(1)),
        ("name", np.str_("b")),
        ("flag", np.bool_(False)),
        ("raw", bytearray()),
        ("raw", memoryview(b"")),
        ("array", np.zeros(2, np.float32)),
        ("array", np.zeros(2, ">f4")),
        ("array", None),
        ("numbers", (1, 2)),
        ("anything", {1: object()}),
        ("anything", None),
    ],
)
def test_values_that_fit(field: str, value: object) -> None:
    """numpy's scalars, integers for floats, tuples for lists, and either byte order are taken."""
    sample = Sample()
    setattr(sample, field, value)

    assert value in [v for v in values_checker(fields_of(Sample))(sample) if v is value]


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("number", "1", "is a str, its type says integer"),
        ("number", True, "is a bool, its type says integer"),
        ("number", 1.5, "is a float, its type says integer"),
        ("number", None, "is None: annotate it with '| None'"),
        ("real", "x", "its type says float"),
        ("name", b"a", "its type says string"),
        ("flag", 1, "its type says boolean"),
        ("raw", "a", "its type says bytes"),
        ("array", [1.0], "is a list, its type says ndarray"),
        ("array", np.zeros(2), "is an array of float64, its type says <f4"),
        ("numbers", np.zeros(2), "its type says list"),
    ],
)
def test_values_that_do_not_fit_are_refused_with_their_field(field: str, value: object, message: str) -> None:
    """A schema record promises kinds and dtypes to everybody who reads."""
    sample = Sample()
    setattr(sample, field, value)

    with pytest.raises(SchemaMismatchError, match=rf"field '{field}' .*{re.escape(message)}"):
        values_checker(fields_of(Sample))(sample)


def test_shapes_are_compared_where_they_are_promised() -> None:
    """-1 is any length."""
    check = values_checker((Field("array", "ndarray", shape=(2, -1)),))

    check(Sample(array=np.zeros((2, 9), np.float32)))
    with pytest.raises(SchemaMismatchError, match=r"has the shape \(3, 9\), its type says \(2, -1\)"):
        check(Sample(array=np.zeros((3, 9), np.float32)))


def test_a_missing_field_is_named() -> None:
    """As after del sample.name."""
    with pytest.raises(SchemaMismatchError, match="field 'other': the Sample has none"):
        values_checker((Field("other", "string"),))(Sample())
