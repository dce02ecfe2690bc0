"""What the records of a repository name: blobs, and lists of blobs. Told of any value, valid or not."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any

from atdata.atproto.repository import Repository
from atdata.errors import AtdataError, NotFoundError
from atdata.storage.union import Blob
from atdata.syntax import AtUri, Nsid, family, parse_at_uri, parse_nsid


def blobs_in(value: Any) -> Iterator[Blob]:
    """The blobs at any depth, as a PDS finds them."""
    for item in _objects_in(value):
        if item.get("$type") == "blob":
            with suppress(AtdataError):
                yield Blob.from_json(item)


def lists_in(value: Any) -> Iterator[AtUri]:
    """The ``blobList`` records that a dataset names, in its storage or a mirror's."""
    for item in _objects_in(value):
        if (uri := _uri(item.get("uri"))) is not None and uri.collection == list_collection():
            yield uri


def blobs_of(repository: Repository, uri: AtUri) -> Iterator[Blob]:
    """The blobs that a dataset of a repository keeps there: its own, and those of its lists. None where it is gone."""
    if uri.authority != repository.did or uri.collection is None or uri.rkey is None:
        return
    with suppress(NotFoundError):
        value = repository.get_record(uri.collection, uri.rkey).value
        yield from blobs_in(value)
        for item in lists_in(value):
            if item.authority == repository.did and item.rkey is not None:
                yield from blobs_in(repository.get_record(list_collection(), item.rkey).value)


def list_collection() -> Nsid:
    """The collection of lists of blobs."""
    return parse_nsid(f"{family()}.blobList")


def _uri(text: Any) -> AtUri | None:
    with suppress(AtdataError):
        return parse_at_uri(text) if isinstance(text, str) else None
    return None


def _objects_in(value: Any) -> Iterator[Mapping[str, Any]]:
    children: Iterable[Any] = ()
    if isinstance(value, Mapping):
        yield value
        children = value.values()
    elif isinstance(value, list):
        children = value
    for child in children:
        yield from _objects_in(child)
