"""The naive bookkeeping is right by itself: against the readable rule, and in examples one can do by hand."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from contracts.clearing_rules import Order as RuleOrder
from contracts.clearing_rules import clear
from contracts.interval import PRODUCT_LENGTHS, product_covering
from simulators.reference_ledger import (
    BUY,
    SELL,
    Order,
    ReferenceLedger,
    SignedBid,
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
