"""The files that are uploaded: remote shards fetched, shards that are too large for a blob cut into smaller ones.

What is made for that lies in a folder of the publish and goes with it. Fetched shards are used again by a later run of
the same command; cut ones are made anew, which gives the same bytes and costs no network.
"""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from atdata.atproto.records import Split
from atdata.data.reshard import Renumbering, reshard
from atdata.errors import InvalidRecordError, UnavailableError
from atdata.folders import cache_folder
from atdata.net import Transport
from atdata.publishing.journal import Journal
from atdata.publishing.shards import Progress, Survey, measure
from atdata.storage.base import Shard, chunks_of
from atdata.storage.file import FileStore
from atdata.storage.places import typed_place


@dataclass(frozen=True, slots=True)
class Gathered:
    """Files that can be uploaded as they are.

    Attributes:
        files: One for each shard of the record, in order.
        facts: What they are.
        numbering: Which of them stand for each shard that was given.
    """

    files: tuple[Path, ...]
    facts: tuple[Shard, ...]
    numbering: Renumbering


@contextmanager
def working_folder(journal: Journal) -> Iterator[Path]:
    """A folder for what is fetched and cut; it stays where a later run can use it, and goes with the journal."""
    if journal.folder is not None:
        journal.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        yield journal.folder
        return
    parent = cache_folder()
    parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=parent, prefix="publish-") as folder:
        yield Path(folder)


def gather(
    survey: Survey,
    *,
    limit: int,
    folder: Path,
    transport: Transport,
    journal: Journal,
    progress: Progress,
    announce: Callable[[str], None],
) -> Gathered:
    """Bring the shards into files of at most ``limit`` bytes each.

    Raises:
        LimitError: A single sample is larger than the limit; the message names it.
        UnavailableError: The disk has not enough room, or a remote did not answer.
        ShardError: A shard that was fetched is no tar of samples.
    """
    given = survey.given
    if not given.is_local:
        given = replace(given, places=tuple(map(str, _fetch(survey, folder, transport, progress))), is_local=True)
    files = [Path(place) for place in given.places]
    facts = survey.facts or measure(files, journal, progress)
    sizes = [shard.bytes or 0 for shard in facts]
    too_large = [number for number, size in enumerate(sizes) if size > limit]
    _check_room(folder, sum(sizes[number] for number in too_large))
    new_files: list[Path] = []
    new_facts: list[Shard] = []
    counts: list[int] = []
    total, done = sum(sizes[number] for number in too_large), 0
    for number, (file, shard) in enumerate(zip(files, facts, strict=True)):
        if sizes[number] <= limit:
            pieces, described = [file], [shard]
        else:
            progress("cutting", done, total)
            cut = reshard(FileStore(), str(file), folder / f"cut-{number:06d}-%06d.tar", limit=limit)
            pieces, described = [piece.path for piece in cut], [piece.shard for piece in cut]
            done += sizes[number]
            progress("cutting", done, total)
        new_files += pieces
        new_facts += described
        counts.append(len(pieces))
    if too_large:
        announce(
            f"{len(too_large):,} of {len(files):,} shards are larger than the {limit:,} bytes that the repository "
            f"takes as one blob, and have been cut between samples: {len(files):,} shards become {len(new_files):,}"
        )
    return Gathered(tuple(new_files), tuple(new_facts), Renumbering.of(counts))


def renumbered(splits: tuple[Split, ...], numbering: Renumbering) -> tuple[Split, ...]:
    """The splits as ranges of the shards that there are after cutting.

    Raises:
        InvalidRecordError: A split ends after the last shard that was given.
    """
    given = len(numbering.starts) - 1
    moved = []
    for number, split in enumerate(splits):
        if not 0 <= split.start <= split.end <= given:
            raise InvalidRecordError(
                f"shards {split.start} to {split.end}, but there are {given:,}", path=f"splits[{number}].end"
            )
        start, end = numbering.split(split.start, split.end)
        moved.append(replace(split, start=start, end=end))
    return tuple(moved)


def _fetch(survey: Survey, folder: Path, transport: Transport, progress: Progress) -> list[Path]:
    """Remote shards as files of this machine, for they are read twice: to measure, and to upload."""
    store, places = typed_place("::".join(survey.given.urls), transport=transport)
    sizes = survey.sizes or ()
    files = [folder / f"fetched-{number:06d}.tar" for number in range(len(places))]
    there = [file.exists() and file.stat().st_size == size for file, size in zip(files, sizes, strict=True)]
    _check_room(folder, sum(size for size, is_there in zip(sizes, there, strict=True) if not is_there))
    done = 0
    for place, file, size, is_there in zip(places, files, sizes, there, strict=True):
        progress("fetching", done, sum(sizes))
        if not is_there:
            FileStore().put(str(file), chunks_of(store, place))
        done += size
    progress("fetching", done, sum(sizes))
    return files


def _check_room(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise UnavailableError(f"{needed:,} bytes must be kept in {folder} for a while, and the disk has {free:,} left")
