"""The heap is the only order there is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulators import virtual_clock
from simulators.virtual_clock import LocalEndlessError, VirtualClock


@given(st.lists(st.integers(-50, 1_000), max_size=60))
def test_work_is_done_in_the_order_of_time_and_then_of_asking(instants: list[int]) -> None:
    clock, done = VirtualClock(0), list[tuple[int, int]]()
    for place, at_ms in enumerate(instants):
        clock.at(at_ms, lambda place=place: done.append((clock.now_ms, place)))  # type: ignore[misc]
    clock.run_until(2_000)
    assert done == sorted((max(0, at_ms), place) for place, at_ms in enumerate(instants))
    assert clock.now_ms == 2_000


def test_periodic_work_keeps_its_grid_and_later_work_waits() -> None:
    clock, seen = VirtualClock(1_000), list[int]()
    clock.every(1_500, 700, lambda: seen.append(clock.now_ms))
    clock.run_until(3_600)
    assert seen == [1_500, 2_200, 2_900, 3_600]
    clock.run_until(4_300)
    assert seen[-1] == 4_300


def test_work_that_asks_for_itself_at_the_same_instant_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(virtual_clock, "STEPS_LIMIT", 1_000)
    clock = VirtualClock(0)

    def again() -> None:
        clock.after(0, again)

    again()
    with pytest.raises(LocalEndlessError):
        clock.run_until(1)


def test_a_period_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="positive"):
        VirtualClock(0).every(0, 0, lambda: None)
