"""Several places as one: whatever one of them does, every byte comes once and right, or the error says why not."""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from tests.storage.faults import Answer, FaultServer, serving
from tests.storage.shards import flipped, make_shard

from atdata.errors import IntegrityError, NotFoundError, RefusedError, UnavailableError
from atdata.net import Policy, Transport
from atdata.storage.base import Shard, Store, read_all
from atdata.storage.cache import Cache
from atdata.storage.composed import Lying, compose
from atdata.storage.http import HttpStore
from atdata.storage.takeover import Ranking
from atdata.testing import MemoryStore

DATA, SHARD = make_shard(samples=100)
WHOLE = Shard(SHARD.cid, SHARD.bytes, SHARD.samples)
STALL = 0.15
POLICY = Policy(allow_private=True, attempts=2, backoff=0.01, connect_timeout=5, read_timeout=1, resumptions=0)
GOOD = Answer(body=DATA, etag='"1"')
DEAD = Answer(503)
STALLS = Answer(body=DATA, etag='"1"', stall=300_000)
CUTS = Answer(body=DATA, cut=300_000)
LIES = Answer(body=flipped(DATA, 400_000), etag='"1"')
SHORT = Answer(body=DATA[:-1], etag='"1"')


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def lying(stack: ExitStack, answers: Sequence[Answer | None]) -> tuple[list[Lying], list[FaultServer]]:
    """Places, each a server of its own with a path of its own; None has nothing."""
    servers = [
        stack.enter_context(serving({f"/place{i}/a.tar": [answer]} if answer else {}))
        for i, answer in enumerate(answers)
    ]
    places = [
        Lying(f"place {i}", HttpStore(Transport(POLICY)), [server.url(f"/place{i}/a.tar")])
        for i, server in enumerate(servers)
    ]
    return places, servers


def mirrored(places: Sequence[Lying], folder: Path, shard: Shard = SHARD, *, stall: float = STALL) -> tuple[Store, str]:
    return compose(places, [shard], cache=Cache(folder, limit=0), stall=stall), places[0].paths[0]


@pytest.mark.parametrize("shard", [SHARD, WHOLE], ids=["by block", "as a whole"])
@pytest.mark.parametrize(
    "answers",
    [
        [DEAD, GOOD],
        [STALLS, GOOD],
        [CUTS, GOOD],
        [LIES, GOOD],
        [SHORT, GOOD],
        [None, GOOD],
        [STALLS, LIES, DEAD, GOOD],
        [None, DEAD, LIES, CUTS, STALLS, SHORT, GOOD],
    ],
    ids=["dead", "stalls", "cuts", "lies", "short", "lacks it", "four", "seven"],
)
def test_one_good_place_is_enough(tmp_path: Path, stack: ExitStack, answers: list[Answer | None], shard: Shard) -> None:
    """Whichever way the others fail, and in whatever order; several times, as their ranking changes."""
    for order in (answers, answers[::-1]):
        places, _ = lying(stack, order)
        store, path = mirrored(places, tmp_path, shard)
        for _ in range(2):
            assert read_all(store, path, limit=len(DATA)) == DATA
            assert read_all(store, path, start=250_000, stop=500_000, limit=len(DATA)) == DATA[250_000:500_000]


def test_no_place_has_to_be_good(tmp_path: Path, stack: ExitStack) -> None:
    """One is dead, one stalls, one lies in one bit: together they have every block."""
    places, _ = lying(stack, [DEAD, STALLS, LIES])
    store, path = mirrored(places, tmp_path)

    for _ in range(3):
        assert read_all(store, path, limit=len(DATA)) == DATA


def test_a_lie_is_passed_by_at_its_block(tmp_path: Path, stack: ExitStack) -> None:
    """Nothing that was handed out is fetched again: the other place is asked for the wrong block alone."""
    places, servers = lying(stack, [LIES, GOOD])
    store, path = mirrored(places, tmp_path, stall=20)
    store._inner._ranking._seconds[:] = [0.0, 9.0]  # type: ignore[attr-defined]  # how fast they answer is chance

    assert read_all(store, path, limit=len(DATA)) == DATA
    index, block = (asked.headers["range"] for asked in servers[1].asked)
    assert index == f"bytes={len(DATA) - 65536}-{len(DATA) - 1}"
    assert block == "bytes=262144-524287"


@pytest.mark.parametrize("shard", [SHARD, WHOLE], ids=["by block", "as a whole"])
def test_the_error_names_every_place(tmp_path: Path, stack: ExitStack, shard: Shard) -> None:
    """And the shard, and why each failed."""
    places, _ = lying(stack, [DEAD, None, LIES])
    store, path = mirrored(places, tmp_path, shard)

    with pytest.raises(UnavailableError) as caught:
        read_all(store, path, limit=len(DATA))
    text = str(caught.value)
    assert path in text
    assert all(word in text for word in ("place 0:", "503", "place 1:", "nothing at this address", "place 2:"))
    assert ("block 1" if shard is SHARD else str(SHARD.cid)) in text


@pytest.mark.parametrize("shard", [SHARD, WHOLE], ids=["by block", "as a whole"])
def test_places_that_all_lie_are_an_integrity_error(tmp_path: Path, stack: ExitStack, shard: Shard) -> None:
    """Trying again later will not help."""
    places, _ = lying(stack, [LIES, LIES])
    store, path = mirrored(places, tmp_path, shard)

    with pytest.raises(IntegrityError, match=r"place 0: .*place 1: |place 1: .*place 0: "):
        read_all(store, path, limit=len(DATA))


def test_what_no_place_has_is_not_found(tmp_path: Path, stack: ExitStack) -> None:
    """As for one place."""
    places, _ = lying(stack, [None, None])
    store, path = mirrored(places, tmp_path)

    with pytest.raises(NotFoundError, match="place 0"):
        store.open(path)


def test_places_that_only_are_slow_get_time(tmp_path: Path, stack: ExitStack) -> None:
    """When there is nobody else, what took too long is waited for."""
    places, servers = lying(stack, [GOOD, GOOD])
    slow = [Answer(body=DATA, etag='"1"', wait=2.5 * STALL)] * 40
    for i, server in enumerate(servers):
        server.routes[f"/place{i}/a.tar"] = list(slow)
    store, path = mirrored(places, tmp_path)

    assert read_all(store, path, limit=len(DATA)) == DATA


def test_shards_that_nobody_can_check_are_not_joined(tmp_path: Path, stack: ExitStack) -> None:
    """Two places may have two versions; one that is dead from the start is another matter."""
    places, _ = lying(stack, [DEAD, GOOD])
    store, path = mirrored(places, tmp_path, Shard())
    assert read_all(store, path, limit=len(DATA)) == DATA
    places, _ = lying(stack, [CUTS, DEAD])
    store, path = mirrored(places, tmp_path, Shard())
    with pytest.raises(UnavailableError, match="another version"):
        read_all(store, path, limit=len(DATA))


def test_a_refusal_is_told_with_its_rule(tmp_path: Path) -> None:
    """A mirror at a private address is refused; the others are read."""
    refused = Lying("inside", HttpStore(Transport(Policy(attempts=1))), ["http://127.0.0.1:9/a.tar"])
    good = Lying("good", MemoryStore({"a": DATA}), ["a"])
    store, path = mirrored([refused, good], tmp_path)
    assert read_all(store, path, limit=len(DATA)) == DATA
    store, path = mirrored([refused, refused], tmp_path)
    with pytest.raises((UnavailableError, RefusedError), match="private-address"):
        store.open(path)


def test_the_fastest_is_asked_first() -> None:
    """Measured; what failed lately comes last, and last of all what has never answered."""
    ranking = Ranking(4)
    assert ranking.order() == [0, 1, 2, 3]
    assert ranking.is_unknown(0)
    ranking.answered(0, 0.5)
    ranking.answered(1, 0.1)
    ranking.failed(2)
    ranking.answered(3, 0.2)
    assert ranking.order() == [1, 3, 0, 2]
    ranking.failed(1)
    assert ranking.order() == [3, 0, 1, 2]
    for _ in range(20):
        ranking.answered(0, 0.01)
    assert ranking.order() == [0, 3, 1, 2]
    assert not any(map(ranking.is_unknown, range(4)))


def test_threads_of_streams_end(tmp_path: Path, stack: ExitStack) -> None:
    """Of those that were read, and of those that were closed in the middle."""
    places, _ = lying(stack, [GOOD, GOOD])
    store, path = mirrored(places, tmp_path)
    for _ in range(5):
        read_all(store, path, limit=len(DATA))
        with closing(store.open(path)) as stream:
            stream.readinto(memoryview(bytearray(10)))

    deadline = time.monotonic() + 20
    while any(thread.name == "atdata-pump" for thread in threading.enumerate()):
        assert time.monotonic() < deadline
        threading.Event().wait(0.01)
