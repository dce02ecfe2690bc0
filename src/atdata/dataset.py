"""`Dataset`: a typed view of shards, wherever they lie, and the import path of sample types.

A dataset is made of a URL that the caller types, or by the loader of a record (`open_dataset`). It holds nothing open
and does no I/O before it is asked for samples. The work is done by the parts in `atdata.data`: reading (`reader`,
`batches`, `access`), what is known of the shards (`shards`), order (`order`), sample types (`sample`).
"""

import copy
import operator
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Generic, TypeVar, get_origin, overload

from atdata.data.batches import Batch
from atdata.data.codec import decode_msgpack
from atdata.data.order import Position, check_batch_size, position_in, state_of
from atdata.data.pipeline import Pipeline, in_order, in_random_order, pipeline
from atdata.data.sample import (
    MsgpackRawSample,
    PackableSample,
    Pathlike,
    SampleBatch,
    SampleExportMap,
    SampleExportRow,
    WDSRawBatch,
    WDSRawSample,
    _batch_aggregate,
    packable,
    type_argument,
    unpack,
)
from atdata.data.shards import Shards
from atdata.data.view import View
from atdata.errors import AtdataError
from atdata.lens import LensNetwork
from atdata.storage.base import Shard, Store, read_all

__all__ = [
    "Dataset",
    "MsgpackRawSample",
    "PackableSample",
    "Pathlike",
    "SampleBatch",
    "SampleExportMap",
    "SampleExportRow",
    "WDSRawBatch",
    "WDSRawSample",
    "_batch_aggregate",
    "open_dataset",
    "packable",
]

T = TypeVar("T")
V = TypeVar("V")

_MAX_METADATA = 64 << 20  # bytes of a metadata file


class Dataset(Generic[T]):
    """Samples of one type, in shards.

    ``Dataset[Digit]("digits-{000000..000003}.tar")`` reads samples as instances of ``Digit``, a dataclass, packable or
    not; ``Dataset[dict](url)``, or ``Dataset(url)``, reads whatever there is as dicts. Iterating gives samples, in the
    order of the shards and of each tar. Datasets can be pickled, and hold no file open.

    Attributes:
        metadata_url: Where the metadata of the dataset lie, if anywhere.
        name: Name that the record gives it, if any.
        uri: AT-URI of the record, if any.
        record: The record itself, if any.

    Example:
        >>> dataset = Dataset[dict]("data-{000000..000009}.tar")
        >>> len(dataset.shard_list)
        10
    """

    def __init__(self, url: str, metadata_url: str | None = None) -> None:
        """Name the shards; nothing is opened or checked yet.

        Args:
            url: Paths or URLs of tar files in brace notation, as in ``data-{000000..000009}.tar``; several are joined
                by ``::``.
            metadata_url: Path or URL of metadata in msgpack.
        """
        self._url = url
        self.metadata_url = metadata_url
        self.name: str | None = None
        self.uri: str | None = None
        self.record: Any = None
        self._metadata: dict[str, Any] | None = None
        self._seen_as: View[T] | None = None
        self._opened: Shards | None = None
        self._position = Position()
        self._resume: Position | None = None

    @property
    def url(self) -> str:
        """The URL as it was given, not expanded."""
        return self._url

    @property
    def sample_type(self) -> type[T]:
        """The ``T`` of ``Dataset[T](url)``; an AttributeError where the dataset was made without one."""
        argument: type[T] = type_argument(self)
        return argument

    @property
    def batch_type(self) -> type[SampleBatch[T]]:
        """The type of the batches of `ordered` and `shuffled`: ``SampleBatch[T]``."""
        return SampleBatch[self.sample_type]  # type: ignore[name-defined]  # known at run time only

    @property
    def shard_list(self) -> list[str]:
        """The path or URL of each shard, in order: brace notation expanded.

        Raises:
            LimitError: There are more than 100,000.
        """
        return list(self._shards.paths)

    @property
    def metadata(self) -> dict[str, Any] | None:
        """What lies at ``metadata_url``, fetched once; None where there is no such URL.

        Raises:
            NotFoundError: Nothing is there.
            ShardError: What is there is no msgpack map.
        """
        if self._metadata is None and self.metadata_url is not None:
            from atdata.storage.places import typed_place

            store, (path, *_) = typed_place(self.metadata_url)
            self._metadata = decode_msgpack(read_all(store, path, limit=_MAX_METADATA))
        return self._metadata

    @property
    def _shards(self) -> Shards:
        if self._opened is None:
            from atdata.storage.places import typed_place  # here, since importing atdata should cost little

            self._opened = Shards(*typed_place(self._url), typed=True)
        return self._opened

    @property
    def _view(self) -> View[T]:
        if self._seen_as is not None:
            return self._seen_as
        chosen: Any = self.sample_type if "__orig_class__" in vars(self) else dict
        return View(get_origin(chosen) or chosen, chosen)

    def __repr__(self) -> str:
        from atdata.redaction import redacted

        argument = vars(self).get("__orig_class__")
        sample_type = f"[{getattr(self.sample_type, '__name__', self.sample_type)}]" if argument is not None else ""
        facts = [f"{key}={value!r}" for key, value in (("name", self.name), ("uri", self.uri)) if value is not None]
        facts.append(f"url={redacted(self._url)!r}")
        try:
            shards = self._shards
        except (AtdataError, ValueError):
            pass  # a URL that cannot be opened can still be shown
        else:
            facts.append(f"shards={len(shards.paths)}")
            if (samples := shards.known_total()) is not None:
                facts.append(f"samples={samples}")
        return f"Dataset{sample_type}({', '.join(facts)})"

    def __iter__(self) -> Iterator[T]:
        """Samples in order; from where `load_state_dict` says, the first time after it."""
        return self._samples_from(self._begin())

    def _begin(self) -> Position:
        self._position, self._resume = self._resume or Position(), None
        return self._position

    def _samples_from(self, position: Position) -> Iterator[T]:
        view, shards = self._view, self._shards
        paths = shards.paths
        while position.shard < len(paths):
            for sample in view.samples(shards, paths[position.shard : position.shard + 1], start=position.sample):
                position.sample += 1
                yield sample
            position.next_shard()
        position.restart()

    def head(self, n: int = 5) -> list[T]:
        """The first ``n`` samples. Leaves `state_dict` as it is."""
        return list(islice(self._view.samples(self._shards, self._shards.paths), n))

    def batches(self, n: int, *, drop_last: bool = False) -> Iterator[Batch[T]]:
        """Batches of ``n`` samples in order, each field as one column.

        Arrays of equal shape are stacked to ``(n, *shape)``, numbers are 1-D arrays, the rest are lists. Begins where
        `load_state_dict` says, the first time after it.

        Args:
            n: Samples a batch; the last one has what is left.
            drop_last: Leave out a last batch of fewer than ``n``.

        Raises:
            ValueError: ``n`` is less than one.
            SchemaMismatchError: The dataset has no sample type, so there are no fields.
        """
        check_batch_size(n)
        return self._batches_from(self._begin(), n, drop_last)

    def _batches_from(self, position: Position, n: int, drop_last: bool) -> Iterator[Batch[T]]:
        shards = self._shards
        paths = shards.paths[position.shard :]
        for batch in self._view.batches(shards, paths, n, start=position.sample, drop_last=drop_last):
            position.sample += len(batch)
            yield batch
        position.restart()

    def ordered(self, batch_size: int | None = 1) -> Pipeline[Any]:
        """Samples in order, of the shards that fall to this loader worker; may be iterated again and again.

        Args:
            batch_size: Samples a batch, the last one of what is left; None gives samples, not batches.

        Returns:
            An iterable of `SampleBatch`, or of samples; torch's IterableDataset where torch is loaded.

        Raises:
            ValueError: ``batch_size`` is less than one.
        """
        return pipeline(self._place, in_order, batch_size=batch_size)

    def shuffled(
        self,
        buffer_shards: int = 100,
        buffer_samples: int = 10_000,
        batch_size: int | None = 1,
        *,
        seed: int | None = None,
    ) -> Pipeline[Any]:
        """Samples in random order, of the shards that fall to this loader worker; may be iterated again and again.

        Args:
            buffer_shards: Shards among which the next one is drawn.
            buffer_samples: Samples among which the next one is drawn; all of them are in memory.
            batch_size: Samples a batch, the last one of what is left; None gives samples, not batches.
            seed: Gives the same order each time; None another one each time.

        Returns:
            An iterable of `SampleBatch`, or of samples; torch's IterableDataset where torch is loaded.

        Raises:
            ValueError: ``batch_size`` is less than one.
        """
        order = partial(in_random_order, buffer_shards=buffer_shards, buffer_samples=buffer_samples, seed=seed)
        return pipeline(self._place, order, batch_size=batch_size)

    def _place(self) -> tuple[View[T], Shards]:
        return self._view, self._shards

    def __len__(self) -> int:
        """The number of samples, as the record or the indexes of local shards say it; else a TypeError."""
        total = self._shards.indexed_total()
        if total is None:
            raise TypeError("the number of samples is not known without reading the shards; dataset.count() reads them")
        return total

    def __bool__(self) -> bool:
        return True

    def count(self) -> int:
        """The number of samples; reads through the shards where there is no other way."""
        shards = self._shards
        return sum(shards.count(number) for number in range(len(shards.paths)))

    @overload
    def __getitem__(self, i: int) -> T: ...
    @overload
    def __getitem__(self, i: slice) -> list[T]: ...
    def __getitem__(self, i: int | slice) -> T | list[T]:
        """Sample ``i``, counted from the end where negative; a slice gives a list of samples, all in memory.

        Uses the index at the end of a shard; a shard without one is scanned, once.

        Raises:
            IndexError: There are not so many samples.
        """
        if isinstance(i, slice):
            return [self[number] for number in range(*i.indices(self.count()))]
        number, place = self._shards.locate(operator.index(i))
        view = self._view
        return view.seen(self._shards.access(number).sample(place, view.stored_type))

    def state_dict(self) -> dict[str, Any]:
        """Where the latest iteration in order stands, as a few numbers and the fingerprint of the dataset.

        That of `iter` or `batches` counts, whichever began last; one that came to its end is back at the start. Can be
        written as JSON.
        """
        self._shards.settle(self._position)
        return state_of(self._position, fingerprint=self._shards.fingerprint())

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Let the next iteration in order begin where the one that gave ``state`` stood.

        Raises:
            ValueError: It is the state of another dataset, or none at all.
        """
        shards = self._shards
        self._resume = position_in(state, fingerprint=shards.fingerprint(), shards=len(shards.paths))
        self._position = copy.copy(self._resume)

    def as_type(self, other: type[V]) -> "Dataset[V]":
        """The same samples as another type, by the lens that is registered from this type to the other.

        Raises:
            ValueError: None is registered.
        """
        lens = LensNetwork().transform(self.sample_type, other)
        dataset: Dataset[Any] = copy.copy(self)
        vars(dataset)["__orig_class__"] = Dataset[other]  # type: ignore[valid-type]  # known at run time only
        dataset._seen_as = self._view.through(other, lens)
        dataset._position, dataset._resume = Position(), None
        return dataset

    def to_parquet(
        self,
        path: Pathlike,
        sample_map: SampleExportMap | None = None,
        maxcount: int | None = None,
        **pandas_options: Any,
    ) -> None:
        """Write the samples as rows of Parquet files.

        Args:
            path: The file.
            sample_map: Makes the row of a sample, a dict; None takes all fields.
            maxcount: Most rows in one file: then they are named ``{stem}-000000{suffix}`` and so on. None writes one.
            pandas_options: Handed to `pandas.DataFrame.to_parquet`.

        Raises:
            ModuleNotFoundError: The extra is not installed.
        """
        from atdata.data.parquet import write_parquet

        samples = self._view.samples(self._shards, self._shards.paths)
        write_parquet(samples, Path(path), row=sample_map, maxcount=maxcount, options=pandas_options)

    def wrap(self, sample: MsgpackRawSample) -> T:
        """The sample in what webdataset reads: ``{"msgpack": bytes}``.

        Raises:
            AssertionError: There is no ``msgpack``, or it is not bytes.
        """
        data = sample.get("msgpack")
        if not isinstance(data, bytes):  # raised by hand, so that `python -O` does not take it away
            raise AssertionError(f"a sample of webdataset with 'msgpack' bytes is wanted, not {sorted(sample)}")
        return self._view.seen(unpack(self._view.stored_type, data))

    def wrap_batch(self, batch: WDSRawBatch) -> SampleBatch[T]:
        """The batch in what webdataset reads: ``{"msgpack": [bytes, ...]}``. Raises as `wrap` does."""
        if "msgpack" not in batch:
            raise AssertionError(f"a batch of webdataset with 'msgpack' is wanted, not {sorted(batch)}")
        return self.batch_type([self.wrap({"msgpack": data}) for data in batch["msgpack"]])


def open_dataset(
    sample_type: type[T],
    *,
    store: Store,
    paths: Sequence[str],
    shards: Sequence[Shard] | None,
    url: str,
    name: str | None = None,
    uri: str | None = None,
    record: Any = None,
) -> Dataset[T]:
    """The dataset whose place is known already, as the loader finds it in a record. Nothing is opened.

    Args:
        sample_type: A dataclass, or `dict`.
        store: Reads the shards.
        paths: Where they lie in ``store``, in order.
        shards: What the record says of each, if it does.
        url: What `Dataset.url` shows.
        name: Name that the record gives it.
        uri: AT-URI of the record.
        record: The record itself.

    Raises:
        ValueError: ``shards`` and ``paths`` differ in number.
    """
    dataset: Dataset[T] = Dataset(url)
    vars(dataset)["__orig_class__"] = Dataset[sample_type]  # type: ignore[valid-type]  # known at run time only
    dataset._opened = Shards(store, paths, shards)
    dataset.name, dataset.uri, dataset.record = name, uri, record
    return dataset
