"""Turns a balancing step into numbered set-points and keeps what became of them."""

from __future__ import annotations

from dataclasses import dataclass, field

from contracts.messages import SetPoint, SetPointReport
from coordinator.effects import Effect
from coordinator.grid.balancing import BalancingStep, FlexibleDevice, balancing_step, set_point
from coordinator.grid.power_balance import PowerBalance
from coordinator.store.store import Store

TERM = 1
"""Fencing token of a single coordinator; a pair of them counts it up at every change of leader."""


@dataclass(frozen=True, slots=True)
class DispatchedStep:
    """A balancing step with the set-points that carry it out."""

    step: BalancingStep
    set_points: tuple[SetPoint, ...]
    effects: list[Effect] = field(default_factory=list)


class Dispatch:
    """Flexible devices and set-points in the store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def enrol(self, account: int, device: int, lowest_w: int, highest_w: int) -> None:
        """Notes or changes a flexible device."""
        self._store.run(
            "INSERT INTO flexible_devices VALUES (?, ?, ?, ?) ON CONFLICT (account, device) DO UPDATE SET"
            " lowest_w = excluded.lowest_w, highest_w = excluded.highest_w",
            account, device, lowest_w, highest_w,
        )  # fmt: skip

    def devices(self) -> list[FlexibleDevice]:
        """All flexible devices."""
        rows = self._store.rows("SELECT account, device, lowest_w, highest_w FROM flexible_devices ORDER BY 1, 2")
        return [FlexibleDevice(*(value for value in row)) for row in rows]

    def step(self, before: PowerBalance, now_s: int) -> DispatchedStep:
        """One balancing step; its set-points are kept until they are reported."""
        step = balancing_step(before, self.devices())
        set_points = []
        for device, power_w in step.commands:
            sequence = self._store.mark("set_point_sequence") + 1
            self._store.set_mark("set_point_sequence", sequence)
            command = set_point(device, power_w, sequence, TERM, now_s)
            self._store.run(
                "INSERT INTO set_points (account, device, sequence, kind, power_w, valid_until_s)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                command.account, command.device, command.sequence, command.kind, command.power_w,
                command.valid_until_s,
            )  # fmt: skip
            set_points.append(command)
        return DispatchedStep(step, tuple(set_points))

    def outcomes_seen(self, report: SetPointReport) -> int | None:
        """Bit mask of the outcomes already reported for this set-point; None where no such set-point was sent."""
        row = self._store.row(
            "SELECT outcomes_seen FROM set_points WHERE account = ? AND device = ? AND sequence = ?",
            report.account, report.device, report.sequence,
        )  # fmt: skip
        return None if row is None else int(row[0])

    def reported(self, report: SetPointReport) -> None:
        """Keeps what the home did."""
        self._store.run(
            "UPDATE set_points SET outcome = ?, reported_power_w = ?, outcomes_seen = outcomes_seen | ?"
            " WHERE account = ? AND device = ? AND sequence = ?",
            report.outcome, report.power_w, 1 << report.outcome, report.account, report.device, report.sequence,
        )  # fmt: skip
