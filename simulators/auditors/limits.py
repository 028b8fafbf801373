"""Nobody goes beyond a limit: set-points within what a device was enrolled for, writes within profile, home and order,
and at the border nothing good is refused without a reason in the world and nothing damaged is let in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from contracts.envelope import Envelope, open_envelope
from contracts.messages import SetPoint, TelemetryBatch
from coordinator.ingest import Refusal
from edge_agent.effects import WriteDevice
from simulators.auditors.auditor import Findings, Opened
from simulators.world_events import DeviceWritten, HomeSaid, OperatorHeard, OperatorSaid, WorldEvent
from simulators.world_home import profile

if TYPE_CHECKING:
    from simulators.world import World

NEVER_FOR_GOOD_MESSAGES = frozenset(
    (
        Refusal.OVERSIZED, Refusal.UNKNOWN_TOPIC, Refusal.OTHER_FEEDER, Refusal.MALFORMED, Refusal.WRONG_KIND,
        Refusal.WRONG_METER, Refusal.OUT_OF_RANGE, Refusal.RESERVED_VERSION, Refusal.WRONG_SIGNATURE,
        Refusal.COLUMNS_DIFFER, Refusal.UNKNOWN_PRODUCT, Refusal.TOO_OLD,
    )
)  # fmt: skip
"""An honest agent's own bytes meet none of these, whatever the network does."""
CLOCK_REFUSALS = frozenset((Refusal.FROM_THE_FUTURE, Refusal.NOT_YET_OPEN))


class LimitsAuditor:
    """Judges commands and refusals as they happen."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._findings = Findings("limits")
        self._open = Opened()
        self._said: dict[bytes, int] = {}
        self._orders: dict[int, list[SetPoint]] = {}

    def observe(self, event: WorldEvent) -> None:
        """Set-points, writes, and verdicts at the border."""
        match event:
            case HomeSaid(home, _, payload):
                self._said[payload] = home
            case OperatorSaid(topic, payload) if topic.endswith("/setpoint"):
                self._set_point(payload)
            case DeviceWritten(home, write):
                self._written(home, write)
            case OperatorHeard(topic, payload, refusal):
                self._judged(topic, payload, refusal)

    def _set_point(self, payload: bytes) -> None:
        envelope = self._open(payload)
        core = self._world.operator.core
        if envelope is None or not isinstance(envelope.message, SetPoint) or core is None:
            self._findings.add("bytes under setpoint are no set-point")
            return
        order = envelope.message
        self._orders.setdefault(order.account - 1, []).append(order)
        ranges = {(d.account, d.device): (d.lowest_w, d.highest_w) for d in core.dispatch.devices()}
        lowest, highest = ranges.get((order.account, order.device), (0, 0))
        if not lowest <= order.power_w <= highest:
            self._findings.add(f"set-point of {order.power_w} W to account {order.account} is beyond its range")

    def _written(self, home: int, write: WriteDevice) -> None:
        if write.value is None:
            return
        shell = self._world.homes[home]
        meter = next(m for m in shell.config.meters if m.name == write.device)
        point = profile(meter.profile).write(write.write)
        limits = shell.config.limits
        if not point.minimum <= write.value <= point.maximum:
            self._findings.add(f"home {home} wrote {write.value}, beyond the profile")
        if not -limits.max_export_w <= write.value <= limits.max_import_w:
            self._findings.add(f"home {home} wrote {write.value}, beyond its own limits")
        now_s = self._world.clock.now_s
        ordered = [o for o in self._orders.get(home, []) if o.device == meter.number and o.power_w == write.value]
        if not ordered:
            self._findings.add(f"home {home} wrote {write.value} W that nobody ordered")
        elif shell.synchronised and all(o.valid_until_s < now_s for o in ordered):
            self._findings.add(f"home {home} obeyed a set-point after its time")

    def _means_the_same(self, payload: bytes) -> bool:
        """Whether only spare bits of the compressed columns differ: compression has some that no content depends on."""
        damaged = open_envelope(payload)
        if not isinstance(damaged, Envelope) or not isinstance(damaged.message, TelemetryBatch):
            return False
        signed = payload[: len(payload) - len(damaged.attachment)]
        return any(said.startswith(signed) for said in self._said)

    def _judged(self, topic: str, payload: bytes, refusal: Refusal | None) -> None:
        home = self._said.get(payload)
        if home is None:
            if refusal is None and not self._means_the_same(payload):
                self._findings.add(f"damaged bytes under {topic} were accepted")
            return
        if refusal in NEVER_FOR_GOOD_MESSAGES:
            self._findings.add(f"an honest message of home {home} under {topic} was refused: {refusal.name}")
        if refusal in CLOCK_REFUSALS and self._world.homes[home].synchronised:
            self._findings.add(f"home {home} is on time, yet its message was refused: {refusal.name}")

    def verdict(self) -> list[str]:
        """What was found on the way."""
        return self._findings.texts()
