"""What was found of late: bounded in number and in time."""

import pickle

from atdata.atproto import recent
from atdata.atproto.recent import Recent


class Clock:
    """Seconds that a test sets."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_name_is_kept_for_a_while() -> None:
    """Up to the end of its time, not at it."""
    clock = Clock()
    found: Recent[str] = Recent(clock)
    found.put("a", "b")

    clock.now = recent.KEPT_FOR - 1
    assert found.get("a") == "b"
    clock.now = recent.KEPT_FOR
    assert found.get("a") is None


def test_a_name_serves_on_while_nobody_answers_but_not_for_ever() -> None:
    """A minute at a time, a day in all."""
    clock = Clock()
    found: Recent[str] = Recent(clock)
    found.put("a", "b")
    assert found.keep_on("other") is None

    for clock.now in (recent.KEPT_FOR, recent.STALE_FOR / 2, recent.STALE_FOR - 1):
        assert found.get("a") is None
        assert found.keep_on("a") == "b"
        assert found.get("a") == "b"
    clock.now = recent.STALE_FOR + recent.ASKED_AGAIN
    assert found.get("a") is None
    assert found.keep_on("a") is None


def test_what_is_dropped_is_gone() -> None:
    """It serves no more, whoever answers."""
    found: Recent[str] = Recent()
    found.put("a", "b")
    found.drop("a")
    found.drop("a")

    assert found.get("a") is None
    assert found.keep_on("a") is None


def test_the_oldest_names_make_room() -> None:
    """Memory is bounded, whoever makes up names; a name that is found again counts as new."""
    found: Recent[int] = Recent()
    for number in [*range(recent.MOST), 0, recent.MOST]:
        found.put(str(number), number)

    assert found.get("1") is None
    assert [found.get(str(number)) for number in (0, 2, recent.MOST)] == [0, 2, recent.MOST]


def test_a_copy_begins_with_nothing() -> None:
    """Another process asks for itself."""
    found: Recent[str] = Recent()
    found.put("a", "b")
    copy: Recent[str] = pickle.loads(pickle.dumps(found))

    assert copy.get("a") is None
