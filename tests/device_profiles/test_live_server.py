"""Every profile's simulated device, read by a real client over a real socket through planner and codec."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from pymodbus import FramerType
from pymodbus.client import AsyncModbusTcpClient
from pymodbus.exceptions import ModbusIOException

from device_profiles import measurement
from device_profiles.codec import decode, decode_texts, probe_matches
from device_profiles.profile import Profile, RegisterImage, Span, list_profiles, load_profile
from device_profiles.read_plan import Readable, plan
from device_profiles.sunspec import resolve, walk
from device_profiles.write_codec import decode_write, encode_release, encode_write, write_active
from simulators.live.modbus import Framing, MeterServer


@dataclass(frozen=True)
class Told:
    """Registers to read that are no point."""

    spans: tuple[Span, ...]


async def connected(server: MeterServer, framing: Framing = "tcp", timeout_s: float = 1.0) -> AsyncModbusTcpClient:
    framer = FramerType.RTU if framing == "rtu-over-tcp" else FramerType.SOCKET
    client = AsyncModbusTcpClient(server.host, port=server.port, framer=framer, timeout=timeout_s, retries=0)
    assert await client.connect()
    return client


async def block(client: AsyncModbusTcpClient, function: int, address: int, count: int, unit: int) -> list[int] | int:
    """Words, or the exception code."""
    call = client.read_holding_registers if function == 3 else client.read_input_registers
    answer = await call(address, count=count, device_id=unit)
    return answer.exception_code if answer.isError() else list(answer.registers)


async def placed(client: AsyncModbusTcpClient, profile: Profile, unit: int = 1) -> Profile:
    """The profile with addresses, found by walking the model chain on the wire where it is a SunSpec one."""
    if profile.sunspec is None:
        return profile
    steps = walk(profile.sunspec.bases)
    address, count = next(steps)
    while True:
        words = await block(client, 3, address, count, unit)
        try:
            address, count = steps.send(None if isinstance(words, int) else words)
        except StopIteration as stop:
            return resolve(profile, stop.value)


async def fetched(
    client: AsyncModbusTcpClient, profile: Profile, parts: Sequence[Readable], unit: int = 1
) -> RegisterImage:
    image = RegisterImage()
    for request in plan(parts, profile.bus, "tcp").requests:
        words = await block(client, request.function, request.address, request.count, unit)
        assert isinstance(words, list) and len(words) == request.count
        image.put(request.function, request.address, words)
    return image


@pytest.mark.parametrize("framing", ["tcp", "rtu-over-tcp"])
@pytest.mark.parametrize("name", list_profiles())
def test_a_client_reads_exactly_the_integers_put_in(name: str, framing: Framing) -> None:
    async def scenario() -> None:
        profile = load_profile(name)
        values = dict(profile.example.values)
        server = MeterServer(profile, lambda: values, framing=framing, unit=7)
        await server.start()
        client = await connected(server, framing)
        try:
            here = await placed(client, profile, unit=7)
            image = await fetched(client, here, [*here.points, *here.texts], unit=7)
            assert decode(here, image) == values
            image = await fetched(client, here, [Told(here.probe_spans)], unit=7)
            assert probe_matches(here, image)
            image = await fetched(client, here, here.texts, unit=7)
            own = {"manufacturer": profile.vendor, "model": profile.model}
            assert {name: text for name, text in decode_texts(here, image).items() if name not in own} == {}
            for text in here.texts:
                if text.name in own:
                    width = text.count * text.characters
                    assert decode_texts(here, image)[text.name] == own[text.name][:width].strip()
            # The source moves, the next poll sees it: nothing is cached on the way.
            values["power_w"] += 10 if values["power_w"] > 0 else -10
            again = decode(here, await fetched(client, here, here.points_of("fast"), unit=7))
            assert again["power_w"] == values["power_w"]
        finally:
            client.close()
            await server.stop()

    asyncio.run(scenario())


@pytest.mark.parametrize("name", list_profiles())
def test_a_value_the_source_lacks_is_absent_where_the_device_can_say_so(name: str) -> None:
    async def scenario() -> None:
        profile = load_profile(name)
        # What can only produce has no way to say that it takes.
        power_w = -500 if profile.kind == "inverter" else 500
        server = MeterServer(profile, lambda: {"power_w": power_w})
        await server.start()
        client = await connected(server)
        try:
            here = await placed(client, profile, profile.bus.unit)
            found = decode(here, await fetched(client, here, here.points, profile.bus.unit))
            assert found["power_w"] == power_w
            mute = {p.measurement for p in here.points if not p.absent and not p.type.startswith("float")}
            assert all(found[n] == 0 for n in mute - {"power_w"})
            assert set(found) == mute | {"power_w"}
        finally:
            client.close()
            await server.stop()

    asyncio.run(scenario())


def test_registers_outside_the_map_answer_illegal_address() -> None:
    async def scenario() -> None:
        server = MeterServer("eastron_sdm630", lambda: {"power_w": 1})
        await server.start()
        client = await connected(server)
        try:
            assert await block(client, 4, 0x4C, 2, 1) == 2
            assert await block(client, 4, 0x4A, 4, 1) == 2
            assert await block(client, 3, 0x34, 2, 1) == 2
            assert (await client.write_register(0x34, 1, device_id=1)).exception_code == 2
            assert (await client.read_coils(0x34, count=1, device_id=1)).exception_code in (1, 2)
            assert isinstance(await block(client, 4, 0x34, 2, 1), list)
        finally:
            client.close()
            await server.stop()

    asyncio.run(scenario())


def test_several_units_share_one_bus_and_a_missing_one_is_silent() -> None:
    async def scenario() -> None:
        server = MeterServer("eastron_sdm630", lambda: {"power_w": 100}, unit=1, framing="rtu-over-tcp")
        server.add_unit("carlo_gavazzi_em24", lambda: {"power_w": -200}, unit=2)
        await server.start()
        client = await connected(server, "rtu-over-tcp", timeout_s=0.2)
        try:
            for unit, name, power_w in ((1, "eastron_sdm630", 100), (2, "carlo_gavazzi_em24", -200)):
                profile = load_profile(name)
                image = await fetched(client, profile, profile.points_of("fast"), unit)
                assert decode(profile, image) == {"power_w": power_w}
            with pytest.raises(ModbusIOException):
                await block(client, 4, 0, 2, 3)
            assert server.requests == 2
        finally:
            client.close()
            await server.stop()

    asyncio.run(scenario())


def test_a_value_too_large_for_the_registers_is_a_device_failure_not_a_wrong_value() -> None:
    async def scenario() -> None:
        server = MeterServer("carlo_gavazzi_em24", lambda: {"frequency_mhz": 50_000_000})
        await server.start()
        client = await connected(server)
        try:
            assert await block(client, 4, 0x37, 1, 1) == 4
            assert "does not fit" in server.last_failure
        finally:
            client.close()
            await server.stop()

    asyncio.run(scenario())


@pytest.mark.parametrize("framing", ["tcp", "rtu-over-tcp"])
def test_faults_are_seen_by_the_client(framing: Framing) -> None:
    async def scenario() -> None:
        server = MeterServer("eastron_sdm120", lambda: {"power_w": 100}, framing=framing, truncate=1)
        await server.start()

        async def once(timeout_s: float = 0.2) -> list[int] | int:
            client = await connected(server, framing, timeout_s)
            try:
                return await block(client, 4, 0x0C, 2, 1)
            finally:
                client.close()

        try:
            short = await once()
            assert isinstance(short, list) and len(short) == 1
            server.truncate, server.busy = 0, True
            assert await once() == 6
            server.busy = False
            for fault, amount in (("silent", True), ("cut_bytes", 2), ("delay_ms", 400)):
                setattr(server, fault, amount)
                with pytest.raises(ModbusIOException):
                    await once()
                setattr(server, fault, type(amount)(0))
            server.delay_ms = 60
            before_s = time.monotonic()
            assert isinstance(await once(), list)
            assert time.monotonic() - before_s >= 0.06
        finally:
            await server.stop()

    asyncio.run(scenario())


async def send(client: AsyncModbusTcpClient, requests: list[tuple[int, list[int]]]) -> list[int]:
    """Exception codes, 0 for success."""
    return [(await client.write_registers(a, w, device_id=1)).exception_code for a, w in requests]


@pytest.mark.parametrize(
    ("name", "set_point", "value"),
    [
        ("sunspec_103", "power_limit_permille", 655),
        ("sunspec_battery", "power_setpoint_w", -1500),
        (str(Path(measurement.__file__).parent / "blueprint.toml"), "power_limit_w", 4320),
    ],
)
def test_a_set_point_reaches_the_device_and_its_watchdog_ends_it(name: str, set_point: str, value: int) -> None:
    async def scenario() -> None:
        taken: list[tuple[str, int]] = []
        profile = load_profile(name)
        server = MeterServer(profile, lambda: dict(profile.example.values), lambda n, v: taken.append((n, v)))
        await server.start()
        client = await connected(server)
        try:
            here = await placed(client, profile)
            before = await fetched(client, here, here.writes)
            assert write_active(here, set_point, before) is False
            requests = encode_write(here, set_point, value, before, watchdog_s=1)
            assert await send(client, requests[:-1]) == [0] * (len(requests) - 1)
            assert taken == []
            assert await send(client, requests[-1:]) == [0]
            assert taken == [(set_point, value)]
            after = await fetched(client, here, here.writes)
            assert decode_write(here, set_point, after) == value
            assert write_active(here, set_point, after) is True
            # Rewritten before the second is over, it holds; then silence lets the device fall back.
            await asyncio.sleep(0.6)
            assert await send(client, requests) == [0] * len(requests)
            await asyncio.sleep(0.6)
            assert taken == [(set_point, value)]
            await asyncio.sleep(0.6)
            fallback = here.write(set_point).fallback
            assert fallback is not None
            assert taken == [(set_point, value), (set_point, fallback)]
            assert write_active(here, set_point, await fetched(client, here, here.writes)) is False
            # Given up on purpose.
            await send(client, encode_write(here, set_point, value, after))
            await send(client, encode_release(here, set_point))
            assert taken[2:] == [(set_point, value), (set_point, fallback)]
        finally:
            client.close()
            await server.stop()

    asyncio.run(scenario())


def test_a_set_point_out_of_bounds_is_refused_by_the_device_and_changes_nothing() -> None:
    async def scenario() -> None:
        taken: list[tuple[str, int]] = []
        profile = load_profile("sunspec_103")
        server = MeterServer(profile, lambda: dict(profile.example.values), lambda n, v: taken.append((n, v)))
        await server.start()
        client = await connected(server)
        try:
            here = await placed(client, profile)
            write = here.write("power_limit_permille")
            good = encode_write(here, write.name, 500, await fetched(client, here, here.writes))
            assert await send(client, good) == [0] * len(good)
            assert await send(client, [(write.address, [2000])]) == [3]
            held = await fetched(client, here, here.writes)
            assert decode_write(here, write.name, held) == 500
            assert taken == [(write.name, 500)]
        finally:
            client.close()
            await server.stop()

    asyncio.run(scenario())


def test_a_taken_port_is_an_error_and_stop_frees_it() -> None:
    async def scenario() -> None:
        first = MeterServer("eastron_sdm120", dict)
        await first.start()
        port = first.port
        second = MeterServer("eastron_sdm120", dict, port=port)
        with pytest.raises(OSError, match="cannot listen"):
            await second.start()
        await first.stop()
        await first.stop()
        await second.start()
        assert second.port == port
        await second.stop()

    asyncio.run(scenario())


async def second_of_twelve_servers_s() -> float:
    """Processor time of 120 polls, client, planner and codec included: a second of twelve meters at ten a second."""
    names = [n for n in list_profiles() if load_profile(n).sunspec is None and load_profile(n).kind == "meter"]
    values = dict.fromkeys(measurement.MEASUREMENTS, 1000) | {"frequency_mhz": 50_000}
    servers = [MeterServer(names[i % len(names)], lambda: values, unit=1) for i in range(12)]
    for server in servers:
        await server.start()
    clients = [await connected(server) for server in servers]
    profiles = [load_profile(names[i % len(names)]) for i in range(12)]
    start_s = time.process_time()
    for _ in range(10):
        for client, profile in zip(clients, profiles, strict=True):
            image = await fetched(client, profile, profile.points)
            assert decode(profile, image)["power_w"] == 1000
    used_s = time.process_time() - start_s
    for client in clients:
        client.close()
    for server in servers:
        await server.stop()
    return used_s


def test_twelve_servers_answer_side_by_side_with_their_own_values() -> None:
    assert asyncio.run(second_of_twelve_servers_s()) > 0
