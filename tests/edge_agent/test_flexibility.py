"""Schedules that cost what a linear program's do, and a plan that the home bids for and carries out itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from contracts.codes import ClockStatus
from contracts.interval import INTERVALS_PER_DAY, interval_start_s
from contracts.messages import Bid
from contracts.topics import Leaf
from edge_agent.config import BiddingConfig, MeterConfig
from edge_agent.config_local import BatteryConfig, VehicleConfig
from edge_agent.delivery.frame import FrameKind
from edge_agent.effects import Counters, WriteResult
from edge_agent.market.forecast import NetForecast
from edge_agent.steering.flexibility import Flexibility
from edge_agent.steering.schedule import (
    Slot,
    Storage,
    battery_schedule,
    cost_micro_mwh,
    joint_schedule,
    slot_of,
    vehicle_schedule,
)
from tests.edge_agent.conftest import Home, ada_config
from tests.edge_agent.test_set_points import BATTERY, NOW_MS, NOW_S, order, writes

NOW = NOW_S // 900
BIG = 10**12
OWN = BatteryConfig("store", 10_000, 5_000, 5_000, 100, 900)
MAIN = MeterConfig(0, "main", "eastron_sdm630", "127.0.0.1")
EV = MeterConfig(5, "car", "sunspec_battery", "127.0.0.1", 1_505, role="battery")

slots_of = st.lists(
    st.builds(slot_of, st.integers(-3_000_000, 3_000_000), st.integers(0, 400_000), st.integers(-20_000, 200_000)),
    min_size=1,
    max_size=24,
)
storages = st.builds(
    Storage, st.integers(0, 3_000_000), st.integers(3_000_001, 15_000_000), st.integers(0, 2_000_000),
    st.integers(0, 2_000_000), st.integers(700, 1_000), st.integers(0, 300_000), st.just(4_000_000), st.just(4_000_000),
)  # fmt: skip


def linear_program(slots: Sequence[Slot], storage: Storage, charge_mwh: int) -> float:
    """The least cost there is, by HiGHS: charge, discharge, import and export of every slot are free."""
    size, eta = len(slots), storage.one_way_permille / 1000
    identity, ones = np.eye(size), np.tril(np.ones((size, size)))
    buy, sell = np.array([s.buy_price for s in slots]), np.array([s.sell_price for s in slots])
    end = storage.end_price
    cost = np.concatenate([np.full(size, -end * eta), np.full(size, end / eta), buy, -sell])
    balance = np.hstack([identity, -identity, -identity, identity])
    charge = np.hstack([ones * eta, -ones / eta, np.zeros((size, 2 * size))])
    room = np.concatenate(
        [np.full(size, storage.highest_mwh - charge_mwh), np.full(size, charge_mwh - storage.lowest_mwh)]
    )
    most = (storage.charge_mwh, storage.discharge_mwh, storage.import_mwh, storage.export_mwh)
    solved = linprog(
        cost, np.vstack([charge, -charge]), room, balance, [-s.net_mwh for s in slots],
        [(0, limit) for limit in most for _ in range(size)], method="highs",
    )  # fmt: skip
    assert solved.status == 0, solved.message
    return float(solved.fun)


def stored_after(made: Sequence[int], charge_mwh: float, eta: float) -> list[float]:
    """Charge after each slot."""
    found = []
    for energy in made:
        charge_mwh += energy * eta if energy >= 0 else energy / eta
        found.append(charge_mwh)
    return found


@settings(max_examples=120, deadline=None)
@given(slots_of, storages, st.integers(0, 1_000))
def test_the_battery_schedule_costs_what_the_linear_program_does(
    slots: list[Slot], storage: Storage, filled_permille: int
) -> None:
    room = storage.highest_mwh - storage.lowest_mwh
    charge_mwh = storage.lowest_mwh + room * filled_permille // 1000
    made = battery_schedule(slots, storage, charge_mwh)
    charges = stored_after(made, charge_mwh, storage.one_way_permille / 1000)
    rounding_mwh = 4 * len(slots)
    assert all(storage.lowest_mwh - rounding_mwh <= c <= storage.highest_mwh + rounding_mwh for c in charges)
    assert all(-storage.discharge_mwh <= energy <= storage.charge_mwh for energy in made)
    own = cost_micro_mwh(slots, made) - storage.end_price * (charges[-1] - charge_mwh)
    assert abs(own - linear_program(slots, storage, charge_mwh)) <= rounding_mwh * 600_000


@given(slots_of, storages)
def test_a_battery_below_its_reserve_is_never_discharged_further(slots: list[Slot], storage: Storage) -> None:
    charge_mwh = storage.lowest_mwh // 2
    made = battery_schedule(slots, storage, charge_mwh)
    assert min(stored_after(made, charge_mwh, storage.one_way_permille / 1000)) >= charge_mwh - 4 * len(slots)


def test_where_nothing_is_to_be_gained_nothing_moves() -> None:
    storage = Storage(0, 10_000_000, 1_250_000, 1_250_000, 949, 80_000, BIG, BIG)
    flat = [slot_of(0, 300_000, 80_000)] * 96
    assert battery_schedule(flat, storage, 5_000_000) == [0] * 96
    assert battery_schedule([], storage, 5_000_000) == []
    assert battery_schedule(flat, replace(storage, charge_mwh=0, discharge_mwh=0), 5_000_000) == [0] * 96


@settings(max_examples=120, deadline=None)
@given(slots_of, st.integers(0, 20_000_000), st.integers(0, 2_750_000))
def test_the_vehicle_schedule_costs_what_the_linear_program_does(
    slots: list[Slot], needs_mwh: int, most_mwh: int
) -> None:
    made = vehicle_schedule(slots, needs_mwh, 0, most_mwh, 4_000_000)
    room = sum(max(0, min(most_mwh, 4_000_000 - slot.net_mwh)) for slot in slots)
    assert sum(made) == min(needs_mwh, room) and all(0 <= energy <= most_mwh for energy in made)
    size, identity = len(slots), np.eye(len(slots))
    cost = [0.0] * size + [float(s.buy_price) for s in slots] + [-float(s.sell_price) for s in slots]
    balance = np.vstack(
        [np.hstack([identity, -identity, identity]), np.concatenate([np.ones(size), np.zeros(2 * size)])]
    )
    solved = linprog(
        cost, A_eq=balance, b_eq=[*(-s.net_mwh for s in slots), sum(made)],
        bounds=[(0, most_mwh)] * size + [(0, 4_000_000)] * size + [(0, None)] * size, method="highs",
    )  # fmt: skip
    assert solved.status == 0
    assert cost_micro_mwh(slots, made) == pytest.approx(solved.fun, rel=1e-9, abs=1e6)


@given(slots_of, st.integers(1, 10_000_000), st.integers(1, 10_000_000))
def test_what_the_vehicle_needs_at_once_goes_first(slots: list[Slot], needs_mwh: int, at_once_mwh: int) -> None:
    made = vehicle_schedule(slots, needs_mwh, at_once_mwh, 2_000_000, BIG)
    urgent = min(needs_mwh, at_once_mwh)
    for energy in made:
        assert energy >= min(urgent, 2_000_000)
        urgent = max(0, urgent - energy)


@settings(max_examples=40, deadline=None)
@given(slots_of, storages, st.integers(0, 8_000_000))
def test_vehicle_first_and_battery_after_it_is_never_dearer_than_a_battery_that_knows_no_vehicle(
    slots: list[Slot], storage: Storage, needs_mwh: int
) -> None:
    vehicle = vehicle_schedule(slots, needs_mwh, 0, 1_000_000, storage.import_mwh)
    loaded = [replace(slot, net_mwh=slot.net_mwh + more) for slot, more in zip(slots, vehicle, strict=True)]
    eta = storage.one_way_permille / 1000

    def cost(battery: list[int]) -> float:
        together = [a + b for a, b in zip(vehicle, battery, strict=True)]
        gained = stored_after(battery, storage.lowest_mwh, eta)[-1] - storage.lowest_mwh
        return cost_micro_mwh(slots, together) - storage.end_price * gained

    knowing = cost(battery_schedule(loaded, storage, storage.lowest_mwh))
    blind = cost(battery_schedule(slots, storage, storage.lowest_mwh))
    assert knowing <= blind + 4 * len(slots) * 600_000


def joint_program(slots: Sequence[Slot], storage: Storage, charge_mwh: int, needs_mwh: int, most_mwh: int) -> float:
    """The least cost of battery and vehicle together, by HiGHS."""
    size, eta = len(slots), storage.one_way_permille / 1000
    identity, ones, zero = np.eye(size), np.tril(np.ones((size, size))), np.zeros(size)
    end = storage.end_price
    buy, sell = np.array([s.buy_price for s in slots]), np.array([s.sell_price for s in slots])
    cost = np.concatenate([np.full(size, -end * eta), np.full(size, end / eta), buy, -sell, zero])
    balance = np.hstack([identity, -identity, -identity, identity, identity])
    needs = np.concatenate([zero, zero, zero, zero, np.ones(size)])
    charge = np.hstack([ones * eta, -ones / eta, np.zeros((size, 3 * size))])
    room = [storage.highest_mwh - charge_mwh] * size + [charge_mwh - storage.lowest_mwh] * size
    most = (storage.charge_mwh, storage.discharge_mwh, storage.import_mwh, storage.export_mwh, most_mwh)
    solved = linprog(
        cost, np.vstack([charge, -charge]), room, np.vstack([balance, needs]),
        [*(-s.net_mwh for s in slots), needs_mwh], [(0, limit) for limit in most for _ in range(size)], method="highs",
    )  # fmt: skip
    assert solved.status == 0, solved.message
    return float(solved.fun)


def test_battery_and_vehicle_together_are_within_two_percent_of_the_joint_program() -> None:
    chance, gaps = Random(3), []
    storage = Storage(1_000_000, 10_000_000, 1_250_000, 1_250_000, 949, 76_000, 2_750_000, 2_750_000)
    for case in range(40):
        hours = [chance.choice([150_000, 300_000, 400_000]) if case % 2 else 300_000 for _ in range(12)]
        sun = [chance.randint(0, 1_200_000) if 12 <= slot < 36 else 0 for slot in range(48)]
        slots = [slot_of(chance.randint(100_000, 500_000) - sun[n], hours[n // 4], 80_000) for n in range(48)]
        charge_mwh, needs_mwh = chance.randint(1_000_000, 10_000_000), chance.randint(2_000_000, 15_000_000)

        def of_vehicle(around: Sequence[Slot], wh: int = needs_mwh) -> list[int]:
            return vehicle_schedule(around, wh, 0, 2_750_000, 2_750_000)

        battery, vehicle = joint_schedule(slots, storage, charge_mwh, of_vehicle)
        assert sum(vehicle) == needs_mwh
        gained = stored_after(battery, charge_mwh, 0.949)[-1] - charge_mwh
        own = cost_micro_mwh(slots, [a + b for a, b in zip(battery, vehicle, strict=True)]) - 76_000 * gained
        best = joint_program(slots, storage, charge_mwh, needs_mwh, 2_750_000)
        gaps.append((own - best) / abs(cost_micro_mwh(slots, vehicle)))
    assert max(gaps) < 0.02 and sum(gaps) / len(gaps) < 0.001 and min(gaps) > -1e-4


# The plan of a home


def sunny(day_wh: int = -1_000, night_wh: int = 500) -> dict[int, int]:
    """A week of homes that feed by day (UTC 8 to 16) and take by night."""
    span = range(NOW - 7 * INTERVALS_PER_DAY, NOW)
    return {i: day_wh if 32 <= i % INTERVALS_PER_DAY < 64 else night_wh for i in span}


def planning(history: dict[int, int], battery: BatteryConfig | None = OWN, **parts: object) -> Flexibility:
    """Ada's plan over that history."""
    config = ada_config(Path("/nowhere"), (MAIN, BATTERY, EV), battery=battery, **parts)  # type: ignore[arg-type]
    return Flexibility(config, NetForecast(history), Counters())


def test_without_battery_and_vehicle_the_forecast_is_what_is_bid_for() -> None:
    plain = planning(sunny(), None)
    forecast = NetForecast(sunny())
    assert not plain.plan(NOW_MS) and plain.next_ms() is None and plain.wishes("store", NOW_MS) == {}
    assert [plain.net_wh(i) for i in range(NOW, NOW + 700)] == [forecast.net_wh(i) for i in range(NOW, NOW + 700)]


def test_surplus_of_the_day_is_planned_into_the_evening() -> None:
    flexibility = planning(sunny())
    flexibility.observe("store", {"soc_permille": 100, "import_wh": 0, "export_wh": 0}, NOW_MS)
    assert flexibility.plan(NOW_MS) and not flexibility.plan(NOW_MS + 1_000)
    own = NetForecast(sunny())
    total_own = sum(max(own.net_wh(i) or 0, 0) for i in range(NOW, NOW + 192))
    total = sum(max(flexibility.net_wh(i) or 0, 0) for i in range(NOW, NOW + 192))
    assert total_own - total == pytest.approx(2 * 9_000 * 0.948, rel=0.05)  # two days of what the battery can hold


def test_what_the_battery_did_is_taken_out_of_what_the_home_is_thought_to_want() -> None:
    served = {i: 0 if i % 2 else wh for i, wh in sunny(night_wh=400).items()}  # the meter saw the battery's help
    flexibility = planning(served)
    counter = 0
    for interval in range(NOW - 96 * 7, NOW + 1):
        flexibility.observe(
            "store", {"soc_permille": 100, "import_wh": 0, "export_wh": counter}, interval_start_s(interval) * 1000
        )
        counter += 400 if interval % 2 and not 32 <= interval % 96 < 64 else 0
    slots = flexibility._slots(NOW)
    night = [slot.net_mwh for place, slot in enumerate(slots) if not 32 <= (NOW + place) % 96 < 64]
    assert min(night) > 300_000


def test_cheap_hours_fill_the_battery_and_dear_ones_empty_it_to_the_reserve() -> None:
    hours = tuple(100_000 if hour < 6 else 400_000 for hour in range(24))
    flexibility = planning(sunny(500, 500), replace(OWN, hourly_import_price=hours))
    begin = NOW - NOW % 96 + 96
    flexibility.observe("store", {"soc_permille": 100}, interval_start_s(begin) * 1000)
    assert flexibility.plan(interval_start_s(begin) * 1000)
    battery = {i: planned[1] for i, planned in flexibility._plan.items()}
    night, day = range(begin, begin + 24), range(begin + 24, begin + 96)
    assert sum(battery[i] for i in night) == pytest.approx(9_000 / 0.948, rel=0.02)
    assert sum(battery[i] for i in day) == pytest.approx(-9_000 * 0.948, rel=0.02)
    assert {-1 if battery[i] < 0 else battery[i] for i in day} <= {-1, 0}


def test_the_plan_of_serving_the_home_is_left_to_the_batterys_own_logic() -> None:
    flexibility = planning(sunny(500, 500))
    flexibility.observe("store", {"soc_permille": 900}, NOW_MS)
    assert flexibility.plan(NOW_MS) and flexibility.wishes("store", NOW_MS) == {}
    told = planning(sunny(500, 500), replace(OWN, own_logic=False))
    told.observe("store", {"soc_permille": 900}, NOW_MS)
    assert told.plan(NOW_MS) and told.wishes("store", NOW_MS)["power_setpoint_w"] in range(-2_010, -1_989)
    assert told.wishes("store", NOW_MS + 900_000) == {}  # made for another interval


def test_no_charge_known_no_plan_and_no_wish() -> None:
    flexibility = planning(sunny())
    assert not flexibility.plan(NOW_MS) and flexibility.wishes("store", NOW_MS) == {}
    assert flexibility.next_ms() == NOW_MS + 60_000
    assert flexibility.net_wh(NOW) == NetForecast(sunny()).net_wh(NOW)


def test_a_vehicle_has_what_it_needs_when_it_leaves_and_takes_the_sun_first() -> None:
    by_minute = (NOW_S + 20 * 3_600) // 60 % 1_440
    car = VehicleConfig("car", 8_000, by_minute, 11_000)
    flexibility = planning(sunny(), None, vehicle=car)
    flexibility.observe("car", {"import_wh": 50_000}, NOW_MS)
    assert flexibility.plan(NOW_MS)
    until = NOW + 20 * 4
    planned = {i: p[2] for i, p in flexibility._plan.items() if i < until}
    assert sum(planned.values()) in range(7_990, 8_001)
    assert all(flexibility._plan[i][0] < 0 for i, wh in planned.items() if wh)
    flexibility.observe("car", {"import_wh": 55_000}, NOW_MS + 900_000)  # it took 5 kWh meanwhile
    assert flexibility.plan(NOW_MS + 900_000)
    assert sum(p[2] for i, p in flexibility._plan.items() if i < until) in range(2_990, 3_001)


def test_memory_survives_a_restart_and_nonsense_is_forgotten() -> None:
    flexibility = planning(sunny())
    for interval in range(NOW - 10, NOW):
        energy = (interval - NOW) * -7
        flexibility.observe("store", {"soc_permille": 1, "import_wh": energy}, interval_start_s(interval) * 1000)
    again = planning(sunny())
    again.restore(flexibility.state())
    assert again.state() == flexibility.state() and len(again._steered["store"]) == 9
    for nonsense in ({"steered": 5}, {"steered": {"store": [1]}}, {"left": [1]}, {"left": "xy"}):
        broken = planning(sunny())
        broken.restore(nonsense)
        assert broken.state() == {"steered": {"store": []}, "left": None}


# In the agent


def stored_home(folder: Path, **parts: object) -> Home:
    """Ada with a battery of her own and a history."""
    battery = parts.pop("battery", replace(OWN, own_logic=False))
    config = ada_config(folder, (MAIN, BATTERY), battery=battery, bidding=BiddingConfig(calendar="street"), **parts)  # type: ignore[arg-type]
    home = Home(folder, config)
    home.outbox.put([], durable=True)
    home.agent._forecast._net_wh.update(sunny(500, 500))
    home.agent._forecast._last = NOW - 1
    home.agent.on_clock(ClockStatus.SYNCHRONISED, NOW_MS)
    home.agent.on_link(True, NOW_MS)
    return home


def test_the_plan_is_bid_for_and_carried_out_and_a_command_goes_first(tmp_path: Path) -> None:
    home = stored_home(tmp_path)
    effects = home.sample(NOW_MS, "store", power_w=0, soc_permille=900, import_wh=0, export_wh=0)
    (write,) = writes(effects)
    assert (write.write, write.watchdog_s) == ("power_setpoint_w", 60) and write.value in range(-2_010, -1_989)
    home.agent.on_written(WriteResult(write.token, "store", write.value), NOW_MS)
    home.agent.on_deadline(NOW_MS + 10)
    bids = [bid for bid in home.stored(FrameKind.BID) if isinstance(bid, Bid)]
    served = home.agent._flexibility.net_wh(NOW + 4)
    assert served is not None and abs(served) < 20 and all(bid.product // 1_024 > NOW + 4 for bid in bids)
    (command,) = writes(home.tell(Leaf.SETPOINT, order(valid_until_s=NOW_S + 30), NOW_MS + 100))
    assert command.value == 2_000
    home.agent.on_written(WriteResult(command.token, "store", 2_000), NOW_MS + 200)
    assert not writes(home.sample(NOW_MS + 1_000, "store", power_w=2_000, soc_permille=900))


def test_a_plan_that_nobody_can_renew_lapses_on_the_device_too(tmp_path: Path) -> None:
    home = stored_home(tmp_path)
    effects, made = home.sample(NOW_MS, "store", power_w=0, soc_permille=900), []
    for now_ms in range(NOW_MS, NOW_MS + 1_000_000, 1_000):
        if now_ms == NOW_MS + 900_000:  # the charge is not told any more: no plan for the next interval
            effects += home.sample(now_ms, "store", power_w=0, voltage_l1_mv=230_000)
        effects += home.agent.on_deadline(now_ms)
        for write in writes(effects):
            home.agent.on_written(WriteResult(write.token, "store", write.value), now_ms)
            made.append(((now_ms - NOW_MS) // 1000, write.value))
        effects = []
    renewed = [second for second, value in made if value is not None]
    assert max(b - a for a, b in pairwise(renewed)) <= 30 and renewed[-1] < 900  # half of its watchdog
    assert made[-1] == (900, None)


def test_the_owners_reserve_and_powers_bound_commands_too(tmp_path: Path) -> None:
    home = stored_home(tmp_path, battery=replace(OWN, max_charge_w=3_000))
    home.sample(NOW_MS, "store", power_w=0, soc_permille=150)
    assert not writes(home.tell(Leaf.SETPOINT, order(1, power_w=3_001), NOW_MS))
    (write,) = writes(home.tell(Leaf.SETPOINT, order(2, power_w=-3_000), NOW_MS))
    home.agent.on_written(WriteResult(write.token, "store", -3_000), NOW_MS)
    effects = home.sample(NOW_MS + 10_000, "store", power_w=-3_000, soc_permille=100)
    assert ("power_setpoint_w", None) in [(w.write, w.value) for w in writes(effects)]  # its reserve is reached
    assert not writes(home.tell(Leaf.SETPOINT, order(3, power_w=-1), NOW_MS + 11_000))
    assert home.counters["setpoint_out_of_range"] == 2 and home.counters["setpoint_fell_back"] == 1
