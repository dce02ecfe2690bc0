"""Random faults: every epoch is complete and right to the byte, or ends in an error that names the shard."""

from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.storage.faults import FAULTS, FaultProxy, running
from tests.storage.shards import make_shards

from atdata.errors import AtdataError
from atdata.net import Policy, Transport
from atdata.storage.base import Shard, Store, read_all
from atdata.storage.cache import Cache
from atdata.storage.composed import Lying, compose
from atdata.storage.http import HttpStore

OBJECTS, FACTS = make_shards(8)
PATIENCE = 0.1
POLICY = Policy(
    allow_private=True, attempts=5, backoff=0.002, connect_timeout=5, read_timeout=PATIENCE, deadline=20, resumptions=30
)


def place(server: FaultProxy, name: str) -> Lying:
    return Lying(name, HttpStore(Transport(POLICY)), [server.url(path) for path in OBJECTS])


def epoch(store: Store, paths: list[str]) -> int:
    """Read every shard; the number of those that came."""
    came = 0
    for path, data in zip(paths, OBJECTS.values(), strict=True):
        try:
            found = read_all(store, path, limit=10 << 20)
        except AtdataError as error:
            assert path.rpartition("/")[2] in str(error)  # noqa: PT017  # most epochs have none
        else:
            assert found == data
            came += 1
    return came


@pytest.mark.parametrize("indexed", [True, False], ids=["by block", "as a whole"])
@pytest.mark.parametrize("mirrors", [1, 3], ids=["one place", "three places"])
@pytest.mark.parametrize("ranges", [True, False], ids=["ranges", "no ranges"])
def test_epochs_are_right_or_name_the_shard(tmp_path: Path, indexed: bool, mirrors: int, ranges: bool) -> None:
    """Whatever faults come, wherever, however often; nothing wrong is kept in the cache either."""
    facts = [shard if indexed else Shard(shard.cid, shard.bytes, shard.samples) for shard in FACTS.values()]
    came = epochs = 0
    with ExitStack() as stack:
        servers = [
            stack.enter_context(running(FaultProxy(OBJECTS, seed=number, rate=0.5, ranges=ranges)))
            for number in range(mirrors)
        ]
        while sum(sum(server.drawn.values()) for server in servers) < 60:
            places = [place(server, f"place {number}") for number, server in enumerate(servers)]
            cache = Cache(tmp_path / str(epochs))
            store = compose(places, facts, cache=cache, stall=PATIENCE)
            came += epoch(store, list(places[0].paths))
            epochs += 1
            for server in servers:
                server.rate = 0.0
            assert epoch(compose(places, facts, cache=cache), list(places[0].paths)) == len(OBJECTS)
            for server in servers:
                server.rate = 0.5

    assert came >= epochs * len(OBJECTS) * (0.95 if mirrors > 1 else 0.5)


@pytest.mark.parametrize("fault", FAULTS)
def test_one_fault_of_each_kind_is_survived(tmp_path: Path, fault: str) -> None:
    """By one place alone, which has it in every second answer."""
    with running(FaultProxy(OBJECTS, seed=5, rate=0.4, faults=[fault])) as server:
        store = compose([place(server, "here")], list(FACTS.values()), cache=Cache(tmp_path), stall=PATIENCE)

        # An answer that contradicts itself about its length is not asked for again by the transport.
        least = len(OBJECTS) // 2 if fault == "length" else len(OBJECTS) - 2
        assert epoch(store, [server.url(path) for path in OBJECTS]) >= least
        assert server.drawn[fault] > 2
