"""Orders: which sample stands at which place of an epoch, as functions that keep nothing.

An order knows the number of samples, the seed, the epoch and the fingerprint of the dataset, and nothing of ranks or
workers, who read their parts of it (`atdata.data.ranks`). Any place can be asked for, so a resume begins at once.

`Whole` is one permutation of all samples, for files of this machine. `Windows` is for data that come from afar: within
a *window*, each of 192 *lanes*, equal parts of the dataset, gives one *piece*, a run of neighbouring samples that one
range brings; rows of one sample of each lane follow one another. So each piece is read once, memory is one window, and
each batch has samples of all parts of the dataset, the first as the last. Where counts are not known, samples go
through a buffer instead: `atdata.data.streams`. The reasons and the measured quality are in ``docs/order.md``.
"""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from atdata.data.permutation import Permutation, keys_of

LANES = 192  # divided by 2, 3, 4, 6, 8 ... 64, 96: so many ranks each read pieces of their own
WINDOW = 64 << 20  # bytes

Numbers = NDArray[np.int64]


class Order(Protocol):
    """One order of the samples ``0 .. total-1``.

    Attributes:
        total: How many there are.
        runs: Neighbours in the order are neighbours in the shards.
    """

    @property
    def total(self) -> int: ...
    @property
    def runs(self) -> bool: ...

    def ids(self, places: Numbers) -> Numbers:
        """The number of the sample at each place."""
        ...

    def until(self, place: int) -> int | None:
        """Where a chunk that begins here should end, for nothing to be fetched twice; None where it does not matter."""
        ...

    def state(self) -> dict[str, Any]:
        """What a resume has to know of it, as JSON values."""
        ...


@dataclass(frozen=True, slots=True)
class InOrder:
    """As the samples stand in the shards."""

    total: int
    runs: bool = True

    def ids(self, places: Numbers) -> Numbers:
        """The places themselves."""
        return places

    def until(self, place: int) -> int | None:
        """Anywhere."""
        return None

    def state(self) -> dict[str, Any]:
        """Its name."""
        return {"order": "stored"}


class Whole:
    """One permutation of all samples.

    Args:
        total: How many there are.
        parts: What the order depends on: fingerprint, seed, epoch.
    """

    runs = False

    def __init__(self, total: int, *parts: object) -> None:
        self.total = total
        self._permutation = Permutation(total, "whole", *parts)

    def ids(self, places: Numbers) -> Numbers:
        """The number of the sample at each place."""
        return self._permutation(places)

    def until(self, place: int) -> int | None:
        """Anywhere."""
        return None

    def state(self) -> dict[str, Any]:
        """Its name."""
        return {"order": "whole"}


class Windows:
    """Pieces from all over the dataset, mixed window by window.

    The samples, as a ring that begins at a number drawn for each epoch, are cut into as many lanes as there are in
    `LANES`, or as there are samples where those are fewer. Row after row takes one sample of each lane, in an order of
    the lanes that changes with the window. A lane gives its pieces in an order of its own, and the samples of a piece
    are shuffled; the shorter piece that is left at the end of a lane comes in the last window.

    Args:
        total: How many samples there are.
        piece: Samples of a piece.
        parts: What the order depends on: fingerprint, seed, epoch.
    """

    runs = False

    def __init__(self, total: int, piece: int, *parts: object) -> None:
        self.total = total
        self.piece = piece
        self._lanes = max(1, min(LANES, total))
        self._rows = total // self._lanes
        self._pieces = self._rows // piece
        self._turn = keys_of(1, "turn", *parts)[0] % max(total, 1)
        self._by_window = Permutation(self._lanes, "lanes", *parts)
        self._by_lane = Permutation(self._pieces, "pieces", *parts)
        self._in_piece = Permutation(piece, "samples", *parts)
        self._in_rest = Permutation(self._rows - self._pieces * piece, "rest", *parts)
        borders = np.arange(self._lanes + 1, dtype=np.int64) * total // self._lanes
        self._borders = borders[:-1]
        longer = np.flatnonzero(np.diff(borders) > self._rows)
        self._last_row = longer[Permutation(len(longer), "last", *parts)(np.arange(len(longer)))]

    def ids(self, places: Numbers) -> Numbers:
        """The number of the sample at each place."""
        row, place = np.divmod(places, np.int64(self._lanes))
        lane = np.empty_like(place)
        inside = np.empty_like(place)
        last = row >= self._rows
        lane[last] = self._last_row[place[last]]
        inside[last] = self._rows
        window = row // self.piece
        lane[~last] = self._by_window(place[~last], window[~last])
        rest = ~last & (window >= self._pieces)
        in_rest = row[rest] - self._pieces * self.piece
        inside[rest] = self._pieces * self.piece + self._in_rest(in_rest, lane[rest])
        full = ~last & (window < self._pieces)
        number = self._by_lane(window[full], lane[full])
        within = self._in_piece(row[full] % self.piece, lane[full] * self._pieces + number)
        inside[full] = number * self.piece + within
        return (self._borders[lane] + inside + self._turn) % self.total

    def until(self, place: int) -> int | None:
        """The end of the window; anywhere, where pieces are single samples."""
        window = self.piece * self._lanes
        return (place // window + 1) * window if self.piece > 1 else None

    def state(self) -> dict[str, Any]:
        """Its name, and the size of its pieces."""
        return {"order": "windows", "piece": self.piece}


def piece_of(window: int, sample_bytes: float) -> int:
    """Samples of a piece such that a window of all lanes has about as many bytes as wanted."""
    return max(1, int(window / LANES / max(sample_bytes, 1.0)))
