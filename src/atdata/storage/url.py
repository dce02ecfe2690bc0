"""URLs of shards: which are allowed, and how local paths are written as URLs.

Text only: nothing here opens, resolves or asks anything. What opens a URL is chosen in `atdata.storage.places`; the
addresses behind host names are checked in `atdata.net`; brace notation is `atdata.storage.braces`.
"""

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote_to_bytes, urlsplit

from atdata.errors import InvalidSyntaxError, RefusedError
from atdata.redaction import carries_secret, shown
from atdata.storage.braces import MAX_SHARDS, count_braces, expand

if TYPE_CHECKING:
    from atdata.syntax import Cid

__all__ = [
    "MAX_SHARDS",
    "SCHEMES",
    "carries_secret",
    "check_url",
    "count_braces",
    "expand",
    "file_path",
    "file_url",
    "hosts_of",
    "ipfs_path",
    "scheme_of",
    "split_joined",
]

SCHEMES = ("s3", "gs", "https", "http", "ipfs", "file", "at")

_BEGINNING = re.compile(r"[^/?#]*//[^/?#]*")  # scheme and authority
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://|(file|pipe):", re.IGNORECASE)
_BRACKETED_HOST = re.compile(r"://(?:[^/\[\]]*@)?\[[0-9A-Fa-f:.%]*\]")
# Not allowed in a URL by RFC 3986, and what a shell would act on; braces are ours, other scripts in paths are common.
_FORBIDDEN = re.compile(r"[\x00-\x20\x7f-\xa0\u2000-\u200f\u2028-\u202f\u2060-\u206f\ufeff\"<>\\^`|]|\$\(")
_AUTHORITY = re.compile(r"//([^/?#]*)")
_IPFS = re.compile(r"ipfs://([^/?#]+)((?:/[^/?#]*)*)", re.IGNORECASE)
_HOST = re.compile(r"(?:[A-Za-z0-9._~{},-]+|\[[0-9A-Fa-f:.]+\])(?::\d{0,5})?")


def split_joined(url: str) -> list[str]:
    """The URLs or paths that a caller joined by ``::``. The ``::`` of an IPv6 address in brackets joins nothing.

    Raises:
        InvalidSyntaxError: A part is empty.
    """
    held = [match.span() for match in _BRACKETED_HOST.finditer(url)]
    parts, start = [], 0
    for match in re.finditer("::", url):
        if not any(begin <= match.start() < end for begin, end in held) and match.start() >= start:
            parts.append(url[start : match.start()])
            start = match.end()
    parts.append(url[start:])
    if not all(parts):
        raise InvalidSyntaxError(f"{shown(url)}: nothing stands before, between or after '::'", value=url)
    return parts


def scheme_of(url: str) -> str | None:
    """The scheme in lower case; None for a bare path. ``pipe:`` and ``file:`` need no slashes."""
    match = _SCHEME.match(url)
    return (match[1] or match[2]).lower() if match else None


def check_url(url: str, *, own: bool, allow_secrets: bool = True) -> None:
    """Check one URL as it stands in a record, or as it is about to be published, with its braces.

    Args:
        own: The caller typed it, or the caller's own repository gave it: a ``file:`` URL is allowed.
        allow_secrets: False refuses a URL that carries a secret, since a record is public.

    Raises:
        InvalidSyntaxError: Not a URL: no host, or characters that a URL cannot have.
        RefusedError: A rule forbids it: ``pipe-url``, ``standard-input``, ``bare-path``, ``joined-url``,
            ``url-scheme``, ``url-characters``, ``file-url``, ``url-userinfo``, ``secret-url``.
    """
    label = shown(url)
    scheme = scheme_of(url)
    if scheme == "pipe":
        raise RefusedError(f"{label}: a pipe: URL names a command, and atdata never runs one", rule="pipe-url")
    if url.strip() in ("-", ""):
        raise RefusedError(f"{label}: standard input is not a place of shards", rule="standard-input")
    if scheme is None:
        raise RefusedError(f"{label} is a path, not a URL; a record holds URLs, as in file:///...", rule="bare-path")
    if scheme not in SCHEMES:
        raise RefusedError(f"{label}: the scheme {scheme!r} is not one of {', '.join(SCHEMES)}", rule="url-scheme")
    if bad := _FORBIDDEN.search(url):
        rule = "url-characters"
        raise RefusedError(f"{label}: {bad[0]!r} at character {bad.start()} is not allowed in a URL", rule=rule)
    if len(split_joined(url)) > 1:
        raise RefusedError(f"{label}: '::' joins URLs only where a caller types them", rule="joined-url")
    if scheme == "file":
        if not own:
            raise RefusedError(
                f"{label}: a file: URL names a file of the machine that reads it; only one's own records may hold one",
                rule="file-url",
            )
        file_path(url)
        return
    if scheme == "at":
        return
    _check_authority(url, label)
    if scheme == "ipfs":
        for one in expand(url) if "{" in url.split("/")[2] else [url]:
            ipfs_path(one)
    if not allow_secrets and (secret := carries_secret(url)):
        raise RefusedError(f"{label} carries a secret ({secret}), and records are public", rule="secret-url")


def _check_authority(url: str, label: str) -> None:
    match = _AUTHORITY.search(url)
    authority = match[1] if match else ""
    if "@" in authority:
        raise RefusedError(
            f"{label}: no user name or password may stand before the host; credentials are configured, never part of "
            "a URL",
            rule="url-userinfo",
        )
    if not _HOST.fullmatch(authority):
        raise InvalidSyntaxError(f"{label} has no valid host or bucket after '//'", value=url)


def ipfs_path(url: str) -> "tuple[Cid, tuple[bytes, ...]]":
    """The CID that an ``ipfs://`` URL begins with, and the names of folders and file behind it, decoded.

    Raises:
        InvalidSyntaxError: Not ``ipfs://CID[/path]``; or the CID is none of a file or folder.

    Example:
        >>> ipfs_path("ipfs://QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWKPbdG/a%20b/c.tar")[1]
        (b'a b', b'c.tar')
    """
    from atdata.syntax import DAG_PB, RAW, parse_cid

    def wrong(why: str) -> InvalidSyntaxError:
        return InvalidSyntaxError(f"{shown(url)} is not a URL of a file on IPFS: {why}", value=url)

    match = _IPFS.fullmatch(url)
    if not match:
        raise wrong("the form is ipfs://CID/path, where '?' and '#' are written %3F and %23")
    try:
        cid = parse_cid(match[1])
    except InvalidSyntaxError as error:
        raise wrong(str(error)) from error
    if cid.codec not in (RAW, DAG_PB):
        raise wrong(f"a file or folder has the codec raw or dag-pb, this CID has 0x{cid.codec:x}")
    names = tuple(unquote_to_bytes(name) for name in match[2].split("/")[1:])
    if any(name in (b"", b".", b"..") or b"/" in name for name in names):
        raise wrong("an empty name, '.' and '..' lead nowhere")
    return cid, names


def hosts_of(urls: Iterable[str]) -> frozenset[str]:
    """``host:port`` of each http URL among these, as `atdata.net.Policy.private_hosts` has them.

    Raises:
        InvalidSyntaxError: A port is no number, or a host in brackets no address.
    """
    hosts = set()
    # Very many URLs mostly have one beginning; taking each apart would take longer than all else of opening a dataset.
    for url in {match[0] for url in urls if (match := _BEGINNING.match(url))}:
        if scheme_of(url) in ("http", "https"):
            try:
                parts = urlsplit(url)
                port = parts.port or (443 if parts.scheme == "https" else 80)
            except ValueError as error:
                raise InvalidSyntaxError(f"{shown(url)} is not a URL: {error}", value=url) from error
            host = (parts.hostname or "").lower()
            hosts.add(f"{host}:{port}")
            if port == 80:
                hosts.add(f"{host}:443")  # where http on its default port is tried as https first
    return frozenset(hosts)


def file_path(url: str) -> Path | None:
    """The local path that a ``file:`` URL or a bare path names; None for any other scheme.

    ``file:///folder/a.tar``, ``file://localhost/folder/a.tar`` and ``file:folder/a.tar`` are read; ``%20`` and the
    like are decoded in URLs, and only there.

    Raises:
        RefusedError: ``pipe:`` (rule ``pipe-url``) or ``-`` (rule ``standard-input``).
        InvalidSyntaxError: The URL names another host, or no path.
    """
    scheme = scheme_of(url)
    if scheme == "pipe" or url in ("-", ""):
        check_url(url, own=True)
    if scheme is None:
        path = url
    elif scheme == "file":
        rest = url[len("file:") :]
        if rest.startswith("//"):
            host, slash, rest = rest[2:].partition("/")
            if host.lower() not in ("", "localhost"):
                raise InvalidSyntaxError(
                    f"{shown(url)} names the host {host!r}; a file: URL of this machine begins with file:///",
                    value=url,
                )
            rest = slash + rest
        if "?" in rest or "#" in rest:
            raise InvalidSyntaxError(f"{shown(url)}: write '?' as %3F and '#' as %23 in a file: URL", value=url)
        path = os.fsdecode(unquote_to_bytes(rest))
    else:
        return None
    if not path or "\0" in path:
        raise InvalidSyntaxError(f"{shown(url)} names no file", value=url)
    return Path(path)


def file_url(path: str | os.PathLike[str], *, braces: bool = False) -> str:
    """The ``file://`` URL of a local path, made absolute.

    Args:
        braces: The path is brace notation, and its braces, commas and backslashes stay; else they are encoded like
            any other character.

    Example:
        >>> file_url("/data/train {0..9}.tar", braces=True)
        'file:///data/train%20{0..9}.tar'
    """
    absolute = os.path.abspath(os.fspath(path))  # noqa: PTH100  # Path.resolve would follow symbolic links
    return "file://" + quote(os.fsencode(absolute), safe="/~!$&'()*+=:@;" + (",{}\\" if braces else ","))
