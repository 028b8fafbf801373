"""On a chain: no challenge wins against an honest batch, and every lie is caught by the challenge made for it."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import pytest
from web3.logs import DISCARD

from contracts.artifacts import anvil
from contracts.eip712 import Domain, camel_case, keccak, layout
from contracts.evidence import NO_SIBLINGS_20, Lie, PlacedBalance, PostedHeader, Tree, message_struct, withdraw
from contracts.interval import INTERVAL_S, Product
from contracts.merkle import DEPTH, EMPTY, MerkleSumTree, Node
from contracts.messages import FORCED_VERSION, Bid
from tests.contracts.honest_batch import Batch, Evidence, LyingTree, forward_round, honest_batch, node_at
from tests.contracts.lie_makers import Told, posted_instead
from tests.contracts.lies import LIES
from tests.contracts.local_chain import (
    BOND_NANO,
    NANO,
    START_S,
    Chain,
    RefusedError,
    anvil_chain,
    py_evm_chain,
)

ACCOUNTS = 6
FIRST = START_S // INTERVAL_S + 1
SEEDS = 40
"""Tried in turn until a batch has something to lie about."""


@pytest.fixture(scope="module", params=["py-evm", pytest.param("anvil", marks=pytest.mark.real("anvil"))])
def chain(request: pytest.FixtureRequest) -> Iterator[Chain]:
    """A chain with six homes, of which nothing is left over between tests."""
    if request.param == "py-evm":
        found = py_evm_chain()
        found.open_accounts(ACCOUNTS)
        yield found
    elif anvil() is None:
        pytest.skip("anvil is not installed in contracts/solidity/node_modules")
    else:
        with anvil_chain() as found:
            found.open_accounts(ACCOUNTS)
            yield found


def two_batches(seed: int, chain: Chain, accounts: int = ACCOUNTS) -> tuple[Batch, Batch]:
    rng = random.Random(seed)
    first = honest_batch(rng, accounts, FIRST, None, chain.domain)
    return first, honest_batch(rng, accounts, FIRST + 1, first, chain.domain)


def told_lie(name: str, chain: Chain) -> tuple[Batch, Told]:
    for seed in range(SEEDS):
        first, second = two_batches(seed, chain)
        told = LIES[name](second, chain.domain)
        if told is not None:
            return first, told
    raise AssertionError(f"no batch of {SEEDS} gives room for: {name}")


@pytest.mark.parametrize("name", LIES)
def test_every_lie_is_caught_by_its_challenge(chain: Chain, name: str) -> None:
    first, told = told_lie(name, chain)
    with chain.undone():
        chain.post(first.header)
        posted = chain.post(told.batch.header)
        watcher = chain.web3.eth.accounts[9]
        had = chain.ask(chain.token, "balanceOf", watcher)
        receipt = chain.tell(told.refutation(Evidence(told.batch, posted)), sender=watcher)
        (voided,) = chain.settlement.events.Voided().process_receipt(receipt, errors=DISCARD)
        assert (voided["args"]["reason"], voided["args"]["fault"]) == (told.reason, told.fault)
        assert chain.ask(chain.settlement, "headerCount") == 1
        assert chain.ask(chain.settlement, "tipDigest") == told.batch.header.previous
        assert chain.ask(chain.settlement, "tipInterval") == first.header.interval
        assert chain.ask(chain.settlement, "halted")
        assert chain.ask(chain.token, "balanceOf", watcher) - had == BOND_NANO // 2
        assert chain.ask(chain.settlement, "fundNano") == BOND_NANO - BOND_NANO // 2
        assert receipt["gasUsed"] <= 350_000


def crowded(batch: Batch, domain: Domain) -> Batch:
    """The batch as if every tree were full: random subtrees beside the way of account 1, sums balanced."""

    def beside(height: int, index: int, node: Node) -> Node:
        if height < DEPTH and index == (1 >> height) ^ 1 and height > 2:
            return Node(keccak(bytes([height])), 10**12, 10**12, 10**9)
        return node

    trees: dict[tuple[Tree, int], MerkleSumTree] = {}
    for tree in (Tree.METERS, Tree.BALANCES, Tree.SLOTS):
        found = Evidence(batch, PostedHeader(batch.header, 0, 0)).tree(tree)
        leaves = {a: node_at(found, 0, a) for a in range(16)} | {1 << h: EMPTY for h in range(3, DEPTH)}
        trees[tree, 0] = LyingTree(leaves, DEPTH, beside)
    return posted_instead(batch, domain, trees=trees)


def test_the_dearest_challenge_is_affordable_in_full_trees(chain: Chain) -> None:
    """Four paths of twenty siblings, none of them empty, and nothing of it is cheap to send."""
    with chain.undone():
        first, told = told_lie("a balance moved by a gift", chain)
        full = crowded(first, chain.domain)
        chain.post(full.header)
        lie = crowded(replace(told.batch, previous=full), chain.domain)
        posted = chain.post(lie.header)
        receipt = chain.tell(told.refutation(Evidence(lie, posted)))
        assert receipt["gasUsed"] <= 350_000


@pytest.mark.parametrize(
    ("seed", "every"), [(3, 5), pytest.param(4, 1, marks=pytest.mark.slow), pytest.param(5, 1, marks=pytest.mark.slow)]
)
def test_no_challenge_wins_against_an_honest_batch(chain: Chain, seed: int, every: int) -> None:
    """Each of some 200 challenges about each of two batches; in the quick run every fifth of them."""
    with chain.undone():
        verdicts: Counter[tuple[str, str]] = Counter()
        for batch in two_batches(seed, chain):
            posted = chain.post(batch.header)
            calls = sorted(Evidence(batch, posted).everything(), key=lambda call: call.function)
            verdicts.update((call.function, chain.verdict(call)) for call in calls[::every])
        assert {verdict for _, verdict in verdicts} == {"NothingIsWrong"}
        assert len(verdicts) == 7, "every challenge was tried"


def test_evidence_about_something_else_is_refused(chain: Chain) -> None:
    with chain.undone():
        first, second = two_batches(3, chain)
        posted = chain.post(first.header)
        evidence = Evidence(first, posted)
        others = Evidence(second, posted)
        assert chain.verdict(others.fill(1, 1)) == "NotInTree"
        assert chain.verdict(others.placement(1)) == "NotInTree"
        assert chain.verdict(others.totals(Tree.BALANCES)) == "NotInTree"
        assert chain.verdict(others.leaf(Tree.METERS, 1, b"")) == "NotInTree"
        assert chain.verdict(others.balance(1)) == "NotInTree"
        assert chain.verdict(evidence.leaf(Tree.BALANCES, 1, b"another leaf")) == "NotInTree"
        slot = first.record.auctions[1].slots[0]
        assert chain.verdict(evidence.signature(1, slot.account, b"another signature")) == "WrongEvidence"
        late = Evidence(first, replace(posted, posted_at_s=posted.posted_at_s + 1))
        assert chain.verdict(late.totals(Tree.BALANCES)) == "UnknownHeader"
        beyond = Evidence(first, replace(posted, index=1))
        assert chain.verdict(beyond.totals(Tree.BALANCES)) == "UnknownHeader"


def test_an_honest_balance_cannot_be_made_to_look_wrong(chain: Chain) -> None:
    """Cy denies leaves that are there, brings another auction as the spot round, or another header as the previous."""
    with chain.undone():
        first, second = two_batches(3, chain)
        chain.post(first.header)
        evidence = Evidence(second, chain.post(second.header))
        account = next(s.account for s in second.record.auctions[0].slots)
        other = next(
            p for p, a in enumerate(second.record.auctions) if p and any(s.account == account for s in a.slots)
        )
        call = evidence.balance(account)
        assert chain.verdict(call) == "NothingIsWrong"
        proof, honest = call.arguments
        part = dict(zip(("account", "previous", "before", "after", "meter", "spot", "slot"), honest, strict=True))
        denied = {name: (False, *part[name][1:]) for name in ("before", "after", "meter", "spot", "slot")}
        forged = [{name: value} for name, value in denied.items()]
        forged += [{"spot": denied["spot"], "slot": denied["slot"]}, {"previous": message_struct(second.header)}]
        forward = {"spot": evidence.auction(other).struct(), "slot": evidence.slot(other, account).struct()}
        forged += [forward, {"spot": forward["spot"], "slot": denied["slot"]}]
        blank = replace(first.header, balances_root=MerkleSumTree({}).commitment)
        nothing = PlacedBalance(None, NO_SIBLINGS_20).struct()
        forged += [{"previous": message_struct(blank), "before": nothing}]
        for change in forged:
            told = replace(call, arguments=(proof, tuple({**part, **change}.values())))
            assert chain.verdict(told) == "NotInTree"
        supplier = {**part, "account": 0}
        assert chain.verdict(replace(call, arguments=(proof, tuple(supplier.values())))) == "NothingIsWrong"


def test_one_leaf_cannot_be_shown_at_two_indices(chain: Chain) -> None:
    with chain.undone():
        first, _ = two_batches(3, chain)
        evidence = Evidence(first, chain.post(first.header))
        leaf = first.record.balances[1]
        call = evidence.leaf(Tree.BALANCES, leaf.account, leaf.pack())
        node = call.arguments[3]
        shifted = (node[0], node[1] + (1 << 20), node[2])
        assert chain.verdict(replace(call, arguments=(*call.arguments[:3], shifted, leaf.pack()))) == "IndexOutsideTree"


def test_a_lie_at_the_first_header_leaves_an_empty_chain_that_starts_again(chain: Chain) -> None:
    with chain.undone():
        for seed in range(SEEDS):
            first, _ = two_batches(seed, chain)
            told = LIES["a balance moved by a gift"](first, chain.domain)
            if told is not None:
                break
        posted = chain.post(told.batch.header)
        chain.tell(told.refutation(Evidence(told.batch, posted)))
        assert chain.ask(chain.settlement, "headerCount") == 0
        assert chain.ask(chain.settlement, "tipDigest") == bytes(32)
        chain.send(chain.settlement, "restart", BOND_NANO, chain.operator)
        assert chain.post(first.header).index == 0


def test_voiding_takes_all_later_headers_along(chain: Chain) -> None:
    with chain.undone():
        first, told = told_lie("a balance moved by a gift", chain)
        chain.post(first.header)
        posted = chain.post(told.batch.header)
        later = honest_batch(random.Random(9), ACCOUNTS, FIRST + 2, told.batch, chain.domain)
        posted_later = chain.post(later.header)
        chain.tell(told.refutation(Evidence(told.batch, posted)))
        assert chain.ask(chain.settlement, "headerCount") == 1
        assert chain.verdict(Evidence(later, posted_later).totals(Tree.BALANCES)) == "UnknownHeader"


def test_a_final_header_can_no_longer_be_challenged(chain: Chain) -> None:
    with chain.undone():
        first, told = told_lie("a balance moved by a gift", chain)
        chain.post(first.header)
        posted = chain.post(told.batch.header)
        call = told.refutation(Evidence(told.batch, posted))
        chain.finalise(posted)
        assert chain.verdict(call) == "AlreadyFinal"


def test_cash_leaves_by_final_balances_also_while_halted(chain: Chain) -> None:
    with chain.undone():
        owner = chain.web3.eth.accounts[2]
        for account in range(ACCOUNTS + 1):
            chain.send(chain.settlement, "deposit", account, 1_000 * NANO)
        first, told = told_lie("a balance moved by a gift", chain)
        honest = chain.post(first.header)
        lie = chain.post(told.batch.header)
        chain.tell(told.refutation(Evidence(told.batch, lie)))
        assert chain.ask(chain.settlement, "halted")
        chain.finalise(honest)
        balance = Evidence(first, honest).balance_of(2)
        assert balance.leaf is not None
        cash = 1_000 * NANO + balance.leaf.cumulative_nano - balance.leaf.reserved_nano
        with pytest.raises(RefusedError, match="ExceedsCash"):
            chain.tell(withdraw(2, cash + 1, balance), sender=owner)
        with pytest.raises(RefusedError, match="NotAuthorised"):
            chain.tell(withdraw(2, 1, balance))
        had = chain.ask(chain.token, "balanceOf", owner)
        chain.tell(withdraw(2, cash, balance), sender=owner)
        assert chain.ask(chain.token, "balanceOf", owner) - had == cash
        with pytest.raises(RefusedError, match="ExceedsCash"):
            chain.tell(withdraw(2, 1, balance), sender=owner)


def test_every_kind_of_lie_is_told() -> None:
    """The list above leaves no reason out."""
    names = " ".join(LIES)
    assert len(LIES) == len(set(LIES)) and names
    chain = py_evm_chain()
    reasons = {told_lie(name, chain)[1].reason for name in LIES}
    assert reasons == set(Lie)


def test_a_forced_bid_counts_exactly_as_it_was_placed(chain: Chain) -> None:
    """Ada places a bid on chain. Carried as it stands it is no lie; with another price it is one."""
    with chain.undone():
        trading = chain.deploy("EnergyTrading", chain.settlement.address, 300, 60, 7_200)
        first, second = two_batches(3, chain)
        chain.post(first.header)
        chain.send(chain.settlement, "setTrading", trading.address)
        ada = chain.web3.eth.accounts[1]
        receipt = chain.send(trading, "createOrder", 5_000, 250_000, chain.now_s() + 10**6, 0, sender=ada)
        (placed,) = trading.events.ForcedOrder().process_receipt(receipt, errors=DISCARD)
        bid = Bid(*(placed["args"]["bid"][camel_case(name)] for name, _ in layout(Bid).columns))
        assert bid.version == FORCED_VERSION | 1
        assert chain.ask(trading, "forcedBidHash", 1) == bid.struct_hash()
        for told, verdict in ((bid, "NothingIsWrong"), (replace(bid, limit_price=250_100), "wins")):
            product = Product.from_number(told.product)
            at_s = second.record.interval * INTERVAL_S + 60
            auction = forward_round({1: told}, {1: b""}, {}, 0, at_s, product, bytes(32))
            record = replace(second.record, auctions=(*second.record.auctions, auction))
            batch = posted_instead(second, chain.domain, record)
            with chain.undone():
                posted = chain.post(batch.header)
                assert chain.verdict(Evidence(batch, posted).signature(len(record.auctions) - 1, 1)) == verdict
