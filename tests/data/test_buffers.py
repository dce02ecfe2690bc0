"""Buffers: used again when nothing refers to them, never before."""

import gc
import weakref
from collections.abc import Callable
from typing import Any, cast

import numpy as np
import pytest
from tests.data.tars import npy

from atdata.data.buffers import SPARE, Buffers
from atdata.data.npy import decode_array


def address(array: Any) -> int:
    return int(array.__array_interface__["data"][0])


def test_a_buffer_is_used_again() -> None:
    """When it was dropped, for the same size."""
    buffers = Buffers()
    first = buffers.take(1000)
    place = address(first)
    first[:] = 1
    other = buffers.take(1000)
    assert address(other) != place
    del first

    assert address(buffers.take(1000)) == place
    assert len(buffers.take(2000)) == 2000
    assert len(buffers.take(0)) == 0


ENCODED = npy(np.arange(7))
VIEWS: dict[str, Callable[[Any], Any]] = {
    "slice": lambda array: array[3:9],
    "slice of a slice": lambda array: array[100:900][3:9],
    "dtype": lambda array: array.view(np.int32).reshape(-1, 5)[2],
    "strided": lambda array: np.ndarray((3, 2), np.uint8, array, 7, (100, 1)),
    "row of strided": lambda array: list(np.ndarray((3, 2), np.uint8, array[1:], 7, (100, 1)))[2],
    "memoryview": lambda array: array.data[5:9],
    "of a memoryview": lambda array: np.frombuffer(array[10:].data[5:9], np.uint8),
    "decoded": lambda array: decode_array(array.data[: len(ENCODED)]),
}


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
def test_any_view_keeps_its_buffer_out_of_use(view: Callable[[Any], Any]) -> None:
    """Whichever way it was made."""
    buffers = Buffers()
    array = buffers.take(1000)
    array[: len(ENCODED)] = np.frombuffer(ENCODED, np.uint8)
    place = address(array)
    kept = view(array)
    del array
    gc.collect()
    before = bytes(kept)
    others = [buffers.take(1000) for _ in range(5)]
    for other in others:
        other[:] = 0xEE

    assert place not in map(address, others)
    assert bytes(kept) == before
    del kept, others, other
    gc.collect()
    assert len(buffers._spare) == SPARE


def test_memory_goes_with_its_last_user() -> None:
    """What is spare is freed with the buffers; what is in use, when it is dropped."""
    buffers = Buffers()
    array = buffers.take(1000)
    owner = weakref.ref(cast(memoryview, array.base).obj)
    del buffers
    gc.collect()
    assert owner() is not None
    del array
    gc.collect()
    assert owner() is None
