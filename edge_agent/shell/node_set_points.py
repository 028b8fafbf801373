"""Set-points of a metering node: what the core writes to a device becomes a CMD, and the node's REPORT its answer.

    WriteDevice -> [HELLO, where the node was not heard for a while] -> CMD, until reported -> REPORT -> WriteResult

To the core a node that steers is a device like any other: its bounds stand in the configuration, its watchdog is the
end that every CMD carries, by the node's own clock, so that it falls back alone. A node reports only what it has done:
its answer is the read-back. Where none comes the core's own patience ends.
"""

from __future__ import annotations

from collections.abc import Callable

from device_profiles.profile_parts import Bus, Example, Kind, Probe, Profile, Watchdog, WritePoint
from edge_agent.config import MeterConfig
from edge_agent.effects import WriteDevice, WriteResult
from edge_agent.steering.actuator import WATCHDOG_S
from firmware_bridge.node import NodeDecoder
from firmware_bridge.node_messages import VALID_LIMIT_MS, Outcome, SetPoint

GREET_AFTER_MS = 5_000
"""A node takes a CMD for a minute after it was last heard, and its time counts from then."""
_KINDS = {"power_setpoint_w": SetPoint.POWER_W, "power_limit_w": SetPoint.LIMIT_W}
_DEVICES: dict[str, Kind] = {"inverter": "inverter", "battery": "battery"}


def node_profile(meter: MeterConfig) -> Profile | None:
    """A profile without registers for a node that steers; None for any other meter."""
    actuator = None if meter.node is None else meter.node.actuator
    if actuator is None:
        return None

    def write(name: str, low_w: int, high_w: int) -> WritePoint:
        watchdog = Watchdog(None, "uint16", WATCHDOG_S)
        return WritePoint(
            name, 0, 0, "int32", low_w, high_w, ramp_per_s=actuator.ramp_w_per_s, watchdog=watchdog, fallback=None
        )

    writes = [write("power_setpoint_w", actuator.minimum_w, actuator.maximum_w)]
    if actuator.minimum_w < 0:
        writes.append(write("power_limit_w", 0, -actuator.minimum_w))
    kind = _DEVICES.get(meter.role, "meter")
    nothing = Example({}, {}, {})
    return Profile("node", "", "", kind, 0, Bus(), Probe(), (), (), tuple(writes), nothing)


class NodeSetPoints:
    """The set-point under way to one node."""

    def __init__(self, node: NodeDecoder, on_written: Callable[[WriteResult], None]) -> None:
        self._node = node
        self._on_written = on_written
        self._asked: WriteDevice | None = None
        self._heard_uptime_ms = 0
        self._heard_at_ms: int | None = None

    def write(self, order: WriteDevice, now_ms: int) -> None:
        """Asks the node for it; a newer one takes the place of one that was not answered."""
        kind, valid_s = _KINDS.get(order.write), WATCHDOG_S if order.watchdog_s is None else order.watchdog_s
        if kind is None:
            self._answer(order, None, f"a node knows no {order.write}")
            return
        if self._asked is not None:
            self._answer(self._asked, None, "a newer set-point took its place")
        age_ms = 0
        if self._heard_at_ms is not None and 0 <= now_ms - self._heard_at_ms <= GREET_AFTER_MS:
            age_ms = now_ms - self._heard_at_ms
        else:
            self._node.greet()
        value, kind = (0, SetPoint.RELEASE) if order.value is None else (order.value, kind)
        self._node.order(kind, value, min(valid_s * 1000 + age_ms, VALID_LIMIT_MS), now_ms)
        self._asked = order

    def look(self, now_ms: int) -> None:
        """To be called whenever something may have been heard."""
        if self._node.heard_uptime_ms != self._heard_uptime_ms:
            self._heard_uptime_ms, self._heard_at_ms = self._node.heard_uptime_ms, now_ms
        order, report = self._asked, self._node.answer
        if order is None or report is None:
            return
        self._asked = None
        if report.outcome == Outcome.APPLIED:
            self._answer(order, order.value, None)
        else:
            self._answer(order, None, f"the node says {report.outcome.name}")

    def _answer(self, order: WriteDevice, held: int | None, fault: str | None) -> None:
        self._on_written(WriteResult(order.token, order.device, held, fault))
