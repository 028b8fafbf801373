"""What the agent knows about itself and its devices at one moment, for the page, Home Assistant and doctors.

    sample + judged row -> Board -> AgentStatus

Energy counters are the guarded registers and nothing else: what a meter sent raw may step back, a register never does.
They appear with the first good sample of this run, because the register a restart begins with lies up to a quarter of
an hour behind what was shown before it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from contracts.codes import ClockStatus
from device_profiles.measurement import MEASUREMENTS
from edge_agent.config import AgentConfig, MeterConfig
from edge_agent.effects import NOTHING, Sample
from edge_agent.readings.metering import Row

REGISTERS = ("import_wh", "export_wh")


@dataclass(frozen=True, slots=True)
class DeviceStatus:
    """One device: its last good values, when they were taken, and what is wrong now (``fault`` None: nothing)."""

    number: int
    name: str
    role: str
    kind: str
    mode: str | None
    values: Mapping[str, int]
    taken_at_ms: int | None
    fault: str | None


@dataclass(frozen=True, slots=True)
class AgentStatus:
    """The agent at ``now_ms``. ``waiting`` counts frames the operator has not acknowledged, by kind."""

    feeder: str
    edge: str
    account: int
    now_ms: int
    link: bool
    clock: ClockStatus
    clock_known: bool
    epoch: int | None
    waiting: Mapping[str, int]
    devices: tuple[DeviceStatus, ...]

    @property
    def waiting_frames(self) -> int:
        """Frames of all kinds that wait for the operator's word."""
        return sum(self.waiting.values())

    @property
    def waiting_for_money(self) -> int:
        """Those of them that count for money."""
        return self.waiting.get("settlement", 0) + self.waiting.get("settlement_gap", 0)


class Board:
    """Remembers what each device last showed."""

    def __init__(self, config: AgentConfig) -> None:
        self._config = config
        self._values: dict[str, dict[str, int]] = {}
        self._taken_at_ms: dict[str, int] = {}
        self._faults: dict[str, str] = {}

    def note(self, sample: Sample, row: Row | None) -> None:
        """A poll and what became of it."""
        if sample.values is None:
            self._faults[sample.device] = sample.fault or "nothing came"
            return
        if row is None or not row.values:
            self._faults[sample.device] = "no plausible value"
            return
        self._faults.pop(sample.device, None)
        values = {name: value for name, value in row.values.items() if not _is_counter(name)}
        known = self._values.get(sample.device, NOTHING)
        for name, register in zip(REGISTERS, (row.import_wh, row.export_wh), strict=True):
            if row.fresh and register is not None:
                values[name] = register
            elif name in known:
                values[name] = known[name]
        self._values[sample.device] = values
        self._taken_at_ms[sample.device] = sample.taken_at_ms

    def clock_stepped(self, step_ms: int) -> None:
        """Moves what was noted with the clock, so that ages stay true."""
        for name in self._taken_at_ms:
            self._taken_at_ms[name] += step_ms

    def devices(self, modes: Mapping[int, str]) -> tuple[DeviceStatus, ...]:
        """Every configured device; ``modes`` by number where somebody may steer it."""
        return tuple(self._device(meter, modes.get(meter.number)) for meter in self._config.meters)

    def _device(self, meter: MeterConfig, mode: str | None) -> DeviceStatus:
        name = meter.name
        taken_at_ms = self._taken_at_ms.get(name)
        fault = self._faults.get(name) or (None if taken_at_ms is not None else "nothing came yet")
        values = self._values.get(name, NOTHING)
        kind = meter.profile or meter.telegram
        return DeviceStatus(meter.number, name, meter.role, kind, mode, values, taken_at_ms, fault)


def _is_counter(name: str) -> bool:
    found = MEASUREMENTS.get(name)
    return found is not None and found.counter
