"""The store: SQLite as a deterministic data structure, with one open transaction and an explicit commit.

The shell commits after a group of inputs and only then lets their effects out (group commit), so nothing is
acknowledged that a power cut could take back: ``synchronous=FULL`` with a write-ahead log.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from coordinator.store.schema import DDL, ORIGINAL_TABLES

CACHE_KIB = 16 * 1024


@dataclass(frozen=True, slots=True)
class InboxEntry:
    """One accepted input. ``kind`` is message, chain, deadline, quote or request."""

    id: int
    at_ms: int
    kind: str
    topic: str
    payload: bytes


class Store:
    """One SQLite file (or ``:memory:``). All methods run inside the open transaction."""

    def __init__(self, path: Path | str = ":memory:") -> None:
        self.path = str(path)
        self._connection = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=FULL")
        self._connection.execute(f"PRAGMA cache_size=-{CACHE_KIB}")
        self._connection.executescript(DDL)
        self._connection.execute("BEGIN IMMEDIATE")

    def commit(self) -> None:
        """Makes everything so far durable."""
        self._connection.execute("COMMIT")
        self._connection.execute("BEGIN IMMEDIATE")

    def roll_back(self) -> None:
        """Forgets everything since the last commit."""
        self._connection.execute("ROLLBACK")
        self._connection.execute("BEGIN IMMEDIATE")

    def close(self) -> None:
        """Closes without committing what is open."""
        self._connection.close()

    def run(self, sql: str, *values: object) -> int:
        """Runs one statement; the number of rows it changed."""
        return self._connection.execute(sql, values).rowcount

    def run_many(self, sql: str, rows: Sequence[Sequence[object]]) -> None:
        """Runs one statement for every row."""
        self._connection.executemany(sql, rows)

    def rows(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        """All rows of a query."""
        return self._connection.execute(sql, values).fetchall()

    def row(self, sql: str, *values: object) -> tuple[Any, ...] | None:
        """The first row of a query, or None."""
        found: tuple[Any, ...] | None = self._connection.execute(sql, values).fetchone()
        return found

    def integer(self, sql: str, *values: object, default: int = 0) -> int:
        """The single integer of a query; ``default`` where there is no row or a null."""
        found = self.row(sql, *values)
        return default if found is None or found[0] is None else int(found[0])

    def append_input(self, at_ms: int, kind: str, topic: str, payload: bytes) -> int:
        """Appends to the inbox; the entry's id."""
        cursor = self._connection.execute(
            "INSERT INTO inbox (at_ms, kind, topic, payload) VALUES (?, ?, ?, ?)", (at_ms, kind, topic, payload)
        )
        return int(cursor.lastrowid or 0)

    def inputs(self, after_id: int = 0) -> Iterator[InboxEntry]:
        """The inbox in order, after entry ``after_id``."""
        cursor = self._connection.execute(
            "SELECT id, at_ms, kind, topic, payload FROM inbox WHERE id > ? ORDER BY id", (after_id,)
        )
        for row in cursor:
            yield InboxEntry(*row)

    def input_payload(self, inbox_id: int) -> bytes:
        """The verbatim bytes of one accepted input. Raises KeyError when there is no such entry."""
        found = self.row("SELECT payload FROM inbox WHERE id = ?", inbox_id)
        if found is None or not isinstance(found[0], bytes):
            raise KeyError(inbox_id)
        return found[0]

    def mark(self, name: str, default: int = 0) -> int:
        """A named integer that a room keeps between calls."""
        return self.integer("SELECT value FROM marks WHERE name = ?", name, default=default)

    def set_mark(self, name: str, value: int) -> None:
        """Keeps a named integer."""
        self.run("INSERT INTO marks VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value", name, value)

    def derived_tables(self) -> dict[str, list[tuple[Any, ...]]]:
        """Every table that follows from the inbox, rows in a fixed order: what a replay must equal."""
        names = [
            str(name)
            for (name,) in self.rows("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")
            if name not in ORIGINAL_TABLES
        ]
        return {name: sorted(self.rows(f"SELECT * FROM {name}"), key=repr) for name in names}
