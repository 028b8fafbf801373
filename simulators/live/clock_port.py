"""What the simulators ask of a clock."""

from __future__ import annotations

from typing import Protocol


class NowClock(Protocol):
    """Tells the (virtual) time."""

    def now_ms(self) -> int:
        """UTC milliseconds since the epoch."""
        ...
