"""One balancing step: what the feeder is short of is shared among the devices that can give it.

    power balance  →  need  →  shares by headroom  →  absolute, expiring set-points

A set-point names a device's own power (load convention). It expires into the device's own behaviour, so a silent
coordinator is safe. Only devices that are enrolled as flexible take part.
"""

from __future__ import annotations

from dataclasses import dataclass

from contracts.codes import SetPointKind
from contracts.messages import SetPoint
from contracts.units import cumulative_share
from coordinator.grid.power_balance import PowerBalance

DEAD_BAND_W = 200
"""Below this imbalance nothing is commanded: it is within the noise of a dozen homes."""
VALID_S = 300
"""A set-point of this step holds one dispatch period of five minutes."""


@dataclass(frozen=True, slots=True)
class FlexibleDevice:
    """A device that obeys set-points: its range in load convention (negative: can give power)."""

    account: int
    device: int
    lowest_w: int
    highest_w: int


@dataclass(frozen=True, slots=True)
class BalancingStep:
    """The need, what was commanded, and in words why. ``after_w`` is the net power expected then."""

    before: PowerBalance
    need_w: int
    commands: tuple[tuple[FlexibleDevice, int], ...]
    after_w: int
    reason: str


def balancing_step(before: PowerBalance, devices: list[FlexibleDevice]) -> BalancingStep:
    """Shares the feeder's net power among ``devices`` in proportion to what each can do in that direction."""
    need = -before.net_w
    if before.homes == 0:
        return BalancingStep(before, 0, (), 0, "no home has reported within the freshness limit")
    if abs(need) <= DEAD_BAND_W:
        return BalancingStep(before, need, (), before.net_w, f"net power is within the dead band of {DEAD_BAND_W} W")
    ordered = sorted(devices, key=lambda d: (d.account, d.device))
    room = [max(0, d.highest_w) if need > 0 else max(0, -d.lowest_w) for d in ordered]
    total = sum(room)
    if total == 0:
        return BalancingStep(before, need, (), before.net_w, "no flexible device can move power in that direction")
    give, prefix, commands = min(abs(need), total), 0, []
    for device, headroom in zip(ordered, room, strict=True):
        share = cumulative_share(prefix, headroom, give, total)
        prefix += headroom
        if share:
            commands.append((device, share if need > 0 else -share))
    word = "absorb" if need > 0 else "give"
    covered = "all of" if give == abs(need) else f"{give} W of"
    reason = f"{len(commands)} devices {word} {covered} {abs(need)} W in proportion to their range"
    return BalancingStep(before, need, tuple(commands), before.net_w + (give if need > 0 else -give), reason)


def set_point(device: FlexibleDevice, power_w: int, sequence: int, term: int, now_s: int) -> SetPoint:
    """The signed command for one share."""
    return SetPoint(
        device.account, device.device, SetPointKind.ACTIVE_POWER, term, sequence, now_s, now_s + VALID_S, power_w
    )
