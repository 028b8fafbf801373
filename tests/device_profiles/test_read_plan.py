"""The planner against exhaustive search, and against the figures measured on a real bus."""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device_profiles.profile import Bus, Hole, Span, list_profiles, load_profile
from device_profiles.read_plan import Link, LocalPlanError, ReadPlan, Request, plan, request_us
from device_profiles.sunspec import layout, resolve

LINKS: tuple[Link, ...] = ("rtu", "tcp")


@dataclass(frozen=True)
class Value:
    function: int
    address: int
    count: int

    @property
    def spans(self) -> tuple[Span, ...]:
        return ((self.function, self.address, self.count),)


def partitions(items: list[Value]) -> list[list[list[Value]]]:
    """All ways to put the values into groups, not only runs."""
    if not items:
        return [[]]
    head, found = items[0], []
    for rest in partitions(items[1:]):
        found.append([[head], *rest])
        for i, group in enumerate(rest):
            found.append([*rest[:i], [head, *group], *rest[i + 1 :]])
    return found


def cheapest_us(values: list[Value], bus: Bus, link: Link) -> int:
    best = None
    for groups in partitions(values):
        cost = 0
        for group in groups:
            start, end = min(v.address for v in group), max(v.address + v.count for v in group)
            blocked = any(h.function == group[0].function and h.first < end and start <= h.last for h in bus.holes)
            if len({v.function for v in group}) > 1 or end - start > bus.max_registers or blocked:
                break
            cost += request_us(end - start, bus, link)
        else:
            best = cost if best is None else min(best, cost)
    assert best is not None
    return best


maps = st.lists(
    st.builds(Value, st.sampled_from([3, 4]), st.integers(0, 60), st.sampled_from([1, 2, 4])), min_size=1, max_size=6
)
buses = st.builds(
    Bus,
    max_registers=st.sampled_from([4, 8, 30, 125]),
    turnaround_ms=st.sampled_from([0, 5, 30, 60]),
    baud=st.sampled_from([1200, 2400, 9600, 19200, 115200]),
    parity=st.sampled_from(["N", "E"]),
    holes=st.lists(
        st.builds(lambda f, a, n: Hole(f, a, a + n), st.sampled_from([3, 4]), st.integers(0, 60), st.integers(0, 3)),
        max_size=2,
    ).map(tuple),
)


@settings(max_examples=250, deadline=None)
@given(maps, buses, st.sampled_from(["rtu", "tcp", "rtu-over-tcp"]))
def test_the_plan_is_as_cheap_as_exhaustive_search_and_covers_every_value(
    values: list[Value], bus: Bus, link: Link
) -> None:
    in_hole = [
        v
        for v in values
        for h in bus.holes
        if h.function == v.function and h.first < v.address + v.count and v.address <= h.last
    ]
    if in_hole:
        with pytest.raises(LocalPlanError):
            plan(values, bus, link)
        return
    made = plan(values, bus, link)
    assert sum(request_us(r.count, bus, link) for r in made.requests) == cheapest_us(values, bus, link)
    for v in values:
        assert any(
            r.function == v.function and r.address <= v.address and v.address + v.count <= r.address + r.count
            for r in made.requests
        )
    for r in made.requests:
        assert r.count <= bus.max_registers
        assert not any(
            h.function == r.function and h.first < r.address + r.count and r.address <= h.last for h in bus.holes
        )


def test_no_points_need_no_requests() -> None:
    assert plan([], Bus(), "rtu") == ReadPlan((), 0)


def test_a_request_costs_what_the_characters_on_the_wire_take() -> None:
    # 17 characters of frames, 7 of silence, 10 bits each, 30 ms turnaround: 55 ms; 23 of them took 1265 ms measured.
    assert 23 * request_us(2, Bus(turnaround_ms=30, baud=9600), "rtu") == 1_265_000
    # 11 bits with a parity bit.
    assert request_us(2, Bus(turnaround_ms=0, baud=9600, parity="E"), "rtu") == 27_500
    # Above 19200 baud the silence is 1.75 ms, whatever the speed.
    assert request_us(1, Bus(turnaround_ms=0, baud=115_200), "rtu") == 1303 + 3500


def test_two_blocks_beat_one_and_sixteen_on_a_three_phase_meter() -> None:
    profile = load_profile("eastron_sdm630")
    made = plan(profile.points, profile.bus, "rtu")
    # The 34 registers between 0x11 and 0x34 are 71 ms of characters; a second request is 51 ms.
    assert made.requests == (Request(4, 0, 18), Request(4, 0x34, 24))
    assert made.bus_ms == 190
    one_by_one_us = sum(request_us(p.count, profile.bus, "rtu") for p in profile.points)
    assert one_by_one_us == 16 * 55_000
    assert request_us(0x4C, profile.bus, "rtu") > 1000 * made.bus_ms


def test_a_slow_bus_is_cut_where_the_gap_costs_more_than_a_request() -> None:
    profile = load_profile("eastron_sdm120")
    made = plan(profile.points, profile.bus, "rtu")
    # Between power factor (0x1E) and frequency (0x46) lie 38 registers, 76 characters against some 27.
    assert made.requests == (Request(4, 0x00, 0x20), Request(4, 0x46, 6))
    # Over TCP a request costs more than any gap, but max_registers still holds.
    wide = replace(profile.bus, max_registers=80)
    assert plan(profile.points, wide, "tcp").requests == (Request(4, 0, 0x4C),)


def test_function_codes_are_never_mixed() -> None:
    made = plan([Value(3, 0, 1), Value(4, 1, 1)], Bus(), "tcp")
    assert made.requests == (Request(3, 0, 1), Request(4, 1, 1))


def test_a_value_longer_than_a_request_is_refused() -> None:
    with pytest.raises(LocalPlanError):
        plan([Value(3, 0, 4)], Bus(max_registers=3), "rtu")


def test_points_without_an_address_are_refused() -> None:
    profile = load_profile("sunspec_103")
    with pytest.raises(LocalPlanError):
        plan(profile.points, profile.bus, "tcp")


def test_a_large_map_is_planned_quickly_enough_to_do_it_at_every_start() -> None:
    values = [Value(3, 7 * i, 2) for i in range(1000)]
    made = plan(values, Bus(), "rtu")
    assert sum(r.count for r in made.requests) >= 2000
    assert all(r.count <= 125 for r in made.requests)


def cheapest_cut_us(values: list[Value], bus: Bus, link: Link) -> int:
    """Every way to cut the values, sorted by address, into runs; another search than the planner's."""
    rows = sorted(values, key=lambda v: (v.address, v.count))
    best: int | None = None
    for cuts in range(1 << len(rows) - 1):
        cost, start, end = 0, rows[0].address, rows[0].address + rows[0].count
        for place, row in enumerate(rows[1:]):
            if cuts >> place & 1:
                cost += request_us(end - start, bus, link) if end - start <= bus.max_registers else 10**12
                start, end = row.address, 0
            end = max(end, row.address + row.count)
        cost += request_us(end - start, bus, link) if end - start <= bus.max_registers else 10**12
        best = cost if best is None else min(best, cost)
    assert best is not None
    return best


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.builds(Value, st.just(3), st.integers(0, 400), st.sampled_from([1, 2, 4])), min_size=7, max_size=11),
    st.sampled_from([1200, 2400, 9600, 19200, 38400, 115200]),
    st.sampled_from([0, 20, 100]),
    st.sampled_from(["rtu", "tcp"]),
)
def test_larger_maps_are_cut_as_cheaply_as_any_cut(
    values: list[Value], baud: int, turnaround_ms: int, link: Link
) -> None:
    bus = Bus(baud=baud, turnaround_ms=turnaround_ms, max_registers=40)
    made = plan(values, bus, link)
    assert sum(request_us(r.count, bus, link) for r in made.requests) == cheapest_cut_us(values, bus, link)


@pytest.mark.parametrize("name", list_profiles())
def test_no_profile_can_be_read_cheaper_than_it_is(name: str) -> None:
    profile = load_profile(name)
    if not profile.resolved:
        profile = resolve(profile, layout(profile))
    random = Random(name)
    spans = sorted({span for point in profile.points for span in point.spans})
    for link in LINKS:
        whole = plan(profile.points, profile.bus, link)
        single_us = sum(request_us(count, profile.bus, link) for _, _, count in spans)
        assert 1000 * (whole.bus_ms - 1) <= single_us
        few = [Value(*span) for span in random.sample(spans, min(len(spans), 6))]
        made = plan(few, profile.bus, link)
        assert sum(request_us(r.count, profile.bus, link) for r in made.requests) == cheapest_us(few, profile.bus, link)


def test_a_slower_line_is_cut_more_often_and_a_faster_one_less() -> None:
    bus = Bus(turnaround_ms=20)
    gap = [Value(4, 0, 2), Value(4, 40, 2)]
    assert [len(plan(gap, replace(bus, baud=baud), "rtu").requests) for baud in (1200, 9600, 115_200)] == [2, 2, 1]
