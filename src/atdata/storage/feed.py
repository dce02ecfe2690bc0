"""The blocks of one CAR, in the order in which they are wanted.

Gateways mostly send what was asked for: depth first, each block as often as it stands in the file. Some leave out
repeated blocks, some mix up neighbours; blocks that come early are kept within a bound, and what does not come is
fetched alone by the caller. A CAR that is of no use is given up.
"""

from collections import OrderedDict
from collections.abc import Sequence

from atdata.errors import IntegrityError, UnavailableError
from atdata.storage.block import multihash
from atdata.storage.car import CarReader
from atdata.storage.unixfs import MAX_DEPTH
from atdata.syntax import Cid

_AHEAD = 2  # blocks that are read past a wanted one
_KEPT = 8  # blocks that came early, or are repeated; 32 MiB at most
_MAX_GAPS = 8  # blocks that did not come where they should, less those that did


class Feed:
    """Takes blocks from a CAR.

    Args:
        reader: The CAR.
        gateway: Who sends it.
        partial: It was asked for from the middle of the file on.

    Attributes:
        gateway: Who sends it.
        delivered: A block that was wanted has come.
        ignores_ranges: It turned out that the gateway sends whole files only.
    """

    def __init__(self, reader: CarReader, gateway: str, *, partial: bool) -> None:
        self.gateway = gateway
        self._reader = reader
        self._kept: OrderedDict[tuple[int, bytes], bytes] = OrderedDict()
        self._gaps = 0
        self._partial = partial
        self.delivered = False
        self.ignores_ranges = False

    def take(self, cid: Cid, above: Sequence[Cid]) -> memoryview | bytes | None:
        """The checked block of a CID; None where it did not come in its place. A view holds until the next call.

        Args:
            above: CIDs of the blocks above it in the file, which a CAR from the middle has first.

        Raises:
            IntegrityError: The bytes of a block differ from its digest, or many blocks came that were not wanted.
            UnavailableError: The stream failed or ended.
        """
        wanted = multihash(cid)
        if kept := self._kept.get(wanted):
            self._kept.move_to_end(wanted)
            return kept
        known = {multihash(parent) for parent in above}
        skipped = ahead = 0
        while ahead <= _AHEAD:
            found = self._reader.next_block()
            if found is None:
                raise UnavailableError(f"the CAR ended before block {cid}")
            name = multihash(found[0])
            if name == wanted:
                self.delivered = True
                self._gaps = max(0, self._gaps - 1)
                return found[1]
            if name in known and skipped <= MAX_DEPTH:
                skipped += 1
                continue
            if self._partial and not self.delivered:
                self.ignores_ranges = True
                raise UnavailableError("it sent the whole file, not the part that was asked for")
            ahead += 1
            self.keep(found[0], bytes(found[1]))
        self._gaps += 1
        if self._gaps > _MAX_GAPS:
            raise IntegrityError(f"the CAR has blocks that were not asked for in the place of {cid} and others")
        return None

    def keep(self, cid: Cid, block: bytes) -> None:
        """Keep a checked block that may be wanted soon, or again."""
        self._kept[multihash(cid)] = block
        if len(self._kept) > _KEPT:
            self._kept.popitem(last=False)

    def close(self) -> None:
        """Give up the stream. May be called twice."""
        self._reader.close()
