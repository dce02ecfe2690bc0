"""``atdata login``: start a session on a PDS and keep it."""

import os
import sys

import click

from atdata.cli.account import PASSWORD_VARIABLE
from atdata.cli.output import json_option, print_json, say
from atdata.cli.terminal import safe


@click.command(
    "login",
    epilog="Examples:\n\n\b\n  atdata login alice.example.com\n"
    "  atdata login alice.example.com --password-stdin < password.txt",
)
@click.argument("handle")
@click.option("--pds", metavar="URL", help="The server, where it can't be found by the handle.")
@click.option("--code", metavar="CODE", help="The code that the server has mailed, for two-factor login.")
@click.option("--password-stdin", is_flag=True, help="Read the password from stdin.")
@json_option
def command(handle: str, *, pds: str | None, code: str | None, password_stdin: bool, as_json: bool) -> None:
    """Log in as HANDLE (or DID) with an app password.

    Make the app password in the settings of your account. It is asked for without echo; programs give it on stdin, or
    in the variable ATDATA_PASSWORD. It is not stored: the session is, readable by you alone. Sessions of several
    accounts are kept; commands act for the last one, or for the one that --account names.
    """
    from atdata import Client

    client = Client.login(handle, _password(handle, from_stdin=password_stdin), pds=pds, code=code, save=True)
    if as_json:
        print_json({"did": client.did, "handle": client.handle})
    else:
        say(f"logged in as {safe(str(client.handle))}, {safe(str(client.did))}")


def _password(handle: str, *, from_stdin: bool) -> str:
    if from_stdin:
        password = sys.stdin.readline().rstrip("\r\n")
    elif PASSWORD_VARIABLE in os.environ:
        password = os.environ[PASSWORD_VARIABLE]
    elif sys.stdin.isatty():
        password = click.prompt(f"App password of {safe(handle)}", hide_input=True, err=True)
    else:
        raise click.UsageError(f"no terminal to ask for the password on: use --password-stdin or {PASSWORD_VARIABLE}")
    if not password:
        raise click.UsageError("the password is empty")
    return password
