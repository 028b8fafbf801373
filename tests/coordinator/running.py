"""A running coordinator for tests: real runtime, store on disk, a clock that tests move, a chain told by a list."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from fastapi import FastAPI

from contracts.codes import Side
from contracts.eip712 import Message
from contracts.envelope import Envelope, seal
from contracts.evidence import Call
from contracts.interval import INTERVAL_S, STREET_CALENDAR, Product
from contracts.messages import Bid, Header, SettlementReading
from contracts.signature import address_of, signer_of
from contracts.topics import Leaf, topic
from coordinator.chain_events import AccountOpened, ChainEvent, Deposited
from coordinator.shell.chain_port import Chain
from coordinator.shell.ingest_port import Incoming, IngestBroker, OnMessage
from coordinator.shell.runtime import CoordinatorRuntime
from coordinator.web.app import create_app
from tests.coordinator.street import DEPOSIT_NANO, DOMAIN, MARKET, OPERATOR, START_S, edge_of, key_of

TOKEN = "a token of the operator"
PATIENCE_S = 10


class MovedClock:
    """Stands still until a test moves it."""

    def __init__(self, now_s: int = START_S) -> None:
        self.now_s = now_s

    def now_ms(self) -> int:
        return self.now_s * 1000

    async def sleep_until_ms(self, at_ms: int) -> None:
        while self.now_ms() < at_ms:
            await asyncio.sleep(0.005)


class ListedChain:
    """A chain that tells a list of events, and keeps the headers it was given."""

    def __init__(self, events: list[ChainEvent]) -> None:
        self.counters: Counter[str] = Counter()
        self.told = events
        self.headers: list[Header] = []
        self._next = 0

    async def resume_after(self, events_seen: int) -> None:
        self._next = events_seen

    async def submit(self, header: Header) -> None:
        self.headers.append(header)

    async def events(self) -> list[ChainEvent]:
        new, self._next = self.told[self._next :], len(self.told)
        return new

    async def collar(self) -> tuple[int, int] | None:
        return None

    async def answer(self, number: int, call: Call, deadline_s: int) -> None:
        raise AssertionError("nobody asks here")

    async def stop(self) -> None:
        pass


class HandBroker:
    """Homes' messages are handed in by the test, and what goes down is kept with a look at the store as it leaves."""

    url = "hand://"

    def __init__(self, look: Callable[[str, bytes], None] = lambda *_: None) -> None:
        self.counters: Counter[str] = Counter()
        self.sent: list[tuple[str, bytes]] = []
        self._look = look
        self._on_message: OnMessage | None = None

    async def start(self, on_message: OnMessage) -> None:
        self._on_message = on_message

    async def publish(self, text: str, payload: bytes) -> None:
        self._look(text, payload)
        self.sent.append((text, payload))

    async def stop(self) -> None:
        self._on_message = None

    def hand_in(self, incoming: Incoming) -> None:
        assert self._on_message is not None
        self._on_message(incoming)


def opened(homes: int) -> list[ChainEvent]:
    """The events that open and fund a street."""
    events: list[ChainEvent] = [AccountOpened(0, bytes(20), bytes(20))]
    for account in range(1, homes + 1):
        address = address_of(key_of(account))
        events += [AccountOpened(account, address, address), Deposited(account, DEPOSIT_NANO)]
    return events


@dataclass
class Running:
    """The parts of a running coordinator."""

    runtime: CoordinatorRuntime
    clock: MovedClock
    chain: ListedChain
    app: FastAPI
    http: httpx.AsyncClient

    async def until(self, claim: Callable[[], bool]) -> None:
        """Waits until something holds."""
        async with asyncio.timeout(PATIENCE_S):
            while not claim():
                await asyncio.sleep(0.005)

    async def move_to(self, at_s: int) -> None:
        """Lets time pass, and waits until every deadline on the way has been worked on."""
        self.clock.now_s = at_s

        def done(core: object, _: int) -> tuple[int, list[object]]:
            return core.next_deadline_ms(), []  # type: ignore[attr-defined]

        async with asyncio.timeout(PATIENCE_S):
            while await self.runtime.request(done) <= at_s * 1000:  # type: ignore[arg-type]
                await asyncio.sleep(0.005)


@asynccontextmanager
async def running(
    folder: Path,
    *,
    homes: int = 3,
    broker: IngestBroker | None = None,
    chain: ListedChain | None = None,
    clock: MovedClock | None = None,
    open_reads: bool = True,
    enrol: bool = True,
) -> AsyncIterator[Running]:
    """A coordinator whose homes 1 … ``homes`` are open, funded and enrolled."""
    clock, chain = clock or MovedClock(), chain or ListedChain(opened(homes))
    told: Chain = chain
    runtime = CoordinatorRuntime(
        MARKET, folder / "store.db", OPERATOR, broker or HandBroker(), told, clock, folder / "records"
    )
    await runtime.start()
    try:
        async with asyncio.timeout(PATIENCE_S):
            while not runtime.ready:
                await asyncio.sleep(0.005)
        for account in range(1, homes + 1) if enrol else ():
            await runtime.request(lambda core, now, a=account: (core.enrol(a, edge_of(a), now), []))  # type: ignore[misc]
        app = create_app(runtime, operator_token=TOKEN, open_reads=open_reads)
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://grid") as http:
            yield Running(runtime, clock, chain, app, http)
    finally:
        await runtime.stop()


def sealed(message: Message, account: int) -> Envelope:
    """Signed by the account's key."""
    return seal(message, DOMAIN, signer_of(key_of(account)))


def body_of(message: Message, account: int) -> dict[str, object]:
    """The REST body of a message signed by the account's key."""
    return {"message": message.to_json(), "signature": "0x" + sealed(message, account).signature.hex()}


def bid_of(account: int, side: Side, wh: int, price: int, version: int = 1, product: Product | None = None) -> Bid:
    product = product or open_product()
    return Bid(account, product.number, version, side, wh, price, product.start_s)


def open_product(now_s: int = START_S, place: int = 1) -> Product:
    """A quarter-hour that is open and stays so for a while."""
    return list(STREET_CALENDAR.open_products(now_s))[place]


def reading_of(account: int, interval: int, imported: int, exported: int = 0, epoch: int = 1) -> SettlementReading:
    taken_at_s = (interval + 1) * INTERVAL_S + 1
    return SettlementReading(
        account, 0, epoch, interval, interval, taken_at_s, imported, exported, 0, 2, bytes(32), bytes(32)
    )


def incoming(message: Message, account: int, leaf: Leaf, meter: int | None = None) -> Incoming:
    """The message as the broker hands it up."""
    return Incoming(topic("street", edge_of(account), leaf, meter), sealed(message, account).pack())
