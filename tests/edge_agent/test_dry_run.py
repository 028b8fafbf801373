"""What a set-point would write is said, and nothing is written; every refusal has its name."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from edge_agent.cli import app
from edge_agent.config import AgentConfig, ClockConfig, LimitsConfig, MeterConfig
from edge_agent.config_local import BatteryConfig
from edge_agent.config_update import NodeActuator, NodeConfig
from edge_agent.shell.rehearsal import LocalTextError, Rehearsed, RemoteSilenceError, Wanted, rehearse, wanted_from
from simulators.live.modbus import MeterServer
from tests.edge_agent.conftest import Home, ada_config

Run = Callable[[Awaitable[None]], None]


def inverter_values() -> dict[str, int]:
    """A roof at noon."""
    return {"power_w": -6_000, "max_power_w": 10_000, "frequency_mhz": 50_000}


def battery_values() -> dict[str, int]:
    """A battery at its reserve."""
    return {"power_w": 0, "max_power_w": 5_000, "soc_permille": 100}


class Devices:
    """An inverter and a battery on real sockets, and what was written to them."""

    def __init__(self) -> None:
        self.written: list[tuple[str, int]] = []
        self.roof = MeterServer("sunspec_103", inverter_values, lambda name, value: self.written.append((name, value)))
        self.store = MeterServer("sunspec_battery", battery_values, lambda n, value: self.written.append((n, value)))

    async def config(self, folder: Path, **parts: object) -> AgentConfig:
        """Starts them; Ada's configuration for them."""
        await self.roof.start()
        await self.store.start()
        store = MeterConfig(3, "store", "sunspec_battery", "127.0.0.1", self.store.port, role="battery")
        roof = MeterConfig(4, "roof", "sunspec_103", "127.0.0.1", self.roof.port, role="inverter")
        return ada_config(folder, (store, roof), **parts)  # type: ignore[arg-type]

    async def stop(self) -> None:
        """Closes both."""
        await self.roof.stop()
        await self.store.stop()


def test_words_and_registers_are_said_and_nothing_is_written(run: Run, tmp_path: Path) -> None:
    async def story() -> None:
        devices = Devices()
        config = await devices.config(tmp_path)
        found = await rehearse(config, wanted_from("device=roof,kind=export_limit,power_w=2500"))
        assert found.refusal is None
        assert found.lines[0].startswith("roof: power_limit_permille = 250, watchdog ")
        assert [line for line in found.lines if line.endswith(": 0x00FA")], found.lines  # tenths of a per cent
        assert len(found.lines) == 4  # value, timer, enable
        found = await rehearse(config, wanted_from('{"device": 3, "kind": "active_power", "power_w": 2000}'))
        assert found.refusal is None and found.lines[0].startswith("store: power_setpoint_w = 2000, watchdog ")
        assert devices.written == []
        await devices.stop()

    run(story())


@pytest.mark.parametrize(
    ("text", "refusal"),
    [
        ("device=roof,kind=export_limit,power_w=11001", "OUT_OF_RANGE"),
        ("device=roof,kind=active_power,power_w=100", "NO_SUCH_DEVICE"),
        ("device=cellar,kind=active_power,power_w=100", "NO_SUCH_DEVICE"),
        ("device=store,kind=active_power,power_w=nan", "NON_FINITE"),
        ("device=store,kind=active_power,power_w=-inf", "NON_FINITE"),
        ("device=store,kind=active_power,power_w=1e400", "NON_FINITE"),
        ("device=store,kind=active_power,power_w=99999999999", "OUT_OF_RANGE"),
        ("device=store,kind=active_power,power_w=-100", "OUT_OF_RANGE"),  # its reserve is reached
        ("device=store,kind=active_power,power_w=100,valid_s=10,age_s=60", "EXPIRED"),
        ("device=store,kind=active_power,power_w=100,term=0,sequence=5", "REPLAYED"),
    ],
)
def test_every_refusal_has_its_name(run: Run, tmp_path: Path, text: str, refusal: str) -> None:
    async def story() -> None:
        devices = Devices()
        config = await devices.config(tmp_path, battery=BatteryConfig("store", 10_000, 5_000, 5_000))
        home = Home(tmp_path, config)
        assert home.outbox.remember("control/3", [1, 5, 0, 0], durable=True)
        found = await rehearse(config, wanted_from(text))
        assert found == Rehearsed(refusal, found.lines) and devices.written == []
        await devices.stop()

    run(story())


@pytest.mark.parametrize(
    ("ramp", "roof", "store"),
    [
        (None, "in one step: neither the device nor [limits] ramp_w_per_s bounds it", None),
        (500, "in steps of at most 50 a second ([limits] ramp_w_per_s)", "in steps of at most 500 a second ([limits]"),
    ],
)
def test_the_ramp_and_who_bounds_it_are_said(
    run: Run, tmp_path: Path, ramp: int | None, roof: str, store: str | None
) -> None:
    async def story() -> None:
        devices = Devices()
        config = await devices.config(tmp_path, limits=LimitsConfig(ramp_w_per_s=ramp))
        found = await rehearse(config, wanted_from("device=roof,kind=export_limit,power_w=2500"))
        assert roof in found.lines[0]
        found = await rehearse(config, wanted_from("device=store,kind=active_power,power_w=2000"))
        assert (store or roof) in found.lines[0] and devices.written == []
        await devices.stop()

    run(story())


def test_a_set_point_in_flash_is_said_to_take_one_step(run: Run, tmp_path: Path) -> None:
    async def story() -> None:
        server = MeterServer("huawei_sun2000", inverter_values, lambda _, __: None)
        await server.start()
        roof = MeterConfig(4, "roof", "huawei_sun2000", "127.0.0.1", server.port, role="inverter")
        config = ada_config(tmp_path, (roof,), limits=LimitsConfig(ramp_w_per_s=500))
        found = await rehearse(config, wanted_from("device=roof,kind=export_limit,power_w=2500"))
        assert "in one step, because each is one of the day's writes to flash" in found.lines[0]
        await server.stop()

    run(story())


@pytest.mark.parametrize("kind", ["active_power", "import_limit"])
def test_a_charger_that_would_be_told_too_little_is_said_to_stand_still(run: Run, tmp_path: Path, kind: str) -> None:
    async def story() -> None:
        server = MeterServer("keba_p30", lambda: {"power_w": 0}, lambda _, __: None)
        await server.start()
        config = ada_config(tmp_path, (MeterConfig(5, "car", "keba_p30", "127.0.0.1", server.port, unit=255),))
        found = await rehearse(config, wanted_from(f"device=car,kind={kind},power_w=4139"))
        assert found.lines[0].startswith("car: power_setpoint_w = 0 (a charger offers 4140 W or nothing), watchdog ")
        found = await rehearse(config, wanted_from(f"device=car,kind={kind},power_w=4140"))
        assert found.lines[0].startswith("car: power_setpoint_w = 4140, watchdog ")
        await server.stop()

    run(story())


def test_a_clock_that_nobody_trusts_is_a_refusal_too(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_agent.shell.clock._kernel_synchronised", lambda: False)

    async def story() -> None:
        devices = Devices()
        config = await devices.config(tmp_path, clock=ClockConfig(trusted=False))
        found = await rehearse(config, Wanted("roof", wanted_from("device=a,kind=export_limit,power_w=1").kind, 100))
        assert found.refusal == "CLOCK_UNSYNCHRONISED"
        await devices.stop()

    run(story())


def test_a_silent_device_is_said_to_be_silent(tmp_path: Path) -> None:
    config = ada_config(tmp_path, (MeterConfig(4, "roof", "sunspec_103", "127.0.0.1", 1, role="inverter"),))
    with pytest.raises(RemoteSilenceError):
        asyncio.run(rehearse(config, wanted_from("device=roof,kind=export_limit,power_w=100")))


@pytest.mark.parametrize(
    "text",
    [
        "", "device", "device=a", "device=a,kind=b,power_w=1", "device=a,kind=active_power,power_w=x", "{", "[1]",
        "device=a,kind=active_power,power_w=1.5", "device=a,kind=active_power,power_w=1,colour=2",
        "device=a,kind=active_power,power_w=1,valid_s=-1", "device=a,kind=active_power,power_w=1,valid_s=nan",
    ],
)  # fmt: skip
def test_what_is_no_set_point_is_said_and_ends_with_the_code_for_usage(tmp_path: Path, text: str) -> None:
    with pytest.raises(LocalTextError):
        wanted_from(text)
    file = tmp_path / "agent.toml"
    file.write_text(
        '[home]\naccount = 1\nfeeder = "f"\nedge = "e"\n[chain]\nchain_id = 1\n'
        f'settlement = "0x{"11" * 20}"\noperator = "0x{"22" * 20}"\n[key]\nfile = "key"\n[store]\npath = "s.db"\n'
        '[[meter]]\nnumber = 4\nname = "roof"\nprofile = "sunspec_103"\nhost = "127.0.0.1"\nport = 1\n'
        'role = "inverter"\n'
    )
    arguments = ["control", "dry-run", "-c", str(file), "--setpoint", text]
    assert CliRunner().invoke(app, arguments).exit_code == 2
    good = "device=roof,kind=export_limit,power_w=100"
    assert CliRunner().invoke(app, [*arguments[:-1], good]).exit_code == 69


def test_an_import_limit_of_the_home_is_judged_as_the_agent_would(run: Run, tmp_path: Path) -> None:
    main = MeterConfig(0, "main", "eastron_sdm630", "127.0.0.1", 1)
    store = MeterConfig(3, "store", "sunspec_battery", "127.0.0.1", 1, role="battery")
    roof = MeterConfig(4, "roof", "sunspec_103", "127.0.0.1", 1, role="inverter")

    async def told(text: str, *meters: MeterConfig) -> Rehearsed:
        return await rehearse(ada_config(tmp_path, meters), wanted_from(text))

    async def story() -> None:
        for device in ("main", "0", "store", "roof"):
            found = await told(f"device={device},kind=import_limit,power_w=4200", main, store, roof)
            assert found == Rehearsed(
                None, ("main: the home takes at most 4200 W for 60 s, measured here", "steered for it: store")
            )
        for text, refusal in (("power_w=-1", "OUT_OF_RANGE"), ("power_w=1,age_s=900", "EXPIRED")):
            assert (await told(f"device=0,kind=import_limit,{text}", main, store)).refusal == refusal
        assert (await told("device=0,kind=import_limit,power_w=1", main)).refusal == "NO_SUCH_DEVICE"

    run(story())


def test_a_command_to_a_node_is_judged_by_its_bounds(run: Run, tmp_path: Path) -> None:
    def node(actuator: NodeActuator | None) -> AgentConfig:
        keys = NodeConfig(bytes(64), tmp_path / "link.key", None, actuator)
        meter = MeterConfig(0, "main", "", "", 0, link="telegram", telegram="node", device="/dev/null", node=keys)
        return ada_config(tmp_path, (meter,))

    async def told(config: AgentConfig, power_w: int) -> Rehearsed:
        return await rehearse(config, wanted_from(f"device=main,kind=active_power,power_w={power_w}"))

    async def story() -> None:
        steers = node(NodeActuator(-4_000, 6_000, 500))
        assert (await told(steers, 2_000)).lines == (
            "main: power_setpoint_w = 2000, a command to the node that ends by itself after 60 s, in steps of at most "
            "500 a second (the device's own bound)",
        )
        assert (await told(steers, 6_001)).refusal == "OUT_OF_RANGE"
        assert (await told(node(None), 2_000)).refusal == "NO_SUCH_DEVICE"

    run(story())
