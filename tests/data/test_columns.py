"""Layouts: learnt from one sample, and true of another one only where every fixed byte agrees."""

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from tests.data.tars import packed

from atdata.data.columns import Column, Layout, rows_of
from atdata.data.fields import fields_of


@dataclasses.dataclass
class Sample:
    image: NDArray[Any]
    label: int
    name: str


FIELDS = fields_of(Sample)
FIRST = packed(image=np.zeros((2, 3), np.uint8), label=1, name="abc")


def learnt(payload: bytes = FIRST) -> Layout:
    layout = Layout.learn(memoryview(payload), FIELDS)
    assert layout is not None
    return layout


def laid_out(payloads: list[bytes], gaps: list[int]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Payloads in a buffer at multiples of 512, some blocks apart, and where they begin."""
    starts = np.cumsum([1, *(1 + gap for gap in gaps[: len(payloads) - 1])]) * 512
    buffer = np.full(int(starts[-1]) + 512, 0xEE, np.uint8)
    for start, payload in zip(starts, payloads, strict=True):
        buffer[start : start + len(payload)] = np.frombuffer(payload, np.uint8)
    return buffer, starts


@given(st.lists(st.tuples(st.integers(0, 127), st.integers(0, 3)), min_size=1, max_size=20), st.sampled_from("CF"))
def test_columns_at_equal_and_unequal_steps(rows: list[tuple[int, int]], order: Any) -> None:
    """The values, wherever the samples stand."""
    images = [np.full((2, 3), label, ">i2", order) + np.arange(3, dtype=">i2") for label, _ in rows]
    images = [np.asarray(image, ">i2", order=order) for image in images]
    payloads = [
        packed(image=image, label=label, name=f"{label:03d}") for image, (label, _) in zip(images, rows, strict=True)
    ]
    buffer, starts = laid_out(payloads, [gap for _, gap in rows])
    layout = learnt(payloads[0])

    assert layout.matching(buffer, starts).all()
    image, label, name = layout.columns(buffer, starts)

    assert [row.tolist() for row in rows_of(image)] == [one.tolist() for one in images]
    assert all(row.dtype == np.dtype(">i2") and row.flags.behaved for row in rows_of(image))
    assert rows_of(label) == [one for one, _ in rows]
    assert name == [f"{one:03d}" for one, _ in rows]


@given(st.integers(0, len(FIRST) - 1), st.integers(1, 255))
def test_a_changed_byte_is_a_changed_value_or_no_match(at: int, change: int) -> None:
    """No byte of the structure may differ; a byte of a value may, and is then what differs."""
    other = bytearray(FIRST)
    other[at] ^= change
    buffer, starts = laid_out([FIRST, bytes(other)], [0])
    layout = learnt()
    if not layout.matching(buffer, starts)[1]:
        return
    try:
        columns: list[Column] = layout.columns(buffer, starts)
    except UnicodeDecodeError:
        return

    differing = [
        field.name
        for field, column in zip(FIELDS, columns, strict=True)
        if not np.array_equal(rows_of(column)[0], rows_of(column)[1])
    ]
    assert len(differing) == 1


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\x93\x01\x02\x03",
        FIRST[:-1],
        FIRST + b"\0",
        packed(image=np.zeros(()), label=1, name=""),
        packed(image=np.zeros((0, 3)), label=1, name=""),
        packed(image=b"no array", label=1, name=""),
        packed(image=None, label=[1], name=""),
        packed(image=None, label={"a": 1}, name=""),
        packed(image=None, label=1),
        packed(image=None, label=1, name="", more=1),
        packed(image=None, label=1, other=""),
    ],
)
def test_what_is_no_layout_is_left_to_the_general_path(payload: bytes) -> None:
    assert Layout.learn(memoryview(payload), FIELDS) is None


def test_fields_in_another_order() -> None:
    layout = learnt(packed(name="abc", label=300, image=None))
    buffer, starts = laid_out([packed(name="xyz", label=400, image=None)] * 2, [0])

    assert layout.matching(buffer, starts).all()
    assert [rows_of(column) for column in layout.columns(buffer, starts)] == [[None] * 2, [400] * 2, ["xyz"] * 2]
