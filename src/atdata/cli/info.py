"""``atdata info``: what a dataset record says, without opening a shard."""

import re
from typing import TYPE_CHECKING, Any

import click

from atdata.cli.account import account_option, reading_client
from atdata.cli.output import json_option, print_json, print_lines, stdout_style
from atdata.cli.terminal import Style, safe, shorten, size_of, table, wrap
from atdata.errors import AtdataError

if TYPE_CHECKING:
    from atdata import Client
    from atdata.atproto.records import DatasetRecord, SchemaRecord
    from atdata.storage.union import Storage

_LABEL = 14  # characters of the column of labels
_MOST_URLS = 5
_MOST_LINES = 12  # of a description
_MOST_FIELDS = 50


@click.command(
    "info",
    epilog="Examples:\n\n\b\n  atdata info at://alice.example.com/app.bsky.atdata.dataset/3k2a\n"
    "  atdata info at://alice.example.com/dataset/3k2a --json",
)
@click.argument("uri")
@account_option
@json_option
def command(uri: str, *, account: str | None, as_json: bool) -> None:
    """Say what the dataset at URI is.

    What it holds, where its shards lie, its licence, splits and fields; no shard is opened. With --json the record is
    printed as it is, and its schema record with it.
    """
    from atdata.atproto.records import read_dataset
    from atdata.loading.versions import find_newer
    from atdata.syntax import parse_at_uri

    client = reading_client(account)
    found = client.get_record(parse_at_uri(uri, handle_domain=client.handle_domain))
    record = read_dataset(found.value)
    schema, problem = _schema(client, record)
    newer = find_newer(client, found.uri)
    if as_json:
        value: dict[str, Any] = {"uri": str(found.uri), "cid": found.cid, "record": found.value}
        value["schema"] = None if schema is None else schema.to_json()
        value["newer"] = None if newer is None else str(newer)
        if problem:
            value["schemaError"] = problem
        print_json(value)
        return
    style = stdout_style()
    print_lines([safe(record.name), *_facts(str(found.uri), found.cid, record, style)])
    if newer is not None:
        print_lines([f"  {'newer version':{_LABEL}}{safe(str(newer))}"])
    print_lines(["", *_schema_lines(schema, problem, style)])


def _schema(client: "Client", record: "DatasetRecord") -> tuple["SchemaRecord | None", str]:
    """The schema record, or why it can't be read: the rest of what the record says is worth showing."""
    from atdata.atproto.records import read_schema
    from atdata.syntax import parse_at_uri

    if record.schema_ref is None:
        return None, ""
    try:
        found = client.get_record(parse_at_uri(record.schema_ref))
        if record.schema_cid not in (None, found.cid):
            return None, f"{record.schema_ref} is no longer the record that the dataset was written for"
        return read_schema(found.value), ""
    except AtdataError as error:
        return None, str(error)


def _facts(uri: str, cid: str, record: "DatasetRecord", style: Style) -> list[str]:
    """A label and a value in each line; what the record does not say has no line."""
    lines: list[str] = []

    def tell(label: str, value: str | None, *, most: int = 2) -> None:
        if value:
            # Nobody can copy a URI that is broken in two; other text is kept from the edge.
            whole = label not in ("description", "citation")
            wrapped = wrap(value, width=style.width - _LABEL - 2, lines=most, whole=whole)
            lines.extend(f"  {name:{_LABEL}}{line}" for name, line in zip([label] + [""] * most, wrapped, strict=False))

    tell("AT-URI", uri)
    tell("CID", cid)
    tell("description", record.description, most=_MOST_LINES)
    tell("licence", record.license or "none given")
    tell("tags", ", ".join(record.tags))
    tell("version", record.version)
    tell("replaces", record.previous_version.uri if record.previous_version else None)
    tell("published", record.created_at)
    tell("contents", _contents(record))
    tell("storage", _place(record.storage), most=_MOST_URLS + 2)
    for mirror in record.mirrors:
        tell("mirror", _place(mirror.storage) + (f" ({mirror.region})" if mirror.region else ""), most=_MOST_URLS + 2)
    for split in record.splits:
        tell("split", f"{split.name}: {split.end - split.start:,} shards, from {split.start:,} up to {split.end - 1:,}")
    if record.access is not None:
        ask = f", ask at {record.access.request_url}" if record.access.request_url else ""
        tell("access", f"{record.access.kind}{ask}")
    tell("homepage", record.homepage)
    tell("citation", record.citation, most=_MOST_LINES)
    return lines


def _contents(record: "DatasetRecord") -> str:
    """Samples, bytes and shards, as far as the record tells."""
    size, facts = record.size, record.shards
    samples = size.samples if size else None
    count = size.bytes if size else None
    shards = size.shards if size else None
    known = [
        f"{samples:,} samples" if samples is not None else "",
        size_of(count) if count is not None else "",
        f"{shards:,} shards" if shards is not None else "",
    ]
    checked = "each with its digest" if facts or record.manifest else "without digests: contents can change"
    return ", ".join(part for part in [*known, checked] if part)


def _place(storage: "Storage") -> str:
    from atdata.storage.union import BlobStorage, UrlStorage

    if isinstance(storage, UrlStorage):
        shown = [*storage.urls[:_MOST_URLS]]
        if len(storage.urls) > _MOST_URLS:
            shown.append(f"… and {len(storage.urls) - _MOST_URLS:,} more")
        return "\n".join([*shown, *([f"at {storage.endpoint}"] if storage.endpoint else [])])
    if isinstance(storage, BlobStorage):
        more = f", and those of {len(storage.more):,} lists" if storage.more else ""
        return f"{len(storage.blobs):,} blobs of the publisher's repository{more}"
    return f"{storage.type}: unknown to this release of atdata, which can't open it"


def _schema_lines(schema: "SchemaRecord | None", problem: str, style: Style) -> list[str]:
    """The fields as a table."""
    from atdata.data.schema import fields_from

    if problem:
        return [f"schema: can't be read: {safe(problem)}"]
    if schema is None:
        return ["no schema: samples are read as they are stored"]
    title = f"schema {safe(schema.name)}"
    try:
        fields = fields_from(schema.definition)
    except AtdataError as error:
        return [f"{title}: can't be read: {safe(str(error))}"]
    rows = [
        [
            shorten(safe(field.name), 32),
            safe(field.kind) + (f" of {safe(field.items)}" if field.items else ""),
            safe(_dtype_name(field.dtype or "")),
            "x".join("?" if length < 0 else str(length) for length in field.shape or ()),
            safe(field.extension or ""),
            "optional" if field.optional else "",
            shorten(safe(field.description or ""), style.width // 2),
        ]
        for field in fields[:_MOST_FIELDS]
    ]
    header = ["field", "kind", "dtype", "shape", "member", "", "description"]
    used = [column for column in range(len(header)) if any(row[column] for row in rows)]
    shown = table([[row[column] for column in used] for row in rows], header=[header[column] for column in used])
    more = [f"… and {len(fields) - _MOST_FIELDS:,} more fields"] if len(fields) > _MOST_FIELDS else []
    return [title, *(f"  {line}" for line in [*shown, *more])]


def _dtype_name(dtype: str) -> str:
    """``float32`` for ``<f4``; others, such as big-endian and structured ones, as the record has them."""
    import numpy as np

    return np.dtype(dtype).name if re.fullmatch(r"[<|][biufc]\d{1,2}", dtype) else dtype
