"""The places in a dataset record that is about to be written: storage, mirrors, manifest files, pages.

That each URL is one that a record may hold, that places and shards are as many, and that blobs are the shards that the
record says they are. What else a record must keep is `atdata.atproto.checks`; whether anything answers at a place,
nobody asks here.
"""

import re
from collections.abc import Mapping
from typing import Any

from atdata.atproto.formats import FORMATS
from atdata.atproto.problems import quoted
from atdata.errors import InvalidRecordError, InvalidSyntaxError, LimitError, RefusedError
from atdata.redaction import carries_secret, shown
from atdata.storage.url import MAX_SHARDS, check_url, count_braces
from atdata.syntax import family, parse_at_uri

BLOBS_PER_LIST = 256  # blobs in one blobList record; every list but a dataset's last is full

_HOST_ALONE = re.compile(r"(?:https?|s3|gs)://[^/?#]*/?", re.IGNORECASE)
_BLOB_POINTER = re.compile(r"/storage/blobs/\d+")

Value = Mapping[str, Any]


def check_places(value: Value, *, allow_secrets: bool) -> None:
    """Check every place that a dataset record names.

    Raises:
        InvalidRecordError: A place is malformed, or does not fit the shards; the path says where.
        RefusedError: A URL that a rule forbids, or that carries a secret.
        LimitError: More shards than a reader takes.
    """
    _check_storage(value["storage"], value, "storage", allow_secrets)
    for i, mirror in enumerate(value.get("mirrors", ())):
        _check_storage(mirror["storage"], value, f"mirrors[{i}].storage", allow_secrets)
    for i, part in enumerate(value.get("manifest", ())):
        if "url" in part:
            _check_place(part["url"], f"manifest[{i}].url", allow_secrets)
            if count_braces(part["url"]) != 1:
                raise InvalidRecordError("must be one URL, without brace notation", path=f"manifest[{i}].url")
    _check_page(value.get("homepage"), "homepage", allow_secrets)
    _check_page(value.get("access", {}).get("requestUrl"), "access.requestUrl", allow_secrets)
    for i, origin in enumerate(value.get("derivedFrom", ())):
        _refuse_secret(origin.get("uri", ""), f"derivedFrom[{i}].uri", allow_secrets)


def count_shards(value: Value) -> int | None:
    """How many shards a dataset record has, by its ``shards`` or ``manifest``, else by its storage; None: unknown."""
    if "shards" in value:
        return len(value["shards"])
    if "manifest" in value:
        counts = [part.get("shards") for part in value["manifest"]]
        return None if None in counts else sum(counts)
    least, most = _count_places(value["storage"])
    return least if least == most else None


def _check_storage(storage: Value, value: Value, path: str, allow_secrets: bool) -> None:
    kind = storage["$type"]
    if kind == f"{family()}.dataset#urlStorage":
        for i, url in enumerate(storage["urls"]):
            _check_place(url, f"{path}.urls[{i}]", allow_secrets)
        _check_page(storage.get("endpoint"), f"{path}.endpoint", allow_secrets)
    elif kind == f"{family()}.dataset#blobStorage":
        _check_blob_storage(storage, value, path)
    least, most = _count_places(storage)
    if least > MAX_SHARDS:
        raise LimitError(f"{path} names {least:,} shards, at most {MAX_SHARDS:,} are read", limit=MAX_SHARDS)
    known = count_shards(value) if "shards" in value or "manifest" in value else None
    if known is not None and not (least <= known and (most is None or known <= most)):
        places = f"{least:,}" if least == most else f"{least:,} or more" if most is None else f"{least:,} to {most:,}"
        raise InvalidRecordError(f"names {places} places, but the record has {known:,} shards", path=path)


def _check_blob_storage(storage: Value, value: Value, path: str) -> None:
    if "shards" not in value and "manifest" not in value:
        raise InvalidRecordError("are missing; the shards of blobs are known, and always written", path="shards")
    for i, (blob, shard) in enumerate(zip(storage["blobs"], value.get("shards", ()), strict=False)):
        if (blob["ref"]["$link"], blob["size"]) != (shard["cid"], shard["bytes"]):
            raise InvalidRecordError(
                f"is another blob than shards[{i}] says by cid and bytes", path=f"{path}.blobs[{i}]"
            )
    for i, reference in enumerate(storage.get("more", ())):
        uri = parse_at_uri(reference["uri"])
        if uri.collection != f"{family()}.blobList" or not uri.authority.startswith("did:") or uri.rkey is None:
            message = f"{quoted(reference['uri'])} must be a {family()}.blobList record, by its DID"
            raise InvalidRecordError(message, path=f"{path}.more[{i}].uri")


def _count_places(storage: Value) -> tuple[int, int | None]:
    """Least and most shards that a storage can name; None where there is no telling."""
    kind = storage["$type"]
    if kind == f"{family()}.dataset#urlStorage":
        urls = [url for url in storage["urls"] if not url.startswith("at:")]
        others = [parse_at_uri(url) for url in storage["urls"] if url.startswith("at:")]
        count = sum(map(count_braces, urls)) + len(others)
        # Another dataset stands for all its shards, of which there is at least one.
        return count, None if any(uri.fragment is None for uri in others) else count
    if kind == f"{family()}.dataset#blobStorage":
        count, lists = len(storage["blobs"]), len(storage.get("more", ()))
        return (count + BLOBS_PER_LIST * (lists - 1) + 1, count + BLOBS_PER_LIST * lists) if lists else (count, count)
    return 0, None


def _check_place(url: str, path: str, allow_secrets: bool) -> None:
    try:
        check_url(url, own=True, allow_secrets=allow_secrets)
        count_braces(url)
    except InvalidSyntaxError as error:
        raise InvalidRecordError(str(error), path=path) from error
    if _HOST_ALONE.fullmatch(url):
        raise InvalidRecordError(f"{shown(url)} names a host or bucket, and no file there", path=path)
    if url.startswith("at:"):
        if problem := FORMATS["at-uri"](url):
            raise InvalidRecordError(problem.message, path=path)
        uri = parse_at_uri(url)
        whole = uri.authority.startswith("did:") and uri.collection == f"{family()}.dataset" and uri.rkey is not None
        if not whole or (uri.fragment is not None and not _BLOB_POINTER.fullmatch(uri.fragment)):
            message = f"{quoted(url)} must name a dataset by its DID, and may end in #/storage/blobs/NUMBER"
            raise InvalidRecordError(message, path=path)


def _check_page(url: str | None, path: str, allow_secrets: bool) -> None:
    if url is None:
        return
    if not re.match(r"https?://[^/?#\s]", url, re.IGNORECASE):
        raise InvalidRecordError(f"{shown(url)} must be an http or https URL", path=path)
    _refuse_secret(url, path, allow_secrets)


def _refuse_secret(url: str, path: str, allow_secrets: bool) -> None:
    if not allow_secrets and (secret := carries_secret(url)):
        message = f"{path}: {shown(url)} carries a secret ({secret}), and records are public"
        raise RefusedError(message, rule="secret-url")
