"""`edge-agent queue verify` finds every frame that is not what this home has signed, and names what waits."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from contracts.interval import INTERVAL_S, interval_start_s
from edge_agent.cli import app
from edge_agent.shell.queue_check import queue_rows, verify_queue
from tests.edge_agent.conftest import ADA_KEY, CY_KEY, Home
from tests.edge_agent.real_home import write_config

START_MS = interval_start_s(2_000_000) * 1000


def full_queue(folder: Path) -> Home:
    """Four settled intervals with their telemetry, before and after a crash; nothing acknowledged."""
    home = Home(folder)
    for life in range(2):
        home = Home(folder, synchronised_ms=START_MS + life * 2 * INTERVAL_S * 1000)
        for place in range(2 * life, 2 * life + 2):
            now_ms = START_MS + place * INTERVAL_S * 1000
            home.sample(now_ms, import_wh=1_000 + 80 * place, export_wh=0, power_w=300)
            home.agent.on_deadline(now_ms)
        home.outbox.close()
    (folder / "key").write_text(ADA_KEY.hex())
    (folder / "key").chmod(0o600)
    return home


def change(folder: Path, sql: str, *values: object) -> None:
    """Somebody else's hand in the database."""
    with sqlite3.connect(folder / "outbox.db") as connection:
        connection.execute(sql, values)
    connection.close()


def payload_of(folder: Path, kind: int) -> bytearray:
    """The newest frame of a kind."""
    with sqlite3.connect(folder / "outbox.db") as connection:
        row = connection.execute("SELECT payload FROM frame WHERE kind = ? ORDER BY id DESC", (kind,)).fetchone()
    connection.close()
    return bytearray(row[0])


def test_a_sound_queue_has_no_fault_and_says_what_waits_of_each_stream(tmp_path: Path) -> None:
    home = full_queue(tmp_path)
    streams, faults = verify_queue(home.config)
    assert faults == []
    assert streams[:2] == [
        "settlement of meter 0, epoch 1: 0…1, [2…63]",
        "settlement of meter 0, epoch 2: 64…65",
    ]
    assert sum(count for _, count, _ in queue_rows(home.config.store)) == sum(
        count for name, count in home.outbox.stat().items() if name.startswith("pending_")
    )


def flipped(folder: Path) -> None:
    """One bit of a reading."""
    payload = payload_of(folder, 1)
    payload[40] ^= 4
    change(folder, "UPDATE frame SET payload = ? WHERE id = (SELECT MAX(id) FROM frame WHERE kind = 1)", bytes(payload))


def moved(folder: Path) -> None:
    """A row under another sequence than its message."""
    change(folder, "UPDATE frame SET first = first + 7, last = last + 7 WHERE kind = 1 AND first = 1")


def columns(folder: Path) -> None:
    """Another last byte of a batch's columns."""
    payload = payload_of(folder, 4)
    payload[-1] ^= 1
    change(folder, "UPDATE frame SET payload = ? WHERE id = (SELECT MAX(id) FROM frame WHERE kind = 4)", bytes(payload))


def emptied(folder: Path) -> None:
    """No envelope at all."""
    change(folder, "UPDATE frame SET payload = x'00' WHERE kind = 2")


@pytest.mark.parametrize(
    ("damage", "word"),
    [
        (flipped, "not signed by this home's key"),
        (moved, "its row says something else"),
        (columns, "columns"),
        (emptied, "not an envelope"),
    ],
)
def test_every_damage_is_found_and_named(tmp_path: Path, damage: Callable[[Path], None], word: str) -> None:
    home = full_queue(tmp_path)
    damage(tmp_path)
    _, faults = verify_queue(home.config)
    assert len(faults) == 1 and word in faults[0]


def test_frames_of_another_key_are_faults(tmp_path: Path) -> None:
    home = full_queue(tmp_path)
    (tmp_path / "key").write_text(CY_KEY.hex())
    _, faults = verify_queue(home.config)
    assert len(faults) == sum(count for _, count, _ in queue_rows(home.config.store))


def test_the_command_ends_with_1_where_something_is_wrong_and_69_without_a_database(tmp_path: Path) -> None:
    full_queue(tmp_path)
    write_config(tmp_path, tmp_path, 502, 1883, "trusted = true")
    arguments = ["queue", "verify", "-c", str(tmp_path / "agent.toml")]
    good = CliRunner().invoke(app, arguments)
    assert good.exit_code == 0 and good.stdout.endswith("ok\n") and "64…65" in good.stdout
    moved(tmp_path)
    assert CliRunner().invoke(app, arguments).exit_code == 1
    for beside in ("outbox.db-wal", "outbox.db-shm"):  # still there where the home's own connection is
        (tmp_path / beside).unlink(missing_ok=True)
    (tmp_path / "outbox.db").write_bytes(b"noise" * 2_000)
    assert CliRunner().invoke(app, arguments).exit_code == 69
