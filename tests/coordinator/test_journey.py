"""A street through the core: from bids and readings to headers that every home and any auditor can check."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.audit import AuditRules, AuditState, audit_record
from contracts.batch import BatchRecord
from contracts.codes import Side
from contracts.interval import INTERVAL_S, STREET_CALENDAR, Product, product_covering
from contracts.messages import FORCED_VERSION, Bid, Header
from contracts.proof_pack import FillPack, IntervalPack, fill_pack_faults, interval_pack_faults, open_pack
from contracts.signature import address_of, signer_of
from contracts.units import amount_nano
from coordinator.chain_events import HeaderFinalised, HeaderPosted, HeaderVoided, OrderCancelled, OrderForced
from coordinator.effects import Alarm, Publish, PublishRecord, SubmitHeader
from coordinator.replay import first_difference, replay
from coordinator.store.store import Store
from tests.coordinator.street import ADA, BO, DOMAIN, MARKET, OPERATOR, Street, key_of


def trade_for(street: Street, rng: random.Random, intervals: int) -> None:
    """Random bids and readings of every home; a tenth of each goes missing."""
    registers = {account: [1_000 * account, 500 * account] for account in range(1, street.homes + 1)}
    first = street.interval
    for interval in range(first, first + intervals):
        for account in registers:
            for product in (Product(interval + 4, 1), product_covering(interval + 8, 4)):
                if rng.random() < 0.9 and STREET_CALENDAR.schedule(product.length).is_open(product, street.now_s):
                    side, limit = rng.choice(list(Side)), 100 * rng.randint(900, 3_000)
                    street.bid(account, product, side, rng.randint(0, 300), limit, version=interval - first + 1)
        street.wait_until((interval + 1) * INTERVAL_S + 2)
        for account, register in registers.items():
            register[rng.randint(0, 1)] += rng.randint(0, 400)
            if rng.random() < 0.9:
                street.reading(account, interval, *register)


def published(street: Street) -> list[tuple[BatchRecord, Header]]:
    records = [BatchRecord.from_bytes(e.record) for e in street.effects if isinstance(e, PublishRecord)]
    headers = [e.header for e in street.effects if isinstance(e, SubmitHeader)]
    return list(zip(records, headers, strict=True))


@given(st.integers(0, 10**6))
def test_an_honest_history_has_no_fault_for_any_auditor(seed: int) -> None:
    street = Street(homes=4)
    trade_for(street, random.Random(seed), 9)
    state = AuditState()
    rules = AuditRules(DOMAIN, MARKET.terms, {a: address_of(key_of(a)) for a in range(1, 5)})
    history = published(street)
    assert len(history) >= 7
    for record, header in history:
        assert [str(f) for f in audit_record(record, header, state, rules)] == []


@given(st.integers(0, 10**6))
def test_a_replay_of_the_inbox_rebuilds_every_table(seed: int) -> None:
    street = Street(homes=3)
    trade_for(street, random.Random(seed), 8)
    street.core.balance_grid(street.now_ms)
    street.core.on_quote("weather_supply_w", 1_000, street.now_ms)
    rebuilt = replay(street.store, MARKET, signer_of(OPERATOR))
    assert first_difference(street.store, rebuilt.store) is None
    rebuilt.store.run("UPDATE balances SET cumulative_nano = cumulative_nano + 1 WHERE account = 1")
    assert first_difference(street.store, rebuilt.store) is not None


def test_every_home_can_check_its_own_packs() -> None:
    street = Street(homes=5)
    trade_for(street, random.Random(5), 12)
    before: dict[int, int] = {}
    checked = 0
    for effect in street.effects:
        if isinstance(effect, Publish) and effect.topic.endswith("/proof"):
            account = int(effect.topic.split("/")[3].removeprefix("home-"))
            pack = open_pack(effect.payload)
            if isinstance(pack, FillPack):
                assert fill_pack_faults(pack, account) == []
                assert fill_pack_faults(pack, account + 1) != []
            else:
                args = (account, DOMAIN, address_of(OPERATOR), MARKET.terms, before.get(account))
                assert interval_pack_faults(pack, *args) == []
                before[account] = pack.balance.cumulative_nano if pack.balance else 0
            checked += 1
    assert checked > 100


def test_a_pack_with_a_shifted_balance_is_refused_by_its_home() -> None:
    street = Street(homes=2)
    trade_for(street, random.Random(1), 8)
    packs = [open_pack(e.payload) for e in street.effects if isinstance(e, Publish) and e.topic.endswith("1/proof")]
    last = [p for p in packs if isinstance(p, IntervalPack) and p.balance][-1]
    assert last.balance is not None
    wrong = last.balance.cumulative_nano + 1
    faults = interval_pack_faults(last, ADA, DOMAIN, address_of(OPERATOR), MARKET.terms, wrong)
    assert faults == ["the result did not move by contracts, spot and supplier settlement"]


def test_statements_sum_to_zero_with_the_supplier_and_equal_the_balances() -> None:
    street = Street(homes=4)
    trade_for(street, random.Random(2), 12)
    results = dict(street.store.rows("SELECT account, SUM(result_nano) FROM statements GROUP BY account"))
    balances = dict(street.store.rows("SELECT account, cumulative_nano FROM balances"))
    assert sum(balances.values()) == 0
    assert {a: n for a, n in balances.items() if a} == {a: results.get(a, 0) for a in balances if a}


def test_two_neighbours_trade_a_quarter_hour_at_one_price() -> None:
    street = Street()
    product = Product(street.interval + 4, 1)
    street.bid(ADA, product, Side.SELL, 500, 100_000)
    street.bid(BO, product, Side.BUY, 400, 300_000)
    street.wait_until(product.start_s)
    positions = street.store.rows("SELECT account, position_wh, cost_nano FROM positions ORDER BY account")
    price = 100_000  # Ada's offer is larger than the demand, so hers is the marginal price
    assert positions == [(ADA, -400, -400 * price), (BO, 400, 400 * price)]
    contracted_at = product.first_interval
    for interval, imported in ((contracted_at - 1, 0), (contracted_at, 400)):
        street.reading(ADA, interval, 0, imported)
        street.reading(BO, interval, imported, 0)
        street.wait_until((interval + 2) * INTERVAL_S)
    street.wait_until((contracted_at + MARKET.grace + 1) * INTERVAL_S + 10)
    results = dict(street.store.rows("SELECT account, SUM(result_nano) FROM statements GROUP BY account"))
    assert results == {ADA: amount_nano(price, 400), BO: -amount_nano(price, 400)}


def test_a_home_that_sends_no_reading_is_settled_when_the_next_one_comes() -> None:
    street = Street(homes=1)
    first = street.interval
    street.reading(ADA, first - 1, 100, 0)
    street.wait_until((first + 3) * INTERVAL_S)
    street.reading(ADA, first + 2, 900, 0)
    street.wait_until((first + 8) * INTERVAL_S)
    metered = street.store.rows("SELECT interval, metered_wh FROM statements WHERE metered_wh != 0")
    assert metered == [(first + 2, 800)]


def test_a_register_that_runs_backwards_meters_nothing() -> None:
    street = Street(homes=1)
    first = street.interval
    street.reading(ADA, first - 1, 1_000, 0)
    street.wait_until((first + 1) * INTERVAL_S + 1)
    street.reading(ADA, first, 400, 0)
    street.wait_until((first + 8) * INTERVAL_S)
    assert street.store.integer("SELECT SUM(ABS(metered_wh)) FROM statements") == 0


def test_registers_beyond_what_the_connection_carries_are_not_settled_and_raise_an_alarm() -> None:
    street = Street(homes=1)
    first = street.interval
    street.reading(ADA, first - 1, 1_000, 1_000)
    street.wait_until((first + 1) * INTERVAL_S + 1)
    street.reading(ADA, first, 1_000, 10**11)  # a hundred gigawatt-hours sold in a quarter of an hour
    street.wait_until((first + 7) * INTERVAL_S)
    assert street.store.integer("SELECT SUM(ABS(metered_wh)) FROM statements") == 0
    assert any(isinstance(e, Alarm) and e.code == "implausible_registers" for e in street.effects)


def test_a_day_offline_is_settled_with_the_next_reading() -> None:
    street = Street(homes=1)
    first = street.interval
    street.reading(ADA, first - 1, 1_000, 0)
    street.wait_until((first + 90) * INTERVAL_S + 1)
    street.reading(ADA, first + 89, 181_000, 0)
    street.wait_until((first + 96) * INTERVAL_S)
    metered = street.store.rows("SELECT interval, metered_wh FROM statements WHERE metered_wh != 0")
    assert metered == [(first + 89, 180_000)]


def test_a_cancelled_bid_is_not_filled() -> None:
    street = Street()
    product = Product(street.interval + 4, 1)
    street.bid(BO, product, Side.BUY, 400, 300_000)
    assert street.bid(BO, product, Side.BUY, 0, 300_000, version=2).refusal is None
    street.bid(ADA, product, Side.SELL, 500, 100_000)
    street.wait_until(product.start_s)
    assert street.store.rows("SELECT * FROM positions") == []


def test_an_order_forced_on_chain_outranks_a_signed_one() -> None:
    street = Street()
    product = Product(street.interval + 4, 1)
    street.bid(BO, product, Side.BUY, 400, 300_000)
    forced = Bid(BO, product.number, FORCED_VERSION | 1, Side.BUY, 50, 250_000, product.start_s)
    assert street.core.on_chain_event(OrderForced(BO << 32 | 1, forced), street.now_ms) == []
    street.bid(ADA, product, Side.SELL, 500, 100_000)
    street.wait_until(product.start_s)
    assert street.store.integer("SELECT position_wh FROM positions WHERE account = ?", BO) == 50


def test_an_order_cancelled_on_chain_is_not_filled() -> None:
    street = Street()
    product = Product(street.interval + 4, 1)
    forced = Bid(BO, product.number, FORCED_VERSION | 1, Side.BUY, 50, 250_000, product.start_s)
    street.core.on_chain_event(OrderForced(BO << 32 | 1, forced), street.now_ms)
    street.core.on_chain_event(OrderCancelled(ADA << 32 | 1), street.now_ms)
    assert street.store.rows("SELECT * FROM bids WHERE cancelled_at_s IS NOT NULL") == [], "Ada's first is not Bo's"
    street.core.on_chain_event(OrderCancelled(BO << 32 | 1), street.now_ms)
    street.bid(ADA, product, Side.SELL, 500, 100_000)
    street.wait_until(product.start_s)
    assert street.store.rows("SELECT * FROM positions") == []
    assert first_difference(street.store, replay(street.store, MARKET, signer_of(OPERATOR)).store) is None


def test_a_header_passes_through_its_states_and_a_foreign_one_raises_an_alarm() -> None:
    street = Street(homes=1)
    street.wait_until((street.interval + 2) * INTERVAL_S + 10)
    digests = [row[0] for row in street.store.rows("SELECT digest FROM headers ORDER BY interval")]
    assert len(street.core.resume()) == len(digests) == 2
    street.core.on_chain_event(HeaderPosted(0, digests[0], street.now_s, 60_000), street.now_ms)
    street.core.on_chain_event(HeaderFinalised(0), street.now_ms)
    assert len(street.core.resume()) == 1
    foreign = street.core.on_chain_event(HeaderPosted(1, bytes(32), street.now_s, 60_000), street.now_ms)
    voided = street.core.on_chain_event(HeaderVoided(0, "FILL"), street.now_ms)
    assert [e.code for e in foreign + voided if isinstance(e, Alarm)] == ["foreign_header", "header_voided"]
    states = [row[0] for row in street.store.rows("SELECT state FROM headers ORDER BY interval")]
    assert states == ["voided", "built"]


def test_a_coordinator_that_was_down_for_hours_closes_every_header_in_order() -> None:
    street = Street()
    street.wait_until(street.now_s + 30)
    street.now_s += 5 * 3_600
    effects = street.core.on_deadline(street.now_ms)
    intervals = [e.header.interval for e in effects if isinstance(e, SubmitHeader)]
    assert intervals == list(range(intervals[0], intervals[0] + 20))


@pytest.mark.parametrize("committed", [True, False])
def test_what_was_not_committed_is_gone_after_a_crash(tmp_path, committed: bool) -> None:  # type: ignore[no-untyped-def]
    street = Street(store=Store(tmp_path / "store.db"))
    street.store.commit()
    street.reading(ADA, street.interval - 1, 5, 5)
    if committed:
        street.store.commit()
    street.store.close()
    reopened = Store(tmp_path / "store.db")
    assert len(reopened.rows("SELECT * FROM settlement_readings")) == int(committed)
