"""Downloading: the shards of a dataset as files in a folder, each whole and checked, or not there.

The same call again goes on where an interrupted one stopped: whole shards are kept, after their digest has been taken
once more, and parts are continued (`atdata.loading.partial`). ``dataset.json`` says what the folder is for. How files
are named is `atdata.loading.names`.
"""

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from atdata.errors import InvalidSyntaxError, NotFoundError, RefusedError, ShardError, UnavailableError
from atdata.loading.names import brace_notation, file_names, plain_name
from atdata.loading.partial import fetch, is_whole, part_of
from atdata.loading.shards import RecordShards
from atdata.loading.workers import THREADS, Meter, MeteredStore, Progress, in_order, silent
from atdata.storage.base import Shard, Store
from atdata.storage.file import FileStore
from atdata.storage.url import scheme_of, split_joined

ABOUT = "dataset.json"


@dataclass(frozen=True, slots=True)
class Download:
    """What lies in a folder now.

    Attributes:
        url: The files in brace notation, as ``Dataset(url=)`` takes it.
        files: The files, in the order of the shards.
        bytes: Their size in all.
        kept: How many of them were there before.
        unchecked: How many of them the record has no digest of.
    """

    url: str
    files: tuple[Path, ...]
    bytes: int
    kept: int
    unchecked: int


def download(
    shards: RecordShards,
    folder: str | os.PathLike[str] | None = None,
    *,
    split: str | None = None,
    threads: int = THREADS,
    progress: Progress = silent,
) -> Download:
    """Fetch the shards of a dataset into a folder, several at a time.

    A shard that is not there, or is not the one of the record, does not keep the others from coming; it is an error at
    the end. Without a digest in the record, a file of the right size is taken for whole, and a part begins anew.

    Args:
        folder: Made where it is missing; None: one in the current folder, named after the dataset. It belongs to one
            dataset, whose splits may share it.
        split: Fetch the shards of this split alone. Files are named by their place in the whole dataset.
        threads: Shards at a time.
        progress: Is told the bytes that are there, and the bytes in all, 0 where they are not known.

    Raises:
        NotFoundError: There is no such split, or it has no shards, or a shard is not there.
        IntegrityError: A shard is not the one of the record; nothing of it is kept.
        RefusedError: The folder is that of another dataset (rule ``other-dataset``), or has another file by the name of
            a shard (rule ``other-file``); or the record names a place that it may not.
        InvalidSyntaxError: ``folder`` is a URL, or has ``::`` in its path.
        UnavailableError: A server did not answer, or another download works in this folder.
        UnsupportedStorageError: The shards lie in a kind of place that this release cannot open.
        OSError: The disk is full or broken.
    """
    target = _checked_folder(plain_name(shards.record.name) if folder is None else folder)
    numbers = _numbers(shards, split)
    names = file_names(shards.storage, shards.paths, name=shards.record.name)
    files = [target / name for name in names]
    target.mkdir(parents=True, exist_ok=True)
    meter = Meter()
    store = MeteredStore(shards.store, meter)
    total = sum(shards.fact(number).bytes or 0 for number in numbers)
    failures: list[NotFoundError | ShardError] = []
    kept = 0

    def bring(number: int) -> bool | NotFoundError | ShardError:
        """Whether the shard was there already, or why it does not come."""
        path, file, fact = shards.paths[number], files[number], shards.fact(number)
        try:
            if _is_there(store, path, file, fact):
                meter.add(file.stat().st_size)
                return True
            fetch(store, path, file, fact, meter=meter)
        except (NotFoundError, ShardError) as error:
            return error
        return False

    with _locked(target):
        if not _is_of(target, shards):
            _refuse_other_files(shards, numbers, files)
        _describe(target, shards, names)
        results = in_order(
            bring,
            numbers,
            meter=meter,
            threads=threads,
            tick=lambda: progress("downloading", meter.done, total),
        )
        for result in results:
            if isinstance(result, NotFoundError | ShardError):
                failures.append(result)
            else:
                kept += result
    if failures:
        raise _summary(failures, len(numbers))
    chosen = [files[number] for number in numbers]
    return Download(
        url=brace_notation([str(file) for file in chosen]),
        files=tuple(chosen),
        bytes=sum(file.stat().st_size for file in chosen),
        kept=kept,
        unchecked=sum(shards.fact(number).cid is None for number in numbers),
    )


def _checked_folder(folder: str | os.PathLike[str]) -> Path:
    path = os.fspath(folder)
    if scheme_of(path) is not None or not path or len(split_joined(path)) > 1:
        raise InvalidSyntaxError(f"{path!r} is no folder of this machine without '::' in its path", value=path)
    if Path(path).exists() and not Path(path).is_dir():
        raise InvalidSyntaxError(f"{path} is a file, and a folder is wanted", value=path)
    return Path(path)


def _numbers(shards: RecordShards, split: str | None) -> range:
    """Numbers of the shards that are wanted."""
    if split is None:
        return range(len(shards.paths))
    for known in shards.record.splits:
        if known.name == split:
            if known.end > len(shards.paths):
                raise NotFoundError(f"the split {split!r} ends at shard {known.end:,} of {len(shards.paths):,}")
            if known.start == known.end:
                raise NotFoundError(f"the split {split!r} has no shards")
            return range(known.start, known.end)
    there = ", ".join(repr(known.name[:100]) for known in shards.record.splits[:20]) or "none"
    raise NotFoundError(f"{shards.record.name!r} has no split {split!r}; it has {there}")


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keep other downloads out of the folder; the lock goes with the process, however that ends."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UnavailableError(f"another download works in {folder}: wait for it, or choose another one") from error
        yield
    finally:
        os.close(descriptor)


def _is_of(folder: Path, shards: RecordShards) -> bool:
    """Whether a download of this dataset has been begun here.

    Raises:
        RefusedError: One of another dataset has.
    """
    about = folder / ABOUT
    if not about.exists():
        return False
    try:
        found = json.loads(about.read_bytes())["uri"]
    except (ValueError, KeyError, TypeError) as error:
        raise RefusedError(
            f"{about} is not about a dataset: choose another folder, or remove it", rule="other-dataset"
        ) from error
    if found != str(shards.uri):
        raise RefusedError(f"{folder} belongs to {found!r}: choose another folder", rule="other-dataset")
    return True


def _refuse_other_files(shards: RecordShards, numbers: Sequence[int], files: Sequence[Path]) -> None:
    for number in numbers:
        file = files[number]
        for there in (file, part_of(file)):
            if there.exists() and not (there == file and is_whole(file, shards.fact(number))):
                raise RefusedError(
                    f"{there} is no file of this dataset: choose another folder, or remove it", rule="other-file"
                )


def _describe(folder: Path, shards: RecordShards, names: Sequence[str]) -> None:
    """Say in the folder what it is for, so that the next call knows it."""
    about: dict[str, Any] = {
        "uri": str(shards.uri),
        "cid": shards.cid,
        "files": brace_notation(names),
        "record": shards.value,
    }
    FileStore().put(str(folder / ABOUT), [json.dumps(about, indent=1, ensure_ascii=False).encode() + b"\n"])


def _is_there(store: Store, path: str, file: Path, fact: Shard) -> bool:
    """Whether a file is the shard: by its digest, or by its size where there is none."""
    if not file.is_file():
        return False
    if fact.cid is not None:
        return is_whole(file, fact)
    return file.stat().st_size == (store.size(path) if fact.bytes is None else fact.bytes)


def _summary(failures: Sequence[NotFoundError | ShardError], count: int) -> NotFoundError | ShardError:
    first = failures[0]
    if count == 1:
        return first
    return type(first)(f"{len(failures):,} of {count:,} shards did not come, the others did; {first}")
