"""The settlement contract on an EVM chain, over a node's RPC URL: headers out, events in.

    submit(header) ──▶ poster ──▶ node                 node ──▶ logs up to (newest block - finality depth) ──▶ events()

Every event reaches the core exactly once: the inbox knows how many it holds, and a small file beside the store notes a
block and how many events came before it, so that a restart reads again from there and leaves out what is held already.
That block is never after the oldest header that is not final: what is still to be made final is learnt again.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections import Counter, deque
from pathlib import Path
from typing import Any

from contracts.eip712 import Domain, LocalValueError
from contracts.messages import Bid, Header
from coordinator.chain_events import (
    AccountOpened,
    ChainEvent,
    Deposited,
    HeaderFinalised,
    HeaderPosted,
    HeaderVoided,
    OrderCancelled,
    OrderForced,
    Withdrawn,
)
from coordinator.shell.chain_port import RemoteChainError, ReportAlarm
from coordinator.shell.evm_account import EvmAccount
from coordinator.shell.evm_contract import ContractInterface
from coordinator.shell.poster import HeaderPoster

LOG_RANGE_BLOCKS = 2_000
"""Blocks asked for at once: below the limit of every public node."""
PROGRESS_BLOCKS = 500
"""The progress file is written at most once in so many quiet blocks; it only saves reading them again."""
LIES = ("NodeSum", "Leaf", "Auction", "Totals", "Fill", "Signature", "Balance")
"""Names of ``ISettlement.Lie`` by number."""


class SettlementChain:
    """The chain of one Settlement contract, posted to with the operator's key."""

    def __init__(
        self,
        rpc_url: str,
        operator_key: bytes,
        domain: Domain,
        progress_path: Path,
        alarm: ReportAlarm,
        *,
        trading: bytes | None = None,
        first_block: int = 0,
        finality_depth: int = 0,
        fee_limit_wei: int | None = None,
    ) -> None:
        """``domain`` names the chain and the Settlement contract; ``first_block`` is where that was deployed.

        ``finality_depth`` is how many blocks must follow before an event counts: 0 on a chain without reorgs.
        """
        self._account = EvmAccount(rpc_url, operator_key)
        self._alarm = alarm
        self._domain = domain
        self._settlement = domain.contract
        self._trading = trading
        self._first_block = first_block
        self._depth = finality_depth
        self._progress_path = progress_path
        self._counters: Counter[str] = Counter()
        self._poster = HeaderPoster(
            self._account, self._settlement, domain, alarm, self._counters,
            finality_depth=finality_depth, fee_limit_wei=fee_limit_wei,
        )  # fmt: skip
        self._interfaces = {self._settlement: ContractInterface("Settlement")}
        if trading is not None:
            self._interfaces[trading] = ContractInterface("EnergyTrading")
        self._lock = threading.Lock()
        self._handed_in: deque[Header] = deque()  # taken over by the next poll: the event loop never waits for the lock
        self._next_block = first_block
        self._events_read = 0
        self._skip = 0
        self._anchors: dict[int, tuple[int, int]] = {}
        self._saved_block = -1
        self._checked = False

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

    async def events(self) -> list[ChainEvent]:
        """The next final events, and one step of posting. Raises RemoteChainError."""
        return await asyncio.to_thread(self._poll)

    async def stop(self) -> None:
        """Notes how far was read."""
        self._save_progress()

    # -- one poll, in a thread ---------------------------------------------------------------------------------

    def _poll(self) -> list[ChainEvent]:
        with self._lock:
            while self._handed_in:
                self._poster.take(self._handed_in.popleft())
            self._check_chain()
            if self._next_block - self._saved_block >= PROGRESS_BLOCKS:
                self._save_progress()
            events = self._read_events()
            self._poster.step()
            return events

    def _check_chain(self) -> None:
        if self._checked:
            return
        if self._account.chain_id != self._domain.chain_id:
            raise RemoteChainError(
                f"{self._account.url} is chain {self._account.chain_id}, not {self._domain.chain_id}"
            )
        if not self._account.code(self._settlement):
            raise RemoteChainError(f"no contract stands at 0x{self._settlement.hex()} on {self._account.url}")
        self._checked = True

    def _read_events(self) -> list[ChainEvent]:
        newest = self._account.block_number()
        self._counters["block_number"] = newest
        last = min(newest - self._depth, self._next_block + LOG_RANGE_BLOCKS - 1)
        if last < self._next_block:
            return []
        logs = self._account.logs(list(self._interfaces), self._next_block, last)
        found: list[ChainEvent] = []
        anchor = (0, 0)
        for log in sorted(logs, key=lambda entry: (entry["blockNumber"], entry["logIndex"])):
            if log["blockNumber"] != anchor[0]:
                anchor = (log["blockNumber"], self._events_read + len(found))
            interface = self._interfaces[bytes.fromhex(log["address"][2:])]
            decoded = interface.event([bytes(topic) for topic in log["topics"]], bytes(log["data"]))
            event = None if decoded is None else self._chain_event(*decoded, bytes(log["transactionHash"]))
            if event is not None:
                found.append(event)
            if isinstance(event, HeaderPosted):
                self._anchors[event.index] = anchor
        new = found[self._skip :]
        self._skip = max(0, self._skip - len(found))
        self._events_read += len(found)
        self._next_block = last + 1
        self._counters["chain_events"] += len(new)
        return new

    def _chain_event(self, name: str, values: dict[str, Any], transaction_hash: bytes) -> ChainEvent | None:
        match name:
            case "AccountOpened":
                return AccountOpened(values["account"], _raw(values["owner"]), _raw(values["key"]))
            case "Deposited" | "Compensated":
                return Deposited(values["account"], values["amountNano"])
            case "Withdrawn":
                return Withdrawn(values["account"], values["amountNano"])
            case "HeaderPosted":
                header = Header(*values["header"])
                self._poster.seen_posted(values["index"], header, values["postedAt"])
                receipt = self._account.receipt(transaction_hash)
                gas = 0 if receipt is None else int(receipt["gasUsed"])
                self._counters["headers_posted"] += 1
                return HeaderPosted(values["index"], values["digest"], values["postedAt"], gas)
            case "Finalised":
                self._poster.seen_final(values["index"])
                return HeaderFinalised(values["index"])
            case "Voided":
                self._poster.seen_voided(values["index"])
                return HeaderVoided(values["index"], f"{LIES[values['reason']]} fault {values['fault']}")
            case "ForcedOrder":
                return self._forced(values["orderId"], values["bid"])
            case "OrderCancelled":
                return OrderCancelled(values["orderId"])
        return None

    def _forced(self, order_id: int, values: tuple[Any, ...]) -> ChainEvent | None:
        """The contract lets only legal bids in; one that is none here must not stop the feeder."""
        try:
            return OrderForced(order_id, Bid(*values))
        except LocalValueError as error:
            self._alarm("forced_order_illegal", f"order {order_id} on the chain is no legal bid: {error}")
            return None

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


def _raw(address: str) -> bytes:
    return bytes.fromhex(address[2:])
