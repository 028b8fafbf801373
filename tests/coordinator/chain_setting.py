"""Contracts on an embedded chain behind HTTP, with a clock that tests move."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from contracts.eip712 import keccak
from contracts.header_rules import FIRST_HEADER_PREVIOUS, Terms, header_digest
from contracts.interval import INTERVAL_S, interval_of
from contracts.messages import Header
from contracts.signature import address_of
from coordinator.chain_events import ChainEvent
from coordinator.shell.chain import SettlementChain
from coordinator.shell.deployment import Deployment, deploy
from coordinator.shell.deployment_profile import DeploymentProfile, load_profile
from coordinator.shell.evm_account import EvmAccount
from coordinator.shell.evm_contract import ContractInterface
from simulators.evm_chain import DEV_KEY, EvmChain
from simulators.live.json_rpc import JsonRpcServer

OPERATOR = keccak(b"operator of the chain tests")
HOMES = [keccak(b"home" + bytes([n])) for n in range(3)]
DEPOSIT_NANO = 50 * 10**9
START_S = 1_900_000_000 // INTERVAL_S * INTERVAL_S
PROFILE: DeploymentProfile = load_profile("test")
WINDOW_S = PROFILE.settlement.finality_window_s


@dataclass
class Setting:
    """Contracts on an embedded chain behind HTTP, with a clock that tests move."""

    folder: Path
    now: list[int]
    evm: EvmChain
    server: JsonRpcServer
    deployment: Deployment
    alarms: list[tuple[str, str]] = field(default_factory=list)

    def chain(self, **how: Any) -> SettlementChain:
        return SettlementChain(
            self.server.url, OPERATOR, self.deployment.domain, self.folder / "progress.json",
            lambda code, text: self.alarms.append((code, text)), trading=self.deployment.trading,
            demands=self.deployment.address("DataDemands"), first_block=self.deployment.first_block,
            **({"terms": Terms()} | how),
        )  # fmt: skip

    def headers(self, count: int) -> list[Header]:
        found, previous = [], FIRST_HEADER_PREVIOUS
        for place in range(count):
            tree = bytes([place + 1]) * 32
            header = Header(interval_of(START_S) + place, previous, tree, tree, tree, tree, 320_000, 80_000, 200_000, 0)
            found.append(header)
            previous = header_digest(header, self.deployment.domain)
        return found

    def pass_intervals(self, count: int) -> None:
        self.now[0] += count * INTERVAL_S
        self.evm.mine()

    def guardian(self, payload: bytes) -> None:
        """The one guardian has the settlement called."""
        admin, interface = EvmAccount(self.server.url, DEV_KEY), ContractInterface("Guardian")
        at = self.deployment.address("Guardian")
        call = (self.deployment.domain.contract, 0, payload, bytes(32), self.now[0] + 3_600, 1)
        admin.transact(at, interface.call("approve", call))
        admin.transact(at, interface.call("execute", call, ()))

    def vote(self, payload: bytes) -> None:
        """The one member, who holds all votes, has the settlement called: proposed, voted, queued, executed."""
        member, governor = EvmAccount(self.server.url, DEV_KEY), ContractInterface("EnergyGovernor")
        at, votes = self.deployment.address("EnergyGovernor"), ContractInterface("GovernanceToken")
        member.transact(self.deployment.address("GovernanceToken"), votes.call("delegate", member.address))
        what = ([self.deployment.domain.contract], [0], [payload])
        self.pass_intervals(1)
        returned = member.call(at, governor.call("propose", *what, "go on"))
        (proposal,) = governor.output("propose", returned)
        member.transact(at, governor.call("propose", *what, "go on"))
        self.now[0] += 60
        member.transact(at, governor.call("castVote", proposal, 1))
        self.pass_intervals(1)
        member.transact(at, governor.call("queue", *what, keccak(b"go on")))
        member.transact(at, governor.call("execute", *what, keccak(b"go on")))

    def posts(self) -> int:
        """Headers that stand on the chain, counted by their events."""
        topic = ContractInterface("Settlement").topic("HeaderPosted")
        return len(self.evm.logs(0, self.evm.block_number, topics=(frozenset({topic}),)))


@contextmanager
def deployed(tmp_path: Path) -> Iterator[Setting]:
    """All contracts of the test profile, freshly deployed."""
    now = [START_S]
    evm = EvmChain(lambda: now[0])
    server = JsonRpcServer(evm)
    server.start()
    deployment = deploy(server.url, DEV_KEY, address_of(OPERATOR), tmp_path / "deployment.json", PROFILE)
    yield Setting(tmp_path, now, evm, server, deployment)
    server.stop()


async def drain(chain: SettlementChain, polls: int = 4) -> list[ChainEvent]:
    """The events of some polls."""
    events: list[ChainEvent] = []
    for _ in range(polls):
        events += await chain.events()
    return events
