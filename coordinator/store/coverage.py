"""Which sequences of each stream are accounted for, as few spans: held as reading or batch, or named in a gap record.

    new reading, batch, gap ──▶ add() ──▶ spans (disjoint, not even touching) ──▶ holes(): what lies between them

A stream without losses is one span an epoch, however many readings it has, so that looking for holes costs nothing
worth mentioning. The spans follow from the readings alone, in whatever order these came; a store of before there were
spans gets them when it is opened. Numbers of a stream go on from epoch to epoch: what lies before the first number of
an epoch, and beyond all numbers of the epochs before, is missing too, and is said of the later epoch.
"""

from __future__ import annotations

from dataclasses import dataclass

from contracts.codes import Stream
from contracts.eip712 import Message
from contracts.messages import GapRecord, SettlementReading, TelemetryBatch
from coordinator.store.store import Store

SEQUENCE_LIMIT = (1 << 63) - 1
"""The last number there is: what SQLite's integers hold, and what signed messages carry."""

_REBUILD = """
INSERT INTO spans SELECT account, meter, stream, epoch, MIN(first), MAX(last) FROM (
  SELECT *, SUM(begins) OVER (PARTITION BY account, meter, stream, epoch ORDER BY first
    ROWS UNBOUNDED PRECEDING) AS span
  FROM (
    SELECT *, CASE WHEN first - 1 <= MAX(last) OVER (PARTITION BY account, meter, stream, epoch ORDER BY first
      ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) THEN 0 ELSE 1 END AS begins
    FROM (
      SELECT account, meter, 0 AS stream, epoch, sequence AS first, sequence AS last FROM settlement_readings
      UNION ALL
      SELECT account, meter, 1, epoch, first_sequence, first_sequence + count - 1 FROM telemetry_batches
      UNION ALL
      SELECT account, meter, stream, epoch, first_sequence, last_sequence FROM gaps)))
GROUP BY account, meter, stream, epoch, span
"""
SPANS_LOOKED_AT = 4_096
"""Of a stream without losses eleven years of daily restarts; who tears more holes is asked for the lowest first."""


@dataclass(frozen=True, slots=True)
class StreamOf:
    """One stream of one meter of an account."""

    account: int
    meter: int
    stream: int


@dataclass(frozen=True, slots=True)
class Span:
    """Sequences ``first … last`` of one epoch of a stream."""

    of: StreamOf
    epoch: int
    first: int
    last: int


def span_of(message: Message) -> Span:
    """The sequences that storing ``message`` accounts for. Raises TypeError for what has none."""
    if isinstance(message, SettlementReading):
        stream, first, last = Stream.SETTLEMENT, message.sequence, message.sequence
    elif isinstance(message, TelemetryBatch):
        stream, first, last = Stream.TELEMETRY, message.first_sequence, message.first_sequence + message.count - 1
    elif isinstance(message, GapRecord):
        stream, first, last = Stream(message.stream), message.first_sequence, message.last_sequence
    else:
        raise TypeError(f"{type(message).__name__} has no sequence")
    return Span(StreamOf(message.account, message.meter, int(stream)), message.epoch, first, last)


class Coverage:
    """The spans of all streams."""

    def __init__(self, store: Store) -> None:
        self._store = store
        if store.row("SELECT 1 FROM spans LIMIT 1") is None:
            store.run(_REBUILD)

    def add(self, span: Span) -> bool:
        """Accounts for a span; True where that only made the newest one longer, or was known before."""
        key = (span.of.account, span.of.meter, span.of.stream, span.epoch)
        where = "account = ? AND meter = ? AND stream = ? AND epoch = ?"
        first, last = span.first, min(span.last, SEQUENCE_LIMIT)
        before = self._store.row(
            f"SELECT first, last FROM spans WHERE {where} AND first <= ? ORDER BY first DESC LIMIT 1", *key, first
        )
        if before is not None and before[1] >= last:
            return True
        joins = before is not None and before[1] >= first - 1
        begins = before[0] if before is not None and joins else first
        newer = self._store.row(f"SELECT 1 FROM spans WHERE {where} AND first > ? LIMIT 1", *key, begins)
        if newer is not None:
            touched = (*key, begins, min(last, SEQUENCE_LIMIT - 1) + 1)
            touching = f"FROM spans WHERE {where} AND first > ? AND first <= ?"
            last = max(last, self._store.integer(f"SELECT MAX(last) {touching}", *touched))
            self._store.run(f"DELETE {touching}", *touched)
        self._store.run(
            "INSERT INTO spans VALUES (?, ?, ?, ?, ?, ?)"
            " ON CONFLICT (account, meter, stream, epoch, first) DO UPDATE SET last = excluded.last",
            *key, begins, last,
        )  # fmt: skip
        return joins and newer is None

    def holes(self, of: StreamOf, limit: int) -> list[Span]:
        """What is missing of a stream, the lowest epochs and numbers first."""
        rows = self._store.rows(
            "SELECT epoch, first, last FROM spans WHERE account = ? AND meter = ? AND stream = ?"
            " ORDER BY epoch, first LIMIT ?",
            of.account, of.meter, of.stream, SPANS_LOOKED_AT,
        )  # fmt: skip
        found: list[Span] = []
        current, before, reached = -1, -1, -1
        for epoch, first, last in rows:
            if epoch != current:
                current, before = epoch, reached
            if before < first - 1:
                found.append(Span(of, epoch, before + 1, first - 1))
            before, reached = last, max(reached, last)
        return found[:limit]

    def suspects(self) -> list[StreamOf]:
        """The streams that may have holes; all others have none."""
        rows = self._store.rows(
            "SELECT account, meter, stream FROM spans GROUP BY account, meter, stream"
            " HAVING COUNT(*) > 1 OR MIN(first) > 0"
        )
        return [StreamOf(*row) for row in rows]
