"""MQTT topics ``grid/v1/<feeder>/<edge>/…`` and what each may carry.

Upwards: state, birth, telemetry/<meter>, settlement/<meter>, bid, report.
Downwards: ack, request, setpoint, receipt, proof.
QoS 1 upwards; downwards repeats come from the application. Only ``state`` and ``birth`` are retained.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

PREFIX = "grid/v1"
NAME_PATTERN = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")


class Leaf(StrEnum):
    """Last level of a topic."""

    STATE = "state"
    BIRTH = "birth"
    TELEMETRY = "telemetry"
    SETTLEMENT = "settlement"
    BID = "bid"
    REPORT = "report"
    ACK = "ack"
    REQUEST = "request"
    SETPOINT = "setpoint"
    RECEIPT = "receipt"
    PROOF = "proof"


UPWARD = frozenset((Leaf.STATE, Leaf.BIRTH, Leaf.TELEMETRY, Leaf.SETTLEMENT, Leaf.BID, Leaf.REPORT))
DOWNWARD = frozenset((Leaf.ACK, Leaf.REQUEST, Leaf.SETPOINT, Leaf.RECEIPT, Leaf.PROOF))
RETAINED = frozenset((Leaf.STATE, Leaf.BIRTH))

PAYLOAD_LIMIT_BYTES = dict.fromkeys(Leaf, 4 * 1024) | {
    Leaf.BIRTH: 16 * 1024,
    Leaf.TELEMETRY: 70 * 1024,
    Leaf.PROOF: 64 * 1024,
}
"""Largest payload by leaf: signed messages are below 400 B; a telemetry batch carries its columns."""


PER_METER = frozenset((Leaf.TELEMETRY, Leaf.SETTLEMENT))
METER_LIMIT = 1 << 16


@dataclass(frozen=True, slots=True)
class Topic:
    """A parsed topic. ``edge`` is the home's name on the feeder; ``meter`` a number where the leaf has one."""

    feeder: str
    edge: str
    leaf: Leaf
    meter: int | None = None

    def __str__(self) -> str:
        stem = f"{PREFIX}/{self.feeder}/{self.edge}/{self.leaf.value}"
        return stem if self.meter is None else f"{stem}/{self.meter}"


def topic(feeder: str, edge: str, leaf: Leaf, meter: int | None = None) -> str:
    """The topic string. Raises ValueError for a name that is not ``[a-z0-9_-]``, at most 32 long, or a bad meter."""
    for name in (feeder, edge):
        if not NAME_PATTERN.fullmatch(name):
            raise ValueError(f"{name!r} cannot be a level of a topic")
    if (meter is not None) != (leaf in PER_METER) or (meter is not None and not 0 <= meter < METER_LIMIT):
        raise ValueError(f"{leaf.value} with meter {meter} is not a topic")
    return str(Topic(feeder, edge, leaf, meter))


def parse_topic(text: str) -> Topic | None:
    """The topic, or None when it is not one of ours."""
    parts = text.split("/")
    if not 5 <= len(parts) <= 6 or "/".join(parts[:2]) != PREFIX:
        return None
    feeder, edge, name, *meters = parts[2:]
    if not NAME_PATTERN.fullmatch(feeder) or not NAME_PATTERN.fullmatch(edge) or name not in set(Leaf):
        return None
    leaf = Leaf(name)
    if bool(meters) != (leaf in PER_METER):
        return None
    if not meters:
        return Topic(feeder, edge, leaf)
    meter = meters[0]
    if not (meter.isascii() and meter.isdigit() and len(meter) <= 5 and int(meter) < METER_LIMIT):
        return None
    return Topic(feeder, edge, leaf, int(meter)) if str(int(meter)) == meter else None


def downlink_filter(feeder: str, edge: str) -> tuple[str, ...]:
    """What an agent subscribes to: its own downward topics, no wildcard over others."""
    return tuple(topic(feeder, edge, leaf) for leaf in sorted(DOWNWARD))


def uplink_filter(feeder: str) -> tuple[str, ...]:
    """What a coordinator subscribes to."""
    return tuple(f"{PREFIX}/{feeder}/+/{leaf.value}" + "/+" * (leaf in PER_METER) for leaf in sorted(UPWARD))
