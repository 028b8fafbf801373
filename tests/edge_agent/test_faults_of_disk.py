"""A disk that is full or read-only: an alarm, never the end; readings go out from memory and nothing contradicts."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from edge_agent.shell.clock import ScaledClock
from edge_agent.shell.runtime import Running
from tests.edge_agent.conftest import ADA_KEY, eventually
from tests.edge_agent.real_home import SPEED, VIRTUAL_S, RealHome, judge, registers_are_true, served_home

CARD = "2m"


def mounted(*arguments: str) -> None:
    """mount(8), which must succeed."""
    subprocess.run(["mount", *arguments], check=True, capture_output=True)


@pytest.fixture
def card(tmp_path: Path) -> Iterator[Path]:
    """A small file system of its own, as a card is."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("only root can mount a small file system")
    place = tmp_path / "card"
    place.mkdir()
    try:
        mounted("-t", "tmpfs", "-o", f"size={CARD}", "tmpfs", str(place))
    except subprocess.CalledProcessError as error:
        pytest.skip(f"nothing can be mounted here: {error.stderr.decode().strip()}")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


@asynccontextmanager
async def agent_of(home: RealHome) -> AsyncIterator[Running]:
    """Ada's agent in this process, so that its counters can be read at any time; asked to stop at the end."""
    stop = asyncio.Event()
    running = Running(home.config, ScaledClock(home.began_s, VIRTUAL_S, SPEED), ADA_KEY)
    task = asyncio.create_task(running.run(stop))
    try:
        yield running
    finally:
        stop.set()
        await asyncio.wait_for(task, 20)
        assert not {"core_failed", "part_restarted"} & set(running.counters)


def fill(card: Path) -> Path:
    """A file that takes the last byte there is."""
    filler = card / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (65_536, 4_096, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                continue
    return filler


def intervals(home: RealHome) -> set[int]:
    """Settled intervals that came."""
    return {reading.interval for reading in home.ledger.readings}


@pytest.mark.slow
@pytest.mark.real("mosquitto")
@pytest.mark.real("mount")
def test_a_full_card_is_an_alarm_and_readings_arrive_from_memory_until_there_is_room_again(
    run: Callable[[Awaitable[None]], None], tmp_path: Path, card: Path
) -> None:
    async def story() -> None:
        async with served_home(tmp_path, store=card) as home:
            async with agent_of(home) as agent:
                await eventually(lambda: len(intervals(home)) >= 2, 30)
                filler = fill(card)
                known = max(intervals(home))
                await eventually(lambda: agent.counters.get("alarm_store") and agent.counters.get("alarm_lease"), 30)
                await eventually(lambda: max(intervals(home)) >= known + 3, 30)
                assert agent.counters["store_failed"] and agent.counters["lease_write_failed"]
                filler.unlink()
                await eventually(lambda: agent.outbox.fault is None and agent.outbox.stat()["unsaved"] == 0, 30)
                await eventually(lambda: max(intervals(home)) >= known + 6, 30)
            judge(home)
            registers_are_true(home)
            assert sorted(intervals(home)) == list(range(min(intervals(home)), max(intervals(home)) + 1))

    run(story())


@pytest.mark.slow
@pytest.mark.real("mosquitto")
@pytest.mark.real("mount")
def test_killed_again_and_again_on_a_full_card_it_never_signs_one_identity_twice(
    run: Callable[[Awaitable[None]], None], tmp_path: Path, card: Path
) -> None:
    async def story() -> None:
        async with served_home(tmp_path, store=card) as home:
            await home.live(3.5)
            filler = fill(card)
            for _ in range(3):
                await home.live(3.0)  # no lease can be written: nothing new is signed
            silent = len({(r.epoch, r.sequence) for r in home.ledger.readings})
            await home.live(3.0)
            assert len({(r.epoch, r.sequence) for r in home.ledger.readings}) == silent
            assert "nothing new is signed" in (tmp_path / "stderr").read_text()
            filler.unlink()
            async with home.alive():
                known = max(intervals(home))
                await eventually(lambda: max(intervals(home)) >= known + 2, 30)
                await eventually(lambda: len(home.left_behind()) <= 1, 30)
            judge(home, complete=False)
            registers_are_true(home)

    run(story())


@pytest.mark.slow
@pytest.mark.real("mosquitto")
@pytest.mark.real("mount")
def test_on_a_read_only_card_it_measures_and_says_so_and_settles_once_it_may_write(
    run: Callable[[Awaitable[None]], None], tmp_path: Path, card: Path
) -> None:
    async def story() -> None:
        async with served_home(tmp_path, store=card) as home:
            async with agent_of(home):
                await eventually(lambda: len(intervals(home)) >= 2, 30)
            mounted("-o", "remount,ro", str(card))
            async with agent_of(home) as agent:
                await eventually(lambda: agent.counters.get("alarm_store") and agent.counters.get("alarm_lease"), 30)
                await eventually(lambda: agent.counters.get("settlement_waits_for_lease", 0) > 3, 30)
                before = len(intervals(home))
                mounted("-o", "remount,rw", str(card))
                await eventually(lambda: len(intervals(home)) >= before + 3, 60)
            judge(home)
            registers_are_true(home)

    run(story())
