"""Decides which header is to be posted and which to be made final; the ``Transactor`` brings both onto the chain.

    take(header) ─▶ wanted once its previous is the contract's tip ─▶ seen_posted, by the event beyond finality depth

Why it can never post twice: a header is only wanted while its ``previous`` is the tip, which it no longer is once it
stands there; the contract refuses a second one by the same rule, so even two coordinators with one key post it once.
"""

from __future__ import annotations

import time
from collections import Counter

from contracts.eip712 import Domain, layout
from contracts.header_rules import header_digest
from contracts.messages import Header
from coordinator.shell.chain_port import RemoteChainError, ReportAlarm
from coordinator.shell.evm_contract import ContractInterface
from coordinator.shell.evm_node import Block, EvmNode
from coordinator.shell.transactor import Transactor
from coordinator.transaction_table import TransactionState

STEPS_A_POLL = 40
"""Moves within one poll on a chain that mines at once: two a header, so it catches up a quarter of a day a second."""
PAUSE_S = 15
"""A header that was refused or reverted is not at once tried again: what made it so changes with blocks."""
FINALISE_GROUP = 4
"""Headers whose window is over before one transaction makes them all final: an hour's worth."""
PATIENT_REASONS = ("IntervalNotOver", "StillChallengeable", "AlreadyFinal")
"""Too early by the chain's clock, or made final by somebody else: normal, and over by itself."""

UNDONE = (TransactionState.ABANDONED, TransactionState.REVERTED)


def header_words(header: Header) -> tuple[int | bytes, ...]:
    """The header as the contract's struct."""
    return tuple(getattr(header, name) for name, _ in layout(Header).columns)


class HeaderPoster:
    """Posts the headers it is given, each once, in the order of the chain."""

    def __init__(
        self,
        transactor: Transactor,
        settlement: bytes,
        domain: Domain,
        alarm: ReportAlarm,
        counters: Counter[str],
    ) -> None:
        self._transactor = transactor
        self._settlement = settlement
        self._domain = domain
        self._alarm = alarm
        self._counters = counters
        self._interface = ContractInterface("Settlement")
        self._waiting: dict[bytes, Header] = {}
        self._unfinal: dict[int, tuple[Header, int, bytes]] = {}
        self._wanted: list[str] = []
        self._paused_until_s = 0.0
        self._window_s: int | None = None

    @property
    def waiting(self) -> int:
        """Headers that are not seen on the chain yet."""
        return len(self._waiting)

    def is_unfinal(self, index: int) -> bool:
        """Whether the header at ``index`` stands on the chain and may still be challenged."""
        return index in self._unfinal

    def take(self, header: Header) -> None:
        """Adds a header to post; one that is here or on the chain already changes nothing."""
        digest = header_digest(header, self._domain)
        if digest not in {standing for _, _, standing in self._unfinal.values()}:
            self._waiting[digest] = header

    def seen_posted(self, index: int, header: Header, posted_at_s: int) -> None:
        """The chain says, beyond its finality depth, that this header stands at ``index``."""
        digest = header_digest(header, self._domain)
        self._waiting.pop(digest, None)
        self._unfinal[index] = (header, posted_at_s, digest)

    def seen_final(self, index: int) -> None:
        """The header at ``index`` and all before it are final."""
        self._unfinal = {i: entry for i, entry in self._unfinal.items() if i > index}

    def seen_voided(self, index: int) -> None:
        """The header at ``index`` and all after it are void."""
        self._unfinal = {i: entry for i, entry in self._unfinal.items() if i < index}

    def step(self, node: EvmNode, head: Block) -> None:
        """Moves on as far as the chain allows now. Raises RemoteChainError."""
        for _ in range(STEPS_A_POLL):
            moved = self._transactor.step(node, head)
            if self._learn():
                return
            if time.monotonic() >= self._paused_until_s and not self._busy():
                moved = self._want_next(node, head) or moved
            if not moved:
                return
            newest = node.block()
            if newest is None:
                raise RemoteChainError(f"{node.url} has no blocks")
            head = newest

    def _learn(self) -> bool:
        """What became of what was wanted; whether anything was refused, which the same block would do again."""
        refused = False
        for key in list(self._wanted):
            outcome = self._transactor.outcome(key)
            if outcome is None:
                continue
            self._wanted.remove(key)
            if outcome.state is TransactionState.REVERTED:
                self._paused_until_s = time.monotonic() + PAUSE_S
            if outcome.state is TransactionState.ABANDONED:
                refused = True
                self._refused(key, self._interface.error(outcome.reason))
        return refused

    def _refused(self, key: str, reason: str) -> None:
        """The contract would revert."""
        self._counters["posts_refused"] += 1
        if reason not in PATIENT_REASONS:
            self._alarm("post_refused", f"the contract refuses the {key}: {reason}")
            self._paused_until_s = time.monotonic() + PAUSE_S

    def _busy(self) -> bool:
        """Whether something wanted is not in a block yet: what comes next would be judged without it."""
        return any(self._transactor.state(key) is not TransactionState.INCLUDED for key in self._wanted)

    def _want_next(self, node: EvmNode, head: Block) -> bool:
        """Wants what is due next; whether anything is."""
        header = self._next_header(node)
        if header is not None:
            digest = header_digest(header, self._domain)
            key = f"header of interval {header.interval} ({digest.hex()[:8]})"
            return self._want(key, self._interface.call("post", header_words(header)))
        due = self._due_to_finalise(node, head)
        if due is None:
            return False
        last, index = due
        return self._want(f"finality of header {index}", self._interface.call("finalise", (header_words(last), index)))

    def _want(self, key: str, payload: bytes) -> bool:
        self._transactor.want(key, self._settlement, payload)
        self._wanted.append(key)
        return True

    def _next_header(self, node: EvmNode) -> Header | None:
        if not self._waiting:
            return None
        returned = node.call(self._settlement, self._interface.call("tipDigest"))
        (tip,) = self._interface.output("tipDigest", returned)
        following = next((h for h in self._waiting.values() if h.previous == tip), None)
        if following is None and tip not in self._waiting:
            self._alarm("foreign_tip", f"the chain's last header 0x{tip.hex()} is not one that ours continue")
        return following

    def _due_to_finalise(self, node: EvmNode, head: Block) -> tuple[Header, int] | None:
        if len(self._unfinal) < FINALISE_GROUP:
            return None
        if self._window_s is None:
            returned = node.call(self._settlement, self._interface.call("finalityWindowS"))
            (self._window_s,) = self._interface.output("finalityWindowS", returned)
        over_before_s = head.time_s - int(self._window_s or 0)
        due = [index for index, (_, posted_at_s, _) in self._unfinal.items() if posted_at_s <= over_before_s]
        if len(due) < FINALISE_GROUP:
            return None
        index = max(due)
        if self._transactor.state(f"finality of header {index}") not in (None, *UNDONE):
            return None  # under way, or done and its event not read yet
        return self._unfinal[index][0], index
