"""What a community relies on, from end to end on a deployment as it goes live: the way out, and who decides what.

Every transaction is somebody's own, signed with his key and sent over JSON-RPC, on py-evm and on anvil.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from contracts.challenges import challenge_balance, withdraw
from contracts.codes import Side
from contracts.evidence import Call, PlacedBalance
from contracts.interval import INTERVAL_S
from contracts.posting import Posting
from tests.contracts.community import (
    CAP,
    CHAINS,
    DEPLOYER,
    ESCROW_NANO,
    GUARDIANS,
    HOMES,
    INCLUSION_ROOM_S,
    MEMBERS,
    MINTER,
    NANO,
    OPERATOR,
    OWNERS,
    PAID_IN_NANO,
    REGISTRAR,
    REPORTERS,
    STRANGER,
    Community,
    RefusedError,
    address,
    live,
)
from tests.contracts.honest_market import Market
from tests.coordinator.test_watch import with_gift

BUYER, SELLER = 1, 2
BOUGHT_WH, BUY_PRICE, SOLD_WH, SELL_PRICE = 2_000, 300_000, 1_500, 200_000
COST_NANO = (BUY_PRICE + SELL_PRICE) // 2 * SOLD_WH
LEFT_OVER_NANO = BUY_PRICE * (BOUGHT_WH - SOLD_WH)
"""What the buyer's order locks for what nobody sold him."""
SEED = 3
"""Of a market in which both homes have reserves in the last header."""


# -- the way out -----------------------------------------------------------------------------------------------


def market_on(community: Community) -> Market:
    first = community.now_s() // INTERVAL_S + 1
    return Market(random.Random(SEED), HOMES, first, community.domain, community.terms)


def challenge_of_gift(lie: Posting, before: Posting) -> Call:
    """The two balances between which account 1 got something for nothing."""
    places = lie.balance(1), lie.meter(1), lie.auction(0), lie.slot(0, 1)
    return challenge_balance(lie.posted, 1, before.header, before.balance(1), *places)


def trade(community: Community) -> None:
    """Two homes find each other without an operator: orders, match, delivery, pay."""
    buyer, seller = OWNERS[BUYER], OWNERS[SELLER]
    for account, owner in ((BUYER, buyer), (SELLER, seller)):
        community.do(owner, "EnergyToken", "approve", community.at("EnergyTrading"), ESCROW_NANO)
        community.do(owner, "EnergyTrading", "fund", account, ESCROW_NANO)
    assert community.refusal(buyer, "EnergyTrading", "matchOrders", 1, 2) == "OperatorIsAlive"
    alone_s = community.ask("Settlement", "lastPostedAt") + community.profile.trading.escape_after_s
    community.travel((alone_s // INTERVAL_S + 1) * INTERVAL_S)

    expiry_s = community.now_s() + INCLUSION_ROOM_S
    community.do(buyer, "EnergyTrading", "createOrder", BOUGHT_WH, BUY_PRICE, expiry_s, int(Side.BUY))
    community.do(seller, "EnergyTrading", "createOrder", SOLD_WH, SELL_PRICE, expiry_s, int(Side.SELL))
    bought, sold = (account << 32 | 1 for account in (BUYER, SELLER))
    community.do(seller, "EnergyTrading", "matchOrders", bought, sold)
    assert community.refusal(seller, "EnergyTrading", "settleTransaction", 1) == "TooEarly"

    community.travel((community.ask("EnergyTrading", "intervalOf", bought) + 1) * INTERVAL_S)
    paid_before = community.money(seller)
    community.do(buyer, "EnergyTrading", "settleTransaction", 1)
    assert community.money(seller) == paid_before + COST_NANO
    assert community.refusal(buyer, "EnergyTrading", "returnEscrow", bought) == "NotSettled"
    for owner, account in ((buyer, BUYER), (seller, SELLER)):
        community.do(owner, "EnergyTrading", "withdrawFree", community.ask("EnergyTrading", "freeNano", account))
    assert community.held("EnergyTrading") == LEFT_OVER_NANO


def cash_of(account: int, final: Posting | None) -> tuple[int, int, PlacedBalance]:
    """What is somebody's in the settlement, what of it is reserved, and his proof."""
    proof = PlacedBalance(None, ()) if final is None else final.balance(account)
    leaf = proof.leaf
    return PAID_IN_NANO + (leaf.cumulative_nano if leaf else 0), leaf.reserved_nano if leaf else 0, proof


def leave(community: Community, final: Posting | None) -> None:
    """Both take what they may under the cap, and after the release everything; the buyer's left-over lock, too."""
    taken_nano = CAP * NANO // 4
    for account in (BUYER, SELLER):
        owner, (cash_nano, reserved_nano, proof) = OWNERS[account], cash_of(account, final)
        assert (final is None) == (reserved_nano == 0)
        free_nano = cash_nano - reserved_nano
        assert community.judge(owner, withdraw(account, free_nano + 1, proof)) == "ExceedsCash"
        assert community.judge(owner, withdraw(account, free_nano, proof)) == "ExceedsOutflow"
        community.tell(owner, withdraw(account, taken_nano, proof))

    release_s = community.ask("Settlement", "lastPostedAt") + community.profile.settlement.release_after_s
    community.travel(release_s)
    community.do(OWNERS[SELLER], "EnergyTrading", "returnEscrow", BUYER << 32 | 1)
    for account, more_nano in ((BUYER, LEFT_OVER_NANO), (SELLER, 0)):
        cash_nano, _, proof = cash_of(account, final)
        rest_nano = cash_nano + more_nano - taken_nano
        assert community.judge(OWNERS[account], withdraw(account, rest_nano + 1, proof)) == "ExceedsCash"
        community.tell(OWNERS[account], withdraw(account, rest_nano, proof))


@pytest.mark.parametrize("chain", CHAINS)
@pytest.mark.parametrize(
    ("headers", "halted_by"), [(0, ""), (0, "guardians"), (3, ""), (3, "guardians"), (3, "challenge")]
)
def test_without_operator_governance_and_guardians_homes_trade_and_take_all_that_is_theirs(
    chain: str, headers: int, halted_by: str, tmp_path: Path
) -> None:
    with live(chain, tmp_path) as community:
        buyer, seller = OWNERS[BUYER], OWNERS[SELLER]
        market = market_on(community)
        postings = [market.step() for _ in range(headers)]
        for posting in postings:
            assert community.post(posting.header) == posting.posted
        if halted_by == "guardians":
            call = community.guardian_call("Settlement", "halt")
            community.do(STRANGER, "Guardian", "execute", call, community.signed(call, GUARDIANS[:3]))
        lie = with_gift(market.step()) if halted_by == "challenge" else None
        if lie is not None:
            community.post(lie.header)
        silent_from = community.node.block_number()

        reward_nano = 0
        if lie is not None:
            reward_nano = community.profile.settlement.bond * NANO // 2
            community.tell(buyer, challenge_of_gift(lie, postings[-1]))
        assert community.ask("Settlement", "halted") is (halted_by != "")
        final = postings[-1] if postings else None
        if final is not None:
            community.finalise(seller, final.posted)
        trade(community)
        leave(community, final)

        results = [cash_of(account, final)[0] - PAID_IN_NANO for account in (BUYER, SELLER)]
        assert community.money(buyer) == ESCROW_NANO + PAID_IN_NANO + results[0] - COST_NANO + reward_nano
        assert community.money(seller) == ESCROW_NANO + PAID_IN_NANO + results[1] + COST_NANO
        assert community.held("EnergyTrading") == 0
        assert community.ask("Settlement", "pooledNano") == 2 * PAID_IN_NANO - sum(results)
        assert community.ask("Settlement", "halted") is (halted_by != "")
        assert community.senders_since(silent_from) == {address(buyer), address(seller)}


# -- who decides -----------------------------------------------------------------------------------------------

TERMS = (900, 3_600, 50, 1_000, 40_000)
DECIDED = (
    ("Settlement", "setTariffs", (300_000, 90_000)),
    ("Settlement", "setOutflowCap", (50 * NANO,)),
    ("PriceOracle", "setTerms", (TERMS,)),
)
DEFEATED = 3
"""A state of the governor's proposals."""
NOT_YOURS = {
    "NotAuthorised", "AccessManagedUnauthorized", "AccessManagerUnauthorizedAccount",
    "AccessControlUnauthorizedAccount", "TimelockUnauthorizedCaller", "GovernorOnlyExecutor", "OnlyItself",
}  # fmt: skip
"""What contracts say to whoever may not."""


def standing_terms(community: Community) -> tuple[object, ...]:
    """What the proposal is about, as it stands."""
    tariffs, cap = community.ask("Settlement", "tariffs"), community.ask("Settlement", "outflowCapNano")
    return tariffs, cap, community.ask("PriceOracle", "termsInForce")


@pytest.mark.parametrize("chain", CHAINS)
def test_a_vote_changes_tariffs_cap_and_collar_after_the_delay_and_not_before(chain: str, tmp_path: Path) -> None:
    with live(chain, tmp_path) as community:
        one, two, three, four, five = MEMBERS
        community.delegate({one: one, two: one, three: three, four: five})
        votes = [community.ask("GovernanceToken", "getVotes", address(member)) for member in MEMBERS]
        share = community.profile.governance.votes * 10**18 // 5
        assert votes == [2 * share, 0, share, 0, share]
        before = standing_terms(community)
        proposal = community.decision(DECIDED)
        for powerless in (two, four, STRANGER, DEPLOYER):
            with pytest.raises(RefusedError, match="GovernorInsufficientProposerVotes"):
                proposal.propose(powerless)
        proposal.propose(one)
        assert proposal.refusal(one, "queue") == "GovernorUnexpectedProposalState"
        proposal.vote({one: 1, three: 0, five: 2})
        assert proposal.refusal(one, "execute") == "GovernorUnexpectedProposalState"
        proposal.step(STRANGER, "queue")
        due_s = community.ask("EnergyGovernor", "proposalEta", proposal.number)
        assert due_s >= community.now_s() + community.profile.governance.delay_s
        for wait_until_s in (0, due_s - 60):
            community.travel(wait_until_s)
            for anybody in (one, OPERATOR, DEPLOYER):
                assert proposal.refusal(anybody, "execute") == "TimelockUnexpectedOperationState"
                direct = community.refusal(anybody, "Timelock", "executeBatch", *proposal.batch)
                assert direct == "TimelockUnexpectedOperationState"
        community.post(community.header())
        assert standing_terms(community) == before
        community.travel(due_s)
        proposal.step(STRANGER, "execute")
        assert standing_terms(community) == ((300_000, 90_000), 50 * NANO, TERMS)
        with pytest.raises(RefusedError, match="NotTheTariffs"):
            community.post(community.header())
        assert proposal.refusal(one, "execute") == "GovernorUnexpectedProposalState"


@pytest.mark.parametrize("chain", CHAINS)
def test_nobody_but_the_vote_decides_and_no_one_skips_the_timelock(chain: str, tmp_path: Path) -> None:
    with live(chain, tmp_path) as community:
        people = [DEPLOYER, OPERATOR, REGISTRAR, MINTER, MEMBERS[0], GUARDIANS[0], REPORTERS[0], STRANGER]
        proposal = community.decision(DECIDED)
        me = address(DEPLOYER)
        tries = (
            *DECIDED,
            ("Settlement", "setBounds", (me,)),
            ("Settlement", "setGuardian", (me,)),
            ("Settlement", "restart", (0, me)),
            ("Settlement", "releaseBond", (1,)),
            ("Settlement", "compensate", (1, 1)),
            ("Settlement", "setChallenges", ([me] * 4,)),
            ("Timelock", "scheduleBatch", (*proposal.batch, 0)),
            ("Timelock", "scheduleBatch", (*proposal.batch, community.profile.governance.delay_s)),
            ("Timelock", "updateDelay", (0,)),
            ("Timelock", "grantRole", (bytes(32), me)),
            ("Roles", "grantRole", (0, me, 0)),
            ("EnergyToken", "grantRole", (bytes(32), me)),
            ("EnergyGovernor", "setVotingPeriod", (1,)),
            ("EnergyGovernor", "relay", (community.at("Timelock"), 0, b"")),
            ("GridManagement", "openPosting", ()),
            ("GridManagement", "setPostingBounds", (community.at("PriceOracle"), 1)),
            ("PriceOracle", "setReporters", ([me], 1, 1)),
            ("Guardian", "setOwners", ([me], 1)),
        )
        for one in people:
            for contract, function, arguments in tries:
                assert community.refusal(one, contract, function, *arguments) in NOT_YOURS, (contract, function)
        for contract, function, arguments in tries[:-2]:  # reporters are named, and owners changed, by the guardians
            call = community.guardian_call(contract, function, *arguments)
            together = community.refusal(STRANGER, "Guardian", "execute", call, community.signed(call, GUARDIANS))
            assert together in NOT_YOURS, (contract, function)


@pytest.mark.parametrize("chain", CHAINS)
def test_a_minority_decides_nothing(chain: str, tmp_path: Path) -> None:
    with live(chain, tmp_path) as community:
        community.delegate({member: member for member in MEMBERS})
        proposal = community.decision(DECIDED)
        proposal.propose(MEMBERS[0])
        proposal.vote({MEMBERS[0]: 1, MEMBERS[1]: 1, MEMBERS[2]: 0, MEMBERS[3]: 0, MEMBERS[4]: 0})
        assert community.ask("EnergyGovernor", "state", proposal.number) == DEFEATED
        for step in ("queue", "execute"):
            assert proposal.refusal(MEMBERS[0], step) == "GovernorUnexpectedProposalState"
