"""What a meter leaf must hold: a signed reading, registers that never run backwards, contracted energy, deviation.

    reading behind the leaf → registers after the interval before → metered energy → deviation
    closing rounds of the four products that deliver → contracted energy and its cost

Each function judges evidence that was found to lead to its header; ``solidity/src/libraries/MeterRules.sol`` is the
same with the faults in the same order.
"""

from __future__ import annotations

from enum import Enum

from contracts.leaves import MeterLeaf, Slot
from contracts.messages import SettlementReading

SETTLEMENT_METER = 0
"""The meter number whose registers count for money; others are for information."""

NO_READING = bytes(32)
"""``reading_hash`` of an account that was never read."""


class ReadingFault(Enum):
    """How the reading behind a meter leaf refutes it, in the order in which the contract looks."""

    ANOTHER_ACCOUNT = "the reading is another account's or another meter's"
    LATER_INTERVAL = "the reading was taken after the settled interval"
    WRONG_REGISTERS = "the registers are not those of the reading"
    NOT_BY_KEY = "the reading is not signed by the account"


def reading_fault(leaf: MeterLeaf, reading: SettlementReading, settled: int, signed: bool) -> ReadingFault | None:
    """What is wrong with ``leaf`` under the reading that it commits to; None when nothing is."""
    if reading.account != leaf.account or reading.meter != SETTLEMENT_METER:
        return ReadingFault.ANOTHER_ACCOUNT
    if reading.interval > settled:
        return ReadingFault.LATER_INTERVAL
    if (reading.import_wh, reading.export_wh) != (leaf.import_register_wh, leaf.export_register_wh):
        return ReadingFault.WRONG_REGISTERS
    return None if signed else ReadingFault.NOT_BY_KEY


class RegisterFault(Enum):
    """How a meter leaf contradicts the one of the header before, in the order in which the contract looks."""

    VANISHED = "registers that were read before are gone"
    MOVED_WITHOUT_READING = "the registers moved without a new reading"
    RAN_BACKWARDS = "a register ran backwards"
    WRONG_DEVIATION = "the deviation is not metered - contracted - ordered"


def register_fault(leaf: MeterLeaf | None, before: MeterLeaf | None) -> RegisterFault | None:
    """What is wrong with ``leaf`` after ``before``; None when nothing is. A first reading meters nothing."""
    was_read = before is not None and before.reading_hash != NO_READING
    if leaf is None:
        return RegisterFault.VANISHED if was_read else None
    if was_read and leaf.reading_hash == NO_READING:
        return RegisterFault.VANISHED
    held = (before.import_register_wh, before.export_register_wh) if before is not None and was_read else (0, 0)
    gained = (leaf.import_register_wh - held[0], leaf.export_register_wh - held[1])
    unread = leaf.reading_hash == (before.reading_hash if before is not None else NO_READING)
    if unread and gained != (0, 0):
        return RegisterFault.MOVED_WITHOUT_READING
    if was_read and min(gained) < 0:
        return RegisterFault.RAN_BACKWARDS
    metered_wh = gained[0] - gained[1] if was_read else 0
    if leaf.deviation_wh != metered_wh - leaf.contracted_wh - leaf.ordered_wh:
        return RegisterFault.WRONG_DEVIATION
    return None


def contracted_differs(leaf: MeterLeaf | None, length: int, closing_slot: Slot | None) -> bool:
    """Whether a leaf's contracted energy or cost of one product length is not the position of the closing round."""
    held = (closing_slot.position_wh, closing_slot.position_cost_nano) if closing_slot else (0, 0)
    claimed = leaf.contracted[length] if leaf else (0, 0)
    return claimed != held
