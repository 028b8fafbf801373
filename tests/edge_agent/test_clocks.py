"""The agent's process under a system clock that is wrong, jumps, or is told apart by local time only.

libfaketime gives the process its own wall clock, which a file moves while it runs; the monotonic clock stays true.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from contracts.codes import ClockStatus, ReadingFlag
from contracts.interval import INTERVAL_S, interval_of, interval_start_s
from contracts.messages import SettlementReading, TelemetryBatch
from tests.edge_agent.conftest import eventually
from tests.edge_agent.real_home import RealHome, judge

LIBRARIES = sorted(Path("/usr/lib").glob("**/faketime/libfaketime.so.1"))
BEFORE_END_S = 4
DAY_S = 86_400


class FakedTime:
    """The wall clock of one process, as libfaketime reads it from a file."""

    def __init__(self, folder: Path) -> None:
        if not LIBRARIES:
            pytest.skip("libfaketime is not installed")
        self._file = folder / "faketime"
        self.environment = {
            "LD_PRELOAD": str(LIBRARIES[-1]),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",
        }

    def set(self, offset_s: float) -> None:
        """The wall clock is this far from the true one from now on."""
        beside = self._file.with_name("faketime.new")
        beside.write_text(f"{offset_s:+f}\n")
        beside.replace(self._file)


class FakedHome(RealHome):
    """A home whose meter counts one Wh each true second, and whose agent's clock is ours to move."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, speed=1)
        self.faked = FakedTime(folder)
        self.offset_s = 0.0

    def truth_wh(self, at_s: float) -> int:
        """A Wh a second, so that every poll advances."""
        return 10**6 + int(at_s - interval_start_s(2_000_000))

    def show(self, at_s: float) -> None:
        """The agent's wall clock shows ``at_s`` now."""
        self.offset_s = at_s - time.time()
        self.faked.set(self.offset_s)

    def jump_s(self, by_s: float) -> None:
        """The agent's wall clock jumps."""
        self.offset_s += by_s
        self.faked.set(self.offset_s)

    def settled(self) -> set[int]:
        """Intervals that have come."""
        return {reading.interval for reading in self.ledger.readings}

    @asynccontextmanager
    async def watched(self, shown_s: float) -> AsyncIterator[None]:
        """The agent runs from ``shown_s`` of its clock on, and the operator listens."""
        await self.start(clock="trusted = true")
        self.show(shown_s)
        self.serve()
        async with self.alive(self.faked.environment, quick_clock=True):
            yield
        await self.stop()

    def telemetry_is_consistent(self) -> None:
        """No batch runs backwards; each is of the clock it names."""
        for batch in self.ledger.messages(TelemetryBatch):
            assert isinstance(batch, TelemetryBatch) and batch.last_taken_at_s >= batch.first_taken_at_s


Runner = Callable[[Awaitable[None]], None]
END_S = interval_start_s(interval_of(1_790_000_000))
"""The end of an interval in September 2026."""


def newest(home: FakedHome) -> SettlementReading:
    """The reading of the highest sequence."""
    return max(home.ledger.readings, key=lambda r: (r.epoch, r.sequence))


@pytest.mark.slow
@pytest.mark.real("mosquitto")
@pytest.mark.real("faketime")
def test_booted_in_1970_it_signs_nothing_and_dates_what_it_measured_once_the_time_is_known(
    run: Runner, tmp_path: Path
) -> None:
    async def story() -> None:
        home = FakedHome(tmp_path)
        async with home.watched(100):
            await eventually(lambda: home.meter.requests > 10, 20)
            assert not home.ledger.readings and not home.ledger.messages(TelemetryBatch)
            home.show(END_S + 2)  # most of what was measured lies before the end of the interval
            await eventually(lambda: interval_of(END_S) - 1 in home.settled(), 20)
        judge(home)
        home.telemetry_is_consistent()
        assert all(r.taken_at_s > END_S - 60 for r in home.ledger.readings), "nothing bears the date of 1970"
        assert {r.clock for r in home.ledger.readings} <= {ClockStatus.RELATIVE, ClockStatus.SYNCHRONISED}

    run(story())


@pytest.mark.slow
@pytest.mark.real("mosquitto")
@pytest.mark.real("faketime")
@pytest.mark.parametrize(
    "jump_s", [14 * DAY_S, -3_600, 3_600], ids=["two weeks ahead", "an hour back", "an hour ahead"]
)
def test_a_clock_that_jumps_and_comes_back_makes_no_negative_interval_and_every_step_is_flagged(
    run: Runner, tmp_path: Path, jump_s: int
) -> None:
    async def story() -> None:
        home = FakedHome(tmp_path)
        truth = home.truth_wh(home.now_s())
        async with home.watched(END_S - BEFORE_END_S):
            await eventually(lambda: interval_of(END_S) - 1 in home.settled(), 30)
            before = newest(home)
            assert not before.flags
            home.jump_s(jump_s)
            polled = home.meter.requests
            await eventually(lambda: home.meter.requests > polled + 12, 30)
            home.jump_s(-jump_s)
            polled = home.meter.requests
            await eventually(lambda: home.meter.requests > polled + 12, 30)
            # On to the end of a later interval: beyond every interval that a false clock may have settled.
            later_s = END_S + (12 if jump_s == 3_600 else 4) * INTERVAL_S
            home.show(later_s - BEFORE_END_S)
            await eventually(lambda: interval_of(later_s) - 1 in home.settled(), 30)
        judge(home, once=jump_s < DAY_S)
        home.telemetry_is_consistent()
        last = next(r for r in home.ledger.readings if r.interval == interval_of(later_s) - 1)
        following = min((r for r in home.ledger.readings if r.sequence > before.sequence), key=lambda r: r.sequence)
        assert following.flags & ReadingFlag.CLOCK_STEPPED
        assert last.import_wh > before.import_wh > truth, "what was counted meanwhile is carried by the next reading"
        oddities = ReadingFlag.HELD | ReadingFlag.METER_EXCHANGED | ReadingFlag.ROLLED_BACK
        assert not any(r.flags & oddities for r in home.ledger.readings)

    run(story())


@pytest.mark.slow
@pytest.mark.real("mosquitto")
@pytest.mark.real("faketime")
def test_summer_time_ends_and_nothing_happens(run: Runner, tmp_path: Path) -> None:
    async def story() -> None:
        end_of_summer_s = 1_792_890_000  # 2026-10-25 01:00 UTC, when Berlin sets its clocks back
        assert end_of_summer_s % INTERVAL_S == 0
        home = FakedHome(tmp_path)
        home.faked.environment["TZ"] = "Europe/Berlin"
        async with home.watched(end_of_summer_s - BEFORE_END_S):
            await eventually(lambda: interval_of(end_of_summer_s) - 1 in home.settled(), 30)
            polled = home.meter.requests
            await eventually(lambda: home.meter.requests > polled + 12, 30)
        judge(home)
        assert not any(
            r.flags & ~ReadingFlag.LATE for r in home.ledger.readings
        )  # the first one closes what was before
        assert home.settled() <= {interval_of(end_of_summer_s) - 1, interval_of(end_of_summer_s) - 2}

    run(story())
