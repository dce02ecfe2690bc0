"""``atdata versions``: the versions of a dataset, and what differs between them."""

from typing import TYPE_CHECKING, Any

import click

from atdata.cli.account import account_option, reading_client
from atdata.cli.output import json_option, print_json, print_lines
from atdata.cli.terminal import safe, shorten, table

if TYPE_CHECKING:
    from atdata.loading.versions import Version

_CHANGES = 100  # characters of the changes that are shown


@click.command(
    "versions",
    epilog="Examples:\n\n\b\n  atdata versions at://alice.example.com/dataset/3k2a\n"
    "  atdata versions at://alice.example.com/dataset/3k2a --json",
)
@click.argument("uri")
@account_option
@json_option
def command(uri: str, *, account: str | None, as_json: bool) -> None:
    """List all versions of the dataset at URI.

    The newest first, each with what differs from the one before. With --json a line for each version.
    """
    from atdata import DatasetLoader

    found = DatasetLoader(reading_client(account)).list_versions(uri)
    if as_json:
        for version in found:
            print_json(_as_json(version))
        return
    header = ["version", "created", "shards", "samples", "changes", "AT-URI"]
    print_lines(table([_row(version) for version in found], header=header))


def _row(version: "Version") -> list[str]:
    record = version.record
    changes = "; ".join(part for part in [*version.changes, version.problem] if part)
    size = record.size if record is not None else None
    return [
        shorten(safe((record.version if record is not None else None) or "-"), 16),
        safe(record.created_at[:10]) if record is not None else "-",
        f"{size.shards:,}" if size is not None and size.shards is not None else "?",
        f"{size.samples:,}" if size is not None and size.samples is not None else "?",
        shorten(safe(changes), _CHANGES) or "-",
        safe(version.uri),
    ]


def _as_json(version: "Version") -> dict[str, Any]:
    record = version.record
    return {
        "uri": version.uri,
        "cid": version.cid,
        "previous": version.previous,
        "changes": list(version.changes),
        "problem": version.problem or None,
        "record": record.to_json() if record is not None else None,
    }
