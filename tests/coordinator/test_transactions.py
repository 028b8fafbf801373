"""Whatever a node does, and wherever we crash: every wish is done once, under fees that rise and keep the limit."""

from __future__ import annotations

import tempfile
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from coordinator.shell.chain_port import RemoteChainError
from coordinator.shell.transaction_journal import LocalWishError, TransactionJournal
from coordinator.shell.transactor import WISH_LIMIT, RemoteReorgError, Transactor
from coordinator.transaction_table import (
    ANSWERS,
    BUMP_DENOMINATOR,
    BUMP_NUMERATOR,
    DONE,
    LIVE,
    LOOKS,
    NEXT,
    STUCK_AFTER_BLOCKS,
    Act,
    Fee,
    Sighting,
    Transaction,
    TransactionState,
    after,
    raised,
)
from tests.coordinator.model_node import REFUSED, REVERTS, US, Held, ModelNode, sign

DEPTH = 4
LIMIT_WEI = 50_000


def transactor(folder: Path, depth: int = DEPTH, alarms: list[str] | None = None) -> Transactor:
    told: list[str] = [] if alarms is None else alarms
    return Transactor(
        US, sign, TransactionJournal(folder / "journal"), lambda code, _: told.append(code), Counter(),
        finality_depth=depth, fee_limit_wei=LIMIT_WEI, clock=lambda: 0.0,
    )  # fmt: skip


def step(one: Transactor, node: ModelNode) -> bool:
    head = one.check_head(node)
    one.note_final(node, head)
    return one.step(node, head)


def settle(one: Transactor, node: ModelNode) -> None:
    """Lets time pass until nothing is under way."""
    for _ in range(400):
        if not one.under_way:
            return
        step(one, node)
        node.mine()
    raise AssertionError([(t.key, t.state, t.nonce) for t in one.under_way])


# -- the table -------------------------------------------------------------------------------------------------


def test_every_state_with_a_nonce_knows_every_look_and_only_what_is_sent_knows_answers() -> None:
    expected = {(state, look) for state in LIVE for look in LOOKS}
    expected |= {(TransactionState.SENT, answer) for answer in ANSWERS}
    expected |= {(TransactionState.WANTED, Sighting.SIGNED), (TransactionState.WANTED, Sighting.REFUSED)}
    assert set(NEXT) == expected


def test_a_nonce_is_only_given_up_when_another_transaction_is_final_under_it() -> None:
    back = {sighting for (state, sighting), (to, _) in NEXT.items() if state in LIVE and to is TransactionState.WANTED}
    assert back == {Sighting.FOREIGN}


def test_nothing_is_done_before_it_is_deep_and_every_depth_ends_it() -> None:
    for (_, sighting), (to, _) in NEXT.items():
        assert (to in (TransactionState.FINAL, TransactionState.REVERTED)) == (
            sighting in (Sighting.DEEP, Sighting.FAILED_DEEP)
        )


def test_what_left_its_block_is_sent_again_unless_the_node_still_holds_it() -> None:
    for state in (TransactionState.INCLUDED, TransactionState.FAILED):
        assert NEXT[state, Sighting.DROPPED] == (TransactionState.SENT, Act.SEND)
        assert NEXT[state, Sighting.STUCK] == (TransactionState.SENT, Act.SEND)
        assert NEXT[state, Sighting.PENDING] == (TransactionState.SENT, Act.NOTHING)


@given(st.sampled_from(sorted(DONE, key=lambda s: s.name)), st.sampled_from(list(Sighting)))
def test_what_is_done_stays_done(state: TransactionState, sighting: Sighting) -> None:
    with pytest.raises(KeyError):
        after(Transaction("key", US, b"", state=state), sighting)


@given(
    st.builds(Fee, st.integers(0, 10**13), st.integers(0, 10**12)),
    st.builds(Fee, st.integers(0, 10**13), st.integers(0, 10**12)),
    st.integers(0, 10**14),
)
def test_a_replacement_pays_an_eighth_more_and_never_above_the_limit(offered: Fee, asked: Fee, limit: int) -> None:
    offered = Fee(max(offered.most_wei, offered.tip_wei), offered.tip_wei)
    dearer = raised(offered, asked, limit)
    if dearer is None:
        assert limit * BUMP_DENOMINATOR < max(1, offered.most_wei) * BUMP_NUMERATOR + BUMP_DENOMINATOR
        return
    assert offered.most_wei < dearer.most_wei <= limit and dearer.tip_wei <= dearer.most_wei
    assert dearer.most_wei * BUMP_DENOMINATOR >= offered.most_wei * BUMP_NUMERATOR
    assert dearer.tip_wei * BUMP_DENOMINATOR >= offered.tip_wei * BUMP_NUMERATOR


# -- one path each ---------------------------------------------------------------------------------------------


def test_a_wish_is_sent_included_and_final(tmp_path: Path) -> None:
    one, node = transactor(tmp_path), ModelNode()
    one.want("a", US, b"a")
    states = []
    for _ in range(DEPTH + 2):
        step(one, node)
        states.append(one.state("a"))
        node.mine()
    assert states == [TransactionState.SENT, *[TransactionState.INCLUDED] * DEPTH, TransactionState.FINAL]
    assert node.executed(b"a") == 1


def test_what_no_block_takes_pays_more_after_some_blocks_until_the_limit(tmp_path: Path) -> None:
    alarms: list[str] = []
    one, node = transactor(tmp_path, alarms=alarms), ModelNode()
    one.want("a", US, b"a")
    step(one, node)
    node.fee_wei = LIMIT_WEI + 1
    for _ in range(40 * STUCK_AFTER_BLOCKS):
        node.mine()
        step(one, node)
    (waiting,) = one.under_way
    fees = [attempt.fee.most_wei for attempt in waiting.attempts]
    assert all(dearer * BUMP_DENOMINATOR >= fee * BUMP_NUMERATOR for fee, dearer in pairwise(fees))
    assert max(fees) * BUMP_NUMERATOR > LIMIT_WEI * BUMP_DENOMINATOR - BUMP_DENOMINATOR and "fee_limit" in alarms
    node.fee_wei = 1
    settle(one, node)
    assert node.executed(b"a") == 1


def test_a_reorg_within_the_depth_sends_the_same_bytes_again(tmp_path: Path) -> None:
    one, node = transactor(tmp_path), ModelNode()
    one.want("a", US, b"a")
    step(one, node)
    node.mine()
    step(one, node)
    assert one.state("a") is TransactionState.INCLUDED
    node.reorganise(1, forget=True)
    step(one, node)
    assert one.state("a") is TransactionState.SENT
    (waiting,) = one.under_way
    assert len(waiting.attempts) == 1 and waiting.attempts[0].hash in node.pool
    settle(one, node)
    assert node.executed(b"a") == 1


def test_a_deeper_reorg_is_an_alarm_and_the_end(tmp_path: Path) -> None:
    alarms: list[str] = []
    one, node = transactor(tmp_path, alarms=alarms), ModelNode()
    for _ in range(2 * DEPTH):
        node.mine()
    step(one, node)
    one.want("a", US, b"a")
    step(one, node)
    node.reorganise(DEPTH, forget=False)
    step(one, node)
    node.reorganise(DEPTH + 1, forget=False)
    for again in (one, transactor(tmp_path, alarms=alarms)):
        with pytest.raises(RemoteReorgError):
            step(again, node)
        sent = len(node.pool)
        node.mine()
        with pytest.raises(RemoteReorgError):
            step(again, node)
        assert len(node.pool) <= sent
    assert set(alarms) == {"deep_reorg"}


def test_a_node_that_is_behind_is_not_believed(tmp_path: Path) -> None:
    one, ahead, behind = transactor(tmp_path), ModelNode(), ModelNode()
    for _ in range(DEPTH + 3):
        ahead.mine()
    step(one, ahead)
    with pytest.raises(RemoteChainError, match="behind"):
        step(one, behind)


def test_somebody_elses_transaction_moves_ours_to_the_next_nonce_only_when_it_is_final(tmp_path: Path) -> None:
    alarms: list[str] = []
    one, node = transactor(tmp_path, alarms=alarms), ModelNode()
    one.want("a", US, b"a")
    step(one, node)
    node.pool.clear()
    node.mine((Held(sign(US, b"foreign", 0, 0, Fee(9_999, 1), 0).raw),))
    for _ in range(DEPTH):
        step(one, node)
        assert one.under_way[0].nonce == 0
        node.mine()
    step(one, node)
    assert one.under_way[0].nonce == 1 and "foreign_transaction" in alarms
    settle(one, node)
    assert node.executed(b"a") == 1


def test_a_reorg_that_brings_the_old_nonce_back_does_nothing_twice(tmp_path: Path) -> None:
    one, node = transactor(tmp_path), ModelNode()
    one.want("a", US, b"a")
    step(one, node)
    (sent,) = node.pool
    node.pool.clear()
    node.mine((Held(sign(US, b"foreign", 0, 0, Fee(9_999, 1), 0).raw),))
    step(one, node)
    node.reorganise(1, forget=True)
    node.echo(sent)
    node.mine()
    settle(one, node)
    assert node.executed(b"a") == 1 and node.executed(b"foreign") == 0


def test_a_gap_that_a_reorg_leaves_before_ours_is_filled(tmp_path: Path) -> None:
    one, node = transactor(tmp_path), ModelNode()
    node.mine((Held(sign(US, b"foreign", 0, 0, Fee(9_999, 1), 0).raw),))
    one.want("a", US, b"a")
    step(one, node)
    assert one.under_way[0].nonce == 1
    node.reorganise(1, forget=True)
    settle(one, node)
    assert node.executed(b"a") == 1 and node.mined() == 2


def test_what_the_contract_refuses_takes_no_nonce(tmp_path: Path) -> None:
    one, node = transactor(tmp_path), ModelNode()
    one.want("a", US, REFUSED)
    step(one, node)
    outcome = one.outcome("a")
    assert outcome is not None and (outcome.state, outcome.reason) == (TransactionState.ABANDONED, b"\x01\x02\x03\x04")
    one.want("b", US, b"b")
    step(one, node)
    assert one.under_way[0].nonce == 0


def test_a_revert_counts_only_when_it_is_final(tmp_path: Path) -> None:
    alarms: list[str] = []
    one, node = transactor(tmp_path, alarms=alarms), ModelNode()
    one.want("a", US, REVERTS)
    step(one, node)
    node.mine()
    step(one, node)
    assert one.state("a") is TransactionState.FAILED and alarms == []
    settle(one, node)
    assert one.state("a") is TransactionState.REVERTED and alarms == ["transaction_reverted"]


def test_dear_gas_waits_without_a_nonce(tmp_path: Path) -> None:
    alarms: list[str] = []
    one, node = transactor(tmp_path, alarms=alarms), ModelNode(fee_wei=LIMIT_WEI + 1)
    one.want("a", US, b"a")
    step(one, node)
    assert one.state("a") is TransactionState.WANTED and alarms == ["gas_price"] and not node.pool


def test_the_same_wish_twice_is_one_and_another_under_its_name_is_a_mistake(tmp_path: Path) -> None:
    one, node = transactor(tmp_path), ModelNode()
    one.want("a", US, b"a")
    one.want("a", US, b"a")
    with pytest.raises(LocalWishError):
        one.want("a", US, b"b")
    settle(one, node)
    assert node.mined() == 1
    one.want("b", US, b"b")
    one.forget("b")
    assert one.under_way == []
    for number in range(WISH_LIMIT):
        one.want(f"many {number}", US, b"m")
    with pytest.raises(LocalWishError, match="wanted already"):
        one.want("one more", US, b"m")


@given(st.binary(max_size=60) | st.sampled_from([b"{}", b"[]", b'{"final_block": 3, "transactions": [{}]}']))
def test_a_journal_of_anything_else_is_refused(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "journal"
        path.write_bytes(content)
        with pytest.raises(LocalWishError):
            TransactionJournal(path).load()


# -- everything at once ----------------------------------------------------------------------------------------


class Weather(RuleBasedStateMachine):
    """Wishes under all that can happen between a key and its chain."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory()
        self.folder = Path(self._folder.name)
        self.node = ModelNode()
        self.one = transactor(self.folder)
        self.wishes: dict[str, bytes] = {}

    def teardown(self) -> None:
        node = self.node
        node.away = node.swallows = node.silent = False
        node.fee_wei = 1_000
        self._want_again()
        settle(self.one, node)
        for payload in self.wishes.values():
            assert node.executed(payload) == 1, payload
        assert sorted(held.nonce for _, block in node.blocks for held in block) == list(range(node.mined()))
        self._folder.cleanup()

    def _want_again(self) -> None:
        """As whoever wishes does after a restart: what the chain does not show, and is not under way."""
        for key, payload in self.wishes.items():
            if not self.node.executed(payload):
                self.one.want(key, US, payload)

    @rule(fails=st.booleans())
    @precondition(lambda self: len(self.wishes) < 12)
    def wish(self, fails: bool) -> None:
        key = f"wish {len(self.wishes)}"
        self.wishes[key] = (REVERTS if fails else b"does ") + key.encode()
        self.one.want(key, US, self.wishes[key])

    @rule()
    def move(self) -> None:
        try:
            step(self.one, self.node)
        except RemoteReorgError:
            raise
        except RemoteChainError:
            pass

    @rule(most=st.integers(0, 3))
    def mine(self, most: int) -> None:
        self.node.mine(most=most)

    @rule(depth=st.integers(1, DEPTH), forget=st.booleans())
    def reorganise(self, depth: int, forget: bool) -> None:
        self.node.reorganise(min(depth, DEPTH), forget)

    @rule(data=st.data())
    def drop(self, data: st.DataObject) -> None:
        if self.node.pool:
            del self.node.pool[data.draw(st.sampled_from(sorted(self.node.pool)))]

    @rule(data=st.data())
    def echo(self, data: st.DataObject) -> None:
        if self.node.heard:
            self.node.echo(data.draw(st.sampled_from(sorted(self.node.heard))))

    @rule(number=st.integers(0, 10**6))
    def foreign(self, number: int) -> None:
        nonce = self.node.mined()
        self.node.mine((Held(sign(US, f"foreign {number}".encode(), nonce, 0, Fee(10**6, 1), 0).raw),), most=0)

    @rule(away=st.booleans(), swallows=st.booleans(), silent=st.booleans())
    def node_turns(self, away: bool, swallows: bool, silent: bool) -> None:
        self.node.away, self.node.swallows, self.node.silent = away, swallows, silent

    @rule(fee_wei=st.sampled_from([1, 1_000, 3_000, LIMIT_WEI, LIMIT_WEI * 2]))
    def fees_turn(self, fee_wei: int) -> None:
        self.node.fee_wei = fee_wei

    @rule()
    def crash(self) -> None:
        self.one = transactor(self.folder)
        if not self.node.away:
            self._want_again()

    @invariant()
    def nothing_is_done_twice(self) -> None:
        for payload in self.wishes.values():
            assert self.node.executed(payload) <= 1

    @invariant()
    def fees_rise_and_keep_the_limit(self) -> None:
        for transaction in self.one.under_way:
            fees = [attempt.fee.most_wei for attempt in transaction.attempts]
            assert all(fee <= LIMIT_WEI for fee in fees)
            assert all(b * BUMP_DENOMINATOR >= a * BUMP_NUMERATOR for a, b in pairwise(fees))

    @invariant()
    def a_nonce_is_one_transactions(self) -> None:
        nonces = [t.nonce for t in self.one.under_way if t.nonce is not None]
        assert len(nonces) == len(set(nonces))


TestWeather = Weather.TestCase
TestWeather.settings = settings(max_examples=40, stateful_step_count=30, phases=(Phase.generate,))
