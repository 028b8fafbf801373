"""The rules of rounds, meters and commitments judge alike on chain and in Python, near every boundary."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest
from web3.contract import Contract

from contracts.challenges import opening_struct
from contracts.codes import AuctionRule
from contracts.commitments import (
    Commitment,
    ReserveFault,
    carried,
    chunks_of,
    commitment_of,
    commitments_hash,
    left_of,
    reserve_fault,
    reserved_nano,
)
from contracts.evidence import blank_struct, message_struct
from contracts.interval import PRODUCT_LENGTHS, Product, find_product, product_covering
from contracts.leaves import BalanceLeaf, MeterLeaf, Slot, meter_leaf
from contracts.messages import FORCED_VERSION, Auction, Header, Receipt, SettlementReading, StandingOrder
from contracts.meter_rules import ReadingFault, RegisterFault, contracted_differs, reading_fault, register_fault
from contracts.round_rules import (
    CarryFault,
    ForcedFault,
    OrderFault,
    ReceiptFault,
    RoundFault,
    StandingFault,
    carry_fault,
    closing_interval,
    forced_fault,
    is_closed,
    is_fork,
    order_fault,
    receipt_fault,
    round_fault,
    standing_fault,
)
from tests.contracts.court import Refused, numbered
from tests.contracts.court_of_meters import opened
from tests.contracts.local_chain import GATE_LEADS, Chain, py_evm_chain, terms_of
from tests.contracts.random_cases import random_auction, random_message

CASES = 250
PRODUCT = Product(8, 1).number


@pytest.fixture(scope="module")
def chain() -> Chain:
    return py_evm_chain()


@pytest.fixture(scope="module")
def lens(chain: Chain) -> Contract:
    return chain.deploy("RuleLens")


def optional(kind: type, leaf: Any) -> tuple[bool, Any]:
    return leaf is not None, blank_struct(kind) if leaf is None else message_struct(leaf)


def met(expected: list[int], count: int) -> bool:
    return set(expected) == set(range(1 + count))


def near_slot(rng: random.Random, version: int, held: tuple[int, int], price: int) -> Slot:
    """A slot that mostly follows from a position, now and then not."""
    quantity, fill, side = rng.choice((0, 5, 9)), rng.choice((0, 0, 3)), rng.randrange(2)
    moved = fill if side == 0 else -fill
    off = rng.random() < 0.1
    after = (held[0] + moved + off, held[1] + moved * price)
    terms = (side, quantity, rng.choice((100, 200)), 1_000, rng.choice((0, 0, 3)), fill)
    return Slot(5, PRODUCT, version, *terms, *after, rng.choice((bytes(32), b"\x01" * 32)))


def test_carried_slots_are_judged_alike(chain: Chain, lens: Contract) -> None:
    rng, cases, expected = random.Random(20), [], []
    versions = (0, 1, 2, FORCED_VERSION | 1, FORCED_VERSION | 2)
    for _ in range(4 * CASES):
        price = rng.choice((-100, 0, 250))
        before = near_slot(rng, rng.choice(versions[1:]), (0, 0), price) if rng.random() < 0.7 else None
        held = (before.position_wh, before.position_cost_nano) if before else (0, 0)
        slot = near_slot(rng, rng.choice(versions), held, price) if rng.random() < 0.9 else None
        if before and slot and rng.random() < 0.6:
            same = {"side": before.side, "quantity_wh": before.quantity_wh, "limit_price": before.limit_price}
            moved = slot.fill_wh if before.side == 0 else -slot.fill_wh
            after = {"position_wh": held[0] + moved, "position_cost_nano": held[1] + moved * price}
            filled = before.filled_before_wh + before.fill_wh + (rng.random() < 0.2)
            hashed = {"signature_hash": before.signature_hash, "version": before.version}
            slot = replace(slot, **same, **after, **hashed, filled_before_wh=filled)
        withdrawn = rng.random() < 0.5
        cases.append((*optional(Slot, slot), *optional(Slot, before), price, withdrawn))
        expected.append(numbered(carry_fault(slot, before, price, withdrawn)))
    assert chain.ask(lens, "carryFaults", cases) == expected
    assert met(expected, len(CarryFault))


def test_rounds_their_order_and_forks_are_judged_alike(chain: Chain, lens: Contract) -> None:
    rng, ones, others = random.Random(21), [], []
    for _ in range(CASES):
        pair = [
            replace(
                random_auction(rng), product=PRODUCT + 1_024 * rng.randrange(2), round=rng.randrange(3),
                cleared_at_s=1_000 + rng.randrange(3), previous=bytes([rng.randrange(2)]) * 32,
            )
            for _ in range(2)
        ]  # fmt: skip
        ones.append(pair[0])
        others.append(pair[1])
    told = [message_struct(a) for a in ones], [message_struct(a) for a in others]
    rounds = [numbered(round_fault(a, b)) for a, b in zip(ones, others, strict=True)]
    assert chain.ask(lens, "roundFaults", *told) == rounds
    assert set(rounds) == {0, numbered(RoundFault.ANOTHER_PRODUCT), numbered(RoundFault.NOT_LATER)}
    forks = [int(is_fork(a, b)) for a, b in zip(ones, others, strict=True)]
    assert chain.ask(lens, "forkFaults", *told) == forks
    assert set(forks) == {0, 1}
    cases, expected = [], []
    for one, other in zip(ones, others, strict=True):
        first, second = (a if rng.random() < 0.8 else None for a in (one, other))
        index = rng.randrange(3)
        cases.append((index, *optional(Auction, first), *optional(Auction, second)))
        expected.append(numbered(order_fault(index, first, second)))
    assert chain.ask(lens, "orderFaults", cases) == expected
    assert met(expected, len(OrderFault))


def test_promises_are_judged_alike(chain: Chain, lens: Contract) -> None:
    rng, cases, expected = random.Random(22), [], []
    for _ in range(CASES):
        slot = near_slot(rng, rng.randrange(1, 4), (0, 0), 0) if rng.random() < 0.9 else None
        hashed = slot.bid.struct_hash() if slot and rng.random() < 0.6 else b"\x07" * 32
        receipt = Receipt(5, PRODUCT, rng.randrange(1, 4), hashed, rng.randrange(3), 1_000 + rng.randrange(2))
        auction = replace(
            random_auction(rng), rule=int(rng.random() < 0.1), round=rng.randrange(1, 4), cleared_at_s=1_000
        )
        cases.append((message_struct(receipt), message_struct(auction), *optional(Slot, slot)))
        expected.append(numbered(receipt_fault(receipt, auction, slot)))
    assert chain.ask(lens, "receiptFaults", cases) == expected
    assert met(expected, len(ReceiptFault))
    forced, verdicts = [], []
    for _ in range(CASES):
        version, held = (FORCED_VERSION | rng.randrange(3) for _ in range(2))
        closing = random_auction(rng) if rng.random() < 0.8 else None
        slot = near_slot(rng, held, (0, 0), 0) if rng.random() < 0.8 else None
        forced.append((version, closing is not None, slot is not None, held))
        verdicts.append(numbered(forced_fault(version, closing, slot)))
    assert chain.ask(lens, "forcedFaults", forced) == verdicts
    assert set(verdicts) == {0, numbered(ForcedFault.ROUND_MISSING), numbered(ForcedFault.IGNORED)}


def test_standing_orders_are_judged_alike(chain: Chain, lens: Contract) -> None:
    rng, cases, expected = random.Random(23), [], []
    for _ in range(2 * CASES):
        settled = rng.choice((-1, 1, 2))
        header = replace(random_message(Header, rng), tariff_import=300, tariff_export=100)
        limit = rng.choice((100, 300, 300))
        slot = replace(near_slot(rng, rng.choice((0, 1, 1)), (0, 0), 0), limit_price=limit)
        span = (rng.choice((0, 900, 901)), rng.choice((0, 0, 900, 1_801)))
        order = StandingOrder(rng.choice((5, 5, 5, 6)), rng.choice((1, 1, 2)), 300, rng.choice((100, 300)), *span)
        told = order if rng.random() < 0.7 else None
        signed = rng.random() < 0.7
        cases.append((message_struct(slot), *optional(StandingOrder, told), signed, message_struct(header), settled))
        expected.append(numbered(standing_fault(slot, told, signed, header, settled)))
    assert chain.ask(lens, "standingFaults", cases) == expected
    assert met(expected, len(StandingFault))


def near_meter(rng: random.Random, hashes: tuple[bytes, ...]) -> MeterLeaf:
    contracted = {length: (rng.randrange(-1, 2), rng.randrange(-1, 2)) for length in PRODUCT_LENGTHS}
    registers = (rng.choice((0, 7, 8)), rng.choice((0, 7)))
    return meter_leaf(5, registers, contracted, rng.choice((0, 0, 4)), rng.randrange(-3, 4), rng.choice(hashes))


def test_readings_registers_and_contracts_are_judged_alike(chain: Chain, lens: Contract) -> None:
    rng, hashes = random.Random(24), (bytes(32), b"\x01" * 32, b"\x02" * 32)
    registers, expected, contracts, differs = [], [], [], []
    for _ in range(4 * CASES):
        leaf = near_meter(rng, hashes) if rng.random() < 0.9 else None
        before = near_meter(rng, hashes) if rng.random() < 0.8 else None
        registers.append((*optional(MeterLeaf, leaf), *optional(MeterLeaf, before)))
        expected.append(numbered(register_fault(leaf, before)))
        place, slot = rng.randrange(4), None
        if rng.random() < 0.8:
            position = {"position_wh": rng.randrange(-1, 2), "position_cost_nano": rng.randrange(-1, 2)}
            slot = replace(near_slot(rng, 1, (0, 0), 0), **position)
        contracts.append((*optional(MeterLeaf, leaf), place, *optional(Slot, slot)))
        differs.append(int(contracted_differs(leaf, PRODUCT_LENGTHS[place], slot)))
    assert chain.ask(lens, "registerFaults", registers) == expected
    assert met(expected, len(RegisterFault))
    assert chain.ask(lens, "contractedFaults", contracts) == differs
    cases, verdicts = [], []
    for _ in range(CASES):
        leaf, signed = near_meter(rng, hashes), rng.random() < 0.6
        reading = replace(
            random_message(SettlementReading, rng), account=rng.choice((5, 5, 5, 6)), meter=rng.choice((0, 0, 0, 1)),
            interval=rng.choice((3, 3, 4)), import_wh=rng.choice((leaf.import_register_wh, 9)),
            export_wh=leaf.export_register_wh, clock=2,
        )  # fmt: skip
        cases.append((message_struct(leaf), message_struct(reading), 3, signed))
        verdicts.append(numbered(reading_fault(leaf, reading, 3, signed)))
    assert chain.ask(lens, "readingFaults", cases) == verdicts
    assert met(verdicts, len(ReadingFault))


def numbers(rng: random.Random) -> list[int]:
    """Products of all lengths near each other, and numbers that no product has."""
    covered = [(rng.randrange(400, 2_000), length) for length in PRODUCT_LENGTHS for _ in range(20)]
    legal = [product_covering(interval, length).number for interval, length in covered]
    wrong = [n + rng.choice((1, 1_024, 2_048)) for n in legal]
    return [*legal, *wrong, 0, 1, 4, 96, 672, 7 * 1_024 + 672]


def test_products_their_gates_and_what_is_left_are_judged_alike(chain: Chain, lens: Contract) -> None:
    rng = random.Random(25)
    terms, asked = terms_of(AuctionRule.SPOT_SHARED), numbers(rng)
    for settled in (-1, 399, 700, 5_000):
        legal, closes, left = chain.ask(lens, "gates", asked, terms.packed_gate_leads, settled)
        assert left == [left_of(number, settled) for number in asked]
        for number, is_product, closing in zip(asked, legal, closes, strict=True):
            product, at = find_product(number), number // 1_024
            if product is not None:
                assert is_product and closing == closing_interval(product, GATE_LEADS)
            assert is_closed(number, at, GATE_LEADS) == (not is_product or closing <= at)


def test_commitments_and_reserves_are_judged_alike(chain: Chain, lens: Contract) -> None:
    rng, cases, expected, before, closed = random.Random(26), [], [], [], []
    settled = 700
    for _ in range(CASES):
        length = rng.choice(PRODUCT_LENGTHS)
        product = product_covering(rng.randrange(600, 1_500), length)
        slot = replace(near_slot(rng, 1, (rng.randrange(-9, 9), rng.randrange(-999, 999)), 100), filled_before_wh=0)
        shut, tariff = rng.random() < 0.4, rng.choice((0, 150, 300))
        told = slot if rng.random() < 0.9 else None
        cases.append((*optional(Slot, told), product.number, shut, tariff, settled))
        fits = told is None or told.fill_wh <= told.quantity_wh
        owed = commitment_of(told, product, shut, tariff, settled) if fits else None
        expected.append((owed.bid_nano, owed.interval_nano) if owed else None)
        before.append(Commitment(product.number, rng.randrange(3), rng.randrange(3)))
        closed.append(shut)
    answers = [tuple(answer) for answer in chain.ask(lens, "owedOfSlots", cases)]
    assert [a for a, e in zip(answers, expected, strict=True) if e] == [e for e in expected if e]
    kept = [carried(entry, shut, settled) for entry, shut in zip(before, closed, strict=True)]
    found = chain.ask(lens, "carried", [message_struct(entry) for entry in before], closed, settled)
    assert [tuple(owed) for owed in found] == [(entry.bid_nano, entry.interval_nano) for entry in kept]
    verdicts = set()
    for _ in range(60):
        count = rng.choice((0, 1, 2, 3, 5, 65))
        entries = [Commitment(rng.choice(numbers(rng)), rng.randrange(1, 5), rng.randrange(5)) for _ in range(count)]
        if count == 65 or rng.random() < 0.7:
            first = 705 if rng.random() < 0.8 else 699
            legal = [Product(first + n, 1).number for n in range(count)]
            entries = [replace(e, product=n) for e, n in zip(entries, legal, strict=True)]
        reserve = reserved_nano(entries, settled) + (rng.random() < 0.2)
        fault = numbered(reserve_fault(reserve, entries, settled))
        asked = chain.ask(lens, "reserveFault", reserve, [message_struct(e) for e in entries], settled)
        assert asked == [commitments_hash(entries), fault]
        verdicts.add(fault)
    assert verdicts == set(range(1 + len(ReserveFault)))


def test_an_opening_shows_what_the_list_holds_and_a_changed_one_nothing_else(chain: Chain, lens: Contract) -> None:
    rng = random.Random(9)
    met = set()
    for _ in range(200):
        numbered_ = sorted(rng.sample(range(100, 400), rng.choice((0, 1, 2, 7, 8, 9, 16, 17, 63, 64))))
        entries = [Commitment(Product(n, 1).number, rng.randrange(3), rng.randrange(1, 9)) for n in numbered_]
        number = Product(rng.choice([*numbered_, 99, 400, rng.randrange(100, 400)]), 1).number
        held = next((e for e in entries if e.product == number), Commitment(number, 0, 0))
        heads, chunk, shown = opening_struct(entries, number)
        leaf = BalanceLeaf(1, 0, 0, commitments_hash(entries))
        opening: Any = (heads, chunk, shown)
        match rng.randrange(6):
            case 0:
                opening = (heads, rng.randrange(9), shown)
            case 1 if heads:
                at = rng.randrange(len(heads))
                opening = (heads[:at] + bytes([heads[at] ^ 1]) + heads[at + 1 :], chunk, shown)
            case 2:
                opening = (heads, chunk, [*shown, message_struct(Commitment(number, 1, 1))])
            case 3 if heads:
                other = rng.randrange(len(heads) // 40)
                opening = (heads, other, [message_struct(e) for e in chunks_of(entries)[other]])
        asked = chain.ask(lens, "opened", opening, leaf.commitments_hash, number)
        try:
            expected = opened(leaf, opening, number)
        except Refused:
            expected = None
        assert asked[0] == (expected is not None)
        if expected is not None:
            assert expected == held and tuple(asked[1]) == (held.bid_nano, held.interval_nano)
        met.add((expected is None, opening == (heads, chunk, shown)))
    assert met == {(False, True), (True, False)}
