"""The rules judge alike on chain and in Python, on random input near every boundary."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest
from web3.contract import Contract

from contracts.clearing_rules import (
    AuctionFault,
    Clearing,
    Order,
    SlotFault,
    auction_fault,
    clear,
    rule_fill_wh,
    slot_fault,
)
from contracts.codes import AuctionRule, LongSide
from contracts.evidence import blank_struct, message_struct, node_struct
from contracts.header_rules import BalanceFault, PlacementFault, balance_fault, placement_fault
from contracts.interval import INTERVAL_S, PRODUCT_LENGTHS, SPOT_ROUND, Product
from contracts.leaves import MeterLeaf, Slot, meter_leaf
from contracts.merkle import MerkleSumTree
from contracts.messages import Auction, Header
from tests.contracts.honest_market import auction_of
from tests.contracts.local_chain import (
    GRACE,
    Chain,
    py_evm_chain,
    terms_of,
)
from tests.contracts.random_cases import random_auction, random_message, random_slot

CASES = 300
"""Random cases of each rule; a call of the chain takes them all at once."""


@pytest.fixture(scope="module")
def chain() -> Chain:
    return py_evm_chain()


@pytest.fixture(scope="module")
def lens(chain: Chain) -> Contract:
    return chain.deploy("MessageDigests")


def numbered(fault: Any, kinds: Any) -> int:
    """The contract's number of a Python fault: None first, then in the order of the enum."""
    return 0 if fault is None else 1 + list(kinds).index(fault)


def faulted(slot: Slot, auction: Auction, prefix: int) -> int:
    return numbered(slot_fault(slot, auction, prefix), SlotFault)


def test_slots_are_judged_alike(chain: Chain, lens: Contract) -> None:
    rng = random.Random(10)
    cases = []
    for _ in range(CASES):
        auction = random_auction(rng)
        slot = random_slot(rng, rng.randrange(1, 9), auction.price, LongSide(auction.long_side))
        prefix = rng.randrange(2_000)
        if rng.random() < 0.7:  # mostly filled by the rule, so that the later faults are reached
            order = Order(slot.account, slot.side, slot.offered_wh(auction.cleared_at_s), slot.limit_price)
            slot = replace(slot, fill_wh=max(rule_fill_wh(order, auction, prefix), 0))
        if rng.random() < 0.05:
            slot = replace(slot, filled_before_wh=slot.quantity_wh + 1)
        cases.append((slot, auction, prefix))
    structs = [message_struct(s) for s, _, _ in cases], [message_struct(a) for _, a, _ in cases], [p for *_, p in cases]
    expected = [faulted(*case) for case in cases]
    assert chain.ask(lens, "slotFaults", *structs) == expected
    assert set(expected) == set(range(1 + len(SlotFault))), "every fault was met"


def test_fills_are_computed_alike_up_to_the_largest_numbers(chain: Chain, lens: Contract) -> None:
    rng = random.Random(11)
    slots, auctions, prefixes, expected = [], [], [], []
    for _ in range(CASES):
        price, top = rng.randrange(-5, 5), rng.choice((10, 2**63))
        marginal = rng.randrange(1, top)
        auction = replace(random_auction(rng), price=price, marginal_wh=marginal, rationed_wh=rng.randrange(marginal))
        slot = replace(random_slot(rng, 1, price, LongSide.BUY), quantity_wh=rng.randrange(top), filled_before_wh=0)
        prefix = rng.randrange(2**130 if top > 10 else 50)
        order = Order(1, slot.side, slot.offered_wh(auction.cleared_at_s), slot.limit_price)
        slots.append(message_struct(slot))
        auctions.append(message_struct(auction))
        prefixes.append(prefix)
        expected.append(rule_fill_wh(order, auction, prefix))
    assert chain.ask(lens, "ruleFills", slots, auctions, prefixes) == expected


def test_auctions_are_judged_alike(chain: Chain, lens: Contract) -> None:
    rng = random.Random(12)
    cases = []
    for _ in range(CASES):
        auction = random_auction(rng)
        if rng.random() < 0.1:
            auction = replace(auction, lo=auction.hi + 4, price=(auction.hi + 4 + auction.hi) // 2)
        sums = [auction.volume_wh + (rng.random() < 0.1) for _ in range(2)]
        cases.append((auction, (*sums, auction.marginal_wh + (rng.random() < 0.1))))
    expected = [numbered(auction_fault(auction, *sums), AuctionFault) for auction, sums in cases]
    answer = chain.ask(
        lens, "auctionFaults", [message_struct(a) for a, _ in cases], [(bytes(32), *sums) for _, sums in cases]
    )
    assert answer == expected
    assert set(expected) == set(range(1 + len(AuctionFault))), "every fault was met"


def test_a_price_below_zero_is_rounded_down(chain: Chain, lens: Contract) -> None:
    flat = auction_of(
        Clearing(-2, -3, 0, 1, 2, 0, 0, 0, LongSide.NONE), AuctionRule.FORWARD, Product(8, 1).number, 0, 0, bytes(32)
    )
    for price, fault in ((-2, 0), (-1, 1)):
        priced = replace(flat, price=price)
        assert chain.ask(lens, "auctionFaults", [message_struct(priced)], [(bytes(32), 0, 0, 0)]) == [fault]
        assert numbered(auction_fault(priced, 0, 0, 0), AuctionFault) == fault


def test_what_the_reference_clears_has_no_fault_on_chain(chain: Chain, lens: Contract) -> None:
    rng = random.Random(13)
    slots, auctions, prefixes, roots, cleared = [], [], [], [], []
    for _ in range(40):
        orders = [
            Order(a, rng.randrange(2), rng.randrange(1, 99), rng.randrange(-4, 4) * 100)
            for a in range(1, rng.randrange(2, 9))
        ]
        result, fills = clear(orders)
        auction = auction_of(result, AuctionRule.FORWARD, Product(8, 1).number, 0, 0, bytes(32))
        tree = {}
        for order in orders:
            slot = Slot(
                order.account, Product(8, 1).number, 1, order.side, order.quantity_wh, order.limit_price, 9, 0,
                fills[order.account], 0, 0, bytes(32),
            )  # fmt: skip
            slots.append(slot)
            auctions.append(message_struct(auction))
            prefixes.append(sum(node.c for node in tree.values()))
            tree[order.account] = slot.node(result.price, result.long_side, auction.cleared_at_s)
        cleared.append(message_struct(auction))
        roots.append(node_struct(MerkleSumTree(tree).root))
    assert not any(chain.ask(lens, "slotFaults", [message_struct(s) for s in slots], auctions, prefixes))
    assert not any(chain.ask(lens, "auctionFaults", cleared, roots))


def test_placements_are_judged_alike(chain: Chain, lens: Contract) -> None:
    rng = random.Random(14)
    cases = []
    for _ in range(CASES):
        interval = rng.choice((rng.randrange(GRACE, 9), rng.randrange(10**6) + GRACE))
        is_spot = rng.random() < 0.6
        auction = replace(
            random_auction(rng),
            rule=rng.randrange(1, 3) if is_spot else 0,
            round=SPOT_ROUND if is_spot != (rng.random() < 0.05) else 3,
            cleared_at_s=interval * INTERVAL_S + rng.choice((0, 899, 900)),
            product=Product(interval - GRACE, 1).number + (rng.random() < 0.1),
        )
        header = replace(random_message(Header, rng), interval=interval)
        header = replace(header, spot_price=auction.price + (rng.random() < 0.2))
        cases.append((0 if is_spot != (rng.random() < 0.05) else rng.randrange(4), auction, header))
    structs = [i for i, _, _ in cases], [message_struct(a) for _, a, _ in cases], [message_struct(h) for *_, h in cases]
    for rule in (AuctionRule.SPOT_SHARED, AuctionRule.SPOT_AUCTION):
        terms = terms_of(rule)
        expected = [numbered(placement_fault(i, a, h, terms), PlacementFault) for i, a, h in cases]
        assert chain.ask(lens, "placementFaults", *structs, GRACE, rule) == expected
    assert set(expected) == set(range(1 + len(PlacementFault))), "every fault was met"


def test_balances_are_judged_alike(chain: Chain, lens: Contract) -> None:
    rng = random.Random(15)
    accounts, headers, expected = [], [], []
    for case in range(CASES):
        extreme = case % 3 == 0
        header = replace(
            random_message(Header, rng),
            spot_price=rng.randrange(-(2**63), 2**63) if extreme else rng.randrange(-(10**6), 10**6),
        )
        deviation = rng.choice((0, rng.randrange(-(2**62), 2**62) if extreme else rng.randrange(-999, 999)))
        costs = [rng.randrange(-(2**99), 2**99) if extreme else rng.randrange(-99, 99) for _ in range(4)]
        contracted = {length: (4, cost) for length, cost in zip(PRODUCT_LENGTHS, costs, strict=True)}
        meter = meter_leaf(5, (1, 1), contracted, 0, deviation, bytes(32))
        slot = Slot(
            5, 1, 0, 0 if deviation > 0 else 1, abs(deviation), 0, 0, 0, rng.randrange(abs(deviation) + 1), 0, 0,
            bytes(32),
        )  # fmt: skip
        given_meter = meter if rng.random() < 0.9 else None
        given_slot = slot if rng.random() < 0.9 and deviation else None
        before = rng.randrange(-(2**60), 2**60)
        after = before + move_of(given_meter, given_slot, header) + (rng.random() < 0.2)
        verdict = balance_fault(before, after, given_meter, given_slot, header)
        expected.append(numbered(verdict, BalanceFault))
        accounts.append(
            (
                before,
                after,
                given_meter is not None,
                message_struct(given_meter) if given_meter else blank_struct(MeterLeaf),
                given_slot is not None,
                message_struct(given_slot) if given_slot else blank_struct(Slot),
            )
        )
        headers.append(message_struct(header))
    assert chain.ask(lens, "balanceFaults", accounts, headers) == expected
    assert set(expected) == set(range(1 + len(BalanceFault))), "every fault was met"


def move_of(meter: MeterLeaf | None, slot: Slot | None, header: Header) -> int:
    """What ``balance_fault`` accepts as a move, written another way than the rule under test."""
    if meter is None:
        return 0
    filled = slot.fill_wh if slot else 0
    bought = meter.deviation_wh >= 0
    rest = abs(meter.deviation_wh) - filled
    spent = header.spot_price * filled + (header.tariff_import if bought else header.tariff_export) * rest
    return -meter.contracted_cost_nano - (spent if bought else -spent)
