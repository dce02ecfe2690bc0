"""Reading samples: values, order, errors, and how long arrays stay right."""

import dataclasses
import gc
import json
import subprocess
import sys
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from tests.data.tars import make_tar, npy, packed, store_of, typed_tar

from atdata.data import decoders
from atdata.data.codec import decode_msgpack
from atdata.data.fields import Extension, fields_of
from atdata.data.reader import read_records, read_samples
from atdata.errors import NotFoundError, SchemaMismatchError, ShardError
from atdata.storage.file import FileStore
from atdata.testing import MemoryStore

FIXTURES = Path(__file__).parent.parent / "fixtures"


@dataclasses.dataclass
class Sample:
    image: NDArray[Any]
    label: int
    name: str
    weights: NDArray[np.float32] | None = None


@dataclasses.dataclass
class Anything:
    a: Any
    b: Any
    array: NDArray[Any] | None


def image(number: int) -> NDArray[np.uint8]:
    return np.full((4, 5), number % 256, np.uint8)


def sample_bytes(number: int, **more: Any) -> bytes:
    return packed(image=image(number), label=number, name=f"n{number}", weights=None) if not more else packed(**more)


def same(found: Any, expected: Any) -> bool:
    """Equal in type and value; arrays in dtype, shape, order and bytes."""
    if isinstance(expected, np.ndarray):
        return (
            isinstance(found, np.ndarray)
            and (found.dtype, found.shape) == (expected.dtype, expected.shape)
            and found.flags.f_contiguous == expected.flags.f_contiguous
            and found.tobytes("A") == expected.tobytes("A")
        )
    return type(found) is type(expected) and (found == expected or (found != found and expected != expected))


scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from([0, 1, 127, 128, 255, 256, -1, -32, -33, -128, -129, 65535, 65536, 2**32, 2**63 - 1, 2**64 - 1]),
    st.sampled_from([-(2**31), -(2**31) - 1, -(2**63)]),
    st.floats(),
    st.text(max_size=40),
    st.binary(max_size=300),
    st.lists(st.integers(-9, 9), max_size=3),
)
arrays = st.one_of(
    st.none(),
    st.builds(
        lambda dtype, shape, order: np.arange(np.prod(shape), dtype=np.int64).astype(dtype).reshape(shape, order=order),
        st.sampled_from(["u1", "<f4", ">i4", "<f8", "?", "<U3", "<c16"]),
        st.sampled_from([(3,), (2, 3), (2, 3, 4), (), (0, 3), (1, 1)]),
        st.sampled_from(["C", "F"]),
    ),
)
kinds = st.tuples(scalars, scalars, arrays)


@settings(max_examples=150)
@given(st.lists(kinds, min_size=1, max_size=4), st.lists(st.integers(0, 3), min_size=1, max_size=150), st.randoms())
def test_columns_give_what_single_samples_give(kinds: list[Any], order: list[int], random: Any) -> None:
    """Any mixture of layouts, in runs and interleaved, is read as one sample after the other is."""
    payloads = [
        packed(**dict(zip("ab", kinds[which % len(kinds)][:2], strict=True)), array=kinds[which % len(kinds)][2])
        for which in order
    ] * random.choice((1, 40))
    store, paths = store_of(typed_tar(payloads, ["ustar", "mtime"]))

    found = list(read_samples(store, paths, Anything))

    expected = [decode_msgpack(payload, fields_of(Anything)) for payload in payloads]
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert all(same(getattr(one, name), value) for name, value in other.items())
        assert one.array is None or one.array.flags.behaved


def test_layouts_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """Samples of a few layouts are not decoded one by one: else the property above would test nothing."""
    payloads = [packed(a=number % 300, b="x" * (number % 3), array=image(number)) for number in range(900)]
    store, paths = store_of(typed_tar(payloads))
    single: list[int] = []
    row = decoders.MsgpackDecoder._row

    def counted(*arguments: Any) -> tuple[Any, ...]:
        single.append(1)
        return row(*arguments)

    monkeypatch.setattr(decoders.MsgpackDecoder, "_row", counted)

    samples = list(read_samples(store, paths, Anything))

    assert len(samples) == 900
    assert len(single) < 64


@pytest.mark.parametrize("block_bytes", [512, 5000, 1 << 20])
@pytest.mark.parametrize("start", [0, 1, 7, 49, 50, 51, 1000])
def test_order_and_start(start: int, block_bytes: int) -> None:
    """Shards in order, samples in order; ``start`` passes over samples of the first shard."""
    store, paths = store_of(
        typed_tar([sample_bytes(number) for number in range(50)]),
        typed_tar([sample_bytes(number) for number in range(50, 120)], ["mtime"]),
    )

    samples = list(read_samples(store, paths, Sample, start=start, block_bytes=block_bytes))
    records = list(read_records(store, paths, start=start, block_bytes=block_bytes))

    expected = [*range(min(start, 50), 50), *range(50, 120)]
    assert [sample.label for sample in samples] == expected
    assert [sample.image[0, 0] for sample in samples] == expected
    assert [msgspec.msgpack.decode(members["msgpack"])["label"] for _, members in records] == expected


@pytest.mark.parametrize("copy", [False, True])
def test_arrays_stay_right_after_the_reader(copy: bool) -> None:
    """Arrays kept from every block keep their values when the reader goes on, is closed, and memory is used again."""
    count = 600
    payloads = [packed(image=image(n), label=n, name="", weights=np.full(7, n, np.float32)) for n in range(count)]
    store, paths = store_of(typed_tar(payloads))
    reader = read_samples(store, paths, Sample, copy=copy, block_bytes=64 << 10)
    kept = list(islice(reader, count - 20))
    reader.close()  # type: ignore[attr-defined]  # a generator
    del reader, store
    gc.collect()
    for _ in range(20):
        np.full(64 << 10, 0xEE, np.uint8)

    for number, sample in enumerate(kept):
        assert sample.weights is not None
        assert (sample.image == number % 256).all()
        assert (sample.weights == number).all()


def test_arrays_can_be_written_to_and_share_nothing() -> None:
    """As with arrays that numpy.load gives: an array changed in place changes no other one."""
    payloads = [packed(image=image(n), label=n, name="", weights=np.full(7, n, np.float32)) for n in range(100)]
    payloads += [
        packed(image=image(n), label=n, name="", weights=np.full(n % 5, n, np.float32)) for n in range(100, 140)
    ]
    store, paths = store_of(typed_tar(payloads))
    samples = list(read_samples(store, paths, Sample))

    for sample in samples:
        assert sample.weights is not None
        assert sample.image.flags.behaved
        assert sample.weights.flags.behaved
        sample.image += 1
        sample.weights[:] = -1

    assert [sample.image[3, 4] for sample in samples] == [number % 256 + 1 for number in range(140)]
    assert [sample.label for sample in samples] == list(range(140))


def test_a_copy_does_not_keep_its_block() -> None:
    store, paths = store_of(typed_tar([sample_bytes(number) for number in range(100)]))

    [views, copies] = [next(read_samples(store, paths, Sample, copy=copy)) for copy in (False, True)]

    assert not views.image.flags.owndata
    assert copies.image.flags.owndata


def test_types_are_constructed() -> None:
    """``__post_init__`` runs, keyword-only fields are given by name, defaults stand in for what is missing."""

    @dataclasses.dataclass(kw_only=True)
    class Careful:
        label: int
        more: list[int] = dataclasses.field(default_factory=list)
        name: str = "none"
        doubled: int = dataclasses.field(default=0, init=False)

        def __post_init__(self) -> None:
            self.doubled = 2 * self.label

    store, paths = store_of(typed_tar([packed(name="a", label=4), packed(label=5)]))

    first, second = read_samples(store, paths, Careful)

    assert first == Careful(label=4, name="a")
    assert (first.doubled, second.doubled, second.name) == (8, 10, "none")
    second.more.append(1)
    assert first.more == []


@pytest.mark.parametrize(
    ("payload", "error", "what"),
    [
        (b"\xc1", ShardError, "'000050'"),
        (b"\x83\xa5image", ShardError, "'000050'"),
        (b"", ShardError, "'000050'"),
        (b"\x93\x01\x02\x03", ShardError, "map"),
        (packed(image=image(1), label=1, name="", weights=None) + b"\x00", ShardError, "'000050'"),
        (packed(image=b"\x93NUMPY\x01\x00", label=1, name=""), ShardError, "'image'"),
        (packed(image=b"\x80\x04cos\nsystem\n.", label=1, name=""), ShardError, "pickle"),
        (packed(image=image(1), name=""), SchemaMismatchError, "'000050' does not fit Sample: it has no field 'label'"),
        (packed(image=image(1), label=1, name="", x=1), SchemaMismatchError, "its field 'x' is unknown"),
        (b"\x81" + b"\x91" * 100_000, ShardError, "'000050'"),
    ],
)
@pytest.mark.parametrize("after", [0, 100])
def test_a_bad_sample_is_an_error_that_names_it(payload: bytes, error: type[Exception], what: str, after: int) -> None:
    """Samples before it come, then an error with key and shard."""
    payloads = [sample_bytes(number) for number in range(50)]
    store, paths = store_of(typed_tar([*payloads, payload, *payloads[: after // 2], *payloads]))
    seen: list[int] = []

    def read() -> None:
        seen.extend(sample.label for sample in read_samples(store, paths, Sample))

    with pytest.raises(error, match=what) as caught:
        read()
    assert "000000.tar" in str(caught.value)
    assert isinstance(caught.value, (ValueError, TypeError))
    assert seen == list(range(50))


def test_a_missing_shard() -> None:
    store, paths = store_of(typed_tar([sample_bytes(1)]))
    reader = read_samples(store, [*paths, "gone.tar"], Sample)

    assert next(reader).label == 1
    with pytest.raises(NotFoundError):
        next(reader)


def test_streams_are_closed() -> None:
    """At the end, on an error, and when the reader is closed in between."""
    opened = []

    class Watched(MemoryStore):
        def open(self, path: str, *, start: int = 0, stop: int | None = None) -> Any:
            stream = super().open(path, start=start, stop=stop)
            opened.append([stream, False])
            place = opened[-1]

            class Stream:
                readinto = stream.readinto

                def close(self) -> None:
                    place[1] = True

            return Stream()

    store = Watched({"a.tar": typed_tar([sample_bytes(n) for n in range(9)]), "b.tar": b"<html>" * 99})

    assert len(list(read_samples(store, ["a.tar"], Sample))) == 9
    early = read_samples(store, ["a.tar"], Sample, block_bytes=2048)
    next(early)
    early.close()  # type: ignore[attr-defined]  # a generator
    with pytest.raises(ShardError):
        list(read_samples(store, ["b.tar"], Sample))
    assert [closed for _, closed in opened] == [True] * 3


@dataclasses.dataclass
class Photo:
    pixels: Annotated[NDArray[Any], Extension("npy")]
    label: Annotated[int, Extension("cls")]
    caption: Annotated[str | None, Extension("txt", "caption.txt")]
    raw: Annotated[bytes, Extension("bin")] = b"none"


MEMBERS = [
    ("a.npy", npy(image(1))), ("a.cls", b"7"), ("a.txt", "é".encode()), ("a.other", b"?"),
    ("__index__", b"..."),
    ("d/b.cls", b"8"), ("d/b.NPY", npy(image(2).astype(">f4"))), ("d/b.bin", b"\0\1"),
    ("c.npy", npy(image(3))), ("c.cls", b"9"), ("c.caption.txt", b"other"),
]  # fmt: skip


@pytest.mark.parametrize("block_bytes", [512, 1 << 20])
def test_fields_as_members(block_bytes: int) -> None:
    """Each field from its member, in any order; others are passed over; None or the default for a missing one."""
    store, paths = store_of(make_tar(MEMBERS))

    photos = list(read_samples(store, paths, Photo, block_bytes=block_bytes))

    assert [(photo.label, photo.caption, photo.raw) for photo in photos] == [
        (7, "é", b"none"), (8, None, b"\0\1"), (9, "other", b"none"),
    ]  # fmt: skip
    assert same(photos[1].pixels, image(2).astype(">f4"))
    assert all(photo.pixels.flags.behaved for photo in photos)


def test_untyped_samples() -> None:
    """As webdataset's: the key, and each member decoded by its extension."""
    store, paths = store_of(make_tar([*MEMBERS[:4], ("e.pkl", b"\x80."), ("e.json", b'{"x": [1]}')]))

    first, second = read_samples(store, paths, dict)

    assert list(first) == ["__key__", "npy", "cls", "txt", "other"]
    assert same(first.pop("npy"), image(1))
    assert first == {"__key__": "a", "cls": 7, "txt": "é", "other": b"?"}
    assert second == {"__key__": "e", "pkl": b"\x80.", "json": {"x": [1]}}


@pytest.mark.parametrize(
    ("members", "what"),
    [
        ([("b.cls", b"1")], "sample 'b' has no member .npy for the field 'pixels', only .cls"),
        ([("b.cls", b"x"), ("b.npy", npy(image(1)))], "sample 'b': a .cls member"),
        ([("b.cls", b"1"), ("b.npy", b"12")], "sample 'b': "),
    ],
)
def test_a_bad_member_is_an_error_that_names_its_sample(members: list[tuple[str, bytes]], what: str) -> None:
    store, paths = store_of(make_tar([*MEMBERS[:3], *members]))
    reader = read_samples(store, paths, Photo)

    assert next(reader).label == 7
    with pytest.raises(ShardError, match=r"^000000\.tar: ") as caught:
        next(reader)
    assert what in str(caught.value)


@pytest.mark.parametrize("release", ["v013", "v020", "v070"])
def test_shards_of_earlier_releases(release: str) -> None:
    """Four shards in order, as those releases wrote them."""

    meta = json.loads((FIXTURES / release / "meta.json").read_text())
    paths = sorted(str(path) for path in (FIXTURES / release).glob("shard-*.tar"))
    records = [msgspec.msgpack.decode(members["msgpack"]) for _, members in read_records(FileStore(), paths)]
    kind = dataclasses.make_dataclass("Kind", [(name, Any) for name in records[0]])

    samples: list[Any] = list(read_samples(FileStore(), paths, kind))

    assert meta
    assert len(paths) == 4
    assert [dataclasses.asdict(sample) for sample in samples] == records


@pytest.mark.parametrize("release", ["v013", "v020"])
def test_pickled_arrays_are_refused(release: str) -> None:
    path = str(FIXTURES / release / "objectdtype.tar")
    _, members = next(read_records(FileStore(), [path]))
    record = msgspec.msgpack.decode(members["msgpack"])
    name = next(name for name, value in record.items() if isinstance(value, bytes))
    kind = dataclasses.make_dataclass("Kind", [(key, NDArray if key == name else Any) for key in record])

    with pytest.raises(ShardError, match="pickle"):
        next(read_samples(FileStore(), [path], kind))


MEASURE = """
import dataclasses, sys
from typing import Any
from numpy.typing import NDArray
from atdata.data.reader import read_samples
from atdata.data.batches import read_batches
from atdata.storage.file import FileStore

@dataclasses.dataclass
class Sample:
    image: NDArray[Any]
    label: int

def peak() -> int:
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) << 10 for line in status if line.startswith("VmHWM"))

before, total = peak(), 0
for sample in read_samples(FileStore(), [sys.argv[1]] * 2, Sample):
    total += sample.label
for batch in read_batches(FileStore(), [sys.argv[1]], Sample, 256):
    total += int(batch.label.sum())
print(total, peak() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the peak of memory from /proc")
def test_memory_is_some_blocks(tmp_path: Path) -> None:
    """Some 200 MB, three times over, are read within 64 MB above the import."""
    payloads = [packed(image=np.full((64, 64, 3), n % 256, np.uint8), label=1) for n in range(1000)]
    piece = typed_tar(payloads)[:-1024]
    with (tmp_path / "x.tar").open("wb") as file:
        for _ in range(16):
            file.write(piece)
        file.write(bytes(1024))

    out = subprocess.run(
        [sys.executable, "-c", MEASURE, str(tmp_path / "x.tar")], capture_output=True, text=True, check=True
    )

    total, peak = map(int, out.stdout.split())
    assert total == 3 * 16_000
    assert peak < 64 << 20


@dataclasses.dataclass
class RawPhoto:
    photo: Annotated[memoryview, Extension("jpg")]
    about: Annotated[dict[str, Any], Extension("json")]
    label: Annotated[int, Extension("cls")]
    text: Annotated[str | None, Extension("txt")] = None


@given(st.lists(st.integers(0, 3), min_size=1, max_size=40), st.integers(0, 5), st.sampled_from([512, 3000, 1 << 20]))
def test_members_by_field_are_what_single_ones_are(layouts: list[int], start: int, block_bytes: int) -> None:
    """Samples of equal members, and of different ones among them, at any place of a block."""
    members: list[tuple[str, bytes]] = []
    for number, layout in enumerate(layouts):
        about = b'{"n":%d,"x":NaN}' % number if layout == 3 else b'{"n":%d}' % number
        own = [("jpg", bytes([number]) * (number * 37)), ("json", about), ("cls", b"%d" % number)]
        own += [("txt", b"text")] if layout == 1 else []
        members += [(f"{number:03d}.{extension}", data) for extension, data in (own[::-1] if layout == 2 else own)]
    store, paths = store_of(make_tar(members))

    samples = list(read_samples(store, paths, RawPhoto, start=start, block_bytes=block_bytes))

    assert [sample.label for sample in samples] == list(range(start, len(layouts)))
    for sample in samples:
        number = sample.label
        assert isinstance(sample.photo, memoryview)
        assert sample.photo.tobytes() == bytes([number]) * (number * 37)
        assert sample.about["n"] == number
        assert sample.text == ("text" if layouts[number] == 1 else None)


def test_the_sample_that_is_wrong_is_named_among_equal_ones() -> None:
    """Those before it are handed out."""
    members = [
        (f"{number:03d}.{extension}", b"x" if (number, extension) == (7, "cls") else b"1")
        for number in range(20)
        for extension in ("jpg", "json", "cls")
    ]
    store, paths = store_of(make_tar(members))
    reader = read_samples(store, paths, RawPhoto)

    assert len(list(islice(reader, 7))) == 7
    with pytest.raises(ShardError, match="sample '007'"):
        next(reader)
