"""What a set-point must be for this home to obey it: checks in a fixed order, each refusal by its name.

issuer, clock, replay, age, device, breaker, lock, range, budget. The range is the profile's **and** the home's own:
what the connection carries, and for its own battery the powers and the reserve its owner has set. No check needs
more than the order, the device's profile and what was measured last; `edge-agent control dry-run` asks the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from contracts.codes import SetPointKind, SetPointOutcome
from contracts.messages import SetPoint
from device_profiles.profile_parts import Profile, WritePoint
from edge_agent.config import AgentConfig, LimitsConfig
from edge_agent.config_local import BatteryConfig

WRITES = {
    SetPointKind.ACTIVE_POWER: ("power_setpoint_w",),
    SetPointKind.EXPORT_LIMIT: ("power_limit_w", "power_limit_permille"),
    SetPointKind.IMPORT_LIMIT: (),
}
"""The set-points of a profile that carry out each kind, best first. What a charger is told is the most that the vehicle
may take, so that a charger has an import limit as well; of anything else the home holds it (`import_limit.py`)."""
LEAST_W_A_PHASE = 1_380
"""A charger offers 6 A a phase or nothing (IEC 61851-1), at 230 V."""


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What the home knows at the moment: time, issuer, the device's past, the breaker.

    What was issued up to ``floor_s`` may have been obeyed already (`replay_floor.py`).
    """

    now_ms: int
    by_operator: bool
    clock_known: bool
    newest: tuple[int, int] = (-1, -1)
    locked: bool = False
    breaker_open: bool = False
    budget_spent: bool = False
    early_ms: int = 2_000
    floor_s: int = -1


def write_for(kind: int, profile: Profile) -> WritePoint | None:
    """The profile's set-point that carries out this kind; None where it has none."""
    names = {write.name: write for write in profile.writes}
    if kind == SetPointKind.IMPORT_LIMIT and profile.kind == "charger":
        kind = SetPointKind.ACTIVE_POWER
    return next((names[name] for name in WRITES[SetPointKind(kind)] if name in names), None)


def least_w(profile: Profile) -> int:
    """Below this a charger stands still; nothing is too little for any other device."""
    return LEAST_W_A_PHASE * (profile.phases or 1) if profile.kind == "charger" else 0


def permille_of(limit_w: int, full_w: int) -> int | None:
    """A limit as a share of what the device can; None where that is not known."""
    return None if full_w <= 0 else max(0, min(limit_w * 1000 // full_w, 1000))


def ramp_for(write: WritePoint, limits: LimitsConfig, values: Mapping[str, int]) -> int | None:
    """The most change a second in the set-point's unit, by the device or its owner; None where nobody bounds it."""
    if write.storage == "flash":  # every step wears it
        return None
    owners = limits.ramp_w_per_s
    if owners is not None and write.name == "power_limit_permille":
        share = permille_of(owners, values.get("max_power_w", 0))
        owners = None if share is None else max(share, 1)
    elif not write.name.endswith("_w"):
        owners = None
    return min((ramp for ramp in (write.ramp_per_s, owners) if ramp is not None), default=None)


def value_for(
    order: SetPoint, write: WritePoint, limits: LimitsConfig, battery: BatteryConfig | None, values: Mapping[str, int],
    least: int = 0,
) -> int | None:  # fmt: skip
    """The set-point in the device's unit; None outside the profile's or the home's own bounds.

    ``battery`` is what the owner has set where this device is the home's battery; a power below ``least`` W is none.
    """
    power_w = order.power_w
    if not -limits.max_export_w <= power_w <= limits.max_import_w:
        return None
    value: int | None = power_w
    if order.kind == SetPointKind.EXPORT_LIMIT:
        value = abs(power_w)
        if value > limits.max_export_w:
            return None
    elif battery is not None and not battery.allows(power_w, values.get("soc_permille")):
        return None
    if write.name == "power_limit_permille":
        value = permille_of(abs(power_w), values.get("max_power_w", 0))
    if 0 < power_w < least:
        value = 0
    return value if value is not None and write.minimum <= value <= write.maximum else None


def stale_refusal(order: SetPoint, met: Circumstances, newest: tuple[int, int]) -> SetPointOutcome | None:
    """The refusals that need no device: issuer, clock, replay and age."""
    if not met.by_operator:
        return SetPointOutcome.WRONG_ISSUER
    if not met.clock_known:
        return SetPointOutcome.CLOCK_UNSYNCHRONISED
    if (order.term, order.sequence) <= newest or order.issued_at_s <= met.floor_s:
        return SetPointOutcome.REPLAYED
    if met.now_ms >= order.valid_until_s * 1000:
        return SetPointOutcome.EXPIRED
    if met.now_ms < order.issued_at_s * 1000 - met.early_ms:
        return SetPointOutcome.NOT_YET_VALID
    return None


def refusal_of(
    order: SetPoint, profile: Profile | None, config: AgentConfig, name: str, values: Mapping[str, int],
    met: Circumstances,
) -> SetPointOutcome | None:  # fmt: skip
    """Why the order is not obeyed, the first reason that holds; None where it is. ``name`` is the device's."""
    stale = stale_refusal(order, met, met.newest)
    if stale is not None:
        return stale
    write = None if profile is None else write_for(order.kind, profile)
    if write is None:
        return SetPointOutcome.NO_SUCH_DEVICE
    if met.breaker_open:
        return SetPointOutcome.BREAKER_OPEN
    if met.locked:
        return SetPointOutcome.READ_BACK_FAILED
    assert profile is not None  # it has this set-point
    if value_for(order, write, config.limits, config.battery_of(name), values, least_w(profile)) is None:
        return SetPointOutcome.OUT_OF_RANGE
    if write.storage == "flash" and met.budget_spent:
        return SetPointOutcome.WRITE_BUDGET_SPENT
    return None
