"""Rate limits: waits are those of the server, whatever our clock says."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atdata.atproto.rate_limit import is_spent, wait_asked

DATE = "Thu, 08 Jan 2026 12:00:00 GMT"
NOON = 1_767_873_600.0


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "120"}, 120),
        ({"Retry-After": "Thu, 08 Jan 2026 12:01:00 GMT", "Date": DATE}, 60),
        ({"RateLimit-Reset": "1767873900", "Date": DATE}, 300),
        ({"RateLimit-Reset": "300"}, 300),
        ({"RateLimit-Reset": "1767873500", "Date": DATE}, 0),
        ({"RateLimit-Reset": "1767960000", "Date": DATE, "RateLimit-Policy": "3000;w=300"}, 300),
        ({"RateLimit-Reset": "soon"}, None),
        ({"Retry-After": "soon", "RateLimit-Reset": "5"}, 5),
        ({}, None),
    ],
)
def test_wait_is_what_the_server_asks(headers: dict[str, str], seconds: float | None) -> None:
    """`Retry-After` before `RateLimit-Reset`, in seconds or as a time, and no longer than the window."""
    assert wait_asked(headers, now=NOON) == seconds


@given(st.floats(-1e5, 1e5))
def test_our_clock_may_be_wrong(error: float) -> None:
    """With a `Date` in the answer it is the server's clock alone that counts."""
    assert wait_asked({"RateLimit-Reset": "1767873900", "Date": DATE}, now=NOON + error) == 300


@given(st.dictionaries(st.sampled_from(["Retry-After", "RateLimit-Reset", "RateLimit-Policy", "Date"]), st.text()))
def test_no_header_breaks_it(headers: dict[str, str]) -> None:
    """Whatever a server sends, the wait is none or one of at most a week."""
    wait = wait_asked(headers, now=NOON)

    assert wait is None or 0 <= wait <= 7 * 24 * 3600


def test_nothing_left_is_told() -> None:
    """Only a stated zero means that the next request is too many."""
    assert is_spent({"RateLimit-Remaining": "0"})
    assert not is_spent({"RateLimit-Remaining": "1"})
    assert not is_spent({})
