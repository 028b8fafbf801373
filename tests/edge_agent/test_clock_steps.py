"""A clock that steps by an hour or by weeks: no energy lost, no negative interval, and settling goes on."""

from __future__ import annotations

from pathlib import Path

import pytest

from contracts.codes import ClockStatus, ReadingFlag
from contracts.interval import INTERVAL_S, interval_of, interval_start_s
from tests.edge_agent.conftest import Home

START_MS = interval_start_s(2_000_000) * 1000
HOUR_MS, WEEK_MS = 3_600_000, 7 * 86_400_000
POLL_MS = 30_000


def live(home: Home, true_ms: int, until_ms: int, error_ms: int) -> int:
    """Polls every half minute under a clock that is ``error_ms`` ahead; the meter counts true time."""
    while true_ms < until_ms:
        register = 1_000 + (true_ms - START_MS) // 1000
        home.sample(true_ms + error_ms, import_wh=register, export_wh=0, power_w=3600)
        true_ms += POLL_MS
    return true_ms


@pytest.mark.parametrize("error_ms", [HOUR_MS, -HOUR_MS, 2 * WEEK_MS, -2 * WEEK_MS])
def test_after_a_false_step_every_later_interval_is_settled_with_its_true_registers(
    tmp_path: Path, error_ms: int
) -> None:
    home = Home(tmp_path, synchronised_ms=START_MS)
    now_ms = live(home, START_MS, START_MS + HOUR_MS, 0)
    home.agent.on_clock(ClockStatus.SYNCHRONISED, now_ms + error_ms, error_ms)
    now_ms = live(home, now_ms, now_ms + HOUR_MS // 3, error_ms)
    home.agent.on_clock(ClockStatus.SYNCHRONISED, now_ms, -error_ms)
    now_ms = live(home, now_ms, now_ms + 5 * HOUR_MS, 0)
    readings = home.readings()
    assert len({(r.epoch, r.sequence) for r in readings}) == len(readings)
    assert not any(
        r.flags & (ReadingFlag.HELD | ReadingFlag.METER_EXCHANGED | ReadingFlag.IMPLAUSIBLE) for r in readings
    )
    last = {r.interval: r for r in readings}
    present = interval_of(now_ms // 1000)
    for interval in range(present - 12, present - 1):  # three hours after the step back at the latest
        assert last[interval].import_wh == 1_000 + last[interval].taken_at_s - START_MS // 1000
        assert last[interval].taken_at_s >= (interval + 1) * INTERVAL_S
