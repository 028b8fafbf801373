"""A running coordinator as those see it who ask it for something: the web, and whoever drives it in one process.

The shell provides it; the web only knows this page.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol, TypeVar

from coordinator.config import MarketConfig
from coordinator.coordinator import Coordinator, Reception
from coordinator.effects import Effect

T = TypeVar("T")
Work = Callable[[Coordinator, int], tuple[T, list[Effect]]]
"""Something to do with the core at a time in milliseconds: its result, and effects to carry out after the commit."""


class LocalStoppedError(Exception):
    """The coordinator is not running, or stopped before the request was done."""


class RemoteOverloadError(Exception):
    """The queue is full; the sender may try again in a moment."""


class Counting(Protocol):
    """A part that counts what happens to it, by word."""

    @property
    def counters(self) -> Mapping[str, int]:
        """Counts since the start."""


class Telling(Protocol):
    """The alarms: counts by code, and the newest, each with ``at_s``, ``code`` and ``text``."""

    counters: Counter[str]

    @property
    def recent(self) -> Any:
        """The newest alarms, oldest first."""


class Timed(Protocol):
    """The coordinator's time."""

    def now_ms(self) -> int:
        """UTC milliseconds."""


class RunningCoordinator(Protocol):
    """What may be asked of a running coordinator."""

    market: MarketConfig
    store_path: Path
    counters: Counter[str]
    on_commit: list[Callable[[], None]]

    @property
    def broker(self) -> Counting:
        """The broker's counts."""

    @property
    def chain(self) -> Counting:
        """The chain's counts."""

    @property
    def alarms(self) -> Telling:
        """The alarms."""

    @property
    def clock(self) -> Timed:
        """The time."""

    @property
    def core(self) -> Coordinator:
        """The core, for its counters; everything else goes through ``request``."""

    @property
    def ready(self) -> bool:
        """Whether inputs are worked on."""

    @property
    def queued(self) -> int:
        """Inputs that wait."""

    async def submit(self, topic: str, payload: bytes) -> Reception:
        """A signed message; its reception is durable at return. Raises RemoteOverloadError, LocalStoppedError."""

    async def request(self, work: Work[T]) -> T:
        """Does ``work`` with the core; its result is durable when this returns. Raises as ``submit``."""
