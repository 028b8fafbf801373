"""Time from outside: the system's clock, held steady between its steps, or an accelerated one for tests.

`SystemClock` runs on the monotonic clock from an anchor; only `check` moves the anchor, and says by how much, so that
the core learns of every step instead of suffering it.
"""

from __future__ import annotations

import asyncio
import ctypes
import time
from pathlib import Path
from typing import Protocol

from contracts.codes import ClockStatus
from edge_agent.config import ClockConfig

STEP_MS = 500
"""A difference to the system clock beyond this is a step; below it the anchor follows silently."""
SENSIBLE_S = 1_700_000_000
"""No agent ran before November 2023: an earlier clock was never set."""
_SLICE_S = 1.0
_TIME_ERROR = 5
_TIMEX_BYTES = 512
_SYNCHRONISED_FILE = Path("/run/systemd/timesync/synchronized")


class Clock(Protocol):
    """UTC milliseconds, waiting for an instant, and how far the time can be trusted."""

    @property
    def speed(self) -> float:
        """Seconds of this clock in a second."""

    def now_ms(self) -> int:
        """UTC milliseconds."""

    async def sleep_until_ms(self, at_ms: int) -> None:
        """Returns at or after that instant; at once for the past."""

    def check(self) -> tuple[ClockStatus, int]:
        """Trust in the clock, and by how many milliseconds it was just corrected."""


class SystemClock:
    """The machine's clock. ``trusted``: it is right although the system cannot tell."""

    speed = 1.0

    def __init__(self, trusted: bool = False) -> None:
        self._trusted = trusted
        self._anchor_ms = time.time_ns() // 1_000_000 - time.monotonic_ns() // 1_000_000

    def now_ms(self) -> int:
        """UTC milliseconds, never jumping but in `check`."""
        return self._anchor_ms + time.monotonic_ns() // 1_000_000

    async def sleep_until_ms(self, at_ms: int) -> None:
        """Sleeps in slices, so that a correction of the clock is felt within a second."""
        while (left_ms := at_ms - self.now_ms()) > 0:
            await asyncio.sleep(min(left_ms / 1000, _SLICE_S))

    def check(self) -> tuple[ClockStatus, int]:
        """Follows the system's clock and asks the kernel whether it is synchronised."""
        step_ms = time.time_ns() // 1_000_000 - self.now_ms()
        self._anchor_ms += step_ms
        return self._status(), step_ms if abs(step_ms) > STEP_MS else 0

    def _status(self) -> ClockStatus:
        if time.time() < SENSIBLE_S:
            return ClockStatus.UNKNOWN
        if self._trusted or _SYNCHRONISED_FILE.exists() or _kernel_synchronised():
            return ClockStatus.SYNCHRONISED
        return ClockStatus.INFORMATIVE


def _kernel_synchronised() -> bool:
    """adjtimex(2) with modes 0 only asks; TIME_ERROR means that nobody disciplines the clock."""
    try:
        state = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES))
    except (OSError, AttributeError):
        return False
    return bool(0 <= state < _TIME_ERROR)


class ScaledClock:
    """Virtual time that runs ``speed`` times as fast: at wall second ``epoch_wall_s`` it was ``epoch_virtual_s``."""

    def __init__(self, epoch_wall_s: float, epoch_virtual_s: float, speed: float) -> None:
        if speed <= 0:
            raise ValueError("a clock runs forward")
        self.speed = speed
        self._wall_s = epoch_wall_s
        self._virtual_s = epoch_virtual_s

    def now_ms(self) -> int:
        """Virtual UTC milliseconds."""
        return int((self._virtual_s + (time.time() - self._wall_s) * self.speed) * 1000)

    async def sleep_until_ms(self, at_ms: int) -> None:
        """Sleeps the scaled time."""
        while (left_ms := at_ms - self.now_ms()) > 0:
            await asyncio.sleep(min(left_ms / 1000 / self.speed, _SLICE_S))

    def check(self) -> tuple[ClockStatus, int]:
        """Always synchronised: it is the truth of its test."""
        return ClockStatus.SYNCHRONISED, 0


def clock_of(config: ClockConfig) -> Clock:
    """The clock a configuration asks for; a scaled one without an anchor begins now."""
    if config.speed == 1.0 and not config.epoch_virtual_s:
        return SystemClock(config.trusted)
    now_s = time.time()
    wall_s = config.epoch_wall_s or now_s
    return ScaledClock(wall_s, config.epoch_virtual_s or wall_s, config.speed)
