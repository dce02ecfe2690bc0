"""The commands on a local repository: what they print, for people and for programs."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import atdata
from atdata.cli.main import run
from atdata.syntax import parse_at_uri, parse_nsid

Run = Callable[..., tuple[int, str, str]]


@dataclass
class Note:
    """A picture with a text.

    Attributes:
        image: What one sees.
        text: What one reads.
    """

    image: NDArray[np.uint8]
    text: str


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Runs the command line in a folder with ``notes-{000000..000002}.tar``; gives exit code, stdout and stderr."""
    monkeypatch.setenv("ATDATA_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    notes = (Note(np.full((8, 8), i, np.uint8), f"note \x1b[31m{i}") for i in range(5))
    atdata.write_samples(notes, "notes-%06d.tar", shard_samples=2)
    capsys.readouterr()

    def call(*arguments: str) -> tuple[int, str, str]:
        status = run(list(arguments))
        output = capsys.readouterr()
        return status, output.out, output.err

    return call


def _publish(cli: Run, *options: str) -> str:
    status, out, err = cli("publish", "notes-{000000..000002}.tar", "--name", "Notes", *options)
    assert status == 0, err
    return out.strip()


def _json(cli: Run, *arguments: str) -> Any:
    status, out, err = cli(*arguments, "--json")
    assert status == 0, err
    return json.loads(out)


def test_publish_prints_the_uri_alone(cli: Run) -> None:
    """The AT-URI is all of stdout; that the repository is the local one is said on stderr."""
    status, out, err = cli("publish", "notes-{000000..000002}.tar", "--name", "Notes")

    assert status == 0
    assert out.startswith("at://did:web:localhost/app.bsky.atdata.dataset/")
    assert out.count("\n") == 1
    assert "not logged in: using the local repository at" in err


def test_what_is_published_is_told_by_info(cli: Run) -> None:
    """Each option of ``publish`` comes back from ``info``, as JSON and as text."""
    options = ["--description", "Five notes.", "--license", "CC0-1.0", "--tag", "text", "--tag", "images"]
    options += ["--version", "1.0.0", "--split", "train=0-2", "--split", "test=2-3"]
    uri = _publish(cli, *options, "--storage", "blobs", "--sample-type", "atdata.demo:Digit")

    found = _json(cli, "info", uri)
    record = found["record"]
    assert found["uri"] == uri
    assert record["name"] == "Notes"
    assert record["description"] == "Five notes."
    assert record["license"] == "CC0-1.0"
    assert record["tags"] == ["text", "images"]
    assert record["version"] == "1.0.0"
    assert record["splits"] == [{"name": "train", "start": 0, "end": 2}, {"name": "test", "start": 2, "end": 3}]
    assert record["storage"]["$type"].endswith("#blobStorage")
    assert [shard["samples"] for shard in record["shards"]] == [2, 2, 1]
    assert found["schema"]["name"] == "Digit"
    _, text, _ = cli("info", uri)
    for part in ("Notes", uri, "Five notes.", "CC0-1.0", "text, images", "1.0.0", "5 samples", "3 shards", "3 blobs"):
        assert part in text
    assert "schema Digit" in text
    assert "ndarray" in text


def test_info_without_schema(cli: Run) -> None:
    """A dataset without a schema is described all the same."""
    uri = _publish(cli, "--no-schema")

    assert _json(cli, "info", uri)["schema"] is None
    assert "no schema" in cli("info", uri)[1]


def test_urls_are_told_as_written(cli: Run) -> None:
    """Brace notation stays as it was given."""
    url = "https://data.example.com/notes-{000000..000002}.tar"
    uri = _publish(cli, "--url", url)

    assert _json(cli, "info", uri)["record"]["storage"]["urls"] == [url]
    assert url in cli("info", uri)[1]


def test_what_info_tells_can_be_copied(cli: Run) -> None:
    """URIs and URLs that are longer than a line stand in one piece."""
    url = f"https://data.example.com/{'long/' * 20}notes-{{000000..000002}}.tar"
    uri = _publish(cli, "--url", url)
    told = cli("info", uri)[1].split()

    assert uri in told
    assert url in told


def test_previous_version_is_named(cli: Run) -> None:
    """A new version names the one that it replaces."""
    first = _publish(cli)
    second = _publish(cli, "--previous", first)

    assert _json(cli, "info", second)["record"]["previousVersion"]["uri"] == first
    assert first in cli("info", second)[1]


def test_list_shows_each_dataset(cli: Run) -> None:
    """A line for each dataset, newest first; with --json the records."""
    assert cli("list")[1] == ""
    first, second = _publish(cli, "--storage", "blobs"), _publish(cli, "--storage", "url")

    lines = cli("list")[1].splitlines()
    assert lines[0].split() == ["name", "samples", "size", "storage", "AT-URI"]
    assert [line.split()[-1] for line in lines[1:]] == [second, first]
    assert [line.split()[-2] for line in lines[1:]] == ["urls", "blobs"]
    entries = [json.loads(line) for line in cli("list", "did:web:localhost", "--json")[1].splitlines()]
    assert [entry["uri"] for entry in entries] == [second, first]


@pytest.mark.parametrize("published", [True, False], ids=["AT-URI", "paths"])
def test_head_shows_samples(cli: Run, published: bool) -> None:
    """Images as pictures, texts with their control characters escaped; from an AT-URI, and from files."""
    source = _publish(cli, "--sample-type", f"{__name__}:Note") if published else "notes-{000000..000002}.tar"

    status, out, _ = cli("head", source, "-n", "3")

    assert status == 0
    assert [line for line in out.splitlines() if line.startswith("sample")] == ["sample 0", "sample 1", "sample 2"]
    assert "▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒" in out
    assert "note \\x1b[31m2" in out
    assert "\x1b" not in out


def test_head_as_json(cli: Run) -> None:
    """A line of JSON for each sample, arrays with dtype and shape."""
    uri = _publish(cli, "--sample-type", f"{__name__}:Note")

    first, second = (json.loads(line) for line in cli("head", uri, "-n", "2", "--json")[1].splitlines())

    assert first["image"]["dtype"] == "|u1"
    assert first["image"]["shape"] == [8, 8]
    assert second["text"] == "note \x1b[31m1"


def test_whoami_names_the_local_repository(cli: Run, tmp_path: Path) -> None:
    """Without a session it is the repository on this machine."""
    assert _json(cli, "whoami") == {
        "did": "did:web:localhost",
        "handle": None,
        "folder": str(tmp_path / "home" / "data" / "repository"),
        "accounts": [],
    }
    assert "nobody is logged in" in cli("whoami")[1]


def test_logout_of_nobody_is_no_error(cli: Run) -> None:
    """What is already so is fine."""
    assert _json(cli, "logout") == {"did": None}
    assert "nobody is logged in" in cli("logout")[2]


def test_login_asks_on_a_terminal_only(cli: Run) -> None:
    """Without a terminal and without a password it is wrong usage, which names both ways; nothing hangs."""
    status, _, err = cli("login", "alice.example.com")

    assert status == 2
    assert "--password-stdin" in err
    assert "ATDATA_PASSWORD" in err


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["--split", "train"], "NAME=START-END"),
        (["--split", "train=1"], "NAME=START-END"),
        (["--sample-type", "Digit"], "MODULE:CLASS"),
        (["--sample-type", "atdata.demo:Nothing"], "no class 'Nothing'"),
        (["--sample-type", "no_such_module:Digit"], "no module 'no_such_module'"),
        (["--storage", "moon"], "moon"),
    ],
)
def test_wrong_options_are_usage_errors(cli: Run, arguments: list[str], part: str) -> None:
    """What was typed wrong is said, with the form that is right."""
    status, out, err = cli("publish", "notes-000000.tar", "--name", "Notes", *arguments)

    assert (status, out) == (2, "")
    assert part in err


@pytest.mark.parametrize(
    "arguments",
    [
        ["publish", "missing.tar", "--name", "Notes"],
        ["publish", "notes-000000.tar", "--name", ""],
        ["publish", "pipe:cat notes-000000.tar", "--name", "Notes"],
        ["publish", "https://user:secret@data.example.com/a.tar", "--name", "Notes"],
        ["publish", "notes-{0..99999999999}.tar", "--name", "Notes"],
        ["info", "at://did:web:localhost/app.bsky.atdata.dataset/nothing"],
        ["info", "at://did:web:localhost"],
        ["info", "nonsense"],
        ["head", "missing.tar"],
        ["head", "at://did:web:localhost/app.bsky.atdata.schema/nothing"],
        ["list", "not a handle"],
    ],
    ids=" ".join,
)
def test_what_cannot_be_done_is_one_line(cli: Run, arguments: list[str]) -> None:
    """Bad input is told in one line that begins with ``error:``; the exit code is 1, and stdout stays empty."""
    status, out, err = cli(*arguments)

    assert (status, out) == (1, "")
    lines = [line for line in err.splitlines() if not line.startswith("not logged in")]
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    assert "secret" not in err


def test_hostile_records_are_shown_escaped(cli: Run) -> None:
    """Nothing that a record says can act on the terminal, whatever program has written it."""
    hostile = "evil \x1b]0;owned\x07\x9b31m \u202e"
    texts = dict.fromkeys(("name", "description", "version", "license", "citation"), hostile)
    split = {"name": hostile, "start": 0, "end": 1}
    storage = {"$type": "com.example.moon#storage", "crater": hostile}
    mirror = {"storage": {"$type": "app.bsky.atdata.dataset#urlStorage", "urls": [hostile]}, "region": hostile}
    repository = atdata.Client.local().repository
    assert repository is not None
    uri = repository.create_record(
        parse_nsid("app.bsky.atdata.dataset"),
        {"$type": "app.bsky.atdata.dataset", "createdAt": "2026-01-07T12:00:00Z", "storage": storage}
        | texts
        | {"tags": [hostile], "splits": [split], "mirrors": [mirror], "access": {"kind": hostile}},
    ).uri

    shown = cli("info", uri)[1] + cli("list")[1]

    assert not set("\x1b\x07\x9b\u202e") & set(shown)
    assert shown.count("\\x1b]0;owned") == 11
    assert "com.example.moon#storage: unknown to this release" in shown


def test_download_prints_what_a_dataset_takes(cli: Run) -> None:
    """The files in brace notation are all of stdout; a split is a part of them, and nothing comes twice."""
    uri = _publish(cli, "--storage", "blobs", "--split", "train=0-2", "--split", "test=2-3")

    assert cli("download", uri) == (0, "notes/notes-{000000..000002}.tar\n", "3 shards, 11.3 kB\n")
    assert _json(cli, "download", uri, "notes", "--split", "test") == {
        "url": "notes/notes-000002.tar",
        "files": ["notes/notes-000002.tar"],
        "bytes": Path("notes/notes-000002.tar").stat().st_size,
        "kept": 1,
        "unchecked": 0,
    }
    assert len(list(atdata.Dataset[dict[str, Any]](url="notes/notes-{000000..000002}.tar"))) == 5
    assert "3 were there already" in cli("download", uri)[2]


def test_download_says_what_did_not_come(cli: Run) -> None:
    """In one line, with exit code 1; what could be had is there."""
    uri = _publish(cli, "--storage", "url")
    Path("notes-000001.tar").unlink()

    status, out, err = cli("download", uri, "here")

    assert (status, out) == (1, "")
    assert err.startswith("error: 1 of 3 shards did not come, the others did; ")
    assert sorted(path.name for path in Path("here").glob("*.tar")) == ["notes-000000.tar", "notes-000002.tar"]


def test_download_into_a_file_is_wrong_usage(cli: Run) -> None:
    """Said before anything is asked of a server."""
    assert cli("download", "at://did:web:localhost/dataset/a", "notes-000000.tar")[0] == 2


def test_verify_is_a_table(cli: Run) -> None:
    """A line for each shard, and the exit code says whether all is well."""
    uri = _publish(cli, "--storage", "url")
    status, out, err = cli("verify", uri)
    assert (status, err) == (0, "3 shards: 3 ok\n")
    rows = [line.split() for line in out.splitlines()[1:]]
    assert [(number, state, why) for number, _, state, why in rows] == [(str(i), "ok", "-") for i in range(3)]
    assert all(place.startswith("file:///") for _, place, _, _ in rows)  # a long one is shortened
    content = Path("notes-000001.tar").read_bytes()
    Path("notes-000001.tar").write_bytes(content[:700] + b"!" + content[701:])

    status, out, err = cli("verify", uri)

    assert (status, err) == (1, "3 shards: 2 ok, 1 wrong\n")
    assert out.splitlines()[2].split()[2] == "wrong"


def test_verify_as_json(cli: Run) -> None:
    """A line of JSON for each shard, with what was found."""
    uri = _publish(cli, "--storage", "blobs")

    lines = [json.loads(line) for line in cli("verify", uri, "--json")[1].splitlines()]

    assert [(line["shard"], line["state"], line["why"], line["samples"]) for line in lines] == [
        (0, "ok", "", 2),
        (1, "ok", "", 2),
        (2, "ok", "", 1),
    ]
    assert [line["cid"] for line in lines] == [line["place"] for line in lines]


def test_verify_says_that_there_are_no_digests(cli: Run) -> None:
    """A record that says nothing of its shards is no error, and no proof."""
    uri = _publish(cli, "--storage", "url")
    repository = atdata.Client.local().repository
    assert repository is not None
    place = parse_at_uri(uri)
    assert place.collection is not None
    assert place.rkey is not None
    value = dict(repository.get_record(place.collection, place.rkey).value)
    del value["shards"]
    repository.put_record(place.collection, place.rkey, value)

    status, out, err = cli("verify", uri)

    assert (status, err) == (0, "3 shards: 3 no digest\n")
    assert out.count("the record has no digest of it") == 3
