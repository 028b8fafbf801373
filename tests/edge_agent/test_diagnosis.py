"""The doctor finds what is wrong with an installation, and says what to do about it."""

from __future__ import annotations

import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from edge_agent.config import AgentConfig, BrokerConfig, MeterConfig
from edge_agent.config_site import HomeAssistantConfig, KeyConfig
from edge_agent.shell import diagnosis, examination
from edge_agent.shell.diagnosis import Finding, Level, examine
from edge_agent.shell.key_store import write_key
from simulators.live.modbus import MeterServer
from tests.edge_agent.conftest import ADA_KEY, CY_KEY, ada_config, start_broker, stop_broker

Runner = Callable[[Awaitable[None]], None]
NOBODY = 9


def by_name(findings: list[Finding]) -> dict[str, Finding]:
    """Findings by the first word of what they are about."""
    return {finding.what.split(" 1")[0]: finding for finding in findings}


def healthy(tmp_path: Path, meter_port: int, broker_port: int) -> AgentConfig:
    """Ada's installation with everything in place."""
    meters = (MeterConfig(0, "main", "eastron_sdm630", "127.0.0.1", meter_port),)
    config = ada_config(tmp_path, meters, BrokerConfig("127.0.0.1", broker_port))
    return replace(config, home_assistant=HomeAssistantConfig(port=broker_port))


def test_a_sound_installation_has_no_fault(run: Runner, tmp_path: Path) -> None:
    write_key(tmp_path / "key", ADA_KEY)

    async def story() -> None:
        broker, port = await start_broker()
        meter = MeterServer("eastron_sdm630", lambda: {"import_wh": 1, "export_wh": 2, "power_w": 3})
        await meter.start()
        found = by_name(await examine(healthy(tmp_path, meter.port, port)))
        await meter.stop()
        await stop_broker(broker)
        assert [finding for finding in found.values() if finding.level == Level.FAIL] == []
        expected = {"version", "machine", "key", "store", "leases", "room", "clock", "settlement meter", "device main"}
        assert expected | {"broker", "Home Assistant", "unit"} == set(found)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["key"]

    run(story())


def test_every_fault_has_its_cure(run: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(examination, "TELEGRAM_S", 1.0)
    (tmp_path / "key").write_text("nonsense\n")
    (tmp_path / "key").chmod(0o644)
    meters = (
        MeterConfig(1, "wind", "eastron_sdm630", "127.0.0.1", NOBODY),
        MeterConfig(2, "cable", "", "", 0, link="telegram", device=str(tmp_path / "ttyUSB0"), telegram="p1"),
    )
    config = ada_config(tmp_path, meters, BrokerConfig("127.0.0.1", NOBODY))
    config = replace(config, store=tmp_path / "nowhere" / "outbox.db", home_assistant=HomeAssistantConfig(port=NOBODY))

    async def story() -> None:
        found = by_name(await examine(config))
        for what in ("key", "store", "settlement meter", "device wind", "device cable", "broker", "Home Assistant"):
            assert found[what].level == Level.FAIL and found[what].cure, what
        line = found[f"line {tmp_path}/ttyUSB0"]
        assert line.level == Level.FAIL and "by-id" in line.cure

    run(story())


def test_a_rotation_that_waits_and_one_that_is_over_are_told(tmp_path: Path) -> None:
    write_key(tmp_path / "key", ADA_KEY)
    write_key(tmp_path / "key.next", CY_KEY)
    for moved_s, level in ((3_600, Level.OK), (-3_600, Level.WARN)):
        key = KeyConfig(next_file=tmp_path / "key.next", next_at_s=int(time.time()) + moved_s, next_account=9)
        present, rotation = diagnosis._key(replace(ada_config(tmp_path), key=key))
        assert present.level == Level.OK and f"account {7 if moved_s > 0 else 9}" in present.text
        assert rotation.level == level and (rotation.cure != "") == (level == Level.WARN)


def test_a_full_disk_a_slow_card_and_a_clock_of_1970_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagnosis, "ROOM_BYTES", 1 << 60)
    assert [f.level for f in diagnosis._store(ada_config(tmp_path)) if f.what == "room"] == [Level.FAIL]
    monkeypatch.setattr(diagnosis, "SLOW_WRITE_S", 0.0)
    assert diagnosis._folder("store", tmp_path).level == Level.WARN
    monkeypatch.setattr(time, "time", lambda: 1_000.0)
    clock = diagnosis._clock(replace(ada_config(tmp_path), clock=replace(ada_config(tmp_path).clock, trusted=False)))
    assert clock.level == Level.FAIL and "timedatectl" in clock.cure


def test_a_serial_line_without_permission_names_the_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "line").touch()
    meters = (MeterConfig(0, "main", "eastron_sdm630", "", 0, link="rtu", device=str(tmp_path / "line")),)
    config = ada_config(tmp_path, meters)
    assert [finding.level for finding in diagnosis._serial_lines(config)] == [Level.OK]
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # tests may run as root, who may everything
    assert ["dialout" in finding.cure for finding in diagnosis._serial_lines(config)] == [True]


def test_thirty_two_bits_are_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagnosis.sys, "maxsize", (1 << 31) - 1)
    assert [f.level for f in diagnosis.machine() if f.what == "machine"] == [Level.FAIL]
