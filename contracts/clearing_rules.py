"""The uniform-price call auction, as the rule by which any result is judged.

``clear`` is the readable reference: it finds volume, price interval and fills by walking the merit order.
``slot_fault`` and ``auction_fault`` are the predicates that refute a published result from one slot or from the
auction alone; the contract enforces the same predicates. With V the largest volume at which the V-th best buyer
still pays what the V-th cheapest seller asks:

    lo = max(pS(V), pB(V+1))    hi = min(pB(V), pS(V+1))    price = floor((lo + hi) / 2)

Strictly better than the price is filled whole, strictly worse not at all, exactly at the price on the long side
by cumulative rounding in slot order. By linear-programming duality a result with balanced sums that obeys the
per-slot rule has the maximum welfare, so a wrong clearing breaks at one slot or at one sum.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import Enum

from contracts.codes import AuctionRule, LongSide, Side
from contracts.leaves import Slot
from contracts.messages import NO_ACCOUNT, Auction
from contracts.units import cumulative_share


@dataclass(frozen=True, slots=True, order=True)
class Order:
    """What takes part in one round: the open quantity of one account's bid."""

    account: int
    side: int
    quantity_wh: int
    limit_price: int


@dataclass(frozen=True, slots=True)
class Clearing:
    """Result of one round. Prices in micro-currency per kWh, energies in Wh per interval."""

    price: int
    lo: int
    hi: int
    lo_account: int
    hi_account: int
    volume_wh: int
    marginal_wh: int
    rationed_wh: int
    long_side: LongSide


def clear(orders: Iterable[Order]) -> tuple[Clearing, dict[int, int]]:
    """Clears a round: the result, and the fill in Wh of every account with an open order.

    One order an account; raises ValueError otherwise. O(n log n), exact integers.
    """
    live = sorted(order for order in orders if order.quantity_wh > 0)
    if len({order.account for order in live}) != len(live):
        raise ValueError("an account has one order in a round")
    buys = sorted((o for o in live if o.side == Side.BUY), key=lambda o: (-o.limit_price, o.account))
    sells = sorted((o for o in live if o.side == Side.SELL), key=lambda o: (o.limit_price, o.account))
    volume = _volume(buys, sells)
    lows = [p for p in (_price_at(sells, volume), _price_at(buys, volume + 1)) if p is not None]
    highs = [p for p in (_price_at(buys, volume), _price_at(sells, volume + 1)) if p is not None]
    lo = max(lows or highs[:1] or [0])
    hi = min(highs or lows[:1] or [0])
    result = _ration(buys, sells, lo, hi, volume)
    fills = _fills(live, result)
    return _name_bounds(result, live, fills), fills


def _volume(buys: list[Order], sells: list[Order]) -> int:
    """Largest volume whose last buyer pays at least what its last seller asks."""
    volume = i = j = 0
    left_b, left_s = (buys[0].quantity_wh if buys else 0), (sells[0].quantity_wh if sells else 0)
    while i < len(buys) and j < len(sells) and buys[i].limit_price >= sells[j].limit_price:
        step = min(left_b, left_s)
        volume += step
        left_b -= step
        left_s -= step
        if left_b == 0:
            i += 1
            left_b = buys[i].quantity_wh if i < len(buys) else 0
        if left_s == 0:
            j += 1
            left_s = sells[j].quantity_wh if j < len(sells) else 0
    return volume


def _price_at(merit: list[Order], unit: int) -> int | None:
    """Limit of the ``unit``-th Wh in merit order; None for unit 0 and beyond the end."""
    if unit <= 0:
        return None
    for order in merit:
        unit -= order.quantity_wh
        if unit <= 0:
            return order.limit_price
    return None


def _ration(buys: list[Order], sells: list[Order], lo: int, hi: int, volume: int) -> Clearing:
    price = (lo + hi) // 2
    better_buy = sum(o.quantity_wh for o in buys if o.limit_price > price)
    better_sell = sum(o.quantity_wh for o in sells if o.limit_price < price)
    at_buy = sum(o.quantity_wh for o in buys if o.limit_price == price)
    at_sell = sum(o.quantity_wh for o in sells if o.limit_price == price)
    long_side, marginal, rationed = LongSide.NONE, 0, 0
    if better_buy + at_buy > volume:
        long_side, marginal, rationed = LongSide.BUY, at_buy, volume - better_buy
    elif better_sell + at_sell > volume:
        long_side, marginal, rationed = LongSide.SELL, at_sell, volume - better_sell
    if marginal == 0:  # the whole surplus lies beyond the price: nobody is rationed
        long_side, rationed = LongSide.NONE, 0
    return Clearing(price, lo, hi, NO_ACCOUNT, NO_ACCOUNT, volume, marginal, rationed, long_side)


def _name_bounds(result: Clearing, live: list[Order], fills: dict[int, int]) -> Clearing:
    """Names the first account that attains each bound; after rationing, because a share may be rounded to nothing."""
    lo_account = hi_account = NO_ACCOUNT
    for order in live:
        to_lo, to_hi = presses(order.side, order.quantity_wh, fills[order.account])
        if to_lo and order.limit_price == result.lo and lo_account == NO_ACCOUNT:
            lo_account = order.account
        if to_hi and order.limit_price == result.hi and hi_account == NO_ACCOUNT:
            hi_account = order.account
    return replace(result, lo_account=lo_account, hi_account=hi_account)


def presses(side: int, open_wh: int, fill_wh: int) -> tuple[bool, bool]:
    """Whether an order bounds the price from below (lo) and from above (hi).

    An unfilled buyer and a filled seller hold the price up, a filled buyer and an unfilled seller hold it down.
    """
    filled, unfilled = fill_wh > 0, fill_wh < open_wh
    return (unfilled, filled) if side == Side.BUY else (filled, unfilled)


def _fills(live: list[Order], result: Clearing) -> dict[int, int]:
    fills: dict[int, int] = {}
    prefix = 0
    for order in live:
        fills[order.account] = rule_fill_wh(order, result, prefix)
        if order.limit_price == result.price and result.long_side == _long(order.side):
            prefix += order.quantity_wh
    return fills


def _long(side: int) -> LongSide:
    return LongSide.BUY if side == Side.BUY else LongSide.SELL


def rule_fill_wh(order: Order, result: Clearing | Auction, prefix_wh: int) -> int:
    """The fill that the rule gives an order behind ``prefix_wh`` Wh of marginal quantity in slot order."""
    advantage = order.limit_price - result.price if order.side == Side.BUY else result.price - order.limit_price
    if advantage > 0:
        return order.quantity_wh
    if advantage < 0:
        return 0
    if result.long_side != _long(order.side):
        return order.quantity_wh
    return cumulative_share(prefix_wh, order.quantity_wh, result.rationed_wh, result.marginal_wh)


class SlotFault(Enum):
    """How one slot refutes its auction, in the order in which the contract looks."""

    OVERFILLED_BEFORE = "more was filled before than the bid's quantity"
    WRONG_FILL = "the fill is not the rule's"
    EXPIRED = "a deviation was left out of its spot round as if it could expire"
    NOT_AT_SHARED_PRICE = "a deviation in a shared spot round takes part at another limit than its price"
    ABOVE_LO = "an unfilled buyer pays, or a filled seller asks, more than lo"
    BELOW_HI = "an unfilled seller asks, or a filled buyer pays, less than hi"
    NOT_AT_LO = "the slot named for lo does not attain it"
    NOT_AT_HI = "the slot named for hi does not attain it"


class AuctionFault(Enum):
    """How an auction refutes itself without any slot."""

    PRICE_NOT_MIDPOINT = "the price is not floor((lo+hi)/2)"
    BOUNDS_CROSSED = "lo is above hi"
    BOUND_UNNAMED = "a bound without a slot differs from the other bound, or from zero where both are unnamed"
    RATION_EXCEEDS_MARGIN = "more is rationed out than stands at the margin"
    MARGIN_WITHOUT_SIDE = "no side is long, yet something is rationed"
    SUMS_UNBALANCED = "bought, sold and volume differ, or the marginal sum is not the tree's"


def auction_fault(auction: Auction, buy_wh: int, sell_wh: int, marginal_wh: int) -> AuctionFault | None:
    """What is wrong with ``auction`` given the root sums of its slots tree; None when nothing is."""
    if auction.price != (auction.lo + auction.hi) // 2:
        return AuctionFault.PRICE_NOT_MIDPOINT
    if auction.lo > auction.hi:
        return AuctionFault.BOUNDS_CROSSED
    if auction.rule != AuctionRule.SPOT_SHARED:
        lo_named, hi_named = auction.lo_account != NO_ACCOUNT, auction.hi_account != NO_ACCOUNT
        if not (lo_named and hi_named) and auction.lo != auction.hi:
            return AuctionFault.BOUND_UNNAMED
        if not lo_named and not hi_named and auction.lo != 0:
            return AuctionFault.BOUND_UNNAMED
    if auction.rationed_wh > auction.marginal_wh:
        return AuctionFault.RATION_EXCEEDS_MARGIN
    if auction.long_side == LongSide.NONE and auction.marginal_wh:
        return AuctionFault.MARGIN_WITHOUT_SIDE
    if not buy_wh == sell_wh == auction.volume_wh or marginal_wh != auction.marginal_wh:
        return AuctionFault.SUMS_UNBALANCED
    return None


def slot_fault(slot: Slot, auction: Auction, prefix_wh: int) -> SlotFault | None:
    """What is wrong with ``slot`` behind ``prefix_wh`` Wh of marginal quantity; None when nothing is."""
    if slot.filled_before_wh > slot.quantity_wh:
        return SlotFault.OVERFILLED_BEFORE
    offered_wh = slot.offered_wh(auction.cleared_at_s)
    order = Order(slot.account, slot.side, offered_wh, slot.limit_price)
    if slot.fill_wh != rule_fill_wh(order, auction, prefix_wh):
        return SlotFault.WRONG_FILL
    if auction.rule != AuctionRule.FORWARD and slot.expiry_s < auction.cleared_at_s:
        return SlotFault.EXPIRED
    if auction.rule == AuctionRule.SPOT_SHARED:
        return None if slot.limit_price == auction.price else SlotFault.NOT_AT_SHARED_PRICE
    presses_lo, presses_hi = presses(slot.side, offered_wh, slot.fill_wh)
    if presses_lo and (slot.limit_price > auction.lo or auction.lo_account == NO_ACCOUNT):
        return SlotFault.ABOVE_LO
    if presses_hi and (slot.limit_price < auction.hi or auction.hi_account == NO_ACCOUNT):
        return SlotFault.BELOW_HI
    if slot.account == auction.lo_account and not (presses_lo and slot.limit_price == auction.lo):
        return SlotFault.NOT_AT_LO
    if slot.account == auction.hi_account and not (presses_hi and slot.limit_price == auction.hi):
        return SlotFault.NOT_AT_HI
    return None
