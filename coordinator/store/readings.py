"""Readings in the store: settlement readings one by one, telemetry as its signed batch plus a roll-up per interval.

The identity of a reading is (account, meter, epoch, sequence). The same identity with the same body is a duplicate
and is acknowledged again; with another body it is an equivocation: both are kept and an alarm is raised. A gap record
says what will not come; where it names numbers that are here, the reading counts.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from contracts.eip712 import Message
from contracts.interval import interval_of
from contracts.messages import GapRecord, SettlementReading, TelemetryBatch
from contracts.telemetry import TelemetryReading
from coordinator.store.coverage import Coverage, span_of
from coordinator.store.store import Store


class Novelty(Enum):
    """What the store knew of a reading."""

    NEW = "new_readings"
    DUPLICATE = "duplicates"
    EQUIVOCATION = "equivocations"


@dataclass(frozen=True, slots=True)
class Known:
    """The verdict, and the inbox entry that holds the identity already (0 for a new one)."""

    novelty: Novelty
    inbox_id: int = 0


class Readings:
    """Settlement readings, telemetry batches, roll-ups and latest values."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.coverage = Coverage(store)

    def known(self, message: Message) -> Known:
        """Whether this reading, batch or gap is new."""
        if isinstance(message, SettlementReading):
            row = self._store.row(
                "SELECT hash, inbox_id FROM settlement_readings"
                " WHERE account = ? AND meter = ? AND epoch = ? AND sequence = ?",
                message.account, message.meter, message.epoch, message.sequence,
            )  # fmt: skip
        elif isinstance(message, TelemetryBatch):
            # Ranges may not overlap: a resent batch has the same first sequence, anything else contradicts itself.
            row = self._store.row(
                "SELECT hash, inbox_id FROM telemetry_batches WHERE account = ? AND meter = ? AND epoch = ?"
                " AND first_sequence < ? AND first_sequence + count > ? ORDER BY first_sequence LIMIT 1",
                message.account, message.meter, message.epoch,
                message.first_sequence + message.count, message.first_sequence,
            )  # fmt: skip
        elif isinstance(message, GapRecord):
            row = self._store.row(
                "SELECT 1 FROM gaps WHERE account = ? AND meter = ? AND stream = ? AND epoch = ?"
                " AND first_sequence = ? AND last_sequence >= ?",
                message.account, message.meter, message.stream, message.epoch, message.first_sequence,
                message.last_sequence,
            )  # fmt: skip
            return Known(Novelty.DUPLICATE if row else Novelty.NEW)
        else:
            raise TypeError(f"{type(message).__name__} is no reading")
        if row is None:
            return Known(Novelty.NEW)
        same = row[0] == message.struct_hash()
        return Known(Novelty.DUPLICATE if same else Novelty.EQUIVOCATION, row[1])

    def keep(self, message: Message, readings: Iterable[TelemetryReading], inbox_id: int) -> bool:
        """Stores a new reading, batch (with its opened columns) or gap; False where holes may have come or gone."""
        if isinstance(message, SettlementReading):
            self._keep_settlement(message, inbox_id)
        elif isinstance(message, TelemetryBatch):
            self._keep_telemetry(message, readings, inbox_id)
        elif isinstance(message, GapRecord):
            self._keep_gap(message)
        return self.coverage.add(span_of(message))

    def of_interval(self, reading: SettlementReading) -> int:
        """How many readings of that meter are kept for that interval."""
        return self._store.integer(
            "SELECT COUNT(*) FROM settlement_readings WHERE account = ? AND meter = ? AND interval = ?",
            reading.account, reading.meter, reading.interval,
        )  # fmt: skip

    def equivocations(self, account: int) -> int:
        """How many contradictions of an account are kept."""
        return self._store.integer("SELECT COUNT(*) FROM equivocations WHERE account = ?", account)

    def _keep_settlement(self, reading: SettlementReading, inbox_id: int) -> None:
        self._store.run(
            "INSERT INTO settlement_readings VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            reading.account, reading.meter, reading.epoch, reading.sequence, reading.interval, reading.taken_at_s,
            reading.import_wh, reading.export_wh, reading.flags, reading.struct_hash(), inbox_id,
        )  # fmt: skip

    def _keep_gap(self, gap: GapRecord) -> None:
        self._store.run(
            "INSERT INTO gaps VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (account, meter, stream, epoch, first_sequence)"
            " DO UPDATE SET last_sequence = excluded.last_sequence, reason = excluded.reason",
            gap.account, gap.meter, gap.stream, gap.epoch, gap.first_sequence, gap.last_sequence, gap.reason,
        )  # fmt: skip

    def keep_equivocation(self, message: Message, inbox_id: int, first_inbox_id: int) -> None:
        """Keeps the second body of one identity as evidence."""
        account, meter, epoch = (getattr(message, name) for name in ("account", "meter", "epoch"))
        sequence = getattr(message, "sequence", getattr(message, "first_sequence", 0))
        self._store.run(
            "INSERT INTO equivocations VALUES (?, ?, ?, ?)",
            inbox_id, account, f"{type(message).__name__}/{account}/{meter}/{epoch}/{sequence}", first_inbox_id,
        )  # fmt: skip

    def _keep_telemetry(self, batch: TelemetryBatch, readings: Iterable[TelemetryReading], inbox_id: int) -> None:
        self._store.run(
            "INSERT INTO telemetry_batches VALUES (?, ?, ?, ?, ?, ?, ?)",
            batch.account, batch.meter, batch.epoch, batch.first_sequence, batch.count, batch.struct_hash(), inbox_id,
        )  # fmt: skip
        by_interval: dict[int, list[TelemetryReading]] = {}
        for reading in readings:
            by_interval.setdefault(interval_of(reading.taken_at_s), []).append(reading)
        for interval, group in by_interval.items():
            self._roll_up(batch.account, batch.meter, interval, group)
        newest = max((r for group in by_interval.values() for r in group), key=lambda r: (r.taken_at_s, r.sequence))
        self._store.run(
            "INSERT INTO latest_readings VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (account, meter) DO UPDATE SET"
            " taken_at_s = excluded.taken_at_s, power_w = excluded.power_w, voltage_mv = excluded.voltage_mv,"
            " frequency_mhz = excluded.frequency_mhz, import_wh = excluded.import_wh, export_wh = excluded.export_wh"
            " WHERE excluded.taken_at_s >= taken_at_s",
            batch.account, batch.meter, newest.taken_at_s, newest.power_w, newest.voltage_mv, newest.frequency_mhz,
            newest.import_wh, newest.export_wh,
        )  # fmt: skip

    def _roll_up(self, account: int, meter: int, interval: int, group: list[TelemetryReading]) -> None:
        power = [r.power_w for r in group if r.power_w is not None]
        voltage = [r.voltage_mv for r in group if r.voltage_mv is not None]
        frequency = [r.frequency_mhz for r in group if r.frequency_mhz is not None]
        self._store.run(
            "INSERT INTO roll_ups VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
            " ON CONFLICT (account, meter, interval) DO UPDATE SET readings = readings + excluded.readings,"
            " power_readings = power_readings + excluded.power_readings,"
            " power_w_sum = power_w_sum + excluded.power_w_sum,"
            + ",".join(
                f" {c} = COALESCE({f}({c}, excluded.{c}), {c}, excluded.{c})"
                for c, f in (
                    ("power_w_min", "MIN"), ("power_w_max", "MAX"), ("voltage_mv_min", "MIN"),
                    ("voltage_mv_max", "MAX"), ("frequency_mhz_min", "MIN"), ("frequency_mhz_max", "MAX"),
                )
            ),
            account, meter, interval, len(group), len(power), sum(power),
            min(power, default=None), max(power, default=None), min(voltage, default=None),
            max(voltage, default=None), min(frequency, default=None), max(frequency, default=None),
        )  # fmt: skip
