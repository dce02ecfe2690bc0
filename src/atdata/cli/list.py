"""``atdata list``: the datasets of one repository."""

from typing import TYPE_CHECKING

import click

from atdata.cli.account import account_option, open_client, reading_client
from atdata.cli.output import json_option, print_json, print_lines, say
from atdata.cli.terminal import safe, shorten, size_of, table

if TYPE_CHECKING:
    from atdata.errors import AtdataError
    from atdata.syntax import AtUri

_NAME = 32  # characters of a name that are shown


@click.command(
    "list",
    epilog="Examples:\n\n\b\n  atdata list\n  atdata list alice.example.com --json",
)
@click.argument("repository", metavar="[HANDLE-OR-DID]", required=False)
@account_option
@json_option
def command(repository: str | None, *, account: str | None, as_json: bool) -> None:
    """List the datasets of a repository.

    Newest first; those of your own repository where none is named. With --json a line for each dataset.
    """
    from atdata import DatasetLoader
    from atdata.storage.union import BlobStorage, UrlStorage

    client = reading_client(account) if repository else open_client(account)
    rows = []
    for entry in DatasetLoader(client).list_datasets(repository, on_error=_left_out):
        record, size = entry.record, entry.record.size
        if as_json:
            print_json({"uri": str(entry.uri), "cid": entry.cid, "record": record.to_json()})
            continue
        kinds = {UrlStorage: "urls", BlobStorage: "blobs"}
        rows.append(
            [
                shorten(safe(record.name), _NAME),
                f"{size.samples:,}" if size and size.samples is not None else "?",
                size_of(size.bytes) if size and size.bytes is not None else "?",
                kinds.get(type(record.storage), "unknown"),
                safe(str(entry.uri)),
            ]
        )
    if rows:
        print_lines(table(rows, header=["name", "samples", "size", "storage", "AT-URI"]))
    elif not as_json:
        say("no datasets")


def _left_out(uri: "AtUri", error: "AtdataError") -> None:
    say(safe(f"left out: {uri}: {error}"))
