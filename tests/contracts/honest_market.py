"""A random market that obeys every rule, header by header: what no challenge may win against, and what lies start from.

Written from the rules alone and not from the coordinator's code: products of all four lengths with several rounds
each, bids that are replaced, cancelled and expire, orders placed on chain, meters that are silent, both spot rules.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from contracts.audit_state import ForcedOrder
from contracts.batch import AuctionRecord, BatchRecord
from contracts.clearing_rules import Clearing, Order, clear
from contracts.codes import AuctionRule, ClockStatus, Side
from contracts.commitments import Commitment, carried, commitment_of, commitments_hash, listed, reserved_nano
from contracts.eip712 import Domain, digest, keccak
from contracts.envelope import seal
from contracts.header_rules import FIRST_HEADER_PREVIOUS, Terms, header_digest
from contracts.interval import INTERVAL_S, PRODUCT_LENGTHS, SPOT_ROUND, Product, product_covering
from contracts.leaves import BalanceLeaf, Slot, meter_leaf, reading_commitment, settlement_delta_nano
from contracts.messages import FORCED_VERSION, SUPPLIER, Auction, Bid, Header, Receipt, SettlementReading, StandingOrder
from contracts.posting import Posting
from contracts.round_rules import closing_interval
from tests.contracts.local_chain import home_signer

TARIFF_IMPORT, TARIFF_EXPORT = 320_000, 80_000
ROUNDS_AHEAD = {1: 2, 4: 2, 96: 1, 672: 1}
"""In how many headers, the closing one included, a product of each length has rounds."""
NEWS_TAKE_S = (0, 0, 900)
"""What passes until the operator takes an order out that was cancelled on chain; below the inclusion delay."""


@dataclass
class Placed:
    """The newest bid of an account for a product."""

    bid: Bid
    signature: bytes
    filled_wh: int = 0
    retired: bool = False


@dataclass
class Market:
    """The market of accounts 1 … ``accounts`` from header ``interval`` on."""

    rng: random.Random
    accounts: int
    interval: int
    domain: Domain
    terms: Terms
    book: dict[int, dict[int, Placed]] = field(default_factory=dict)
    slots: dict[int, dict[int, Slot]] = field(default_factory=dict)
    rounds: dict[int, Auction] = field(default_factory=dict)
    read: dict[int, tuple[int, int, bytes]] = field(default_factory=dict)
    results: dict[int, int] = field(default_factory=dict)
    commitments: dict[int, dict[int, Commitment]] = field(default_factory=dict)
    standing: dict[int, list[tuple[StandingOrder, bytes]]] = field(default_factory=dict)
    receipts: list[Receipt] = field(default_factory=list)
    news_s: dict[tuple[int, int], int] = field(default_factory=dict)
    tip: bytes = FIRST_HEADER_PREVIOUS
    count: int = 0

    def step(self, orders: Iterable[ForcedOrder] = ()) -> Posting:
        """The next header with its record. ``orders`` are all that were ever placed on chain."""
        starts_s = self.interval * INTERVAL_S
        forward: list[AuctionRecord] = []
        for number in (0, 1):
            at_s = starts_s + 300 + 300 * number
            for product in self._open_products():
                self._new_bids(product, at_s, orders)
                if self.book.get(product.number):
                    forward.append(self._round(product, at_s))
        forward.sort(key=lambda r: (r.auction.product, r.auction.round))
        settled = self.interval - self.terms.grace
        meters = self._meters(settled)
        spot = self._spot({leaf.account: leaf.deviation_wh for leaf, _ in meters}, settled)
        price = spot.auction.price
        fills = {slot.account: slot.fill_wh for slot in spot.slots}
        for leaf, _ in meters:
            moved = settlement_delta_nano(leaf, fills.get(leaf.account, 0), price, TARIFF_IMPORT, TARIFF_EXPORT)
            self.results[leaf.account] = self.results.get(leaf.account, 0) + moved
        lists = self._commitments(forward, settled)
        balances, opened = self._balances(lists, settled)
        record = BatchRecord(
            self.interval, (spot, *forward), tuple(leaf for leaf, _ in meters), tuple(r for _, r in meters),
            balances, opened, {"base_price": price},
        )  # fmt: skip
        header = header_over(record, self.tip)
        posting = Posting(header, self.count, record)
        self.tip = header_digest(header, self.domain)
        self.count += 1
        self.interval += 1
        return posting

    def _open_products(self) -> list[Product]:
        """Products whose gate closes in this interval or soon, the shorter ones first."""
        found = []
        for length in PRODUCT_LENGTHS:
            lead = self.terms.gate_leads[PRODUCT_LENGTHS.index(length)]
            for closes in range(self.interval, self.interval + ROUNDS_AHEAD[length]):
                product = product_covering(closes + lead, length)
                if product.first_interval == closes + lead:
                    found.append(product)
        return found

    def _new_bids(self, product: Product, at_s: int, orders: Iterable[ForcedOrder]) -> None:
        book = self.book.setdefault(product.number, {})
        for order in orders:
            if order.bid.product != product.number:
                continue
            known = book.get(order.bid.account)
            closed = 0 < order.closed_at_s <= at_s - self._news_of(order.bid)
            if (known is None or known.bid.version < order.bid.version) and not closed:
                book[order.bid.account] = Placed(order.bid, b"")
            elif known is not None and known.bid.version == order.bid.version and closed:
                known.retired = True
        for account in range(1, self.accounts + 1):
            known = book.get(account)
            chance = 0.6 if known is None else 0.15
            if self.rng.random() < chance and (known is None or known.bid.version < FORCED_VERSION):
                version = 1 if known is None else known.bid.version + self.rng.randrange(1, 4)
                bid = self._bid(account, product, version, at_s, first=known is None)
                book[account] = Placed(bid, home_signer(account)(digest(bid, self.domain)))

    def _news_of(self, bid: Bid) -> int:
        key = (bid.account, bid.version)
        if key not in self.news_s:
            self.news_s[key] = self.rng.choice(NEWS_TAKE_S)
        return self.news_s[key]

    def _bid(self, account: int, product: Product, version: int, at_s: int, first: bool) -> Bid:
        """At one of few prices, so that margins are shared and sides run out; sometimes a cancel, sometimes expired."""
        quantity = 0 if not first and self.rng.random() < 0.3 else self.rng.randrange(1, 2_000)
        side, price = Side(self.rng.randrange(2)), self.rng.randrange(-2, 6) * 50_000
        expiry = at_s + self.rng.choice((-1, 0, 299, 300, 301, 5_000, 10**6))
        return Bid(account, product.number, version, side, quantity, price, expiry)

    def _round(self, product: Product, at_s: int) -> AuctionRecord:
        book, before = self.book[product.number], self.slots.get(product.number, {})
        live = {a: p for a, p in book.items() if not p.retired and p.bid.expiry_s >= at_s}
        result, fills = clear(
            Order(a, p.bid.side, p.bid.quantity_wh - p.filled_wh, p.bid.limit_price) for a, p in live.items()
        )
        slots, signatures = [], []
        for account, placed in sorted(book.items()):
            fill = fills.get(account, 0)
            moved = fill if placed.bid.side == Side.BUY else -fill
            old = before.get(account)
            held = (old.position_wh, old.position_cost_nano) if old else (0, 0)
            after = (held[0] + moved, held[1] + moved * result.price)
            bid = placed.bid
            terms = (0, 0, 0, 0) if placed.retired else (bid.side, bid.quantity_wh, bid.limit_price, bid.expiry_s)
            filled = 0 if placed.retired else placed.filled_wh
            signature_hash = keccak(placed.signature) if placed.signature else bytes(32)
            slots.append(Slot(account, bid.product, bid.version, *terms, filled, fill, *after, signature_hash))
            signatures.append(placed.signature)
            placed.filled_wh += fill
        last = self.rounds.get(product.number)
        number = 0 if last is None else last.round + self.rng.randrange(1, 3)
        for slot in slots:
            old = before.get(slot.account)
            if not slot.is_forced and (old is None or old.version < slot.version):
                promise = (slot.account, slot.product, slot.version, slot.bid.struct_hash(), number, at_s)
                self.receipts.append(Receipt(*promise))
        previous = bytes(32) if last is None else last.struct_hash()
        record = sealed(
            auction_of(result, AuctionRule.FORWARD, product.number, number, at_s, previous), slots, signatures
        )
        self.rounds[product.number] = record.auction
        self.slots[product.number] = {s.account: s for s in slots}
        return record

    def _meters(self, settled: int) -> list[tuple[object, bytes]]:  # type: ignore[type-arg]
        found = []
        for account in range(1, self.accounts + 1):
            before, packed = self.read.get(account), b""
            registers, commitment = (before[:2], before[2]) if before else ((0, 0), bytes(32))
            metered = 0
            if self.rng.random() < 0.85:
                gained = (self.rng.randrange(2_000), self.rng.choice((0, self.rng.randrange(2_000))))
                registers = (registers[0] + gained[0], registers[1] + gained[1])
                late = self.rng.choice((0, 0, 1))
                reading = SettlementReading(
                    account, 0, 1, self.count, settled - late, settled * INTERVAL_S, *registers, 0,
                    int(ClockStatus.SYNCHRONISED), bytes(32), bytes(32),
                )  # fmt: skip
                envelope = seal(reading, self.domain, home_signer(account))
                packed, commitment = envelope.pack(), reading_commitment(reading.struct_hash(), envelope.signature)
                metered = gained[0] - gained[1] if before else 0
                self.read[account] = (*registers, commitment)
            contracted = self._contracted(account, settled)
            if before is None and not packed and not any(any(part) for part in contracted.values()):
                continue
            energy = sum(wh for wh, _ in contracted.values())
            found.append((meter_leaf(account, registers, contracted, 0, metered - energy, commitment), packed))
        return found  # type: ignore[return-value]

    def _contracted(self, account: int, settled: int) -> dict[int, tuple[int, int]]:
        held = {}
        for length in PRODUCT_LENGTHS:
            slot = self.slots.get(product_covering(settled, length).number, {}).get(account)
            held[length] = (slot.position_wh, slot.position_cost_nano) if slot else (0, 0)
        return held

    def _spot(self, deviations: dict[int, int], settled: int) -> AuctionRecord:
        if self.terms.spot_rule == AuctionRule.SPOT_AUCTION:
            return self._spot_auction(deviations, settled)
        price = self.rng.randrange(TARIFF_EXPORT, TARIFF_IMPORT + 1)
        return spot_round(deviations, price, self.interval, settled)

    def _spot_auction(self, deviations: dict[int, int], settled: int) -> AuctionRecord:
        at_s = (self.interval + 1) * INTERVAL_S - 1
        product = Product(settled, 1).number
        orders, slots, signatures = [], [], []
        for account, wh in sorted(deviations.items()):
            if not wh:
                continue
            side = Side.BUY if wh > 0 else Side.SELL
            if self.rng.random() < 0.3:
                self._stand(account, settled, at_s)
            version, limit, proof = self._limit(account, side, settled)
            hashed = reading_commitment(proof[0].struct_hash(), proof[1]) if proof else bytes(32)
            orders.append(Order(account, side, abs(wh), limit))
            slots.append(Slot(account, product, version, side, abs(wh), limit, at_s, 0, 0, 0, 0, hashed))
            signatures.append(proof[0].pack() + proof[1] if proof else b"")
        result, fills = clear(orders)
        filled = [replace(s, fill_wh=fills.get(s.account, 0)) for s in slots]
        auction = auction_of(result, AuctionRule.SPOT_AUCTION, product, SPOT_ROUND, at_s, bytes(32))
        return sealed(auction, filled, signatures)

    def _stand(self, account: int, settled: int, at_s: int) -> None:
        known = self.standing.setdefault(account, [])
        from_s = settled * INTERVAL_S - self.rng.choice((-900, 0, 900))
        until_s = self.rng.choice((0, from_s + 1, from_s + 4_000))
        limits = (self.rng.randrange(2, 7) * 50_000, self.rng.randrange(2, 7) * 50_000)
        order = StandingOrder(account, len(known) + 1, *limits, from_s, until_s)
        known.append((order, home_signer(account)(digest(order, self.domain))))
        self.receipts.append(Receipt(account, 0, order.version, order.struct_hash(), 0, at_s))

    def _limit(self, account: int, side: Side, settled: int) -> tuple[int, int, tuple[StandingOrder, bytes] | None]:
        """The newest order that is valid when the interval begins: one that has run out uncovers the one before."""
        starts_s = settled * INTERVAL_S
        for found in reversed(self.standing.get(account, [])):
            order = found[0]
            if order.valid_from_s <= starts_s and (order.valid_until_s == 0 or starts_s < order.valid_until_s):
                return order.version, order.max_buy_price if side == Side.BUY else order.min_sell_price, found
        return 0, TARIFF_IMPORT if side == Side.BUY else TARIFF_EXPORT, None

    def _commitments(self, forward: list[AuctionRecord], settled: int) -> dict[int, tuple[Commitment, ...]]:
        here = {r.auction.product for r in forward}
        lists = {}
        for account in range(1, self.accounts + 1):
            before = self.commitments.get(account, {})
            found = []
            for number in {*before, *here}:
                product = Product.from_number(number)
                closed = closing_interval(product, self.terms.gate_leads) <= self.interval
                if number in here:
                    slot = self.slots[number].get(account)
                    found.append(commitment_of(slot, product, closed, TARIFF_IMPORT, settled))
                else:
                    found.append(carried(before[number], closed, settled))
            lists[account] = listed(found)
            self.commitments[account] = {c.product: c for c in lists[account]}
        return lists

    def _balances(
        self, lists: dict[int, tuple[Commitment, ...]], settled: int
    ) -> tuple[tuple[BalanceLeaf, ...], tuple[tuple[Commitment, ...], ...]]:
        supplier = BalanceLeaf(SUPPLIER, -sum(self.results.values()), 0, bytes(32))
        leaves, opened = [supplier], [()]
        for account in sorted({*self.results, *(a for a, c in lists.items() if c)}):
            entries = lists.get(account, ())
            reserve, hashed = reserved_nano(entries, settled), commitments_hash(entries)
            leaves.append(BalanceLeaf(account, self.results.get(account, 0), reserve, hashed))
            opened.append(entries)  # type: ignore[arg-type]
        return tuple(leaves), tuple(opened)


def auction_of(
    result: Clearing, rule: AuctionRule, product: int, round_number: int, cleared_at_s: int, previous: bytes
) -> Auction:
    """The published result, its slots root still open."""
    return Auction(
        product, round_number, rule, cleared_at_s, result.price, result.lo, result.hi, result.lo_account,
        result.hi_account, result.volume_wh, result.marginal_wh, result.rationed_wh, result.long_side, bytes(32),
        previous,
    )  # fmt: skip


def sealed(auction: Auction, slots: list[Slot], signatures: list[bytes]) -> AuctionRecord:
    """The record of an auction with the root of these slots in it."""
    record = AuctionRecord(auction, tuple(slots), tuple(signatures))
    return replace(record, auction=replace(auction, slots_root=record.tree().commitment))


def spot_round(deviations: dict[int, int], price: int, interval: int, settled: int) -> AuctionRecord:
    """The shared spot round: everybody at the community price, the long side pro rata."""
    at_s = (interval + 1) * INTERVAL_S - 1
    sides = {a: Side.BUY if d > 0 else Side.SELL for a, d in deviations.items()}
    result, fills = clear([Order(a, sides[a], abs(d), price) for a, d in deviations.items()])
    result = replace(result, price=price, lo=price, hi=price)
    product = Product(settled, 1).number
    slots = [
        Slot(a, product, 0, sides[a], abs(d), price, at_s, 0, fills.get(a, 0), 0, 0, bytes(32))
        for a, d in sorted(deviations.items())
        if d
    ]
    auction = auction_of(result, AuctionRule.SPOT_SHARED, product, SPOT_ROUND, at_s, bytes(32))
    return sealed(auction, slots, [b""] * len(slots))


def header_over(record: BatchRecord, previous: bytes) -> Header:
    """The header that commits to ``record`` after the header with that digest."""
    return Header(
        record.interval,
        previous,
        record.auctions_tree().commitment,
        record.meters_tree().commitment,
        record.balances_tree().commitment,
        record.data_hash,
        TARIFF_IMPORT,
        TARIFF_EXPORT,
        record.auctions[0].auction.price,
        sum(auction.auction.volume_wh for auction in record.auctions),
    )
