"""Holds a deployments file against the chain: one finding a fact, for everybody who wants to trust the contracts.

code        each contract was created by this build's bytecode with the noted arguments, and stands there unchanged
wiring      every view returns what the profile says
offices     exactly the right members hold each role: all grants and revocations since the first block are read
hand-over   nothing but the bootstrap was ever proposed to the timelock while the deployer could propose
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from contracts.eip712 import keccak
from coordinator.shell.deployment import Note, load_deployment, noted_arguments, read_note
from coordinator.shell.deployment_plan import Creation, Fact, Membership, Plan, plan, resolved
from coordinator.shell.deployment_profile import OFFICES, DeploymentProfile
from coordinator.shell.evm_contract import ContractInterface
from coordinator.shell.evm_node import EvmNode, Log, RemoteRevertError

LOG_RANGE_BLOCKS = 2_000
"""Blocks asked for at once: below the limit of every public node."""


class Judgement(Enum):
    """How a fact stands. What may be otherwise, by vote or by the profile, is noted and no fault."""

    HOLDS = "ok"
    NOTED = "note"
    FAILS = "NOT SO"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line."""

    judgement: Judgement
    text: str


def check(node: EvmNode, path: Path, profile: DeploymentProfile) -> Iterator[Finding]:
    """Every fact about the deployment in ``path``. Raises LocalDeploymentError, RemoteChainError."""
    yield from _Checker(node, path, profile).findings()


class _Checker:
    def __init__(self, node: EvmNode, path: Path, profile: DeploymentProfile) -> None:
        self._node = node
        self._note: Note = read_note(path)
        self._deployment = load_deployment(path)
        self._addresses = self._deployment.addresses
        self._profile = profile
        self._plan: Plan = plan(profile, self._deployment.deployer, self._deployment.operator)
        self._names = {address: name for name, address in self._addresses.items()}
        self._names |= {self._deployment.operator: "operator", bytes(20): "anybody"}
        self._names.setdefault(self._deployment.deployer, "deployer")

    def findings(self) -> Iterator[Finding]:
        chain_id = self._node.chain_id()
        yield _finding(
            chain_id == self._deployment.chain_id, f"the chain is {self._deployment.chain_id}", f"{chain_id}"
        )
        if chain_id != self._deployment.chain_id:
            return
        for creation in self._plan.creations:
            yield self._code(creation)
        for fact in self._plan.facts:
            yield self._fact(fact)
        for membership in self._plan.memberships:
            yield self._membership(membership)
        yield self._hand_over()
        yield self._deployer()
        yield self._bond()

    # -- code --------------------------------------------------------------------------------------------------

    def _code(self, creation: Creation) -> Finding:
        name = creation.contract
        entry = self._note["contracts"].get(name)
        if entry is None:
            return Finding(Judgement.FAILS, f"{name} is in the file")
        text = f"{name} at {entry['address']} was made by this build's code and arguments"
        arguments = resolved(creation.arguments, self._addresses)
        payload = ContractInterface(name).creation(*arguments)
        if noted_arguments(arguments) != entry["arguments"]:
            return Finding(Judgement.FAILS, f"{text}: the file notes other arguments")
        if "0x" + keccak(self._node.code(self._addresses[name])).hex() != entry["code_hash"]:
            return Finding(Judgement.FAILS, f"{text}: other code stands there")
        for hash_ in entry.get("transactions", []):
            raw = bytes.fromhex(hash_[2:])
            sent, receipt = self._node.transaction(raw), self._node.receipt(raw)
            if sent is not None and receipt is not None and receipt.contract == self._addresses[name]:
                return _finding(sent.to is None and sent.payload == payload, text, "it was made by other code")
        return Finding(Judgement.FAILS, f"{text}: no noted transaction created it")

    # -- views -------------------------------------------------------------------------------------------------

    def _fact(self, fact: Fact) -> Finding:
        interface = ContractInterface(fact.contract)
        arguments = resolved(fact.arguments, self._addresses)
        expected = _plain(resolved(fact.expected, self._addresses))
        shown = ", ".join(self._show(argument) for argument in fact.arguments)
        text = f"{fact.contract}.{fact.function}({shown}) is {self._shown(expected)}"
        try:
            returned = self._node.call(self._addresses[fact.contract], interface.call(fact.function, *arguments))
            found = _plain(interface.output(fact.function, returned))
        except (RemoteRevertError, ValueError) as error:
            return Finding(Judgement.FAILS, f"{text}: {type(error).__name__}")
        if found != expected and fact.changeable:
            return Finding(Judgement.NOTED, f"{text}: it is {self._shown(found)}")
        return _finding(found == expected, text, f"it is {self._shown(found)}")

    def _show(self, argument: Any) -> str:
        return str(getattr(argument, "function", None) or getattr(argument, "contract", None) or argument)

    def _shown(self, values: Any) -> str:
        if isinstance(values, tuple):
            return ", ".join(self._shown(value) for value in values)
        if isinstance(values, str) and len(values) == 42 and values.startswith("0x"):
            return self._names.get(bytes.fromhex(values[2:]), values)
        return str(values)

    # -- offices -----------------------------------------------------------------------------------------------

    def _logs(self, contract: str, events: Sequence[str]) -> list[Log]:
        """All such events of a contract since the deployment began."""
        interface = ContractInterface(contract)
        topics = [[interface.topic(event) for event in events]]
        found: list[Log] = []
        newest = self._node.block_number()
        for first in range(self._deployment.first_block, newest + 1, LOG_RANGE_BLOCKS):
            last = min(first + LOG_RANGE_BLOCKS - 1, newest)
            found += self._node.logs([self._addresses[contract]], first, last, topics)
        return found

    def _membership(self, membership: Membership) -> Finding:
        interface = ContractInterface(membership.contract)
        column = "roleId" if isinstance(membership.role, int) else "role"
        members: set[str] = set()
        for log in self._logs(membership.contract, ("RoleGranted", "RoleRevoked")):
            decoded = interface.event(log.topics, log.content)
            if decoded is None or decoded[1][column] != membership.role:
                continue
            name, values = decoded
            (members.add if name == "RoleGranted" else members.discard)(str(values["account"]).lower())
        expected = set(_plain(resolved(membership.members, self._addresses)))
        held = ", ".join(sorted(self._shown(one) for one in expected))
        text = f"{membership.contract}: {membership.title} is {held} and nobody else"
        if members == expected:
            return Finding(Judgement.HOLDS, text)
        judgement = Judgement.FAILS if self._is_deployer_in(members - expected) else Judgement.NOTED
        return Finding(judgement, f"{text}: it is {', '.join(sorted(map(self._shown, members))) or 'nobody'}")

    def _is_deployer_in(self, members: set[str]) -> bool:
        return "0x" + self._deployment.deployer.hex() in members

    def _hand_over(self) -> Finding:
        """Whatever waited in the timelock at the hand-over could be executed by anybody after it."""
        operation = bytes.fromhex(self._note["bootstrap"]["operation"][2:])
        interface = ContractInterface("Timelock")
        before: set[bytes] = set()
        executed = False
        for log in self._logs("Timelock", ("CallScheduled", "CallExecuted")):
            decoded = interface.event(log.topics, log.content)
            if decoded is None:
                continue
            name, values = decoded
            if name == "CallExecuted" and values["id"] == operation:
                executed = True
            elif name == "CallScheduled" and not executed:
                before.add(values["id"])
        fine = executed and before == {operation}
        return _finding(
            fine, "nothing but the bootstrap was proposed before the hand-over", f"{len(before)} operations"
        )

    def _deployer(self) -> Finding:
        """An office may be the deployer's by the profile's word only."""
        deployer = "0x" + self._deployment.deployer.hex()
        kept = [
            office
            for office in OFFICES
            if any(party in ("deployer", deployer) for party in getattr(self._profile.parties, office))
        ]
        if self._deployment.deployer == self._deployment.operator:
            kept.append("operator")
        if kept:
            return Finding(Judgement.NOTED, f"the deployer holds no office: he is {', '.join(kept)} by the profile")
        return Finding(Judgement.HOLDS, "the deployer holds no office")

    def _bond(self) -> Finding:
        interface, at = ContractInterface("Settlement"), self._addresses["Settlement"]
        held, least = (
            interface.output(name, self._node.call(at, interface.call(name)))[0]
            for name in ("bondNano", "minimumBondNano")
        )
        text = f"the bond is at least {least} nano"
        if held >= least:
            return Finding(Judgement.HOLDS, text)
        return Finding(Judgement.NOTED, f"{text}: it is {held}; the operator posts it before the first header")


def _finding(fine: bool, text: str, otherwise: str) -> Finding:
    return Finding(Judgement.HOLDS, text) if fine else Finding(Judgement.FAILS, f"{text}: {otherwise}")


def _plain(values: Any) -> Any:
    """Values of one form: sequences are tuples, addresses 0x-hex in lower case."""
    if isinstance(values, tuple | list):
        return tuple(_plain(value) for value in values)
    if isinstance(values, bytes) and len(values) == 20:
        return "0x" + values.hex()
    return values.lower() if isinstance(values, str) else values
