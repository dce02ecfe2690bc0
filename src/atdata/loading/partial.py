"""One shard into one file, whole and checked or not there, going on where an interrupted run stopped.

The file grows under its name with ``.part`` behind it. Only bytes whose digest is known are continued: nothing else
says that both halves are of one object. Which shards and which files is `atdata.loading.download`'s.
"""

import hashlib
import os
from contextlib import closing
from pathlib import Path
from typing import BinaryIO

from atdata.data.output import sync_folder
from atdata.errors import IntegrityError
from atdata.loading.workers import Meter
from atdata.redaction import redacted
from atdata.storage.base import Shard, Store
from atdata.syntax import raw_cid

_CHUNK = 1 << 20  # bytes


def part_of(file: Path) -> Path:
    """The name of a file that is not whole yet."""
    return file.with_name(f"{file.name}.part")


def is_whole(file: Path, fact: Shard) -> bool:
    """Whether a file has the size and digest of a shard; False where the digest is not known. Reads the file."""
    if fact.cid is None or not file.is_file() or fact.bytes not in (None, file.stat().st_size):
        return False
    with file.open("rb") as content:
        return raw_cid(hashlib.file_digest(content, "sha256").digest()) == fact.cid


def fetch(store: Store, path: str, file: Path, fact: Shard, *, meter: Meter) -> None:
    """Bring a shard into a file, which is replaced when there is one.

    Args:
        fact: What the shard is, as far as it is known.
        meter: Is told the bytes that were there before; what is read the store counts.

    Raises:
        IntegrityError: It is another one; nothing of it is kept.
        OSError: The disk is full or broken. The part stays.
        The same as `Store.open`; the part stays.
    """
    part = part_of(file)
    if fact.cid is None:
        part.unlink(missing_ok=True)
    while True:
        continued = part.exists()
        try:
            _receive(store, path, part, fact, meter)
            break
        except IntegrityError:
            part.unlink(missing_ok=True)
            if not continued:
                raise
            # The fault may lie in what was there before: once more from the beginning.
    part.replace(file)
    sync_folder(file.parent)


def _receive(store: Store, path: str, part: Path, fact: Shard, meter: Meter) -> None:
    """Append to a part what it lacks, and check the whole of it."""
    label = redacted(path)
    digest = hashlib.sha256()
    size = _hash(part, digest) if part.exists() else 0
    meter.add(size)
    if size == 0 or size != fact.bytes:
        buffer = memoryview(bytearray(_CHUNK))
        with closing(store.open(path, start=size)) as stream, part.open("ab", buffering=0) as file:
            while count := stream.readinto(buffer):
                size += count
                if fact.bytes is not None and size > fact.bytes:
                    raise IntegrityError(f"longer than the {fact.bytes:,} bytes expected", shard=label)
                digest.update(buffer[:count])
                _write(file, buffer[:count], part)
            os.fsync(file.fileno())
            if os.fstat(file.fileno()).st_size != size:
                raise IntegrityError(f"something else has written to {part}", shard=label)
    if fact.bytes is not None and size < fact.bytes:
        raise IntegrityError(f"expected {fact.bytes:,} bytes, found {size:,}", shard=label)
    found = raw_cid(digest.digest())
    if fact.cid is not None and found != fact.cid:
        raise IntegrityError(f"expected the CID {fact.cid}, found {found}", shard=label)


def _hash(part: Path, digest: "hashlib._Hash") -> int:
    """Let a digest take what there is of a part; the number of bytes."""
    with part.open("rb", buffering=0) as file:
        hashlib.file_digest(file, lambda: digest)
        return file.tell()


def _write(file: BinaryIO, data: memoryview, part: Path) -> None:
    try:
        while data:
            data = data[file.write(data) :]
    except OSError as error:  # an error of a descriptor does not name the file
        raise OSError(error.errno, error.strerror or str(error), str(part)) from error
