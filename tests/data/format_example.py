"""The small shard of docs/format.md and its hex dump, which ``python -m tests.data.format_example`` prints."""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from atdata.data.writer import write_samples

ROOT = Path(__file__).parents[2]


@dataclass
class Example:
    label: int
    image: NDArray[Any]


def shard() -> bytes:
    """Two samples in one shard, number 0."""
    images = (np.array([[0, 1], [2, 3]], np.uint8), np.array([1.5]))
    with tempfile.TemporaryDirectory() as folder:
        (written,) = write_samples(
            [Example(label, image) for label, image in zip((7, 1000), images, strict=True)],
            f"{folder}/example-%06d.tar",
        )
        return written.path.read_bytes()


def dump(data: bytes) -> Iterator[str]:
    """Lines of 16 bytes as ``hexdump -C`` has them; a ``*`` stands for lines that repeat the one before."""
    before = None
    starred = False
    for at in range(0, len(data), 16):
        row = data[at : at + 16]
        if row == before:
            if not starred:
                yield "*"
            starred = True
            continue
        before, starred = row, False
        halves = f"{row[:8].hex(' ')}  {row[8:].hex(' ')}"
        text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in row)
        yield f"{at:08x}  {halves}  |{text}|"
    yield f"{len(data):08x}"


if __name__ == "__main__":
    print("\n".join(dump(shard())))  # noqa: T201 - what this is for
