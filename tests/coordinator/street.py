"""A small street around a real coordinator core: keys, enrolled homes, and the messages they sign."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from contracts.codes import AuctionRule, Side
from contracts.eip712 import Domain, Message
from contracts.envelope import seal
from contracts.interval import INTERVAL_S, STREET_CALENDAR, Product, interval_of
from contracts.messages import Bid, SettlementReading
from contracts.signature import address_of, signer_of
from contracts.topics import Leaf, topic
from coordinator.chain_events import AccountOpened, Deposited
from coordinator.config import MarketConfig
from coordinator.coordinator import Coordinator, Reception
from coordinator.effects import Effect
from coordinator.store.store import Store

OPERATOR = bytes([9]) * 32
DOMAIN = Domain(1337, bytes([5]) * 20)
START_S = 1_800_230_400
MARKET = MarketConfig("street", DOMAIN, address_of(OPERATOR), calendar=STREET_CALENDAR)
AUCTIONED = replace(MARKET, spot_rule=AuctionRule.SPOT_AUCTION)
ADA, BO, CY = 1, 2, 3
DEPOSIT_NANO = 10**12


def key_of(account: int) -> bytes:
    """The signing key of an account of the street."""
    return bytes([account + 20]) * 32


def edge_of(account: int) -> str:
    """The home's name."""
    return f"home-{account}"


@dataclass
class Street:
    """Homes 1 … ``homes`` with accounts, deposits and names, at the first second of an interval."""

    homes: int = 3
    store: Store = field(default_factory=Store)
    now_s: int = START_S
    effects: list[Effect] = field(default_factory=list)
    market: MarketConfig = MARKET
    deposit_nano: int = DEPOSIT_NANO

    def __post_init__(self) -> None:
        self.core = Coordinator(self.market, self.store, signer_of(OPERATOR))
        self.core.on_deadline(self.now_ms)
        self.core.on_chain_event(AccountOpened(0, bytes(20), bytes(20)), self.now_ms)
        for account in range(1, self.homes + 1):
            address = address_of(key_of(account))
            self.core.on_chain_event(AccountOpened(account, address, address), self.now_ms)
            self.core.on_chain_event(Deposited(account, self.deposit_nano), self.now_ms)
            assert self.core.enrol(account, edge_of(account), self.now_ms)

    @property
    def now_ms(self) -> int:
        return self.now_s * 1000

    @property
    def interval(self) -> int:
        return interval_of(self.now_s)

    def send(
        self,
        message: Message,
        leaf: Leaf,
        meter: int | None = None,
        *,
        sender: int | None = None,
        signed_by: bytes | None = None,
        domain: Domain | None = None,
        attachment: bytes = b"",
    ) -> Reception:
        """Seals ``message`` with its account's key and hands it in under its home's topic."""
        account: int = message.account  # type: ignore[attr-defined]
        frame = seal(message, domain or self.market.domain, signer_of(signed_by or key_of(account)), attachment).pack()
        reception = self.core.receive(topic("street", edge_of(sender or account), leaf, meter), frame, self.now_ms)
        self.effects += reception.effects
        return reception

    def bid(self, account: int, product: Product, side: Side, wh: int, price: int, version: int = 1) -> Reception:
        return self.send(Bid(account, product.number, version, side, wh, price, product.start_s), Leaf.BID)

    def reading(
        self, account: int, interval: int, imported: int, exported: int, sequence: int | None = None
    ) -> Reception:
        taken_at_s = (interval + 1) * INTERVAL_S + 1
        number = interval if sequence is None else sequence
        message = SettlementReading(
            account, 0, 1, number, interval, taken_at_s, imported, exported, 0, 2, bytes(32), bytes(32)
        )
        return self.send(message, Leaf.SETTLEMENT, 0)

    def wait_until(self, at_s: int) -> list[Effect]:
        """Lets time pass, with every deadline on the way."""
        fresh: list[Effect] = []
        while (due_s := -(-self.core.next_deadline_ms() // 1000)) <= at_s:
            self.now_s = max(self.now_s, due_s)
            fresh += self.core.on_deadline(self.now_ms)
        self.now_s = at_s
        self.effects += fresh
        return fresh
