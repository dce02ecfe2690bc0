"""The ``atdata`` command: finds the command, runs it, and turns what went wrong into an exit code.

0 success; 1 something that a person can act on, as one line on stderr (none where nobody reads the output any more);
2 wrong usage; 130 interrupted. A bug keeps its traceback.
Each command is a module of this package, imported when it is needed, and imports the library when it runs: help is
instant. Results go to stdout, all else to stderr.
"""

import errno
import os
import sys
from importlib import import_module
from typing import TextIO

import click

from atdata._version import __version__
from atdata.cli.terminal import safe
from atdata.errors import AtdataError

COMMANDS = (
    "publish",
    "info",
    "list",
    "versions",
    "head",
    "download",
    "verify",
    "edit",
    "delete",
    "login",
    "logout",
    "whoami",
    "demo",
)
"""Names of the commands, in the order of the help; each is the function ``command`` of the module of that name."""

INTERRUPTED = 128 + 2  # SIGINT, as a shell reports it
_OF_THE_MACHINE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EMFILE, errno.EIO}
"""Errors without the name of a file that are no bugs; those with one say what there is to look at."""


class Commands(click.Group):
    """A group whose commands are imported when they are needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command = import_module(f"atdata.cli.{cmd_name}").command
        assert isinstance(command, click.Command)  # noqa: S101  for the type checker: an attribute by name is Any
        return command


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Try: atdata demo. Each command has examples: atdata publish --help",
)
@click.version_option(__version__, prog_name="atdata")
def cli() -> None:
    """Publish WebDataset datasets on ATProto and read them back: typed, verified, fast."""


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and end the process with its exit code."""
    for stream in (sys.stdout, sys.stderr):
        # What the terminal's encoding lacks is shown as an escape; it never ends a command half-way.
        _escape_what_does_not_encode(stream)
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def _escape_what_does_not_encode(stream: TextIO) -> None:
    reconfigure = getattr(stream, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="backslashreplace")


def run(arguments: list[str]) -> int:
    """Run one command and return its exit code; a bug raises."""
    try:
        status = cli.main(args=arguments, prog_name="atdata", standalone_mode=False)
        sys.stdout.flush()
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt) as error:
        # click has ended the line that ^C stands in, and what was interrupted may have noted how to go on.
        click.echo(safe(_with_notes("interrupted", error.__cause__ or error)), err=True)
        return INTERRUPTED
    except BrokenPipeError:
        # The interpreter flushes stdout once more when it ends, and must find something that takes it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except AtdataError as error:
        return _fail(_with_notes(str(error), error))
    except OSError as error:
        if error.filename is None and error.errno not in _OF_THE_MACHINE:
            raise
        return _fail(_with_notes(str(error), error))
    return status if isinstance(status, int) else 0


def _with_notes(message: str, error: BaseException) -> str:
    return "; ".join([message, *getattr(error, "__notes__", ())])


def _fail(message: str) -> int:
    line = "; ".join(part.strip() for part in message.splitlines() if part.strip())
    click.echo(f"error: {safe(line)}", err=True)
    return 1
