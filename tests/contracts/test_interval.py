"""The market's time grid: products, rounds and gates."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.interval import (
    DAY_S,
    DEFAULT_CALENDAR,
    HOUR_S,
    PRODUCT_LENGTHS,
    STREET_CALENDAR,
    MarketCalendar,
    Product,
    RoundSchedule,
    interval_of,
    product_covering,
)

MONDAY_S = 1_800_230_400  # 2027-01-18 00:00 UTC
calendars = st.sampled_from([DEFAULT_CALENDAR, STREET_CALENDAR])
instants = st.integers(MONDAY_S, MONDAY_S + 14 * DAY_S)


@given(st.integers(1_000, 2**40), st.sampled_from(PRODUCT_LENGTHS))
def test_every_interval_lies_in_exactly_one_product_of_each_length(interval: int, length: int) -> None:
    product = product_covering(interval, length)
    assert product.covers(interval)
    assert Product.from_number(product.number) == product
    assert not product_covering(product.first_interval + length, length).covers(interval)


def test_weeks_begin_on_monday_at_midnight_utc() -> None:
    week = product_covering(interval_of(MONDAY_S + 3 * DAY_S), 672)
    assert week.start_s == MONDAY_S
    assert week.end_s == MONDAY_S + 7 * DAY_S


@pytest.mark.parametrize("number", [0, 7, 1_024 * 3 + 4, 1_024 * 96 + 672, 5 * 1_024 + 2])
def test_a_number_that_is_no_product_is_refused(number: int) -> None:
    with pytest.raises(ValueError):
        Product.from_number(number)


@given(calendars, instants, st.integers(1, 3 * HOUR_S))
def test_rounds_of_two_spans_are_the_rounds_of_both_together(calendar: MarketCalendar, at_s: int, span_s: int) -> None:
    middle, end = at_s + span_s, at_s + 2 * span_s
    assert calendar.rounds_at(at_s, middle) + calendar.rounds_at(middle, end) == calendar.rounds_at(at_s, end)


@given(calendars, instants)
def test_an_open_product_has_a_next_round_before_its_gate(calendar: MarketCalendar, now_s: int) -> None:
    for product in calendar.open_products(now_s):
        schedule = calendar.schedule(product.length)
        number = schedule.next_round(product, now_s)
        assert number is not None
        assert now_s < schedule.clears_at_s(product, number) <= schedule.gate_closure_s(product) <= product.start_s


@pytest.mark.parametrize(
    ("length", "opens", "closes"),
    [
        (1, MONDAY_S + 12 * HOUR_S, MONDAY_S + 13 * HOUR_S - 300),
        (4, MONDAY_S - 9 * HOUR_S, MONDAY_S + 13 * HOUR_S - 900),
    ],
)
def test_default_gates_are_those_of_the_market_rules(length: int, opens: int, closes: int) -> None:
    product = product_covering(interval_of(MONDAY_S + 13 * HOUR_S), length)
    schedule = DEFAULT_CALENDAR.schedule(length)
    assert schedule.opens_at_s(product) == opens
    assert schedule.gate_closure_s(product) == closes


def test_a_schedule_that_closes_before_it_opens_is_refused() -> None:
    with pytest.raises(ValueError):
        RoundSchedule(opens_before_s=60, closes_before_s=120, every_s=10)
    with pytest.raises(ValueError):
        RoundSchedule(opens_before_s=60, closes_before_s=0, every_s=0)
