"""What the home will take or give in a coming interval, from its own past.

    profile = weighted mean of the same quarter-hour of past days (half-life three days)
    forecast = profile + (last measured - its profile) * 0.9^(intervals ahead)

Persistence carries over the next hour or two, the profile beyond. Integers go out: Wh per interval, positive flows
into the home. Without any history there is no forecast, and a home without one does not bid.
"""

from __future__ import annotations

from collections.abc import Mapping

from contracts.interval import INTERVALS_PER_DAY

DAYS = 28
HALF_LIFE_DAYS = 3.0
PERSISTENCE = 0.9
STALE_INTERVALS = 8
"""A measurement older than two hours says nothing about now that the profile does not."""


class NetForecast:
    """History of net energy by interval, bounded to DAYS."""

    def __init__(self, history: Mapping[int, int]) -> None:
        self._net_wh = dict(history)
        self._last = max(history, default=None)
        self._made: dict[int, int | None] = {}

    @property
    def history(self) -> Mapping[int, int]:
        """What was measured, by interval."""
        return self._net_wh

    def add(self, interval: int, net_wh: int) -> None:
        """One interval's metered net energy; several meters add up."""
        self._net_wh[interval] = self._net_wh.get(interval, 0) + net_wh
        self._last = max(self._net_wh) if self._last is None else max(self._last, interval)
        self._made.clear()
        oldest = interval - DAYS * INTERVALS_PER_DAY
        if len(self._net_wh) > DAYS * INTERVALS_PER_DAY:
            self._net_wh = {i: wh for i, wh in self._net_wh.items() if i > oldest}

    def _profile(self, interval: int, before: int) -> float | None:
        total = weights = 0.0
        for day in range(1, DAYS + 1):
            past = interval - day * INTERVALS_PER_DAY
            if past < before and past in self._net_wh:
                weight = 0.5 ** (day / HALF_LIFE_DAYS)
                total += weight * self._net_wh[past]
                weights += weight
        return total / weights if weights else None

    def net_wh(self, interval: int) -> int | None:
        """Forecast for ``interval``, made from everything before it; None without any history to go by."""
        if interval not in self._made:
            self._made[interval] = self._forecast(interval)
        return self._made[interval]

    def _forecast(self, interval: int) -> int | None:
        last = self._last
        if last is not None and last >= interval:
            last = max((i for i in self._net_wh if i < interval), default=None)
        if last is None:
            return None
        profile = self._profile(interval, interval)
        if interval - last > STALE_INTERVALS:
            return None if profile is None else round(profile)
        measured = float(self._net_wh[last])
        if profile is None:
            return round(measured)
        usual = self._profile(last, last)
        surprise = 0.0 if usual is None else measured - usual
        return round(profile + surprise * PERSISTENCE ** (interval - last))
