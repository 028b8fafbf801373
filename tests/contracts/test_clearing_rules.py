"""The clearing rule against an exact optimiser, its corner cases as data, and its own judge."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.clearing_rules import AuctionFault, Order, SlotFault, auction_fault, clear, slot_fault
from contracts.codes import Side
from contracts.leaves import Slot
from contracts.messages import Auction
from contracts.units import cumulative_share
from tests.contracts.markets import TICK, best_welfare, markets, welfare

CASES = tomllib.loads((Path(__file__).parents[1] / "cases/clearing/corner_cases.toml").read_text())["case"]
PRODUCT = 1_025


def published(orders: list[Order]) -> tuple[Auction, list[Slot]]:
    """The auction and slots an honest coordinator publishes for ``orders``."""
    result, fills = clear(orders)
    auction = Auction(
        PRODUCT, 0, 0, 900, result.price, result.lo, result.hi, result.lo_account, result.hi_account,
        result.volume_wh, result.marginal_wh, result.rationed_wh, result.long_side, bytes(32), bytes(32),
    )  # fmt: skip
    slots = [
        Slot(
            o.account,
            PRODUCT,
            1,
            o.side,
            o.quantity_wh,
            o.limit_price,
            900,
            0,
            fills.get(o.account, 0),
            0,
            0,
            bytes(32),
        )
        for o in sorted(orders)
    ]
    return auction, slots


def faults_of(auction: Auction, slots: list[Slot]) -> list[object]:
    """Everything the judge finds in a published auction."""
    found: list[object] = []
    prefix = buy = sell = 0
    for slot in slots:
        node = slot.node(auction.price, auction.long_side, auction.cleared_at_s)
        fault = slot_fault(slot, auction, prefix)
        if fault:
            found.append(fault)
        buy, sell, prefix = buy + node.a, sell + node.b, prefix + node.c
    total = auction_fault(auction, buy, sell, prefix)
    return [*found, total] if total else found


@pytest.mark.parametrize("case", CASES, ids=[c["name"] for c in CASES])
def test_a_corner_case_clears_as_its_data_say(case: dict[str, Any]) -> None:
    sides = {"buy": Side.BUY, "sell": Side.SELL}
    orders = [Order(account, sides[side], wh, limit * TICK) for account, side, wh, limit in case["orders"]]
    result, fills = clear(orders)
    assert (result.price, result.lo, result.hi, result.volume_wh) == (
        case["price"], case["lo"], case["hi"], case["volume_wh"],
    )  # fmt: skip
    assert {str(account): wh for account, wh in fills.items()} == case["fills"]


@given(markets())
def test_welfare_equals_the_exact_optimum_of_a_linear_programme(orders: list[Order]) -> None:
    _, fills = clear(orders)
    assert welfare(orders, fills) == pytest.approx(best_welfare(orders), abs=1e-6 * (1 + len(orders)))


@given(markets())
def test_bought_and_sold_energy_and_money_are_exactly_equal(orders: list[Order]) -> None:
    result, fills = clear(orders)
    bought = sum(fills[o.account] for o in orders if o.side == Side.BUY and o.quantity_wh)
    sold = sum(fills[o.account] for o in orders if o.side == Side.SELL and o.quantity_wh)
    assert bought == sold == result.volume_wh
    assert bought * result.price - sold * result.price == 0


@given(markets(side_limit=12))
def test_nobody_pays_more_or_gets_less_than_signed(orders: list[Order]) -> None:
    result, fills = clear(orders)
    for order in orders:
        assert 0 <= fills.get(order.account, 0) <= order.quantity_wh
        if fills.get(order.account, 0):
            assert result.price <= order.limit_price if order.side == Side.BUY else result.price >= order.limit_price


@given(markets(side_limit=12))
def test_an_honest_auction_has_no_fault_at_any_slot(orders: list[Order]) -> None:
    assert faults_of(*published(orders)) == []


@given(markets(side_limit=8), st.data())
def test_any_other_fills_with_balanced_sums_are_refuted_by_a_slot(orders: list[Order], data: st.DataObject) -> None:
    auction, slots = published(orders)
    fills = [data.draw(st.integers(0, s.quantity_wh)) for s in slots]
    altered = [
        Slot(s.account, s.product, 1, s.side, s.quantity_wh, s.limit_price, 900, 0, fill, 0, 0, bytes(32))
        for s, fill in zip(slots, fills, strict=True)
    ]
    if fills != [s.fill_wh for s in slots]:
        assert SlotFault.WRONG_FILL in faults_of(auction, altered)


@given(markets(side_limit=8), st.integers(-3, 3), st.integers(-3, 3))
def test_any_other_price_interval_is_refuted(orders: list[Order], low: int, high: int) -> None:
    auction, slots = published(orders)
    lo, hi = auction.lo + low * TICK, auction.hi + high * TICK
    if (lo, hi) == (auction.lo, auction.hi):
        return
    altered = Auction(
        PRODUCT, 0, 0, 900, (lo + hi) // 2, lo, hi, auction.lo_account, auction.hi_account, auction.volume_wh,
        auction.marginal_wh, auction.rationed_wh, auction.long_side, bytes(32), bytes(32),
    )  # fmt: skip
    assert faults_of(altered, slots)


def test_a_price_off_the_middle_is_refuted_without_a_slot() -> None:
    auction, _ = published([Order(1, Side.BUY, 5, 500), Order(2, Side.SELL, 5, 100)])
    fields = {name: getattr(auction, name) for name in auction.__dataclass_fields__ if name.islower()}
    assert auction_fault(Auction(**fields | {"price": auction.price + 1}), 5, 5, 0) is AuctionFault.PRICE_NOT_MIDPOINT


def test_two_orders_of_one_account_are_refused() -> None:
    with pytest.raises(ValueError, match="one order"):
        clear([Order(1, Side.BUY, 5, 500), Order(1, Side.SELL, 5, 100)])


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=50), st.data())
def test_cumulative_shares_sum_to_exactly_what_is_given(quantities: list[int], data: st.DataObject) -> None:
    total = sum(quantities)
    give = data.draw(st.integers(0, total))
    prefix, shares = 0, []
    for quantity in quantities:
        shares.append(cumulative_share(prefix, quantity, give, total))
        prefix += quantity
    assert sum(shares) == (give if total else 0)
    assert all(0 <= share <= quantity for share, quantity in zip(shares, quantities, strict=True))
