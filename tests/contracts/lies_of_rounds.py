"""Lies in how rounds follow each other: order, chain, carried slots, receipts, orders on chain, closing rounds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from contracts import challenges
from contracts.batch import AuctionRecord
from contracts.codes import AuctionRule
from contracts.eip712 import keccak
from contracts.evidence import Lie, PlacedAuction, Tree
from contracts.interval import Product
from contracts.leaves import Slot
from contracts.merkle import AUCTIONS_DEPTH, MerkleSumTree
from contracts.messages import FORCED_VERSION, Receipt
from contracts.posting import Posting
from contracts.round_rules import closing_interval
from tests.contracts.retelling import Scene, Told, nodes_of, retold, with_auction, with_slot, without_slot

Maker = Callable[[Scene], Iterator[Told]]


def forward_slots(scene: Scene) -> Iterator[tuple[int, Slot, Slot | None]]:
    """Every forward slot with its place and the slot before it."""
    for place, record in enumerate(scene.record.auctions[1:], start=1):
        before = scene.history.round_before(record.auction)
        held = before[0].slots(before[1]) if before else {}
        for slot in record.slots:
            yield place, slot, held.get(slot.account)


def carry_lie(
    wanted: Callable[[Scene, Slot, Slot | None], Any],
    changes: Callable[[Slot, Slot | None], dict[str, Any]],
    fault: int,
    is_signed: bool = False,
) -> Maker:
    """A slot that does not follow from the one before; ``is_signed``: its home has signed the other bid, too."""

    def tell(scene: Scene) -> Iterator[Told]:
        for place, slot, before in forward_slots(scene):
            if not wanted(scene, slot, before):
                continue
            lying, signature = replace(slot, **changes(slot, before)), None
            if is_signed:
                signature = scene.sign(slot.account, lying.bid)
                lying = replace(lying, signature_hash=keccak(signature))
            yield Told(retold(scene, with_slot(scene.record, place, lying, signature)), Lie.CARRY, fault)

    return tell


def dropped(scene: Scene) -> Iterator[Told]:
    for place, slot, before in forward_slots(scene):
        if before is not None:
            yield Told(retold(scene, without_slot(scene.record, place, slot.account)), Lie.CARRY, 1)


RETIRED = {"side": 0, "quantity_wh": 0, "limit_price": 0, "expiry_s": 0, "filled_before_wh": 0, "fill_wh": 0}


def stands(scene: Scene, slot: Slot) -> bool:
    """Whether a slot holds an order that stands on chain."""
    order = scene.history.rules.forced.get((slot.account, slot.version))
    return order is not None and order.closed_at_s == 0 and not slot.is_retired


def same_bid(_scene: Scene, slot: Slot, before: Slot | None) -> bool:
    return before is not None and before.version == slot.version and not slot.is_retired


def kept(slot: Slot, before: Slot | None) -> dict[str, Any]:
    """Position after no fill."""
    held = (before.position_wh, before.position_cost_nano) if before else (0, 0)
    return {"position_wh": held[0], "position_cost_nano": held[1]}


def gap(scene: Scene) -> Iterator[Told]:
    """An empty leaf before every auction in turn."""
    nodes = nodes_of(scene.posting, Tree.AUCTIONS)
    for hole, record in enumerate(scene.record.auctions):
        shifted = {place + (place >= hole): node for place, node in nodes.items()}
        tree = MerkleSumTree(shifted, AUCTIONS_DEPTH)
        posting = retold(scene, scene.record, {(Tree.AUCTIONS, 0): tree})
        pair = PlacedAuction(None, hole, tree.path(hole)), PlacedAuction(record.auction, hole + 1, tree.path(hole + 1))
        yield Told(posting, Lie.ORDER, 1, challenges.challenge_order(posting.posted, *pair), silent=True)


def swapped(scene: Scene) -> Iterator[Told]:
    auctions = list(scene.record.auctions)
    for place in range(1, len(auctions) - 1):
        told = [*auctions[:place], auctions[place + 1], auctions[place], *auctions[place + 2 :]]
        yield Told(retold(scene, replace(scene.record, auctions=tuple(told))), Lie.ORDER, 2)


def twice(lie: Lie, fault: int) -> Maker:
    """An auction stands at two leaves."""

    def tell(scene: Scene) -> Iterator[Told]:
        auctions = scene.record.auctions
        for place in range(1, len(auctions)):
            told = (*auctions[: place + 1], *auctions[place:])
            yield Told(retold(scene, replace(scene.record, auctions=told)), lie, fault)

    return tell


def round_lie(
    wanted: Callable[[Scene, AuctionRecord, tuple[Posting, int] | None], Any],
    changes: Callable[[Scene, AuctionRecord, tuple[Posting, int] | None], dict[str, Any]],
    reason: Lie,
    fault: int,
) -> Maker:
    """An auction that stands wrongly in its product's chain of rounds."""

    def tell(scene: Scene) -> Iterator[Told]:
        for place, record in enumerate(scene.record.auctions[1:], start=1):
            before = scene.history.round_before(record.auction)
            if wanted(scene, record, before):
                told = replace(record, auction=replace(record.auction, **changes(scene, record, before)))
                yield Told(retold(scene, with_auction(scene.record, place, told)), reason, fault)

    return tell


def auction_at(place: tuple[Posting, int] | None) -> Any:
    assert place is not None
    return place[0].record.auctions[place[1]].auction


def is_elsewhere(scene: Scene, before: tuple[Posting, int] | None) -> bool:
    """Whether the round before stands in an earlier header."""
    return before is not None and before[0].index < scene.at


def after_another_product(scene: Scene) -> Iterator[Told]:
    """An auction names one of another product, or a spot round, as the round before."""
    for place, record in enumerate(scene.record.auctions[1:], start=1):
        for other in scene.record.auctions:
            if other.auction.product != record.auction.product or other.auction.rule != AuctionRule.FORWARD:
                told = replace(record, auction=replace(record.auction, previous=other.auction.struct_hash()))
                posting = retold(scene, with_auction(scene.record, place, told))
                shown = posting.auction(place), other.auction
                refutation = challenges.challenge_round(posting.posted, *shown)
                yield Told(posting, Lie.ROUND, 1, refutation, silent=True)


def promised_slots(scene: Scene) -> Iterator[tuple[int, Slot, Receipt]]:
    """Every receipt that binds a slot of this header's auctions, with that slot."""
    for receipt in scene.history.market.receipts:
        for place, record in enumerate(scene.record.auctions[1:], start=1):
            auction = record.auction
            due = auction.round >= receipt.round and auction.cleared_at_s >= receipt.clears_at_s
            if auction.product == receipt.product and due:
                yield place, scene.posting.slots(place)[receipt.account], receipt


def broken(scene: Scene, posting: Posting, place: int, receipt: Receipt, fault: int) -> Told:
    signature = scene.history.operator_signature(receipt)
    shown = posting.auction(place), posting.slot(place, receipt.account), receipt, signature
    return Told(posting, Lie.RECEIPT, fault, challenges.challenge_receipt(posting.posted, *shown), silent=True)


def promise_missing(scene: Scene) -> Iterator[Told]:
    for place, slot, receipt in promised_slots(scene):
        posting = retold(scene, without_slot(scene.record, place, slot.account))
        yield broken(scene, posting, place, receipt, 1)


def promise_stale(scene: Scene) -> Iterator[Told]:
    """The bid before still stands, as its home has signed it: also where the home has cancelled since."""
    for place, slot, receipt in promised_slots(scene):
        before = scene.history.round_before(scene.record.auctions[place].auction)
        old = before[0].slots(before[1]).get(slot.account) if before else None
        if old is not None and old.version < receipt.version:
            assert before is not None
            signature = before[0].signatures(before[1])[slot.account]
            filled = min(old.filled_before_wh + old.fill_wh, old.quantity_wh)
            lying = replace(old, filled_before_wh=filled, fill_wh=0)
            posting = retold(scene, with_slot(scene.record, place, lying, signature))
            yield broken(scene, posting, place, receipt, 2)


def promise_altered(scene: Scene) -> Iterator[Told]:
    for place, slot, receipt in promised_slots(scene):
        if slot.version == receipt.version:
            other = replace(slot, expiry_s=slot.expiry_s + 7)
            signature = scene.sign(slot.account, other.bid)
            lying = replace(other, signature_hash=keccak(signature))
            posting = retold(scene, with_slot(scene.record, place, lying, signature))
            yield broken(scene, posting, place, receipt, 3)


def standing_promise_broken(scene: Scene) -> Iterator[Told]:
    """A spot slot at the tariff, or at an older order, though the operator has taken a newer one."""
    if scene.record.auctions[0].auction.rule != AuctionRule.SPOT_AUCTION:
        return
    header, at_s = scene.posting.header, scene.record.auctions[0].auction.cleared_at_s
    for receipt in scene.history.market.receipts:
        slot = scene.posting.slots(0).get(receipt.account)
        if receipt.product or slot is None or slot.version != receipt.version or receipt.clears_at_s > at_s:
            continue
        tariff = header.tariff_import if slot.side == 0 else header.tariff_export
        lying = replace(slot, version=0, limit_price=tariff, signature_hash=bytes(32))
        posting = retold(scene, with_slot(scene.record, 0, lying, b""))
        signature, order = scene.history.operator_signature(receipt), scene.history.standing_of(receipt)
        shown = posting.auction(0), posting.slot(0, slot.account), receipt, signature, order
        call = challenges.challenge_standing_receipt(posting.posted, *shown)
        yield Told(posting, Lie.RECEIPT, 2, call, silent=True)


def closing_here(scene: Scene, number: int) -> bool:
    leads = scene.history.rules.terms.gate_leads
    return closing_interval(Product.from_number(number), leads) == scene.interval


def without_product(scene: Scene, number: int) -> Posting:
    kept_rounds = tuple(r for r in scene.record.auctions if r.auction.product != number or r.auction.rule)
    return retold(scene, replace(scene.record, auctions=kept_rounds))


def products_closing(scene: Scene) -> list[int]:
    numbers = {r.auction.product for r in scene.record.auctions[1:]}
    return sorted(n for n in numbers if closing_here(scene, n))


def standing_orders(scene: Scene) -> Iterator[tuple[int, int, int]]:
    """(account, version, place of the closing round) of orders that stand when their gate closes here."""
    for (account, version), order in scene.history.rules.forced.items():
        place, found = scene.posting.last_place(order.bid.product)
        slot = scene.posting.slots(place).get(account) if found else None
        if found and closing_here(scene, order.bid.product) and order.closed_at_s == 0 and slot is not None:
            yield account, version, place


def forced_without_round(scene: Scene) -> Iterator[Told]:
    for number in sorted({scene.record.auctions[place].auction.product for *_, place in standing_orders(scene)}):
        yield Told(without_product(scene, number), Lie.FORCED, 1)


def forced_dropped(scene: Scene) -> Iterator[Told]:
    for account, _, place in standing_orders(scene):
        yield Told(retold(scene, without_slot(scene.record, place, account)), Lie.FORCED, 2)


def forced_outranked(scene: Scene) -> Iterator[Told]:
    """A signed bid stands where the order belongs."""
    for account, _, place in standing_orders(scene):
        slot = scene.posting.slots(place)[account]
        lying = replace(slot, version=7)
        signature = scene.sign(account, lying.bid)
        lying = replace(lying, signature_hash=keccak(signature))
        yield Told(retold(scene, with_slot(scene.record, place, lying, signature)), Lie.FORCED, 2)


def withdrawn_used(scene: Scene) -> Iterator[Told]:
    rules = scene.history.rules
    for place, slot, _ in forward_slots(scene):
        order = rules.forced.get((slot.account, slot.version))
        at_s = scene.record.auctions[place].auction.cleared_at_s
        if order and order.closed_at_s and at_s >= order.closed_at_s + rules.inclusion_delay_s:
            bid = order.bid
            terms = {"side": bid.side, "quantity_wh": bid.quantity_wh, "limit_price": bid.limit_price}
            lying = replace(slot, **terms, expiry_s=bid.expiry_s, filled_before_wh=0, fill_wh=bid.quantity_wh)
            yield Told(retold(scene, with_slot(scene.record, place, lying)), Lie.FORCED, 3)


def retired_under_another(scene: Scene) -> Iterator[Told]:
    """A home's bid is shut out by an order that it had placed, and cancelled, for another product."""
    for place, slot, before in forward_slots(scene):
        auction = scene.record.auctions[place].auction
        for (account, version), order in scene.history.rules.forced.items():
            closed = 0 < order.closed_at_s <= auction.cleared_at_s
            if account == slot.account and closed and order.bid.product != auction.product and version > slot.version:
                lying = replace(slot, version=version, **RETIRED, **kept(slot, before), signature_hash=bytes(32))
                yield Told(retold(scene, with_slot(scene.record, place, lying, b"")), Lie.FORCED, 4)


def closing_missing(scene: Scene) -> Iterator[Told]:
    for number in products_closing(scene):
        held = scene.state().rounds.get(number)
        if held is not None and any(s.position_wh for s in held[0].record.auctions[held[1]].slots):
            yield Told(without_product(scene, number), Lie.CLOSING, 1)


CARRIES: dict[str, Maker] = {
    "a slot is dropped": dropped,
    "a position is too large": carry_lie(lambda _c, _s, _b: True, lambda s, _: {"position_wh": s.position_wh + 1}, 2),
    "a position costs more than the fill": carry_lie(
        lambda _c, _s, _b: True, lambda s, _: {"position_cost_nano": s.position_cost_nano + 1}, 2
    ),
    "a version goes back": carry_lie(
        lambda _c, s, b: b and b.version > 1 and not b.is_forced,
        lambda s, b: {"version": b.version - 1 if b else 0},
        3,
        is_signed=True,
    ),
    "an order on chain gives way to a signed bid": carry_lie(
        lambda _c, s, b: b and b.is_forced and s.quantity_wh, lambda s, _: {"version": 9}, 3, is_signed=True
    ),
    "a slot without a version": carry_lie(lambda _c, s, b: b is None, lambda _s, _: {"version": 0}, 3),
    "an order that stands on chain is retired": carry_lie(
        lambda c, s, b: b is not None and stands(c, s), lambda s, b: {**RETIRED, **kept(s, b)}, 4
    ),
    "a slot is retired that was never placed on chain": carry_lie(
        lambda _c, s, b: not s.is_forced,
        lambda s, b: {"version": FORCED_VERSION | 999_999, **RETIRED, **kept(s, b), "signature_hash": bytes(32)},
        4,
    ),
    "another bid under the same version": carry_lie(
        lambda c, s, b: same_bid(c, s, b) and not s.is_forced,
        lambda s, _: {"limit_price": s.limit_price + 100},
        5,
        is_signed=True,
    ),
    "another signature under the same version": carry_lie(
        same_bid, lambda s, _: {"signature_hash": keccak(s.signature_hash)}, 5
    ),
    "what was filled before is forgotten": carry_lie(
        lambda c, s, b: same_bid(c, s, b) and s.filled_before_wh, lambda _s, _: {"filled_before_wh": 0}, 6
    ),
    "a new version begins as if partly filled": carry_lie(
        lambda _c, s, b: s.quantity_wh and (b is None or b.version < s.version),
        lambda s, _: {"filled_before_wh": 1},
        6,
    ),
}

CHAINS: dict[str, Maker] = {
    "an empty leaf before an auction": gap,
    "two auctions in the wrong order": swapped,
    "an auction stands twice": twice(Lie.ORDER, 2),
    "an auction stands twice and forks": twice(Lie.FORK, 1),
    "the round before is of another product": after_another_product,
    "a round has the number of the one before": round_lie(
        lambda c, _r, b: is_elsewhere(c, b), lambda _c, _r, b: {"round": auction_at(b).round}, Lie.ROUND, 2
    ),
    "a round clears with the one before": round_lie(
        lambda c, _r, b: b and not is_elsewhere(c, b),
        lambda _c, _r, b: {"cleared_at_s": auction_at(b).cleared_at_s},
        Lie.ROUND,
        2,
    ),
    "a round leaves out the one before": round_lie(
        lambda _c, _r, b: b, lambda _c, _r, b: {"previous": auction_at(b).previous}, Lie.FORK, 1
    ),
    "a product begins again": round_lie(lambda _c, _r, b: b, lambda _c, _r, _b: {"previous": bytes(32)}, Lie.FORK, 1),
    "no closing round of positions": closing_missing,
}

PROMISES: dict[str, Maker] = {
    "a receipted bid is missing": promise_missing,
    "a receipted bid is outdated or its cancel ignored": promise_stale,
    "a receipted bid is altered": promise_altered,
    "a receipted standing order is ignored": standing_promise_broken,
    "no round for an order on chain": forced_without_round,
    "an order on chain is left out": forced_dropped,
    "a signed bid instead of an order on chain": forced_outranked,
    "an order is filled long after its cancellation": withdrawn_used,
    "a bid is shut out by another product's order": retired_under_another,
}

ROUND_LIES: dict[str, Maker] = CARRIES | CHAINS | PROMISES
