"""The states of a transaction, as one table. A wish becomes a transaction under one nonce of one key.

               signed                 in a block                 finality depth
    WANTED ─────────────▶ SENT ──────────────────▶ INCLUDED ──────────────────▶ FINAL
      │ ▲                 │  ▲ ◀── block gone (reorg) ──┘
      │ │   no block for  │  │
      │ │   too long:     └──┘                     finality depth
      │ │   dearer          └───reverted──▶ FAILED ────────────────▶ REVERTED
      │ └── another transaction of the key is final under its nonce ── SENT
      └──── the contract would refuse it ──▶ ABANDONED

Why it is this table:
- A nonce is taken only together with a note on disk, before anything is sent. So whatever a node may hold of ours is
  known after any crash, and a nonce is never used for two different things of ours.
- It is replaced only under its own nonce, so at most one of its attempts ever counts. It gets another nonce only when
  somebody else's transaction under the old one is final: before that, a reorg could bring the old one back, and the
  same thing would be done twice.
- What stands in a block is watched until it is as deep as reorgs are expected to reach; when its block goes, the very
  same bytes are sent again. A change deeper than that is not healed here: every number that was built on it is in
  doubt, so the account stops and a person decides.
- An answer to sending ("already known", "nonce too low", no answer at all) never decides anything. Only what the chain
  shows does, at the next look.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum, auto

BUMP_NUMERATOR, BUMP_DENOMINATOR = 9, 8
"""A replacement pays an eighth more: most nodes ask for a tenth, the strictest for 12.5 %."""
STUCK_AFTER_BLOCKS = 5
"""Blocks that passed a transaction by before it pays more: one or two may be full by chance."""
STUCK_AFTER_S = 60
"""The same where blocks are made on demand only and none can be counted: five slots of a slow chain."""
FEE_FACTOR_LIMIT = 10
"""Without a limit of the operator's, no attempt pays more than ten times the first."""


class TransactionState(Enum):
    """Where a transaction is."""

    WANTED = auto()
    SENT = auto()
    INCLUDED = auto()
    FAILED = auto()
    FINAL = auto()
    REVERTED = auto()
    ABANDONED = auto()


class Sighting(Enum):
    """What was learnt about it: when it was signed, as the answer to sending it, or by looking at the chain."""

    SIGNED = auto()
    REFUSED = auto()

    TAKEN = auto()
    UNDERPRICED = auto()
    NONCE_USED = auto()
    NOT_REACHED = auto()
    NOT_TAKEN = auto()

    PENDING = auto()
    DROPPED = auto()
    STUCK = auto()
    IN_A_BLOCK = auto()
    FAILED_IN_A_BLOCK = auto()
    DEEP = auto()
    FAILED_DEEP = auto()
    FOREIGN = auto()


class Act(Enum):
    """What follows at once."""

    NOTHING = auto()
    SEND = auto()
    RAISE = auto()
    TELL = auto()


_S, _L, _A = TransactionState, Sighting, Act

LIVE = (_S.SENT, _S.INCLUDED, _S.FAILED)
"""It holds a nonce."""
DONE = (_S.FINAL, _S.REVERTED, _S.ABANDONED)
"""Nothing happens to it any more."""
LOOKS = (_L.PENDING, _L.DROPPED, _L.STUCK, _L.IN_A_BLOCK, _L.FAILED_IN_A_BLOCK, _L.DEEP, _L.FAILED_DEEP, _L.FOREIGN)
"""What a look at the chain can say."""
ANSWERS = (_L.TAKEN, _L.UNDERPRICED, _L.NONCE_USED, _L.NOT_REACHED, _L.NOT_TAKEN)
"""What sending can say."""

NEXT: dict[tuple[TransactionState, Sighting], tuple[TransactionState, Act]] = {
    (_S.WANTED, _L.SIGNED): (_S.SENT, _A.SEND),
    (_S.WANTED, _L.REFUSED): (_S.ABANDONED, _A.NOTHING),
    (_S.SENT, _L.TAKEN): (_S.SENT, _A.NOTHING),
    (_S.SENT, _L.UNDERPRICED): (_S.SENT, _A.RAISE),
    (_S.SENT, _L.NONCE_USED): (_S.SENT, _A.NOTHING),
    (_S.SENT, _L.NOT_REACHED): (_S.SENT, _A.NOTHING),
    (_S.SENT, _L.NOT_TAKEN): (_S.SENT, _A.TELL),
    (_S.SENT, _L.PENDING): (_S.SENT, _A.NOTHING),
    (_S.SENT, _L.DROPPED): (_S.SENT, _A.SEND),
    (_S.SENT, _L.STUCK): (_S.SENT, _A.RAISE),
    (_S.SENT, _L.IN_A_BLOCK): (_S.INCLUDED, _A.NOTHING),
    (_S.SENT, _L.FAILED_IN_A_BLOCK): (_S.FAILED, _A.NOTHING),
    (_S.SENT, _L.DEEP): (_S.FINAL, _A.NOTHING),
    (_S.SENT, _L.FAILED_DEEP): (_S.REVERTED, _A.TELL),
    (_S.SENT, _L.FOREIGN): (_S.WANTED, _A.NOTHING),
    (_S.INCLUDED, _L.PENDING): (_S.SENT, _A.NOTHING),
    (_S.INCLUDED, _L.DROPPED): (_S.SENT, _A.SEND),
    (_S.INCLUDED, _L.STUCK): (_S.SENT, _A.SEND),
    (_S.INCLUDED, _L.IN_A_BLOCK): (_S.INCLUDED, _A.NOTHING),
    (_S.INCLUDED, _L.FAILED_IN_A_BLOCK): (_S.FAILED, _A.NOTHING),
    (_S.INCLUDED, _L.DEEP): (_S.FINAL, _A.NOTHING),
    (_S.INCLUDED, _L.FAILED_DEEP): (_S.REVERTED, _A.TELL),
    (_S.INCLUDED, _L.FOREIGN): (_S.WANTED, _A.NOTHING),
    (_S.FAILED, _L.PENDING): (_S.SENT, _A.NOTHING),
    (_S.FAILED, _L.DROPPED): (_S.SENT, _A.SEND),
    (_S.FAILED, _L.STUCK): (_S.SENT, _A.SEND),
    (_S.FAILED, _L.IN_A_BLOCK): (_S.INCLUDED, _A.NOTHING),
    (_S.FAILED, _L.FAILED_IN_A_BLOCK): (_S.FAILED, _A.NOTHING),
    (_S.FAILED, _L.DEEP): (_S.FINAL, _A.NOTHING),
    (_S.FAILED, _L.FAILED_DEEP): (_S.REVERTED, _A.TELL),
    (_S.FAILED, _L.FOREIGN): (_S.WANTED, _A.NOTHING),
}
"""Every state that holds a nonce knows every look; only what is SENT is ever sent, so only it knows the answers."""


@dataclass(frozen=True, slots=True)
class Fee:
    """What a transaction offers for a unit of gas."""

    most_wei: int
    tip_wei: int


@dataclass(frozen=True, slots=True)
class Attempt:
    """One signed form of a transaction. All attempts of one carry its nonce."""

    fee: Fee
    raw: bytes
    hash: bytes


@dataclass(frozen=True, slots=True)
class Transaction:
    """A wish and what became of it. ``to`` None deploys; ``key`` is the wisher's own name for it.

    ``filler`` uses up a nonce that nobody else will, so that those after it can be mined.
    """

    key: str
    to: bytes | None
    payload: bytes
    value_wei: int = 0
    filler: bool = False
    state: TransactionState = TransactionState.WANTED
    nonce: int | None = None
    gas: int = 0
    attempts: tuple[Attempt, ...] = ()
    since_block: int = 0
    since_s: int = 0
    block: int | None = None

    @property
    def fee(self) -> Fee:
        """What the newest attempt offers. IndexError before the first."""
        return self.attempts[-1].fee


def after(transaction: Transaction, sighting: Sighting, block: int | None = None) -> tuple[Transaction, Act]:
    """The transaction after ``sighting``, and what to do now; ``block`` is where it was seen.

    Raises KeyError for a sighting that its state cannot have: the caller's mistake.
    """
    state, act = NEXT[transaction.state, sighting]
    if state is TransactionState.WANTED:
        if transaction.filler:  # the nonce it was to use up is used up
            return replace(transaction, state=TransactionState.ABANDONED), Act.NOTHING
        return replace(transaction, state=state, nonce=None, attempts=(), block=None), act
    return replace(transaction, state=state, block=block if sighting in LOOKS else transaction.block), act


def signed(transaction: Transaction, nonce: int, gas: int, attempt: Attempt, block: int, now_s: int) -> Transaction:
    """A wanted transaction with its nonce and its first attempt."""
    taken, _ = after(transaction, Sighting.SIGNED)
    return replace(taken, nonce=nonce, gas=gas, attempts=(attempt,), since_block=block, since_s=now_s)


def replaced(transaction: Transaction, attempt: Attempt, block: int, now_s: int) -> Transaction:
    """A sent transaction with one more, dearer attempt."""
    return replace(transaction, attempts=(*transaction.attempts, attempt), since_block=block, since_s=now_s)


def is_stuck(transaction: Transaction, block: int, now_s: int) -> bool:
    """Whether blocks, or a time without any, passed it by for too long."""
    return block - transaction.since_block >= STUCK_AFTER_BLOCKS or now_s - transaction.since_s >= STUCK_AFTER_S


def fee_limit(transaction: Transaction, operator_limit_wei: int | None) -> int:
    """The most that any attempt of this transaction may offer."""
    if operator_limit_wei is not None:
        return operator_limit_wei
    return FEE_FACTOR_LIMIT * transaction.attempts[0].fee.most_wei


def raised(offered: Fee, asked: Fee, limit_wei: int) -> Fee | None:
    """Enough more to replace ``offered``, at least what the network asks now; None where the limit forbids it."""
    most, tip = (-(-value * BUMP_NUMERATOR // BUMP_DENOMINATOR) for value in (offered.most_wei, offered.tip_wei))
    if max(most, 1) > limit_wei:
        return None
    most = min(max(most, asked.most_wei, offered.most_wei + 1), limit_wei)
    return Fee(most, min(max(tip, asked.tip_wei, offered.tip_wei + 1), most))


def missing_nonces(mined: int, transactions: list[Transaction]) -> range:
    """Nonces below ours that neither the chain nor we have: what came before ours is gone and will not come back."""
    held = [t.nonce for t in transactions if t.state in LIVE and t.nonce is not None]
    return range(mined, min(held, default=mined)) if held else range(0)


def next_nonce(mined: int, transactions: list[Transaction]) -> int:
    """The nonce that follows everything mined and everything held."""
    held = [t.nonce + 1 for t in transactions if t.state in LIVE and t.nonce is not None]
    return max([mined, *held])
