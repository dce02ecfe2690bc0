"""Names of the files that shards are downloaded to, and paths in brace notation.

A record comes from strangers: of a URL only a plain last part becomes a file name, all else gets a counted one.
"""

import re
from collections.abc import Iterator, Sequence
from urllib.parse import urlsplit

from atdata.storage.union import BlobStorage, Storage

_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}\.(?:tar|tgz|tar\.gz|tar\.zst)")
_ENDING = re.compile(r"\.(?:tar|tgz|tar\.gz|tar\.zst|tzst)$", re.IGNORECASE)
_ENDINGS = {"application/gzip": ".tar.gz", "application/x-gzip": ".tar.gz", "application/zstd": ".tar.zst"}
_COUNTED = re.compile(r"(?P<before>.*?)(?P<number>[0-9]{1,18})(?P<after>[^/0-9]*)", re.DOTALL)
_MOST_RUNS = 16  # groups of counted names that are worth keeping
_STEM = 40  # characters


def file_names(storage: Storage, paths: Sequence[str], *, name: str) -> list[str]:
    """A file name for each shard of a dataset, all different.

    They are those of the URLs where these are plain, different, and in few groups of counted names; else counted ones,
    ``digits-000000.tar``. How a shard is compressed stays to be seen from its name.

    Args:
        paths: URLs or CIDs, as the store has them.
        name: Of the dataset.
    """
    found = [urlsplit(path).path.rpartition("/")[2] if "://" in path else "" for path in paths]
    plain = all(map(_PLAIN.fullmatch, found)) and len({one.lower() for one in found}) == len(found)
    if plain and len(list(_runs(found))) <= _MOST_RUNS:
        return found
    if isinstance(storage, BlobStorage):
        endings = [_ENDINGS.get(blob.mime_type, ".tar") for blob in storage.blobs]
    else:
        endings = [match[0].lower() if (match := _ENDING.search(urlsplit(path).path)) else ".tar" for path in paths]
    stem = plain_name(name)
    return [f"{stem}-{number:06d}{ending}" for number, ending in enumerate(endings)]


def plain_name(name: str) -> str:
    """The name of a dataset as it can stand in any path: ``shard`` where nothing is left of it.

    Example:
        >>> plain_name("MNIST: handwritten digits, v2")
        'mnist-handwritten-digits-v2'
    """
    return re.sub(r"[^a-z0-9]+", "-", name.lower())[:_STEM].strip("-") or "shard"


def brace_notation(paths: Sequence[str]) -> str:
    """Paths as one text that ``Dataset(url=)`` takes: counted ones as ``a-{000000..000009}.tar``, joined by ``::``.

    Example:
        >>> brace_notation(["a-08.tar", "a-09.tar", "a-10.tar", "b.tar"])
        'a-{08..10}.tar::b.tar'
    """
    return "::".join(
        _escaped(run[0]) if len(run) == 1 else f"{_escaped(before)}{{{first}..{last}}}{_escaped(after)}"
        for run, before, first, last, after in _runs(paths)
    )


def _runs(paths: Sequence[str]) -> Iterator[tuple[list[str], str, str, str, str]]:
    """Groups of paths that differ by a number that counts up by one; what stands before it, its bounds, what after."""
    run: list[str] = []
    before = first = last = after = ""
    for path in paths:
        match = _COUNTED.fullmatch(path)
        parts = (match["before"], match["number"], match["after"]) if match else (path, "", "")
        follows = last and parts == (before, f"{int(last) + 1:0{len(last)}d}", after) and len(parts[1]) == len(last)
        if run and not follows:
            yield run, before, first, last, after
            run = []
        if not run:
            before, first, after = parts
        run.append(path)
        last = parts[1]
    if run:
        yield run, before, first, last, after


def _escaped(text: str) -> str:
    return re.sub(r"[\\{}]", r"\\\g<0>", text)
