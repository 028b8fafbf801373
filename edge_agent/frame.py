"""A signed message as the outbox keeps it: the packed envelope and what tells it from others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any


class FrameKind(IntEnum):
    """What a stored frame is; the lower number is sent first."""

    BID = 0
    SETTLEMENT = 1
    SETTLEMENT_GAP = 2
    TELEMETRY_GAP = 3
    TELEMETRY = 4


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
