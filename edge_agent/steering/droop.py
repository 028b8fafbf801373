"""Local droop: what a device does by frequency and voltage when nobody commands and it has no droop of its own.

    frequency outside its band -> power moves against the deviation, all of the base per droop
    voltage above              -> output limited along the volt-watt curve
    voltage off nominal        -> reactive power along the volt-var curve, blended, with hysteresis
    back inside for return_s   -> slowly back, then released

Laws are pure functions over integers: bounded, and monotone in frequency and voltage. `DeviceDroop` adds time: no
output moves faster than its ramp, a missing measurement changes nothing, and one that stays missing ends it. In load
convention: a producer is limited (`limit_w`, how much may flow out), a storage is told its power (`power_w`).
Frequency of a meter resolves 10 mHz and is polled once a second: good for the slow response of grid codes, too coarse
for fast frequency products.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

from edge_agent.config_local import FREQUENCY_WATT, VOLT_VAR, VOLT_WATT, Curve, DroopConfig

LONGEST_STEP_MS = 5_000
"""After a longer pause a ramp goes on as if only this much time had passed."""
RESTING_PERMILLE = 5
"""Reactive power this near to none is none: the set-point is released."""
_MINUTE_MS = 60_000


@dataclass(frozen=True, slots=True)
class Seen:
    """What was measured at ``at_ms``; None what was not. Voltages: the highest phase, and the mean of all."""

    at_ms: int
    frequency_mhz: int | None = None
    highest_mv: int | None = None
    mean_mv: int | None = None
    power_w: int = 0
    soc_permille: int | None = None


@dataclass(frozen=True, slots=True)
class Demand:
    """What droop asks of a device: None of everything where it lets it alone."""

    limit_w: int | None = None
    power_w: int | None = None
    reactive_var: int | None = None


def curve_at(curve: Curve, x: int) -> int:
    """Piecewise linear between the corners, level outside them; floors, so that it stays monotone."""
    if x <= curve[0][0]:
        return curve[0][1]
    for (x0, y0), (x1, y1) in pairwise(curve):
        if x <= x1:
            return y0 + (y1 - y0) * (x - x0) // (x1 - x0)
    return curve[-1][1]


def curve_at_voltage(curve: Curve, voltage_mv: int, nominal_mv: int) -> int:
    """The curve over permille of nominal voltage, to the millivolt."""
    fine = tuple((permille * nominal_mv, output * 1000) for permille, output in curve)
    return curve_at(fine, voltage_mv * 1000) // 1000


def frequency_change_w(rules: DroopConfig, frequency_mhz: int, base_w: int) -> int:
    """How much more power is to flow in than before; never more than ``base_w`` either way, 0 inside the band.

    dP = base · (f − f1) / (s · fn), EN 50549-1 §4.6 and IEEE 1547-2018 §6.5.2.7 alike.
    """
    divisor = rules.nominal_mhz * rules.droop_permille
    if frequency_mhz > rules.high_mhz:
        return min(base_w * (frequency_mhz - rules.high_mhz) * 1000 // divisor, base_w)
    if frequency_mhz < rules.low_mhz:
        return -min(base_w * (rules.low_mhz - frequency_mhz) * 1000 // divisor, base_w)
    return 0


def reactive_of_var(rules: DroopConfig, voltage_mv: int, rated_w: int) -> int:
    """Volt-var in load convention: at low voltage the device feeds reactive power, which is negative here."""
    return -(rated_w * curve_at_voltage(rules.volt_var, voltage_mv, rules.nominal_mv) // 1000)


def volt_watt_limit_w(rules: DroopConfig, voltage_mv: int, rated_w: int) -> int:
    """The most that may flow out at this voltage."""
    return rated_w * curve_at_voltage(rules.volt_watt, voltage_mv, rules.nominal_mv) // 1000


class DeviceDroop:
    """Droop of one device with ``rated_w``; ``stores`` for one that is told its power instead of a limit."""

    def __init__(self, rules: DroopConfig, stores: bool, reserve_permille: int = 0) -> None:
        self._rules = rules
        self._stores = stores
        self._reserve_permille = reserve_permille
        self._out_w: int | None = None
        self._before_w = 0
        self._calm_since_ms: int | None = None
        self._watched_mv: int | None = None
        self._reactive_var = 0
        self._reactive_on = False
        self._moved_at_ms: int | None = None
        self._latest: dict[str, tuple[int, int]] = {}

    @property
    def active(self) -> bool:
        """Whether it asks for anything."""
        return self._out_w is not None or self._reactive_on

    def follow(self, seen: Seen | None, rated_w: int, now_ms: int) -> Demand:
        """What to ask of the device now. ``seen`` None: nothing was ever measured."""
        if rated_w <= 0:
            return self.end()
        passed_ms = 0 if self._moved_at_ms is None else max(0, min(now_ms - self._moved_at_ms, LONGEST_STEP_MS))
        self._moved_at_ms = now_ms
        seen = self._held(seen, now_ms)
        if seen is None:
            return self.end()
        self._follow_power(seen, rated_w, passed_ms, now_ms)
        self._follow_reactive(seen, rated_w, passed_ms)
        return self._demand()

    def _held(self, seen: Seen | None, now_ms: int) -> Seen | None:
        """What was measured, each missing quantity as it was last until it is stale; None without any of use."""
        functions, stale_ms = self._rules.functions, self._rules.stale_s * 1000
        if seen is not None:
            for name, value in (("f", seen.frequency_mhz), ("high", seen.highest_mv), ("mean", seen.mean_mv)):
                if value is not None:
                    self._latest[name] = (value, seen.at_ms)
        found = {name: value for name, (value, at_ms) in self._latest.items() if now_ms - at_ms < stale_ms}
        of_use = {FREQUENCY_WATT: "f", VOLT_WATT: "high", VOLT_VAR: "mean"}
        if seen is None or not any(of_use[function] in found for function in functions):
            return None
        return replace(seen, frequency_mhz=found.get("f"), highest_mv=found.get("high"), mean_mv=found.get("mean"))

    def end(self) -> Demand:
        """Lets go of everything at once: what it would follow is not known any more."""
        self._out_w = self._calm_since_ms = self._watched_mv = None
        self._reactive_var, self._reactive_on = 0, False
        return Demand()

    def _demand(self) -> Demand:
        reactive_var = self._reactive_var if self._reactive_on else None
        if self._stores:
            return Demand(None, self._out_w, reactive_var)
        return Demand(self._out_w, None, reactive_var)

    # Active power. `_out_w` is the storage's power, or the producer's limit.

    def _follow_power(self, seen: Seen, rated_w: int, passed_ms: int, now_ms: int) -> None:
        wanted_w = self._wanted_w(seen, rated_w)
        rules = self._rules
        if wanted_w is None:
            if self._out_w is not None:
                self._go_back(rated_w, passed_ms, now_ms)
            return
        self._calm_since_ms = None
        if self._out_w is None:
            self._before_w = max(-rated_w, min(seen.power_w, rated_w))
            self._out_w = self._before_w if self._stores else max(0, -self._before_w)
            wanted_w = self._wanted_w(seen, rated_w)
            assert wanted_w is not None
        room_w = _share(rated_w, rules.ramp_permille_per_s * passed_ms, 1_000_000)
        self._out_w += max(-room_w, min(room_w, wanted_w - self._out_w))

    def _wanted_w(self, seen: Seen, rated_w: int) -> int | None:
        """Where frequency and voltage want the output; None where neither wants anything."""
        change_w = self._frequency_wants_w(seen, rated_w)
        limit_w = self._voltage_allows_w(seen, rated_w)
        if change_w is None and limit_w is None:
            return None
        if not self._stores:
            before_w = max(0, -self._before_w) if self._out_w is not None else rated_w
            allowed_w = rated_w if change_w is None else max(0, before_w - change_w)
            return min(allowed_w, rated_w if limit_w is None else limit_w)
        power_w = max(-rated_w, min(self._before_w + (change_w or 0), rated_w))
        if seen.soc_permille is not None and seen.soc_permille <= self._reserve_permille:
            power_w = max(power_w, 0)
        return power_w if limit_w is None else max(power_w, -limit_w)

    def _frequency_wants_w(self, seen: Seen, rated_w: int) -> int | None:
        rules = self._rules
        if FREQUENCY_WATT not in rules.functions or seen.frequency_mhz is None:
            return None
        low_mhz, high_mhz = rules.low_mhz, rules.high_mhz
        if self._out_w is not None:  # it has begun: calm is a little further inside
            low_mhz, high_mhz = low_mhz + rules.hysteresis_mhz, high_mhz - rules.hysteresis_mhz
        if low_mhz <= seen.frequency_mhz <= high_mhz:
            return None
        if not self._stores and seen.frequency_mhz < rules.nominal_mhz:
            return None  # a producer gives what it has already
        base_w = rated_w if self._stores or rules.base == "rated" else max(0, -self._before_w)
        return frequency_change_w(rules, seen.frequency_mhz, base_w)

    def _voltage_allows_w(self, seen: Seen, rated_w: int) -> int | None:
        rules = self._rules
        if VOLT_WATT not in rules.functions or seen.highest_mv is None:
            return None
        lift_mv = rules.hysteresis_mv if self._out_w is not None else 0
        if volt_watt_limit_w(rules, seen.highest_mv + lift_mv, rated_w) >= rated_w:
            return None
        return volt_watt_limit_w(rules, seen.highest_mv, rated_w)

    def _go_back(self, rated_w: int, passed_ms: int, now_ms: int) -> None:
        """Calm: wait, then move slowly to where it would be without droop, and let go there."""
        assert self._out_w is not None
        if self._calm_since_ms is None:
            self._calm_since_ms = now_ms
        if now_ms - self._calm_since_ms < self._rules.return_s * 1000:
            return
        goal_w = self._before_w if self._stores else rated_w
        room_w = _share(rated_w, self._rules.return_permille_per_min * passed_ms, 1000 * _MINUTE_MS)
        self._out_w += max(-room_w, min(room_w, goal_w - self._out_w))
        if self._out_w == goal_w:
            self._out_w = self._calm_since_ms = None

    # Reactive power

    def _follow_reactive(self, seen: Seen, rated_w: int, passed_ms: int) -> None:
        rules = self._rules
        if VOLT_VAR not in rules.functions or seen.mean_mv is None:
            return
        if self._watched_mv is None or abs(seen.mean_mv - self._watched_mv) > rules.hysteresis_mv:
            self._watched_mv = seen.mean_mv
        goal_var = reactive_of_var(rules, self._watched_mv, rated_w)
        step_var = _toward(goal_var - self._reactive_var, rules.blend_permille)
        room_var = _share(rated_w, rules.ramp_permille_per_s * passed_ms, 1_000_000)
        self._reactive_var += max(-room_var, min(room_var, step_var))
        resting = abs(self._reactive_var) * 1000 <= RESTING_PERMILLE * rated_w
        if goal_var:
            self._reactive_on = self._reactive_on or not resting
        elif resting:
            self._reactive_var, self._reactive_on = 0, False


def _share(whole: int, part: int, parts: int) -> int:
    return whole * part // parts


def _toward(distance: int, permille: int) -> int:
    """A share of the way, away from zero, so that the end of it is reached."""
    size = -(-abs(distance) * permille // 1000)
    return size if distance >= 0 else -size
