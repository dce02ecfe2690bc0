"""``atdata whoami``: whose repository commands work on, and who else is logged in."""

from typing import Any

import click

from atdata.cli.account import account_option, find_client
from atdata.cli.output import json_option, print_json
from atdata.cli.terminal import safe, table


@click.command("whoami", epilog="Examples:\n\n\b\n  atdata whoami\n  atdata whoami --json")
@account_option
@json_option
def command(*, account: str | None, as_json: bool) -> None:
    """Say who is logged in, or where the local repository is.

    First the account that commands act for; then the others, which --account chooses.
    """
    from atdata import Client
    from atdata.atproto.client import local_folder
    from atdata.atproto.session_file import SessionFile

    client = find_client(account)
    accounts = [{"did": kept.did, "handle": kept.handle, "pds": kept.service} for kept in SessionFile().all()]
    facts: dict[str, Any] = {"did": Client.local().did, "handle": None, "folder": str(local_folder())}
    if client is not None:
        facts = {"did": client.did, "handle": client.handle, "folder": None}
    if as_json:
        print_json({**facts, "accounts": accounts})
        return
    if client is None:
        click.echo("nobody is logged in; commands use the local repository")
    for line in table([[name, safe(str(value))] for name, value in facts.items() if value is not None]):
        click.echo(line)
    others = [kept for kept in accounts if kept["did"] != facts["did"]]
    if others:
        click.echo("also logged in, chosen by --account:")
        for line in table([[safe(kept["handle"]), safe(kept["did"])] for kept in others]):
            click.echo(f"  {line}")
