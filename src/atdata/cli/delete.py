"""``atdata delete``: delete a dataset, after saying what goes with it."""

import sys
from typing import TYPE_CHECKING

import click

from atdata.cli.account import account_option, open_client
from atdata.cli.output import json_option, print_json, print_lines, say
from atdata.cli.terminal import safe, size_of

if TYPE_CHECKING:
    from atdata.publishing.deleting import Deletion


@click.command(
    "delete",
    epilog="Examples:\n\n\b\n  atdata delete at://alice.example.com/dataset/3k2a\n"
    "  atdata delete at://alice.example.com/dataset/3k2a --yes --json",
)
@click.argument("uri")
@click.option("--yes", is_flag=True, help="Delete without asking.")
@account_option
@json_option
def command(uri: str, *, yes: bool, account: str | None, as_json: bool) -> int:
    """Delete the dataset at URI, one of yours.

    Its blobs go with it, at once and for good, unless another dataset of the repository names them; shards at URLs stay
    where they are. Asks first. Schema records stay.
    """
    from atdata import DatasetPublisher

    publisher = DatasetPublisher(open_client(account))
    if not yes:
        if not sys.stdin.isatty():
            raise click.UsageError("there is no terminal to ask on: say --yes")
        for line in _told(publisher.plan_deletion(uri)):
            say(line)
        if not click.confirm("Delete it?", err=True):
            say("nothing was deleted")
            return 1
    deleted = publisher.delete_dataset(uri)
    if as_json:
        print_json(
            {
                "uri": str(deleted.uri),
                "blobs": [{"cid": str(blob.cid), "size": blob.size} for blob in deleted.blobs],
                "keptBlobs": deleted.kept_blobs,
                "lists": [str(item) for item in deleted.lists],
                "newer": [str(item) for item in deleted.newer],
            }
        )
    elif yes:
        print_lines(_told(deleted))
    return 0


def _told(deletion: "Deletion") -> list[str]:
    lines = [safe(deletion.name if deletion.name is not None else "left over from a dataset that has gone")]
    lines.append(f"  {safe(str(deletion.uri))}")
    size = size_of(sum(blob.size for blob in deletion.blobs))
    lines.append(f"  blobs that vanish with it: {len(deletion.blobs):,}" + (f", {size}" if deletion.blobs else ""))
    if deletion.kept_blobs:
        lines.append(f"  blobs that stay, since other datasets name them: {deletion.kept_blobs:,}")
    if deletion.lists:
        lines.append(f"  lists of blobs that go with it: {len(deletion.lists):,}")
    lines += [f"  the previous version of {safe(str(item))}, which will name nothing" for item in deletion.newer]
    return lines
