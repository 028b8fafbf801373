"""Who governs a device: the state table, and what is kept of each device.

    AUTONOMOUS  nobody commands; the home's own plan may, else the device follows its own logic
    REMOTE      a set-point is in force; its watchdog is rewritten at half time
    HOLD        the link is gone; the last set-point stays until it expires
    FALLBACK    it expired, or the breaker opened; the device was released and droop governs: its own or the agent's
    LOCKED      a read-back was not what was written; no command for LOCK_MS

`control.py` makes the turns.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from contracts.messages import SetPoint, SetPointReport
from device_profiles.profile_parts import Profile
from edge_agent.config import MeterConfig
from edge_agent.steering.actuator import Actuator


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
    BARRED = "the home's breaker opened"
    SETTLED = "a quarter of an hour without a command"
    BAD_READ_BACK = "the device does not hold what was written"
    UNLOCKED = "the lock's time is over"


TRANSITIONS: Mapping[tuple[Mode, Turn], Mode] = {
    (Mode.AUTONOMOUS, Turn.ACCEPTED): Mode.REMOTE,
    (Mode.AUTONOMOUS, Turn.BAD_READ_BACK): Mode.LOCKED,
    (Mode.REMOTE, Turn.ACCEPTED): Mode.REMOTE,
    (Mode.REMOTE, Turn.LINK_LOST): Mode.HOLD,
    (Mode.REMOTE, Turn.EXPIRED): Mode.FALLBACK,
    (Mode.REMOTE, Turn.BARRED): Mode.FALLBACK,
    (Mode.REMOTE, Turn.BAD_READ_BACK): Mode.LOCKED,
    (Mode.HOLD, Turn.LINK_BACK): Mode.REMOTE,
    (Mode.HOLD, Turn.ACCEPTED): Mode.REMOTE,
    (Mode.HOLD, Turn.EXPIRED): Mode.FALLBACK,
    (Mode.HOLD, Turn.BARRED): Mode.FALLBACK,
    (Mode.HOLD, Turn.BAD_READ_BACK): Mode.LOCKED,
    (Mode.FALLBACK, Turn.ACCEPTED): Mode.REMOTE,
    (Mode.FALLBACK, Turn.LINK_BACK): Mode.AUTONOMOUS,
    (Mode.FALLBACK, Turn.SETTLED): Mode.AUTONOMOUS,
    (Mode.FALLBACK, Turn.BAD_READ_BACK): Mode.LOCKED,
    (Mode.LOCKED, Turn.UNLOCKED): Mode.AUTONOMOUS,
}
"""Every move there is; any other turn leaves a device as it is."""
COMMANDED = (Mode.REMOTE, Mode.HOLD)
"""Where a set-point of the operator is in force."""


@dataclass(slots=True)
class Device:
    """One controllable device. ``newest`` is the highest (term, sequence) ever obeyed.

    ``until_ms`` is the end of the mode it is in, ``write`` the set-point that ``last`` is carried out with, and
    ``leftover`` what may still be in force though nobody wants it, to be released at ``release_at_ms``: an earlier run
    of the agent left it, or a device without a watchdog did not take its release.
    """

    config: MeterConfig
    profile: Profile
    mode: Mode = Mode.AUTONOMOUS
    newest: tuple[int, int] = (-1, -1)
    last: SetPoint | None = None
    report: SetPointReport | None = None
    reported: bool = True
    write: str = ""
    until_ms: int | None = None
    budget_day: int = 0
    budget_used: int = 0
    actuators: dict[str, Actuator] = field(default_factory=dict)
    leftover: list[str] = field(default_factory=list)
    release_at_ms: int = 0
    release_tries: int = 0

    def turn(self, turn: Turn) -> None:
        """Moves along TRANSITIONS."""
        self.mode = TRANSITIONS.get((self.mode, turn), self.mode)

    @property
    def engaged(self) -> list[str]:
        """The set-points it is made to hold."""
        return [name for name, actuator in self.actuators.items() if actuator.engaged]

    def state(self) -> list[object]:
        """As JSON: what must survive the agent."""
        return [*self.newest, self.budget_day, self.budget_used, *sorted({*self.engaged, *self.leftover})]

    def restore(self, state: list[object] | None) -> None:
        """After a restart: nothing older is obeyed, and what may still be in force is released at once."""
        if state is not None:
            try:
                term, sequence, day, used = (int(str(value)) for value in state[:4])
            except (TypeError, ValueError):  # carried over from a damaged store: the floor of set-points holds
                return
            writes = state[4:]
            self.newest = (term, sequence)
            self.budget_day, self.budget_used = day, used
            self.leftover = [str(name) for name in writes if name in self.actuators]
