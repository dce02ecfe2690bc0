"""Tars for tests, made by tarfile, and streams over bytes."""

import io
import tarfile
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import msgspec
import numpy as np

from atdata.testing import MemoryStore

Form = Literal["ustar", "pax", "gnu", "mtime"]


class Bytes:
    """A stream over bytes that come in pieces of at most ``most`` bytes."""

    def __init__(self, data: bytes, most: int = 1 << 30) -> None:
        self._file = io.BytesIO(data)
        self._most = most
        self.closed = False

    def readinto(self, buffer: memoryview, /) -> int:
        return self._file.readinto(buffer[: self._most])

    def close(self) -> None:
        self.closed = True


def make_tar(members: Iterable[tuple[str, bytes]], forms: Sequence[Form] = ("ustar",)) -> bytes:
    """A tar, each member in its own form; ``mtime`` is PAX as webdataset's writer has it."""
    out = io.BytesIO()
    for number, (name, data) in enumerate(members):
        form = forms[number % len(forms)]
        info = tarfile.TarInfo(name)
        info.size = len(data)
        if form == "mtime":
            info.mtime = 1795330290.5 + number  # a float, as webdataset sets it
        if form == "ustar":
            out.write(info.tobuf(tarfile.USTAR_FORMAT))
        else:
            out.write(info.tobuf(tarfile.GNU_FORMAT if form == "gnu" else tarfile.PAX_FORMAT))
        out.write(data + bytes(-len(data) % 512))
    return out.getvalue() + bytes(1024)


def npy(array: Any) -> bytes:
    """The bytes that numpy.save writes."""
    out = io.BytesIO()
    np.save(out, array, allow_pickle=False)
    return out.getvalue()


def packed(**values: Any) -> bytes:
    """A ``.msgpack`` member; arrays as ``.npy`` bytes."""
    return msgspec.msgpack.encode(
        {name: npy(value) if isinstance(value, np.ndarray) else value for name, value in values.items()}
    )


def typed_tar(payloads: Iterable[bytes], forms: Sequence[Form] = ("ustar",)) -> bytes:
    """A tar of ``.msgpack`` members with keys in order."""
    return make_tar(((f"{number:06d}.msgpack", payload) for number, payload in enumerate(payloads)), forms)


def store_of(*tars: bytes) -> tuple[MemoryStore, list[str]]:
    """A store with these shards, and their paths."""
    paths = [f"{number:06d}.tar" for number in range(len(tars))]
    return MemoryStore(dict(zip(paths, tars, strict=True))), paths
