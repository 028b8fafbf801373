"""`simulate meter|home|fleet`: devices that a plain client, and the agent's own file for them, can read."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from edge_agent.config import agent_config_from_toml
from edge_agent.shell.examination import probe_devices
from simulators.charger import Charger
from simulators.cli import app
from simulators.live.fleet import DEVICES_LIMIT, Fleet, FleetRow, LocalFleetError, SimulatedHome, rows_from_toml
from simulators.live.single_meter import TelegramLine, serve_telegrams
from simulators.telegrams import MESSAGES, STREAMS


def probed(files: list[str], folder: Path) -> list[tuple[str, str | None]]:
    """Name and fault of every device of these configurations."""

    async def ask() -> list[tuple[str, str | None]]:
        found = []
        for number, text in enumerate(files):
            path = folder / f"{number}.toml"
            path.write_text(text, encoding="utf-8")
            found += [(name, fault) for name, _, fault in await probe_devices(agent_config_from_toml(path))]
        return found

    return asyncio.run(ask())


async def while_it_runs(device: Fleet | SimulatedHome, work: Callable[[], list[str]], folder: Path) -> list[str | None]:
    """The faults an agent finds with the files of ``work``."""
    await device.start()
    try:
        return [fault for _, fault in await asyncio.to_thread(probed, work(), folder)]
    finally:
        await device.stop()


def test_an_agent_reads_every_meter_of_a_fleet_on_ports_of_their_own_and_behind_one(tmp_path: Path) -> None:
    rows = [FleetRow("eastron_sdm630", 2), FleetRow("eastron_sdm120", 4, one_port=True), FleetRow("keba_p30")]
    fleet = Fleet(rows)
    faults = asyncio.run(while_it_runs(fleet, lambda: fleet.configurations("127.0.0.1"), tmp_path))
    assert faults == [None] * 7


def test_an_agent_reads_all_of_a_simulated_home(tmp_path: Path) -> None:
    home = SimulatedHome()
    faults = asyncio.run(while_it_runs(home, lambda: [home.configuration()], tmp_path))
    assert faults == [None] * 3


def test_more_meters_than_one_agent_takes_are_spread_over_files() -> None:
    fleet = Fleet([FleetRow("eastron_sdm120", 130, 0, True)])
    assert [text.count("[[meter]]") for text in fleet.configurations("127.0.0.1")] == [64, 64, 2]
    assert len({(device.name, device.unit) for device in fleet.devices()}) == 130


def test_a_fleet_that_cannot_be_says_why(tmp_path: Path) -> None:
    for row in (("no_such", 1), ("eastron_sdm120", 0), ("eastron_sdm120", DEVICES_LIMIT + 1),
                ("eastron_sdm120", 248, 0, True), ("eastron_sdm120", 10, 65_530)):  # fmt: skip
        with pytest.raises(LocalFleetError):
            FleetRow(*row)  # type: ignore[arg-type]
    for text in ("", "device = 1", '[[device]]\ncolour = "red"', "[[device]]\ncount = 1", "{"):
        path = tmp_path / "fleet.toml"
        path.write_text(text, encoding="utf-8")
        with pytest.raises(LocalFleetError):
            rows_from_toml(path)


def test_rows_come_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "fleet.toml"
    path.write_text('[[device]]\nprofile = "eastron_sdm120"\ncount = 2\none_port = true\n', encoding="utf-8")
    assert rows_from_toml(path) == [FleetRow("eastron_sdm120", 2, 0, True)]


@pytest.mark.parametrize(
    "arguments",
    [["meter", "--telegram", "morse"], ["meter", "--telegram", "p1", "--fault", "rust"], ["meter", "no_such_profile"],
     ["meter", "--telegram", "shelly", "--broker", "http://x"], ["fleet", "5", "--profile", "no_such"]],
)  # fmt: skip
def test_the_command_line_names_what_it_does_not_know(arguments: list[str]) -> None:
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2


def test_a_served_telegram_comes_over_tcp_and_over_a_terminal(tmp_path: Path) -> None:
    async def story() -> tuple[bytes, bytes]:
        said: list[str] = []
        lines = [TelegramLine("127.0.0.1", 0, serial, ("", 0), "x", 0.05) for serial in (None, tmp_path / "tty")]
        work = [serve_telegrams("p1", line, False, ("duplicate",), 1, 1, said.append) for line in lines]
        serving = [asyncio.create_task(one) for one in work]
        while len(said) < 2:
            await asyncio.sleep(0.01)
        port = int(next(text for text in said if "tcp" in text).split("127.0.0.1:")[1].split(";")[0])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        over_tcp = await reader.readuntil(b"!")
        writer.close()
        with (tmp_path / "tty").open("rb", buffering=0) as device:
            over_serial = await asyncio.to_thread(device.read, 4096)
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)
        return over_tcp, over_serial

    over_tcp, over_serial = asyncio.run(asyncio.wait_for(story(), 20))
    assert b"1-0:1.8.1(" in over_tcp and over_serial


def test_every_kind_of_telegram_can_be_of_a_meter_that_knows_nothing() -> None:
    assert all(isinstance(encode({}, "12345678", 0), bytes) for encode in STREAMS.values())
    assert all(topic and payload for encode in MESSAGES.values() for topic, payload in encode({}, "x", 0))


def test_a_charger_counts_what_its_vehicle_takes() -> None:
    charger = Charger(1_000, opening_wh=0)
    charger.set_power(7_200)
    charger.advance(4_600)
    assert (charger.values()["import_wh"], charger.values()["power_w"]) == (7_200, 7_200)
    charger.set_power(10**6)
    assert charger.power_w == 22_080
    charger.set_power(-1)
    charger.advance(4_000)
    assert (charger.values()["import_wh"], charger.values()["power_w"]) == (7_200, 0)
