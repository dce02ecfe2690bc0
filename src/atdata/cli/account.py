"""Whose repository a command works on: that of who is logged in, else the one on this machine.

Importing the library happens here and in the commands when they run, so that help is instant.
"""

from typing import TYPE_CHECKING

from atdata.cli.output import say

if TYPE_CHECKING:
    from atdata import Client


def open_client() -> "Client":
    """The client of who is logged in, else of the local repository; says so where it is the local one."""
    from atdata import Client
    from atdata.atproto.client import local_folder

    client = Client.saved()
    if client is None:
        client = Client.local()
        say(f"not logged in: using the local repository at {local_folder()}")
    return client


def reading_client() -> "Client":
    """The client for commands that only read what they are told to: without a word about who is logged in."""
    from atdata import Client

    return Client.saved() or Client.local()
