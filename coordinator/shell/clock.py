"""Time as the coordinator sees it: the machine's, or one that runs faster so that a day passes in minutes."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Protocol

LONGEST_NAP_S = 0.5
"""Sleep is cut into naps of this length, so that a clock that is set or a machine that wakes up is noticed."""


class Clock(Protocol):
    """UTC milliseconds, and sleeping until an instant of them."""

    def now_ms(self) -> int:
        """UTC milliseconds since the epoch."""

    async def sleep_until_ms(self, at_ms: int) -> None:
        """Returns when ``now_ms() >= at_ms``."""


@dataclass(frozen=True, slots=True)
class SystemClock:
    """The machine's clock."""

    def now_ms(self) -> int:
        """UTC milliseconds since the epoch."""
        return time.time_ns() // 1_000_000

    async def sleep_until_ms(self, at_ms: int) -> None:
        """Returns when the machine's clock has reached ``at_ms``."""
        while (left_ms := at_ms - self.now_ms()) > 0:
            await asyncio.sleep(min(left_ms / 1000, LONGEST_NAP_S))


@dataclass(frozen=True, slots=True)
class ScaledClock:
    """At wall time ``epoch_wall_s`` it shows ``epoch_virtual_s``, and runs ``speed`` times as fast from there."""

    epoch_wall_s: float
    epoch_virtual_s: int
    speed: float

    def __post_init__(self) -> None:
        if self.speed <= 0:
            raise ValueError("a clock runs forward")

    def now_ms(self) -> int:
        """Virtual UTC milliseconds since the epoch."""
        return self.epoch_virtual_s * 1000 + int((time.time() - self.epoch_wall_s) * self.speed * 1000)

    async def sleep_until_ms(self, at_ms: int) -> None:
        """Returns when the virtual clock has reached ``at_ms``."""
        while (left_ms := at_ms - self.now_ms()) > 0:
            await asyncio.sleep(min(left_ms / 1000 / self.speed, LONGEST_NAP_S))
