"""The watcher on a real chain: logs in, challenges and demands out.

    node ──logs in order──▶ Watcher ◀──records── whoever serves them
                              │ look()
                              ▼
    would it win now? ──▶ transaction table ──▶ node          only with a key; without one it tells

Everything the watcher knows follows from the chain and the records, so a restart reads both again from the first
header; only what it has sent is noted (the journal of the transaction table).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from contracts.codes import AuctionRule
from contracts.demands import challenge_unanswered
from contracts.eip712 import LocalValueError
from contracts.evidence import Call
from contracts.header_rules import Terms
from contracts.messages import Bid, Header
from coordinator.shell.chain_client import LOG_RANGE_BLOCKS, ChainClient
from coordinator.shell.chain_port import RemoteChainError
from coordinator.shell.evm_contract import ContractInterface
from coordinator.shell.evm_node import Log
from coordinator.watch.watcher import Action, Ask, Expire, File, OpenDemand, Shelf, Warn, Watcher

WATCHED = ("Settlement", "EnergyTrading", "DataDemands")
DEMANDS_ALLOWED = 1_000
"""How many fees the watcher lets the demands contract take before it has to be asked again."""

Tell = Callable[[str, str], None]
"""Takes a fixed word (judged, filed, asked, refused, warning …) and a sentence."""


@dataclass(slots=True)
class Progress:
    """How far the chain was read."""

    next_block: int
    headers: int = 0


def terms_of(client: ChainClient) -> Terms:
    """What the deployment fixed for good, from the chain. Raises RemoteChainError."""
    (grace,) = client.ask("Settlement", "graceIntervals")
    (packed,) = client.ask("Settlement", "gateLeads")
    (rule,) = client.ask("Settlement", "spotRule")
    quarter, hour, day, week = (packed >> 16 * place & 0xFFFF for place in range(4))
    return Terms(grace, (quarter, hour, day, week), AuctionRule(rule))


class Watch:
    """One watcher over one deployment. ``accounts``: whose leaves to demand where a record is withheld."""

    def __init__(self, client: ChainClient, records: Shelf, tell: Tell, accounts: tuple[int, ...] = ()) -> None:
        """Raises RemoteChainError where the chain cannot be asked for its terms."""
        self._client = client
        self._tell = tell
        self.watcher = Watcher(client.deployment.domain, terms_of(client), records, accounts)
        self._interfaces = {client.deployment.address(name): ContractInterface(name) for name in WATCHED}
        self._progress = Progress(client.deployment.first_block)
        self._wanted: dict[str, str] = {}

    def read(self, finality_depth: int = 0) -> int:
        """Reads the chain on; how many headers stand. Raises RemoteChainError."""
        node = self._client.node
        newest = node.block_number() - finality_depth
        while self._progress.next_block <= newest:
            last = min(self._progress.next_block + LOG_RANGE_BLOCKS - 1, newest)
            for log in node.logs(list(self._interfaces), self._progress.next_block, last):
                self._take(log)
            self._progress.next_block = last + 1
        return self._progress.headers

    def actions(self) -> Iterator[Action]:
        """What is to be done at the time of the newest block. Raises RemoteChainError."""
        newest = self._client.node.block()
        return self.watcher.look(0 if newest is None else newest.time_s)

    def act(self, action: Action) -> bool:
        """Does what the watcher wants, where it would hold; whether anything was wanted of the chain."""
        match action:
            case File(call, index, text):
                return self._send("filed", call, f"header {index}: {text}")
            case Ask(demand, text):
                return self._send("asked", demand.call, text)
            case Expire(number, posted):
                call = challenge_unanswered(number, posted)
                return self._send("filed", call, f"header {posted.index}: demand {number} was not answered")
            case Warn(text):
                self._tell("warning", text)
        return False

    def _send(self, word: str, call: Call, text: str) -> bool:
        refusal = self._client.would(call)
        if refusal is not None:
            self._tell("refused", f"{text} ({call.contract}.{call.function} would revert: {refusal})")
            return False
        name = self._client.want(call)
        self._wanted[name] = text
        self._tell(word, f"{text} ({call.contract}.{call.function})")
        return True

    def step(self) -> bool:
        """Moves what was sent on; whether anything is still under way. Raises RemoteChainError."""
        if not self._wanted:
            return False
        self._client.step()
        for name, text in list(self._wanted.items()):
            outcome = self._client.outcome(name)
            if outcome is not None:
                del self._wanted[name]
                self._tell(outcome.state.name.lower(), text)
        return bool(self._wanted)

    def allow_fees(self) -> None:
        """Lets the demands contract take its fees from the watcher's purse. Raises RemoteChainError."""
        demands = "0x" + self._client.deployment.address("DataDemands").hex()
        (fee_nano,) = self._client.ask("DataDemands", "feeNano")
        (units,) = self._client.ask("Settlement", "tokenUnitsPerNano")
        wanted = fee_nano * units * DEMANDS_ALLOWED
        (allowed,) = self._client.ask("EnergyToken", "allowance", "0x" + self._client.sender.hex(), demands)
        if fee_nano and allowed < wanted // DEMANDS_ALLOWED * 10:
            self._client.send(Call("EnergyToken", "approve", (demands, wanted)))

    # -- what the chain said -----------------------------------------------------------------------------------

    def _take(self, log: Log) -> None:
        decoded = self._interfaces[log.address].event(log.topics, log.content)
        if decoded is not None:
            self._apply(*decoded, log)

    def _apply(self, name: str, values: dict[str, Any], log: Log) -> None:
        watcher = self.watcher
        match name:
            case "AccountOpened":
                watcher.on_account(values["account"], bytes.fromhex(values["key"][2:]))
            case "Deposited" | "Compensated":
                watcher.on_deposit(values["account"], values["amountNano"])
            case "HeaderPosted":
                watcher.on_header(Header(*values["header"]), values["index"])
                self._progress.headers = values["index"] + 1
            case "Voided":
                watcher.on_voided(values["index"])
                self._progress.headers = values["index"]
                self._tell("void", f"header {values['index']} and all after it are void")
            case "Finalised":
                watcher.on_final(values["index"])
            case "ForcedOrder":
                self._take_order(values["bid"])
            case "OrderCancelled":
                self._close(values["orderId"], log)
            case "OrdersMatched":
                self._close(values["buyOrderId"], log)
                self._close(values["sellOrderId"], log)
            case "Demanded":
                watcher.on_demand(OpenDemand(values["id"], values["headerIndex"], values["deadlineS"]))
            case "Answered" | "Refunded" | "Unanswered":
                watcher.on_answered(values["id"])

    def _take_order(self, fields: tuple[Any, ...]) -> None:
        try:
            self.watcher.on_order(Bid(*fields))
        except LocalValueError as error:
            self._tell("warning", f"an order on the chain is no legal bid: {error}")

    def _close(self, order_id: int, log: Log) -> None:
        block = self._client.node.block(log.block)
        if block is None:
            raise RemoteChainError(f"block {log.block} is not to be had")
        self.watcher.on_order_closed(order_id >> 32, 1 << 31 | order_id & 0xFFFFFFFF, block.time_s)
