"""The home stands aside when grid, connection, devices or clock are not as they must be, and never flaps."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.codes import ClockStatus, SetPointOutcome
from contracts.messages import Bid
from contracts.topics import Leaf
from edge_agent.config import LimitsConfig, MeterConfig
from edge_agent.config_local import BreakerConfig
from edge_agent.delivery.frame import FrameKind
from edge_agent.effects import Alarm, Publish, WriteDevice, WriteResult
from edge_agent.steering.breaker import (
    GAP_MS,
    HOLD_OFF_LIMIT_S,
    REMEDIES,
    SAFE_WRITES,
    TRANSITIONS,
    Breaker,
    Cause,
    Event,
    Remedy,
    State,
    Terminal,
)
from tests.edge_agent.conftest import Home, ada_config
from tests.edge_agent.test_set_points import BATTERY, INVERTER, NOW_MS, NOW_S, order, outcome, writes

RULES = BreakerConfig()
LIMITS = LimitsConfig()
GOOD = {"frequency_mhz": 50_000, "voltages_mv": (230_000, 231_000, 229_000), "power_w": 1_000}
CASES = [
    (Cause.OVER_FREQUENCY, {"frequency_mhz": 51_600}, 3),
    (Cause.UNDER_FREQUENCY, {"frequency_mhz": 47_400}, 3),
    (Cause.OVER_VOLTAGE, {"voltages_mv": (230_000, 266_000, 230_000)}, 3),
    (Cause.UNDER_VOLTAGE, {"voltages_mv": (190_000, 230_000, 230_000)}, 3),
    (Cause.IMPORT, {"power_w": 12_000}, 30),
    (Cause.EXPORT, {"power_w": -12_000}, 30),
]


def see(breaker: Breaker, second: int, **changes: object) -> bool:
    """A measurement at that second."""
    return breaker.on_terminal(Terminal(second * 1000, **(GOOD | changes)))  # type: ignore[arg-type]


@pytest.mark.parametrize(("cause", "changes", "patience_s"), CASES)
def test_a_cause_must_last_before_it_opens_and_be_gone_for_the_hold_off_before_it_closes(
    cause: Cause, changes: dict[str, object], patience_s: int
) -> None:
    breaker = Breaker(RULES, LIMITS)
    opened = [second for second in range(60) if see(breaker, second, **changes)]
    assert opened[0] == patience_s and breaker.state == State.OPEN and breaker.causes == {cause}
    turned: dict[State, int] = {}
    for second in range(60, 300):
        if see(breaker, second):
            turned[breaker.state] = second
    assert turned[State.HALF_OPEN] == 60 + RULES.hold_off_s
    assert turned[State.CLOSED] == turned[State.HALF_OPEN] + RULES.probation_s and not breaker.causes


@pytest.mark.parametrize(("cause", "changes", "patience_s"), CASES)
def test_what_comes_and_goes_within_its_patience_opens_nothing(
    cause: Cause, changes: dict[str, object], patience_s: int
) -> None:
    breaker = Breaker(RULES, LIMITS)
    assert not any(see(breaker, s, **(changes if s % patience_s else {})) for s in range(300)), cause


def test_back_inside_but_within_the_hysteresis_is_not_calm() -> None:
    breaker = Breaker(RULES, LIMITS)
    for second in range(10):
        see(breaker, second, frequency_mhz=51_600)
    assert not any(see(breaker, second, frequency_mhz=51_300) for second in range(10, 600))
    assert breaker.state == State.OPEN


def test_nothing_measured_neither_opens_nor_closes_it() -> None:
    breaker = Breaker(RULES, LIMITS)
    nothing = {"frequency_mhz": None, "voltages_mv": (), "power_w": None}
    assert not any(see(breaker, second, **nothing) for second in range(100))
    for second in range(100, 110):
        see(breaker, second, frequency_mhz=52_000)
    assert breaker.state == State.OPEN
    assert not any(see(breaker, second, **nothing) for second in range(110, 400))
    assert not breaker.on_deadline(10**9)
    assert breaker.state == State.OPEN


def test_two_bad_measurements_with_a_gap_between_them_are_not_a_bad_stretch() -> None:
    breaker = Breaker(RULES, LIMITS)
    gap_s = GAP_MS // 1000 + 1
    assert not any(see(breaker, second, frequency_mhz=52_000) for second in range(0, 50 * gap_s, gap_s))


def test_a_relapse_on_probation_waits_twice_as_long_each_time_up_to_an_hour() -> None:
    breaker, second, waits = Breaker(RULES, LIMITS), 0, []
    for _ in range(9):
        while not see(breaker, second, frequency_mhz=52_000):
            second += 1
        begun = second
        while breaker.state == State.OPEN:
            second += 1
            see(breaker, second)
        waits.append(second - begun)
    doubled = [min(RULES.hold_off_s * 2**n, HOLD_OFF_LIMIT_S) for n in range(9)]
    assert all(abs(wait - due) <= 2 for wait, due in zip(waits, doubled, strict=True))


steps = st.lists(
    st.tuples(
        st.integers(1, 200),
        st.sampled_from([49_000, 50_000, 51_250, 51_450, 51_550, 53_000, None]),
        st.sampled_from([180_000, 200_000, 230_000, 260_000, 270_000]),
        st.sampled_from([-13_000, -11_000, 0, 11_000, 13_000]),
    ),
    max_size=40,
)


@settings(max_examples=150)
@given(steps)
def test_whatever_is_measured_it_never_flaps(walk: list[tuple[int, int | None, int, int]]) -> None:
    breaker, second, opened, states = Breaker(RULES, LIMITS), 0, list[int](), [State.CLOSED]
    for seconds, frequency_mhz, voltage_mv, power_w in walk:
        for _ in range(seconds):
            second += 1
            before = breaker.state
            see(breaker, second, frequency_mhz=frequency_mhz, voltages_mv=(voltage_mv,), power_w=power_w)
            if breaker.state != before:
                states.append(breaker.state)
                opened += [second] if breaker.state == State.OPEN else []
    moves = set(TRANSITIONS.values())
    assert set(states) <= moves | {State.CLOSED}
    for one, other in pairwise(opened):
        assert other - one > RULES.hold_off_s
    for place in range(len(opened)):  # hold-offs of 60, 120, 240, ... s: an hour sees six openings at most
        assert len([at for at in opened[place:] if at - opened[place] < 3_600]) <= 6


def test_every_state_can_be_left_and_every_cause_has_a_remedy_with_its_writes() -> None:
    assert {state for state, _ in TRANSITIONS} == set(State) == set(TRANSITIONS.values())
    assert {event for _, event in TRANSITIONS} == set(Event)
    assert set(REMEDIES) == set(Cause) and set(SAFE_WRITES) == set(Remedy)


def test_both_ways_at_once_releases_because_no_single_remedy_can_be_right() -> None:
    breaker = Breaker(RULES, LIMITS)
    breaker.causes = {Cause.OVER_VOLTAGE, Cause.IMPORT}
    assert breaker.remedy == Remedy.RELEASE
    other = Breaker(RULES, LIMITS)
    other.causes = {Cause.OVER_VOLTAGE, Cause.CLOCK}
    assert other.remedy == Remedy.CURTAIL


def test_read_backs_that_fail_together_open_it_and_time_alone_closes_it() -> None:
    breaker = Breaker(RULES, LIMITS)
    assert not breaker.on_read_back_failed(0) and not breaker.on_read_back_failed(1_000_000)
    assert not breaker.on_read_back_failed(1_300_000) and breaker.on_read_back_failed(1_500_000)
    assert breaker.remedy == Remedy.RELEASE and breaker.next_ms() == 1_560_000
    assert not breaker.on_deadline(1_559_999) and breaker.on_deadline(1_560_000)
    assert breaker.next_ms() == 1_590_000 and breaker.on_deadline(1_590_000) and breaker.state == State.CLOSED


def test_only_a_large_jump_of_the_clock_opens_it() -> None:
    breaker = Breaker(RULES, LIMITS)
    assert not breaker.on_clock_jump(59_000, 0) and breaker.on_clock_jump(-60_000, 0)
    assert breaker.causes == {Cause.CLOCK}


# In the agent


def guarded_home(folder: Path, **changes: int) -> Home:
    """Ada with a meter, a battery and a roof behind a breaker."""
    meter = MeterConfig(0, "main", "eastron_sdm630", "127.0.0.1")
    rules = replace(RULES, **changes)
    home = Home(folder, ada_config(folder, (meter, BATTERY, INVERTER), breaker=rules), synchronised_ms=NOW_MS)
    home.agent.on_link(True, NOW_MS)
    home.sample(NOW_MS, "roof", max_power_w=10_000, power_w=-6_000)
    return home


def command(home: Home) -> None:
    """The battery takes 2 kW, and says so."""
    (write,) = writes(home.tell(Leaf.SETPOINT, order(), NOW_MS))
    home.agent.on_written(WriteResult(write.token, write.device, write.value), NOW_MS + 1)


def may_bid(home: Home) -> bool:
    """Whether the home takes part in the market."""
    return home.agent._local.may_bid


def live(home: Home, begin: int, end: int, **values: int) -> list[object]:
    """Polls of the main meter in these seconds, writes answered; all effects."""
    found: list[object] = []
    for second in range(begin, end):
        now_ms = NOW_MS + second * 1000
        effects = home.sample(now_ms, "main", **({"frequency_mhz": 50_000, "power_w": 500} | values))
        effects += home.agent.on_deadline(now_ms + 1)
        for write in writes(effects):
            home.agent.on_written(WriteResult(write.token, write.device, write.value), now_ms + 2)
        found += effects
    return found


def test_an_open_breaker_curtails_refuses_commands_by_name_and_lets_go_afterwards(tmp_path: Path) -> None:
    home = guarded_home(tmp_path)
    command(home)
    effects = live(home, 1, 6, frequency_mhz=52_000)
    assert any(isinstance(effect, Alarm) and effect.code == "breaker" for effect in effects)
    written = [(w.device, w.write, w.value) for w in effects if isinstance(w, WriteDevice)]
    assert ("roof", "power_limit_permille", 0) in written
    assert ("store", "power_setpoint_w", 0) in written
    assert home.agent.metrics()["breaker_open"] == 1 and home.counters["breaker_for_over_frequency"] == 1
    refused = home.tell(Leaf.SETPOINT, order(2, issued_at_s=NOW_S + 6), NOW_MS + 6_000)
    assert outcome(refused) == SetPointOutcome.BREAKER_OPEN and not writes(refused)
    effects = live(home, 7, 160)
    released = {(w.device, w.value) for w in effects if isinstance(w, WriteDevice)}
    assert {("roof", None), ("store", None)} <= released and home.agent.metrics()["breaker_closed"] == 1
    at_ms = NOW_MS + 161_000
    fresh = order(3, issued_at_s=NOW_S + 161, valid_until_s=NOW_S + 200)
    assert [w.value for w in writes(home.tell(Leaf.SETPOINT, fresh, at_ms))] == [2_000]


def test_the_command_in_force_when_it_opens_is_reported_as_fallen_back(tmp_path: Path) -> None:
    home = guarded_home(tmp_path)
    command(home)
    effects = live(home, 1, 6, voltage_l1_mv=270_000)
    reports = [e for e in effects if isinstance(e, Publish) and e.topic.endswith("/report")]
    assert len(reports) == 1 and home.counters["setpoint_fell_back"] == 1


def test_with_an_open_breaker_nothing_is_bid(tmp_path: Path) -> None:
    home = guarded_home(tmp_path)
    assert may_bid(home)
    live(home, 1, 6, frequency_mhz=47_000)
    assert not may_bid(home)
    shed = home.agent._control.devices[4]
    assert not shed.engaged  # too little frequency: the roof is free to feed
    live(home, 6, 160)
    assert may_bid(home)


def test_a_home_that_cuts_itself_off_takes_its_bids_back_at_once_and_bids_again_after_it_closes(tmp_path: Path) -> None:
    home = guarded_home(tmp_path)
    for interval in range(2_000_000 - 192, 2_000_000):
        home.agent._forecast.add(interval, 500)
    live(home, 1, 3)
    bids = home.stored(FrameKind.BID)
    placed = {b.product: b for b in bids if isinstance(b, Bid)}
    assert placed and all(bid.quantity_wh > 0 for bid in placed.values())
    live(home, 3, 8, frequency_mhz=52_000)
    assert not may_bid(home)
    newest = {b.product: b for b in home.stored(FrameKind.BID) if isinstance(b, Bid)}
    assert newest.keys() == placed.keys()
    assert all(b.quantity_wh == 0 and b.version > placed[n].version for n, b in newest.items())
    signed = home.counters["bids_signed"]
    live(home, 8, 60)
    assert home.counters["bids_signed"] == signed  # once a trip
    live(home, 60, 200)
    again = {b.product: b for b in home.stored(FrameKind.BID) if isinstance(b, Bid)}
    assert may_bid(home) and any(bid.quantity_wh > 0 for bid in again.values())


def test_a_clock_that_jumps_ends_commands_and_a_first_synchronisation_does_not(tmp_path: Path) -> None:
    home = guarded_home(tmp_path)
    assert may_bid(home)
    command(home)
    effects = home.agent.on_clock(ClockStatus.SYNCHRONISED, NOW_MS + 3_700_000, 3_600_000)
    assert not may_bid(home) and ("store", None) in [(w.device, w.value) for w in writes(effects)]


def test_without_its_table_there_is_no_breaker(tmp_path: Path) -> None:
    home = Home(tmp_path, synchronised_ms=NOW_MS)
    live(home, 1, 60, frequency_mhz=60_000, voltage_l1_mv=300_000)
    assert may_bid(home) and home.agent._local.next_ms() is None
    assert not [name for name in home.agent.metrics() if name.startswith("breaker")]
