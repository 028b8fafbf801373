"""What an installer decides, as frozen dataclasses; `config_reader` fills them from TOML.

No secret stands here: key and broker password are files. Prices are micro-currency per kWh, powers W.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from contracts.codes import AuctionRule
from contracts.eip712 import Domain
from contracts.header_rules import DEFAULT_GRACE_INTERVALS, Terms
from contracts.interval import DEFAULT_CALENDAR, STREET_CALENDAR, MarketCalendar
from edge_agent.config_local import BatteryConfig, BreakerConfig, DroopConfig, VehicleConfig
from edge_agent.config_site import HomeAssistantConfig, KeyConfig, StatusConfig
from edge_agent.config_update import NodeConfig, UpdateConfig
from firmware_bridge.mbus import PARTS_LIMIT

CALENDARS = {"default": DEFAULT_CALENDAR, "street": STREET_CALENDAR}
SPOT_RULES = {"shared": AuctionRule.SPOT_SHARED, "auction": AuctionRule.SPOT_AUCTION}
ROLES = ("settlement", "inverter", "battery")
LINKS = ("tcp", "rtu-over-tcp", "rtu", "telegram", "mqtt")
STREAM_TELEGRAMS = ("p1", "sml", "iec62056", "mbus", "node")
MESSAGE_TELEGRAMS = ("tasmota", "shelly", "json")
CENTRAL_EUROPE_S = 3_600


class ConfigError(Exception):
    """A configuration that is refused, with everything that is wrong with it."""

    def __init__(self, errors: tuple[str, ...]) -> None:
        super().__init__("; ".join(errors))
        self.errors = errors


@dataclass(frozen=True, slots=True)
class HomeConfig:
    """Who we are: account number, and our name on our feeder's topics."""

    account: int
    feeder: str
    edge: str


@dataclass(frozen=True, slots=True)
class ChainConfig:
    """Where signatures count, whose commands and acknowledgements do, and what was fixed at the deployment.

    Addresses are 20 bytes. ``spot_rule`` is how deviations are traded after delivery, by its name.
    """

    chain_id: int
    settlement: bytes
    operator: bytes
    grace: int = DEFAULT_GRACE_INTERVALS
    spot_rule: str = "shared"

    @property
    def domain(self) -> Domain:
        """The EIP-712 domain of all our messages."""
        return Domain(self.chain_id, self.settlement)


@dataclass(frozen=True, slots=True)
class BrokerConfig:
    """The MQTT broker; the password stands in a file of its own."""

    host: str = "127.0.0.1"
    port: int = 1883
    username: str | None = None
    password_file: Path | None = None


@dataclass(frozen=True, slots=True)
class ClockConfig:
    """``speed`` other than 1 is for accelerated tests: virtual seconds per second, anchored at two instants.

    ``trusted`` says that the system clock is right although the system cannot tell (containers).
    """

    speed: float = 1.0
    epoch_wall_s: float = 0.0
    epoch_virtual_s: float = 0.0
    trusted: bool = False


@dataclass(frozen=True, slots=True)
class MeterConfig:
    """One device. ``number`` is its name in signed messages; number 0 is the one that counts for money.

    ``profile`` belongs to Modbus links, ``telegram`` to the others (``topic`` and ``paths`` to MQTT); ``unit`` is the
    Modbus unit or the primary address on an M-Bus line, where ``secondary_address`` goes before it and at most
    ``telegrams`` are one answer. ``time_zone_s`` is
    what the winter clock of a P1 meter is ahead of UTC. ``device`` is the serial line where there is no host; None in
    ``baud``, ``parity`` and ``stop_bits`` takes the profile's or the telegram standard's. ``one_way``: it has no export
    register, because nothing flows out.
    """

    number: int
    name: str
    profile: str
    host: str
    port: int = 502
    unit: int = 1
    poll_s: int = 1
    role: str = "settlement"
    link: str = "tcp"
    device: str = ""
    baud: int | None = None
    parity: str | None = None
    stop_bits: int | None = None
    telegram: str = ""
    topic: str = ""
    paths: tuple[tuple[str, str], ...] = ()
    node: NodeConfig | None = None
    one_way: bool = False
    time_zone_s: int = CENTRAL_EUROPE_S
    secondary_address: str = ""
    telegrams: int = PARTS_LIMIT

    @property
    def is_modbus(self) -> bool:
        """Whether it is asked for registers; else it sends telegrams by itself."""
        return self.link in ("tcp", "rtu-over-tcp", "rtu")

    @property
    def is_mbus(self) -> bool:
        """Whether it hangs on an M-Bus line, which it may share with others of its kind."""
        return self.link == "telegram" and self.telegram == "mbus"

    @property
    def line(self) -> tuple[str, int]:
        """What it hangs on: devices on the same line are asked one after another."""
        return (self.device, 0) if self.device else (self.host, self.port)


@dataclass(frozen=True, slots=True)
class BiddingConfig:
    """What we pay at most and ask at least, and the supplier's tariff, which bounds both."""

    auto_trade: bool = True
    max_buy_price: int = 300_000
    min_sell_price: int = 80_000
    tariff_import: int = 300_000
    tariff_export: int = 80_000
    calendar: str = "default"

    @property
    def market(self) -> MarketCalendar:
        """The calendar by its name."""
        return CALENDARS[self.calendar]


@dataclass(frozen=True, slots=True)
class LimitsConfig:
    """What no command may exceed, whoever signed it. ``ramp_w_per_s`` None: as fast as each device stands."""

    max_import_w: int = 11_000
    max_export_w: int = 11_000
    writes_per_day: int = 20
    ramp_w_per_s: int | None = None


@dataclass(frozen=True, slots=True)
class TelemetryConfig:
    """Seconds of readings under one signature."""

    batch_s: int = 60


@dataclass(frozen=True, slots=True)
class ProxyConfig:
    """The read-only Modbus TCP server for other readers; its address is this machine's alone unless told otherwise."""

    enabled: bool = False
    host: str = "127.0.0.1"
    port: int = 1502


@dataclass(frozen=True, slots=True)
class AgentConfig:
    """Everything an agent needs but its key's bytes."""

    home: HomeConfig
    chain: ChainConfig
    meters: tuple[MeterConfig, ...]
    store: Path
    key_file: Path | None = None
    broker: BrokerConfig = field(default_factory=BrokerConfig)
    clock: ClockConfig = field(default_factory=ClockConfig)
    bidding: BiddingConfig = field(default_factory=BiddingConfig)
    limits: LimitsConfig = field(default_factory=LimitsConfig)
    telemetry: TelemetryConfig = field(default_factory=TelemetryConfig)
    proxy: ProxyConfig = field(default_factory=ProxyConfig)
    droop: DroopConfig | None = None
    breaker: BreakerConfig | None = None
    battery: BatteryConfig | None = None
    vehicle: VehicleConfig | None = None
    key: KeyConfig = field(default_factory=KeyConfig)
    status: StatusConfig = field(default_factory=StatusConfig)
    home_assistant: HomeAssistantConfig | None = None
    update: UpdateConfig | None = None

    def battery_of(self, name: str) -> BatteryConfig | None:
        """What the owner has set for the device with that name; None where it is not the home's battery."""
        return self.battery if self.battery is not None and self.battery.meter == name else None

    @property
    def terms(self) -> Terms:
        """What the market's deployment has fixed for good."""
        return Terms(self.chain.grace, self.bidding.market.gate_leads, SPOT_RULES[self.chain.spot_rule])

    @property
    def lease_file(self) -> Path:
        """Where leases are written besides the database: next to the key, or to the database without one."""
        beside = self.store if self.key_file is None else self.key_file
        return beside.with_name(beside.name + ".lease")


def agent_config_from_toml(path: Path | str) -> AgentConfig:
    """The configuration in the file. Raises ConfigError with every fault found."""
    from edge_agent.config_reader import read_config

    return read_config(Path(path))
