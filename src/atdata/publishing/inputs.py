"""What a caller gave to be published: files of this machine, URLs, or samples, and of which type.

Everything that `DatasetPublisher.publish_dataset` takes becomes one `Given`. Files are looked for, and read only to
find out what undescribed samples are; digests and counts are `atdata.data.scan`'s, records `publisher`'s.
"""

import dataclasses
import itertools
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from atdata.atproto.manifest import PART_LIMIT, decode_lines, decode_part
from atdata.atproto.records import Split
from atdata.data.infer import infer_fields
from atdata.data.reader import read_records
from atdata.data.schema import build_type
from atdata.data.writer import WrittenShard
from atdata.dataset import Dataset
from atdata.errors import InvalidRecordError, InvalidSyntaxError, LimitError, NotFoundError
from atdata.loading.names import brace_notation
from atdata.storage.base import Shard
from atdata.storage.file import FileStore
from atdata.storage.url import MAX_SHARDS, expand, file_path, file_url, split_joined

Ranges = tuple[int, int] | range | Sequence[tuple[int, int] | range]
Splits = Mapping[str, Ranges] | Sequence[tuple[str, int, int]]


_MANY = 256  # URLs; so many are hardly read one by one


@dataclass(frozen=True, slots=True)
class Given:
    """Shards, or samples of which shards are still to be made.

    Attributes:
        urls: The shards as a record would hold them, braces as they were written.
        places: The same one by one, as a store takes them: local paths, or URLs.
        is_local: True when all of them are files of this machine.
        facts: What the shards are, where the caller has just written them; else None.
        samples: Samples to be written into shards; the other fields are empty then.
        sample_type: Type of one sample; None where nobody has said.
    """

    urls: tuple[str, ...] = ()
    places: tuple[str, ...] = ()
    is_local: bool = False
    facts: tuple[Shard, ...] | None = None
    samples: Iterator[Any] | None = None
    sample_type: type | None = None


def read_given(dataset: Any, sample_type: type | None) -> Given:
    """Tell what was given.

    Args:
        dataset: A `Dataset` (one that is seen through a lens counts as its samples); a URL or path, in brace notation
            and joined by ``::`` as for `Dataset`; a `Path`; what `write_samples` returned; a list of these; or samples.
        sample_type: Type of one sample, where the caller said so.

    Raises:
        InvalidSyntaxError: A URL or path is malformed; paths and URLs are mixed; or there is nothing.
        LimitError: More than 100,000 shards.
        NotFoundError: A file is not there.
        RefusedError: ``pipe:`` or ``-``.
    """
    if isinstance(dataset, Dataset) and not dataset._view.steps:
        return _shards([dataset.url], sample_type or getattr(dataset, "sample_type", None))
    if isinstance(dataset, str | os.PathLike | WrittenShard):
        return _shards([dataset], sample_type)
    if not isinstance(dataset, Iterable):
        raise TypeError(f"cannot publish a {type(dataset).__name__}: give a Dataset, URLs, paths or samples")
    items = iter(dataset)
    first = next(items, None)
    if first is None:
        raise InvalidSyntaxError("there is nothing to publish: the list is empty", value="")
    if isinstance(first, str | os.PathLike | WrittenShard):
        return _shards([first, *items], sample_type)
    found = sample_type or (None if isinstance(first, dict) else type(first))
    return Given(samples=itertools.chain([first], items), sample_type=found)


def inferred_type(given: Given, name: str) -> type | None:
    """The type of samples that nobody has named, from all samples of local shards; they are read once.

    Args:
        given: What is to be published.
        name: Name of the dataset, after which the type is called.

    Returns:
        A dataclass; None where no class could have the fields that were found, and for shards elsewhere.

    Raises:
        ShardError: A shard is damaged, or a sample does not decode.
    """
    if not given.is_local:
        return None
    fields = infer_fields(
        (f"{key!r} of {place}", members)
        for place in given.places
        for key, members in read_records(FileStore(), [place])
    )
    return None if fields is None else build_type(name, fields, "What all samples of the dataset were found to hold.")


def with_facts(given: Given, shards: Sequence[Shard] | None) -> Given:
    """The same, with what the caller knows of the shards. Files of this machine are then not read for it.

    Raises:
        InvalidSyntaxError: Samples are to be written into shards, which nobody can know yet.
        InvalidRecordError: Facts of more or fewer shards, or not all of one.
    """
    if shards is None:
        return given
    if given.samples is not None:
        raise InvalidSyntaxError("what the shards are is known when samples have been written into them", value="")
    if len(shards) != len(given.places):
        raise InvalidRecordError(f"says what {len(shards):,} are, and there are {len(given.places):,}", path="shards")
    for number, shard in enumerate(shards):
        for name, value in (("cid", shard.cid), ("bytes", shard.bytes), ("samples", shard.samples)):
            if value is None:
                raise InvalidRecordError(
                    "is not known; each shard has its cid, bytes and samples", path=f"shards[{number}].{name}"
                )
    return dataclasses.replace(given, facts=tuple(shards))


def read_manifest(file: Path) -> list[Shard]:
    """What shards are, from a file as manifest parts are: JSON Lines, gzipped or not.

    Raises:
        InvalidRecordError: It is something else; the message names the line.
        LimitError: It has more bytes than are read, or more shards than a dataset may have.
    """
    with file.open("rb") as opened:
        data = opened.read(PART_LIMIT + 1)
    if len(data) > PART_LIMIT:
        raise LimitError(f"{file} has more than {PART_LIMIT:,} bytes", limit=PART_LIMIT)
    return (decode_part if data.startswith(b"\x1f\x8b") else decode_lines)(data, path=str(file))


def as_written(urls: Sequence[str]) -> tuple[str, ...]:
    """URLs as a record holds them: as they are; very many single ones in brace notation, since a record is small.

    Example:
        >>> as_written([f"https://example.com/{number:04d}.tar" for number in range(1000)])
        ('https://example.com/{0000..0999}.tar',)
    """
    if len(urls) <= _MANY or any("{" in url or "\\" in url for url in urls):
        return tuple(urls)
    return tuple(split_joined(brace_notation(urls)))


def _shards(items: Sequence[Any], sample_type: type | None) -> Given:
    urls: list[str] = []
    places: list[str] = []
    kinds: set[bool] = set()
    for item in items:
        for written, is_local, expanded in _read_item(item, limit=MAX_SHARDS - len(places)):
            urls.append(written)
            places += expanded
            kinds.add(is_local)
    if len(kinds) > 1:
        raise InvalidSyntaxError("files of this machine and URLs cannot be parts of one dataset", value=urls[0])
    if kinds == {True}:
        for place in places:
            if not Path(place).is_file():
                raise NotFoundError(f"there is no file {place}")
    written_here = all(isinstance(item, WrittenShard) for item in items)
    facts = tuple(item.shard for item in items) if written_here else None
    return Given(tuple(urls), tuple(places), kinds == {True}, facts, None, sample_type)


def _read_item(item: str | os.PathLike[str] | WrittenShard, *, limit: int) -> Iterator[tuple[str, bool, list[str]]]:
    """For each part of what was written: its URL, whether it is local, and the places that it stands for."""
    if not isinstance(item, str):
        path = str(Path(item.path if isinstance(item, WrittenShard) else item).absolute())
        if limit < 1:
            raise LimitError(f"more than {MAX_SHARDS:,} shards", limit=MAX_SHARDS)
        yield file_url(path), True, [path]
        return
    for part in split_joined(item):
        expanded = expand(part, limit=limit)
        limit -= len(expanded)
        if (local := file_path(part)) is None:
            yield part, False, expanded
            continue
        paths = [str(local_path.absolute()) for place in expanded if (local_path := file_path(place)) is not None]
        written = file_url(local, braces=True)
        if expand(written) == [file_url(path) for path in paths]:
            yield written, True, paths
        else:  # braces around the beginning of absolute paths, which cannot follow file://
            for path in paths:
                yield file_url(path), True, [path]


def read_splits(given: Splits | None) -> tuple[Split, ...]:
    """Named ranges of shards, in whichever form they were given. Whether they fit the shards, the record's checks say.

    Raises:
        InvalidRecordError: Something that is no range of shards.
    """
    if given is None:
        return ()
    ranges = (
        list(given)
        if not isinstance(given, Mapping)
        else [(name, *_bounds(one)) for name, some in given.items() for one in _one_or_several(some)]
    )
    try:
        return tuple(Split(name, start, end) for name, start, end in ranges)
    except (TypeError, ValueError) as error:
        raise InvalidRecordError("each is a (name, start, end)", path="splits") from error


def _one_or_several(ranges: Ranges) -> Sequence[tuple[int, int] | range]:
    if isinstance(ranges, range):
        return [ranges]
    single = len(ranges) == 2 and all(isinstance(bound, int) for bound in ranges)
    return [(ranges[0], ranges[1])] if single else ranges  # type: ignore[list-item,return-value]  # told apart above


def _bounds(one: tuple[int, int] | range) -> tuple[int, int]:
    if isinstance(one, range):
        if one.step != 1:
            raise InvalidRecordError(f"{one} has gaps; list its parts", path="splits")
        return one.start, one.stop
    try:
        start, end = one
    except (TypeError, ValueError) as error:
        raise InvalidRecordError(f"{one!r} is not a (start, end)", path="splits") from error
    return start, end
