"""Blocks: the same members as a plain walk finds, wherever the blocks are cut."""

import gc
import io
import tarfile
import weakref
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.data.tars import Bytes, Form, make_tar

from atdata.data.blocks import Block, read_blocks
from atdata.data.members import samples_in
from atdata.data.tar import BLOCK, member_header, walk
from atdata.errors import ShardError

BLOCK_SIZES = st.sampled_from([512, 513, 1024, 1536, 2048, 3000, 4096, 10_000, 1 << 16])


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
        expected = [(info.name, archive.extractfile(info)) for info in archive]
        assert [(name, content) for name, _, content in found] == [
            (name, file.read()) for name, file in expected if file
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


@given(st.integers(0, 511), st.integers(1, 255))
def test_a_changed_header_is_noticed(at: int, change: int) -> None:
    """A header with one changed byte is refused, unless the change is one of spelling that the plain walk accepts."""
    data = bytearray(make_tar([(f"{number}.msgpack", b"x") for number in range(9)]))
    data[4096 + at] ^= change
    try:
        expected = reference(bytes(data))
    except ShardError:
        with pytest.raises(ShardError):
            members_of(read_all(bytes(data), 1 << 16))
        return

    assert 148 <= at < 156
    assert members_of(read_all(bytes(data), 1 << 16)) == expected


CUT = make_tar([("a.jpg", b"1" * 700), ("a.cls", b"2"), ("b.jpg", b"3" * 400), ("b.cls", b"4")], ["ustar", "mtime"])


@given(st.integers(0, len(CUT) - 1025), BLOCK_SIZES)
def test_a_cut_tar_is_an_error(size: int, block_bytes: int) -> None:
    """Wherever a tar is cut before its end blocks, an error comes, at a member's border too; no sample is cut."""
    seen = []

    def read() -> None:
        for block in read_all(CUT[:size], block_bytes):
            seen.extend([list(numbers) for _, numbers in samples_in(block.members, shard="x.tar")])

    with pytest.raises(ShardError, match=r"x\.tar: .*(cut short|empty|wrong checksum)"):
        read()
    assert seen in ([], [["jpg", "cls"]])


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"", "empty"),
        (b"<!DOCTYPE html><title>404</title>", "HTML"),
        (b"<html>" + b"x" * 2000, "HTML"),
        (b'{"error": "BlobNotFound"}', "no tar"),
        (b"\x1f\x8b" + b"x" * 2000, "gzip"),
        (b"\x28\xb5\x2f\xfd" + b"x" * 2000, "zstd"),
        (bytes(100), "no tar"),
    ],
)
def test_what_is_no_tar_says_what_it_is(data: bytes, what: str) -> None:
    with pytest.raises(ShardError, match=what):
        members_of(read_all(data, 4096))


@pytest.mark.parametrize("block_bytes", [512, 1024, 1536, 1 << 16])
def test_the_end_of_a_tar(block_bytes: int) -> None:
    """Two blocks of zeros end it, whatever follows; one does at the very end; one amid the tar is damage."""
    body = make_tar([("a.cls", b"1")])[:-1024]
    whole = reference(body + bytes(1024))

    assert members_of(read_all(body + bytes(1024), block_bytes)) == whole
    assert members_of(read_all(body + bytes(1024) + b"garbage" * 999, block_bytes)) == whole
    assert members_of(read_all(body + bytes(10_240 - len(body)), block_bytes)) == whole
    assert members_of(read_all(body + bytes(512), block_bytes)) == whole
    with pytest.raises(ShardError, match="byte 1,024: a lone block of zeros"):
        members_of(read_all(body + bytes(512) + body + bytes(1024), block_bytes))


def test_the_stream_is_read_to_its_end() -> None:
    """So that a stream that checks its bytes has seen all of them."""
    stream = Bytes(make_tar([("a.cls", b"1")]) + b"after the end" * 10_000)

    members_of(read_blocks(stream))

    assert stream.readinto(memoryview(bytearray(9))) == 0


def test_directories_and_links_are_passed_over() -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name, kind in (("d", tarfile.DIRTYPE), ("d/x.cls", tarfile.REGTYPE), ("d/y.cls", tarfile.SYMTYPE)):
            info = tarfile.TarInfo(name)
            info.type = kind
            archive.addfile(info)

    assert [name for name, _, _ in members_of(read_all(out.getvalue(), 1024))] == ["d/x.cls"]


def test_a_sample_larger_than_a_block() -> None:
    data = make_tar([("a.bin", b"1" * 100_000), ("b.bin", b"2" * 5)])

    blocks = list(read_all(data, 1024))

    assert members_of(iter(blocks)) == reference(data)
    assert max(len(block.members.buffer) for block in blocks) < 400_000


def test_a_size_that_is_only_claimed_takes_no_memory() -> None:
    """A terabyte in a header fails at the end of the stream."""
    data = member_header("a.bin", 1 << 40) + bytes(100_000)

    with pytest.raises(ShardError, match="cut short: it stops after"):
        members_of(read_all(data, 1024))


def test_a_block_outlives_its_reader() -> None:
    """What refers to a block's buffer stays right when the reader has gone on, and is closed; nothing else keeps it."""
    data = make_tar([(f"{number:03d}.bin", bytes([number]) * 512) for number in range(100)])
    reader = read_all(data, 4 * BLOCK)
    views = [block.payload(0) for block, _ in zip(reader, range(20), strict=False)]
    reader.close()  # type: ignore[attr-defined]  # a generator

    assert len({bytes(view) for view in views}) == 20
    assert all(len(set(view)) == 1 for view in views)

    [block] = list(read_all(data, 1 << 20))
    assert block.members.buffer.base is not None
    buffer = weakref.ref(block.members.buffer.base)
    view = block.payload(0)
    del block
    gc.collect()
    assert buffer() is not None
    del view
    gc.collect()
    assert buffer() is None
