"""What the home has signed and the operator does not hold yet, in one SQLite file that survives power cuts.

Two budgets: settlement readings, bids and gap records are never dropped within 90 days; telemetry is dropped oldest
first, and the caller signs a gap record for what went. A frame leaves only by the operator's own acknowledgement or
receipt. Settlement readings and leases are committed with synchronous=FULL. Telemetry waits in memory for the next
`retry`, a minute at most, and only what is not acknowledged by then is written, with NORMAL and in one commit: online
it costs the card nothing, and a power cut costs a minute of it. Deletions go with the next commit. A corrupt file is
renamed and a new one begun; a disk that takes nothing is counted, and frames wait in memory.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from edge_agent.effects import Counters
from edge_agent.frame import Frame, FrameKind, frame_of
from edge_agent.sequence import Leases, Mark

SETTLEMENT_LIMIT_ROWS = 40_000
"""90 days of intervals of four meters, some 15 MB; beyond it the oldest go, with a gap record."""
TELEMETRY_LIMIT_BYTES = 32 * 1024 * 1024
"""More than a week of one meter at 1 Hz (at most 4 MB a day and meter)."""
UNSAVED_LIMIT = 512
"""Frames that wait in memory for a disk: five days of intervals, below 1 MB."""
SALVAGE_LIMIT_ROWS = 100_000
"""Newest frames of a damaged file that are looked at: a second of work, more than both budgets hold."""
HISTORY_LIMIT = 28 * 96
"""Intervals of own history: four weeks, what the forecast looks at."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS frame (
    id INTEGER PRIMARY KEY AUTOINCREMENT, kind INTEGER NOT NULL, meter INTEGER NOT NULL, epoch INTEGER NOT NULL,
    first INTEGER NOT NULL, last INTEGER NOT NULL, expires_s INTEGER NOT NULL, payload BLOB NOT NULL,
    UNIQUE (kind, meter, epoch, first));
CREATE TABLE IF NOT EXISTS lease (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS mark (meter INTEGER PRIMARY KEY, row TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS history (interval INTEGER PRIMARY KEY, net_wh INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS memory (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""
_COLUMNS = "id, kind, meter, epoch, first, last, expires_s, payload"
_INSERT = (
    "INSERT OR REPLACE INTO frame (kind, meter, epoch, first, last, expires_s, payload) VALUES (?, ?, ?, ?, ?, ?, ?)"
)


def _salvaged(damaged: sqlite3.Connection, number: int) -> list[tuple[Any, ...]]:
    """The row of a frame that is not telemetry, if it can still be read."""
    try:
        found = damaged.execute(f"SELECT {_COLUMNS} FROM frame WHERE id = ? AND kind < 4", (number,)).fetchall()
        return [frame_of(row).row for row in found]
    except (sqlite3.Error, ValueError, TypeError):
        return []


def _nothing(_: sqlite3.Connection) -> None:
    """A transaction of nothing but the deletions that wait."""


class RemoteStoreError(Exception):
    """The store cannot be read."""


class Outbox:
    """The store of one agent. Never raises for a broken disk.

    ``fault`` says what is wrong now, None when well; ``complaints`` what was new since somebody emptied the list.
    """

    def __init__(self, path: Path, counters: Counters) -> None:
        self._path = path
        self._counters = counters
        self.fault: str | None = None
        self.complaints: list[str] = []
        self._deleted: list[int] = []
        self._unsaved: dict[int, Frame] = {}
        self._unsaved_id = 0
        self._connection: sqlite3.Connection | None = None
        self._telemetry_bytes = 0
        self._settlement_rows = 0
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
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA cache_size=-512")  # kB; the queue is short, and memory scarce
            if connection.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
                raise sqlite3.DatabaseError("quick_check found damage")
            connection.executescript(_SCHEMA)
            sizes = connection.execute("SELECT COALESCE(SUM(LENGTH(payload)), 0) FROM frame WHERE kind = 4").fetchone()
            rows = connection.execute("SELECT COUNT(*) FROM frame WHERE kind = 1").fetchone()
        except sqlite3.Error:
            connection.close()
            raise
        self._telemetry_bytes, self._settlement_rows = sizes[0], rows[0]
        self._connection = connection
        self.fault = None

    def _complain(self, error: Exception) -> None:
        self._counters.count("store_failed")
        if self.fault is None:
            self.complaints.append(str(error))
        self.fault = str(error)

    def _quarantine(self, error: Exception) -> None:
        """Renames the damaged file, begins a new one, and carries over what can still be read."""
        self._counters.count("store_quarantined")
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        number = 1
        while (aside := self._path.with_name(f"{self._path.name}.corrupt-{number}")).exists():
            number += 1
        try:
            for suffix in ("", "-wal", "-shm"):
                part = self._path.with_name(self._path.name + suffix)
                if part.exists():
                    part.rename(aside.with_name(aside.name + suffix))
            self._connect()
        except (OSError, sqlite3.Error) as failed:
            self._complain(failed)
            return
        self._salvage(aside)
        self.complaints.append(f"the database was damaged ({error}) and lies in {aside.name}")

    def _salvage(self, aside: Path) -> None:
        """Row by row, so that a damaged page costs its own rows only."""
        rows: list[tuple[Any, ...]] = []
        try:
            damaged = sqlite3.connect(aside, isolation_level=None)
            try:
                last = damaged.execute("SELECT seq FROM sqlite_sequence WHERE name = 'frame'").fetchone()[0]
                for number in range(max(1, last - SALVAGE_LIMIT_ROWS), last + 1):
                    rows += _salvaged(damaged, number)
            finally:
                damaged.close()
        except (sqlite3.Error, TypeError):
            self._counters.count("store_salvage_incomplete")
        if rows:
            self._write(lambda c: c.executemany(_INSERT, rows), durable=True)
            self._settlement_rows += sum(row[0] == FrameKind.SETTLEMENT for row in rows)

    def _write(self, work: Callable[[sqlite3.Connection], object], durable: bool) -> bool:
        """One transaction with the deletions that wait; False and a complaint where it failed."""
        if self._connection is None:
            self._open()
        connection = self._connection
        if connection is None:
            return False
        try:
            connection.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
            connection.execute("BEGIN IMMEDIATE")
            work(connection)
            connection.executemany("DELETE FROM frame WHERE id = ?", [(i,) for i in self._deleted])
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            self._failed(connection, error)
            return False
        self._deleted.clear()
        self.fault = None
        return True

    def _failed(self, connection: sqlite3.Connection, error: sqlite3.Error) -> None:
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

    def _rows(self, sql: str, values: Sequence[int | str] = ()) -> list[Any]:
        """The rows of a query; none where the disk fails."""
        if self._connection is None:
            return []
        try:
            return self._connection.execute(sql, values).fetchall()
        except sqlite3.Error as error:
            self._failed(self._connection, error)
            return []

    def read_leases(self) -> Leases:
        """The leases kept here."""
        marks = {meter: Mark(*json.loads(row)) for meter, row in self._rows("SELECT meter, row FROM mark")}
        return Leases(dict(self._rows("SELECT name, value FROM lease")), marks)

    def write_leases(self, leases: Leases) -> bool:
        """Whether they are durable now."""
        rows = list(leases.numbers.items())
        return self._write(lambda c: c.executemany("INSERT OR REPLACE INTO lease VALUES (?, ?)", rows), durable=True)

    def put(self, frames: Iterable[Frame], durable: bool, mark: tuple[int, Mark, int | None] | None = None) -> None:
        """Stores frames in one transaction; with ``mark`` (meter, mark, net Wh of its interval) beside them.

        What cannot be stored waits in memory and is sent from there.
        """
        new = list(frames)

        def work(connection: sqlite3.Connection) -> None:
            connection.executemany(_INSERT, [frame.row for frame in new])
            if mark is not None:
                meter, kept, net_wh = mark
                connection.execute("INSERT OR REPLACE INTO mark VALUES (?, ?)", (meter, json.dumps(kept.row())))
                if net_wh is not None:
                    connection.execute(
                        "INSERT INTO history VALUES (?, ?) ON CONFLICT (interval) DO UPDATE SET net_wh = net_wh + ?",
                        (kept.interval, net_wh, net_wh),
                    )
                    connection.execute("DELETE FROM history WHERE interval < ?", (kept.interval - HISTORY_LIMIT,))

        if self._write(work, durable):
            self._telemetry_bytes += sum(len(f.payload) for f in new if f.kind == FrameKind.TELEMETRY)
            self._settlement_rows += sum(f.kind == FrameKind.SETTLEMENT for f in new)
            return
        self.stage(new)

    def stage(self, frames: Iterable[Frame]) -> None:
        """Keeps frames in memory until the next `retry`; beyond UNSAVED_LIMIT telemetry goes first."""
        for frame in frames:
            self._unsaved_id -= 1
            self._unsaved[self._unsaved_id] = replace(frame, id=self._unsaved_id)
        while len(self._unsaved) > UNSAVED_LIMIT:
            worst = max(self._unsaved.values(), key=lambda f: (f.kind, f.id))
            del self._unsaved[worst.id]
            self._counters.count("unsaved_dropped")

    def retry(self) -> None:
        """Moves what waits in memory to the disk, and carries out deletions that wait."""
        waiting = list(self._unsaved.values())
        if waiting:
            self._unsaved.clear()
            self.put(waiting, durable=any(frame.kind != FrameKind.TELEMETRY for frame in waiting))
        elif self._deleted:
            self._write(_nothing, durable=False)

    def over_budget(self) -> list[Frame]:
        """Removes and returns the oldest frames beyond the budgets; the caller says so in gap records."""
        dropped: list[Frame] = []
        while self._telemetry_bytes > TELEMETRY_LIMIT_BYTES:
            oldest = self.pending(FrameKind.TELEMETRY, 16, newest=False)
            if not oldest:
                break
            dropped += oldest
            self._delete(oldest)
        beyond = self._settlement_rows - SETTLEMENT_LIMIT_ROWS
        if beyond > 0:
            oldest = self.pending(FrameKind.SETTLEMENT, beyond, newest=False)
            dropped += oldest
            self._delete(oldest)
        return dropped

    def pending(self, kind: FrameKind, limit: int, newest: bool, without: Iterable[int] = ()) -> list[Frame]:
        """Frames of a kind that nobody has acknowledged, oldest or newest first, ``without`` some ids."""
        left_out = {*without, *self._deleted}
        marks = ",".join("?" * len(left_out))
        order = "DESC" if newest else "ASC"
        rows = self._rows(
            f"SELECT {_COLUMNS} FROM frame WHERE kind = ? AND id NOT IN ({marks}) ORDER BY id {order} LIMIT ?",
            (int(kind), *left_out, limit),
        )
        waiting = [f for f in self._unsaved.values() if f.kind == kind and f.id not in left_out]
        found = [frame_of(row) for row in rows]
        return (waiting[::-1] + found if newest else found + waiting)[:limit]

    def by_id(self, ids: Sequence[int]) -> list[Frame]:
        """Those of the frames that are still here."""
        wanted = [i for i in ids if i not in self._deleted]
        marks = ",".join("?" * len(wanted))
        rows = self._rows(f"SELECT {_COLUMNS} FROM frame WHERE id IN ({marks}) ORDER BY id", wanted)
        return [frame_of(row) for row in rows] + [self._unsaved[i] for i in wanted if i in self._unsaved]

    def acknowledge(self, kinds: Sequence[FrameKind], meter: int, epoch: int, first: int, last: int) -> list[Frame]:
        """Removes and returns the frames wholly within the range."""
        chosen = ",".join(str(int(kind)) for kind in kinds)
        limit = (1 << 63) - 1  # what SQLite's integers hold; a range may end beyond it
        rows = self._rows(
            f"SELECT {_COLUMNS} FROM frame WHERE kind IN ({chosen}) AND meter = ? AND epoch = ? AND first >= ?"
            " AND last <= ?",
            (meter, epoch, min(first, limit), min(last, limit)),
        )
        waiting = [
            f
            for f in self._unsaved.values()
            if f.kind in kinds and (f.meter, f.epoch) == (meter, epoch) and first <= f.first and f.last <= last
        ]
        gone = set(self._deleted)
        found = [f for f in (frame_of(row) for row in rows) if f.id not in gone] + waiting
        self._delete(found)
        return found

    def bid(self, product: int, version: int) -> list[Frame]:
        """The bid for a product in that version, if it is still here; one at most."""
        stored = self.pending(FrameKind.BID, UNSAVED_LIMIT, newest=True)
        return [frame for frame in stored if (frame.first, frame.last) == (product, version)]

    def remove(self, frames: Iterable[Frame]) -> None:
        """Forgets frames: receipted or expired bids."""
        self._delete(list(frames))

    def _delete(self, frames: list[Frame]) -> None:
        for frame in frames:
            if frame.id < 0:
                self._unsaved.pop(frame.id, None)
                continue
            self._deleted.append(frame.id)
            if frame.kind == FrameKind.TELEMETRY:
                self._telemetry_bytes -= len(frame.payload)
            elif frame.kind == FrameKind.SETTLEMENT:
                self._settlement_rows -= 1
        if len(self._deleted) >= UNSAVED_LIMIT:
            self._write(_nothing, durable=False)

    def history(self) -> dict[int, int]:
        """``{interval: net Wh}`` of the last four weeks."""
        return dict(self._rows("SELECT interval, net_wh FROM history"))

    def learn(self, past: Mapping[int, int]) -> bool:
        """Takes in ``{interval: net Wh}`` from elsewhere, where nothing is known yet; whether it was stored."""
        rows = list(past.items())
        return self._write(lambda c: c.executemany("INSERT OR IGNORE INTO history VALUES (?, ?)", rows), durable=True)

    def remember(self, name: str, value: object, durable: bool = False) -> bool:
        """Keeps a JSON value under a name; whether it was stored."""
        text = json.dumps(value)
        return self._write(
            lambda c: c.execute("INSERT OR REPLACE INTO memory VALUES (?, ?)", (name, text)), durable=durable
        )

    def recall(self, name: str) -> Any:
        """The JSON value kept under a name; None where there is none."""
        rows = self._rows("SELECT value FROM memory WHERE name = ?", (name,))
        return json.loads(rows[0][0]) if rows else None

    def stat(self) -> dict[str, int]:
        """Frames that wait, by kind, and how many of them only in memory."""
        found = {f"pending_{kind.name.lower()}": 0 for kind in FrameKind}
        for kind, count in self._rows("SELECT kind, COUNT(*) FROM frame GROUP BY kind"):
            found[f"pending_{FrameKind(kind).name.lower()}"] += count
        found["unsaved"] = len(self._unsaved)
        found["telemetry_bytes"] = self._telemetry_bytes
        return found

    def close(self) -> None:
        """Carries out what waits and closes the file."""
        self.retry()
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def read_queue(path: Path) -> list[tuple[int, bytes]]:
    """Kind and packed envelope of all that waits, oldest first, without touching it. Raises RemoteStoreError."""
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
            rows: list[tuple[int, bytes]] = connection.execute("SELECT kind, payload FROM frame ORDER BY id").fetchall()
            return rows
    except sqlite3.Error as error:
        raise RemoteStoreError(f"{path}: {error}") from error
