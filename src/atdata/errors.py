"""Every error atdata raises on purpose.

    AtdataError
    ├── InvalidSyntaxError      (ValueError)         an identifier or URL is malformed; fix what was typed
    ├── NotFoundError           (FileNotFoundError,  the thing does not exist; retrying will not help
    │                            LookupError)
    ├── InvalidRecordError      (ValueError)         data breaks its lexicon; fix the data
    ├── UnsupportedStorageError (ValueError)         a storage variant or scheme we cannot open; upgrade or install
    ├── SchemaMismatchError     (TypeError)          a sample type and a schema or sample do not fit; change the type
    ├── ShardError              (tarfile.ReadError,  bytes are not a readable shard; get the shard again
    │   │                        ValueError)
    │   └── IntegrityError                           bytes differ from their digest; do not trust them
    ├── RefusedError            (PermissionError)    a rule of safety forbids it; the message names the rule
    ├── AuthenticationError     (PermissionError)    log in, or ask for access
    ├── LimitError              (ValueError)         larger than a limit of ours or of the server; make it smaller
    ├── XrpcError               (OSError)            a server answered with an error of its own; see ``error``
    └── UnavailableError        (OSError)            a remote did not answer; retry later

The tree follows what the caller can do next, not which module raised. Each class also is the builtin that a
Python programmer would catch.
"""

import tarfile
from typing import Any


def _rebuild(cls: type["AtdataError"], args: tuple[Any, ...], state: dict[str, Any]) -> "AtdataError":
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(state)
    return error


class AtdataError(Exception):
    """Base of all errors that atdata raises on purpose. Each one can be pickled, for loader workers."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.args, self.__dict__)


class InvalidSyntaxError(AtdataError, ValueError):
    """An identifier or URL that is not well formed.

    Attributes:
        value: What was given.
    """

    def __init__(self, message: str, *, value: str) -> None:
        super().__init__(message)
        self.value = value


class NotFoundError(AtdataError, FileNotFoundError, LookupError):
    """A record, blob, file, handle or account that does not exist."""


class InvalidRecordError(AtdataError, ValueError):
    """A record that does not match its lexicon.

    Attributes:
        path: Where it fails, as in ``shards[3].bytes``; empty for the record as a whole.
    """

    def __init__(self, message: str, *, path: str = "") -> None:
        super().__init__(f"{path}: {message}" if path else message)
        self.path = path


class UnsupportedStorageError(AtdataError, ValueError):
    """A storage variant or URL scheme that this installation cannot open.

    Attributes:
        kind: The variant's ``$type`` or the scheme.
    """

    def __init__(self, message: str, *, kind: str) -> None:
        super().__init__(message)
        self.kind = kind


class SchemaMismatchError(AtdataError, TypeError):
    """A sample type that does not fit the schema, or a sample that does not fit its type."""


class ShardError(AtdataError, tarfile.ReadError, ValueError):
    """Bytes that are not a readable shard: cut short, not a tar, or a sample that does not decode.

    Attributes:
        shard: The URL, path or CID of the shard; empty when not known.
    """

    def __init__(self, message: str, *, shard: str = "") -> None:
        super().__init__(f"{shard}: {message}" if shard else message)
        self.shard = shard


class IntegrityError(ShardError):
    """Bytes that differ from their digest, or an index that does not describe its shard."""


class RefusedError(AtdataError, PermissionError):
    """Something that a rule of safety forbids, for data that comes from strangers.

    Attributes:
        rule: The name of the rule, as in ``private-address``.
    """

    def __init__(self, message: str, *, rule: str) -> None:
        super().__init__(f"{message} [rule: {rule}]")
        self.rule = rule


class AuthenticationError(AtdataError, PermissionError):
    """No session, a wrong password, or a session that has ended."""


class LimitError(AtdataError, ValueError):
    """Larger or more than a limit of ours or of the server.

    Attributes:
        limit: The limit, in the unit that the message names.
    """

    def __init__(self, message: str, *, limit: int) -> None:
        super().__init__(message)
        self.limit = limit


class XrpcError(AtdataError, OSError):
    """An XRPC server answered with an error.

    Attributes:
        status: HTTP status code.
        error: The error's name, as in ``RecordNotFound``; empty when the server gave none.
        host: The host that answered.
        retry_after: Seconds after which the server takes requests again; None where it has not said.

    Source: https://atproto.com/specs/xrpc#error-responses
    """

    def __init__(
        self, message: str, *, status: int, error: str = "", host: str = "", retry_after: float | None = None
    ) -> None:
        super().__init__(f"{host or 'the server'} answered {status} {error}: {message}".rstrip(": "))
        self.status = status
        self.error = error
        self.host = host
        self.retry_after = retry_after


class UnavailableError(AtdataError, OSError):
    """A remote that did not answer, or not completely, after the retries of its store."""
