"""Headers: what common writers write is found at once; everything else comes to the same."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.data.tars import Bytes, Form, make_tar

from atdata.data.headers import find_members, plain_members
from atdata.data.reader import read_samples
from atdata.data.tar import walk
from atdata.data.writer import ShardWriter
from atdata.errors import ShardError
from atdata.storage.file import FileStore


@pytest.mark.parametrize("form", ["ustar", "gnu", "mtime"])
def test_common_writers_take_the_fast_path(form: Form) -> None:
    """What ustar, GNU and webdataset writers write is found by the operations on the whole buffer."""
    data = make_tar([(f"{number}.msgpack", b"x" * number) for number in range(100)], [form])

    members, end, _ = plain_members(np.frombuffer(data, np.uint8))

    assert len(members) == 100
    assert end == len(data) - 1024
    assert members.all_names() == [member.name for member in walk(Bytes(data))]


def test_an_odd_member_is_walked_and_what_comes_before_it_is_not() -> None:
    data = make_tar([("a.x", b"1"), ("b.x", b"2"), ("k" * 200 + ".x", b"3"), ("c.x", b"4")], ["ustar", "gnu", "pax"])
    buffer = np.frombuffer(data, np.uint8)

    assert plain_members(buffer)[0].all_names() == ["a.x", "b.x"]
    found = find_members(buffer)
    assert found.members.all_names() == ["a.x", "b.x", "k" * 200 + ".x", "c.x"]
    assert [found.members.name(number) for number in range(4)] == found.members.all_names()
    assert found.members.first(3).all_names() == found.members.all_names()[:3]
    assert found.finished
    assert found.end == len(data) - 1024


@given(st.integers(0, 40), st.sampled_from(["ustar", "gnu", "mtime", "pax"]))
def test_a_buffer_that_stops_anywhere(blocks: int, form: Form) -> None:
    """The members that are whole, with their padding; never one that is not."""
    data = make_tar([(f"{number}{'é' if form == 'pax' else ''}.x", b"x" * 700) for number in range(5)], [form])
    members = list(walk(Bytes(data)))
    size = min(blocks * 512, len(data) - 1024)

    found = find_members(np.frombuffer(data[:size], np.uint8))

    whole = [member for member in members if member.offset + 1024 <= size]
    assert found.members.starts.tolist() == [member.start for member in whole]
    assert found.members.headers.tolist() == [member.offset - 512 for member in whole]
    assert found.members.sizes.tolist() == [700] * len(whole)
    assert found.end == (whole[-1].offset + 1024 if whole else 0)
    assert not found.finished


def test_an_error_says_at_which_byte_of_the_shard(tmp_path: Path) -> None:
    """Counted from the start of the tar, whichever block and header it is in."""
    path = tmp_path / "s.tar"
    with ShardWriter(path) as writer:
        for i in range(4):
            writer.write({"txt": f"sample {i}"})
    content = bytearray(path.read_bytes())
    content[2048 + 150] ^= 1
    path.write_bytes(content)

    with pytest.raises(ShardError, match=r"s\.tar: byte 2,048: .*wrong checksum"):
        list(read_samples(FileStore(), [str(path)], dict))
