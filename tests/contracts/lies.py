"""Every kind of lie an operator could post, each with the challenge that must catch it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from contracts.eip712 import Domain, keccak
from contracts.evidence import Lie, Tree
from contracts.leaves import Slot
from contracts.merkle import DEPTH, EMPTY, Node, leaf_node
from contracts.messages import FORCED_VERSION, NO_ACCOUNT, AuctionRule, LongSide, Side
from tests.contracts.honest_batch import Batch
from tests.contracts.lie_makers import (
    Told,
    absent_bound,
    account_tree_lie,
    auction_leaf_sums,
    auction_lie,
    balance_lie,
    by_another_home,
    first_slot,
    forged_signature,
    generous_balance,
    header_lie,
    hidden_balance,
    is_forward,
    is_spot,
    leaf_at_inner_height,
    malleable_twin,
    node_lie,
    parent_at_leaf,
    slot_lie,
    slot_without_meter,
    unbalanced,
    untraded_deviation,
    without_spot_round,
)

LIES: dict[str, Callable[[Batch, Domain], Told | None]] = {
    "a slot is filled by one Wh too much": slot_lie(
        lambda _, s: s.open_wh > 0, lambda _, s: {"fill_wh": s.fill_wh + 1}, Lie.FILL, 2
    ),
    "a better bid is skipped": slot_lie(
        lambda a, s: s.fill_wh > 0 and s.limit_price != a.auction.price, lambda _, s: {"fill_wh": 0}, Lie.FILL, 2
    ),
    "a rationed share is wrong": slot_lie(
        lambda a, s: a.auction.long_side != LongSide.NONE and 0 < s.fill_wh < s.open_wh,
        lambda _, s: {"fill_wh": s.fill_wh - 1},
        Lie.FILL,
        2,
    ),
    "more was filled before than bid": slot_lie(
        lambda a, s: s.limit_price != a.auction.price,
        lambda _, s: {"filled_before_wh": s.quantity_wh + 1},
        Lie.FILL,
        1,
    ),
    "an expired bid is filled": slot_lie(
        lambda _, s: s.fill_wh > 0, lambda a, _: {"expiry_s": a.auction.cleared_at_s - 1}, Lie.FILL, 4
    ),
    "a deviation trades at another limit": slot_lie(
        lambda _, s: s.side == Side.BUY and s.fill_wh == s.open_wh,
        lambda a, s: {"limit_price": a.auction.price + 1},
        Lie.FILL,
        3,
        AuctionRule.SPOT_SHARED,
    ),
    "the bid is unsigned": slot_lie(
        lambda _, s: s.quantity_wh > 0, lambda _a, _s: {"signature_hash": bytes(32)}, Lie.SIGNATURE, 1
    ),
    "the bid was altered after it was signed": slot_lie(
        lambda _, s: s.quantity_wh > 0, lambda _, s: {"expiry_s": s.expiry_s + 1}, Lie.SIGNATURE, 2
    ),
    "a forced bid that nobody placed": slot_lie(
        lambda _, s: s.quantity_wh > 0, lambda _a, _s: {"version": FORCED_VERSION | 7}, Lie.SIGNATURE, 3
    ),
    "the malleable twin of a signature": forged_signature(malleable_twin),
    "the signature of another home": forged_signature(by_another_home),
    "a truncated signature": forged_signature(lambda g, _s, _d: g[:64]),
    "a signature off the curve": forged_signature(lambda g, _s, _d: bytes(32) + g[32:]),
    "an unknown recovery value": forged_signature(lambda g, _s, _d: g[:64] + b"\x01"),
    "the price is not the middle": auction_lie(
        is_forward, lambda a: {"price": a.auction.price + 1}, lambda e, p, _: e.totals(Tree.SLOTS, p), Lie.TOTALS, 1
    ),
    "the bounds cross": auction_lie(
        is_forward,
        lambda a: {"lo": a.auction.price + 7, "hi": a.auction.price - 7},
        lambda e, p, _: e.totals(Tree.SLOTS, p),
        Lie.TOTALS,
        2,
    ),
    "a bound is not named": auction_lie(
        lambda a: is_forward(a) and a.auction.hi - a.auction.lo > 0,
        lambda _: {"lo_account": NO_ACCOUNT},
        lambda e, p, _: e.totals(Tree.SLOTS, p),
        Lie.TOTALS,
        3,
    ),
    "more is rationed than stands at the margin": auction_lie(
        is_forward,
        lambda a: {"rationed_wh": a.auction.marginal_wh + 1},
        lambda e, p, _: e.totals(Tree.SLOTS, p),
        Lie.TOTALS,
        4,
    ),
    "a margin without a long side": auction_lie(
        lambda a: a.auction.marginal_wh > 0,
        lambda _: {"long_side": 0},
        lambda e, p, _: e.totals(Tree.SLOTS, p),
        Lie.TOTALS,
        5,
    ),
    "the volume is not what was bought": auction_lie(
        is_forward,
        lambda a: {"volume_wh": a.auction.volume_wh + 1},
        lambda e, p, _: e.totals(Tree.SLOTS, p),
        Lie.TOTALS,
        6,
    ),
    "lo is below what a filled seller asks": auction_lie(
        lambda a: is_forward(a) and any(s.side == Side.SELL and s.fill_wh for s in a.slots),
        lambda a: {"lo": a.auction.lo - 10**6, "hi": a.auction.hi + 10**6},
        first_slot,
        Lie.FILL,
        5,
    ),
    "an absent slot is named for a bound": auction_lie(
        is_forward, lambda _: {"lo_account": 777}, absent_bound, Lie.FILL, 7
    ),
    "a bound is named after an impossible account": auction_lie(
        is_forward, lambda _: {"hi_account": 1 << 20}, lambda e, p, _: e.fill(p, 1 << 20), Lie.FILL, 8
    ),
    "an auction of another interval": auction_lie(
        is_forward,
        lambda a: {"cleared_at_s": a.auction.cleared_at_s + 900},
        lambda e, p, _: e.placement(p),
        Lie.AUCTION,
        3,
    ),
    "a spot round of another interval": auction_lie(
        is_spot, lambda a: {"product": a.auction.product + 1024}, lambda e, p, _: e.placement(p), Lie.AUCTION, 1
    ),
    "a forward auction dressed as spot": auction_lie(
        is_forward, lambda _: {"rule": 2}, lambda e, p, _: e.placement(p), Lie.AUCTION, 1
    ),
    "a spot price that is not the header's": auction_lie(
        is_spot, lambda a: {"price": a.auction.price + 1}, lambda e, p, _: e.placement(p), Lie.AUCTION, 2
    ),
    "the auction's leaf sums another volume": auction_leaf_sums,
    "the header's volume is not the auctions'": header_lie(Tree.AUCTIONS, 2, volume_wh=1),
    "the balances do not sum to zero": unbalanced,
    "a balance moved by a gift": balance_lie(generous_balance, 2),
    "a balance vanished": balance_lie(hidden_balance, 2),
    "a deviation is not traded": balance_lie(untraded_deviation, 1),
    "a spot slot without a meter": balance_lie(slot_without_meter, 1),
    "deviations without a spot round": balance_lie(without_spot_round, 1),
    "a slot claims other sums": account_tree_lie(
        Tree.SLOTS, 5, lambda c, n, _: (Slot.unpack(c).account, c, replace(n, c=n.c + 1))
    ),
    "a meter leaf claims other sums": account_tree_lie(
        Tree.METERS, 5, lambda c, n, _: (int.from_bytes(c[:4], "big"), c, replace(n, a=n.a + 1))
    ),
    "a balance leaf claims other sums": account_tree_lie(
        Tree.BALANCES, 5, lambda c, n, _: (int.from_bytes(c[:4], "big"), c, replace(n, b=n.b + 1))
    ),
    "a balance leaf stands at another account": account_tree_lie(Tree.BALANCES, 3, lambda c, n, _: (500_000, c, n)),
    "a slot stands at another account": account_tree_lie(Tree.SLOTS, 3, lambda c, n, _: (2**20 - 1, c, n)),
    "a slot of another product": slot_lie(lambda _, s: True, lambda _, s: {"product": s.product + 1024}, Lie.LEAF, 4),
    "a leaf of no legal length": account_tree_lie(
        Tree.METERS, 2, lambda c, n, _: (5, c + b"!", leaf_node(c + b"!", n.a, n.b, n.c))
    ),
    "a leaf at an inner height": leaf_at_inner_height,
    "a parent where a leaf belongs": parent_at_leaf,
    "a node of the balances sums wrongly": node_lie(Tree.BALANCES, 4, 2, lambda n: replace(n, a=n.a + 10**9)),
    "the root of the meters sums wrongly": node_lie(Tree.METERS, 4, DEPTH, lambda n: replace(n, b=n.b + 1)),
    "a node of the slots sums wrongly": node_lie(Tree.SLOTS, 4, 7, lambda n: replace(n, c=n.c + 1)),
    "a node of the auctions sums wrongly": node_lie(Tree.AUCTIONS, 4, 5, lambda n: replace(n, a=n.a + 1)),
    "nothing carries sums": node_lie(Tree.BALANCES, 1, 4, lambda n: Node(bytes(32), 10**9, 10**9, 0), 4_321),
    "a hash stands over nothing": node_lie(
        Tree.METERS, 3, 1, lambda n: Node(keccak(b"\x01" + EMPTY.pack() * 2), 0, 0, 0), 4_321
    ),
}
