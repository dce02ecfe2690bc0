"""The shards that are to be published: brought together, measured, and uploaded where they become blobs.

Between what a caller gave (`inputs`) and a record (`publisher`): samples are written into shards,
remote shards fetched where they are to be blobs, and it is decided whether the dataset is stored by URL or as blobs.
"""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from atdata.atproto.repository import Repository
from atdata.data.compression import is_compressed
from atdata.data.scan import scan_shards
from atdata.data.writer import SHARD_BYTES, write_samples
from atdata.errors import IntegrityError, InvalidSyntaxError, LimitError, ShardError
from atdata.folders import cache_folder
from atdata.net import Transport
from atdata.publishing.inputs import Given
from atdata.storage.base import Shard, Store, chunks_of
from atdata.storage.file import FileStore
from atdata.storage.places import typed_place
from atdata.storage.union import Blob, BlobStorage, Storage, UrlStorage
from atdata.storage.url import check_url

AUTO_BYTES = 100_000_000  # bytes of local files that "auto" uploads; a PDS is no place for more
TAR_TYPE = "application/x-tar"  # what a PDS finds by looking into a tar
UPLOADS = 4  # blobs uploaded at the same time
_LOOK = 1000  # samples written between two looks at how large the shards have become

Progress = Callable[[str, int, int], None]


def silent(step: str, done: int, total: int) -> None:
    """Report no progress."""


@dataclass(frozen=True, slots=True)
class Measured:
    """Shards of which a record can be made.

    Attributes:
        storage: Where they will lie; for blobs as they are expected to be.
        facts: What they are, in order; None when nobody has read them.
        files: The files to upload, in order; empty for storage by URL.
    """

    storage: Storage
    facts: tuple[Shard, ...] | None
    files: tuple[Path, ...] = ()


@contextmanager
def measured(
    given: Given,
    *,
    urls: Sequence[str] | None,
    storage: str,
    scan: bool,
    repository: Repository,
    transport: Transport,
    progress: Progress,
) -> Iterator[Measured]:
    """Bring the shards together and measure them; what had to be written or fetched for that goes at the end.

    Args:
        given: What the caller gave.
        urls: Where others find the shards; None: where ``given`` has them.
        storage: ``auto``, ``url`` or ``blobs``.
        scan: Read remote shards for their facts.
        repository: Tells how large a blob may be.
        transport: Fetches remote shards.
        progress: Is told how many bytes have been read.

    Raises:
        LimitError: Too many bytes for ``auto``, or for a blob.
        The same as `atdata.publishing.publisher.DatasetPublisher.publish_dataset`.
    """
    if urls is not None and storage == "blobs":
        raise InvalidSyntaxError("give urls=, or storage='blobs': blobs have no URLs", value="blobs")
    for url in urls or () if given.is_local else [*(urls or ()), *given.urls]:
        check_url(url, own=True)
    with ExitStack() as stack:
        if given.samples is not None:
            given = _write(given, stack, urls=urls, storage=storage, repository=repository)
        if urls is None and (storage == "blobs" or (storage == "auto" and given.is_local)):
            yield _as_blobs(given, stack, storage, repository, transport, progress)
        else:
            facts = given.facts
            if facts is None and (given.is_local or scan):
                facts = _facts(given, transport, progress)
            yield Measured(UrlStorage(tuple(urls or given.urls)), facts)


def upload(repository: Repository, shards: Measured, progress: Progress) -> tuple[Blob, ...]:
    """Upload the files, several at a time; the blobs as the repository has them, in order.

    Raises:
        IntegrityError: The repository has other bytes than were sent.
        The same as `Repository.upload_blob`.
    """
    if not isinstance(shards.storage, BlobStorage):
        return ()
    expected = shards.storage.blobs
    total = sum(blob.size for blob in expected)
    blobs: list[Blob] = []
    with ThreadPoolExecutor(UPLOADS) as pool:
        waiting = [
            pool.submit(upload_checked, repository, path, blob)
            for path, blob in zip(shards.files, expected, strict=True)
        ]
        try:
            for future in waiting:
                progress("uploading", sum(blob.size for blob in blobs), total)
                blobs.append(future.result())
        finally:
            for future in waiting:
                future.cancel()
    progress("uploading", total, total)
    return tuple(blobs)


def upload_checked(repository: Repository, data: bytes | Path, expected: Blob) -> Blob:
    """Upload one blob, and make sure that the repository has the bytes that were meant.

    Raises:
        IntegrityError: It has others: the file has changed since it was read, or was damaged on the way.
    """
    blob = repository.upload_blob(data, mime_type=expected.mime_type)
    if (blob.cid, blob.size) != (expected.cid, expected.size):
        raise IntegrityError(
            f"uploaded as {blob.cid} of {blob.size:,} bytes, but {expected.cid} of {expected.size:,} bytes was read "
            "before: the file was changed in between",
            shard=str(data) if isinstance(data, Path) else "manifest",
        )
    return blob


def _as_blobs(
    given: Given, stack: ExitStack, storage: str, repository: Repository, transport: Transport, progress: Progress
) -> Measured:
    if not given.is_local:
        given = _fetch(given, stack, transport)
    files = tuple(map(Path, given.places))
    sizes = [file.stat().st_size for file in files]
    if storage == "auto":
        _check_auto(sum(sizes))
    for file, size in zip(files, sizes, strict=True):
        _refuse_compressed(str(file))
        if size > (limit := repository.blob_limit):
            raise LimitError(
                f"{file} has {size:,} bytes, and the repository takes blobs of at most {limit:,}; write smaller shards "
                "(write_samples(..., shard_bytes=...)), or publish by URL (urls=...)",
                limit=limit,
            )
    facts = given.facts or _facts(given, transport, progress)
    blobs = []
    for file, shard in zip(files, facts, strict=True):
        if shard.cid is None or shard.bytes is None:
            raise ValueError(f"{file}: CID and size are not known")
        blobs.append(Blob(shard.cid, TAR_TYPE, shard.bytes))
    return Measured(BlobStorage(tuple(blobs)), facts, files)


def _check_auto(size: int) -> None:
    if size > AUTO_BYTES:
        raise LimitError(
            f"the shards have {size:,} bytes in all, and up to {AUTO_BYTES:,} are uploaded as blobs without being "
            "asked: say storage='blobs' to upload them all the same, or put them where others can fetch them and say "
            "urls=[...]; storage='url' publishes the paths of this machine",
            limit=AUTO_BYTES,
        )


def _facts(given: Given, transport: Transport, progress: Progress) -> tuple[Shard, ...]:
    store, places = _place(given, transport)
    total = sum(Path(place).stat().st_size for place in places) if given.is_local else 0
    progress("reading", 0, total)
    facts = tuple(scan_shards(store, places))
    progress("reading", sum(shard.bytes or 0 for shard in facts), total)
    return facts


def _place(given: Given, transport: Transport) -> tuple[Store, list[str]]:
    if given.is_local:
        return FileStore(), list(given.places)
    return typed_place("::".join(given.urls), transport=transport)


def _fetch(given: Given, stack: ExitStack, transport: Transport) -> Given:
    """Remote shards as files of this machine, for they are read twice: to measure, and to upload."""
    folder = _temporary(stack)
    store, places = _place(given, transport)
    files = []
    for number, place in enumerate(places):
        _refuse_compressed(place)
        file = folder / f"{number:06d}.tar"
        FileStore().put(str(file), chunks_of(store, place))
        files.append(str(file))
    return replace(given, places=tuple(files), is_local=True)


def _write(
    given: Given, stack: ExitStack, *, urls: Sequence[str] | None, storage: str, repository: Repository
) -> Given:
    if urls is not None or storage == "url":
        raise InvalidSyntaxError(
            "samples lie at no URL yet: write them with write_samples(), put the shards in their place, and publish "
            "the paths with urls=[...]",
            value="url",
        )
    folder = _temporary(stack)
    samples = _bounded(given.samples or iter(()), folder) if storage == "auto" else given.samples
    shards = write_samples(
        samples or (),
        str(folder / "shard-%06d.tar"),
        shard_bytes=min(SHARD_BYTES, repository.blob_limit),
        sample_type=given.sample_type,
    )
    return Given(
        places=tuple(str(shard.path) for shard in shards),
        is_local=True,
        facts=tuple(shard.shard for shard in shards),
        sample_type=given.sample_type,
    )


def _bounded(samples: Iterator[Any], folder: Path) -> Iterator[Any]:
    """The samples, until the shards in ``folder`` are more than "auto" uploads: endless ones must not fill the disk."""
    for number, sample in enumerate(samples):
        if number % _LOOK == 0:
            _check_auto(sum(file.stat().st_size for file in folder.iterdir()))
        yield sample


def _temporary(stack: ExitStack) -> Path:
    parent = cache_folder()
    parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return Path(stack.enter_context(tempfile.TemporaryDirectory(dir=parent, prefix="publish-")))


def _refuse_compressed(place: str) -> None:
    if is_compressed(place):
        raise ShardError(
            "a compressed tar cannot be a blob: blobs have no names, and it is the name that says how to read it. "
            "Decompress it, or publish it by URL",
            shard=place,
        )
