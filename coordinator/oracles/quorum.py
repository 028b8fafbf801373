"""The rule of a quorum oracle: which quotes count, their median, and the collar around the answer.

    quotes ──▶ usable (newest of each reporter, sorted) ──▶ refusal or None ──▶ median ──▶ answer ──▶ collar

The same rule, with the same refusals in the same order, is in ``QuorumOracle.sol``; a test holds both together.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto

from contracts.eip712 import Domain
from contracts.signature import SignatureRefusal
from coordinator.oracles.quote import Quote, SignedQuote

DOUBLINGS = 64
"""So many doublings of any width exceed every value."""


class QuoteRefusal(Enum):
    """Why quotes do not count, in the order in which the contract looks."""

    QUORUM_MISSED = auto()
    NOT_ASCENDING = auto()
    OUT_OF_RANGE = auto()
    IN_FUTURE = auto()
    TOO_OLD = auto()
    NOT_BY_REPORTER = auto()
    REPORTER_TWICE = auto()
    NOT_NEWER = auto()
    OLDER_THAN_ANSWER = auto()
    DEVIATES_TOO_FAR = auto()

    @property
    def error(self) -> str:
        """The name of the contract's error."""
        return "".join(part.capitalize() for part in self.name.split("_"))


@dataclass(frozen=True, slots=True)
class OracleTerms:
    """What governance decides: ages in seconds, deviation in thousandths plus slack, the collar's width."""

    max_age_s: int
    stale_after_s: int
    max_deviation_permille: int
    deviation_slack: int
    width: int


@dataclass(frozen=True, slots=True)
class OracleState:
    """An oracle as it stands. ``round`` 0: nothing was answered yet.

    ``last_observed_at_s`` is the newest counted observation of each reporter that had one.
    """

    minimum: int
    maximum: int
    terms: OracleTerms
    reporters: tuple[bytes, ...] = ()
    quorum: int = 0
    wide_quorum: int = 0
    round: int = 0
    answer: int = 0
    observed_at_s: int = 0
    last_observed_at_s: Mapping[bytes, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Admitted:
    """A quote whose signer is known; the refusal of the signature in place of the signer where there is none."""

    quote: Quote
    reporter: bytes | SignatureRefusal


def median(values: Sequence[int]) -> int:
    """The middle of ascending values, of an even number the lower one. Raises IndexError for none."""
    if not values:
        raise IndexError("nothing has no median")
    return values[(len(values) - 1) // 2]


def refusal(state: OracleState, quotes: Sequence[Admitted], now_s: int) -> QuoteRefusal | None:
    """Why the contract would not take these quotes at ``now_s``; None where it answers with their median."""
    if state.quorum == 0 or len(quotes) < state.quorum:
        return QuoteRefusal.QUORUM_MISSED
    seen: set[bytes] = set()
    for place, admitted in enumerate(quotes):
        if place and admitted.quote.value < quotes[place - 1].quote.value:
            return QuoteRefusal.NOT_ASCENDING
        alone = refusal_alone(state, admitted, now_s)
        if alone in (None, QuoteRefusal.NOT_NEWER) and admitted.reporter in seen:
            return QuoteRefusal.REPORTER_TWICE
        if alone is not None:
            return alone
        assert isinstance(admitted.reporter, bytes)
        seen.add(admitted.reporter)
    return _refusal_of_answer(state, quotes)


def refusal_alone(state: OracleState, admitted: Admitted, now_s: int) -> QuoteRefusal | None:
    """Why one quote would not count whatever stands beside it."""
    quote, reporter = admitted.quote, admitted.reporter
    if not state.minimum <= quote.value <= state.maximum:
        return QuoteRefusal.OUT_OF_RANGE
    if quote.observed_at_s > now_s:
        return QuoteRefusal.IN_FUTURE
    if quote.observed_at_s + state.terms.max_age_s < now_s:
        return QuoteRefusal.TOO_OLD
    if isinstance(reporter, SignatureRefusal) or reporter not in state.reporters:
        return QuoteRefusal.NOT_BY_REPORTER
    if quote.observed_at_s <= state.last_observed_at_s.get(reporter, 0):
        return QuoteRefusal.NOT_NEWER
    return None


def _refusal_of_answer(state: OracleState, quotes: Sequence[Admitted]) -> QuoteRefusal | None:
    if state.round == 0:
        return None
    if min(admitted.quote.observed_at_s for admitted in quotes) <= state.observed_at_s:
        return QuoteRefusal.OLDER_THAN_ANSWER
    answer = median([admitted.quote.value for admitted in quotes])
    allowed = abs(state.answer) * state.terms.max_deviation_permille // 1_000 + state.terms.deviation_slack
    if len(quotes) < state.wide_quorum and abs(answer - state.answer) > allowed:
        return QuoteRefusal.DEVIATES_TOO_FAR
    return None


def collar(state: OracleState, now_s: int) -> tuple[int, int]:
    """Lowest and highest value as far as the oracle knows; wider with every staleness that passed."""
    if state.round == 0:
        return state.minimum, state.maximum
    steps = (now_s - state.observed_at_s) // state.terms.stale_after_s
    if steps >= DOUBLINGS:
        return state.minimum, state.maximum
    width = state.terms.width << steps
    return max(state.minimum, state.answer - width), min(state.maximum, state.answer + width)


def is_stale(state: OracleState, now_s: int) -> bool:
    """Whether there is no answer, or only one that is too old."""
    return state.round == 0 or now_s - state.observed_at_s >= state.terms.stale_after_s


@dataclass(frozen=True, slots=True)
class Gathered:
    """What is to be submitted, ascending, and what was left out and why."""

    quotes: tuple[SignedQuote, ...]
    left_out: tuple[tuple[SignedQuote, QuoteRefusal], ...]


def gather(state: OracleState, quotes: Iterable[SignedQuote], domain: Domain, now_s: int) -> Gathered:
    """The newest quote of each reporter that counts, ascending by value.

    A quote not newer than the last answer is left out, for one alone would have the contract refuse all of them.
    """
    newest: dict[bytes, SignedQuote] = {}
    left_out: list[tuple[SignedQuote, QuoteRefusal]] = []
    for signed in quotes:
        reporter = signed.reporter(domain)
        reason = refusal_alone(state, Admitted(signed.quote, reporter), now_s)
        if reason is None and state.round and signed.quote.observed_at_s <= state.observed_at_s:
            reason = QuoteRefusal.OLDER_THAN_ANSWER
        if reason is not None:
            left_out.append((signed, reason))
            continue
        assert isinstance(reporter, bytes)
        held = newest.get(reporter)
        if held is not None and held.quote.observed_at_s >= signed.quote.observed_at_s:
            left_out.append((signed, QuoteRefusal.REPORTER_TWICE))
            continue
        if held is not None:
            left_out.append((held, QuoteRefusal.REPORTER_TWICE))
        newest[reporter] = signed
    ordered = sorted(newest.values(), key=lambda signed: (signed.quote.value, signed.quote.observed_at_s))
    return Gathered(tuple(ordered), tuple(left_out))
