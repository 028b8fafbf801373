"""The bus over real sockets: no late, short or foreign answer ever becomes a value, and one dead unit stays alone."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import pytest
from pymodbus.framer.rtu import FramerRTU

from device_profiles.profile import load_profile
from edge_agent.config import MeterConfig
from edge_agent.effects import Sample, WriteDevice, WriteResult
from edge_agent.shell.bus import ModbusBus, RemoteBusError
from edge_agent.shell.clock import SystemClock
from edge_agent.shell.modbus import BusTask
from simulators.live.modbus import MeterServer
from tests.edge_agent.conftest import eventually

Runner = Callable[[Awaitable[None]], None]
TIMEOUT_S = 0.15


def rtu_frame(unit: int, function: int, registers: list[int]) -> bytes:
    """An RTU answer to a read."""
    body = bytes((unit, function, 2 * len(registers))) + b"".join(word.to_bytes(2, "big") for word in registers)
    return body + FramerRTU.compute_CRC(body).to_bytes(2, "big")


@dataclass
class Trickster:
    """An RTU-over-TCP device that answers request n with what ``script`` says: (delay in s, bytes).

    ``{address}`` of a request is answered by registers that name it, so that a wrong answer is seen as one.
    """

    script: list[tuple[float, str]]
    requests: list[tuple[int, float]] = field(default_factory=list)
    connections: list[float] = field(default_factory=list)
    port: int = 0

    async def start(self) -> asyncio.Server:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        return server

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections.append(asyncio.get_running_loop().time())
        tasks = []
        try:
            while request := await reader.readexactly(8):
                address, count = int.from_bytes(request[2:4], "big"), int.from_bytes(request[4:6], "big")
                self.requests.append((address, asyncio.get_running_loop().time()))
                delay_s, what = self.script.pop(0) if self.script else (0.0, "good")
                tasks.append(asyncio.create_task(self._answer(writer, delay_s, what, request, address, count)))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass

    async def _answer(
        self, writer: asyncio.StreamWriter, delay_s: float, what: str, request: bytes, address: int, count: int
    ) -> None:
        await asyncio.sleep(delay_s)
        unit, function = request[0], request[1]
        frames = {
            "good": rtu_frame(unit, function, [address] * count),
            "short": rtu_frame(unit, function, [address] * (count - 1)),
            "long": rtu_frame(unit, function, [address] * (count + 1)),
            "foreign": rtu_frame(unit + 1, function, [address] * count),
            "garbage": b"\x00\xff\x13" * 7,
            "half": rtu_frame(unit, function, [address] * count)[:-3],
            "bad crc": rtu_frame(unit, function, [address] * count)[:-1] + b"\x00",
            "nothing": b"",
        }
        try:
            writer.write(frames[what])
            await writer.drain()
        except ConnectionError:
            pass


@pytest.mark.parametrize("what", ["good", "short", "long", "foreign", "garbage", "half", "bad crc", "nothing"])
@pytest.mark.parametrize("delay_s", [0.0, TIMEOUT_S * 1.2, TIMEOUT_S * 2])
def test_no_wrong_or_late_answer_becomes_a_value_and_the_bus_heals(run: Runner, what: str, delay_s: float) -> None:
    async def story() -> None:
        slow = (TIMEOUT_S * 0.5, "good")  # so that a late answer comes before the right one
        trickster = Trickster([(delay_s, what), slow, slow, slow])
        server = await trickster.start()
        bus = ModbusBus("127.0.0.1", trickster.port, "rtu-over-tcp", TIMEOUT_S)
        answers: list[list[int] | None] = []
        for address, count in ((100, 4), (200, 4), (300, 6), (400, 2)):
            try:
                answers.append(await bus.read(1, 3, address, count))
            except RemoteBusError:
                answers.append(None)
        truth: list[list[int]] = [[100] * 4, [200] * 4, [300] * 6, [400] * 2]
        assert all(got in (None, true) for got, true in zip(answers, truth, strict=True))
        assert answers[1:] == truth[1:], "after one bad answer the bus heals at once"
        assert (answers[0] == truth[0]) == (what == "good" and delay_s == 0.0)
        bus.close()
        server.close()

    run(story())


def test_after_a_timeout_the_bus_is_silent_for_longer_than_a_timeout_and_connected_anew(run: Runner) -> None:
    async def story() -> None:
        trickster = Trickster([(0.0, "nothing")])
        server = await trickster.start()
        bus = ModbusBus("127.0.0.1", trickster.port, "rtu-over-tcp", TIMEOUT_S)
        with pytest.raises(RemoteBusError):
            await bus.read(1, 3, 100, 2)
        gave_up_s = asyncio.get_running_loop().time()
        assert await bus.read(1, 3, 200, 2) == [200, 200]
        assert len(trickster.connections) == 2
        assert trickster.requests[1][1] - gave_up_s >= TIMEOUT_S
        bus.close()
        server.close()

    run(story())


def values() -> dict[str, int]:
    """What the simulated meters show."""
    return {
        "import_wh": 1_234_000,
        "export_wh": 56_000,
        "power_w": 2_000,
        "voltage_l1_mv": 230_000,
        "frequency_mhz": 50_000,
    }


@dataclass
class Listener:
    """Collects what a bus task says."""

    samples: list[Sample] = field(default_factory=list)
    results: list[WriteResult] = field(default_factory=list)

    def of(self, device: str) -> list[Sample]:
        """The good samples of a device."""
        return [sample for sample in self.samples if sample.device == device and sample.values is not None]


@pytest.mark.parametrize("fault", ["truncate", "cut_bytes", "delay_ms", "silent", "busy"])
@pytest.mark.parametrize("link", ["tcp", "rtu-over-tcp"])
def test_a_faulty_meter_gives_faults_and_no_values_and_is_read_again_afterwards(
    run: Runner, fault: str, link: str
) -> None:
    async def story() -> None:
        meter = MeterServer("eastron_sdm630", values, framing="rtu-over-tcp" if link == "rtu-over-tcp" else "tcp")
        await meter.start()
        config = MeterConfig(0, "main", "eastron_sdm630", "127.0.0.1", meter.port, link=link)
        heard = Listener()
        bus = BusTask(
            [(config, load_profile("eastron_sdm630"))], SystemClock(), heard.samples.append, heard.results.append, 0.3
        )
        setattr(meter, fault, 400 if fault == "delay_ms" else 1)
        task = asyncio.create_task(bus.run())
        await eventually(lambda: len(heard.samples) >= 1)
        assert all(sample.values is None and sample.fault for sample in heard.samples)
        setattr(meter, fault, 0)
        await eventually(lambda: heard.of("main"))
        assert heard.of("main")[-1].values == values()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await meter.stop()

    run(story())


@pytest.mark.slow
def test_one_dead_unit_does_not_slow_its_neighbours(run: Runner) -> None:
    async def story() -> None:
        meter = MeterServer("eastron_sdm630", values, unit=1, framing="rtu-over-tcp")
        meter.add_unit("eastron_sdm630", values, unit=2)
        await meter.start()
        profile = load_profile("eastron_sdm630")
        units = [
            (MeterConfig(n, f"m{n}", "eastron_sdm630", "127.0.0.1", meter.port, n, link="rtu-over-tcp"), profile)
            for n in (1, 2, 3)
        ]
        heard = Listener()
        bus = BusTask(units, SystemClock(), heard.samples.append, heard.results.append)
        task = asyncio.create_task(bus.run())
        await asyncio.sleep(14)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await meter.stop()
        dead = [sample for sample in heard.samples if sample.device == "m3"]
        assert 1 <= len(dead) <= 5 and not heard.of("m3")
        assert len(heard.of("m1")) >= 9 and len(heard.of("m2")) >= 9

    run(story())


def test_a_set_point_is_written_enabled_and_read_back_on_a_sunspec_device_found_by_its_chain(run: Runner) -> None:
    async def story() -> None:
        taken: list[tuple[str, int]] = []
        shown = {"power_w": 0, "max_power_w": 5_000, "import_wh": 100, "export_wh": 100, "soc_permille": 500}
        battery = MeterServer("sunspec_battery", lambda: shown, lambda name, value: taken.append((name, value)))
        await battery.start()
        config = MeterConfig(3, "store", "sunspec_battery", "127.0.0.1", battery.port, role="battery")
        heard = Listener()
        bus = BusTask(
            [(config, load_profile("sunspec_battery"))], SystemClock(), heard.samples.append, heard.results.append
        )
        task = asyncio.create_task(bus.run())
        bus.write(WriteDevice("store", "power_setpoint_w", -1_500, 30, 7))
        await eventually(lambda: heard.results)
        assert heard.results[0] == WriteResult(7, "store", -1_500, None)
        assert taken == [("power_setpoint_w", -1_500)]
        bus.write(WriteDevice("store", "power_setpoint_w", None, None, 0))
        await eventually(lambda: len(taken) == 2)
        assert taken[1] == ("power_setpoint_w", 0), "released: the device follows its own logic again"
        await eventually(lambda: heard.of("store"))
        assert heard.of("store")[0].values == shown
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await battery.stop()

    run(story())


def test_a_dead_agent_leaves_the_device_to_its_own_watchdog(run: Runner) -> None:
    async def story() -> None:
        taken: list[tuple[str, int]] = []
        battery = MeterServer(
            "sunspec_battery", lambda: {"power_w": 0}, lambda name, value: taken.append((name, value))
        )
        await battery.start()
        config = MeterConfig(3, "store", "sunspec_battery", "127.0.0.1", battery.port, role="battery")
        heard = Listener()
        bus = BusTask(
            [(config, load_profile("sunspec_battery"))], SystemClock(), heard.samples.append, heard.results.append
        )
        task = asyncio.create_task(bus.run())
        bus.write(WriteDevice("store", "power_setpoint_w", 800, 1, 7))
        await eventually(lambda: heard.results)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await eventually(lambda: taken == [("power_setpoint_w", 800), ("power_setpoint_w", 0)])
        await battery.stop()

    run(story())


def test_a_write_to_a_silent_device_comes_back_as_a_fault_within_two_seconds(run: Runner) -> None:
    async def story() -> None:
        battery = MeterServer("sunspec_battery", lambda: {"power_w": 0}, silent=True)
        await battery.start()
        config = MeterConfig(3, "store", "sunspec_battery", "127.0.0.1", battery.port, poll_s=900, role="battery")
        heard = Listener()
        bus = BusTask(
            [(config, load_profile("sunspec_battery"))], SystemClock(), heard.samples.append, heard.results.append
        )
        task = asyncio.create_task(bus.run())
        begun_s = asyncio.get_running_loop().time()
        bus.write(WriteDevice("store", "power_setpoint_w", 800, 60, 7))
        await eventually(lambda: heard.results)
        assert heard.results[0].fault is not None and heard.results[0].read_back is None
        assert asyncio.get_running_loop().time() - begun_s < 2.5
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await battery.stop()

    run(story())
