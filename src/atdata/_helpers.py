"""Arrays to bytes and back, under the names by which existing code and its tests know them.

The work is done in `atdata.data.npy`; new code calls that.
"""

from typing import Any

from numpy.typing import NDArray

from atdata.data.npy import decode_array, encode_array


def array_to_bytes(x: NDArray[Any]) -> bytes:
    """The bytes of the ``.npy`` file that `numpy.save` would write.

    Raises:
        SchemaMismatchError: The array holds Python objects, which would be pickled.
    """
    return b"".join(encode_array(x))


def bytes_to_array(b: bytes) -> NDArray[Any]:
    """The array in the bytes of a ``.npy`` file, or in the compact form of atdata 0.7; writable, of its own.

    Raises:
        ShardError: The bytes are neither, or hold Python objects, which would be unpickled.
    """
    return decode_array(b).copy(order="K")
