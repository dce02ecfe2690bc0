"""Re-sharding: a shard that is larger than a limit is cut between samples into smaller ones.

The members stay as they are, byte for byte and in order, with the PAX and GNU headers before them, so that keys and
contents do not change. Each new shard gets an index of its own and the end of an archive; an index of the old one is
dropped, and what is no regular file (directories, links) as well. The same shard and limit always give the same bytes.
A compressed shard becomes plain tars: these have an index, and the compressed size of a piece is not known beforehand.
Which shards are too large, and what becomes of the new ones, is the publisher's matter.
"""

import itertools
import operator
import os
from array import array
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from atdata.data.blocks import Block, read_blocks
from atdata.data.compression import decompressed, is_compressed
from atdata.data.index import NAME, ShardIndex, encode_index, read_index
from atdata.data.members import samples_in
from atdata.data.output import OutputFile
from atdata.data.tar import BLOCK, END
from atdata.data.writer import WrittenShard, all_or_none, check_pattern, seal, sealed_size
from atdata.errors import LimitError, ShardError
from atdata.storage.base import Store, Stream


@dataclass(frozen=True, slots=True)
class Cut:
    """One of the shards that a larger one is cut into.

    Attributes:
        samples: Number of samples in it.
        bytes: What it takes, index included, at most: an index can do without keys that are counted.
    """

    samples: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Renumbering:
    """Which new shards stand for each old one.

    Attributes:
        starts: The first new shard of each old one; at the end, how many new ones there are.
    """

    starts: tuple[int, ...]

    @classmethod
    def of(cls, counts: Iterable[int]) -> "Renumbering":
        """From the number of new shards of each old one: 1 where it has not been cut."""
        return cls(tuple(itertools.accumulate(counts, initial=0)))

    def shards(self, old: int) -> range:
        """Numbers of the new shards of one old one."""
        return range(self.starts[old], self.starts[old + 1])

    def split(self, start: int, end: int) -> tuple[int, int]:
        """A half-open range of old shards, as a split has it, as a range of new ones."""
        return self.starts[start], self.starts[end]


def plan_cuts(store: Store, path: str, *, limit: int) -> list[Cut]:
    """The shards that `reshard` would make of one. Nothing is written.

    A shard with an index costs one read of its end, any other one is read through.

    Raises:
        The same as `reshard`, but for errors of the disk.
    """
    index = None if is_compressed(path) else read_index(store, path)
    if index is not None:
        return _plan(_indexed(index), limit=limit, shard=path)
    with closing(_tar(store, path)) as stream:
        return _plan(_read(stream, path), limit=limit, shard=path)


def reshard(store: Store, path: str, pattern: str | os.PathLike[str], *, limit: int) -> list[WrittenShard]:
    """Cut one shard into shards of at most ``limit`` bytes each.

    It is read once. Memory is about 24 MiB, the keys of one new shard, and one sample. A call that fails removes what
    it has written.

    Members without a key go with the sample before them; those before the first sample with that one. Keys that come
    twice, or are not UTF-8, have no place in an index: then the new shard has none. Nor has one whose only sample
    leaves no room for it.

    Args:
        path: As the store has it; the end of its name says whether it is compressed.
        pattern: Path of the new shards with one place for their number, as in ``out/train-%06d.tar``. Missing folders
            are made, files that are there are replaced.
        limit: Most bytes of one new shard.

    Raises:
        LimitError: A single sample is larger than the limit; the message names it.
        ShardError: The shard is no tar, is cut short, has no samples, or a sample has two members of one extension.
        InvalidSyntaxError: ``pattern`` is none.
        IntegrityError: From `plan_cuts`: the index contradicts itself.
        NotFoundError, RefusedError, UnavailableError: As `Store.open` raises them.
        OSError: The disk is full or broken.
    """
    template = check_pattern(os.fspath(pattern))
    written: list[WrittenShard] = []
    with all_or_none(written), closing(_tar(store, path)) as stream:
        for filling, samples in _filled(_read(stream, path), limit=limit, shard=path):
            target = Path(template % len(written))
            target.parent.mkdir(parents=True, exist_ok=True)
            with closing(OutputFile(target)) as file:
                for sample in samples:
                    file.write(sample.pieces, sample.size)
                shard = seal(file, filling.index(file.block_digests()), len(filling.keys))
            written.append(WrittenShard(target, shard))
    return written


def _tar(store: Store, path: str) -> Stream:
    return decompressed(store.open(path), path)


def _plan(samples: Iterable["_Sample"], *, limit: int, shard: str) -> list[Cut]:
    cuts = []
    for filling, group in _filled(samples, limit=limit, shard=shard):
        for _ in group:
            pass
        cuts.append(filling.planned)
    return cuts


@dataclass(slots=True)
class _Sample:
    """One sample with the members that go with it.

    Attributes:
        key: Its key.
        before: Bytes of members that stand before its own.
        size: Bytes of all members, headers and padding included.
        pieces: These bytes; none where only a plan is made.
    """

    key: str
    before: int
    size: int
    pieces: list[memoryview]


def _indexed(index: ShardIndex) -> Iterator[_Sample]:
    """The samples as an index has them; the last one ends where the index begins."""
    before = int(index.offsets[0])
    for number, key in enumerate(index.keys):
        start, stop = index.span(number)
        yield _Sample(key, before, before + stop - start, [])
        before = 0


def _read(stream: Stream, shard: str) -> Iterator[_Sample]:
    """The samples of a tar."""
    sample = _Sample("", 0, 0, [])  # at first what stands before all samples
    found = False
    for block in read_blocks(stream, shard=shard):
        first_of = {next(iter(members.values())): key for key, members in samples_in(block.members, shard=shard)}
        borders = [*first_of, len(block.members)]
        spans = _spans(block)
        _append(sample, block, spans[: borders[0]])
        for number, stop in itertools.pairwise(borders):
            if found:
                yield sample
                sample = _Sample("", 0, 0, [])
            found = True
            sample.key, sample.before = first_of[number], sample.size
            _append(sample, block, spans[number:stop])
    if not found:
        raise ShardError("the tar has no samples", shard=shard)
    yield sample


def _spans(block: Block) -> list[tuple[int, int]]:
    """Where each member of a block begins and ends, padding included; an index takes no room."""
    members = block.members
    ends = members.headers + BLOCK + (members.sizes + BLOCK - 1) // BLOCK * BLOCK
    spans = list(zip(members.starts.tolist(), ends.tolist(), strict=True))
    for number, name in enumerate(members.all_names()):
        if name == NAME:
            spans[number] = (0, 0)
    return spans


def _append(sample: _Sample, block: Block, spans: Iterable[tuple[int, int]]) -> None:
    """Let members of a block go with a sample. Those that follow each other are one piece."""
    begin = end = 0
    for start, stop in spans:
        if start != end:
            _add(sample, block, begin, end)
            begin = start
        end = stop
    _add(sample, block, begin, end)


def _add(sample: _Sample, block: Block, begin: int, end: int) -> None:
    if begin != end:
        sample.pieces.append(block.members.buffer.data[begin:end])
        sample.size += end - begin


class _Filling:
    """One new shard as it fills."""

    def __init__(self) -> None:
        self.keys: list[str] = []
        self.has_index = True
        self._offsets = array("Q")  # of the samples
        self._end = 0  # bytes of all samples
        self._key_bytes = -1  # joined by line breaks: one for each key but the first

    def size_with(self, sample: _Sample) -> int:
        """Bytes of the whole shard with one more sample."""
        key_bytes = self._key_bytes + _key_bytes(sample.key)
        return sealed_size(self._end + sample.size, len(self.keys) + 1, key_bytes=key_bytes)

    def append(self, sample: _Sample) -> None:
        self.keys.append(sample.key)
        self._offsets.append(self._end + sample.before)
        self._end += sample.size
        self._key_bytes += _key_bytes(sample.key)

    @property
    def planned(self) -> Cut:
        samples = len(self.keys)
        with_index = sealed_size(self._end, samples, key_bytes=self._key_bytes)
        return Cut(samples, with_index if self.has_index else self._end + len(END))

    def index(self, digests: NDArray[np.uint8]) -> bytes | None:
        """The payload of its index; None where it has none."""
        if not self.has_index:
            return None
        try:
            return encode_index(ShardIndex(self.keys, np.array([*self._offsets, self._end], np.int64), digests))
        except ShardError:  # keys that an index cannot hold; a shard may do without one
            return None


def _key_bytes(key: str) -> int:
    return len(key.encode("utf-8", "surrogateescape")) + 1


def _filled(samples: Iterable[_Sample], *, limit: int, shard: str) -> Iterator[tuple[_Filling, Iterator[_Sample]]]:
    """Each new shard, and the samples that fill it, which must be taken before the next shard is."""
    pairs = _placed(samples, limit=limit, shard=shard)
    for filling, group in itertools.groupby(pairs, key=operator.itemgetter(0)):
        yield filling, (sample for _, sample in group)


def _placed(samples: Iterable[_Sample], *, limit: int, shard: str) -> Iterator[tuple[_Filling, _Sample]]:
    """Each sample, and the new shard that it goes to: the one before it as long as it has room."""
    filling = _Filling()
    for sample in samples:
        if filling.keys and filling.size_with(sample) > limit:
            filling = _Filling()
        if not filling.keys:
            alone = sample.size + len(END)
            if alone > limit:
                raise LimitError(
                    f"{shard}: the sample {sample.key[:200]!r} takes {alone:,} bytes as a shard of its own, and at "
                    f"most {limit:,} are allowed; make it smaller, or publish by URL (urls=...)",
                    limit=limit,
                )
            filling.has_index = filling.size_with(sample) <= limit
        filling.append(sample)
        yield filling, sample
