"""The array market gives, fill by fill and byte by byte, what the readable rule and the plain tree give."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.batch import AuctionRecord
from contracts.clearing_rules import Order, auction_fault, clear, slot_fault
from contracts.codes import LongSide, Side
from contracts.eip712 import keccak
from contracts.interval import Product
from contracts.leaves import slot_node
from contracts.messages import StandingOrder
from coordinator.market.auctioneer import (
    Entry,
    Round,
    SignedStandingOrder,
    run_auctioned_round,
    run_round,
    run_shared_round,
)
from coordinator.market.clearing import LocalOrdersError, clear_round, clear_shared_round
from tests.contracts.markets import markets

PRODUCT = Product(1_000, 1).number


def columns(orders: list[Order]) -> list[np.ndarray[tuple[int], np.dtype[np.int64]]]:
    ordered = sorted(orders)
    return [
        np.array([getattr(o, name) for o in ordered], np.int64)
        for name in ("account", "side", "quantity_wh", "limit_price")
    ]


@given(markets())
def test_array_clearing_equals_the_readable_rule(orders: list[Order]) -> None:
    result, fills = clear(orders)
    cleared = clear_round(*columns(orders))
    assert [int(f) for f in cleared.fill_wh] == [fills.get(o.account, 0) for o in sorted(orders)]
    if all(o.quantity_wh for o in orders):
        assert cleared.clearing == result


@given(markets(side_limit=6, quantity_limit=10**9, price_limit=2))
def test_array_clearing_is_exact_for_the_largest_quantities(orders: list[Order]) -> None:
    _, fills = clear(orders)
    assert [int(f) for f in clear_round(*columns(orders)).fill_wh] == [fills.get(o.account, 0) for o in sorted(orders)]


def test_a_million_orders_at_the_margin_share_without_a_watt_hour_lost() -> None:
    count = 1_000_000
    account = np.arange(1, count + 1)
    side = np.full(count, int(Side.BUY))
    side[-1] = Side.SELL
    quantity = np.random.default_rng(7).integers(1, 10**9, count)
    cleared = clear_round(account, side, quantity, np.full(count, 20_000))
    assert cleared.clearing.long_side is LongSide.BUY
    assert int(cleared.fill_wh[:-1].sum()) == int(quantity[-1]) == cleared.clearing.rationed_wh
    assert (cleared.fill_wh >= 0).all() and (cleared.fill_wh <= quantity).all()


@pytest.mark.parametrize(
    ("account", "side", "quantity", "limit"),
    [
        ([1, 1], [0, 1], [1, 1], [100, 100]),
        ([2, 1], [0, 1], [1, 1], [100, 100]),
        ([1, 2], [0, 2], [1, 1], [100, 100]),
        ([1, 2], [0, 1], [1, -1], [100, 100]),
        ([1, 2], [0, 1], [1, 1], [100, 150]),
        ([1, 2], [0, 1], [1, 1], [100, 10**9]),
        ([1, 2], [0, 1], [1], [100, 100]),
    ],
)
def test_arrays_that_are_no_round_are_refused(
    account: list[int], side: list[int], quantity: list[int], limit: list[int]
) -> None:
    with pytest.raises(LocalOrdersError):
        clear_round(*(np.array(values, np.int64) for values in (account, side, quantity, limit)))


@st.composite
def entry_lists(draw: st.DrawFn) -> list[Entry]:
    accounts = sorted(draw(st.sets(st.integers(1, 2**20 - 1), max_size=20)))
    return [
        Entry(
            account, 1, draw(st.integers(0, 1)), quantity := draw(st.integers(0, 500)),
            100 * draw(st.integers(-20, 20)), draw(st.sampled_from([10_000, 5_000, 4_999, 0])),
            draw(st.integers(0, quantity)),
            draw(st.integers(-1000, 1000)), draw(st.integers(-(10**9), 10**9)), draw(st.binary(min_size=1, max_size=3)),
        )
        for account in accounts
    ]  # fmt: skip


@given(entry_lists())
def test_the_array_tree_is_the_plain_tree_to_the_byte(entries: list[Entry]) -> None:
    record = run_round(Round(PRODUCT, 3, 5_000, bytes(32)), entries)
    assert record.tree().commitment == record.auction.slots_root


@given(entry_lists())
def test_a_round_moves_positions_by_exactly_the_fills(entries: list[Entry]) -> None:
    record = run_round(Round(PRODUCT, 3, 5_000, bytes(32)), entries)
    for entry, slot in zip(entries, record.slots, strict=True):
        assert slot.position_wh == entry.position_wh + slot.signed_fill_wh
        assert slot.position_cost_nano == entry.position_cost_nano + slot.signed_fill_wh * record.auction.price
    assert sum(s.signed_fill_wh for s in record.slots) == 0


def judged(record: AuctionRecord) -> list[object]:
    """Every fault that the rules of clearing find in an auction by itself."""
    faults: list[object] = [auction_fault(record.auction, *record.tree().root.sums)]
    prefix = 0
    for slot in record.slots:
        faults.append(slot_fault(slot, record.auction, prefix))
        prefix += slot_node(slot, record.auction).c
    return [fault for fault in faults if fault is not None]


@given(entry_lists())
def test_a_round_with_filled_and_expired_bids_is_what_the_rules_ask_for(entries: list[Entry]) -> None:
    assert judged(run_round(Round(PRODUCT, 3, 5_000, bytes(32)), entries)) == []


limits = st.tuples(st.integers(-30, 30), st.integers(-30, 30))


@given(
    st.dictionaries(st.integers(1, 40), st.integers(-500, 500), max_size=12),
    st.dictionaries(st.integers(1, 40), limits, max_size=12),
)
def test_an_auctioned_spot_round_trades_at_standing_limits_and_tariffs(
    deviations: dict[int, int], orders: dict[int, tuple[int, int]]
) -> None:
    standing = {
        account: SignedStandingOrder(StandingOrder(account, 3, 100 * buy, 100 * sell, 0, 0), b"signed by %d" % account)
        for account, (buy, sell) in orders.items()
    }
    record = run_auctioned_round(Round(PRODUCT, 0xFFFF, 5_000, bytes(32)), deviations, standing, (3_000, 800))
    assert record.tree().commitment == record.auction.slots_root
    assert judged(record) == []
    assert [s.account for s in record.slots] == sorted(a for a, wh in deviations.items() if wh)
    for slot, evidence in zip(record.slots, record.signatures, strict=True):
        assert slot.signed_fill_wh in (slot.fill_wh, -slot.fill_wh) and slot.expiry_s == 5_000
        assert (slot.side == Side.BUY) == (deviations[slot.account] > 0)
        signed = standing.get(slot.account)
        if signed is None:
            tariff = 3_000 if slot.side == Side.BUY else 800
            assert (slot.version, slot.limit_price, slot.signature_hash, evidence) == (0, tariff, bytes(32), b"")
        else:
            order = StandingOrder.unpack(evidence[:40])
            assert order == signed.order and evidence[40:] == signed.signature
            assert slot.signature_hash == keccak(order.struct_hash() + keccak(evidence[40:]))
            assert slot.limit_price == (order.max_buy_price if slot.side == Side.BUY else order.min_sell_price)


def test_an_expired_bid_takes_no_part_and_stays_in_its_slot() -> None:
    stale = Entry(1, 4, Side.BUY, 100, 20_000, 4_999, 0, 70, 700, b"signature")
    seller = Entry(2, 1, Side.SELL, 100, 10_000, 9_999, 0, 0, 0, b"signature")
    record = run_round(Round(PRODUCT, 3, 5_000, bytes(32)), [stale, seller])
    assert record.auction.volume_wh == 0
    slot = record.slots[0]
    assert (slot.version, slot.quantity_wh, slot.expiry_s, slot.position_wh) == (4, 100, 4_999, 70)
    in_time = run_round(Round(PRODUCT, 3, 4_999, bytes(32)), [stale, seller])
    assert in_time.auction.volume_wh == 100, "the second of the expiry itself still counts"


@given(st.dictionaries(st.integers(1, 1000), st.integers(-(10**6), 10**6), max_size=30), st.integers(-(10**6), 10**6))
def test_a_shared_round_fills_the_short_side_and_rations_the_long_one(deviations: dict[int, int], price: int) -> None:
    record = run_shared_round(Round(PRODUCT, 0xFFFF, 5_000, bytes(32)), deviations, price)
    needed = sum(d for d in deviations.values() if d > 0)
    offered = -sum(d for d in deviations.values() if d < 0)
    filled = {s.account: s.fill_wh for s in record.slots}
    assert record.auction.volume_wh == min(needed, offered)
    for account, deviation in deviations.items():
        short_side = (deviation > 0) == (needed <= offered)
        assert filled.get(account, 0) <= abs(deviation)
        if deviation and short_side:
            assert filled[account] == abs(deviation)


def test_a_shared_round_of_nobody_clears_nothing() -> None:
    nobody = np.zeros(0, np.int64)
    assert clear_shared_round(nobody, nobody, nobody, 5).clearing.volume_wh == 0
