"""The entry: exit codes, errors as one line, lazy commands, hostile text in errors."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from atdata.cli.main import COMMANDS, main, run
from atdata.errors import NotFoundError


def _atdata(
    *arguments: str, environment: dict[str, str] | None = None, stdin: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own, as a shell does."""
    program = "from atdata.cli.main import main; main()"
    return subprocess.run(
        [sys.executable, "-c", program, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | (environment or {}),
        input=stdin,
    )


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    """``atdata --help`` is a success and lists what there is."""
    assert run(["--help"]) == 0
    shown = capsys.readouterr().out
    assert [name for name in COMMANDS if f"\n  {name} " not in shown] == []


def test_help_loads_nothing_heavy() -> None:
    """Help is quick: the network, SQLite and progress bars are imported when a command that uses them runs."""
    program = (
        "import sys\nfrom atdata.cli.main import run\nrun(['--help'])\n"
        "print(sorted({'urllib3', 'dns', 'sqlite3', 'tqdm', 'pandas', 'PIL', 'asyncio'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    "arguments", [["nonsense"], ["head"], ["info"], ["publish", "a.tar"], ["head", "-n", "0", "x"]]
)
def test_wrong_usage_is_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Usage errors exit with 2 and say how to get help, on stderr."""
    assert run(arguments) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert "Usage:" in output.err


def test_an_error_is_one_line_and_1(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What a person can act on is one line on stderr and exit code 1; nothing is on stdout."""
    monkeypatch.setenv("ATDATA_HOME", str(tmp_path))

    assert run(["info", "http://not-an-at-uri"]) == 1
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith("error: 'http://not-an-at-uri' is not a valid AT-URI")
    assert output.err.count("\n") == 1


def test_hostile_text_in_an_error_is_escaped(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server's words in an error can't act on the terminal, and stay in one line."""

    def fail(**_: object) -> None:
        raise NotFoundError("no \x1b[2J such\n\nrecord\u202e")

    monkeypatch.setattr("atdata.cli.whoami.command.callback", fail)

    assert run(["whoami"]) == 1
    assert capsys.readouterr().err == "error: no \\x1b[2J such; record\\u202e\n"


def test_a_full_disk_is_an_error_not_a_bug(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """What the machine refuses is told in one line, too."""

    def fail(**_: object) -> None:
        raise OSError(28, "No space left on device", "out.tar")

    monkeypatch.setattr("atdata.cli.whoami.command.callback", fail)

    assert run(["whoami"]) == 1
    assert capsys.readouterr().err == "error: [Errno 28] No space left on device: 'out.tar'\n"


def test_own_files_that_are_something_else_are_no_bug(tmp_path: Path) -> None:
    """A home that is a file, and sessions that are a folder: the line names what there is to look at."""
    (tmp_path / "file").touch()
    (tmp_path / "home" / "config" / "sessions.json").mkdir(parents=True)

    for home, named in (("file", "file/config/sessions.json"), ("home", "home/config/sessions.json")):
        done = _atdata("list", environment={"ATDATA_HOME": str(tmp_path / home)})
        assert done.returncode == 1
        assert done.stderr.count("\n") == 1
        assert named in done.stderr


def test_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any other exception is a bug and passes through."""

    def fail(**_: object) -> None:
        raise KeyError("oops")

    monkeypatch.setattr("atdata.cli.whoami.command.callback", fail)

    with pytest.raises(KeyError):
        run(["whoami"])


def test_ctrl_c_is_one_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Interrupted: no traceback, the exit code of a process that SIGINT ended."""

    def interrupt(**_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("atdata.cli.whoami.command.callback", interrupt)

    assert run(["whoami"]) == 130
    assert capsys.readouterr().err == "\ninterrupted\n"


def test_main_ends_with_the_code() -> None:
    """`main` ends the process with what `run` returns."""
    with pytest.raises(SystemExit) as ended:
        main(["nonsense"])
    assert ended.value.code == 2


def test_a_reader_that_leaves_is_no_traceback(tmp_path: Path) -> None:
    """``atdata ... | true``: silence, and exit code 1 where output was lost."""
    command = f"{sys.executable} -c 'from atdata.cli.main import main; main()' whoami | true; exit ${{PIPESTATUS[0]}}"
    # The reader ends before Python has started, so that the write finds a closed pipe.
    done = subprocess.run(
        ["bash", "-c", command],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"ATDATA_HOME": str(tmp_path)},
    )

    assert (done.returncode, done.stderr) == (1, "")


def test_output_that_does_not_encode_is_escaped(tmp_path: Path) -> None:
    """A terminal without the characters gets escapes instead of a UnicodeEncodeError."""
    done = _atdata("info", "at://漢", environment={"PYTHONIOENCODING": "latin-1", "ATDATA_HOME": str(tmp_path)})

    assert done.returncode == 1
    assert "'at://\\u6f22' is not a valid AT-URI" in done.stderr
