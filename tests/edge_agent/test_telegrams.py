"""Meters that send telegrams, over real lines into the whole agent: pty, TCP port, two brokers."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from edge_agent.config import BrokerConfig
from simulators.live.telegram_devices import MqttMeter, PtyMeter, TcpMeter, TelegramMeter
from tests.edge_agent.conftest import ada_config, start_broker, stop_broker
from tests.edge_agent.telegram_home import (
    PERIOD_S,
    POLL_S,
    Meter,
    Runner,
    a_clock,
    mosquitto_in,
    on_broker,
    on_device,
    on_port,
    settles,
)

# --- into the whole agent ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["p1", "sml", "iec62056"])
def test_a_pushed_telegram_on_a_serial_line_becomes_a_signed_reading_with_its_hash(
    run: Runner, tmp_path: Path, kind: str
) -> None:
    async def story() -> None:
        clock = a_clock()
        meter = Meter(kind, clock)
        device = PtyMeter(meter, tmp_path / "tty", PERIOD_S)
        device.plug()
        config = ada_config(tmp_path, (on_device(device.link, kind),))
        made = await settles(config, clock)
        device.unplug()
        assert all(reading.evidence_hash in meter.hashes for reading in made if any(reading.evidence_hash))

    run(story())


@pytest.mark.parametrize(("kind", "baud"), [("mbus", None), ("iec62056", 300)])
def test_a_meter_that_must_be_asked_is_asked(run: Runner, tmp_path: Path, kind: str, baud: int | None) -> None:
    async def story() -> None:
        clock = a_clock()
        meter = Meter(kind, clock, asked=True)
        device = PtyMeter(meter, tmp_path / "tty")
        device.plug()
        config = ada_config(tmp_path, (on_device(device.link, kind, 300, baud),))
        made = await settles(config, clock)
        device.unplug()
        assert all(reading.evidence_hash in meter.hashes for reading in made if any(reading.evidence_hash))

    run(story())


@pytest.mark.parametrize("kind", ["p1", "sml", "iec62056", "mbus"])
def test_a_telegram_over_tcp_becomes_a_signed_reading_with_its_hash(run: Runner, tmp_path: Path, kind: str) -> None:
    async def story() -> None:
        clock = a_clock()
        meter = Meter(kind, clock)
        server = TcpMeter(meter, period_s=PERIOD_S)
        await server.start()
        config = ada_config(tmp_path, (on_port(server.port, kind, 300 if kind == "mbus" else POLL_S),))
        made = await settles(config, clock)
        await server.stop()
        assert all(reading.evidence_hash in meter.hashes for reading in made if any(reading.evidence_hash))

    run(story())


PATHS = (("export_wh", "energy.export * 1000"), ("import_wh", "energy.import * 1000"), ("power_w", "power"))
MQTT_METERS = [
    ("tasmota", "tasmota", "tele/ada/SENSOR", ()),
    ("shelly", "shelly", "ada/events/rpc", ()),
    ("shelly1", "shelly", "shellies/ada/emeter/+/+", ()),
    ("json", "json", "meters/+/state", PATHS),
]


async def settles_over_mqtt(folder: Path, port: int, sends: str, told: str, topic: str, paths: object) -> None:
    """A simulated device publishes, the agent settles what it says."""
    clock = a_clock()
    device = MqttMeter(TelegramMeter(sends, Meter("p1", clock)._shown), "ada", "127.0.0.1", port, PERIOD_S)
    publishing = asyncio.create_task(device.run())
    meter = on_broker(port, told, topic, paths=paths)
    made = await settles(ada_config(folder, (meter,), BrokerConfig("127.0.0.1", port)), clock)
    publishing.cancel()
    assert all(reading.export_wh == 500 for reading in made)


@pytest.mark.parametrize(("sends", "told", "topic", "paths"), MQTT_METERS, ids=[row[0] for row in MQTT_METERS])
def test_messages_through_the_embedded_broker_become_signed_readings(
    run: Runner, tmp_path: Path, sends: str, told: str, topic: str, paths: object
) -> None:
    async def story() -> None:
        broker, port = await start_broker()
        await settles_over_mqtt(tmp_path, port, sends, told, topic, paths)
        await stop_broker(broker)

    run(story())


@pytest.mark.real("mosquitto")
@pytest.mark.parametrize(("sends", "told", "topic", "paths"), MQTT_METERS[1:3], ids=["shelly", "shelly1"])
def test_messages_through_mosquitto_become_signed_readings(
    run: Runner, tmp_path: Path, sends: str, told: str, topic: str, paths: object
) -> None:
    with mosquitto_in(tmp_path) as port:
        run(settles_over_mqtt(tmp_path, port, sends, told, topic, paths))
