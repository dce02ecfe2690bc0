"""What is to be published, as far as reading tells: samples as shards, and of shards their sizes and facts.

Between what a caller gave (`inputs`) and what is uploaded (`files`). Here it is decided whether the dataset is stored
by URL or as blobs. Nothing is written but shards of samples, into a folder that goes at the end.
"""

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from atdata.data.compression import is_compressed
from atdata.data.reshard import plan_cuts
from atdata.data.scan import scan_shard, scan_shards
from atdata.data.writer import SHARD_BYTES, write_samples
from atdata.errors import InvalidSyntaxError, LimitError, ShardError
from atdata.folders import cache_folder
from atdata.net import Transport
from atdata.publishing.advice import check_auto, check_blobs
from atdata.publishing.inputs import Given, as_written
from atdata.publishing.journal import Journal
from atdata.storage.base import Shard, Store
from atdata.storage.file import FileStore
from atdata.storage.places import typed_place
from atdata.storage.url import check_url

_LOOK = 1000  # samples written between two looks at how large the shards have become

Progress = Callable[[str, int, int], None]


def no_progress(step: str, done: int, total: int) -> None:
    """Report no progress."""


@dataclass(frozen=True, slots=True)
class Survey:
    """Shards that can be published.

    Attributes:
        given: Where they lie now; files of this machine where they were samples.
        urls: Where the record will say that they lie; empty for blobs.
        sizes: Bytes of each; None where nobody has asked: for URLs.
        facts: What they are; None where nobody has read them: for URLs, and remote shards that will be blobs.
    """

    given: Given
    urls: tuple[str, ...] = ()
    sizes: tuple[int, ...] | None = None
    facts: tuple[Shard, ...] | None = None

    @property
    def is_blobs(self) -> bool:
        """Whether the shards will be uploaded."""
        return not self.urls


@contextmanager
def surveyed(
    given: Given,
    *,
    urls: Sequence[str] | None,
    storage: str,
    scan: bool,
    force: bool,
    blob_limit: Callable[[], int],
    transport: Transport,
    journal: Journal,
    progress: Progress,
    announce: Callable[[str], None],
) -> Iterator[Survey]:
    """Look at what was given; what had to be written for that goes at the end.

    Args:
        given: What the caller gave.
        urls: Where others find the shards; None: where ``given`` has them.
        storage: ``auto``, ``url`` or ``blobs``.
        scan: Read remote shards for their facts.
        force: Upload more than 10 GB.
        blob_limit: Tells how large a blob may be.
        transport: Reaches remote shards.
        journal: Knows the facts of files that an earlier run has read.
        progress: Is told how many bytes have been read.
        announce: Is told of advice that is not an error.

    Raises:
        LimitError: Too many bytes for ``auto``, or for blobs.
        The same as `atdata.publishing.publisher.DatasetPublisher.publish_dataset`.
    """
    if urls is not None and storage == "blobs":
        raise InvalidSyntaxError("give urls=, or storage='blobs': blobs have no URLs", value="blobs")
    for url in urls or () if given.is_local else [*(urls or ()), *given.urls]:
        check_url(url, own=True)
    with ExitStack() as stack:
        if given.samples is not None:
            given = _write(given, stack, urls=urls, storage=storage, blob_limit=blob_limit)
        if urls is not None or storage == "url" or (storage == "auto" and not given.is_local):
            facts = given.facts
            if facts is None and given.is_local:
                facts = measure([Path(place) for place in given.places], journal, progress)
            elif facts is None and scan:
                facts = tuple(scan_shards(*_place(given, transport)))
            yield Survey(given, as_written(urls or given.urls), None, facts)
            return
        for place in given.places:
            _refuse_compressed(place)
        store, places = _place(given, transport)
        sizes = tuple(store.size(place) for place in places)
        uploads = sum(-(-size // min(SHARD_BYTES, blob_limit())) for size in sizes)
        if storage == "auto":
            check_auto(sum(sizes), uploads)
        elif advice := check_blobs(sum(sizes), uploads, force=force):
            announce(advice)
        facts = given.facts
        if facts is None and given.is_local:
            facts = measure([Path(place) for place in given.places], journal, progress)
        yield Survey(given, (), sizes, facts)


def plan_blobs(survey: Survey, *, limit: int, cut: bool) -> list[list[int]]:
    """The sizes of the blobs that each shard becomes: one, or several where it is larger than ``limit``.

    Remote shards are not read for that: how many blobs one of them becomes is estimated.

    Raises:
        LimitError: A shard is larger and is not to be ``cut``, or a single sample is larger; the message names it.
    """
    blobs = []
    for place, size in zip(survey.given.places, survey.sizes or (), strict=True):
        if size <= limit:
            blobs.append([size])
        elif not cut:
            raise LimitError(
                f"{place} has {size:,} bytes, and the repository takes blobs of at most {limit:,}; let it be cut into "
                "smaller shards (without --no-reshard, reshard=False), write smaller ones "
                "(write_samples(..., shard_bytes=...)), or publish by URL (urls=...)",
                limit=limit,
            )
        elif survey.given.is_local:
            blobs.append([each.bytes for each in plan_cuts(FileStore(), place, limit=limit)])
        else:
            count = -(-size // limit)
            blobs.append([size // count] * count)
    return blobs


def measure(files: Sequence[Path], journal: Journal, progress: Progress) -> tuple[Shard, ...]:
    """The facts of local shards, each of them read once, several at a time; not those that the journal knows."""
    identities = [_identity(file) for file in files]
    known = journal.progressed.facts
    total, done = sum(size for _, size, _ in identities), 0
    facts = []
    progress("reading", 0, total)
    with ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="atdata-scan") as pool:
        jobs = [
            None if identity in known else pool.submit(scan_shard, FileStore(), str(file))
            for file, identity in zip(files, identities, strict=True)
        ]
        try:
            for job, identity in zip(jobs, identities, strict=True):
                shard = known[identity] if job is None else job.result()
                facts.append(shard)
                if job is not None:
                    journal.add_facts(identity, shard)
                done += identity[1]
                progress("reading", done, total)
        finally:
            for job in jobs:
                if job is not None:
                    job.cancel()
    return tuple(facts)


def _identity(file: Path) -> tuple[str, int, int]:
    """What tells that a file has not been changed: its path, size and time of change."""
    status = file.stat()
    return str(file), status.st_size, status.st_mtime_ns


def _place(given: Given, transport: Transport) -> tuple[Store, list[str]]:
    if given.is_local:
        return FileStore(), list(given.places)
    return typed_place("::".join(given.urls), transport=transport)


def _write(
    given: Given, stack: ExitStack, *, urls: Sequence[str] | None, storage: str, blob_limit: Callable[[], int]
) -> Given:
    if urls is not None or storage == "url":
        raise InvalidSyntaxError(
            "samples lie at no URL yet: write them with write_samples(), put the shards in their place, and publish "
            "the paths with urls=[...]",
            value="url",
        )
    parent = cache_folder()
    parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=parent, prefix="publish-")))
    most = min(SHARD_BYTES, blob_limit())
    samples = _bounded(given.samples or iter(()), folder, most) if storage == "auto" else given.samples
    shards = write_samples(
        samples or (), str(folder / "shard-%06d.tar"), shard_bytes=most, sample_type=given.sample_type
    )
    return Given(
        places=tuple(str(shard.path) for shard in shards),
        is_local=True,
        facts=tuple(shard.shard for shard in shards),
        sample_type=given.sample_type,
    )


def _bounded(samples: Iterator[Any], folder: Path, most: int) -> Iterator[Any]:
    """The samples, until the shards in ``folder`` are more than "auto" uploads: endless ones must not fill the disk."""
    for number, sample in enumerate(samples):
        if number % _LOOK == 0:
            size = sum(file.stat().st_size for file in folder.iterdir())
            check_auto(size, -(-size // most))
        yield sample


def _refuse_compressed(place: str) -> None:
    if is_compressed(place):
        raise ShardError(
            "a compressed tar cannot be a blob: blobs have no names, and it is the name that says how to read it. "
            "Decompress it, or publish it by URL",
            shard=place,
        )
