"""Numbers that are used once: sequences, epochs and versions, leased ahead of use.

A lease of many numbers, or of several kinds that are about to be used, is written with fsync to a file next to the key
*and* to the outbox database before the first of them is used; at start the larger of the two counts. So a killed agent
skips what it had leased, and an older database restored from a backup lends nothing twice. The file must be written for
a lease to count; a database that cannot be written is an alarm. Without a lease nothing is signed, and measuring goes
on.

Per meter a mark is kept in the same way: the last settled interval and the baselines of its registers, so that no
interval is signed twice and no register runs backwards after a restore. And per stream the runs: which numbers were
lent under which epoch, so that a later run can say which of them will never come (`gaps.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from contracts.codes import Stream
from edge_agent.effects import Counters

LEASE = 64
"""Settlement readings, bids: sixteen hours of intervals an fsync; a crash skips at most as many numbers."""
TELEMETRY_LEASE = 4_096
"""Over an hour at 1 Hz: one fsync an hour instead of one a minute."""
UNREADABLE_SKIP = 1 << 16
"""Where only an old database is left: more numbers than any kind but telemetry uses in a year and a half. A new
epoch, equally far ahead, keeps telemetry apart."""
RUNS_LIMIT = 16
"""Runs remembered of a stream: those of which something may still wait. An agent that dies more often than that
without a link is beyond saying what went with a database that is damaged on top."""
BOOT = "boot"
BID_VERSION = "bid"


@dataclass(slots=True)
class Mark:
    """What must not be forgotten of a meter: its last settled interval, and raw value and offset per register.

    ``epoch`` and ``sequence`` are those of the interval's reading, ``telemetry`` the first number of telemetry that
    was neither stored nor acknowledged by then.
    """

    interval: int
    import_raw: int | None = None
    import_offset: int = 0
    export_raw: int | None = None
    export_offset: int = 0
    serial: str = ""
    epoch: int | None = None
    sequence: int | None = None
    telemetry: int | None = None

    def row(self) -> list[int | str | None]:
        """As a JSON list."""
        return [
            self.interval, self.import_raw, self.import_offset, self.export_raw, self.export_offset, self.serial,
            self.epoch, self.sequence, self.telemetry,
        ]  # fmt: skip


@dataclass(slots=True)
class Run:
    """Numbers of one stream lent under one epoch: ``first`` up to, but without, ``end``.

    ``is_told``: the operator was told (durably, in a gap record) which of them were never used.
    """

    epoch: int
    first: int
    end: int
    is_told: bool = False

    def row(self) -> list[int | bool]:
        """As a JSON list."""
        return [self.epoch, self.first, self.end, self.is_told]


@dataclass(slots=True)
class Leases:
    """``numbers``: first number of each kind that was never lent. ``marks`` by meter number, ``runs`` by stream."""

    numbers: dict[str, int] = field(default_factory=dict)
    marks: dict[int, Mark] = field(default_factory=dict)
    runs: dict[str, list[Run]] = field(default_factory=dict)

    def merge(self, other: Leases) -> None:
        """Takes the larger of both everywhere."""
        for name, runs in other.runs.items():
            if other.numbers.get(name, 0) >= self.numbers.get(name, 0):
                self.runs[name] = runs
        for name, value in other.numbers.items():
            self.numbers[name] = max(value, self.numbers.get(name, 0))
        for meter, mark in other.marks.items():
            own = self.marks.get(meter)
            if own is None or mark.interval > own.interval:
                self.marks[meter] = mark


def stream_name(meter: int, stream: Stream) -> str:
    """Under which name the numbers of a meter's stream are lent."""
    return f"{meter}/{int(stream)}"


@dataclass(frozen=True, slots=True)
class Need:
    """``count`` numbers of a kind that are about to be taken, ``lease`` at a time; of a stream under ``epoch``."""

    name: str
    count: int = 1
    lease: int = LEASE
    epoch: int | None = None


class LeaseStore(Protocol):
    """Where leases are kept: both methods survive a broken disk."""

    def read_leases(self) -> Leases | None:
        """What is kept, empty where there is nothing yet; None where something is there that cannot be read."""

    def write_leases(self, leases: Leases) -> bool:
        """Whether all of it is durable now."""


class Sequences:
    """Lends numbers. ``file`` must hold a lease before it counts; ``database`` holds a second copy."""

    def __init__(self, file: LeaseStore, database: LeaseStore, counters: Counters) -> None:
        self._file = file
        self._database = database
        self._counters = counters
        self.faults: list[str] = []
        self._told: set[str] = set()
        stored, kept = database.read_leases(), file.read_leases()
        self._leases = stored or Leases()
        self.is_database_behind = False
        if kept is None:
            self._fault("the lease file cannot be read: numbers go on far beyond those the database knows")
            self._leases.numbers.setdefault(BOOT, 0)
            self._leases.numbers = {name: value + UNREADABLE_SKIP for name, value in self._leases.numbers.items()}
        else:
            if stored is not None:
                self._compare(kept)
            self._leases.merge(kept)
        self._next = dict(self._leases.numbers)
        self.ended_marks = dict(self._leases.marks)
        self.ended = {name: [replace(run) for run in runs] for name, runs in self._leases.runs.items()}
        for name, runs in self.ended.items():
            if runs:  # whatever was skipped, nothing of an ended epoch comes any more
                runs[-1].end = max(runs[-1].end, self._next.get(name, 0))

    def _compare(self, kept: Leases) -> None:
        """A mark is in the database before it is in the file: one that only the file has was lost with its reading."""
        for meter, mark in kept.marks.items():
            own = self._leases.marks.get(meter)
            if mark.sequence is not None and (own is None or own.sequence is None or own.sequence < mark.sequence):
                self.is_database_behind = True
        if self.is_database_behind:
            self._counters.count("store_behind_leases")
            self.faults.append("the database is older than the lease file: what was signed in between may be missing")

    @property
    def has_lent(self) -> bool:
        """Whether any number was ever lent, as far as anything here remembers."""
        return bool(self._leases.numbers)

    @property
    def marks(self) -> dict[int, Mark]:
        """The marks found and set, by meter number."""
        return self._leases.marks

    def take(self, name: str, count: int = 1, lease: int = LEASE, epoch: int | None = None) -> int | None:
        """First of ``count`` consecutive numbers of that kind, never lent before; None while none can be leased.

        Of a stream ``epoch`` is that under which the numbers are used.
        """
        if not self.lend([Need(name, count, lease, epoch)]):
            self._counters.count("lease_refused")
            return None
        first = self._next.get(name, 0)
        self._next[name] = first + count
        return first

    def lend(self, needs: Sequence[Need]) -> bool:
        """Leases with one write what `take` would lease with one for each; whether all of it is leased now.

        It uses nothing: where it fails, or we are killed before `take`, numbers are skipped and none is lent twice.
        """
        ahead = Leases(dict(self._leases.numbers), self._leases.marks, dict(self._leases.runs))
        is_more = False
        for need in needs:
            first, end = self._next.get(need.name, 0), ahead.numbers.get(need.name, 0)
            runs = ahead.runs.get(need.name, [])
            is_new = need.epoch is not None and (not runs or runs[-1].epoch != need.epoch)
            if first + need.count <= end and not is_new:
                continue
            if first + need.count > end:
                ahead.numbers[need.name] = end = first + max(need.count, need.lease)
            if need.epoch is not None:
                ahead.runs[need.name] = _lent(runs, need.epoch, first, end)
            is_more = True
        if is_more:
            if not self._write(ahead):
                return False
            self._leases = ahead
        return True

    def unused(self, name: str) -> int:
        """The next number of that kind."""
        return self._next.get(name, 0)

    def all_runs(self, name: str) -> list[Run]:
        """The runs of a stream up to this instant, the present ones as far as their numbers were used."""
        before = {run.epoch for run in self.ended.get(name, [])}
        used = self.unused(name)
        runs = self._leases.runs.get(name, [])
        return [run if run.epoch in before else replace(run, end=min(run.end, used)) for run in runs]

    def told(self, name: str, epochs: Sequence[int], waiting: Sequence[int]) -> None:
        """The operator is told of the skipped numbers of ``epochs``; of those not ``waiting`` nothing is left to say.

        Written with the next lease; where that fails he is told again.
        """
        kept = [run for run in self._leases.runs.get(name, []) if run.epoch not in epochs or run.epoch in waiting]
        self._leases.runs[name] = [replace(run, is_told=run.is_told or run.epoch in epochs) for run in kept]

    def next_epoch(self) -> int | None:
        """A new epoch: one more than any before. None while it cannot be written."""
        lent = self.take(BOOT, 1, 1)
        return None if lent is None else lent + 1

    def next_version(self) -> int | None:
        """A new version of a bid or standing order; they begin at 1. None while it cannot be written."""
        lent = self.take(BID_VERSION)
        return None if lent is None else lent + 1

    def set_mark(self, meter: int, mark: Mark) -> None:
        """Keeps a mark in the file; the database has it in the transaction of its reading."""
        self._leases.marks[meter] = mark
        if not self._file.write_leases(self._leases):
            self._fault("the lease file cannot be written")
        else:
            self._told.clear()

    def _write(self, leases: Leases) -> bool:
        if not self._file.write_leases(leases):
            self._fault("the lease file cannot be written: nothing new is signed")
            return False
        if not self._database.write_leases(leases):
            self._fault("the database cannot keep leases: only the lease file does")
        else:
            self._told.clear()
        return True

    def _fault(self, text: str) -> None:
        self._counters.count("lease_write_failed")
        if text not in self._told:  # said once, until a write succeeds
            self._told.add(text)
            self.faults.append(text)


def _lent(runs: list[Run], epoch: int, first: int, end: int) -> list[Run]:
    """The runs of a stream with numbers up to ``end`` lent to ``epoch``; an epoch before ends where this one begins."""
    if runs and runs[-1].epoch == epoch:
        return [*runs[:-1], replace(runs[-1], end=end)]
    before = [*runs[:-1], replace(runs[-1], end=min(runs[-1].end, first))] if runs else []
    return [*before, Run(epoch, first, end)][-RUNS_LIMIT:]
