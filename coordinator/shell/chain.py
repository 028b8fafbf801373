"""The settlement contract on an EVM chain, over the RPC URLs of its nodes: headers out, events in.

    submit(header) ──▶ poster ──▶ transactor ──▶ node     node ──▶ logs up to (newest - finality depth) ──▶ events()

Every event reaches the core exactly once: the inbox knows how many it holds, and a small file beside the store notes a
block and how many events came before it, so that a restart reads again from there and leaves out what is held already.
That block is never after the oldest header that is not final: what is still to be made final is learnt again.
One poll asks one node; when it fails the next poll asks the next. A reorg deeper than the finality depth ends it all:
the core has applied events that are no longer true, and only a person can say what follows.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections import Counter, deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from contracts.eip712 import Domain, LocalValueError
from contracts.evidence import Call, Lie
from contracts.header_rules import Terms
from contracts.messages import Bid, Header, Receipt
from coordinator.chain_events import (
    AccountOpened,
    ChainEvent,
    CoverDemanded,
    DemandClosed,
    DemandRaised,
    Deposited,
    HeaderFinalised,
    HeaderPosted,
    HeaderVoided,
    OrderCancelled,
    OrderForced,
    RoundDemanded,
    Withdrawn,
)
from coordinator.shell.chain_port import RemoteChainError, ReportAlarm
from coordinator.shell.deployment_plan import packed_gate_leads
from coordinator.shell.evm_account import EvmAccount
from coordinator.shell.evm_contract import ContractInterface
from coordinator.shell.evm_node import Block, EvmNode, Log, RemoteRevertError
from coordinator.shell.node_pool import RemoteDisagreementError
from coordinator.shell.poster import HeaderPoster
from coordinator.shell.transaction_journal import LocalWishError, TransactionJournal
from coordinator.shell.transactor import RemoteReorgError, Transactor
from coordinator.transaction_table import TransactionState

LOG_RANGE_BLOCKS = 2_000
"""Blocks asked for at once: below the limit of every public node."""
COLLAR_POLL_S = 10
"""Between two looks at the price bounds: they move with a quorum's reports, headers come every quarter-hour."""
PROGRESS_BLOCKS = 500
"""The progress file is written at most once in so many quiet blocks; it only saves reading them again."""


class SettlementChain:
    """The chain of one Settlement contract, posted to with the operator's key."""

    def __init__(
        self,
        rpc: str | Sequence[str],
        operator_key: bytes,
        domain: Domain,
        progress_path: Path,
        alarm: ReportAlarm,
        *,
        trading: bytes | None = None,
        demands: bytes | None = None,
        first_block: int = 0,
        finality_depth: int = 0,
        fee_limit_wei: int | None = None,
        terms: Terms | None = None,
    ) -> None:
        """``domain`` names the chain and the Settlement contract; ``first_block`` is where that was deployed.

        ``rpc`` are the URLs of nodes in the order of preference; ``finality_depth`` is how many blocks must follow
        before an event counts: 0 on a chain without reorgs. ``terms`` are what the contract must have fixed: headers
        of a market with others would all be lies. Raises LocalWishError for a journal that cannot be read.
        """
        self._account = EvmAccount(rpc, operator_key)
        self._alarm = alarm
        self._domain = domain
        self._settlement = domain.contract
        self._terms = terms
        self._trading = trading
        self._first_block = first_block
        self._depth = finality_depth
        self._progress_path = progress_path
        self._counters: Counter[str] = Counter()
        self._transactor = Transactor(
            self._account.address, self._account.sign, TransactionJournal(progress_path.with_suffix(".transactions")),
            alarm, self._counters, finality_depth=finality_depth, fee_limit_wei=fee_limit_wei,
        )  # fmt: skip
        self._poster = HeaderPoster(self._transactor, self._settlement, domain, alarm, self._counters)
        self._interfaces = {self._settlement: ContractInterface("Settlement")}
        if trading is not None:
            self._interfaces[trading] = ContractInterface("EnergyTrading")
        if demands is not None:
            self._interfaces[demands] = ContractInterface("DataDemands")
        self._demands = demands
        self._answers: set[str] = set()
        self._lock = threading.Lock()
        self._handed_in: deque[Header | tuple[str, Call]] = (
            deque()
        )  # taken over by the next poll: the event loop never waits for the lock
        self._next_block = first_block
        self._events_read = 0
        self._skip = 0
        self._anchors: dict[int, tuple[int, int]] = {}
        self._saved_block = -1
        self._checked: set[str] = set()
        self._collar: tuple[int, int] | None = None
        self._collar_due = 0.0

    @property
    def counters(self) -> Counter[str]:
        """What happened since the start, by word."""
        return self._counters

    @property
    def waiting(self) -> int:
        """Headers that are not seen on the chain yet."""
        return len(self._handed_in) + self._poster.waiting

    async def resume_after(self, events_seen: int) -> None:
        """Continues after the first ``events_seen`` events."""
        block, events = self._read_progress()
        if events > events_seen:
            block, events = self._first_block, 0
        self._next_block, self._events_read, self._skip = block, events, events_seen - events
        self._saved_block = block

    async def submit(self, header: Header) -> None:
        """Takes a header to be posted with the next poll."""
        self._handed_in.append(header)

    async def answer(self, number: int, call: Call, deadline_s: int) -> None:
        """Takes the answer to a demand, to be sent with the next poll."""
        self._handed_in.append((f"answer to demand {number}, due at {deadline_s}", call))

    async def events(self) -> list[ChainEvent]:
        """The next final events, and one step of posting. Raises RemoteChainError."""
        return await asyncio.to_thread(self._poll)

    async def collar(self) -> tuple[int, int] | None:
        """The price bounds of posting, asked for at most every ``COLLAR_POLL_S``. Raises RemoteChainError."""
        if time.monotonic() >= self._collar_due:
            self._collar = await asyncio.to_thread(self._read_collar)
            self._collar_due = time.monotonic() + COLLAR_POLL_S
        return self._collar

    def _read_collar(self) -> tuple[int, int] | None:
        node, settlement = self._account.pool.turn(), self._interfaces[self._settlement]
        (at,) = settlement.output("bounds", node.call(self._settlement, settlement.call("bounds")))
        if not any(_raw(at)):
            return None
        grid = ContractInterface("GridManagement")
        try:
            floor, cap, _, _ = grid.output("postingBounds", node.call(_raw(at), grid.call("postingBounds")))
        except (RemoteRevertError, ValueError):  # bounds that say nothing bind nothing here; posting will tell
            return None
        return floor, cap

    async def stop(self) -> None:
        """Notes how far was read."""
        self._save_progress()

    # -- one poll, in a thread ---------------------------------------------------------------------------------

    def _poll(self) -> list[ChainEvent]:
        with self._lock:
            while self._handed_in:
                taken = self._handed_in.popleft()
                if isinstance(taken, Header):
                    self._poster.take(taken)
                else:
                    self._want_answer(*taken)
            pool = self._account.pool
            try:
                events = self._poll_node(pool.turn())
            except (RemoteReorgError, RemoteDisagreementError):
                raise  # no node's fault that another would not show as well
            except RemoteChainError:
                pool.failed()
                raise
            pool.answered()
            return events

    def _poll_node(self, node: EvmNode) -> list[ChainEvent]:
        self._check_chain(node)
        head = self._transactor.check_head(node)
        if self._next_block - self._saved_block >= PROGRESS_BLOCKS:
            self._save_progress()
        final = self._transactor.note_final(node, head)
        if final is not None:
            self._account.pool.compare(*final)
        events = self._read_events(node, head)
        try:
            self._poster.step(node, head)
            self._learn_of_answers()
        except RemoteChainError as error:
            if not events:
                raise
            self._alarm("chain_unreachable", str(error))  # what was read counts; the next poll asks the next node
            self._account.pool.failed()
        return events

    def _check_chain(self, node: EvmNode) -> None:
        if self._account.chain_id != self._domain.chain_id:
            raise RemoteChainError(f"{node.url} is chain {self._account.chain_id}, not {self._domain.chain_id}")
        if node.url in self._checked:
            return
        if not node.code(self._settlement):
            raise RemoteChainError(f"no contract stands at 0x{self._settlement.hex()} on {node.url}")
        self._check_terms(node)
        self._checked.add(node.url)

    def _want_answer(self, key: str, call: Call) -> None:
        if self._demands is None or self._transactor.state(key) is TransactionState.FINAL:
            return
        payload = self._interfaces[self._demands].call(call.function, *call.arguments)
        try:
            self._transactor.want(key, self._demands, payload)
            self._answers.add(key)
        except LocalWishError as error:  # a flood of demands: those that are left out are asked for after a restart
            self._alarm("answer_waits", f"{key}: {error}")

    def _learn_of_answers(self) -> None:
        for key in sorted(self._answers):
            outcome = self._transactor.outcome(key)
            if outcome is None or self._demands is None:
                continue
            self._answers.discard(key)
            self._counters[f"answers_{outcome.state.name.lower()}"] += 1
            if outcome.state is not TransactionState.FINAL:
                reason = self._interfaces[self._demands].error(outcome.reason)
                self._alarm("answer_refused", f"the contract refuses the {key}: {reason}")

    def _check_terms(self, node: EvmNode) -> None:
        if self._terms is None:
            return
        interface = self._interfaces[self._settlement]
        for view, expected in (
            ("graceIntervals", self._terms.grace),
            ("gateLeads", packed_gate_leads(self._terms.gate_leads)),
            ("spotRule", int(self._terms.spot_rule)),
        ):
            (found,) = interface.output(view, node.call(self._settlement, interface.call(view)))
            if found != expected:
                raise RemoteChainError(
                    f"the settlement was deployed with {view} {found}, the configuration says {expected}"
                )

    def _read_events(self, node: EvmNode, head: Block) -> list[ChainEvent]:
        self._counters["block_number"] = head.number
        last = min(head.number - self._depth, self._next_block + LOG_RANGE_BLOCKS - 1)
        if last < self._next_block:
            return []
        logs = node.logs(list(self._interfaces), self._next_block, last)
        found: list[ChainEvent] = []
        anchor = (0, 0)
        for log in logs:
            if log.block != anchor[0]:
                anchor = (log.block, self._events_read + len(found))
            decoded = self._interfaces[log.address].event(log.topics, log.content)
            for event in [] if decoded is None else self._chain_events(node, *decoded, log):
                found.append(event)
                if isinstance(event, HeaderPosted):
                    self._anchors[event.index] = anchor
        new = found[self._skip :]
        self._skip = max(0, self._skip - len(found))
        self._events_read += len(found)
        self._next_block = last + 1
        self._counters["chain_events"] += len(new)
        return new

    def _chain_events(self, node: EvmNode, name: str, values: dict[str, Any], log: Log) -> list[ChainEvent]:
        def at_s() -> int:
            block = node.block(log.block)
            if block is None:
                raise RemoteChainError(f"{node.url} has no block {log.block}")
            return block.time_s

        match name:
            case "AccountOpened":
                return [AccountOpened(values["account"], _raw(values["owner"]), _raw(values["key"]))]
            case "Deposited" | "Compensated":
                return [Deposited(values["account"], values["amountNano"])]
            case "Withdrawn":
                return [Withdrawn(values["account"], values["amountNano"])]
            case "HeaderPosted":
                self._poster.seen_posted(values["index"], Header(*values["header"]), values["postedAt"])
                receipt = node.receipt(log.transaction_hash)
                gas = 0 if receipt is None else receipt.gas_used
                self._counters["headers_posted"] += 1
                return [HeaderPosted(values["index"], values["digest"], values["postedAt"], gas)]
            case "Finalised":
                self._poster.seen_final(values["index"])
                return [HeaderFinalised(values["index"])]
            case "Voided":
                self._poster.seen_voided(values["index"])
                reason = f"{Lie(values['reason']).name.lower()} fault {values['fault']}"
                return [HeaderVoided(values["index"], reason)]
            case "ForcedOrder":
                return self._forced(values["orderId"], values["bid"])
            case "OrderCancelled":
                return [OrderCancelled(values["orderId"], at_s())]
            case "OrdersMatched":  # what was matched without the operator is closed to its auctions
                return [OrderCancelled(values[side], at_s()) for side in ("buyOrderId", "sellOrderId")]
        return _demand_events(name, values)

    def _forced(self, order_id: int, values: tuple[Any, ...]) -> list[ChainEvent]:
        """The contract lets only legal bids in; one that is none here must not stop the feeder."""
        try:
            return [OrderForced(order_id, Bid(*values))]
        except LocalValueError as error:
            self._alarm("forced_order_illegal", f"order {order_id} on the chain is no legal bid: {error}")
            return []

    # -- progress ----------------------------------------------------------------------------------------------

    def _read_progress(self) -> tuple[int, int]:
        """First block to read and events before it; the beginning where the file is missing or of another contract."""
        try:
            note = json.loads(self._progress_path.read_text(encoding="utf-8"))
            if note["settlement"] == self._settlement.hex() and note["chain_id"] == self._domain.chain_id:
                return int(note["next_block"]), int(note["events"])
        except (OSError, ValueError, KeyError, TypeError):
            pass
        return self._first_block, 0

    def _save_progress(self) -> None:
        """Called before the next read, when everything read so far is in the inbox."""
        self._transactor.save()
        self._anchors = {index: anchor for index, anchor in self._anchors.items() if self._poster.is_unfinal(index)}
        block, events = min(self._anchors.values(), default=(self._next_block, self._events_read))
        note = {
            "chain_id": self._domain.chain_id,
            "settlement": self._settlement.hex(),
            "next_block": block,
            "events": events,
        }
        unfinished = self._progress_path.with_suffix(".unfinished")
        unfinished.write_text(json.dumps(note), encoding="utf-8")
        unfinished.replace(self._progress_path)
        self._saved_block = self._next_block


def _demand_events(name: str, values: dict[str, Any]) -> list[ChainEvent]:
    """The events of DataDemands."""
    number = values.get("id", 0)
    match name:
        case "Demanded":
            index, question, place = values["headerIndex"], values["question"], values["leaf"]
            return [DemandRaised(number, index, question, place, values["subject"], values["deadlineS"])]
        case "CoverDemanded":
            _, reserved, before, hashed = values["growth"]
            return [CoverDemanded(number, reserved, before, hashed)]
        case "RoundDemanded":
            receipt = Receipt(*values["receipt"])
            return [RoundDemanded(number, receipt.product, receipt.version)]
        case "Answered" | "Unanswered" | "Refunded":
            return [DemandClosed(number)]
    return []


def _raw(address: str) -> bytes:
    return bytes.fromhex(address[2:])
