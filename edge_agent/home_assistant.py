"""What Home Assistant is told over MQTT: each measurement as a sensor it finds by itself, and the values.

    <prefix>/<component>/<device>/<object>/config   retained, once a measurement appears, again when it says `online`
    <base>/<edge>/availability                      retained `online`; the last will says `offline`
    <base>/<edge>/<meter>/availability              retained: `offline` while that meter is silent
    <base>/<edge>/<meter>/state, <base>/<edge>/state  JSON in the units of the sensors, every few seconds

Sources: Home Assistant, "MQTT" (discovery topic and payload, birth and last will), "MQTT sensor" (options), "Sensor"
(device classes with their units and state classes). Energy is `total_increasing` in kWh and never steps back: it
comes from the guarded registers, and counters nobody guards (single phases) are not told.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from device_profiles.measurement import MEASUREMENTS
from edge_agent.announcement import VERSION
from edge_agent.config import AgentConfig
from edge_agent.config_site import HomeAssistantConfig
from edge_agent.effects import Publish
from edge_agent.status import REGISTERS, AgentStatus, DeviceStatus

ONLINE, OFFLINE = b"online", b"offline"
SILENT_MS = 120_000
"""A meter that gave nothing for two minutes is not available: many polls, and short enough to be noticed."""
_RATED = frozenset(("max_power_w", "rated_power_w", "capacity_wh"))
_DIAGNOSTIC = _RATED | {"status", "connection_bits", "alarm_bits", "soh_permille", "temperature_mc"}


@dataclass(frozen=True, slots=True)
class Quantity:
    """How a unit of ours is shown: class and unit of Home Assistant's, decimal places moved to the left."""

    device_class: str | None
    unit: str | None
    places: int = 0
    state_class: str | None = "measurement"


BY_UNIT: Mapping[str, Quantity] = {
    "w": Quantity("power", "W"),
    "var": Quantity("reactive_power", "var"),
    "va": Quantity("apparent_power", "VA"),
    "mv": Quantity("voltage", "V", 3),
    "ma": Quantity("current", "A", 3),
    "mhz": Quantity("frequency", "Hz", 3),
    "mc": Quantity("temperature", "°C", 3),
    "wh": Quantity("energy_storage", "kWh", 3),
    "count": Quantity(None, None, 0, None),
}
BY_NAME: Mapping[str, Quantity] = {
    "import_wh": Quantity("energy", "kWh", 3, "total_increasing"),
    "export_wh": Quantity("energy", "kWh", 3, "total_increasing"),
    "power_factor_permille": Quantity("power_factor", "%", 1),
    "soc_permille": Quantity("battery", "%", 1),
    "soh_permille": Quantity(None, "%", 1),
}
_PHRASES = {"import": "energy imported", "export": "energy exported", "soc": "state of charge", "soh": "health"}


def quantity_of(name: str) -> Quantity | None:
    """How a measurement is shown; None for one that is not: unknown, or a counter that nobody guards."""
    found = MEASUREMENTS.get(name)
    if found is None or (found.counter and name not in REGISTERS):
        return None
    return BY_NAME.get(name) or BY_UNIT.get(found.unit)


class Discovery:
    """Turns the agent's status into messages for the home's broker; remembers what was announced."""

    def __init__(self, config: AgentConfig, settings: HomeAssistantConfig) -> None:
        home = config.home
        self._settings = settings
        self._config = config
        self._root = f"{settings.base_topic}/{home.edge}"
        self._identity = f"energy_grid_{home.feeder}_{home.edge}"
        self._announced: dict[str, bytes] = {}
        self._available: dict[int, bool] = {}

    @property
    def birth_topic(self) -> str:
        """Where Home Assistant says that it has started."""
        return f"{self._settings.discovery_prefix}/status"

    @property
    def availability_topic(self) -> str:
        """Where the agent is said to be there; its last will goes here too."""
        return f"{self._root}/availability"

    def forget(self) -> None:
        """A new connection, or Home Assistant began again: everything is announced anew."""
        self._announced.clear()
        self._available.clear()

    def on_message(self, topic: str, payload: bytes) -> bool:
        """Whether this was Home Assistant's birth; then everything is announced anew."""
        if topic != self.birth_topic or payload != ONLINE:
            return False
        self.forget()
        return True

    def on_status(self, status: AgentStatus) -> list[Publish]:
        """What is to be said now: what was not announced yet, who became available or not, and the values."""
        configs = self._agent_configs()
        for device in status.devices:
            for name in sorted(device.values):
                configs.update(self._sensor(device, name))
        said = [Publish(where, text, True) for where, text in configs.items() if self._announced.get(where) != text]
        self._announced.update(configs)
        if said:
            said.append(Publish(self.availability_topic, ONLINE, True))
        for device in status.devices:
            said += self._device_state(device, status.now_ms)
        agent = {"link": "ON" if status.link else "OFF", "waiting": status.waiting_frames}
        said.append(Publish(f"{self._root}/state", json.dumps(agent | {"clock": status.clock.name.lower()}).encode()))
        return said

    def _device_state(self, device: DeviceStatus, now_ms: int) -> list[Publish]:
        fresh = device.taken_at_ms is not None and abs(now_ms - device.taken_at_ms) < SILENT_MS
        said = []
        if self._available.get(device.number) != fresh:
            self._available[device.number] = fresh
            said.append(Publish(f"{self._root}/{device.name}/availability", ONLINE if fresh else OFFLINE, True))
        if fresh:
            said.append(Publish(f"{self._root}/{device.name}/state", _state_json(device.values)))
        return said

    def _sensor(self, device: DeviceStatus, name: str) -> dict[str, bytes]:
        quantity = quantity_of(name)
        if quantity is None:
            return {}
        thing = {
            "identifiers": [f"{self._identity}_{device.number}"],
            "name": device.name,
            "model": device.kind,
            "manufacturer": "energy-grid",
            "via_device": self._identity,
        }
        options: dict[str, object] = {
            "name": _label(name),
            "state_topic": f"{self._root}/{device.name}/state",
            "value_template": f"{{{{ value_json.{name} | default(none) }}}}",
            "availability": [
                {"topic": self.availability_topic},
                {"topic": f"{self._root}/{device.name}/availability"},
            ],
            "availability_mode": "all",
            "device_class": quantity.device_class,
            "state_class": quantity.state_class,
            "unit_of_measurement": quantity.unit,
        }
        if name in _DIAGNOSTIC:
            options["entity_category"] = "diagnostic"
        if name in _RATED:
            options["enabled_by_default"] = False
        return self._config_message("sensor", f"{self._identity}_{device.number}", name, options, thing)

    def _agent_configs(self) -> dict[str, bytes]:
        thing = {
            "identifiers": [self._identity],
            "name": f"energy-grid {self._config.home.edge}",
            "model": "edge-agent",
            "manufacturer": "energy-grid",
            "sw_version": VERSION,
        }
        shared: dict[str, object] = {
            "state_topic": f"{self._root}/state",
            "availability_topic": self.availability_topic,
            "entity_category": "diagnostic",
        }
        link = {"name": "operator link", "device_class": "connectivity", "value_template": "{{ value_json.link }}"}
        waiting = {
            "name": "unacknowledged messages",
            "state_class": "measurement",
            "value_template": "{{ value_json.waiting }}",
        }
        clock = {
            "name": "clock",
            "device_class": "enum",
            "options": ["unknown", "informative", "synchronised", "relative"],
            "value_template": "{{ value_json.clock }}",
        }
        found = self._config_message("binary_sensor", self._identity, "link", shared | link, thing)
        found |= self._config_message("sensor", self._identity, "waiting", shared | waiting, thing)
        return found | self._config_message("sensor", self._identity, "clock", shared | clock, thing)

    def _config_message(
        self, component: str, node: str, name: str, options: Mapping[str, object], thing: Mapping[str, object]
    ) -> dict[str, bytes]:
        document = {key: value for key, value in options.items() if value is not None}
        document |= {
            "unique_id": f"{node}_{name}",
            "device": thing,
            "origin": {"name": "energy-grid edge-agent", "sw_version": VERSION},
        }
        where = f"{self._settings.discovery_prefix}/{component}/{node}/{name}/config"
        return {where: json.dumps(document, ensure_ascii=False).encode()}


def _state_json(values: Mapping[str, int]) -> bytes:
    """Exact decimals from integers; what is absent stays absent."""
    parts = []
    for name, value in sorted(values.items()):
        quantity = quantity_of(name)
        if quantity is not None:
            parts.append(f'"{name}": {decimal_text(value, quantity.places)}')
    return ("{" + ", ".join(parts) + "}").encode()


def decimal_text(value: int, places: int) -> str:
    """The integer with its point moved ``places`` to the left."""
    if not places:
        return str(value)
    whole, part = divmod(abs(value), 10**places)
    return f"{'-' if value < 0 else ''}{whole}.{part:0{places}d}"


def _label(name: str) -> str:
    words = name.rsplit("_", 1)[0].split("_")
    text = " ".join(_PHRASES.get(word, word.upper() if word in ("l1", "l2", "l3", "dc") else word) for word in words)
    return text if name.rsplit("_", 1)[-1] != "var" else f"{text} power"
