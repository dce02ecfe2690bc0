"""Batches: consecutive samples with their fields as columns.

Columns come from `atdata.data.reader.read_columns` as the blocks have them; here they are put together to batches of
the size asked for. An array of a batch is its own: contiguous, writable, and no view on a block.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Generic, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from atdata.data.buffers import Buffers
from atdata.data.columns import Column, rows_of
from atdata.data.fields import Field, fields_of
from atdata.data.reader import constructor, read_columns
from atdata.errors import SchemaMismatchError
from atdata.storage.base import Store

T = TypeVar("T")

_DTYPES: Mapping[str, type[np.generic]] = {"integer": np.int64, "float": np.float64, "boolean": np.bool_}
_NUMBERS: Mapping[str, set[type]] = {"integer": {int}, "float": {float, int}, "boolean": {bool}}  # what each may hold
_NUMPY_KINDS: Mapping[str, str] = {"integer": "iu", "float": "fiu", "boolean": "b"}
_POOLED = 1 << 20  # bytes from which on memory is used again: small arrays come fast from anywhere
_IMAGES_AND_ARRAYS = frozenset(("ndarray", "image"))
_STACKED = _IMAGES_AND_ARRAYS.union(_DTYPES)  # kinds whose values become one array


class Batch(Generic[T]):
    """Consecutive samples of one type, field by field: ``batch.image`` or ``batch["image"]``.

    An array field is one array of shape ``(samples, *shape)``, or a list of arrays where they differ in shape or dtype
    or one is None. Integers are int64, floats float64, booleans bool, each of shape ``(samples,)``; where one is None,
    or beyond 64 bits, they are a list, as all other fields are. ``dict(batch)`` is the columns by name.

    Attributes:
        fields: Names of the fields, in declared order. A field that is itself called ``fields``, ``keys``, ``samples``,
            ``lengths`` or ``sample_type`` is reached by ``batch["fields"]`` alone.
        sample_type: Type of the samples.
        lengths: Where batches are padded: of each array field, how long each array was along its first axis.
            Shape ``(samples,)``, int64, by name.
    """

    def __init__(
        self,
        sample_type: type[T],
        columns: Mapping[str, Column],
        lengths: Mapping[str, NDArray[np.int64]] = MappingProxyType({}),
    ) -> None:
        self.sample_type = sample_type
        self.lengths = dict(lengths)
        self._columns = dict(columns)

    @property
    def fields(self) -> tuple[str, ...]:
        """Names of the fields, in declared order."""
        return tuple(self._columns)

    def keys(self) -> tuple[str, ...]:
        """The same as `fields`, for ``dict(batch)``."""
        return self.fields

    def samples(self) -> list[T]:
        """The samples one by one; their arrays are views on the batch."""
        return list(map(constructor(self.sample_type), *map(rows_of, self._columns.values())))

    def __len__(self) -> int:
        return len(next(iter(self._columns.values())))

    def __getitem__(self, field: str) -> Any:
        return self._columns[field]

    def __getattr__(self, name: str) -> Any:
        try:
            return self.__dict__["_columns"][name]  # by __dict__: while it is unpickled there may be none
        except KeyError:
            raise AttributeError(f"{type(self).__name__} has no field {name!r}") from None

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={_shape(column)}" for name, column in self._columns.items())
        return f"<{type(self).__name__} of {len(self)} {self.sample_type.__qualname__}: {shown}>"


def _shape(column: Column) -> str:
    return "list" if isinstance(column, list) else f"{column.dtype}{list(column.shape)}"


def read_batches(
    store: Store,
    paths: Sequence[str],
    sample_type: type[T],
    size: int,
    *,
    drop_last: bool = False,
    start: int = 0,
    pad: float | None = None,
) -> Iterator[Batch[T]]:
    """Read the samples of some shards in order, ``size`` at a time.

    A batch goes over the ends of shards. Memory is a few blocks and one batch.

    Args:
        store: Where the shards are.
        paths: The shards, in order.
        sample_type: A dataclass.
        size: Samples of a batch, at least 1.
        drop_last: Leave out a last batch of fewer samples.
        start: How many samples at the front of the first shard are passed over.
        pad: What fills up arrays of unequal shape to the largest of the batch, so that they become one array too;
            `Batch.lengths` says how long each was. None leaves a list of arrays.

    Raises:
        ValueError: ``size`` is less than 1.
        SchemaMismatchError: ``sample_type`` is `dict`, which has no columns; or as `atdata.data.reader.read_samples`
            raises it, as all of its other errors.
    """
    if size < 1:
        raise ValueError(f"a batch has at least one sample, not {size}")
    if sample_type is dict:
        raise SchemaMismatchError("batches need a sample type, whose fields become columns; dict has none")
    return _batches(store, paths, sample_type, size, drop_last=drop_last, start=start, pad=pad)


def _batches(
    store: Store,
    paths: Sequence[str],
    sample_type: type[T],
    size: int,
    *,
    drop_last: bool,
    start: int,
    pad: float | None,
) -> Iterator[Batch[T]]:
    fields = fields_of(cast(type, sample_type))
    building = [_Builder(field, size) for field in fields]
    filled = 0

    def finish() -> Batch[T]:
        columns = {field.name: builder.finish() for field, builder in zip(fields, building, strict=True)}
        return Batch(sample_type, columns) if pad is None else _padded(Batch(sample_type, columns), fields, pad)

    for columns in read_columns(store, paths, sample_type, start=start):
        taken, count = 0, len(columns[0])
        while taken < count:
            more = min(size - filled, count - taken)
            for builder, column in zip(building, columns, strict=True):
                builder.add(column[taken : taken + more])
            taken += more
            filled += more
            if filled == size:
                yield finish()
                filled = 0
    if filled and not drop_last:
        yield finish()


def batch_of(sample_type: type[T], samples: Sequence[T]) -> Batch[T]:
    """The batch of samples that are there already, as those are that a lens has made."""
    columns = {}
    for field in fields_of(cast(type, sample_type)):
        builder = _Builder(field, len(samples))
        builder.add([getattr(sample, field.name) for sample in samples])
        columns[field.name] = builder.finish()
    return Batch(sample_type, columns)


def _padded(batch: Batch[T], fields: Sequence[Field], pad: float) -> Batch[T]:
    """The batch with arrays of unequal shape as one array each; those that differ in dtype or axes stay a list."""
    columns = {name: batch[name] for name in batch.fields}
    lengths = {}
    for field in fields:
        column = columns[field.name]
        if field.kind in _IMAGES_AND_ARRAYS:
            if isinstance(column, list) and _can_be_padded(column):
                lengths[field.name] = np.array([len(value) for value in column], np.int64)
                columns[field.name] = _fill_up(column, pad)
            elif not isinstance(column, list) and column.ndim > 1:
                lengths[field.name] = np.full(len(column), column.shape[1], np.int64)
    return Batch(batch.sample_type, columns, lengths)


def _can_be_padded(column: list[Any]) -> bool:
    first = column[0]
    return (
        all(isinstance(value, np.ndarray) for value in column)
        and first.ndim > 0
        and all(value.ndim == first.ndim and value.dtype == first.dtype for value in column)
    )


def _fill_up(column: list[NDArray[Any]], pad: float) -> NDArray[Any]:
    shape = tuple(map(max, zip(*(value.shape for value in column), strict=True)))
    padded = np.full((len(column), *shape), pad, column[0].dtype.newbyteorder("="))
    if len(shape) == 1:
        for row, value in zip(padded, column, strict=True):
            row[: len(value)] = value
    else:
        for row, value in zip(padded, column, strict=True):
            row[tuple(map(slice, value.shape))] = value
    return padded


class _Builder:
    """One field of the batch that is being filled: an array for as long as all values fit into it, else a list."""

    def __init__(self, field: Field, size: int) -> None:
        self._kind = field.kind
        self._size = size
        self._buffers = Buffers()
        self._start()

    def _start(self) -> None:
        self._array: NDArray[Any] | None = None
        self._list: list[Any] | None = None if self._kind in _STACKED else []
        self._filled = 0

    def add(self, column: Column) -> None:
        """Append some values."""
        if self._list is None and not self._stack(column):
            self._list = [] if self._array is None else rows_of(self._array[: self._filled])
        if self._list is not None:
            self._list += rows_of(column)
        self._filled += len(column)

    def finish(self) -> Column:
        """The column; the next value begins another one."""
        if self._list is not None:
            column: Column = self._list
        else:
            column = self._array[: self._filled] if self._array is not None else []
        self._start()
        return column

    def _empty(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
        size = dtype.itemsize * math.prod(shape)
        if size < _POOLED:
            return np.empty(shape, dtype)
        return self._buffers.take(size).view(dtype).reshape(shape)

    def _stack(self, column: Column) -> bool:
        """Put the values into the array, which the first ones decide; False when they do not fit."""
        values = _numbers(self._kind, column) if self._kind in _DTYPES else _arrays(column)
        if values is None:
            return False
        dtype, shape = values[0].dtype, values[0].shape
        if self._array is None:
            self._array = self._empty((self._size, *shape), dtype.newbyteorder("="))
        elif self._array.shape[1:] != shape or self._array.dtype != dtype.newbyteorder("="):
            return False
        if isinstance(values, list):
            for place, value in enumerate(values, self._filled):
                self._array[place] = value
        else:
            self._array[self._filled : self._filled + len(values)] = values
        return True


def _numbers(kind: str, column: Column) -> NDArray[Any] | None:
    """The values as one array of the dtype for their kind, or None when it does not hold all of them."""
    if isinstance(column, list):
        if not set(map(type, column)) <= _NUMBERS[kind]:
            return None
        try:
            return np.array(column, _DTYPES[kind])
        except OverflowError:
            return None
    if column.ndim != 1 or column.dtype.kind not in _NUMPY_KINDS[kind]:
        return None
    if column.dtype == np.uint64 and kind == "integer" and column.max() > np.iinfo(np.int64).max:
        return None
    return column.astype(_DTYPES[kind], copy=False)


def _arrays(column: Column) -> NDArray[Any] | list[NDArray[Any]] | None:
    """The values when all of them are arrays of one shape and dtype."""
    if not isinstance(column, list):
        return column if column.ndim > 1 else None
    if not all(isinstance(value, np.ndarray) for value in column):
        return None
    first = column[0]
    return column if all(value.shape == first.shape and value.dtype == first.dtype for value in column) else None
