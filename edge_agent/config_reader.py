"""Reads the agent's TOML file; unknown keys and illegal values are refused, all at once.

Relative paths are relative to the file. Nothing is guessed: a key that is not known is an error, because a misspelt
limit must not be silently without effect.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from contracts.messages import ACCOUNT_LIMIT
from contracts.topics import METER_LIMIT, NAME_PATTERN
from contracts.units import PRICE_LIMIT_MICRO_PER_KWH, PRICE_TICK_MICRO_PER_KWH
from edge_agent.config import (
    CALENDARS,
    LINKS,
    ROLES,
    SPOT_RULES,
    AgentConfig,
    BiddingConfig,
    BrokerConfig,
    ChainConfig,
    ClockConfig,
    ConfigError,
    HomeConfig,
    LimitsConfig,
    MeterConfig,
    TelemetryConfig,
)

_POWER_LIMIT_W = 2_000_000
# A file beyond this is not a configuration; 64 devices are more than any home's bus.
_FILE_LIMIT_BYTES = 64 * 1024
_METERS_LIMIT = 64
_TABLES = frozenset(("home", "chain", "key", "broker", "store", "clock", "meter", "bidding", "limits", "telemetry"))


class _Section:
    """One table of the file: hands out checked values, remembers what was asked for, notes what is wrong."""

    def __init__(self, values: object, where: str, errors: list[str]) -> None:
        self.values: dict[str, Any] = values if isinstance(values, dict) else {}
        self.where = where
        self.errors = errors
        self.seen: set[str] = set()
        if not isinstance(values, dict):
            self.refuse("must be a table")

    def refuse(self, text: str) -> None:
        self.errors.append(f"[{self.where}] {text}")

    def _raw(self, key: str, required: bool) -> Any:
        self.seen.add(key)
        value = self.values.get(key)
        if value is None and required:
            self.refuse(f"{key} is missing")
        return value

    def integer(self, key: str, low: int, high: int, default: int | None = None, step: int = 1) -> int:
        value = self._raw(key, default is None)
        if value is None:
            return low if default is None else default
        if type(value) is not int or not low <= value <= high or value % step:
            multiple = f", a multiple of {step}" if step > 1 else ""
            self.refuse(f"{key} is {value!r}, allowed are integers from {low} to {high}{multiple}")
            return low
        return value

    def number(self, key: str, default: float, low: float = 0.0) -> float:
        value = self._raw(key, False)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value < 1e12:
            self.refuse(f"{key} is {value!r}, allowed are numbers from {low:g}")
            return default
        return float(value)

    def flag(self, key: str, default: bool) -> bool:
        value = self._raw(key, False)
        if value is None:
            return default
        if not isinstance(value, bool):
            self.refuse(f"{key} is {value!r}, allowed are true and false")
            return default
        return value

    def text(self, key: str, default: str | None = None, among: tuple[str, ...] = ()) -> str:
        value = self._raw(key, default is None)
        if value is None:
            return default or ""
        if not isinstance(value, str) or not value or (among and value not in among):
            allowed = f"one of {', '.join(among)}" if among else "a text"
            self.refuse(f"{key} is {value!r}, allowed is {allowed}")
            return default or ""
        return value

    def name(self, key: str) -> str:
        value = self.text(key)
        if value and not NAME_PATTERN.fullmatch(value):
            self.refuse(f"{key} is {value!r}, allowed are a-z, 0-9, - and _, at most 32")
        return value

    def address(self, key: str) -> bytes:
        value = self.text(key)
        try:
            address = bytes.fromhex(value.removeprefix("0x"))
        except ValueError:
            address = b""
        if value and (len(address) != 20 or not value.startswith("0x")):
            self.refuse(f"{key} is {value!r}, allowed is 0x and 40 hexadecimal digits")
        return address if len(address) == 20 else bytes(20)

    def done(self) -> None:
        for key in self.values:
            if key not in self.seen:
                self.refuse(f"unknown key {key!r}")


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
    key = _Section(document.get("key", {}), "key", errors)
    store = _Section(document.get("store", {}), "store", errors)
    config = AgentConfig(
        home=_home(_Section(document.get("home", {}), "home", errors)),
        chain=_chain(_Section(document.get("chain", {}), "chain", errors)),
        meters=_meters(document.get("meter", []), errors),
        store=folder / store.text("path"),
        key_file=folder / key.text("file"),
        broker=_broker(_Section(document.get("broker", {}), "broker", errors), folder),
        clock=_clock(_Section(document.get("clock", {}), "clock", errors)),
        bidding=_bidding(_Section(document.get("bidding", {}), "bidding", errors)),
        limits=_limits(_Section(document.get("limits", {}), "limits", errors)),
        telemetry=_telemetry(_Section(document.get("telemetry", {}), "telemetry", errors)),
    )
    key.done()
    store.done()
    if errors:
        raise ConfigError(tuple(errors))
    return config


def _home(table: _Section) -> HomeConfig:
    home = HomeConfig(table.integer("account", 1, ACCOUNT_LIMIT - 1), table.name("feeder"), table.name("edge"))
    table.done()
    return home


def _chain(table: _Section) -> ChainConfig:
    chain = ChainConfig(
        table.integer("chain_id", 0, 2**53),
        table.address("settlement"),
        table.address("operator"),
        table.integer("grace", 1, 96, 4),
        table.text("spot_rule", "shared", tuple(SPOT_RULES)),
    )
    table.done()
    return chain


def _broker(table: _Section, folder: Path) -> BrokerConfig:
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


def _clock(table: _Section) -> ClockConfig:
    clock = ClockConfig(
        table.number("speed", 1.0, low=0.001),
        table.number("epoch_wall_s", 0.0),
        table.number("epoch_virtual_s", 0.0),
        table.flag("trusted", False),
    )
    table.done()
    return clock


def _meters(rows: object, errors: list[str]) -> tuple[MeterConfig, ...]:
    if not isinstance(rows, list) or not 1 <= len(rows) <= _METERS_LIMIT:
        errors.append(f"[[meter]] must be there 1 to {_METERS_LIMIT} times")
        return ()
    meters = []
    for place, row in enumerate(rows):
        table = _Section(row, f"meter {place + 1}", errors)
        meters.append(
            MeterConfig(
                table.integer("number", 0, METER_LIMIT - 1),
                table.name("name"),
                table.text("profile"),
                table.text("host"),
                table.integer("port", 1, 65_535, 502),
                table.integer("unit", 1, 247, 1),
                table.integer("poll_s", 1, 900, 1),
                table.text("role", "settlement", ROLES),
                table.text("link", "tcp", LINKS),
            )
        )
        table.done()
    for what, values in (
        ("number", [m.number for m in meters]),
        ("name", [m.name for m in meters]),
        ("host, port and unit", [(m.host, m.port, m.unit) for m in meters]),
    ):
        if len(set(values)) != len(values):
            errors.append(f"[[meter]] two of them have the same {what}")
    if len({(m.host, m.port, m.link) for m in meters}) != len({(m.host, m.port) for m in meters}):
        errors.append("[[meter]] one host and port cannot have two links")
    return tuple(meters)


def _bidding(table: _Section) -> BiddingConfig:
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


def _limits(table: _Section) -> LimitsConfig:
    base = LimitsConfig()
    limits = LimitsConfig(
        table.integer("max_import_w", 0, _POWER_LIMIT_W, base.max_import_w),
        table.integer("max_export_w", 0, _POWER_LIMIT_W, base.max_export_w),
        table.integer("writes_per_day", 0, 100_000, base.writes_per_day),
    )
    table.done()
    return limits


def _telemetry(table: _Section) -> TelemetryConfig:
    telemetry = TelemetryConfig(table.integer("batch_s", 1, 900, 60))
    table.done()
    return telemetry
