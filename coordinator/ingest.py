"""The border: decides what a message is worth before anything else looks at it.

Checks run from cheap to dear: size, topic, frame, known sender, meaning in time, signature. The first that fails
names the refusal; it is counted and nothing else happens.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from contracts.envelope import Envelope, EnvelopeRefusal, open_envelope
from contracts.interval import INTERVAL_S, Product, interval_of
from contracts.messages import (
    FORCED_VERSION,
    Bid,
    GapRecord,
    SetPointReport,
    SettlementReading,
    StandingOrder,
    TelemetryBatch,
)
from contracts.telemetry import RemoteColumnsError, TelemetryReading, open_batch
from contracts.topics import PAYLOAD_LIMIT_BYTES, Leaf, Topic, parse_topic
from coordinator.config import MarketConfig
from coordinator.registry import Participant, Registry

FUTURE_LIMIT_S = 300
"""How far ahead of our clock a home's may be; beyond it the reading waits at the home until time has come."""
AGE_LIMIT_S = 90 * 86_400
"""How old a reading may be: the homes keep unacknowledged ones 90 days."""
REGISTER_LIMIT_WH = 10**12
"""A register beyond 1 TWh is not a home's."""

TELEMETRY_RANGES = {
    "import_wh": (0, REGISTER_LIMIT_WH),
    "export_wh": (0, REGISTER_LIMIT_WH),
    "power_w": (-1_000_000, 1_000_000),
    "reactive_var": (-1_000_000, 1_000_000),
    "voltage_mv": (0, 1_000_000),
    "frequency_mhz": (0, 100_000),
}
"""What a home can measure: one megawatt is forty times a large house's connection. Sums of these never overflow."""

_ALLOWED = {
    Leaf.SETTLEMENT: (SettlementReading, GapRecord),
    Leaf.TELEMETRY: (TelemetryBatch, GapRecord),
    Leaf.BID: (Bid, StandingOrder),
    Leaf.REPORT: (SetPointReport,),
}


class Refusal(Enum):
    """Why a message is refused, in order of precedence."""

    OVERSIZED = "more bytes than this topic carries"
    UNKNOWN_TOPIC = "not a topic that homes publish to"
    OTHER_FEEDER = "the topic is of another feeder"
    MALFORMED = "the bytes are not an envelope"
    WRONG_KIND = "this topic does not carry this kind of message"
    UNKNOWN_ACCOUNT = "no such account"
    WRONG_EDGE = "the account is not this home's"
    WRONG_METER = "the topic names another meter than the message"
    FROM_THE_FUTURE = "taken later than now"
    TOO_OLD = "taken longer ago than readings are kept"
    OUT_OF_RANGE = "a register or interval is outside what a home can have"
    RESERVED_VERSION = "versions begin at 1, and the upper half is reserved for orders placed on chain"
    WRONG_SIGNATURE = "not signed by the account's key for this market"
    COLUMNS_DIFFER = "the columns are not what was signed"
    UNKNOWN_PRODUCT = "this product is not traded here"
    GATE_CLOSED = "the gate of this product is closed"
    NOT_YET_OPEN = "this product is not open yet"
    EXPIRED = "the order had expired before it came"
    STALE_VERSION = "a newer version is here already"
    BEYOND_COLLATERAL = "deposit and results do not cover the worst case"
    TOO_MANY_PRODUCTS = "the account has as many products open as one balance may answer for"
    BEYOND_LIMIT = "more bids, readings or contradictions than one home may have, or a report that nobody asked for"


@dataclass(frozen=True, slots=True)
class Admitted:
    """A message that passed the border; ``readings`` are the opened columns of a telemetry batch."""

    envelope: Envelope
    participant: Participant
    topic: Topic
    readings: tuple[TelemetryReading, ...] = ()


def admit(text: str, payload: bytes, registry: Registry, market: MarketConfig, now_ms: int) -> Admitted | Refusal:
    """The message under topic ``text``, or why it is refused. Never raises, whatever the bytes."""
    topic = parse_topic(text)
    if topic is None or topic.leaf not in _ALLOWED:
        return Refusal.UNKNOWN_TOPIC
    if len(payload) > PAYLOAD_LIMIT_BYTES[topic.leaf]:
        return Refusal.OVERSIZED
    if topic.feeder != market.feeder:
        return Refusal.OTHER_FEEDER
    envelope = open_envelope(payload)
    if isinstance(envelope, EnvelopeRefusal):
        return Refusal.MALFORMED
    message = envelope.message
    if not isinstance(message, _ALLOWED[topic.leaf]):
        return Refusal.WRONG_KIND
    account: int = getattr(message, "account")  # noqa: B009  (every message of a home names its account)
    participant = registry.participant(account)
    if participant is None:
        return Refusal.UNKNOWN_ACCOUNT
    if participant.edge != topic.edge:
        return Refusal.WRONG_EDGE
    refusal = _meaning_refusal(envelope, topic, now_ms // 1000)
    if refusal is None and envelope.signature_refusal(market.domain, participant.key) is not None:
        refusal = Refusal.WRONG_SIGNATURE
    if refusal is not None:
        return refusal
    if not isinstance(message, TelemetryBatch):
        return Admitted(envelope, participant, topic)
    try:
        readings = tuple(open_batch(message, envelope.attachment))
    except RemoteColumnsError:
        return Refusal.COLUMNS_DIFFER
    if not all(_plausible(reading) for reading in readings):
        return Refusal.OUT_OF_RANGE
    return Admitted(envelope, participant, topic, readings)


def _plausible(reading: TelemetryReading) -> bool:
    for name, (low, high) in TELEMETRY_RANGES.items():
        value = getattr(reading, name)
        if value is not None and not low <= value <= high:
            return False
    return True


def _meaning_refusal(envelope: Envelope, topic: Topic, now_s: int) -> Refusal | None:
    message = envelope.message
    if isinstance(message, SettlementReading | TelemetryBatch | GapRecord) and message.meter != topic.meter:
        return Refusal.WRONG_METER
    if isinstance(message, SettlementReading):
        beyond = max(message.import_wh, message.export_wh) > REGISTER_LIMIT_WH
        if beyond or message.interval >= interval_of(message.taken_at_s):
            return Refusal.OUT_OF_RANGE
        return _time_refusal(message.taken_at_s, min(message.taken_at_s, (message.interval + 1) * INTERVAL_S), now_s)
    if isinstance(message, TelemetryBatch):
        return _time_refusal(message.last_taken_at_s, message.first_taken_at_s, now_s)
    if isinstance(message, Bid | StandingOrder) and not 0 < message.version < FORCED_VERSION:
        return Refusal.RESERVED_VERSION
    return None


def _time_refusal(latest_s: int, earliest_s: int, now_s: int) -> Refusal | None:
    if latest_s > now_s + FUTURE_LIMIT_S:
        return Refusal.FROM_THE_FUTURE
    if earliest_s < now_s - AGE_LIMIT_S:
        return Refusal.TOO_OLD
    return None


def order_refusal(bid: Bid, market: MarketConfig, now_s: int) -> Refusal | None:
    """Why a bid cannot take part in any coming round."""
    product = Product.from_number(bid.product)
    if product.length not in market.calendar.lengths:
        return Refusal.UNKNOWN_PRODUCT
    schedule = market.calendar.schedule(product.length)
    if now_s >= schedule.gate_closure_s(product):
        return Refusal.GATE_CLOSED
    if not schedule.is_open(product, now_s):
        return Refusal.NOT_YET_OPEN
    if bid.quantity_wh and bid.expiry_s < now_s:
        return Refusal.EXPIRED
    return None
