"""The model of the settlement contract is the contract: one random sequence of acts, the same answers and events."""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random

import pytest

from contracts.codes import AuctionRule
from contracts.eip712 import keccak
from contracts.header_rules import header_digest
from contracts.interval import INTERVAL_S
from contracts.messages import Header
from contracts.signature import address_of
from coordinator.chain_events import ChainEvent, HeaderPosted
from simulators.evm_settlement import EvmSettlement
from simulators.model_chain import FINALITY_WINDOW_S, ModelChain

KEY = keccak(b"operator of the twin chains")
START_S = 2_000_000_000 // INTERVAL_S * INTERVAL_S
ZERO = bytes(32)


@dataclass
class Time:
    """A clock that both chains share."""

    now_s: int


def header(interval: int, previous: bytes, salt: int = 0) -> Header:
    return Header(interval, previous, ZERO, ZERO, keccak(bytes([salt])), ZERO, 320_000, 80_000, 200_000, 0)


class Twins:
    """Model and EVM, told the same."""

    def __init__(self) -> None:
        self.time = Time(START_S)
        self.evm = EvmSettlement(self.time, KEY)
        self.model = ModelChain(self.time, self.evm.domain, address_of(KEY))
        self.time.now_s = START_S + 1_000
        self.posted: list[tuple[Header, int]] = []

    def both(self, act: str, *arguments: object) -> str | None:
        self.time.now_s += 7
        answers = [getattr(chain, act)(*arguments) for chain in (self.model, self.evm)]
        assert answers[0] == answers[1], (act, arguments)
        if act == "post" and answers[0] is None:
            self.posted.append((arguments[0], self.time.now_s))  # type: ignore[arg-type]
        return answers[0]  # type: ignore[no-any-return]

    def events(self) -> list[list[ChainEvent]]:
        found = []
        for chain in (self.model, self.evm):
            events = [log.event for log in chain.logs()]
            found.append([replace(e, gas=0) if isinstance(e, HeaderPosted) else e for e in events])
        return found

    @property
    def next_interval(self) -> int:
        return self.posted[-1][0].interval + 1 if self.posted else START_S // INTERVAL_S

    @property
    def tip(self) -> bytes:
        return header_digest(self.posted[-1][0], self.evm.domain) if self.posted else ZERO


def one_act(twins: Twins, random: Random) -> str | None:
    """A good or a bad act, whatever the dice say."""
    interval, tip = twins.next_interval, twins.tip
    match random.randrange(10):
        case 0 | 1:
            twins.time.now_s = max(twins.time.now_s, (interval + 1) * INTERVAL_S)
            return twins.both("post", header(interval, tip, random.randrange(3)))
        case 2:
            return twins.both("post", header(interval, keccak(b"elsewhere")))
        case 3:
            twins.time.now_s = max(twins.time.now_s, (interval + 3) * INTERVAL_S)
            return twins.both("post", header(interval + random.choice((-1, 1, 2)), tip))
        case 4:
            return twins.both("post", twins.posted[-1][0] if twins.posted else header(interval, tip))
        case 5:
            early = max(interval, twins.time.now_s // INTERVAL_S)
            return twins.both("post", header(early if not twins.posted else interval, tip))
        case 6:
            return twins.both("deposit", random.randrange(4), random.randrange(1, 10**12))
        case 7:
            owner = address_of(keccak(bytes([random.randrange(4)])))
            return twins.both("open_account", random.choice((owner, bytes(20))), owner)
        case 8:
            twins.time.now_s = max(twins.time.now_s, (interval + 1) * INTERVAL_S)
            wrong = random.choice(({"tariff_import": 320_001}, {"spot_price": 79_999}, {"spot_price": 320_001}))
            return twins.both("post", replace(header(interval, tip), **wrong))
    if not twins.posted:
        return twins.both("finalise", header(interval, tip), 0)
    index = random.randrange(len(twins.posted) + 1)
    known, posted_at_s = twins.posted[min(index, len(twins.posted) - 1)]
    if random.randrange(4) == 0:
        known = header(known.interval, known.previous, 7)
    if random.randrange(2):
        twins.time.now_s = max(twins.time.now_s, posted_at_s + FINALITY_WINDOW_S - random.choice((0, 20)))
    return twins.both("finalise", known, index)


@pytest.mark.slow
def test_model_and_contract_answer_and_log_alike() -> None:
    refusals: set[str | None] = set()
    for seed in range(3):
        random, twins = Random(f"twins/{seed}"), Twins()
        for _ in range(60):
            refusals.add(one_act(twins, random))
        model, evm = twins.events()
        assert model == evm
        assert twins.model.tip_digest == twins.evm.tip_digest == twins.tip
        assert twins.model.header_count == twins.evm.header_count == len(twins.posted)
        assert twins.model.finalised_count == twins.evm.finalised_count
        twins.model.halted = True
        assert twins.evm.halt() is None
        assert twins.both("post", header(twins.next_interval, twins.tip)) == "IsHalted"
        assert twins.both("deposit", 0, 1) == "IsHalted"
    assert {None, "NotAfterTip", "WrongInterval", "IntervalNotOver", "UnknownAccount", "AlreadyOpened"} <= refusals
    assert {"ZeroAddress", "UnknownHeader", "AlreadyFinal", "StillChallengeable"} <= refusals
    assert {"NotTheTariffs", "PriceOutOfBounds"} <= refusals


def test_without_its_bond_the_model_takes_no_header() -> None:
    chain = ModelChain(Time(START_S + INTERVAL_S), bond_nano=1)
    assert chain.post(header(START_S // INTERVAL_S, ZERO)) == "BondTooSmall"


def test_only_the_newest_post_can_be_undone() -> None:
    chain = ModelChain(Time(START_S + 10 * INTERVAL_S))
    first = header(START_S // INTERVAL_S, ZERO)
    assert not chain.reorganise()
    assert chain.post(first) is None
    assert chain.reorganise()
    assert (chain.tip_digest, chain.header_count) == (ZERO, 0)
    assert chain.post(first) is None
    chain.deposit(0, 5)
    assert not chain.reorganise()


def test_the_model_takes_tariffs_of_governance_alone_and_bounds_a_shared_spot_price() -> None:
    interval = START_S // INTERVAL_S
    dear = replace(header(interval, ZERO), spot_price=320_001)
    chain = ModelChain(Time(START_S + INTERVAL_S))
    assert chain.post(replace(header(interval, ZERO), tariff_export=0)) == "NotTheTariffs"
    assert chain.post(dear) == "PriceOutOfBounds"
    auctioned = ModelChain(Time(START_S + INTERVAL_S), spot_rule=AuctionRule.SPOT_AUCTION)
    assert auctioned.post(dear) is None
