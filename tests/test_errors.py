"""The error tree: one base, one builtin each, and a header that draws it as it is."""

import inspect
import pickle
import re

import pytest

from atdata import errors
from atdata.errors import AtdataError

ERRORS = [cls for _, cls in inspect.getmembers(errors, inspect.isclass) if issubclass(cls, AtdataError)]

EXAMPLES = [
    errors.InvalidSyntaxError("wrong", value="x"),
    errors.NotFoundError("gone"),
    errors.InvalidRecordError("wrong", path="shards[3].bytes"),
    errors.UnsupportedStorageError("new", kind="torrent"),
    errors.SchemaMismatchError("other"),
    errors.ShardError("cut", shard="a.tar"),
    errors.IntegrityError("differs", shard="a.tar"),
    errors.RefusedError("no", rule="private-address"),
    errors.AuthenticationError("who"),
    errors.LimitError("large", limit=3),
    errors.XrpcError("no", status=400, error="RecordNotFound", host="pds.example"),
    errors.UnavailableError("later"),
]


def test_every_error_has_an_example_here() -> None:
    """A new class comes with a look at how it prints and pickles."""
    assert {type(error) for error in EXAMPLES} == set(ERRORS) - {AtdataError}


def test_the_header_draws_the_tree() -> None:
    """Each class stands in the drawing, and nothing else does."""
    drawn = set(re.findall(r"[├└]── (\w+)", inspect.getdoc(errors) or ""))

    assert drawn == {cls.__name__ for cls in ERRORS} - {"AtdataError"}


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
def test_an_error_survives_pickling(error: AtdataError) -> None:
    """Loader workers send errors to their parent: type, message and attributes arrive."""
    again = pickle.loads(pickle.dumps(error))

    assert type(again) is type(error)
    assert str(again) == str(error)
    assert again.__dict__ == error.__dict__


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
def test_an_error_is_a_builtin_too(error: AtdataError) -> None:
    """Code that never heard of atdata catches it as ValueError, TypeError or OSError."""
    assert isinstance(error, (ValueError, TypeError, OSError))


def test_messages_say_where() -> None:
    """The place comes first, then what is wrong."""
    assert str(EXAMPLES[2]) == "shards[3].bytes: wrong"
    assert str(EXAMPLES[5]) == "a.tar: cut"
    assert str(EXAMPLES[7]) == "no [rule: private-address]"
    assert str(EXAMPLES[10]) == "pds.example answered 400 RecordNotFound: no"
