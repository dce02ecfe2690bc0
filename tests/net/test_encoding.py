"""Bodies that a server compresses on the way: read as they were, bounded, and right whatever is cut."""

import gzip
import zlib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.net.test_stream import BODY, read
from tests.storage.faults import Answer, serving

from atdata.errors import LimitError, UnavailableError
from atdata.net import Policy, Transport, encoding

PACKED = gzip.compress(BODY)
GZIPPED = {"Content-Encoding": "gzip"}


@pytest.fixture(scope="module")
def transport() -> Transport:
    return Transport(Policy(allow_private=True, backoff=0.001))


def chunked(data: bytes, size: int = 100, *, whole: bool = True) -> bytes:
    """A gzipped answer as servers send it that compress on the fly: without a length."""
    pieces = [data[i : i + size] for i in range(0, len(data), size)] + ([b""] if whole else [])
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)


@pytest.mark.parametrize(
    "answer",
    [
        Answer(body=PACKED, headers=GZIPPED, ranges=False),
        Answer(body=PACKED, headers={"Content-Encoding": "X-GZIP"}, ranges=False),
        Answer(body=zlib.compress(BODY), headers={"Content-Encoding": "deflate"}, ranges=False),
        Answer(body=gzip.compress(BODY[:99]) + gzip.compress(BODY[99:]), headers=GZIPPED, ranges=False),
        Answer(raw=[chunked(PACKED)]),
        Answer(raw=[b"HTTP/1.0 200 OK\r\nContent-Encoding: gzip\r\n\r\n" + PACKED]),
    ],
    ids=["gzip", "x-gzip", "deflate", "members", "chunked", "until-closed"],
)
def test_what_was_compressed_on_the_way_is_read_as_it_was(transport: Transport, answer: Answer) -> None:
    """Whole, and in parts, which are counted in its own bytes."""
    with serving({"/a.tar": [answer]}) as server:
        url = server.url("/a.tar")

        assert read(transport, url) == BODY
        assert read(transport, url, start=1000, stop=5000) == BODY[1000:5000]
        assert read(transport, url, start=len(BODY)) == b""


def test_a_part_of_what_was_compressed_is_not_taken(transport: Transport) -> None:
    """Range of the compressed bytes gives nothing that can be read: the whole is asked for instead."""
    with serving({"/a.tar": [Answer(body=PACKED, headers=GZIPPED)]}) as server:
        assert read(transport, server.url("/a.tar"), start=50, stop=100) == BODY[50:100]
        assert ["range" in asked.headers for asked in server.asked] == [True, False]


def test_a_file_that_is_stored_compressed_stays_so(transport: Transport) -> None:
    """A ``.tar.gz`` that its server labels gzip is what it is, and so is its length."""
    with serving({"/a.tar.gz": [Answer(body=PACKED, headers=GZIPPED)]}) as server:
        assert read(transport, server.url("/a.tar.gz")) == PACKED
        assert transport.head_size(server.url("/a.tar.gz")) == len(PACKED)


def test_the_length_of_compressed_bytes_is_not_the_length(transport: Transport) -> None:
    """Rather none than a wrong one."""
    with (
        serving({"/a.tar": [Answer(body=PACKED, headers=GZIPPED)]}) as server,
        pytest.raises(UnavailableError, match="does not tell its length"),
    ):
        transport.head_size(server.url("/a.tar"))


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (Answer(body=BODY, headers={"Content-Encoding": "br"}), "compressed \\('br'\\), although asked not to"),
        (Answer(body=b"not gzip at all", headers=GZIPPED), "damaged"),
        (Answer(body=PACKED[:50] + b"\0" * 50 + PACKED[100:], headers=GZIPPED), "damaged"),
        (Answer(body=PACKED + b"more", headers=GZIPPED), "damaged"),
        (Answer(raw=[chunked(PACKED[:-9])]), "after 8 resumptions"),
    ],
)
def test_what_cannot_be_decompressed_is_unavailable(transport: Transport, answer: Answer, words: str) -> None:
    """A cut is never taken for the end."""
    with serving({"/a.tar": [answer]}) as server, pytest.raises(UnavailableError, match=words):
        read(transport, server.url("/a.tar"), immutable=True)


def test_a_bomb_ends_at_the_limit(transport: Transport, monkeypatch: pytest.MonkeyPatch) -> None:
    """A few bytes may not stand for as many as a server likes."""
    monkeypatch.setattr(encoding, "FREE_BYTES", 1 << 20)
    bomb = Answer(body=gzip.compress(bytes(4 << 20)), headers=GZIPPED)
    with serving({"/a.tar": [bomb]}) as server, pytest.raises(LimitError, match="give more than"):
        read(transport, server.url("/a.tar"))


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.lists(st.integers(0, len(PACKED)), max_size=6), start=st.integers(0, len(BODY)), chunks=st.booleans())
def test_whatever_is_cut_the_bytes_are_right(transport: Transport, cuts: list[int], start: int, chunks: bool) -> None:
    """The bytes of a CID never change: a compressed stream goes on after any cut."""
    whole = Answer(body=PACKED, headers=GZIPPED, ranges=False)
    rows = [Answer(body=PACKED, headers=GZIPPED, ranges=False, cut=cut) for cut in cuts]
    if chunks:
        rows = [Answer(raw=[chunked(PACKED[:cut], whole=False)]) for cut in cuts]
    with serving({"/a.tar": [*rows, whole]}) as server:
        assert read(transport, server.url("/a.tar"), start=start, immutable=True) == BODY[start:]
