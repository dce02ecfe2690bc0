"""Grouping: the samples that webdataset makes of a tar."""

import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.data.tars import make_tar
from webdataset.tariterators import group_by_keys, tar_file_expander

from atdata.data.headers import find_members
from atdata.data.members import before_last_sample, equal_samples, msgpack_members, samples_in
from atdata.errors import ShardError

part = st.sampled_from(
    ["a", "b", "a.jpg", "A.JPG", "b.cls", "b.seg.png", "__meta__", "__x__.cls", "_", ".h", "a.msgpack"]
)
names = st.lists(st.sampled_from(["", "d/", "d.e/", "__m__/"]).flatmap(lambda folder: part.map(lambda p: folder + p)))


def by_webdataset(data: bytes) -> list[dict[str, Any]]:
    files = tar_file_expander([{"url": "x.tar", "stream": io.BytesIO(data)}])
    return [
        {key: value for key, value in sample.items() if key != "__url__"} for sample in group_by_keys(files) if sample
    ]


@given(names)
def test_samples_are_those_of_webdataset(names: list[str]) -> None:
    """The same keys, the same extensions, the same errors."""
    data = make_tar([(name, str(number).encode()) for number, name in enumerate(names)])
    members = find_members(np.frombuffer(data, np.uint8)).members
    content = [
        int(members.buffer[start + 512 :][:size].tobytes())
        for start, size in zip(members.headers, members.sizes, strict=True)
    ]
    try:
        expected = by_webdataset(data)
    except ValueError as error:
        assert "duplicate" in str(error)  # noqa: PT017  # whether it comes is what is compared
        with pytest.raises(ShardError, match=r"x\.tar: sample .* has two members"):
            list(samples_in(members, shard="x.tar"))
        return

    found = [
        {"__key__": key} | {extension: str(content[number]).encode() for extension, number in numbers.items()}
        for key, numbers in samples_in(members, shard="x.tar")
    ]

    # webdataset also gives a sample of nothing but a key where all of its members are left out; there are none here.
    assert found == expected


@given(st.lists(st.sampled_from(["a", "b", "dd/c", "0" * 60, "_x", "__x", "a.b", "a\x01", "é"]), min_size=1))
def test_msgpack_members_are_found_alike_one_by_one_and_at_once(keys: list[str]) -> None:
    """The look at all names at once gives what the look at each one gives."""
    members = find_members(np.frombuffer(make_tar([(f"{key}.msgpack", b"x") for key in keys]), np.uint8)).members
    try:
        expected = [numbers["msgpack"] for _, numbers in samples_in(members, shard="x")]
    except (ShardError, KeyError):
        with pytest.raises(ShardError):
            msgpack_members(members, shard="x")
        return

    assert msgpack_members(members, shard="x").tolist() == expected


def test_a_sample_without_msgpack_is_an_error_that_names_it() -> None:
    data = make_tar([("a.msgpack", b"x"), ("a.jpg", b"x"), ("d/b.jpg", b"x"), ("d/b.cls", b"1")])
    members = find_members(np.frombuffer(data, np.uint8)).members

    with pytest.raises(ShardError, match=r"x\.tar: sample 'd/b' has no \.msgpack member, only \.jpg, \.cls"):
        msgpack_members(members, shard="x.tar")


@pytest.mark.parametrize(
    ("names", "count"),
    [
        ([], 0),
        (["a.x"], 0),
        (["a.x", "a.y"], 0),
        (["a.x", "b.x"], 1),
        (["a.x", "b.x", "b.y", "__index__"], 1),
        (["noext", "__index__"], 2),
    ],
)
def test_the_last_sample_may_go_on(names: list[str], count: int) -> None:
    members = find_members(np.frombuffer(make_tar([(name, b"") for name in names]), np.uint8)).members

    assert before_last_sample(members) == count


keys = st.text("ab0._/", min_size=1, max_size=4)
extension_lists = st.lists(st.sampled_from(["jpg", "CLS", "json", "seg.png"]), min_size=1, max_size=3)


@given(st.lists(keys, min_size=1, max_size=6), extension_lists, st.integers(0, 3))
def test_equal_samples_are_what_single_names_say(keys: list[str], extensions: list[str], odd: int) -> None:
    """Whenever samples are found to be equal, grouping name by name gives the same; keys of any form."""
    members = [(f"{key}.{extension}", b"") for key in keys for extension in extensions]
    if odd and odd <= len(members):
        members[-odd] = ("b.jpg", b"")
    found = find_members(np.frombuffer(make_tar(members), np.uint8)).members

    equal = equal_samples(found)

    if equal is not None:
        samples = list(samples_in(found, shard="x.tar"))
        assert [tuple(by_extension) for _, by_extension in samples] == [equal] * len(samples)
        numbers = [number for _, by_extension in samples for number in by_extension.values()]
        assert numbers == list(range(len(found)))


def test_equal_samples_are_seen() -> None:
    """Else the property above would test nothing."""
    members = [(f"d.e/{number:04d}.{name}", b"") for number in range(50) for name in ("jpg", "cls")]

    assert equal_samples(find_members(np.frombuffer(make_tar(members), np.uint8)).members) == ("jpg", "cls")
