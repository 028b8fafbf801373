"""Brings the contracts onto a chain and opens a street's accounts; every step may be repeated.

What stands is noted in a deployments file as soon as it stands, so that a run which broke off continues, and a second
run changes nothing. The deployer becomes governance and registrar; give these away before real money comes in.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from contracts.eip712 import Domain, keccak
from contracts.units import NANO_PER_UNIT
from coordinator.shell.evm_account import EvmAccount
from coordinator.shell.evm_contract import ContractInterface

FINALITY_WINDOW_S = 7 * 86_400
"""A week to challenge a header: longer than any outage of all watchers together that insurance would accept."""
ESCAPE_AFTER_S = 4 * 3_600
"""Without a header for so long, forced orders are matched by anybody."""
GATE_CLOSES_BEFORE_S, ROUND_EVERY_S = 300, 60
"""Gate and rounds of the quarter-hour in the default calendar; the contract derives the product of a forced order."""
BOND_NANO = 1_000 * NANO_PER_UNIT
GRACE_INTERVALS = 4
OPERATOR_GAS_WEI = 10**19
"""What a development deployment gives the operator for gas: hundreds of thousands of headers there."""
MINTER_ROLE = keccak(b"MINTER_ROLE")

Report = Callable[[str], None]


class LocalDeploymentError(Exception):
    """The deployments file does not fit the chain or cannot be read."""


@dataclass(frozen=True, slots=True)
class StreetAccount:
    """One home to open an account for: ``owner`` owns the money, ``key`` is what the home signs with."""

    owner: bytes
    key: bytes
    deposit_nano: int


@dataclass(frozen=True, slots=True)
class DeploymentTerms:
    """What is fixed for ever when the contracts are deployed."""

    finality_window_s: int = FINALITY_WINDOW_S
    grace_intervals: int = GRACE_INTERVALS
    bond_nano: int = BOND_NANO
    closes_before_s: int = GATE_CLOSES_BEFORE_S
    round_every_s: int = ROUND_EVERY_S
    escape_after_s: int = ESCAPE_AFTER_S


@dataclass(frozen=True, slots=True)
class Deployment:
    """Where the contracts stand; addresses 0x-hex."""

    chain_id: int
    operator: str
    energy_token: str
    settlement: str
    smart_meter: str
    energy_trading: str
    first_block: int

    @property
    def domain(self) -> Domain:
        """Where signatures count."""
        return Domain(self.chain_id, bytes.fromhex(self.settlement[2:]))

    @property
    def trading(self) -> bytes:
        """Address of EnergyTrading."""
        return bytes.fromhex(self.energy_trading[2:])


def load_deployment(path: Path) -> Deployment:
    """The deployment noted in ``path``. Raises LocalDeploymentError where it is missing, unfinished or malformed."""
    try:
        return Deployment(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise LocalDeploymentError(f"{path} is no finished deployment: {error}") from error


def deploy(
    rpc_url: str,
    deployer_key: bytes,
    operator: bytes,
    path: Path,
    terms: DeploymentTerms | None = None,
    report: Report = lambda _: None,
) -> Deployment:
    """Deploys what is not there yet and gives roles, bond and gas. Raises RemoteChainError, RemoteRevertError."""
    return _Deployer(rpc_url, deployer_key, operator, path, terms or DeploymentTerms(), report).run()


def open_street(
    rpc_url: str,
    deployer_key: bytes,
    deployment: Deployment,
    street: Sequence[StreetAccount],
    report: Report = lambda _: None,
) -> list[int]:
    """Account numbers of the homes, in order; opens and funds those that have no account yet."""
    account = EvmAccount(rpc_url, deployer_key)
    settlement, token = ContractInterface("Settlement"), ContractInterface("EnergyToken")
    at, token_at = deployment.domain.contract, bytes.fromhex(deployment.energy_token[2:])
    owned = _owned_accounts(account, settlement, at)
    missing: list[tuple[int, int]] = []
    for home in street:
        if home.owner not in owned:
            account.transact(at, settlement.call("openAccount", home.owner, home.key))
            owned[home.owner] = len(owned)
        number = owned[home.owner]
        (had,) = settlement.output("depositedNano", account.call(at, settlement.call("depositedNano", number)))
        if had < home.deposit_nano:
            missing.append((number, home.deposit_nano - had))
    if missing:
        total_nano = sum(amount for _, amount in missing)
        _provide(account, token, token_at, at, total_nano * _units_per_nano(account, settlement, at))
        report(f"{total_nano / NANO_PER_UNIT:.2f} minted for the street")
    for number, amount in missing:
        account.transact(at, settlement.call("deposit", number, amount))
        report(f"account {number} has {amount / NANO_PER_UNIT:.2f} more")
    return [owned[home.owner] for home in street]


def _owned_accounts(account: EvmAccount, settlement: ContractInterface, at: bytes) -> dict[bytes, int]:
    (count,) = settlement.output("accountCount", account.call(at, settlement.call("accountCount")))
    owned = {}
    for number in range(count):
        (owner,) = settlement.output("ownerOf", account.call(at, settlement.call("ownerOf", number)))
        owned[bytes.fromhex(owner[2:])] = number
    return owned


def _units_per_nano(account: EvmAccount, settlement: ContractInterface, at: bytes) -> int:
    returned = account.call(at, settlement.call("tokenUnitsPerNano"))
    return int(settlement.output("tokenUnitsPerNano", returned)[0])


def _provide(account: EvmAccount, token: ContractInterface, token_at: bytes, spender: bytes, units: int) -> None:
    """Mints ``units`` to the deployer and lets ``spender`` take exactly them."""
    account.transact(token_at, token.call("mint", account.address, units))
    account.transact(token_at, token.call("approve", spender, units))


class _Deployer:
    def __init__(
        self, rpc_url: str, deployer_key: bytes, operator: bytes, path: Path, terms: DeploymentTerms, report: Report
    ) -> None:
        self._account = EvmAccount(rpc_url, deployer_key)
        self._operator = operator
        self._path = path
        self._terms = terms
        self._report = report
        self._note = self._read_note()

    def run(self) -> Deployment:
        me, terms = self._account.address, self._terms
        self._note.setdefault("first_block", self._account.block_number())
        token = self._contract("EnergyToken", me)
        settlement = self._contract(
            "Settlement", token, me, me, self._operator,
            terms.finality_window_s, terms.grace_intervals, terms.bond_nano,
        )  # fmt: skip
        self._contract("SmartMeter", me)
        trading = self._contract(
            "EnergyTrading", settlement, terms.closes_before_s, terms.round_every_s, terms.escape_after_s
        )
        self._give_roles(token, settlement, trading)
        if self._account.address != self._operator and self._operator_gas_wei() < OPERATOR_GAS_WEI // 10:
            self._account.transact(self._operator, b"", OPERATOR_GAS_WEI)
            self._report("the operator has gas")
        deployment = Deployment(**self._note)
        self._write_note(asdict(deployment))
        return deployment

    def _give_roles(self, token_at: bytes, at: bytes, trading: bytes) -> None:
        token, settlement = ContractInterface("EnergyToken"), ContractInterface("Settlement")
        call = self._account.call
        if not token.output("hasRole", call(token_at, token.call("hasRole", MINTER_ROLE, self._account.address)))[0]:
            self._account.transact(token_at, token.call("grantRole", MINTER_ROLE, self._account.address))
            self._report("the deployer may mint")
        (known,) = settlement.output("trading", call(at, settlement.call("trading")))
        if int(known, 16) == 0:
            self._account.transact(at, settlement.call("setTrading", trading))
            self._report("forced orders are known to the settlement")
        (bond,) = settlement.output("bondNano", call(at, settlement.call("bondNano")))
        if bond < self._terms.bond_nano:
            missing = self._terms.bond_nano - bond
            _provide(self._account, token, token_at, at, missing * _units_per_nano(self._account, settlement, at))
            self._account.transact(at, settlement.call("postBond", missing))
            self._report(f"the bond is {self._terms.bond_nano / NANO_PER_UNIT:.0f}")

    def _operator_gas_wei(self) -> int:
        return self._account.balance_of_wei(self._operator)

    def _contract(self, name: str, *arguments: object) -> bytes:
        key = "".join("_" + letter.lower() if letter.isupper() else letter for letter in name).lstrip("_")
        if key in self._note:
            address = bytes.fromhex(self._note[key][2:])
            if not self._account.code(address):
                raise LocalDeploymentError(
                    f"{self._path} says {name} is at {self._note[key]}, but the chain has nothing there"
                )
            return address
        receipt = self._account.transact(None, ContractInterface(name).creation(*arguments))
        address = bytes.fromhex(str(receipt["contractAddress"])[2:])
        self._note[key] = "0x" + address.hex()
        self._write_note(self._note)
        self._report(f"{name} stands at 0x{address.hex()}")
        return address

    def _read_note(self) -> dict[str, Any]:
        mine = {"chain_id": self._account.chain_id, "operator": "0x" + self._operator.hex()}
        if not self._path.exists():
            return mine
        try:
            note: dict[str, Any] = json.loads(self._path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise LocalDeploymentError(f"{self._path} is not JSON: {error}") from error
        for name, value in mine.items():
            if note.get(name) != value:
                raise LocalDeploymentError(f"{self._path} is of {name} {note.get(name)}, not {value}")
        return note

    def _write_note(self, note: dict[str, Any]) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = self._path.with_suffix(".unfinished")
        unfinished.write_text(json.dumps(note, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        unfinished.replace(self._path)
