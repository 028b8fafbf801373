"""How Cy, the dishonest operator, lies: makers of the lies that ``lies.py`` lists.

A lie takes an honest batch and returns what is posted instead, with the call that refutes it; or None where this
batch has nothing to lie about in that way (no partial fill, no second auction, …).
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace

from contracts.batch import AuctionRecord, BatchRecord
from contracts.eip712 import Domain, digest, keccak
from contracts.evidence import Call, Lie, Tree
from contracts.header_rules import auction_node
from contracts.leaves import Slot
from contracts.merkle import AUCTIONS_DEPTH, DEPTH, EMPTY, MerkleSumTree, Node, leaf_node, parent
from contracts.messages import AuctionRule, Side
from contracts.signature import CURVE_ORDER
from tests.contracts.honest_batch import Batch, Evidence, LyingTree, header_of
from tests.contracts.local_chain import home_signer


@dataclass(frozen=True)
class Told:
    """What is posted, the call that refutes it, and what the contract must say about it."""

    batch: Batch
    refutation: Callable[[Evidence], Call]
    reason: Lie
    fault: int


def posted_instead(
    batch: Batch,
    domain: Domain,
    record: BatchRecord | None = None,
    trees: dict[tuple[Tree, int], MerkleSumTree] | None = None,
    **changes: int,
) -> Batch:
    """The batch with another record, with lying trees in place of honest ones, or with changed header fields."""
    record = record or batch.record
    trees = trees or {}
    for (tree, place), lying in trees.items():
        if tree == Tree.SLOTS:
            auction = replace(record.auctions[place].auction, slots_root=lying.commitment)
            record = with_auction(record, place, replace(record.auctions[place], auction=auction))
    header = header_of(record, batch.previous, domain, batch.header.spot_price)
    roots = {Tree.AUCTIONS: "auctions_root", Tree.METERS: "meters_root", Tree.BALANCES: "balances_root"}
    told = {roots[tree]: lying.commitment for (tree, _), lying in trees.items() if tree != Tree.SLOTS}
    return Batch(record, replace(header, **told, **changes), batch.previous, trees)


def with_auction(record: BatchRecord, place: int, auction: AuctionRecord) -> BatchRecord:
    return replace(record, auctions=(*record.auctions[:place], auction, *record.auctions[place + 1 :]))


def resealed(auction: AuctionRecord) -> AuctionRecord:
    """With the root of its own slots, so that only the rule is broken and not the tree."""
    return replace(auction, auction=replace(auction.auction, slots_root=auction.tree().commitment))


def with_slot(auction: AuctionRecord, account: int, **changes: int | bytes) -> AuctionRecord:
    slots = tuple(replace(s, **changes) if s.account == account else s for s in auction.slots)
    return resealed(replace(auction, slots=slots))


def some_slot(
    batch: Batch, wanted: Callable[[AuctionRecord, Slot], bool], rule: AuctionRule = AuctionRule.FORWARD
) -> tuple[int, Slot] | None:
    for place, auction in enumerate(batch.record.auctions):
        if auction.auction.rule == rule:
            for slot in auction.slots:
                if wanted(auction, slot):
                    return place, slot
    return None


def slot_lie(
    wanted: Callable[[AuctionRecord, Slot], bool],
    changes: Callable[[AuctionRecord, Slot], dict[str, int | bytes]],
    reason: Lie,
    fault: int,
    rule: AuctionRule = AuctionRule.FORWARD,
) -> Callable[[Batch, Domain], Told | None]:
    """A lie told in one slot, refuted by that slot."""

    def tell(batch: Batch, domain: Domain) -> Told | None:
        found = some_slot(batch, wanted, rule)
        if found is None:
            return None
        place, slot = found
        auction = batch.record.auctions[place]
        record = with_auction(batch.record, place, with_slot(auction, slot.account, **changes(auction, slot)))

        def refute(evidence: Evidence) -> Call:
            if reason == Lie.LEAF:
                lying = replace(slot, **changes(auction, slot))
                return evidence.leaf(Tree.SLOTS, slot.account, lying.pack(), place)
            one = evidence.fill if reason == Lie.FILL else evidence.signature
            return one(place, slot.account)

        return Told(posted_instead(batch, domain, record), refute, reason, fault)

    return tell


def auction_lie(
    wanted: Callable[[AuctionRecord], bool],
    changes: Callable[[AuctionRecord], dict[str, int]],
    refute: Callable[[Evidence, int, AuctionRecord], Call],
    reason: Lie,
    fault: int,
) -> Callable[[Batch, Domain], Told | None]:
    """A lie told in the auction itself."""

    def tell(batch: Batch, domain: Domain) -> Told | None:
        for place, auction in enumerate(batch.record.auctions):
            if wanted(auction):
                changed = resealed(replace(auction, auction=replace(auction.auction, **changes(auction))))
                told = posted_instead(batch, domain, with_auction(batch.record, place, changed))
                return Told(told, lambda evidence, p=place, a=auction: refute(evidence, p, a), reason, fault)  # type: ignore[misc]
        return None

    return tell


def forged_signature(make: Callable[[bytes, Slot, Domain], bytes]) -> Callable[[Batch, Domain], Told | None]:
    """A slot whose signature is not its account's."""

    def tell(batch: Batch, domain: Domain) -> Told | None:
        found = some_slot(batch, lambda _, s: s.quantity_wh > 0)
        if found is None:
            return None
        place, slot = found
        auction = batch.record.auctions[place]
        honest = next(g for s, g in zip(auction.slots, auction.signatures, strict=True) if s == slot)
        forged = make(honest, slot, domain)
        record = with_auction(batch.record, place, with_slot(auction, slot.account, signature_hash=keccak(forged)))
        told = posted_instead(batch, domain, record)
        return Told(told, lambda e: e.signature(place, slot.account, forged), Lie.SIGNATURE, 2)

    return tell


def malleable_twin(signature: bytes, _slot: Slot, _domain: Domain) -> bytes:
    s = CURVE_ORDER - int.from_bytes(signature[32:64], "big")
    return signature[:32] + s.to_bytes(32, "big") + bytes([55 - signature[64]])


def by_another_home(_signature: bytes, slot: Slot, domain: Domain) -> bytes:
    return home_signer(slot.account + 1)(digest(slot.bid, domain))


def account_tree_lie(
    tree: Tree, fault: int, content: Callable[[bytes, Node, Batch], tuple[int, bytes, Node]]
) -> Callable[[Batch, Domain], Told | None]:
    """One leaf of a tree replaced by (index, bytes, node) that contradict each other."""

    def tell(batch: Batch, domain: Domain) -> Told | None:
        leaves = {**leaves_of(batch, tree)}
        if not leaves:
            return None
        account = max(leaves)
        honest, node = leaves.pop(account)
        index, claimed, lying = content(honest, node, batch)
        nodes = {a: n for a, (_, n) in leaves.items()} | {index: lying}
        place = 1 if tree == Tree.SLOTS else 0
        told = posted_instead(batch, domain, trees={(tree, place): MerkleSumTree(nodes)})
        return Told(told, lambda e: e.leaf(tree, index, claimed, place), Lie.LEAF, fault)

    return tell


def leaves_of(batch: Batch, tree: Tree) -> dict[int, tuple[bytes, Node]]:
    """(bytes, node) of each leaf; for slots, of the auction at place 1."""
    if tree == Tree.SLOTS:
        auction = batch.record.auctions[1]
        price, long_side = auction.auction.price, auction.auction.long_side
        return {s.account: (s.pack(), s.node(price, long_side)) for s in auction.slots}
    found = batch.record.meters if tree == Tree.METERS else batch.record.balances
    return {leaf.account: (leaf.pack(), leaf.node()) for leaf in found}


def node_lie(
    tree: Tree, fault: int, height: int, lie: Callable[[Node], Node], at_index: int = 0
) -> Callable[[Batch, Domain], Told | None]:
    """One inner node replaced."""

    def tell(batch: Batch, domain: Domain) -> Told | None:
        place = 1 if tree == Tree.SLOTS else 0
        depth = AUCTIONS_DEPTH if tree == Tree.AUCTIONS else DEPTH
        if tree == Tree.AUCTIONS:
            nodes = {p: auction_node(a.auction) for p, a in enumerate(batch.record.auctions)}
        else:
            nodes = {a: n for a, (_, n) in leaves_of(batch, tree).items()}
        if not nodes:
            return None
        target = at_index or min(nodes) >> height
        nodes.setdefault(target << height, EMPTY)

        def told_node(h: int, i: int, node: Node) -> Node:
            return lie(node) if (h, i) == (height, target) else node

        lying = LyingTree(nodes, depth, told_node)
        told = posted_instead(batch, domain, trees={(tree, place): lying})
        return Told(told, lambda e: e.node_sum(tree, height, target, place), Lie.NODE_SUM, fault)

    return tell


def balance_lie(change: Callable[[Batch, random.Random], BatchRecord | None], fault: int) -> Callable[..., Told | None]:
    """Something about account 1's settlement."""

    def tell(batch: Batch, domain: Domain) -> Told | None:
        record = change(batch, random.Random(1))
        if record is None:
            return None
        return Told(posted_instead(batch, domain, record), lambda e: e.balance(1), Lie.BALANCE, fault)

    return tell


def generous_balance(batch: Batch, rng: random.Random) -> BatchRecord:
    gift = rng.randrange(1, 10**12)
    moved = {0: -gift, 1: gift}
    return replace(
        batch.record,
        balances=tuple(
            replace(b, cumulative_nano=b.cumulative_nano + moved.get(b.account, 0)) for b in batch.record.balances
        ),
    )


def hidden_balance(batch: Batch, _rng: random.Random) -> BatchRecord | None:
    if not any(b.account == 1 and b.cumulative_nano for b in batch.record.balances):
        return None
    return replace(batch.record, balances=tuple(b for b in batch.record.balances if b.account != 1))


def untraded_deviation(batch: Batch, _rng: random.Random) -> BatchRecord | None:
    if not any(m.account == 1 for m in batch.record.meters):
        return None
    meters = tuple(replace(m, deviation_wh=m.deviation_wh + 5) if m.account == 1 else m for m in batch.record.meters)
    return replace(batch.record, meters=meters)


def slot_without_meter(batch: Batch, _rng: random.Random) -> BatchRecord | None:
    if not any(s.account == 1 for s in batch.record.auctions[0].slots):
        return None
    return replace(batch.record, meters=tuple(m for m in batch.record.meters if m.account != 1))


def without_spot_round(batch: Batch, _rng: random.Random) -> BatchRecord | None:
    if not any(m.account == 1 and m.deviation_wh for m in batch.record.meters):
        return None
    return replace(batch.record, auctions=())


def header_lie(tree: Tree, fault: int, **changes: int) -> Callable[[Batch, Domain], Told]:
    def tell(batch: Batch, domain: Domain) -> Told:
        told = {name: value + getattr(batch.header, name) for name, value in changes.items()}
        return Told(posted_instead(batch, domain, **told), lambda e: e.totals(tree), Lie.TOTALS, fault)

    return tell


def unbalanced(batch: Batch, domain: Domain) -> Told:
    balances = tuple(replace(b, cumulative_nano=b.cumulative_nano + (b.account == 1)) for b in batch.record.balances)
    told = posted_instead(batch, domain, replace(batch.record, balances=balances))
    return Told(told, lambda e: e.totals(Tree.BALANCES), Lie.TOTALS, 1)


def leaf_at_inner_height(batch: Batch, domain: Domain) -> Told:
    content = batch.record.balances[-1].pack()
    target = (1 << DEPTH - 3) - 1

    def lie(height: int, index: int, node: Node) -> Node:
        return leaf_node(content, 0, 0, 0) if (height, index) == (3, target) else node

    nodes = {b.account: b.node() for b in batch.record.balances} | {target << 3: EMPTY}
    told = posted_instead(batch, domain, trees={(Tree.BALANCES, 0): LyingTree(nodes, DEPTH, lie)})
    return Told(told, lambda e: e.leaf(Tree.BALANCES, target, content, height=3), Lie.LEAF, 1)


def parent_at_leaf(batch: Batch, domain: Domain) -> Told:
    left, right = (leaf_node(bytes([n]), n, n, 0) for n in (1, 2))
    nodes = {b.account: b.node() for b in batch.record.balances} | {999_999: parent(left, right)}
    told = posted_instead(batch, domain, trees={(Tree.BALANCES, 0): MerkleSumTree(nodes)})

    def refute(evidence: Evidence) -> Call:
        call = evidence.node_sum(Tree.BALANCES, 0, 999_999)
        pair = tuple((n.hash, n.a, n.b, n.c) for n in (left, right))
        return replace(call, arguments=(*call.arguments[:4], *pair))

    return Told(told, refute, Lie.NODE_SUM, 2)


def auction_leaf_sums(batch: Batch, domain: Domain) -> Told:
    nodes = {p: auction_node(a.auction) for p, a in enumerate(batch.record.auctions)}
    nodes[1] = replace(nodes[1], a=nodes[1].a + 1)
    told = posted_instead(batch, domain, trees={(Tree.AUCTIONS, 0): MerkleSumTree(nodes, AUCTIONS_DEPTH)})
    return Told(told, lambda e: e.placement(1), Lie.LEAF, 5)


def is_forward(auction: AuctionRecord) -> bool:
    return auction.auction.rule == AuctionRule.FORWARD


def is_spot(auction: AuctionRecord) -> bool:
    return not is_forward(auction)


def open_slots(auction: AuctionRecord) -> list[Slot]:
    return [s for s in auction.slots if s.open_wh]


def first_slot(evidence: Evidence, place: int, auction: AuctionRecord) -> Call:
    """Of the filled sellers, and if there are none the unfilled buyers: somebody whose limit holds the price up."""
    held = [s for s in open_slots(auction) if (s.side == Side.SELL and s.fill_wh)]
    return evidence.fill(place, max(held, key=lambda s: s.limit_price).account)


def absent_bound(evidence: Evidence, place: int, auction: AuctionRecord) -> Call:
    return evidence.fill(place, 777)
