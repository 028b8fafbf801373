"""Model chains, whole and broken, and the writes whose order keeps a dead agent harmless."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device_profiles.codec import LocalCodecError, decode, encode
from device_profiles.profile import Profile, RegisterImage, load_profile
from device_profiles.sunspec import (
    FoundModel,
    RemoteSunSpecError,
    WalkFault,
    chain_words,
    layout,
    resolve,
    walk,
    walk_image,
)
from device_profiles.write_codec import decode_write, encode_release, encode_write, write_active

INVERTER = load_profile("sunspec_103")
BATTERY = load_profile("sunspec_battery")


def placed(profile: Profile) -> Profile:
    return resolve(profile, layout(profile))


def chain(base: int, models: list[tuple[int, int]], end: bool = True) -> RegisterImage:
    image = RegisterImage()
    image.put(3, base, (0x5375, 0x6E53))
    address = base + 2
    for number, length in models:
        image.put(3, address, [number, length] + [0] * length)
        address += 2 + length
    if end:
        image.put(3, address, (0xFFFF, 0))
    return image


@settings(max_examples=60)
@given(
    st.sampled_from([40000, 50000, 0]),
    st.lists(st.tuples(st.integers(1, 0xFFFE), st.integers(0, 200)), max_size=20),
)
def test_the_walk_finds_every_model_known_or_not_at_every_base(base: int, models: list[tuple[int, int]]) -> None:
    found = walk_image(chain(base, models))
    assert [(m.id, m.length) for m in found] == models
    address = base + 2
    for model in found:
        assert model.address == address
        address += 2 + model.length


@pytest.mark.parametrize(
    ("image", "fault", "found"),
    [
        (RegisterImage(), WalkFault.NO_MAP, 0),
        (chain(40000, [(1, 66)], end=False), WalkFault.UNREADABLE, 1),
        (chain(40000, [(1, 66), (0, 0)]), WalkFault.NOT_A_MODEL, 1),
        (chain(40000, [(77, 0)] * 65), WalkFault.TOO_LONG, 64),
        (chain(40000, [(1, 66), (2, 0xFFFF)], end=False), WalkFault.OUT_OF_SPACE, 2),
    ],
)
def test_a_broken_chain_has_a_name_and_keeps_what_was_found(image: RegisterImage, fault: WalkFault, found: int) -> None:
    with pytest.raises(RemoteSunSpecError) as broken:
        walk_image(image)
    assert broken.value.fault is fault
    assert len(broken.value.found) == found


def test_a_header_of_the_wrong_length_is_refused() -> None:
    steps = walk()
    next(steps)
    assert steps.send((0x5375, 0x6E53)) == (40002, 2)
    with pytest.raises(RemoteSunSpecError) as broken:
        steps.send([1])
    assert broken.value.fault is WalkFault.WRONG_LENGTH


@settings(max_examples=100)
@given(st.lists(st.none() | st.lists(st.integers(0, 0xFFFF), max_size=3), min_size=80, max_size=80))
def test_no_answer_whatever_makes_the_walk_endless_or_raises_anything_else(answers: list[list[int] | None]) -> None:
    steps = walk()
    next(steps)
    try:
        for answer in [[0x5375, 0x6E53], *answers]:
            address, count = steps.send(answer)
            assert 0 <= address <= 0xFFFE and count == 2
    except (StopIteration, RemoteSunSpecError):
        return
    raise AssertionError("still walking after 80 answers")


def test_points_move_with_the_models_and_models_the_device_lacks_are_absent() -> None:
    # An unknown model in front, nameplate and status missing, single phase.
    found = walk_image(chain(0, [(1, 66), (64_001, 10), (101, 50), (121, 30)]))
    here = resolve(INVERTER, found)
    power = here.point("power_w")
    assert (power.address, power.scale_register) == (2 + 68 + 12 + 14, 2 + 68 + 12 + 15)
    assert here.measurements >= {"power_w", "max_power_w"}
    assert not here.measurements & {"rated_power_w", "available_power_w"}
    assert here.writes == ()
    assert here.resolved and not INVERTER.resolved


def test_the_float_models_are_read_as_floats() -> None:
    here = resolve(INVERTER, (FoundModel(113, 40002, 60),))
    point = here.point("power_w")
    assert (point.type, point.address, point.scale_register) == ("float32", 40024, None)
    assert decode(here, encode(here, {"power_w": -4321, "frequency_mhz": 49_970})) == {
        "power_w": -4321,
        "frequency_mhz": 49_970,
    }


def test_a_model_shorter_than_its_table_loses_only_what_it_lacks() -> None:
    here = resolve(BATTERY, (FoundModel(701, 40002, 120), FoundModel(713, 40124, 3)))
    # The scale factors from offset 122 on and those of 713 are outside.
    assert "power_w" in here.measurements
    assert not here.measurements & {"temperature_mc", "soc_permille", "status"}


def test_the_second_of_two_equal_models_can_be_asked_for() -> None:
    two = (FoundModel(103, 40002, 50), FoundModel(103, 40054, 50))
    assert resolve(INVERTER, two, instance=1).point("power_w").address == 40054 + 14
    with pytest.raises(ValueError, match="none of the models"):
        resolve(INVERTER, two, instance=2)


def test_a_meter_behind_an_inverter_shows_its_own_serial_number() -> None:
    profile = load_profile("solaredge_meter")
    found = layout(profile)
    here = resolve(profile, found)
    assert [m.id for m in found] == [1, 103, 1, 203]
    serial = next(t for t in here.texts if t.name == "serial")
    assert serial.address == found[2].address + 50


def test_only_sunspec_profiles_are_resolved() -> None:
    meter = load_profile("eastron_sdm630")
    with pytest.raises(ValueError, match="not a SunSpec"):
        resolve(meter, ())
    with pytest.raises(LocalCodecError, match="not found yet"):
        decode(INVERTER, {})


def test_an_empty_device_has_no_values_at_all() -> None:
    for profile in (INVERTER, BATTERY):
        here = placed(profile)
        empty = chain_words(layout(profile))
        assert decode(here, empty) == {}
        assert walk_image(empty) == layout(profile)


def test_generation_is_negative_and_charging_positive() -> None:
    for profile in (INVERTER, BATTERY):
        here = placed(profile)
        image = encode(here, {"power_w": -3000})
        point = here.point("power_w")
        assert image[3, point.address] == 3000


def test_a_power_beyond_int16_raises_the_scale_factor_instead_of_failing() -> None:
    here = placed(INVERTER)
    image = encode(here, {"power_w": -50_000})
    register = here.point("power_w").scale_register
    assert register is not None
    assert image[3, register] == 1
    assert decode(here, image) == {"power_w": -50_000}


def test_an_accumulator_of_zero_is_not_accumulated() -> None:
    here = placed(INVERTER)
    assert decode(here, encode(here, {"export_wh": 0})) == {}
    assert here.point("export_wh").modulus == 2**32
    assert here.point("export_wh").counter


def test_value_and_timer_are_written_before_enable() -> None:
    here = placed(INVERTER)
    scales = encode(here, {})
    write = here.write("power_limit_permille")
    assert write.watchdog is not None
    requests = encode_write(here, write.name, 655, scales)
    assert requests == [(write.address, [655]), (write.watchdog.address, [60]), (write.enable[0].address, [1])]
    assert encode_write(here, write.name, 0, scales, watchdog_s=7)[1] == (write.watchdog.address, [7])
    assert encode_release(here, write.name) == [(write.enable[0].address, [0])]


def test_the_battery_is_told_watts_in_its_own_sign_with_mode_first_and_enable_last() -> None:
    here = placed(BATTERY)
    scales = encode(here, {})
    base = next(m.address for m in layout(BATTERY) if m.id == 704)
    requests = encode_write(here, "power_setpoint_w", 2500, scales, watchdog_s=60)
    assert requests == [
        (base + 23, [1]),
        (base + 26, [0, 0]),
        (base + 30, [0]),
        (base + 24, [0xFFFF, 0x10000 - 2500]),
        (base + 31, [0, 60]),
        (base + 22, [1]),
    ]


@settings(max_examples=60)
@given(st.integers(-100_000, 100_000), st.integers(1, 60))
def test_a_set_point_written_is_the_set_point_read_back(value: int, seconds: int) -> None:
    here = placed(BATTERY)
    image = encode(here, {})
    assert write_active(here, "power_setpoint_w", image) is None
    for address, words in encode_write(here, "power_setpoint_w", value, image, watchdog_s=seconds):
        image.put(3, address, words)
    assert decode_write(here, "power_setpoint_w", image) == value
    assert write_active(here, "power_setpoint_w", image) is True
    for address, words in encode_release(here, "power_setpoint_w"):
        image.put(3, address, words)
    assert write_active(here, "power_setpoint_w", image) is False


def test_writes_out_of_bounds_or_without_a_scale_factor_are_refused() -> None:
    here = placed(INVERTER)
    scales = encode(here, {})
    name = "power_limit_permille"
    for value in (-1, 1001):
        with pytest.raises(LocalCodecError, match="outside"):
            encode_write(here, name, value, scales)
    for seconds in (0, 61):
        with pytest.raises(LocalCodecError, match="watchdog"):
            encode_write(here, name, 10, scales, watchdog_s=seconds)
    with pytest.raises(LocalCodecError, match="scale factor"):
        encode_write(here, name, 10)
    with pytest.raises(LocalCodecError, match="no set-point"):
        encode_write(here, "power_setpoint_w", 10, scales)
    with pytest.raises(LocalCodecError, match="not found yet"):
        encode_write(INVERTER, name, 10, scales)
