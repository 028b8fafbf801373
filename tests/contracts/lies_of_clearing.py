"""Lies in how auctions clear, where they stand, and whose bids take part."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from contracts.batch import AuctionRecord
from contracts.codes import AuctionRule, LongSide, Side
from contracts.eip712 import digest, keccak
from contracts.evidence import Lie
from contracts.interval import Product
from contracts.leaves import Slot, reading_commitment
from contracts.messages import FORCED_VERSION, NO_ACCOUNT, StandingOrder
from contracts.signature import CURVE_ORDER
from tests.contracts.local_chain import home_signer
from tests.contracts.retelling import (
    Scene,
    Told,
    resealed,
    retold,
    with_auction,
    with_balance,
    with_slot,
)

Maker = Callable[[Scene], Iterator[Told]]
FORWARD, SHARED, STANDING = AuctionRule.FORWARD, AuctionRule.SPOT_SHARED, AuctionRule.SPOT_AUCTION
LONG = {Side.BUY: LongSide.BUY, Side.SELL: LongSide.SELL}


def slot_lie(
    wanted: Callable[[AuctionRecord, Slot], Any],
    changes: Callable[[AuctionRecord, Slot], dict[str, Any]],
    reason: Lie,
    fault: int,
    rules: tuple[AuctionRule, ...] = (FORWARD,),
) -> Maker:
    """A lie told in one slot, in every slot where it can be told."""

    def tell(scene: Scene) -> Iterator[Told]:
        for place, auction in enumerate(scene.record.auctions):
            for slot in auction.slots if auction.auction.rule in rules else ():
                if wanted(auction, slot):
                    lying = replace(slot, **changes(auction, slot))
                    yield Told(retold(scene, with_slot(scene.record, place, lying)), reason, fault)

    return tell


def auction_lie(
    wanted: Callable[[AuctionRecord], Any],
    changes: Callable[[AuctionRecord], dict[str, Any]],
    reason: Lie,
    fault: int,
) -> Maker:
    """A lie told in the auction itself, in every auction where it can be told."""

    def tell(scene: Scene) -> Iterator[Told]:
        for place, auction in enumerate(scene.record.auctions):
            if wanted(auction):
                told = resealed(replace(auction, auction=replace(auction.auction, **changes(auction))))
                posting = retold(scene, with_auction(scene.record, place, told))
                yield Told(posting, reason, fault)

    return tell


def is_forward(auction: AuctionRecord) -> bool:
    return auction.auction.rule == FORWARD


def is_cleared(auction: AuctionRecord) -> bool:
    """By a rule that has bounds."""
    return auction.auction.rule != SHARED


def presses(auction: AuctionRecord, side: Side, filled: bool) -> bool:
    """Whether a slot of that side is filled whole, or could be filled and is not at all: it presses one bound only."""
    at_s = auction.auction.cleared_at_s
    offers = [(s.fill_wh, s.offered_wh(at_s)) for s in auction.slots if s.side == side]
    return any(offered > 0 and fill == (offered if filled else 0) for fill, offered in offers)


def forged(make: Callable[[Scene, bytes, Slot], bytes]) -> Maker:
    """A slot whose signature is not its account's."""

    def tell(scene: Scene) -> Iterator[Told]:
        for place, auction in enumerate(scene.record.auctions[1:], start=1):
            for slot, signature in zip(auction.slots, auction.signatures, strict=True):
                if signature:
                    lie = make(scene, signature, slot)
                    record = with_slot(scene.record, place, replace(slot, signature_hash=keccak(lie)), lie)
                    yield Told(retold(scene, record), Lie.SIGNATURE, 2)

    return tell


def malleable_twin(_scene: Scene, signature: bytes, _slot: Slot) -> bytes:
    s = CURVE_ORDER - int.from_bytes(signature[32:64], "big")
    return signature[:32] + s.to_bytes(32, "big") + bytes([55 - signature[64]])


def by_another_home(scene: Scene, _signature: bytes, slot: Slot) -> bytes:
    return home_signer(slot.account + 1)(digest(slot.bid, scene.history.market.domain))


def standing_lie(make: Callable[[Scene, Slot, StandingOrder], tuple[StandingOrder, int, int]], fault: int) -> Maker:
    """A spot slot over another standing order, signed by whom ``make`` says, at the limit that it says."""

    def tell(scene: Scene) -> Iterator[Told]:
        auction = scene.record.auctions[0]
        for slot in auction.slots if auction.auction.rule == STANDING else ():
            start_s = scene.settled * 900
            honest = StandingOrder(slot.account, 99, slot.limit_price, slot.limit_price, start_s, 0)
            order, limit, signer = make(scene, slot, honest)
            signature = scene.sign(signer, order)
            committed = reading_commitment(order.struct_hash(), signature)
            lying = replace(slot, version=99, limit_price=limit, signature_hash=committed)
            posting = retold(scene, with_slot(scene.record, 0, lying, order.pack() + signature))
            yield Told(posting, Lie.STANDING, fault)

    return tell


def wrong_volume(scene: Scene) -> Iterator[Told]:
    posting = retold(scene, scene.record, volume_wh=scene.posting.header.volume_wh + 1)
    yield Told(posting, Lie.TOTALS, 2)


def unbalanced(scene: Scene) -> Iterator[Told]:
    for leaf in scene.record.balances:
        lying = replace(leaf, cumulative_nano=leaf.cumulative_nano + 1)
        yield Told(retold(scene, with_balance(scene.record, lying)), Lie.TOTALS, 1)


def named(auction: AuctionRecord, which: str, value: int) -> dict[str, int]:
    return {f"{which}_account": value}


def wider(auction: AuctionRecord) -> dict[str, int]:
    return {"lo": auction.auction.lo - 10**6, "hi": auction.auction.hi + 10**6}


def other_than(auction: AuctionRecord, named_account: int) -> int:
    """An account with a slot that is not the one named."""
    return next(s.account for s in auction.slots if s.account != named_account)


FILLS: dict[str, Maker] = {
    "a slot is filled by one Wh too much": slot_lie(
        lambda _, s: s.open_wh > 0, lambda _, s: {"fill_wh": s.fill_wh + 1}, Lie.FILL, 2, (FORWARD, SHARED, STANDING)
    ),
    "a better bid is skipped": slot_lie(
        lambda a, s: s.fill_wh and s.limit_price != a.auction.price, lambda _, s: {"fill_wh": 0}, Lie.FILL, 2
    ),
    "a rationed share is wrong": slot_lie(
        lambda a, s: a.auction.long_side != LongSide.NONE and 0 < s.fill_wh < s.open_wh,
        lambda _, s: {"fill_wh": s.fill_wh - 1},
        Lie.FILL,
        2,
        (FORWARD, SHARED, STANDING),
    ),
    "more was filled before than bid": slot_lie(
        lambda a, s: s.limit_price != a.auction.price,
        lambda _, s: {"filled_before_wh": s.quantity_wh + 1},
        Lie.FILL,
        1,
    ),
    "an expired bid is filled": slot_lie(
        lambda _, s: s.fill_wh > 0, lambda a, _: {"expiry_s": a.auction.cleared_at_s - 1}, Lie.FILL, 2
    ),
    "a bid that is valid to this second counts as expired": slot_lie(
        lambda a, s: s.fill_wh and s.expiry_s == a.auction.cleared_at_s, lambda _, s: {"fill_wh": 0}, Lie.FILL, 2
    ),
    "a deviation is left out as if it had expired": slot_lie(
        lambda _, s: s.quantity_wh > 0,
        lambda a, _: {"expiry_s": a.auction.cleared_at_s - 1, "fill_wh": 0},
        Lie.FILL,
        3,
        (SHARED, STANDING),
    ),
    "a deviation trades at another limit": slot_lie(
        lambda a, s: s.fill_wh == s.open_wh,
        lambda a, s: {"limit_price": a.auction.price + (1 if s.side == Side.BUY else -1)},
        Lie.FILL,
        4,
        (SHARED,),
    ),
    "lo is below what a filled seller asks": auction_lie(
        lambda a: is_cleared(a) and presses(a, Side.SELL, True), wider, Lie.FILL, 5
    ),
    "lo is below what an unfilled buyer pays": auction_lie(
        lambda a: is_cleared(a) and presses(a, Side.BUY, False), wider, Lie.FILL, 5
    ),
    "hi is above what a filled buyer pays": auction_lie(
        lambda a: is_cleared(a) and presses(a, Side.BUY, True), wider, Lie.FILL, 6
    ),
    "hi is above what an unfilled seller asks": auction_lie(
        lambda a: is_cleared(a) and presses(a, Side.SELL, False), wider, Lie.FILL, 6
    ),
    "an absent slot is named for lo": auction_lie(is_cleared, lambda _: {"lo_account": 777}, Lie.FILL, 7),
    "an absent slot is named for hi": auction_lie(is_cleared, lambda _: {"hi_account": 777}, Lie.FILL, 8),
    "an impossible account is named for a bound": auction_lie(
        is_cleared, lambda _: {"hi_account": 1 << 20}, Lie.FILL, 8
    ),
    "a slot is named for lo that does not attain it": auction_lie(
        lambda a: is_cleared(a) and any(s.limit_price != a.auction.lo for s in a.slots),
        lambda a: {"lo_account": next(s.account for s in a.slots if s.limit_price != a.auction.lo)},
        Lie.FILL,
        7,
    ),
    "a slot is named for hi that does not attain it": auction_lie(
        lambda a: is_cleared(a) and any(s.limit_price != a.auction.hi for s in a.slots),
        lambda a: {"hi_account": next(s.account for s in a.slots if s.limit_price != a.auction.hi)},
        Lie.FILL,
        8,
    ),
}

TOTALS: dict[str, Maker] = {
    "the price is not the middle": auction_lie(is_cleared, lambda a: {"price": a.auction.price + 1}, Lie.TOTALS, 1),
    "the bounds cross": auction_lie(
        is_cleared, lambda a: {"lo": a.auction.price + 7, "hi": a.auction.price - 7}, Lie.TOTALS, 2
    ),
    "a bound is not named": auction_lie(
        lambda a: is_cleared(a) and a.auction.hi > a.auction.lo, lambda _: {"lo_account": NO_ACCOUNT}, Lie.TOTALS, 3
    ),
    "a price without anybody is not zero": auction_lie(
        lambda a: is_cleared(a) and a.auction.lo_account == a.auction.hi_account == NO_ACCOUNT,
        lambda _: {"lo": 100, "hi": 100, "price": 100},
        Lie.TOTALS,
        3,
    ),
    "more is rationed than stands at the margin": auction_lie(
        lambda _: True, lambda a: {"rationed_wh": a.auction.marginal_wh + 1}, Lie.TOTALS, 4
    ),
    "a margin without a long side": auction_lie(
        lambda a: a.auction.marginal_wh > 0, lambda _: {"long_side": 0}, Lie.TOTALS, 5
    ),
    "the volume is not what was bought": auction_lie(
        lambda _: True, lambda a: {"volume_wh": a.auction.volume_wh + 1}, Lie.TOTALS, 6
    ),
    "the header's volume is not the auctions'": wrong_volume,
    "the balances do not sum to zero": unbalanced,
}

SIGNATURES: dict[str, Maker] = {
    "the bid is unsigned": slot_lie(
        lambda _, s: not s.is_forced, lambda _a, _s: {"signature_hash": bytes(32)}, Lie.SIGNATURE, 1
    ),
    "the bid was altered after it was signed": slot_lie(
        lambda _, s: not s.is_forced, lambda _, s: {"expiry_s": s.expiry_s + 1}, Lie.SIGNATURE, 2
    ),
    "a cancel that nobody signed": slot_lie(
        lambda _, s: not s.is_forced and s.quantity_wh,
        lambda _, s: {"version": s.version + 1, "quantity_wh": 0, "filled_before_wh": 0, "fill_wh": 0},
        Lie.SIGNATURE,
        2,
    ),
    "a forced bid that nobody placed": slot_lie(
        lambda _, s: s.quantity_wh > 0, lambda _a, _s: {"version": FORCED_VERSION | 999_999}, Lie.SIGNATURE, 3
    ),
    "an order placed on chain was altered": slot_lie(
        lambda _, s: s.is_forced and s.quantity_wh, lambda _, s: {"limit_price": s.limit_price + 100}, Lie.SIGNATURE, 3
    ),
    "the malleable twin of a signature": forged(malleable_twin),
    "the signature of another home": forged(by_another_home),
    "a truncated signature": forged(lambda _, g, _s: g[:64]),
    "a signature off the curve": forged(lambda _, g, _s: bytes(32) + g[32:]),
    "an unknown recovery value": forged(lambda _, g, _s: g[:64] + b"\x01"),
    "a home without a standing order stands off the tariff": slot_lie(
        lambda _, s: s.version == 0, lambda _, s: {"limit_price": s.limit_price - 100}, Lie.STANDING, 1, (STANDING,)
    ),
    "a version without a standing order": slot_lie(
        lambda _, s: s.version == 0, lambda _, s: {"version": 3}, Lie.STANDING, 1, (STANDING,)
    ),
    "the limit is not the standing order's": standing_lie(lambda _, s, o: (o, s.limit_price + 100, s.account), 2),
    "the standing order is another home's": standing_lie(
        lambda _, s, o: (replace(o, account=s.account + 1), s.limit_price, s.account + 1), 2
    ),
    "the standing order is not yet valid": standing_lie(
        lambda _, s, o: (replace(o, valid_from_s=o.valid_from_s + 1), s.limit_price, s.account), 3
    ),
    "the standing order had run out": standing_lie(
        lambda _, s, o: (replace(o, valid_until_s=o.valid_from_s, valid_from_s=0), s.limit_price, s.account), 3
    ),
    "the standing order is not signed by its home": standing_lie(lambda _, s, o: (o, s.limit_price, s.account + 1), 4),
}

PLACES: dict[str, Maker] = {
    "an auction of another interval": auction_lie(
        lambda _: True, lambda a: {"cleared_at_s": a.auction.cleared_at_s + 900}, Lie.AUCTION, 3
    ),
    "a spot round of another interval": auction_lie(
        lambda a: not is_forward(a), lambda a: {"product": a.auction.product + 1024}, Lie.AUCTION, 1
    ),
    "a spot round by the other rule": auction_lie(
        lambda a: not is_forward(a), lambda a: {"rule": 3 - a.auction.rule}, Lie.AUCTION, 1
    ),
    "a spot round after another": auction_lie(
        lambda a: not is_forward(a), lambda _: {"previous": b"\x01" * 32}, Lie.AUCTION, 1
    ),
    "a forward auction dressed as spot": auction_lie(is_forward, lambda _: {"rule": 2}, Lie.AUCTION, 1),
    "a forward auction with the round of a spot": auction_lie(is_forward, lambda _: {"round": 0xFFFF}, Lie.AUCTION, 1),
    "a round of a product whose gate has closed": auction_lie(
        is_forward,
        lambda a: {"product": Product(a.auction.cleared_at_s // 900, 1).number},
        Lie.ROUND,
        3,
    ),
    "a round of an hour that begins between hours": auction_lie(
        is_forward, lambda a: {"product": (a.auction.cleared_at_s // 3_600 * 4 + 9) * 1_024 + 4}, Lie.ROUND, 4
    ),
    "a round of what no product is": auction_lie(
        is_forward, lambda a: {"product": a.auction.product + 1}, Lie.ROUND, 4
    ),
}


CLEARING_LIES: dict[str, Maker] = FILLS | TOTALS | SIGNATURES | PLACES
