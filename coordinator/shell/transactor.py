"""Carries out the table of ``transaction_table`` with one key: wishes in, transactions out, each done once.

    want(key, to, payload) ──▶ step(): look at what is out ─▶ fill gaps ─▶ sign what is wanted ─▶ outcome(key)

The journal is a small file beside the store: every signed transaction is in it before any node hears of it, and with it
the deepest block that was taken for final. If that block is another one some day, a reorg went deeper than expected or
the store belongs to another chain: the transactor says so and does nothing more.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

from coordinator.shell.chain_port import RemoteChainError, ReportAlarm
from coordinator.shell.evm_node import Block, Receipt, RemoteRefusalError, RemoteRevertError, SentTransaction
from coordinator.shell.transaction_journal import LocalWishError, TransactionJournal
from coordinator.transaction_table import (
    DONE,
    LIVE,
    Act,
    Attempt,
    Fee,
    Sighting,
    Transaction,
    TransactionState,
    after,
    fee_limit,
    is_stuck,
    missing_nonces,
    next_nonce,
    raised,
    replaced,
    signed,
)

FLIGHT_LIMIT = 8
"""Transactions out at once: what most nodes keep of one account without question."""
WISH_LIMIT = 256
"""Wishes at once: a day of headers, twice over. More means that nothing has been mined for days."""
OUTCOME_LIMIT = 512
"""Outcomes kept for whoever asks: twice the wishes."""
SEND_ATTEMPTS = 5
"""Raises of the fee within one step when a node says that a replacement pays too little."""
FILLER_GAS = 21_000
LOW_GAS_TRANSACTIONS = 50
"""Below the cost of so many more transactions (half a day of headers) the operator is told to add gas coins."""


class RemoteReorgError(RemoteChainError):
    """A block that was final is another one now. Nothing is done until a person has looked."""


class Node(Protocol):
    """What is asked of a node."""

    def block(self, number: int | None = None) -> Block | None:
        """A block by number, the newest for None."""

    def nonce(self, address: bytes, block: int | None = None) -> int:
        """Number of an account's transactions up to a block."""

    def receipt(self, transaction_hash: bytes) -> Receipt | None:
        """The receipt of a mined transaction."""

    def transaction(self, transaction_hash: bytes) -> SentTransaction | None:
        """A transaction that the node knows."""

    def fee(self) -> Fee:
        """What the network asks."""

    def balance_wei(self, address: bytes) -> int:
        """Gas coins."""

    def estimate(self, sender: bytes, to: bytes | None, payload: bytes, value_wei: int = 0) -> int:
        """Gas that it takes. Raises RemoteRevertError."""

    def send_raw(self, raw: bytes) -> None:
        """Takes a signed transaction. Raises RemoteRefusalError."""


Sign = Callable[[bytes | None, bytes, int, int, Fee, int], Attempt]
"""From receiver, payload, nonce, gas, fee and value to a signed form."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a wish. ``reason`` is the output of the refusal where it was abandoned."""

    state: TransactionState
    block: int | None = None
    reason: bytes = b""


class Transactor:
    """One key's transactions. ``step`` does as much as is possible without waiting."""

    def __init__(
        self,
        address: bytes,
        sign: Sign,
        journal: TransactionJournal,
        alarm: ReportAlarm,
        counters: Counter[str],
        *,
        finality_depth: int,
        fee_limit_wei: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Raises LocalWishError where the journal cannot be read."""
        self.address = address
        self._sign = sign
        self._journal = journal
        self._alarm = alarm
        self._counters = counters
        self._depth = finality_depth
        self._fee_limit_wei = fee_limit_wei
        self._clock = clock
        out, self._anchor = journal.load()
        self._transactions: dict[str, Transaction] = {transaction.key: transaction for transaction in out}
        self._outcomes: dict[str, Outcome] = {}
        self._resumed = bool(out)

    # -- wishes ------------------------------------------------------------------------------------------------

    def want(self, key: str, to: bytes | None, payload: bytes, value_wei: int = 0) -> None:
        """Takes a wish; the same one again changes nothing while it is under way. Raises LocalWishError."""
        known = self._transactions.get(key)
        if known is not None:
            if (known.to, known.payload, known.value_wei) != (to, payload, value_wei):
                raise LocalWishError(f"{key} is the name of another transaction")
            return
        if len(self._transactions) >= WISH_LIMIT:
            raise LocalWishError(f"{WISH_LIMIT} transactions are wanted already")
        self._outcomes.pop(key, None)
        self._transactions[key] = Transaction(key, to, payload, value_wei)

    def forget(self, key: str) -> None:
        """Takes a wish back that has no nonce yet; one that is out cannot be taken back."""
        known = self._transactions.get(key)
        if known is not None and known.state is TransactionState.WANTED:
            del self._transactions[key]

    def state(self, key: str) -> TransactionState | None:
        """Where a wish is, also for a while after it is done; None for one that was never wanted."""
        known = self._transactions.get(key)
        if known is not None:
            return known.state
        outcome = self._outcomes.get(key)
        return None if outcome is None else outcome.state

    def outcome(self, key: str) -> Outcome | None:
        """What became of a wish, None while it is under way."""
        return self._outcomes.get(key)

    @property
    def under_way(self) -> list[Transaction]:
        """Everything that is not done, by nonce, wishes last."""
        return sorted(
            self._transactions.values(), key=lambda t: (t.nonce is None, t.nonce if t.nonce is not None else 0)
        )

    # -- one step ----------------------------------------------------------------------------------------------

    def check_head(self, node: Node) -> Block:
        """The newest block, after the check that what was final still is.

        Raises RemoteReorgError; RemoteChainError where the node is behind.
        """
        head = node.block()
        if head is None:
            raise RemoteChainError("the node has no blocks")
        if self._anchor is not None:
            number, expected = self._anchor
            standing = node.block(number)
            if standing is None or head.number - self._depth < number:
                raise RemoteChainError(f"the node is behind: newest block {head.number}, {number} was final before")
            if standing.hash != expected:
                text = (
                    f"block {number} was final as 0x{expected.hex()} and is 0x{standing.hash.hex()} now: "
                    f"a reorg deeper than {self._depth} blocks, or another chain; nothing more is done"
                )
                self._counters["deep_reorgs"] += 1
                self._alarm("deep_reorg", text)
                raise RemoteReorgError(text)
        return head

    def note_final(self, node: Node, head: Block) -> tuple[int, bytes] | None:
        """Takes the block at the finality depth for final from now on; the newest that is."""
        number = head.number - self._depth
        if number >= 0 and (self._anchor is None or number > self._anchor[0]):
            block = head if self._depth == 0 else node.block(number)
            if block is None:
                raise RemoteChainError(f"the node has no block {number}")
            self._anchor = (number, block.hash)
        return self._anchor

    def save(self) -> None:
        """Makes what is out, and the anchor, durable."""
        self._journal.save([t for t in self.under_way if t.state in LIVE], self._anchor)

    def step(self, node: Node, head: Block) -> bool:
        """Moves everything on as far as this node and its newest block allow; whether anything changed.

        Raises RemoteChainError.
        """
        if not self._transactions:
            return False
        before = dict(self._transactions)
        if self._resumed:  # how long they waited before the restart is not known: their patience begins anew
            self._resumed = False
            for t in before.values():
                self._put(replace(t, since_block=head.number, since_s=int(self._clock())))
        if any(t.state in LIVE for t in self._transactions.values()):
            self._look(node, head)
            self._fill_gaps(node, head)
        if any(t.state is TransactionState.WANTED for t in self._transactions.values()):
            self._sign_wanted(node, head)
        changed = self._transactions != before
        if changed:
            self.save()
        return changed

    def _look(self, node: Node, head: Block) -> None:
        # The nonce first and the receipts after it: the other way round, a transaction that is mined in between looks
        # like somebody else's.
        final_nonce = node.nonce(self.address, max(0, head.number - self._depth))
        for transaction in self.under_way:
            if transaction.state in LIVE:
                sighting, block = self._sighting(node, head, transaction, final_nonce)
                self._apply(node, head, transaction, sighting, block)

    def _sighting(
        self, node: Node, head: Block, transaction: Transaction, final_nonce: int
    ) -> tuple[Sighting, int | None]:
        assert transaction.nonce is not None
        for attempt in reversed(transaction.attempts):
            receipt = node.receipt(attempt.hash)
            if receipt is None:
                continue
            if receipt.block > head.number - self._depth:
                return Sighting.IN_A_BLOCK if receipt.succeeded else Sighting.FAILED_IN_A_BLOCK, receipt.block
            return Sighting.DEEP if receipt.succeeded else Sighting.FAILED_DEEP, receipt.block
        if final_nonce > transaction.nonce:
            return Sighting.FOREIGN, None
        if is_stuck(transaction, head.number, int(self._clock())):
            return Sighting.STUCK, None
        known = node.transaction(transaction.attempts[-1].hash)
        return Sighting.DROPPED if known is None else Sighting.PENDING, None

    def _apply(
        self, node: Node, head: Block, transaction: Transaction, sighting: Sighting, block: int | None = None
    ) -> None:
        was = transaction.state
        transaction, act = after(transaction, sighting, block)
        self._put(transaction)
        if was is not transaction.state:
            self._count(was, transaction)
        match act:
            case Act.SEND:
                self._send(node, head, transaction)
            case Act.RAISE:
                self._raise(node, head, transaction)
            case Act.TELL:
                self._alarm("transaction_reverted", f"{transaction.key} reverted in block {transaction.block}")
            case Act.NOTHING:
                pass

    def _count(self, was: TransactionState, transaction: Transaction) -> None:
        if transaction.state in DONE:
            self._counters[f"transactions_{transaction.state.name.lower()}"] += 1
        elif was in (TransactionState.INCLUDED, TransactionState.FAILED) and transaction.state is TransactionState.SENT:
            self._counters["transactions_reorged"] += 1
        elif transaction.state is TransactionState.WANTED:
            self._counters["transactions_displaced"] += 1
            self._alarm("foreign_transaction", f"somebody else used the nonce of {transaction.key} with this key")

    def _put(self, transaction: Transaction, reason: bytes = b"") -> None:
        if transaction.state not in DONE:
            self._transactions[transaction.key] = transaction
            return
        del self._transactions[transaction.key]
        self._outcomes[transaction.key] = Outcome(transaction.state, transaction.block, reason)
        while len(self._outcomes) > OUTCOME_LIMIT:
            del self._outcomes[next(iter(self._outcomes))]

    # -- sending -----------------------------------------------------------------------------------------------

    def _fill_gaps(self, node: Node, head: Block) -> None:
        """What came before ours was somebody else's and a reorg took it away: ours would wait for it for ever."""
        mined = node.nonce(self.address)
        for nonce in missing_nonces(mined, list(self._transactions.values())):
            key = f"filler of nonce {nonce}"
            if key not in self._transactions:
                self._counters["nonces_filled"] += 1
                self._launch(node, head, Transaction(key, self.address, b"", filler=True), nonce, FILLER_GAS)

    def _sign_wanted(self, node: Node, head: Block) -> None:
        mined = node.nonce(self.address)
        for transaction in self.under_way:
            out = sum(t.state in LIVE for t in self._transactions.values())
            if transaction.state is not TransactionState.WANTED or out >= FLIGHT_LIMIT:
                continue
            try:
                gas = node.estimate(self.address, transaction.to, transaction.payload, transaction.value_wei)
            except RemoteRevertError as error:
                self._put(after(transaction, Sighting.REFUSED)[0], error.output)
                self._counters["transactions_abandoned"] += 1
                continue
            nonce = next_nonce(mined, list(self._transactions.values()))
            if not self._launch(node, head, transaction, nonce, gas):
                return

    def _launch(self, node: Node, head: Block, transaction: Transaction, nonce: int, gas: int) -> bool:
        fee = node.fee()
        limit = self._fee_limit_wei
        if limit is not None and fee.most_wei > limit:
            self._alarm("gas_price", f"gas costs {fee.most_wei} wei, more than the limit of {limit}")
            return False
        if node.balance_wei(self.address) < LOW_GAS_TRANSACTIONS * gas * fee.most_wei:
            self._alarm(
                "low_gas", f"0x{self.address.hex()} holds gas for fewer than {LOW_GAS_TRANSACTIONS} transactions"
            )
        attempt = self._sign(transaction.to, transaction.payload, nonce, gas, fee, transaction.value_wei)
        transaction = signed(transaction, nonce, gas, attempt, head.number, int(self._clock()))
        self._put(transaction)
        self._send(node, head, transaction)
        return True

    def _send(self, node: Node, head: Block, transaction: Transaction) -> None:
        """Gives the newest attempt to the node, and dearer ones while it says that they pay too little."""
        for _ in range(SEND_ATTEMPTS):
            self.save()
            self._counters["transactions_sent"] += 1
            answer, text = self._offer(node, transaction)
            _, act = after(transaction, answer)
            if act is Act.TELL:
                self._alarm("transaction_refused", f"the node does not take {transaction.key}: {text}")
            if answer is Sighting.NOT_REACHED:
                raise RemoteChainError(text)  # it may have arrived: the next look tells
            if act is not Act.RAISE:
                return
            dearer = self._dearer(node, head, transaction)
            if dearer is None:
                return
            transaction = dearer

    def _offer(self, node: Node, transaction: Transaction) -> tuple[Sighting, str]:
        try:
            node.send_raw(transaction.attempts[-1].raw)
        except RemoteRefusalError as error:
            return error.sighting, str(error)
        except RemoteChainError as error:
            return Sighting.NOT_REACHED, str(error)
        return Sighting.TAKEN, ""

    def _raise(self, node: Node, head: Block, transaction: Transaction) -> None:
        dearer = self._dearer(node, head, transaction)
        self._counters["transactions_stuck"] += 1
        self._send(node, head, transaction if dearer is None else dearer)

    def _dearer(self, node: Node, head: Block, transaction: Transaction) -> Transaction | None:
        """The same under a higher fee, noted; None where the limit is reached."""
        assert transaction.nonce is not None
        limit = fee_limit(transaction, self._fee_limit_wei)
        fee = raised(transaction.fee, node.fee(), limit)
        if fee is None:
            self._alarm("fee_limit", f"{transaction.key} waits: a higher fee is above the limit of {limit} wei")
            now_s = int(self._clock())
            self._put(replace(transaction, since_block=head.number, since_s=now_s))
            return None
        attempt = self._sign(
            transaction.to, transaction.payload, transaction.nonce, transaction.gas, fee, transaction.value_wei
        )
        dearer = replaced(transaction, attempt, head.number, int(self._clock()))
        self._put(dearer)
        return dearer
