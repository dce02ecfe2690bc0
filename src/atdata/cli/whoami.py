"""``atdata whoami``: whose repository commands work on."""

import click

from atdata.cli.output import json_option, print_json
from atdata.cli.terminal import safe, table


@click.command("whoami", epilog="Example: atdata whoami")
@json_option
def command(*, as_json: bool) -> None:
    """Say who is logged in, or where the local repository is."""
    from atdata import Client
    from atdata.atproto.client import local_folder

    client = Client.saved()
    if client is None:
        facts = {"did": Client.local().did, "handle": None, "folder": str(local_folder())}
    else:
        facts = {"did": client.did, "handle": client.handle, "folder": None}
    if as_json:
        print_json(facts)
        return
    if client is None:
        click.echo("nobody is logged in; commands use the local repository")
    for line in table([[name, safe(str(value))] for name, value in facts.items() if value is not None]):
        click.echo(line)
