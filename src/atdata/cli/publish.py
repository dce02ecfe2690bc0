"""``atdata publish``: make a dataset record for shards, and upload them where that is wanted."""

import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Literal

import click

from atdata.cli.account import account_option, open_client
from atdata.cli.output import json_option, print_json, print_lines
from atdata.cli.progress import progress_bars
from atdata.cli.terminal import safe

_EXAMPLES = """Examples:

\b
  atdata publish train-*.tar --name Digits --license CC-BY-4.0 --tag images
  atdata publish "https://data.example.com/train-{000000..000999}.tar" --name Large --scan
  atdata publish "s3://bucket/train-{000000..099999}.tar" --name Large --manifest train.jsonl.gz
  atdata publish at://did:web:localhost/dataset/3k2a
  atdata publish a.tar b.tar --name Digits --split train=0-1 --split test=1-2 --storage blobs
  atdata publish train-*.tar --name Digits --sample-type my_package:Digit
  atdata publish train-*.tar --name Digits --url "https://data.example.com/train-{000000..000009}.tar"
  atdata publish train-*.tar --name Digits --to s3://bucket/digits
  atdata publish train-*.tar --name Digits --dry-run
  atdata publish train-*.tar --name Digits --storage blobs --patience 2d
"""


@click.command("publish", epilog=_EXAMPLES)
@click.argument("sources", metavar="SOURCE...", nargs=-1, required=True)
@click.option("--name", help="Name of the dataset, for people; needed but for datasets that have one already.")
@click.option("--description", help="What it is; plain text or Markdown.")
@click.option("--license", "license_", metavar="SPDX", help="Licence, for example CC-BY-4.0.")
@click.option("--tag", "tags", metavar="WORD", multiple=True, help="A word to find it by; may be repeated.")
@click.option(
    "--storage",
    type=click.Choice(["auto", "url", "blobs"]),
    default="auto",
    show_default=True,
    help="Where the shards lie: at their URLs, or uploaded as blobs of the repository. auto: local files of at most "
    "100 MB in all become blobs.",
)
@click.option(
    "--url", "urls", metavar="URL", multiple=True, help="Where others find these shards, in order; may be repeated."
)
@click.option(
    "--to", metavar="PLACE", help="Upload the shards to s3://bucket/prefix or gs://bucket/prefix, and name them there."
)
@click.option(
    "--split",
    "splits",
    metavar="NAME=START-END",
    multiple=True,
    help="A named range of shards: from START, counted from 0, up to and without END; may be repeated.",
)
@click.option("--version", metavar="LABEL", help="Version of the dataset, for example 1.0.0.")
@click.option("--previous", metavar="AT-URI", help="The dataset that this one replaces.")
@click.option("--citation", metavar="TEXT", help="How to cite it, for example BibTeX.")
@click.option("--homepage", metavar="URL", help="A page about it.")
@click.option("--sample-type", metavar="MODULE:CLASS", help="Class of the samples, published as their schema.")
@click.option(
    "--no-schema", is_flag=True, help="Publish no schema where there is no --sample-type, instead of finding it out."
)
@click.option(
    "--manifest",
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="What the shards are, where that is known: JSON Lines of cid, bytes, samples, index; may be gzipped.",
)
@click.option("--scan", is_flag=True, help="Read remote shards once, to record their digests and counts.")
@click.option(
    "--no-reshard", is_flag=True, help="Refuse shards that are too large for a blob, instead of cutting them."
)
@click.option("--force", is_flag=True, help="Upload more than 10 GB as blobs.")
@click.option(
    "--patience",
    metavar="TIME",
    default="15m",
    show_default=True,
    help="How long to wait for a rate limit, or a server that does not answer: 90s, 15m, 2h, 1d.",
)
@click.option("--dry-run", is_flag=True, help="Say what would be uploaded and written, and write nothing.")
@account_option
@json_option
def command(
    sources: Sequence[str],
    *,
    name: str | None,
    description: str | None,
    license_: str | None,
    tags: Sequence[str],
    storage: Literal["auto", "url", "blobs"],
    urls: Sequence[str],
    to: str | None,
    splits: Sequence[str],
    version: str | None,
    previous: str | None,
    citation: str | None,
    homepage: str | None,
    sample_type: str | None,
    no_schema: bool,
    manifest: Path | None,
    scan: bool,
    no_reshard: bool,
    force: bool,
    patience: str,
    dry_run: bool,
    account: str | None,
    as_json: bool,
) -> None:
    """Publish shards as a dataset.

    SOURCE... are paths or URLs of tar files, brace notation allowed; or the AT-URI of a dataset in the local
    repository, which is then published on the network as it is there. Prints the AT-URI of the dataset. Local shards
    are read once for their digests and counts. After an interruption of whatever kind, the same command goes on where
    it stopped.
    """
    from atdata import DatasetPublisher
    from atdata.publishing.describe import Description, Options
    from atdata.publishing.inputs import read_manifest

    described = Description(
        name=name,
        description=description,
        license=license_,
        tags=tags,
        splits=[_split(text) for text in splits],
        version=version,
        previous=previous,
        citation=citation,
        homepage=homepage,
    )
    if name is None and not sources[0].startswith("at://"):
        raise click.UsageError("Missing option '--name'.")
    found_type = _class_at(sample_type) if sample_type else None
    seconds = _seconds(patience)
    publisher = DatasetPublisher(open_client(account))
    with progress_bars() as bars:
        options = Options(
            urls=urls or None,
            to=to,
            storage=storage,
            sample_type=found_type,
            infer_schema=not no_schema,
            shards=None if manifest is None else read_manifest(manifest),
            scan=scan,
            reshard=not no_reshard,
            force=force,
            patience=seconds,
            progress=bars,
            announce=bars.say,
        )
        with publisher.prepared(list(sources), described, options, dry_run=dry_run) as prepared:
            if dry_run:
                plan = prepared.plan()
                print_json(plan.to_json()) if as_json else print_lines([safe(line) for line in plan.lines()])
            else:
                uri = prepared.publish()
                print_json({"uri": uri}) if as_json else click.echo(uri)


def _split(text: str) -> tuple[str, int, int]:
    """Read ``NAME=START-END``."""
    name, equals, numbers = text.rpartition("=")
    start, dash, end = numbers.partition("-")
    if not (name and equals and dash and start.isdecimal() and end.isdecimal()):
        raise click.BadParameter(f"{text!r}: the form is NAME=START-END, as in train=0-8", param_hint="--split")
    return name, int(start), int(end)


def _seconds(text: str) -> float:
    """Read ``90s``, ``15m``, ``2h`` or ``1d``."""
    unit = {"s": 1, "m": 60, "h": 3600, "d": 86_400}.get(text[-1:])
    if unit is None or not text[:-1].isdecimal() or len(text) > 6:
        raise click.BadParameter(f"{text!r}: the form is 90s, 15m, 2h or 1d", param_hint="--patience")
    return float(int(text[:-1]) * unit)


def _class_at(place: str) -> type:
    """The class at ``MODULE:CLASS``; modules of the current folder are found, as with ``python -m``."""
    module_name, colon, class_name = place.partition(":")
    if not (module_name and colon and class_name):
        raise click.BadParameter(f"{place!r}: the form is MODULE:CLASS", param_hint="--sample-type")
    sys.path.insert(0, str(Path.cwd()))
    try:
        module = import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not (module_name == error.name or module_name.startswith(f"{error.name}.")):
            raise  # the module is there, and lacks another one: its traceback says which
        raise click.BadParameter(f"there is no module {module_name!r}", param_hint="--sample-type") from error
    found = getattr(module, class_name, None)
    if not isinstance(found, type):
        raise click.BadParameter(f"module {module_name!r} has no class {class_name!r}", param_hint="--sample-type")
    return found
