"""Shards that earlier releases wrote: all of them are read, with the values that went in.

``tests/fixtures/v013``, ``v020`` and ``v070`` were written by the releases 0.1.3b4, 0.2.0a1 and 0.7.0b1. ``meta.json``
has the digest of each file, and the packed bytes of its first sample.
"""

import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from atdata.dataset import Dataset, packable

FIXTURES = Path(__file__).parent / "fixtures"
VERSIONS = ("v013", "v020", "v070")


@packable
class Basic:
    name: str
    position: int
    value: float
    flag: bool
    raw: bytes
    note: str | None


@packable
class Arrays:
    label: int
    image: NDArray[Any]
    embedding: NDArray[Any] | None


@packable
class Nested:
    ids: list[Any]
    info: dict[str, Any]


# Positions and notes of these samples, in numbers: -500 + 1000 i, "né" for each third one.
BASIC = [
    Basic(f"s{i}", -500 + 1000 * i, i / 2, bool(i % 2), bytes([i, 255]), "né" if i % 3 == 0 else None) for i in range(7)
]
DTYPES = "|b1 |i1 |u1 <i2 <u2 <i4 <u4 <i8 <u8 <f2 <f4 <f8 <c8 <c16".split()  # noqa: SIM905
SHAPES: list[NDArray[Any]] = [
    np.array(42.0),
    np.zeros(0, np.float32),
    np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    np.arange(10)[::2],
    np.array(["ab", "cde"]),
    np.array([1, 2], ">i4"),
]


def path_of(version: str, name: str) -> str:
    return str(FIXTURES / version / f"{name}.tar")


def meta_of(version: str) -> Any:
    return json.loads((FIXTURES / version / "meta.json").read_text())


def payloads(path: str) -> list[bytes]:
    """What the standard library finds in a shard."""
    with tarfile.open(path) as tar:
        files = [tar.extractfile(member) for member in tar.getmembers()]
        return [file.read() for file in files if file is not None]


def same(array: NDArray[Any], expected: NDArray[Any]) -> bool:
    return array.dtype == expected.dtype and array.shape == expected.shape and bool(np.array_equal(array, expected))


@pytest.mark.parametrize("version", VERSIONS)
def test_the_files_are_those_that_were_written(version: str) -> None:
    """Digests, and the bytes of each first sample, are those that were noted when the files were made."""
    for name, facts in meta_of(version)["files"].items():
        if "sha256" in facts:
            path = Path(path_of(version, name))
            assert hashlib.sha256(path.read_bytes()).hexdigest() == facts["sha256"]
            assert payloads(str(path))[0].hex() == facts["first_packed_hex"]
            assert len(payloads(str(path))) == facts["n"]


@pytest.mark.parametrize("version", VERSIONS)
def test_plain_values(version: str) -> None:
    """Text, numbers, booleans, bytes and None."""
    assert list(Dataset[Basic](path_of(version, "basic"))) == BASIC


@pytest.mark.parametrize("version", VERSIONS)
def test_shards_in_brace_notation(version: str) -> None:
    """Four shards, in order; the seven samples are in them twice."""
    url = path_of(version, "shard-{000000..000003}")

    assert list(Dataset[Basic](url).ordered(batch_size=None)) == BASIC * 2


@pytest.mark.parametrize("version", VERSIONS)
def test_arrays(version: str) -> None:
    """An array in each sample, and one that may be None."""
    samples: list[Any] = list(Dataset[Arrays](path_of(version, "arr")))

    assert len(samples) == 7
    for i, sample in enumerate(samples):
        assert sample.label == i
        assert same(sample.image, np.arange(6, dtype=np.float32).reshape(2, 3) + i)
        assert sample.embedding is None if i % 2 else same(sample.embedding, np.array([i, i + 1]))


@pytest.mark.parametrize("version", VERSIONS)
def test_nested_values(version: str) -> None:
    """Lists and maps inside each other."""
    assert list(Dataset[Nested](path_of(version, "nested"))) == [
        Nested([i, "x", None, 1.5], {"a": i, "b": [True, False]}) for i in range(7)
    ]


@pytest.mark.parametrize("version", VERSIONS)
def test_every_dtype(version: str) -> None:
    """Fourteen dtypes: booleans, integers, floats and complex numbers of every width."""
    samples: list[Any] = list(Dataset[Arrays](path_of(version, "dtypes")))

    assert [sample.image.dtype.str for sample in samples] == DTYPES
    for sample, dtype in zip(samples, DTYPES, strict=True):
        assert same(sample.image, np.array([[0, 1], [1, 0]]).astype(dtype))


@pytest.mark.parametrize("version", VERSIONS)
def test_every_shape(version: str) -> None:
    """Without axes, empty, Fortran order, strided, text, big-endian."""
    samples: list[Any] = list(Dataset[Arrays](path_of(version, "shapes")))

    assert len(samples) == len(SHAPES)
    for sample, expected in zip(samples, SHAPES, strict=True):
        assert same(sample.image, expected)


@pytest.mark.parametrize("version", ["v013", "v020"])
@pytest.mark.parametrize("name", ["arr", "dtypes", "shapes"])
def test_arrays_are_what_numpy_reads(version: str, name: str) -> None:
    """Where the bytes are a ``.npy`` file, `numpy.load` gives the same array."""
    samples: list[Any] = list(Dataset[Arrays](path_of(version, name)))

    for sample, payload in zip(samples, payloads(path_of(version, name)), strict=True):
        assert same(sample.image, np.load(io.BytesIO(msgspec.msgpack.decode(payload)["image"])))


@pytest.mark.parametrize("version", VERSIONS)
def test_packing_what_was_read_gives_the_bytes_of_old(version: str) -> None:
    """A sample read and packed again has the bytes that 0.1.3b4 wrote, also when 0.7 had written it."""
    for name, cls in (("basic", Basic), ("arr", Arrays), ("nested", Nested), ("dtypes", Arrays), ("shapes", Arrays)):
        first: Any = Dataset[cls](path_of(version, name))[0]  # type: ignore[valid-type]  # a type at run time
        assert first.packed.hex() == meta_of("v013")["files"][name]["first_packed_hex"]


@pytest.mark.parametrize("version", ["v013", "v020"])
def test_a_pickled_array_is_refused(version: str) -> None:
    """An array of objects is a pickle: reading the shard is a ValueError, and nothing is unpickled."""
    with pytest.raises(ValueError, match=r"objectdtype\.tar"):
        list(Dataset[Arrays](path_of(version, "objectdtype")))
