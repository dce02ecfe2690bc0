"""A permutation of ``0 .. n-1`` that is a function: any place of it can be asked for, and nothing is kept.

A shuffled list of ten million numbers takes 80 MB and a second to make, and a resume has to make it again. Here, the
number at a place is computed: a Feistel network over a grid of ``a * b >= n`` cells whose sides are about the root of
``n``. Each round moves along one side by a hash of the other, which a round in the opposite direction would undo, so no
cell is met twice; a number beyond ``n`` goes through the network again until it is below. It is the same on every
machine and with every release of numpy, and made for order, not for secrets.

Sources: J. Black, P. Rogaway, "Ciphers with Arbitrary Finite Domains", CT-RSA 2002 (generalised Feistel, and cycle
walking); S. Vigna, splitmix64 (the hash).
"""

import hashlib
import math
import struct

import numpy as np
from numpy.typing import NDArray

_ROUNDS = 8  # from 4 on, few places cannot be told from random
_SMALL = 1 << 16  # below this size a grid has so few cells that it takes twice the rounds

Numbers = NDArray[np.int64]


def mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """A hash of each number, 64 bits: the finaliser of splitmix64. Changes its argument, which it returns."""
    values ^= values >> np.uint64(30)
    values *= np.uint64(0xBF58476D1CE4E5B9)
    values ^= values >> np.uint64(27)
    values *= np.uint64(0x94D049BB133111EB)
    values ^= values >> np.uint64(31)
    return values


def keys_of(count: int, *parts: object) -> list[int]:
    """Some numbers of 64 bits, by a hash of the text of ``parts``: other parts, other numbers."""
    text = "\n".join(map(str, parts)).encode()
    digests = (hashlib.sha256(text + b"\n%d" % number).digest() for number in range(count))
    return [int(struct.unpack_from("<Q", digest)[0]) for digest in digests]


class Permutation:
    """One order of ``size`` things. Immutable.

    Args:
        size: How many there are, 0 or more.
        parts: What the order depends on, as text; equal parts give equal orders.
    """

    def __init__(self, size: int, *parts: object) -> None:
        self._size = size
        self._long = math.isqrt(max(size - 1, 0)) + 1
        self._short = -(-size // self._long)
        self._keys = [np.uint64(key) for key in keys_of(_ROUNDS if size > _SMALL else 2 * _ROUNDS, *parts)]

    def __call__(self, places: Numbers, tweak: Numbers | None = None) -> Numbers:
        """What stands at each place.

        Args:
            places: Numbers from 0 to ``size - 1``, of any shape. int64.
            tweak: For each place, which of many orders of the same size is meant; None: all the first.
        """
        found = self._once(places, tweak)
        while (beyond := found >= self._size).any():
            found[beyond] = self._once(found[beyond], None if tweak is None else tweak[beyond])
        return found

    def _once(self, places: Numbers, tweak: Numbers | None) -> Numbers:
        first, second = np.divmod(places, np.int64(self._short))
        salt = None if tweak is None else mixed(tweak.astype(np.uint64))
        for number, key in enumerate(self._keys):
            even = number % 2 == 0
            values = (second if even else first).astype(np.uint64)
            values += key
            if salt is not None:
                values ^= salt
            # The upper half: of a hash, the remainder by a small number is fair to 1 in 2**16 with 32 bits already.
            step = (mixed(values) >> np.uint64(16)).astype(np.int64)
            if even:
                first = (first + step) % self._long
            else:
                second = (second + step) % self._short
        return first * self._short + second
