"""The contracts of a deployment as anybody may use them: watchers, auditors, owners. Blocking.

headers(from_block) ──▶ what was posted, voided and made final, in order
ask("Settlement", "bondNano") ──▶ what a view returns
want(Call(…)) ─▶ step() … ─▶ outcome(key)          through the transaction table, surviving crashes
send(Call(…))                                      the same, waited for
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contracts.eip712 import keccak
from contracts.evidence import Call, Lie
from contracts.messages import Bid, Header
from coordinator.shell.chain_port import RemoteChainError, ReportAlarm
from coordinator.shell.deployment import Deployment
from coordinator.shell.evm_account import EvmAccount
from coordinator.shell.evm_contract import ContractInterface
from coordinator.shell.evm_node import EvmNode, Log, RemoteRevertError
from coordinator.shell.node_pool import NodePool, RemoteDisagreementError
from coordinator.shell.transaction_journal import LocalWishError, TransactionJournal
from coordinator.shell.transactor import Outcome, RemoteReorgError, Transactor
from coordinator.transaction_table import TransactionState

LOG_RANGE_BLOCKS = 2_000
"""Blocks asked for at once: below the limit of every public node."""
WAIT_LIMIT_S = 600
"""``send`` waits so long for a block, paying more with time."""


@dataclass(frozen=True, slots=True)
class SeenHeader:
    """A header was posted at ``index``."""

    index: int
    digest: bytes
    header: Header
    posted_at_s: int
    block: int


@dataclass(frozen=True, slots=True)
class SeenVoid:
    """The header at ``index`` and all after it were voided by ``challenger``."""

    index: int
    challenger: bytes
    lie: Lie
    fault: int
    block: int


@dataclass(frozen=True, slots=True)
class SeenFinal:
    """The header at ``index`` and all before it are final."""

    index: int
    block: int


Seen = SeenHeader | SeenVoid | SeenFinal


@dataclass(frozen=True, slots=True)
class ForcedOrderOnChain:
    """An order of EnergyTrading. ``closed_at_s`` is 0 while it is open."""

    order_id: int
    bid: Bid
    closed_at_s: int


class ChainClient:
    """One deployment over one or several nodes; with a key it also acts."""

    def __init__(
        self,
        rpc: str | Sequence[str],
        deployment: Deployment,
        *,
        key: bytes | None = None,
        journal: Path | None = None,
        alarm: ReportAlarm = lambda _, __: None,
        finality_depth: int = 0,
        fee_limit_wei: int | None = None,
    ) -> None:
        """``journal`` must be given with ``key``: what was sent is noted there. Raises LocalWishError."""
        self.deployment = deployment
        self.counters: Counter[str] = Counter()
        self._pool = NodePool([rpc] if isinstance(rpc, str) else rpc)
        self._transactor: Transactor | None = None
        if key is not None:
            if journal is None:
                raise LocalWishError("whoever sends keeps a journal")
            account = EvmAccount(self._pool, key)
            self._transactor = Transactor(
                account.address, account.sign, TransactionJournal(journal), alarm, self.counters,
                finality_depth=finality_depth, fee_limit_wei=fee_limit_wei,
            )  # fmt: skip

    @property
    def node(self) -> EvmNode:
        """The node whose turn it is."""
        return self._pool.node

    # -- reading -----------------------------------------------------------------------------------------------

    def ask(self, contract: str, function: str, *arguments: object) -> tuple[Any, ...]:
        """What a view returns. Raises RemoteRevertError, RemoteChainError."""
        interface = ContractInterface(contract)
        payload = interface.call(function, *arguments)
        return interface.output(function, self._pool.turn().call(self.deployment.address(contract), payload))

    def error(self, contract: str, refusal: RemoteRevertError | Outcome) -> str:
        """The name of the contract's own error."""
        output = refusal.output if isinstance(refusal, RemoteRevertError) else refusal.reason
        return ContractInterface(contract).error(output)

    def headers(self, from_block: int | None = None, finality_depth: int = 0) -> tuple[list[Seen], int]:
        """What happened to headers from a block on, and the block to go on from. Raises RemoteChainError."""
        first = self.deployment.first_block if from_block is None else from_block
        node, interface = self._pool.turn(), ContractInterface("Settlement")
        topics = [[interface.topic(name) for name in ("HeaderPosted", "Voided", "Finalised")]]
        newest = node.block_number() - finality_depth
        seen: list[Seen] = []
        while first <= newest:
            last = min(first + LOG_RANGE_BLOCKS - 1, newest)
            for log in node.logs([self.deployment.address("Settlement")], first, last, topics):
                seen += _seen(interface, log)
            first = last + 1
        return seen, first

    def orders(self, from_block: int | None = None) -> list[ForcedOrderOnChain]:
        """Every order forced since a block, open or closed, in order. Raises RemoteChainError."""
        first = self.deployment.first_block if from_block is None else from_block
        node, interface = self._pool.turn(), ContractInterface("EnergyTrading")
        found = []
        newest = node.block_number()
        for start in range(first, newest + 1, LOG_RANGE_BLOCKS):
            last = min(start + LOG_RANGE_BLOCKS - 1, newest)
            for log in node.logs([self.deployment.trading], start, last, [[interface.topic("ForcedOrder")]]):
                decoded = interface.event(log.topics, log.content)
                if decoded is not None:
                    bid = Bid(*decoded[1]["bid"])
                    (closed,) = self.ask("EnergyTrading", "closedAt", bid.account, bid.version)
                    found.append(ForcedOrderOnChain(decoded[1]["orderId"], bid, closed))
        return found

    # -- acting ------------------------------------------------------------------------------------------------

    def would(self, call: Call) -> str | None:
        """The name of the error with which a call would revert now; None where it would not. Sends nothing."""
        interface = ContractInterface(call.contract)
        payload = interface.call(call.function, *call.arguments)
        try:
            self._pool.turn().call(self.deployment.address(call.contract), payload, self.sender)
        except RemoteRevertError as error:
            return interface.error(error.output)
        return None

    @property
    def sender(self) -> bytes:
        """Whose transactions these are; all zero without a key."""
        return bytes(20) if self._transactor is None else self._transactor.address

    def want(self, call: Call, key: str | None = None) -> str:
        """Wants a call done, and returns the name of the wish. Raises LocalWishError."""
        payload = ContractInterface(call.contract).call(call.function, *call.arguments)
        name = key or f"{call.contract}.{call.function} {keccak(payload).hex()[:16]}"
        self._acting().want(name, self.deployment.address(call.contract), payload)
        return name

    def _acting(self) -> Transactor:
        if self._transactor is None:
            raise LocalWishError("without a key nothing can be sent")
        return self._transactor

    def step(self) -> bool:
        """Moves wishes on as far as the chain allows now; whether anything changed. Raises RemoteChainError."""
        transactor, node = self._acting(), self._pool.turn()
        try:
            head = transactor.check_head(node)
            final = transactor.note_final(node, head)
            if final is not None:
                self._pool.compare(*final)
            changed = transactor.step(node, head)
        except (RemoteReorgError, RemoteDisagreementError):
            raise
        except RemoteChainError:
            self._pool.failed()
            raise
        self._pool.answered()
        return changed

    def outcome(self, key: str) -> Outcome | None:
        """What became of a wish, None while it is under way."""
        return self._acting().outcome(key)

    def send(self, call: Call) -> Outcome:
        """Does one call and waits until it is final. Raises RemoteRevertError, RemoteChainError."""
        key = self.want(call)
        deadline, pause_s = time.monotonic() + WAIT_LIMIT_S, 0.005
        while (outcome := self.outcome(key)) is None:
            if time.monotonic() > deadline:
                raise RemoteChainError(f"{key} is not final after {WAIT_LIMIT_S} s")
            if not self.step():
                time.sleep(pause_s)
                pause_s = min(1.0, 2 * pause_s)
        if outcome.state is not TransactionState.FINAL:
            raise RemoteRevertError(f"{key}: {self.error(call.contract, outcome)}", outcome.reason)
        return outcome


def _seen(interface: ContractInterface, log: Log) -> list[Seen]:
    decoded = interface.event(log.topics, log.content)
    if decoded is None:
        return []
    name, values = decoded
    index = values["index"]
    if name == "HeaderPosted":
        return [SeenHeader(index, values["digest"], Header(*values["header"]), values["postedAt"], log.block)]
    if name == "Voided":
        challenger = bytes.fromhex(values["challenger"][2:])
        return [SeenVoid(index, challenger, Lie(values["reason"]), values["fault"], log.block)]
    return [SeenFinal(index, log.block)]
