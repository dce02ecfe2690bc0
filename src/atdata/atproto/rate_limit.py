"""What a server says about its rate limits: how long to wait, and whether anything is left.

Servers write ``RateLimit-Reset`` as a time of their own clock (the reference PDS) or in seconds from now (the IETF's
draft). A clock of ours that is wrong must not make us wait an hour too long, so a time is held against the answer's own
``Date``, and nothing is waited for longer than the window that the server names. Who waits is the caller's matter.

Source: https://atproto.com/specs/xrpc#rate-limits, RFC 9110 section 10.2.3, draft-ietf-httpapi-ratelimit-headers-07
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

_A_TIME = 1_000_000_000  # seconds since 1970, September 2001: what is less is a number of seconds from now
_MOST = 7 * 24 * 3600.0  # seconds; no limit has a longer window


def wait_asked(headers: Mapping[str, str], *, now: float) -> float | None:
    """Seconds after which the server takes requests again; None where it does not say.

    Args:
        headers: Of its answer.
        now: Seconds since 1970, by our own clock; it counts only where the answer has no ``Date``.
    """
    server_now = _date(headers.get("Date")) or now
    if (retry_after := headers.get("Retry-After")) is not None:
        seconds = _number(retry_after)
        if seconds is None and (until := _date(retry_after)) is not None:
            seconds = until - server_now
        if seconds is not None:
            return min(max(0.0, seconds), _MOST)
    reset = _number(headers.get("RateLimit-Reset"))
    if reset is None:
        return None
    seconds = reset - server_now if reset >= _A_TIME else reset
    return min(max(0.0, seconds), _window(headers.get("RateLimit-Policy")))


def is_spent(headers: Mapping[str, str]) -> bool:
    """Whether the next request would be one too many."""
    return _number(headers.get("RateLimit-Remaining")) == 0


def clock_time(seconds: float) -> str:
    """The time of day that many seconds from now, with the date where it is not today."""
    now = datetime.now().astimezone()
    then = now + timedelta(seconds=seconds)
    return then.strftime("%H:%M" if then.date() == now.date() else "%Y-%m-%d %H:%M")


def said(seconds: float) -> str:
    """A length of time in words.

    Example:
        >>> said(5400), said(60), said(3)
        ('1.5 hours', '1 minute', '3 seconds')
    """
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= length:
            count = round(seconds / length, 1)
            return f"{count:g} {unit}{'' if count == 1 else 's'}"
    return f"{seconds:.0f} seconds"


def _number(text: str | None) -> float | None:
    match = re.fullmatch(r"\s*(\d{1,12})(\.\d{1,6})?\s*", text or "")
    return float(match[0]) if match else None


def _window(policy: str | None) -> float:
    match = re.search(r";\s*w=(\d{1,9})", policy or "")
    return min(float(match[1]), _MOST) if match else _MOST


def _date(text: str | None) -> float | None:
    try:
        found = parsedate_to_datetime(text or "")
    except ValueError:
        return None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
