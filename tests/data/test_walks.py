"""The walk through many samples at once: the values of each, or no result."""

import dataclasses
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from tests.data.tars import packed

from atdata.data.buffers import Buffers
from atdata.data.columns import Column, rows_of
from atdata.data.fields import fields_of
from atdata.data.walks import walk_columns


@dataclasses.dataclass
class Sample:
    tokens: NDArray[Any]
    number: int
    weight: float
    good: bool
    text: str


def walk(payloads: list[bytes], gap: int = 0, tail: int = 0) -> list[Column] | None:
    """Payloads one after another in a buffer, where ``gap`` bytes lie between them and ``tail`` behind the last."""
    starts = np.cumsum([0, *(len(payload) + gap for payload in payloads[:-1])])
    joined = (b"\xee" * gap).join(payloads) + b"\xee" * tail
    buffer = np.frombuffer(bytearray(joined), np.uint8)
    return walk_columns(buffer, starts, np.array(list(map(len, payloads))), fields_of(Sample), memory=Buffers())


def one(length: int, number: int, text: str, dtype: str = "<i4") -> bytes:
    return packed(tokens=np.arange(length).astype(dtype), number=number, weight=number / 3, good=True, text=text)


@given(
    st.lists(
        st.tuples(
            st.integers(1, 400),
            st.one_of(st.integers(-300, 300), st.integers(-(2**63), 2**63 - 1)),
            st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=40),
        ),
        min_size=1,
        max_size=20,
    ),
    st.integers(0, 7),
    st.sampled_from(["u1", "<i4", ">i2", "<f8", "<c8", "<c16", "<U3"]),
)
def test_values(rows: list[tuple[int, int, str]], gap: int, dtype: str) -> None:
    """Any lengths, at any place: the values that were packed, in arrays that are aligned, writable and disjoint."""
    columns = walk([one(*row, dtype) for row in rows], gap)

    assert columns is not None
    tokens, numbers, weights, good, texts = map(rows_of, columns)
    assert [array.tolist() for array in tokens] == [np.arange(length).astype(dtype).tolist() for length, _, _ in rows]
    assert all(array.flags.behaved and array.dtype == np.dtype(dtype) for array in tokens)
    assert (numbers, texts) == ([number for _, number, _ in rows], [text for _, _, text in rows])
    assert weights == [number / 3 for _, number, _ in rows]
    assert good == [True] * len(rows)
    before = [array.tolist() for array in tokens[1:]]
    tokens[0][...] = tokens[0][::-1].copy()
    assert [array.tolist() for array in tokens[1:]] == before


@given(st.data(), st.integers(0, 5))
def test_changed_bytes(data: Any, tail: int) -> None:
    """Whatever bytes are changed, at the end of a buffer too: what msgpack says, or no result, and never a crash."""
    payloads = [bytearray(one(number, 100 * number, "abc"[:number])) for number in range(1, 5)]
    for _ in range(data.draw(st.integers(1, 3))):
        payload = data.draw(st.sampled_from(payloads))
        payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))

    columns = walk([bytes(payload) for payload in payloads], tail=tail)

    if columns is not None:
        expected = [msgspec.msgpack.decode(payload) for payload in payloads]
        for field, column in zip(fields_of(Sample)[1:], columns[1:], strict=True):
            wanted = [values[field.name] for values in expected]
            assert repr(rows_of(column)) == repr(wanted)
        for array, values in zip(rows_of(columns[0]), expected, strict=True):
            assert values["tokens"].endswith(array.tobytes())


GOOD = one(3, 5, "abc")


@pytest.mark.parametrize(
    "other",
    [
        packed(tokens=np.arange(3), number=5, weight=1.0, good=True, text="a"),
        packed(tokens=np.arange(3, dtype="<i4"), number=5, weight=1, good=True, text="a"),
        packed(tokens=np.arange(3, dtype="<i4"), number=2**63, weight=1.0, good=True, text="a"),
        packed(tokens=np.arange(3, dtype="<i4"), number=5, weight=1.0, good=None, text="a"),
        packed(tokens=np.arange(3, dtype="<i4"), number=5, weight=1.0, good=True, text="a\0b"),
        packed(tokens=None, number=5, weight=1.0, good=True, text="a"),
        packed(tokens=np.arange(3, dtype="<i4"), number=5, weight=1.0, good=True),
        packed(number=5, tokens=np.arange(3, dtype="<i4"), weight=1.0, good=True, text="a"),
        packed(tokens=np.zeros((2, 3), "<i4", "F"), number=5, weight=1.0, good=True, text="a"),
        GOOD + b"\0",
        GOOD[:-1],
        b"\xc0",
    ],
)
def test_what_does_not_go_along_ends_the_walk(other: bytes) -> None:
    assert walk([GOOD, GOOD]) is not None
    assert walk([GOOD, other]) is None
    assert walk([other, GOOD]) is None
