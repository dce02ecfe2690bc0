"""The owner's settings: ``config.toml`` in the folder of settings.

What stands in it is about places of one's own: which credentials go with which bucket. Nothing here connects; who uses
the credentials is `atdata.storage.credentials`, which also knows the variables and files of AWS and Google.
``docs/places.md`` shows every key.
"""

import stat
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

from atdata.errors import AuthenticationError, InvalidSyntaxError
from atdata.folders import config_folder

SECRETS = frozenset({"secret_access_key", "session_token"})


@dataclass(frozen=True, slots=True)
class S3Bucket:
    """One ``[[s3]]`` table: how an S3 bucket, or every bucket at an endpoint, is reached.

    Attributes:
        bucket: Name; None for every bucket at ``endpoint``.
        endpoint: Base URL of an S3-compatible service; None for AWS.
        region: Of the bucket.
        path_style: The bucket stands in the path of the URL, not in its host. The default of endpoints.
        profile: Name of a profile in the files of AWS's own tools.
        access_key_id, secret_access_key, session_token: Credentials.
        instance_metadata: Ask the machine in the cloud for credentials, by its metadata address.
        anonymous: Without credentials, whatever the environment has.
        shared: Also where other people's records name the bucket.
    """

    bucket: str | None = None
    endpoint: str | None = None
    region: str | None = None
    path_style: bool | None = None
    profile: str | None = None
    access_key_id: str | None = None
    secret_access_key: str | None = field(default=None, repr=False)
    session_token: str | None = field(default=None, repr=False)
    instance_metadata: bool = False
    anonymous: bool = False
    shared: bool = False


@dataclass(frozen=True, slots=True)
class GsBucket:
    """One ``[[gs]]`` table: how a bucket of Google Cloud Storage is reached.

    Attributes:
        bucket: Name; None for every bucket.
        endpoint: Base URL of another server that speaks the same; None for Google's.
        credentials: File of a service account, or of ``gcloud auth application-default login``.
        instance_metadata: Ask the machine in the cloud for credentials, by its metadata address.
        anonymous: Without credentials, whatever the environment has.
        shared: Also where other people's records name the bucket.
    """

    bucket: str | None = None
    endpoint: str | None = None
    credentials: str | None = None
    instance_metadata: bool = False
    anonymous: bool = False
    shared: bool = False


@dataclass(frozen=True, slots=True)
class Settings:
    """What ``config.toml`` says about places. Of two tables that fit, the first counts."""

    s3: tuple[S3Bucket, ...] = ()
    gs: tuple[GsBucket, ...] = ()


B = TypeVar("B", S3Bucket, GsBucket)


def read_settings(file: Path | None = None) -> Settings:
    """Read the settings; without a file there are none.

    Args:
        file: By default ``config.toml`` in the folder of settings.

    Raises:
        InvalidSyntaxError: Not TOML, or a key that is not known; the message says which.
        AuthenticationError: Others may read the file, and a secret stands in it.
    """
    file = file or config_folder() / "config.toml"
    try:
        with file.open("rb") as content:
            mode = stat.S_IMODE(file.stat().st_mode)
            value = tomllib.load(content)
    except FileNotFoundError:
        return Settings()
    except OSError as error:
        raise AuthenticationError(f"{file} cannot be read: {error.strerror or error}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        # The message of the parser names line and column; what stands there may be a secret.
        raise InvalidSyntaxError(f"{file} is not TOML: {error}", value=str(file)) from None
    settings = Settings(
        tuple(_tables(file, value, "s3", S3Bucket)),
        tuple(_tables(file, value, "gs", GsBucket)),
    )
    if mode & 0o077 and any(entry.secret_access_key or entry.session_token for entry in settings.s3):
        raise AuthenticationError(f"{file} holds a secret and others may read it: chmod 600 {file}")
    return settings


def _tables(file: Path, value: Mapping[str, Any], name: str, cls: type[B]) -> list[B]:
    tables = value.get(name, [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise InvalidSyntaxError(f"{file}: write [[{name}]], in two brackets, before each bucket", value=name)
    return [_table(f"{file}, [[{name}]] number {number}", table, cls) for number, table in enumerate(tables, 1)]


def _table(where: str, table: Mapping[str, Any], cls: type[B]) -> B:
    known = {entry.name: bool if "bool" in str(entry.type) else str for entry in fields(cls)}
    for key, item in table.items():
        if key not in known:
            raise InvalidSyntaxError(f"{where}: there is no key {key!r}; there are {', '.join(known)}", value=key)
        if not isinstance(item, known[key]):
            kind = "true or false" if known[key] is bool else "a text in quotes"
            raise InvalidSyntaxError(f"{where}: {key} must be {kind}", value=key)
    entry = cls(**table)
    if isinstance(entry, S3Bucket) and (entry.access_key_id is None) != (entry.secret_access_key is None):
        raise InvalidSyntaxError(f"{where}: access_key_id and secret_access_key belong together", value=where)
    if entry.bucket is None and entry.shared:
        raise InvalidSyntaxError(f"{where}: shared needs the name of one bucket", value="shared")
    return entry
