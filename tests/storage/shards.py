"""Shards with an index, and what a record says of them."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

from atdata.data.writer import ShardWriter
from atdata.storage.base import Shard


def make_shard(seed: int = 0, *, samples: int = 40, size: int = 15_000) -> tuple[bytes, Shard]:
    """The bytes of a shard of random samples, and its facts."""
    random = Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "shard.tar"
        with ShardWriter(path, shard=seed) as writer:
            for _ in range(samples):
                writer.write({"bin": random.randbytes(random.randint(1, size))})
        return path.read_bytes(), writer.shard


def make_shards(count: int, *, samples: int = 40, size: int = 15_000) -> tuple[dict[str, bytes], dict[str, Shard]]:
    """Several shards by path, and their facts."""
    made = {f"/{i:06d}.tar": make_shard(i, samples=samples, size=size) for i in range(count)}
    return {path: data for path, (data, _) in made.items()}, {path: shard for path, (_, shard) in made.items()}


def flipped(data: bytes, place: int, bit: int = 0) -> bytes:
    """The same bytes but for one bit."""
    wrong = bytearray(data)
    wrong[place % len(data)] ^= 1 << bit
    return bytes(wrong)


@contextmanager
def open_files() -> Iterator[None]:
    """Checks that a block leaves no file open."""
    files = Path("/proc/self/fd")
    before = len(list(files.iterdir())) if files.exists() else 0
    yield
    if files.exists():
        assert len(list(files.iterdir())) <= before
