"""Judges a published record against its header by every rule, trusting nobody: the auditor's own recomputation.

    record ↔ header (hash, roots, sums)   each auction: totals, every slot, every signature, order of auctions
    readings behind meters                 deviations and spot        positions over rounds        balances

``audit_record`` needs the record, its header, the state after the record before (``AuditState``) and the keys of
the accounts; it returns every fault in words and the state for the next record.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from contracts.batch import AuctionRecord, BatchRecord
from contracts.clearing_rules import auction_fault, slot_fault
from contracts.eip712 import Domain, digest, keccak
from contracts.envelope import Envelope, open_envelope
from contracts.header_rules import balance_fault, header_digest, placement_fault
from contracts.interval import PRODUCT_LENGTHS, product_covering
from contracts.leaves import MeterLeaf, Slot
from contracts.merkle import MerkleSumTree
from contracts.messages import (
    FORCED_VERSION,
    NO_ACCOUNT,
    SUPPLIER,
    Auction,
    AuctionRule,
    Bid,
    Header,
    SettlementReading,
)
from contracts.signature import refusal_of

Position = tuple[int, int]


@dataclass(slots=True)
class AuditState:
    """What an auditor carries from record to record: positions, fills of bids, registers, balances, round hashes."""

    digest: bytes = bytes(32)
    positions: dict[tuple[int, int], Position] = field(default_factory=dict)
    filled: dict[bytes, int] = field(default_factory=dict)
    last_round: dict[int, bytes] = field(default_factory=dict)
    registers: dict[int, tuple[int, int, bytes]] = field(default_factory=dict)
    balances: dict[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AuditRules:
    """What does not change from record to record. ``forced`` are the bids placed on chain, by version."""

    domain: Domain
    grace: int
    keys: Mapping[int, bytes]
    forced: Mapping[int, Bid] = field(default_factory=dict)


def audit_record(record: BatchRecord, header: Header, state: AuditState, rules: AuditRules) -> list[str]:
    """Every fault of ``record`` under ``header``; ``state`` moves on to the state after it."""
    faults = _commitment_faults(record, header, state)
    keys_seen: list[tuple[int, int]] = []
    for place, auction in enumerate(record.auctions):
        fault = placement_fault(place, auction.auction, header, rules.grace)
        if fault is not None:
            faults.append(f"auction {place}: {fault.value}")
        faults += [f"auction {place}: {text}" for text in _auction_faults(auction, state, rules)]
        keys_seen.append((auction.auction.product, auction.auction.round))
    if keys_seen[1:] != sorted(set(keys_seen[1:])):
        faults.append("the forward auctions are not sorted by product and round, or one stands twice")
    faults += _meter_faults(record, header, state, rules)
    faults += _balance_faults(record, header, state)
    state.digest = header_digest(header, rules.domain)
    return faults


def _commitment_faults(record: BatchRecord, header: Header, state: AuditState) -> list[str]:
    claims = {
        "interval": (record.interval, header.interval),
        "data hash": (record.data_hash, header.data_hash),
        "auctions root": (record.auctions_tree().commitment, header.auctions_root),
        "meters root": (record.meters_tree().commitment, header.meters_root),
        "balances root": (record.balances_tree().commitment, header.balances_root),
        "volume": (record.auctions_tree().root.a, header.volume_wh),
        "previous": (state.digest, header.previous),
    }
    return [f"the {name} is not the header's" for name, (ours, theirs) in claims.items() if ours != theirs]


def _auction_faults(record: AuctionRecord, state: AuditState, rules: AuditRules) -> list[str]:
    auction = record.auction
    faults: list[str] = []
    leaves = [(s.account, s.node(auction.price, auction.long_side)) for s in record.slots]
    tree = MerkleSumTree(dict(leaves))
    if [a for a, _ in leaves] != sorted({a for a, _ in leaves}) or len(record.signatures) != len(record.slots):
        faults.append("the slots are not one per account in order, each with its signature")
    if tree.commitment != auction.slots_root:
        faults.append("the slots are not those of the root")
    fault = auction_fault(auction, *tree.root.sums)
    if fault is not None:
        faults.append(fault.value)
    if not {auction.lo_account, auction.hi_account} - {NO_ACCOUNT} <= {account for account, _ in leaves}:
        faults.append("a bound is named after an account without a slot")
    if auction.previous != state.last_round.get(auction.product, bytes(32)):
        faults.append("the round before is not the one that was published")
    state.last_round[auction.product] = auction.struct_hash()
    prefix = 0
    for (_, node), slot, signature in zip(leaves, record.slots, record.signatures, strict=False):
        named = slot_fault(slot, auction, prefix)
        prefix += node.c
        if named is not None:
            faults.append(f"slot {slot.account}: {named.value}")
        if auction.rule == AuctionRule.FORWARD:
            faults += [f"slot {slot.account}: {t}" for t in _forward_faults(slot, auction, signature, state, rules)]
    return faults


def _forward_faults(slot: Slot, auction: Auction, signature: bytes, state: AuditState, rules: AuditRules) -> list[str]:
    faults = []
    held_wh, held_nano = state.positions.get((slot.account, slot.product), (0, 0))
    after = (held_wh + slot.signed_fill_wh, held_nano + slot.signed_fill_wh * auction.price)
    if (slot.position_wh, slot.position_cost_nano) != after:
        faults.append("the position is not the one before plus the fill")
    state.positions[slot.account, slot.product] = after
    if slot.product != auction.product:
        faults.append("the slot is of another product")
    if slot.quantity_wh:
        bid = slot.bid
        if slot.filled_before_wh != state.filled.get(bid.struct_hash(), 0):
            faults.append("what was filled before is not what was published")
        state.filled[bid.struct_hash()] = slot.filled_before_wh + slot.fill_wh
        faults += _bid_faults(bid, slot, signature, rules)
    return faults


def _bid_faults(bid: Bid, slot: Slot, signature: bytes, rules: AuditRules) -> list[str]:
    if slot.version >= FORCED_VERSION:
        return [] if rules.forced.get(slot.version) == bid else ["the bid is not the one placed on chain"]
    if keccak(signature) != slot.signature_hash:
        return ["the signature is not the one committed to"]
    key = rules.keys.get(slot.account)
    if key is None:
        return ["the account is unknown"]
    refusal = refusal_of(digest(bid, rules.domain), signature, key)
    return [] if refusal is None else [f"bid: {refusal.value}"]


def _meter_faults(record: BatchRecord, header: Header, state: AuditState, rules: AuditRules) -> list[str]:
    faults: list[str] = []
    settled = header.interval - rules.grace
    contracted: dict[int, Position] = {}
    products = {product_covering(settled, length).number for length in PRODUCT_LENGTHS}
    for (account, product), (wh, nano) in state.positions.items():
        if product in products:
            total = contracted.get(account, (0, 0))
            contracted[account] = (total[0] + wh, total[1] + nano)
    seen = set()
    for leaf, packed in zip(record.meters, record.readings, strict=False):
        seen.add(leaf.account)
        faults += [f"meter {leaf.account}: {t}" for t in _one_meter(leaf, packed, settled, state, rules)]
        if (leaf.contracted_wh, leaf.contracted_cost_nano) != contracted.get(leaf.account, (0, 0)):
            faults.append(f"meter {leaf.account}: contracted energy or cost is not that of the positions")
    if len(record.readings) != len(record.meters):
        faults.append("meters and readings differ in number")
    for account, position in contracted.items():
        if account not in seen and position != (0, 0):
            faults.append(f"account {account} has contracts but no meter leaf")
    for key in [k for k in state.positions if k[1] in products and _is_last(k[1], settled)]:
        del state.positions[key]
    return faults


def _is_last(product: int, settled: int) -> bool:
    first, length = divmod(product, 1024)
    return settled >= first + length - 1


def _one_meter(leaf: MeterLeaf, packed: bytes, settled: int, state: AuditState, rules: AuditRules) -> list[str]:
    faults = []
    before = state.registers.get(leaf.account)
    metered = 0
    if packed:
        envelope = open_envelope(packed)
        reading = envelope.message if isinstance(envelope, Envelope) else None
        if not isinstance(envelope, Envelope) or not isinstance(reading, SettlementReading):
            return ["the reading is not an envelope with a settlement reading"]
        registers = (reading.import_wh, reading.export_wh)
        if reading.account != leaf.account or reading.interval > settled or reading.meter != 0:
            faults.append("the reading is another account's, another meter's or of a later interval")
        key = rules.keys.get(leaf.account, b"")
        if envelope.signature_refusal(rules.domain, key) is not None:
            faults.append("the reading is not signed by the account")
        if registers != (leaf.import_register_wh, leaf.export_register_wh):
            faults.append("the registers are not those of the reading")
        if leaf.reading_hash != reading.struct_hash():
            faults.append("the reading is not the one committed to")
        if before is not None:
            if registers[0] < before[0] or registers[1] < before[1]:
                faults.append("a register ran backwards")
            metered = (registers[0] - before[0]) - (registers[1] - before[1])
    elif (leaf.import_register_wh, leaf.export_register_wh, leaf.reading_hash) != (before or (0, 0, bytes(32))):
        faults.append("the registers moved without a reading")
    if leaf.deviation_wh != metered - leaf.contracted_wh - leaf.ordered_wh:
        faults.append("the deviation is not metered - contracted - ordered")
    if packed or before is not None:
        state.registers[leaf.account] = (leaf.import_register_wh, leaf.export_register_wh, leaf.reading_hash)
    return faults


def _balance_faults(record: BatchRecord, header: Header, state: AuditState) -> list[str]:
    faults = []
    meters = {leaf.account: leaf for leaf in record.meters}
    spots = {slot.account: slot for slot in record.auctions[0].slots}
    after = {leaf.account: leaf.cumulative_nano for leaf in record.balances}
    for account in {*meters, *spots, *after, *state.balances} - {SUPPLIER}:
        before_nano, after_nano = state.balances.get(account, 0), after.get(account, 0)
        fault = balance_fault(before_nano, after_nano, meters.get(account), spots.get(account), header)
        if fault is not None:
            faults.append(f"balance {account}: {fault.value}")
    if sum(after.values()) != 0:
        faults.append("the balances do not sum to zero")
    state.balances = after
    return faults
