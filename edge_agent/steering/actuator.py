"""One set-point of one device, made to hold a value: ramp, watchdog, read-back.

    aim -> write -> read back -> next step of the ramp ... -> target held -> watchdog rewritten at half time -> release

Steps are as large as the profile's ramp, or its owner's, allows for a second, and no two of them follow within one; a
set-point in flash takes one step, because every step wears it, and a charger none that it cannot offer. Nothing is
written while the answer to a write is awaited, unless somebody aims elsewhere. Who aims, and what a bad read-back
means, is decided in `control.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from device_profiles.profile_parts import WritePoint
from edge_agent.effects import Effect, WriteDevice, WriteResult

WATCHDOG_S = 60
"""The device gives up at most this long after we fell silent."""
READ_BACK_MS = 2_000
"""What was written must be read back within this, or the device is not trusted."""
STEP_MS = 1_000
"""A step of a ramp: finer ones are lost between two polls of the device."""
TOLERANCE_PART = 100
TOLERANCE = 10
"""Registers are coarser than our units: a hundredth, or ten units."""


def tolerance_of(value: int) -> int:
    """How far a register may be from ``value`` and still hold it."""
    return max(TOLERANCE, abs(value) // TOLERANCE_PART)


class Actuator:
    """State of one set-point. ``tokens`` numbers writes, ``afford`` stores a write to flash before it happens.

    Between 0 and ``least`` there is nothing it can hold: a ramp leaps over that, and nobody aims there.
    """

    def __init__(
        self, device: str, write: WritePoint, patience_ms: int, tokens: Iterator[int], afford: Callable[[int], bool],
        least: int = 0,
    ) -> None:  # fmt: skip
        self.device = device
        self.write = write
        self.target: int | None = None
        self.value = 0
        self.ramp = None if write.storage == "flash" else write.ramp_per_s
        self.token = 0
        self.answer_by_ms: int | None = None
        self.until_ms = 0
        self._patience_ms = patience_ms
        self._tokens = tokens
        self._afford = afford
        self._least = least
        self._stepped_at_ms: int | None = None
        self._step_at_ms: int | None = None
        self._half_at_ms: int | None = None
        self._watched_until_ms = 0

    @property
    def engaged(self) -> bool:
        """Whether the device is made to hold something."""
        return self.target is not None

    @property
    def arrived(self) -> bool:
        """Whether the target is written and read back."""
        return self.target is not None and self.value == self.target and self.answer_by_ms is None

    @property
    def _rewrite_at_ms(self) -> int | None:
        """Half of the watchdog's time, where the set-point is to live longer than that."""
        return self._half_at_ms if self.until_ms > self._watched_until_ms else None

    def aim(self, target: int, start: int, until_ms: int, now_ms: int) -> list[Effect] | None:
        """Heads for ``target``, from ``start`` where nothing was held; None where the flash budget does not allow."""
        if self.write.storage == "flash" and not self._afford(now_ms):
            return None
        if self.target is None:
            self.value, self._stepped_at_ms = start, None
        self.target, self.until_ms = target, until_ms
        return self._step(now_ms)

    def extend(self, until_ms: int) -> None:
        """The same target for longer; the watchdog is rewritten when its half is over."""
        self.until_ms = until_ms

    def _step(self, now_ms: int) -> list[Effect]:
        """The next value, or a wait until the last step is a second old."""
        assert self.target is not None
        self._step_at_ms = None
        if self.ramp is None:
            self.value = self.target
        else:
            last = self._stepped_at_ms
            if last is not None and 0 <= now_ms - last < STEP_MS:
                self._step_at_ms = last + STEP_MS
                return []
            room = max(self.ramp * STEP_MS // 1000, 1)
            self.value += max(-room, min(room, self.target - self.value))
            if 0 < self.value < self._least:
                self.value = self._least if self.target >= self._least else min(self.target, 0)
        self._stepped_at_ms = now_ms
        return [self._say(now_ms)]

    def _say(self, now_ms: int) -> Effect:
        remaining_ms = self.until_ms - now_ms
        watchdog_s: int | None = None
        self._half_at_ms = None
        if self.write.watchdog is not None:
            watchdog_s = max(1, min(WATCHDOG_S, self.write.watchdog.seconds, remaining_ms // 1000))
            self._half_at_ms, self._watched_until_ms = now_ms + watchdog_s * 500, now_ms + watchdog_s * 1000
        self.token, self.answer_by_ms = next(self._tokens), now_ms + self._patience_ms
        return WriteDevice(self.device, self.write.name, self.value, watchdog_s, self.token)

    def fault_of(self, result: WriteResult) -> str | None:
        """What is wrong with the answer to the newest write; a good one brings the next step of a ramp."""
        self.answer_by_ms = None
        held = result.read_back
        if result.fault is not None:
            return result.fault
        if held is None or abs(held - self.value) > tolerance_of(self.value):
            return f"reads back {held}, not {self.value}"
        if self.value != self.target:
            self._step_at_ms = (self._stepped_at_ms or 0) + STEP_MS
        return None

    def due(self, now_ms: int) -> list[Effect] | None:
        """The next step or the watchdog's rewrite; None where it must be rewritten and the budget is spent."""
        if self.target is None or self.answer_by_ms is not None:
            return []
        if self._step_at_ms is not None and now_ms >= self._step_at_ms:
            return self._step(now_ms)
        if self._rewrite_at_ms is None or now_ms < self._rewrite_at_ms:
            return []
        if self.write.storage == "flash" and not self._afford(now_ms):
            return None
        return [self._say(now_ms)]

    def release(self) -> Effect:
        """Gives the device back; where the answer is a fault, `control.py` says it again."""
        self.target = None
        self.answer_by_ms = self._step_at_ms = self._half_at_ms = None
        self.token = next(self._tokens)
        return WriteDevice(self.device, self.write.name, None, None, self.token)

    def on_clock_step(self, step_ms: int) -> None:
        """The clock jumped: what was counted from now moves with it; ``until_ms`` stands in somebody's order."""
        moved = (self.answer_by_ms, self._step_at_ms, self._half_at_ms, self._stepped_at_ms)
        self.answer_by_ms, self._step_at_ms, self._half_at_ms, self._stepped_at_ms = (
            None if at is None else at + step_ms for at in moved
        )
        self._watched_until_ms += step_ms

    def next_ms(self) -> int | None:
        """When something is due; None where nothing is."""
        if self.target is None:
            return None
        if self.answer_by_ms is not None:
            return self.answer_by_ms
        return min((at for at in (self._step_at_ms, self._rewrite_at_ms) if at is not None), default=None)
