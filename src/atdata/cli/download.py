"""``atdata download``: the shards of a dataset as files, whole and checked."""

from typing import TYPE_CHECKING

import click

from atdata.cli.account import account_option, reading_client
from atdata.cli.output import json_option, print_json, say
from atdata.cli.progress import progress_bars
from atdata.cli.terminal import size_of

if TYPE_CHECKING:
    from atdata.loading.download import Download


@click.command(
    "download",
    epilog="Examples:\n\n\b\n  atdata download at://alice.example.com/dataset/3k2a\n"
    "  atdata download at://alice.example.com/dataset/3k2a digits --split train",
)
@click.argument("uri")
@click.argument("folder", required=False, type=click.Path(file_okay=False))
@click.option("--split", metavar="NAME", help="Download the shards of this split alone.")
@account_option
@json_option
def command(uri: str, folder: str | None, *, split: str | None, account: str | None, as_json: bool) -> None:
    """Download the shards of the dataset at URI.

    They become files in FOLDER, by default one named after the dataset; dataset.json there holds the record. Each
    shard is checked by its digest and appears whole or not at all. Prints the files in brace notation, as
    Dataset(url=...) takes it. The same command again goes on where an interrupted one stopped.
    """
    from atdata import DatasetLoader

    with progress_bars() as progress:
        try:
            found = DatasetLoader(reading_client(account)).download(uri, folder, split=split, progress=progress)
        except KeyboardInterrupt:
            say("what has come is kept: the same command goes on from here")
            raise
    if as_json:
        files = [str(file) for file in found.files]
        print_json(
            {"url": found.url, "files": files, "bytes": found.bytes, "kept": found.kept, "unchecked": found.unchecked}
        )
        return
    say(_summary(found))
    click.echo(found.url)


def _summary(found: "Download") -> str:
    count = len(found.files)
    text = f"{count:,} shard{'s' * (count != 1)}, {size_of(found.bytes)}"
    if found.kept:
        text += f"; {found.kept:,} were there already"
    if found.unchecked:
        text += f"; {found.unchecked:,} could not be checked, for the record has no digest of them"
    return text
