"""Samples as lines of text: a name and a value for each field, arrays as pictures or figures.

Samples come from strangers: every text passes through `safe`. Pure functions; nothing here prints.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from atdata.cli.pictures import as_image, picture
from atdata.cli.terminal import Style, safe, shorten, size_of, wrap
from atdata.data.npy import MAGIC, decode_array
from atdata.errors import ShardError

TEXT_LINES = 6  # most lines of one text
FEW_VALUES = 6  # values of an array that are shown
_MOST_FIELDS = 50


def sample_lines(sample: object, *, style: Style) -> list[str]:
    """A sample, a field after the other: the name, then the value in lines below each other."""
    values = list(fields_of_sample(sample).items())
    names = [shorten(safe(name), 24) for name, _ in values[:_MOST_FIELDS]]
    indent = max((len(name) for name in names), default=0) + 2
    lines: list[str] = []
    for name, (_, value) in zip(names, values, strict=False):
        shown = value_lines(value, style=style, width=max(20, style.width - indent - 2))
        lines.append(f"  {name.ljust(indent)}{shown[0]}".rstrip())
        lines += [f"  {' ' * indent}{line}".rstrip() for line in shown[1:]]
    if len(values) > _MOST_FIELDS:
        lines.append(f"  … and {len(values) - _MOST_FIELDS:,} more fields")
    return lines


def fields_of_sample(sample: object) -> dict[str, Any]:
    """Names and values of a sample: of a dataclass, or of the dictionary that an untyped one is.

    The fields of an untyped ``.msgpack`` member are told one by one, and its arrays, which are bytes there, as arrays.
    """
    if isinstance(sample, Mapping):
        packed = sample.get("msgpack")
        if not isinstance(packed, Mapping):
            return dict(sample)
        rest = {name: value for name, value in sample.items() if name != "msgpack"}
        return rest | {str(name): _array_or_value(value) for name, value in packed.items()}
    if is_dataclass(sample):
        return {field.name: getattr(sample, field.name) for field in fields(sample)}
    raise TypeError(f"a sample is a dataclass or a dictionary, not {type(sample).__name__}")


def _array_or_value(value: object) -> object:
    if not isinstance(value, bytes | memoryview) or bytes(value[:6]) != MAGIC:
        return value
    try:
        return decode_array(value)
    except ShardError:
        return value  # bytes that look like an array and are none, or one of objects, are shown as bytes


def value_lines(value: object, *, style: Style, width: int) -> list[str]:
    """One value of a sample, in lines of at most about ``width`` characters."""
    if isinstance(value, np.ndarray):
        image = as_image(value)
        lines = [shorten(describe_array(value), width)]
        return lines if image is None else [*lines, *picture(image, style=style, columns=min(32, width))]
    if isinstance(value, str):
        return wrap(value, width=width, lines=TEXT_LINES)
    if isinstance(value, bytes | bytearray | memoryview):
        return [shorten(_describe_bytes(bytes(value)), width)]
    if isinstance(value, float):
        return [f"{value:.6g}"]
    if value is None or isinstance(value, bool | int | np.generic):
        return [shorten(safe(str(value)), width)]
    return wrap(json.dumps(to_json(value), ensure_ascii=False), width=width, lines=TEXT_LINES)


def _describe_bytes(value: bytes) -> str:
    return f"{size_of(len(value))}: {value[:16].hex(' ')}" + (" …" if len(value) > 16 else "")


def describe_array(array: NDArray[Any]) -> str:
    """The dtype, the shape, and for numbers the least, mean and greatest value and the first few."""
    head = f"{array.dtype} {'x'.join(str(length) for length in array.shape) or 'scalar'}"
    if array.size == 0:
        return f"{head}, empty"
    first = _first_values(array)
    if array.dtype.kind not in "iufb":
        return f"{head}: {first}"
    if array.size == 1:
        return f"{head}: {_number(array.flat[0])}"
    # NaN and infinity are data, not mistakes of ours: numpy's warnings about them are not for the user.
    with np.errstate(all="ignore"):
        low, mean, high = array.min(), array.mean(dtype=np.float64), array.max()
    return f"{head}, {_number(low)} to {_number(high)}, mean {_number(mean)}: {first}"


def _first_values(array: NDArray[Any]) -> str:
    few = [array.flat[position] for position in range(min(FEW_VALUES, array.size))]
    return " ".join(_number(value) for value in few) + (" …" if array.size > FEW_VALUES else "")


def _number(value: Any) -> str:
    if isinstance(value, np.floating | float):
        return f"{float(value):.4g}"
    return shorten(safe(str(value)), 40)


def to_json(value: object) -> Any:
    """A value of a sample as JSON: arrays as dtype, shape and values, bytes as base64, what JSON lacks as text."""
    if isinstance(value, np.ndarray):
        return {"dtype": array_dtype(value), "shape": list(value.shape), "values": to_json(value.tolist())}
    if isinstance(value, bytes | bytearray | memoryview):
        import base64

        return {"$bytes": base64.b64encode(bytes(value)).decode("ascii")}
    if isinstance(value, np.generic):
        return to_json(value.item())
    if isinstance(value, float):
        # JSON has no NaN and no infinity; as text they survive any parser.
        return value if np.isfinite(value) else str(value)
    if isinstance(value, Mapping):
        return {str(key): to_json(item) for key, item in value.items()}
    if isinstance(value, str):
        return value
    if isinstance(value, Iterable):
        return [to_json(item) for item in value]
    return value if value is None or isinstance(value, bool | int) else str(value)


def array_dtype(array: NDArray[Any]) -> str:
    """The dtype as numpy writes it into a file: ``<f4``; names of fields for a structured one."""
    return str(array.dtype.str if array.dtype.names is None else array.dtype.descr)
