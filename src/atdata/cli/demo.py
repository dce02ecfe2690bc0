"""``atdata demo``: the whole chain on real data, without an account and without a network.

Writes the digits of `atdata.demo` as typed shards, publishes them in a local repository once as blobs and once by
URL, loads both by AT-URI, and shows them. Everything lies in one folder, which stays, so that one can look at it.
"""

import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import click

from atdata.cli.output import json_option, print_json, print_lines, say, stdout_style
from atdata.cli.terminal import Style, size_of, table

if TYPE_CHECKING:
    from atdata import Client, Dataset
    from atdata.demo import Digit

Storage: TypeAlias = Literal["blobs", "url"]
STORAGES: tuple[Storage, ...] = ("blobs", "url")
SHARD_SAMPLES = 500
_SHOWN = 5  # pictures in a row
_COLUMNS = 16  # characters that a picture takes


@dataclass(frozen=True, slots=True)
class Step:
    """A step of the demo: what it did, the seconds that it took, and what came of it."""

    name: str
    seconds: float
    result: str


@click.command("demo", epilog="Example: atdata demo")
@click.option(
    "--folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where to work; emptied first if an earlier demo made it. Default: demo in atdata's data folder.",
)
@json_option
def command(*, folder: Path | None, as_json: bool) -> None:
    """Try everything on real data.

    Writes 1,797 handwritten digits as typed shards, publishes them in a repository on this machine, as blobs and by
    URL, loads both and shows them. Needs no account and no network.
    """
    from atdata import Client, DatasetLoader
    from atdata.folders import data_folder

    place = _fresh((folder or data_folder() / "demo").absolute())
    say(f"working in {place}")
    # Where a command finds it whose ATDATA_HOME is the folder of the demo.
    client = Client.local(place / "data" / "repository")
    steps: list[Step] = []
    written = _write(place, steps)
    uris = {storage: _publish(client, written, storage, steps) for storage in STORAGES}
    counts = {storage: _count(client, uri, storage, steps) for storage, uri in uris.items()}
    if as_json:
        seconds = {step.name: step.seconds for step in steps}
        print_json({"folder": str(place), "uris": uris, "counts": counts, "seconds": seconds})
        return
    print_lines(_pictures(DatasetLoader(client).load_dataset(uris["blobs"]), stdout_style()))
    click.echo()
    header = ["digit", *(f"{digit:3}" for digit in range(10))]
    rows = [[storage, *(f"{count[digit]:3}" for digit in range(10))] for storage, count in counts.items()]
    print_lines(table(rows, header=header))
    click.echo()
    print_lines(table([[step.name, f"{step.seconds:6.2f} s", step.result] for step in steps]))
    click.echo(f"total {sum(step.seconds for step in steps):.2f} s\n")
    click.echo("Next steps")
    click.echo(f"  what was published:   ATDATA_HOME={place} atdata list")
    click.echo(f"  samples of a shard:   atdata head -n 2 {written.shard_list[0]}")
    click.echo("  publish your own:     atdata publish --help")


def _write(place: Path, steps: list[Step]) -> "Dataset[Digit]":
    from atdata import Dataset, write_samples
    from atdata.demo import Digit, read_digits

    started = perf_counter()
    shards = write_samples(read_digits(), place / "digits-%06d.tar", shard_samples=SHARD_SAMPLES)
    size = size_of(sum(written.shard.bytes or 0 for written in shards))
    steps.append(Step("write typed shards", perf_counter() - started, f"{len(shards)} shards, {size}"))
    return Dataset[Digit](url=f"{place}/digits-{{000000..{len(shards) - 1:06d}}}.tar")


def _publish(client: "Client", written: "Dataset[Digit]", storage: Storage, steps: list[Step]) -> str:
    from atdata import DatasetPublisher
    from atdata.demo import DESCRIPTION, LICENSE, TAGS, TITLE

    started = perf_counter()
    uri = DatasetPublisher(client).publish_dataset(
        written, TITLE, description=DESCRIPTION, license=LICENSE, tags=TAGS, storage=storage
    )
    steps.append(Step(f"publish, storage {storage}", perf_counter() - started, uri))
    return uri


def _count(client: "Client", uri: str, storage: Storage, steps: list[Step]) -> dict[int, int]:
    """Load a dataset as somebody would who has nothing but its AT-URI; how often each digit occurs."""
    from atdata import DatasetLoader

    started = perf_counter()
    dataset = DatasetLoader(client).load_dataset(uri)
    counts = Counter(digit.label for digit in dataset)
    result = f"{counts.total():,} samples of {len(dataset):,}, each shard checked by its digest"
    steps.append(Step(f"load and read, storage {storage}", perf_counter() - started, result))
    return dict(sorted(counts.items()))


def _fresh(folder: Path) -> Path:
    """The folder, empty. Only what an earlier demo made is removed.

    Raises:
        click.UsageError: The folder holds something else.
    """
    marker = folder / "made-by-atdata-demo"
    if folder.exists() and any(folder.iterdir()):
        if not marker.exists():
            raise click.UsageError(f"{folder} is not empty, and no demo has made it")
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    marker.touch()
    return folder


def _pictures(dataset: "Dataset[Any]", style: Style) -> list[str]:
    """The first digits side by side."""
    from atdata.cli.pictures import as_image, beside, picture

    digits = list(dataset.head(_SHOWN))[: max(1, style.width // (_COLUMNS + 2))]
    images = [as_image(digit.image) for digit in digits]
    return beside(
        [picture(image, style=style, columns=_COLUMNS) for image in images if image is not None],
        captions=[f"label {digit.label}" for digit in digits],
        columns=_COLUMNS,
    )
