"""What is decided before the contracts are deployed, read from a TOML file: terms, and who holds which office.

    deployments/test.toml, street.toml, community.toml, or a file of your own  →  DeploymentProfile  →  deployment_plan

Money in whole units of the currency unless the name says otherwise, prices in micro-currency per kWh. A party is an
address, or the word ``deployer``, ``operator`` or ``guardian`` (the contract whose owners are the guardians).
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, get_type_hints

from contracts.interval import MarketCalendar, RoundSchedule
from contracts.units import PRICE_LIMIT_MICRO_PER_KWH
from coordinator.shell.operator_config import CALENDARS, SPOT_RULES

PACKAGED = Path(__file__).parent.parent / "deployments"
WORDS = ("deployer", "operator", "guardian")
ONE_ONLY = ("registrar",)
"""Offices that a contract gives to exactly one address."""
VOLUME_LIMIT_WH = 2**40 - 1
"""The most energy of one header that ``PostingBounds.sol`` keeps, a terawatt-hour."""


class LocalProfileError(Exception):
    """The profile is wrong; ``faults`` names everything."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("; ".join(faults))
        self.faults = faults


@dataclass(frozen=True, slots=True)
class Parties:
    """[parties] who opens accounts, mints, names the oracles' reporters, votes, guards, and reports."""

    registrar: tuple[str, ...]
    minter: tuple[str, ...]
    oracle_keeper: tuple[str, ...]
    members: tuple[str, ...]
    guardians: tuple[str, ...]
    reporters: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SettlementTerms:
    """[settlement] ``outflow_cap`` 0: none. ``mint_bond``: the bond is created out of nothing, for play money only."""

    finality_window_s: int
    grace_intervals: int
    calendar: str
    spot_rule: str
    release_after_s: int
    bond: int
    mint_bond: bool
    tariff_import: int
    tariff_export: int
    outflow_cap: int


@dataclass(frozen=True, slots=True)
class TokenTerms:
    """[token] ``mint_limit`` 0: none."""

    mint_limit: int
    mint_window_s: int


@dataclass(frozen=True, slots=True)
class TradingTerms:
    """[trading] ``shortfall_price``: the highest import tariff ever meant; what a kWh not delivered costs."""

    inclusion_delay_s: int
    escape_after_s: int
    capacity: int
    leak_s: int
    shortfall_price: int


@dataclass(frozen=True, slots=True)
class DemandTerms:
    """[demands]"""

    answer_window_s: int
    fee_nano: int
    cover_lag: int
    capacity: int
    leak_s: int


@dataclass(frozen=True, slots=True)
class GovernanceTerms:
    """[governance] ``votes`` and ``threshold`` in whole votes; the votes are shared equally among the members."""

    delay_s: int
    voting_delay_s: int
    voting_period_s: int
    votes: int
    threshold: int
    quorum_percent: int
    guardian_quorum: int


@dataclass(frozen=True, slots=True)
class GridTerms:
    """[grid]"""

    volume_limit_wh: int
    claim_period_s: int


@dataclass(frozen=True, slots=True)
class AssetTerms:
    """[assets]"""

    offer_period_s: int


@dataclass(frozen=True, slots=True)
class OracleTerms:
    """[price] micro-currency per kWh, [weather] watts, [grid_frequency] thousandths of hertz."""

    minimum: int
    maximum: int
    max_age_s: int
    stale_after_s: int
    max_deviation_permille: int
    deviation_slack: int
    width: int
    quorum: int
    wide_quorum: int


@dataclass(frozen=True, slots=True)
class DeploymentProfile:
    """The whole file. ``name`` is the packaged name or the path."""

    parties: Parties
    settlement: SettlementTerms
    token: TokenTerms
    trading: TradingTerms
    demands: DemandTerms
    governance: GovernanceTerms
    grid: GridTerms
    assets: AssetTerms
    price: OracleTerms
    weather: OracleTerms
    grid_frequency: OracleTerms
    name: str = field(default="", compare=False)

    @property
    def calendar(self) -> MarketCalendar:
        """The market's calendar, of which the contracts know the gates."""
        return CALENDARS[self.settlement.calendar]

    @property
    def quarter_hours(self) -> RoundSchedule:
        """How quarter-hours are auctioned: forced orders are orders for one."""
        return self.calendar.schedule(1)

    def to_json(self) -> dict[str, Any]:
        """For the deployments file."""
        document: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return document

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> DeploymentProfile:
        """The profile of that form. Raises LocalProfileError."""
        sections = {name: entries for name, entries in document.items() if name != "name"}
        return _profile(str(document.get("name", "")), sections, ())

    def with_terms(self, **sections: Mapping[str, Any]) -> DeploymentProfile:
        """The same with some keys of some sections changed."""
        changed: dict[str, Any] = {name: replace(getattr(self, name), **keys) for name, keys in sections.items()}
        return replace(self, **changed)


SECTIONS = tuple(entry.name for entry in fields(DeploymentProfile) if entry.name != "name")
OFFICES = tuple(entry.name for entry in fields(Parties))


def packaged_names() -> list[str]:
    """The profiles that come with the program."""
    return sorted(path.stem for path in PACKAGED.glob("*.toml"))


def load_profile(name: str, parties: Iterable[str] = ()) -> DeploymentProfile:
    """A packaged profile by name, or the file at that path; ``parties`` are ``office=address,address``.

    Raises LocalProfileError with every fault.
    """
    path = PACKAGED / f"{name}.toml" if name in packaged_names() else Path(name)
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        known = ", ".join(packaged_names())
        raise LocalProfileError([f"profile {name}: one of {known}, or a TOML file: {error}"]) from error
    return _profile(name, document, parties)


def _profile(name: str, document: dict[str, Any], parties: Iterable[str]) -> DeploymentProfile:
    faults = [f"[{section}] is no section" for section in document if section not in SECTIONS]
    for text in parties:
        office, equals, addresses = text.partition("=")
        if not equals or office not in OFFICES:
            faults.append(f"{text}: expected OFFICE=ADDRESS,… with one of {', '.join(OFFICES)}")
        else:
            document.setdefault("parties", {})[office] = [part.strip() for part in addresses.split(",")]
    kinds = get_type_hints(DeploymentProfile)
    parts = {section: _section(section, document.get(section), kinds[section], faults) for section in SECTIONS}
    if faults:
        raise LocalProfileError(faults)
    profile = DeploymentProfile(**parts, name=name)
    faults = _faults(profile)
    if faults:
        raise LocalProfileError(faults)
    return profile


def _section(name: str, entries: Any, kind: Any, faults: list[str]) -> Any:
    if not isinstance(entries, dict):
        faults.append(f"[{name}] is missing")
        return None
    wanted = get_type_hints(kind)
    faults += [f"{name}.{key}: unknown" for key in entries if key not in wanted]
    values = {}
    for key, type_ in wanted.items():
        value = entries.get(key)
        if name == "parties":
            listed = isinstance(value, list) and all(isinstance(entry, str) for entry in value)
            values[key] = tuple(value) if listed and isinstance(value, list) else None
            type_ = tuple
        else:
            values[key] = value
        if type(values[key]) is not type_:
            faults.append(f"{name}.{key}: expected {'a list of addresses' if type_ is tuple else type_.__name__}")
    return kind(**{key: values[key] for key in wanted})


def is_party(text: str) -> bool:
    """Whether ``text`` is an address or one of the words."""
    try:
        return text in WORDS or (text.startswith("0x") and len(bytes.fromhex(text[2:])) == 20)
    except ValueError:
        return False


def _faults(profile: DeploymentProfile) -> list[str]:
    """What the types cannot say."""
    faults = []
    for office in OFFICES:
        named = getattr(profile.parties, office)
        faults += [f"parties.{office}: {text!r} is no address" for text in named if not is_party(text)]
        if not named:
            faults.append(f"parties.{office}: nobody is named; say --party {office}=0x…")
        if len(set(named)) != len(named):
            faults.append(f"parties.{office}: somebody is named twice")
        if office in ONE_ONLY and len(named) > 1:
            faults.append(f"parties.{office}: only one can hold it")
    settlement = profile.settlement
    if settlement.calendar not in CALENDARS:
        faults.append(f"settlement.calendar: one of {', '.join(CALENDARS)}")
    elif profile.trading.inclusion_delay_s < profile.quarter_hours.every_s:
        faults.append(f"trading.inclusion_delay_s: at least the {profile.quarter_hours.every_s} s between two rounds")
    if settlement.spot_rule not in SPOT_RULES:
        faults.append(f"settlement.spot_rule: one of {', '.join(SPOT_RULES)}")
    if not 0 <= settlement.tariff_export <= settlement.tariff_import:
        faults.append("settlement: 0 <= tariff_export <= tariff_import")
    if not settlement.tariff_import <= profile.trading.shortfall_price <= PRICE_LIMIT_MICRO_PER_KWH:
        faults.append(f"trading.shortfall_price: settlement.tariff_import to {PRICE_LIMIT_MICRO_PER_KWH}")
    if settlement.finality_window_s <= 2 * profile.demands.answer_window_s:
        faults.append("demands.answer_window_s: less than half of settlement.finality_window_s")
    if not 1 <= profile.governance.guardian_quorum <= max(1, len(profile.parties.guardians)):
        faults.append("governance.guardian_quorum: at least one, at most as many as there are guardians")
    if not -PRICE_LIMIT_MICRO_PER_KWH <= profile.price.minimum <= profile.price.maximum <= PRICE_LIMIT_MICRO_PER_KWH:
        faults.append(f"price: minimum <= maximum, both at most {PRICE_LIMIT_MICRO_PER_KWH} away from zero")
    if not 0 <= profile.grid.volume_limit_wh <= VOLUME_LIMIT_WH:
        faults.append(f"grid.volume_limit_wh: 0 to {VOLUME_LIMIT_WH}")
    for name in ("price", "weather", "grid_frequency"):
        terms, reporters = getattr(profile, name), len(profile.parties.reporters)
        if reporters and not terms.quorum <= terms.wide_quorum <= reporters < 2 * terms.quorum:
            faults.append(f"{name}: quorum <= wide_quorum <= reporters, and a quorum is more than half of them")
    return faults
