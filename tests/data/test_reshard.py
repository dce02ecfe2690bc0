"""Large shards cut into smaller ones."""

import gzip
import io
import tarfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.data.tars import Bytes, Form, make_tar

from atdata.data.access import ShardAccess
from atdata.data.reshard import Cut, Renumbering, plan_cuts, reshard
from atdata.data.scan import scan_shard
from atdata.data.tar import walk
from atdata.data.writer import ShardWriter, WrittenShard, write_samples
from atdata.errors import IntegrityError, LimitError, NotFoundError, ShardError
from atdata.storage.file import FileStore
from atdata.testing import MemoryStore

FIXTURES = Path(__file__).parents[1] / "fixtures"

KEYS = st.text("ab1é/", min_size=1, max_size=130).filter(lambda key: not key.endswith("/"))
SIZES = st.integers(0, 600) | st.sampled_from([511, 512, 513, 2048, 9000])


@st.composite
def tars(draw: st.DrawFn) -> bytes:
    """Tars of samples in all forms of headers, with members that belong to none between them."""
    members: list[tuple[str, bytes]] = []
    last = ""
    for number, (key, sizes, stray) in enumerate(
        draw(st.lists(st.tuples(KEYS, st.lists(SIZES, min_size=1, max_size=3), st.booleans()), min_size=1, max_size=12))
    ):
        if stray:
            members.append((draw(st.sampled_from(["README", "__meta__", "a/.hidden"])), b"stray"))
        # The number keeps neighbours apart; without it a key may come twice, which an index cannot hold.
        name = key if draw(st.booleans()) else f"{key}{number}"
        name += "x" * (name == last)
        last = name
        members += [(f"{name}.{i}", bytes([65 + i]) * size) for i, size in enumerate(sizes)]
    forms: list[Form] = ["ustar", "pax", "gnu", "mtime"]
    fitting = [form for form in forms if form != "ustar" or all(_fits_ustar(name) for name, _ in members)]
    return make_tar(members, draw(st.lists(st.sampled_from(fitting), min_size=1, max_size=3)))


def _fits_ustar(name: str) -> bool:
    return name.isascii() and len(name) <= 100


def members_of(tar: bytes) -> list[tuple[str, bytes]]:
    """Names and contents of all members but an index, read by another program than the one that is tested."""
    with tarfile.open(fileobj=io.BytesIO(tar)) as file:
        return [
            (member.name, content.read())
            for member in file
            if (content := file.extractfile(member)) is not None and member.name != "__index__"
        ]


def stripped(tar: bytes) -> bytes:
    """The bytes of all members but the index, headers included."""
    members = list(walk(Bytes(tar)))
    if members[-1].name == "__index__":
        return tar[: members[-1].start]
    return tar[: members[-1].offset + -(-members[-1].size // 512) * 512]


def cut(tar: bytes, folder: Path, *, limit: int, name: str = "whole.tar") -> list[WrittenShard]:
    """The shards that a tar is cut into."""
    return reshard(MemoryStore({name: tar}), name, folder / "cut-%06d.tar", limit=limit)


@given(tars(), st.integers(10_000, 60_000))
@settings(max_examples=60, deadline=None)
def test_pieces_together_are_the_whole(tmp_path_factory: pytest.TempPathFactory, tar: bytes, limit: int) -> None:
    """Every byte of every member stays, in order; each piece is a shard within the limit, its facts and index right."""
    folder = tmp_path_factory.mktemp("pieces")
    try:
        pieces = cut(tar, folder, limit=limit)
    except LimitError:
        assert len(tar) > limit
        assert list(folder.iterdir()) == []
        return
    contents = [piece.path.read_bytes() for piece in pieces]

    assert b"".join(map(stripped, contents)) == stripped(tar)
    assert [member for content in contents for member in members_of(content)] == members_of(tar)
    assert all(len(content) <= limit for content in contents)
    assert [scan_shard(FileStore(), str(piece.path)) for piece in pieces] == [piece.shard for piece in pieces]
    assert sum(piece.shard.samples or 0 for piece in pieces) == scan_shard(MemoryStore({"a": tar}), "a").samples
    planned = plan_cuts(MemoryStore({"a": tar}), "a", limit=limit)
    assert [plan.samples for plan in planned] == [piece.shard.samples for piece in pieces]
    assert all(plan.bytes >= len(content) for plan, content in zip(planned, contents, strict=True))
    assert [piece.shard for piece in cut(tar, folder, limit=limit)] == [piece.shard for piece in pieces]


@given(st.lists(st.integers(0, 3000), min_size=1, max_size=60), st.integers(8_000, 40_000))
@settings(max_examples=30, deadline=None)
def test_the_index_tells_the_plan(tmp_path_factory: pytest.TempPathFactory, sizes: list[int], limit: int) -> None:
    """For a shard of our own the plan needs only its end, and is the same as that of a read."""
    folder = tmp_path_factory.mktemp("indexed")
    (whole,) = write_samples([{"bin": bytes(size)} for size in sizes], folder / "whole-%06d.tar")
    only_end = _EndOnly({"a": whole.path.read_bytes()})

    planned = plan_cuts(only_end, "a", limit=limit)

    without = stripped(whole.path.read_bytes()) + bytes(1024)
    assert planned == plan_cuts(MemoryStore({"a": without}), "a", limit=limit)
    pieces = reshard(FileStore(), str(whole.path), folder / "cut-%06d.tar", limit=limit)
    assert [plan.samples for plan in planned] == [piece.shard.samples for piece in pieces]
    assert all(piece.shard.index is not None for piece in pieces)


class _EndOnly(MemoryStore):
    """A store of which only the last 64 KiB may be read."""

    def open(self, path: str, *, start: int = 0, stop: int | None = None):  # type: ignore[no-untyped-def]  # as there
        assert start >= max(0, self.size(path) - (64 << 10))
        return super().open(path, start=start, stop=stop)


def test_keys_stay_and_give_random_access(tmp_path: Path) -> None:
    """A key says which shard the sample was in once; the new index finds it."""
    with ShardWriter(tmp_path / "whole.tar", shard=7) as writer:
        for i in range(50):
            writer.write({"bin": bytes([i]) * 1000, "cls": i})
    pieces = reshard(FileStore(), str(writer.path), tmp_path / "cut-%06d.tar", limit=16 << 10)

    found = [
        ShardAccess(FileStore(), str(piece.path), facts=piece.shard).sample(i, dict)
        for piece in pieces
        for i in range(piece.shard.samples or 0)
    ]

    assert len(pieces) > 3
    assert [(sample["__key__"], sample["cls"]) for sample in found] == [(f"000007-{i:08d}", i) for i in range(50)]


def test_nothing_is_cut_inside_a_sample(tmp_path: Path) -> None:
    """Members of one key stay together, however little is left in the shard."""
    tar = make_tar([(f"{key}.{part}", bytes(1500)) for key in "abcdef" for part in ("jpg", "cls", "json")])
    pieces = cut(tar, tmp_path, limit=16_000)

    names = [[member[0] for member in members_of(piece.path.read_bytes())] for piece in pieces]
    assert names == [
        [f"{key}.{part}" for key in keys for part in ("jpg", "cls", "json")] for keys in ("ab", "cd", "ef")
    ]


def test_the_largest_sample_that_fits_has_no_index(tmp_path: Path) -> None:
    """A sample up to the limit is a shard; one byte more is an error that names sample, shard, size and limit."""
    limit = 5 << 20
    most = limit - 1024 - 512  # the end of the archive, and the header
    pieces = cut(make_tar([("a.bin", b"1"), ("b.bin", bytes(most)), ("c.bin", b"2")]), tmp_path, limit=limit)

    assert [piece.shard.bytes for piece in pieces] == [3072, limit, 3072]
    assert [piece.shard.index is None for piece in pieces] == [False, True, False]
    with pytest.raises(LimitError, match=r"^whole.tar: the sample 'b' takes 5,243,392 bytes .* 5,242,880"):
        cut(make_tar([("a.bin", b"1"), ("b.bin", bytes(most + 1))]), tmp_path / "no", limit=limit)
    assert list((tmp_path / "no").iterdir()) == []


def test_old_indexes_are_dropped_wherever_they_stand(tmp_path: Path) -> None:
    """Also one in the middle, after samples were appended; a directory is no member of a sample, and goes too."""
    with ShardWriter(tmp_path / "a.tar") as writer:
        writer.write({"bin": b"1"}, key="a")
    with ShardWriter(tmp_path / "b.tar") as writer:
        writer.write({"bin": b"2"}, key="b")
    first, second = ((tmp_path / f"{name}.tar").read_bytes() for name in "ab")
    folder = tarfile.TarInfo("folder")
    folder.type = tarfile.DIRTYPE
    (piece,) = cut(first[:-1024] + folder.tobuf() + second, tmp_path, limit=1 << 20)

    assert members_of(piece.path.read_bytes()) == [("a.bin", b"1"), ("b.bin", b"2")]
    assert piece.path.read_bytes()[:2048] == first[:1024] + second[:1024]
    assert scan_shard(FileStore(), str(piece.path)) == piece.shard


@pytest.mark.parametrize(
    "names", [["a", "b", "a"], [b"\xff".decode("utf-8", "surrogateescape")], ["a\nb"]], ids=["twice", "bytes", "lines"]
)
def test_keys_that_no_index_can_hold(tmp_path: Path, names: list[str]) -> None:
    """Such a shard is cut all the same; the pieces have no index, and are read by a scan."""
    tar = make_tar([(f"{name}.bin", b"x") for name in names], ["gnu"])
    (piece,) = cut(tar, tmp_path, limit=1 << 20)

    assert piece.shard.index is None
    assert piece.path.read_bytes() == tar


def test_compressed_shards_become_plain_tars(tmp_path: Path) -> None:
    """The members are those inside; the plan says so beforehand."""
    tar = make_tar([(f"{i}.bin", bytes(3000)) for i in range(20)])
    store = MemoryStore({"a.tar.gz": gzip.compress(tar)})
    pieces = reshard(store, "a.tar.gz", tmp_path / "cut-%06d.tar", limit=32 << 10)

    assert b"".join(stripped(piece.path.read_bytes()) for piece in pieces) == stripped(tar)
    assert [piece.path.name for piece in pieces] == ["cut-000000.tar", "cut-000001.tar", "cut-000002.tar"]
    assert [plan.samples for plan in plan_cuts(store, "a.tar.gz", limit=32 << 10)] == [8, 8, 4]


@pytest.mark.parametrize("release", ["v013", "v020", "v070"])
def test_shards_of_earlier_releases(tmp_path: Path, release: str) -> None:
    """webdataset's writer puts a PAX header before each member; it stays."""
    whole = max((FIXTURES / release).glob("*.tar"), key=lambda path: path.stat().st_size)
    tar = whole.read_bytes()
    limit = len(tar) // 3 + 4096
    pieces = reshard(FileStore(), str(whole), tmp_path / "cut-%06d.tar", limit=limit)

    assert len(pieces) >= 3
    assert b"".join(stripped(piece.path.read_bytes()) for piece in pieces) == stripped(tar)


@pytest.mark.parametrize(
    ("tar", "error", "message"),
    [
        (make_tar([("a.bin", b"1"), ("b.bin", b"2")])[:1600], ShardError, "cut short"),
        (make_tar([("README", b"1")]), ShardError, "no samples"),
        (make_tar([("a.cls", b"1"), ("a.cls", b"1")]), ShardError, "two members .cls"),
        (b"<html>" + bytes(600), ShardError, "HTML"),
    ],
)
def test_what_is_no_shard_is_refused(tmp_path: Path, tar: bytes, error: type[Exception], message: str) -> None:
    """By the plan and by the cut alike; nothing stays behind."""
    with pytest.raises(error, match=f"^whole.tar: .*{message}"):
        cut(tar, tmp_path, limit=1 << 20)
    with pytest.raises(error, match=f"^whole.tar: .*{message}"):
        plan_cuts(MemoryStore({"whole.tar": tar}), "whole.tar", limit=1 << 20)
    assert list(tmp_path.iterdir()) == []


def test_an_index_that_lies_spoils_the_plan_alone(tmp_path: Path) -> None:
    """The cut goes by the headers, and makes indexes of its own."""
    with ShardWriter(tmp_path / "a.tar") as writer:
        writer.write({"bin": b"1"}, key="a")
    tar = bytearray(writer.path.read_bytes())
    tar[1536] ^= 1  # inside of the index
    with pytest.raises(IntegrityError, match="checksum"):
        plan_cuts(MemoryStore({"a": bytes(tar)}), "a", limit=1 << 20)

    (piece,) = cut(bytes(tar), tmp_path, limit=1 << 20)
    assert piece.shard == writer.shard


def test_a_missing_shard(tmp_path: Path) -> None:
    """Is not found, and leaves nothing."""
    with pytest.raises(NotFoundError):
        reshard(MemoryStore(), "a.tar", tmp_path / "x" / "cut-%06d.tar", limit=1 << 20)
    assert list(tmp_path.iterdir()) == []


def test_renumbering_keeps_splits() -> None:
    """A split has the new shards of its old ones; neighbours stay neighbours, and what is empty stays empty."""
    new = Renumbering.of([1, 3, 1, 2])

    assert [list(new.shards(old)) for old in range(4)] == [[0], [1, 2, 3], [4], [5, 6]]
    assert new.split(0, 2) == (0, 4)
    assert new.split(2, 4) == (4, 7)
    assert new.split(4, 4) == (7, 7)
    assert Cut(samples=1, bytes=2) == Cut(1, 2)
