"""The read-only server: other readers see the last poll's registers, and can neither write nor flood."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import pytest
from pymodbus.client import AsyncModbusTcpClient

from device_profiles.profile import load_profile
from edge_agent.config import MeterConfig, ProxyConfig
from edge_agent.effects import Counters
from edge_agent.shell.clock import SystemClock
from edge_agent.shell.modbus import BusTask
from edge_agent.shell.proxy import BURST_LIMIT, CLIENTS_LIMIT, Proxy
from simulators.live.modbus import MeterServer
from tests.edge_agent.conftest import eventually

Runner = Callable[[Awaitable[None]], None]


@dataclass
class Scene:
    """A meter, an agent's bus that reads it, and the proxy in front of it."""

    meter: MeterServer
    proxy: Proxy
    counters: Counters
    samples: list[object]
    tasks: list[asyncio.Task[None]]

    async def client(self) -> AsyncModbusTcpClient:
        """The reference's client, connected."""
        client = AsyncModbusTcpClient("127.0.0.1", port=self.proxy.port, timeout=1, retries=0)
        await client.connect()
        return client

    async def end(self) -> None:
        """Closes everything."""
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        await self.meter.stop()


class _At:
    """A clock that can be moved on."""

    speed = 1.0

    def __init__(self) -> None:
        self.real, self.ahead_ms = SystemClock(), 0

    def now_ms(self) -> int:
        return self.real.now_ms() + self.ahead_ms


async def scene(clock: _At | SystemClock | None = None) -> Scene:
    meter = MeterServer("eastron_sdm630", lambda: {"power_w": 1_500, "import_wh": 40_000, "export_wh": 7})
    await meter.start()
    samples: list[object] = []
    config = MeterConfig(4, "main", "eastron_sdm630", "127.0.0.1", meter.port)
    bus = BusTask([(config, load_profile("eastron_sdm630"))], SystemClock(), samples.append, samples.append)
    counters = Counters()
    proxy = Proxy(ProxyConfig(True, "127.0.0.1", 0), [bus], clock or SystemClock(), counters)  # type: ignore[arg-type]
    tasks = [asyncio.create_task(bus.run()), asyncio.create_task(proxy.run())]
    await eventually(lambda: samples and proxy.port)
    return Scene(meter, proxy, counters, samples, tasks)


def test_another_reader_gets_the_registers_of_the_last_poll_and_the_meter_is_asked_by_one_alone(run: Runner) -> None:
    async def story() -> None:
        s = await scene()
        client = await s.client()
        asked = s.meter.requests
        answers = [await client.read_input_registers(0x34, count=2, device_id=5) for _ in range(20)]
        assert all(answer.registers == [0x44BB, 0x8000] for answer in answers), "1500.0 as float32"
        assert s.meter.requests - asked <= 2 * 2, "no more than the polls of that second"
        assert s.counters["proxy_read"] == 20
        client.close()
        await s.end()

    run(story())


@pytest.mark.parametrize(
    ("call", "code"),
    [
        (lambda c: c.write_register(0x34, 1, device_id=5), 1),
        (lambda c: c.write_registers(0x34, [1, 2], device_id=5), 1),
        (lambda c: c.write_coil(0, True, device_id=5), 1),
        (lambda c: c.read_coils(0, count=1, device_id=5), 1),
        (lambda c: c.read_holding_registers(0x34, count=2, device_id=5), 2),
        (lambda c: c.read_input_registers(0x2000, count=2, device_id=5), 2),
        (lambda c: c.read_input_registers(0x34, count=2, device_id=1), 10),
    ],
)  # fmt: skip
def test_what_is_not_a_read_of_polled_registers_is_refused_by_its_exception(
    run: Runner, call: Callable[[AsyncModbusTcpClient], Awaitable[object]], code: int
) -> None:
    async def story() -> None:
        s = await scene()
        client = await s.client()
        answer = await call(client)
        assert answer.exception_code == code  # type: ignore[attr-defined]
        client.close()
        await s.end()

    run(story())


def test_old_registers_are_not_shown(run: Runner) -> None:
    async def story() -> None:
        clock = _At()
        s = await scene(clock)
        client = await s.client()
        clock.ahead_ms = 5_500
        answer = await client.read_input_registers(0x34, count=2, device_id=5)
        assert answer.exception_code == 11
        client.close()
        await s.end()

    run(story())


def test_a_flood_is_told_busy_and_a_ninth_client_is_turned_away_until_one_leaves(run: Runner) -> None:
    async def story() -> None:
        s = await scene()
        reader, writer = await asyncio.open_connection("127.0.0.1", s.proxy.port)
        ask = bytes.fromhex("0001 0000 0006 05 04 0034 0002")
        writer.write(ask * (BURST_LIMIT + 30))
        codes = []
        for _ in range(BURST_LIMIT + 30):
            head = await reader.readexactly(6)
            body = await reader.readexactly(head[5])
            codes.append(body[2] if body[1] & 0x80 else 0)
        assert codes[:BURST_LIMIT] == [0] * BURST_LIMIT and codes[-20:] == [6] * 20
        others = [await asyncio.open_connection("127.0.0.1", s.proxy.port) for _ in range(CLIENTS_LIMIT)]
        assert await others[-1][0].read(1) == b"", "closed at once"
        writer.close()
        await writer.wait_closed()
        await asyncio.sleep(0.05)
        again_reader, again = await asyncio.open_connection("127.0.0.1", s.proxy.port)
        again.write(ask)
        assert len(await again_reader.readexactly(13)) == 13
        for _, other in [*others, (None, again)]:
            other.close()
        await s.end()

    run(story())


@pytest.mark.parametrize("octets", [b"GET / HTTP/1.1\r\n\r\n", b"\0\1\0\0\0\1\5", b"\0\1\0\0\xff\xff\5\4", b"\0" * 5])
def test_who_speaks_no_modbus_is_cut_off_or_waited_for_and_others_go_on(run: Runner, octets: bytes) -> None:
    async def story() -> None:
        s = await scene()
        reader, writer = await asyncio.open_connection("127.0.0.1", s.proxy.port)
        writer.write(octets)
        if len(octets) > 5:
            with contextlib.suppress(ConnectionResetError):
                assert await reader.read(10) == b""
        client = await s.client()
        assert not (await client.read_input_registers(0x34, count=2, device_id=5)).isError()
        client.close()
        writer.close()
        await s.end()

    run(story())
