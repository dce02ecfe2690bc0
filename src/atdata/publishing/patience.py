"""Waiting for a server: until its rate limit allows more, and until it is back when it does not answer.

Everything that is sent while publishing can be sent twice without harm (blobs are named by their content, records by a
key that was chosen before), so whatever may pass is tried again. How long, the caller says.
"""

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from atdata.atproto.rate_limit import clock_time, said
from atdata.errors import UnavailableError, XrpcError

T = TypeVar("T")

PATIENCE = 900.0  # seconds
_FIRST_WAIT = 0.25  # seconds; it doubles with each further attempt
_LONGEST_WAIT = 5.0  # seconds, between two attempts at a server that does not answer
_STRANGE = 60.0  # seconds that a server is waited for which has never answered: an address may be wrong
_UNSAID = 60.0  # seconds, where a server refuses for its rate limit and does not say until when


def silent(text: str) -> None:
    """Say nothing."""


class Stopped(Exception):  # an internal signal between threads, never seen by callers
    """Publishing was given up; what waits or sends is to end."""


@dataclass(slots=True)
class Patience:
    """How long to wait, shared by all threads of one publish.

    Attributes:
        most: Seconds that one rate limit, or one outage, is waited for.
        announce: Is told of each wait for a rate limit, and of outages, in a sentence.
        stop: Once set, all waits end.
    """

    most: float = PATIENCE
    announce: Callable[[str], None] = silent
    stop: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _announced_until: float = 0.0
    _has_worked: bool = False

    def call(self, attempt: Callable[[], T]) -> T:
        """Do something that can be done twice, again and again while it fails for a reason that may pass.

        Raises:
            XrpcError: The server asks for a longer wait than ``most``, or refuses for another reason.
            UnavailableError: The server has not answered for ``most`` seconds.
            Stopped: ``stop`` was set.
        """
        deadline, tries = 0.0, 0
        while True:
            started = time.monotonic()
            try:
                result = attempt()
                self._has_worked = True
                return result
            except (XrpcError, UnavailableError) as error:
                if not is_passing(error):
                    raise
                failure = error
            if self.stop.is_set():
                raise Stopped from failure
            if isinstance(failure, XrpcError) and failure.status == 429:
                self._wait_for_limit(failure)
                deadline, tries = 0.0, 0
                continue
            # An attempt that took long was not refused at once: what counts is the time since the first failure.
            most = self.most if self._has_worked else min(self.most, _STRANGE)
            deadline = deadline or started + most
            if time.monotonic() >= deadline:
                failure.add_note(f"tried for {said(most)}")
                raise failure
            tries += 1
            if tries == 3:
                self._say_once(f"{failure}; trying again", until=deadline)
            bound = min(_LONGEST_WAIT, _FIRST_WAIT * 2.0 ** min(tries, 16))
            self._sleep(min(random.uniform(bound / 2, bound), max(0.0, deadline - time.monotonic())))  # noqa: S311  # no secret

    def _wait_for_limit(self, failure: XrpcError) -> None:
        seconds = _UNSAID if failure.retry_after is None else failure.retry_after
        until = clock_time(seconds)
        if seconds > self.most:
            failure.add_note(
                f"its rate limit lasts until {until}, longer than the {said(self.most)} that are waited for: run the "
                "same command again then, and it goes on from there, or let it wait (--patience, patience=)"
            )
            raise failure
        self._say_once(f"rate limit of the server: waiting until {until}", until=time.monotonic() + seconds)
        self._sleep(seconds + random.uniform(0.1, 0.5))  # noqa: S311  # no secret: so that not all threads come back at once

    def _say_once(self, text: str, *, until: float) -> None:
        """Announce for all threads what several of them meet at the same time."""
        with self._lock:
            if until <= self._announced_until + 1:
                return
            self._announced_until = until
        self.announce(text)

    def _sleep(self, seconds: float) -> None:
        if self.stop.wait(seconds):
            raise Stopped


def is_passing(error: XrpcError | UnavailableError) -> bool:
    """Whether the same may succeed later."""
    return isinstance(error, UnavailableError) or error.status in (408, 425, 429) or error.status >= 500
