"""Streams over HTTP: resumed after a cut, never glued from two versions, never short without an error."""

from contextlib import closing

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.storage.faults import Answer, serving

from atdata.errors import AuthenticationError, NotFoundError, RefusedError, UnavailableError
from atdata.net import Policy, Transport

INSIDE = Policy(allow_private=True, backoff=0.001, connect_timeout=5, read_timeout=5)
BODY = bytes(range(256)) * 40
DATE = "Wed, 21 Oct 2015 07:28:00 GMT"
OTHER = bytes(reversed(BODY))


def read(transport: Transport, url: str, *, start: int = 0, stop: int | None = None, immutable: bool = False) -> bytes:
    got = bytearray()
    buffer = memoryview(bytearray(1000))
    with closing(transport.open(url, start=start, stop=stop, immutable=immutable)) as stream:
        while count := stream.readinto(buffer):
            got += buffer[:count]
    return bytes(got)


@pytest.fixture
def transport() -> Transport:
    return Transport(INSIDE)


@pytest.mark.parametrize("start", [0, 17])
@pytest.mark.parametrize(
    "validator", [{"etag": '"v1"'}, {"headers": {"Last-Modified": "Wed, 21 Oct 2015 07:28:00 GMT"}}]
)
def test_a_cut_stream_goes_on_by_range(transport: Transport, start: int, validator: dict[str, object]) -> None:
    """The rest is asked for from the byte that is missing, on the condition that nothing has changed."""
    cut = Answer(body=BODY, cut=3000, **validator)  # type: ignore[arg-type]
    with serving({"/a": [cut, cut, Answer(body=BODY, **validator)]}) as server:  # type: ignore[arg-type]
        assert read(transport, server.url("/a"), start=start) == BODY[start:]

        asked = server.asked[1].headers
        assert asked["range"] == f"bytes={start + 3000}-"
        assert asked["if-range"] == validator.get("etag", DATE)
        assert len(server.asked) == 3


def test_a_stalled_stream_goes_on() -> None:
    """A stall is a cut that takes longer to be seen."""
    transport = Transport(Policy(allow_private=True, backoff=0.001, read_timeout=0.1))
    with serving({"/a": [Answer(body=BODY, stall=500, etag='"v1"'), Answer(body=BODY, etag='"v1"')]}) as server:
        assert read(transport, server.url("/a")) == BODY


def test_failures_while_resuming_are_tried_again(transport: Transport) -> None:
    """A 503 between two parts is waited out."""
    rows = [Answer(body=BODY, cut=100, etag='"v1"'), Answer(503), Answer(429), Answer(body=BODY, etag='"v1"')]
    with serving({"/a": rows}) as server:
        assert read(transport, server.url("/a")) == BODY


@pytest.mark.parametrize(
    "later",
    [
        Answer(body=OTHER, etag='"v2"'),
        Answer(body=OTHER, etag='"v2"', ranges=False),
        Answer(body=OTHER),
        Answer(body=BODY + b"!", etag='"v1"'),
        Answer(206, body=OTHER[100:], etag='"v2"', headers={"Content-Range": f"bytes 100-{len(BODY) - 1}/{len(BODY)}"}),
        Answer(206, body=OTHER[100:], headers={"Content-Range": f"bytes 100-{len(BODY) - 1}/{len(BODY)}"}),
    ],
    ids=["changed", "changed-without-range", "no-etag-now", "longer", "ignores-if-range", "ignores-if-range-no-etag"],
)
def test_bytes_of_two_versions_are_never_joined(transport: Transport, later: Answer) -> None:
    """When the object changes between two parts, the stream ends with an error that says so."""
    with (
        serving({"/a": [Answer(body=BODY, cut=100, etag='"v1"'), later]}) as server,
        pytest.raises(UnavailableError, match="another version"),
    ):
        read(transport, server.url("/a"))


@pytest.mark.parametrize("etag", [None, 'W/"weak"'])
def test_without_a_strong_validator_nothing_is_resumed(transport: Transport, etag: str | None) -> None:
    """Unless the caller knows that the bytes never change, as those of a CID."""
    rows = [Answer(body=BODY, cut=100, etag=etag), Answer(body=BODY, etag=etag, ranges=False)]
    with serving({"/a": rows, "/b": rows}) as server:
        with pytest.raises(UnavailableError, match="neither ETag nor Last-Modified"):
            read(transport, server.url("/a"))
        assert read(transport, server.url("/b"), immutable=True) == BODY


def test_a_cut_before_the_first_byte_is_a_fresh_start(transport: Transport) -> None:
    """Nothing was handed out, so another version does no harm."""
    with serving({"/a": [Answer(body=BODY, cut=0, etag='"v1"'), Answer(body=OTHER, etag='"v2"')]}) as server:
        assert read(transport, server.url("/a")) == OTHER


def test_resumptions_are_counted(transport: Transport) -> None:
    """A server that cuts for ever is given up, with the place where it ended."""
    with serving({"/a": [Answer(body=BODY, cut=10, etag='"v1"')]}) as server:
        with pytest.raises(UnavailableError, match=r"ended at byte 90 of 10,240, after 8 resumptions"):
            read(transport, server.url("/a?token=hunter2"))
        assert len(server.asked) == 9


@pytest.mark.parametrize(
    "fault",
    [
        Answer(206, body=BODY),
        Answer(206, body=BODY[:5], headers={"Content-Range": "bytes 0-4/10240"}),
        Answer(206, body=BODY[7:12], headers={"Content-Range": "bytes 7-99/10240"}),
        Answer(206, body=BODY[7:], headers={"Content-Range": "bytes 7-10239/100"}),
        Answer(206, body=BODY[7:], headers={"Content-Range": "lines 7-10239/10240"}),
        Answer(206, body=BODY, headers={"Content-Type": "multipart/byteranges; boundary=x"}),
        Answer(416, headers={"Content-Range": "bytes */10240"}),
        Answer(204),
        Answer(304),
        Answer(400, body=b"<html>"),
        Answer(302),
    ],
)
def test_answers_that_contradict_the_question_are_errors(transport: Transport, fault: Answer) -> None:
    """Bytes from elsewhere in the object are never taken for those asked for: `open` itself fails."""
    with serving({"/a": [fault]}) as server, pytest.raises(UnavailableError):
        transport.open(server.url("/a"), start=7)


@pytest.mark.parametrize(
    ("status", "error"),
    [(404, NotFoundError), (410, NotFoundError), (401, AuthenticationError), (403, AuthenticationError)],
)
def test_statuses_say_what_to_do(transport: Transport, status: int, error: type[Exception]) -> None:
    """What is missing and what is closed are told apart, at the first attempt, and no secret is shown."""
    with serving({"/a": [Answer(status)]}) as server:
        with pytest.raises(error) as caught:
            transport.open(server.url("/a?sig=hunter2"))
        assert "hunter2" not in str(caught.value)
        assert len(server.asked) == 1


def test_a_server_may_send_less_of_a_range_than_was_asked(transport: Transport) -> None:
    """The rest is asked for."""
    part = Answer(206, body=BODY[:100], etag='"v1"', headers={"Content-Range": f"bytes 0-99/{len(BODY)}"})
    with serving({"/a": [part, Answer(body=BODY, etag='"v1"')]}) as server:
        assert read(transport, server.url("/a"), stop=300) == BODY[:300]


def test_bodies_without_a_length_end_where_they_end(transport: Transport) -> None:
    """Chunked, or until the connection closes: ranges are cut on our side."""
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n01234\r\n5\r\n56789\r\n0\r\n\r\n"
    closed = b"HTTP/1.1 200 OK\r\n\r\n0123456789"
    with serving({"/a": [Answer(raw=[chunked])], "/b": [Answer(raw=[closed])]}) as server:
        for path in ("/a", "/b"):
            url = server.url(path)
            assert read(transport, url) == b"0123456789"
            assert read(transport, url, start=3, stop=7) == b"3456"
            assert read(transport, url, start=8, stop=99) == b"89"
            assert read(transport, url, start=99) == b""


def test_an_empty_object_is_an_empty_stream(transport: Transport) -> None:
    """Also for a server that answers every range of it with 416."""
    with serving({"/a": [Answer(body=b"", etag='"v1"')]}) as server:
        assert read(transport, server.url("/a")) == b""
        assert read(transport, server.url("/a"), stop=10) == b""
        assert transport.head_size(server.url("/a")) == 0


def test_size_is_asked_without_reading(transport: Transport) -> None:
    """By HEAD, else by the Content-Range of one byte."""
    routes = {
        "/a": [Answer(body=BODY)],
        "/no-head": [Answer(405), Answer(body=BODY)],
        "/none": [Answer(length=-1, ranges=False)],
    }
    with serving(routes) as server:
        assert transport.head_size(server.url("/a")) == len(BODY)
        assert transport.head_size(server.url("/no-head")) == len(BODY)
        with pytest.raises(UnavailableError, match="length"):
            transport.head_size(server.url("/none"))
        with pytest.raises(NotFoundError):
            transport.head_size(server.url("/missing"))


def test_a_resumption_is_checked_like_the_first_request() -> None:
    """A redirect that turns to a private address after the cut is refused."""
    policy = Policy(backoff=0.001, upgrade=False)
    with serving({"/b": [Answer(body=BODY, etag='"v1"')]}) as other:
        rows = [Answer(body=BODY, cut=100, etag='"v1"'), Answer(302, headers={"Location": other.url("/b")})]
        with serving({"/a": rows}) as server:
            transport = Transport(
                Policy(private_hosts=frozenset({f"127.0.0.1:{server.port}"}), backoff=policy.backoff, upgrade=False)
            )
            with pytest.raises(RefusedError, match="private-address"):
                read(transport, server.url("/a"))
        assert other.asked == []


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    cuts=st.lists(st.integers(0, 2000), max_size=6),
    ranges=st.booleans(),
    start=st.integers(0, 12_000),
    length=st.none() | st.integers(0, 12_000),
)
def test_whatever_is_cut_the_bytes_are_right(
    transport: Transport, cuts: list[int], ranges: bool, start: int, length: int | None
) -> None:
    """Any cuts, with and without Range: exactly the bytes of the range, in order."""
    stop = None if length is None else start + length
    rows = [Answer(body=BODY, cut=cut, etag='"v1"', ranges=ranges) for cut in cuts]
    with serving({"/a": [*rows, Answer(body=BODY, etag='"v1"', ranges=ranges)]}) as server:
        assert read(transport, server.url("/a"), start=start, stop=stop) == BODY[start:stop]
