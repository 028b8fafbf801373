"""Brings the contracts onto a chain as a profile says, and opens a street's accounts; every step may be repeated.

What stands is noted in a deployments file as soon as it stands: address, constructor arguments, the hash of the code.
A run that broke off goes on where it stopped, and a second run changes nothing: each transaction is in the journal
before it is sent, and what the chain shows is never done again. ``deployment_plan`` says what is done and why.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contracts.eip712 import Domain, keccak
from contracts.units import NANO_PER_UNIT
from coordinator.shell.chain_port import RemoteChainError
from coordinator.shell.deployment_plan import Creation, Plan, plan, resolved
from coordinator.shell.deployment_profile import DeploymentProfile
from coordinator.shell.evm_account import EvmAccount
from coordinator.shell.evm_contract import ContractInterface
from coordinator.shell.evm_node import Receipt, RemoteRevertError, hex_of, raw_of
from coordinator.shell.transaction_journal import TransactionJournal
from coordinator.shell.transactor import Transactor
from coordinator.transaction_table import TransactionState

OPERATOR_GAS_WEI = 10**19
"""What a deployment with play money gives the operator for gas: hundreds of thousands of headers there."""
SALT = keccak(b"energy-grid bootstrap")
NO_PREDECESSOR = bytes(32)
WAIT_LIMIT_S = 600
"""A transaction that no block takes for ten minutes, dearer with every minute, is a person's business."""

Report = Callable[[str], None]
Note = dict[str, Any]


class LocalDeploymentError(Exception):
    """The deployments file does not fit the chain, the profile or this build, or cannot be read."""


@dataclass(frozen=True, slots=True)
class StreetAccount:
    """One home to open an account for: ``owner`` owns the money, ``key`` is what the home signs with."""

    owner: bytes
    key: bytes
    deposit_nano: int


@dataclass(frozen=True, slots=True)
class Deployment:
    """Where the contracts stand, by name."""

    chain_id: int
    deployer: bytes
    operator: bytes
    first_block: int
    addresses: dict[str, bytes]

    def address(self, contract: str) -> bytes:
        """Where a contract stands. Raises LocalDeploymentError for one that is not of this deployment."""
        try:
            return self.addresses[contract]
        except KeyError as error:
            raise LocalDeploymentError(f"there is no {contract} in this deployment") from error

    @property
    def domain(self) -> Domain:
        """Where signatures count."""
        return Domain(self.chain_id, self.address("Settlement"))

    @property
    def trading(self) -> bytes:
        """Address of EnergyTrading."""
        return self.address("EnergyTrading")

    def to_json(self) -> dict[str, Any]:
        """For whoever reads it on standard output."""
        contracts = {name: hex_of(address) for name, address in self.addresses.items()}
        return {"chain_id": self.chain_id, "operator": hex_of(self.operator), "contracts": contracts}


def read_note(path: Path) -> Note:
    """The deployments file. Raises LocalDeploymentError."""
    try:
        note: Note = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(note, dict):
            raise ValueError("not an object")
    except (OSError, ValueError) as error:
        raise LocalDeploymentError(f"{path} is no deployments file: {error}") from error
    return note


def load_deployment(path: Path) -> Deployment:
    """The deployment noted in ``path``. Raises LocalDeploymentError where it is missing, unfinished or malformed."""
    note = read_note(path)
    try:
        if not note["finished"]:
            raise LocalDeploymentError(f"{path} is not finished; run `coordinator deploy` again")
        addresses = {name: raw_of(entry["address"]) for name, entry in note["contracts"].items()}
        deployer, operator = raw_of(note["deployer"]), raw_of(note["operator"])
        return Deployment(int(note["chain_id"]), deployer, operator, int(note["first_block"]), addresses)
    except (KeyError, TypeError, ValueError) as error:
        raise LocalDeploymentError(f"{path} is no finished deployment: {error!r}") from error


def noted_profile(path: Path) -> DeploymentProfile:
    """The profile that the deployments file was written for. Raises LocalDeploymentError, LocalProfileError."""
    document = read_note(path).get("profile")
    if not isinstance(document, dict):
        raise LocalDeploymentError(f"{path} names no profile")
    return DeploymentProfile.from_json(document)


def noted_arguments(value: Any) -> Any:
    """Constructor arguments as they stand in the file."""
    if isinstance(value, bytes):
        return hex_of(value)
    return [noted_arguments(entry) for entry in value] if isinstance(value, tuple | list) else value


def deploy(
    rpc: str | Sequence[str],
    deployer_key: bytes,
    operator: bytes,
    path: Path,
    profile: DeploymentProfile,
    report: Report = lambda _: None,
) -> Deployment:
    """Deploys what is not there yet and hands over.

    Raises LocalDeploymentError, LocalWishError, RemoteChainError, RemoteRevertError.
    """
    return _Deployer(rpc, deployer_key, operator, path, profile, report).run()


class _Deployer:
    def __init__(
        self,
        rpc: str | Sequence[str],
        deployer_key: bytes,
        operator: bytes,
        path: Path,
        profile: DeploymentProfile,
        report: Report,
    ) -> None:
        self._account = EvmAccount(rpc, deployer_key)
        self._account.pool.reach()
        self._operator = operator
        self._path = path
        self._profile = profile
        self._report = report
        self._plan: Plan = plan(profile, self._account.address, operator)
        self._note = self._open_note()
        journal = TransactionJournal(path.with_suffix(".transactions"))
        self._transactor = Transactor(
            self._account.address, self._account.sign, journal, lambda _, text: report(text), Counter(),
            finality_depth=0,
        )  # fmt: skip
        self._addresses: dict[str, bytes] = {}

    def run(self) -> Deployment:
        for creation in self._plan.creations:
            self._addresses[creation.contract] = self._stand(creation)
        if not self._note["finished"]:
            self._bootstrap()
            self._give_gas()
            self._note["finished"] = True
            self._write_note()
            self._path.with_suffix(".transactions").unlink(missing_ok=True)
        return load_deployment(self._path)

    # -- contracts ---------------------------------------------------------------------------------------------

    def _stand(self, creation: Creation) -> bytes:
        """The address of a contract, deployed now where it does not stand yet."""
        arguments = resolved(creation.arguments, self._addresses)
        payload = ContractInterface(creation.contract).creation(*arguments)
        creation_hash = hex_of(keccak(payload))
        entry = self._note["contracts"].setdefault(creation.contract, {})
        if entry.get("creation_hash", creation_hash) != creation_hash:
            raise LocalDeploymentError(
                f"{self._path}: {creation.contract} was deployed from other code or with other arguments; "
                f"name another file with --out to begin anew"
            )
        if "address" in entry:
            return self._standing(creation.contract, entry)
        entry |= {"arguments": noted_arguments(arguments), "creation_hash": creation_hash}
        receipt = self._do(f"creation of {creation.contract}", None, payload, entry)
        assert receipt.contract is not None
        entry["address"] = hex_of(receipt.contract)
        entry["code_hash"] = hex_of(keccak(self._account.node.code(receipt.contract)))
        self._write_note()
        self._report(f"{creation.contract} stands at {entry['address']}")
        return receipt.contract

    def _standing(self, contract: str, entry: Note) -> bytes:
        address = raw_of(entry["address"])
        code = self._account.node.code(address)
        if not code:
            raise LocalDeploymentError(
                f"{self._path} says {contract} is at {entry['address']}, but the chain has nothing there"
            )
        if hex_of(keccak(code)) != entry["code_hash"]:
            raise LocalDeploymentError(f"{contract} at {entry['address']} has other code than {self._path} says")
        return address

    def _do(self, key: str, to: bytes | None, payload: bytes, entry: Note) -> Receipt:
        """Does one transaction and waits for its block; its hashes are noted while it is under way."""
        node = self._account.node
        for noted in entry.get("transactions", []):
            done = node.receipt(raw_of(noted))
            if done is not None and done.succeeded:
                return done
        self._transactor.want(key, to, payload)
        deadline, pause_s = time.monotonic() + WAIT_LIMIT_S, 0.001
        while (outcome := self._transactor.outcome(key)) is None:
            head = node.block()
            if head is None or time.monotonic() > deadline:
                raise RemoteChainError(f"{key} is in no block after {WAIT_LIMIT_S} s; run the command again")
            # Before the step: one more may take it out of the journal, and then only this file knows its hash.
            hashes = [hex_of(a.hash) for t in self._transactor.under_way if t.key == key for a in t.attempts]
            if hashes and hashes != entry.get("transactions"):
                entry["transactions"] = hashes
                self._write_note()
            if not self._transactor.step(node, head):
                time.sleep(pause_s)
                pause_s = min(1.0, pause_s * 2)
        if outcome.state is TransactionState.ABANDONED:
            raise RemoteRevertError(f"{key} would revert", outcome.reason)
        for noted in reversed(entry["transactions"]):
            receipt = node.receipt(raw_of(noted))
            if receipt is not None and receipt.succeeded:
                return receipt
        raise RemoteRevertError(f"{key} reverted", b"")

    # -- the batch ---------------------------------------------------------------------------------------------

    def _bootstrap(self) -> None:
        timelock, at = ContractInterface("Timelock"), self._addresses["Timelock"]
        targets = [self._addresses[action.contract] for action in self._plan.actions]
        payloads = [
            ContractInterface(action.contract).call(action.function, *resolved(action.arguments, self._addresses))
            for action in self._plan.actions
        ]
        batch = (targets, [0] * len(targets), payloads, NO_PREDECESSOR, SALT)
        returned = self._account.call(at, timelock.call("hashOperationBatch", *batch))
        (operation,) = timelock.output("hashOperationBatch", returned)
        entry = self._note.setdefault("bootstrap", {"operation": hex_of(operation)})
        if entry["operation"] != hex_of(operation):
            raise LocalDeploymentError(f"{self._path} notes another bootstrap than this build makes")
        steps = entry.setdefault("schedule", {}), entry.setdefault("execute", {})
        for name, function, more, step in (
            ("the bootstrap", "scheduleBatch", (0,), steps[0]),
            ("the hand-over", "executeBatch", (), steps[1]),
        ):
            done = "isOperationDone" if function == "executeBatch" else "isOperation"
            (is_done,) = timelock.output(done, self._account.call(at, timelock.call(done, operation)))
            if not is_done:
                self._do(name, at, timelock.call(function, *batch, *more), step)
        self._report(f"{len(targets)} decisions made; the deployer has no role any more")

    def _give_gas(self) -> None:
        """Play money's operator starts with gas coins; another one brings his own."""
        account = self._account
        if not self._profile.settlement.mint_bond or account.address == self._operator:
            return
        if account.node.balance_wei(self._operator) < OPERATOR_GAS_WEI // 10:
            account.transact(self._operator, b"", OPERATOR_GAS_WEI)
            self._report("the operator has gas")

    # -- the file ----------------------------------------------------------------------------------------------

    def _open_note(self) -> Note:
        mine: Note = {
            "chain_id": self._account.chain_id,
            "profile": self._profile.to_json(),
            "deployer": hex_of(self._account.address),
            "operator": hex_of(self._operator),
        }
        if not self._path.exists():
            first = self._account.node.block()
            number = 0 if first is None else first.number
            return mine | {"first_block": number, "finished": False, "contracts": {}}
        note = read_note(self._path)
        for name, value in mine.items():
            if name == "profile" and note.get(name) != value:
                raise LocalDeploymentError(f"{self._path} was begun with other terms or parties; name another --out")
            if note.get(name) != value:
                raise LocalDeploymentError(f"{self._path} is of {name} {note.get(name)}, not {value}")
        return note

    def _write_note(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = self._path.with_suffix(".unfinished")
        unfinished.write_text(json.dumps(self._note, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        unfinished.replace(self._path)


# -- accounts --------------------------------------------------------------------------------------------------


def open_street(
    rpc: str | Sequence[str],
    registrar_key: bytes,
    deployment: Deployment,
    street: Sequence[StreetAccount],
    report: Report = lambda _: None,
) -> list[int]:
    """Account numbers of the homes, in order; opens and funds those that have no account yet.

    The key is the registrar's, who also mints. Raises RemoteRevertError where it is neither.
    """
    account = EvmAccount(rpc, registrar_key)
    account.pool.reach()
    settlement, token = ContractInterface("Settlement"), ContractInterface("EnergyToken")
    at, token_at = deployment.domain.contract, deployment.address("EnergyToken")
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
        (units,) = settlement.output("tokenUnitsPerNano", account.call(at, settlement.call("tokenUnitsPerNano")))
        account.transact(token_at, token.call("mint", account.address, total_nano * units))
        account.transact(token_at, token.call("approve", at, total_nano * units))
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
        owned[raw_of(owner)] = number
    return owned
