"""``atdata logout``: end the session and forget it."""

import click

from atdata.cli.account import account_option, saved_client
from atdata.cli.output import json_option, print_json, say
from atdata.cli.terminal import safe


@click.command("logout", epilog="Examples:\n\n\b\n  atdata logout\n  atdata logout --account bob.example.com")
@account_option
@json_option
def command(*, account: str | None, as_json: bool) -> None:
    """End a session: on the server, and on this machine.

    Of the account that logged in last, unless --account names another one.
    """
    client = saved_client(account)
    if client is not None:
        client.logout()
    if as_json:
        print_json({"did": client.did if client is not None else None})
    elif client is None:
        say("nobody is logged in")
    else:
        say(f"logged out {safe(str(client.handle or client.did))}")
