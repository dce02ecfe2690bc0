"""Gateways that lie, stall, cut and repeat: what is handed out is right, and comes from whoever has it."""

from contextlib import ExitStack, closing
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.storage.faults import Answer
from tests.storage.ipfs_blocks import Blocks
from tests.storage.lying_gateway import CAR_FAULTS, RAW_FAULTS, Call, LyingGateway, gateway, honest, one_bit

from atdata.errors import IntegrityError, NotFoundError, UnavailableError
from atdata.net import Policy, Transport
from atdata.storage.base import read_all
from atdata.storage.ipfs import IpfsStore

CONTENT = Random(4).randbytes(1_500_000)
CHUNK = 50_000
BLOCKS = Blocks()
ROOT = BLOCKS.add(CONTENT, chunk=CHUNK)
URL = f"ipfs://{ROOT}"
QUICK = Policy(read_timeout=0.3, backoff=0.01, attempts=2)


def store(*servers: LyingGateway) -> IpfsStore:
    return IpfsStore(Transport(QUICK), gateways=[server.base for server in servers])


def read(at: IpfsStore, start: int = 0, stop: int | None = None) -> bytes:
    return read_all(at, URL, start=start, stop=stop, limit=len(CONTENT))


@pytest.mark.parametrize("name", CAR_FAULTS)
def test_spoilt_streams_cost_nothing_but_time(name: str) -> None:
    """Every byte is right, with another gateway and without: then block by block."""
    with gateway(BLOCKS, car=CAR_FAULTS[name]) as spoilt:
        with gateway(BLOCKS) as good:
            assert read(store(spoilt, good)) == CONTENT
        assert read(store(spoilt)) == CONTENT


@pytest.mark.parametrize("name", RAW_FAULTS)
def test_spoilt_blocks_come_from_elsewhere(name: str) -> None:
    """A gateway that spoils whatever it sends never spoils what another one has."""
    with gateway(BLOCKS, raw=RAW_FAULTS[name], car=CAR_FAULTS["lies in one bit"]) as spoilt, gateway(BLOCKS) as good:
        both = store(spoilt, good)

        assert both.size(URL) == len(CONTENT)
        assert read(both, 70_000, 170_000) == CONTENT[70_000:170_000]
        assert read(store(spoilt, good)) == CONTENT


@pytest.mark.parametrize("name", ["cut within a block", "lies in one bit", "ends after a block", "stalls"])
def test_the_next_gateway_goes_on_at_the_block(name: str) -> None:
    """It is asked for the rest of the file from the first byte that is missing, and for nothing before."""
    with gateway(BLOCKS, car=CAR_FAULTS[name]) as spoilt, gateway(BLOCKS) as good:
        assert read(store(spoilt, good)) == CONTENT

        assert spoilt.cars == [""]
        (asked,) = good.cars
        assert asked.endswith(":*")
        assert int(asked[:-2]) % CHUNK == 0
        assert len(CONTENT) // 3 < int(asked[:-2]) < len(CONTENT)
        assert good.singles == []


def test_one_gateway_that_cuts_goes_on_by_itself() -> None:
    """With no other to ask, the same one is asked for the rest, and for the one block where it had stopped."""

    def cuts(call: Call) -> Answer:
        return honest(call) if call.start else CAR_FAULTS["cut within a block"](call)

    with gateway(BLOCKS, car=cuts) as server:
        assert read(store(server)) == CONTENT

        assert len(server.cars) == 2
        assert len(server.singles) == 2  # the root first


def test_gateways_without_ranges_give_single_blocks() -> None:
    """One that sends whole files only is not asked for a CAR from the middle again."""
    with (
        gateway(BLOCKS, car=CAR_FAULTS["lies in one bit"]) as spoilt,
        gateway(BLOCKS, ranges=False) as good,
    ):
        both = store(spoilt, good)
        assert read(both) == CONTENT
        assert len(good.cars) == 1
        assert 10 < len(good.singles) < 25

        assert read(store(good), 200_000, 1_400_000) == CONTENT[200_000:1_400_000]


def test_a_range_asks_for_its_blocks_only() -> None:
    """A small one by single blocks, a large one by a CAR that ends where the range does."""
    with gateway(BLOCKS) as server:
        at = store(server)
        wanted = [str(cid) for cid in BLOCKS.in_order(ROOT, 120_000, 230_000)]
        assert read(at, 120_000, 230_000) == CONTENT[120_000:230_000]
        assert server.cars == []
        assert server.singles == wanted

        assert read(at, 130_000, 1_330_000) == CONTENT[130_000:1_330_000]
        assert server.cars == ["100000:1329999"]
        assert server.singles == wanted


def test_empty_ranges_ask_for_nothing_but_the_root() -> None:
    """It tells the size of the file."""
    with gateway(BLOCKS) as server:
        at = store(server)
        assert read(at, 9, 9) == read(at, len(CONTENT) + 5) == b""

        assert server.singles == [str(ROOT)]


def test_when_all_lie_the_error_names_gateway_and_block() -> None:
    """An `IntegrityError`, and not a byte of what was sent."""
    with (
        gateway(BLOCKS, raw=one_bit) as one,
        gateway(BLOCKS, raw=one_bit) as two,
        pytest.raises(IntegrityError) as caught,
    ):
        store(one, two).open(URL)
    assert one.base in str(caught.value)
    assert two.base in str(caught.value)
    assert str(ROOT) in str(caught.value)


def test_a_lie_about_one_leaf_ends_the_stream_before_it() -> None:
    """What came before is right; the error stays, and is never the end of the file."""
    victim = list(BLOCKS.in_order(ROOT))[9]

    def lie(call: Call) -> Answer:
        sent = [(cid, block[:-1] + b"x" if cid == victim else block) for cid, block in call.sent]
        return honest(Call(call.cid, sent, call.start, call.is_car))

    with gateway(BLOCKS, raw=lie, car=lie) as server:
        got = bytearray()
        buffer = memoryview(bytearray(1 << 20))
        with closing(store(server).open(URL)) as stream:
            with pytest.raises(IntegrityError, match=str(victim)):  # noqa: PT012  # reads until it fails
                while count := stream.readinto(buffer):
                    got += buffer[:count]
            with pytest.raises(IntegrityError, match=str(victim)):
                stream.readinto(buffer)

    assert 0 < len(got) < len(CONTENT)
    assert got == CONTENT[: len(got)]


def test_nobody_has_it() -> None:
    """A `NotFoundError` that says who was asked."""
    with gateway(Blocks()) as one, gateway(Blocks()) as two, pytest.raises(NotFoundError) as caught:
        store(one, two).size(URL)
    assert one.base in str(caught.value)
    assert two.base in str(caught.value)


@pytest.mark.parametrize("name", ["500", "HTML", "stalls", "403", "503 for an hour"])
def test_those_that_do_not_answer_are_listed(name: str) -> None:
    """One has it not, one has no time: an `UnavailableError` that says why of each, and how to name others."""
    with (
        gateway(Blocks()) as empty,
        gateway(BLOCKS, raw=RAW_FAULTS[name]) as busy,
        pytest.raises(UnavailableError, match="ATDATA_IPFS_GATEWAYS") as caught,
    ):
        store(empty, busy).size(URL)
    assert f"{empty.base} does not have it" in str(caught.value)
    assert busy.base in str(caught.value)


def test_a_lie_and_a_lack_are_a_lie() -> None:
    """Who has it sends something else: asking again does not help."""
    with (
        gateway(Blocks()) as empty,
        gateway(BLOCKS, raw=one_bit) as liar,
        pytest.raises(IntegrityError, match=liar.base),
    ):
        store(empty, liar).size(URL)


def test_a_gateway_that_is_busy_is_asked_again() -> None:
    """A 503 that passes is no error, with but one gateway."""
    answers = iter([Answer(503), Answer(429, headers={"Retry-After": "0"})])
    with gateway(BLOCKS, raw=lambda call: next(answers, None) or honest(call)) as server:
        at = IpfsStore(Transport(Policy(backoff=0.01, attempts=3)), gateways=[server.base])
        assert at.size(URL) == len(CONTENT)


def test_those_that_failed_are_asked_last() -> None:
    """The next file begins with the gateway that delivered."""
    with gateway(BLOCKS, raw=RAW_FAULTS["500"]) as busy, gateway(BLOCKS) as good:
        both = store(busy, good)
        read(both, 0, 10)
        asked = len(busy.asked)
        read(both, 700_000, 700_010)

        assert len(busy.asked) == asked == 1


@settings(max_examples=15)
@given(st.data())
def test_any_faults_of_two_among_three(data: st.DataObject) -> None:
    """Whatever two gateways do, a third makes the file whole and exact."""
    # Stalls take the time that they take; they have tests of their own.
    names = sorted(name for name in CAR_FAULTS if "stall" not in name)
    singles = sorted(name for name in RAW_FAULTS if "stall" not in name)
    place = data.draw(st.integers(0, 2))
    start = data.draw(st.integers(0, 400_000))
    with ExitStack() as stack:
        servers = [
            stack.enter_context(
                gateway(
                    BLOCKS,
                    car=CAR_FAULTS[data.draw(st.sampled_from(names))],
                    raw=RAW_FAULTS[data.draw(st.sampled_from(singles))],
                    ranges=data.draw(st.booleans()),
                )
            )
            for _ in range(2)
        ]
        servers.insert(place, stack.enter_context(gateway(BLOCKS)))
        assert read(store(*servers), start) == CONTENT[start:]
