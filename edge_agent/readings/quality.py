"""Guards between what a device says and what we sign: a bad value never moves a register, and says so in a flag.

    raw value -> range? -> sentinel, zero, roll-back, roll-over, rate? -> register = raw + offset, never backwards

A big advance after a silence or a restart, when nobody can say how fast the counter ran, waits for a second sample
that agrees with the first.

A register keeps its last good value as baseline. A value that does not fit is dropped and the baseline held, until
it has been contradicted consistently for PATIENCE_MS and PATIENCE_SAMPLES: then it is another meter, the offset is
chosen so that the register goes on where it was, and a new epoch begins. A new serial number says so at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from contracts.codes import ReadingFlag
from device_profiles.measurement import MEASUREMENTS

PATIENCE_MS = 900_000
PATIENCE_SAMPLES = 10
"""A quarter of an hour and ten samples: longer than any glitch, short enough to lose one settlement interval."""
RATE_SLACK_WH = 100
"""Resolution of float32 counters and of the clock between two polls."""
RATE_FACTOR = 4
"""A connection carries more than its fuse for minutes, never four times it."""
RATE_FLOOR_W = 40_000
"""A limit set to nothing must not make every value implausible."""
STUCK_WH = 200
"""Energy the power says has flowed while the counters stood still; above any counter's resolution."""
MS_PER_HOUR = 3_600_000
AWAY_LIMIT_MS = 90 * 24 * MS_PER_HOUR
"""How long an agent may have been off before what its meter counted meanwhile is doubted."""
ROLLED_AWAY_MS = 7 * 24 * MS_PER_HOUR
"""The same for a roll-over, which an exchanged or a rebooting meter resembles: a week."""
SURE_MS = 900_000
"""After a longer silence an advance is believed at once only as far as it fits this; the slowest poll is as long."""
CONFIRMED_BY = 2
"""Samples that must agree on an advance that is possible but not sure: a spike does not come twice."""
STUCK_STEP_MS = 900_000
"""Longest time between two polls that counts as one; a step of the clock is not time that passed."""


@dataclass(frozen=True, slots=True)
class Baseline:
    """Last good raw value of a counter and what is added to it: ``register = raw + offset``."""

    raw: int
    offset: int
    taken_at_ms: int | None
    """None after a restart: nobody knows how long we were away, and no clock of before can be trusted."""

    @property
    def register(self) -> int:
        """What is signed."""
        return self.raw + self.offset


class CounterGuard:
    """One cumulative counter of one meter. ``rate_w`` bounds how fast it may run."""

    def __init__(self, rate_w: int, baseline: Baseline | None = None) -> None:
        self._rate_w = max(rate_w * RATE_FACTOR, RATE_FLOOR_W)
        self.baseline = baseline
        self._rival: Baseline | None = None
        self._rival_since_ms = 0
        self._rival_samples = 0

    def _fits(self, advance_wh: int, since_ms: int | None, now_ms: int, away_ms: int = AWAY_LIMIT_MS) -> bool:
        elapsed_ms = away_ms if since_ms is None else max(now_ms - since_ms, 0)
        return 0 <= advance_wh <= RATE_SLACK_WH + self._rate_w * elapsed_ms // MS_PER_HOUR

    def _is_sure(self, advance_wh: int, since_ms: int | None, now_ms: int) -> bool:
        """Whether an advance can be believed at once: it would fit a silence that is bounded, and not long."""
        elapsed_ms = 0 if since_ms is None else min(max(now_ms - since_ms, 0), SURE_MS)
        return 0 <= advance_wh <= RATE_SLACK_WH + self._rate_w * elapsed_ms // MS_PER_HOUR

    def judge(self, raw: int | None, taken_at_ms: int, rollover: int | None, exchanged: bool) -> ReadingFlag:
        """Moves the baseline, or holds it and says why. METER_EXCHANGED asks for a new epoch."""
        base = self.baseline
        if base is None:
            if raw is not None:
                self.baseline = Baseline(raw, 0, taken_at_ms)
            return ReadingFlag.NONE
        if raw is None:
            return ReadingFlag.HELD
        if exchanged:
            self._rebase(raw, taken_at_ms)
            return ReadingFlag.METER_EXCHANGED
        advance_wh, flag, away_ms = raw - base.raw, ReadingFlag.NONE, AWAY_LIMIT_MS
        if rollover is not None and raw < base.raw < rollover:
            advance_wh, flag, away_ms = advance_wh + rollover, ReadingFlag.ROLLED_OVER, ROLLED_AWAY_MS
        moved = Baseline(raw, base.register + advance_wh - raw, taken_at_ms)
        if self._is_sure(advance_wh, base.taken_at_ms, taken_at_ms):
            self._move(moved)
            return flag
        if raw == 0:
            self._rival = None
            return ReadingFlag.HELD | ReadingFlag.IMPLAUSIBLE
        self._compare(raw, taken_at_ms)
        if self._fits(advance_wh, base.taken_at_ms, taken_at_ms, away_ms):
            if self._rival_samples < CONFIRMED_BY:
                return ReadingFlag.HELD
            self._move(moved)
            return flag
        if self._rival_samples >= PATIENCE_SAMPLES and taken_at_ms - self._rival_since_ms >= PATIENCE_MS:
            self._rebase(raw, taken_at_ms)
            return ReadingFlag.METER_EXCHANGED
        return ReadingFlag.HELD | (ReadingFlag.ROLLED_BACK if raw < base.raw else ReadingFlag.IMPLAUSIBLE)

    def clock_stepped(self, step_ms: int) -> None:
        """The clock jumped: instants taken before move along, or the next advance would fit no time at all."""
        self.baseline = _moved(self.baseline, step_ms)
        self._rival = _moved(self._rival, step_ms)
        self._rival_since_ms += step_ms

    def _move(self, baseline: Baseline) -> None:
        self.baseline = baseline
        self._rival = None

    def _rebase(self, raw: int, taken_at_ms: int) -> None:
        held = self.baseline.register if self.baseline else raw
        self._move(Baseline(raw, held - raw, taken_at_ms))

    def _compare(self, raw: int, taken_at_ms: int) -> None:
        """Counts how many values that do not follow the baseline have agreed among themselves, and since when."""
        rival = self._rival
        if rival is None or not self._fits(raw - rival.raw, rival.taken_at_ms, taken_at_ms):
            self._rival_since_ms, self._rival_samples = taken_at_ms, 0
        self._rival = Baseline(raw, 0, taken_at_ms)
        self._rival_samples += 1


def _moved(baseline: Baseline | None, step_ms: int) -> Baseline | None:
    if baseline is None or baseline.taken_at_ms is None:
        return baseline
    return replace(baseline, taken_at_ms=baseline.taken_at_ms + step_ms)


def plausible(values: Mapping[str, int]) -> tuple[dict[str, int], ReadingFlag]:
    """The values that lie within the range of their measurement; IMPLAUSIBLE where one does not."""
    kept: dict[str, int] = {}
    for name, value in values.items():
        known = MEASUREMENTS.get(name)
        if known is not None and known.minimum <= value <= known.maximum:
            kept[name] = value
    return kept, ReadingFlag.NONE if len(kept) == len(values) else ReadingFlag.IMPLAUSIBLE


class StuckGuard:
    """Sees counters that stand still while the power says that energy flows."""

    def __init__(self) -> None:
        self._registers: tuple[int | None, ...] = ()
        self._expected_mwh = 0
        self._last_ms = 0

    def judge(self, registers: tuple[int | None, ...], power_w: int | None, taken_at_ms: int) -> ReadingFlag:
        """STUCK once STUCK_WH should have been counted and nothing was."""
        elapsed_ms = min(max(taken_at_ms - self._last_ms, 0), STUCK_STEP_MS) if self._last_ms else 0
        self._last_ms = taken_at_ms
        if registers != self._registers:
            self._registers, self._expected_mwh = registers, 0
            return ReadingFlag.NONE
        if power_w is not None:
            self._expected_mwh += abs(power_w) * elapsed_ms // (MS_PER_HOUR // 1000)
        return ReadingFlag.STUCK if self._expected_mwh > STUCK_WH * 1000 else ReadingFlag.NONE
