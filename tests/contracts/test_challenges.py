"""On chains: every lie is caught by its challenge, and nothing wins against honest headers, true or forged."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from eth_abi.exceptions import EncodingError
from web3.exceptions import MismatchedABI

from contracts.artifacts import anvil
from contracts.codes import AuctionRule
from contracts.evidence import Call
from tests.contracts.chain_history import ChainHistory, history_on
from tests.contracts.court import Refused
from tests.contracts.every_challenge import every_challenge
from tests.contracts.forged_evidence import Forger
from tests.contracts.history import HEADERS
from tests.contracts.lies import LIES, NIGHTLY, RULES, scenes
from tests.contracts.local_chain import BOND_NANO, Chain, anvil_chain, py_evm_chain
from tests.contracts.retelling import Scene, Told

ACCOUNTS = 6
GAS_LIMIT = 350_000
SAMPLED, SAMPLED_HEADERS = 24, 8
"""How many lies the quick run tells, and in how many headers."""
ASKED = 6 * (20 if NIGHTLY else 1)
"""How often a chain is asked about each function in the quick run."""
CHAINS = ["py-evm", pytest.param("anvil", marks=pytest.mark.real("anvil"))]


def anvil_only(rule: AuctionRule) -> Any:
    """The parameters of a test on anvil, which not every machine has."""
    return pytest.param("anvil", rule, marks=pytest.mark.real("anvil"))


@contextmanager
def chain_of(kind: str, rule: AuctionRule) -> Iterator[Chain]:
    if kind == "py-evm":
        yield py_evm_chain(rule)
    elif anvil() is None:
        pytest.skip("anvil is not installed in contracts/solidity/node_modules")
    else:
        with anvil_chain(rule) as chain:
            yield chain


def winning(scene: Scene, told: Told) -> Call:
    """The call that refutes a lie: its own, or the one that the auditor offers."""
    if told.refutation is not None:
        return told.refutation
    court = scene.court(told.posting)
    offered = [finding.call for finding in scene.audited(told.posting) if finding.call]
    return next(call for call in offered if court.verdict(call) == (told.reason, told.fault))


def convict(grown: ChainHistory, scene: Scene, told: Told) -> None:
    """The lie is posted, refuted by a watcher, void and paid for."""
    chain, call = grown.chain, winning(scene, told)
    watcher, bank = chain.web3.eth.accounts[9], chain.settlement
    with chain.undone():
        grown.post(told.posting)
        had = chain.ask(chain.token, "balanceOf", watcher)
        receipt = chain.tell(call, sender=watcher)
        assert chain.voided(receipt) == (told.reason, told.fault)
        assert chain.ask(bank, "headerCount") == scene.at
        assert chain.ask(bank, "tipDigest") == told.posting.header.previous
        assert chain.ask(bank, "tipInterval") == (scene.interval - 1 if scene.at else 0)
        assert chain.ask(bank, "halted")
        assert chain.ask(chain.token, "balanceOf", watcher) - had == BOND_NANO // 2
        assert chain.ask(bank, "fundNano") == BOND_NANO - BOND_NANO // 2
        assert receipt["gasUsed"] <= GAS_LIMIT


def convicted(chain: Chain, rule: AuctionRule, names: list[str], headers: int) -> set[str]:
    """Tells each lie as soon as a header gives room for it; the names of those that were told."""
    grown, told = history_on(chain, 7, ACCOUNTS, rule), set[str]()
    for at in range(headers):
        posting = grown.grow()
        scene = Scene(grown.history, at)
        for name in names:
            if name in told and not NIGHTLY:
                continue
            lie = next(LIES[name](scene), None)
            if lie is not None:
                convict(grown, scene, lie)
                told.add(name)
        grown.post(posting)
        if len(told) == len(names):
            break
    return told


def possible(rule: AuctionRule) -> set[str]:
    """The lies that can be told at all under a spot rule."""
    there = [scene for scene in scenes() if scene.history.rules.terms.spot_rule == rule]
    return {name for name, lie in LIES.items() if any(next(lie(scene), None) for scene in there)}


@pytest.mark.parametrize("kind", CHAINS)
def test_some_lies_are_caught_on_a_chain(kind: str) -> None:
    names = random.Random(11).sample(sorted(LIES), SAMPLED)
    with chain_of(kind, RULES[0]) as chain:
        assert convicted(chain, RULES[0], names, SAMPLED_HEADERS)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "rule"), [("py-evm", RULES[1]), anvil_only(RULES[0]), anvil_only(RULES[1])])
def test_every_lie_is_caught_on_a_chain(kind: str, rule: AuctionRule) -> None:
    """Each in one transaction, and exactly with its reason and fault."""
    with chain_of(kind, rule) as chain:
        assert convicted(chain, rule, sorted(LIES), HEADERS) == possible(rule)


def asked(grown: ChainHistory, call: Call) -> str:
    """What the chain says; what no ABI can carry is refused before it gets there."""
    try:
        return grown.chain.verdict(call)
    except (MismatchedABI, EncodingError, OverflowError):
        return "Unencodable"


def expected(grown: ChainHistory, call: Call) -> str:
    try:
        grown.history.court.verdict(call)
    except Refused as refusal:
        return str(refusal)
    return "wins"


DIRTY = 3
WORD = 32


def with_dirty_words(packed: bytes, rng: random.Random) -> Iterator[bytes]:
    """The call with bits set above the value of some argument or list entry, or anywhere else in one of its words."""
    words = range(4, len(packed) - WORD + 1, WORD)
    small = [at for at in words if any(packed[at : at + WORD]) and not any(packed[at : at + 16])]
    for at in rng.sample(small, min(DIRTY, len(small))):
        bit = 1 << rng.randrange(8)
        place = at + rng.randrange(24)
        yield packed[:place] + bytes([packed[place] ^ bit]) + packed[place + 1 :]
    place = rng.randrange(4, len(packed))
    yield packed[:place] + bytes([packed[place] ^ 1 << rng.randrange(8)]) + packed[place + 1 :]


def try_honest(chain: Chain, rule: AuctionRule, accounts: int, headers: int, each: int) -> None:
    """Some of all true challenges, and as many forged ones: none wins, and chain and court agree why."""
    grown, rng = history_on(chain, 8, accounts, rule), random.Random(9)
    for _ in range(headers):
        grown.post_next()
    assert grown.history.findings == []
    forger, chosen = Forger(random.Random(10)), dict[str, list[Call]]()
    for at in range(headers):
        for call in every_challenge(grown.history, at):
            kept = chosen.setdefault(call.function, [])
            if len(kept) < 40 * each or rng.random() < 0.02:
                kept.append(call)
    for calls in chosen.values():
        sample = rng.sample(calls, min(each, len(calls)))
        assert {grown.chain.verdict(call) for call in sample} == {"NothingIsWrong"}
        forger.learn(calls, 0.5)
        for call in sample:
            for disturbed in with_dirty_words(chain.encoded(call), rng):
                assert chain.verdict_of_bytes(call, disturbed) != "wins"
    for call in forger.forged(each * len(chosen)):
        verdict = asked(grown, call)
        assert verdict != "wins"
        assert expected(grown, call) != "wins"


@pytest.mark.parametrize("kind", CHAINS)
def test_nothing_wins_against_a_small_honest_market_on_a_chain(kind: str) -> None:
    with chain_of(kind, RULES[1]) as chain:
        try_honest(chain, RULES[1], ACCOUNTS, 6, ASKED // 3)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "rule"), [("py-evm", RULES[0]), anvil_only(RULES[0]), anvil_only(RULES[1])])
def test_nothing_wins_against_64_honest_homes_on_a_chain(kind: str, rule: AuctionRule) -> None:
    """Every length closes within twelve headers; anvil is asked three times as much as py-evm."""
    with chain_of(kind, rule) as chain:
        try_honest(chain, rule, 64, HEADERS if NIGHTLY else 12, 3 * ASKED if kind == "anvil" else ASKED)
