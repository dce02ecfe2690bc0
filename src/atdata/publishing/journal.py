"""The journal of one publish: what has been chosen and uploaded, so that the same command can go on.

A file of lines, each a CRC-32 and a JSON value, in the data folder. It is only ever appended to: a line that a crash or
a full disk has cut short at its end is passed over. A line that is damaged before that makes the whole journal one that
is not believed: it is set aside, and said so; only the record's key is taken over where its own line is whole, so that
no second record results. The file is locked while it is open: one publisher of a dataset at a time.

The name of the file is a digest of the command: another name, or other options, are another publish.
"""

import fcntl
import json
import os
import shutil
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from atdata.atproto.json_objects import read_shard, shard_json
from atdata.atproto.records import now
from atdata.errors import AtdataError, RefusedError, UnavailableError
from atdata.folders import data_folder
from atdata.storage.base import Shard
from atdata.storage.union import Blob
from atdata.syntax import Cid, RecordKey, new_tid, parse_cid, parse_record_key

VERSION = 1
_SYNC_SECONDS = 1.0  # how much of the uploads a power failure may make us forget


@dataclass(slots=True)
class Progressed:
    """What the lines of a journal say.

    Attributes:
        rkey: Key of the dataset record.
        created_at: Its time of creation.
        facts: Shards that were measured: by path, size and time of change of the file.
        uploaded: Blobs that the repository has taken, by CID.
        list_keys: Keys for ``blobList`` records, in order.
        lists: CIDs of those that have been written, by key.
    """

    rkey: RecordKey = field(default_factory=lambda: parse_record_key(new_tid()))
    created_at: str = field(default_factory=now)
    facts: dict[tuple[str, int, int], Shard] = field(default_factory=dict)
    uploaded: dict[Cid, Blob] = field(default_factory=dict)
    list_keys: list[RecordKey] = field(default_factory=list)
    lists: dict[RecordKey, str] = field(default_factory=dict)


class Journal:
    """An open journal. Made by `open_journal`, or by `unsaved` where nothing can be gone on with.

    Attributes:
        progressed: What has been done so far.
        is_resumed: Whether an earlier run has begun.
        is_saved: Whether a later run can go on.
        folder: For files of this publish that a later run may use again; None where there is no later run.
    """

    def __init__(self, path: Path | None, descriptor: int = -1) -> None:
        """For `open_journal` and `unsaved`."""
        self.progressed = Progressed()
        self.is_resumed = False
        self.is_saved = path is not None
        self.folder = path.with_suffix(".shards") if path is not None else None
        self._path = path
        self._descriptor = descriptor
        self._has_begun = False
        self._synced = 0.0

    @classmethod
    def unsaved(cls) -> "Journal":
        """A journal that is kept in memory only."""
        return cls(None)

    def begin(self) -> None:
        """Write down the key of the record, to last: from now on something may be in the repository."""
        if self._has_begun:
            return
        self._has_begun = True
        progressed = self.progressed
        self._append({"journal": VERSION, "rkey": progressed.rkey, "createdAt": progressed.created_at})
        for (path, size, changed), shard in progressed.facts.items():
            self._append({"shard": [path, size, changed], "facts": shard_json(shard)})
        for key in progressed.list_keys:
            self._append({"listKey": key})
        self._sync()

    @property
    def has_begun(self) -> bool:
        """Whether something may be in the repository."""
        return self._has_begun

    def add_facts(self, file: tuple[str, int, int], shard: Shard) -> None:
        """A shard has been measured. It is written down when there is something to go on with."""
        self.progressed.facts[file] = shard
        if self._has_begun:
            self._append({"shard": list(file), "facts": shard_json(shard)})

    def add_uploaded(self, blob: Blob) -> None:
        """The repository has taken a blob."""
        self.progressed.uploaded[blob.cid] = blob
        self._append({"uploaded": blob.to_json()})

    def forget(self, cids: Iterable[Cid]) -> None:
        """The repository has these blobs no longer."""
        for cid in cids:
            self.progressed.uploaded.pop(cid, None)
            self._append({"forget": str(cid)})

    def list_keys(self, count: int) -> list[RecordKey]:
        """Keys for ``count`` lists, the same ones at every run."""
        keys = self.progressed.list_keys
        while len(keys) < count:
            keys.append(parse_record_key(new_tid()))
            if self._has_begun:
                self._append({"listKey": keys[-1]})
        return keys[:count]

    def add_list(self, rkey: RecordKey, cid: str) -> None:
        """A list has been written, and keeps its blobs in the repository."""
        self.progressed.lists[rkey] = cid
        self._append({"list": rkey, "cid": cid})
        self._sync()

    def forget_list(self, rkey: RecordKey) -> None:
        """A list is no longer there."""
        self.progressed.lists.pop(rkey, None)
        self._append({"forgetList": rkey})

    def remove(self) -> None:
        """The publish is complete, or nothing of it is left: there is nothing to go on with."""
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)
        if self._path is not None:
            self._path.unlink(missing_ok=True)
        self._has_begun = False

    def _append(self, value: Mapping[str, Any]) -> None:
        if self._descriptor < 0:
            return
        rest = memoryview(_line(value))
        try:
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
        except OSError as error:
            raise UnavailableError(f"{self._path}: {error.strerror}; the journal must be written to go on") from error
        if time.monotonic() - self._synced > _SYNC_SECONDS:
            self._sync()

    def _sync(self) -> None:
        if self._descriptor >= 0:
            os.fsync(self._descriptor)
            self._synced = time.monotonic()

    def _load(self, announce: Callable[[str], None]) -> None:
        assert self._path is not None  # noqa: S101  for the type checker: a saved journal has a path
        content = self._path.read_bytes()
        lines = content.splitlines(keepends=True)
        values = [_read(line) for line in lines]
        if values and values[-1] is None:
            lines.pop()
            values.pop()
        whole = sum(map(len, lines))
        try:
            found = _progressed(values)
        except (AtdataError, KeyError, TypeError, ValueError) as error:
            self._set_aside(values, announce, error)
            return
        if whole < len(content):
            os.ftruncate(self._descriptor, whole)
        if found is not None:
            self.progressed = found
            self.is_resumed = self._has_begun = True

    def _set_aside(self, values: list[Any], announce: Callable[[str], None], error: Exception) -> None:
        """Copy the damaged journal and begin it anew: the file itself stays, since it is the lock."""
        assert self._path is not None  # noqa: S101  as above
        aside = self._path.with_name(f"{self._path.stem}.damaged-{time.time_ns()}")
        shutil.copyfile(self._path, aside)
        os.ftruncate(self._descriptor, 0)
        try:
            first = _progressed(values[:1])
        except (AtdataError, KeyError, TypeError, ValueError):
            first = None
        announce(
            f"the journal of this publish is damaged ({error}) and is kept as {aside}; all blobs are uploaded again"
            + ("" if first else ", and an earlier record of it is not found again")
        )
        if first is not None:
            self.progressed = first
            self.is_resumed = True
            self.begin()


@contextmanager
def open_journal(command: Mapping[str, Any], *, announce: Callable[[str], None]) -> Iterator[Journal]:
    """Open the journal of a command, locked; at the end it stays where there is something to go on with.

    Args:
        command: JSON that says what is published and how, and in whose repository.
        announce: Is told when a damaged journal was set aside.

    Raises:
        RefusedError: Another process, or thread, is publishing the same (rule ``one-publisher``).
    """
    path = _path(command)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = _locked(path)
    try:
        journal = Journal(path, descriptor)
        journal._load(announce)
        try:
            yield journal
        finally:
            if not journal.has_begun:
                journal.remove()
    finally:
        os.close(descriptor)


def read_journal(command: Mapping[str, Any]) -> Journal:
    """What an earlier run of a command has done, as a journal that writes nothing and locks nothing."""
    journal = Journal.unsaved()
    with suppress(OSError, AtdataError, KeyError, TypeError, ValueError):
        values = [_read(line) for line in _path(command).read_bytes().splitlines(keepends=True)]
        if found := _progressed(values[:-1] if values and values[-1] is None else values):
            journal.progressed = found
            journal.is_resumed = True
    return journal


def _path(command: Mapping[str, Any]) -> Path:
    name = sha256(json.dumps(command, sort_keys=True).encode()).hexdigest()[:32]
    return data_folder() / "publishing" / f"{name}.journal"


def _locked(path: Path) -> int:
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The one who held the lock before may have removed the file meanwhile: then this lock is of no use.
            if path.exists() and os.path.samestat(os.fstat(descriptor), path.stat()):
                return descriptor
        except BlockingIOError as error:
            os.close(descriptor)
            raise RefusedError(
                "the same dataset is being published by another process at this moment; wait until that has ended",
                rule="one-publisher",
            ) from error
        except FileNotFoundError:
            pass
        os.close(descriptor)


def _line(value: Mapping[str, Any]) -> bytes:
    text = json.dumps(value, separators=(",", ":")).encode()
    return b"%08x %s\n" % (zlib.crc32(text), text)


def _read(line: bytes) -> Any:
    """The value of one line; None where it is not whole."""
    checksum, _, text = line.removesuffix(b"\n").partition(b" ")
    return json.loads(text) if line.endswith(b"\n") and checksum == b"%08x" % zlib.crc32(text) else None


def _progressed(values: list[Any]) -> Progressed | None:
    """Put the lines together; None where there is none.

    Raises:
        ValueError, KeyError, TypeError, AtdataError: A line is damaged, or from a later release.
    """
    if not values:
        return None
    if None in values:
        raise ValueError(f"line {values.index(None) + 1} has another checksum")
    first, *rest = values
    if first.get("journal") != VERSION:
        raise ValueError("it does not begin as a journal of this release does")
    found = Progressed(parse_record_key(first["rkey"]), first["createdAt"])
    for value in rest:
        if "shard" in value:
            path, size, changed = value["shard"]
            found.facts[path, size, changed] = read_shard(value["facts"])
        elif "uploaded" in value:
            blob = Blob.from_json(value["uploaded"])
            found.uploaded[blob.cid] = blob
        elif "forget" in value:
            found.uploaded.pop(parse_cid(value["forget"]), None)
        elif "listKey" in value:
            found.list_keys.append(parse_record_key(value["listKey"]))
        elif "list" in value:
            found.lists[parse_record_key(value["list"])] = value["cid"]
        elif "forgetList" in value:
            found.lists.pop(value["forgetList"], None)
    return found
