"""Writing shards: samples in, whole tar files out, each with its index and its facts.

The same samples give the same bytes. A shard appears under its name when it is whole and on the disk, or not at all.
What a sample's bytes are is `atdata.data.codec`; the format is in ``docs/format.md`` (frozen). Facts about shards that
others wrote are `atdata.data.scan`.
"""

import contextlib
import os
import re
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

import numpy as np

from atdata.data.codec import Piece, encode_map, encode_members
from atdata.data.fields import Field, fields_of
from atdata.data.index import NAME, ShardIndex, encode_index, payload_cid, payload_size
from atdata.data.keys import KeyList
from atdata.data.output import OutputFile
from atdata.data.scan import scan_shard, scan_shards
from atdata.data.tar import BLOCK, END, member_header, padding
from atdata.data.values import values_checker
from atdata.errors import InvalidSyntaxError, LimitError, SchemaMismatchError, ShardError
from atdata.storage.base import Shard
from atdata.syntax import raw_cid

__all__ = ["SHARD_BYTES", "ShardWriter", "WrittenShard", "scan_shard", "scan_shards", "write_samples"]

SHARD_BYTES = 100 << 20  # default of `write_samples`; a PDS of today takes blobs of 50 to 100 MiB at most
_NUMBER = re.compile(r"%(?:0\d{1,2})?d")
_ZEROS = bytes(BLOCK)

_Members = list[tuple[str, list[Piece], int]]  # extension, pieces of the data, their length


@dataclass(frozen=True, slots=True)
class WrittenShard:
    """A shard on this machine.

    Attributes:
        path: The tar file.
        shard: Its facts, all of them known.
    """

    path: Path
    shard: Shard


class ShardWriter:
    """Writes one shard; a context manager.

    Samples are instances of one sample type: a ``.msgpack`` member each, or ordinary members where the type gives its
    fields extensions. Or they are mappings of extensions to values, ``{"jpg": data, "cls": 3}``, in which ``__key__``
    is the key and other names that begin with ``__`` do not count.

    Leaving the block writes the index and the end of the archive, waits for the disk, and then gives the file its name.
    Leaving it by an error removes all of it. Memory is about 16 MiB, a few bytes for each sample, and one sample.

    Attributes:
        path: The file, which is replaced when there is one. Its folder must exist.

    Raises:
        SchemaMismatchError: ``sample_type`` is no sample type.

    Example:
        >>> with ShardWriter("train-000000.tar") as writer:  # doctest: +SKIP
        ...     writer.write(Digit(image=image, label=7))
        >>> writer.shard.samples  # doctest: +SKIP
        1
    """

    def __init__(self, path: str | os.PathLike[str], *, sample_type: type | None = None, shard: int = 0) -> None:
        """Prepare to write; the file is made on entering the block.

        Args:
            path: The file.
            sample_type: The sample type; by default that of the first sample.
            shard: Number of the shard, for the keys of samples that are written without one.
        """
        self.path = Path(path)
        self._shard: Shard | None = None
        self._encoder = _Encoder(sample_type)
        self._keys = KeyList(shard)
        self._offsets = array("I")  # in blocks
        self._file: OutputFile | None = None

    def __enter__(self) -> "ShardWriter":
        self._file = OutputFile(self.path)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        file = self._opened()
        try:
            if kind is None:
                self._shard = self._finish(file)
        finally:
            self._file = None
            file.close()

    @property
    def shard(self) -> Shard:
        """Facts of the shard, all known.

        Raises:
            ValueError: It is not written yet.
        """
        if self._shard is None:
            raise ValueError(f"{self.path} is not written yet: its facts are known after the 'with' block")
        return self._shard

    @property
    def samples(self) -> int:
        """Number of samples so far."""
        return len(self._offsets)

    def write(self, sample: object, key: str | None = None) -> None:
        """Append one sample. When it is refused, the shard is as before.

        Args:
            key: Its key, unique in the shard, without dots and slashes; by default it is counted,
                ``{shard:06d}-{sample:08d}``.

        Raises:
            SchemaMismatchError: The sample does not fit its type or has no form in a shard; the message names the field
                and the sample's number. Or the key is not possible.
            LimitError: The shard would be larger than 2 TiB.
            OSError: The disk is full or broken; the shard is given up.
        """
        try:
            own_key, members = self._encoder.encode(sample)
            self._append(self._record(own_key if key is None else key, members))
        except SchemaMismatchError as error:
            raise SchemaMismatchError(f"sample {self.samples}: {error}") from error

    def _record(self, key: str | None, members: _Members) -> "_Record":
        """``members`` as the bytes of the next sample."""
        name = self._keys.name(key)
        pieces: list[Piece] = []
        total = 0
        for extension, data, size in members:
            header = member_header(f"{name}.{extension}", size)
            zeros = padding(size)
            pieces.append(header)
            pieces += data
            pieces.append(_ZEROS[:zeros])
            total += len(header) + size + zeros
        return _Record(key, pieces, total)

    def _has_room(self, record: "_Record", *, most_bytes: int, most_samples: int | None) -> bool:
        """Whether the shard, index and all, stays within the limits with one more sample. The first one always fits."""
        if not self.samples:
            return True
        end = self._opened().position + record.size
        size = sealed_size(end, self.samples + 1, key_bytes=self._keys.bytes_with(record.key))
        return self.samples != most_samples and size <= most_bytes

    def _append(self, record: "_Record") -> None:
        file = self._opened()
        if file.position // BLOCK >= 1 << 32:
            raise LimitError(f"{self.path}: the shard is larger than 2 TiB", limit=BLOCK << 32)
        self._keys.take(record.key)
        self._offsets.append(file.position // BLOCK)
        file.write(record.pieces, record.size)

    def _opened(self) -> OutputFile:
        if self._file is None:
            raise ValueError(f"{self.path}: a ShardWriter is used inside of its 'with' block")
        return self._file

    def _finish(self, file: OutputFile) -> Shard:
        if not self.samples:
            raise ShardError("no sample was written, and a shard is never empty", shard=str(self.path))
        offsets = np.array([*self._offsets, file.position // BLOCK], np.int64) * BLOCK
        return seal(file, encode_index(ShardIndex(self._keys.all(), offsets, file.block_digests())), self.samples)


def seal(file: OutputFile, index: bytes | None, samples: int) -> Shard:
    """Write the index and the end of the archive behind the samples, and give the file its name; the facts of it.

    Args:
        index: The payload of its ``__index__`` member; None for a shard without one.
        samples: Number of samples in it.
    """
    end = [END] if index is None else [member_header(NAME, len(index)), index, END]
    digest = file.commit(end)
    return Shard(raw_cid(digest), file.position, samples, None if index is None else payload_cid(index))


def sealed_size(end: int, samples: int, *, key_bytes: int) -> int:
    """Bytes of a whole shard whose samples end at byte ``end``; `atdata.data.index.payload_size` has the others."""
    return end + BLOCK + payload_size(samples, end, key_bytes=key_bytes) + len(END)


class _Record(NamedTuple):
    """The bytes of one sample with headers and padding, and the key that was asked for."""

    key: str | None
    pieces: list[Piece]
    size: int


class _Encoder:
    """Samples of one type as members."""

    def __init__(self, sample_type: type | None) -> None:
        self._type: type | None = None
        self._fields: tuple[Field, ...] = ()
        self._names: tuple[str, ...] = ()
        self._values = values_checker(())
        self._multi_member = True
        if sample_type is not None:
            self._take_type(sample_type)

    def _take_type(self, sample_type: type) -> None:
        if _is_mapping(sample_type):
            self._type = Mapping
        else:
            self._fields = fields_of(sample_type)
            self._names = tuple(field.name for field in self._fields)
            self._values = values_checker(self._fields)
            self._multi_member = self._fields[0].extension is not None
            self._type = sample_type

    def encode(self, sample: object) -> tuple[str | None, _Members]:
        """``(key, members)`` of a sample; the key is that of a mapping that has one.

        Raises:
            SchemaMismatchError: The sample does not fit its type.
        """
        if self._type is None:
            self._take_type(type(sample))
        if not isinstance(sample, self._type or object):
            name = getattr(self._type, "__qualname__", "")
            raise SchemaMismatchError(f"a {type(sample).__qualname__}, where the others are {name}")
        if self._type is Mapping and isinstance(sample, Mapping):
            key = sample.get("__key__")
            return (None if key is None else str(key)), _sized(encode_members(sample, ()))
        values = self._values(sample)
        if self._multi_member:
            return None, _sized(encode_members(sample, self._fields))
        return None, _sized([("msgpack", encode_map(self._names, values))])


def _sized(members: list[tuple[str, list[Piece]]]) -> _Members:
    return [(extension, pieces, sum(map(len, pieces))) for extension, pieces in members]


def _is_mapping(sample_type: type) -> bool:
    return isinstance(sample_type, type) and issubclass(sample_type, Mapping)


def write_samples(
    samples: Iterable[object],
    pattern: str | os.PathLike[str],
    *,
    shard_bytes: int = SHARD_BYTES,
    shard_samples: int | None = None,
    sample_type: type | None = None,
) -> list[WrittenShard]:
    """Write samples into as many shards as they need.

    A shard is closed before the sample that would make it larger than ``shard_bytes``, its index included, or give it
    more than ``shard_samples`` samples. Only a single sample that is larger by itself makes a larger shard.

    A call that fails, for whatever reason, removes the shards that it has written: a set of shards that ends early
    looks like a whole one. Memory is that of a `ShardWriter`.

    Args:
        samples: As `ShardWriter` takes them, all of one type.
        pattern: Path of the shards with one place for their number, as in ``out/train-%06d.tar``. Missing folders are
            made, files that are there are replaced.
        shard_bytes: Most bytes of one shard.
        shard_samples: Most samples of one shard.
        sample_type: The sample type; by default that of the first sample.

    Returns:
        The shards in order, at least one.

    Raises:
        InvalidSyntaxError: The pattern is none.
        SchemaMismatchError: A sample does not fit its type; the message names the field and the sample's number,
            counted from 0 over all shards.
        ShardError: There are no samples.
        OSError: The disk is full or broken.

    Example:
        >>> write_samples(digits, "out/train-%06d.tar", shard_samples=10_000)  # doctest: +SKIP
    """
    if shard_bytes < 1 or (shard_samples is not None and shard_samples < 1):
        raise ValueError("shard_bytes and shard_samples must be at least 1")
    template = check_pattern(os.fspath(pattern))
    encoded = _encoded(samples, sample_type)
    written: list[WrittenShard] = []
    with all_or_none(written):
        pending = next(encoded, None)
        if pending is None:
            raise ShardError("there are no samples, and a shard is never empty", shard=template)
        while pending is not None:
            path = Path(template % len(written))
            path.parent.mkdir(parents=True, exist_ok=True)
            with ShardWriter(path, shard=len(written)) as writer:
                while pending is not None:
                    try:
                        record = writer._record(*pending[1:])
                        if not writer._has_room(record, most_bytes=shard_bytes, most_samples=shard_samples):
                            break
                        writer._append(record)
                    except SchemaMismatchError as error:
                        raise SchemaMismatchError(f"sample {pending[0]}: {error}") from error
                    pending = next(encoded, None)
            written.append(WrittenShard(path, writer.shard))
    return written


def _encoded(samples: Iterable[object], sample_type: type | None) -> Iterator[tuple[int, str | None, _Members]]:
    """Number, key and members of each sample. The members are views, good until the next one is asked for."""
    encoder = _Encoder(sample_type)
    for number, sample in enumerate(samples):
        try:
            key, members = encoder.encode(sample)
        except SchemaMismatchError as error:
            raise SchemaMismatchError(f"sample {number}: {error}") from error
        yield number, key, members


def check_pattern(pattern: str) -> str:
    """A pattern of the names of shards, with one place for their number.

    Raises:
        InvalidSyntaxError: It is none.
    """
    reason = ""
    if len(_NUMBER.findall(pattern)) != 1 or pattern.count("%") != 1:
        reason = "it needs one place for the number of the shard, as in out/train-%06d.tar, and no other '%'"
    elif any(mark in pattern for mark in ("{", "}", "::", "\0", "\n")):
        reason = "braces, '::' and line breaks would be read as several shards"
    elif "://" in pattern:
        reason = "shards are written to files; publish them from there"
    elif not pattern.endswith(".tar"):
        reason = "it must end in .tar"
    if reason:
        raise InvalidSyntaxError(f"{pattern!r} is not a pattern of shards: {reason}", value=pattern)
    return pattern


@contextlib.contextmanager
def all_or_none(written: Sequence[WrittenShard]) -> Iterator[None]:
    """Remove the shards that have been written when the block ends by an error."""
    try:
        yield
    except BaseException:
        for shard in written:
            shard.path.unlink(missing_ok=True)
        raise
