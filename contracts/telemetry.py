"""Telemetry readings: their canonical bytes, the hash chain over them, and the columns they travel in.

    h_n = sha256(h_{n-1} ‖ reading_n)        readings root = Merkle root over the readings' bytes

One signature covers a batch; the chain makes a gap or a change in the middle visible, the root lets a single
reading be shown without the others. Columns of differences, compressed, take about a third of the bytes of rows.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, fields
from hashlib import sha256
from itertools import pairwise
from operator import attrgetter

from contracts.merkle import MerkleSumTree, leaf_node
from contracts.messages import TelemetryBatch

CHAIN_START = bytes(32)
BATCH_READINGS_LIMIT = 600
"""Ten minutes at 1 Hz, or ten hours at one a minute: what one signature may cover."""
BATCH_DEPTH = 10
ABSENT = -(2**63)
"""A column entry that says the meter gave no such value; absent is never 0."""

_ROW = struct.Struct(">QQHqqqqqq")
_COLUMN_LIMIT_BYTES = _ROW.size * BATCH_READINGS_LIMIT * 2


class RemoteColumnsError(Exception):
    """The columns of a batch cannot be read, or are not what the batch commits to: the sender's fault."""


@dataclass(frozen=True, slots=True)
class TelemetryReading:
    """One reading; ``None`` where the meter has no such register. Positive power flows into the home."""

    sequence: int
    taken_at_s: int
    flags: int
    import_wh: int | None
    export_wh: int | None
    power_w: int | None
    reactive_var: int | None
    voltage_mv: int | None
    frequency_mhz: int | None

    def pack(self) -> bytes:
        """Canonical bytes: what the chain and the root commit to."""
        return _ROW.pack(*[ABSENT if value is None else value for value in _values(self)])


_values = attrgetter(*(field.name for field in fields(TelemetryReading)))


def chain(previous_head: bytes, readings: Sequence[TelemetryReading]) -> bytes:
    """Head of the hash chain after ``readings``."""
    head = previous_head
    for reading in readings:
        head = sha256(head + reading.pack()).digest()
    return head


def readings_tree(readings: Sequence[TelemetryReading]) -> MerkleSumTree:
    """The tree whose commitment the batch signs; leaf index = place in the batch, sums 0."""
    return MerkleSumTree({i: leaf_node(r.pack(), 0, 0, 0) for i, r in enumerate(readings)}, BATCH_DEPTH)


def pack_columns(readings: Sequence[TelemetryReading]) -> bytes:
    """Columns of first differences as 64-bit integers, zlib-compressed."""
    columns = []
    for field in fields(TelemetryReading):
        values = [ABSENT if (v := getattr(r, field.name)) is None else v for r in readings]
        differences = [values[0]] + [(b - a + 2**63) % 2**64 - 2**63 for a, b in pairwise(values)]
        columns.append(struct.pack(f">{len(values)}q", *differences))
    return zlib.compress(b"".join(columns), 6)


def unpack_columns(packed: bytes, count: int) -> list[TelemetryReading]:
    """The readings of ``count`` rows. Raises RemoteColumnsError on anything else; never inflates without bound."""
    names = [field.name for field in fields(TelemetryReading)]
    inflater = zlib.decompressobj()
    try:
        raw = inflater.decompress(packed, _COLUMN_LIMIT_BYTES)
    except zlib.error as error:
        raise RemoteColumnsError(f"columns do not inflate: {error}") from error
    if not 0 < count <= BATCH_READINGS_LIMIT or len(raw) != 8 * count * len(names) or not inflater.eof:
        raise RemoteColumnsError(f"columns do not hold {count} readings")
    columns = []
    for place in range(len(names)):
        value = 0
        column: list[int] = []
        for difference in struct.unpack_from(f">{count}q", raw, place * 8 * count):
            value = difference if not column else (value + difference + 2**63) % 2**64 - 2**63
            column.append(value)
        columns.append(column)
    return [_reading(row) for row in zip(*columns, strict=True)]


def _reading(row: Sequence[int]) -> TelemetryReading:
    sequence, taken_at_s, flags, *values = row
    if sequence < 0 or taken_at_s < 0 or not 0 <= flags < 2**16:
        raise RemoteColumnsError("a reading has a negative sequence or time, or unknown flags")
    return TelemetryReading(sequence, taken_at_s, flags, *(None if v == ABSENT else v for v in values))


def batch_of(
    account: int, meter: int, epoch: int, previous_head: bytes, readings: Sequence[TelemetryReading]
) -> TelemetryBatch:
    """The message that commits to ``readings`` (1 … BATCH_READINGS_LIMIT of consecutive sequence)."""
    return TelemetryBatch(
        account,
        meter,
        epoch,
        readings[0].sequence,
        len(readings),
        readings[0].taken_at_s,
        readings[-1].taken_at_s,
        previous_head,
        chain(previous_head, readings),
        readings_tree(readings).commitment,
    )


def open_batch(batch: TelemetryBatch, attachment: bytes) -> list[TelemetryReading]:
    """The readings behind ``batch``. Raises RemoteColumnsError when they are not what was signed."""
    readings = unpack_columns(attachment, batch.count)
    if any(r.sequence != batch.first_sequence + i for i, r in enumerate(readings)):
        raise RemoteColumnsError("the readings are not consecutive")
    rebuilt = batch_of(batch.account, batch.meter, batch.epoch, batch.previous_head, readings)
    if rebuilt != batch:
        raise RemoteColumnsError("the readings are not those that were signed")
    return readings
