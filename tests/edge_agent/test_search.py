"""`edge-agent scan` against simulated devices: what is there is found, named and printed as configuration."""

from __future__ import annotations

import asyncio
import tomllib
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from edge_agent.cli import app
from edge_agent.config_reader import parse_config
from edge_agent.shell.search import Found, addresses_of, open_hosts, search_line, search_network, sniff
from simulators.live.modbus import MeterServer
from simulators.live.serial_bus import GatewayBus, PtyBus
from simulators.live.telegram_devices import PtyMeter, TelegramMeter

Runner = Callable[[Awaitable[None]], None]


def three_phases() -> dict[str, int]:
    """What a three-phase meter in use shows."""
    phases = {f"voltage_l{n}_mv": 230_000 + n for n in (1, 2, 3)} | {f"current_l{n}_ma": 1_000 + n for n in (1, 2, 3)}
    return {"power_w": 700, "import_wh": 10**6, "export_wh": 10**5, "frequency_mhz": 50_010, **phases}


def configured(found: list[Found], tmp_path: Path) -> list[tuple[str, str, int]]:
    """Profile, link and unit as the agent's reader takes the printed tables."""
    document = tomllib.loads("\n".join(one.toml(number) for number, one in enumerate(found)))
    document |= {
        "home": {"account": 1, "feeder": "f1", "edge": "e1"},
        "chain": {"chain_id": 1, "settlement": "0x" + "00" * 20, "operator": "0x" + "00" * 20},
        "key": {"file": "key"},
        "store": {"path": "db"},
    }
    return [(m.profile or m.telegram, m.link, m.unit) for m in parse_config(document, tmp_path).meters]


def test_every_unit_of_a_serial_line_is_found_and_its_table_is_a_configuration(run: Runner, tmp_path: Path) -> None:
    async def story() -> None:
        bus = PtyBus(115_200, turnaround_ms=2)
        bus.add_unit("eastron_sdm630", three_phases, 3)
        bus.add_unit("sunspec_battery", lambda: {"power_w": 0, "max_power_w": 5_000}, 7)
        await bus.start()
        said: list[str] = []
        found = [f async for f in search_line(bus.path, (115_200,), ("N", "E"), range(2, 9), said.append)]
        await bus.stop()
        assert configured(found, tmp_path) == [("eastron_sdm630", "rtu", 3), ("sunspec_battery", "rtu", 7)]
        assert "SunSpec models" in found[1].told
        assert said == ["115200 8N1"], "the next parity is not tried"

    run(story())


def test_devices_on_the_network_are_found_behind_tcp_and_behind_a_gateway(run: Runner, tmp_path: Path) -> None:
    async def story() -> None:
        meter = MeterServer("eastron_sdm630", three_phases, unit=1)
        gateway = GatewayBus(115_200, turnaround_ms=2)
        gateway.add_unit("eastron_sdm630", three_phases, 2)
        await meter.start()
        await gateway.start()
        found = [f async for f in search_network(["127.0.0.1", "127.0.0.2"], meter.port, (1, 2))]
        found += [f async for f in search_network(["127.0.0.1"], gateway.port, (2,))]
        await meter.stop()
        await gateway.stop()
        assert configured(found, tmp_path) == [("eastron_sdm630", "tcp", 1), ("eastron_sdm630", "rtu-over-tcp", 2)]

    run(story())


def test_a_device_no_profile_fits_is_told_and_nothing_answers_for_nobody(run: Runner) -> None:
    async def story() -> None:
        meter = MeterServer("eastron_sdm630", lambda: {"frequency_mhz": 69_000}, unit=1)
        await meter.start()
        found = [f async for f in search_network(["127.0.0.1"], meter.port, (1,), ("tcp",))]
        assert [f.profiles for f in found] == [()] and "no profile fits" in found[0].toml(0)
        meter.silent = True
        assert [f async for f in search_network(["127.0.0.1"], meter.port, (1,), ("tcp",))] == []
        await meter.stop()
        assert await open_hosts(["127.0.0.1"], meter.port) == []

    run(story())


def test_a_line_that_speaks_by_itself_is_recognised(run: Runner, tmp_path: Path) -> None:
    async def story() -> None:
        device = PtyMeter(TelegramMeter("p1", three_phases, False), tmp_path / "tty", 0.2)
        device.plug()
        found = await sniff(str(tmp_path / "tty"), 3.0)
        device.unplug()
        assert found is not None
        assert configured([found], tmp_path) == [("p1", "telegram", 1)]

    run(story())


@pytest.mark.parametrize("prefix", ["10.0.0.0/8", "nonsense", "192.168.1.0/33"])
def test_a_prefix_that_is_none_or_too_wide_is_refused(prefix: str) -> None:
    with pytest.raises(ValueError):
        addresses_of(prefix)


def test_a_whole_network_of_nobody_is_swept_in_seconds(run: Runner) -> None:
    async def story() -> None:
        begun_s = asyncio.get_running_loop().time()
        assert await open_hosts(addresses_of("127.77.0.0/24"), 1) == []
        assert asyncio.get_running_loop().time() - begun_s < 5

    run(story())


@pytest.mark.parametrize(
    ("arguments", "code"),
    [([], 2), (["--serial", "/dev/null"], 1), (["--network", "x"], 1), (["--units", "a", "--serial", "x"], 2),
     (["--network", "127.0.0.1/32", "--port", "1"], 69)],
)  # fmt: skip
def test_what_cannot_be_scanned_is_said_with_its_exit_code(arguments: list[str], code: int) -> None:
    assert CliRunner().invoke(app, ["scan", *arguments]).exit_code == code
