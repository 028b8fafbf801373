"""The one SQLite file of an agent: transactions, a damaged file set aside, a disk that takes nothing.

    write -> BEGIN, deletions that wait, the work, COMMIT        damaged -> renamed, a new one begun, rows carried over

Never raises for a broken disk: what is wrong stands in ``fault``, and the caller keeps in memory what was not taken.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, TypeAlias

from edge_agent.effects import Counters

Connection: TypeAlias = sqlite3.Connection
CACHE_KB = 512
"""The queue is short, and memory scarce."""
SALVAGE_LIMIT_ROWS = 100_000
"""Newest rows of a damaged file that are looked at: a second of work, more than both budgets hold."""

_OBEYED = "SELECT name, value FROM memory WHERE name >= 'control/' AND name < 'control0'"
"""The state of each steered device: the newest set-point it has obeyed."""


class RemoteStoreError(Exception):
    """The store cannot be read."""


class StoreFile:
    """A database at ``path`` with ``schema``; ``opened`` is called whenever a connection was made.

    ``fault`` says what is wrong now, None when well; ``complaints`` what was new since somebody emptied the list.
    ``set_aside`` are the damaged files that nobody has salvaged yet.
    """

    def __init__(self, path: Path, schema: str, counters: Counters, opened: Callable[[Connection], None]) -> None:
        self._path = path
        self._schema = schema
        self._counters = counters
        self._opened = opened
        self.fault: str | None = None
        self.complaints: list[str] = []
        self.set_aside: list[Path] = []
        self.connection: Connection | None = None
        self._open()

    def _open(self) -> None:
        try:
            self._connect()
        except sqlite3.OperationalError as error:
            self._complain(error)
        except sqlite3.DatabaseError as error:
            self._quarantine(error)

    def _connect(self) -> None:
        connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False, cached_statements=32)
        try:
            connection.text_factory = _text
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute(f"PRAGMA cache_size=-{CACHE_KB}")
            if connection.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
                raise sqlite3.DatabaseError("quick_check found damage")
            connection.executescript(self._schema)
            self._opened(connection)
        except sqlite3.Error:
            connection.close()
            raise
        self.connection = connection
        self.fault = None

    def _complain(self, error: Exception) -> None:
        self._counters.count("store_failed")
        if self.fault is None:
            self.complaints.append(str(error))
        self.fault = str(error)

    def _quarantine(self, error: Exception) -> None:
        """Renames the damaged file and begins a new one."""
        self._counters.count("store_quarantined")
        if self.connection is not None:
            self.connection.close()
            self.connection = None
        number = 1
        while (aside := self._path.with_name(f"{self._path.name}.corrupt-{number}")).exists():
            number += 1
        try:
            for suffix in ("", "-wal", "-shm"):
                part = self._path.with_name(self._path.name + suffix)
                if part.exists():
                    part.rename(aside.with_name(aside.name + suffix))
            self.set_aside.append(aside)
            self._connect()
            self._carry_over(aside)
        except (OSError, sqlite3.Error) as failed:
            self._complain(failed)
            return
        self.complaints.append(f"the database was damaged ({error}) and lies in {aside.name}")

    def _carry_over(self, aside: Path) -> None:
        """What was obeyed last must outlive the file, as far as it can be read."""
        assert self.connection is not None
        try:
            rows = [row for row in stored_rows(aside, _OBEYED) if _is_list(row[1])]
            self.connection.executemany("INSERT OR IGNORE INTO memory VALUES (?, ?)", rows)
        except (RemoteStoreError, sqlite3.Error):
            self._counters.count("store_salvage_incomplete")

    def write(self, work: Callable[[Connection], object], durable: bool) -> bool:
        """One transaction; False and a complaint where it failed."""
        if self.connection is None:
            self._open()
        connection = self.connection
        if connection is None:
            return False
        try:
            connection.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
            connection.execute("BEGIN IMMEDIATE")
            work(connection)
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            self._failed(connection, error)
            return False
        self.fault = None
        return True

    def _failed(self, connection: Connection, error: sqlite3.Error) -> None:
        try:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        except sqlite3.Error:
            self._counters.count("store_rollback_failed")
        damaged = getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
        if damaged:
            self._quarantine(error)
        else:
            self._complain(error)

    def condemn(self, error: Exception) -> None:
        """What SQLite read without complaint cannot be right: the file is set aside like any damaged one."""
        self._quarantine(error)

    def rows(self, sql: str, values: Sequence[int | str] = ()) -> list[Any]:
        """The rows of a query; none where the disk fails."""
        if self.connection is None:
            return []
        try:
            return self.connection.execute(sql, values).fetchall()
        except sqlite3.Error as error:
            self._failed(self.connection, error)
            return []

    def close(self) -> None:
        """Closes the file."""
        if self.connection is not None:
            self.connection.close()
            self.connection = None


def _is_list(text: object) -> bool:
    try:
        return isinstance(json.loads(str(text)), list)
    except ValueError:
        return False


def _text(stored: bytes) -> str:
    """Damaged text is for its reader to refuse, not for SQLite."""
    return stored.decode("utf-8", "replace")


def salvaged_rows(damaged: Path, table: str, sql: str) -> Iterator[tuple[Any, ...]]:
    """The rows of ``table`` that ``sql`` (with one ``?``, the row's id) still finds, one by one, newest ids only.

    A damaged page costs its own rows only. Ends with RemoteStoreError where nothing at all can be read.
    """
    try:
        with closing(sqlite3.connect(damaged, isolation_level=None)) as connection:
            found = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = ?", (table,)).fetchone()
            last = 0 if found is None else found[0]
            for number in range(max(1, last - SALVAGE_LIMIT_ROWS), last + 1):
                yield from _rows_of(connection, sql, number)
    except (sqlite3.Error, TypeError) as error:
        raise RemoteStoreError(f"{damaged}: {error}") from error


def _rows_of(damaged: Connection, sql: str, number: int) -> list[tuple[Any, ...]]:
    try:
        return damaged.execute(sql, (number,)).fetchall()
    except sqlite3.Error:
        return []


def stored_rows(path: Path, sql: str) -> list[tuple[Any, ...]]:
    """Rows of a database that nobody changes by this. Raises RemoteStoreError."""
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
            return connection.execute(sql).fetchall()
    except sqlite3.Error as error:
        raise RemoteStoreError(f"{path}: {error}") from error
