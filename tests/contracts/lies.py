"""Every kind of lie an operator could post, and how many ways of being wrong each challenge knows."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import cache

from contracts.clearing_rules import AuctionFault, SlotFault
from contracts.codes import AuctionRule
from contracts.commitments import ReserveFault
from contracts.evidence import Lie
from contracts.header_rules import BalanceFault, PlacementFault
from contracts.meter_rules import ReadingFault, RegisterFault
from contracts.round_rules import CarryFault, ForcedFault, OrderFault, ReceiptFault, RoundFault, StandingFault
from tests.contracts.court import CommitmentFault, LeafFault, NodeFault, SignatureFault
from tests.contracts.history import HEADERS, History, history_of
from tests.contracts.lies_of_clearing import CLEARING_LIES
from tests.contracts.lies_of_meters import METER_LIES
from tests.contracts.lies_of_rounds import ROUND_LIES
from tests.contracts.lies_of_trees import TREE_LIES
from tests.contracts.retelling import Scene, Told

LIES: dict[str, Callable[[Scene], Iterator[Told]]] = CLEARING_LIES | TREE_LIES | ROUND_LIES | METER_LIES

FAULTS: dict[Lie, int] = {
    Lie.NODE_SUM: len(NodeFault),
    Lie.LEAF: len(LeafFault),
    Lie.AUCTION: len(PlacementFault),
    Lie.TOTALS: len(AuctionFault),
    Lie.FILL: len(SlotFault),
    Lie.SIGNATURE: len(SignatureFault),
    Lie.BALANCE: len(BalanceFault),
    Lie.STANDING: len(StandingFault),
    Lie.ORDER: len(OrderFault),
    Lie.ROUND: len(RoundFault),
    Lie.FORK: 1,
    Lie.CARRY: len(CarryFault),
    Lie.RECEIPT: len(ReceiptFault),
    Lie.FORCED: len(ForcedFault),
    Lie.CLOSING: 1,
    Lie.READING: len(ReadingFault),
    Lie.REGISTER: len(RegisterFault),
    Lie.CONTRACTED: 1,
    Lie.RESERVE: len(ReserveFault),
    Lie.COMMITMENT: len(CommitmentFault),
}
"""How many faults each reason has; what is withheld is told on the chain, by not answering."""

NIGHTLY = os.environ.get("NIGHTLY") == "1"
"""Then every lie is told at every slot, and the chains are asked twenty times as much."""
RULES = (AuctionRule.SPOT_SHARED, AuctionRule.SPOT_AUCTION)
ACCOUNTS = 6
"""Few homes make short trees and the same rules; histories of 64 are for the honest."""


@cache
def told_history(rule: AuctionRule) -> History:
    """The honest history in which the lies are told; nobody may change it."""
    return history_of(1, ACCOUNTS, rule)


def scenes() -> list[Scene]:
    """Every header of both histories."""
    return [Scene(told_history(rule), at) for rule in RULES for at in range(HEADERS)]
