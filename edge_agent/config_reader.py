"""Reads the agent's TOML file; unknown keys and illegal values are refused, all at once.

Relative paths are relative to the file. Nothing is guessed: a key that is not known is an error, because a misspelt
limit must not be silently without effect.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from contracts.messages import ACCOUNT_LIMIT
from contracts.topics import METER_LIMIT
from contracts.units import PRICE_LIMIT_MICRO_PER_KWH, PRICE_TICK_MICRO_PER_KWH
from edge_agent.config import (
    CALENDARS,
    LINKS,
    MESSAGE_TELEGRAMS,
    ROLES,
    SPOT_RULES,
    STREAM_TELEGRAMS,
    AgentConfig,
    BiddingConfig,
    BrokerConfig,
    ChainConfig,
    ClockConfig,
    ConfigError,
    HomeConfig,
    LimitsConfig,
    MeterConfig,
    ProxyConfig,
    TelemetryConfig,
)
from edge_agent.config_local_reader import read_battery, read_breaker, read_droop, read_vehicle
from edge_agent.config_section import Section
from edge_agent.config_site_reader import read_home_assistant, read_key_config, read_key_file, read_status
from edge_agent.config_telegram_reader import (
    lines_taken,
    read_primary_address,
    read_secondary_address,
    read_telegrams,
    read_time_zone_s,
    refuse_shared_broadcast,
)
from edge_agent.config_update_reader import read_node, read_update

RAMP_LEAST_W = 200
"""A slower ramp would not bring a home's 11 kW to where a limit or an open breaker wants them within a minute."""
_POWER_LIMIT_W = 2_000_000
# A file beyond this is not a configuration; 64 devices are more than any home's bus.
_FILE_LIMIT_BYTES = 64 * 1024
_METERS_LIMIT = 64
_TABLES = frozenset(("home", "chain", "key", "broker", "store", "clock", "meter", "bidding", "limits", "telemetry"))
_TABLES |= {"proxy", "droop", "breaker", "battery", "vehicle", "status", "home_assistant", "update"}


def read_config(path: Path) -> AgentConfig:
    """The configuration in the file. Raises ConfigError with every fault found."""
    try:
        if path.stat().st_size > _FILE_LIMIT_BYTES:
            raise ConfigError((f"{path}: longer than {_FILE_LIMIT_BYTES} bytes",))
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError((f"{path}: cannot be read: {error}",)) from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError((f"{path}: not TOML: {error}",)) from error
    return parse_config(document, path.parent)


def parse_config(document: dict[str, Any], folder: Path) -> AgentConfig:
    """The configuration in ``document``; relative paths are relative to ``folder``. Raises ConfigError."""
    errors = [f"unknown table [{name}]" for name in document if name not in _TABLES]
    key = Section(document.get("key", {}), "key", errors)
    store = Section(document.get("store", {}), "store", errors)
    meters = _meters(document.get("meter", []), errors, folder)
    names = frozenset(meter.name for meter in meters if meter.is_modbus)
    config = AgentConfig(
        home=_home(Section(document.get("home", {}), "home", errors)),
        chain=_chain(Section(document.get("chain", {}), "chain", errors)),
        meters=meters,
        store=folder / store.text("path"),
        key_file=read_key_file(key, folder),
        key=read_key_config(key, folder),
        broker=_broker(Section(document.get("broker", {}), "broker", errors), folder),
        clock=_clock(Section(document.get("clock", {}), "clock", errors)),
        bidding=_bidding(Section(document.get("bidding", {}), "bidding", errors)),
        limits=_limits(Section(document.get("limits", {}), "limits", errors)),
        telemetry=_telemetry(Section(document.get("telemetry", {}), "telemetry", errors)),
        proxy=_proxy(Section(document["proxy"], "proxy", errors)) if "proxy" in document else ProxyConfig(),
        droop=read_droop(Section(document["droop"], "droop", errors), names) if "droop" in document else None,
        breaker=read_breaker(Section(document["breaker"], "breaker", errors)) if "breaker" in document else None,
        battery=read_battery(Section(document["battery"], "battery", errors), names) if "battery" in document else None,
        vehicle=read_vehicle(Section(document["vehicle"], "vehicle", errors), names) if "vehicle" in document else None,
        status=read_status(Section(document.get("status", {}), "status", errors)),
        home_assistant=(
            read_home_assistant(Section(document["home_assistant"], "home_assistant", errors), folder)
            if "home_assistant" in document
            else None
        ),
        update=read_update(Section(document["update"], "update", errors), folder) if "update" in document else None,
    )
    key.done()
    store.done()
    if errors:
        raise ConfigError(tuple(errors))
    return config


def _home(table: Section) -> HomeConfig:
    home = HomeConfig(table.integer("account", 1, ACCOUNT_LIMIT - 1), table.name("feeder"), table.name("edge"))
    table.done()
    return home


def _chain(table: Section) -> ChainConfig:
    chain = ChainConfig(
        table.integer("chain_id", 0, 2**53),
        table.address("settlement"),
        table.address("operator"),
        table.integer("grace", 1, 96, 4),
        table.text("spot_rule", "shared", tuple(SPOT_RULES)),
    )
    table.done()
    return chain


def _broker(table: Section, folder: Path) -> BrokerConfig:
    username = table.text("username", "") or None
    password_file = table.text("password_file", "")
    broker = BrokerConfig(
        table.text("host", "127.0.0.1"),
        table.integer("port", 1, 65_535, 1883),
        username,
        folder / password_file if password_file else None,
    )
    table.done()
    return broker


def _clock(table: Section) -> ClockConfig:
    clock = ClockConfig(
        table.number("speed", 1.0, low=0.001),
        table.number("epoch_wall_s", 0.0),
        table.number("epoch_virtual_s", 0.0),
        table.flag("trusted", False),
    )
    table.done()
    return clock


def _meters(rows: object, errors: list[str], folder: Path) -> tuple[MeterConfig, ...]:
    if not isinstance(rows, list) or not 1 <= len(rows) <= _METERS_LIMIT:
        errors.append(f"[[meter]] must be there 1 to {_METERS_LIMIT} times")
        return ()
    meters = tuple(_meter(Section(row, f"meter {place + 1}", errors), folder) for place, row in enumerate(rows))
    for what, values in (
        ("number", [m.number for m in meters]),
        ("name", [m.name for m in meters]),
        ("line and unit", [(*m.line, m.unit) for m in meters if m.is_modbus]),
        ("line", lines_taken(meters)),
        ("M-Bus address", [(*m.line, m.unit, m.secondary_address) for m in meters if m.is_mbus]),
        ("topic", [(*m.line, m.topic, m.paths) for m in meters if m.link == "mqtt"]),
    ):
        if len(set(values)) != len(values):
            errors.append(f"[[meter]] two of them have the same {what}")
    lines = {m.line: (m.link, m.baud, m.parity, m.stop_bits) for m in meters}
    if any(lines[m.line] != (m.link, m.baud, m.parity, m.stop_bits) for m in meters):
        errors.append("[[meter]] one line cannot have two links, bauds, parities or stop bits")
    refuse_shared_broadcast(meters, errors)
    return meters


def _meter(table: Section, folder: Path) -> MeterConfig:
    link = table.text("link", "tcp", LINKS)
    is_modbus, is_mqtt = link in ("tcp", "rtu-over-tcp", "rtu"), link == "mqtt"
    on_serial_line = link == "rtu" or (link == "telegram" and "device" in table.values)
    meter = MeterConfig(
        table.integer("number", 0, METER_LIMIT - 1),
        table.name("name"),
        table.text("profile") if is_modbus else "",
        "" if on_serial_line else table.text("host", "127.0.0.1" if is_mqtt else None),
        0 if on_serial_line else table.integer("port", 1, 65_535, 1883 if is_mqtt else 502),
        table.integer("unit", 1, 255 if link == "tcp" else 247, 1) if is_modbus else read_primary_address(table, link),
        table.integer("poll_s", 1, 900, 1),
        table.text("role", "settlement", ROLES),
        link,
        table.text("device") if on_serial_line else "",
        table.optional_integer("baud", 300, 921_600) if on_serial_line else None,
        (table.text("parity", "", ("N", "E", "O")) or None) if on_serial_line else None,
        table.optional_integer("stop_bits", 1, 2) if on_serial_line else None,
        "" if is_modbus else table.text("telegram", None, MESSAGE_TELEGRAMS if is_mqtt else STREAM_TELEGRAMS),
        table.text("topic") if is_mqtt else "",
        _paths(table) if is_mqtt and table.values.get("telegram") == "json" else (),
        read_node(table, folder) if link == "telegram" and table.values.get("telegram") == "node" else None,
        table.flag("one_way", False),
        read_time_zone_s(table, link),
        read_secondary_address(table, link),
        read_telegrams(table, link),
    )
    table.done()
    return meter


def _paths(table: Section) -> tuple[tuple[str, str], ...]:
    """Measurement and JSON path; what a path may say is the decoder's to judge."""
    from firmware_bridge.json_path import JsonPathDecoder, LocalPathError

    table.seen.add("paths")
    rows = table.values.get("paths")
    if not isinstance(rows, dict) or not rows or not all(isinstance(path, str) for path in rows.values()):
        table.refuse("paths must be a table of measurements and JSON paths")
        return ()
    try:
        JsonPathDecoder(rows)
    except LocalPathError as error:
        table.refuse(f"paths: {error}")
    return tuple(sorted(rows.items()))


def _bidding(table: Section) -> BiddingConfig:
    limit, tick = PRICE_LIMIT_MICRO_PER_KWH, PRICE_TICK_MICRO_PER_KWH
    base = BiddingConfig()
    bidding = BiddingConfig(
        table.flag("auto_trade", base.auto_trade),
        table.integer("max_buy_price", -limit, limit, base.max_buy_price, tick),
        table.integer("min_sell_price", -limit, limit, base.min_sell_price, tick),
        table.integer("tariff_import", -limit, limit, base.tariff_import),
        table.integer("tariff_export", -limit, limit, base.tariff_export),
        table.text("calendar", base.calendar, tuple(CALENDARS)),
    )
    if bidding.tariff_export > bidding.tariff_import:
        table.refuse("tariff_export is above tariff_import")
    table.done()
    return bidding


def _limits(table: Section) -> LimitsConfig:
    base = LimitsConfig()
    limits = LimitsConfig(
        table.integer("max_import_w", 0, _POWER_LIMIT_W, base.max_import_w),
        table.integer("max_export_w", 0, _POWER_LIMIT_W, base.max_export_w),
        table.integer("writes_per_day", 0, 100_000, base.writes_per_day),
        table.optional_integer("ramp_w_per_s", RAMP_LEAST_W, _POWER_LIMIT_W),
    )
    table.done()
    return limits


def _telemetry(table: Section) -> TelemetryConfig:
    telemetry = TelemetryConfig(table.integer("batch_s", 1, 900, 60))
    table.done()
    return telemetry


def _proxy(table: Section) -> ProxyConfig:
    base = ProxyConfig()
    proxy = ProxyConfig(
        table.flag("enabled", True), table.text("host", base.host), table.integer("port", 1, 65_535, base.port)
    )
    table.done()
    return proxy
