"""The keys of a shard while it is written: what a key may be, and that none comes twice.

webdataset takes the name of a member up to the first dot of its base name as the key, so that a key has no dot, and
passes over names in double underscores. How keys are kept in the index is `atdata.data.index`.
"""

import re
from collections.abc import Sequence

from atdata.data.index import CountedKeys, counted_key
from atdata.errors import SchemaMismatchError

_MAX_KEY = 1024  # bytes
_KEY = re.compile(r"[^./\x00-\x1f\x7f]+")


class KeyList:
    """The keys of a shard: a number as long as all are counted, a list from the first other one on."""

    def __init__(self, shard: int) -> None:
        self._shard = shard
        self._count = 0
        self._list: dict[str, None] | None = None
        self._bytes = 0  # of the list, joined, with a line break behind each

    def name(self, key: str | None) -> str:
        """The key that the next sample gets.

        Raises:
            SchemaMismatchError: It cannot be a key.
        """
        if key is not None:
            _check(key)
        return counted_key(self._shard, self._count) if key is None else key

    def take(self, key: str | None) -> None:
        """Append a key, a counted one for None.

        Raises:
            SchemaMismatchError: It cannot be a key, or is in the shard already.
        """
        if key is not None or self._list is not None:
            self._take(self.name(key))
        self._count += 1

    def _take(self, name: str) -> None:
        if self._list is None:
            self._list = dict.fromkeys(CountedKeys(self._shard, self._count))
            self._bytes = sum(len(counted) + 1 for counted in self._list)
        if name in self._list:
            raise SchemaMismatchError(f"the key {name!r} is in the shard already")
        self._list[name] = None
        self._bytes += len(name.encode()) + 1

    def all(self) -> Sequence[str]:
        """The keys in order."""
        return CountedKeys(self._shard, self._count) if self._list is None else tuple(self._list)

    def bytes_with(self, key: str | None) -> int:
        """Length of the joined keys with one more; 0 when all are counted."""
        if self._list is None and key is None:
            return 0
        before = self._bytes or sum(len(counted) + 1 for counted in CountedKeys(self._shard, self._count))
        return before + len(self.name(key).encode())


def _check(key: str) -> None:
    reason = ""
    if not _KEY.fullmatch(key):
        reason = "it must have a character or more, and no dot, slash or control character"
    elif key.startswith("__"):
        reason = "webdataset passes over names that begin with '__'"
    elif any("\ud800" <= character <= "\udfff" for character in key):
        reason = "it has a lone surrogate, which UTF-8 cannot hold"
    elif len(key.encode()) > _MAX_KEY:
        reason = f"it is longer than {_MAX_KEY:,} bytes"
    if reason:
        raise SchemaMismatchError(f"{key[:80]!r} cannot be a key: {reason}")
