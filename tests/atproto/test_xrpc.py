"""XRPC calls: parameters, answers of every kind, and where the authorization goes, against a real HTTP server."""

import io
import time
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import parse_qsl

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.atproto.scripted_server import ScriptedServer

from atdata.atproto.xrpc import Authorizer, Xrpc, encode_parameters
from atdata.errors import AtdataError, AuthenticationError, LimitError, UnavailableError, XrpcError
from atdata.net import Policy, Transport

SECRET = "planted-secret-token"
PATH = "/xrpc/com.example.call"
NSID = "com.example.call"


class Keys:
    """Gives one token after the other."""

    def __init__(self, *tokens: str) -> None:
        self.tokens = list(tokens)

    def headers(self) -> Mapping[str, str]:
        return {"Authorization": f"Bearer {self.tokens[0]}"}

    def renew(self, refused: Mapping[str, str], /) -> None:
        assert refused == self.headers()
        self.tokens.pop(0)


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer() as server:
        yield server


def xrpc(server: ScriptedServer, authorizer: Authorizer | None = None) -> Xrpc:
    """Calls to the server, one attempt each."""
    return Xrpc(server.url + "/", Transport(Policy(allow_private=True, attempts=1)), authorizer=authorizer)


@given(st.dictionaries(st.text("abc", min_size=1), st.text() | st.integers() | st.booleans() | st.lists(st.text())))
def test_parameters_come_back_from_the_query_string(parameters: dict[str, Any]) -> None:
    """Booleans are words, lists repeat their name, and everything survives the encoding."""
    expected = []
    for name, value in parameters.items():
        items = value if isinstance(value, list) else [value]
        expected += [(name, {True: "true", False: "false"}[item] if item is True or item is False else str(item))
                     for item in items]  # fmt: skip

    assert parse_qsl(encode_parameters(parameters | {"none": None}), keep_blank_values=True) == expected


def test_query_and_procedure_reach_their_method(server: ScriptedServer) -> None:
    """A query has parameters, a procedure JSON; both answers come back as dicts, an empty one too."""
    server.say(PATH, {"fine": True})
    server.say(PATH, b"")

    assert xrpc(server).query(NSID, {"q": "ü", "on": True}) == {"fine": True}
    assert xrpc(server).procedure(NSID, {"text": "ü"}) == {}
    get, post = server.asked
    assert (get.method, parse_qsl(get.query)) == ("GET", [("q", "ü"), ("on", "true")])
    assert (post.method, post.headers["Content-Type"]) == ("POST", "application/json")
    assert post.body == '{"text":"ü"}'.encode()


def test_upload_streams_a_file_with_its_length(server: ScriptedServer) -> None:
    """From where the file stands to its end, under its media type."""
    server.say(PATH, {})
    file = io.BytesIO(b"0123456789")
    file.seek(3)

    xrpc(server).upload(NSID, file, mime_type="application/x-tar")

    (asked,) = server.asked
    assert asked.body == b"3456789"
    assert (asked.headers["Content-Length"], asked.headers["Content-Type"]) == ("7", "application/x-tar")


class SlowFile(io.BytesIO):
    """A file that takes longer to read than a transport waits for an answer."""

    def read(self, size: int | None = -1, /) -> bytes:
        time.sleep(0.05)
        return super().read(size)


def test_a_slow_upload_gets_its_answer(server: ScriptedServer) -> None:
    """The deadline of a request is for the server: sending a large file over a slow line may take longer."""
    server.say(PATH, {"done": True})
    calls = Xrpc(server.url, Transport(Policy(allow_private=True, attempts=1, deadline=0.04)))

    assert calls.upload(NSID, SlowFile(b"0123456789"), mime_type="text/plain") == {"done": True}


def test_error_carries_the_servers_name(server: ScriptedServer) -> None:
    """Status, name and host are attributes, and the message says all three."""
    server.say(PATH, {"error": "RecordNotFound", "message": "no such thing"}, status=400)

    with pytest.raises(XrpcError, match=r"localhost:\d+ answered 400 RecordNotFound: no such thing") as caught:
        xrpc(server).query(NSID)

    error = caught.value
    assert (error.status, error.error, error.host) == (400, "RecordNotFound", f"localhost:{server.port}")


@pytest.mark.parametrize(
    ("status", "name"), [(401, "AuthMissing"), (401, "Anything"), (400, "InvalidToken"), (400, "ExpiredToken")]
)
def test_wrong_authorization_asks_for_a_login(server: ScriptedServer, status: int, name: str) -> None:
    """Whatever the server calls it, the caller can only log in; the server's own error is the cause."""
    server.say(PATH, {"error": name, "message": "no"}, status=status)

    with pytest.raises(AuthenticationError, match=name) as caught:
        xrpc(server).query(NSID)

    assert isinstance(caught.value.__cause__, XrpcError)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ("<html><body>Welcome!</body></html>", "text/html"),
        ("", "application/json"),
        ("[1, 2]", "application/json"),
        ('{"cut": ', "application/json"),
        ("[" * 100_000, "application/json"),
        (b"\xff\xfe\x00", "application/octet-stream"),
    ],
)
def test_what_is_no_answer_is_said_in_words(server: ScriptedServer, body: str | bytes, kind: str) -> None:
    """HTML, nothing, garbage, nesting without end: the message asks whether this is a PDS at all."""
    server.say(PATH, body, Content_Type=kind)

    with pytest.raises(UnavailableError, match=f"bytes of {kind} instead of a JSON object.*PDS"):
        xrpc(server).query(NSID)


@pytest.mark.parametrize(
    ("status", "error"), [(400, XrpcError), (404, XrpcError), (500, UnavailableError), (502, UnavailableError)]
)
def test_error_pages_are_told_from_xrpc_errors(server: ScriptedServer, status: int, error: type[AtdataError]) -> None:
    """The error page of a web server is not repeated, and a broken server is one to ask again later."""
    server.say(PATH, "<html>oops</html>", status=status, Content_Type="text/html")

    with pytest.raises(error, match=f"{status}") as caught:
        xrpc(server).query(NSID)

    assert "<html>" not in str(caught.value)


@pytest.mark.parametrize("message", ["x" * 10_000, "evil\r\nHeader: 1\x1b[31m", 17, None, {"a": 1}])
def test_a_servers_words_are_tamed(server: ScriptedServer, message: object) -> None:
    """Long, with control characters, or no text at all: an error of one short line comes out."""
    server.say(PATH, {"error": "Odd", "message": message}, status=400)

    with pytest.raises(XrpcError, match="Odd") as caught:
        xrpc(server).query(NSID)

    assert len(str(caught.value)) < 500
    assert str(caught.value).isprintable()


def test_an_answer_too_long_is_refused(server: ScriptedServer) -> None:
    """Nobody fills our memory."""
    server.say(PATH, {"text": "x" * 5000})

    with pytest.raises(LimitError, match="1,000 bytes"):
        xrpc(server).query(NSID, limit=1000)


def test_an_expired_token_is_renewed_once(server: ScriptedServer) -> None:
    """The request is sent again, its file from the start, with the new token; a second refusal is final."""
    server.say(PATH, {"error": "ExpiredToken", "message": "old"}, status=400)
    server.say(PATH, {"done": True})
    file = io.BytesIO(b"0123456789")
    file.seek(2)

    assert xrpc(server, Keys("first", "second")).upload(NSID, file, mime_type="text/plain") == {"done": True}
    assert [asked.headers["Authorization"] for asked in server.asked] == ["Bearer first", "Bearer second"]
    assert [asked.body for asked in server.asked] == [b"23456789", b"23456789"]

    server.say("/xrpc/com.example.other", {"error": "ExpiredToken", "message": "old"}, status=400)
    with pytest.raises(AuthenticationError):
        xrpc(server, Keys("first", "second", "third")).procedure("com.example.other", {})
    assert len(server.asked) == 4


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_authorization_follows_no_redirect(server: ScriptedServer, status: int) -> None:
    """A session is for one server: a redirect of it is an error, for queries and procedures."""
    with ScriptedServer() as thief:
        thief.say(PATH, {"mine": "now"})
        server.say(PATH, b"", status=status, Location=thief.url + PATH)
        calls = xrpc(server, Keys(SECRET))

        with pytest.raises(UnavailableError, match="redirects to"):
            calls.query(NSID)
        with pytest.raises(UnavailableError, match="redirects to"):
            calls.procedure(NSID, {"text": "x"})
        assert thief.asked == []


def test_a_query_without_authorization_follows(server: ScriptedServer) -> None:
    """What anybody may read may also have moved."""
    with ScriptedServer() as other:
        other.say(PATH, {"moved": True})
        server.say(PATH, b"", status=302, Location=other.url + PATH)

        assert xrpc(server).query(NSID) == {"moved": True}


def test_a_server_that_repeats_the_secret_does_not_show_it(server: ScriptedServer) -> None:
    """Not in the message, the name, or the repr of the error and of what led to it."""
    server.say(PATH, {"error": f"Bad{SECRET}", "message": f"got 'Bearer {SECRET}' of you"}, status=401)

    with pytest.raises(AuthenticationError) as caught:
        xrpc(server, Keys(SECRET)).query(NSID)

    error: BaseException | None = caught.value
    while error is not None:
        assert SECRET not in repr(error) + str(error) + repr(vars(error))
        error = error.__cause__ or error.__context__


def test_nobody_at_home_is_unavailable(server: ScriptedServer) -> None:
    """No listener: an error that names the place."""
    calls = Xrpc("http://localhost:9", Transport(Policy(allow_private=True, attempts=1)))

    with pytest.raises(UnavailableError, match="localhost:9"):
        calls.query(NSID)
