"""The states of posting a header, as one table. A header is in at most one live transaction, under one nonce.

    IDLE ──sent──▶ SENT ──in a block──▶ MINED ──finality depth──▶ IDLE, next header
                    │  ▲                  │
       no block for │  └──resent, dearer──┤ block gone (reorg)
       too long ────▶ LOST ◀──────────────┘          reverted in a block ──▶ REVERTED ──pause──▶ IDLE

Why it can never post twice: a transaction is only replaced under its own nonce, so one of the two is mined at most; and
a header is only sent while its ``previous`` is the contract's tip, which it no longer is once it stands there. The
contract refuses a second one by the same rule, so even two coordinators with one key post a header once.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from coordinator.shell.evm_account import Fee

STUCK_AFTER_S = 60
"""Five slots of a slow chain: a transaction that no block took by then is underpaid or forgotten."""
REVERT_PAUSE_S = 15
"""A header that reverted is not at once tried again: what made it revert changes with blocks."""


class PostingState(Enum):
    """Where the live transaction is."""

    IDLE = auto()
    SENT = auto()
    MINED = auto()
    LOST = auto()
    REVERTED = auto()


class Sighting(Enum):
    """What the chain says about it, looked at once a poll."""

    NOT_IN_A_BLOCK = auto()
    IN_A_BLOCK = auto()
    DEEP_ENOUGH = auto()
    FAILED_IN_A_BLOCK = auto()
    STUCK = auto()


NEXT_STATE: dict[tuple[PostingState, Sighting], PostingState] = {
    (PostingState.SENT, Sighting.NOT_IN_A_BLOCK): PostingState.SENT,
    (PostingState.SENT, Sighting.IN_A_BLOCK): PostingState.MINED,
    (PostingState.SENT, Sighting.DEEP_ENOUGH): PostingState.IDLE,
    (PostingState.SENT, Sighting.FAILED_IN_A_BLOCK): PostingState.REVERTED,
    (PostingState.SENT, Sighting.STUCK): PostingState.LOST,
    (PostingState.MINED, Sighting.NOT_IN_A_BLOCK): PostingState.LOST,
    (PostingState.MINED, Sighting.IN_A_BLOCK): PostingState.MINED,
    (PostingState.MINED, Sighting.DEEP_ENOUGH): PostingState.IDLE,
    (PostingState.MINED, Sighting.FAILED_IN_A_BLOCK): PostingState.REVERTED,
    (PostingState.MINED, Sighting.STUCK): PostingState.LOST,
}
"""Every sighting of a live transaction; in IDLE, LOST and REVERTED there is none to look at."""


@dataclass(frozen=True, slots=True)
class Flight:
    """One transaction on its way: what it does, under which nonce and fee, since when."""

    purpose: str
    payload: bytes
    nonce: int
    gas: int
    fee: Fee
    transaction_hash: bytes
    sent_at_s: float
    state: PostingState = PostingState.SENT
