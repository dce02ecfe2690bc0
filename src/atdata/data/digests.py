"""The digests of a shard, taken in a thread of their own while it is written or read.

hashlib and blake3 let other threads run while they work, so that hashing overlaps with encoding and with the disk. One
`Digests` is one shard's; files are `atdata.data.writer` and `atdata.data.scan`.
"""

import hashlib
import queue
import threading

import numpy as np
from numpy.typing import NDArray

from atdata.data.index import DIGEST_BLOCK, DIGEST_BYTES


class Digests:
    """sha-256 of all bytes, and BLAKE3 of each block of 256 KiB of the first of them.

    Memory is the chunks that wait, two at most. Not thread-safe. Without `close` the thread stays until the interpreter
    ends.
    """

    def __init__(self) -> None:
        self._sha256 = hashlib.sha256()
        self._blocks: list[bytes] = []
        self._error: BaseException | None = None
        self._queue: queue.Queue[tuple[bytes | bytearray | memoryview, bool] | None] = queue.Queue(maxsize=1)
        self._thread = threading.Thread(target=self._work, name="atdata-digests", daemon=True)
        self._thread.start()

    def update(self, chunk: bytes | bytearray | memoryview, *, blocks: bool = True) -> None:
        """Take the next bytes, which must not change any more.

        Args:
            blocks: Whether BLAKE3 digests are taken of them. Every chunk before the last such one is a multiple of
                256 KiB.
        """
        self._queue.put((chunk, blocks))

    def sha256(self) -> bytes:
        """Wait for what has been given so far, and return the sha-256 of it."""
        self._wait()
        return self._sha256.digest()

    def blocks(self) -> NDArray[np.uint8]:
        """Wait for what has been given so far, and return the digests of its blocks, shape ``(blocks, 32)``."""
        self._wait()
        return np.frombuffer(b"".join(self._blocks), np.uint8).reshape(-1, DIGEST_BYTES)

    def close(self) -> None:
        """End the thread."""
        self._queue.put(None)
        self._thread.join()

    def _wait(self) -> None:
        self._queue.join()
        if self._error is not None:
            raise self._error

    def _work(self) -> None:
        while (work := self._queue.get()) is not None:
            try:
                if self._error is None:
                    self._digest(*work)
            except BaseException as error:
                self._error = error  # raised where the digests are asked for
            finally:
                self._queue.task_done()

    def _digest(self, chunk: bytes | bytearray | memoryview, blocks: bool) -> None:
        self._sha256.update(chunk)
        if blocks:
            self._blocks += block_digests(chunk)


def block_digests(data: bytes | bytearray | memoryview) -> list[bytes]:
    """BLAKE3 of each block of 256 KiB, the last one shorter."""
    from blake3 import blake3

    view = memoryview(data)
    return [blake3(view[start : start + DIGEST_BLOCK]).digest() for start in range(0, len(view), DIGEST_BLOCK)]
