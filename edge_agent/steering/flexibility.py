"""The home's own plan: what battery and vehicle do in the coming intervals, and what the home then takes or gives.

    measured net - what battery and vehicle did  -> the home's own net, forecast like any other
    forecast + tariff + needs -> vehicle and battery (`schedule.py`) -> net to bid for, set-points to hold

Made anew at every interval from what is measured then. Without [battery] and [vehicle] there is no plan, and the net
to bid for is the forecast. The plan is the home's own wish: a set-point of the operator, droop and breaker come first
(`local_control.py`). Where the plan is to serve the home's own consumption, a battery with a logic of its own is left
to it, which follows the load by the second instead of a forecast by the quarter-hour.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from contracts.interval import DAY_S, INTERVALS_PER_DAY, interval_of, interval_start_s
from edge_agent.config import AgentConfig
from edge_agent.effects import Counters
from edge_agent.market.forecast import NetForecast
from edge_agent.steering.schedule import Slot, Storage, joint_schedule, slot_of, vehicle_schedule

HORIZON_INTERVALS = 2 * INTERVALS_PER_DAY
"""Two days: tomorrow's sun decides about this evening, the day after about nothing."""
KEPT_INTERVALS = 7 * INTERVALS_PER_DAY
"""A week of what was steered: half of a forecast's weight lies in the last three days."""
RETRY_MS = 60_000
"""How soon a plan that could not be made is tried again."""
FOLLOW_PART, FOLLOW_WH = 20, 10
"""Within a twentieth, or ten Wh, of serving the home the battery is left to its own logic."""
_QUARTERS = 4


class Flexibility:
    """The plan of one home. ``forecast`` is the net at the connection point."""

    def __init__(self, config: AgentConfig, forecast: NetForecast, counters: Counters) -> None:
        self._battery, self._vehicle = config.battery, config.vehicle
        self._bidding, self._limits = config.bidding, config.limits
        self._forecast = forecast
        self._counters = counters
        parts = (self._battery, self._vehicle)
        self._names = frozenset(part.meter for part in parts if part is not None)
        self._steered: dict[str, dict[int, int]] = {name: {} for name in self._names}
        self._marks: dict[str, tuple[int, int]] = {}
        self._latest: dict[str, Mapping[str, int]] = {}
        self._left: tuple[int, int] | None = None
        self._plan: dict[int, tuple[int, int, int]] = {}
        self._made_in: int | None = None
        self._retry_at_ms = 0

    @property
    def planning(self) -> bool:
        """Whether there is anything to plan."""
        return bool(self._names)

    # What is known

    def observe(self, name: str, values: Mapping[str, int], at_ms: int) -> None:
        """A poll of battery or vehicle: counts its energy of each interval."""
        if name not in self._names or not values:
            return
        self._latest[name] = values
        imported = values.get("import_wh")
        if imported is None:
            return
        interval, net_wh = interval_of(at_ms // 1000), imported - values.get("export_wh", 0)
        mark = self._marks.get(name)
        if mark is None or interval != mark[0]:
            if mark is not None and interval == mark[0] + 1:
                self._steered[name][mark[0]] = net_wh - mark[1]
                self._forget(interval)
            self._marks[name] = (interval, net_wh)
        if self._vehicle is not None and name == self._vehicle.meter:
            left_s = self._deadline_s(at_ms // 1000) - DAY_S
            if self._left is None or self._left[0] != left_s or imported < self._left[1]:
                self._left = (left_s, imported)

    def _forget(self, interval: int) -> None:
        for name, known in self._steered.items():
            if len(known) > KEPT_INTERVALS:
                self._steered[name] = {i: wh for i, wh in known.items() if i > interval - KEPT_INTERVALS}

    def _deadline_s(self, now_s: int) -> int:
        """The next time the vehicle leaves."""
        by_s = 0 if self._vehicle is None else self._vehicle.by_minute * 60
        return ((now_s - by_s) // DAY_S + 1) * DAY_S + by_s

    # The plan

    def plan(self, now_ms: int) -> bool:
        """Makes the plan of this interval where it is not made yet; whether it did."""
        first = interval_of(now_ms // 1000)
        if not self._names or self._made_in == first or (self._made_in is None and now_ms < self._retry_at_ms):
            return False
        self._retry_at_ms = now_ms + RETRY_MS
        slots = self._slots(first)
        stored_mwh = self._stored_mwh()
        if not slots or (self._battery is not None and stored_mwh is None):
            self._made_in, self._plan = None, {}
            self._counters.count("plan_impossible")
            return False
        battery = [0] * len(slots)
        if stored_mwh is None:
            vehicle = self._vehicle_mwh(slots, first, now_ms // 1000)
        else:
            battery, vehicle = joint_schedule(
                slots, self._storage(), stored_mwh, lambda around: self._vehicle_mwh(around, first, now_ms // 1000)
            )
        self._plan = {
            first + place: (slot.net_mwh // 1000, _wh(battery[place]), _wh(vehicle[place]))
            for place, slot in enumerate(slots)
        }
        self._made_in = first
        self._counters.count("plan_made")
        return True

    def _slots(self, first: int) -> list[Slot]:
        """Own net and prices of the coming intervals, as far as there is a forecast."""
        history = {
            interval: net_wh - sum(known.get(interval, 0) for known in self._steered.values())
            for interval, net_wh in self._forecast.history.items()
        }
        own = NetForecast(history)
        found: list[Slot] = []
        for interval in range(first, first + HORIZON_INTERVALS):
            net_wh = own.net_wh(interval)
            if net_wh is None:
                break
            found.append(slot_of(net_wh * 1000, self._buy_price(interval), self._bidding.tariff_export))
        return found

    def _buy_price(self, interval: int) -> int:
        hourly = () if self._battery is None else self._battery.hourly_import_price
        return hourly[interval // _QUARTERS % 24] if hourly else self._bidding.tariff_import

    def _stored_mwh(self) -> int | None:
        battery = self._battery
        soc = None if battery is None else self._latest.get(battery.meter, {}).get("soc_permille")
        return None if battery is None or soc is None else battery.capacity_wh * soc

    def _storage(self) -> Storage:
        battery = self._battery
        assert battery is not None
        eta = battery.one_way_permille
        return Storage(
            lowest_mwh=battery.capacity_wh * battery.reserve_permille,
            highest_mwh=battery.capacity_wh * 1000,
            charge_mwh=battery.max_charge_w * 1000 // _QUARTERS,
            discharge_mwh=battery.max_discharge_w * 1000 // _QUARTERS,
            one_way_permille=eta,
            end_price=max(self._bidding.tariff_export, 0) * eta // 1000,
            import_mwh=self._limits.max_import_w * 1000 // _QUARTERS,
            export_mwh=self._limits.max_export_w * 1000 // _QUARTERS,
        )

    def _vehicle_mwh(self, slots: Sequence[Slot], first: int, now_s: int) -> list[int]:
        """Its energy in each slot, day after day; nothing where it does not count what it took."""
        vehicle, left = self._vehicle, self._left
        made = [0] * len(slots)
        if vehicle is None or left is None:
            return made
        taken_wh = self._latest[vehicle.meter].get("import_wh", left[1]) - left[1]
        begin, end_s = 0, self._deadline_s(now_s)
        while begin < len(slots):
            end = min(max(interval_of(end_s) - first, begin), len(slots))
            whole = end == interval_of(end_s) - first
            if begin < end and whole:
                made[begin:end] = vehicle_schedule(
                    slots[begin:end],
                    max(vehicle.needs_wh - taken_wh, 0) * 1000,
                    max(vehicle.at_once_wh - taken_wh, 0) * 1000,
                    vehicle.max_charge_w * 1000 // _QUARTERS,
                    self._limits.max_import_w * 1000 // _QUARTERS,
                )
            if not whole:
                break
            begin, end_s, taken_wh = end, end_s + DAY_S, 0
        return made

    # What it says

    def net_wh(self, interval: int) -> int | None:
        """What the home will take or give: planned where there is a plan, else the forecast; None without either."""
        planned = self._plan.get(interval)
        return sum(planned) if planned is not None else self._forecast.net_wh(interval)

    def wishes(self, name: str, now_ms: int) -> dict[str, int]:
        """Set-points the plan wants the device to hold now; none where it is to be left alone."""
        interval = interval_of(now_ms // 1000)
        planned = self._plan.get(interval)
        if planned is None or self._made_in != interval:
            return {}
        own_wh, battery_wh, vehicle_wh = planned
        if self._vehicle is not None and name == self._vehicle.meter:
            return {"power_setpoint_w": vehicle_wh * _QUARTERS} if self._left is not None else {}
        battery = self._battery
        if battery is None or name != battery.meter:
            return {}
        net_wh = own_wh + vehicle_wh
        serving_wh = max(-battery.max_discharge_w // _QUARTERS, min(-net_wh, battery.max_charge_w // _QUARTERS))
        tolerance_wh = max(FOLLOW_WH, abs(serving_wh) // FOLLOW_PART)
        if battery.own_logic and abs(battery_wh - serving_wh) <= tolerance_wh:
            return {}
        power_w = battery_wh * _QUARTERS
        soc = self._latest.get(name, {}).get("soc_permille")
        return {"power_setpoint_w": power_w if battery.allows(power_w, soc) else 0}

    def next_ms(self) -> int | None:
        """When the next plan is due."""
        if not self._names:
            return None
        if self._made_in is None:
            return self._retry_at_ms
        return interval_start_s(self._made_in + 1) * 1000

    def restart_timers(self) -> None:
        """The clock jumped: what was planned is for other times."""
        self._made_in, self._plan, self._retry_at_ms = None, {}, 0
        self._marks.clear()

    # Memory

    def state(self) -> dict[str, object]:
        """As JSON."""
        steered = {name: sorted(known.items()) for name, known in self._steered.items()}
        return {"steered": steered, "left": self._left}

    def restore(self, state: dict[str, Any] | None) -> None:
        """From JSON; what cannot be read is learnt anew."""
        try:
            for name, rows in (state or {}).get("steered", {}).items():
                if name in self._steered:
                    self._steered[name] = {int(interval): int(wh) for interval, wh in rows}
            left = (state or {}).get("left")
            self._left = None if left is None else (int(left[0]), int(left[1]))
        except (KeyError, TypeError, ValueError, IndexError, AttributeError):
            self._counters.count("state_unreadable")
            self._steered, self._left = {name: {} for name in self._names}, None


def _wh(energy_mwh: int) -> int:
    """Towards zero: a battery is never asked for more than it was planned to have."""
    return energy_mwh // 1000 if energy_mwh >= 0 else -(-energy_mwh // 1000)
