"""Blocks: the same members as a plain walk finds, wherever the blocks are cut."""

import io
import tarfile
from collections.abc import Iterator
from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atdata.data.blocks import Block, read_blocks
from atdata.data.headers import plain_members
from atdata.data.members import samples_in
from atdata.data.tar import split_name, walk
from atdata.errors import ShardError

BLOCK_SIZES = st.sampled_from([512, 513, 1024, 1536, 2048, 3000, 4096, 10_000, 1 << 16])


class Bytes:
    """A stream over bytes that comes in pieces of at most ``most`` bytes."""

    def __init__(self, data: bytes, most: int = 1 << 30) -> None:
        self._file = io.BytesIO(data)
        self._most = most

    def readinto(self, buffer: memoryview, /) -> int:
        return self._file.readinto(buffer[: self._most])

    def close(self) -> None:
        self._file.close()


Form = Literal["ustar", "pax", "gnu", "mtime"]


def make_tar(members: list[tuple[str, bytes]], forms: list[Form]) -> bytes:
    """A tar as tarfile writes it, each member in its own form; ``mtime`` is PAX as webdataset's writer has it."""
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


def read_all(data: bytes, block_bytes: int, most: int = 1 << 30) -> Iterator[Block]:
    return read_blocks(Bytes(data, most), shard="x.tar", block_bytes=block_bytes)


def members_of(blocks: Iterator[Block]) -> list[tuple[str, int, bytes]]:
    """Name, position in the tar and content of every member."""
    return [
        (name, block.position + int(block.members.starts[number]), bytes(block.payload(number)))
        for block in blocks
        for number, name in enumerate(block.members.all_names())
    ]


def reference(data: bytes) -> list[tuple[str, int, bytes]]:
    return [(member.name, member.start, member.data) for member in walk(Bytes(data), data=True)]


names = st.one_of(
    st.integers(0, 30).map(lambda number: f"{number:06d}.msgpack"),
    st.sampled_from(
        ["a.jpg", "a.cls", "dir.d/b.seg.png", "__index__", "noext", ".hidden", "é.txt", "k" * 150 + ".npy"]
    ),
)
contents = st.one_of(
    st.binary(max_size=600),
    st.sampled_from([511, 512, 513, 1024, 5000]).map(lambda size: b"\x07" * size),
    st.just(make_tar([("inner.msgpack", b"inner")], ["ustar"])),
)


@given(
    st.lists(st.tuples(names, contents), min_size=1, max_size=30),
    st.lists(st.sampled_from(["ustar", "pax", "gnu", "mtime"]), min_size=1, max_size=4),
    BLOCK_SIZES,
    st.sampled_from([100, 512, 1 << 30]),
)
def test_blocks_hold_what_a_plain_walk_finds(
    members: list[tuple[str, bytes]], forms: list[Form], block_bytes: int, most: int
) -> None:
    """No member is lost, doubled or changed, whatever the block size, the layout and the pieces that come."""
    forms = [form if all(len(name) <= 100 for name, _ in members) or form != "ustar" else "pax" for form in forms]
    data = make_tar(members, forms)

    found = members_of(read_all(data, block_bytes, most))

    assert found == reference(data)
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        assert [(name, content) for name, _, content in found] == [
            (info.name, archive.extractfile(info).read())
            for info in archive  # type: ignore[union-attr]
        ]


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=40), BLOCK_SIZES)
def test_a_sample_is_never_cut(keys: list[str], block_bytes: int) -> None:
    """The members of a sample lie in one block, so that grouping block by block equals grouping the whole."""
    members = [(f"{key}.{number}", bytes([number]) * 300) for number, key in enumerate(keys)]
    data = make_tar(members, ["ustar"])

    found = [sample for block in read_all(data, block_bytes) for sample in samples_in(block.members, shard="x.tar")]

    expected: list[tuple[str, list[str]]] = []
    for number, key in enumerate(keys):
        if not expected or expected[-1][0] != key:
            expected.append((key, []))
        expected[-1][1].append(str(number))
    assert [(key, list(numbers)) for key, numbers in found] == expected


@pytest.mark.parametrize("form", ["ustar", "gnu", "mtime"])
def test_common_writers_take_the_fast_path(form: Form) -> None:
    """What ustar, GNU and webdataset writers write is found by the operations on the whole buffer."""
    data = make_tar([(f"{number}.msgpack", b"x" * number) for number in range(100)], [form])

    members, end, _ = plain_members(np.frombuffer(data, np.uint8))

    assert len(members) == 100
    assert end == len(data) - 1024
    assert members.all_names() == [member.name for member in walk(Bytes(data))]


@given(st.integers(0, 200), st.integers(1, 255))
def test_a_changed_header_is_noticed(at: int, change: int) -> None:
    """A header with one changed byte never passes."""
    data = bytearray(make_tar([(f"{number}.msgpack", b"x") for number in range(9)], ["ustar"]))
    data[4096 + at] ^= change

    if 148 <= at < 156:  # the checksum's own spelling has a freedom that the plain walk defines
        try:
            expected = reference(bytes(data))
        except ShardError:
            expected = None
        if expected is not None:
            assert members_of(read_all(bytes(data), 1 << 16)) == expected
            return
    with pytest.raises(ShardError):
        members_of(read_all(bytes(data), 1 << 16))
