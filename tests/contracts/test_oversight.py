"""Who watches over posting, from end to end on a deployment as it goes live: guardians who stop it, and the oracle.

Guardians stop and never start; the reporters' median bounds prices and never stops the market.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import pytest

from contracts.challenges import post, withdraw
from contracts.demands import Question, answer_balance, ask_leaf
from contracts.interval import INTERVAL_S
from contracts.posting import Posting
from contracts.signature import signer_of
from coordinator.oracles.quorum import gather
from coordinator.oracles.quote import OracleName, Quote, sign_quote
from coordinator.shell.oracle_chain import oracle_domain, read_state, submission
from tests.contracts.community import (
    CHAINS,
    DEPLOYER,
    GUARDIANS,
    HOMES,
    MEMBERS,
    MINTER,
    NANO,
    OPERATOR,
    OWNERS,
    REPORTERS,
    STRANGER,
    Community,
    RefusedError,
    address,
    live,
    profile,
)
from tests.contracts.honest_market import Market
from tests.contracts.test_cycles import DECIDED, NOT_YOURS, challenge_of_gift
from tests.coordinator.test_watch import with_gift

CANCELLED = 2
"""A state of the governor's proposals."""
STOPS = {("GridManagement", "stopPosting"): "PostingClosed", ("Settlement", "halt"): "IsHalted"}
"""What guardians do, and what the operator hears from then on."""


# -- guardians -------------------------------------------------------------------------------------------------


def decide(community: Community, contract: str, function: str, *arguments: object, salt: int = 0) -> None:
    """Three of five guardians want a call, one of them on chain; a stranger brings it."""
    call = community.guardian_call(contract, function, *arguments, salt=salt)
    community.do(GUARDIANS[4], "Guardian", "approve", call)
    two = community.signed(call, GUARDIANS[:2])
    assert community.refusal(STRANGER, "Guardian", "execute", call, two[:1]) == "TooFewApprovals"
    community.do(STRANGER, "Guardian", "execute", call, two)
    assert community.refusal(STRANGER, "Guardian", "execute", call, two) == "AlreadyExecuted"


def withdraw_and_finalise(community: Community, final: Posting) -> None:
    community.finalise(STRANGER, final.posted)
    before_nano = community.money(OWNERS[1])
    community.tell(OWNERS[1], withdraw(1, 10 * NANO, final.balance(1)))
    assert community.money(OWNERS[1]) == before_nano + 10 * NANO


def ask_and_answer(community: Community, posting: Posting) -> None:
    fee_nano, had_nano = community.profile.demands.fee_nano, community.money(OPERATOR)
    community.do(OWNERS[2], "EnergyToken", "approve", community.at("DataDemands"), fee_nano)
    community.tell(OWNERS[2], ask_leaf(posting.posted, Question.BALANCE, 1).call)
    number = community.ask("DataDemands", "demandCount")
    community.tell(OPERATOR, answer_balance(number, posting.posted, 1, posting.balance(1)))
    assert community.money(OPERATOR) == had_nano + fee_nano


@pytest.mark.parametrize("chain", CHAINS)
def test_guardians_stop_posting_at_once_and_only_the_timelock_lets_it_go_on(chain: str, tmp_path: Path) -> None:
    with live(chain, tmp_path) as community:
        community.delegate({member: member for member in MEMBERS})
        first = community.now_s() // INTERVAL_S + 1
        market = Market(random.Random(3), HOMES, first, community.domain, community.terms)
        final, honest, right = (market.step() for _ in range(3))
        community.post(final.header)
        community.wait(community.profile.settlement.finality_window_s // 2)
        community.post(honest.header)
        lie = with_gift(right)
        community.post(lie.header)

        community.wait(INTERVAL_S)
        assert community.judge(OPERATOR, post(community.header())) == ""
        for (contract, function), refusal in STOPS.items():
            decide(community, contract, function)
            assert community.judge(OPERATOR, post(community.header())) == refusal
        withdraw_and_finalise(community, final)
        ask_and_answer(community, honest)
        community.tell(STRANGER, challenge_of_gift(lie, honest))
        bond_nano = community.profile.settlement.bond * NANO
        assert community.money(STRANGER) == bond_nano // 2
        assert community.ask("Settlement", "headerCount") == honest.index + 1

        starts = (("Settlement", "restart", (0, address(OPERATOR))), ("GridManagement", "openPosting", ()))
        for contract, function, arguments in starts:
            for one in (OPERATOR, GUARDIANS[0], DEPLOYER):
                assert community.refusal(one, contract, function, *arguments) in NOT_YOURS
            call = community.guardian_call(contract, function, *arguments)
            assert (
                community.refusal(STRANGER, "Guardian", "execute", call, community.signed(call, GUARDIANS)) in NOT_YOURS
            )
        community.do(MINTER, "EnergyToken", "transfer", community.at("Timelock"), bond_nano)
        approval = ("EnergyToken", "approve", (community.at("Settlement"), bond_nano))
        community.decision([approval, ("Settlement", "restart", (bond_nano, address(OPERATOR))), starts[1]]).carry()
        assert community.post(right.header) == right.posted


@pytest.mark.parametrize("chain", CHAINS)
def test_guardians_cancel_a_decision_before_its_time_has_come(chain: str, tmp_path: Path) -> None:
    with live(chain, tmp_path) as community:
        community.delegate({member: member for member in MEMBERS})
        proposal = community.decision(DECIDED)
        proposal.propose(MEMBERS[0])
        proposal.vote(dict.fromkeys(MEMBERS, 1))
        proposal.step(STRANGER, "queue")
        operation = community.ask("Timelock", "hashOperationBatch", *proposal.batch)
        decide(community, "Timelock", "cancel", operation)
        community.wait(community.profile.governance.delay_s)
        assert community.ask("EnergyGovernor", "state", proposal.number) == CANCELLED
        assert proposal.refusal(MEMBERS[0], "execute") == "GovernorUnexpectedProposalState"
        assert community.refusal(STRANGER, "Timelock", "executeBatch", *proposal.batch) == (
            "TimelockUnexpectedOperationState"
        )


# -- the oracle ------------------------------------------------------------------------------------------------

WIDTH, STALE_AFTER_S = 20_000, 1_800


def say(community: Community, values: Sequence[int | None]) -> str:
    """Reporters sign what they observe now, None says nothing; a stranger submits. The refusal, empty for none."""
    community.wait(5)
    domain, at_s = oracle_domain(community.deployment, OracleName.PRICE), community.now_s()
    quotes = [
        sign_quote(OracleName.PRICE, Quote(value, at_s), domain, signer_of(reporter))
        for value, reporter in zip(values, REPORTERS, strict=True)
        if value is not None
    ]
    state = read_state(community.node, domain.contract, OracleName.PRICE)
    try:
        community.tell(STRANGER, submission(OracleName.PRICE, gather(state, quotes, domain, at_s).quotes))
    except RefusedError as error:
        return str(error)
    return ""


def answer(community: Community) -> int:
    return int(community.ask("PriceOracle", "latestRoundData")[1])


@pytest.mark.parametrize("chain", CHAINS)
def test_one_liar_and_two_silent_reporters_do_not_move_the_median(chain: str, tmp_path: Path) -> None:
    lowest, highest = (getattr(profile().price, bound) for bound in ("minimum", "maximum"))
    with live(chain, tmp_path) as community:
        assert say(community, (200_000, 201_000, 202_000, 203_000, highest)) == ""
        assert answer(community) == 202_000
        assert say(community, (200_000, 201_000, 202_000, 203_000, lowest)) == ""
        assert answer(community) == 201_000
        for lie, honest in ((highest, 206_000), (lowest, 205_000)):
            assert say(community, (205_000, None, lie, 206_000, None)) == ""
            assert answer(community) == honest
        assert say(community, (205_000, 206_000, None, None, None)) == "QuorumMissed"
        assert say(community, (highest, highest, highest, None, None)) == "DeviatesTooFar"
        assert say(community, (highest, highest, 204_000, 205_000, 206_000)) == ""
        assert answer(community) == 206_000


@pytest.mark.parametrize("chain", CHAINS)
def test_a_collar_refuses_prices_outside_and_opens_stepwise_when_reporters_are_silent(
    chain: str, tmp_path: Path
) -> None:
    with live(chain, tmp_path) as community:

        def refusal(spot_price: int) -> str:
            return community.judge(OPERATOR, post(community.header(spot_price)))

        assert refusal(319_000) == "", "before a first answer only the tariffs bind"
        assert say(community, (200_000, 201_000, 202_000, 203_000, 4_000_000)) == ""
        middle, observed_s = answer(community), community.ask("PriceOracle", "latestRoundData")[2]
        for doublings in range(3):
            community.travel(observed_s + doublings * STALE_AFTER_S)
            assert community.ask("PriceOracle", "isStale") is (doublings > 0)
            floor, cap, _, is_open = community.ask("GridManagement", "postingBounds")
            assert (floor, cap, is_open) == (middle - (WIDTH << doublings), middle + (WIDTH << doublings), True)
            assert community.ask("PriceOracle", "collar") == (floor, cap, observed_s)
            assert refusal(floor - 1) == refusal(cap + 1) == "PriceOutOfBounds"
            community.post(community.header(floor))
            community.post(community.header(cap))
        community.travel(observed_s + 3 * STALE_AFTER_S)
        assert refusal(320_001) == refusal(79_999) == "PriceOutOfBounds"
        community.post(community.header(320_000))
        assert say(community, (None, 200_000, 201_000, 202_000, None)) == ""
        assert refusal(221_001) == refusal(180_999) == "PriceOutOfBounds"
        community.post(community.header(221_000))
