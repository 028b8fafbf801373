"""Numbers that are used once: sequences, epochs and versions, leased ahead of use.

A lease of many numbers is written with fsync to a file next to the key *and* to the outbox database before the
first of them is used; at start the larger of the two counts. So a killed agent skips what it had leased, and an
older database restored from a backup lends nothing twice. The file must be written for a lease to count; a
database that cannot be written is an alarm. Without a lease nothing is signed, and measuring goes on.

Per meter a mark is kept in the same way: the last settled interval and the baselines of its registers, so that no
interval is signed twice and no register runs backwards after a restore.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from edge_agent.effects import Counters

LEASE = 64
"""Settlement readings, bids: sixteen hours of intervals an fsync; a crash skips at most as many numbers."""
TELEMETRY_LEASE = 4_096
"""Over an hour at 1 Hz: one fsync an hour instead of one a minute."""
UNREADABLE_SKIP = 1 << 16
"""Where only an old database is left: more numbers than any kind but telemetry uses in a year and a half. A new
epoch, equally far ahead, keeps telemetry apart."""
BOOT = "boot"
BID_VERSION = "bid"


@dataclass(slots=True)
class Mark:
    """What must not be forgotten of a meter: its last settled interval, and raw value and offset per register."""

    interval: int
    import_raw: int | None = None
    import_offset: int = 0
    export_raw: int | None = None
    export_offset: int = 0
    serial: str = ""

    def row(self) -> list[int | str | None]:
        """As a JSON list."""
        return [
            self.interval, self.import_raw, self.import_offset, self.export_raw, self.export_offset, self.serial
        ]  # fmt: skip


@dataclass(slots=True)
class Leases:
    """``numbers``: first number of each kind that was never lent. ``marks`` by meter number."""

    numbers: dict[str, int] = field(default_factory=dict)
    marks: dict[int, Mark] = field(default_factory=dict)

    def merge(self, other: Leases) -> None:
        """Takes the larger of both everywhere."""
        for name, value in other.numbers.items():
            self.numbers[name] = max(value, self.numbers.get(name, 0))
        for meter, mark in other.marks.items():
            own = self.marks.get(meter)
            if own is None or mark.interval > own.interval:
                self.marks[meter] = mark


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
        self._leases = database.read_leases() or Leases()
        kept = file.read_leases()
        if kept is None:
            self._fault("the lease file cannot be read: numbers go on far beyond those the database knows")
            self._leases.numbers.setdefault(BOOT, 0)
            self._leases.numbers = {name: value + UNREADABLE_SKIP for name, value in self._leases.numbers.items()}
        else:
            self._leases.merge(kept)
        self._next = dict(self._leases.numbers)

    @property
    def marks(self) -> dict[int, Mark]:
        """The marks found and set, by meter number."""
        return self._leases.marks

    def take(self, name: str, count: int = 1, lease: int = LEASE) -> int | None:
        """First of ``count`` consecutive numbers of that kind, never lent before; None while none can be leased."""
        first = self._next.get(name, 0)
        if first + count > self._leases.numbers.get(name, 0):
            ahead = Leases({**self._leases.numbers, name: first + max(count, lease)}, self._leases.marks)
            if not self._write(ahead):
                self._counters.count("lease_refused")
                return None
            self._leases = ahead
        self._next[name] = first + count
        return first

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

    def _write(self, leases: Leases) -> bool:
        if not self._file.write_leases(leases):
            self._fault("the lease file cannot be written: nothing new is signed")
            return False
        if not self._database.write_leases(leases):
            self._fault("the database cannot keep leases: only the lease file does")
        return True

    def _fault(self, text: str) -> None:
        self._counters.count("lease_write_failed")
        if text not in self.faults:
            self.faults.append(text)
