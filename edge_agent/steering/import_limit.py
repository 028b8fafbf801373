"""A limit of what the home takes from the grid, held by the home itself at its own meter.

    set-point IMPORT_LIMIT for meter 0, or for a battery or inverter -> measured import - steered loads = the rest
    room = limit - rest: batteries charge within it, chargers take what is left; below nought batteries discharge

A charger that is addressed itself gets the limit as its own maximum (`set_point_rules.py`). Here the limit is a cap on
what the loads are wished or commanded to take; it only narrows, and ends with the set-point. Chargers are cut first,
batteries' charging next; a battery discharges for it within its owner's power and above his reserve. After a change
nothing is changed again before meter and device have shown it, so that the cap does not hunt. APPLIED is reported when
the meter shows that the limit holds, READ_BACK_FAILED when it does not within a minute: what the home cannot steer is
more than the limit, and it goes on holding what it can.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import astuple, dataclass

from contracts.codes import SetPointKind, SetPointOutcome
from contracts.messages import SetPoint, SetPointReport
from edge_agent.config import AgentConfig
from edge_agent.effects import Counters
from edge_agent.steering.device_state import COMMANDED, Device
from edge_agent.steering.set_point_rules import Circumstances, least_w, stale_refusal, write_for

SETTLE_MS = 3_000
"""A second for the device, a second for each of two polls: before that the meter does not show a change."""
MARGIN_PART = 50
"""A fiftieth is kept free: meters of class B err by a hundredth, and registers are as coarse (`actuator.py`)."""
HELD_BY_MS = 60_000
"""A ramp and a charger's own delay are over by then."""
POWER = "power_setpoint_w"
Seen = Mapping[str, tuple[int, Mapping[str, int]]]
Keep = Callable[[list[list[int]]], bool]


@dataclass(slots=True)
class Held:
    """The newest order for one address. ``reported`` says whether it was told that it holds, or does not."""

    order: SetPoint
    accepted_ms: int
    report: SetPointReport | None = None
    reported: bool = False
    ended: bool = False


class ImportLimits:
    """All import limits of a home. ``keep`` stores the orders durably and says whether it did."""

    def __init__(
        self, config: AgentConfig, main: str, devices: Mapping[int, Device], stale_ms: int, keep: Keep,
        counters: Counters,
    ) -> None:  # fmt: skip
        self._config, self._main, self._devices, self._stale_ms = config, main, devices, stale_ms
        self._keep, self._counters = keep, counters
        self._loads = [d for d in devices.values() if _is_load(d)]
        self._held: dict[int, Held] = {}
        self._caps: dict[int, int] = {}
        self._taken: set[int] = set()
        self._changed_ms: int | None = None

    @property
    def limit_w(self) -> int | None:
        """The lowest limit in force; None without one."""
        return min((held.order.power_w for held in self._held.values() if not held.ended), default=None)

    @property
    def steered(self) -> list[str]:
        """The devices that hold a limit of the home."""
        return [load.config.name for load in self._loads]

    def takes(self, order: SetPoint) -> bool:
        """Whether it is one for the home: a limit that the addressed device cannot hold, and loads that can."""
        if order.kind != SetPointKind.IMPORT_LIMIT or order.account != self._config.home.account or not self._loads:
            return False
        device = self._devices.get(order.device)
        return bool(self._main) and (
            order.device == 0 if device is None else write_for(order.kind, device.profile) is None
        )

    def on_set_point(self, order: SetPoint, met: Circumstances) -> SetPointReport | None:
        """Holds it or refuses; the report to sign now, None where it follows."""
        known = self._held.get(order.device)
        if known is not None and known.order == order:
            self._counters.count("setpoint_repeated")
            return known.report
        newest = (-1, -1) if known is None else (known.order.term, known.order.sequence)
        outcome = stale_refusal(order, met, newest)
        if outcome is None and met.breaker_open:
            outcome = SetPointOutcome.BREAKER_OPEN
        if outcome is None and not 0 <= order.power_w <= self._config.limits.max_import_w:
            outcome = SetPointOutcome.OUT_OF_RANGE
        if outcome is None:
            self._held[order.device] = Held(order, met.now_ms)
            if self._keep(self.state()):
                self._changed_ms = None
                return None
            if known is None:
                del self._held[order.device]
            else:
                self._held[order.device] = known
            outcome = SetPointOutcome.WRITE_BUDGET_SPENT
            self._counters.count("setpoint_not_stored")
        self._counters.count(f"setpoint_{outcome.name.lower()}")
        return self._report(order, outcome, 0, met.now_ms)

    def reports(self, seen: Seen, now_ms: int) -> list[SetPointReport]:
        """What became of the orders in force."""
        at_ms, values = seen.get(self._main, (0, {}))
        power_w, made = values.get("power_w"), list[SetPointReport]()
        for held in self._held.values():
            outcome = None
            if held.ended:
                continue
            if now_ms >= held.order.valid_until_s * 1000:
                held.ended, outcome = True, SetPointOutcome.FELL_BACK
                self._counters.count("setpoint_fell_back")
            elif not held.reported and power_w is not None and at_ms > held.accepted_ms:
                if power_w <= held.order.power_w:
                    outcome = SetPointOutcome.APPLIED
                    self._counters.count("setpoint_applied")
                elif now_ms - held.accepted_ms >= HELD_BY_MS:
                    outcome = SetPointOutcome.READ_BACK_FAILED
                    self._counters.count("setpoint_read_back_failed")
            if outcome is not None:
                held.reported = True
                held.report = self._report(held.order, outcome, power_w or 0, now_ms)
                made.append(held.report)
        return made

    def next_ms(self) -> int | None:
        """When the next limit ends."""
        ends = (held.order.valid_until_s * 1000 for held in self._held.values() if not held.ended)
        return min(ends, default=None)

    # The caps

    def caps(self, seen: Seen, now_ms: int) -> Mapping[int, int]:
        """The most each steered load may take now in W, negative where it must give; none for one that is free."""
        limit_w = self.limit_w
        if limit_w is None:
            self._caps, self._changed_ms = {}, None
            self._taken.clear()
            return self._caps
        at_ms, values = seen.get(self._main, (None, {}))
        power_w = values.get("power_w")
        if at_ms is None or power_w is None or now_ms - at_ms > self._stale_ms:
            return self._change({load.config.number: 0 for load in self._loads}, now_ms)
        powers = {load.config.number: self._power_w(load, seen, now_ms) for load in self._loads}
        times = [at_ms, *(seen[d.config.name][0] for d in self._loads if powers[d.config.number] is not None)]
        if self._changed_ms is not None and min(times) < self._changed_ms + SETTLE_MS:
            return self._caps
        rest_w = power_w - sum(own for own in powers.values() if own is not None)
        return self._change(self._shared(limit_w - limit_w // MARGIN_PART - rest_w, powers, seen), now_ms)

    def _shared(self, room_w: int, powers: Mapping[int, int | None], seen: Seen) -> dict[int, int]:
        """Room among batteries first, then chargers; what is missing is asked of batteries."""
        made: dict[int, int] = {}
        for load in sorted(self._loads, key=lambda load: (load.profile.kind == "charger", load.config.number)):
            number, own_w = load.config.number, powers[load.config.number]
            most_w = load.actuators[POWER].write.maximum
            battery = self._config.battery_of(load.config.name)
            if battery is not None:
                most_w = min(most_w, battery.max_charge_w)
            if own_w is None:  # nobody knows what it takes: nothing, then
                made[number] = 0
                continue
            if load.profile.kind == "charger":
                cap_w = max(room_w, 0)
                cap_w = cap_w if cap_w >= least_w(load.profile) else 0
                room_w -= min(cap_w, most_w)
            else:
                cap_w = max(room_w, -self._help_w(load, seen))
                target_w = load.actuators[POWER].target or 0
                room_w -= max(min(cap_w, max(own_w, target_w, 0)), min(cap_w, 0))
            if cap_w < most_w:
                made[number] = cap_w
        return made

    def _help_w(self, load: Device, seen: Seen) -> int:
        """What a battery may give for it: as its owner allows, above his reserve; nothing where he says nothing."""
        battery = self._config.battery_of(load.config.name)
        soc = seen.get(load.config.name, (0, {}))[1].get("soc_permille")
        if battery is None or soc is None or soc <= battery.reserve_permille:
            return 0
        return min(battery.max_discharge_w, -load.actuators[POWER].write.minimum)

    def _power_w(self, load: Device, seen: Seen, now_ms: int) -> int | None:
        at_ms, values = seen.get(load.config.name, (0, {}))
        return values.get("power_w") if now_ms - at_ms <= max(self._stale_ms, load.config.poll_s * 2_500) else None

    def _change(self, caps: dict[int, int], now_ms: int) -> Mapping[int, int]:
        if caps != self._caps:
            self._caps, self._changed_ms = caps, now_ms
            self._taken &= set(caps)
        return self._caps

    def wishes(self, number: int, wishes: dict[str, int], cap_w: int, power_w: int | None) -> dict[str, int]:
        """What a load is wished to do, under its cap; one left to its own logic is taken over where it takes more."""
        wished_w = wishes.get(POWER)
        if wished_w is not None:
            return wishes | {POWER: min(wished_w, cap_w)}
        load = self._devices[number]
        if load.profile.kind == "charger":
            return wishes | {POWER: cap_w}
        if power_w is None or power_w > cap_w:
            self._taken.add(number)
        if number in self._taken:
            return wishes | {POWER: min(cap_w, 0)}
        return wishes

    # Memory

    def state(self) -> list[list[int]]:
        """As JSON: the newest order for each address."""
        return [[int(value) for value in astuple(held.order)] for held in self._held.values()]

    def restore(self, rows: Iterable[object] | None) -> None:
        """After a restart: nothing older is obeyed, and what is not over is held on."""
        for row in rows or []:
            try:
                order = SetPoint(*(int(value) for value in row))  # type: ignore[attr-defined]
            except (TypeError, ValueError):
                self._counters.count("state_unreadable")
                continue
            self._held[order.device] = Held(order, order.issued_at_s * 1000)

    def _report(self, order: SetPoint, outcome: SetPointOutcome, power_w: int, now_ms: int) -> SetPointReport:
        account = self._config.home.account
        taken_at_s = max(now_ms, 0) // 1000
        return SetPointReport(account, order.device, order.term, order.sequence, int(outcome), power_w, taken_at_s)


def exceeds(device: Device, cap_w: int) -> bool:
    """Whether a set-point in force makes it take more than its cap."""
    return (
        device.mode in COMMANDED and device.write == POWER and device.last is not None and device.last.power_w > cap_w
    )


def _is_load(device: Device) -> bool:
    """A charger or battery that can be told its power as often as it takes."""
    actuator = device.actuators.get(POWER)
    if actuator is None or actuator.write.storage == "flash":
        return False
    return device.profile.kind == "charger" or device.config.role != "inverter"
