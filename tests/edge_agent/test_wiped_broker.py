"""A broker that acknowledges and then forgets everything costs nothing: only the operator's signature counts."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.edge_agent.conftest import eventually
from tests.edge_agent.real_home import RealHome, judge, registers_are_true


@pytest.mark.slow
@pytest.mark.real("mosquitto")
def test_what_a_wiped_broker_had_acknowledged_arrives_all_the_same(
    run: Callable[[Awaitable[None]], None], tmp_path: Path
) -> None:
    async def story() -> None:
        home = RealHome(tmp_path)
        await home.start()
        async with home.alive():
            for _ in range(2):
                known = len(home.left_behind())
                await eventually(lambda least=known: len(home.left_behind()) >= least + 3, 30)  # type: ignore[misc]
                home.broker.kill(wipe=True)  # the operator was never there: whatever was published is gone
                await home.broker.start()
            left = home.left_behind()
            home.serve()
            await eventually(lambda: left <= {(r.epoch, r.sequence) for r in home.ledger.readings}, 60)
            home.leave()
            home.broker.kill(wipe=True)  # now with acknowledgements under way
            await home.broker.start()
            home.serve()
            await eventually(lambda: len(home.left_behind()) <= 1, 60)
        judge(home)
        registers_are_true(home)
        intervals = sorted({r.interval for r in home.ledger.readings})
        assert intervals == list(range(intervals[0], intervals[-1] + 1)), "an interval was lost with the broker"
        await home.stop()

    run(story())
