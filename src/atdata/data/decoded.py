"""What a decoder makes of a block: the samples of it, field by field or one by one.

The forms that both decoders share, `atdata.data.decoders` for samples of one ``.msgpack`` member and
`atdata.data.member_decoder` for samples of several members. Both hand out arrays that are writable, aligned and share
no bytes.
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol, TypeVar

from numpy.typing import NDArray

from atdata.data.blocks import Block
from atdata.data.columns import Column, rows_of
from atdata.errors import AtdataError

S = TypeVar("S")


class Decoded:
    """What a decoder makes of the samples of a block, up to the first that does not decode.

    Args:
        columns: The fields in declared order, one column each; or
        rows: The samples one by one, each with its values in that order.
        error: Why the sample after them does not decode; None when all do.
    """

    def __init__(
        self,
        columns: list[Column] | None = None,
        *,
        rows: list[tuple[Any, ...]] | None = None,
        error: AtdataError | None = None,
    ) -> None:
        self._columns = columns
        self._rows = rows
        self.error = error

    def __len__(self) -> int:
        return len(self._rows or []) if self._columns is None else len(self._columns[0])

    @property
    def columns(self) -> list[Column]:
        """The fields in declared order."""
        return transposed(self._rows or []) if self._columns is None else self._columns

    def rows(self) -> Iterable[tuple[Any, ...]]:
        """The values of each sample, in the order of the fields."""
        return zip(*map(rows_of, self._columns or []), strict=True) if self._rows is None else self._rows


class Decoder(Protocol):
    """Reads the samples of one type."""

    def count(self, block: Block) -> int:
        """The number of samples of a block."""
        ...

    def decode(self, block: Block, skip: int = 0, *, one_by_one: bool = False) -> Decoded:
        """The samples of a block but the first ``skip``.

        Args:
            one_by_one: The caller wants the samples and not columns; the result is the same, the faster way another.
        """
        ...


def defaults_of(sample_type: type) -> Mapping[str, Callable[[], Any]]:
    """What makes the value of a field that a sample lacks."""
    made: dict[str, Callable[[], Any]] = {}
    for field in dataclasses.fields(sample_type):
        if field.default_factory is not dataclasses.MISSING:
            made[field.name] = field.default_factory
        elif field.default is not dataclasses.MISSING:
            made[field.name] = lambda value=field.default: value  # type: ignore[misc]  # binds the value of now
    return made


def own_array(array: NDArray[Any]) -> NDArray[Any]:
    """The array itself, or a copy when it is read-only or not aligned."""
    return array if array.flags.behaved else array.copy("K")


def until_error(
    decode: Callable[[S], tuple[Any, ...]], samples: Iterable[S]
) -> tuple[list[tuple[Any, ...]], AtdataError | None]:
    """The values of the samples up to the first that does not decode, and its error."""
    rows = []
    for sample in samples:
        try:
            rows.append(decode(sample))
        except AtdataError as error:
            return rows, error
    return rows, None


def transposed(rows: list[tuple[Any, ...]]) -> list[Column]:
    return [list(column) for column in zip(*rows, strict=True)]
