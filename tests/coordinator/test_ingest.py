"""The border: every kind of bad input gets its own named refusal, is counted, and disturbs nothing."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.codes import Side
from contracts.commitments import COMMITMENTS_LIMIT
from contracts.eip712 import Domain
from contracts.envelope import seal
from contracts.interval import Product, product_covering
from contracts.messages import FORCED_VERSION, Bid, SetPointReport, SettlementReading, StandingOrder
from contracts.signature import signer_of
from contracts.telemetry import CHAIN_START, TelemetryReading, batch_of, pack_columns
from contracts.topics import Leaf
from coordinator.coordinator import Reception
from coordinator.effects import Alarm
from coordinator.ingest import Refusal
from coordinator.orders import VERSIONS_A_PRODUCT
from tests.coordinator.street import ADA, BO, CY, DOMAIN, START_S, Street, key_of

SOON = Product(START_S // 900 + 4, 1)
TOPIC = "grid/v1/street/home-1/bid"


def bid_of(account: int = ADA, product: Product = SOON, **changes: int) -> Bid:
    fields = {"version": 1, "side": Side.BUY, "quantity_wh": 100, "limit_price": 20_000, "expiry_s": product.start_s}
    return Bid(account, product.number, **fields | changes)


def reading_of(**changes: int) -> SettlementReading:
    interval = START_S // 900 - 1
    fields = {
        "account": ADA, "meter": 0, "epoch": 1, "sequence": 1, "interval": interval, "taken_at_s": START_S,
        "import_wh": 5, "export_wh": 5, "flags": 0, "clock": 2,
    }  # fmt: skip
    return SettlementReading(**fields | changes, chain_head=bytes(32), evidence_hash=bytes(32))


def telemetry(street: Street, tampered: bool = False, power_w: int = 500, import_wh: int = 1) -> Reception:
    at_s = START_S - 60
    readings = [TelemetryReading(i, at_s + i, 0, import_wh, 1, power_w, None, 230_000, 50_000) for i in range(3)]
    columns = pack_columns(readings[::-1] if tampered else readings)
    return street.send(batch_of(ADA, 0, 1, CHAIN_START, readings), Leaf.TELEMETRY, 0, attachment=columns)


def raw(topic: str, payload: bytes) -> Callable[[Street], Reception]:
    return lambda street: street.core.receive(topic, payload, street.now_ms)


def far_bid(street: Street) -> Reception:
    return street.send(bid_of(product=Product(START_S // 900 + 40, 1)), Leaf.BID)


def stale_bid(street: Street) -> Reception:
    street.send(bid_of(version=5), Leaf.BID)
    return street.send(bid_of(version=4), Leaf.BID)


def second_body_of_a_version(street: Street) -> Reception:
    street.send(bid_of(), Leaf.BID)
    return street.send(bid_of(quantity_wh=101), Leaf.BID)


def seventeenth_contradiction(street: Street) -> Reception:
    for imported in range(17):
        street.send(reading_of(import_wh=imported), Leaf.SETTLEMENT, 0)
    return street.send(reading_of(import_wh=99), Leaf.SETTLEMENT, 0)


def seventeenth_reading_of_an_interval(street: Street) -> Reception:
    for sequence in range(2, 18):
        street.send(reading_of(sequence=sequence), Leaf.SETTLEMENT, 0)
    return street.send(reading_of(sequence=99), Leaf.SETTLEMENT, 0)


def flood_of_versions(street: Street) -> Reception:
    for version in range(1, VERSIONS_A_PRODUCT + 1):
        street.core.market.book.place(bid_of(version=version), bytes(65), 0, 1)
    return street.send(bid_of(version=VERSIONS_A_PRODUCT + 1), Leaf.BID)


def one_product_too_many(street: Street) -> Reception:
    for number in range(COMMITMENTS_LIMIT):
        street.store.run("INSERT INTO commitments VALUES (?, ?, 1, 0)", number * 1_024 + 1, ADA)
    assert street.send(bid_of(quantity_wh=0), Leaf.BID).refusal is None, "a cancel opens nothing"
    return street.send(bid_of(version=2), Leaf.BID)


A_FRAME = seal(bid_of(), DOMAIN, signer_of(key_of(ADA))).pack()
LIES: dict[Refusal, list[Callable[[Street], Reception]]] = {
    Refusal.OVERSIZED: [raw(TOPIC, bytes(4_097))],
    Refusal.UNKNOWN_TOPIC: [
        raw("grid/v1/street/home-1/ack", A_FRAME), raw("somewhere/else", A_FRAME), raw("", A_FRAME),
        raw("grid/v1/street/home-1/settlement", A_FRAME),
    ],
    Refusal.OTHER_FEEDER: [raw("grid/v1/avenue/home-1/bid", A_FRAME)],
    Refusal.MALFORMED: [raw(TOPIC, b""), raw(TOPIC, A_FRAME[:-1]), raw(TOPIC, b"{}"), raw(TOPIC, bytes(300))],
    Refusal.WRONG_KIND: [lambda s: s.send(reading_of(), Leaf.BID)],
    Refusal.UNKNOWN_ACCOUNT: [lambda s: s.send(bid_of(account=77), Leaf.BID, sender=ADA)],
    Refusal.WRONG_EDGE: [lambda s: s.send(bid_of(account=BO), Leaf.BID, sender=ADA)],
    Refusal.WRONG_METER: [lambda s: s.send(reading_of(meter=1), Leaf.SETTLEMENT, 0)],
    Refusal.FROM_THE_FUTURE: [
        lambda s: s.send(reading_of(taken_at_s=START_S + 301, interval=START_S // 900 - 1), Leaf.SETTLEMENT, 0)
    ],
    Refusal.TOO_OLD: [lambda s: s.send(reading_of(taken_at_s=900, interval=0), Leaf.SETTLEMENT, 0)],
    Refusal.OUT_OF_RANGE: [
        lambda s: s.send(reading_of(import_wh=10**12 + 1), Leaf.SETTLEMENT, 0),
        lambda s: s.send(reading_of(interval=START_S // 900), Leaf.SETTLEMENT, 0),
        lambda s: telemetry(s, power_w=2**62),
        lambda s: telemetry(s, power_w=-1_000_001),
        lambda s: telemetry(s, import_wh=-1),
    ],
    Refusal.RESERVED_VERSION: [
        lambda s: s.send(bid_of(version=FORCED_VERSION), Leaf.BID),
        lambda s: s.send(bid_of(version=0), Leaf.BID),
        lambda s: s.send(StandingOrder(ADA, 0, 30_000, 10_000, 0, 0), Leaf.BID),
    ],
    Refusal.WRONG_SIGNATURE: [
        lambda s: s.send(bid_of(), Leaf.BID, signed_by=key_of(CY)),
        lambda s: s.send(bid_of(), Leaf.BID, domain=Domain(1, DOMAIN.contract)),
        lambda s: s.send(bid_of(), Leaf.BID, domain=Domain(DOMAIN.chain_id, bytes(20))),
    ],
    Refusal.COLUMNS_DIFFER: [lambda s: telemetry(s, tampered=True)],
    Refusal.UNKNOWN_PRODUCT: [lambda s: s.send(bid_of(product=product_covering(START_S // 900 + 96, 96)), Leaf.BID)],
    Refusal.GATE_CLOSED: [lambda s: s.send(bid_of(product=Product(START_S // 900, 1)), Leaf.BID)],
    Refusal.NOT_YET_OPEN: [far_bid],
    Refusal.EXPIRED: [lambda s: s.send(bid_of(expiry_s=START_S - 1), Leaf.BID)],
    Refusal.STALE_VERSION: [stale_bid, second_body_of_a_version],
    Refusal.BEYOND_COLLATERAL: [
        lambda s: s.send(bid_of(quantity_wh=10**9), Leaf.BID),
        lambda s: s.send(bid_of(side=Side.SELL, quantity_wh=10**9, limit_price=100), Leaf.BID),
    ],
    Refusal.TOO_MANY_PRODUCTS: [one_product_too_many],
    Refusal.BEYOND_LIMIT: [
        seventeenth_contradiction,
        seventeenth_reading_of_an_interval,
        flood_of_versions,
        lambda s: s.send(SetPointReport(ADA, 1, 1, 77, 0, 0, START_S), Leaf.REPORT),
    ],
}  # fmt: skip
CASES = [(refusal, lie) for refusal, lies in LIES.items() for lie in lies]


def test_there_is_a_lie_for_every_refusal() -> None:
    assert set(LIES) == set(Refusal)


@pytest.mark.parametrize(("refusal", "lie"), CASES, ids=[f"{r.name}-{i}" for i, (r, _) in enumerate(CASES)])
def test_a_bad_message_is_refused_by_name_counted_and_changes_nothing(
    refusal: Refusal, lie: Callable[[Street], Reception]
) -> None:
    street = Street()
    seen: list[dict[str, list[tuple[object, ...]]]] = []
    plain_receive = street.core.receive

    def watched(topic: str, payload: bytes, now_ms: int) -> Reception:
        seen.append(street.store.derived_tables())
        return plain_receive(topic, payload, now_ms)

    street.core.receive = watched  # type: ignore[method-assign]
    assert lie(street) == Reception(refusal, [])
    assert street.core.counters[f"refused_{refusal.name.lower()}"] >= 1
    assert street.store.derived_tables() == seen[-1]


@given(st.binary(max_size=600), st.sampled_from(["bid", "settlement/0", "telemetry/0", "report"]))
def test_garbage_never_raises_and_is_always_refused(payload: bytes, leaf: str) -> None:
    street = Street(homes=1)
    assert street.core.receive(f"grid/v1/street/home-1/{leaf}", payload, street.now_ms).refusal is not None


def test_honest_telemetry_is_accepted_and_acknowledged() -> None:
    reception = telemetry(Street(), tampered=False)
    assert reception.refusal is None
    assert len(reception.effects) == 1


def test_a_duplicate_is_acknowledged_again_and_stored_once() -> None:
    street = Street()
    first = street.send(reading_of(), Leaf.SETTLEMENT, 0)
    before = street.store.derived_tables()
    second = street.send(reading_of(), Leaf.SETTLEMENT, 0)
    assert first.effects == second.effects
    assert street.store.derived_tables() == before


def test_two_bodies_of_one_reading_raise_an_alarm_and_both_are_kept() -> None:
    street = Street()
    street.send(reading_of(), Leaf.SETTLEMENT, 0)
    second = street.send(reading_of(import_wh=6), Leaf.SETTLEMENT, 0)
    assert any(isinstance(effect, Alarm) and effect.code == "equivocation" for effect in second.effects)
    kept = street.store.rows("SELECT inbox_id, first_inbox_id FROM equivocations")
    assert len(kept) == 1
    bodies = {street.store.input_payload(inbox_id) for inbox_id in kept[0]}
    assert len(bodies) == 2
    assert street.store.rows("SELECT import_wh FROM settlement_readings") == [(5,)]


def test_a_resent_bid_gets_the_same_receipt_again() -> None:
    street = Street()
    first, second = (street.send(bid_of(), Leaf.BID) for _ in range(2))
    assert first.effects == second.effects
    assert len(street.store.rows("SELECT * FROM bids")) == 1


def test_a_standing_order_is_replaced_only_by_a_higher_version() -> None:
    street = Street()
    order = StandingOrder(ADA, 2, 30_000, 10_000, 0, 0)
    assert street.send(order, Leaf.BID).refusal is None
    assert street.send(order, Leaf.BID).refusal is None
    older = StandingOrder(ADA, 1, 30_000, 10_000, 0, 0)
    assert street.send(older, Leaf.BID).refusal is Refusal.STALE_VERSION
