"""``edit``, ``delete`` and ``versions``: what they print, for people and for programs; and datasets published anew."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.local_client import Word
from tests.network.plugin import Network

import atdata
from atdata.cli.main import run

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Runs the command line in a folder with ``words-{000000..000002}.tar``; gives exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    atdata.write_samples((Word(f"word {i}") for i in range(5)), "words-%06d.tar", shard_samples=2)

    def call(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        status = run(list(arguments))
        output = capsys.readouterr()
        return status, output.out, output.err

    return call


def publish(cli: Run, *options: str) -> str:
    """The AT-URI of a new dataset."""
    status, out, err = cli("publish", "words-{000000..000002}.tar", "--name", "Words", *options)
    assert status == 0, err
    return out.strip()


def as_json(cli: Run, *arguments: str) -> Any:
    """What a command prints with ``--json``."""
    status, out, err = cli(*arguments, "--json")
    assert status == 0, err
    return json.loads(out)


def test_edit_says_what_has_changed(cli: Run) -> None:
    """A line for each field; with --json both values; nothing where all was so already."""
    uri = publish(cli, "--tag", "one")

    status, out, _ = cli("edit", uri, "--name", "More \u202ewords", "--add-tag", "two")
    assert (status, out) == (0, 'name: "Words" -> "More \\u202ewords"\ntags: ["one"] -> ["one", "two"]\n')
    assert as_json(cli, "edit", uri, "--name", "Words")["changed"] == {
        "name": {"before": "More \u202ewords", "after": "Words"}
    }
    assert "nothing to change" in cli("edit", uri, "--name", "Words")[1]
    record = as_json(cli, "info", uri)["record"]
    assert (record["name"], record["tags"]) == ("Words", ["one", "two"])


def test_every_field_can_be_edited_and_cleared(cli: Run) -> None:
    """Each option comes back from ``info``; ``--clear`` takes it away again."""
    uri = publish(cli)
    fields = {
        "description": "Five of them.",
        "license": "CC0-1.0",
        "citation": "Nobody, 2026",
        "homepage": "https://example.com/words",
        "version": "2.0",
    }

    cli("edit", uri, *(part for name, value in fields.items() for part in (f"--{name}", value)), "--tag", "text")
    record = as_json(cli, "info", uri)["record"]
    assert {name: record[name] for name in fields} == fields
    assert record["tags"] == ["text"]
    cli("edit", uri, *(part for name in [*fields, "tags"] for part in ("--clear", name)))
    assert not {*fields, "tags"} & as_json(cli, "info", uri)["record"].keys()


@pytest.mark.parametrize(
    ("options", "says"),
    [(["--clear", "storage"], "publish a new version"), (["--name", ""], "name"), (["--clear", "nothing"], "no field")],
)
def test_what_cannot_be_edited_is_one_line(cli: Run, options: list[str], says: str) -> None:
    """The exit code is 1."""
    status, out, err = cli("edit", publish(cli), *options)

    assert (status, out) == (1, "")
    assert says in err


@pytest.mark.parametrize("option", ["--storage=url", "--url=https://example.com/a.tar", "--split=train=0-1"])
def test_what_the_shards_are_is_no_option(cli: Run, option: str) -> None:
    """It is wrong usage, and the right one is said."""
    status, _, err = cli("edit", publish(cli), option)

    assert status == 2
    assert "publish a new version" in err


def test_delete_asks_on_a_terminal(cli: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says what goes, then asks; no means no. Without a terminal it wants ``--yes``."""
    uri = publish(cli, "--storage", "blobs")
    assert cli("delete", uri)[0] == 2
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)

    for answer, left in (("n\n", 1), ("y\n", 0)):
        monkeypatch.setattr("click.termui.visible_prompt_func", lambda prompt, answer=answer: answer.strip())
        status, _, err = cli("delete", uri)
        assert status == left
        assert "blobs that vanish with it: 3" in err
        assert len(cli("list", "--json")[1].splitlines()) == left


def test_delete_without_asking(cli: Run) -> None:
    """What has gone is told, for people and for programs."""
    first = publish(cli, "--storage", "blobs")
    second = publish(cli, "--storage", "blobs", "--previous", first)

    status, out, _ = cli("delete", first, "--yes")
    assert status == 0
    assert "blobs that vanish with it: 0" in out
    assert "blobs that stay, since other datasets name them: 3" in out
    assert f"the previous version of {second}" in out
    deleted = as_json(cli, "delete", second, "--yes")
    assert (deleted["uri"], len(deleted["blobs"]), deleted["keptBlobs"]) == (second, 3, 0)
    assert cli("delete", second, "--yes")[0] == 1


def test_versions_is_a_table(cli: Run) -> None:
    """A line for each version, the newest first; ``info`` names the newer one."""
    first = publish(cli, "--version", "1")
    second = publish(cli, "--version", "2", "--license", "CC0-1.0", "--previous", first)

    lines = cli("versions", first)[1].splitlines()
    assert lines[0].split() == ["version", "created", "shards", "samples", "changes", "AT-URI"]
    assert [(line.split()[0], line.split()[-1]) for line in lines[1:]] == [("2", second), ("1", first)]
    assert "licence" in lines[1]
    newest, oldest = map(json.loads, cli("versions", second, "--json")[1].splitlines())
    assert (newest["changes"], newest["previous"], oldest["previous"]) == (["licence"], first, None)
    assert as_json(cli, "info", first)["newer"] == second
    assert as_json(cli, "info", second)["newer"] is None
    assert f"newer version {second}" in cli("info", first)[1]


@pytest.mark.parametrize("packed", [True, False], ids=["gzipped", "plain"])
def test_facts_of_remote_shards_come_from_a_file(cli: Run, tmp_path: Path, packed: bool) -> None:
    """A line for each shard, as in a manifest; one that does not fit the shards is refused."""
    facts = as_json(cli, "info", publish(cli))["record"]["shards"]
    text = "".join(json.dumps(shard) + "\n" for shard in facts).encode()
    manifest = tmp_path / "facts.jsonl"
    manifest.write_bytes(gzip.compress(text) if packed else text)
    options = ("--name", "Words", "--manifest", str(manifest), "--json")

    status, out, err = cli("publish", "https://nowhere.invalid/{0..2}.tar", *options)
    assert status == 0, err
    assert as_json(cli, "info", json.loads(out)["uri"])["record"]["shards"] == facts
    status, _, err = cli("publish", "https://nowhere.invalid/{0..3}.tar", *options)
    assert (status, "shards: says what 3 are, and there are 4" in err) == (1, True)
    manifest.write_bytes(text + b"{]")
    status, _, err = cli("publish", "https://nowhere.invalid/{0..3}.tar", *options)
    assert (status, "line 4 is not a shard" in err) == (1, True)


def test_a_local_dataset_is_published_on_the_network(cli: Run, online: Network) -> None:
    """By its AT-URI, once one has logged in; before that it says so. Only there is a name not needed."""
    here = publish(cli, "--license", "CC0-1.0")
    assert "log in" in cli("publish", here)[2]
    assert cli("publish", "words-{000000..000002}.tar")[0] == 2
    account = online.account("clara")
    atdata.Client.login(account.handle, account.password, save=True)

    status, out, err = cli("publish", here)

    assert status == 0, err
    assert out.startswith(f"at://{account.did}/")
    record = as_json(cli, "info", out.strip())["record"]
    assert (record["name"], record["license"]) == ("Words", "CC0-1.0")
    assert record["shards"] == as_json(cli, "info", here)["record"]["shards"]
