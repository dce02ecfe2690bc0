"""The shards of one dataset: what is known of each, how many samples they hold, and where sample ``i`` lies.

Facts come from the record, else from the index at the end of a local shard, else, where the caller asks for it, from a
scan. Nothing is opened before it is needed. Reading in order is `atdata.data.reader`, reading out of order
`atdata.data.access`, which this module hands its shards to.
"""

import os
import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from atdata.data.order import Position, fingerprint, fingerprint_of_all
from atdata.storage.base import Shard, Store

if TYPE_CHECKING:
    from atdata.data.access import Decoders, ShardAccess
    from atdata.data.memory import Memory

_MAX_FILES = 128  # kept open at a time, two descriptors each: a quarter of what a process mostly may open
_MOST_ASKED = 4096  # shards elsewhere whose ends are read to find out whether they have an index
_ASKED_AT_ONCE = 16
_MAX_PLACES = 16 << 20  # samples whose places are kept, of 4 to 12 bytes each


class Shards:
    """The shards of one dataset, in order. Picklable: a copy begins without what was learnt of the shards.

    Attributes:
        store: Reads them.
        paths: Where they lie in ``store``.
        facts: What the record says of each, or None where there is no record, or it says nothing.
    """

    def __init__(
        self, store: Store, paths: Sequence[str], facts: Sequence[Shard] | None = None, *, typed: bool = False
    ) -> None:
        """Hold shards; nothing is opened.

        Args:
            typed: A caller typed the paths, so one without a scheme is a file. In a store of blobs it is a CID.

        Raises:
            ValueError: Facts of more or of fewer shards than there are paths.
        """
        if facts is not None and len(facts) != len(paths):
            raise ValueError(f"facts of {len(facts):,} shards, but paths of {len(paths):,}")
        self.store = store
        self.paths = tuple(paths)
        self.facts = None if facts is None else tuple(facts)
        self._typed = typed
        self._begin()

    def _begin(self) -> None:
        self._counts: dict[int, int] = {}
        self._borders: list[int] | None = None
        self._borders_array: NDArray[np.int64] | None = None
        self._local: bool | None = None
        self._fingerprint: str | None = None
        self._open_nothing()

    def _open_nothing(self) -> None:
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._known: OrderedDict[int, ShardAccess] = OrderedDict()
        self._files: OrderedDict[int, None] = OrderedDict()
        self._shared: tuple[Decoders, Memory] | None = None

    @property
    def decoders(self) -> "Decoders":
        """What decodes samples read by number."""
        return self._in_common()[0]

    @property
    def memory(self) -> "Memory":
        """What reading by number keeps in memory."""
        return self._in_common()[1]

    def _in_common(self) -> "tuple[Decoders, Memory]":
        if self._shared is None:
            from atdata.data.access import Decoders
            from atdata.data.memory import Memory

            self._shared = Decoders(), Memory()
        return self._shared

    def __getstate__(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("store", "paths", "facts", "_typed")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._begin()

    def known_total(self) -> int | None:
        """The number of samples, where it is known without reading a shard: no I/O."""
        if self._borders is not None:
            return self._borders[-1]
        counts = [self._known_count(number) for number in range(len(self.paths))]
        return None if None in counts else sum(count for count in counts if count is not None)

    def is_addressable(self) -> bool:
        """Whether any sample can be read by its number without a scan: counts and places are known, or come cheaply.

        The ends of local files are read. Of shards elsewhere that no record describes, the ends are asked for as well,
        several at a time, unless they are more than `_MOST_ASKED`, or the first one has no index.
        """
        from atdata.data.compression import is_compressed

        if any(map(is_compressed, self.paths)):
            return False
        if self.are_local():
            return self.indexed_total() is not None
        if self.facts is not None:
            return all(shard.samples is not None and shard.index is not None for shard in self.facts)
        return self._ask()

    def _ask(self) -> bool:
        from atdata.data.index import read_index
        from atdata.data.ranges import at_once

        def found(number: int) -> bool:
            if number in self._counts:
                return True
            index = read_index(self.store, self.paths[number])
            if index is not None:
                self._counts[number] = len(index)
            return index is not None

        if not 0 < len(self.paths) <= _MOST_ASKED or not found(0):
            return False
        return all(at_once([partial(found, number) for number in range(1, len(self.paths))], _ASKED_AT_ONCE))

    def sample_bytes(self) -> float:
        """About how large a sample is, by some of the shards. Their counts are known."""
        some = range(0, len(self.paths), max(1, len(self.paths) // 16))
        sizes = [self._size(number) for number in some]
        return sum(sizes) / max(1, sum(map(self.count, some)))

    def _size(self, number: int) -> int:
        said = self.facts[number].bytes if self.facts is not None else None
        return self.store.size(self.paths[number]) if said is None else said

    def indexed_total(self) -> int | None:
        """The number of samples, where it is known or local shards have an index; reads the ends of files at most."""
        for number in range(len(self.paths)):
            if self._known_count(number) is None and not self._has_index(number):
                return None
        return self.borders()[-1]

    def _has_index(self, number: int) -> bool:
        """Whether a shard is local and has an index. It is opened."""
        from atdata.data.compression import is_compressed
        from atdata.data.index import read_index

        path = self.paths[number]
        if not self.is_local(number) or is_compressed(path) or (index := read_index(self.store, path)) is None:
            return False
        self._counts[number] = len(index)
        return True

    def count(self, number: int) -> int:
        """The number of samples of one shard, by a scan where there is no other way. Raises as reading does."""
        count = self._known_count(number)
        if count is None:
            count = self._counts[number] = self.access(number).count()
        return count

    def _known_count(self, number: int) -> int | None:
        said = self.facts[number].samples if self.facts is not None else None
        return self._counts.get(number) if said is None else said

    def borders(self) -> list[int]:
        """How many samples come before each shard, then how many there are; scans where there is no other way."""
        if self._borders is None:
            borders = [0]
            for number in range(len(self.paths)):
                borders.append(borders[-1] + self.count(number))
            self._borders = borders
        return self._borders

    def locate(self, i: int) -> tuple[int, int]:
        """The shard in which sample ``i`` lies, and its number there. Shards behind it are not looked at.

        Raises:
            IndexError: There are not so many samples; or ``i`` is negative, and there are not so many before the end.
        """
        if self._borders is None and i >= 0 and (found := self._search(i)) is not None:
            return found
        borders = self.borders()
        place = i if i >= 0 else i + borders[-1]
        if not 0 <= place < borders[-1]:
            raise IndexError(f"sample {i:,} of a dataset of {borders[-1]:,} samples")
        number = bisect_right(borders, place) - 1
        return number, place - borders[number]

    def _search(self, i: int) -> tuple[int, int] | None:
        for number in range(len(self.paths)):
            if i < (count := self.count(number)):
                return number, i
            i -= count
        return None

    def counted(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Numbers of samples, those from the end counted from the start.

        Raises:
            IndexError: There are not so many samples.
        """
        return counted_from_start(ids, self.borders()[-1])

    def locate_all(self, ids: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The shards in which samples lie that are there, and their numbers there."""
        if self._borders_array is None:
            self._borders_array = np.array(self.borders(), np.int64)
        numbers = np.searchsorted(self._borders_array, ids, side="right") - 1
        return numbers, ids - self._borders_array[numbers]

    def access(self, number: int) -> "ShardAccess":
        """Random access to one shard. What is known of those used last is kept, and fewer of them are kept open."""
        try:
            self._files.move_to_end(number)
            return self._known[number]
        except KeyError:
            pass
        if self._process != os.getpid():  # after a fork a lock may be held by a thread that is not here
            self._open_nothing()
        with self._lock:
            access = self._known.get(number)
            if access is None:
                access = self._known[number] = self._access(number)
            self._known.move_to_end(number)
            self._files[number] = None
            self._files.move_to_end(number)
            if len(self._files) > _MAX_FILES:
                self._known[self._files.popitem(last=False)[0]].close()
            return access

    def _access(self, number: int) -> "ShardAccess":
        from atdata.data.access import ShardAccess  # here, since most programs read in order alone

        decoders, memory = self._in_common()
        facts = self.facts[number] if self.facts is not None else None
        kept = sum(access.kept for access in self._known.values()) if len(self._known) % 64 == 63 else 0
        while kept > _MAX_PLACES and len(self._known) > 1:
            oldest, access = self._known.popitem(last=False)
            self._files.pop(oldest, None)
            kept -= access.kept
        return ShardAccess(self.store, self.paths[number], facts=facts, decoders=decoders, memory=memory)

    def fingerprint(self) -> str:
        """What tells this dataset from another (`atdata.data.order.fingerprint`). Looks at the size of local files."""
        if self._fingerprint is not None:
            return self._fingerprint
        whole = fingerprint_of_all(fingerprint(self._facts(number), path) for number, path in enumerate(self.paths))
        if self.facts is not None:  # files may change, facts do not
            self._fingerprint = whole
        return whole

    def _facts(self, number: int) -> Shard:
        if self.facts is not None:
            return self.facts[number]
        return Shard(bytes=self.store.size(self.paths[number])) if self.is_local(number) else Shard()

    def is_local(self, number: int) -> bool:
        """Whether the path of a shard is that of a file of this machine."""
        from atdata.storage.url import scheme_of

        scheme = scheme_of(self.paths[number])
        return scheme == "file" or (scheme is None and self._typed)

    def are_local(self) -> bool:
        """Whether all shards are files of this machine."""
        if self._local is None:
            self._local = all(map(self.is_local, range(len(self.paths))))
        return self._local

    def part(self, worker: int, workers: int) -> "Shards":
        """The shards of one of several workers, round robin."""
        facts = None if self.facts is None else self.facts[worker::workers]
        return Shards(self.store, self.paths[worker::workers], facts, typed=self._typed)

    def settle(self, position: Position) -> None:
        """Bring a position that has gone beyond its shard into the shard where it lies."""
        while position.shard < len(self.paths) - 1 and position.sample > (count := self.count(position.shard)):
            over = position.sample - count
            position.sample = count
            position.next_shard()
            position.sample = over


def counted_from_start(ids: NDArray[np.int64], total: int) -> NDArray[np.int64]:
    """Numbers of samples, those that count from the end counted from the start.

    Raises:
        IndexError: There are not so many samples.
    """
    if len(ids) and (ids.min() < -total or ids.max() >= total):
        wrong = (ids < -total) | (ids >= total)
        raise IndexError(f"sample {ids[wrong.argmax()]:,} of a dataset of {total:,} samples")
    return np.where(ids < 0, ids + total, ids)
