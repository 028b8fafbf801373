"""`edge-agent profile test` and its neighbours, against simulated devices over real sockets; and what it captures."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from device_profiles import measurement
from device_profiles.capture import example_text
from device_profiles.codec import decode
from device_profiles.example import example_errors
from device_profiles.profile import Point, Profile, RegisterImage, list_profiles, load_profile, parse_profile
from device_profiles.sunspec import resolve, walk_image
from edge_agent.cli import app
from edge_agent.shell.bus import ModbusBus, RemoteBusError
from edge_agent.shell.device_reading import Reading, read_device
from simulators.live.modbus import MeterServer
from simulators.live.serial_bus import PtyBus

ROOM = Path(measurement.__file__).parent


def file_without_example(name: str) -> str:
    text = next(ROOM.glob(f"*/{name}.toml")).read_text(encoding="utf-8")
    return text[: text.index("[[example.block]]")]


def with_server(name: str, work: Callable[[MeterServer, Profile], Awaitable[None]], unit: int | None = None) -> None:
    async def story() -> None:
        profile = load_profile(name)
        server = MeterServer(profile, lambda: dict(profile.example.values), unit=unit)
        await server.start()
        try:
            await work(server, profile)
        finally:
            await server.stop()

    asyncio.run(story())


async def read(server: MeterServer, profile: Profile) -> Reading:
    bus = ModbusBus(server.host, server.port, "tcp")
    try:
        return await read_device(bus, profile, profile.bus.unit, "tcp")
    finally:
        bus.close()


@pytest.mark.parametrize("name", list_profiles())
def test_what_is_captured_from_a_device_is_an_example_of_its_profile(name: str) -> None:
    async def work(server: MeterServer, profile: Profile) -> None:
        reading = await read(server, profile)
        assert decode(reading.profile, reading.registers) == profile.example.values
        assert reading.refused == []
        again = parse_profile(file_without_example(name) + example_text(reading.profile, reading.registers))
        if again.sunspec is not None:
            again = resolve(again, walk_image(RegisterImage(again.example.registers), again.sunspec.bases))
        assert example_errors(again) == ()
        assert again.example.values == profile.example.values

    with_server(name, work)


def test_a_refused_register_does_not_hide_the_others() -> None:
    async def work(server: MeterServer, profile: Profile) -> None:
        # Of the larger map the device has only a part: its block is refused as a whole.
        charge = Point("soc_permille", 4, 0x004C, "float32")
        larger = replace(profile, points=(*profile.points, charge))
        reading = await read(server, larger)
        assert reading.refused == [(4, 0x004C, 2)]
        assert decode(reading.profile, reading.registers) == profile.example.values

    with_server("eastron_sdm120", work)


def test_silence_ends_the_reading_at_once() -> None:
    async def work(server: MeterServer, profile: Profile) -> None:
        server.silent = True
        bus = ModbusBus(server.host, server.port, "tcp", 0.1)
        before_s = time.monotonic()
        with pytest.raises(RemoteBusError):
            await read_device(bus, profile, 1, "tcp")
        bus.close()
        assert time.monotonic() - before_s < 0.5, "one time-out, not one for every register"

    with_server("eastron_sdm630", work)


def run(*arguments: str) -> tuple[int, str]:
    found = CliRunner().invoke(app, ["profile", *arguments])
    return found.exit_code, found.output


def test_the_command_prints_values_beside_words_and_writes_the_capture(tmp_path: Path) -> None:
    capture = tmp_path / "sma.toml"

    async def work(server: MeterServer, _: Profile) -> None:
        place = ("--host", server.host, "--port", str(server.port))
        code, said = await asyncio.to_thread(run, "test", "huawei_sun2000", *place, "--capture", str(capture))
        assert code == 0, said
        assert re.search(r"power_w +0 +\[32080: 0000 0000\]", said)
        assert re.search(r"voltage_l1_mv +absent +\[32069: 0000\]", said)
        assert re.search(r"model +SUN2000", said)
        assert "power_limit_w" in said and "flash" in said and "probe fits" in said
        code, said = await asyncio.to_thread(run, "test", "huawei_sun2000", *place, "--capture", str(capture))
        assert code == 1 and "exists already" in said

    with_server("huawei_sun2000", work)
    assert "rated_power_w = 3000" in capture.read_text(encoding="utf-8")


def test_the_command_reads_a_serial_line() -> None:
    async def story() -> None:
        bus = PtyBus(115_200, turnaround_ms=2)
        profile = load_profile("eastron_sdm630")
        bus.add_unit("eastron_sdm630", lambda: dict(profile.example.values), 9)
        await bus.start()
        try:
            line = ("--device", bus.path, "--baud", "115200", "--unit", "9")
            code, said = await asyncio.to_thread(run, "test", "eastron_sdm630", *line)
            assert code == 0 and "probe fits" in said, said
            assert re.search(rf"import_wh +{profile.example.values['import_wh']} ", said)
        finally:
            await bus.stop()

    asyncio.run(story())


def test_the_command_shows_every_model_of_a_sunspec_device() -> None:
    async def work(server: MeterServer, profile: Profile) -> None:
        place = ("--host", server.host, "--port", str(server.port))
        code, said = await asyncio.to_thread(run, "test", profile.name, *place, "--models")
        assert code == 0, said
        assert "model 160 at" in said and "module[3].DCW" not in said.split("model 160")[0]
        assert re.search(r"ChaState = 63\.40? Pct", said), said
        assert "power_setpoint_w       holds 0, not in force" in said

    with_server("fronius_gen24_battery", work)


def test_the_command_says_when_it_is_another_device() -> None:
    async def work(server: MeterServer, _: Profile) -> None:
        place = ("--host", server.host, "--port", str(server.port), "--unit", "1")
        code, said = await asyncio.to_thread(run, "test", "carlo_gavazzi_em24_e1", *place)
        assert code == 1 and "does NOT fit" in said
        code, said = await asyncio.to_thread(run, "test", "sunspec_103", *place)
        assert code == 69 and "no base holds SunS" in said

    with_server("carlo_gavazzi_em24", work)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("test", "eastron_sdm630"), 2, "either --host or --device"),
        (("test", "eastron_sdm630", "--host", "x", "--device", "y"), 2, "either --host or --device"),
        (("test", "eastron_sdm630", "--device", "/dev/null/none"), 69, "no connection"),
        (("test", "eastron_sdm630", "--host", "h", "--parity", "X"), 2, "parity is N, E or O"),
        (("test", "no_such_meter", "--host", "h"), 1, "no profile called"),
        (("plan", "no_such_meter"), 1, "no profile called"),
        (("plan", "eastron_sdm120"), 0, "ms of bus time"),
        (("plan", "eastron_sdm630", "--link", "tcp", "--all"), 0, "1 request(s)"),
        (("plan", "eastron_sdm630", "--baud", "0"), 2, "Invalid value"),
        (("check", "eastron_sdm120", "sunspec_der", "keba_p30"), 0, "keba_p30: ok"),
        (("check", "no_such_meter"), 1, "no profile called"),
        (("list", "--long"), 0, "charger"),
    ],
)
def test_commands_end_with_the_code_that_says_why(arguments: tuple[str, ...], code: int, words: str) -> None:
    found, said = run(*arguments)
    assert (found, words in said) == (code, True), said


def test_the_plan_is_told_at_the_configured_speed() -> None:
    slow, fast = run("plan", "eastron_sdm630", "--baud", "2400")[1], run("plan", "eastron_sdm630", "--baud", "19200")[1]
    times = [int(m) for text in (slow, fast) for m in re.findall(r"(\d+) ms of bus time", text)]
    assert times[0] > 2 * times[1]
    assert run("check", *list_profiles())[0] == 0
