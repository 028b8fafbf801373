"""Which contracts are deployed in which order, what is decided once they stand, and what must be true afterwards.

    profile, parties ──▶ creations (each by the deployer) ──▶ one batch by the timelock ──▶ facts

Nobody ever has to give power back: every contract is born with the timelock as its admin or governance. While the
timelock has no delay, the deployer may propose to it, and proposes one batch. Its last calls are the hand-over: the
governor proposes, anybody executes what was decided, the delay begins, and the deployer is struck out. A fact says that
nothing else was ever proposed before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from contracts.eip712 import keccak
from contracts.units import NANO_PER_UNIT
from coordinator.shell.deployment_profile import DeploymentProfile, OracleTerms
from coordinator.shell.evm_contract import ContractInterface
from coordinator.shell.operator_config import SPOT_RULES

NOBODY = bytes(20)
ANYBODY = bytes(20)
"""As an executor of the timelock, the zero address stands for everybody."""
VOTE = 10**18
ADMIN, COORDINATOR, ORACLE, METER_REGISTRAR, GUARDIAN = range(5)
"""Roles by number, as in ``Roles.sol``."""
DEFAULT_ADMIN_ROLE = bytes(32)
MINTER_ROLE, PROPOSER_ROLE, EXECUTOR_ROLE, CANCELLER_ROLE = (
    keccak(name) for name in (b"MINTER_ROLE", b"PROPOSER_ROLE", b"EXECUTOR_ROLE", b"CANCELLER_ROLE")
)
CHALLENGES = ("ClearingChallenges", "RoundChallenges", "MeterChallenges", "DataDemands")
"""In the order in which the settlement names them."""
ORACLES = {"PriceOracle": "price", "WeatherOracle": "weather", "GridOracle": "grid_frequency"}
"""Oracle contracts, and the section of the profile with their terms."""
CONTRACTS = (
    "Timelock", "Roles", "EnergyToken", "GovernanceToken", "EnergyGovernor", "Guardian", "Settlement", "EnergyTrading",
    *CHALLENGES, "SmartMeter", *ORACLES, "GridManagement", "EnergyAssetNFT", "AssetShares",
)  # fmt: skip
"""Everything that a plan deploys, in order."""
RESTRICTED = (
    ("GridManagement", COORDINATOR, ("setGridState", "setBreakerState", "createEvent", "enrol")),
    ("GridManagement", GUARDIAN, ("stopPosting",)),
    ("SmartMeter", METER_REGISTRAR, ("registerMeter", "registerP256Meter", "removeMeter")),
    ("EnergyAssetNFT", METER_REGISTRAR, ("register", "change")),
    *((oracle, ORACLE, ("setReporters",)) for oracle in ORACLES),
)
"""Functions of a role. What is not named here belongs to the admin: it needs a vote."""


@dataclass(frozen=True, slots=True)
class At:
    """The address of a contract of this deployment, wherever that will be."""

    contract: str


@dataclass(frozen=True, slots=True)
class Selector:
    """The four bytes by which a function of a contract is called."""

    contract: str
    function: str


@dataclass(frozen=True, slots=True)
class Creation:
    """A contract to deploy; arguments may contain ``At``."""

    contract: str
    arguments: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Action:
    """A call of the batch."""

    contract: str
    function: str
    arguments: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Fact:
    """What a view must return. A ``changeable`` one may be decided otherwise later, by vote or by its office."""

    contract: str
    function: str
    arguments: tuple[Any, ...]
    expected: tuple[Any, ...]
    changeable: bool = False


@dataclass(frozen=True, slots=True)
class Membership:
    """Who holds a role, and nobody else; ``role`` as the contract numbers it."""

    contract: str
    role: int | bytes
    title: str
    members: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything, in order."""

    creations: tuple[Creation, ...]
    actions: tuple[Action, ...]
    facts: tuple[Fact, ...]
    memberships: tuple[Membership, ...]


def packed_gate_leads(leads: Sequence[int]) -> int:
    """Gate leads of the four product lengths as the settlement keeps them: 16 bits each, quarter-hours lowest."""
    return sum(lead << 16 * place for place, lead in enumerate(leads))


def resolved(value: Any, addresses: Mapping[str, bytes]) -> Any:
    """``value`` with every ``At`` and ``Selector`` replaced. Raises KeyError for a contract that has no address yet."""
    if isinstance(value, At):
        return addresses[value.contract]
    if isinstance(value, Selector):
        return ContractInterface(value.contract).selector(value.function)
    if isinstance(value, tuple | list):
        return type(value)(resolved(entry, addresses) for entry in value)
    return value


def plan(profile: DeploymentProfile, deployer: bytes, operator: bytes) -> Plan:
    """The plan for a profile."""
    return _Planner(profile, deployer, operator).plan()


class _Planner:
    def __init__(self, profile: DeploymentProfile, deployer: bytes, operator: bytes) -> None:
        self._profile = profile
        self._deployer = deployer
        self._words: dict[str, Any] = {"deployer": deployer, "operator": operator, "guardian": At("Guardian")}
        self._operator = operator
        parties = profile.parties
        self._registrar = self._party(parties.registrar)[0]
        self._minters = self._party(parties.minter)
        self._keepers = self._party(parties.oracle_keeper)
        self._members = self._party(parties.members)
        self._guardians = self._party(parties.guardians)
        self._reporters = self._party(parties.reporters)

    def _party(self, named: tuple[str, ...]) -> tuple[Any, ...]:
        return tuple(self._words[text] if text in self._words else bytes.fromhex(text[2:]) for text in named)

    def plan(self) -> Plan:
        return Plan(
            self._creations(),
            (*self._money(), *self._offices(), *self._hand_over()),
            (*self._settlement_facts(), *self._room_facts(), *self._role_facts()),
            self._memberships(),
        )

    # -- creations ---------------------------------------------------------------------------------------------

    def _creations(self) -> tuple[Creation, ...]:
        profile, me = self._profile, (self._deployer,)
        governance, demands, trading = profile.governance, profile.demands, profile.trading
        settlement, roles, timelock = At("Settlement"), At("Roles"), At("Timelock")
        oracles = tuple(Creation(name, self._oracle(getattr(profile, at))) for name, at in ORACLES.items())
        return (
            Creation("Timelock", (0, me, me, NOBODY)),
            Creation("Roles", (timelock,)),
            Creation("EnergyToken", (timelock,)),
            Creation("GovernanceToken", (timelock, governance.votes * VOTE)),
            Creation(
                "EnergyGovernor",
                (
                    At("GovernanceToken"), timelock, governance.voting_delay_s, governance.voting_period_s,
                    governance.threshold * VOTE, governance.quorum_percent,
                ),
            ),
            Creation("Guardian", (self._guardians, governance.guardian_quorum)),
            Creation(
                "Settlement",
                (
                    At("EnergyToken"), timelock, self._registrar, self._operator, self._terms(),
                    profile.settlement.tariff_import, profile.settlement.tariff_export,
                ),
            ),
            Creation(
                "EnergyTrading",
                (
                    settlement, self._profile.quarter_hours.closes_before_s, trading.inclusion_delay_s,
                    trading.escape_after_s, trading.capacity, trading.leak_s, trading.shortfall_price,
                ),
            ),
            *(Creation(name, (settlement,)) for name in CHALLENGES[:3]),
            Creation(
                "DataDemands",
                (
                    settlement, demands.answer_window_s, demands.fee_nano, demands.cover_lag, demands.capacity,
                    demands.leak_s,
                ),
            ),
            Creation("SmartMeter", (roles, settlement)),
            *oracles,
            Creation(
                "GridManagement",
                (roles, settlement, At("PriceOracle"), profile.grid.volume_limit_wh, profile.grid.claim_period_s),
            ),
            Creation("EnergyAssetNFT", (settlement, roles)),
            Creation("AssetShares", (At("EnergyAssetNFT"), profile.assets.offer_period_s)),
        )  # fmt: skip

    def _terms(self) -> tuple[int, ...]:
        settlement, leads = self._profile.settlement, self._profile.calendar.gate_leads
        return (
            settlement.finality_window_s, settlement.grace_intervals, packed_gate_leads(leads),
            int(SPOT_RULES[settlement.spot_rule]), settlement.release_after_s, settlement.bond * NANO_PER_UNIT,
        )  # fmt: skip

    @staticmethod
    def _oracle_terms(terms: OracleTerms) -> tuple[int, ...]:
        return (
            terms.max_age_s, terms.stale_after_s, terms.max_deviation_permille, terms.deviation_slack, terms.width
        )  # fmt: skip

    def _oracle(self, terms: OracleTerms) -> tuple[Any, ...]:
        return At("Roles"), terms.minimum, terms.maximum, self._oracle_terms(terms)

    # -- the batch ---------------------------------------------------------------------------------------------

    def _money(self) -> tuple[Action, ...]:
        profile, timelock = self._profile, At("Timelock")
        settlement, token = profile.settlement, profile.token
        bond = settlement.bond * NANO_PER_UNIT
        actions = [
            Action("Settlement", "setChallenges", (tuple(At(name) for name in CHALLENGES),)),
            Action("Settlement", "setTrading", (At("EnergyTrading"),)),
            Action("Settlement", "setBounds", (At("GridManagement"),)),
            Action("Settlement", "setGuardian", (At("Guardian"),)),
        ]
        if settlement.outflow_cap:
            actions.append(Action("Settlement", "setOutflowCap", (settlement.outflow_cap * NANO_PER_UNIT,)))
        if settlement.mint_bond:
            actions += [
                Action("EnergyToken", "grantRole", (MINTER_ROLE, timelock)),
                Action("EnergyToken", "mint", (timelock, bond)),
                Action("EnergyToken", "revokeRole", (MINTER_ROLE, timelock)),
                Action("EnergyToken", "approve", (At("Settlement"), bond)),
                Action("Settlement", "postBond", (bond,)),
            ]
        if token.mint_limit:
            actions.append(
                Action("EnergyToken", "setMintLimit", (token.mint_limit * NANO_PER_UNIT, token.mint_window_s))
            )
        actions += [Action("EnergyToken", "grantRole", (MINTER_ROLE, minter)) for minter in self._minters]
        share, rest = divmod(profile.governance.votes * VOTE, len(self._members))
        for place, member in enumerate(self._members):
            actions.append(Action("GovernanceToken", "transfer", (member, share + (rest if place == 0 else 0))))
        return tuple(actions)

    def _offices(self) -> tuple[Action, ...]:
        actions = []
        for oracle, section in ORACLES.items():
            terms = getattr(self._profile, section)
            actions.append(Action(oracle, "setReporters", (self._reporters, terms.quorum, terms.wide_quorum)))
        # Who posts a header then pays for no call to the oracle: the grid has a copy of what its collar follows from.
        actions.append(Action("PriceOracle", "setListener", (At("GridManagement"),)))
        for contract, role, functions in RESTRICTED:
            selectors = tuple(Selector(contract, function) for function in functions)
            actions.append(Action("Roles", "setTargetFunctionRole", (At(contract), selectors, role)))
        for role, _, members in self._roles():
            actions += [Action("Roles", "grantRole", (role, member, 0)) for member in members if role != ADMIN]
        return tuple(actions)

    def _roles(self) -> tuple[tuple[int, str, tuple[Any, ...]], ...]:
        return (
            (ADMIN, "admin", (At("Timelock"),)),
            (COORDINATOR, "coordinator", (self._operator,)),
            (ORACLE, "oracle keeper", self._keepers),
            (METER_REGISTRAR, "meter registrar", (self._registrar,)),
            (GUARDIAN, "guardian", (At("Guardian"),)),
        )

    def _hand_over(self) -> tuple[Action, ...]:
        governor = At("EnergyGovernor")
        grants = (
            (PROPOSER_ROLE, governor),
            (CANCELLER_ROLE, governor),
            (CANCELLER_ROLE, At("Guardian")),
            (EXECUTOR_ROLE, ANYBODY),
        )
        struck = (PROPOSER_ROLE, CANCELLER_ROLE, EXECUTOR_ROLE)
        return (
            *(Action("Timelock", "grantRole", grant) for grant in grants),
            *(Action("Timelock", "revokeRole", (role, self._deployer)) for role in struck),
            Action("Timelock", "updateDelay", (self._profile.governance.delay_s,)),
        )

    # -- facts -------------------------------------------------------------------------------------------------

    def _settlement_facts(self) -> tuple[Fact, ...]:
        settlement = self._profile.settlement
        window, grace, leads, rule, release, bond = self._terms()
        fixed: dict[str, Any] = {
            "token": At("EnergyToken"), "governance": At("Timelock"), "registrar": self._registrar,
            "trading": At("EnergyTrading"), "finalityWindowS": window, "graceIntervals": grace, "gateLeads": leads,
            "spotRule": rule, "releaseAfterS": release, "minimumBondNano": bond,
        }  # fmt: skip
        decided: dict[str, Any] = {
            "coordinator": self._operator, "guardian": At("Guardian"), "bounds": At("GridManagement"),
            "outflowCapNano": settlement.outflow_cap * NANO_PER_UNIT, "halted": False,
        }  # fmt: skip
        return (
            *(Fact("Settlement", name, (), (value,)) for name, value in fixed.items()),
            *(Fact("Settlement", "challenges", (place,), (At(name),)) for place, name in enumerate(CHALLENGES)),
            *(Fact(name, "settlement", (), (At("Settlement"),)) for name in CHALLENGES),
            *(Fact("Settlement", name, (), (value,), changeable=True) for name, value in decided.items()),
            Fact("Settlement", "tariffs", (), (settlement.tariff_import, settlement.tariff_export), changeable=True),
        )

    def _room_facts(self) -> tuple[Fact, ...]:
        profile, settlement, roles = self._profile, (At("Settlement"),), (At("Roles"),)
        trading, demands, governance = profile.trading, profile.demands, profile.governance
        facts = [
            Fact("EnergyTrading", "settlement", (), settlement),
            Fact("EnergyTrading", "closesBeforeS", (), (profile.quarter_hours.closes_before_s,)),
            Fact("EnergyTrading", "inclusionDelayS", (), (trading.inclusion_delay_s,)),
            Fact("EnergyTrading", "escapeAfterS", (), (trading.escape_after_s,)),
            Fact("EnergyTrading", "shortfallPrice", (), (trading.shortfall_price,)),
            Fact("DataDemands", "answerWindowS", (), (demands.answer_window_s,)),
            Fact("DataDemands", "feeNano", (), (demands.fee_nano,)),
            Fact("DataDemands", "coverLag", (), (demands.cover_lag,)),
            Fact("SmartMeter", "settlement", (), settlement),
            Fact("EnergyAssetNFT", "settlement", (), settlement),
            Fact("AssetShares", "assets", (), (At("EnergyAssetNFT"),)),
            Fact("GridManagement", "settlement", (), settlement),
            Fact("GridManagement", "priceOracle", (), (At("PriceOracle"),), changeable=True),
            Fact("EnergyGovernor", "token", (), (At("GovernanceToken"),)),
            Fact("EnergyGovernor", "timelock", (), (At("Timelock"),)),
            Fact("EnergyGovernor", "votingDelay", (), (governance.voting_delay_s,), changeable=True),
            Fact("EnergyGovernor", "votingPeriod", (), (governance.voting_period_s,), changeable=True),
            Fact("Timelock", "getMinDelay", (), (governance.delay_s,), changeable=True),
            Fact("Guardian", "owners", (), (self._guardians,), changeable=True),
            Fact("Guardian", "threshold", (), (governance.guardian_quorum,), changeable=True),
        ]
        for oracle, section in ORACLES.items():
            terms = getattr(profile, section)
            reporters = (self._reporters, terms.quorum, terms.wide_quorum)
            facts += [
                Fact(oracle, "minimum", (), (terms.minimum,)),
                Fact(oracle, "maximum", (), (terms.maximum,)),
                Fact(oracle, "termsInForce", (), (self._oracle_terms(terms),), changeable=True),
                Fact(oracle, "reporters", (), reporters, changeable=True),
            ]
        facts.append(Fact("PriceOracle", "listener", (), (At("GridManagement"),), changeable=True))
        restricted = ("SmartMeter", "GridManagement", "EnergyAssetNFT", *ORACLES)
        return (*facts, *(Fact(name, "authority", (), roles) for name in restricted))

    def _role_facts(self) -> tuple[Fact, ...]:
        return tuple(
            Fact(
                "Roles", "getTargetFunctionRole", (At(contract), Selector(contract, function)), (role,), changeable=True
            )
            for contract, role, functions in RESTRICTED
            for function in functions
        )

    def _memberships(self) -> tuple[Membership, ...]:
        timelock, governor = At("Timelock"), At("EnergyGovernor")
        return (
            *(Membership("Roles", role, title, members) for role, title, members in self._roles()),
            Membership("Timelock", DEFAULT_ADMIN_ROLE, "admin", (timelock,)),
            Membership("Timelock", PROPOSER_ROLE, "proposer", (governor,)),
            Membership("Timelock", CANCELLER_ROLE, "canceller", (governor, At("Guardian"))),
            Membership("Timelock", EXECUTOR_ROLE, "executor", (ANYBODY,)),
            Membership("EnergyToken", DEFAULT_ADMIN_ROLE, "admin", (timelock,)),
            Membership("EnergyToken", MINTER_ROLE, "minter", self._minters),
        )
