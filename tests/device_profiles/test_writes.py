"""Set-points of every shipped profile: bounds, order, both directions, watchdog, read-back, and giving up."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymodbus.client import AsyncModbusTcpClient

from device_profiles.codec import LocalCodecError, decode, encode
from device_profiles.measurement import measurement
from device_profiles.profile import Profile, RegisterImage, WritePoint, list_profiles, load_profile
from device_profiles.read_plan import plan
from device_profiles.sunspec import layout, resolve
from device_profiles.write_codec import decode_write, encode_release, encode_write, watchdog_seconds, write_active
from simulators.live.modbus import MeterServer

WRITING = [name for name in list_profiles() if load_profile(name).writes]


def placed(name: str) -> Profile:
    profile = load_profile(name)
    return profile if profile.resolved else resolve(profile, layout(profile))


def step_of(write: WritePoint, image: RegisterImage) -> int:
    """The coarsest our unit gets in the register: half of it may be lost."""
    if write.of is not None:
        return 20
    return max(1, -(-write.scale[0] // write.scale[1]))


@pytest.mark.parametrize("name", WRITING)
def test_every_set_point_says_what_it_needs_to_be_safe(name: str) -> None:
    profile = load_profile(name)
    for write in profile.writes:
        known = measurement(write.name)
        assert known.minimum <= write.minimum < write.maximum <= known.maximum
        assert write.read_back in profile.measurements
        assert write.watchdog is None or write.watchdog.seconds <= 60
        assert write.watchdog is None or write.fallback is not None
        if write.name == "power_limit_permille":
            assert "max_power_w" in profile.measurements, "nobody knows what the permille are of"
        assert write.storage == "volatile" or write.watchdog is None, "a watchdog's rewriting would wear flash out"


@pytest.mark.parametrize("name", WRITING)
@settings(max_examples=25, deadline=None)
@given(part=st.floats(0, 1), seconds=st.integers(1, 60))
def test_what_is_written_is_read_back_and_given_up(name: str, part: float, seconds: int) -> None:
    here = placed(name)
    for write in here.writes:
        value = round(write.minimum + part * (write.maximum - write.minimum))
        image = encode(here, {k: v for k, v in here.example.values.items() if k in here.measurements})
        if write.of is not None:
            value = max(-10_000, min(10_000, value))  # of 10,240 W: more than all of it is not to be had
        dog = None if write.watchdog is None else min(max(seconds, write.watchdog.least_s), write.watchdog.seconds)
        for address, words in encode_write(here, write.name, value, image, dog):
            image.put(3, address, words)
        if write.shown is not None:
            plain = replace(here, writes=(replace(write, shown=None),))
        else:
            plain = here
            assert write_active(here, write.name, image) is True
        held = decode_write(plain, write.name, image)
        assert held is not None and 2 * abs(held - value) <= step_of(write, image) + 1
        if dog is not None and write.watchdog is not None:
            assert dog <= (watchdog_seconds(here, write.name, image) or 0) < dog + max(write.watchdog.step_s, 60)
        released = encode_release(here, write.name)
        for address, words in released:
            image.put(3, address, words)
        if write.enable:
            assert write_active(here, write.name, image) is False
        else:
            assert write.fallback is not None or write.shown or write.storage == "flash"


@pytest.mark.parametrize("name", WRITING)
def test_values_beyond_the_bounds_are_refused(name: str) -> None:
    here = placed(name)
    image = encode(here, here.example.values)
    for write in here.writes:
        for value in (write.minimum - 1, write.maximum + 1):
            with pytest.raises(LocalCodecError, match="outside"):
                encode_write(here, write.name, value, image)


def test_huawei_charges_and_discharges_by_different_registers_for_whole_minutes() -> None:
    here = load_profile("huawei_luna2000")
    assert encode_write(here, "power_setpoint_w", 2500, watchdog_s=20) == [
        (47246, [0]), (47247, [0, 2500]), (47083, [1]), (47100, [1]),
    ]  # fmt: skip
    assert encode_write(here, "power_setpoint_w", -2500) == [
        (47246, [0]), (47249, [0, 2500]), (47083, [1]), (47100, [2]),
    ]  # fmt: skip
    assert encode_release(here, "power_setpoint_w") == [(47100, [0])]


def test_after_a_turn_the_direction_in_force_is_read_back_and_not_the_one_left_over() -> None:
    here = load_profile("huawei_luna2000")
    image = RegisterImage()
    for value in (2500, -1200, 800):
        for address, words in encode_write(here, "power_setpoint_w", value):
            image.put(3, address, words)
        assert decode_write(here, "power_setpoint_w", image) == value


def test_sma_closes_the_other_direction_first_and_opens_both_when_given_up() -> None:
    here = load_profile("sma_battery")
    order = [address for address, _ in encode_write(here, "power_setpoint_w", -1500)]
    assert order == [40793, 40799, 40795, 40797, 40236]
    released = dict(encode_release(here, "power_setpoint_w"))
    assert released[40236] == [0, 2424] and released[40799] == [0, 30_000] and released[40795] == [0, 30_000]
    assert released[40793] == [0, 0], "no least charge is left behind"


def test_fronius_takes_percent_of_what_the_battery_can_and_forces_charging_by_a_negative_least_discharge() -> None:
    here = placed("fronius_gen24_battery")
    image = encode(here, here.example.values)  # WChaMax 10,240 W, scale factor -2
    write = here.write("power_setpoint_w")
    requests = dict(encode_write(here, write.name, 2560, image))
    assert requests[write.address] == [0x10000 - 2500] and requests[write.enable[0].address] == [2]
    below = write.below_zero
    assert below is not None
    requests = dict(encode_write(here, write.name, -5120, image))
    assert requests[below.address] == [0x10000 - 5000] and requests[below.enable[0].address] == [1]
    share = write.of
    assert share is not None
    with pytest.raises(LocalCodecError, match="was not read"):
        encode_write(here, write.name, 1, {k: v for k, v in image.items() if k != (3, share.address)})
    for nothing in (0, 0xFFFF + 1):
        with pytest.raises(LocalCodecError, match="was not read"):
            encode_write(here, write.name, 1, image | {(3, share.address): nothing & 0xFFFF})


def test_a_set_point_that_cannot_be_read_is_read_back_from_where_it_shows() -> None:
    here = load_profile("keba_p30")
    write = here.write("power_setpoint_w")
    assert write.spans == ((3, 1100, 2),)
    assert plan([write], here.bus, "tcp").requests[0].address == 1100
    image = RegisterImage()
    image.put(3, 1100, [0, 16_000])
    assert decode_write(here, write.name, image) == 11_040
    assert decode_write(here, write.name, {}) is None


def test_a_time_the_device_cannot_count_becomes_the_next_it_can() -> None:
    keba, huawei = load_profile("keba_p30"), load_profile("huawei_luna2000")
    for asked, told in ((1, 10), (10, 10), (11, 11), (60, 60)):
        assert dict(encode_write(keba, "power_setpoint_w", 6900, watchdog_s=asked))[5018] == [told]
        assert dict(encode_write(huawei, "power_setpoint_w", 6900, watchdog_s=asked))[47083] == [1]


def test_growatt_limits_go_to_memory_only_after_register_2_says_so() -> None:
    here = load_profile("growatt_tlx")
    assert encode_write(here, "power_limit_permille", 600) == [(2, [0]), (3, [60])]


def test_solaredge_limits_are_floats_with_the_low_word_first_beside_the_models() -> None:
    here = placed("solaredge_inverter")
    assert encode_write(here, "power_limit_permille", 700, watchdog_s=30) == [
        (0xF300, [1]), (0xF322, [0x0000, 0x428C]), (0xF310, [30, 0]),
    ]  # fmt: skip
    assert decode(here, encode(here, {"max_power_w": 10_000, "power_w": -5})) == {"max_power_w": 10_000, "power_w": -5}


def test_the_time_of_a_watchdog_without_a_register_is_bounded_too() -> None:
    here = load_profile("victron_multiplus")
    assert encode_write(here, "power_setpoint_w", -900, watchdog_s=30) == [(37, [0x10000 - 900])]
    assert watchdog_seconds(here, "power_setpoint_w", {}) == 60
    with pytest.raises(LocalCodecError, match="watchdog of 61 s"):
        encode_write(here, "power_setpoint_w", 1, watchdog_s=61)
    with pytest.raises(LocalCodecError, match="no watchdog"):
        encode_write(load_profile("growatt_tlx"), "power_limit_permille", 1, watchdog_s=5)


async def fetch(client: AsyncModbusTcpClient, here: Profile, unit: int) -> RegisterImage:
    image = RegisterImage()
    for request in plan(here.writes, here.bus, "tcp").requests:
        answer = await client.read_holding_registers(request.address, count=request.count, device_id=unit)
        assert not answer.isError(), request
        image.put(3, request.address, answer.registers)
    return image


@pytest.mark.parametrize("name", WRITING)
def test_every_set_point_reaches_its_simulated_device_and_is_taken_back_when_nobody_repeats_it(name: str) -> None:
    """The watchdog is shortened to a second, or to its shortest count."""

    async def story() -> None:
        profile = load_profile(name)
        loaded = profile.writes[0]
        if loaded.watchdog is not None and loaded.watchdog.address is None:
            write = replace(loaded, watchdog=replace(loaded.watchdog, seconds=1))
            profile = replace(profile, writes=(write, *profile.writes[1:]))
        taken: list[tuple[str, int]] = []
        values = dict(profile.example.values)
        server = MeterServer(profile, lambda: values, lambda n, v: taken.append((n, v)), unit=1)
        await server.start()
        client = AsyncModbusTcpClient(server.host, port=server.port, timeout=1, retries=0)
        assert await client.connect()
        try:
            here = profile if profile.resolved else resolve(profile, layout(profile))
            write = here.writes[0]
            for value in [700, -700] if write.minimum < 0 else [700]:
                scales = await fetch(client, here, 1)
                dog = None if write.watchdog is None else 1
                for address, words in encode_write(here, write.name, value, scales, dog):
                    assert not (await client.write_registers(address, words, device_id=1)).isError(), address
                held = decode_write(here, write.name, await fetch(client, here, 1))
                assert held is not None and abs(held - value) <= step_of(write, scales)
                assert [n for n, _ in taken] == [write.name] * len(taken) and abs(taken[-1][1] - value) <= 10
            if write.watchdog is not None and write.watchdog.step_s == write.watchdog.least_s == 1:
                for _ in range(60):
                    await asyncio.sleep(0.05)
                    if taken[-1][1] == write.fallback:
                        break
                assert taken[-1] == (write.name, write.fallback)
        finally:
            client.close()
            await server.stop()

    asyncio.run(story())
