"""Checks what the operator proves to us, and keeps our position in every product.

A fill pack right after an auction moves the position; the signed header's interval pack confirms or refutes it.
Consecutive headers must follow from each other, and our result must move as our own leaves say.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from contracts.codes import AuctionRule
from contracts.eip712 import Domain
from contracts.header_rules import header_digest
from contracts.interval import DAY_S, Product
from contracts.messages import Header
from contracts.proof_pack import (
    FillPack,
    IntervalPack,
    RemotePackError,
    fill_pack_faults,
    interval_pack_faults,
    open_pack,
)
from contracts.signature import refusal_of
from edge_agent.config import AgentConfig
from edge_agent.effects import Alarm, Counters, Effect

POSITIONS_LIMIT = 4_096
"""A month of quarter-hours and more; beyond it the oldest products are forgotten."""


@dataclass(frozen=True, slots=True)
class Position:
    """Our position in one product after ``round``, and how much of bid ``version`` is filled by then."""

    round: int
    position_wh: int
    version: int
    filled_wh: int


@dataclass(frozen=True, slots=True)
class Checked:
    """The newest header checked: its interval, identity, and our result after it."""

    interval: int
    digest: bytes
    result_nano: int


class Proofs:
    """Positions and the chain of checked headers of one account."""

    def __init__(self, config: AgentConfig, counters: Counters) -> None:
        self._account = config.home.account
        self._domain: Domain = config.chain.domain
        self._operator = config.chain.operator
        self._terms = config.terms
        self._counters = counters
        self.positions: dict[int, Position] = {}
        self.checked: Checked | None = None

    def on_pack(self, payload: bytes, now_s: int) -> list[Effect]:
        """Checks a pack. A fault is an alarm and a count, and moves nothing."""
        try:
            pack = open_pack(payload)
            faults = self._fill(pack, now_s) if isinstance(pack, FillPack) else self._interval(pack, now_s)
        except RemotePackError as error:
            self._counters.count("proof_unreadable")
            return [Alarm("proof", str(error))]
        if faults:
            self._counters.count("proof_refuted")
            return [Alarm("proof", "; ".join(faults))]
        self._counters.count("proof_checked")
        return []

    def _fill(self, pack: FillPack, now_s: int) -> list[str]:
        faults = fill_pack_faults(pack, self._account)
        return faults or self._move(pack, now_s)

    def _move(self, pack: FillPack, now_s: int) -> list[str]:
        """Takes over the slot of a forward auction where it is newer; names a contradiction."""
        auction, slot = pack.auction, pack.slot
        if auction.rule != AuctionRule.FORWARD:
            return []
        try:
            product = Product.from_number(auction.product)
        except ValueError as error:
            return [str(error)]
        if product.end_s < now_s - DAY_S:
            return []
        known = self.positions.get(product.number)
        filled_wh = slot.filled_before_wh + slot.fill_wh
        new = Position(auction.round, slot.position_wh, slot.version, filled_wh)
        if known is not None and known.round > auction.round:
            return []
        contradicts = known is not None and known.round == auction.round and known != new
        self.positions[product.number] = new
        while len(self.positions) > POSITIONS_LIMIT:
            del self.positions[min(self.positions)]
        return [f"round {auction.round} of product {product.number} was shown to us in two ways"] if contradicts else []

    def _interval(self, pack: IntervalPack, now_s: int) -> list[str]:
        header = pack.header
        name = header_digest(header, self._domain)
        if refusal_of(name, pack.signature, self._operator) is not None:
            return ["the header is not signed by the operator"]
        before = self.checked
        if before is not None and header.interval <= before.interval:
            forked = header.interval == before.interval and name != before.digest
            return ["the operator signed two headers for one interval"] if forked else []
        follows = before is not None and header.interval == before.interval + 1
        before_nano = before.result_nano if before is not None and follows else None
        faults = interval_pack_faults(pack, self._account, self._domain, self._operator, self._terms, before_nano)
        faults += self._chain_faults(header, before if follows else None)
        if faults:
            return faults
        for placed in pack.fills:
            faults += self._move(placed.fill, now_s)
        result_nano = pack.balance.cumulative_nano if pack.balance else 0
        self.checked = Checked(header.interval, name, result_nano)
        return faults

    @staticmethod
    def _chain_faults(header: Header, before: Checked | None) -> list[str]:
        broken = before is not None and header.previous != before.digest
        return ["the header does not follow the one before"] if broken else []

    def forget_before(self, now_s: int) -> None:
        """Drops positions of products delivered more than a day ago."""
        for number in [n for n in self.positions if Product.from_number(n).end_s < now_s - DAY_S]:
            del self.positions[number]

    def position_wh(self, interval: int) -> int:
        """What is contracted for ``interval`` over all products that cover it; positive: bought."""
        return sum(
            held.position_wh for number, held in self.positions.items() if Product.from_number(number).covers(interval)
        )

    def state(self) -> dict[str, object]:
        """As JSON."""
        checked = self.checked
        return {
            "positions": [[n, p.round, p.position_wh, p.version, p.filled_wh] for n, p in self.positions.items()],
            "checked": None if checked is None else [checked.interval, checked.digest.hex(), str(checked.result_nano)],
        }

    def restore(self, state: dict[str, Any] | None) -> None:
        """From JSON; anything unreadable is as if nothing was known."""
        try:
            rows = state["positions"] if state else []
            self.positions = {int(row[0]): Position(*(int(v) for v in row[1:])) for row in rows}
            checked = state["checked"] if state else None
            if checked is not None:
                interval, digest, nano = checked
                self.checked = Checked(int(interval), bytes.fromhex(digest), int(nano))
        except (KeyError, TypeError, ValueError):
            self._counters.count("state_unreadable")
            self.positions, self.checked = {}, None
