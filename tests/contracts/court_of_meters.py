"""What ``MeterChallenges`` judges, in Python (see ``court``)."""

from __future__ import annotations

from typing import Any

from contracts.commitments import Commitment, carried, commitment_of_number, commitments_hash, reserve_fault
from contracts.eip712 import keccak
from contracts.evidence import Lie
from contracts.header_rules import balance_fault
from contracts.interval import PRODUCT_LENGTHS, product_covering
from contracts.leaves import BalanceLeaf, MeterLeaf, Slot, reading_commitment
from contracts.messages import SUPPLIER, SettlementReading
from contracts.meter_rules import contracted_differs, reading_fault, register_fault
from contracts.round_rules import closing_interval, is_closed
from tests.contracts.court import (
    ONLY_FAULT,
    CommitmentFault,
    Court,
    Refused,
    Shown,
    closing,
    is_forward,
    numbered,
    read,
    require_auction,
    require_balance,
    require_meter,
    require_slot,
    ruling,
)

WRONG_RESERVE_SUM = 4


@ruling("challengeReading")
def reading_(court: Court, proof: Any, meter: Any, reading: Any, signature: bytes) -> tuple[Lie, int]:
    header, _ = court.require_open(proof)
    shown, told = Shown.of(MeterLeaf, meter), read(SettlementReading, reading)
    if shown.leaf is None:
        raise Refused("NothingIsWrong")
    account = shown.leaf.account
    require_meter(header, account, shown)
    if reading_commitment(told.struct_hash(), signature) != shown.leaf.reading_hash:
        raise Refused("WrongEvidence")
    signed = court.is_signed(account, told, signature)
    return Lie.READING, numbered(reading_fault(shown.leaf, told, court.settled(header), signed))


@ruling("challengeRegister")
def register(court: Court, proof: Any, previous: Any, before: Any, meter: Any, account: int) -> tuple[Lie, int]:
    header, _ = court.require_open(proof)
    earlier, held = court.require_previous(proof, previous), Shown.of(MeterLeaf, before)
    if earlier is not None:
        require_meter(earlier, account, held)
    elif held.leaf is not None:
        raise Refused("NotInTree")
    now = require_meter(header, account, Shown.of(MeterLeaf, meter))
    return Lie.REGISTER, numbered(register_fault(now, held.leaf))


@ruling("challengeContracted")
def contracted(
    court: Court, proof: Any, meter: Any, account: int, place: int, closed: Any, last: Any, after: Any, slot: Any
) -> tuple[Lie, int]:
    header, _ = court.require_open(proof)
    now = require_meter(header, account, Shown.of(MeterLeaf, meter))
    closed_header, closed_index = court.require_posted(closed)
    if place >= len(PRODUCT_LENGTHS):
        raise Refused("NothingIsWrong")
    length = PRODUCT_LENGTHS[place]
    product = product_covering(court.settled(header), length)
    closes = closing_interval(product, court.terms.gate_leads)
    found, final, shown = False, Shown.auction(last), Shown.of(Slot, slot)
    if closed_header.interval == closes:
        found = closing(closed_header, product.number, final, Shown.auction(after))
    elif closed_index != 0 or closed_header.interval < closes:
        raise Refused("WrongEvidence")
    if found:
        require_slot(final.leaf, account, shown)
    differs = contracted_differs(now, length, shown.leaf if found else None)
    return Lie.CONTRACTED, ONLY_FAULT if differs else 0


@ruling("challengeBalance")
def balance(court: Court, proof: Any, evidence: Any) -> tuple[Lie, int]:
    header, _ = court.require_open(proof)
    account, previous, before, afterwards, meter, spot, slot = evidence
    earlier, held = court.require_previous(proof, previous), Shown.of(BalanceLeaf, before)
    if earlier is not None:
        require_balance(earlier, account, held)
    elif held.leaf is not None:
        raise Refused("NotInTree")
    now = require_balance(header, account, Shown.of(BalanceLeaf, afterwards))
    metered = require_meter(header, account, Shown.of(MeterLeaf, meter))
    placed, shown = Shown.auction(spot), Shown.of(Slot, slot)
    if placed.index != 0:
        raise Refused("NotInTree")
    cleared = require_auction(header, placed)
    if cleared is not None:
        require_slot(cleared, account, shown)
    elif shown.leaf is not None:
        raise Refused("NotInTree")
    if account == SUPPLIER:
        return Lie.BALANCE, ONLY_FAULT if metered or shown.leaf else 0
    moved = (held.leaf.cumulative_nano if held.leaf else 0), (now.cumulative_nano if now else 0)
    return Lie.BALANCE, numbered(balance_fault(*moved, metered, shown.leaf, header))


def _committed(leaf: BalanceLeaf | None) -> bytes:
    return leaf.commitments_hash if leaf else bytes(32)


def opened(leaf: BalanceLeaf | None, opening: Any, number: int) -> Commitment:
    """What the list holds for the product. Raises Refused where the opening is not of the list, or of another part."""
    heads, chunk, structs = opening
    entries = [read(Commitment, tuple(struct)) for struct in structs]
    told = [(int.from_bytes(heads[i : i + 8], "big"), heads[i + 8 : i + 40]) for i in range(0, len(heads), 40)]
    if _committed(leaf) != (keccak(heads) if heads else bytes(32)) or len(heads) % 40:
        raise Refused("WrongEvidence")
    if told:
        products = [first for first, _ in told]
        if chunk >= len(told) or not (chunk == 0 or products[chunk] <= number):
            raise Refused("WrongEvidence")
        if chunk + 1 < len(told) and products[chunk + 1] <= number:
            raise Refused("WrongEvidence")
        if told[chunk][1] != keccak(b"".join(entry.pack() for entry in entries)):
            raise Refused("WrongEvidence")
    elif chunk or entries:
        raise Refused("WrongEvidence")
    return next((entry for entry in entries if entry.product == number), Commitment(number, 0, 0))


@ruling("challengeReserve")
def reserve(court: Court, proof: Any, balance: Any, structs: Any) -> tuple[Lie, int]:
    header, _ = court.require_open(proof)
    shown = Shown.of(BalanceLeaf, balance)
    if shown.leaf is None:
        raise Refused("NothingIsWrong")
    leaf = require_balance(header, shown.leaf.account, shown)
    assert leaf is not None
    if leaf.account == SUPPLIER:
        return Lie.RESERVE, WRONG_RESERVE_SUM if leaf.reserved_nano or any(leaf.commitments_hash) else 0
    entries = [read(Commitment, tuple(struct)) for struct in structs]
    if commitments_hash(entries) != _committed(leaf):
        raise Refused("WrongEvidence")
    return Lie.RESERVE, numbered(reserve_fault(leaf.reserved_nano, entries, court.settled(header)))


@ruling("challengeCommitment")
def commitment_(
    court: Court, proof: Any, account: int, balance: Any, opening: Any, last: Any, after: Any, slot: Any
) -> tuple[Lie, int]:
    header, _ = court.require_open(proof)
    if account == SUPPLIER:
        raise Refused("NothingIsWrong")
    final, shown = Shown.auction(last), Shown.of(Slot, slot)
    number = last[1][0]
    if not closing(header, number, final, Shown.auction(after)):
        raise Refused("WrongNeighbours")
    if not is_forward(final.leaf):
        raise Refused("NothingIsWrong")
    require_slot(final.leaf, account, shown)
    held = opened(require_balance(header, account, Shown.of(BalanceLeaf, balance)), opening, number)
    closed = is_closed(number, header.interval, court.terms.gate_leads)
    expected = commitment_of_number(shown.leaf, number, closed, header.tariff_import, court.settled(header))
    return Lie.COMMITMENT, 0 if held == expected else CommitmentFault.NOT_THE_SLOTS


@ruling("challengeCarriedCommitment")
def carried_commitment(
    court: Court,
    proof: Any,
    previous: Any,
    account: int,
    before: Any,
    opening_before: Any,
    balance: Any,
    opening: Any,
    number: int,
    last: Any,
    after: Any,
) -> tuple[Lie, int]:
    header, _ = court.require_open(proof)
    if account == SUPPLIER:
        raise Refused("NothingIsWrong")
    earlier, held = court.require_previous(proof, previous), Shown.of(BalanceLeaf, before)
    if earlier is not None:
        require_balance(earlier, account, held)
    elif held.leaf is not None:
        raise Refused("NotInTree")
    old = opened(held.leaf, opening_before, number)
    new = opened(require_balance(header, account, Shown.of(BalanceLeaf, balance)), opening, number)
    if closing(header, number, Shown.auction(last), Shown.auction(after)):
        raise Refused("NothingIsWrong")
    closed = is_closed(number, header.interval, court.terms.gate_leads)
    expected = carried(old, closed, court.settled(header))
    return Lie.COMMITMENT, 0 if new == expected else CommitmentFault.NOT_CARRIED
