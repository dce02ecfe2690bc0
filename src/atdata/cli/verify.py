"""``atdata verify``: every shard of a dataset against its record."""

from collections import Counter
from typing import TYPE_CHECKING

import click

from atdata.cli.account import account_option, reading_client
from atdata.cli.output import json_option, print_json, print_lines, say
from atdata.cli.progress import progress_bars
from atdata.cli.terminal import safe, shorten, table

if TYPE_CHECKING:
    from atdata.loading.verify import ShardCheck

_PLACE = 80  # characters of a place that are shown


@click.command(
    "verify",
    epilog="Examples:\n\n\b\n  atdata verify at://alice.example.com/dataset/3k2a\n"
    "  atdata verify at://alice.example.com/dataset/3k2a --json",
)
@click.argument("uri")
@account_option
@json_option
def command(uri: str, *, account: str | None, as_json: bool) -> int:
    """Check every shard of the dataset at URI.

    Each one is read and compared with the record: size, sha-256, number of samples, index. The exit code is 1 where
    one is wrong, missing or can't be reached. With --json a line for each shard.
    """
    from atdata import DatasetLoader

    rows = []
    states: Counter[str] = Counter()
    bad = False
    with progress_bars() as progress:
        for check in DatasetLoader(reading_client(account)).verify(uri, progress=progress):
            states[check.state] += 1
            bad = bad or check.is_bad
            if as_json:
                print_json(_as_json(check))
            else:
                place = shorten(safe(check.place), _PLACE)
                rows.append([str(check.number), place, check.state, safe(check.why) or "-"])
    if rows:
        print_lines(table(rows, header=["shard", "place", "state", "why"]))
    count = states.total()
    say(f"{count:,} shard{'s' * (count != 1)}: " + ", ".join(f"{states[state]:,} {state}" for state in states))
    return 1 if bad else 0


def _as_json(check: "ShardCheck") -> dict[str, object]:
    value: dict[str, object] = {"shard": check.number, "place": check.place, "state": check.state, "why": check.why}
    if check.found is not None:
        value |= {"cid": str(check.found.cid), "bytes": check.found.bytes, "samples": check.found.samples}
    return value
