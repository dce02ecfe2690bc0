"""``atdata demo``: the whole chain on real data, without an account and without a network.

Writes the digits of `atdata.demo` as typed shards, publishes them in a local repository once as blobs and once by
URL, loads both by AT-URI, and shows them. Everything lies in one folder, which stays, so that one can look at it.
"""

import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, Literal

import click

from atdata.cli.output import json_option, print_json, print_lines, say, stdout_style
from atdata.cli.terminal import Style, size_of, table

if TYPE_CHECKING:
    from atdata import Dataset

SHARD_SAMPLES = 500
_SHOWN = 5  # pictures in a row
_COLUMNS = 16  # characters that a picture takes


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
    from atdata import Client, Dataset, DatasetLoader, DatasetPublisher, write_samples
    from atdata.demo import DESCRIPTION, LICENSE, TAGS, TITLE, Digit, read_digits
    from atdata.folders import data_folder

    place = _fresh((folder or data_folder() / "demo").absolute())
    say(f"working in {place}")
    steps: list[tuple[str, float, str]] = []

    @contextmanager
    def step(name: str) -> Iterator[list[str]]:
        """Time a step; what it appends to the list is what came of it."""
        result: list[str] = []
        started = perf_counter()
        yield result
        steps.append((name, perf_counter() - started, " ".join(result)))

    with step("write typed shards") as result:
        shards = write_samples(read_digits(), place / "digits-%06d.tar", shard_samples=SHARD_SAMPLES)
        size = sum(shard.shard.bytes or 0 for shard in shards)
        result.append(f"{len(shards)} shards, {size_of(size)}")
    # Where a command finds it whose ATDATA_HOME is the folder of the demo.
    client = Client.local(place / "data" / "repository")
    publisher = DatasetPublisher(client)
    written = Dataset[Digit](url=f"{place}/digits-{{000000..{len(shards) - 1:06d}}}.tar")
    uris = {}
    storages: tuple[Literal["blobs", "url"], ...] = ("blobs", "url")
    for storage in storages:
        with step(f"publish, storage {storage}") as result:
            uris[storage] = publisher.publish_dataset(
                written, TITLE, description=DESCRIPTION, license=LICENSE, tags=TAGS, storage=storage
            )
            result.append(uris[storage])
    counts: dict[str, Counter[int]] = {}
    loader = DatasetLoader(client)
    for name, uri in uris.items():
        with step(f"load and read, storage {name}") as result:
            dataset = loader.load_dataset(uri)
            counts[name] = Counter(digit.label for digit in dataset)
            result.append(f"{counts[name].total():,} samples of {len(dataset):,}, each shard checked by its digest")
    if as_json:
        print_json(
            {
                "folder": str(place),
                "uris": uris,
                "counts": {storage: dict(sorted(count.items())) for storage, count in counts.items()},
                "seconds": {name: seconds for name, seconds, _ in steps},
            }
        )
        return
    print_lines(_pictures(loader.load_dataset(uris["blobs"]), stdout_style()))
    click.echo()
    header = ["digit", *(f"{digit:3}" for digit in range(10))]
    rows = [[storage, *(f"{count[digit]:3}" for digit in range(10))] for storage, count in counts.items()]
    print_lines(table(rows, header=header))
    click.echo()
    print_lines(table([[name, f"{seconds:6.2f} s", result] for name, seconds, result in steps]))
    click.echo(f"total {sum(seconds for _, seconds, _ in steps):.2f} s\n")
    click.echo("Next steps")
    click.echo(f"  what was published:   ATDATA_HOME={place} atdata list")
    click.echo(f"  samples of a shard:   atdata head -n 2 {shards[0].path}")
    click.echo("  publish your own:     atdata publish --help")


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
