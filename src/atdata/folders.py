"""Where atdata keeps files of its own on this machine.

``ATDATA_HOME`` moves all of them below one folder; else the XDG base directories count.
Source: https://specifications.freedesktop.org/basedir-spec/latest/
This module names folders; whoever writes into one creates it.
"""

import os
from pathlib import Path


def _folder(kind: str, variable: str, default: str) -> Path:
    if home := os.environ.get("ATDATA_HOME"):
        return Path(home).expanduser() / kind
    base = os.environ.get(variable, "")
    # The specification says: a relative path in one of these variables is invalid and to be ignored.
    root = Path(base) if Path(base).is_absolute() else Path.home() / default
    return root / "atdata"


def config_folder() -> Path:
    """Sessions and settings: ``~/.config/atdata``."""
    return _folder("config", "XDG_CONFIG_HOME", ".config")


def data_folder() -> Path:
    """The local repository and journals: ``~/.local/share/atdata``."""
    return _folder("data", "XDG_DATA_HOME", ".local/share")


def cache_folder() -> Path:
    """What can be fetched again: ``~/.cache/atdata``."""
    return _folder("cache", "XDG_CACHE_HOME", ".cache")
