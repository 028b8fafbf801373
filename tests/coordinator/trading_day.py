"""A random day of a street, as wild as the protocol allows, and every promise that was made on the way.

Bids of all lengths with cancels, replacements and expiries to the second, orders placed and cancelled on chain,
standing orders, readings that go missing, and a coordinator that is away now and then and finds its work piled up.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from contracts.audit import AuditRules, AuditState, ForcedOrder, audit_record
from contracts.batch import BatchRecord
from contracts.codes import AuctionRule, Side
from contracts.envelope import Envelope, open_envelope
from contracts.interval import (
    DAY_S,
    HOUR_S,
    INTERVAL_S,
    MarketCalendar,
    Product,
    ProductLength,
    RoundSchedule,
    interval_of,
    interval_start_s,
)
from contracts.leaves import Slot
from contracts.messages import FORCED_VERSION, Bid, Header, Receipt, StandingOrder
from contracts.round_rules import receipt_fault
from contracts.signature import address_of
from contracts.topics import Leaf
from coordinator.chain_events import OrderCancelled, OrderForced
from coordinator.config import MarketConfig
from coordinator.effects import Publish, PublishRecord, SubmitHeader
from tests.coordinator.street import MARKET, Street, key_of

CALENDAR = MarketCalendar(
    (
        (ProductLength.QUARTER_HOUR, RoundSchedule(HOUR_S, 5 * 60, 11 * 60)),
        (ProductLength.HOUR, RoundSchedule(3 * HOUR_S, 15 * 60, 15 * 60)),
        (ProductLength.DAY, RoundSchedule(6 * HOUR_S, HOUR_S, HOUR_S)),
        (ProductLength.WEEK, RoundSchedule(DAY_S, 2 * HOUR_S, 2 * HOUR_S)),
    )
)
"""All four lengths within hours: a Sunday evening closes quarter-hours, hours, a day and a week."""
SUNDAY_NOON_S = 4 * DAY_S - 12 * HOUR_S + 7 * DAY_S * 2_900
COVER_LAG = 32
"""Headers back to which cash counts as cover: the longest wait for a first round, and some."""
DEPOSIT_NANO = 4 * 10**8


def day_market(rule: AuctionRule) -> MarketConfig:
    """The street's market over all lengths of products."""
    return replace(MARKET, calendar=CALENDAR, spot_rule=rule)


@dataclass
class TradingDay:
    """A street with its dice; what was promised and what was placed on chain."""

    seed: int
    market: MarketConfig
    homes: int = 3
    street: Street = field(init=False)
    forced: dict[tuple[int, int], ForcedOrder] = field(default_factory=dict)
    bids: dict[bytes, Bid | StandingOrder] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.dice = random.Random(f"day/{self.seed}")
        self.street = Street(self.homes, now_s=SUNDAY_NOON_S, market=self.market, deposit_nano=DEPOSIT_NANO)
        self._versions: dict[tuple[int, int], int] = {}
        self._registers = {account: [1_000, 1_000] for account in self.accounts}

    @property
    def accounts(self) -> range:
        """The homes."""
        return range(1, self.homes + 1)

    def run(self, intervals: int) -> None:
        """Acts and lets time pass until ``intervals`` later."""
        street, ends_s = self.street, self.street.now_s + intervals * INTERVAL_S
        while street.now_s < ends_s:
            for _ in range(self.dice.randint(0, 4)):
                self._act()
            self._pass()
        street.wait_until(ends_s + INTERVAL_S)

    def _pass(self) -> None:
        """To the next round or close, to a second beside it, or anywhere; sometimes nobody is there to see it."""
        street = self.street
        due_s = -(-street.core.next_deadline_ms() // 1000)
        to_s = self.dice.choice((due_s, due_s, due_s + 1, due_s - 1, street.now_s + self.dice.randint(1, 1_500)))
        before = interval_of(street.now_s)
        if self.dice.random() < 0.04:
            street.now_s += self.dice.randint(1, 3 * INTERVAL_S)  # away; what comes first is no deadline
        else:
            street.wait_until(max(to_s, street.now_s))
        for interval in range(before, interval_of(street.now_s)):
            self._read(interval)

    def _read(self, interval: int) -> None:
        for account, registers in self._registers.items():
            registers[self.dice.randint(0, 1)] += self.dice.choice((0, 3, 20))
            if self.dice.random() < 0.8:
                self.street.reading(account, interval, *registers)

    # -- what homes do -----------------------------------------------------------------------------------------

    def _act(self) -> None:
        account = self.dice.choice(self.accounts)
        act = self.dice.choice((self._bid, self._bid, self._bid, self._bid, self._force, self._recall, self._stand))
        act(account)

    def _say(self, order: Bid | StandingOrder) -> None:
        self.bids[order.struct_hash()] = order
        self.street.send(order, Leaf.BID)

    def _bid(self, account: int) -> None:
        street, dice = self.street, self.dice
        products = list(self.market.calendar.open_products(street.now_s))
        length = dice.choice(sorted({p.length for p in products}))
        product = dice.choice([p for p in products if p.length == length][:2])
        version = self._versions.get((account, product.number), 0) + 1
        self._versions[account, product.number] = version
        schedule = self.market.calendar.schedule(product.length)
        number = schedule.next_round(product, street.now_s)
        assert number is not None
        clears_at_s = schedule.clears_at_s(product, number)
        expiry_s = dice.choice((product.start_s, product.start_s, clears_at_s, clears_at_s - 1, clears_at_s + 1))
        side, limit = dice.choice(list(Side)), 100 * dice.randint(900, 3_000)
        quantity = dice.choice((0, 1, 10, 40, 150)) if product.length < 96 else dice.choice((0, 1, 2))
        self._say(Bid(account, product.number, version, side, quantity, limit, max(expiry_s, street.now_s)))

    def _force(self, account: int) -> None:
        """As the contract does: the next quarter-hour whose gate is open, an expiry not before it."""
        street, dice = self.street, self.dice
        schedule = self.market.calendar.schedule(1)
        interval = interval_of(street.now_s) + 2
        while schedule.gate_closure_s(Product(interval, 1)) - INTERVAL_S <= street.now_s:
            interval += 1
        nonce = sum(1 for holder, _ in self.forced if holder == account) + 1
        product, side = Product(interval, 1), dice.choice(list(Side))
        bid = Bid(
            account, product.number, FORCED_VERSION | nonce, side, dice.randint(1, 60), 100 * dice.randint(900, 3_000),
            product.start_s,
        )  # fmt: skip
        self.forced[account, bid.version] = ForcedOrder(bid)
        street.core.on_chain_event(OrderForced(account << 32 | nonce, bid), street.now_ms)

    def _recall(self, account: int) -> None:
        """The trader cancels on chain, and the coordinator hears it at once, or with the time of a block before."""
        standing = [key for key, order in self.forced.items() if key[0] == account and not order.closed_at_s]
        if standing:
            key = self.dice.choice(standing)
            unheard_s = self.street.now_s - self.street.store.mark("cleared_until_s")
            closed_at_s = self.street.now_s - self.dice.choice((0, max(0, unheard_s - 1)))
            self.forced[key] = replace(self.forced[key], closed_at_s=closed_at_s)
            order_id = account << 32 | (key[1] - FORCED_VERSION)
            self.street.core.on_chain_event(OrderCancelled(order_id, closed_at_s), self.street.now_ms)

    def _stand(self, account: int) -> None:
        street, dice = self.street, self.dice
        version = self._versions.get((account, 0), 0) + 1
        self._versions[account, 0] = version
        from_s = dice.choice((0, street.now_s, interval_start_s(street.interval), street.now_s + HOUR_S))
        until_s = dice.choice((0, 0, from_s + 2 * HOUR_S, interval_start_s(street.interval + 1)))
        buy, sell = 100 * dice.randint(800, 3_200), 100 * dice.randint(800, 3_200)
        self._say(StandingOrder(account, version, buy, sell, from_s, until_s))

    # -- what was published and promised -----------------------------------------------------------------------

    @property
    def history(self) -> list[tuple[BatchRecord, Header]]:
        """Every record with its header, in order."""
        effects = self.street.effects
        records = [BatchRecord.from_bytes(e.record) for e in effects if isinstance(e, PublishRecord)]
        return list(zip(records, [e.header for e in effects if isinstance(e, SubmitHeader)], strict=True))

    @property
    def receipts(self) -> list[Receipt]:
        """Every receipt, each once."""
        found = {}
        for effect in self.street.effects:
            if isinstance(effect, Publish) and effect.topic.endswith("/receipt"):
                envelope = open_envelope(effect.payload)
                assert isinstance(envelope, Envelope) and isinstance(envelope.message, Receipt)
                found[envelope.message.pack()] = envelope.message
        return list(found.values())

    def audit(self) -> list[str]:
        """Every fault that a stranger finds."""
        keys = {a: address_of(key_of(a)) for a in self.accounts}
        rules = AuditRules(self.market.domain, self.market.terms, keys, self.forced)
        state = AuditState()
        return [str(f) for record, header in self.history for f in audit_record(record, header, state, rules)]

    def broken_receipts(self) -> Iterator[str]:
        """Receipts that a published auction, or the lack of one, breaks."""
        history = self.history
        rounds = {(r.auction.product, r.auction.round): r for record, _ in history for r in record.auctions[1:]}
        last = history[-1][1].interval
        for receipt in self.receipts:
            order = self.bids[receipt.bid_hash]
            if isinstance(order, StandingOrder):
                yield from self._broken_standing(receipt, order, history)
                continue
            for (product, _), record in rounds.items():
                if product == receipt.product:
                    slot = next((s for s in record.slots if s.account == receipt.account), None)
                    fault = receipt_fault(receipt, record.auction, slot)
                    if fault is not None:
                        yield f"{receipt}: {fault.value}"
            replaced = any(
                (other.account, other.product) == (receipt.account, receipt.product) and other.version > receipt.version
                for other in [*self.receipts, *(f.bid for f in self.forced.values())]
            )
            due = order.quantity_wh and order.expiry_s >= receipt.clears_at_s
            past = interval_of(receipt.clears_at_s) <= last
            if due and past and not replaced and (receipt.product, receipt.round) not in rounds:
                yield f"{receipt}: the promised round is not there"

    def _broken_standing(
        self, receipt: Receipt, order: StandingOrder, history: list[tuple[BatchRecord, Header]]
    ) -> Iterator[str]:
        if self.market.spot_rule != AuctionRule.SPOT_AUCTION:
            return
        for record, header in history:
            start_s = interval_start_s(header.interval - self.market.grace)
            spot = record.auctions[0]
            in_force = order.valid_from_s <= start_s and (not order.valid_until_s or start_s < order.valid_until_s)
            slot = next((s for s in spot.slots if s.account == receipt.account), None)
            counts = in_force and spot.auction.cleared_at_s >= receipt.clears_at_s
            if counts and slot is not None and slot.version < receipt.version:
                yield f"{receipt}: the spot round of {header.interval} holds an older order"

    def uncovered_reserves(self) -> Iterator[str]:
        """Reserves that grew beyond all cash of the headers before, without an on-chain order among them."""
        forced = {(account, order.bid.product) for (account, _), order in self.forced.items()}
        before: dict[int, int] = {}
        results: list[dict[int, int]] = []
        for record, header in self.history:
            start: list[dict[int, int]] = [{}] if len(results) < COVER_LAG else []
            results.append({leaf.account: leaf.cumulative_nano for leaf in record.balances})
            for leaf, entries in zip(record.balances, record.commitments, strict=True):
                cash = DEPOSIT_NANO + max(r.get(leaf.account, 0) for r in [*results[-COVER_LAG - 1 :], *start])
                grew = leaf.reserved_nano > before.get(leaf.account, 0)
                by_force = any((leaf.account, c.product) in forced for c in entries)
                if grew and leaf.reserved_nano > cash and not by_force:
                    yield f"header {header.interval}: account {leaf.account} owes {leaf.reserved_nano}, has {cash}"
                before[leaf.account] = leaf.reserved_nano

    @property
    def slots(self) -> Iterator[Slot]:
        """Every forward slot that was published."""
        return (s for record, _ in self.history for auction in record.auctions[1:] for s in auction.slots)
