"""The home's software breaker: when grid, connection, devices or clock are not as they must be, the home stands aside.

    CLOSED     all is well: bids, plan, droop and set-points
    OPEN       stands aside: no bids, no set-points, devices curtailed, shed or released as the cause asks for
    HALF_OPEN  on probation: devices are free again, still no bids; a relapse opens it for twice as long

It opens on voltage or frequency outside the hard band for `trip_s`, on more power than the connection may carry for
`overload_s`, on repeated bad read-backs, and on a clock that jumped. It looks again when the quantity has been back
inside the band, by the hysteresis, for the hold-off; a missing measurement never closes it. The hold-off doubles with
every opening that follows within RELAPSE_MS of a closing, up to HOLD_OFF_LIMIT_S, so that it cannot flap. It
replaces no protection relay: the inverter's own disconnects in a fifth of a second, this one speaks in seconds.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from edge_agent.config import LimitsConfig
from edge_agent.config_local import BreakerConfig

HOLD_OFF_LIMIT_S = 3_600
"""Nobody waits longer than an hour for a home to try again."""
RELAPSE_MS = 3_600_000
"""An opening within an hour of the last closing is the same trouble."""
FAILURE_WINDOW_MS = 900_000
"""Read-backs that fail within a quarter of an hour count together."""
GAP_MS = 10_000
"""Between two measurements further apart nothing is known: what lasts begins anew. Slow polls have more."""
CONNECTION_MARGIN_PERMILLE = 50
"""A meter's error and a kettle's start are no overload."""


class State(StrEnum):
    """Whether the home takes part."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Event(StrEnum):
    """What happens to the breaker."""

    TRIP = "a cause has lasted long enough"
    CALM = "the hold-off passed with every measurement back inside"
    PROVEN = "the probation passed without a cause"


TRANSITIONS: Mapping[tuple[State, Event], State] = {
    (State.CLOSED, Event.TRIP): State.OPEN,
    (State.OPEN, Event.CALM): State.HALF_OPEN,
    (State.HALF_OPEN, Event.TRIP): State.OPEN,
    (State.HALF_OPEN, Event.PROVEN): State.CLOSED,
}
"""Every move there is; a trip while it is open only adds its cause."""


class Cause(StrEnum):
    """Why it opened."""

    OVER_FREQUENCY = "over_frequency"
    UNDER_FREQUENCY = "under_frequency"
    OVER_VOLTAGE = "over_voltage"
    UNDER_VOLTAGE = "under_voltage"
    IMPORT = "import"
    EXPORT = "export"
    READ_BACK = "read_back"
    CLOCK = "clock"


class Remedy(StrEnum):
    """What is done with the devices while it is open: the strictest of the causes' remedies."""

    CURTAIL = "producers feed nothing, storages rest"
    SHED = "storages and chargers take nothing, producers are free"
    RELEASE = "everything is left to its own logic"


REMEDIES: Mapping[Cause, Remedy] = {
    Cause.OVER_FREQUENCY: Remedy.CURTAIL,
    Cause.OVER_VOLTAGE: Remedy.CURTAIL,
    Cause.EXPORT: Remedy.CURTAIL,
    Cause.UNDER_FREQUENCY: Remedy.SHED,
    Cause.UNDER_VOLTAGE: Remedy.SHED,
    Cause.IMPORT: Remedy.SHED,
    Cause.READ_BACK: Remedy.RELEASE,
    Cause.CLOCK: Remedy.RELEASE,
}


@dataclass(frozen=True, slots=True)
class Terminal:
    """The connection point at ``at_ms``; None what was not measured."""

    at_ms: int
    frequency_mhz: int | None = None
    voltages_mv: tuple[int, ...] = ()
    power_w: int | None = None


class Breaker:
    """State of one home's breaker."""

    def __init__(self, rules: BreakerConfig, limits: LimitsConfig, gap_ms: int = GAP_MS) -> None:
        """``gap_ms`` is the longest pause between two measurements that still says what was in between."""
        self._rules = rules
        self._gap_ms = gap_ms
        self._limits = limits
        self.state = State.CLOSED
        self.causes: set[Cause] = set()
        self.opened = 0
        self._since_ms: dict[Cause, int] = {}
        self._seen_at_ms: int | None = None
        self._calm_since_ms: int | None = None
        self._until_ms: int | None = None
        self._hold_off_s = rules.hold_off_s
        self._closed_at_ms: int | None = None
        self._failures: deque[int] = deque(maxlen=rules.read_back_failures)

    @property
    def remedy(self) -> Remedy:
        """What the causes ask for together; over- and under-supply at once cannot both be right: release."""
        wanted = {REMEDIES[cause] for cause in self.causes}
        if wanted == {Remedy.CURTAIL} or wanted == {Remedy.CURTAIL, Remedy.RELEASE}:
            return Remedy.CURTAIL
        return Remedy.SHED if wanted in ({Remedy.SHED}, {Remedy.SHED, Remedy.RELEASE}) else Remedy.RELEASE

    # What happens

    def on_terminal(self, seen: Terminal) -> bool:
        """The connection point was measured; whether the state changed."""
        gap = self._seen_at_ms is None or not 0 <= seen.at_ms - self._seen_at_ms <= self._gap_ms
        self._seen_at_ms = seen.at_ms
        if gap:
            self._since_ms.clear()
            self._calm_since_ms = None
        bad = self._outside(seen, strict=False)
        for cause in [known for known in self._since_ms if known not in bad]:
            del self._since_ms[cause]
        for cause in bad:
            self._since_ms.setdefault(cause, seen.at_ms)
        ripe = {cause for cause in bad if seen.at_ms - self._since_ms[cause] >= self._patience_ms(cause)}
        near = self._outside(seen, strict=True)
        whole = seen.frequency_mhz is not None or bool(seen.voltages_mv) or seen.power_w is not None
        if near or not whole:
            self._calm_since_ms = None
        elif self._calm_since_ms is None:
            self._calm_since_ms = seen.at_ms
        if ripe:
            return self._trip(ripe, seen.at_ms)
        return self.on_deadline(seen.at_ms)

    def on_read_back_failed(self, now_ms: int) -> bool:
        """A device did not hold what was written."""
        self._failures.append(now_ms)
        full = len(self._failures) == self._rules.read_back_failures
        if full and now_ms - self._failures[0] <= FAILURE_WINDOW_MS:
            self._failures.clear()
            return self._trip({Cause.READ_BACK}, now_ms)
        return False

    def on_clock_jump(self, step_ms: int, now_ms: int) -> bool:
        """The clock jumped; what was counted from before means nothing now."""
        self._since_ms.clear()
        self._failures.clear()
        self._seen_at_ms = self._calm_since_ms = None
        self._until_ms = None if self._until_ms is None else self._until_ms + step_ms
        self._closed_at_ms = None if self._closed_at_ms is None else self._closed_at_ms + step_ms
        if abs(step_ms) < self._rules.clock_jump_s * 1000:
            return False
        return self._trip({Cause.CLOCK}, now_ms)

    def on_deadline(self, now_ms: int) -> bool:
        """Looks at the time; whether the state changed."""
        if self._until_ms is None or now_ms < self._until_ms:
            return False
        if self.state == State.OPEN and self._calm_for(now_ms):
            self._turn(Event.CALM)
            self._until_ms = now_ms + self._rules.probation_s * 1000
            return True
        if self.state == State.HALF_OPEN and not self._since_ms and (not self._measured or self._seen_lately(now_ms)):
            self._turn(Event.PROVEN)
            self.causes.clear()
            self._closed_at_ms, self._until_ms = now_ms, None
            return True
        return False

    def next_ms(self) -> int | None:
        """When to look at the time again; for what is measured the next measurement is the time."""
        return None if self._measured or self._since_ms else self._until_ms

    # Rules

    @property
    def _measured(self) -> bool:
        """Whether it opened for something that is measured."""
        return any(REMEDIES[cause] != Remedy.RELEASE for cause in self.causes)

    def _calm_for(self, now_ms: int) -> bool:
        """Whether all has been well for the hold-off, as far as the causes are measured at all."""
        if not self._measured:
            return not self._since_ms
        since_ms = self._calm_since_ms
        if since_ms is None or not self._seen_lately(now_ms):
            return False
        return now_ms - since_ms >= self._rules.hold_off_s * 1000

    def _seen_lately(self, now_ms: int) -> bool:
        return self._seen_at_ms is not None and now_ms - self._seen_at_ms <= self._gap_ms

    def _turn(self, event: Event) -> None:
        self.state = TRANSITIONS.get((self.state, event), self.state)

    def _trip(self, causes: set[Cause], now_ms: int) -> bool:
        if self.state == State.OPEN:
            self.causes |= causes
            return False
        closed = self._closed_at_ms
        again = self.state == State.HALF_OPEN or (closed is not None and now_ms - closed < RELAPSE_MS)
        self._hold_off_s = min(self._hold_off_s * 2, HOLD_OFF_LIMIT_S) if again else self._rules.hold_off_s
        self.causes = set(causes)
        self.opened += 1
        self._calm_since_ms = None
        self._until_ms = now_ms + self._hold_off_s * 1000
        self._turn(Event.TRIP)
        return True

    def _patience_ms(self, cause: Cause) -> int:
        overload = cause in (Cause.IMPORT, Cause.EXPORT)
        return (self._rules.overload_s if overload else self._rules.trip_s) * 1000

    def _outside(self, seen: Terminal, *, strict: bool) -> set[Cause]:
        """What is outside its band; ``strict`` takes the hysteresis off the band and the margin off the limits."""
        rules, found = self._rules, set[Cause]()
        mhz, mv = (rules.frequency_hysteresis_mhz, rules.voltage_hysteresis_mv) if strict else (0, 0)
        if seen.frequency_mhz is not None:
            if seen.frequency_mhz > rules.frequency_high_mhz - mhz:
                found.add(Cause.OVER_FREQUENCY)
            if seen.frequency_mhz < rules.frequency_low_mhz + mhz:
                found.add(Cause.UNDER_FREQUENCY)
        if seen.voltages_mv and max(seen.voltages_mv) > rules.voltage_high_mv - mv:
            found.add(Cause.OVER_VOLTAGE)
        if seen.voltages_mv and min(seen.voltages_mv) < rules.voltage_low_mv + mv:
            found.add(Cause.UNDER_VOLTAGE)
        margin = 0 if strict else CONNECTION_MARGIN_PERMILLE
        if seen.power_w is not None:
            if seen.power_w * 1000 > self._limits.max_import_w * (1000 + margin):
                found.add(Cause.IMPORT)
            if -seen.power_w * 1000 > self._limits.max_export_w * (1000 + margin):
                found.add(Cause.EXPORT)
        return found


SAFE_WRITES: Mapping[Remedy, Mapping[str, int]] = {
    Remedy.CURTAIL: {"power_limit_w": 0, "power_limit_permille": 0, "power_setpoint_w": 0},
    Remedy.SHED: {"power_setpoint_w": 0},
    Remedy.RELEASE: {},
}
"""What each remedy writes, where a device has such a set-point."""
