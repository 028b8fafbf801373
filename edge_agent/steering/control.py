"""Set-points: what the operator asks of a device, obeyed only within what the home itself allows.

    set-point -> refusal_of (`set_point_rules.py`) -> stored -> actuator -> write -> read-back -> report
    wish      -> no set-point in force, within the home's own limits ----^

Who governs a device is the table in `device_state.py`; how a value is reached and kept, `actuator.py`. The sequence
is stored before the write, so that a crash in between never obeys the same command twice. A dead agent is safe: the
device's own watchdog runs out. What the home itself wishes of a device (`local_control.py`) goes the same way, but
never against a set-point in force, never to a set-point in flash, and never beyond the home's own limits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from itertools import count

from contracts.codes import SetPointOutcome
from contracts.interval import DAY_S
from contracts.messages import SetPoint, SetPointReport
from device_profiles.profile_parts import Profile
from edge_agent.config import AgentConfig, MeterConfig
from edge_agent.effects import Alarm, Counters, Effect, WriteResult
from edge_agent.steering.actuator import READ_BACK_MS, Actuator, tolerance_of
from edge_agent.steering.device_state import COMMANDED, TRANSITIONS, Device, Mode, Turn
from edge_agent.steering.replay_floor import NO_FLOOR_S
from edge_agent.steering.set_point_rules import Circumstances, least_w, ramp_for, refusal_of, value_for, write_for

LOCK_MS = 900_000
"""A quarter of an hour for an installer or a restart of the device; then commands are tried again."""
SETTLE_MS = 900_000
"""After a quarter of an hour without a command, though there is a link, the home is its own again."""
RELEASE_EVERY_MS = 10_000
RELEASE_TRIES = 60
"""A device without a watchdog is asked for ten minutes to let go, then an installer is; a restart asks again."""
WISH_MS = 60_000
"""A wish of the home that nobody repeats ends like a set-point that expires."""
FORGED_REPORTS_PER_MINUTE = 6
"""A stranger on the broker must not make us sign and send without bound."""


Outcome = tuple[list[Effect], list[SetPointReport]]
Values = Callable[[int], Mapping[str, int]]
"""Latest measured values of the device with that number."""


class Control:
    """All devices of a home. ``keep`` stores a device's state durably and says whether it did.

    ``floor_s`` says up to when what was issued counts as replayed.
    """

    def __init__(
        self,
        config: AgentConfig,
        meters: Iterable[MeterConfig],
        profiles: Mapping[str, Profile],
        values: Values,
        keep: Callable[[Device], bool],
        counters: Counters,
        floor_s: Callable[[], int] = lambda: NO_FLOOR_S,
    ) -> None:
        self._config = config
        self._floor_s = floor_s
        self._account = config.home.account
        self._values = values
        self._keep = keep
        self._counters = counters
        self._patience_ms = int(READ_BACK_MS * max(1.0, config.clock.speed))
        self._forged_minute = (0, 0)
        self._link = False
        self.barred = False
        self.locks = 0
        self.devices = {m.number: Device(m, profiles[m.name]) for m in meters if profiles[m.name].writes}
        tokens = count(1)
        for device in self.devices.values():
            for write in device.profile.writes:
                device.actuators[write.name] = Actuator(
                    device.config.name, write, self._patience_ms, tokens,
                    lambda now_ms, device=device: self._spend(device, now_ms),  # type: ignore[misc]
                    least_w(device.profile) if write.name == "power_setpoint_w" else 0,
                )  # fmt: skip

    # Commands in

    def on_set_point(
        self, order: SetPoint, by_operator: bool, clock_known: bool, now_ms: int
    ) -> tuple[list[Effect], SetPointReport | None]:
        """Obeys or refuses; the report to sign now, None where it follows the read-back or nothing is said."""
        if order.account != self._account:
            self._counters.count("setpoint_other_account")
            return [], None
        device = self.devices.get(order.device)
        if by_operator and device is not None and device.last == order:
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

    def circumstances(self, by_operator: bool, clock_known: bool, now_ms: int) -> Circumstances:
        """What the home knows now, apart from any device."""
        return Circumstances(
            now_ms, by_operator, clock_known, breaker_open=self.barred, early_ms=self._patience_ms,
            floor_s=self._floor_s(),
        )  # fmt: skip

    def _refusal(
        self, order: SetPoint, device: Device | None, by_operator: bool, clock_known: bool, now_ms: int
    ) -> SetPointOutcome | None:
        met = self.circumstances(by_operator, clock_known, now_ms)
        if device is None:
            return refusal_of(order, None, self._config, "", {}, met)
        spent = self._spent(device, now_ms)
        met = replace(met, newest=device.newest, locked=device.mode == Mode.LOCKED, budget_spent=spent)
        values = self._values(device.config.number)
        return refusal_of(order, device.profile, self._config, device.config.name, values, met)

    def _obey(self, order: SetPoint, device: Device, now_ms: int) -> list[Effect] | None:
        """Stores the sequence, then writes. None where it cannot be stored."""
        write, values = write_for(order.kind, device.profile), self._values(device.config.number)
        assert write is not None
        battery = self._config.battery_of(device.config.name)
        value = value_for(order, write, self._config.limits, battery, values, least_w(device.profile))
        assert value is not None
        before = (device.newest, list(device.leftover))
        device.newest = (order.term, order.sequence)
        # Named as in force before it is, so that a crash in between leaves nothing behind.
        device.leftover = [*device.leftover, write.name]
        if not self._keep(device):
            device.newest, device.leftover = before
            return None
        effects = self._aim(device, write.name, value, order.valid_until_s * 1000, now_ms)
        if effects is None:
            device.newest, device.leftover = before
            return None
        device.last, device.report, device.reported, device.write = order, None, False, write.name
        device.until_ms = order.valid_until_s * 1000
        device.turn(Turn.ACCEPTED)
        if not self._link:
            device.turn(Turn.LINK_LOST)
        others = [name for name in {*device.engaged, *device.leftover} if name != write.name]
        return [*self._release(device, others), *effects]

    # Writes

    def _aim(self, device: Device, name: str, value: int, until_ms: int, now_ms: int) -> list[Effect] | None:
        """Heads a device's set-point for a value; None where flash may not be written."""
        actuator = device.actuators[name]
        actuator.ramp = ramp_for(actuator.write, self._config.limits, self._values(device.config.number))
        effects = actuator.aim(value, self._start(device, name), until_ms, now_ms)
        if effects is not None:
            device.leftover = [left for left in device.leftover if left != name]
        return effects

    def _start(self, device: Device, name: str) -> int:
        """Where a ramp begins: what the device does now, or what it does when nobody asks."""
        write = device.actuators[name].write
        measured = self._values(device.config.number).get("power_w")
        resting = write.fallback if write.fallback is not None else 0
        start = measured if name == "power_setpoint_w" and measured is not None else resting
        return max(write.minimum, min(start, write.maximum))

    def _release(self, device: Device, names: Iterable[str]) -> list[Effect]:
        """Gives set-points back; what cannot be stored is released once more after a restart."""
        names = sorted(set(names))
        effects = [device.actuators[name].release() for name in names]
        device.leftover = [name for name in device.leftover if name not in names]
        if effects:
            self._keep(device)
        return effects

    def _spent(self, device: Device, now_ms: int) -> bool:
        today = now_ms // 1000 // DAY_S
        return device.budget_day == today and device.budget_used >= self._config.limits.writes_per_day

    def _spend(self, device: Device, now_ms: int) -> bool:
        """One write to flash, stored before it is made; False where the day's are spent or nothing can be stored."""
        if self._spent(device, now_ms):
            return False
        before = (device.budget_day, device.budget_used)
        today = now_ms // 1000 // DAY_S
        device.budget_used = (device.budget_used if device.budget_day == today else 0) + 1
        device.budget_day = today
        if self._keep(device):
            return True
        device.budget_day, device.budget_used = before
        return False

    # What the home itself wishes

    def wish(self, number: int, wishes: Mapping[str, int], now_ms: int) -> list[Effect]:
        """Everything the home wishes of a device now, by set-point; what is not in it is released.

        To be said again well within WISH_MS. Without effect while a set-point is in force or the device is locked.
        """
        device = self.devices.get(number)
        if device is None or device.mode in COMMANDED or device.mode == Mode.LOCKED:
            return []
        effects = self._release(device, [name for name in device.engaged if name not in wishes])
        limits = self._config.limits
        for name, wanted in wishes.items():
            actuator = device.actuators.get(name)
            if actuator is None or actuator.write.storage == "flash":
                continue
            value = max(actuator.write.minimum, min(wanted, actuator.write.maximum))
            if name == "power_setpoint_w":
                value = max(-limits.max_export_w, min(value, limits.max_import_w))
                value = 0 if 0 < value < least_w(device.profile) else value
            if actuator.target is not None and abs(actuator.target - value) < tolerance_of(value):
                actuator.extend(now_ms + WISH_MS)
                continue
            if not actuator.engaged:
                device.leftover.append(name)
                if not self._keep(device):
                    device.leftover.remove(name)
                    continue
            effects += self._aim(device, name, value, now_ms + WISH_MS, now_ms) or []
        return effects

    def bar(self, now_ms: int) -> Outcome:
        """The breaker opened: every set-point ends here and now."""
        self.barred = True
        return self._all([self.withdraw(number, now_ms) for number in self.devices])

    def withdraw(self, number: int, now_ms: int) -> Outcome:
        """Ends the set-point in force before its time: one of the home's own limits was reached."""
        device = self.devices[number]
        if device.mode not in COMMANDED:
            return [], []
        return self._fall_back(device, Turn.BARRED, now_ms)

    @staticmethod
    def _all(outcomes: Iterable[Outcome]) -> Outcome:
        found = list(outcomes)
        return [effect for effects, _ in found for effect in effects], [
            said for _, reports in found for said in reports
        ]

    # Answers and time

    def on_written(self, result: WriteResult, now_ms: int) -> Outcome:
        """Judges a read-back."""
        for device in self.devices.values():
            for actuator in device.actuators.values():
                if actuator.token != result.token or not result.token:
                    continue
                if actuator.answer_by_ms is None:
                    return self._let_go(device, actuator, result, now_ms), []
                fault = actuator.fault_of(result)
                if fault is not None:
                    return self._lock(device, fault, now_ms)
                return self._held(device, actuator, now_ms)
        return [], []

    def _let_go(self, device: Device, actuator: Actuator, result: WriteResult, now_ms: int) -> list[Effect]:
        """A release was answered; one that failed is said again where the device has no timer of its own."""
        if actuator.engaged or result.fault is None or actuator.write.watchdog is not None:
            device.release_tries = 0
            return []
        self._counters.count("release_failed")
        device.release_tries += 1
        if device.release_tries > RELEASE_TRIES:
            return [Alarm("control", f"{device.config.name} does not let go of {actuator.write.name}: {result.fault}")]
        device.leftover.append(actuator.write.name)
        device.release_at_ms = now_ms + RELEASE_EVERY_MS
        self._keep(device)
        return []

    def _held(self, device: Device, actuator: Actuator, now_ms: int) -> Outcome:
        wanted = device.last
        if device.reported or wanted is None or device.write != actuator.write.name or not actuator.arrived:
            return [], []
        device.reported = True
        self._counters.count("setpoint_applied")
        # A charger that was told less than it can offer stands still, and says so.
        reached_w = actuator.value if device.write == "power_setpoint_w" else wanted.power_w
        device.report = self._report(wanted, SetPointOutcome.APPLIED, reached_w, now_ms)
        return [], [device.report]

    def _lock(self, device: Device, why: str, now_ms: int) -> Outcome:
        commanded = device.mode in COMMANDED
        self.locks += 1
        self._counters.count("setpoint_read_back_failed" if commanded else "wish_read_back_failed")
        device.turn(Turn.BAD_READ_BACK)
        device.until_ms = now_ms + LOCK_MS
        effects: list[Effect] = [Alarm("control", f"{device.config.name} is locked: {why}")]
        effects += self._release(device, [*device.engaged, *device.leftover])
        if device.last is None or not commanded:
            return effects, []
        device.reported = True
        power_w = self._power_w(device.config.number)
        device.report = self._report(device.last, SetPointOutcome.READ_BACK_FAILED, power_w, now_ms)
        return effects, [device.report]

    def on_clock_step(self, step_ms: int) -> None:
        """The clock jumped: what was counted from now moves with it, what stands in a signed order does not."""
        for device in self.devices.values():
            for actuator in device.actuators.values():
                actuator.on_clock_step(step_ms)

    def on_link(self, up: bool) -> None:
        """The broker came or went."""
        self._link = up
        for device in self.devices.values():
            device.turn(Turn.LINK_BACK if up else Turn.LINK_LOST)

    def on_deadline(self, now_ms: int) -> Outcome:
        """Rewrites watchdogs, takes steps of ramps, ends what expired, unlocks."""
        return self._all([self._pass(device, now_ms) for device in self.devices.values()])

    def _pass(self, device: Device, now_ms: int) -> Outcome:
        late = [a for a in device.actuators.values() if a.answer_by_ms is not None and now_ms >= a.answer_by_ms]
        if late:
            return self._lock(device, "no read-back in time", now_ms)
        if device.until_ms is not None and now_ms >= device.until_ms:
            return self._expire(device, now_ms)
        effects = self._release(device, device.leftover) if now_ms >= device.release_at_ms else []
        for actuator in device.actuators.values():
            if actuator.engaged and device.mode not in COMMANDED and now_ms >= actuator.until_ms:
                effects += self._release(device, [actuator.write.name])
                continue
            more = actuator.due(now_ms)
            if more is None:  # the flash budget is spent: better released now than dropped by the device unseen
                released, reports = self._fall_back(device, Turn.EXPIRED, now_ms)
                return effects + released, reports
            effects += more
        return effects, []

    def _expire(self, device: Device, now_ms: int) -> Outcome:
        device.until_ms = None
        if device.mode == Mode.LOCKED:
            device.turn(Turn.UNLOCKED)
            return [], []
        if device.mode == Mode.FALLBACK and self._link:
            device.turn(Turn.SETTLED)
            return [], []
        return ([], []) if device.mode not in COMMANDED else self._fall_back(device, Turn.EXPIRED, now_ms)

    def _fall_back(self, device: Device, turn: Turn, now_ms: int) -> Outcome:
        device.turn(turn)
        device.until_ms = now_ms + SETTLE_MS
        self._counters.count("setpoint_fell_back")
        effects = self._release(device, [*device.engaged, device.write])
        if device.last is None:
            return effects, []
        power_w = self._power_w(device.config.number)
        device.reported = True
        device.report = self._report(device.last, SetPointOutcome.FELL_BACK, power_w, now_ms)
        return effects, [device.report]

    def next_ms(self) -> int | None:
        """The nearest deadline of any device."""
        times: list[int | None] = []
        for device in self.devices.values():
            times += [device.until_ms, device.release_at_ms if device.leftover else None]
            for actuator in device.actuators.values():
                times.append(actuator.next_ms())
                if actuator.engaged and device.mode not in COMMANDED:
                    times.append(actuator.until_ms)
        return min((at for at in times if at is not None), default=None)

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


__all__ = ["LOCK_MS", "TRANSITIONS", "Control", "Device", "Mode", "Turn"]
