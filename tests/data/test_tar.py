"""Tar headers and the plain walk."""

import io
import subprocess
import tarfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.data.tars import Bytes

from atdata.data.tar import END, MAX_USTAR_SIZE, Member, member_header, padding, parse_header, split_name, walk
from atdata.errors import LimitError, ShardError

NAMES = {
    "short": "000000-00000000.msgpack",
    "of 100 bytes": "a" * 96 + ".txt",
    "of 101 bytes": "a" * 97 + ".txt",
    "of 10,000 bytes": "a" * 9996 + ".txt",
    "beyond ASCII": "größe.txt",
    "beyond ASCII and long": "漢" * 200 + ".txt",
    "with an equals sign": "a=b" * 50 + ".txt",
}


def tar_of(members: list[tuple[str, bytes]]) -> bytes:
    parts = [member_header(name, len(data)) + data + bytes(padding(len(data))) for name, data in members]
    return b"".join(parts) + END


@pytest.mark.parametrize("name", NAMES)
def test_what_is_written_is_read_by_others(name: str, tmp_path: Path) -> None:
    """tarfile and GNU tar give the names and data that were written; so do we."""
    members = [(NAMES[name], b"one"), ("next.txt", b"")]
    data = tar_of(members)
    path = tmp_path / "a.tar"
    path.write_bytes(data)

    with tarfile.open(path) as tar:
        assert [(info.name, tar.extractfile(info).read()) for info in tar] == members  # type: ignore[union-attr] # files
        assert {(info.mode, info.mtime, info.uid, info.gid, info.uname, info.gname) for info in tar} == {
            (0o644, 0, 0, 0, "", "")
        }
    listed = subprocess.run(
        ["tar", "--quoting-style=literal", "-tf", path],
        capture_output=True,
        text=True,
        check=True,
        env={"LANG": "C.UTF-8"},
    )
    assert listed.stdout.splitlines() == [name for name, _ in members]
    assert listed.stderr == ""
    assert [(member.name, member.data) for member in walk(Bytes(data), data=True)] == members


def test_a_plain_name_takes_one_block_and_only_others_take_more() -> None:
    """PAX is for names of more than 100 bytes, names beyond ASCII, and members of 8 GiB or more."""
    assert len(member_header(NAMES["of 100 bytes"], MAX_USTAR_SIZE)) == 512
    assert len(member_header(NAMES["of 101 bytes"], 0)) == 1536
    assert len(member_header("é", 0)) == 1536
    assert len(member_header("a", MAX_USTAR_SIZE + 1)) == 1536


def test_a_member_of_8_gib_is_understood() -> None:
    """tarfile and we read its size from the PAX record."""
    header = member_header("a.bin", 1 << 33)

    with tarfile.open(fileobj=io.BytesIO(header + END)) as tar:
        assert tar.next().size == 1 << 33  # type: ignore[union-attr] # there is one
    with pytest.raises(ShardError, match="cut short"):
        next(walk(Bytes(header + END)))


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.text(st.characters(codec="utf-8", exclude_characters="\0/"), min_size=1), st.binary(max_size=2000)
        ),
        max_size=8,
    ),
    st.sampled_from([tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]),
    st.integers(1, 3000),
)
def test_the_walk_finds_what_tarfile_finds(members: list[tuple[str, bytes]], form: int, most: int) -> None:
    """For all names, in each format, however the bytes come; extended headers belong to their member."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            try:
                tar.addfile(info, io.BytesIO(data))
            except ValueError:  # too long for ustar
                return
    raw = out.getvalue()

    found = list(walk(Bytes(raw, most), data=True))
    with tarfile.open(fileobj=io.BytesIO(raw)) as tar:
        expected = [
            Member(info.name, info.offset, info.offset_data, info.size, tar.extractfile(info).read())  # type: ignore[union-attr] # files
            for info in tar
            if info.isreg()
        ]

    assert [member.data for member in found] == [member.data for member in expected]
    assert [(m.name, m.offset, m.size) for m in found] == [(m.name, m.offset, m.size) for m in expected]
    assert all(raw[member.start : member.start + 512].strip(b"\0") for member in found)


def test_only_regular_files_are_members() -> None:
    """Directories, links, devices and FIFOs are passed over, also where their header claims data."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for kind in (
            tarfile.DIRTYPE,
            tarfile.SYMTYPE,
            tarfile.LNKTYPE,
            tarfile.CHRTYPE,
            tarfile.BLKTYPE,
            tarfile.FIFOTYPE,
        ):
            info = tarfile.TarInfo(f"odd{kind.decode()}")
            info.type = kind
            info.linkname = "/etc/passwd"
            tar.addfile(info)
        info = tarfile.TarInfo("a.txt")
        info.size = 3
        tar.addfile(info, io.BytesIO(b"one"))

    assert [(member.name, member.data) for member in walk(Bytes(out.getvalue()), data=True)] == [("a.txt", b"one")]


def patched(header: bytes, at: int, value: bytes) -> bytes:
    """A header with other bytes and the right checksum."""
    raw = bytearray(header)
    raw[at : at + len(value)] = value
    raw[148:156] = b" " * 8
    raw[148:156] = b"%06o\0 " % sum(raw)
    return bytes(raw)


HEADER = member_header("a.txt", 3)
GOOD = tar_of([("a.txt", b"one"), ("b.txt", b"two")])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "this is empty"),
        (bytes(100), "cut short"),
        (GOOD[:-1024], "cut short at byte 2,048, before the end blocks"),
        (GOOD[:1024], "cut short"),
        (GOOD[:1025], "cut short"),
        (GOOD[:700], "cut short"),
        (b"<!DOCTYPE html><html>" + b" " * 600, "this is HTML"),
        (b"\x1f\x8b" + bytes(600), "this is gzip"),
        (b"\x28\xb5\x2f\xfd" + bytes(600), "this is zstd"),
        (b"x" * 512 + END, "wrong checksum"),
        (b"x" * 148 + bytes(8) + b"x" * 356 + END, "wrong checksum"),
        (HEADER[:5] + b"X" + HEADER[6:] + bytes(512) + END, "byte 0: a tar header has a wrong checksum"),
        (patched(HEADER, 124, b"-0000000001\0") + END, "where a number belongs"),
        (patched(HEADER, 124, b"\xff" * 12) + END, "where a number belongs"),
        (patched(HEADER, 124, b"0x000000001\0") + END, "where a number belongs"),
        (patched(HEADER, 124, b"\x80" + b"\xff" * 11) + END, "cut short"),
        (patched(HEADER, 156, b"S") + bytes(512) + END, "sparse"),
        (patched(HEADER, 156, b"x") + b"one" + bytes(509) + HEADER + END, "record without a length"),
        (patched(HEADER, 156, b"x") + b"9 a" + bytes(509) + HEADER + END, "wrong length"),
        (patched(member_header("g", 10), 156, b"g") + b"10 path=a\n" + bytes(502) + END, "all members one name"),
        (patched(member_header("x", 10), 156, b"x") + b"10 path=a\n" + bytes(502) + END, "before its member"),
        (patched(member_header("x", 10), 156, b"x") + b"10 size=x\n" + bytes(502) + HEADER + END, "gives the size"),
    ],
)
def test_what_is_no_tar_is_refused_in_words(data: bytes, message: str) -> None:
    """The message says what the bytes are instead, or where they stop."""
    with pytest.raises(ShardError, match=message) as caught:
        list(walk(Bytes(data), shard="the-shard.tar"))

    assert caught.value.shard == "the-shard.tar"


def test_sizes_are_limited_before_memory_is_taken() -> None:
    """A header's word is not believed beyond the limits."""
    huge = patched(HEADER, 124, b"\x80" + (1 << 40).to_bytes(11, "big"))
    long_name = patched(patched(HEADER, 156, b"L"), 124, b"%011o\0" % (2 << 20))

    with pytest.raises(LimitError, match=r"'a.txt' has 1,099,511,627,776 bytes"):
        list(walk(Bytes(huge + END), data=True))
    with pytest.raises(LimitError, match="an extended header"):
        list(walk(Bytes(long_name + END)))


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 511), st.binary(min_size=1, max_size=12)), max_size=3), st.booleans())
def test_damaged_headers_never_crash(changes: list[tuple[int, bytes]], repair: bool) -> None:
    """Any 512 bytes are a header or a ShardError; with the checksum repaired as well."""
    raw = bytearray(HEADER)
    for at, value in changes:
        raw[at : at + len(value)] = value
    raw = raw[:512]
    block = patched(bytes(raw), 0, b"") if repair else bytes(raw)
    try:
        header = parse_header(block)
    except ShardError:
        return
    assert header.size >= 0


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("0001.jpg", ("0001", "jpg")),
        ("a/b/0001.seg.PNG", ("a/b/0001", "seg.png")),
        ("a.b/0001.txt", ("a.b/0001", "txt")),
        ("0001.", ("0001", "")),
        ("README", None),
        (".hidden", None),
        ("__index__", None),
        ("__meta__/a.txt", None),
        ("__x.txt", ("__x", "txt")),
    ],
)
def test_names_are_split_as_webdataset_splits_them(name: str, parts: tuple[str, str] | None) -> None:
    """The key ends at the first dot of the base name."""
    import webdataset.tariterators as reference

    assert split_name(name) == parts
    if not name.startswith("__"):
        key, extension = reference.base_plus_ext(name)
        assert parts == (None if key is None else (key, extension.lower()))
