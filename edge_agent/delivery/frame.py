"""A signed message as the outbox keeps it: the packed envelope and what tells it from others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from contracts.codes import Stream
from contracts.eip712 import Message
from contracts.messages import Bid, GapRecord, SettlementReading, StandingOrder, TelemetryBatch

STANDING_PRODUCT = 0
"""Where a standing order stands among bids; no product has this number."""
STANDING_VALID_S = 1 << 40
"""A standing order waits for its receipt for ever."""


class FrameKind(IntEnum):
    """What a stored frame is; the lower number is sent first."""

    BID = 0
    SETTLEMENT = 1
    SETTLEMENT_GAP = 2
    TELEMETRY_GAP = 3
    TELEMETRY = 4

    @property
    def stream(self) -> Stream:
        """The stream whose sequences it carries; of a bid, which has none, telemetry."""
        return Stream.SETTLEMENT if self in (FrameKind.SETTLEMENT, FrameKind.SETTLEMENT_GAP) else Stream.TELEMETRY

    @property
    def gap(self) -> FrameKind:
        """The kind of the gap record that stands for a lost frame of this kind."""
        return FrameKind.SETTLEMENT_GAP if self.stream == Stream.SETTLEMENT else FrameKind.TELEMETRY_GAP


@dataclass(frozen=True, slots=True)
class Frame:
    """A packed envelope with what identifies it. ``first … last`` are sequences; of a bid, product and version.

    ``id`` is 0 before it is stored, and negative while it waits in memory. ``expires_s`` 0: never.
    """

    kind: FrameKind
    meter: int
    epoch: int
    first: int
    last: int
    payload: bytes
    expires_s: int = 0
    id: int = 0

    @property
    def row(self) -> tuple[int, int, int, int, int, int, bytes]:
        """What is stored."""
        return (int(self.kind), self.meter, self.epoch, self.first, self.last, self.expires_s, self.payload)


def frame_of(row: Sequence[Any]) -> Frame:
    """The frame of a stored row: id, kind, meter, epoch, first, last, expires_s, payload."""
    return Frame(FrameKind(row[1]), row[2], row[3], row[4], row[5], row[7], row[6], row[0])


def frame_for(message: Message, payload: bytes) -> Frame | None:
    """The frame of a signed message; None for one that is not kept."""
    match message:
        case SettlementReading():
            own = message.sequence
            return Frame(FrameKind.SETTLEMENT, message.meter, message.epoch, own, own, payload)
        case TelemetryBatch():
            last = message.first_sequence + message.count - 1
            return Frame(FrameKind.TELEMETRY, message.meter, message.epoch, message.first_sequence, last, payload)
        case GapRecord():
            kind = FrameKind.SETTLEMENT_GAP if message.stream == Stream.SETTLEMENT else FrameKind.TELEMETRY_GAP
            return Frame(kind, message.meter, message.epoch, message.first_sequence, message.last_sequence, payload)
        case Bid():
            return Frame(FrameKind.BID, 0, 0, message.product, message.version, payload, message.expiry_s)
        case StandingOrder():
            return Frame(FrameKind.BID, 0, 0, STANDING_PRODUCT, message.version, payload, STANDING_VALID_S)
    return None
