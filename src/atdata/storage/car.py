"""CARv1: a stream of blocks, each with its CID. Read in one pass, each block checked against its CID.

That a block is what its CID says is checked here; that it is the one which is wanted, in `atdata.storage.gateways`.
The roots that the header names are the sender's word and are passed over.
Source: https://ipld.io/specs/transport/car/carv1/.
"""

import libipld

from atdata.errors import IntegrityError, UnavailableError
from atdata.storage.base import Stream
from atdata.storage.block import MAX_BLOCK, is_block_of, read_cid, read_varint
from atdata.syntax import Cid

MAX_HEADER = 16 << 10  # bytes; a header with one root has about 60
_MAX_CID = 160  # bytes; longer than any that `read_cid` takes
_MAX_VARINT = 9
_BUFFER = MAX_BLOCK + (1 << 20)


class CarReader:
    """Reads blocks from a stream of a CAR file. Memory is one buffer of 5 MiB.

    Raises:
        IntegrityError: The stream does not begin as a CARv1 does.
        UnavailableError: The stream failed or ended within the header.
    """

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._buffer = memoryview(bytearray(_BUFFER))
        self._position = self._end = 0
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
        length = self._length(MAX_BLOCK + _MAX_CID)
        if length is None:
            return None
        section = self._take(length)
        cid, start = read_cid(section)
        block = section[start:]
        if not is_block_of(cid, block):
            raise IntegrityError(f"the bytes of block {cid} differ from its digest")
        return cid, block

    def close(self) -> None:
        """Close the stream. May be called twice."""
        self._stream.close()

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
        """Have that many bytes in the buffer; False where the stream ends before."""
        while self._end - self._position < wanted:
            if len(self._buffer) - self._position < wanted or self._position == self._end:
                rest = self._end - self._position
                self._buffer[:rest] = self._buffer[self._position : self._end]
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
