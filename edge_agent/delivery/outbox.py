"""What the home has signed and the operator does not hold yet, in one SQLite file that survives power cuts.

Two budgets: settlement readings, bids and gap records are never dropped within 90 days; telemetry is dropped oldest
first, and the caller signs a gap record for what went. A frame leaves only by the operator's own acknowledgement or
receipt. Settlement readings and leases are committed with synchronous=FULL. Telemetry waits in memory for the next
`retry`, a minute at most, and only what is not acknowledged by then is written, with NORMAL and in one commit: online
it costs the card nothing, and a power cut costs a minute of it. Deletions go with the next commit. How many frames
wait is kept in memory: an empty queue asks the file nothing. A corrupt file is set aside, and what can still be read
of it carried over; a disk that takes nothing is counted, and frames wait in memory.
"""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from edge_agent.delivery.frame import Frame, FrameKind, frame_of
from edge_agent.delivery.sequence import Leases, Mark, Run
from edge_agent.delivery.store_file import Connection, RemoteStoreError, StoreFile, salvaged_rows, stored_rows
from edge_agent.effects import Counters

SETTLEMENT_LIMIT_ROWS = 40_000
"""90 days of intervals of four meters, some 15 MB; beyond it the oldest go, with a gap record."""
TELEMETRY_LIMIT_BYTES = 32 * 1024 * 1024
"""More than a week of one meter at 1 Hz (at most 4 MB a day and meter)."""
UNSAVED_LIMIT = 512
"""Frames that wait in memory for a disk: five days of intervals, below 1 MB."""
HISTORY_LIMIT = 28 * 96
"""Intervals of own history: four weeks, what the forecast looks at."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS frame (
    id INTEGER PRIMARY KEY AUTOINCREMENT, kind INTEGER NOT NULL, meter INTEGER NOT NULL, epoch INTEGER NOT NULL,
    first INTEGER NOT NULL, last INTEGER NOT NULL, expires_s INTEGER NOT NULL, payload BLOB NOT NULL,
    UNIQUE (kind, meter, epoch, first));
CREATE TABLE IF NOT EXISTS lease (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS mark (meter INTEGER PRIMARY KEY, row TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS run (name TEXT PRIMARY KEY, row TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS history (interval INTEGER PRIMARY KEY, net_wh INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS memory (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""
_COLUMNS = "id, kind, meter, epoch, first, last, expires_s, payload"
_INSERT = "INSERT INTO frame (kind, meter, epoch, first, last, expires_s, payload) VALUES (?, ?, ?, ?, ?, ?, ?)"
_SAME = "FROM frame WHERE kind = ? AND meter = ? AND epoch = ? AND first = ?"
_KINDS = frozenset(int(kind) for kind in FrameKind)
_SQL_LIMIT = (1 << 63) - 1
"""What SQLite's integers hold; a range may end beyond it."""

Settled = tuple[int, Mark, int | None]
"""A meter, its mark, and the net Wh of the mark's interval."""


def _nothing(_: Connection) -> None:
    """A transaction of nothing but the deletions that wait."""


class Outbox:
    """The store of one agent. Never raises for a broken disk.

    Frames up to ``inherited_id`` were written by an earlier run; ``is_damaged`` says, until somebody resets it, that
    a file was set aside and readings may have gone with it.
    """

    def __init__(self, path: Path, counters: Counters) -> None:
        self._counters = counters
        self._deleted: list[int] = []
        self._unsaved: dict[int, Frame] = {}
        self._unsaved_id = 0
        self._unsaved_marks: list[Settled] = []
        self._lost: dict[tuple[FrameKind, int, int], Frame] = {}
        self._stored = Counter[FrameKind]()
        self._telemetry_bytes = 0
        self.inherited_id = 0
        self.is_damaged = False
        self.file = StoreFile(path, _SCHEMA, counters, self._measure)
        self._salvage()

    @property
    def fault(self) -> str | None:
        """What is wrong with the disk now."""
        return self.file.fault

    @property
    def complaints(self) -> list[str]:
        """What was found wrong since somebody emptied this list."""
        return self.file.complaints

    def _measure(self, connection: Connection) -> None:
        """Sizes of a file just opened; from then on they are kept, so that an empty queue is never asked."""
        found = connection.execute("SELECT kind, COUNT(*), SUM(LENGTH(payload)), MAX(id) FROM frame GROUP BY kind")
        rows = found.fetchall()
        self._stored = Counter({FrameKind(kind): count for kind, count, _, _ in rows if kind in _KINDS})
        self._telemetry_bytes = sum(size for kind, _, size, _ in rows if kind == FrameKind.TELEMETRY)
        self.inherited_id = max((newest for _, _, _, newest in rows), default=0)
        self._deleted.clear()

    def _salvage(self) -> None:
        """Carries over from damaged files what can still be read of settlement readings, bids and gap records."""
        while self.file.set_aside:
            aside = self.file.set_aside.pop()
            self.is_damaged = True
            frames: list[Frame] = []
            try:
                for row in salvaged_rows(aside, "frame", f"SELECT {_COLUMNS} FROM frame WHERE id = ? AND kind < 4"):
                    with contextlib.suppress(ValueError, TypeError):
                        frames.append(frame_of(row))
            except RemoteStoreError:
                self._counters.count("store_salvage_incomplete")
            if frames:
                self.put(frames, durable=True)
                self.inherited_id = max([row[0] for row in self._rows("SELECT MAX(id) FROM frame")], default=0)

    def _write(self, work: Callable[[Connection], object], durable: bool) -> bool:
        """One transaction with the deletions that wait, which come first."""

        def with_deletions(connection: Connection) -> None:
            connection.executemany("DELETE FROM frame WHERE id = ?", [(i,) for i in self._deleted])
            work(connection)

        done = self.file.write(with_deletions, durable)
        if done:
            self._deleted.clear()
        if self.file.set_aside:
            self._salvage()
        return done

    def _rows(self, sql: str, values: Sequence[int | str] = ()) -> list[Any]:
        rows = self.file.rows(sql, values)
        if self.file.set_aside:
            self._salvage()
        return rows

    def _read(self, sql: str, values: Sequence[int | str]) -> list[Frame]:
        """The frames of a query; a row that is none means a damaged file."""
        try:
            return [frame_of(row) for row in self._rows(sql, values)]
        except (ValueError, TypeError) as error:
            self._condemn(error)
            return []

    def _condemn(self, error: Exception) -> None:
        """What SQLite read without complaint cannot be right."""
        self.file.condemn(error)
        self._salvage()

    @property
    def is_open(self) -> bool:
        """Whether the file can be asked; what waits in it is unknown until then."""
        return self.file.connection is not None

    def read_leases(self) -> Leases | None:
        """The leases kept here, none where they cannot be right; None where the file cannot be opened."""
        if not self.is_open:
            return None
        try:
            marks = {meter: Mark(*json.loads(row)) for meter, row in self._rows("SELECT meter, row FROM mark")}
            rows = self._rows("SELECT name, row FROM run")
            runs = {name: [Run(*run) for run in json.loads(row)] for name, row in rows}
            numbers = {name: int(value) for name, value in self._rows("SELECT name, value FROM lease")}
        except (ValueError, TypeError) as error:
            self._condemn(error)
            return Leases()
        return Leases(numbers, marks, runs)

    def write_leases(self, leases: Leases) -> bool:
        """Whether they are durable now."""

        def work(connection: Connection) -> None:
            connection.executemany("INSERT OR REPLACE INTO lease VALUES (?, ?)", list(leases.numbers.items()))
            runs = [(name, json.dumps([run.row() for run in runs])) for name, runs in leases.runs.items()]
            connection.executemany("INSERT OR REPLACE INTO run VALUES (?, ?)", runs)

        return self._write(work, durable=True)

    def put(self, frames: Iterable[Frame], durable: bool, mark: Settled | None = None) -> None:
        """Stores frames in one transaction; with ``mark`` beside them.

        What cannot be stored waits in memory and is sent from there.
        """
        new = list(frames)
        marks = [] if mark is None else [mark]
        if not self._store(new, marks, durable):
            self._unsaved_marks += marks
            self.stage(new)

    def _store(self, new: list[Frame], marks: list[Settled], durable: bool) -> bool:
        replaced: list[tuple[int, int]] = []

        def work(connection: Connection) -> None:
            for frame in new:
                same = frame.row[:4]
                found = connection.execute(f"SELECT kind, LENGTH(payload) {_SAME}", same).fetchall()
                if found:
                    replaced.extend(found)
                    connection.execute(f"DELETE {_SAME}", same)
                connection.execute(_INSERT, frame.row)
            for mark in marks:
                _keep_mark(connection, *mark)

        if not self._write(work, durable):
            return False
        self._stored.update(frame.kind for frame in new)
        self._telemetry_bytes += sum(len(f.payload) for f in new if f.kind == FrameKind.TELEMETRY)
        for kind, size in replaced:
            self._stored[FrameKind(kind)] -= 1
            self._telemetry_bytes -= size if kind == FrameKind.TELEMETRY else 0
        return True

    def stage(self, frames: Iterable[Frame]) -> None:
        """Keeps frames in memory until the next `retry`; beyond UNSAVED_LIMIT telemetry goes first, oldest first."""
        for frame in frames:
            self._unsaved_id -= 1
            self._unsaved[self._unsaved_id] = replace(frame, id=self._unsaved_id)
        while len(self._unsaved) > UNSAVED_LIMIT:
            worst = max(self._unsaved.values(), key=lambda f: (f.kind, f.id))
            del self._unsaved[worst.id]
            self._counters.count("unsaved_dropped")
            self._lose(worst)

    def _lose(self, frame: Frame) -> None:
        """Notes what a gap record must say once the disk takes it; the oldest went first, so a range is enough."""
        if frame.kind == FrameKind.BID:
            return
        name = (frame.kind.gap, frame.meter, frame.epoch)
        known = self._lost.get(name, frame)
        first, last = min(known.first, frame.first), max(known.last, frame.last)
        self._lost[name] = Frame(frame.kind, frame.meter, frame.epoch, first, last, b"")

    def retry(self) -> None:
        """Moves what waits in memory to the disk, and carries out deletions that wait."""
        waiting = list(self._unsaved.values())
        if waiting or self._unsaved_marks:
            durable = any(frame.kind != FrameKind.TELEMETRY for frame in waiting)
            if self._store(waiting, self._unsaved_marks, durable):
                self._unsaved.clear()
                self._unsaved_marks.clear()
        elif self._deleted:
            self._write(_nothing, durable=False)

    def over_budget(self) -> list[Frame]:
        """Removes and returns the oldest frames beyond the budgets; the caller says so in gap records.

        What memory could not hold while the disk took nothing is among them, without payload, once it takes again.
        """
        dropped: list[Frame] = []
        while self._telemetry_bytes > TELEMETRY_LIMIT_BYTES:
            oldest = self.pending(FrameKind.TELEMETRY, 16, newest=False)
            if not oldest:
                break
            dropped += oldest
            self._delete(oldest)
        beyond = self._stored[FrameKind.SETTLEMENT] - SETTLEMENT_LIMIT_ROWS
        if beyond > 0:
            oldest = self.pending(FrameKind.SETTLEMENT, beyond, newest=False)
            dropped += oldest
            self._delete(oldest)
        if self._lost and self.fault is None and not self._unsaved:
            dropped += self._lost.values()
            self._lost.clear()
        return dropped

    def unsaved(self) -> list[Frame]:
        """What a crash would take along: frames in memory, and those lost from it that no gap record tells of yet."""
        return [*self._unsaved.values(), *self._lost.values()]

    def waiting(self, *kinds: FrameKind) -> int:
        """How many frames of these kinds wait; costs no query."""
        return sum(self._stored[kind] for kind in kinds) + sum(f.kind in kinds for f in self._unsaved.values())

    def pending(self, kind: FrameKind, limit: int, newest: bool, without: Iterable[int] = ()) -> list[Frame]:
        """Frames of a kind that nobody has acknowledged, oldest or newest first, ``without`` some ids."""
        left_out = {*without, *self._deleted}
        found: list[Frame] = []
        if self._stored[kind]:
            marks = ",".join("?" * len(left_out))
            order = "DESC" if newest else "ASC"
            found = self._read(
                f"SELECT {_COLUMNS} FROM frame WHERE kind = ? AND id NOT IN ({marks}) ORDER BY id {order} LIMIT ?",
                (int(kind), *left_out, limit),
            )
        waiting = [f for f in self._unsaved.values() if f.kind == kind and f.id not in left_out]
        return (waiting[::-1] + found if newest else found + waiting)[:limit]

    def by_id(self, ids: Sequence[int]) -> list[Frame]:
        """Those of the frames that are still here."""
        wanted = [i for i in ids if i > 0 and i not in self._deleted]
        marks = ",".join("?" * len(wanted))
        sql = f"SELECT {_COLUMNS} FROM frame WHERE id IN ({marks}) ORDER BY id"
        return (self._read(sql, wanted) if wanted else []) + [self._unsaved[i] for i in ids if i in self._unsaved]

    def held(
        self, kinds: Sequence[FrameKind], meter: int, epoch: int, first: int = 0, last: int = 1 << 64
    ) -> list[Frame]:
        """The frames of a stream that lie wholly within the range, in rising order."""
        found: list[Frame] = []
        if any(self._stored[kind] for kind in kinds):
            chosen = ",".join(str(int(kind)) for kind in kinds)
            rows = self._read(
                f"SELECT {_COLUMNS} FROM frame WHERE kind IN ({chosen}) AND meter = ? AND epoch = ? AND first >= ?"
                " AND last <= ?",
                (meter, epoch, min(first, _SQL_LIMIT), min(last, _SQL_LIMIT)),
            )
            gone = set(self._deleted)
            found = [frame for frame in rows if frame.id not in gone]
        found += [
            f
            for f in self._unsaved.values()
            if f.kind in kinds and (f.meter, f.epoch) == (meter, epoch) and first <= f.first and f.last <= last
        ]
        return sorted(found, key=lambda frame: frame.first)

    def acknowledge(self, kinds: Sequence[FrameKind], meter: int, epoch: int, first: int, last: int) -> list[Frame]:
        """Removes and returns the frames wholly within the range."""
        found = self.held(kinds, meter, epoch, first, last)
        self._delete(found)
        return found

    def bid(self, product: int, version: int) -> list[Frame]:
        """The bid for a product in that version, if it is still here; one at most."""
        stored = self.pending(FrameKind.BID, UNSAVED_LIMIT, newest=True)
        return [frame for frame in stored if (frame.first, frame.last) == (product, version)]

    def remove(self, frames: Iterable[Frame]) -> None:
        """Forgets frames: receipted, expired or unanswered bids, and what turned out to be damaged."""
        self._delete(list(frames))

    def _delete(self, frames: list[Frame]) -> None:
        for frame in frames:
            if frame.id < 0:
                self._unsaved.pop(frame.id, None)
                continue
            if frame.id in self._deleted:
                continue
            self._deleted.append(frame.id)
            self._stored[frame.kind] -= 1
            if frame.kind == FrameKind.TELEMETRY:
                self._telemetry_bytes -= len(frame.payload)
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
        """The JSON value kept under a name; None where there is none, or none that can be read."""
        rows = self._rows("SELECT value FROM memory WHERE name = ?", (name,))
        try:
            return json.loads(rows[0][0]) if rows else None
        except (ValueError, TypeError):
            self._counters.count("state_unreadable")
            return None

    def stat(self) -> dict[str, int]:
        """Frames that wait, by kind, and how many of them only in memory."""
        found = {f"pending_{kind.name.lower()}": self._stored[kind] for kind in FrameKind}
        found["unsaved"] = len(self._unsaved)
        found["telemetry_bytes"] = self._telemetry_bytes
        return found

    def close(self) -> None:
        """Carries out what waits and closes the file."""
        self.retry()
        self.file.close()


def _keep_mark(connection: Connection, meter: int, mark: Mark, net_wh: int | None) -> None:
    connection.execute("INSERT OR REPLACE INTO mark VALUES (?, ?)", (meter, json.dumps(mark.row())))
    if net_wh is not None:
        connection.execute(
            "INSERT INTO history VALUES (?, ?) ON CONFLICT (interval) DO UPDATE SET net_wh = net_wh + ?",
            (mark.interval, net_wh, net_wh),
        )
        connection.execute("DELETE FROM history WHERE interval < ?", (mark.interval - HISTORY_LIMIT,))


def read_queue(path: Path) -> list[Frame]:
    """All that waits, oldest first, without touching it. Raises RemoteStoreError."""
    try:
        return [frame_of(row) for row in stored_rows(path, f"SELECT {_COLUMNS} FROM frame ORDER BY id")]
    except (ValueError, TypeError) as error:
        raise RemoteStoreError(f"{path}: {error}") from error
