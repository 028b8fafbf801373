"""A home battery in whole watts and watt-seconds, so that no energy is gained or lost by rounding.

Power follows the load convention at the battery's AC terminals: positive charges. Conversion costs a share of
the power each way; what is lost is counted, so that ``charged = stored + lost + discharged`` to the watt-second.
"""

from __future__ import annotations

WS_PER_WH = 3_600

ONE_WAY_EFFICIENCY_PERMILLE = 965
"""AC to cell and cell to AC alike: 93 % for the round trip, the middle of what home batteries reach in the
yearly inspection of storage systems by HTW Berlin."""

RESERVE_PERMILLE = 50
"""State of charge below which no home battery lets itself be discharged."""


class Battery:
    """State of one battery: ``capacity_wh`` usable, at most ``power_limit_w`` either way."""

    def __init__(self, capacity_wh: int, power_limit_w: int, soc_permille: int) -> None:
        if capacity_wh <= 0 or power_limit_w <= 0 or not 0 <= soc_permille <= 1000:
            raise ValueError("a battery has a capacity, a power and a state of charge within 0..1000 permille")
        self.capacity_wh = capacity_wh
        self.power_limit_w = power_limit_w
        self.stored_ws = capacity_wh * WS_PER_WH * soc_permille // 1000
        self.charged_ws = 0
        self.discharged_ws = 0
        self.lost_ws = 0
        self._reserve_ws = capacity_wh * WS_PER_WH * RESERVE_PERMILLE // 1000

    @property
    def soc_permille(self) -> int:
        """State of charge, rounded down."""
        return self.stored_ws * 1000 // (self.capacity_wh * WS_PER_WH)

    @property
    def stored_wh(self) -> int:
        """Energy in the cells, rounded down."""
        return self.stored_ws // WS_PER_WH

    def sustainable_w(self, wanted_w: int, duration_s: int) -> int:
        """The power nearest to ``wanted_w`` that limits and state of charge allow for all of ``duration_s``."""
        if wanted_w >= 0:
            room_w = max(0, self.capacity_wh * WS_PER_WH - self.stored_ws) // duration_s
            return min(wanted_w, self.power_limit_w, room_w * 1000 // ONE_WAY_EFFICIENCY_PERMILLE)
        spare_w = max(0, self.stored_ws - self._reserve_ws) // duration_s
        return -min(-wanted_w, self.power_limit_w, spare_w * ONE_WAY_EFFICIENCY_PERMILLE // 1000)

    def advance(self, power_w: int, duration_s: int) -> None:
        """Hold ``power_w`` for ``duration_s``; the power must be sustainable."""
        cell_ws = cell_power_w(power_w) * duration_s
        self.stored_ws += cell_ws
        self.lost_ws += power_w * duration_s - cell_ws
        if power_w >= 0:
            self.charged_ws += power_w * duration_s
        else:
            self.discharged_ws -= power_w * duration_s


def cell_power_w(power_w: int) -> int:
    """Power at the cells for ``power_w`` at the AC terminals; rounded so that the loss between is never negative."""
    if power_w >= 0:
        return power_w * ONE_WAY_EFFICIENCY_PERMILLE // 1000
    return power_w * 1000 // ONE_WAY_EFFICIENCY_PERMILLE
