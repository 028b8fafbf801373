"""Two things a line must get right besides its bytes: its speed in a mode C session, and its meter's time zone."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from edge_agent.config import ConfigError
from edge_agent.config_reader import read_config
from edge_agent.effects import Counters
from edge_agent.shell.clock import ScaledClock
from edge_agent.shell.telegrams import TelegramTask
from simulators.agent_toml import agent_toml
from simulators.live.telegram_devices import PtyMeter, TelegramMeter
from simulators.telegrams import p1
from tests.edge_agent.conftest import eventually
from tests.edge_agent.telegram_home import Listener, Meter, Runner, a_clock, listening, on_device

# --- speed ------------------------------------------------------------------------------------------------------


def test_a_mode_c_session_opens_at_300_baud_changes_to_the_meter_s_speed_and_comes_back(
    run: Runner, tmp_path: Path
) -> None:
    async def story() -> None:
        clock, speeds = a_clock(), list[int]()
        device = PtyMeter(Meter("iec62056", clock, asked=True), tmp_path / "tty")
        send = device._send

        def sent(chunk: bytes) -> None:
            speeds.append(device.line_baud())
            said.append(chunk)
            send(chunk)

        said: list[bytes] = []
        device._send = sent  # type: ignore[method-assign]
        device.plug()
        async with listening(on_device(device.link, "iec62056", 60, 300), clock, Counters()) as heard:
            await eventually(lambda: len(heard.good) >= 2, 20)
            await eventually(lambda: device.line_baud() == 300, 5)
        questions = list(device.heard)
        device.unplug()
        # What the reader asked, and the speed its port had when the meter read it.
        assert questions[:4] == [(300, b"/?!\r\n"), (300, b"\x06050\r\n")] * 2
        # What the meter said, and the speed the port had by then: identification, list, identification, list.
        assert [text[:1] for text in said[:4]] == [b"/", b"\x02"] * 2
        assert speeds[:4] == [300, 9_600] * 2

    run(story())


def test_a_session_that_breaks_off_leaves_the_line_at_300_baud(run: Runner, tmp_path: Path) -> None:
    async def story() -> None:
        clock = a_clock()
        meter = Meter("iec62056", clock, asked=True)
        device = PtyMeter(meter, tmp_path / "tty")
        device.plug()
        meter.faults.cut = True  # the list stops in its middle, at 9600 baud
        async with listening(on_device(device.link, "iec62056", 60, 300), clock, Counters()) as heard:
            await eventually(lambda: sum(chunk == b"/?!\r\n" for _, chunk in device.heard) >= 2, 20)
            assert not heard.good and {baud for baud, chunk in device.heard if chunk.startswith(b"/?")} == {300}
            meter.faults.cut = False
            await eventually(lambda: heard.good, 20)
        device.unplug()

    run(story())


def test_a_meter_that_pushes_is_never_asked_and_its_line_keeps_its_speed(run: Runner, tmp_path: Path) -> None:
    async def story() -> None:
        clock = a_clock()
        device = PtyMeter(Meter("iec62056", clock), tmp_path / "tty", 0.05)
        device.plug()
        asked: list[bytes] = []
        device.meter.answer = lambda chunk: asked.append(chunk) or b""  # type: ignore[func-returns-value, method-assign]
        async with listening(on_device(device.link, "iec62056", 60, 2_400), clock, Counters()) as heard:
            await eventually(lambda: len(heard.good) >= 3)
            assert device.line_baud() == 2_400
        device.unplug()
        assert not asked

    run(story())


# --- time zone --------------------------------------------------------------------------------------------------

NOON_S = int(datetime(2026, 1, 15, 12, tzinfo=UTC).timestamp())


@pytest.mark.parametrize(
    ("written", "offset_s"),
    [(None, 3_600), ("+01:00", 3_600), ("+02:00", 7_200), ("+00:00", 0), ("-03:30", -12_600), ("+05:45", 20_700)],
)
def test_a_p1_meter_s_winter_clock_is_ahead_of_utc_by_what_the_installer_says(
    tmp_path: Path, written: str | None, offset_s: int
) -> None:
    meter: dict[str, str | int] = {"number": 0, "name": "m", "link": "telegram", "telegram": "p1", "device": "x"}
    path = tmp_path / "agent.toml"
    path.write_text(agent_toml("ada", [meter | ({"time_zone_offset": written} if written else {})], "a test"))
    (config,) = read_config(path).meters
    assert config.time_zone_s == offset_s
    heard, counters = Listener(), Counters()
    clock = ScaledClock(datetime.now(UTC).timestamp(), NOON_S, 0.001)
    task = TelegramTask(config, clock, heard.samples.append, heard.results.append, counters)
    # The simulated meter writes Central European time: shifted, it is one that hangs in the other zone.
    (telegram,) = task._decoder.feed(p1({"import_wh": 5_000}, "1", NOON_S + offset_s - 3_600))
    assert telegram.taken_at_s == NOON_S


@pytest.mark.parametrize(("zone", "differs"), [("+01:00", True), ("+02:00", False)])
def test_a_meter_in_another_zone_than_was_said_is_counted(
    run: Runner, tmp_path: Path, zone: str, differs: bool
) -> None:
    class Finnish(TelegramMeter):
        def telegram(self) -> bytes:
            return p1({"import_wh": 5_000}, "1", clock.now_ms() // 1000 + 3_600)

    async def story() -> None:
        device = PtyMeter(Finnish("p1", dict), tmp_path / "tty", 0.05)
        device.plug()
        meter: dict[str, str | int] = {"number": 0, "name": "m", "link": "telegram", "telegram": "p1"}
        path = tmp_path / "agent.toml"
        path.write_text(agent_toml("ada", [meter | {"device": str(device.link), "time_zone_offset": zone}], "a test"))
        async with listening(read_config(path).meters[0], clock, counters) as heard:
            await eventually(lambda: heard.good)
        device.unplug()
        assert bool(counters.get("meter_clock_differs")) == differs

    clock, counters = ScaledClock(datetime.now(UTC).timestamp(), NOON_S, 1.0), Counters()
    run(story())


@pytest.mark.parametrize("written", ["Europe/Helsinki", "2", "+2:00", "+02:10", "+15:00", "02:00"])
def test_an_offset_that_is_none_is_refused_with_an_example(tmp_path: Path, written: str) -> None:
    meter: dict[str, str | int] = {"number": 0, "name": "m", "link": "telegram", "telegram": "p1", "device": "x"}
    meter["time_zone_offset"] = written
    path = tmp_path / "agent.toml"
    path.write_text(agent_toml("ada", [meter], "a test"))
    with pytest.raises(ConfigError, match=r'like "\+02:00"'):
        read_config(path)
    path.write_text(agent_toml("ada", [meter | {"telegram": "sml"}], "a test"))
    with pytest.raises(ConfigError, match="unknown key 'time_zone_offset'"):
        read_config(path)
