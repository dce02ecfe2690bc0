"""The shards of one dataset: what is known of each, how many samples they hold, and where sample ``i`` lies.

Facts come from the record, else from the index at the end of a local shard, else, where the caller asks for it, from a
scan. Nothing is opened before it is needed. Reading in order is `atdata.data.reader`, reading out of order
`atdata.data.access`, which this module hands its shards to.
"""

from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from atdata.data.order import Position, fingerprint, fingerprint_of_all
from atdata.storage.base import Shard, Store

if TYPE_CHECKING:
    from atdata.data.access import ShardAccess

_MAX_OPEN = 64  # shards whose index is kept for reading out of order; one of 10,000 samples takes 80 kB


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
        self._counts: dict[int, int] = {}
        self._open: OrderedDict[int, ShardAccess] = OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_counts": {}, "_open": OrderedDict()}

    def known_total(self) -> int | None:
        """The number of samples, where it is known without reading a shard: no I/O."""
        counts = [self._known(number) for number in range(len(self.paths))]
        return None if None in counts else sum(count for count in counts if count is not None)

    def indexed_total(self) -> int | None:
        """The number of samples, where it is known or local shards have an index; reads the ends of files at most."""
        from atdata.data.index import read_index

        total = 0
        for number, path in enumerate(self.paths):
            count = self._known(number)
            if count is None and self._is_local(path) and (index := read_index(self.store, path)) is not None:
                count = self._counts[number] = len(index)
            if count is None:
                return None
            total += count
        return total

    def count(self, number: int) -> int:
        """The number of samples of one shard, by a scan where there is no other way. Raises as reading does."""
        count = self._known(number)
        if count is None:
            count = self._counts[number] = self.access(number).count()
        return count

    def _known(self, number: int) -> int | None:
        said = self.facts[number].samples if self.facts is not None else None
        return self._counts.get(number) if said is None else said

    def locate(self, i: int) -> tuple[int, int]:
        """The shard in which sample ``i`` lies, and its number there. Shards behind it are not looked at.

        Raises:
            IndexError: There are not so many samples; or ``i`` is negative, and there are not so many before the end.
        """
        rest = i if i >= 0 else i + sum(map(self.count, range(len(self.paths))))
        if rest >= 0:
            for number in range(len(self.paths)):
                if rest < (count := self.count(number)):
                    return number, rest
                rest -= count
        raise IndexError(f"sample {i:,} of a dataset of {sum(map(self.count, range(len(self.paths)))):,} samples")

    def access(self, number: int) -> "ShardAccess":
        """Random access to one shard; those used last are kept."""
        from atdata.data.access import ShardAccess  # here, since most programs read in order alone

        if number in self._open:
            self._open.move_to_end(number)
            return self._open[number]
        index = self.facts[number].index if self.facts is not None else None
        access = self._open[number] = ShardAccess(self.store, self.paths[number], index=index)
        while len(self._open) > _MAX_OPEN:
            self._open.popitem(last=False)[1].close()
        return access

    def fingerprint(self) -> str:
        """What tells this dataset from another (`atdata.data.order.fingerprint`). Looks at the size of local files."""
        return fingerprint_of_all(fingerprint(self._facts(number), path) for number, path in enumerate(self.paths))

    def _facts(self, number: int) -> Shard:
        if self.facts is not None:
            return self.facts[number]
        path = self.paths[number]
        return Shard(bytes=self.store.size(path)) if self._is_local(path) else Shard()

    def _is_local(self, path: str) -> bool:
        from atdata.storage.url import scheme_of

        scheme = scheme_of(path)
        return scheme == "file" or (scheme is None and self._typed)

    def settle(self, position: Position) -> None:
        """Bring a position that has gone beyond its shard into the shard where it lies."""
        while position.shard < len(self.paths) - 1 and position.sample > (count := self.count(position.shard)):
            over = position.sample - count
            position.sample = count
            position.next_shard()
            position.sample = over
