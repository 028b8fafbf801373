"""Everything said is signed by whom it should be, nobody signs two bodies for one identity, and proofs convince.

A home that is planned to lie is expected to; then the coordinator must have kept the contradiction as evidence.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from contracts.eip712 import Message
from contracts.messages import Bid, Receipt, SettlementReading, StandingOrder, TelemetryBatch
from contracts.topics import Leaf, parse_topic
from simulators.auditors.auditor import Findings, Opened
from simulators.world_events import AgentAlarmed, HomeHeard, HomeSaid, OperatorHeard, OperatorSaid, WorldEvent

if TYPE_CHECKING:
    from simulators.world import World

SIGNED_LEAVES = (Leaf.SETTLEMENT, Leaf.TELEMETRY, Leaf.BID, Leaf.REPORT)
ANSWERS = (Leaf.ACK, Leaf.RECEIPT, Leaf.SETPOINT, Leaf.REQUEST)


class SignatureAuditor:
    """Verifies on the way and remembers identities."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._findings = Findings("signatures")
        self._open = Opened()
        self._bodies: dict[tuple[object, ...], bytes] = {}
        self._receipts: dict[tuple[int, int, int], tuple[bytes, int, int]] = {}
        self._seen: set[bytes] = set()
        self._proofs: set[bytes] = set()
        self._heard: dict[int, bytes] = {}
        self._accepted: dict[int, set[bytes]] = {}

    def observe(self, event: WorldEvent) -> None:
        """What is said, and what proofs alarm a home."""
        match event:
            case HomeSaid(home, topic, payload) if payload not in self._seen:
                self._seen.add(payload)
                self._home_said(home, topic, payload)
            case OperatorSaid(topic, payload):
                self._operator_said(topic, payload)
            case OperatorHeard(_, payload, None):
                self._operator_took(payload)
            case HomeHeard(home, _, payload):
                self._heard[home] = payload
            case AgentAlarmed(home, "proof", text):
                if self._heard.get(home) in self._proofs:
                    self._findings.add(f"a proof that the operator sent does not convince home {home}: {text}")

    def _home_said(self, home: int, topic: str, payload: bytes) -> None:
        where = parse_topic(topic)
        if where is None:
            self._findings.add(f"home {home} published under {topic!r}")
            return
        if where.leaf not in SIGNED_LEAVES:
            return
        envelope = self._open(payload)
        if envelope is None:
            self._findings.add(f"home {home} published bytes under {topic} that are no envelope")
            return
        if envelope.signature_refusal(self._world.market.domain, self._world.keys[home + 1]) is not None:
            self._findings.add(f"home {home} published something it has not signed under {topic}")
        for identity in _identities(envelope.message):
            body = envelope.message.struct_hash()
            if self._bodies.setdefault(identity, body) != body and home not in self._world.plan.liars:
                self._findings.add(f"home {home} signed two bodies for {identity}")

    def _operator_said(self, topic: str, payload: bytes) -> None:
        where = parse_topic(topic)
        if where is None or where.leaf not in ANSWERS:
            self._proofs.add(payload)
            return
        if payload in self._seen:
            return
        self._seen.add(payload)
        envelope = self._open(payload)
        market = self._world.market
        if envelope is None or envelope.signature_refusal(market.domain, market.operator) is not None:
            self._findings.add(f"the operator said something under {topic} that it has not signed")
        elif isinstance(envelope.message, Receipt):
            receipt = envelope.message
            promise = (receipt.bid_hash, receipt.round, receipt.clears_at_s)
            if self._receipts.setdefault((receipt.account, receipt.product, receipt.version), promise) != promise:
                self._findings.add(f"two receipts for version {receipt.version} of account {receipt.account}")

    def _operator_took(self, payload: bytes) -> None:
        envelope = self._open(payload)
        if envelope is not None and isinstance(envelope.message, SettlementReading):
            reading = envelope.message
            if reading.account - 1 in self._world.plan.liars:
                self._accepted.setdefault(reading.account, set()).add(reading.struct_hash())

    def verdict(self) -> list[str]:
        """A liar whose two bodies both came through has been noted."""
        core = self._world.operator.core
        if core is not None:
            for account, bodies in sorted(self._accepted.items()):
                kept = core.readings.equivocations(account)
                stored = core.store.integer("SELECT COUNT(*) FROM settlement_readings WHERE account = ?", account)
                if len(bodies) > stored + kept and kept < 16:
                    self._findings.add(f"account {account} lied and only {kept} contradictions were kept")
        return self._findings.texts()


def _identities(message: Message) -> list[tuple[object, ...]]:
    """What a signer must not sign twice with different content."""
    if isinstance(message, SettlementReading):
        stem = ("settlement", message.account, message.meter)
        return [(*stem, message.epoch, message.sequence), (*stem, "interval", message.interval)]
    if isinstance(message, TelemetryBatch):
        stem = ("telemetry", message.account, message.meter)
        return [(*stem, message.epoch, message.first_sequence + place) for place in range(message.count)]
    if isinstance(message, Bid):
        return [("bid", message.account, message.product, message.version)]
    if isinstance(message, StandingOrder):
        return [("standing order", message.account, message.version)]
    return []
