"""An honest history that stands on a chain: headers are posted, orders placed and cancelled in the trading contract.

interval begins ─► some homes place and cancel orders ─► Market.step ─► audit ─► header, posted when it is over
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from typing import Any

from contracts.audit_state import ForcedOrder
from contracts.codes import AuctionRule
from contracts.eip712 import camel_case, layout
from contracts.evidence import PostedHeader
from contracts.interval import INTERVAL_S
from contracts.messages import Bid
from contracts.posting import Posting
from tests.contracts.history import History, begun, drawn_terms
from tests.contracts.local_chain import FIRST, Chain

CANCELLED_AFTER_S = (150, 301, 450)
"""Seconds into an interval: before the first round, between the two, and after one."""


@dataclass
class ChainHistory:
    """The history on ``chain``; homes 1 … ``accounts`` are open there."""

    chain: Chain
    rng: random.Random
    accounts: int
    history: History
    orders: list[ForcedOrder] = field(default_factory=list)

    @property
    def interval(self) -> int:
        """The interval whose header comes next."""
        return FIRST + len(self.history.postings)

    def grow(self) -> Posting:
        """Makes the next header, and does not post it yet."""
        begins_s = self.interval * INTERVAL_S
        self.chain.travel(begins_s)
        for account in self.rng.sample(range(1, self.accounts + 1), max(1, self.accounts // 6)):
            self.orders.append(ForcedOrder(self.placed(account)))
        standing = [n for n, order in enumerate(self.orders) if order.closed_at_s == 0]
        cancelled = [n for n in standing if self.rng.random() < 0.3]
        for after_s, number in sorted((self.rng.choice(CANCELLED_AFTER_S), n) for n in cancelled):
            self.chain.travel(begins_s + after_s)
            self.orders[number] = self.cancelled(self.orders[number])
        return self.history.grow(list(self.orders))

    def placed(self, account: int) -> Bid:
        """An order that a home places; what the contract makes of it."""
        side, quantity, limit, expiry = drawn_terms(self.rng, self.interval)
        owner, trading = self.chain.web3.eth.accounts[account], self.chain.trading
        receipt = self.chain.send(trading, "createOrder", quantity, limit, expiry, int(side), sender=owner)
        (event,) = trading.events.ForcedOrder().process_receipt(receipt)
        return Bid(*(event["args"]["bid"][camel_case(name)] for name, _ in layout(Bid).columns))

    def cancelled(self, order: ForcedOrder) -> ForcedOrder:
        account, version = order.bid.account, order.bid.version
        owner = self.chain.web3.eth.accounts[account]
        self.chain.send(self.chain.trading, "cancelOrder", account << 32 | version & 0x7FFF_FFFF, sender=owner)
        closed_at_s: Any = self.chain.ask(self.chain.trading, "closedAt", account, version)
        return replace(order, closed_at_s=closed_at_s)

    def post(self, posting: Posting) -> PostedHeader:
        """Posts a header; the chain must know it as the posting does."""
        posted = self.chain.post(posting.header)
        assert posted == posting.posted
        return posted

    def post_next(self) -> Posting:
        """One more honest header, posted."""
        posting = self.grow()
        self.post(posting)
        return posting


def history_on(chain: Chain, seed: int, accounts: int, rule: AuctionRule) -> ChainHistory:
    """A history without headers on a fresh chain; opens the accounts."""
    chain.open_accounts(accounts)
    return ChainHistory(chain, random.Random(seed), accounts, begun(seed, accounts, rule, chain.domain))
