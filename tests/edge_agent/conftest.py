"""The cast of this room's tests: Ada's home, the operator who acknowledges, and a broker in this process."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import aiomqtt
import pytest
from amqtt.broker import Broker

from contracts.codes import ClockStatus, Stream
from contracts.eip712 import Message
from contracts.envelope import Envelope, open_envelope, seal
from contracts.messages import (
    Acknowledgement,
    Bid,
    GapRecord,
    Receipt,
    SetPointReport,
    SettlementReading,
    StandingOrder,
    TelemetryBatch,
)
from contracts.signature import address_of, signer_of
from contracts.topics import Leaf, parse_topic, topic, uplink_filter
from edge_agent.agent import Agent
from edge_agent.config import (
    AgentConfig,
    BiddingConfig,
    BrokerConfig,
    ChainConfig,
    ClockConfig,
    HomeConfig,
    LimitsConfig,
    MeterConfig,
    TelemetryConfig,
)
from edge_agent.delivery.frame import FrameKind
from edge_agent.delivery.outbox import Outbox
from edge_agent.effects import Counters, Effect, Publish, Sample
from edge_agent.shell.lease_file import LeaseFile
from edge_agent.shell.runtime import load_profiles

ADA_KEY = bytes(31) + b"\x01"
OPERATOR_KEY = bytes(31) + b"\x02"
CY_KEY = bytes(31) + b"\x03"
ADA = 7


def ada_config(
    folder: Path,
    meters: tuple[MeterConfig, ...] = (MeterConfig(0, "main", "eastron_sdm630", "127.0.0.1"),),
    broker: BrokerConfig | None = None,
    **parts: object,
) -> AgentConfig:
    """Ada's configuration; her files lie in ``folder``."""
    fixed: dict[str, object] = {
        "bidding": BiddingConfig(calendar="street"),
        "limits": LimitsConfig(),
        "telemetry": TelemetryConfig(60),
        "clock": ClockConfig(trusted=True),
    }
    return AgentConfig(
        HomeConfig(ADA, "f1", "ada"),
        ChainConfig(31337, bytes(19) + b"\x09", address_of(OPERATOR_KEY)),
        meters,
        folder / "outbox.db",
        folder / "key",
        broker or BrokerConfig(),
        **(fixed | parts),  # type: ignore[arg-type]
    )


@dataclass
class Operator:
    """A coordinator reduced to a signature: keeps what came, and acknowledges or receipts it."""

    config: AgentConfig
    key: bytes = OPERATOR_KEY
    seen: list[Envelope] = field(default_factory=list)

    def sign(self, message: Message) -> bytes:
        """A packed envelope by this operator."""
        return seal(message, self.config.chain.domain, signer_of(self.key)).pack()

    def answer(self, where: str, payload: bytes) -> tuple[str, bytes] | None:
        """Topic and payload of the answer to one uplink message; None where there is none."""
        parsed = parse_topic(where)
        opened = open_envelope(payload)
        if parsed is None or not isinstance(opened, Envelope):
            return None
        assert opened.signature_refusal(self.config.chain.domain, address_of(ADA_KEY)) is None
        self.seen.append(opened)
        reply = reply_to(opened.message)
        if reply is None:
            return None
        leaf = Leaf.RECEIPT if isinstance(reply, Receipt) else Leaf.ACK
        return topic(parsed.feeder, parsed.edge, leaf), self.sign(reply)

    def messages(self, kind: type[Message]) -> list[Message]:
        """What came of that kind, in order."""
        return [envelope.message for envelope in self.seen if isinstance(envelope.message, kind)]

    async def serve(self, port: int, reachable: Callable[[], bool] = lambda: True) -> None:
        """Answers over a real broker until cancelled."""
        async with aiomqtt.Client("127.0.0.1", port, protocol=aiomqtt.ProtocolVersion.V311) as client:
            for pattern in uplink_filter(self.config.home.feeder):
                await client.subscribe(pattern, qos=1)
            async for message in client.messages:
                assert isinstance(message.payload, bytes)
                answer = self.answer(str(message.topic), message.payload) if reachable() else None
                if answer is not None:
                    await client.publish(*answer, qos=0)


def reply_to(message: Message) -> Message | None:
    """The unsigned acknowledgement or receipt of an uplink message."""
    if isinstance(message, SettlementReading):
        last = message.sequence
        return Acknowledgement(message.account, message.meter, int(Stream.SETTLEMENT), message.epoch, last, last)
    if isinstance(message, TelemetryBatch):
        last = message.first_sequence + message.count - 1
        first = message.first_sequence
        return Acknowledgement(message.account, message.meter, int(Stream.TELEMETRY), message.epoch, first, last)
    if isinstance(message, GapRecord):
        return Acknowledgement(
            message.account, message.meter, message.stream, message.epoch, message.first_sequence, message.last_sequence
        )
    if isinstance(message, Bid):
        return Receipt(message.account, message.product, message.version, message.struct_hash(), 0, 0)
    if isinstance(message, StandingOrder):
        return Receipt(message.account, 0, message.version, message.struct_hash(), 0, 0)
    return None


async def start_broker(port: int = 0) -> tuple[Broker, int]:
    """A broker in this process on an ephemeral port; the port it got."""
    broker = Broker(
        {
            "listeners": {"default": {"type": "tcp", "bind": f"127.0.0.1:{port}"}},
            "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
        }
    )
    await broker.start()
    instance = broker._servers["default"].instance
    return broker, instance.sockets[0].getsockname()[1]


async def stop_broker(broker: Broker) -> None:
    """Shuts it down; its own wait for clients that are leaving has no end, so it gets five seconds."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(broker.shutdown(), 5)


async def eventually(condition: Callable[[], object], within_s: float = 10.0) -> None:
    """Returns as soon as the condition holds; fails where it does not within the time."""
    loop = asyncio.get_running_loop()
    end_s = loop.time() + within_s
    while not condition():
        assert loop.time() < end_s, "it did not come about in time"
        await asyncio.sleep(0.02)


@pytest.fixture
def run() -> Callable[[Awaitable[None]], None]:
    """Runs a coroutine to its end."""

    def runner(work: Awaitable[None]) -> None:
        asyncio.run(asyncio.wait_for(work, 120))

    return runner


class Home:
    """Ada's core on real files in ``folder``, without sockets; crash it by forgetting it."""

    def __init__(self, folder: Path, config: AgentConfig | None = None, synchronised_ms: int | None = None) -> None:
        self.config = config or ada_config(folder)
        self.counters = Counters()
        self.outbox = Outbox(self.config.store, self.counters)
        self.agent = Agent(
            self.config,
            self.outbox,
            signer_of(ADA_KEY),
            self.counters,
            leases=LeaseFile(self.config.lease_file),
            profiles=load_profiles(self.config),
            address=address_of(ADA_KEY),
        )
        self.operator = Operator(self.config)
        if synchronised_ms is not None:
            self.agent.on_clock(ClockStatus.SYNCHRONISED, synchronised_ms)

    def sample(self, at_ms: int, device: str = "main", /, **values: int) -> list[Effect]:
        """A poll that gave these values; none of them means that nothing came."""
        fault = None if values else "silent"
        return self.agent.on_sample(Sample(device, at_ms, values or None, fault), at_ms)

    def stored(self, kind: FrameKind = FrameKind.SETTLEMENT) -> list[Message]:
        """What waits in the outbox, oldest first."""
        frames = self.outbox.pending(kind, 10_000, newest=False)
        opened = [open_envelope(frame.payload) for frame in frames]
        return [envelope.message for envelope in opened if isinstance(envelope, Envelope)]

    def readings(self) -> list[SettlementReading]:
        """The settlement readings that wait."""
        return [message for message in self.stored() if isinstance(message, SettlementReading)]

    def tell(self, leaf: Leaf, message: Message, now_ms: int, key: bytes = OPERATOR_KEY) -> list[Effect]:
        """A message from whoever holds ``key``."""
        payload = Operator(self.config, key).sign(message)
        return self.agent.on_message(topic("f1", "ada", leaf), payload, now_ms)


def reports_in(effects: list[Effect]) -> list[SetPointReport]:
    """The set-point reports among effects."""
    opened = [open_envelope(e.payload) for e in effects if isinstance(e, Publish) and e.topic.endswith("/report")]
    return [e.message for e in opened if isinstance(e, Envelope) and isinstance(e.message, SetPointReport)]
