"""`Dataset`: a typed view of shards, wherever they lie, and the import path of sample types.

A dataset is made of a URL that the caller types, or by the loader of a record (`open_dataset`). It holds nothing open
and does no I/O before it is asked for samples. The work is done by the parts in `atdata.data`, which are imported when
they are first used, since importing atdata should cost little: reading in order (`iteration`), other orders
(`pipeline`), samples by number (`take`, `selection`), what is known of the shards (`shards`), types (`sample`).
"""

import copy
import operator
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, get_origin, overload

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
from atdata.errors import AtdataError
from atdata.lens import LensNetwork

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from atdata.data.batches import Batch
    from atdata.data.iteration import Iterations
    from atdata.data.pipeline import Pipeline
    from atdata.data.ranks import Split
    from atdata.data.selection import Selection
    from atdata.data.shards import Shards
    from atdata.data.view import View
    from atdata.storage.base import Shard, Store

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
        self._opened: Selection | None = None
        self._split: Split | None = None
        self._iterations: Iterations | None = None

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
            from atdata.data.codec import decode_msgpack
            from atdata.storage.base import read_all
            from atdata.storage.places import typed_place

            store, (path, *_) = typed_place(self.metadata_url)
            self._metadata = decode_msgpack(read_all(store, path, limit=_MAX_METADATA))
        return self._metadata

    @property
    def _selection(self) -> "Selection":
        if self._opened is None:
            from atdata.data.selection import Selection
            from atdata.data.shards import Shards
            from atdata.storage.places import typed_place

            self._opened = Selection(Shards(*typed_place(self._url), typed=True))
        return self._opened

    @property
    def _shards(self) -> "Shards":
        return self._selection.shards

    @property
    def _view(self) -> "View[T]":
        if self._seen_as is not None:
            return self._seen_as
        from atdata.data.view import View

        chosen: Any = self.sample_type if "__orig_class__" in vars(self) else dict
        self._seen_as = View(get_origin(chosen) or chosen, chosen)
        return self._seen_as

    def _place(self) -> "tuple[View[T], Selection]":
        return self._view, self._selection

    @property
    def _in_order(self) -> "Iterations":
        if self._iterations is None:
            from atdata.data.iteration import AllIteration, ChosenIteration
            from atdata.data.plan import Recipe

            if self._split is None and self._selection.chosen is None:
                self._iterations = AllIteration(self._place)
            else:
                self._iterations = ChosenIteration(Recipe(self._place, shuffled=False, split=self._split))
        return self._iterations

    def _changed(self, **changes: Any) -> "Dataset[Any]":
        """The same dataset but for some attributes, at the start of its iteration."""
        dataset: Dataset[Any] = copy.copy(self)
        vars(dataset).update(changes, _iterations=None)
        return dataset

    def __repr__(self) -> str:
        from atdata.redaction import redacted

        argument = vars(self).get("__orig_class__")
        sample_type = f"[{getattr(self.sample_type, '__name__', self.sample_type)}]" if argument is not None else ""
        facts = [f"{key}={value!r}" for key, value in (("name", self.name), ("uri", self.uri)) if value is not None]
        facts.append(f"url={redacted(self._url)!r}")
        try:
            selection = self._selection
        except (AtdataError, ValueError):
            pass  # a URL that cannot be opened can still be shown
        else:
            facts.append(f"shards={len(selection.shards.paths)}")
            chosen = selection.chosen
            if (samples := selection.shards.known_total() if chosen is None else len(chosen)) is not None:
                facts.append(f"samples={samples}")
            if self._split is not None:
                facts.append(f"rank={self._split.rank} of {self._split.world}")
        return f"Dataset{sample_type}({', '.join(facts)})"

    def __iter__(self) -> Iterator[T]:
        """Samples in order; from where `load_state_dict` says, the first time after it."""
        return self._in_order.samples()

    def head(self, n: int = 5) -> list[T]:
        """The first ``n`` samples. Leaves `state_dict` as it is."""
        if self._split is None and self._selection.chosen is None:
            return list(islice(self._view.samples(self._shards, self._shards.paths), n))
        return list(islice(self.ordered(None), n))

    def batches(self, n: int, *, drop_last: bool = False) -> "Iterator[Batch[T]]":
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
        from atdata.data.order import check_batch_size

        check_batch_size(n)
        return self._in_order.batches(n, drop_last=drop_last)

    def ordered(self, batch_size: int | None = 1) -> "Pipeline[Any]":
        """Samples in order, of the shards that fall to this loader worker; may be iterated again and again.

        Of a part that `split_by_rank` gave, loader workers take batches in turn, not shards.

        Args:
            batch_size: Samples a batch, the last one of what is left; None gives samples, not batches.

        Returns:
            An iterable of `SampleBatch`, or of samples; torch's IterableDataset where torch is loaded.

        Raises:
            ValueError: ``batch_size`` is less than one.
        """
        return self._pipeline(shuffled=False, batch_size=batch_size)

    def shuffled(
        self,
        buffer_shards: int = 100,
        buffer_samples: int = 10_000,
        batch_size: int | None = 1,
        *,
        seed: int | None = None,
        window: int | None = None,
    ) -> "Pipeline[Any]":
        """Samples in random order, of which this loader worker takes its part; may be iterated again and again.

        Where every shard has an index, the order is one permutation of all samples for local shards, and one of
        windows for others; it depends on the seed, the epoch and the shards, not on ranks and workers. Shards of which
        nobody knows how many samples they hold go through a buffer. ``docs/order.md`` has the details.

        Args:
            buffer_shards: Shards that are read at a time through the buffer, at most 24.
            buffer_samples: Samples in the buffer; all of them are in memory.
            batch_size: Samples a batch, the last one of what is left; None gives samples, not batches.
            seed: Gives the same order each time (`Pipeline.set_epoch` another one); None draws one each time.
            window: Bytes of a window, which are in memory, twice where the next one is being fetched; also for local
                shards. None: all of local shards at once, 64 MiB of others.

        Returns:
            An iterable of `SampleBatch`, or of samples; torch's IterableDataset where torch is loaded.

        Raises:
            ValueError: ``batch_size`` is less than one.
        """
        return self._pipeline(
            shuffled=True,
            batch_size=batch_size,
            seed=seed,
            window=window,
            buffer_shards=buffer_shards,
            buffer_samples=buffer_samples,
        )

    def _pipeline(self, *, batch_size: int | None, **choices: Any) -> "Pipeline[Any]":
        from atdata.data.pipeline import Pipeline
        from atdata.data.plan import Recipe

        return Pipeline(Recipe(self._place, batch_size=batch_size, split=self._split, **choices))

    def split_by_rank(
        self, rank: int | None = None, world: int | None = None, *, uneven: Literal["drop", "pad"] = "drop"
    ) -> "Dataset[T]":
        """The part of one rank of a training job: as many samples as every other rank has, and none that another has.

        Iterating, `batches`, `ordered`, `shuffled` and ``len`` are those of the part; samples by number stay those of
        the whole. The workers of a DataLoader share the part. A state is that of all ranks together, and goes on with
        any other number of them.

        Args:
            rank: Number of the rank. None asks torch.distributed, Ray Train, or the environment (``RANK`` and
                ``WORLD_SIZE``, ``SLURM_PROCID`` and ``SLURM_NTASKS``).
            world: Number of ranks.
            uneven: ``drop`` leaves the last samples of an order out that do not go evenly into the ranks, ``pad`` gives
                its first ones once more.

        Raises:
            ValueError: There is no such rank.
        """
        from atdata.data.ranks import split_of

        return self._changed(_split=split_of(rank, world, uneven))

    def select(self, chosen: "range | slice | Iterable[int] | NDArray[np.integer[Any]]") -> "Dataset[T]":
        """A dataset of some of these samples, in the order given. None of them is read.

        Args:
            chosen: Numbers of samples, counted from the end where negative; a range or slice takes no memory.

        Raises:
            IndexError: One is not there.
        """
        return self._changed(_opened=self._selection.select(chosen))

    def take(self, ids: "Iterable[int] | NDArray[np.integer[Any]]") -> list[T]:
        """Some samples by their numbers, read together, in the order given; all of them are in memory.

        Args:
            ids: Numbers of samples, counted from the end where negative.

        Raises:
            IndexError: One is not there.
        """
        from atdata.data.selection import numbers_in

        selection = self._selection
        return self._view.taken(selection.shards, selection.stored(numbers_in(ids)))

    def __len__(self) -> int:
        """The number of samples, as the record or the indexes of local shards say it; else a TypeError."""
        total = self._selection.known_total()
        if total is None:
            raise TypeError("the number of samples is not known without reading the shards; dataset.count() reads them")
        return total if self._split is None else self._split.share(total)

    def __bool__(self) -> bool:
        return True

    def count(self) -> int:
        """The number of samples; reads through the shards where there is no other way."""
        total = self._selection.total()
        return total if self._split is None else self._split.share(total)

    @overload
    def __getitem__(self, i: int) -> T: ...
    @overload
    def __getitem__(self, i: "slice | Sequence[int] | NDArray[np.integer[Any]]") -> list[T]: ...
    def __getitem__(self, i: "int | slice | Sequence[int] | NDArray[np.integer[Any]]") -> T | list[T]:
        """Sample ``i``, counted from the end where negative; a slice or several numbers give a list, as `take` does.

        Uses the index at the end of a shard; a shard without one is scanned, once.

        Raises:
            IndexError: There are not so many samples.
        """
        selection = self._selection
        if isinstance(i, slice):
            return self.take(range(*i.indices(selection.total())))
        try:
            number, place = selection.locate(operator.index(i))  # type: ignore[arg-type]  # else a TypeError
        except TypeError:
            if isinstance(i, str | bytes) or not isinstance(i, Iterable):
                raise TypeError(f"samples have numbers; {i!r} is none") from None
            return self.take(i)
        view = self._view
        return view.seen(selection.shards.access(number).sample(place, view.stored_type))

    def state_dict(self) -> dict[str, Any]:
        """Where the latest iteration in order stands, as a few numbers and the fingerprint of the dataset.

        That of `iter` or `batches` counts, whichever began last; one that came to its end is back at the start. Can be
        written as JSON. What `ordered` and `shuffled` return has a state of its own.
        """
        return self._in_order.state()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Let the next iteration in order begin where the one that gave ``state`` stood.

        Raises:
            ValueError: It is the state of another dataset, or none at all.
        """
        self._in_order.load(state)

    def as_type(self, other: type[V]) -> "Dataset[V]":
        """The same samples as another type, by the lens that is registered from this type to the other.

        Raises:
            ValueError: None is registered.
        """
        lens = LensNetwork().transform(self.sample_type, other)
        seen_as = self._view.through(other, lens)
        return self._changed(__orig_class__=Dataset[other], _seen_as=seen_as)  # type: ignore[valid-type]  # at run time

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

        write_parquet(self.ordered(None), Path(path), row=sample_map, maxcount=maxcount, options=pandas_options)

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
    store: "Store",
    paths: Sequence[str],
    shards: "Sequence[Shard] | None",
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
    from atdata.data.selection import Selection
    from atdata.data.shards import Shards

    dataset: Dataset[T] = Dataset(url)
    vars(dataset)["__orig_class__"] = Dataset[sample_type]  # type: ignore[valid-type]  # known at run time only
    dataset._opened = Selection(Shards(store, paths, shards))
    dataset.name, dataset.uri, dataset.record = name, uri, record
    return dataset
