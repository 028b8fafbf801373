"""The operator's configuration: a TOML file, then environment ``GRID_SECTION__KEY``, then flags. All errors at once.

Secrets are files of their own, named here: the operator's key (64 hex digits, mode 0600), tokens, passwords.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, get_type_hints
from urllib.parse import urlsplit

from contracts.codes import AuctionRule
from contracts.eip712 import Domain
from contracts.header_rules import DEFAULT_GRACE_INTERVALS
from contracts.interval import DEFAULT_CALENDAR, STREET_CALENDAR
from contracts.signature import address_of
from contracts.topics import NAME_PATTERN
from coordinator.config import MICRO_CENT, MarketConfig

ENVIRONMENT_PREFIX = "GRID_"
CALENDARS = {"default": DEFAULT_CALENDAR, "street": STREET_CALENDAR}
SPOT_RULES = {"shared": AuctionRule.SPOT_SHARED, "auction": AuctionRule.SPOT_AUCTION}


class LocalConfigError(Exception):
    """The configuration is wrong; ``faults`` names everything."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("; ".join(faults))
        self.faults = faults


@dataclass(slots=True)
class MarketSection:
    """[market] prices in micro-currency per kWh."""

    feeder: str = "street"
    tariff_import: int = 32 * MICRO_CENT
    tariff_export: int = 8 * MICRO_CENT
    base_price: int = 20 * MICRO_CENT
    grace: int = DEFAULT_GRACE_INTERVALS
    calendar: str = "default"
    spot_rule: str = "shared"
    norm_demand_w: int = 0
    norm_supply_w: int = 0


@dataclass(slots=True)
class ChainSection:
    """[chain] ``rpc`` are nodes' URLs by commas, empty: no chain, headers stay built. ``fee_limit_wei`` 0: none."""

    rpc: str = ""
    deployment: str = "deployments/31337.json"
    finality_depth: int = 0
    fee_limit_wei: int = 0

    @property
    def urls(self) -> list[str]:
        """The nodes, in the order of preference."""
        return [url.strip() for url in self.rpc.split(",") if url.strip()]


@dataclass(slots=True)
class KeySection:
    """[key]"""

    file: str = "operator.key"


@dataclass(slots=True)
class BrokerSection:
    """[broker] ``url`` empty: the embedded one on ``host:port``."""

    url: str = ""
    host: str = "127.0.0.1"
    port: int = 1883
    username: str = ""
    password_file: str = ""
    certificate: str = ""
    certificate_key: str = ""
    certificate_authority: str = ""
    agent_limit: int = 1_000


@dataclass(slots=True)
class WebSection:
    """[web] ``token_file`` empty: the operator's routes refuse everybody."""

    host: str = "127.0.0.1"
    port: int = 8080
    token_file: str = ""
    open_reads: bool = True
    rate_per_s: int = 50
    burst: int = 200


@dataclass(slots=True)
class StoreSection:
    """[store]"""

    path: str = "coordinator.db"
    records: str = "records"


@dataclass(slots=True)
class ClockSection:
    """[clock] for tests and demonstrations only: virtual time from an epoch on, ``speed`` times as fast."""

    speed: int = 1
    epoch_wall_s: int = 0
    epoch_virtual_s: int = 0


@dataclass(slots=True)
class OperatorConfig:
    """The whole file."""

    market: MarketSection = field(default_factory=MarketSection)
    chain: ChainSection = field(default_factory=ChainSection)
    key: KeySection = field(default_factory=KeySection)
    broker: BrokerSection = field(default_factory=BrokerSection)
    web: WebSection = field(default_factory=WebSection)
    store: StoreSection = field(default_factory=StoreSection)
    clock: ClockSection = field(default_factory=ClockSection)

    def check(self) -> None:
        """What the types cannot say. Raises LocalConfigError."""
        faults = []
        if not NAME_PATTERN.fullmatch(self.market.feeder):
            faults.append("market.feeder: a name of [a-z0-9_-], at most 32 long")
        if self.market.calendar not in CALENDARS:
            faults.append(f"market.calendar: one of {', '.join(CALENDARS)}")
        if self.market.spot_rule not in SPOT_RULES:
            faults.append(f"market.spot_rule: one of {', '.join(SPOT_RULES)}")
        if not 0 <= self.market.tariff_export <= self.market.base_price <= self.market.tariff_import:
            faults.append("market: 0 <= tariff_export <= base_price <= tariff_import")
        if not 1 <= self.market.grace <= 96:
            faults.append("market.grace: 1 to 96 intervals")
        urls = self.chain.urls
        if not all(urlsplit(url).scheme in ("http", "https") for url in urls) or (self.chain.rpc and not urls):
            faults.append("chain.rpc: http:// or https:// URLs, by commas")
        if self.broker.url and urlsplit(self.broker.url).scheme not in ("mqtt", "mqtts"):
            faults.append("broker.url: an mqtt:// or mqtts:// URL")
        faults += [f"{name}: a port" for name, port in self._ports() if not 0 <= port < 65_536]
        for section, name in (("broker", "agent_limit"), ("web", "rate_per_s"), ("web", "burst"), ("clock", "speed")):
            if getattr(getattr(self, section), name) < 1:
                faults.append(f"{section}.{name}: at least 1")
        if min(self.chain.finality_depth, self.chain.fee_limit_wei) < 0:
            faults.append("chain: finality_depth and fee_limit_wei are not negative")
        if faults:
            raise LocalConfigError(faults)

    def _ports(self) -> list[tuple[str, int]]:
        return [("broker.port", self.broker.port), ("web.port", self.web.port)]

    def market_config(self, domain: Domain, operator_key: bytes) -> MarketConfig:
        """The core's rules of business."""
        m = self.market
        return MarketConfig(
            m.feeder, domain, address_of(operator_key), m.tariff_import, m.tariff_export, m.base_price, m.grace,
            CALENDARS[m.calendar], m.norm_demand_w, m.norm_supply_w, spot_rule=SPOT_RULES[m.spot_rule],
        )  # fmt: skip


def load_config(path: Path | None, environment: Mapping[str, str], flags: Mapping[str, Any]) -> OperatorConfig:
    """The configuration, checked. ``flags`` are ``section.key`` to values that are not None.

    Raises LocalConfigError with every fault.
    """
    faults: list[str] = []
    document = _document(path, faults)
    config = OperatorConfig()
    sections = {f.name for f in fields(OperatorConfig)}
    for name, entries in document.items():
        if name not in sections or not isinstance(entries, dict):
            faults.append(f"[{name}] is no section; there are {', '.join(sorted(sections))}")
            continue
        for key, value in entries.items():
            _set(config, name, key, value, faults)
    for variable, text in sorted(environment.items()):
        section, separator, key = variable.removeprefix(ENVIRONMENT_PREFIX).lower().partition("__")
        if variable.startswith(ENVIRONMENT_PREFIX) and separator:
            _set(config, section, key, text, faults, from_text=True)
    for name, value in flags.items():
        if value is not None:
            section, _, key = name.partition(".")
            _set(config, section, key, value, faults)
    try:
        config.check()
    except LocalConfigError as error:
        faults += error.faults
    if faults:
        raise LocalConfigError(faults)
    return config


def _document(path: Path | None, faults: list[str]) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        faults.append(f"{path}: {error}")
        return {}


def _set(
    config: OperatorConfig, section: str, key: str, value: Any, faults: list[str], from_text: bool = False
) -> None:
    place = getattr(config, section, None)
    kind = get_type_hints(type(place)).get(key) if place is not None else None
    if kind is None:
        faults.append(f"{section}.{key}: unknown")
        return
    if from_text and kind is int:
        value = int(value) if value.lstrip("-").isdigit() else value
    elif from_text and kind is bool:
        value = {"true": True, "false": False}.get(value.lower(), value)
    if type(value) is not kind:
        faults.append(f"{section}.{key}: expected {kind.__name__}, got {value!r}")
        return
    setattr(place, key, value)


def read_key(path: Path) -> bytes:
    """A private key of 64 hex digits from a file that only its owner reads. Raises LocalConfigError."""
    try:
        if os.name == "posix" and path.stat().st_mode & 0o077:
            raise LocalConfigError([f"{path}: others may read this key; chmod 600 it"])
        key = bytes.fromhex(path.read_text(encoding="utf-8").strip().removeprefix("0x"))
        address_of(key)
    except LocalConfigError:
        raise
    except (OSError, ValueError) as error:
        raise LocalConfigError([f"{path}: no usable key: {error}"]) from error
    return key


def read_token(path: str) -> str | None:
    """The bearer token in a file, None where none is named. Raises LocalConfigError."""
    if not path:
        return None
    try:
        token = Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise LocalConfigError([f"{path}: {error}"]) from error
    if len(token) < 16:
        raise LocalConfigError([f"{path}: a token has at least 16 characters"])
    return token


def write_key(path: Path, key: bytes) -> None:
    """A new key file, readable by its owner only. Raises FileExistsError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(key.hex() + "\n")
