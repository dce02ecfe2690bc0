"""What the documents say is true: README runs, links lead somewhere, every public name and command is documented."""

import inspect
import os
import re
import subprocess
import sys
import types
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest

import atdata
from atdata.cli.main import COMMANDS, cli

if TYPE_CHECKING:
    from tests.network.plugin import Network

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("src/**/*.md")])
_BLOCK = re.compile(r"^(?:<!-- (?P<mark>\w+) -->\n)?```(?P<language>\w+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(?<!!)\[[^\]]*\]\((?P<target>[^)\s]+)\)")
_HEADING = re.compile(r"^#{1,6} (?P<title>.+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block of README.

    Attributes:
        language: What stands behind the fence.
        mark: The word of the HTML comment on the line before; ``network`` for what needs servers.
        text: The lines between the fences.
        line: Where it begins, counted from 1.
    """

    language: str
    mark: str
    text: str
    line: int


def _blocks() -> Iterator[Block]:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for found in _BLOCK.finditer(readme):
        line = readme.count("\n", 0, found.start("text")) + 1
        yield Block(found["language"], found["mark"] or "", found["text"], line)


def _run_python(block: Block, module: types.ModuleType) -> None:
    """Run a block at the end of a module that all blocks share, with the line numbers of README."""
    code = compile("\n" * (block.line - 1) + block.text, str(ROOT / "README.md"), "exec")
    exec(code, module.__dict__)


def _run_console(block: Block, folder: Path, environment: dict[str, str]) -> None:
    """Run the lines that begin with ``$``, as they stand, with the ``atdata`` of this environment."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    for command in re.findall(r"^\$ (.+(?:\\\n.+)*)$", block.text, re.MULTILINE):
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=folder,
            env=os.environ | environment | {"PATH": path},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"README.md:{block.line}: {command}\n{done.stdout}\n{done.stderr}"


@pytest.fixture(scope="module")
def readme_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder in which the blocks of README that need no network have run, in order."""
    folder = tmp_path_factory.mktemp("readme")
    module = types.ModuleType("readme")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ATDATA_HOME", str(folder / "home"))
        patch.chdir(folder)
        patch.setitem(sys.modules, module.__name__, module)
        for block in _blocks():
            if block.mark == "network":
                continue
            if block.language == "python":
                _run_python(block, module)
            elif block.language in ("console", "sh"):
                _run_console(block, folder, {})
        yield folder


def test_readme_runs(readme_folder: Path) -> None:
    """Each block of README that needs no network does what it says, in the order in which one reads."""
    assert {block.language for block in _blocks()} >= {"python", "console"}
    assert any(readme_folder.iterdir())


def test_readme_runs_on_the_network(readme_folder: Path, network: "Network") -> None:
    """The blocks that need an account run against a real PDS."""
    account = network.account()
    blocks = [block for block in _blocks() if block.mark == "network"]
    assert blocks

    for block in blocks:
        named = Block(block.language, block.mark, block.text.replace("alice.pds1.test", account.handle), block.line)
        password = {"ATDATA_PASSWORD": account.password}
        home = {"ATDATA_HOME": str(readme_folder / "home")}
        _run_console(named, readme_folder, network.environment() | password | home)


def _anchors(document: Path) -> set[str]:
    """The anchors of a document's headings, as GitHub makes them."""
    titles = _HEADING.findall(document.read_text(encoding="utf-8"))
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    """Each relative link of a document names a file of the repository, and a heading where it has a fragment."""
    text = re.sub(r"```.*?```|`[^`\n]*`", "", document.read_text(encoding="utf-8"), flags=re.DOTALL)
    broken = []
    for target in _LINK.findall(text):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        place = (document.parent / path).resolve() if path else document
        if not place.exists() or (anchor and place.suffix == ".md" and anchor not in _anchors(place)):
            broken.append(target)

    assert not broken


@pytest.mark.parametrize("name", [name for name in atdata.__all__ if name != "__version__"])
def test_public_name_is_documented(name: str) -> None:
    """Each public name has a docstring of its own and a line in the reference."""
    thing = getattr(atdata, name)

    assert (inspect.getdoc(thing) or "").strip()
    # dataclasses writes a docstring where there is none: the signature.
    assert not (inspect.getdoc(thing) or "").startswith(f"{name}(")
    assert f"`{name}`" in (ROOT / "docs" / "api.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", COMMANDS)
def test_command_is_documented(name: str) -> None:
    """Each command has a help with an example, the option --json, and a section in the docs with all its options."""
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    section = (
        (ROOT / "docs" / "cli.md").read_text(encoding="utf-8").split(f"## atdata {name}\n", 1)[-1].split("\n## ", 1)[0]
    )
    options = [option for parameter in command.params for option in parameter.opts if option.startswith("--")]

    assert command.help
    assert "--json" in options
    assert f"atdata {name}" in (command.epilog or "")
    assert f"$ atdata {name}" in section
    assert [option for option in options if f"`{option}" not in section] == []
