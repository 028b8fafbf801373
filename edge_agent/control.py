"""Set-points: what the operator asks of a device, obeyed only within what the home itself allows.

    AUTONOMOUS  nobody commands; the device follows its own logic
    REMOTE      a set-point is in force; its watchdog is rewritten at half time
    HOLD        the link is gone; the last set-point stays until it expires
    FALLBACK    it expired; the device was released and its own droop governs
    LOCKED      a read-back was not what was written; no command for LOCK_MS

See TRANSITIONS. Checks stand in the order of SetPointOutcome's meaning: issuer, clock, replay, age, device, range,
budget. The sequence is stored before the write, so that a crash in between never obeys the same command twice. A
dead agent is safe: the device's own watchdog runs out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from contracts.interval import DAY_S
from contracts.messages import SetPoint, SetPointKind, SetPointOutcome, SetPointReport
from device_profiles.profile_parts import Profile, WritePoint
from edge_agent.config import AgentConfig, MeterConfig
from edge_agent.effects import Alarm, Counters, Effect, WriteDevice, WriteResult

WATCHDOG_S = 60
"""The device gives up at most this long after we fell silent."""
READ_BACK_MS = 2_000
"""What was written must be read back within this, or the device is not trusted."""
LOCK_MS = 900_000
"""A quarter of an hour for an installer or a restart of the device; then commands are tried again."""
READ_BACK_TOLERANCE_PART = 100
READ_BACK_TOLERANCE = 10
"""Registers are coarser than our units: a hundredth, or ten units."""
FORGED_REPORTS_PER_MINUTE = 6
"""A stranger on the broker must not make us sign and send without bound."""
_WRITES = {
    SetPointKind.ACTIVE_POWER: ("power_setpoint_w",),
    SetPointKind.EXPORT_LIMIT: ("power_limit_w", "power_limit_permille"),
    SetPointKind.IMPORT_LIMIT: (),
}


class Mode(StrEnum):
    """Who governs a device."""

    AUTONOMOUS = "autonomous"
    REMOTE = "remote"
    HOLD = "hold"
    FALLBACK = "fallback"
    LOCKED = "locked"


class Turn(StrEnum):
    """What happens to a device."""

    ACCEPTED = "a set-point passed all checks"
    LINK_LOST = "the broker is out of reach"
    LINK_BACK = "the broker is back"
    EXPIRED = "the set-point's time is over"
    BAD_READ_BACK = "the device does not hold what was written"
    UNLOCKED = "the lock's time is over"


TRANSITIONS: Mapping[tuple[Mode, Turn], Mode] = {
    (Mode.AUTONOMOUS, Turn.ACCEPTED): Mode.REMOTE,
    (Mode.REMOTE, Turn.ACCEPTED): Mode.REMOTE,
    (Mode.REMOTE, Turn.LINK_LOST): Mode.HOLD,
    (Mode.REMOTE, Turn.EXPIRED): Mode.FALLBACK,
    (Mode.REMOTE, Turn.BAD_READ_BACK): Mode.LOCKED,
    (Mode.HOLD, Turn.LINK_BACK): Mode.REMOTE,
    (Mode.HOLD, Turn.ACCEPTED): Mode.REMOTE,
    (Mode.HOLD, Turn.EXPIRED): Mode.FALLBACK,
    (Mode.HOLD, Turn.BAD_READ_BACK): Mode.LOCKED,
    (Mode.FALLBACK, Turn.ACCEPTED): Mode.REMOTE,
    (Mode.FALLBACK, Turn.LINK_BACK): Mode.AUTONOMOUS,
    (Mode.LOCKED, Turn.UNLOCKED): Mode.AUTONOMOUS,
}
"""Every move there is; any other turn leaves a device as it is."""


@dataclass(slots=True)
class Device:
    """One controllable device. ``newest`` is the highest (term, sequence) ever obeyed."""

    config: MeterConfig
    profile: Profile
    mode: Mode = Mode.AUTONOMOUS
    newest: tuple[int, int] = (-1, -1)
    last: SetPoint | None = None
    report: SetPointReport | None = None
    write: str = ""
    value: int = 0
    rewrite_at_ms: int | None = None
    until_ms: int | None = None
    token: int = 0
    answer_by_ms: int | None = None
    reported: bool = True
    budget_day: int = 0
    budget_used: int = 0

    def turn(self, turn: Turn) -> None:
        """Moves along TRANSITIONS."""
        self.mode = TRANSITIONS.get((self.mode, turn), self.mode)

    def state(self) -> list[object]:
        """As JSON: what must survive the agent."""
        return [*self.newest, self.budget_day, self.budget_used, self.write]

    def restore(self, state: list[object] | None) -> None:
        """After a restart: nothing older is obeyed, and what may still be in force is released at once."""
        if state is not None:
            term, sequence, day, used, write = state
            self.newest = (int(str(term)), int(str(sequence)))
            self.budget_day, self.budget_used = int(str(day)), int(str(used))
            if any(known.name == write for known in self.profile.writes):
                self.write, self.until_ms = str(write), 0


Values = Callable[[int], Mapping[str, int]]
"""Latest measured values of the device with that number."""


class Control:
    """All devices of a home. ``keep`` stores a device's state durably and says whether it did."""

    def __init__(
        self,
        config: AgentConfig,
        meters: Iterable[MeterConfig],
        profiles: Mapping[str, Profile],
        values: Values,
        keep: Callable[[Device], bool],
        counters: Counters,
    ) -> None:
        self._account = config.home.account
        self._limits = config.limits
        self._values = values
        self._keep = keep
        self._counters = counters
        self._patience_ms = int(READ_BACK_MS * max(1.0, config.clock.speed))
        self._forged_minute = (0, 0)
        self._token = 0
        self._link = False
        self.devices = {m.number: Device(m, profiles[m.name]) for m in meters if profiles[m.name].writes}

    # Commands in

    def on_set_point(
        self, order: SetPoint, by_operator: bool, clock_known: bool, now_ms: int
    ) -> tuple[list[Effect], SetPointReport | None]:
        """Obeys or refuses; the report to sign now, None where it follows the read-back or nothing is said."""
        if order.account != self._account:
            self._counters.count("setpoint_other_account")
            return [], None
        device = self.devices.get(order.device)
        again = by_operator and device is not None and device.last == order
        if again and device is not None:
            self._counters.count("setpoint_repeated")
            return [], device.report
        outcome = self._refusal(order, device, by_operator, clock_known, now_ms)
        if outcome is None and device is not None:
            effects = self._obey(order, device, now_ms)
            if effects is not None:
                return effects, None
            outcome = SetPointOutcome.WRITE_BUDGET_SPENT
            self._counters.count("setpoint_not_stored")
        assert outcome is not None
        self._counters.count(f"setpoint_{outcome.name.lower()}")
        if outcome == SetPointOutcome.WRONG_ISSUER and not self._may_report_forged(now_ms):
            return [], None
        return [], self._report(order, outcome, self._power_w(order.device), now_ms)

    def _refusal(
        self, order: SetPoint, device: Device | None, by_operator: bool, clock_known: bool, now_ms: int
    ) -> SetPointOutcome | None:
        if not by_operator:
            return SetPointOutcome.WRONG_ISSUER
        if not clock_known:
            return SetPointOutcome.CLOCK_UNSYNCHRONISED
        if device is not None and (order.term, order.sequence) <= device.newest:
            return SetPointOutcome.REPLAYED
        if now_ms >= order.valid_until_s * 1000:
            return SetPointOutcome.EXPIRED
        if now_ms < order.issued_at_s * 1000 - self._patience_ms:
            return SetPointOutcome.NOT_YET_VALID
        if device is None or self._write_for(order, device) is None:
            return SetPointOutcome.NO_SUCH_DEVICE
        if device.mode == Mode.LOCKED:
            return SetPointOutcome.READ_BACK_FAILED
        if self._value_for(order, device) is None:
            return SetPointOutcome.OUT_OF_RANGE
        if self._budget_spent(device, order, now_ms):
            return SetPointOutcome.WRITE_BUDGET_SPENT
        return None

    @staticmethod
    def _write_for(order: SetPoint, device: Device) -> WritePoint | None:
        names = {write.name: write for write in device.profile.writes}
        return next((names[name] for name in _WRITES[SetPointKind(order.kind)] if name in names), None)

    def _value_for(self, order: SetPoint, device: Device) -> int | None:
        """The set-point in the device's unit; None outside the profile's or the home's own bounds."""
        write = self._write_for(order, device)
        power_w = order.power_w
        if write is None or not -self._limits.max_export_w <= power_w <= self._limits.max_import_w:
            return None
        value = power_w
        if order.kind == SetPointKind.EXPORT_LIMIT:
            value = abs(power_w)
            if value > self._limits.max_export_w:
                return None
        if write.name == "power_limit_permille":
            full_w = self._values(device.config.number).get("max_power_w", 0)
            if full_w <= 0:
                return None
            value = min(value * 1000 // full_w, 1000)
        return value if write.minimum <= value <= write.maximum else None

    def _budget_spent(self, device: Device, order: SetPoint, now_ms: int) -> bool:
        write = self._write_for(order, device)
        if write is None or write.storage != "flash":
            return False
        today = now_ms // 1000 // DAY_S
        return device.budget_day == today and device.budget_used >= self._limits.writes_per_day

    def _obey(self, order: SetPoint, device: Device, now_ms: int) -> list[Effect] | None:
        """Stores the sequence, then writes. None where the sequence cannot be stored."""
        write, value = self._write_for(order, device), self._value_for(order, device)
        assert write is not None and value is not None
        before = (device.newest, device.budget_day, device.budget_used)
        today = now_ms // 1000 // DAY_S
        if write.storage == "flash":
            used = device.budget_used if device.budget_day == today else 0
            device.budget_day, device.budget_used = today, used + 1
        device.newest, device.write = (order.term, order.sequence), write.name
        if not self._keep(device):
            device.newest, device.budget_day, device.budget_used = before
            return None
        device.last, device.report, device.reported = order, None, False
        device.value, device.until_ms = value, order.valid_until_s * 1000
        device.turn(Turn.ACCEPTED)
        if not self._link:
            device.turn(Turn.LINK_LOST)
        return [self._write(device, write, now_ms)]

    def _write(self, device: Device, write: WritePoint, now_ms: int) -> Effect:
        remaining_ms = (device.until_ms or now_ms) - now_ms
        watchdog_s: int | None = None
        device.rewrite_at_ms = None
        if write.watchdog is not None:
            watchdog_s = max(1, min(WATCHDOG_S, write.watchdog.seconds, remaining_ms // 1000))
            if remaining_ms > watchdog_s * 1000:
                device.rewrite_at_ms = now_ms + watchdog_s * 500
        self._token += 1
        device.token, device.answer_by_ms = self._token, now_ms + self._patience_ms
        return WriteDevice(device.config.name, write.name, device.value, watchdog_s, self._token)

    # Answers and time

    def on_written(self, result: WriteResult, now_ms: int) -> tuple[list[Effect], list[SetPointReport]]:
        """Judges a read-back."""
        waiting = [d for d in self.devices.values() if d.answer_by_ms is not None]
        device = next((d for d in waiting if d.token == result.token), None)
        if device is None:
            return [], []
        device.answer_by_ms = None
        tolerance = max(READ_BACK_TOLERANCE, abs(device.value) // READ_BACK_TOLERANCE_PART)
        held = result.read_back
        if result.fault is not None or held is None or abs(held - device.value) > tolerance or device.last is None:
            return self._lock(device, result.fault or f"reads back {held}, not {device.value}", now_ms)
        if device.reported:
            return [], []
        device.reported = True
        self._counters.count("setpoint_applied")
        device.report = self._report(device.last, SetPointOutcome.APPLIED, self._in_watts(device), now_ms)
        return [], [device.report]

    def _in_watts(self, device: Device) -> int:
        return device.last.power_w if device.last is not None else 0

    def _lock(self, device: Device, why: str, now_ms: int) -> tuple[list[Effect], list[SetPointReport]]:
        self._counters.count("setpoint_read_back_failed")
        device.turn(Turn.BAD_READ_BACK)
        device.rewrite_at_ms, device.answer_by_ms, device.until_ms = None, None, now_ms + LOCK_MS
        effects: list[Effect] = [Alarm("control", f"{device.config.name} is locked: {why}"), self._release(device)]
        if device.last is None:
            return effects, []
        device.reported = True
        power_w = self._power_w(device.config.number)
        device.report = self._report(device.last, SetPointOutcome.READ_BACK_FAILED, power_w, now_ms)
        return effects, [device.report]

    def on_clock_step(self, step_ms: int) -> None:
        """The clock jumped: what was counted from now moves with it, what stands in a signed order does not."""
        for device in self.devices.values():
            if device.rewrite_at_ms is not None:
                device.rewrite_at_ms += step_ms
            if device.answer_by_ms is not None:
                device.answer_by_ms += step_ms

    def on_link(self, up: bool) -> None:
        """The broker came or went."""
        self._link = up
        for device in self.devices.values():
            device.turn(Turn.LINK_BACK if up else Turn.LINK_LOST)

    def on_deadline(self, now_ms: int) -> tuple[list[Effect], list[SetPointReport]]:
        """Rewrites watchdogs, ends what expired, unlocks."""
        effects: list[Effect] = []
        reports: list[SetPointReport] = []
        for device in self.devices.values():
            if device.answer_by_ms is not None and now_ms >= device.answer_by_ms:
                more, said = self._lock(device, "no read-back in time", now_ms)
            elif device.until_ms is not None and now_ms >= device.until_ms:
                more, said = self._expire(device, now_ms)
            elif device.rewrite_at_ms is not None and now_ms >= device.rewrite_at_ms:
                more, said = [self._write(device, device.profile.write(device.write), now_ms)], []
            else:
                continue
            effects += more
            reports += said
        return effects, reports

    def _expire(self, device: Device, now_ms: int) -> tuple[list[Effect], list[SetPointReport]]:
        device.rewrite_at_ms = device.until_ms = device.answer_by_ms = None
        if device.mode == Mode.LOCKED:
            device.turn(Turn.UNLOCKED)
            return [], []
        device.turn(Turn.EXPIRED)
        self._counters.count("setpoint_fell_back")
        if device.last is None:
            return [self._release(device)], []
        power_w = self._power_w(device.config.number)
        device.report = self._report(device.last, SetPointOutcome.FELL_BACK, power_w, now_ms)
        return [self._release(device)], [device.report]

    @staticmethod
    def _release(device: Device) -> Effect:
        """Token 0: nobody waits for the answer, the device's own watchdog is the safety."""
        return WriteDevice(device.config.name, device.write, None, None, 0)

    def next_ms(self) -> int | None:
        """The nearest deadline of any device."""
        times = [
            at for d in self.devices.values() for at in (d.answer_by_ms, d.until_ms, d.rewrite_at_ms) if at is not None
        ]
        return min(times, default=None)

    # Reports

    def _power_w(self, number: int) -> int:
        return self._values(number).get("power_w", 0)

    def _may_report_forged(self, now_ms: int) -> bool:
        minute, used = self._forged_minute
        used = used + 1 if minute == now_ms // 60_000 else 1
        self._forged_minute = (now_ms // 60_000, used)
        return used <= FORGED_REPORTS_PER_MINUTE

    def _report(self, order: SetPoint, outcome: SetPointOutcome, power_w: int, now_ms: int) -> SetPointReport:
        return SetPointReport(
            self._account, order.device, order.term, order.sequence, int(outcome), power_w, max(now_ms, 0) // 1000
        )
