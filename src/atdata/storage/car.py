"""CARv1: a stream of blocks, each with its CID. Read in one pass, each block checked against its CID.

That a block is what its CID says is checked here; that it is the one which is wanted, in `atdata.storage.feed`. The
roots that the header names are the sender's word and are passed over. Where blocks come faster than 100 MB/s, one is
hashed in a thread while the next one is read: SHA-256 takes longer than all the rest.
Source: https://ipld.io/specs/transport/car/carv1/.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from time import perf_counter

import libipld
import numpy as np

from atdata.errors import AtdataError, IntegrityError, UnavailableError
from atdata.storage.base import Stream
from atdata.storage.block import MAX_BLOCK, is_block_of, read_cid, read_varint
from atdata.syntax import Cid

MAX_HEADER = 16 << 10  # bytes; a header with one root has about 60
_MAX_CID = 160  # bytes; longer than any that `read_cid` takes
_MAX_VARINT = 9
_BUFFER = MAX_BLOCK + (1 << 20)
_FAST = 100e6  # bytes a second; what comes slower is handed out without waiting for the next block
_WORTH_A_THREAD = 64 << 10  # bytes


@dataclass(frozen=True, slots=True)
class _Section:
    """A block that has been read, and the way to learn whether it is what its CID says."""

    cid: Cid
    block: memoryview
    is_right: Callable[[], bool]


class CarReader:
    """Reads blocks from a stream of a CAR file. Memory is two buffers of 5 MiB.

    Raises:
        IntegrityError: The stream does not begin as a CARv1 does.
        UnavailableError: The stream failed or ended within the header.
    """

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        # Not bytearrays: those are zeroed, which takes longer than most small files.
        self._buffer, self._other = (np.empty(_BUFFER, np.uint8).data for _ in range(2))
        self._position = self._end = 0
        self._hasher: ThreadPoolExecutor | None = None
        self._next: _Section | AtdataError | None = None
        self._fast = False
        length = self._length(MAX_HEADER)
        if length is None:
            raise UnavailableError("an empty stream, not a CAR")
        _check_header(bytes(self._take(length)))

    def next_block(self) -> tuple[Cid, memoryview] | None:
        """The next block, checked against its CID; None at the end. The view holds until the next call.

        Raises:
            IntegrityError: Bytes that are no block, a block over 4 MiB, or one that is not what its CID says.
            UnavailableError: The stream failed, or ended within a block.
        """
        section, self._next = self._next or self._read(), None
        if isinstance(section, AtdataError):
            raise section
        if section is None:
            return None
        if self._fast:
            try:
                self._next = self._read()
            except AtdataError as error:
                self._next = error  # the block before it is to be handed out first
        if not section.is_right():
            raise IntegrityError(f"the bytes of block {section.cid} differ from its digest")
        return section.cid, section.block

    def close(self) -> None:
        """Close the stream. May be called twice."""
        self._stream.close()
        if self._hasher is not None:
            self._hasher.shutdown(wait=False)

    def _read(self) -> _Section | None:
        """The next section, of which the hash is under way; None at the end."""
        began = perf_counter()
        length = self._length(MAX_BLOCK + _MAX_CID)
        if length is None:
            return None
        section = self._take(length)
        self._fast = length > _FAST * (perf_counter() - began)
        cid, start = read_cid(section)
        block = section[start:]
        if len(block) < _WORTH_A_THREAD or not self._fast:
            return _Section(cid, block, lambda: is_block_of(cid, block))
        if self._hasher is None:
            self._hasher = ThreadPoolExecutor(1, thread_name_prefix="atdata-car")
        return _Section(cid, block, self._hasher.submit(is_block_of, cid, block).result)

    def _length(self, limit: int) -> int | None:
        """The length of the next section; None where the stream ends before it."""
        for wanted in range(1, _MAX_VARINT + 1):
            if not self._fill(wanted):
                if wanted == 1:
                    return None
                raise UnavailableError("ended within the length of a block")
            if self._buffer[self._position + wanted - 1] < 0x80:
                break
        length, self._position = read_varint(self._buffer[: self._end], self._position)
        if not 0 < length <= limit:
            raise IntegrityError(f"a section of {length:,} bytes, at most {limit:,} are allowed")
        return length

    def _take(self, length: int) -> memoryview:
        if not self._fill(length):
            raise UnavailableError(f"ended {length - (self._end - self._position):,} bytes before the end of a block")
        start, self._position = self._position, self._position + length
        return self._buffer[start : self._position]

    def _fill(self, wanted: int) -> bool:
        """Have that many bytes in the buffer; False where the stream ends before.

        Two buffers are used by turns, so that the block before is left as it is: within one section they change once
        at most, since whatever a section may have fits into an empty one.
        """
        while self._end - self._position < wanted:
            if len(self._buffer) - self._position < wanted:
                rest = self._end - self._position
                self._other[:rest] = self._buffer[self._position : self._end]
                self._buffer, self._other = self._other, self._buffer
                self._position, self._end = 0, rest
            count = self._stream.readinto(self._buffer[self._end :])
            if not count:
                return False
            self._end += count
        return True


def _check_header(header: bytes) -> None:
    try:
        value = libipld.decode_dag_cbor(header)
    except (ValueError, RecursionError, OverflowError, MemoryError) as error:
        raise IntegrityError("the header of the CAR is not DAG-CBOR") from error
    version = value.get("version") if isinstance(value, dict) else None
    if version != 1:
        raise IntegrityError(f"a CAR of version {str(version)[:20]}, not 1")
