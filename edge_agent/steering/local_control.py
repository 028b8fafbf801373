"""What the home does with its own devices when nobody commands: breaker before droop before plan.

    sample -> breaker (connection point) -> open?  safe values, no commands, no bids
           -> droop (device or connection point)    in FALLBACK, in AUTONOMOUS where the installer says so
           -> plan (`flexibility.py`)               in AUTONOMOUS

Each only narrows what comes after it; all of it goes through `Control.wish`, which lets a set-point of the operator
go first. Without [droop], [breaker], [battery], [vehicle] and an import limit nothing here does anything. An import
limit of the operator (`import_limit.py`) caps what comes after the breaker, and ends a set-point that takes more.
"""

from __future__ import annotations

from collections.abc import Mapping

from contracts.messages import SetPoint, SetPointReport
from edge_agent.config import AgentConfig
from edge_agent.effects import Alarm, Counters, Effect
from edge_agent.steering.breaker import GAP_MS, SAFE_WRITES, Breaker, State, Terminal
from edge_agent.steering.control import Control, Outcome
from edge_agent.steering.device_state import COMMANDED, Device, Mode
from edge_agent.steering.droop import Demand, DeviceDroop, Seen
from edge_agent.steering.flexibility import Flexibility
from edge_agent.steering.import_limit import ImportLimits, Keep, exceeds
from edge_agent.steering.set_point_rules import permille_of

EVERY_MS = 20_000
"""How often wishes are said again when nothing is measured: three times before one lapses."""
DROOP_EVERY_MS = 1_000
"""How often droop that is at work is looked after without a measurement."""
_PHASES = ("voltage_l1_mv", "voltage_l2_mv", "voltage_l3_mv")


class LocalControl:
    """Breaker, droop and plan of one home."""

    def __init__(
        self, config: AgentConfig, control: Control, flexibility: Flexibility, counters: Counters,
        keep_limits: Keep = lambda _: True,
    ) -> None:  # fmt: skip
        self._config = config
        self._control = control
        self._flexibility = flexibility
        self._counters = counters
        main = next((meter for meter in config.meters if meter.number == 0), None)
        self._main = "" if main is None else main.name
        gap_ms = max(GAP_MS, 0 if main is None else main.poll_s * 2_500)
        self.breaker = None if config.breaker is None else Breaker(config.breaker, config.limits, gap_ms)
        self.limits = ImportLimits(config, self._main, control.devices, gap_ms, keep_limits, counters)
        self._droops: dict[int, DeviceDroop] = {}
        for number, device in control.devices.items():
            if config.droop is not None and device.config.name in config.droop.devices:
                battery = config.battery_of(device.config.name)
                reserve = 0 if battery is None else battery.reserve_permille
                self._droops[number] = DeviceDroop(config.droop, _stores(device), reserve)
        self._seen: dict[str, tuple[int, Mapping[str, int]]] = {}
        self._clock_known = False
        self._locks = 0
        self._again_ms: int | None = 0 if self._configured else None

    @property
    def _configured(self) -> bool:
        governs = self.breaker is not None or bool(self._droops) or self._flexibility.planning
        return governs or self.limits.next_ms() is not None

    @property
    def may_bid(self) -> bool:
        """Whether the home takes part in the market."""
        return self.breaker is None or self.breaker.state == State.CLOSED

    # What happens

    def on_sample(self, name: str, values: Mapping[str, int], now_ms: int) -> Outcome:
        """A device was polled; ``values`` empty where nothing came."""
        if values:
            self._seen[name] = (now_ms, values)
        if not self._configured or not values:
            return [], []
        if self._clock_known:
            self._flexibility.observe(name, values, now_ms)
        changed = False
        if self.breaker is not None and name == self._main:
            voltages = tuple(values[phase] for phase in _PHASES if phase in values)
            terminal = Terminal(now_ms, values.get("frequency_mhz"), voltages, values.get("power_w"))
            changed = self.breaker.on_terminal(terminal)
        return self._govern(now_ms, changed)

    def on_set_point(
        self, order: SetPoint, by_operator: bool, clock_known: bool, now_ms: int
    ) -> tuple[list[Effect], list[SetPointReport]]:
        """A limit for the home is held here, everything else by `Control`; the reports to sign now."""
        if not by_operator or not self.limits.takes(order):
            effects, report = self._control.on_set_point(order, by_operator, clock_known, now_ms)
            return effects, [] if report is None else [report]
        met = self._control.circumstances(by_operator, clock_known, now_ms)
        report = self.limits.on_set_point(order, met)
        if report is not None:
            return [], [report]
        return self._govern(now_ms, False)

    def on_deadline(self, now_ms: int) -> Outcome:
        """Time has come for something."""
        due_ms = self.next_ms()
        if due_ms is None or now_ms < due_ms:
            return [], []
        return self._govern(now_ms, self.breaker is not None and self.breaker.on_deadline(now_ms))

    def on_clock(self, known: bool, step_ms: int, now_ms: int) -> Outcome:
        """Whether the time of day is known; ``step_ms`` is a jump of a clock that was."""
        self._clock_known = known
        if not step_ms or not self._configured:
            return [], []
        changed = self.breaker is not None and self.breaker.on_clock_jump(step_ms, now_ms)
        return self._govern(now_ms, changed)

    def restart_timers(self) -> None:
        """The clock jumped: nothing is as old as it was, and what was planned is for other times."""
        self._seen.clear()
        self._flexibility.restart_timers()
        self._again_ms = 0 if self._configured else None

    def next_ms(self) -> int | None:
        """When `on_deadline` is due."""
        breaker_ms = None if self.breaker is None else self.breaker.next_ms()
        plan_ms = self._flexibility.next_ms() if self._clock_known else None
        times = (self._again_ms, breaker_ms, plan_ms, self.limits.next_ms())
        return min((at for at in times if at is not None), default=None)

    def metrics(self) -> dict[str, int]:
        """State by name."""
        found = {"droop_active": sum(droop.active for droop in self._droops.values())} if self._droops else {}
        if self.breaker is not None:
            found[f"breaker_{self.breaker.state.value}"] = 1
        return found

    # Rules

    def _govern(self, now_ms: int, changed: bool) -> Outcome:
        outcomes: list[Outcome] = []
        if self.breaker is not None and self._control.locks > self._locks:
            for _ in range(self._control.locks - self._locks):
                changed |= self.breaker.on_read_back_failed(now_ms)
        self._locks = self._control.locks
        if changed and self.breaker is not None:
            outcomes.append(self._told(self.breaker, now_ms))
        if self._clock_known:
            self._flexibility.plan(now_ms)
        outcomes.append(([], self.limits.reports(self._seen, now_ms)))
        opened = self.breaker is not None and self.breaker.state == State.OPEN
        caps = {} if opened else self.limits.caps(self._seen, now_ms)
        for number, device in self._control.devices.items():
            cap_w = caps.get(number)
            if self._reserve_reached(device) or (cap_w is not None and exceeds(device, cap_w)):
                outcomes.append(self._control.withdraw(number, now_ms))
            if device.mode not in COMMANDED:
                wishes = self._wishes(number, device, now_ms)
                if cap_w is not None:
                    power_w = self._seen.get(device.config.name, (0, {}))[1].get("power_w")
                    wishes = self.limits.wishes(number, wishes, cap_w, power_w)
                outcomes.append((self._control.wish(number, wishes, now_ms), []))
        at_work = any(droop.active for droop in self._droops.values())
        self._again_ms = now_ms + (DROOP_EVERY_MS if at_work or caps else EVERY_MS)
        if not self._configured:  # the last limit is over, and nothing else is asked of us
            self._again_ms = None
        return [e for effects, _ in outcomes for e in effects], [r for _, reports in outcomes for r in reports]

    def _told(self, breaker: Breaker, now_ms: int) -> Outcome:
        """The breaker changed: commands are barred while it is open, and an installer is told."""
        why = ", ".join(sorted(cause.value for cause in breaker.causes))
        if breaker.state != State.OPEN:
            self._control.barred = False
            return [], []
        for cause in breaker.causes:
            self._counters.count(f"breaker_for_{cause.value}")
        self._counters.count("breaker_opened")
        effects, reports = self._control.bar(now_ms)
        return [Alarm("breaker", f"open for {why}: {breaker.remedy.value}"), *effects], reports

    def _reserve_reached(self, device: Device) -> bool:
        """Whether a command is emptying the battery below what its owner keeps back."""
        battery = self._config.battery_of(device.config.name)
        if battery is None or device.mode not in COMMANDED or device.last is None or device.last.power_w >= 0:
            return False
        soc = self._seen.get(device.config.name, (0, {}))[1].get("soc_permille")
        return soc is not None and soc <= battery.reserve_permille and device.write == "power_setpoint_w"

    def _wishes(self, number: int, device: Device, now_ms: int) -> dict[str, int]:
        if self.breaker is not None and self.breaker.state == State.OPEN:
            safe = SAFE_WRITES[self.breaker.remedy]
            return {name: safe[name] for name in _power_writes(device) if name in safe}
        autonomous = device.mode == Mode.AUTONOMOUS
        planning = autonomous and self._clock_known
        planned = self._flexibility.wishes(device.config.name, now_ms) if planning else {}
        droop = self._droops.get(number)
        if droop is None:
            return planned
        if autonomous and self._config.droop is not None and not self._config.droop.in_autonomous:
            droop.end()
            return planned
        rated_w = self._rated_w(device)
        return planned | self._droop_wishes(device, droop.follow(self._seen_by(device, now_ms), rated_w, now_ms))

    def _rated_w(self, device: Device) -> int:
        """The power permille refer to: as the installer says, else as the device does."""
        rules = self._config.droop
        if rules is not None and rules.rated_w:
            return rules.rated_w
        return self._seen.get(device.config.name, (0, {}))[1].get("max_power_w", 0)

    def _seen_by(self, device: Device, now_ms: int) -> Seen | None:
        """Frequency and voltage at the device, or at the connection point; power and charge are the device's own."""
        rules = self._config.droop
        own_ms, own = self._seen.get(device.config.name, (None, {}))
        main_ms, main = self._seen.get(self._main, (None, {}))
        stale_ms = 0 if rules is None else rules.stale_s * 1000
        fresh = own if own_ms is not None and now_ms - own_ms < stale_ms else {}
        values = {**(main if main_ms is not None and now_ms - main_ms < stale_ms else {}), **fresh}
        if not values or own_ms is None:
            return None
        voltages = [values[phase] for phase in _PHASES if phase in values]
        at_ms = own_ms if fresh or main_ms is None else main_ms
        return Seen(
            at_ms,
            values.get("frequency_mhz"),
            max(voltages, default=None),
            sum(voltages) // len(voltages) if voltages else None,
            own.get("power_w", 0),
            own.get("soc_permille"),
        )

    def _droop_wishes(self, device: Device, demand: Demand) -> dict[str, int]:
        """A demand as set-points of this device."""
        found: dict[str, int] = {}
        if demand.power_w is not None:
            found["power_setpoint_w"] = demand.power_w
        if demand.limit_w is not None:
            full_w = self._seen.get(device.config.name, (0, {}))[1].get("max_power_w", 0)
            if "power_limit_w" in device.actuators:
                found["power_limit_w"] = demand.limit_w
            elif (permille := permille_of(demand.limit_w, full_w)) is not None:
                found["power_limit_permille"] = permille
        if demand.reactive_var is not None and "reactive_setpoint_var" in device.actuators:
            found["reactive_setpoint_var"] = demand.reactive_var
        return found


def _stores(device: Device) -> bool:
    """Whether it is told its power; an inverter is told how much it may feed out."""
    return "power_setpoint_w" in device.actuators and device.config.role != "inverter"


def _power_writes(device: Device) -> list[str]:
    """The set-points by which it is brought to rest: one way is enough."""
    order = ("power_setpoint_w",) if _stores(device) else ("power_limit_w", "power_limit_permille")
    return [name for name in order if name in device.actuators][:1]
