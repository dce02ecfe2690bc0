"""Patience: what may pass is tried again, what a server asks for is waited for, up to what the caller bears."""

import threading
import time

import pytest

from atdata.errors import LimitError, UnavailableError, XrpcError
from atdata.publishing.patience import Patience, Stopped


def limited(retry_after: float | None) -> XrpcError:
    """A refusal for the rate limit."""
    return XrpcError("Rate Limit Exceeded", status=429, error="RateLimitExceeded", host="pds", retry_after=retry_after)


class Attempts:
    """Fails with these errors, one after the other, and then succeeds."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.count = 0

    def __call__(self) -> str:
        self.count += 1
        if self.errors:
            raise self.errors.pop(0)
        return "done"


def test_what_passes_is_tried_again() -> None:
    """A cut, a 500, a rate limit that is over at once."""
    attempts = Attempts(
        UnavailableError("cut"), XrpcError("oops", status=500, error="InternalServerError"), limited(0.0)
    )

    assert Patience(most=10).call(attempts) == "done"
    assert attempts.count == 4


@pytest.mark.parametrize("error", [XrpcError("no", status=400, error="InvalidRequest"), LimitError("no", limit=1)])
def test_what_does_not_pass_is_raised_at_once(error: Exception) -> None:
    """A refusal stays one."""
    attempts = Attempts(error)

    with pytest.raises(type(error)):
        Patience().call(attempts)
    assert attempts.count == 1


def test_a_wait_is_shown_once() -> None:
    """With the time at which it ends, although several threads wait for it."""
    told: list[str] = []
    patience = Patience(most=10, announce=told.append)
    threads = [threading.Thread(target=patience.call, args=(Attempts(limited(0.2)),)) for _ in range(4)]
    started = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert time.monotonic() - started >= 0.2
    (message,) = told
    assert message.startswith("rate limit of the server: waiting until ")


def test_a_429_for_an_hour_is_not_waited_for() -> None:
    """Unless the caller has that much patience: the note says until when, and how to go on."""
    attempts = Attempts(limited(3600))

    with pytest.raises(XrpcError) as caught:
        Patience(most=900).call(attempts)

    assert attempts.count == 1
    (note,) = caught.value.__notes__
    assert "longer than the 15 minutes" in note
    assert "same command again" in note


def test_an_outage_ends_patience() -> None:
    """A server that never comes back is given up after the time that was stated."""
    with pytest.raises(UnavailableError) as caught:
        Patience(most=0.6).call(Attempts(*[UnavailableError("away")] * 1000))

    assert caught.value.__notes__ == ["tried for 1 seconds"]


def test_stopping_ends_all_waits() -> None:
    """Somebody has pressed Ctrl-C, while a thread waits for an hour."""
    patience = Patience(most=7200)
    ended: list[BaseException] = []

    def wait() -> None:
        try:
            patience.call(Attempts(limited(3600)))
        except Stopped as error:
            ended.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    patience.stop.set()
    thread.join(10)

    assert len(ended) == 1
