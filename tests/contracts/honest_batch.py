"""Random honest batches for the contracts' tests, their evidence, and trees that lie.

A batch is a ``BatchRecord`` with its header: forward auctions of resting, signed bids over two rounds, the spot
round of the settled interval, meters and balances. ``Evidence`` builds the calls about any part of it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from contracts.batch import AuctionRecord, BatchRecord
from contracts.clearing_rules import Clearing, Order, clear
from contracts.eip712 import Domain, digest, keccak
from contracts.evidence import (
    NO_AUCTION,
    NO_BALANCE,
    NO_SLOT,
    Call,
    PlacedAuction,
    PlacedBalance,
    PlacedMeter,
    PlacedNode,
    PlacedSlot,
    PostedHeader,
    Tree,
    challenge_auction,
    challenge_balance,
    challenge_fill,
    challenge_leaf,
    challenge_node_sum,
    challenge_signature,
    challenge_totals,
)
from contracts.header_rules import FIRST_HEADER_PREVIOUS, header_digest
from contracts.interval import INTERVAL_S, SPOT_ROUND, Product
from contracts.leaves import BalanceLeaf, MeterLeaf, Slot, settlement_delta_nano
from contracts.merkle import AUCTIONS_DEPTH, EMPTY, MerkleSumTree, Node, parent
from contracts.messages import SUPPLIER, Auction, AuctionRule, Bid, Header, Side
from tests.contracts.local_chain import GRACE, home_signer

TARIFF_IMPORT, TARIFF_EXPORT = 320_000, 80_000


@dataclass(frozen=True)
class Batch:
    """A record and the header over it; ``trees`` replaces the honest tree of a name (see ``Evidence.tree``)."""

    record: BatchRecord
    header: Header
    previous: Batch | None = None
    trees: Mapping[tuple[Tree, int], MerkleSumTree] = field(default_factory=dict)


def random_bid(rng: random.Random, account: int, product: Product, expiry_s: int) -> Bid:
    """A bid at one of few prices, so that margins are shared and sides run out."""
    side = Side(rng.randrange(2))
    return Bid(account, product.number, 1, side, rng.randrange(1, 2_000), rng.randrange(-2, 6) * 50_000, expiry_s)


def forward_rounds(
    rng: random.Random, accounts: range, product: Product, interval: int, domain: Domain
) -> list[AuctionRecord]:
    """Two rounds of one product, the second of what the first left open."""
    at_s = interval * INTERVAL_S
    bids = {a: random_bid(rng, a, product, at_s + 3_600) for a in accounts if rng.random() < 0.85}
    signatures = {a: home_signer(a)(digest(bid, domain)) for a, bid in bids.items()}
    first = forward_round(bids, signatures, {}, 0, at_s + 60, product, bytes(32))
    before = {slot.account: slot for slot in first.slots}
    return [first, forward_round(bids, signatures, before, 1, at_s + 120, product, first.auction.struct_hash())]


def forward_round(
    bids: Mapping[int, Bid],
    signatures: Mapping[int, bytes],
    before: Mapping[int, Slot],
    round_number: int,
    cleared_at_s: int,
    product: Product,
    previous: bytes,
) -> AuctionRecord:
    filled = {a: before[a].filled_before_wh + before[a].fill_wh if a in before else 0 for a in bids}
    orders = [Order(a, b.side, b.quantity_wh - filled[a], b.limit_price) for a, b in bids.items()]
    result, fills = clear(orders)
    slots = []
    for account, bid in sorted(bids.items()):
        fill = fills.get(account, 0)
        moved = fill if bid.side == Side.BUY else -fill
        old = before.get(account)
        slots.append(
            Slot(
                account, bid.product, bid.version, bid.side, bid.quantity_wh, bid.limit_price, bid.expiry_s,
                filled[account], fill, (old.position_wh if old else 0) + moved,
                (old.position_cost_nano if old else 0) + moved * result.price, keccak(signatures[account]),
            )
        )  # fmt: skip
    auction = auction_of(result, AuctionRule.FORWARD, product, round_number, cleared_at_s, previous)
    return sealed(auction, slots, [signatures[slot.account] for slot in slots])


def auction_of(
    result: Clearing, rule: AuctionRule, product: Product, round_number: int, cleared_at_s: int, previous: bytes
) -> Auction:
    return Auction(
        product.number, round_number, rule, cleared_at_s, result.price, result.lo, result.hi, result.lo_account,
        result.hi_account, result.volume_wh, result.marginal_wh, result.rationed_wh, result.long_side, bytes(32),
        previous,
    )  # fmt: skip


def sealed(auction: Auction, slots: list[Slot], signatures: list[bytes]) -> AuctionRecord:
    """The record of an auction with the root of these slots in it."""
    record = AuctionRecord(auction, tuple(slots), tuple(signatures))
    return replace(record, auction=replace(auction, slots_root=record.tree().commitment))


def spot_round(deviations: Mapping[int, int], price: int, interval: int) -> AuctionRecord:
    """The shared spot round: everybody at the community price, the long side pro rata."""
    sides = {a: Side.BUY if d > 0 else Side.SELL for a, d in deviations.items()}
    result, fills = clear([Order(a, sides[a], abs(d), price) for a, d in deviations.items()])
    result = replace(result, price=price, lo=price, hi=price)
    product = Product(interval - GRACE, 1)
    slots = [
        Slot(a, product.number, 0, sides[a], abs(d), price, 0, 0, fills.get(a, 0), 0, 0, bytes(32))
        for a, d in sorted(deviations.items())
        if d
    ]
    return sealed(
        auction_of(result, AuctionRule.SPOT_SHARED, product, SPOT_ROUND, interval * INTERVAL_S, bytes(32)),
        slots,
        [b""] * len(slots),
    )


def header_of(record: BatchRecord, previous: Batch | None, domain: Domain, spot_price: int) -> Header:
    return Header(
        record.interval,
        FIRST_HEADER_PREVIOUS if previous is None else header_digest(previous.header, domain),
        record.auctions_tree().commitment,
        record.meters_tree().commitment,
        record.balances_tree().commitment,
        record.data_hash,
        TARIFF_IMPORT,
        TARIFF_EXPORT,
        spot_price,
        sum(auction.auction.volume_wh for auction in record.auctions),
    )


def honest_batch(rng: random.Random, accounts: int, interval: int, previous: Batch | None, domain: Domain) -> Batch:
    """One honest batch over accounts 1 … ``accounts``."""
    everybody = range(1, accounts + 1)
    price = rng.randrange(-100, 350) * 1_000 + rng.randrange(1_000)
    meters = []
    for account in everybody:
        if rng.random() < 0.9:
            deviation, contracted = rng.choice((0, 1, -1)) * rng.randrange(1, 900), rng.randrange(-500, 500)
            cost = contracted * rng.randrange(50_000, 300_000)
            register, reading = rng.randrange(10**6), rng.randbytes(32)
            meters.append(MeterLeaf(account, register, 7, contracted, cost, 0, deviation, reading))
    spot = spot_round({m.account: m.deviation_wh for m in meters}, price, interval)
    forward = [
        auction
        for ahead in (1, 2)
        for auction in forward_rounds(rng, everybody, Product(interval + ahead, 1), interval, domain)
    ]
    balances = moved_balances(rng, meters, spot, previous.record.balances if previous else (), price)
    record = BatchRecord(
        interval, (spot, *forward), tuple(meters), tuple(b"" for _ in meters), balances, {"base_price": price}
    )
    return Batch(record, header_of(record, previous, domain, price), previous)


def moved_balances(
    rng: random.Random,
    meters: list[MeterLeaf],
    spot: AuctionRecord,
    before: tuple[BalanceLeaf, ...],
    price: int,
) -> tuple[BalanceLeaf, ...]:
    fills = {slot.account: slot.fill_wh for slot in spot.slots}
    results = {leaf.account: leaf.cumulative_nano for leaf in before if leaf.account != SUPPLIER}
    for meter in meters:
        delta = settlement_delta_nano(meter, fills.get(meter.account, 0), price, TARIFF_IMPORT, TARIFF_EXPORT)
        results[meter.account] = results.get(meter.account, 0) + delta
    supplier = BalanceLeaf(SUPPLIER, -sum(results.values()), 0)
    return (supplier, *(BalanceLeaf(a, value, rng.randrange(10**9)) for a, value in sorted(results.items())))


class LyingTree(MerkleSumTree):
    """A tree in which ``lie(height, index, node)`` may replace any node after it was computed from its children."""

    def __init__(self, leaves: Mapping[int, Node], depth: int, lie: Callable[[int, int, Node], Node]) -> None:
        super().__init__({}, depth)
        level = {i: lie(0, i, node) for i, node in leaves.items()}
        self._levels = [level]
        for height in range(1, depth + 1):
            level = {
                i: lie(height, i, parent(level.get(2 * i, EMPTY), level.get(2 * i + 1, EMPTY)))
                for i in {index >> 1 for index in level}
            }
            self._levels.append(level)


def node_at(tree: MerkleSumTree, height: int, index: int) -> Node:
    """The node of a tree at ``index`` of ``height``."""
    return tree._levels[height].get(index, EMPTY)


def placed_node(tree: MerkleSumTree, height: int, index: int) -> PlacedNode:
    siblings = tuple(node_at(tree, h, (index >> (h - height)) ^ 1) for h in range(height, tree.depth))
    return PlacedNode(node_at(tree, height, index), index, siblings)


@dataclass(frozen=True)
class Evidence:
    """Every challenge about one posted batch."""

    batch: Batch
    posted: PostedHeader

    def tree(self, tree: Tree, place: int = 0) -> MerkleSumTree:
        """A tree of the batch: the slots tree of the auction at ``place``, or one of the three under the header."""
        if (tree, place) in self.batch.trees:
            return self.batch.trees[tree, place]
        record = self.batch.record
        if tree == Tree.SLOTS:
            return record.auctions[place].tree()
        if tree == Tree.AUCTIONS:
            return record.auctions_tree()
        return record.meters_tree() if tree == Tree.METERS else record.balances_tree()

    def auction(self, place: int) -> PlacedAuction:
        auctions = self.batch.record.auctions
        found = auctions[place].auction if place < len(auctions) else None
        return PlacedAuction(found, place, self.tree(Tree.AUCTIONS).path(place))

    def slot(self, place: int, account: int) -> PlacedSlot:
        slots = self.batch.record.auctions[place].slots
        found = next((s for s in slots if s.account == account), None)
        return PlacedSlot(found, self.tree(Tree.SLOTS, place).path(account))

    def balance_of(self, account: int) -> PlacedBalance:
        found = next((b for b in self.batch.record.balances if b.account == account), None)
        return PlacedBalance(found, self.tree(Tree.BALANCES).path(account))

    def meter_of(self, account: int) -> PlacedMeter:
        found = next((m for m in self.batch.record.meters if m.account == account), None)
        return PlacedMeter(found, self.tree(Tree.METERS).path(account))

    def node_sum(self, tree: Tree, height: int, index: int, place: int = 0) -> Call:
        of = self.tree(tree, place)
        left, right = (node_at(of, height - 1, 2 * index + side) if height else EMPTY for side in (0, 1))
        auction = self.auction(place) if tree == Tree.SLOTS else NO_AUCTION
        return challenge_node_sum(self.posted, tree, auction, placed_node(of, height, index), left, right)

    def leaf(self, tree: Tree, index: int, content: bytes, place: int = 0, height: int = 0) -> Call:
        auction = self.auction(place) if tree == Tree.SLOTS else NO_AUCTION
        return challenge_leaf(self.posted, tree, auction, placed_node(self.tree(tree, place), height, index), content)

    def placement(self, place: int) -> Call:
        auction = self.batch.record.auctions[place].auction
        return challenge_auction(self.posted, auction, placed_node(self.tree(Tree.AUCTIONS), 0, place))

    def totals(self, tree: Tree, place: int = 0) -> Call:
        auction = self.auction(place) if tree == Tree.SLOTS else NO_AUCTION
        return challenge_totals(self.posted, tree, auction, self.tree(tree, place).root)

    def fill(self, place: int, account: int) -> Call:
        slot = PlacedSlot(None, ()) if account >> 20 else self.slot(place, account)
        return challenge_fill(self.posted, self.auction(place), account, slot)

    def signature(self, place: int, account: int, signature: bytes | None = None) -> Call:
        record = self.batch.record.auctions[place]
        known = {s.account: given for s, given in zip(record.slots, record.signatures, strict=True)}
        given = known.get(account, b"") if signature is None else signature
        return challenge_signature(self.posted, self.auction(place), self.slot(place, account), given)

    def balance(self, account: int) -> Call:
        previous = self.batch.previous
        before = NO_BALANCE if previous is None else Evidence(previous, self.posted).balance_of(account)
        spot = self.auction(0)
        slot = NO_SLOT if spot.auction is None else self.slot(0, account)
        header = None if previous is None else previous.header
        after, meter = self.balance_of(account), self.meter_of(account)
        return challenge_balance(self.posted, account, header, before, after, meter, spot, slot)

    def everything(self) -> Iterator[Call]:
        """Every challenge about every part of the batch; node sums on the way from each leaf, at some heights."""
        record = self.batch.record
        accounts = range(max(leaf.account for leaf in record.balances) + 2)
        for place, auction in enumerate(record.auctions):
            yield self.placement(place)
            yield self.totals(Tree.SLOTS, place)
            for account in accounts:
                yield self.fill(place, account)
                yield self.node_sum(Tree.SLOTS, 1 + account % 20, account >> (1 + account % 20), place)
            for slot in auction.slots:
                yield self.leaf(Tree.SLOTS, slot.account, slot.pack(), place)
                yield self.signature(place, slot.account)
        for tree in (Tree.AUCTIONS, Tree.METERS, Tree.BALANCES):
            yield self.totals(tree)
            for height in range(AUCTIONS_DEPTH + 1):
                yield self.node_sum(tree, height, 0)
        for leaf in record.meters:
            yield self.leaf(Tree.METERS, leaf.account, leaf.pack())
        for balance in record.balances:
            yield self.leaf(Tree.BALANCES, balance.account, balance.pack())
        for account in accounts:
            yield self.balance(account)
