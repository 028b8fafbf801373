"""[droop], [breaker], [battery] and [vehicle]: absent is off, what is wrong is said all at once, the rest is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edge_agent.config import ConfigError
from edge_agent.config_local import STANDARDS, BatteryConfig, BreakerConfig, VehicleConfig
from edge_agent.config_reader import parse_config

BASE: dict[str, Any] = {
    "home": {"account": 7, "feeder": "f1", "edge": "ada"},
    "chain": {"chain_id": 1, "settlement": "0x" + "11" * 20, "operator": "0x" + "22" * 20},
    "key": {"file": "key"},
    "store": {"path": "s.db"},
    "meter": [
        {"number": 0, "name": "main", "profile": "eastron_sdm630", "host": "h"},
        {"number": 3, "name": "store", "profile": "sunspec_battery", "host": "h", "port": 503, "role": "battery"},
        {"number": 6, "name": "p1", "link": "telegram", "telegram": "p1", "device": "/dev/ttyUSB0", "role": "inverter"},
    ],
}
BATTERY = {"meter": "store", "capacity_wh": 10_000, "max_charge_w": 5_000, "max_discharge_w": 4_000}
VEHICLE = {"meter": "store", "needs_wh": 8_000, "by_minute": 360, "max_charge_w": 11_000}


def errors_of(**tables: object) -> tuple[str, ...]:
    """What is wrong with these tables."""
    with pytest.raises(ConfigError) as refused:
        parse_config(BASE | tables, Path("/"))
    return refused.value.errors


def test_without_the_tables_everything_is_off() -> None:
    config = parse_config(BASE, Path("/"))
    assert (config.droop, config.breaker, config.battery, config.vehicle) == (None, None, None, None)


def test_defaults_are_the_standards_and_every_figure_may_be_set() -> None:
    config = parse_config(BASE | {"droop": {"devices": ["store"]}, "breaker": {}}, Path("/"))
    assert config.droop is not None and config.droop.devices == ("store",) and not config.droop.in_autonomous
    assert config.droop.high_mhz == STANDARDS["en50549"].high_mhz == 50_200 and config.breaker == BreakerConfig()
    droop = {"devices": ["store"], "standard": "ieee1547", "volt_watt": [[1050, 1000], [1090, 0]], "droop_permille": 40}
    config = parse_config(BASE | {"droop": droop}, Path("/"))
    assert config.droop is not None and config.droop.nominal_mhz == 60_000 and config.droop.droop_permille == 40
    assert config.droop.volt_watt == ((1050, 1000), (1090, 0))


def test_battery_and_vehicle_are_read() -> None:
    config = parse_config(BASE | {"battery": BATTERY, "vehicle": VEHICLE}, Path("/"))
    assert config.battery == BatteryConfig("store", 10_000, 5_000, 4_000)
    assert config.vehicle == VehicleConfig("store", 8_000, 360, 11_000)
    assert config.battery_of("store") == config.battery and config.battery_of("main") is None


@pytest.mark.parametrize(
    ("tables", "word"),
    [
        ({"droop": {}}, "devices"),
        ({"droop": {"devices": ["p1"]}}, "devices"),  # telegrams cannot be written to
        ({"droop": {"devices": [["store"]]}}, "devices"),
        ({"droop": {"devices": ["store", "store"]}}, "twice"),
        ({"droop": {"devices": ["store"], "functions": ["watt-ever"]}}, "functions"),
        ({"droop": {"devices": ["store"], "low_mhz": 50_000}}, "low_mhz"),
        ({"droop": {"devices": ["store"], "volt_var": [[1000, 0]]}}, "volt_var"),
        ({"droop": {"devices": ["store"], "volt_var": [[1000, 0], [990, 0]]}}, "volt_var"),
        ({"droop": {"devices": ["store"], "volt_watt": [[1000, 0], [1100, 5]]}}, "volt_watt"),
        ({"droop": {"devices": ["store"], "volt_watt": [[1000, True], [1100, 0]]}}, "volt_watt"),
        ({"droop": {"devices": ["store"], "deadband": 3}}, "deadband"),
        ({"droop": 5}, "droop"),
        ({"breaker": {"voltage_low_mv": 230_000, "voltage_high_mv": 231_000}}, "voltage band"),
        ({"breaker": {"frequency_low_mhz": 50_000, "frequency_high_mhz": 50_100}}, "frequency band"),
        ({"breaker": {"trip_s": 0}}, "trip_s"),
        ({"battery": {}}, "capacity_wh"),
        ({"battery": BATTERY | {"meter": "p1"}}, "meter"),
        ({"battery": BATTERY | {"hourly_import_price": [1]}}, "hourly_import_price"),
        ({"battery": BATTERY | {"efficiency_permille": 0}}, "efficiency_permille"),
        ({"vehicle": VEHICLE | {"by_minute": 1_440}}, "by_minute"),
        ({"vehicle": VEHICLE | {"at_once_wh": 9_000}}, "at_once_wh"),
    ],
)
def test_what_is_wrong_is_said(tables: dict[str, object], word: str) -> None:
    assert any(word in error for error in errors_of(**tables))


def test_all_that_is_wrong_is_said_at_once() -> None:
    said = errors_of(droop={"ramp": 1}, breaker={"trip": 1}, battery=BATTERY | {"meter": "x"}, vehicle={})
    assert {"[droop]", "[breaker]", "[battery]", "[vehicle]"} <= {error.split(" ")[0] for error in said}
