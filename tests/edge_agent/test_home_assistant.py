"""Home Assistant finds every measurement by itself, and its energy never steps back."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import socket
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiomqtt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.codes import ClockStatus
from device_profiles.measurement import MEASUREMENTS
from edge_agent.config_site import HomeAssistantConfig
from edge_agent.effects import Counters, Publish
from edge_agent.home_assistant import Discovery, decimal_text, quantity_of
from edge_agent.shell.home_assistant import HomeAssistantLink
from edge_agent.status import AgentStatus, DeviceStatus
from tests.edge_agent.conftest import Home, ada_config, eventually

Runner = Callable[[Awaitable[None]], None]
NOW_MS = 1_750_000_000_000
TEMPLATE = re.compile(r"\{\{ value_json\.(\w+)( \| default\(none\))? \}\}")

# Home Assistant's documentation, "Sensor": units a device class takes, and state classes it may have.
UNITS = {
    "energy": {"Wh", "kWh", "MWh"},
    "energy_storage": {"Wh", "kWh", "MWh"},
    "power": {"W", "kW", "MW"},
    "reactive_power": {"var", "kvar"},
    "apparent_power": {"VA", "kVA"},
    "voltage": {"V", "mV"},
    "current": {"A", "mA"},
    "frequency": {"Hz", "kHz"},
    "temperature": {"°C", "°F", "K"},
    "battery": {"%"},
    "power_factor": {"%", None},
}
STATE_CLASSES = {"energy": {"total", "total_increasing"}}
OPTIONS = {
    "sensor": {
        "name", "state_topic", "value_template", "availability", "availability_mode", "availability_topic",
        "device_class", "state_class", "unit_of_measurement", "entity_category", "enabled_by_default", "unique_id",
        "device", "origin", "options",
    },
    "binary_sensor": {
        "name", "state_topic", "value_template", "availability_topic", "device_class", "entity_category", "unique_id",
        "device", "origin",
    },
}  # fmt: skip
DEVICE_OPTIONS = {"identifiers", "name", "model", "manufacturer", "sw_version", "via_device"}


def device(number: int = 0, name: str = "main", taken_at_ms: int | None = NOW_MS, **values: int) -> DeviceStatus:
    """A device that shows these values."""
    return DeviceStatus(number, name, "settlement", "eastron_sdm630", None, values, taken_at_ms, None)


def status(*devices: DeviceStatus, now_ms: int = NOW_MS) -> AgentStatus:
    """Ada's agent with these devices."""
    return AgentStatus("f1", "ada", 7, now_ms, True, ClockStatus.SYNCHRONISED, True, 1, {"settlement": 2}, devices)


def discovery(tmp_path: Path) -> Discovery:
    """Ada's, with the settings as they come."""
    return Discovery(ada_config(tmp_path), HomeAssistantConfig())


def configs(said: list[Publish]) -> dict[str, dict[str, Any]]:
    """The discovery messages among what is said."""
    return {m.topic: json.loads(m.payload) for m in said if m.topic.endswith("/config")}


ALL = {name: max(found.minimum, 1) for name, found in MEASUREMENTS.items()}


def test_every_config_message_is_what_the_documentation_asks_for(tmp_path: Path) -> None:
    said = discovery(tmp_path).on_status(status(device(**ALL)))
    found = configs(said)
    shown = [name for name in ALL if quantity_of(name) is not None]
    assert len(found) == len(shown) + 3 and "import_wh" in shown and "import_l1_wh" not in shown
    state = json.loads(next(m.payload for m in said if m.topic == "energy-grid/ada/main/state"))
    for where, document in found.items():
        prefix, component, node, key, last = where.split("/")
        assert (prefix, last) == ("homeassistant", "config")
        assert re.fullmatch(r"[a-zA-Z0-9_-]+", node) and re.fullmatch(r"[a-zA-Z0-9_-]+", key)
        assert set(document) <= OPTIONS[component] and set(document["device"]) <= DEVICE_OPTIONS
        assert document["state_topic"] and document["origin"]["name"] and document["device"]["identifiers"]
        assert document.get("entity_category", "diagnostic") == "diagnostic"
        kind, unit = document.get("device_class"), document.get("unit_of_measurement")
        if kind in UNITS:
            assert unit in UNITS[kind]
            assert document["state_class"] in STATE_CLASSES.get(kind, {"measurement"})
        if kind == "enum":
            assert document["options"] and "state_class" not in document and unit is None
        template = TEMPLATE.fullmatch(document["value_template"])
        assert template is not None
        if document["state_topic"] == "energy-grid/ada/main/state":
            assert template[1] in state
    assert len({document["unique_id"] for document in found.values()}) == len(found)
    assert all(message.retain for message in said if message.topic.endswith(("/config", "/availability")))
    assert not any(message.retain for message in said if message.topic.endswith("/state"))


def test_energy_is_total_increasing_in_exact_kilowatt_hours(tmp_path: Path) -> None:
    said = discovery(tmp_path).on_status(status(device(import_wh=12_345_678, power_w=-5, voltage_l1_mv=229_004)))
    energy = configs(said)["homeassistant/sensor/energy_grid_f1_ada_0/import_wh/config"]
    assert (energy["device_class"], energy["state_class"]) == ("energy", "total_increasing")
    payload = next(m.payload for m in said if m.topic == "energy-grid/ada/main/state").decode()
    assert payload == '{"import_wh": 12345.678, "power_w": -5, "voltage_l1_mv": 229.004}'


@given(st.integers(-(10**13), 10**13), st.integers(0, 3))
def test_moving_the_point_loses_nothing(value: int, places: int) -> None:
    assert Decimal(decimal_text(value, places)).scaleb(places) == value


def test_configs_are_said_once_and_again_when_home_assistant_is_born(tmp_path: Path) -> None:
    ours = discovery(tmp_path)
    first = configs(ours.on_status(status(device(power_w=1))))
    assert first and not configs(ours.on_status(status(device(power_w=2))))
    more = configs(ours.on_status(status(device(power_w=2, import_wh=3))))
    assert list(more) == ["homeassistant/sensor/energy_grid_f1_ada_0/import_wh/config"]
    assert not ours.on_message("homeassistant/status", b"offline") and not ours.on_message("other/status", b"online")
    assert ours.on_message("homeassistant/status", b"online")
    assert configs(ours.on_status(status(device(power_w=2, import_wh=3)))) == first | more


def test_a_silent_meter_is_unavailable_and_says_no_state(tmp_path: Path) -> None:
    ours = discovery(tmp_path)
    ours.on_status(status(device(power_w=1)))
    later = ours.on_status(status(device(power_w=1), now_ms=NOW_MS + 130_000))
    assert Publish("energy-grid/ada/main/availability", b"offline", True) in later
    assert not [m for m in later if m.topic == "energy-grid/ada/main/state"]
    back = ours.on_status(status(device(power_w=1, taken_at_ms=NOW_MS + 140_000), now_ms=NOW_MS + 140_000))
    assert Publish("energy-grid/ada/main/availability", b"online", True) in back


def test_registers_never_step_back_whatever_the_meter_says_and_over_restarts(tmp_path: Path) -> None:
    """Roll-back, garbage and silence, then a new start whose register lies behind what was shown before."""
    shown: list[int] = []
    minute_ms, at_ms = 60_000, NOW_MS // 900_000 * 900_000
    raw = 1_000_000
    for start in range(3):
        home = Home(tmp_path, synchronised_ms=at_ms)
        look = home.agent.status
        assert "import_wh" not in look(at_ms).devices[0].values, "before the first good value nothing is known"
        for minute in range(40):
            at_ms, raw = at_ms + minute_ms, raw + 30
            if minute % 7 == 3:
                home.sample(at_ms)
            elif minute % 7 == 5:
                home.sample(at_ms, import_wh=raw - 20_000, export_wh=5, power_w=1_800)
            else:
                home.sample(at_ms, import_wh=raw, export_wh=5, power_w=1_800 + minute)
            register = look(at_ms).devices[0].values.get("import_wh")
            shown += [] if register is None else [register]
        home.outbox.close()
        assert start or shown[-1] > shown[0]
    assert shown == sorted(shown) and shown[-1] == raw and len(shown) > 100


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[int]:
    """A real broker; its port."""
    binary = shutil.which("mosquitto") or shutil.which("/usr/sbin/mosquitto")
    if binary is None:
        pytest.skip("mosquitto is not installed")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (tmp_path / "mosquitto.conf").write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n")
    broker = subprocess.Popen([binary, "-c", str(tmp_path / "mosquitto.conf")], stderr=subprocess.DEVNULL)
    for _ in range(100):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            break
        except OSError:
            asyncio.run(asyncio.sleep(0.05))
    yield port
    broker.terminate()
    broker.wait(10)


async def heard_at(port: int, topics: dict[str, tuple[bytes, bool]]) -> None:
    """Keeps the last payload of every topic, and whether it came from the broker's memory."""
    async with aiomqtt.Client("127.0.0.1", port, protocol=aiomqtt.ProtocolVersion.V311) as client:
        await client.subscribe("#", qos=1)
        async for message in client.messages:
            assert isinstance(message.payload, bytes)
            topics[str(message.topic)] = message.payload, bool(message.retain)


@pytest.mark.real("mosquitto")
def test_through_a_real_broker_it_is_found_told_reborn_and_left(run: Runner, tmp_path: Path, mosquitto: int) -> None:
    settings = HomeAssistantConfig(port=mosquitto, every_s=1)
    config, counters = ada_config(tmp_path), Counters()
    availability = "energy-grid/ada/availability"
    power = "homeassistant/sensor/energy_grid_f1_ada_0/power_w/config"

    def shown() -> AgentStatus:
        return status(device(power_w=2_400, import_wh=1_000_001))

    async def story() -> None:
        heard: dict[str, tuple[bytes, bool]] = {}
        listening = asyncio.create_task(heard_at(mosquitto, heard))
        link = HomeAssistantLink(config, settings, shown, counters)
        task = asyncio.create_task(link.run())
        await eventually(lambda: heard.get("energy-grid/ada/main/state"))
        assert json.loads(heard["energy-grid/ada/main/state"][0]) == {"import_wh": 1000.001, "power_w": 2400}
        assert heard[availability][0] == b"online" and power in heard
        remembered: dict[str, tuple[bytes, bool]] = {}
        late = asyncio.create_task(heard_at(mosquitto, remembered))
        await eventually(lambda: power in remembered)
        assert remembered[power][1] and json.loads(remembered[power][0])["device_class"] == "power"
        del heard[power]
        async with aiomqtt.Client("127.0.0.1", mosquitto, protocol=aiomqtt.ProtocolVersion.V311) as house:
            await house.publish("homeassistant/status", b"online")
        await eventually(lambda: power in heard)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await eventually(lambda: heard[availability][0] == b"offline")
        again = asyncio.create_task(HomeAssistantLink(config, settings, shown, counters).run())
        await eventually(lambda: heard[availability][0] == b"online")
        for each in (again, late, listening):
            each.cancel()
        await asyncio.gather(again, late, listening, return_exceptions=True)

    run(story())
    assert counters["home_assistant_connected"] == 2 and counters["home_assistant_birth"] == 1


@pytest.mark.real("mosquitto")
def test_the_last_will_says_offline_when_the_agent_dies(run: Runner, tmp_path: Path, mosquitto: int) -> None:
    config, settings = ada_config(tmp_path), HomeAssistantConfig(port=mosquitto)

    async def story() -> None:
        heard: dict[str, tuple[bytes, bool]] = {}
        listening = asyncio.create_task(heard_at(mosquitto, heard))
        link = HomeAssistantLink(config, settings, lambda: status(device(power_w=1)), Counters())
        task = asyncio.create_task(link.run())
        await eventually(lambda: heard.get("energy-grid/ada/availability", (b"", False))[0] == b"online")
        # Another client takes the identifier over: the broker drops the first one, which is no planned end.
        async with HomeAssistantLink(config, settings, status, Counters())._client():
            await eventually(lambda: heard["energy-grid/ada/availability"][0] == b"offline")
        task.cancel()
        listening.cancel()
        await asyncio.gather(task, listening, return_exceptions=True)

    run(story())
