"""Very many shards: their facts in manifest files, their blobs in further ``blobList`` records.

A dataset record stays small, since older PDSes take no more (`atdata.atproto.checks`). Beyond that the facts go into
parts, each a gzipped file of JSON Lines with a line per shard, and all blobs but the first 256 into records of their
own. `spread` decides and computes; who uploads and writes is `atdata.publishing`, who fetches `atdata.loading`.
"""

import dataclasses
import gzip
import hashlib
import itertools
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec

from atdata.atproto.checks import MAX_RECORD_BYTES
from atdata.atproto.dagcbor import record_cid
from atdata.atproto.json_objects import read_shard, shard_json
from atdata.atproto.lexicon import Lexicons
from atdata.atproto.place_checks import BLOBS_PER_LIST
from atdata.atproto.records import BlobListRecord, DatasetRecord, ManifestPart, StrongRef, write_value
from atdata.errors import InvalidRecordError, InvalidSyntaxError, LimitError
from atdata.storage.base import Shard
from atdata.storage.union import Blob, BlobStorage
from atdata.storage.url import MAX_SHARDS
from atdata.syntax import AtUri, Did, Handle, RecordKey, family, new_tid, parse_cid, parse_nsid, raw_cid

PART_SHARDS = (
    10_000  # lines of one manifest part, which makes it about 0.8 MB: below the 1 MiB of the smallest blob limit in use
)
PART_LIMIT = 64 << 20  # bytes of one part, gzipped or not, that are read
MANIFEST_TYPE = "application/gzip"
_MAX_LINE = 4096  # bytes; ours have up to 200
_MOST_ENTRIES = 2000  # of an array of a dataset record, by its lexicon
_CHUNK = 1 << 16  # bytes inflated at a time

_Count = Annotated[int, msgspec.Meta(ge=0, le=2**53 - 1)]


@dataclass(frozen=True, slots=True)
class BlobList:
    """A ``blobList`` record that is to be written before its dataset.

    Attributes:
        rkey: Its key, chosen beforehand so that the dataset can name it.
        value: The record.
    """

    rkey: RecordKey
    value: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Spread:
    """A dataset record that fits, and what has to be stored before it.

    Attributes:
        record: Its ``manifest`` and its storage's ``more`` name the rest.
        parts: The files of ``record.manifest``, in order.
        lists: The records of ``more``, in order.
    """

    record: DatasetRecord
    parts: tuple[bytes, ...] = ()
    lists: tuple[BlobList, ...] = ()


def spread(record: DatasetRecord, *, uri: AtUri, list_keys: Iterable[RecordKey] = ()) -> Spread:
    """Move facts and blobs out of a record that has too many bytes; one that fits is left as it is.

    Args:
        record: All facts in ``shards``, all blobs in ``storage``.
        uri: The dataset's own; the lists will be written into the same repository.
        list_keys: Keys of the lists, in order; beyond them lists get fresh ones. The same record and keys give the
            same lists.
    """
    if _fits(record):
        return Spread(record)
    parts: tuple[bytes, ...] = ()
    lists: tuple[BlobList, ...] = ()
    if record.shards is not None:
        groups = list(_groups(record.shards, PART_SHARDS))
        parts = tuple(encode_part(group) for group in groups)
        manifest = tuple(_manifest_part(data, len(group)) for data, group in zip(parts, groups, strict=True))
        record = dataclasses.replace(record, shards=None, manifest=manifest)
    if not _fits(record) and isinstance(record.storage, BlobStorage):
        first, *rest = _groups(record.storage.blobs, BLOBS_PER_LIST)
        keys = itertools.chain(list_keys, iter(lambda: RecordKey(new_tid()), None))
        lists = tuple(blob_list(group, key, uri, record.created_at) for group, key in zip(rest, keys, strict=False))
        more = tuple(_reference(item, uri.authority).to_json() for item in lists)
        record = dataclasses.replace(record, storage=BlobStorage(tuple(first), more, record.storage.extra))
    return Spread(record, parts, lists)


def encode_part(shards: Sequence[Shard]) -> bytes:
    """One manifest part: the same shards give the same bytes."""
    return gzip.compress(msgspec.json.Encoder().encode_lines(list(map(shard_json, shards))), mtime=0)


def decode_part(data: bytes, *, path: str) -> list[Shard]:
    """Read one manifest part. Memory is bounded by `PART_LIMIT`, whatever the file claims.

    Args:
        path: Where it stands in its record, as in ``manifest[0]``, for messages.

    Raises:
        InvalidRecordError: It is not gzipped JSON Lines of shards; the message names the line.
        LimitError: It has more bytes than `PART_LIMIT`, or more shards than a dataset may have.
    """
    return decode_lines(_inflate(data, path), path=path)


def decode_lines(text: bytes, *, path: str) -> list[Shard]:
    """Read JSON Lines of shards, as in a manifest part unpacked. Raises as `decode_part` does."""
    lines = text.splitlines()
    if len(lines) > MAX_SHARDS:
        raise LimitError(f"{path}: {len(lines):,} shards, at most {MAX_SHARDS:,} are read", limit=MAX_SHARDS)
    if max(map(len, lines), default=0) <= _MAX_LINE:
        # What is read in one go is right, if there are as many; else it is looked for line by line what is wrong.
        with suppress(msgspec.DecodeError, InvalidSyntaxError, UnicodeDecodeError, RecursionError):
            found = msgspec.json.Decoder(_Line).decode_lines(text)
            if len(found) == len(lines):
                return [line.shard() for line in found]
    return list(_checked_lines(lines, path))


class _Line(msgspec.Struct):
    """One line, after the lexicon's definition ``#shard``; what it does not know is passed over."""

    cid: str | msgspec.UnsetType = msgspec.UNSET
    bytes: _Count | msgspec.UnsetType = msgspec.UNSET
    samples: _Count | msgspec.UnsetType = msgspec.UNSET
    index: str | msgspec.UnsetType = msgspec.UNSET

    def shard(self) -> Shard:
        """The shard. Raises InvalidSyntaxError for what is no CID."""
        return Shard(
            parse_cid(self.cid) if isinstance(self.cid, str) else None,
            self.bytes if isinstance(self.bytes, int) else None,
            self.samples if isinstance(self.samples, int) else None,
            parse_cid(self.index) if isinstance(self.index, str) else None,
        )


def _checked_lines(lines: Sequence[bytes], path: str) -> Iterator[Shard]:
    validate = Lexicons.load().validate
    for number, line in enumerate(lines, 1):
        try:
            if len(line) > _MAX_LINE:
                raise ValueError(f"it has {len(line):,} bytes, at most {_MAX_LINE:,} are allowed")
            value = json.loads(line)
            validate(f"{family()}.dataset#shard", value)
        except (ValueError, RecursionError) as error:
            raise InvalidRecordError(f"line {number} is not a shard: {error}", path=path) from error
        yield read_shard(value)


def _inflate(data: bytes, path: str) -> bytes:
    inflater = zlib.decompressobj(wbits=31)  # 31: a gzip header and nothing else
    text = bytearray()
    try:
        while not inflater.eof:
            chunk = inflater.decompress(inflater.unconsumed_tail or data, _CHUNK)
            data = b""
            text += chunk
            if len(text) > PART_LIMIT:
                raise LimitError(f"{path}: it inflates to more than {PART_LIMIT:,} bytes", limit=PART_LIMIT)
            if not chunk and not inflater.unconsumed_tail and not inflater.eof:
                raise InvalidRecordError("the gzipped file is cut short", path=path)
    except zlib.error as error:
        raise InvalidRecordError(f"it is not a gzipped file: {error}", path=path) from error
    return bytes(text)


def _fits(record: DatasetRecord) -> bool:
    if len(record.shards or ()) > _MOST_ENTRIES:
        return False
    return len(json.dumps(record.to_json(), ensure_ascii=False, separators=(",", ":")).encode()) <= MAX_RECORD_BYTES


def _groups(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    return (items[start : start + size] for start in range(0, len(items), size))


def _manifest_part(data: bytes, shards: int) -> ManifestPart:
    cid = raw_cid(hashlib.sha256(data).digest())
    return ManifestPart(blob=Blob(cid, MANIFEST_TYPE, len(data)), cid=str(cid), shards=shards, bytes=len(data))


def blob_list(blobs: Sequence[Blob], key: RecordKey, uri: AtUri, created_at: str) -> BlobList:
    """A list of some of the blobs of the dataset at ``uri``. The same arguments give the same record."""
    record = BlobListRecord(blobs=tuple(blobs), created_at=created_at, dataset=str(uri))
    return BlobList(key, write_value(record))


def _reference(item: BlobList, did: Did | Handle) -> StrongRef:
    uri = AtUri(did, parse_nsid(f"{family()}.blobList"), item.rkey)
    return StrongRef(str(uri), str(record_cid(item.value)))
