"""The reference implementation of lexicons, ``@atproto/lexicon`` of npm, asked in one run of node."""

import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.network.plugin import FOLDER
from tests.node import install_packages, node_package


@dataclass(frozen=True)
class Answers:
    """What it said: for each case None or its complaint, for each text its number of graphemes."""

    complaints: list[str | None]
    graphemes: list[int]


def ask_reference(
    documents: Sequence[Mapping[str, Any]] = (),
    cases: Sequence[tuple[str, Any]] = (),
    texts: Sequence[str] = (),
) -> Answers:
    """Validate each case, a definition's NSID and a value, and count the graphemes of each text."""
    install_packages(FOLDER)
    command = [
        str(node_package() / "bin" / "node"),
        str(Path(__file__).with_name("reference_lexicon.mjs")),
        str(FOLDER / "node_modules"),
    ]
    question = json.dumps({"documents": documents, "cases": cases, "texts": texts})
    done = subprocess.run(command, input=question, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    return Answers(answer["answers"], answer["graphemes"])
