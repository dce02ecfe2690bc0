"""Where files of our own go."""

from pathlib import Path

import pytest

from atdata.folders import cache_folder, config_folder, data_folder


def test_one_variable_moves_all(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """``ATDATA_HOME`` wins over everything else."""
    monkeypatch.setenv("ATDATA_HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", "/elsewhere")

    assert (config_folder(), data_folder(), cache_folder()) == (
        tmp_path / "config",
        tmp_path / "data",
        tmp_path / "cache",
    )


def test_the_xdg_variables_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each kind of file has its own base directory; a relative one is ignored, as the specification says."""
    monkeypatch.delenv("ATDATA_HOME", raising=False)
    monkeypatch.setenv("HOME", "/home/alice")
    monkeypatch.setenv("XDG_CONFIG_HOME", "/conf")
    monkeypatch.setenv("XDG_DATA_HOME", "relative")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)

    assert config_folder() == Path("/conf/atdata")
    assert data_folder() == Path("/home/alice/.local/share/atdata")
    assert cache_folder() == Path("/home/alice/.cache/atdata")
