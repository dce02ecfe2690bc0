"""Blobs into a repository so that they stay there: uploaded, written down in the journal, and named by a record.

A PDS may collect what no record names. So blobs that do not fit into the dataset record are pinned by ``blobList``
records as they come; and when a record is refused since one of its blobs has gone, they are uploaded once more.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from atdata.atproto.manifest import blob_list
from atdata.atproto.records import StrongRef
from atdata.atproto.repository import Repository
from atdata.errors import XrpcError
from atdata.publishing.describe import Options
from atdata.publishing.journal import Journal
from atdata.publishing.patience import Patience
from atdata.publishing.upload import Item, upload_all
from atdata.publishing.writing import delete_quietly, ensure_record, find_record
from atdata.storage.union import Blob
from atdata.syntax import AtUri, RecordKey


class Pinning:
    """Uploads for one dataset. Not thread-safe: its own threads are those of `upload_all`."""

    def __init__(
        self,
        repository: Repository,
        journal: Journal,
        uri: AtUri,
        *,
        created_at: str,
        patience: Patience,
        options: Options,
    ) -> None:
        """For the dataset that will be at ``uri``; lists have its time of creation."""
        self._repository = repository
        self._journal = journal
        self._uri = uri
        self._created_at = created_at
        self._patience = patience
        self._options = options

    def upload(self, items: Sequence[Item], *, lists: Sequence[tuple[RecordKey, int]]) -> None:
        """Upload the shards of a dataset, those that are not there yet.

        Args:
            items: In the order of the record.
            lists: Key of each ``blobList``, and how many of the items at the end of ``items`` it takes, in order.

        Raises:
            The same as `upload_all` and `Repository.create_record`.
        """
        first = len(items) - sum(count for _, count in lists)
        groups: dict[RecordKey, Sequence[Item]] = {}
        start = first
        for key, count in lists:
            groups[key] = items[start : start + count]
            start += count
        self._check_lists(groups)

        def pin_complete() -> None:
            taken = self._journal.progressed.uploaded
            for key, group in groups.items():
                if key not in self._journal.progressed.lists and all(item.expected.cid in taken for item in group):
                    self._pin(key, group)

        pin_complete()
        # What is pinned as it comes goes first: what only the dataset record will name must not wait long for it. The
        # largest one goes before all, so that nothing has been sent in vain where the server takes no blob that large.
        largest = max(items, key=lambda item: item.expected.size)
        self.send([largest, *items[first:], *items[:first]], after_each=pin_complete)

    def send(self, items: Sequence[Item], *, after_each: Callable[[], None] | None = None) -> None:
        """Upload those that the journal does not know. ``after_each`` is called when one more is there."""
        if not items:
            return
        by_cid = {item.expected.cid: item for item in items}
        waiting = [item for cid, item in by_cid.items() if cid not in self._journal.progressed.uploaded]
        total = sum(item.expected.size for item in by_cid.values())
        before = total - sum(item.expected.size for item in waiting)
        shown = before

        def show(sent: int) -> None:
            nonlocal shown
            shown = max(shown, min(total, before + sent))  # what must be sent again is no step back
            self._options.progress("uploading", shown, total)

        def on_uploaded(blob: Blob) -> None:
            self._journal.add_uploaded(blob)
            if after_each is not None and not self._patience.stop.is_set():
                after_each()

        show(0)
        upload_all(
            self._repository,
            waiting,
            patience=self._patience,
            on_uploaded=on_uploaded,
            progress=show,
            uploads=self._options.uploads,
            is_careful=self._journal.is_resumed,
        )
        show(total)

    def taken(self, items: Sequence[Item]) -> tuple[Blob, ...]:
        """The blobs as the repository has them."""
        return tuple(self._journal.progressed.uploaded[item.expected.cid] for item in items)

    def write(
        self, name: str, rkey: RecordKey, value: Callable[[], Mapping[str, Any]], items: Sequence[Item]
    ) -> StrongRef:
        """Write a record that names blobs; where the repository has dropped one of them, upload it again.

        The first time the record is looked for once more: it may be an earlier run's request that the server is just
        carrying out, which takes the blobs. Then the blob that the server names is uploaded, and then all of them.

        Args:
            value: Makes the record, of the blobs as the repository has them.
            items: The blobs that it names, and no other record yet.
        """
        may_exist = self._journal.is_resumed
        for attempt in itertools.count():
            try:
                return ensure_record(
                    self._repository, name, value(), rkey=rkey, patience=self._patience, may_exist=may_exist
                )
            except XrpcError as error:
                if attempt > 2 or error.error != "BlobNotFound":
                    raise
                named = [item for item in items if str(item.expected.cid) in str(error)]
            may_exist = True
            if attempt > 0:
                lost = named if named and attempt == 1 else items
                self._options.announce("the repository has dropped blobs that no record named: uploading them again")
                self._journal.forget(item.expected.cid for item in lost)
                self.send(lost)
        raise AssertionError("unreachable")

    def _pin(self, key: RecordKey, group: Sequence[Item]) -> None:
        def value() -> Mapping[str, Any]:
            return blob_list(self.taken(group), key, self._uri, self._created_at).value

        self._journal.add_list(key, self.write("blobList", key, value, group).cid)

    def _check_lists(self, lists: Mapping[RecordKey, Sequence[Item]]) -> None:
        """Lists of an earlier run: one that is gone has taken its blobs along, one of another cut goes."""
        for key in list(self._journal.progressed.lists):
            if key not in lists:
                delete_quietly(self._repository, "blobList", key)
            elif self._patience.call(partial(find_record, self._repository, "blobList", key)) is None:
                self._journal.forget(item.expected.cid for item in lists[key])
            else:
                continue
            self._journal.forget_list(key)
