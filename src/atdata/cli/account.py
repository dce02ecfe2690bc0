"""Whose repository a command works on, and with whose eyes it reads.

In this order: the account of ``--account``; the one that ``ATDATA_HANDLE`` and ``ATDATA_PASSWORD`` name; the one that
logged in last; the repository on this machine. Importing the library happens here and in the commands when they run,
so that help is instant.
"""

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from atdata.cli.output import say
from atdata.cli.terminal import safe

if TYPE_CHECKING:
    from atdata import Client

Function = TypeVar("Function", bound=Callable[..., Any])

PASSWORD_VARIABLE = "ATDATA_PASSWORD"  # noqa: S105  the name of a variable


def account_option(function: Function) -> Function:
    """The option ``--account``, as the argument ``account``; `open_client` and `reading_client` take it."""
    return click.option(
        "--account",
        metavar="HANDLE|DID",
        envvar="ATDATA_ACCOUNT",
        show_envvar=True,
        help="Act as this account, one of those that are logged in.",
    )(function)


def open_client(account: str | None) -> "Client":
    """The client that a command acts for; says so where it is not simply the one that logged in last."""
    from atdata import Client
    from atdata.atproto.client import local_folder

    client = find_client(account)
    if client is None:
        client = Client.local()
        say(f"not logged in: using the local repository at {local_folder()}")
    return client


def reading_client(account: str | None) -> "Client":
    """The client for commands that only read what they are told to: nobody needs to be logged in."""
    from atdata import Client

    return find_client(account) or Client.local()


def find_client(account: str | None) -> "Client | None":
    """The account that commands act for; None where nobody is logged in. Raises as `saved_client` does."""
    from atdata import Client

    handle = os.environ.get("ATDATA_HANDLE", "")
    if handle and os.environ.get(PASSWORD_VARIABLE) and account in (None, handle):
        client = Client.from_env()
        say(f"acting as {safe(str(client.handle))}, by ATDATA_HANDLE and {PASSWORD_VARIABLE}")
        return client
    return saved_client(account)


def saved_client(account: str | None) -> "Client | None":
    """The client of a login that is kept: of ``account``, or the last one; None where there is no login at all.

    Raises:
        AuthenticationError: ``account`` is given and not logged in.
    """
    from atdata import Client
    from atdata.atproto.session_file import SessionFile
    from atdata.errors import AuthenticationError

    client = Client.saved(account)
    if client is None and account is not None:
        kept = ", ".join(saved.handle for saved in SessionFile().all())
        raise AuthenticationError(
            f"{account} is not logged in ({f'logged in: {kept}' if kept else 'nobody is'}): "
            f"run atdata login {account.removeprefix('@')}"
        )
    return client
