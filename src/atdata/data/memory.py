"""What random access keeps in memory, for all shards of a dataset together, and how much of it.

Checked blocks that were used last; files that are read as memory, which is the system's cache of them; and arrays whose
memory is used again (`atdata.data.buffers`). Each has a bound. Threads may use it at once.
"""

import threading
from collections import OrderedDict

import numpy as np
from numpy.typing import NDArray

from atdata.data.buffers import Buffers

BLOCKS = 64  # checked blocks, of 256 KiB: 16 MiB
MAPPED = 8 << 30  # bytes of files: no memory that would be missing elsewhere, but it counts as that of this process

_POOLED = 256 << 10, 64 << 20  # bytes of arrays whose memory is used again: others are small, or too much to keep


class Memory:
    """The memory that the shards of one dataset share."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._blocks: OrderedDict[tuple[str, int], NDArray[np.uint8]] = OrderedDict()
        self._buffers = Buffers()
        self._mapped = 0

    def block(self, shard: str, number: int) -> NDArray[np.uint8] | None:
        """The bytes of a checked block, where they are kept."""
        with self._lock:
            block = self._blocks.get((shard, number))
            if block is not None:
                self._blocks.move_to_end((shard, number))
            return block

    def keep(self, shard: str, number: int, block: NDArray[np.uint8]) -> None:
        """Keep the bytes of a checked block; those that were used longest ago go."""
        with self._lock:
            self._blocks[shard, number] = block
            while len(self._blocks) > BLOCKS:
                self._blocks.popitem(last=False)

    def map(self, size: int) -> bool:
        """Count a file in that is to be read as memory; False where that would be too much."""
        with self._lock:
            enough = self._mapped + size <= MAPPED
            self._mapped += size if enough else 0
            return enough

    def unmap(self, size: int) -> None:
        """Count a file out."""
        with self._lock:
            self._mapped -= size

    def empty(self, size: int) -> NDArray[np.uint8]:
        """An array of any content. Of a large one the memory is used again once nothing refers to it."""
        if not _POOLED[0] <= size <= _POOLED[1]:
            return np.empty(size, np.uint8)
        unit = 1 << (size.bit_length() - 3)  # few different lengths
        return self._buffers.take(-(-size // unit) * unit)[:size]
