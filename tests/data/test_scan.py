"""One pass over a shard, whoever wrote it."""

import gzip
import json
from pathlib import Path

import pytest
from tests.data import decoder
from tests.data.tars import make_tar

from atdata.data.scan import scan_shard, scan_shards
from atdata.data.writer import ShardWriter, write_samples
from atdata.errors import IntegrityError, NotFoundError, ShardError
from atdata.storage.base import Shard
from atdata.storage.file import FileStore
from atdata.syntax import raw_cid
from atdata.testing import MemoryStore

FIXTURES = Path(__file__).parents[1] / "fixtures"


@pytest.mark.parametrize("release", ["v013", "v020", "v070"])
def test_shards_of_earlier_releases(release: str) -> None:
    """Size, digest and number of samples; they have no index."""
    meta = json.loads((FIXTURES / release / "meta.json").read_text())["files"]
    names = [name for name in meta if "sha256" in meta[name]]
    found = scan_shards(FileStore(), [str(FIXTURES / release / f"{name}.tar") for name in names])

    for name, shard in zip(names, found, strict=True):
        size = (FIXTURES / release / f"{name}.tar").stat().st_size
        assert shard == Shard(raw_cid(bytes.fromhex(meta[name]["sha256"])), size, meta[name]["n"], None)


def test_members_of_one_key_are_one_sample() -> None:
    """As webdataset groups them: consecutive members; names without a key or in double underscores do not count."""
    tar = make_tar(
        [
            ("README", b""),
            ("a.jpg", b"1"),
            ("a.cls", b"1"),
            ("__meta__", b"x"),
            ("b.jpg", b"2"),
            (".hidden", b"x"),
            ("b.cls", b"2"),
            ("a.jpg", b"3"),
        ],
        forms=("pax", "gnu", "mtime"),
    )

    assert scan_shard(MemoryStore({"x": tar}), "x").samples == 3


@pytest.fixture
def shard(tmp_path: Path) -> tuple[bytes, Shard]:
    """A shard of 1.5 MB, and its facts."""
    with ShardWriter(tmp_path / "a.tar") as writer:
        for i in range(5):
            writer.write({"bin": bytes([i]) * 300_000, "cls": i}, key=f"key{i}")
    return writer.path.read_bytes(), writer.shard


def test_the_facts_are_those_that_the_writer_gave(shard: tuple[bytes, Shard], tmp_path: Path) -> None:
    """For any size: less than a block, many blocks, and beyond the buffers."""
    data, facts = shard
    assert scan_shard(MemoryStore({"a": data}), "a") == facts
    for size in (1, 262_144 - 1024, 262_144 - 512, 262_144, 1 << 20, (1 << 20) - 512, 3_000_000):
        (written,) = write_samples([{"bin": b"x" * size}, {"bin": b"y"}], tmp_path / "b-%06d.tar")
        assert scan_shard(FileStore(), str(written.path)) == written.shard


def test_every_changed_byte_is_found(shard: tuple[bytes, Shard]) -> None:
    """In a sample by the digests of the index; in the index by its checksum."""
    data, facts = shard
    for at in (1000, 400_000, 1_200_000, len(data) - 1500):
        changed = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
        with pytest.raises(IntegrityError, match=r"^a: "):
            scan_shard(MemoryStore({"a": changed}), "a")
    assert facts.samples == 5


def test_an_index_of_another_shard_is_refused(tmp_path: Path) -> None:
    """Same sizes, other contents; same contents, other keys."""
    parts = []
    for name, value, key in (("a", b"1", "one"), ("b", b"2", "one"), ("c", b"1", "two")):
        with ShardWriter(tmp_path / f"{name}.tar") as writer:
            writer.write({"bin": value}, key=key)
        parts.append(writer.path.read_bytes())
    a, b, c = parts
    assert decoder.decode(a).keys == ["one"]

    with pytest.raises(IntegrityError, match="block 0 of the tar has another digest"):
        scan_shard(MemoryStore({"x": a[:1024] + b[1024:]}), "x")
    with pytest.raises(IntegrityError, match="other keys"):
        scan_shard(MemoryStore({"x": a[:1024] + c[1024:]}), "x")


def test_an_index_that_is_not_the_last_member_does_not_count(shard: tuple[bytes, Shard]) -> None:
    """After tar --append, or with the padding that tar writes: the shard is as one without an index."""
    data, facts = shard
    appended = data[:-1024] + make_tar([("z.cls", b"1")])
    padded = data + bytes(-len(data) % 10240 or 10240)

    assert scan_shard(MemoryStore({"a": appended}), "a").samples == 6
    assert scan_shard(MemoryStore({"a": appended}), "a").index is None
    assert scan_shard(MemoryStore({"a": padded}), "a").index is None
    assert facts.index is not None


def test_a_compressed_shard_is_counted_and_digested_as_it_is(shard: tuple[bytes, Shard]) -> None:
    """CID and size are those of the file; offsets of an index mean nothing there."""
    data = gzip.compress(shard[0])
    found = scan_shard(MemoryStore({"a.tar.gz": data}), "a.tar.gz")

    assert (found.bytes, found.samples, found.index) == (len(data), 5, None)
    assert bytes(found.cid) == decoder.cid(data)  # type: ignore[arg-type] # is known


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "this is an empty file"),
        (bytes(1024), "no samples"),
        (make_tar([("README", b"x")]), "no samples"),
        (make_tar([("a.cls", b"1"), ("a.cls", b"2")]), "two members .cls"),
        (make_tar([("a.cls", b"1"), ("b.cls", b"2")])[:2048], "cut short"),
        (b"<html>", "this is HTML"),
        (b"<html>" + bytes(600), "this is HTML"),
    ],
)
def test_what_is_no_shard_is_refused(data: bytes, message: str) -> None:
    """In words, with the name of the shard."""
    with pytest.raises(ShardError, match=f"^a: .*{message}"):
        scan_shard(MemoryStore({"a": data}), "a")


def test_several_shards_keep_their_order_and_errors_come_through(shard: tuple[bytes, Shard]) -> None:
    """Also with fewer threads than shards."""
    store = MemoryStore({f"{i}": make_tar([(f"{j}.cls", b"1") for j in range(i + 1)]) for i in range(7)})

    assert [found.samples for found in scan_shards(store, map(str, range(7)), threads=2)] == list(range(1, 8))
    with pytest.raises(NotFoundError):
        scan_shards(store, ["0", "missing", "1"])
