"""What the operator shows Ada is believed only where it follows from the rules."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from contracts.batch import AuctionRecord, BatchRecord
from contracts.clearing_rules import Order, clear
from contracts.codes import AuctionRule, Side
from contracts.commitments import NO_COMMITMENTS
from contracts.eip712 import digest
from contracts.interval import SPOT_ROUND, Product, interval_start_s
from contracts.leaves import BalanceLeaf, Slot, meter_leaf
from contracts.merkle import MerkleSumTree, commitment
from contracts.messages import NO_ACCOUNT, Auction, Header
from contracts.proof_pack import FillPack, IntervalPack, fill_packs, interval_packs, pack_bytes
from contracts.signature import signer_of
from contracts.topics import Leaf, topic
from coordinator.market.auctioneer import Round, run_auctioned_round, run_shared_round
from edge_agent.effects import Alarm, Effect
from tests.edge_agent.conftest import ADA, CY_KEY, OPERATOR_KEY, Home, ada_config

NOW = 2_000_000
NOW_S = interval_start_s(NOW)
NOW_MS = NOW_S * 1000
BO = 9
PRODUCT = Product(NOW + 4, 1)


def auction(round_number: int = 0, quantity_wh: int = 400, before_wh: int = 0) -> AuctionRecord:
    """Ada sells to Bo at 200,000 micro per kWh."""
    orders = [Order(ADA, Side.SELL, quantity_wh, 100_000), Order(BO, Side.BUY, quantity_wh, 300_000)]
    result, fills = clear(orders)
    slots = tuple(
        Slot(
            o.account, PRODUCT.number, 5, o.side, o.quantity_wh, o.limit_price, PRODUCT.start_s, 0, fills[o.account],
            (1 if o.side == Side.BUY else -1) * (fills[o.account] + before_wh), 0, bytes(32),
        )
        for o in orders
    )  # fmt: skip
    tree = MerkleSumTree({s.account: s.node(result.price, result.long_side, NOW_S + 60) for s in slots})
    published = Auction(
        PRODUCT.number, round_number, int(AuctionRule.FORWARD), NOW_S + 60, result.price, result.lo, result.hi,
        result.lo_account, result.hi_account, result.volume_wh, result.marginal_wh, result.rationed_wh,
        int(result.long_side), tree.commitment, bytes(32),
    )  # fmt: skip
    return AuctionRecord(published, slots, (b"", b""))


def packs(interval: int, previous: bytes, result_nano: int, key: bytes = OPERATOR_KEY) -> tuple[IntervalPack, bytes]:
    """Ada's interval pack of a header with one auction, and the header's identity."""
    at_s = interval_start_s(interval) + 60
    spot = Auction(
        Product(interval - 4, 1).number, SPOT_ROUND, int(AuctionRule.SPOT_SHARED), at_s, 150_000, 150_000, 150_000,
        NO_ACCOUNT, NO_ACCOUNT, 0, 0, 0, 0, MerkleSumTree({}).commitment, bytes(32),
    )  # fmt: skip
    forward = auction()
    forward = replace(forward, auction=replace(forward.auction, cleared_at_s=at_s))
    record = BatchRecord(
        interval,
        (AuctionRecord(spot, (), ()), forward),
        (),
        (),
        (BalanceLeaf(ADA, result_nano, 0, NO_COMMITMENTS), BalanceLeaf(0, -result_nano, 0, NO_COMMITMENTS)),
        ((), ()),
    )
    header = Header(
        interval, previous, commitment(record.auctions_tree().root), record.meters_tree().commitment,
        record.balances_tree().commitment, record.data_hash, 300_000, 80_000, 150_000, forward.auction.volume_wh,
    )  # fmt: skip
    name = digest(header, ada_config(Path("/nowhere")).chain.domain)
    return interval_packs(record, header, signer_of(key)(name))[ADA], name


def show(home: Home, pack: FillPack | IntervalPack) -> list[Effect]:
    """The operator sends a pack."""
    return home.agent.on_message(topic("f1", "ada", Leaf.PROOF), pack_bytes(pack), NOW_MS)


def ada_fill(record: AuctionRecord) -> FillPack:
    """Ada's fill pack of one auction."""
    return fill_packs(record)[ADA]


def test_a_proven_fill_moves_the_position_and_an_older_round_does_not_move_it_back(tmp_path: Path) -> None:
    home = Home(tmp_path, synchronised_ms=NOW_MS)
    proofs = home.agent._proofs
    assert show(home, ada_fill(auction(3, 100, before_wh=300))) == []
    assert proofs.position_wh(PRODUCT.first_interval) == -400
    assert show(home, ada_fill(auction(1))) == []
    assert proofs.position_wh(PRODUCT.first_interval) == -400 and proofs.position_wh(PRODUCT.first_interval + 1) == 0
    assert home.counters["proof_checked"] == 2


def test_a_wrong_fill_is_an_alarm_and_moves_nothing(tmp_path: Path) -> None:
    home = Home(tmp_path, synchronised_ms=NOW_MS)
    good = ada_fill(auction())
    for bad in (
        replace(good, slot=replace(good.slot, fill_wh=399)),
        replace(good, slot=replace(good.slot, account=BO)),
        replace(good, siblings=good.siblings[:-1]),
        replace(good, auction=replace(good.auction, price=1)),
    ):
        (alarm,) = show(home, bad)
        assert isinstance(alarm, Alarm) and alarm.code == "proof"
    (alarm,) = home.agent.on_message(topic("f1", "ada", Leaf.PROOF), b"garbage", NOW_MS)
    assert isinstance(alarm, Alarm)
    assert home.agent._proofs.positions == {}
    assert home.counters["proof_refuted"] == 4 and home.counters["proof_unreadable"] == 1


def test_consecutive_headers_are_checked_against_each_other(tmp_path: Path) -> None:
    home = Home(tmp_path, synchronised_ms=NOW_MS)
    first, name = packs(NOW, bytes(32), 70)
    assert show(home, first) == []
    assert show(home, first) == [], "a repeat is no news"
    second, _ = packs(NOW + 1, name, 70)
    assert show(home, second) == []
    assert home.agent._proofs.checked is not None and home.agent._proofs.checked.interval == NOW + 1


def test_a_result_that_moves_without_reason_a_fork_and_a_foreign_signature_are_alarms(tmp_path: Path) -> None:
    home = Home(tmp_path, synchronised_ms=NOW_MS)
    first, name = packs(NOW, bytes(32), 70)
    assert show(home, first) == []
    for bad in (
        packs(NOW + 1, name, 69)[0],
        packs(NOW + 1, bytes(32), 70)[0],
        packs(NOW + 1, name, 70, CY_KEY)[0],
        packs(NOW, b"\x01" * 32, 70)[0],
    ):
        (alarm,) = show(home, bad)
        assert isinstance(alarm, Alarm), alarm
    assert home.agent._proofs.checked is not None and home.agent._proofs.checked.digest == name


def test_a_spot_round_by_another_rule_than_the_agreed_one_is_an_alarm(tmp_path: Path) -> None:
    home = Home(tmp_path, synchronised_ms=NOW_MS)
    at_s = interval_start_s(NOW) + 60
    for rule, alarms in ((AuctionRule.SPOT_AUCTION, 1), (AuctionRule.SPOT_SHARED, 0)):
        round_of = Round(Product(NOW - 4, 1).number, SPOT_ROUND, at_s, bytes(32))
        spot = (
            run_shared_round(round_of, {ADA: 5}, 150_000)
            if rule == AuctionRule.SPOT_SHARED
            else run_auctioned_round(round_of, {ADA: 5}, {}, (150_000, 80_000))
        )
        record = BatchRecord(NOW, (spot,), (meter_leaf(ADA, (0, 0), {}, 0, 5, bytes(32)),), (b"",), ())
        header = Header(
            NOW, bytes(32), record.auctions_tree().commitment, record.meters_tree().commitment,
            record.balances_tree().commitment, record.data_hash, 300_000, 80_000, 150_000, 0,
        )  # fmt: skip
        name = digest(header, ada_config(Path("/nowhere")).chain.domain)
        assert len(show(home, interval_packs(record, header, signer_of(OPERATOR_KEY)(name))[ADA])) == alarms, rule


def test_what_was_checked_survives_a_restart(tmp_path: Path) -> None:
    home = Home(tmp_path, synchronised_ms=NOW_MS)
    first, name = packs(NOW, bytes(32), 70)
    show(home, first)
    home.agent.on_deadline(NOW_MS)
    home.outbox.close()
    again = Home(tmp_path, synchronised_ms=NOW_MS)
    assert again.agent._proofs.position_wh(PRODUCT.first_interval) == -400
    (alarm,) = show(again, packs(NOW + 1, name, 71)[0])
    assert isinstance(alarm, Alarm)
