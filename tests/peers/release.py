"""Reads and writes shards with whatever release of atdata is installed; run by `test_peers.py` in its environment.

    python release.py write FOLDER     two shards by that release, their samples as JSON lines on stdout
    python release.py read URL         the samples that it reads, as JSON lines

Written in what all releases have in common. Our own tests import it too, for the sample type.
"""

import json
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import webdataset
from numpy.typing import NDArray

import atdata


@atdata.packable
class Everything:
    number: int
    weight: float
    flag: bool
    text: str
    raw: bytes
    tags: list[Any]
    info: dict[str, Any]
    note: str | None
    image: NDArray  # type: ignore[type-arg]  # bare: 0.1.3b4 knows no other array
    mask: NDArray | None  # type: ignore[type-arg]  # as above


ARRAYS: list[NDArray[Any]] = [
    np.arange(12, dtype=np.uint8).reshape(3, 4),
    np.linspace(-1, 1, 6, dtype=np.float32).reshape(1, 2, 3),
    np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    np.array(7, np.int64),
    np.zeros((0, 3), np.float16),
    np.array([True, False]),
    np.array([1 + 2j]),
    np.array(["ä", "bcd"]),
    np.array([1, -2], ">i4"),
]


def samples() -> Iterator[Any]:
    """Samples with each kind of value at its edges."""
    numbers = [0, -1, 127, 128, -33, 1 << 31, -(1 << 40), (1 << 63) - 1, -(1 << 63)]
    for i, (number, image) in enumerate(zip(numbers, ARRAYS)):  # noqa: B905 - as long as each other
        yield Everything(
            number=number,
            weight=[0.0, -1.5, 1e300, float("inf")][i % 4],
            flag=i % 2 == 0,
            text=["", "plain", "né ☃ 𝄞", "x" * 300][i % 4],
            raw=bytes(range(256)) * (i % 3),
            tags=[i, "x", None, [1.5, True]],
            info={"a": i, "b": {"c": []}},
            note=None if i % 2 else "note",
            image=image,
            mask=None if i % 3 else image,
        )


def described(sample: Any) -> dict[str, Any]:
    """A sample as JSON, with everything in it that must agree."""
    return {name: _described(getattr(sample, name)) for name in Everything.__annotations__}


def _described(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return {
            "dtype": value.dtype.str,
            "shape": list(value.shape),
            "bytes": np.ascontiguousarray(value).tobytes().hex(),
        }
    return {"bytes": value.hex()} if isinstance(value, bytes) else value


def write(folder: str) -> None:
    everything = list(samples())
    for number, chosen in enumerate((everything[:5], everything[5:])):
        with webdataset.TarWriter(f"{folder}/data-{number:06d}.tar") as writer:
            for sample in chosen:
                writer.write(sample.as_wds)
                print(json.dumps(described(sample)))  # noqa: T201 - what this script is for


def read(url: str) -> None:
    dataset = atdata.Dataset[Everything](url)
    for sample in dataset.ordered(batch_size=None):
        print(json.dumps(described(sample)))  # noqa: T201 - what this script is for
    batches = list(dataset.ordered(batch_size=4))
    numbers = [number for batch in batches for number in batch.number]
    assert numbers == [sample.number for sample in dataset.ordered(batch_size=None)]
    assert sorted(sample.number for sample in dataset.shuffled(batch_size=None)) == sorted(numbers)


if __name__ == "__main__":
    {"write": write, "read": read}[sys.argv[1]](sys.argv[2])
