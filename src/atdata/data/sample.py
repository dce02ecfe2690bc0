"""Sample types that pack themselves, and batches of samples: `PackableSample`, `packable`, `SampleBatch`.

Their import path is `atdata.dataset`. A plain dataclass is a sample type as well and needs nothing of this module; what
the fields of either are is `atdata.data.fields`, their bytes are `atdata.data.codec`, which is imported when the first
sample is packed, so that importing atdata costs little.
"""

import dataclasses
import functools
import inspect
import types
import typing
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Generic, Self, TypeAlias, TypeVar, dataclass_transform

import numpy as np

from atdata.data.fields import Field, fields_of

T = TypeVar("T")

Pathlike: TypeAlias = str | Path
MsgpackRawSample: TypeAlias = dict[str, Any]
WDSRawSample: TypeAlias = dict[str, Any]
WDSRawBatch: TypeAlias = dict[str, Any]
SampleExportRow: TypeAlias = dict[str, Any]
SampleExportMap: TypeAlias = Callable[[Any], SampleExportRow]


def _fields(cls: type) -> tuple[Field, ...]:
    """The fields of a sample type; none is fine here, since such samples can be made and packed."""
    return fields_of(cls) if dataclasses.fields(cls) else ()


@functools.lru_cache(maxsize=1024)  # asked for by each sample that is made
def _array_names(cls: type) -> tuple[str, ...]:
    return tuple(field.name for field in _fields(cls) if field.kind == "ndarray")


@dataclasses.dataclass
class PackableSample:
    """Base of sample types that turn themselves into msgpack and back.

    Use it by `packable`, or inherit from it and decorate the class with ``@dataclass``. Fields annotated as arrays take
    arrays, and the bytes of arrays, which are decoded; any other value is kept as it is.
    """

    def _ensure_good(self) -> None:
        for name in _array_names(type(self)):  # type: ignore[arg-type]  # a class can be hashed, if not its instances
            if isinstance(value := getattr(self, name), bytes):
                from atdata.data.npy import decode_array

                setattr(self, name, decode_array(value).copy(order="K"))

    def __post_init__(self) -> None:
        self._ensure_good()

    @classmethod
    def from_data(cls, data: MsgpackRawSample) -> Self:
        """The sample with these values, by name. Bytes of arrays are decoded, into arrays that can be written to.

        Raises:
            TypeError: A field is missing, or a name is not one of a field.
        """
        sample = cls(**data)
        sample._ensure_good()  # once more for classes with a __post_init__ of their own
        return sample

    @classmethod
    def from_bytes(cls, bs: bytes) -> Self:
        """The sample that was packed as ``bs``.

        Raises:
            ShardError: The bytes are no msgpack map (a ValueError).
            TypeError: A field is missing, or a name is not one of a field.
        """
        from atdata.data.codec import decode_msgpack

        return cls.from_data(decode_msgpack(bs))

    @property
    def packed(self) -> bytes:
        """The sample as a msgpack map, fields in declared order, then other attributes of the instance.

        Raises:
            SchemaMismatchError: A value has no msgpack form (a TypeError).
        """
        from atdata.data.codec import encode_msgpack

        return b"".join(encode_msgpack(vars(self), _fields(type(self))))

    @property
    def as_wds(self) -> WDSRawSample:
        """The sample as webdataset's writers take it, under a new key each time: ``{"__key__", "msgpack"}``."""
        import uuid

        return {"__key__": str(uuid.uuid1(0, 0)), "msgpack": self.packed}


@dataclass_transform()
def packable(cls: type[T]) -> type[T]:
    """Make a class with annotations a dataclass whose samples pack themselves; for use as a decorator.

    The result is a dataclass, a subclass of ``cls`` and of `PackableSample`, with the name, module and docstring of
    ``cls``. A ``__post_init__`` of ``cls`` runs once arrays have been decoded.

    Example:
        >>> @packable
        ... class Word:
        ...     text: str
        ...     count: int = 1
        >>> Word.from_bytes(Word("hello").packed)
        Word(text='hello', count=1)
    """
    base = dataclasses.dataclass(cls)
    namespace: dict[str, Any] = {name: getattr(cls, name) for name in ("__module__", "__qualname__", "__doc__")}
    own = getattr(base, "__post_init__", None)
    if own not in (None, PackableSample.__post_init__):

        def __post_init__(self: PackableSample, *init_vars: Any) -> None:  # noqa: N807 - the name that dataclass calls
            self._ensure_good()
            own(self, *init_vars)

        namespace["__post_init__"] = __post_init__
    made = types.new_class(cls.__name__, (base, PackableSample), exec_body=lambda body: body.update(namespace))
    dataclasses.dataclass(made, repr=False, eq=False)  # those of `cls` are inherited, its own ones first
    # After the decorator: it would take these for new fields, and miss the defaults that come from factories.
    made.__annotations__ = inspect.get_annotations(cls)
    return made


def _batch_aggregate(xs: Sequence[Any]) -> Any:
    """One value of a batch: arrays stacked along a new first axis, anything else as a list."""
    if not xs:
        return []
    return np.stack(list(xs)) if isinstance(xs[0], np.ndarray) else list(xs)


class SampleBatch(Generic[T]):
    """Samples in a row, whose fields are read together: ``batch.image`` has the images of all of them.

    An attribute that the sample type itself annotates gives the arrays of all samples stacked, of shape
    ``(len(samples), *shape)``, or a list of other values; the same object each time.

    Attributes:
        samples: The samples, as a list.

    Raises:
        AttributeError: On access, when the sample type does not annotate the name itself.
        ValueError: On access, when arrays differ in shape.
    """

    def __init__(self, samples: Sequence[T]) -> None:
        self.samples = list(samples)
        self._aggregate_cache: dict[str, Any] = {}

    @property
    def sample_type(self) -> type[T]:
        """The ``T`` of ``SampleBatch[T]``."""
        argument: type[T] = type_argument(self)
        return argument

    def __getattr__(self, name: str) -> Any:
        # Dunders are asked for by copy and pickle before there is anything else.
        if name.startswith("__") or name not in inspect.get_annotations(type_argument(self)):
            raise AttributeError(f"No sample attribute named {name}")
        if name not in self._aggregate_cache:
            self._aggregate_cache[name] = _batch_aggregate([getattr(sample, name) for sample in self.samples])
        return self._aggregate_cache[name]

    def __repr__(self) -> str:
        name = type(self).__qualname__
        argument = vars(self).get("__orig_class__")
        brackets = f"[{typing.get_args(argument)[0].__name__}]" if argument is not None else ""
        return f"{name}{brackets}({len(self.samples):,} samples)"


def unpack(sample_type: type, data: bytes) -> Any:
    """The sample of any type, packable, plain dataclass or `dict`, in the data of a ``.msgpack`` member.

    Raises:
        ShardError: The bytes are no msgpack map.
        TypeError: A field is missing, or a name is not one of a field.
    """
    from atdata.data.codec import decode_msgpack

    if issubclass(sample_type, PackableSample):
        return sample_type.from_bytes(data)
    if sample_type is dict:
        return decode_msgpack(data)
    values = decode_msgpack(data, fields_of(sample_type))  # type: ignore[arg-type]  # as above
    return sample_type(
        **{name: value.copy(order="K") if isinstance(value, np.ndarray) else value for name, value in values.items()}
    )


def type_argument(instance: Any) -> Any:
    """The ``T`` that stood in the brackets when ``instance`` was made.

    Raises:
        AttributeError: There were no brackets, as in ``Dataset(url)``.
    """
    try:
        (argument,) = typing.get_args(vars(instance)["__orig_class__"])
    except KeyError:
        name = type(instance).__qualname__
        raise AttributeError(
            f"no __orig_class__: write {name}[SampleType](...), to say the type of the samples"
        ) from None
    return argument
