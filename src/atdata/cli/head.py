"""``atdata head``: the first samples of a dataset, shown so that a person sees them."""

from typing import TYPE_CHECKING, Any

import click

from atdata.cli.account import account_option, reading_client
from atdata.cli.output import json_option, print_json, print_lines, stdout_style
from atdata.cli.values import fields_of_sample, sample_lines, to_json

if TYPE_CHECKING:
    from atdata import Dataset


@click.command(
    "head",
    epilog="Examples:\n\n\b\n  atdata head at://alice.example.com/dataset/3k2a\n  atdata head -n 2 train-000000.tar",
)
@click.argument("source")
@click.option("-n", "--samples", "count", type=click.IntRange(min=1), default=5, show_default=True, help="How many.")
@account_option
@json_option
def command(source: str, *, count: int, account: str | None, as_json: bool) -> None:
    """Show the first samples of a dataset.

    SOURCE is an AT-URI, or a path or URL of shards, brace notation allowed. Images are drawn with block characters,
    other arrays described, text wrapped. With --json a line for each sample.
    """
    style = stdout_style()
    for number, sample in enumerate(_open(source, account).head(count)):
        if as_json:
            print_json(to_json(fields_of_sample(sample)))
            continue
        click.echo(f"sample {number}")
        print_lines(sample_lines(sample, style=style))


def _open(source: str, account: str | None) -> "Dataset[Any]":
    from atdata import Dataset, DatasetLoader

    if source.startswith("at://"):
        return DatasetLoader(reading_client(account)).load_dataset(source)
    return Dataset[dict[str, Any]](url=source)
