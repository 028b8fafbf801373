"""Lines that fail, come back, lie or are silent; what the sources make of it, and their small rules."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import pytest

from contracts.codes import ReadingFlag
from edge_agent.config import MeterConfig
from edge_agent.effects import Counters, WriteDevice
from edge_agent.shell.clock import SystemClock
from edge_agent.shell.examination import probe_devices
from edge_agent.shell.mqtt_meters import LEAST_TOGETHER_S
from edge_agent.shell.sources import sources_of
from edge_agent.shell.telegrams import serial_settings
from simulators.live.telegram_devices import MqttMeter, PtyMeter, TcpMeter
from tests.edge_agent.conftest import ada_config, eventually, start_broker, stop_broker
from tests.edge_agent.telegram_home import (
    PERIOD_S,
    Listener,
    Meter,
    Runner,
    a_clock,
    listening,
    listens,
    mosquitto_in,
    on_broker,
    on_device,
    on_port,
    readings,
    running,
)

# --- faults -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["garbage", "duplicate"])
def test_garbage_between_telegrams_and_repeated_ones_change_nothing(run: Runner, tmp_path: Path, fault: str) -> None:
    async def story() -> None:
        clock = a_clock()
        meter = Meter("sml", clock)
        setattr(meter.faults, fault, True)
        device = PtyMeter(meter, tmp_path / "tty", PERIOD_S)
        device.plug()
        async with listening(on_device(device.link, "sml", 90), clock, Counters()) as heard:
            await eventually(lambda: len(heard.good) >= 4)
        device.unplug()
        registers = [sample.values["import_wh"] for sample in heard.good if sample.values is not None]
        assert registers == sorted(registers) and not heard.faults

    run(story())


@pytest.mark.parametrize(("fault", "refusal"), [("cut", "telegram_"), ("wrong_checksum", "telegram_"), ("silent", "")])
def test_a_damaged_telegram_is_counted_and_silence_becomes_a_fault(
    run: Runner, tmp_path: Path, fault: str, refusal: str
) -> None:
    async def story() -> None:
        clock, counters = a_clock(), Counters()
        meter = Meter("p1", clock)
        device = PtyMeter(meter, tmp_path / "tty", PERIOD_S)
        device.plug()
        async with listening(on_device(device.link, "p1"), clock, counters) as heard:
            await eventually(lambda: heard.good)
            setattr(meter.faults, fault, True)
            await eventually(lambda: len(heard.faults) >= 2)
            setattr(meter.faults, fault, False)
            before = len(heard.good)
            await eventually(lambda: len(heard.good) > before + 2)
        device.unplug()
        assert "no telegram for 90 s" in heard.faults[0]
        assert not refusal or any(name.startswith(refusal) for name in counters)

    run(story())


@pytest.mark.slow
def test_a_fault_that_lasts_leaves_held_readings_and_the_next_good_one_goes_on(run: Runner, tmp_path: Path) -> None:
    async def story() -> None:
        clock = a_clock()
        meter = Meter("p1", clock)
        device = PtyMeter(meter, tmp_path / "tty", PERIOD_S)
        device.plug()
        config = ada_config(tmp_path, (on_device(device.link, "p1"),))
        async with running(config, clock) as agent:
            await eventually(lambda: readings(agent, config), 20)
            meter.faults.silent = True
            await eventually(lambda: readings(agent, config)[-1].flags & ReadingFlag.HELD, 20)
            meter.faults.silent = False
            await eventually(lambda: not readings(agent, config)[-1].flags & ReadingFlag.HELD, 20)
            held = [r for r in readings(agent, config) if r.flags & ReadingFlag.HELD]
        device.unplug()
        assert held and not any(any(reading.evidence_hash) for reading in held)

    run(story())


def test_a_serial_device_that_is_unplugged_is_opened_again_when_it_is_back(run: Runner, tmp_path: Path) -> None:
    async def story() -> None:
        clock, counters = a_clock(), Counters()
        device = PtyMeter(Meter("p1", clock), tmp_path / "tty", PERIOD_S)
        async with listening(on_device(device.link, "p1"), clock, counters) as heard:
            await eventually(lambda: heard.faults)
            assert "No such file" in heard.faults[0]
            for _ in range(2):
                before = len(heard.good)
                device.plug()
                await eventually(lambda n=before: len(heard.good) > n + 2)
                device.unplug()
                heard.samples[:] = heard.good
                await eventually(lambda: heard.faults)
        assert counters["line_opened"] == 2 and counters["line_lost"] >= 3

    run(story())


def test_a_serial_server_that_went_away_is_connected_again(run: Runner, tmp_path: Path) -> None:
    async def story() -> None:
        clock, counters = a_clock(), Counters()
        first = TcpMeter(Meter("sml", clock), period_s=PERIOD_S)
        await first.start()
        async with listening(on_port(first.port, "sml"), clock, counters) as heard:
            await eventually(lambda: heard.good)
            await first.stop()
            await eventually(lambda: heard.faults)
            second = TcpMeter(Meter("sml", clock), port=first.port, period_s=PERIOD_S)
            await second.start()
            before = len(heard.good)
            await eventually(lambda: len(heard.good) > before)
        await second.stop()
        assert counters["line_opened"] == 2

    run(story())


def test_after_a_restart_of_the_broker_the_meters_are_heard_again(run: Runner) -> None:
    async def story() -> None:
        clock, counters = a_clock(), Counters()
        first, port = await start_broker()
        device = MqttMeter(Meter("tasmota", clock), "ada", "127.0.0.1", port, PERIOD_S)
        publishing = asyncio.create_task(device.run())
        async with listening(on_broker(port, "tasmota", "tele/+/SENSOR"), clock, counters) as heard:
            await eventually(lambda: heard.good)
            await stop_broker(first)
            await eventually(lambda: any("broker" in fault for fault in heard.faults), 20)
            second, _ = await start_broker(port)
            before = len(heard.good)
            await eventually(lambda: len(heard.good) > before, 30)
        publishing.cancel()
        await stop_broker(second)
        assert counters["meter_broker_connected"] >= 2

    run(story())


@pytest.mark.real("mosquitto")
def test_a_retained_message_is_no_measurement(run: Runner, tmp_path: Path) -> None:
    import aiomqtt

    async def story(port: int) -> None:
        clock, counters = a_clock(), Counters()
        while not await listens(port):
            await asyncio.sleep(0.05)
        async with aiomqtt.Client("127.0.0.1", port, protocol=aiomqtt.ProtocolVersion.V311) as client:
            await client.publish("tele/old/SENSOR", b'{"ENERGY": {"Total": 1.0}}', qos=1, retain=True)
            async with listening(on_broker(port, "tasmota", "tele/+/SENSOR"), clock, counters) as heard:
                await eventually(lambda: counters.get("telegram_retained"))
                await client.publish("tele/new/SENSOR", b'{"ENERGY": {"Total": 2.0}}', qos=1)
                await eventually(lambda: heard.good)
        assert [dict(sample.values or {}) for sample in heard.good] == [{"import_wh": 2000}]

    with mosquitto_in(tmp_path) as port:
        run(story(port))


def test_registers_published_apart_are_in_one_sample_only_when_they_come_together(run: Runner) -> None:
    import aiomqtt

    paths = (("export_wh", "meter/export: $"), ("import_wh", "meter/import: $"), ("power_w", "meter/power: $"))

    async def story() -> None:
        broker, port = await start_broker()
        counters = Counters()
        meter = on_broker(port, "json", "meter/+", 1, paths=paths)
        async with (
            aiomqtt.Client("127.0.0.1", port, protocol=aiomqtt.ProtocolVersion.V311) as client,
            listening(meter, SystemClock(), counters) as heard,
        ):
            await eventually(lambda: counters.get("meter_broker_connected"))
            await client.publish("meter/export", b"700", qos=1)
            await eventually(lambda: heard.good)
            await asyncio.sleep(LEAST_TOGETHER_S + 0.2)
            for topic, payload in (("power", b"90"), ("import", b"5000")):
                await client.publish(f"meter/{topic}", payload, qos=1)
            await eventually(lambda: len(heard.good) >= 2)
            await asyncio.sleep(1.0)
            for topic, payload in (("import", b"5001"), ("export", b"701")):
                await client.publish(f"meter/{topic}", payload, qos=1)
            await eventually(lambda: len(heard.good) >= 3)
        await stop_broker(broker)
        assert [dict(sample.values or {}) for sample in heard.good] == [
            {"export_wh": 700},
            {"import_wh": 5_000, "power_w": 90},
            {"import_wh": 5_001, "export_wh": 701, "power_w": 90},
        ]

    run(story())


def test_who_floods_a_line_takes_neither_the_loop_nor_the_memory(run: Runner) -> None:
    async def flood(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while True:
                writer.write(b"/flood(1*kWh)\r\n" * 4_096)
                sent.append(1)
                await writer.drain()

    sent: list[int] = []

    async def story() -> None:
        server = await asyncio.start_server(flood, "127.0.0.1", 0)
        counters = Counters()
        async with listening(on_port(server.sockets[0].getsockname()[1], "p1"), a_clock(), counters) as heard:
            await eventually(lambda: len(heard.faults) >= 3)
        server.close()
        assert any(name.startswith("telegram_") for name in counters) and not heard.good
        assert len(sent) < 1_000  # 65 kB each: who floods waits

    run(story())


# --- the small rules --------------------------------------------------------------------------------------------


def test_no_more_samples_come_than_polls(run: Runner, tmp_path: Path) -> None:
    async def story() -> None:
        clock, counters = a_clock(), Counters()
        device = PtyMeter(Meter("p1", clock), tmp_path / "tty", 0.02)
        device.plug()
        begin_ms = clock.now_ms()
        async with listening(on_device(device.link, "p1", 60), clock, counters) as heard:
            await eventually(lambda: len(heard.good) >= 6)
        polls = (clock.now_ms() - begin_ms) / 60_000
        device.unplug()
        assert counters["telegrams"] > len(heard.good)
        assert len(heard.good) <= polls + 1

    run(story())


def test_a_set_point_for_a_meter_that_only_sends_is_answered_with_a_fault(run: Runner, tmp_path: Path) -> None:
    async def story() -> None:
        heard = Listener()
        meters = (on_port(1, "p1"), on_broker(1, "tasmota", "x"))
        config = ada_config(tmp_path, meters)
        sources = sources_of(config, {}, SystemClock(), heard.samples.append, heard.results.append)
        for token, source in enumerate(sources):
            source.write(WriteDevice("main", "power_setpoint_w", 1, None, token))
        assert [(result.token, result.read_back) for result in heard.results] == [(0, None), (1, None)]
        assert all(result.fault for result in heard.results)

    run(story())


def test_meters_on_one_broker_share_a_task_and_serial_lines_do_not(tmp_path: Path) -> None:
    heard = Listener()
    meters = (
        on_device(tmp_path / "a", "p1"),
        on_device(tmp_path / "b", "sml"),
        on_broker(1883, "tasmota", "a"),
        on_broker(1883, "shelly", "b"),
        on_broker(1884, "shelly", "b"),
    )
    config = ada_config(tmp_path, meters)
    sources = sources_of(config, {}, SystemClock(), heard.samples.append, heard.results.append)
    assert [len(source.names()) for source in sources] == [1, 1, 2, 1]


def test_a_line_has_the_standard_s_settings_unless_the_installer_says_otherwise(tmp_path: Path) -> None:
    told = {kind: str(serial_settings(on_device(tmp_path, kind))) for kind in ("p1", "sml", "iec62056", "mbus")}
    assert told == {"p1": "115200 8N1", "sml": "9600 8N1", "iec62056": "9600 7E1", "mbus": "2400 8E1"}
    changed = MeterConfig(0, "m", "", "", 0, link="telegram", device="x", baud=4800, parity="N", stop_bits=2,
                          telegram="iec62056")  # fmt: skip
    assert str(serial_settings(changed)) == "4800 8N2"


def test_probe_waits_for_the_first_telegram_of_every_meter(run: Runner, tmp_path: Path) -> None:
    async def story() -> None:
        clock = a_clock()
        broker, port = await start_broker()
        device = PtyMeter(Meter("p1", clock), tmp_path / "tty", PERIOD_S)
        device.plug()
        publisher = MqttMeter(Meter("tasmota", clock), "ada", "127.0.0.1", port, PERIOD_S)
        publishing = asyncio.create_task(publisher.run())
        meters = (on_device(device.link, "p1", 1), on_broker(port, "tasmota", "tele/+/SENSOR", 1))
        renamed = (meters[0], MeterConfig(1, "plug", *(getattr(meters[1], n) for n in list(meters[1].__slots__)[2:])))
        probed = await probe_devices(ada_config(tmp_path, renamed))
        assert [(name, fault) for name, _, fault in probed] == [("main", None), ("plug", None)]
        assert all(values["import_wh"] >= 10**6 for _, values, _ in probed)
        publishing.cancel()
        device.unplug()
        await stop_broker(broker)

    run(story())
