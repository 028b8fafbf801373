"""An older database or lease file put back, a lost database: no identity comes twice, and what is missing is said."""

from __future__ import annotations

import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from contracts.codes import GapReason, Stream
from tests.edge_agent.conftest import eventually
from tests.edge_agent.real_home import RealHome, judge, registers_are_true, served_home

DATABASE = "outbox.db*"
LEASE_FILE = "key.lease"


def put_back(folder: Path, backup: Path, pattern: str) -> None:
    """What the backup holds under the pattern, and nothing else under it."""
    for old in folder.glob(pattern):
        old.unlink()
    for part in backup.glob(pattern):
        shutil.copy(part, folder / part.name)


async def restored(folder: Path, pattern: str) -> RealHome:
    """A home that lived, was backed up, lived on unheard, died, and got part of its backup back."""
    async with served_home(folder) as home:
        await home.live(4.0)
        backup = folder / "backup"
        backup.mkdir()
        for part in (*folder.glob(DATABASE), folder / LEASE_FILE):
            shutil.copy(part, backup / part.name)
        await home.live(4.0)
        home.ledger.hears = lambda: False
        await home.live(5.0)
        assert home.left_behind()
        put_back(folder, backup, pattern)
        home.ledger.hears = lambda: True
        async with home.alive():
            known = len({r.sequence for r in home.ledger.readings})
            await eventually(lambda: len({r.sequence for r in home.ledger.readings}) >= known + 3, 30)
            await eventually(lambda: len(home.left_behind()) <= 1, 30)
    return home


def reasons(home: RealHome) -> set[int]:
    """Why settlement readings are said to be missing."""
    return {gap.reason for gap in home.ledger.gaps if gap.stream == Stream.SETTLEMENT}


def metrics(home: RealHome) -> str:
    """What the agent's last life counted at its start."""
    return (home.folder / "metrics").read_text()


@pytest.mark.slow
@pytest.mark.real("mosquitto")
def test_an_older_database_signs_nothing_twice_and_names_what_went_with_the_newer_one(
    run: Callable[[Awaitable[None]], None], tmp_path: Path
) -> None:
    async def story() -> None:
        home = await restored(tmp_path, DATABASE)
        judge(home, complete=False)
        registers_are_true(home)
        assert GapReason.CORRUPT_STORE in reasons(home)
        assert "edge_agent_store_behind_leases_total" in metrics(home)
        assert "older than the lease file" in (tmp_path / "stderr").read_text()

    run(story())


@pytest.mark.slow
@pytest.mark.real("mosquitto")
def test_an_older_lease_file_beside_a_newer_database_loses_nothing(
    run: Callable[[Awaitable[None]], None], tmp_path: Path
) -> None:
    async def story() -> None:
        home = await restored(tmp_path, LEASE_FILE)
        judge(home)
        registers_are_true(home)
        assert reasons(home) == {GapReason.LEASE_SKIPPED}

    run(story())


@pytest.mark.slow
@pytest.mark.real("mosquitto")
@pytest.mark.parametrize("damage", ["noise", "cut journal", "zeros", "gone"])
def test_a_damaged_or_lost_database_is_an_alarm_with_gap_records_and_work_goes_on(
    run: Callable[[Awaitable[None]], None], tmp_path: Path, damage: str
) -> None:
    async def story() -> None:
        async with served_home(tmp_path) as home:
            await home.live(4.0)
            home.ledger.hears = lambda: False
            await home.live(5.0)
            assert home.left_behind()
            harm(tmp_path, damage)
            home.ledger.hears = lambda: True
            known = len(home.ledger.readings)
            async with home.alive():
                await eventually(lambda: len(home.ledger.readings) >= known + 3, 30)
                await eventually(lambda: len(home.left_behind()) <= 1, 30)
            judge(home, complete=False)
            registers_are_true(home)
            if damage != "cut journal":  # there SQLite falls back on an older state, which may hold all that counts
                assert "WARNING edge_agent: " in (tmp_path / "stderr").read_text()
                assert "store_quarantined" in metrics(home) or "store_behind_leases" in metrics(home)

    run(story())


def harm(folder: Path, damage: str) -> None:
    """What a dying card or a careless hand does to the database."""
    database, journal = folder / "outbox.db", folder / "outbox.db-wal"
    if damage == "noise":
        for file in (database, journal):
            image = bytearray(file.read_bytes())
            for place in range(len(image) // 3, len(image)):
                image[place] = (place * 2_654_435_761 >> 13) & 0xFF
            file.write_bytes(image)
    elif damage == "cut journal":
        journal.write_bytes(journal.read_bytes()[: journal.stat().st_size * 2 // 3])
    elif damage == "zeros":
        database.write_bytes(bytes(max(database.stat().st_size, 8_192)))
        journal.unlink()
    else:
        for file in folder.glob(DATABASE):
            file.unlink()
