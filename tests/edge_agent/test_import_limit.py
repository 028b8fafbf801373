"""A limit of what the home takes: held at its own meter while it lasts, and not a moment longer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from contracts.codes import SetPointKind, SetPointOutcome
from contracts.topics import Leaf
from edge_agent.config import MeterConfig
from edge_agent.config_local import BatteryConfig
from edge_agent.effects import WriteResult
from edge_agent.steering.device_state import Mode
from tests.edge_agent.conftest import Home, ada_config, reports_in
from tests.edge_agent.test_set_points import BATTERY, INVERTER, NOW_MS, NOW_S, order, outcome, writes

MAIN = MeterConfig(0, "main", "eastron_sdm630", "127.0.0.1")
WALLBOX = MeterConfig(5, "car", "keba_p30", "127.0.0.1", 1504, role="battery")
OWN = BatteryConfig("store", 10_000, 5_000, 4_000, reserve_permille=200)
IMPORT = int(SetPointKind.IMPORT_LIMIT)


class LivingHome:
    """A house with a load, a car that takes what it may, and a battery that does as it is told, one poll a second."""

    def __init__(self, folder: Path, load_w: int, car_w: int = 11_000, soc: int = 500) -> None:
        config = ada_config(folder, (MAIN, BATTERY, WALLBOX), battery=OWN)
        self.home = Home(folder, config, synchronised_ms=NOW_MS)
        self.home.agent.on_link(True, NOW_MS)
        self.load_w, self.car_w, self.soc = load_w, car_w, soc
        self.car_limit_w, self.store_w = 22_080, 0
        self.second = 0
        self.effects: list[Any] = []

    @property
    def car_takes_w(self) -> int:
        return min(self.car_w, self.car_limit_w) if self.car_limit_w >= 4_140 else 0

    @property
    def import_w(self) -> int:
        return self.load_w + self.car_takes_w + self.store_w

    def live(self, seconds: int) -> list[int]:
        """That many seconds; what the home took in each."""
        taken = []
        for _ in range(seconds):
            self.second += 1
            now_ms = NOW_MS + self.second * 1000
            self.take(self.home.sample(now_ms, "store", power_w=self.store_w, soc_permille=self.soc), now_ms)
            self.take(self.home.sample(now_ms + 1, "car", power_w=self.car_takes_w), now_ms)
            self.take(self.home.sample(now_ms + 2, "main", power_w=self.import_w, frequency_mhz=50_000), now_ms)
            self.take(self.home.agent.on_deadline(now_ms + 3), now_ms)
            taken.append(self.import_w)
        return taken

    def take(self, effects: list[Any], now_ms: int) -> None:
        """Carries out what is written."""
        self.effects += effects
        for write in writes(effects):
            if write.device == "car":
                self.car_limit_w = 22_080 if write.value is None else write.value
            elif write.device == "store":
                self.store_w = write.value or 0
            self.take(self.home.agent.on_written(WriteResult(write.token, write.device, write.value), now_ms), now_ms)

    def tell(self, **changes: Any) -> None:
        """A set-point for the connection point, unless said otherwise."""
        said = {"device": 0, "kind": IMPORT, "issued_at_s": NOW_S + self.second, "valid_until_s": NOW_S + 200}
        now_ms = NOW_MS + self.second * 1000
        self.take(self.home.tell(Leaf.SETPOINT, order(**(said | changes)), now_ms), now_ms)

    @property
    def outcomes(self) -> list[int]:
        return [report.outcome for report in reports_in(self.effects)]


def test_a_charger_is_cut_first_and_the_home_stays_below_the_limit_until_it_expires(tmp_path: Path) -> None:
    house = LivingHome(tmp_path, load_w=1_000)
    assert house.live(3)[-1] == 12_000
    house.tell(power_w=8_000)
    taken = house.live(60)
    assert all(power_w <= 8_000 for power_w in taken[10:]) and taken[-1] > 7_000
    assert house.store_w == 0 and house.outcomes == [SetPointOutcome.APPLIED]
    house.live(150)
    assert house.outcomes == [SetPointOutcome.APPLIED, SetPointOutcome.FELL_BACK]
    assert house.import_w == 12_000 and house.home.agent._local.limits.limit_w is None


def test_what_is_left_is_less_than_a_charger_can_offer_so_it_stands_still(tmp_path: Path) -> None:
    house = LivingHome(tmp_path, load_w=1_000)
    house.live(3)
    house.tell(power_w=4_200)
    house.live(20)
    assert house.car_limit_w == 0 and house.import_w == 1_000


@pytest.mark.parametrize(("soc", "helps"), [(500, True), (200, False)])
def test_a_battery_helps_only_above_its_owners_reserve(tmp_path: Path, soc: int, helps: bool) -> None:
    house = LivingHome(tmp_path, load_w=6_000, soc=soc)
    house.live(3)
    house.tell(power_w=4_200)
    house.live(100)
    assert house.car_limit_w == 0
    assert (house.import_w <= 4_200) == helps and (house.store_w < 0) == helps
    expected = SetPointOutcome.APPLIED if helps else SetPointOutcome.READ_BACK_FAILED
    assert house.outcomes == [expected]


def test_a_commanded_charge_that_exceeds_the_limit_is_ended_and_told(tmp_path: Path) -> None:
    house = LivingHome(tmp_path, load_w=3_000, car_w=0)
    house.live(3)
    house.tell(device=3, kind=0, power_w=5_000)
    house.live(5)
    assert house.import_w == 8_000
    house.tell(power_w=5_000)
    house.live(20)
    assert house.import_w <= 5_000
    assert house.outcomes == [SetPointOutcome.APPLIED, SetPointOutcome.FELL_BACK, SetPointOutcome.APPLIED]
    assert house.home.agent._control.devices[3].mode == Mode.FALLBACK


def test_without_a_measured_import_nothing_more_is_taken(tmp_path: Path) -> None:
    house = LivingHome(tmp_path, load_w=1_000)
    house.live(3)
    house.tell(power_w=8_000)
    house.live(20)
    for second in range(40):
        now_ms = NOW_MS + (24 + second) * 1000
        house.take(house.home.sample(now_ms, "car", power_w=house.car_takes_w), now_ms)
        house.take(house.home.agent.on_deadline(now_ms), now_ms)
    assert house.car_limit_w == 0


def test_a_limit_outlives_a_restart_and_is_not_obeyed_twice(tmp_path: Path) -> None:
    house = LivingHome(tmp_path, load_w=1_000)
    house.live(3)
    house.tell(power_w=8_000)
    house.live(20)
    again = LivingHome(tmp_path, load_w=1_000)
    again.second = 30
    again.live(20)
    assert again.import_w <= 8_000
    again.tell(power_w=9_000)
    assert again.outcomes[-1] == SetPointOutcome.REPLAYED


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"power_w": -1}, SetPointOutcome.OUT_OF_RANGE),
        ({"power_w": 11_001}, SetPointOutcome.OUT_OF_RANGE),
        ({"device": 9}, SetPointOutcome.NO_SUCH_DEVICE),
        ({"issued_at_s": NOW_S - 60, "valid_until_s": NOW_S - 1}, SetPointOutcome.EXPIRED),
    ],
)
def test_a_limit_that_cannot_be_is_refused_by_name(
    tmp_path: Path, changes: dict[str, int], expected: SetPointOutcome
) -> None:
    house = LivingHome(tmp_path, load_w=1_000)
    house.live(2)
    house.tell(**({"power_w": 5_000} | changes))
    assert house.outcomes == [expected] and house.home.agent._local.limits.limit_w is None


def test_a_home_with_nothing_to_steer_refuses_it(tmp_path: Path) -> None:
    home = Home(tmp_path, ada_config(tmp_path, (MAIN, INVERTER)), synchronised_ms=NOW_MS)
    home.agent.on_link(True, NOW_MS)
    effects = home.tell(Leaf.SETPOINT, order(device=0, kind=IMPORT), NOW_MS)
    assert outcome(effects) == SetPointOutcome.NO_SUCH_DEVICE


def test_a_charger_that_is_addressed_takes_it_as_its_own_maximum(tmp_path: Path) -> None:
    house = LivingHome(tmp_path, load_w=1_000)
    house.live(2)
    house.tell(device=5, power_w=6_900)
    assert house.car_limit_w == 6_900 and house.outcomes == [SetPointOutcome.APPLIED]
