"""Whatever homes sign and whenever the coordinator wakes: it never breaks a rule, a receipt or a reserve of its own."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from contracts.batch import AuctionRecord, BatchRecord
from contracts.codes import AuctionRule, Side
from contracts.commitments import COMMITMENTS_LIMIT, commitments_hash
from contracts.envelope import Envelope, open_envelope
from contracts.interval import DEFAULT_CALENDAR, INTERVAL_S, STREET_CALENDAR, Product, product_covering
from contracts.leaves import BalanceLeaf
from contracts.messages import FORCED_VERSION, Bid, Receipt, StandingOrder
from contracts.signature import signer_of
from contracts.topics import Leaf
from coordinator.chain_events import OrderCancelled, OrderForced
from coordinator.coordinator import Reception
from coordinator.effects import Publish, PublishRecord
from coordinator.ingest import Refusal
from coordinator.market.auctioneer import Round, run_round
from coordinator.market.standing import STANDING_LIMIT
from coordinator.replay import first_difference, replay
from tests.coordinator.street import ADA, AUCTIONED, BO, MARKET, OPERATOR, Street
from tests.coordinator.trading_day import CALENDAR, SUNDAY_NOON_S, TradingDay, day_market

SPOT_RULES = (AuctionRule.SPOT_SHARED, AuctionRule.SPOT_AUCTION)
HALF_A_DAY = 56
"""From Sunday noon until Monday two in the morning: a day and a week close and begin to deliver."""


def played(seed: int, rule: AuctionRule, intervals: int = HALF_A_DAY) -> TradingDay:
    day = TradingDay(seed, day_market(rule))
    day.run(intervals)
    return day


@pytest.mark.parametrize("rule", SPOT_RULES, ids=lambda r: r.name)
@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 8))])
def test_a_random_day_passes_every_audit_and_keeps_every_promise(rule: AuctionRule, seed: int) -> None:
    day = played(seed, rule)
    assert len(day.history) >= HALF_A_DAY
    assert day.audit() == []
    assert list(day.broken_receipts()) == []
    assert list(day.uncovered_reserves()) == []
    rebuilt = replay(day.street.store, day.market, signer_of(OPERATOR))
    assert first_difference(day.street.store, rebuilt.store) is None


@pytest.mark.slow
def test_a_random_day_meets_every_case_that_is_hard() -> None:
    seen: Counter[str] = Counter()
    for seed in range(3):
        _count_cases(played(seed, AuctionRule.SPOT_AUCTION), seen)
    missing = [name for name, count in seen.items() if count < 3]
    assert not missing, seen


def _count_cases(day: TradingDay, seen: Counter[str]) -> None:
    seen["refused for lack of collateral"] += day.street.core.counters["refused_beyond_collateral"]
    at = {a.auction.slots_root: a.auction.cleared_at_s for r, _ in day.history for a in r.auctions}
    for record, _ in day.history:
        seen["rounds of a week or a day"] += sum(a.auction.product % 1024 >= 96 for a in record.auctions[1:])
        seen["spot slots with an order"] += sum(s.version > 0 for s in record.auctions[0].slots)
        seen["spot slots without one"] += sum(s.version == 0 for s in record.auctions[0].slots)
        seen["spot fills"] += sum(s.fill_wh > 0 for s in record.auctions[0].slots)
        for leaf in record.meters:
            for length, (wh, _) in leaf.contracted.items():
                seen[f"contracted over {length}"] += wh != 0
        for auction in record.auctions[1:]:
            for slot in auction.slots:
                expired = slot.expiry_s < at[auction.auction.slots_root]
                seen["retired"] += slot.is_retired
                seen["forced and filled"] += slot.is_forced and slot.fill_wh > 0
                seen["expired"] += expired and slot.quantity_wh > 0
                seen["cancelled"] += slot.quantity_wh == 0 and not slot.is_forced
                seen["filled before"] += slot.filled_before_wh > 0


def of(street: Street, account: int) -> tuple[BatchRecord, BalanceLeaf]:
    """The newest record and an account's balance in it."""
    record = [BatchRecord.from_bytes(e.record) for e in street.effects if isinstance(e, PublishRecord)][-1]
    return record, next(leaf for leaf in record.balances if leaf.account == account)


def receipt_of(reception: Reception) -> Receipt:
    answer = reception.effects[0]
    assert isinstance(answer, Publish)
    envelope = open_envelope(answer.payload)
    assert isinstance(envelope, Envelope) and isinstance(envelope.message, Receipt)
    return envelope.message


def rounds_of(street: Street, product: Product) -> list[AuctionRecord]:
    found = [BatchRecord.from_bytes(e.record) for e in street.effects if isinstance(e, PublishRecord)]
    return [a for r in found for a in r.auctions[1:] if a.auction.product == product.number]


def test_a_receipt_names_the_instant_of_its_first_round() -> None:
    street = Street()
    product = Product(street.interval + 4, 1)
    receipt = receipt_of(street.bid(ADA, product, Side.SELL, 5, 100_000))
    schedule = STREET_CALENDAR.schedule(1)
    assert receipt.clears_at_s == schedule.clears_at_s(product, receipt.round) > street.now_s
    street.now_s += 1
    order = StandingOrder(ADA, 7, 30_000, 10_000, 0, 0)
    standing = receipt_of(street.send(order, Leaf.BID))
    assert (standing.product, standing.round, standing.bid_hash) == (0, 0, order.struct_hash())
    assert standing.clears_at_s == (street.interval + 1) * INTERVAL_S - 1
    street.wait_until(street.now_s + INTERVAL_S)
    assert receipt_of(street.send(order, Leaf.BID)) == standing, "the promise of a repeated order stays the same"


def test_a_clock_that_goes_back_promises_no_round_that_was_run() -> None:
    street = Street()
    product = Product(street.interval + 4, 1)
    street.wait_until(street.now_s + INTERVAL_S)
    street.now_s -= 20
    receipt = receipt_of(street.bid(ADA, product, Side.SELL, 5, 100_000))
    assert receipt.clears_at_s > street.store.mark("cleared_until_s")


def test_what_is_due_happens_before_an_order_is_judged() -> None:
    street = Street()
    product = Product(street.interval + 4, 1)
    street.bid(ADA, product, Side.SELL, 5, 100_000)
    street.now_s += INTERVAL_S  # nobody called a deadline
    reception = street.bid(BO, product, Side.BUY, 5, 200_000)
    assert receipt_of(reception).clears_at_s == street.now_s + INTERVAL_S
    assert street.store.integer("SELECT COUNT(*) FROM auctions WHERE rule = 0") == 1
    assert len(reception.effects) > 1, "the fill packs of that round"
    assert first_difference(street.store, replay(street.store, MARKET, signer_of(OPERATOR)).store) is None


def test_the_older_of_two_bids_stands_in_the_round_before_the_newer_ones_first() -> None:
    street = Street()
    book, product = street.core.market.book, Product(street.interval + 4, 1)
    for version, first_round in ((1, 0), (2, 1)):
        book.place(Bid(ADA, product.number, version, Side.BUY, 10, 100_000, product.start_s), b"s", first_round, 1)
    assert [[e.version for e in book.entries(product.number, number, 0)] for number in (0, 1)] == [[1], [2]]
    record = run_round(Round(product.number, 0, 0, bytes(32)), book.entries(product.number, 0, 0))
    book.move(record)
    assert street.store.rows("SELECT version, live FROM bids") == [(1, 0), (2, 1)]


def test_cash_behind_a_cancelled_bid_is_free_once_a_round_has_shown_it_gone() -> None:
    street = Street(deposit_nano=100 * 300_000)
    near, far = Product(street.interval + 5, 1), Product(street.interval + 6, 1)
    street.bid(BO, near, Side.BUY, 100, 300_000)
    street.wait_until(street.now_s + 2 * INTERVAL_S + 10)
    assert of(street, BO)[1].reserved_nano == 100 * 300_000
    street.bid(BO, near, Side.BUY, 0, 300_000, version=2)
    assert street.bid(BO, far, Side.BUY, 100, 300_000).refusal is Refusal.BEYOND_COLLATERAL
    assert street.bid(BO, near, Side.BUY, 100, 300_000, version=3).refusal is None, "of one product one bid counts"
    street.bid(BO, near, Side.BUY, 0, 300_000, version=4)
    street.wait_until(street.now_s + INTERVAL_S)
    shown = rounds_of(street, near)
    assert street.bid(BO, far, Side.BUY, 100, 300_000).refusal is None
    street.wait_until(street.now_s + INTERVAL_S)
    assert of(street, BO)[1].reserved_nano <= 100 * 300_000
    last = rounds_of(street, near)[-1]
    assert (last.slots[0].version, last.slots[0].quantity_wh) == (4, 0) and len(rounds_of(street, near)) > len(shown)


def test_an_account_that_was_never_read_has_a_balance_with_its_list() -> None:
    street = Street()
    product = Product(street.interval + 4, 1)
    street.bid(ADA, product, Side.SELL, 50, 100_000)
    street.wait_until(street.now_s + 2 * INTERVAL_S + 10)
    record, leaf = of(street, ADA)
    (commitment,) = record.commitments[[b.account for b in record.balances].index(ADA)]
    assert commitment.product == product.number
    assert leaf.reserved_nano == commitment.bid_nano == 50 * (MARKET.tariff_import - 100_000)
    assert leaf.commitments_hash == commitments_hash((commitment,))
    street.wait_until(product.start_s + 10)
    assert of(street, ADA)[1].reserved_nano == 0, "nothing rests once the gate is closed"


def test_an_order_retires_when_it_is_cancelled_on_chain_and_keeps_what_it_traded() -> None:
    street = Street()
    product, order_id = Product(street.interval + 4, 1), BO << 32 | 5
    forced = Bid(BO, product.number, FORCED_VERSION | 5, Side.BUY, 50, 250_000, product.start_s)
    street.core.on_chain_event(OrderForced(order_id, forced), street.now_ms)
    street.bid(ADA, product, Side.SELL, 20, 100_000)
    street.wait_until(street.now_s + INTERVAL_S)
    street.core.on_chain_event(OrderCancelled(order_id), street.now_ms)
    street.bid(ADA, product, Side.SELL, 20, 100_000, version=2)
    street.wait_until(product.start_s + 10)
    first, *_, last = [next(s for s in r.slots if s.account == BO) for r in rounds_of(street, product)]
    assert (first.fill_wh, first.position_wh) == (20, 20)
    assert last.is_retired and (last.version, last.position_wh) == (forced.version, 20)
    assert (last.side, last.quantity_wh, last.limit_price, last.expiry_s, last.filled_before_wh) == (0, 0, 0, 0, 0)


@pytest.mark.parametrize(("told", "retires"), [(True, (False, True, True)), (False, (False, False, False))])
def test_after_an_absence_an_order_retires_from_the_time_of_its_block_on(told: bool, retires: tuple[bool, ...]) -> None:
    street = Street()
    product, order_id = Product(street.interval + 4, 1), BO << 32 | 1
    forced = Bid(BO, product.number, FORCED_VERSION | 1, Side.BUY, 50, 250_000, product.start_s)
    street.core.on_chain_event(OrderForced(order_id, forced), street.now_ms)
    street.bid(ADA, product, Side.SELL, 20, 900_000)
    closed_at_s = street.now_s + INTERVAL_S + 1
    street.now_s += 3 * INTERVAL_S  # three rounds wait to be run when the chain's event comes
    street.core.on_chain_event(OrderCancelled(order_id, closed_at_s if told else 0), street.now_ms + 1_000)
    street.wait_until(product.start_s + INTERVAL_S)
    shown = [next(s for s in r.slots if s.account == BO) for r in rounds_of(street, product)]
    assert tuple(slot.is_retired for slot in shown) == retires
    assert first_difference(street.store, replay(street.store, MARKET, signer_of(OPERATOR)).store) is None


def test_a_lone_on_chain_order_has_its_closing_round_also_when_it_is_heard_of_late() -> None:
    street = Street()
    product = Product(street.interval + 4, 1)
    gate_s = STREET_CALENDAR.schedule(1).gate_closure_s(product)
    street.now_s = gate_s + 60  # nobody was there; the chain's event comes before anything else
    forced = Bid(BO, product.number, FORCED_VERSION | 1, Side.BUY, 50, 250_000, product.start_s)
    assert street.core.on_chain_event(OrderForced(BO << 32 | 1, forced), street.now_ms) == []
    street.wait_until(product.start_s + 10)
    last = rounds_of(street, product)[-1]
    assert (last.auction.cleared_at_s, last.slots[0].version) == (gate_s, forced.version)


def test_a_standing_order_counts_while_it_is_in_force_and_gives_way_to_the_one_before() -> None:
    street = Street(homes=1, market=AUCTIONED)
    first = street.interval
    street.send(StandingOrder(ADA, 1, 200_000, 100_000, 0, 0), Leaf.BID)
    from_s, until_s = (first + 2) * INTERVAL_S, (first + 3) * INTERVAL_S
    street.send(StandingOrder(ADA, 2, 210_000, 110_000, from_s, until_s), Leaf.BID)
    for number in range(12):
        street.reading(ADA, street.interval - 1, 100 * number, 0)
        street.wait_until(street.now_s + INTERVAL_S)
    used = {
        r.auctions[0].auction.product // 1024 - first: (r.auctions[0].slots[0].version, r.auctions[0].auction.price)
        for e in street.effects if isinstance(e, PublishRecord)
        for r in [BatchRecord.from_bytes(e.record)] if r.auctions[0].slots
    }  # fmt: skip
    assert used[1] == used[3] == (1, 200_000) and used[2] == (2, 210_000)


def test_standing_orders_that_never_count_again_are_forgotten_and_a_flood_is_refused() -> None:
    street = Street(homes=1)
    for version in range(1, 2 * STANDING_LIMIT):
        assert street.send(StandingOrder(ADA, version, 200_000, 100_000, 0, 0), Leaf.BID).refusal is None
    assert street.store.integer("SELECT COUNT(*) FROM standing_orders") == 1
    refusals = []
    for day in range(1, STANDING_LIMIT + 2):
        from_s = street.now_s + day * 86_400
        order = StandingOrder(ADA, 1_000 + day, 200_000, 100_000, from_s, from_s + 86_400)
        refusals.append(street.send(order, Leaf.BID).refusal)
    assert refusals[-2:] == [Refusal.BEYOND_LIMIT] * 2 and refusals[:-2] == [None] * (STANDING_LIMIT - 1)


def test_tariffs_off_the_tick_cannot_be_limits() -> None:
    with pytest.raises(ValueError, match="ticks"):
        replace(AUCTIONED, tariff_import=320_001)
    assert replace(MARKET, tariff_import=320_001).terms.spot_rule == AuctionRule.SPOT_SHARED


def test_the_calendars_open_fewer_products_than_a_balance_may_list() -> None:
    for calendar, grace in ((DEFAULT_CALENDAR, 4), (STREET_CALENDAR, 4), (CALENDAR, 4)):
        most = 0
        for hour in range(7 * 24):
            now_s = SUNDAY_NOON_S + hour * 3_600 + 1
            interval = now_s // INTERVAL_S
            opened = {p.number for p in calendar.open_products(now_s)}
            for length in calendar.lengths:
                product = product_covering(interval - grace - 1, length)
                while product.number not in opened and product.start_s <= now_s + 86_400 * 7:
                    opened |= {product.number} if calendar.schedule(length).gate_closure_s(product) <= now_s else set()
                    product = Product(product.first_interval + length, length)
            most = max(most, len(opened))
        assert most <= COMMITMENTS_LIMIT, most
