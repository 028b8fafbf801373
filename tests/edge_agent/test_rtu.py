"""RTU on a real pseudo-terminal and through a gateway, with wire time: whatever the line does, no value is wrong.

Every value a device shows carries the number of the read it was made for, so that a value from another device, from
another poll or from another register is seen as one.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device_profiles.profile import load_profile
from edge_agent.config import MeterConfig
from edge_agent.effects import Sample, WriteDevice, WriteResult
from edge_agent.shell.bus import ModbusBus, RemoteBusError
from edge_agent.shell.byte_line import SerialSettings
from edge_agent.shell.clock import SystemClock
from edge_agent.shell.modbus import BusTask, Unit, most_urgent, next_poll_ms
from simulators.live.serial_bus import FAULTS, FaultPlan, GatewayBus, PtyBus, RtuBus, rolled
from tests.edge_agent.conftest import eventually

Runner = Callable[[Awaitable[None]], None]
PROFILE = "eastron_sdm630"
FAST = SerialSettings(115_200)
NO_ANSWER = {"late", "short", "crc", "busy", "wrong unit", "half", "silent"}


class Numbered:
    """A meter whose values say of which read they are; resolution of float32 is whole below 2^24."""

    def __init__(self, unit: int) -> None:
        self.unit = unit
        self.reads = 0

    def values(self) -> dict[str, int]:
        """The next read's."""
        self.reads += 1
        return {
            "import_wh": (self.unit * 10_000 + self.reads) * 10,
            "export_wh": (self.unit * 10_000 + self.reads) * 10,
            "power_w": self.unit * 10_000 + self.reads,
            "frequency_mhz": 45_000 + self.reads,
            "voltage_l1_mv": 1_000 * (200 + self.unit),
        }


@dataclass
class Watcher:
    """Takes samples and holds every value against what its device can have shown since the sample before."""

    meters: dict[str, Numbered]
    samples: list[Sample] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    results: list[WriteResult] = field(default_factory=list)
    _before: dict[str, int] = field(default_factory=dict)

    def __call__(self, sample: Sample) -> None:
        """One sample."""
        self.samples.append(sample)
        meter, before = self.meters[sample.device], self._before.get(sample.device, 0)
        self._before[sample.device] = meter.reads
        for name, value in (sample.values or {}).items():
            read = {"import_wh": value // 10, "export_wh": value // 10, "power_w": value}.get(name)
            if read is not None:
                read -= meter.unit * 10_000
            elif name == "frequency_mhz":
                read = value - 45_000
            else:
                read = meter.reads if value == 1_000 * (200 + meter.unit) else -1
            if not before < read <= meter.reads:
                self.wrong.append(f"{sample.device}.{name} is of read {read}, not {before + 1} to {meter.reads}")

    def good(self, device: str) -> list[Sample]:
        """The samples with values."""
        return [s for s in self.samples if s.device == device and s.values]


async def begin(bus: RtuBus, units: int, timeout_s: float, baud: int) -> tuple[BusTask, Watcher, asyncio.Task[None]]:
    """A bus task that polls these units once a second."""
    meters = {f"m{n}": Numbered(n) for n in range(1, units + 1)}
    for n in range(1, units + 1):
        bus.add_unit(PROFILE, meters[f"m{n}"].values, n)
    if isinstance(bus, PtyBus):
        await bus.start()
        place = MeterConfig(0, "", PROFILE, "", 0, link="rtu", device=bus.path, baud=baud)
    else:
        assert isinstance(bus, GatewayBus)
        await bus.start()
        place = MeterConfig(0, "", PROFILE, "127.0.0.1", bus.port, link="rtu-over-tcp", baud=baud)
    watcher, profile = Watcher(meters), load_profile(PROFILE)
    pairs = [(replace(place, number=n, name=f"m{n}", unit=n), profile) for n in range(1, units + 1)]
    task = BusTask(pairs, SystemClock(), watcher, watcher.results.append, timeout_s)
    return task, watcher, asyncio.create_task(task.run())


async def end(bus: RtuBus, running: asyncio.Task[None]) -> None:
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert isinstance(bus, PtyBus | GatewayBus)
    await bus.stop()


LINES: dict[str, Callable[..., RtuBus]] = {"rtu": PtyBus, "rtu-over-tcp": GatewayBus}


@pytest.mark.parametrize("link", LINES)
def test_after_any_fault_no_value_is_wrong_and_the_second_poll_is_good_again(run: Runner, link: str) -> None:
    async def suffer(fault: str) -> None:
        bus = LINES[link](115_200, turnaround_ms=2)
        bus.faults = FaultPlan(deque(["", "", fault]), late_s=0.65)
        _, watcher, running = await begin(bus, 1, 0.3, 115_200)
        await eventually(lambda: len(watcher.samples) >= 4)
        await end(bus, running)
        assert bus.suffered[fault] == 1
        assert watcher.wrong == [], fault
        bad = [sample for sample in watcher.samples if not sample.values]
        assert len(bad) == (1 if fault in NO_ANSWER else 0), f"{fault}: one poll is lost at most"
        good_at_ms = [s.taken_at_ms for s in watcher.samples if s.values]
        pauses_ms = [b - a for a, b in itertools.pairwise(good_at_ms)]
        assert max(pauses_ms) <= 2_500, f"{fault}: the next poll is good again"

    async def story() -> None:
        await asyncio.gather(*(suffer(fault) for fault in FAULTS))

    run(story())


@pytest.mark.slow
@pytest.mark.parametrize("link", LINES)
@pytest.mark.parametrize("seed", range(2))
def test_a_line_on_which_every_third_answer_is_spoilt_never_gives_a_wrong_value(
    run: Runner, link: str, seed: int
) -> None:
    async def story() -> None:
        bus = LINES[link](115_200, turnaround_ms=2)
        bus.faults = FaultPlan(share=0.33, late_s=0.3, random=Random(seed))
        task, watcher, running = await begin(bus, 3, 0.12, 115_200)
        await asyncio.sleep(10)
        bus.faults.share = 0.0
        before = len(watcher.samples)
        await asyncio.sleep(9)
        await end(bus, running)
        assert watcher.wrong == []
        assert sum(bus.suffered.values()) - bus.suffered.get("", 0) >= 10
        for name in task.names():
            after = [s for s in watcher.samples[before:] if s.device == name]
            assert len([s for s in after if s.values]) >= 2, "and afterwards it is read again"

    run(story())


@pytest.mark.parametrize("late_s", [0.12, 0.19, 0.31, 0.6])
def test_an_answer_however_late_is_never_the_next_one_s(run: Runner, tmp_path: Path, late_s: float) -> None:
    async def story() -> None:
        bus = PtyBus(115_200, turnaround_ms=1)
        meter = Numbered(1)
        bus.add_unit(PROFILE, meter.values, 1)
        bus.faults = FaultPlan(deque(["late"]), late_s=late_s)
        await bus.start()
        line = ModbusBus(bus.path, 0, "rtu", 0.1, FAST)
        with pytest.raises(RemoteBusError):
            await line.read(1, 4, 0x34, 2)
        for place in range(6):
            made = meter.reads
            words = await line.read(1, 4, 0x34, 2)
            shown = bus.history[1][made:]
            assert [v["power_w"] for v in shown] and words == _float_words(shown[-1]["power_w"]), f"read {place}"
        line.close()
        await bus.stop()

    run(story())


def test_a_late_exception_answers_nobody_else_s_question(run: Runner) -> None:
    async def story() -> None:
        bus = PtyBus(115_200, turnaround_ms=1)
        meter = Numbered(1)
        bus.add_unit(PROFILE, meter.values, 1)
        bus.faults = FaultPlan(deque(["late"]), late_s=0.3)
        await bus.start()
        line = ModbusBus(bus.path, 0, "rtu", 0.1, FAST)
        with pytest.raises(RemoteBusError, match="no answer"):
            await line.read(1, 4, 0x2000, 2)  # exception 2, too late
        for count in (4, 2, 4):
            words = await line.read(1, 4, 0x34, count)
            assert len(words) == count and words[:2] == _float_words(bus.history[1][-1]["power_w"])
        line.close()
        await bus.stop()

    run(story())


def _float_words(value: int) -> list[int]:
    import struct

    octets = struct.pack(">f", value)
    return [int.from_bytes(octets[:2], "big"), int.from_bytes(octets[2:], "big")]


@pytest.mark.slow
@pytest.mark.parametrize("link", LINES)
def test_one_dead_unit_of_four_costs_the_others_at_most_one_poll_a_back_off_step(run: Runner, link: str) -> None:
    async def story() -> None:
        bus = LINES[link](19_200, turnaround_ms=5)
        bus.dead = {3}
        _, watcher, running = await begin(bus, 4, 0.8, 19_200)
        seconds = 16
        await asyncio.sleep(seconds)
        await end(bus, running)
        assert watcher.wrong == [] and not watcher.good("m3")
        steps = len([s for s in watcher.samples if s.device == "m3"])
        assert 3 <= steps <= 6, "asked again after 1, 1, 2, 4, 8 seconds"
        for name in ("m1", "m2", "m4"):
            assert len(watcher.good(name)) >= seconds - 1 - steps

    run(story())


@pytest.mark.slow
def test_three_sdm630_on_one_9600_baud_line_are_read_once_a_second_and_never_fall_behind(run: Runner) -> None:
    async def story() -> None:
        bus = PtyBus(9600, bits=10, turnaround_ms=30)
        task, watcher, running = await begin(bus, 3, 0.8, 9600)
        seconds = 21
        await asyncio.sleep(seconds)
        await end(bus, running)
        assert watcher.wrong == []
        late_ms: dict[str, list[int]] = {}
        for sample in watcher.samples:
            assert sample.values
            config = task.unit(sample.device).config
            due_ms = next_poll_ms(config, sample.taken_at_ms) - 1_000
            late_ms.setdefault(sample.device, []).append(sample.taken_at_ms - due_ms)
        for name, found in late_ms.items():
            assert len(found) >= seconds - 1, f"{name}: every second"
            assert max(found) <= 700, "it waits for the two others at most"
            assert sum(found[-5:]) <= sum(found[:5]) + 5 * 60, "and does not wait longer and longer"

    run(story())


def test_a_set_point_on_a_serial_line_goes_before_the_polls_and_is_read_back(run: Runner) -> None:
    async def story() -> None:
        taken: list[tuple[str, int]] = []
        bus = PtyBus(19_200, turnaround_ms=5)
        bus.add_unit("sunspec_battery", lambda: {"power_w": 0, "max_power_w": 5_000}, 1, lambda *w: taken.append(w))
        await bus.start()
        config = MeterConfig(3, "store", "sunspec_battery", "", 0, role="battery", link="rtu", device=bus.path,
                             baud=19_200)  # fmt: skip
        results: list[WriteResult] = []
        samples: list[Sample] = []
        task = BusTask([(config, load_profile("sunspec_battery"))], SystemClock(), samples.append, results.append)
        running = asyncio.create_task(task.run())
        await eventually(lambda: any(s.values for s in samples))
        task.write(WriteDevice("store", "power_setpoint_w", 1_200, 30, 5))
        await eventually(lambda: results)
        assert results == [WriteResult(5, "store", 1_200, None)] and taken == [("power_setpoint_w", 1_200)]
        await end(bus, running)

    run(story())


def test_a_line_that_is_pulled_and_plugged_again_is_read_again(run: Runner, tmp_path: Path) -> None:
    async def story() -> None:
        path = tmp_path / "ttyUSB0"
        first, second = PtyBus(115_200, turnaround_ms=1), PtyBus(115_200, turnaround_ms=1)
        for bus in (first, second):
            bus.add_unit(PROFILE, Numbered(1).values, 1)
        await first.start()
        path.symlink_to(first.path)
        line = ModbusBus(str(path), 0, "rtu", 0.1, FAST)
        assert len(await line.read(1, 4, 0x34, 2)) == 2
        await first.stop()
        with pytest.raises(RemoteBusError):
            await line.read(1, 4, 0x34, 2)
        await second.start()
        path.unlink()
        path.symlink_to(second.path)
        assert len(await line.read(1, 4, 0x34, 2)) == 2
        line.close()
        await second.stop()

    run(story())


def test_the_first_reading_of_an_interval_goes_before_telemetry_and_a_silent_device_behind_all() -> None:
    profile = load_profile(PROFILE)
    boundary_ms = 1_800_000_000 - 1_800_000_000 % 900 * 1000

    def unit(number: int, role: str, next_ms: int, interval: int = -1, failures: int = 0) -> Unit:
        config = MeterConfig(number, f"m{number}", PROFILE, "h", role=role)
        return Unit(config, profile, next_ms=boundary_ms + next_ms, interval=interval, failures=failures)

    this = boundary_ms // 900_000
    telemetry, settled = unit(1, "inverter", 10), unit(2, "settlement", 20, interval=this)
    waiting, silent = unit(3, "settlement", 30, interval=this - 1), unit(4, "settlement", 5, failures=2)
    later = unit(5, "settlement", 900)
    order = []
    units = [later, silent, telemetry, settled, waiting]
    while (chosen := most_urgent(units, boundary_ms + 100)) is not None:
        order.append(chosen)
        units.remove(chosen)
    assert order == [waiting, telemetry, settled, silent] and units == [later]


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 10**13), st.integers(1, 900), st.integers(0, 99), st.sampled_from(["settlement", "inverter"]))
def test_polls_are_on_a_fixed_grid_and_a_settlement_meter_is_asked_within_a_second_of_every_interval(
    now_ms: int, poll_s: int, number: int, role: str
) -> None:
    config = MeterConfig(number, f"m{number}", PROFILE, "h", poll_s=poll_s, role=role)
    next_ms = next_poll_ms(config, now_ms)
    assert now_ms < next_ms <= now_ms + poll_s * 1000
    assert next_poll_ms(config, next_ms - 1) == next_ms, "no drift: the same instant whenever it is asked for"
    if role == "settlement":
        boundary_ms = (now_ms // 900_000 + 1) * 900_000
        assert boundary_ms <= next_poll_ms(config, boundary_ms - 1) < boundary_ms + 1_000


def test_a_counter_of_a_simulated_device_rolls_over_where_its_register_ends() -> None:
    assert rolled({"import_wh": 90}, "import_wh", 1_000, 100)["import_wh"] == 990
    assert rolled({"import_wh": 110}, "import_wh", 1_000, 100)["import_wh"] == 10
