"""Files on IPFS as a store: ``ipfs://CID`` and ``ipfs://CID/folder/file``, read from gateways that nobody trusts.

Each block is checked against its CID before a byte of it is handed out, from the CID in the URL down. Large reads are
one CAR stream; where a gateway stops or lies, the next one goes on at that very block. Small ranges fetch the few
blocks that they need. The rest of the chain: `unixfs` says which blocks, `gateways` asks for them, `feed` and `car`
read streams of them, `block` checks digests.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from atdata.errors import AtdataError, NotFoundError, UnsupportedStorageError
from atdata.net import Transport
from atdata.storage.base import Stream
from atdata.storage.block import IDENTITY, require_checkable
from atdata.storage.feed import Feed
from atdata.storage.gateways import Failure, Gateways, Outcome, configured_gateways, parse_gateways
from atdata.storage.hamt import find_entry
from atdata.storage.unixfs import Kind, decode_node, file_pieces, require_file
from atdata.storage.url import ipfs_path
from atdata.syntax import DAG_PB, RAW, Cid

_CAR_FROM = 1 << 20  # bytes; less is fetched block by block, of which most writers make 256 KiB or 1 MiB
_CACHED_BLOCK = 256 << 10  # bytes; folders and inner blocks are smaller, leaves that are dag-pb larger
_CACHED_BYTES = 16 << 20  # of such blocks
_CACHED_PATHS = 10_000


class IpfsStore:
    """Reads files from IPFS. A path is an ``ipfs://`` URL.

    Args:
        transport: Its policy holds for all requests; each gateway may have a private address besides, since the owner
            of the machine named it.
        gateways: Base URLs, in order; None for those of the environment (`configured_gateways`).
    """

    def __init__(self, transport: Transport, *, gateways: Sequence[str] | None = None) -> None:
        policy = transport.policy
        self._gateways = Gateways(configured_gateways(policy) if gateways is None else parse_gateways(gateways), policy)
        self._begin()

    def _begin(self) -> None:
        # No locks, for a fork would copy them held: single steps on dictionaries are atomic.
        self._blocks: dict[Cid, bytes] = {}
        self._cached_bytes = 0
        self._files: dict[str, Cid] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {"gateways": self._gateways}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._gateways = state["gateways"]
        self._begin()

    def open(self, path: str, *, start: int = 0, stop: int | None = None) -> Stream:
        """Stream a file; see `Store.open`. Blocks outside of the range are not fetched.

        Raises:
            InvalidSyntaxError: Not an ``ipfs://`` URL of a file.
            IntegrityError: No gateway sends the right bytes, or the file's blocks contradict one another.
            NotFoundError: No gateway has it, or the folder has no such name.
            UnavailableError: No gateway could be asked, or none answered; the message lists them.
            UnsupportedStorageError: A folder, a symbolic link, or a hash that cannot be checked.
        """
        root = self._resolve(path)
        block = self._block(root, path)
        size = _size(root, block)
        stop = max(start, size if stop is None else min(stop, size))
        source = _Blocks(self, path, root, block, start=start, stop=stop, size=size)
        return IpfsStream(source, file_pieces(root, size, source.get, start=start, stop=stop))

    def size(self, path: str) -> int:
        """Length of a file, in bytes, from its checked root block. Raises as `open` does."""
        root = self._resolve(path)
        return _size(root, self._block(root, path))

    @property
    def gateways(self) -> Gateways:
        """Who is asked."""
        return self._gateways

    def cached(self, cid: Cid) -> bytes | None:
        """A small block of a folder or of the inside of a file that was read before."""
        return self._blocks.get(cid)

    def cache(self, cid: Cid, block: memoryview | bytes) -> None:
        """Keep a checked block for the next reader, where it is one of folders or of the inside of files."""
        if cid.codec == DAG_PB and len(block) <= _CACHED_BLOCK:
            if self._cached_bytes > _CACHED_BYTES:
                self._blocks.clear()
                self._cached_bytes = 0
            self._blocks[cid] = bytes(block)
            self._cached_bytes += len(block)

    def _block(self, cid: Cid, path: str) -> bytes:
        require_checkable(cid)
        if cid.hash_code == IDENTITY:
            return cid.digest
        block = self.cached(cid)
        if block is None:
            block = self._gateways.block(cid, path, {})
            self.cache(cid, block)
        return block

    def _resolve(self, path: str) -> Cid:
        """The CID of the file that a URL names, through checked blocks of folders."""
        cid = self._files.get(path)
        if cid is None:
            cid, names = ipfs_path(path)
            for name in names:
                cid = self._entry(cid, name, path)
            if len(self._files) >= _CACHED_PATHS:
                self._files.clear()
            self._files[path] = cid
        return cid

    def _entry(self, folder: Cid, name: bytes, path: str) -> Cid:
        cid, level = folder, 0
        while True:
            node = decode_node(cid, self._block(cid, path)) if cid.codec == DAG_PB else None
            if node is None or node.kind not in (Kind.DIRECTORY, Kind.HAMT_SHARD):
                raise NotFoundError(
                    f"{path}: {folder} is not a folder, and so has no {name.decode(errors='replace')!r}"
                )
            found = find_entry(node, name, level)
            if found is None:
                raise NotFoundError(f"{path}: the folder {folder} has no {name.decode(errors='replace')!r}")
            cid, level = found[0], level + 1
            if found[1]:
                return cid


def _size(root: Cid, block: bytes) -> int:
    if root.codec == RAW:
        return len(block)
    if root.codec != DAG_PB:
        raise UnsupportedStorageError(f"{root}: codec 0x{root.codec:x} is no file of IPFS", kind="ipfs")
    node = decode_node(root, block)
    require_file(root, node)
    return node.size


class IpfsStream:
    """The checked bytes of a file, or of a range. A `Stream`."""

    def __init__(self, source: "_Blocks", pieces: Iterator[memoryview]) -> None:
        self._source = source
        self._pieces = pieces
        self._rest = memoryview(b"")
        self._error: BaseException | None = None

    def readinto(self, buffer: memoryview, /) -> int:
        """Fill a buffer with checked bytes; 0 only at the end. Raises as `IpfsStore.open` does."""
        if self._error is not None:
            raise self._error  # a generator that has raised only ends, which would read as the end of the file
        while not len(self._rest):
            try:
                piece = next(self._pieces, None)
            except BaseException as error:
                self._error = error
                self.close()
                raise
            if piece is None:
                self.close()
                return 0
            self._rest = piece
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count

    def close(self) -> None:
        """Release the connection. May be called twice."""
        self._source.close()

    def __del__(self) -> None:
        self.close()


class _Blocks:
    """The blocks of one reading of a file: from a CAR as long as one is to be had, else one by one."""

    def __init__(
        self, store: IpfsStore, path: str, root: Cid, block: bytes, *, start: int, stop: int, size: int
    ) -> None:
        self._store = store
        self._gateways = store.gateways
        self._path = path
        self._root = root
        self._root_block = block
        self._stop = stop
        self._to_the_end = stop == size
        self._streams = self._gateways.policy.resumptions + 1 if stop - start >= _CAR_FROM else 0
        self._feed: Feed | None = None
        self._failures: dict[str, Failure] = {}  # since the last block that came
        self._useless: set[str] = set()  # whose CARs are not asked for again

    def get(self, cid: Cid, place: int, above: Sequence[Cid]) -> memoryview | bytes:
        """The checked block of a CID whose first byte stands at ``place`` of the file."""
        if cid == self._root:
            return self._root_block
        require_checkable(cid)
        if cid.hash_code == IDENTITY:
            return cid.digest
        if known := self._store.cached(cid):
            return known
        block = self._streamed(cid, place, above)
        if block is None:
            block = self._gateways.block(cid, self._path, self._failures)
            if self._feed is not None:
                self._feed.keep(cid, block)
        self._failures.clear()
        self._store.cache(cid, block)
        return block

    def close(self) -> None:
        """Release the connection. May be called twice."""
        feed, self._feed = self._feed, None
        if feed is not None:
            feed.close()

    def _streamed(self, cid: Cid, place: int, above: Sequence[Cid]) -> memoryview | bytes | None:
        """The block from a CAR, of one gateway after the other; None where none has it in its place."""
        while True:
            feed = self._feed or self._open_feed(place)
            if feed is None:
                return None
            try:
                return feed.take(cid, above)
            except AtdataError as error:
                self._give_up(feed, error)

    def _open_feed(self, place: int) -> Feed | None:
        """A CAR from ``place`` on, of a gateway that has not failed since the last block."""
        for gateway in self._gateways.in_order():
            partial = place > 0
            if self._streams <= 0 or gateway in self._failures or gateway in self._useless:
                continue
            if partial and not self._gateways.knows_ranges(gateway):
                continue
            self._streams -= 1
            stop = None if self._to_the_end else self._stop
            try:
                reader = self._gateways.open_car(gateway, self._root, start=place, stop=stop)
            except AtdataError as error:
                self._useless.add(gateway)
                self._failures[gateway] = failure = Failure.of(error)
                self._gateways.blame(gateway, failure)
            else:
                self._feed = Feed(reader, gateway, partial=partial)
                return self._feed
        return None

    def _give_up(self, feed: Feed, error: AtdataError) -> None:
        self.close()
        failure = Failure.of(error)
        if feed.ignores_ranges:
            self._gateways.note_no_ranges(feed.gateway)
        else:
            self._gateways.blame(feed.gateway, failure)
        if failure.outcome == Outcome.LIED or not feed.delivered:
            self._useless.add(feed.gateway)
        self._failures[feed.gateway] = failure
