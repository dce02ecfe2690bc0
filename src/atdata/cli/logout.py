"""``atdata logout``: end the session and forget it."""

import click

from atdata.cli.output import json_option, print_json, say
from atdata.cli.terminal import safe


@click.command("logout", epilog="Example: atdata logout")
@json_option
def command(*, as_json: bool) -> None:
    """End the session: on the server, and on this machine."""
    from atdata import Client

    client = Client.saved()
    if client is not None:
        client.logout()
    if as_json:
        print_json({"did": client.did if client is not None else None})
    elif client is None:
        say("nobody is logged in")
    else:
        say(f"logged out {safe(str(client.handle or client.did))}")
