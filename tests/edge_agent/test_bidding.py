"""Forecast and bids: integers, inside every limit, never the same energy twice."""

from __future__ import annotations

from itertools import count
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from contracts.codes import Side
from contracts.interval import STREET_CALENDAR, Product, interval_of, interval_start_s
from contracts.messages import Bid
from contracts.units import PRICE_TICK_MICRO_PER_KWH
from edge_agent.config import BiddingConfig
from edge_agent.effects import Counters
from edge_agent.market.bidding import TOLERANCE_WH, Bidding
from edge_agent.market.forecast import NetForecast
from edge_agent.market.proofs import Position, Proofs
from tests.edge_agent.conftest import ada_config

NOW = 2_000_000
NOW_S = interval_start_s(NOW)


def ada_bids(history: dict[int, int], **preferences: object) -> tuple[Bidding, Proofs, NetForecast]:
    """Ada's bidding over that history."""
    config = ada_config(Path("/nowhere"), bidding=BiddingConfig(calendar="street", **preferences))  # type: ignore[arg-type]
    proofs, forecast, versions = Proofs(config, Counters()), NetForecast(history), count(1)
    return Bidding(config, forecast, proofs, lambda: next(versions)), proofs, forecast


def yesterday(net_wh: int) -> dict[int, int]:
    """Two days of the same net energy in every quarter-hour."""
    return dict.fromkeys(range(NOW - 192, NOW), net_wh)


def test_a_home_that_repeats_itself_is_forecast_exactly() -> None:
    history = {i: 100 + i % 96 for i in range(NOW - 10 * 96, NOW)}
    forecast = NetForecast(history)
    assert [forecast.net_wh(i) for i in range(NOW, NOW + 96)] == [100 + i % 96 for i in range(NOW, NOW + 96)]


def test_a_surprise_persists_for_an_hour_and_is_gone_by_tomorrow() -> None:
    forecast = NetForecast(dict.fromkeys(range(NOW - 10 * 96, NOW - 1), 100) | {NOW - 1: 1_100})
    ahead = [forecast.net_wh(i) for i in range(NOW, NOW + 60)]
    assert ahead[0] == 1_000 and ahead[3] == 756
    assert ahead == sorted(ahead, reverse=True)  # type: ignore[type-var]
    tomorrow = forecast.net_wh(NOW + 60)
    assert tomorrow is not None and 95 <= tomorrow <= 105


def test_without_history_there_is_no_forecast_and_no_bid() -> None:
    bidding, _, forecast = ada_bids({})
    assert forecast.net_wh(NOW) is None and bidding.bids(NOW_S) == []


@given(
    st.dictionaries(st.integers(NOW - 300, NOW), st.integers(-20_000, 20_000), min_size=1, max_size=40),
    st.lists(st.integers(0, 7_200), min_size=1, max_size=6),
    st.integers(-50, 100),
    st.integers(-50, 100),
)
def test_every_bid_is_legal_within_all_limits_and_versions_rise(
    history: dict[int, int], moments: list[int], buy_ct: int, sell_ct: int
) -> None:
    preferences = {"max_buy_price": buy_ct * 10_000, "min_sell_price": sell_ct * 10_000}
    bidding, proofs, _ = ada_bids(history, tariff_import=312_345, tariff_export=81_234, **preferences)
    proofs.positions[Product(NOW + 4, 1).number] = Position(0, 700, 0, 0)
    last: dict[int, int] = {}
    for moment in sorted(moments):
        now_s = NOW_S + moment
        opened = set(STREET_CALENDAR.open_products(now_s))
        bids = bidding.bids(now_s)
        assert len({bid.product for bid in bids}) == len(bids)
        for bid in bids:
            assert Product.from_number(bid.product) in opened and bid.version > last.get(bid.product, 0)
            last[bid.product] = bid.version
            assert bid.quantity_wh <= 11_000 // 4 + 700 and bid.limit_price % PRICE_TICK_MICRO_PER_KWH == 0
            if bid.side == Side.BUY:
                assert bid.limit_price <= min(buy_ct * 10_000, 312_345)
            else:
                assert bid.limit_price >= max(sell_ct * 10_000, 81_234)


def test_no_quarter_hour_is_bid_for_while_its_hour_is_open() -> None:
    bidding, _, _ = ada_bids(yesterday(500))
    bids = bidding.bids(NOW_S + 60)
    products = [Product.from_number(bid.product) for bid in bids]
    assert {product.length for product in products} == {1, 4}
    for product in products:
        assert not any(p.length > product.length and p.covers(product.first_interval) for p in products)


def test_a_bid_that_is_still_right_is_left_alone_and_a_fill_moves_the_next_one() -> None:
    bidding, proofs, _ = ada_bids(yesterday(500))
    first = bidding.bids(NOW_S + 60)
    assert first and bidding.bids(NOW_S + 120) == []
    bid = next(b for b in first if Product.from_number(b.product).length == 1)
    proofs.positions[bid.product] = Position(0, 500, bid.version, 500)
    assert all(b.product != bid.product for b in bidding.bids(NOW_S + 180))
    proofs.positions[bid.product] = Position(1, 200, bid.version, 200)
    assert all(b.product != bid.product for b in bidding.bids(NOW_S + 240)), "300 Wh of the bid still rest"


def test_a_forecast_that_changes_sides_cancels_first_and_then_bids_anew() -> None:
    bidding, _, forecast = ada_bids(yesterday(500))
    bought = {bid.product: bid for bid in bidding.bids(NOW_S + 60)}
    assert all(bid.side == Side.BUY for bid in bought.values())
    forecast.add(NOW, -30_000)
    near = Product(interval_of(NOW_S) + 3, 1).number
    cancelled = next(bid for bid in bidding.bids(NOW_S + 120) if bid.product == near)
    assert cancelled.quantity_wh == 0 and cancelled.version > bought[near].version
    sold = next(bid for bid in bidding.bids(NOW_S + 180) if bid.product == near)
    assert sold.side == Side.SELL and sold.quantity_wh > 0 and sold.version > cancelled.version


def test_a_home_in_balance_or_without_auto_trade_stays_silent() -> None:
    bidding, _, _ = ada_bids(yesterday(TOLERANCE_WH))
    assert bidding.bids(NOW_S + 60) == []
    silent, _, _ = ada_bids(yesterday(5_000), auto_trade=False)
    assert silent.bids(NOW_S + 60) == [] and silent.standing_order(NOW_S) is None


def test_the_standing_order_goes_once_and_again_when_the_limits_change() -> None:
    bidding, _, _ = ada_bids(yesterday(500))
    order = bidding.standing_order(NOW_S)
    assert order is not None and (order.max_buy_price, order.min_sell_price) == (300_000, 80_000)
    assert bidding.standing_order(NOW_S + 60) is None
    kept = bidding.state()
    same, _, _ = ada_bids({})
    same.restore({"placed": kept["placed"], "standing": list(kept["standing"])})  # type: ignore[call-overload]
    assert same.standing_order(NOW_S) is None
    changed, _, _ = ada_bids({}, max_buy_price=200_000)
    changed.restore(kept)
    assert changed.standing_order(NOW_S) is not None


def test_bids_survive_a_restart_as_json() -> None:
    bidding, _, _ = ada_bids(yesterday(500))
    first: list[Bid] = bidding.bids(NOW_S + 60)
    again, _, _ = ada_bids(yesterday(500))
    again.restore(bidding.state())
    assert first and again.bids(NOW_S + 120) == []
    again.restore({"placed": "nonsense"})
    assert again.placed == {}


def test_what_a_home_cut_off_has_bid_is_taken_back_once_and_bid_for_again_afterwards() -> None:
    bidding, _, _ = ada_bids(yesterday(500))
    bids = {bid.product: bid for bid in bidding.bids(NOW_S + 60)}
    opened = {product.number for product in STREET_CALENDAR.open_products(NOW_S + 120)}
    back = bidding.taken_back(NOW_S + 120)
    assert back and {bid.product for bid in back} == set(bids) & opened
    assert all(bid.quantity_wh == 0 and bid.version > bids[bid.product].version for bid in back)
    assert bidding.taken_back(NOW_S + 180) == []
    again = {bid.product: bid for bid in bidding.bids(NOW_S + 240)}
    assert again and all(bid.quantity_wh == bids[n].quantity_wh for n, bid in again.items() if n in bids)


def test_what_is_filled_or_was_passed_over_is_not_taken_back() -> None:
    bidding, proofs, _ = ada_bids(yesterday(500))
    filled, refused, *_ = bidding.bids(NOW_S + 60)
    proofs.positions[filled.product] = Position(0, filled.quantity_wh, filled.version, filled.quantity_wh)
    bidding.unanswered([refused.product], NOW_S + 60)
    assert {filled.product, refused.product}.isdisjoint(bid.product for bid in bidding.taken_back(NOW_S + 120))
