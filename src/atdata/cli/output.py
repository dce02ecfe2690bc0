"""What commands share: the ``--json`` option, JSON on stdout, and the style of stdout."""

import json
import os
import sys
from collections.abc import Callable
from typing import Any, TypeVar

import click

from atdata.cli.terminal import Style, style_of

Function = TypeVar("Function", bound=Callable[..., Any])


def json_option(function: Function) -> Function:
    """The option ``--json``, as the argument ``as_json``."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")(function)


def print_json(value: object) -> None:
    """One JSON value in one line. ASCII, so that no text of a stranger reaches a terminal as it is."""
    click.echo(json.dumps(value, allow_nan=False))


def print_lines(lines: list[str]) -> None:
    """Lines of a result; colours are kept, since `stdout_style` has decided about them."""
    for line in lines:
        click.echo(line, color=True)


def stdout_style() -> Style:
    """What stdout can show."""
    return style_of(sys.stdout, os.environ)


def say(message: str) -> None:
    """Something for the person at the terminal, on stderr; results go to stdout."""
    click.echo(message, err=True)
