"""Publishing to a place: shards of this machine uploaded into a bucket or folder, under names in brace notation.

Each shard arrives whole or not at all, and its bytes are hashed on the way. What an earlier run has uploaded is found
by size and CID and not sent again; another object under the same name is never overwritten. Which credentials are used,
`atdata.storage.credentials` says; the record is `prepared`'s.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from atdata.data.compression import is_compressed
from atdata.errors import IntegrityError, InvalidSyntaxError, NotFoundError, RefusedError, ShardError
from atdata.net import Transport
from atdata.publishing.inputs import Given
from atdata.redaction import shown
from atdata.storage.base import Shard, WritableStore, chunks_of
from atdata.storage.cloud import CloudStore
from atdata.storage.credentials import S3Access
from atdata.storage.file import FileStore
from atdata.storage.union import UrlStorage
from atdata.storage.url import check_url, expand, file_path, file_url, scheme_of
from atdata.syntax import Cid, raw_cid

_AT_ONCE = 2  # shards; each of them goes in several parts at once, which take about 80 MB of memory


class Progress(Protocol):
    """Is told a step, bytes done and bytes in all."""

    def __call__(self, step: str, done: int, total: int, /) -> None: ...


@dataclass(frozen=True, slots=True)
class Destination:
    """Where the shards of one publish go.

    Attributes:
        storage: What the record will say.
        store: Writes there.
    """

    storage: UrlStorage
    store: CloudStore | FileStore

    @property
    def urls(self) -> list[str]:
        """The URL of each shard, in order."""
        return [url for written in self.storage.urls for url in expand(written)]

    def upload(
        self, files: Sequence[Path], facts: Sequence[Shard], *, progress: Progress, announce: Callable[[str], None]
    ) -> None:
        """Upload what is not there yet, several shards at a time.

        Raises:
            RefusedError: There is something else under the name of a shard (rule ``overwrite``).
            IntegrityError: A file has changed since it was measured.
            The same as `CloudStore.put` and `FileStore.put`.
        """
        total, done = sum(shard.bytes or 0 for shard in facts), 0
        there = 0
        progress("uploading", 0, total)
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="atdata-upload") as pool:
            work = zip(self.urls, files, facts, strict=True)
            jobs = {pool.submit(self._upload_one, url, file, shard): shard for url, file, shard in work}
            try:
                for job in as_completed(jobs):
                    there += not job.result()
                    done += jobs[job].bytes or 0
                    progress("uploading", done, total)
            finally:
                for job in jobs:
                    job.cancel()
        if there:
            announce(f"{there:,} of {len(facts):,} shards were there already")

    def _upload_one(self, url: str, file: Path, shard: Shard) -> bool:
        """Upload one shard; False where it is there already."""
        if self._is_there(url, shard):
            return False
        chunks = _checked(file, shard)
        if isinstance(self.store, CloudStore):
            self.store.put(url, chunks, cid=str(shard.cid))
        else:
            self.store.put(url, chunks)
        return True

    def _is_there(self, url: str, shard: Shard) -> bool:
        try:
            size = self.store.size(url)
        except NotFoundError:
            return False
        if size == shard.bytes:
            mark = self.store.marked_cid(url) if isinstance(self.store, CloudStore) else None
            if (mark or str(_cid_of(self.store, url))) == str(shard.cid):
                return True
        raise RefusedError(
            f"{shown(url)} is there already and is something else, which other records may name; choose another place, "
            "or delete it first",
            rule="overwrite",
        )


def find_destination(place: str, given: Given, *, transport: Transport, is_local: bool) -> Destination:
    """Where the shards that were given go below ``place``: ``PLACE/000000.tar`` and so on.

    Nothing is written, and only AWS is asked, for the region of a bucket.

    Args:
        place: ``s3://bucket/prefix``, ``gs://bucket/prefix``, or a folder of this machine as a path or ``file://`` URL.
        given: What is to be published.
        transport: That of the publisher.
        is_local: The record goes into the local repository, which nobody else reads.

    Raises:
        InvalidSyntaxError: Not such a place, or not files of this machine.
        ShardError: A shard is compressed, and its new name would not say so.
        RefusedError: A folder, in a record that others read (rule ``file-url``).
        AuthenticationError: No credentials are configured for the bucket.
        UnsupportedStorageError: The extra ``cloud`` is not installed.
    """
    if not given.is_local or given.samples is not None:
        raise InvalidSyntaxError(
            "only files of this machine are uploaded to a place: download remote shards, write samples with "
            "write_samples(), and publish the paths",
            value=place,
        )
    for one in given.places:
        if is_compressed(one):
            raise ShardError("a compressed shard is not uploaded as .tar: decompress it first", shard=one)
    folder = file_path(place)
    if folder is None and scheme_of(place) not in ("s3", "gs"):
        raise InvalidSyntaxError(f"{shown(place)}: shards are uploaded to s3://, gs:// or a folder", value=place)
    if folder is not None and not is_local:
        raise RefusedError("nobody else can read files of this machine: upload to s3:// or gs://", rule="file-url")
    if any(sign in place for sign in "{}\\"):
        raise InvalidSyntaxError(f"{shown(place)}: a place to upload to is one, without brace notation", value=place)
    base = (file_url(folder) if folder is not None else place).rstrip("/")
    last = len(given.places) - 1
    url = f"{base}/{'000000' if last == 0 else f'{{000000..{last:06d}}}'}.tar"
    check_url(url, own=True, allow_secrets=False)
    if folder is not None:
        return Destination(UrlStorage((url,)), FileStore())
    store = CloudStore(own=True, transport=transport)
    access = store.check_writable(expand(url)[0])
    if isinstance(access, S3Access):
        return Destination(UrlStorage((url,), endpoint=access.endpoint, region=access.region), store)
    return Destination(UrlStorage((url,)), store)


def _checked(file: Path, shard: Shard) -> Iterator[bytes]:
    """The bytes of a file; an error at their end where they are not the shard, so that nothing is stored."""
    digest = hashlib.sha256()
    for chunk in chunks_of(FileStore(), str(file)):
        digest.update(chunk)
        yield chunk
    if raw_cid(digest.digest()) != shard.cid:
        raise IntegrityError("the file has changed since it was measured: publish again", shard=str(file))


def _cid_of(store: WritableStore, url: str) -> Cid:
    digest = hashlib.sha256()
    for chunk in chunks_of(store, url):
        digest.update(chunk)
    return raw_cid(digest.digest())
