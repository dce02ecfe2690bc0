"""Compressed shards: the same bytes, damage noticed, bombs stopped."""

import gzip
import io
import sys
import zlib

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from tests.data.tars import Bytes

from atdata.data.compression import FREE_BYTES, decompressed, is_compressed
from atdata.errors import LimitError, ShardError, UnsupportedStorageError
from atdata.storage.base import Stream

CONTENT = b"".join(number.to_bytes(4, "big") * (number % 7) for number in range(5_000))
GZIPPED = gzip.compress(CONTENT)


def read(stream: Stream, size: int = 10_000) -> bytes:
    buffer = bytearray(size)
    out = io.BytesIO()
    while count := stream.readinto(memoryview(buffer)):
        out.write(buffer[:count])
    return out.getvalue()


def packed(content: bytes, ending: str) -> bytes:
    return gzip.compress(content) if ending == "gz" else zstandard.compress(content)


@pytest.mark.parametrize("ending", ["gz", "zst"])
@given(
    content=st.binary(max_size=2000), repeat=st.integers(1, 300), most=st.integers(1, 5000), size=st.integers(1, 9000)
)
def test_content_comes_back(ending: str, content: bytes, repeat: int, most: int, size: int) -> None:
    """Whatever the pieces that come in and the buffers that are filled; several members or frames are one."""
    data = packed(content * repeat, ending) + packed(content, ending)
    stream = decompressed(Bytes(data, most if len(data) < 10 * most else 1 << 30), f"x.tar.{ending}")

    assert read(stream, size if size > 100 else 10_000) == content * repeat + content


@pytest.mark.parametrize(
    ("path", "compressed"),
    [
        ("x.tar", False), ("x.tar.gz", True), ("x.tgz", True), ("X.TAR.GZ", True), ("x.tar.zst", True),
        ("x.tzst", True), ("bafkrei", False), ("https://e.com/x.tar.gz?versionId=3#f", True),
        ("https://e.com/x.tar?n=a.gz", False),
    ],
)  # fmt: skip
def test_the_name_says_it(path: str, compressed: bool) -> None:
    stream = Bytes(b"")

    assert is_compressed(path) == compressed
    assert (decompressed(stream, path) is stream) != compressed


@pytest.mark.parametrize("ending", ["gz", "zst"])
def test_closing_closes_the_source(ending: str) -> None:
    source = Bytes(b"")

    decompressed(source, f"x.{ending}").close()

    assert source.closed


@given(st.integers(1, len(GZIPPED) - 1))
def test_gzip_cut_anywhere_is_an_error(size: int) -> None:
    with pytest.raises(ShardError, match=r"x\.tar\.gz: the gzip data is cut short"):
        read(decompressed(Bytes(GZIPPED[:size]), "x.tar.gz"))


def test_damage_is_an_error() -> None:
    data = bytearray(gzip.compress(CONTENT))
    data[-5] ^= 1  # in the checksum, at the very end

    with pytest.raises(ShardError, match="gzip data is damaged"):
        read(decompressed(Bytes(bytes(data)), "x.tar.gz"))
    with pytest.raises(ShardError, match="gzip data is damaged"):
        read(decompressed(Bytes(b"<html>"), "x.tgz"))
    with pytest.raises(ShardError, match="Zstandard data is damaged"):
        read(decompressed(Bytes(b"<html>" * 99), "x.tar.zst"))
    with pytest.raises(ShardError, match="gzip data is damaged"):
        read(decompressed(Bytes(gzip.compress(CONTENT) + b"garbage"), "x.tar.gz"))


def test_zeros_after_gzip_are_padding() -> None:
    assert read(decompressed(Bytes(gzip.compress(CONTENT) + bytes(5000), 100), "x.tar.gz")) == CONTENT


@pytest.mark.parametrize("ending", ["gz", "zst"])
def test_bombs_are_stopped(ending: str) -> None:
    """A few kilobytes that stand for a gigabyte fail soon after what is always allowed; smaller ones pass."""
    if ending == "gz":
        squeezer = zlib.compressobj(9, wbits=31)
        bomb = b"".join(squeezer.compress(bytes(1 << 20)) for _ in range(300)) + squeezer.flush()
    else:
        bomb = zstandard.compress(bytes(1 << 20)) * 1000
    stream = decompressed(Bytes(bomb), f"bomb.tar.{ending}")
    buffer = memoryview(bytearray(1 << 20))
    total = 0

    def swallow() -> None:
        nonlocal total
        while count := stream.readinto(buffer):
            total += count

    with pytest.raises(LimitError, match="at most 200 times") as caught:
        swallow()
    assert caught.value.limit == 200
    assert FREE_BYTES - (2 << 20) < total < 2 * FREE_BYTES

    assert len(read(decompressed(Bytes(packed(bytes(1 << 20), ending)), f"x.{ending}"), 1 << 20)) == 1 << 20


def test_without_zstandard_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "zstandard", None)

    with pytest.raises(UnsupportedStorageError, match=r"pip install 'atdata\[zstd\]'") as caught:
        decompressed(Bytes(b""), "x.tar.zst")
    assert caught.value.kind == "zst"
