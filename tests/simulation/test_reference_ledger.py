"""The naive bookkeeping is right by itself: against the readable rule, and in examples one can do by hand."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from contracts.clearing_rules import Order as RuleOrder
from contracts.clearing_rules import clear
from contracts.commitments import commitment_of, listed, reserved_nano
from contracts.interval import PRODUCT_LENGTHS, Product, product_covering
from contracts.leaves import Slot
from contracts.round_rules import closing_interval
from simulators.reference_ledger import (
    BUY,
    SELL,
    Order,
    ReferenceLedger,
    SignedBid,
    SignedLimits,
    clear_by_units,
    products_over,
    share_deviations,
)

orders = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 12), st.integers(-3, 3)), max_size=8).map(
    lambda rows: [Order(number + 1, side, wh, 100 * limit) for number, (side, wh, limit) in enumerate(rows)]
)


@given(orders)
def test_lining_up_watt_hours_gives_the_result_of_the_rule(given_orders: list[Order]) -> None:
    outcome = clear_by_units(given_orders)
    result, fills = clear([RuleOrder(o.account, o.side, o.quantity_wh, o.limit) for o in given_orders])
    assert (outcome.price, outcome.volume_wh) == (result.price, result.volume_wh)
    assert {a: f for a, f in outcome.fills.items() if f} == {a: f for a, f in fills.items() if f}


@given(st.dictionaries(st.integers(1, 9), st.integers(-40, 40)))
def test_shared_deviations_balance_and_the_short_side_is_full(deviations: dict[int, int]) -> None:
    fills = share_deviations(deviations)
    bought = sum(f for a, f in fills.items() if deviations[a] > 0)
    sold = sum(f for a, f in fills.items() if deviations[a] < 0)
    long = sum(w for w in deviations.values() if w > 0)
    short = -sum(w for w in deviations.values() if w < 0)
    assert bought == sold == min(long, short)
    assert all(0 <= f <= abs(deviations[a]) for a, f in fills.items())


@given(st.integers(672, 5_000_000))
def test_products_over_an_interval_are_those_of_the_calendar(interval: int) -> None:
    assert products_over(interval) == [product_covering(interval, length).number for length in PRODUCT_LENGTHS]


def test_a_trade_of_ada_and_bo_is_settled_to_the_nano() -> None:
    ledger = ReferenceLedger(300_000, 80_000)
    product = 8 * 1_024 + 1
    ledger.bids[1, product, 1] = SignedBid(1, product, 1, SELL, 100, 90_000, 10**10)
    ledger.bids[2, product, 1] = SignedBid(2, product, 1, BUY, 100, 250_000, 10**10)
    outcome, faults = ledger.run_round(product, 0, 5, {1: 1, 2: 1})
    assert (outcome.price, outcome.volume_wh, faults) == (170_000, 100, [])
    ledger.settle(7, {1: (0, 0), 2: (0, 0)}, 200_000)
    # Ada delivered 120 of the 100 she sold, Bo took 130 of the 100 he bought: 20 are shared, 10 come from the supplier.
    ledger.settle(8, {1: (0, 120), 2: (130, 0)}, 200_000)
    assert ledger.balances[1] == 100 * 170_000 + 20 * 200_000
    assert ledger.balances[2] == -(100 * 170_000 + 20 * 200_000 + 10 * 300_000)
    assert sum(ledger.balances.values()) == 0
    assert ledger.positions == {}


def test_a_promised_bid_that_is_left_out_is_named() -> None:
    ledger = ReferenceLedger(300_000, 80_000)
    ledger.bids[1, 1_025, 1] = SignedBid(1, 1_025, 1, SELL, 100, 90_000, 10**10, promised_round=2)
    assert ledger.run_round(1_025, 1, 5, {})[1] == []
    assert "receipt" in ledger.run_round(1_025, 2, 6, {})[1][0]
    assert "never signed" in ledger.run_round(1_025, 3, 7, {1: 9})[1][0]


def test_who_was_shown_once_is_shown_ever_after_and_what_expired_takes_no_part() -> None:
    ledger = ReferenceLedger(300_000, 80_000)
    ledger.bids[1, 1_025, 1] = SignedBid(1, 1_025, 1, SELL, 100, 90_000, 6)
    ledger.bids[2, 1_025, 1] = SignedBid(2, 1_025, 1, BUY, 100, 250_000, 10**10)
    assert ledger.run_round(1_025, 0, 5, {1: 1})[1] == []
    outcome, faults = ledger.run_round(1_025, 1, 7, {1: 1, 2: 1})
    assert (outcome.volume_wh, faults) == (0, [])
    assert "is not in round 2" in ledger.run_round(1_025, 2, 8, {2: 1})[1][0]


def test_deviations_at_standing_limits_are_cleared_by_lining_up_watt_hours() -> None:
    ledger = ReferenceLedger(300_000, 80_000, auctioned=True)
    ledger.settle(7, {1: (0, 0), 2: (0, 0), 3: (0, 0)}, 0)
    limits = {1: SignedLimits(1, 4, 250_000, 150_000, 0, 0), 2: SignedLimits(2, 4, 260_000, 150_000, 0, 0)}
    # Ada sells 100 at 150,000 or more; Bo pays up to 260,000 for 60; Cy has no order and pays up to the tariff for 60.
    ledger.settle(8, {1: (0, 100), 2: (60, 0), 3: (60, 0)}, 0, limits)
    assert ledger.spot_price == 260_000, "of 120 Wh wanted 100 are there: the last buyer served sets the price"
    assert ledger.balances[1] == 100 * 260_000
    assert ledger.balances[2] == -(40 * 260_000 + 20 * 300_000)
    assert ledger.balances[3] == -60 * 260_000
    assert sum(ledger.balances.values()) == 0


@given(
    st.lists(
        st.tuples(st.integers(1, 3), st.integers(0, 1), st.integers(0, 30), st.integers(-40, 40)),
        min_size=1,
        max_size=6,
    ),
    st.integers(0, 14),
)
def test_reserves_are_those_of_the_rules(rows: list[tuple[int, int, int, int]], interval: int) -> None:
    """Against ``contracts.commitments``, over slots built from the reference's own round."""
    product = Product(8, 4)
    ledger = ReferenceLedger(3_000, 800, {4: 3_600})
    versions = {}
    for account, side, quantity, limit in rows:
        versions[account] = 1
        ledger.bids[account, product.number, 1] = SignedBid(
            account, product.number, 1, side, quantity, 100 * limit, 10**10
        )
    ledger.run_round(product.number, 0, 0, versions)
    ledger.settled = interval - 4
    lists = ledger.reserves(interval)
    for account in versions:
        bid = ledger.bids[account, product.number, 1]
        wh, cost = ledger.positions.get((account, product.number), (0, 0))
        slot = Slot(
            account, product.number, 1, bid.side, bid.quantity_wh, bid.limit, 10**10, 0, bid.filled_wh, wh, cost,
            bytes(32),
        )  # fmt: skip
        is_closed = closing_interval(product, (0, 4, 0, 0)) <= interval
        expected = listed([commitment_of(slot, product, is_closed, 3_000, interval - 4)])
        mine = lists.get(account, [])
        assert [(c.product, (c.bid_nano, c.interval_nano)) for c in expected] == mine
        assert reserved_nano(expected, interval - 4) == ledger.reserve_nano(mine)
