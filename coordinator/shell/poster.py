"""Carries out the table of ``posting``: sends headers one after the other, and makes old ones final.

Blocking; ``step`` is called once a poll and does as much as is possible without waiting.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import replace

from contracts.eip712 import Domain, layout
from contracts.header_rules import header_digest
from contracts.messages import Header
from coordinator.shell.chain_port import RemoteChainError, ReportAlarm
from coordinator.shell.evm_account import EvmAccount, Fee, RemoteRevertError
from coordinator.shell.evm_contract import ContractInterface
from coordinator.shell.posting import NEXT_STATE, REVERT_PAUSE_S, STUCK_AFTER_S, Flight, PostingState, Sighting

STEPS_A_POLL = 20
"""Headers that may be posted within one poll on a chain that mines at once: catches up a quarter of a day a second."""
FEE_ATTEMPTS = 5
"""Raises of the fee within one step when a node says that a replacement pays too little."""
LOW_GAS_TRANSACTIONS = 50
"""Below the cost of this many headers (half a day) the operator is told to add gas coins."""
FINALISE_GROUP = 4
"""Headers whose window is over before one transaction makes them all final: an hour's worth."""


def header_words(header: Header) -> tuple[int | bytes, ...]:
    """The header as the contract's struct."""
    return tuple(getattr(header, name) for name, _ in layout(Header).columns)


class HeaderPoster:
    """Posts the headers it is given, each once, in the order of the chain."""

    def __init__(
        self,
        account: EvmAccount,
        settlement: bytes,
        domain: Domain,
        alarm: ReportAlarm,
        counters: Counter[str],
        *,
        finality_depth: int,
        fee_limit_wei: int | None,
    ) -> None:
        self._account = account
        self._settlement = settlement
        self._domain = domain
        self._alarm = alarm
        self._counters = counters
        self._depth = finality_depth
        self._fee_limit_wei = fee_limit_wei
        self._interface = ContractInterface("Settlement")
        self._waiting: dict[bytes, Header] = {}
        self._unfinal: dict[int, tuple[Header, int, bytes]] = {}
        self._flight: Flight | None = None
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

    def step(self) -> None:
        """Moves on as far as the chain allows now. Raises RemoteChainError."""
        for _ in range(STEPS_A_POLL):
            if self._flight is not None and not self._look():
                return
            if time.monotonic() < self._paused_until_s or not self._launch_next():
                return

    # -- the live transaction ----------------------------------------------------------------------------------

    def _look(self) -> bool:
        """One sighting of the live transaction; whether the way is free for the next."""
        assert self._flight is not None
        flight = replace(self._flight, state=NEXT_STATE[self._flight.state, self._sighting(self._flight)])
        self._flight = flight
        if flight.state is PostingState.IDLE:
            self._flight = None
            return True
        if flight.state is PostingState.REVERTED:
            self._flight = None
            self._counters["transactions_reverted"] += 1
            self._alarm("transaction_reverted", f"{flight.purpose} reverted in 0x{flight.transaction_hash.hex()}")
            self._paused_until_s = time.monotonic() + REVERT_PAUSE_S
            return False
        if flight.state is PostingState.LOST:
            self._counters["transactions_lost"] += 1
            if self._account.next_nonce() > flight.nonce:
                self._flight = None  # another transaction took the nonce; the tip says whether ours is still needed
                return True
            self._send(flight.purpose, flight.payload, flight.nonce, flight.gas, flight.fee.bumped())
        return False

    def _sighting(self, flight: Flight) -> Sighting:
        receipt = self._account.receipt(flight.transaction_hash)
        if receipt is None:
            stuck = time.monotonic() - flight.sent_at_s > STUCK_AFTER_S
            return Sighting.STUCK if stuck else Sighting.NOT_IN_A_BLOCK
        if receipt["status"] != 1:
            return Sighting.FAILED_IN_A_BLOCK
        deep = self._account.block_number() - receipt["blockNumber"] >= self._depth
        return Sighting.DEEP_ENOUGH if deep else Sighting.IN_A_BLOCK

    # -- the next transaction ----------------------------------------------------------------------------------

    def _launch_next(self) -> bool:
        """Sends what is due next; whether anything was sent."""
        header = self._next_header()
        if header is not None:
            payload = self._interface.call("post", header_words(header))
            return self._launch(f"header of interval {header.interval}", payload)
        due = self._due_to_finalise()
        if due is None:
            return False
        return self._launch(f"finalising header {due[1]}", self._interface.call("finalise", due))

    def _next_header(self) -> Header | None:
        if not self._waiting:
            return None
        (tip,) = self._interface.output(
            "tipDigest", self._account.call(self._settlement, self._interface.call("tipDigest"))
        )
        following = next((h for h in self._waiting.values() if h.previous == tip), None)
        if following is None and tip not in self._waiting:
            self._alarm("foreign_tip", f"the chain's last header 0x{tip.hex()} is not one that ours continue")
        return following

    def _due_to_finalise(self) -> tuple[tuple[int | bytes, ...], int, int] | None:
        if len(self._unfinal) < FINALISE_GROUP:
            return None
        if self._window_s is None:
            returned = self._account.call(self._settlement, self._interface.call("finalityWindowS"))
            (self._window_s,) = self._interface.output("finalityWindowS", returned)
        over_before_s = self._account.block_time_s() - int(self._window_s or 0)
        due = [index for index, (_, posted_at_s, _) in self._unfinal.items() if posted_at_s <= over_before_s]
        if len(due) < FINALISE_GROUP:
            return None
        header, posted_at_s, _ = self._unfinal[max(due)]
        return header_words(header), max(due), posted_at_s

    def _launch(self, purpose: str, payload: bytes) -> bool:
        fee = self._account.fee()
        if self._fee_limit_wei is not None and fee.most_wei > self._fee_limit_wei:
            self._alarm("gas_price", f"gas costs {fee.most_wei} wei, more than the limit of {self._fee_limit_wei}")
            return False
        try:
            gas = self._account.estimate(self._settlement, payload)
        except RemoteRevertError as error:
            self._refused(purpose, self._interface.error(error.output))
            return False
        if self._account.balance_wei() < LOW_GAS_TRANSACTIONS * gas * fee.most_wei:
            self._alarm(
                "low_gas", f"0x{self._account.address.hex()} holds gas for fewer than {LOW_GAS_TRANSACTIONS} headers"
            )
        return self._send(purpose, payload, self._account.next_nonce(), gas, fee)

    def _refused(self, purpose: str, reason: str) -> None:
        """The contract would revert: too early by the chain's clock, or finalised by somebody else, is normal."""
        self._counters["posts_refused"] += 1
        if reason in ("IntervalNotOver", "StillChallengeable", "AlreadyFinal"):
            return
        self._alarm("post_refused", f"the contract refuses the {purpose}: {reason}")
        self._paused_until_s = time.monotonic() + REVERT_PAUSE_S

    def _send(self, purpose: str, payload: bytes, nonce: int, gas: int, fee: Fee) -> bool:
        for _ in range(FEE_ATTEMPTS):
            raw, transaction_hash = self._account.sign(self._settlement, payload, nonce, gas, fee)
            flight = Flight(purpose, payload, nonce, gas, fee, transaction_hash, time.monotonic())
            try:
                self._account.send_raw(raw)
            except RemoteChainError as error:
                text = str(error)
                if "underpriced" in text:
                    fee = fee.bumped()
                    continue
                if "already known" not in text and "already imported" not in text:
                    if not isinstance(error.__cause__, OSError):
                        raise
                    self._flight = flight  # it may have arrived: look for it before the nonce is used again
                    raise
            self._counters["transactions_sent"] += 1
            self._flight = flight
            return True
        return False
