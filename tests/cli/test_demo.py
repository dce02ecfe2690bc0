"""The demo, as a newcomer runs it."""

import json
from pathlib import Path

import pytest

from atdata.cli.main import run
from atdata.demo import read_digits

COUNTS = [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]  # of the digits 0 to 9, as the source tells them


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A place of the test's own for all that atdata keeps."""
    monkeypatch.setenv("ATDATA_HOME", str(tmp_path))
    return tmp_path


def test_the_digits_are_those_of_the_source() -> None:
    """1,797 images of 8x8 with values of 0 to 16, in the numbers that the source states."""
    digits = list(read_digits())

    assert [sum(digit.label == label for digit in digits) for label in range(10)] == COUNTS
    assert all(digit.image.shape == (8, 8) and digit.image.max() <= 16 for digit in digits)


def test_the_demo_tells_what_it_did(capsys: pytest.CaptureFixture[str]) -> None:
    """Pictures, class counts, the time of each step, and what to do next."""
    assert run(["demo"]) == 0

    output = capsys.readouterr()
    assert "working in" in output.err
    assert "label 0" in output.out
    assert "█" in output.out
    for part in ("write typed shards", "publish, storage blobs", "publish, storage url", "Next steps", "total"):
        assert part in output.out
    assert output.out.count("  ".join(str(count) for count in COUNTS)) == 2


def test_the_demo_can_be_run_again(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Both ways of storage give every digit, under 10 seconds; a second run starts afresh."""
    for _ in range(2):
        assert run(["demo", "--json"]) == 0
        told = json.loads(capsys.readouterr().out)
        assert told["counts"]["blobs"] == told["counts"]["url"] == {str(i): count for i, count in enumerate(COUNTS)}
        assert sum(told["seconds"].values()) < 10
        assert Path(told["folder"]).is_relative_to(home)


def test_the_demo_removes_nothing_of_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder that no demo has made is left alone."""
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "thesis.txt").write_text("years of work")

    assert run(["demo", "--folder", str(folder)]) == 2
    assert "is not empty" in capsys.readouterr().err
    assert (folder / "thesis.txt").exists()
