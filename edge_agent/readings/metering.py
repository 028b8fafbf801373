"""From samples to signed readings of one meter: telemetry in chained batches, and one settlement reading an interval.

    sample -> guards -> row -> pending rows -> sealed batch (sequence, chain) ... boundary -> settlement reading

A settlement reading carries the registers of the first good sample at or after the end of its interval. Where none
comes for HOLD_MS, the held baseline is signed and flagged, if it was good within the interval; where nothing was,
there is no reading and the next one carries the energy. Before the clock was ever synchronised rows are kept with
their relative time, and dated once the clock's step is known. An interval is settled once, in rising order, so that
no step of the clock makes a negative or a second one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, replace

from contracts.codes import ClockStatus, ReadingFlag, Stream
from contracts.interval import INTERVAL_S, interval_of, interval_start_s
from contracts.messages import SettlementReading, TelemetryBatch
from contracts.telemetry import BATCH_READINGS_LIMIT, CHAIN_START, TelemetryReading, batch_of, pack_columns
from edge_agent.config import LimitsConfig, MeterConfig
from edge_agent.delivery.sequence import TELEMETRY_LEASE, Mark, Need, Sequences, stream_name
from edge_agent.effects import Counters, Sample
from edge_agent.readings.quality import Baseline, CounterGuard, StuckGuard, plausible

HOLD_MS = 300_000
"""How long a good sample is waited for after an interval's end: many back-offs of a device, a third of an interval."""
LATE_MS = 60_000
"""A reading taken later than this after its interval's end says so."""
HELD_ROWS_LIMIT = 10_080
HELD_EVERY_MS = 60_000
"""Rows kept while the clock is not known: a week of minutes, some 3 MB."""
NO_EVIDENCE = bytes(32)
STICKY = ReadingFlag.ROLLED_OVER | ReadingFlag.METER_EXCHANGED | ReadingFlag.CLOCK_STEPPED | ReadingFlag.STUCK
"""What happened at any time within the interval stays with its settlement reading."""


@dataclass(frozen=True, slots=True)
class Row:
    """One judged sample. Registers are those held where ``fresh`` is False."""

    taken_at_ms: int
    flags: ReadingFlag
    fresh: bool
    import_wh: int | None
    export_wh: int | None
    values: Mapping[str, int]
    evidence: bytes = NO_EVIDENCE


@dataclass(frozen=True, slots=True)
class SealedBatch:
    """A telemetry batch to sign, with its columns."""

    message: TelemetryBatch
    attachment: bytes


@dataclass(frozen=True, slots=True)
class Settled:
    """A settlement reading to sign, the mark to keep with it, and the energy of its interval where it is known."""

    message: SettlementReading
    mark: Mark
    net_wh: int | None


REWIND_INTERVALS = 8
"""A clock that was an hour ahead for a while is waited for. One that was further ahead, by weeks perhaps, is not: the
mark goes back to the present, and the operator takes the later sequence where an interval is signed again."""

Produced = SealedBatch | Settled


class Metering:
    """State of one meter."""

    def __init__(
        self, account: int, config: MeterConfig, limits: LimitsConfig, sequences: Sequences, counters: Counters
    ) -> None:
        self.config = config
        self.latest: Mapping[str, int] = {}
        self._account = account
        self._sequences = sequences
        self._counters = counters
        self.epoch: int | None = None
        rate_w = max(limits.max_import_w, limits.max_export_w)
        mark = sequences.marks.get(config.number)
        self._mark = mark or Mark(-1)
        self._import = CounterGuard(rate_w, _baseline(self._mark.import_raw, self._mark.import_offset))
        self._export = CounterGuard(rate_w, _baseline(self._mark.export_raw, self._mark.export_offset))
        self._stuck = StuckGuard()
        self._serial = self._mark.serial
        self._head = CHAIN_START
        self._pending: deque[Row] = deque()
        self._held: deque[Row] = deque(maxlen=HELD_ROWS_LIMIT)
        self._sticky = ReadingFlag.NONE
        self._good_at_ms: int | None = None

    # Judging a sample

    def observe(self, sample: Sample) -> Row | None:
        """The judged row of a sample; None before the meter has ever said anything."""
        values, flags = plausible(sample.values) if sample.values is not None else ({}, ReadingFlag.NONE)
        if self.config.one_way and "import_wh" in values:
            values = {**values, "export_wh": 0}
        self.latest = values
        exchanged = self._serial_changed(sample.serial, values)
        flags |= self._judge(sample, values, exchanged)
        if flags & ReadingFlag.METER_EXCHANGED:
            self._counters.count("meter_exchanged")
        fresh = not flags & ReadingFlag.HELD and bool(values)
        import_base, export_base = self._import.baseline, self._export.baseline
        registers = (_register(import_base), _register(export_base))
        if fresh:
            flags |= self._stuck.judge(registers, values.get("power_w"), sample.taken_at_ms)
        for flag in flags:
            self._counters.count(f"flag_{(flag.name or 'none').lower()}")
        if import_base is None and export_base is None and not values:
            return None
        return Row(sample.taken_at_ms, flags, fresh, *registers, values, sample.evidence or NO_EVIDENCE)

    def _judge(self, sample: Sample, values: Mapping[str, int], exchanged: bool) -> ReadingFlag:
        pairs = ((self._import, "import_wh"), (self._export, "export_wh"))
        at_ms, flags = sample.taken_at_ms, ReadingFlag.NONE
        for guard, name in pairs:
            if name in values or guard.baseline is not None:
                flags |= guard.judge(values.get(name), at_ms, sample.rollovers.get(name), exchanged)
        if flags & ReadingFlag.METER_EXCHANGED and not exchanged:
            for guard, name in pairs:  # one counter found another meter, so the other counter is its too
                if name in values:
                    guard.judge(values[name], at_ms, None, True)
            flags = ReadingFlag.METER_EXCHANGED
        return flags

    def _serial_changed(self, serial: str | None, values: Mapping[str, int]) -> bool:
        """Whether this is another meter; not said before it has shown all its counters."""
        known = ((self._import, "import_wh"), (self._export, "export_wh"))
        if not serial or any(guard.baseline is not None and name not in values for guard, name in known):
            return False
        changed = bool(self._serial) and serial != self._serial
        self._serial = serial
        return changed

    # Rows into messages

    def hold(self, row: Row) -> None:
        """Keeps a row until the clock is known."""
        self._sticky |= row.flags & STICKY
        if not self._held or row.taken_at_ms - self._held[-1].taken_at_ms >= HELD_EVERY_MS:
            self._held.append(row)

    def release(self, step_ms: int) -> list[Produced]:
        """Dates the held rows, ``step_ms`` later than they were thought to be, and records them."""
        self._move_guards(step_ms)
        rows, made = list(self._held), list[Produced]()
        self._held.clear()
        for row in rows:
            made += self.record(replace(row, taken_at_ms=row.taken_at_ms + step_ms), ClockStatus.RELATIVE)
        return made

    def clock_stepped(self, step_ms: int) -> list[Produced]:
        """The clock jumped: what is pending is sealed, and the next readings say so."""
        self._move_guards(step_ms)
        made = self.seal()
        self._sticky |= ReadingFlag.CLOCK_STEPPED
        self._good_at_ms = None
        return made

    def _move_guards(self, step_ms: int) -> None:
        self._import.clock_stepped(step_ms)
        self._export.clock_stepped(step_ms)

    def record(self, row: Row, clock: ClockStatus) -> list[Produced]:
        """Adds a row; returns what is to be signed because of it."""
        if row.taken_at_ms < 0:
            self._counters.count("sample_before_1970")
            return []
        made: list[Produced] = []
        if row.flags & ReadingFlag.METER_EXCHANGED:
            made += self._begin_epoch()
        if self._pending and row.taken_at_ms < self._pending[-1].taken_at_ms:
            made += self.seal()
        self._sticky |= row.flags & STICKY
        closed = interval_of(row.taken_at_ms // 1000) - 1
        if clock == ClockStatus.SYNCHRONISED and self._mark.interval - closed > REWIND_INTERVALS:
            self._mark = replace(self._mark, interval=closed - 2)
            self._counters.count("mark_rewound")
        if self.config.role == "settlement" and closed > self._mark.interval:
            made += self._settle(closed, row, clock)
        if row.fresh:
            self._good_at_ms = row.taken_at_ms
        if row.values:
            self._pending.append(row)
        if len(self._pending) >= BATCH_READINGS_LIMIT:
            made += self.seal()
        while len(self._pending) > BATCH_READINGS_LIMIT:
            self._pending.popleft()  # nothing can be signed: no lease
            self._counters.count("telemetry_unsigned_dropped")
        return made

    def _begin_epoch(self) -> list[Produced]:
        made = self.seal()
        epoch = self._sequences.next_epoch()
        if epoch is not None:
            self.epoch, self._head = epoch, CHAIN_START
        return made

    def _settle(self, interval: int, row: Row, clock: ClockStatus) -> list[Produced]:
        end_ms = interval_start_s(interval + 1) * 1000
        flags = row.flags
        if not row.fresh:
            was_good = self._good_at_ms is not None and self._good_at_ms >= end_ms - INTERVAL_S * 1000
            if row.taken_at_ms - end_ms < HOLD_MS or not was_good:
                return []
            flags |= ReadingFlag.HELD
        if row.import_wh is None or row.export_wh is None:
            self._counters.count("settlement_register_absent")
            return []
        number = self.config.number
        sequence = (
            None
            if self.epoch is None
            else self._sequences.take(stream_name(number, Stream.SETTLEMENT), epoch=self.epoch)
        )
        if sequence is None or self.epoch is None:
            self._counters.count("settlement_waits_for_lease")
            return []
        sealed = self.seal()  # so that the head covers the whole interval
        flags |= self._sticky
        if row.taken_at_ms - end_ms > LATE_MS:
            flags |= ReadingFlag.LATE
        message = SettlementReading(
            self._account, number, self.epoch, sequence, interval, row.taken_at_ms // 1000, row.import_wh,
            row.export_wh, int(flags), int(clock), self._head,
            row.evidence if row.fresh else NO_EVIDENCE,
        )  # fmt: skip
        net_wh = self._net_wh(interval, row.import_wh, row.export_wh)
        self._mark = self._mark_now(interval, sequence)
        self._sticky = ReadingFlag.NONE
        self._counters.count("settlement_readings")
        return [*sealed, Settled(message, self._mark, net_wh)]

    def _net_wh(self, interval: int, import_wh: int, export_wh: int) -> int | None:
        mark = self._mark
        if mark.interval != interval - 1 or mark.import_raw is None or mark.export_raw is None:
            return None
        before = mark.import_raw + mark.import_offset - mark.export_raw - mark.export_offset
        return import_wh - export_wh - before

    def _mark_now(self, interval: int, sequence: int) -> Mark:
        imported, exported = self._import.baseline, self._export.baseline
        return Mark(
            interval,
            None if imported is None else imported.raw,
            0 if imported is None else imported.offset,
            None if exported is None else exported.raw,
            0 if exported is None else exported.offset,
            self._serial,
            self.epoch,
            sequence,
            self._sequences.unused(stream_name(self.config.number, Stream.TELEMETRY)),
        )

    def needs(self) -> list[Need]:
        """The numbers that `seal` would take now."""
        if not self._pending or self.epoch is None:
            return []
        name = stream_name(self.config.number, Stream.TELEMETRY)
        return [Need(name, len(self._pending), TELEMETRY_LEASE, self.epoch)]

    def seal(self) -> list[Produced]:
        """Closes the pending batch; nothing where it is empty or no sequence can be had."""
        if not self._pending or self.epoch is None:
            return []
        count, number = len(self._pending), self.config.number
        first = self._sequences.take(stream_name(number, Stream.TELEMETRY), count, TELEMETRY_LEASE, epoch=self.epoch)
        if first is None:
            return []
        readings = [_reading(first + place, row) for place, row in enumerate(self._pending)]
        batch = batch_of(self._account, number, self.epoch, self._head, readings)
        self._pending.clear()
        self._head = batch.head
        self._counters.count("telemetry_batches")
        return [SealedBatch(batch, pack_columns(readings))]


def _baseline(raw: int | None, offset: int) -> Baseline | None:
    return None if raw is None else Baseline(raw, offset, None)


def _register(baseline: Baseline | None) -> int | None:
    return None if baseline is None else baseline.register


def _reading(sequence: int, row: Row) -> TelemetryReading:
    value = row.values.get
    return TelemetryReading(
        sequence,
        row.taken_at_ms // 1000,
        int(row.flags),
        row.import_wh,
        row.export_wh,
        value("power_w"),
        value("reactive_var"),
        value("voltage_l1_mv"),
        value("frequency_mhz"),
    )
