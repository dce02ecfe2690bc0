"""The SQLite file of a local repository: opened for each piece of work, so that threads and processes can share it.

It knows tables, transactions and what SQLite's errors mean to a user. What is in the tables is `local`'s business.
"""

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from atdata.errors import UnavailableError

_FORMAT = 1  # PRAGMA user_version of the file
_TABLES = """
CREATE TABLE IF NOT EXISTS records (
    collection TEXT NOT NULL, rkey TEXT NOT NULL, cid TEXT NOT NULL, block BLOB NOT NULL,
    PRIMARY KEY (collection, rkey));
CREATE TABLE IF NOT EXISTS blobs (
    cid TEXT PRIMARY KEY, mime_type TEXT NOT NULL, size INTEGER NOT NULL, uploaded REAL NOT NULL);
CREATE TABLE IF NOT EXISTS blob_uses (
    cid TEXT NOT NULL, collection TEXT NOT NULL, rkey TEXT NOT NULL, PRIMARY KEY (cid, collection, rkey));
CREATE INDEX IF NOT EXISTS blob_uses_by_record ON blob_uses (collection, rkey);
CREATE TABLE IF NOT EXISTS garbage (cid TEXT PRIMARY KEY);
"""


@dataclass(frozen=True, slots=True)
class LocalDatabase:
    """The database of one local repository.

    Attributes:
        folder: The repository's folder; made, mode 0700, by the first transaction.
        wait: Seconds that a writer waits for another process.
    """

    folder: Path
    wait: float = 30

    def select(self, query: str, *parameters: object) -> list[tuple[Any, ...]]:
        """The rows of one query; none where nothing has been written yet.

        Raises:
            UnavailableError: The file is damaged, locked, or of a newer release.
        """
        if not self._file.exists():
            return []
        with self._open() as database:
            return database.execute(query, parameters).fetchall()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Write, all or nothing, with no other writer beside. Raises as `select` does."""
        with self._open() as database:
            database.execute("BEGIN IMMEDIATE")
            try:
                yield database
            except BaseException:
                database.execute("ROLLBACK")
                raise
            database.execute("COMMIT")

    @property
    def _file(self) -> Path:
        return self.folder / "repository.sqlite"

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(os.open(self._file, os.O_CREAT | os.O_RDWR, 0o600))
        except OSError as error:
            raise UnavailableError(f"the local repository in {self.folder} cannot be opened: {error}") from error
        try:
            # isolation_level None: transactions are begun by hand, as BEGIN IMMEDIATE.
            with closing(sqlite3.connect(self._file, timeout=self.wait, isolation_level=None)) as database:
                self._prepare(database)
                yield database
        except sqlite3.Error as error:
            raise UnavailableError(self._explain(error)) from error

    def _prepare(self, database: sqlite3.Connection) -> None:
        version = database.execute("PRAGMA user_version").fetchone()[0]
        if version > _FORMAT:
            raise UnavailableError(
                f"the local repository in {self.folder} was written by a newer release of atdata; upgrade"
            )
        if version < _FORMAT:
            # Going over to WAL does not wait for other processes as SQLite otherwise does, hence a lock of our own.
            handle = os.open(self.folder, os.O_RDONLY)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX)
                database.execute("PRAGMA journal_mode = WAL")
                database.executescript(f"{_TABLES} PRAGMA user_version = {_FORMAT};")
            finally:
                os.close(handle)

    def _explain(self, error: sqlite3.Error) -> str:
        where = f"the local repository in {self.folder}"
        if "locked" in str(error) or "busy" in str(error):
            return f"{where} is in use by another process, and was for {self.wait:g} seconds; try again later"
        if "malformed" in str(error) or "not a database" in str(error) or "corrupt" in str(error):
            return f"{where} is damaged ({error}); move the folder away, or restore {self._file.name} from a copy"
        return f"{where} cannot be used: {error}"
