"""Checked blocks: every byte of a shard has a digest, and none is handed out before it has agreed."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.storage.shards import flipped, make_shard

from atdata.data.index import ShardIndex, read_index
from atdata.data.tar import member_header
from atdata.errors import IntegrityError
from atdata.storage.base import Stream, chunks_of, read_all
from atdata.storage.block_table import BlockTable, CheckedStream, read_table
from atdata.storage.index_footer import DIGEST_BLOCK, index_header
from atdata.syntax import raw_cid
from atdata.testing import MemoryStore

DATA, SHARD = make_shard(samples=90)
ODD_DATA, ODD_SHARD = make_shard(1, samples=6000, size=40)  # an index that is longer than one tail


class Checked:
    """A store of one shard, each range of which is checked."""

    def __init__(self, data: bytes, table: BlockTable) -> None:
        self.inner = MemoryStore({"a.tar": data})
        self.table = table

    def open(self, path: str, *, start: int = 0, stop: int | None = None) -> Stream:
        end = self.table.size if stop is None else stop
        return CheckedStream(self.inner, path, self.table, start=start, stop=end, label=path)

    def size(self, path: str) -> int:
        return self.table.size


def table_of(data: bytes, cid: object) -> BlockTable:
    table = read_table(MemoryStore({"a.tar": data}), "a.tar", index=cid, size=len(data))  # type: ignore[arg-type]
    assert table is not None
    return table


def index_of(data: bytes) -> ShardIndex:
    index = read_index(MemoryStore({"a.tar": data}), "a.tar")
    assert index is not None
    return index


def drain(stream: Stream, got: bytearray, size: int) -> None:
    buffer = memoryview(bytearray(size))
    while count := stream.readinto(buffer):
        got += buffer[:count]


TABLE = table_of(DATA, SHARD.index)


@pytest.mark.parametrize("length", [512, 8192, 100_864, 1 << 28])
def test_the_header_of_an_index_is_the_one_that_is_written(length: int) -> None:
    """Storage knows it by itself."""
    assert index_header(length) == member_header("__index__", length)


@pytest.mark.parametrize(("data", "shard"), [(DATA, SHARD), (ODD_DATA, ODD_SHARD)])
def test_every_byte_has_a_digest(data: bytes, shard: object) -> None:
    """The spans cover the shard without a gap, and those before the index have its digests."""
    table = table_of(data, index_of(data).cid)
    position, spans = 0, []
    while position < len(data):
        start, stop = table.span(position)
        assert start == position < stop <= len(data)
        assert table.span(stop - 1) == (start, stop)
        assert table.is_right(start, memoryview(data)[start:stop])
        spans.append((start, stop))
        position = stop

    assert [table.number(start) for start, _ in spans] == list(range(len(table.digests) // 32))
    assert table.digests.startswith(index_of(data).digests.tobytes())


@settings(max_examples=80, deadline=None)
@given(start=st.integers(0, len(DATA) + 5), length=st.integers(0, len(DATA)), size=st.integers(1, 600_000))
def test_any_range_in_any_buffer_gives_its_bytes(start: int, length: int, size: int) -> None:
    """Ranges are widened to blocks, and handed out as asked for."""
    parts = chunks_of(Checked(DATA, TABLE), "a.tar", start=start, stop=start + length, size=size)

    assert b"".join(parts) == DATA[start : start + length]


@settings(max_examples=150, deadline=None)
@given(place=st.integers(0, len(DATA) - 1), bit=st.integers(0, 7), size=st.integers(1000, 600_000))
def test_one_wrong_bit_is_found_wherever_it_is(place: int, bit: int, size: int) -> None:
    """In samples, in the index, in its header, in the zeros at the end; what comes before its block is right."""
    stream = Checked(flipped(DATA, place, bit), TABLE).open("a.tar")
    got = bytearray()

    with pytest.raises(IntegrityError, match=r"a\.tar: block \d+ \(bytes"):
        drain(stream, got, size)
    assert got == DATA[: TABLE.span(place)[0]]


def test_a_block_that_is_wrong_once_is_fetched_again() -> None:
    """The fault may lie on the way."""

    class Once:
        def __init__(self) -> None:
            self.answers = [flipped(DATA, 300_000), DATA]
            self.starts: list[int] = []

        def open(self, path: str, *, start: int = 0, stop: int | None = None) -> Stream:
            self.starts.append(start)
            return MemoryStore({path: self.answers.pop(0)}).open(path, start=start, stop=stop)

        def size(self, path: str) -> int:
            return len(DATA)

    checked = Checked(DATA, TABLE)
    checked.inner = inner = Once()  # type: ignore[assignment]

    assert read_all(checked, "a.tar", limit=len(DATA)) == DATA
    assert inner.starts == [0, DIGEST_BLOCK]


@pytest.mark.parametrize("cut", [0, 1, 2000, 300_000])
def test_a_shard_that_is_cut_short_is_found(cut: int) -> None:
    """Also where a store takes what comes for all there is."""
    with pytest.raises(IntegrityError, match=r"a\.tar: ends at byte"):
        read_all(Checked(DATA[: len(DATA) - 1 - cut], TABLE), "a.tar", limit=len(DATA))


@settings(max_examples=60, deadline=None)
@given(place=st.integers(1, len(DATA) - TABLE.middle), bit=st.integers(0, 7))
def test_a_wrong_end_makes_no_table(place: int, bit: int) -> None:
    """Either it is an error, or the index is not used."""
    wrong = flipped(DATA, len(DATA) - place, bit)
    try:
        table = read_table(MemoryStore({"a": wrong}), "a", index=index_of(DATA).cid, size=len(DATA))  # type: ignore[arg-type]
    except IntegrityError:
        return
    assert table is None


def test_another_index_is_an_error() -> None:
    """The message names both."""
    other = raw_cid(bytes(32))

    with pytest.raises(IntegrityError, match=f"{other}.*{SHARD.index}"):
        read_table(MemoryStore({"a": DATA}), "a", index=other, size=len(DATA))


def test_a_header_of_another_writer_makes_no_table() -> None:
    """The CID of the index does not cover it, so the shard is checked as a whole."""
    data = bytearray(DATA)
    data[TABLE.middle + 136 : TABLE.middle + 147] = b"00000000001"

    assert read_table(MemoryStore({"a": bytes(data)}), "a", index=index_of(DATA).cid, size=len(DATA)) is None  # type: ignore[arg-type]
