"""``atdata edit``: change what describes a dataset."""

import json
from collections.abc import Sequence
from typing import Any

import click

from atdata.cli.account import account_option, open_client
from atdata.cli.output import json_option, print_json, print_lines
from atdata.cli.terminal import safe, shorten

_VALUE = 60  # characters of a value that are shown


def _refuse(context: click.Context, parameter: click.Parameter, given: Sequence[str]) -> None:
    """Options of ``publish`` that are tried here say why they are none."""
    if given:
        raise click.UsageError(
            "what the shards are and where they lie stays under an AT-URI: publish a new version that names this one "
            "(atdata publish ... --previous AT-URI)"
        )


@click.command(
    "edit",
    epilog="Examples:\n\n\b\n  atdata edit at://alice.example.com/dataset/3k2a --license CC-BY-4.0 --add-tag images\n"
    '  atdata edit at://alice.example.com/dataset/3k2a --name "Digits, cleaned" --clear homepage',
)
@click.argument("uri")
@click.option("--name", help="Another name.")
@click.option("--description", help="What it is; plain text or Markdown.")
@click.option("--license", "license_", metavar="SPDX", help="Licence, for example CC-BY-4.0.")
@click.option("--tag", "tags", metavar="WORD", multiple=True, help="These tags instead of all others; may be repeated.")
@click.option("--add-tag", "add_tags", metavar="WORD", multiple=True, help="One more tag; may be repeated.")
@click.option("--remove-tag", "remove_tags", metavar="WORD", multiple=True, help="A tag less; may be repeated.")
@click.option("--citation", metavar="TEXT", help="How to cite it, for example BibTeX.")
@click.option("--homepage", metavar="URL", help="A page about it.")
@click.option("--version", metavar="LABEL", help="Label of this version.")
@click.option("--clear", metavar="FIELD", multiple=True, help="Remove a field, for example citation; may be repeated.")
@click.option(
    "--storage", "--url", "--split", "--sample-type", multiple=True, hidden=True, expose_value=False, callback=_refuse
)
@account_option
@json_option
def command(
    uri: str,
    *,
    name: str | None,
    description: str | None,
    license_: str | None,
    tags: Sequence[str],
    add_tags: Sequence[str],
    remove_tags: Sequence[str],
    citation: str | None,
    homepage: str | None,
    version: str | None,
    clear: Sequence[str],
    account: str | None,
    as_json: bool,
) -> None:
    """Change what describes the dataset at URI, one of yours.

    What its shards are, and where they lie, stays: for that, publish a new version (atdata publish --previous URI).
    """
    from atdata import DatasetPublisher

    edited = DatasetPublisher(open_client(account)).edit_dataset(
        uri,
        name=name,
        description=description,
        license=license_,
        tags=tags or None,
        add_tags=add_tags,
        remove_tags=remove_tags,
        citation=citation,
        homepage=homepage,
        version=version,
        clear=clear,
    )
    if as_json:
        changed = {field: {"before": before, "after": after} for field, (before, after) in edited.changed.items()}
        print_json({"uri": edited.uri, "cid": edited.cid, "changed": changed})
    elif not edited.changed:
        print_lines(["nothing to change: the record says so already"])
    else:
        print_lines(
            [f"{field}: {_shown(before)} -> {_shown(after)}" for field, (before, after) in edited.changed.items()]
        )


def _shown(value: Any) -> str:
    return "none" if value is None else shorten(safe(json.dumps(value, ensure_ascii=False)), _VALUE)
