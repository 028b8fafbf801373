"""Killed at any moment, the agent loses no settlement reading and signs none twice differently.

Twenty kills by default, two hundred under ``NIGHTLY=1``.
"""

from __future__ import annotations

import asyncio
import random
from itertools import pairwise
from pathlib import Path

import pytest

from contracts.codes import GapReason, ReadingFlag, Stream
from tests.edge_agent.conftest import eventually
from tests.edge_agent.real_home import NIGHTLY, RealHome, judge, registers_are_true, served_home

KILLS = 200 if NIGHTLY else 20
SEED = 20_240_611
LAST_LIFE_S = 60


@pytest.mark.slow
@pytest.mark.real("mosquitto")
def test_killed_at_random_moments_it_loses_nothing_and_never_contradicts_itself(tmp_path: Path) -> None:
    async def story() -> None:
        chance = random.Random(SEED)
        async with served_home(tmp_path) as home:
            home.ledger.hears = lambda: chance.random() < 0.5
            left: set[tuple[int, int]] = set()
            for place in range(KILLS):
                if place == KILLS - 1:
                    home.ledger.hears = lambda: False  # so that the last life leaves something behind
                    await home.live(4.0)
                else:
                    await home.live(chance.uniform(0.4, 2.6))
                left |= home.left_behind()
            home.ledger.hears = lambda: True
            async with home.alive():
                newest = max(left)
                await eventually(lambda: newest in {(r.epoch, r.sequence) for r in home.ledger.readings}, LAST_LIFE_S)
                await eventually(lambda: left <= {(r.epoch, r.sequence) for r in home.ledger.readings}, LAST_LIFE_S)
                await eventually(
                    lambda: not home.left_behind() - {max(home.left_behind(), default=(0, 0))}, LAST_LIFE_S
                )
            judge(home)
            registers_are_true(home)
            whole_time_is_settled(home)
            reasons = {gap.reason for gap in home.ledger.gaps if gap.stream == Stream.SETTLEMENT}
            assert reasons == {GapReason.LEASE_SKIPPED}

    asyncio.run(asyncio.wait_for(story(), 60 + 12 * KILLS))


def whole_time_is_settled(home: RealHome) -> None:
    """Each interval has its reading, or the next reading carries its energy, which the registers show."""
    readings = sorted({r.interval: r for r in home.ledger.readings}.values(), key=lambda r: r.interval)
    for before, after in pairwise(readings):
        counted = after.import_wh - before.import_wh
        truth = home.truth_wh(after.taken_at_s) - home.truth_wh(before.taken_at_s)
        assert abs(counted - truth) <= 100, f"intervals {before.interval + 1} … {after.interval}"
        assert not after.flags & (ReadingFlag.METER_EXCHANGED | ReadingFlag.IMPLAUSIBLE | ReadingFlag.ROLLED_BACK)
    assert len(readings) >= KILLS // 2
