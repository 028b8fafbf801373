"""One heap of (instant, sequence, work): the only source of order in a simulated world.

Two things due at the same millisecond happen in the order in which they were asked for, so a run is a function of
its inputs. Nothing here waits; time moves to the next entry.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable

Work = Callable[[], None]

STEPS_LIMIT = 5_000_000
"""A day of a dozen homes takes some 100,000 steps; beyond this something asks for itself again without end."""


class LocalEndlessError(RuntimeError):
    """The heap never empties: something schedules itself at an instant that does not move."""


class VirtualClock:
    """The time of a world in UTC milliseconds, and what is to happen when."""

    def __init__(self, start_ms: int) -> None:
        self.now_ms = start_ms
        self.steps = 0
        self._sequence = 0
        self._heap: list[tuple[int, int, Work]] = []

    @property
    def now_s(self) -> int:
        """The time in whole seconds."""
        return self.now_ms // 1000

    def at(self, at_ms: int, work: Work) -> None:
        """Does ``work`` at that instant; what lies in the past is done next, in order."""
        self._sequence += 1
        heapq.heappush(self._heap, (max(at_ms, self.now_ms), self._sequence, work))

    def after(self, delay_ms: int, work: Work) -> None:
        """Does ``work`` so much later."""
        self.at(self.now_ms + delay_ms, work)

    def every(self, first_ms: int, period_ms: int, work: Work) -> None:
        """Does ``work`` again and again, for ever."""
        if period_ms <= 0:
            raise ValueError("a period is positive")

        def again(due_ms: int) -> None:
            work()
            self.at(due_ms + period_ms, lambda: again(due_ms + period_ms))

        self.at(first_ms, lambda: again(first_ms))

    def run_until(self, until_ms: int) -> None:
        """Does everything due up to and including that instant; then it is that instant."""
        while self._heap and self._heap[0][0] <= until_ms:
            at_ms, _, work = heapq.heappop(self._heap)
            self.now_ms = at_ms
            self.steps += 1
            if self.steps > STEPS_LIMIT:
                raise LocalEndlessError(f"{STEPS_LIMIT} steps and no end at {at_ms} ms")
            work()
        self.now_ms = max(self.now_ms, until_ms)
