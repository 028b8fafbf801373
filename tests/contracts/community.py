"""A community as it goes live: every contract by `coordinator deploy`'s code, every office with somebody else.

    profile ``community`` with short times ─► deploy ─► bond, homes, money ─► transactions by named people over JSON-RPC

Everybody acts through his own key over HTTP, on py-evm or on anvil; ``senders_since`` tells who really did.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from contracts.challenges import finalise, post
from contracts.eip712 import Domain, keccak
from contracts.evidence import Call, PostedHeader
from contracts.header_rules import FIRST_HEADER_PREVIOUS, Terms, header_digest
from contracts.interval import INTERVAL_S
from contracts.messages import Header
from contracts.signature import address_of, signer_of
from coordinator.shell.chain_client import ChainClient
from coordinator.shell.deployment import Deployment, deploy
from coordinator.shell.deployment_plan import CONTRACTS
from coordinator.shell.deployment_profile import DeploymentProfile, load_profile
from coordinator.shell.evm_account import EvmAccount
from coordinator.shell.evm_contract import ContractInterface
from coordinator.shell.evm_node import EvmNode, RemoteRevertError
from coordinator.shell.watching import terms_of
from simulators.evm_chain import DEV_KEY, EvmChain
from simulators.live.json_rpc import JsonRpcServer
from tests.contracts.local_chain import private_key
from tests.coordinator.test_real_chain import START_S, free_port, start_anvil

CHAINS = ["py-evm", pytest.param("anvil", marks=pytest.mark.real("anvil"))]
NANO = 10**9
SUPPLIER = 0
HOMES = 3
"""Accounts 1 … 3; their owners hold keys of their own, beside those of their homes."""
PAID_IN_NANO, ESCROW_NANO, CAP = 500 * NANO, 5 * NANO, 100
"""What each account has in the settlement, each trader in escrow, and the outflow cap of a day in whole units."""
MINTED_NANO = 100_000 * NANO
GAS_WEI = 10**21
INCLUSION_ROOM_S = 2_000
"""No order waits longer for its quarter-hour to begin: the delay, the gate and a whole quarter-hour."""


def key(role: str, number: int = 0) -> bytes:
    """The key of somebody with that role."""
    return keccak(f"{role} {number} of the community".encode())


def address(private: bytes) -> str:
    """The address of a key, 0x-hex."""
    return "0x" + address_of(private).hex()


OPERATOR, REGISTRAR, MINTER, STRANGER = (key(role) for role in ("operator", "registrar", "minter", "stranger"))
DEPLOYER = DEV_KEY
MEMBERS, GUARDIANS, REPORTERS = ([key(role, n) for n in range(5)] for role in ("member", "guardian", "reporter"))
OWNERS = [key("owner", n) for n in range(HOMES + 1)]
"""By account number; the first is nobody's, because the supplier's account is the timelock's."""


def profile() -> DeploymentProfile:
    """``community`` with five of each office, and hours and minutes in place of weeks and days."""
    offices = {"members": MEMBERS, "guardians": GUARDIANS, "reporters": REPORTERS}
    several = [f"{office}={','.join(address(one) for one in keys)}" for office, keys in offices.items()]
    one = [f"registrar={address(REGISTRAR)}", f"minter={address(MINTER)}"]
    quorums = {"quorum": 3, "wide_quorum": 5}
    return load_profile("community", [*several, *one]).with_terms(
        settlement={
            "finality_window_s": 3_600, "release_after_s": 86_400, "grace_intervals": 2, "outflow_cap": CAP,
            "bond": 1_000,
        },
        trading={"escape_after_s": 7_200},
        demands={"answer_window_s": 600},
        governance={"delay_s": 3_600, "voting_delay_s": 60, "voting_period_s": 600},
        price={
            "max_age_s": 600, "stale_after_s": 1_800, "max_deviation_permille": 100, "deviation_slack": 5_000,
            "width": 20_000, **quorums,
        },
        weather=quorums,
        grid_frequency=quorums,
    )  # fmt: skip


class RefusedError(Exception):
    """A contract refused; the message is the error's name."""


@cache
def _interface(contract: str) -> ContractInterface:
    return ContractInterface(contract)


def _name(output: bytes) -> str:
    names = (_interface(contract).error(output) for contract in CONTRACTS)
    return next((name for name in names if name != "unknown"), f"unknown: {output.hex()}")


@dataclass
class Community:
    """The contracts on a chain, and everybody's transactions."""

    node: EvmNode
    deployment: Deployment
    profile: DeploymentProfile
    tip: bytes = FIRST_HEADER_PREVIOUS

    @property
    def domain(self) -> Domain:
        return self.deployment.domain

    @property
    def terms(self) -> Terms:
        return terms_of(ChainClient(self.node.url, self.deployment))

    def at(self, contract: str) -> str:
        """Where a contract stands, 0x-hex."""
        return "0x" + self.deployment.address(contract).hex()

    def do(self, private: bytes, contract: str, function: str, *arguments: Any) -> int:
        """Somebody's transaction; the number of its block. Raises RefusedError."""
        account = EvmAccount(self.node.url, private)
        try:
            payload = _interface(contract).call(function, *arguments)
            return account.transact(self.deployment.address(contract), payload).block
        except RemoteRevertError as error:
            raise RefusedError(_name(error.output)) from error

    def tell(self, private: bytes, call: Call) -> int:
        """The same for a call that somebody prepared."""
        return self.do(private, call.contract, call.function, *call.arguments)

    def refusal(self, private: bytes, contract: str, function: str, *arguments: Any) -> str:
        """The name of the error with which that would be refused now; empty where it would not. Sends nothing."""
        payload = _interface(contract).call(function, *arguments)
        try:
            self.node.call(self.deployment.address(contract), payload, address_of(private))
        except RemoteRevertError as error:
            return _name(error.output)
        return ""

    def judge(self, private: bytes, call: Call) -> str:
        """The same for a call that somebody prepared."""
        return self.refusal(private, call.contract, call.function, *call.arguments)

    def ask(self, contract: str, function: str, *arguments: Any) -> Any:
        """What a view returns: its one value, or the tuple of them."""
        interface = _interface(contract)
        returned = self.node.call(self.deployment.address(contract), interface.call(function, *arguments))
        values = interface.output(function, returned)
        return values[0] if len(values) == 1 else values

    def event(self, contract: str, name: str, block: int) -> dict[str, Any]:
        """The one event of that name in a block."""
        interface = _interface(contract)
        logs = self.node.logs([self.deployment.address(contract)], block, block, [[interface.topic(name)]])
        (decoded,) = [interface.event(log.topics, log.content) for log in logs]
        assert decoded is not None
        return decoded[1]

    def money(self, private: bytes) -> int:
        """Token of somebody, in nano-currency (one unit each)."""
        return int(self.ask("EnergyToken", "balanceOf", address(private)))

    def held(self, contract: str) -> int:
        """Token that a contract holds, in nano-currency."""
        return int(self.ask("EnergyToken", "balanceOf", self.at(contract)))

    # -- time --------------------------------------------------------------------------------------------------

    def now_s(self) -> int:
        block = self.node.block()
        assert block is not None
        return block.time_s

    def travel(self, to_s: int) -> None:
        """The newest block is at ``to_s`` or later."""
        if to_s > self.now_s():
            self.node.ask("evm_setNextBlockTimestamp", hex(to_s))
            self.node.ask("evm_mine")

    def wait(self, seconds: int) -> None:
        self.travel(self.now_s() + seconds)

    def senders_since(self, block: int) -> set[str]:
        """Who sent anything after that block."""
        found = set()
        for number in range(block + 1, self.node.block_number() + 1):
            document = self.node.ask("eth_getBlockByNumber", hex(number), True)
            found |= {str(transaction["from"]).lower() for transaction in document["transactions"]}
        return found

    # -- what an operator does ---------------------------------------------------------------------------------

    def header(self, spot_price: int = 200_000, tariff_import: int = 320_000) -> Header:
        """The header that comes next, of nothing anybody looks into."""
        tree, count = bytes(32), self.ask("Settlement", "headerCount")
        interval = self.ask("Settlement", "tipInterval") + 1 if count else self.now_s() // INTERVAL_S - 4
        return Header(interval, self.tip, tree, tree, tree, tree, tariff_import, 80_000, spot_price, 0)

    def post(self, header: Header) -> PostedHeader:
        """The operator posts a header as soon as its interval is over. Raises RefusedError."""
        self.travel((header.interval + 1) * INTERVAL_S)
        index = self.ask("Settlement", "headerCount")
        self.tell(OPERATOR, post(header))
        self.tip = header_digest(header, self.domain)
        return PostedHeader(header, index)

    def finalise(self, private: bytes, posted: PostedHeader) -> None:
        """Somebody makes a header final as soon as that can be."""
        self.travel(self.ask("Settlement", "postedAt", posted.index) + self.profile.settlement.finality_window_s)
        self.tell(private, finalise(posted))

    # -- what members and guardians decide ---------------------------------------------------------------------

    def delegate(self, votes: dict[bytes, bytes]) -> None:
        """Members hand their votes to others, or to themselves; afterwards they count."""
        for member, to in votes.items():
            self.do(member, "GovernanceToken", "delegate", address(to))
        self.wait(2)

    def decision(self, actions: Sequence[tuple[str, str, tuple[Any, ...]]]) -> Proposal:
        """What a proposal with these actions is to the governor."""
        payloads = [_interface(contract).call(function, *arguments) for contract, function, arguments in actions]
        targets = [self.at(contract) for contract, _, _ in actions]
        return Proposal(self, (targets, [0] * len(targets), payloads))

    def guardian_call(self, contract: str, function: str, *arguments: Any, salt: int = 0) -> tuple[Any, ...]:
        """A call that guardians may decide on, good for an hour."""
        payload = _interface(contract).call(function, *arguments)
        version = self.ask("Guardian", "ownersVersion")
        return self.at(contract), 0, payload, salt.to_bytes(32, "big"), self.now_s() + 3_600, version

    def signed(self, call: tuple[Any, ...], guardians: Sequence[bytes]) -> list[bytes]:
        """Signatures of guardians over a call, in the order in which the contract wants them."""
        digest = self.ask("Guardian", "digestOf", call)
        return [signer_of(one)(digest) for one in sorted(guardians, key=address_of)]


@dataclass(frozen=True)
class Proposal:
    """Targets, values and payloads, and where they stand with the governor."""

    community: Community
    content: tuple[list[str], list[int], list[bytes]]
    text: str = "as discussed"

    @property
    def hashed(self) -> bytes:
        return keccak(self.text.encode())

    @property
    def number(self) -> int:
        return int(self.community.ask("EnergyGovernor", "hashProposal", *self.content, self.hashed))

    @property
    def batch(self) -> tuple[Any, ...]:
        """The same as arguments of the timelock."""
        return *self.content, bytes(32), self._salt

    @property
    def _salt(self) -> bytes:
        governor = self.community.deployment.address("EnergyGovernor") + bytes(12)
        return bytes(a ^ b for a, b in zip(governor, self.hashed, strict=True))

    def propose(self, member: bytes) -> None:
        self.community.do(member, "EnergyGovernor", "propose", *self.content, self.text)
        self.community.wait(self.community.profile.governance.voting_delay_s + 1)

    def vote(self, votes: dict[bytes, int]) -> None:
        """Votes 0 against, 1 for, 2 abstaining; afterwards voting is over."""
        for member, vote in votes.items():
            self.community.do(member, "EnergyGovernor", "castVote", self.number, vote)
        self.community.wait(self.community.profile.governance.voting_period_s + 1)

    def step(self, anybody: bytes, function: str) -> None:
        """``queue`` or ``execute``."""
        self.community.do(anybody, "EnergyGovernor", function, *self.content, self.hashed)

    def refusal(self, anybody: bytes, function: str) -> str:
        """Why that step cannot be now."""
        return self.community.refusal(anybody, "EnergyGovernor", function, *self.content, self.hashed)

    def carry(self) -> None:
        """The whole way with three of five members behind it."""
        self.propose(MEMBERS[0])
        self.vote(dict.fromkeys(MEMBERS[:3], 1))
        self.step(STRANGER, "queue")
        self.community.wait(self.community.profile.governance.delay_s)
        self.step(STRANGER, "execute")


# -- going live ------------------------------------------------------------------------------------------------


@contextmanager
def _py_evm() -> Iterator[str]:
    server = JsonRpcServer(EvmChain(lambda: START_S))
    server.start()
    try:
        yield server.url
    finally:
        server.stop()


@contextmanager
def _anvil() -> Iterator[str]:
    port = free_port()
    process = start_anvil(port)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


@contextmanager
def live(chain: str, folder: Path) -> Iterator[Community]:
    """A community on a fresh chain: deployed, its bond posted, its homes opened and paid in."""
    nodes: dict[str, Callable[[], Any]] = {"py-evm": _py_evm, "anvil": _anvil}
    with nodes[chain]() as url:
        terms = profile()
        deployment = deploy(url, DEPLOYER, address_of(OPERATOR), folder / "deployment.json", terms)
        community = Community(EvmNode(url), deployment, terms)
        for one in (OPERATOR, REGISTRAR, MINTER, STRANGER, *MEMBERS, *GUARDIANS, *OWNERS[1:]):
            community.node.ask("anvil_setBalance", address(one), hex(GAS_WEI))
        _pay_in(community)
        yield community


def _pay_in(community: Community) -> None:
    bond = community.profile.settlement.bond * NANO
    community.do(MINTER, "EnergyToken", "mint", address(MINTER), MINTED_NANO)
    community.do(MINTER, "EnergyToken", "approve", community.at("Settlement"), MINTED_NANO)
    community.do(MINTER, "Settlement", "postBond", bond)
    for account, owner in enumerate(OWNERS):
        if account != SUPPLIER:
            home = address(private_key(account))
            community.do(REGISTRAR, "Settlement", "openAccount", address(owner), home)
            community.do(MINTER, "EnergyToken", "transfer", address(owner), ESCROW_NANO)
        community.do(MINTER, "Settlement", "deposit", account, PAID_IN_NANO)
