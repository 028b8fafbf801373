"""Numbers with a name: what the small integers in messages and leaves mean. Their values are on the wire for good."""

from __future__ import annotations

from enum import IntEnum, IntFlag


class Side(IntEnum):
    """Direction of an order; never a minus sign."""

    BUY = 0
    SELL = 1


class LongSide(IntEnum):
    """The side of an auction that is rationed at the margin."""

    NONE = 0
    BUY = 1
    SELL = 2


class AuctionRule(IntEnum):
    """How an auction's bids come about; the clearing rule is the same for all."""

    FORWARD = 0
    SPOT_SHARED = 1
    SPOT_AUCTION = 2


class ReadingFlag(IntFlag):
    """What is known about a reading besides its value."""

    NONE = 0
    HELD = 1
    ROLLED_BACK = 2
    ROLLED_OVER = 4
    STUCK = 8
    IMPLAUSIBLE = 16
    METER_EXCHANGED = 32
    ESTIMATED = 64
    LATE = 128
    CLOCK_STEPPED = 256


class ClockStatus(IntEnum):
    """How far the clock behind a timestamp can be trusted."""

    UNKNOWN = 0
    INFORMATIVE = 1
    SYNCHRONISED = 2
    RELATIVE = 3


class SetPointKind(IntEnum):
    """What a set-point sets: the device's own power, or a limit at the connection point."""

    ACTIVE_POWER = 0
    EXPORT_LIMIT = 1
    IMPORT_LIMIT = 2


class SetPointOutcome(IntEnum):
    """What became of a set-point at the home."""

    APPLIED = 0
    EXPIRED = 1
    REPLAYED = 2
    WRONG_ISSUER = 3
    OUT_OF_RANGE = 4
    CLOCK_UNSYNCHRONISED = 5
    NO_SUCH_DEVICE = 6
    READ_BACK_FAILED = 7
    FELL_BACK = 8
    NOT_YET_VALID = 9
    WRITE_BUDGET_SPENT = 10
    BREAKER_OPEN = 11


class Stream(IntEnum):
    """The two sequences of a meter."""

    SETTLEMENT = 0
    TELEMETRY = 1


class GapReason(IntEnum):
    """Why readings will never come."""

    BUDGET = 0
    CORRUPT_STORE = 1
    LEASE_SKIPPED = 2
    ACKNOWLEDGED = 3
