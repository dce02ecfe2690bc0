"""Memory that is used again, but only once nothing refers to it any more.

Fresh memory costs more than filling it: the system clears each page first. So a reader takes its buffers from here.
A buffer comes back by itself when the array that was handed out, and every view on it, is gone; whoever keeps a view
keeps the buffer out of use. What is kept here is at most `SPARE` buffers, and goes with the reader.
"""

import weakref

import numpy as np
from numpy.typing import NDArray

SPARE = 2
"""Buffers kept for later. While one is filled, a consumer mostly holds one or two."""


class Buffers:
    """Buffers of one size at a time. Threads may drop what they have at any moment."""

    def __init__(self) -> None:
        self._spare: list[NDArray[np.uint8]] = []

    def take(self, size: int) -> NDArray[np.uint8]:
        """An array of any content, to which nobody else refers. Shape ``(size,)``, uint8, writable."""
        try:
            memory = self._spare.pop()
        except IndexError:
            memory = np.empty(0, np.uint8)
        if len(memory) != size:
            memory = np.empty(size, np.uint8)
        # A view on an array refers to the array that owns the memory. The detour over a memoryview makes views refer
        # to this array instead, so that it lives exactly as long as they do.
        handed_out = np.frombuffer(memory.data, np.uint8) if size else memory
        if size:
            weakref.finalize(handed_out, self._give_back, memory).atexit = False
        return handed_out

    def _give_back(self, memory: NDArray[np.uint8]) -> None:
        if len(self._spare) < SPARE:
            self._spare.append(memory)
