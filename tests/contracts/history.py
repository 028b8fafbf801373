"""An honest market over some days' edge, as its auditors and its watchers see it, header by header.

The history begins eight intervals before a Monday: day and week close and begin to deliver within it, with gates so
short that every product length closes and delivers in two dozen headers.

    Market.step ─► Posting ─► audit (state before it is kept) ─► Court (what a chain would know)
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from contracts.audit import AuditRules, AuditState, Finding, audit_record
from contracts.audit_state import ForcedOrder
from contracts.codes import AuctionRule, Side
from contracts.eip712 import Domain, Message, digest
from contracts.interval import INTERVAL_S, Product
from contracts.messages import FORCED_VERSION, Auction, Bid, Receipt, StandingOrder
from contracts.posting import Posting
from contracts.signature import Signer, address_of, signer_of
from tests.contracts import court_of_clearing, court_of_meters  # noqa: F401 - they register their judgements
from tests.contracts.court import Court
from tests.contracts.honest_market import Market
from tests.contracts.local_chain import (
    CLOSES_BEFORE_S,
    FIRST,
    INCLUSION_DELAY_S,
    operator_key,
    private_key,
    terms_of,
)

HEADERS = 24

Orders = Callable[[int], Sequence[ForcedOrder]]
"""All orders ever placed on chain, when the header of that interval is made."""


@dataclass
class InventedOrders:
    """Orders as if placed on chain: some homes in every interval, some of them cancelled soon, some late."""

    rng: random.Random
    accounts: int
    placed: list[ForcedOrder] = field(default_factory=list)

    def __call__(self, interval: int) -> Sequence[ForcedOrder]:
        for account in self.rng.sample(range(1, self.accounts + 1), max(1, self.accounts // 6)):
            self.placed.append(ForcedOrder(self.order(account, interval)))
        for place, order in enumerate(self.placed):
            if order.closed_at_s == 0 and self.rng.random() < 0.25:
                closed_at_s = interval * INTERVAL_S + self.rng.choice((20, 299, 300, 301, 450))
                self.placed[place] = replace(order, closed_at_s=closed_at_s)
        return self.placed

    def order(self, account: int, interval: int) -> Bid:
        """What the trading contract makes of an order placed at the beginning of an interval."""
        nonce = 1 + sum(o.bid.account == account for o in self.placed)
        terms = drawn_terms(self.rng, interval)
        return Bid(account, Product(interval + 2, 1).number, FORCED_VERSION | nonce, *terms)


def drawn_terms(rng: random.Random, interval: int) -> tuple[int, int, int, int]:
    """Side, quantity, limit and expiry of an order placed on chain: it never expires before its gate."""
    side, limit = Side(rng.randrange(2)), rng.randrange(0, 6) * 50_000
    return side, rng.randrange(1, 2_000), limit, (interval + 2) * INTERVAL_S + rng.choice((-CLOSES_BEFORE_S, 10**6))


@dataclass
class History:
    """Postings in order; ``states[i]`` is the auditor's state before ``postings[i]``."""

    market: Market
    rules: AuditRules
    court: Court
    postings: list[Posting] = field(default_factory=list)
    states: list[AuditState] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    places: dict[bytes, tuple[Posting, int]] = field(default_factory=dict)
    located: int = 0

    @property
    def everybody(self) -> range:
        """All accounts and one number that nobody has."""
        return range(1, self.market.accounts + 2)

    def grow(self, orders: Sequence[ForcedOrder]) -> Posting:
        """One more header, audited."""
        forced = {(o.bid.account, o.bid.version): o for o in orders}
        self.rules, self.court.forced = replace(self.rules, forced=forced), forced
        posting = self.market.step(orders)
        state = copied(self.states[-1] if self.states else AuditState())
        if self.postings:
            audit_record(self.postings[-1].record, self.postings[-1].header, state, self.rules)
        self.states.append(copied(state))
        self.findings += audit_record(posting.record, posting.header, state, self.rules)
        self.postings.append(posting)
        self.court.headers.append(posting.header)
        return posting

    def round_before(self, auction: Auction) -> tuple[Posting, int] | None:
        """Where the round before an auction stands."""
        while self.located < len(self.postings):
            posting = self.postings[self.located]
            for place, record in enumerate(posting.record.auctions):
                self.places[record.auction.struct_hash()] = posting, place
            self.located += 1
        return self.places.get(auction.previous)

    def signed_receipts(self) -> list[tuple[Receipt, bytes]]:
        """Every receipt that the operator has given, with his signature."""
        return [(receipt, self.operator_signature(receipt)) for receipt in self.market.receipts]

    def operator_signature(self, message: Message) -> bytes:
        return operator_signer()(digest(message, self.market.domain))

    def standing_of(self, receipt: Receipt) -> StandingOrder:
        """The standing order behind a receipt."""
        found: StandingOrder = self.market.standing[receipt.account][receipt.version - 1][0]
        return found


def operator_signer() -> Signer:
    """Signs as the operator."""
    return signer_of(operator_key())


def copied(state: AuditState) -> AuditState:
    """The state, to be moved on its own."""
    return replace(state, by_interval=dict(state.by_interval), rounds=dict(state.rounds), named=dict(state.named))


def begun(
    seed: int, accounts: int, rule: AuctionRule, domain: Domain, keys: Mapping[int, bytes] | None = None
) -> History:
    """A history without headers."""
    terms = terms_of(rule)
    keys = keys or {a: address_of(private_key(a)) for a in range(1, accounts + 1)}
    rules = AuditRules(domain, terms, keys, {}, INCLUSION_DELAY_S)
    court = Court(domain, terms, keys, address_of(operator_key()), {}, INCLUSION_DELAY_S)
    return History(Market(random.Random(seed), accounts, FIRST, domain, terms), rules, court)


NOWHERE = Domain(1, b"\x01" * 20)
"""The domain of histories that stand on no chain."""


def history_of(seed: int, accounts: int, rule: AuctionRule, headers: int = HEADERS) -> History:
    """A whole history, with invented orders on chain."""
    found = begun(seed, accounts, rule, NOWHERE)
    placed = InventedOrders(random.Random(seed + 1_000), accounts)
    for interval in range(FIRST, FIRST + headers):
        found.grow(placed(interval))
    return found
