"""The judge of a played day: it agrees with an honest history and names every lie that is planted in one."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from contracts.batch import BatchRecord
from contracts.eip712 import keccak
from contracts.header_rules import header_digest
from contracts.interval import INTERVAL_S
from contracts.signature import address_of
from coordinator.effects import PublishRecord, SubmitHeader
from simulators.street_judge import (
    AccountBill,
    ChainHeader,
    Evidence,
    TrueSpan,
    chain_verdict,
    energy_verdict,
    liveness_verdict,
    money_verdict,
    recompute,
    record_verdict,
)
from simulators.street_report import DayReport, HomeResult, chart, render
from tests.coordinator.street import DOMAIN, MARKET, START_S, Street, key_of
from tests.coordinator.test_journey import trade_for

HOMES = 4
FIRST = START_S // INTERVAL_S


@pytest.fixture(scope="module")
def street() -> Street:
    played = Street(homes=HOMES)
    trade_for(played, random.Random(11), 12)
    return played


def evidence_of(street: Street) -> Evidence:
    headers = [e.header for e in street.effects if isinstance(e, SubmitHeader)]
    posted = [ChainHeader(h, i, header_digest(h, DOMAIN), 0, 67_000, True) for i, h in enumerate(headers)]
    records = {e.interval: e.record for e in street.effects if isinstance(e, PublishRecord)}
    keys = {account: address_of(key_of(account)) for account in range(1, HOMES + 1)}
    return Evidence(DOMAIN, MARKET.terms, posted, records, keys, {}, headers[-1].balances_root)


def said_bills(street: Street) -> dict[int, int]:
    return dict(street.store.rows("SELECT account, SUM(result_nano) FROM statements GROUP BY account"))


def test_an_honest_day_is_recomputed_to_the_last_nano(street: Street) -> None:
    evidence = evidence_of(street)
    found = recompute(evidence, 0, 2**40)
    assert record_verdict(evidence, found).faults == ()
    assert money_verdict(found, said_bills(street)).faults == ()
    assert chain_verdict(evidence, FIRST, FIRST + 6).faults == ()


def test_a_bill_that_is_one_nano_off_is_named(street: Street) -> None:
    found = recompute(evidence_of(street), 0, 2**40)
    bills = said_bills(street)
    bills[2] += 1
    assert "account 2" in money_verdict(found, bills).faults[0]


def rewritten(street: Street, place: int, change: BatchRecord) -> Evidence:
    """The evidence with one record replaced, and its header committing to the replacement honestly."""
    evidence = evidence_of(street)
    posted = list(evidence.headers)
    old = posted[place]
    header = replace(
        old.header,
        data_hash=change.data_hash,
        auctions_root=change.auctions_tree().commitment,
        meters_root=change.meters_tree().commitment,
        balances_root=change.balances_tree().commitment,
    )
    posted[place] = replace(old, header=header)
    return replace(evidence, headers=posted, records={**evidence.records, header.interval: change.to_bytes()})


def last_record(street: Street) -> tuple[int, BatchRecord]:
    evidence = evidence_of(street)
    place = len(evidence.headers) - 1
    return place, BatchRecord.from_bytes(evidence.records[evidence.headers[place].header.interval])


def test_a_shifted_balance_is_found_although_every_hash_fits(street: Street) -> None:
    place, record = last_record(street)
    balances = list(record.balances)
    balances[1] = replace_leaf(balances[1], cumulative_nano=balances[1].cumulative_nano + 5)
    balances[2] = replace_leaf(balances[2], cumulative_nano=balances[2].cumulative_nano - 5)
    faults = recompute(rewritten(street, place, replace(record, balances=tuple(balances))), 0, 2**40).faults
    assert any("did not move" in fault for fault in faults)


NAMES = ("account", "cumulative_nano", "reserved_nano", "commitments_hash")


def replace_leaf(leaf, **changes):  # type: ignore[no-untyped-def]
    fields = {name: getattr(leaf, name) for name in NAMES}
    return type(leaf)(**fields | changes)


def test_a_missing_or_altered_record_is_named(street: Street) -> None:
    evidence = evidence_of(street)
    interval = evidence.headers[3].header.interval
    altered = replace(evidence, records={**evidence.records, interval: evidence.records[interval] + b" "})
    missing = replace(evidence, records={i: r for i, r in evidence.records.items() if i != interval})
    for broken in (altered, missing):
        assert any(f"header {interval}" in fault for fault in recompute(broken, 0, 2**40).faults)
    assert keccak(altered.records[interval]) != evidence.headers[3].header.data_hash


def test_a_gap_an_unfinal_header_and_foreign_balances_are_named(street: Street) -> None:
    evidence = evidence_of(street)
    gap = replace(evidence, headers=[h for h in evidence.headers if h.index != 4])
    assert "unbroken" in chain_verdict(gap, FIRST, FIRST).faults[0]
    pending = replace(evidence, headers=[replace(h, final=h.index < 5) for h in evidence.headers])
    assert "not final" in chain_verdict(pending, FIRST, FIRST + 4).faults[0]
    foreign = replace(evidence, final_balances=bytes(32))
    assert "pays out" in chain_verdict(foreign, FIRST, FIRST).faults[0]
    assert chain_verdict(replace(evidence, headers=[]), FIRST, FIRST).faults


def test_registers_off_the_physics_and_missing_readings_are_named(street: Street) -> None:
    found = recompute(evidence_of(street), 0, 2**40)
    key = sorted(found.registers)[0]
    imported, exported, _ = found.registers[key]
    near = {key: TrueSpan((imported - 3, exported), (imported, exported))}
    far = {key: TrueSpan((imported + 3, exported), (imported + 4, exported))}
    assert energy_verdict(found, near, {key[0]: 1}).faults == ()
    assert f"account {key[0]}" in energy_verdict(found, far, {key[0]: 1}).faults[0]
    silent = liveness_verdict(found, [99], FIRST, FIRST)
    assert "does not end with a reading" in silent.faults[0]
    seldom = liveness_verdict(found, [1, 99], FIRST, FIRST + 5)
    assert any("missed their interval" in fault for fault in seldom.faults)


def test_the_report_shows_empty_and_negative_days_without_stumbling(street: Street) -> None:
    header = evidence_of(street).headers[0]
    homes = [HomeResult("ada", "eastron_sdm630", 0, 0, AccountBill())]
    report = DayReport("2026-06-17", homes, [None, -5_000, 400_000], [], 320_000, 80_000, [header], [], 1.0, {})
    text = render(report)
    assert "every auditor agrees" in text
    assert "nan" not in text.lower()
    nothing = DayReport("2026-06-17", [], [], [], 320_000, 80_000, [], [], 0.0, {"malformed": 3})
    assert "no header was posted" in render(nothing)


def test_the_chart_rises_with_the_price_and_dots_stand_at_theirs() -> None:
    lines = chart([0, 50, 100], [None, 100, None], 0, 100)
    assert [sum(line[7 + column] == "█" for line in lines) for column in (0, 2)] == [0, 8]
    assert lines[0][8] == "•"
