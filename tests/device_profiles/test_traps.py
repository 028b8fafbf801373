"""The traps every installer falls into once, each by its name: what a device says and what it must not be taken for."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device_profiles.codec import LocalCodecError, decode, decode_texts, encode, probe_matches, resolution
from device_profiles.profile import Profile, RegisterImage, TextPoint, load_profile
from device_profiles.sunspec import FoundModel, layout, resolve
from device_profiles.sunspec_model import load_model


def shown(function: int, address: int, words: list[int]) -> RegisterImage:
    image = RegisterImage()
    image.put(function, address, words)
    return image


def placed(name: str) -> Profile:
    profile = load_profile(name)
    return resolve(profile, layout(profile))


def test_em24_and_em24_e1_are_told_apart_by_their_probes() -> None:
    old, new = load_profile("carlo_gavazzi_em24"), load_profile("carlo_gavazzi_em24_e1")
    ethernet = encode(new, new.example.values)
    for address in range(0x60):
        ethernet.setdefault((4, address), 0)  # the E1 answers in all of this range
    serial = encode(old, old.example.values)
    for address in range(0x60):
        serial.setdefault((4, address), 0)
    assert probe_matches(new, ethernet) and probe_matches(old, serial)
    assert not probe_matches(old, ethernet) and not probe_matches(new, serial)
    # Even where the power factor of the old one reads like 50.0 Hz in the new one's map.
    serial[4, 0x33] = 500
    assert not probe_matches(new, serial)


def test_the_identity_of_a_low_word_first_meter_is_asked_for_by_itself() -> None:
    assert load_profile("carlo_gavazzi_em24_e1").probe_spans == ((4, 0x000B, 1),)


@pytest.mark.parametrize(
    ("name", "measured", "words", "value"),
    [
        ("carlo_gavazzi_em24", "power_w", [0x5744, 0x0000], 2234),
        ("carlo_gavazzi_em340", "power_w", [0xF696, 0xFFFF], -241),
        ("kostal_plenticore", "power_w", [0x6000, 0x45CC], -6540),
        ("solaredge_semtr3y", "power_w", [0xA000, 0x450B], 2234),
        ("solaredge_battery", "power_w", [0x4000, 0xC51C], -2500),
    ],
)
def test_low_word_first_devices_are_read_low_word_first(name: str, measured: str, words: list[int], value: int) -> None:
    profile = load_profile(name)
    point = profile.point(measured)
    assert point.word_order == "CDAB"
    assert decode(profile, shown(point.function, point.address, words), [point]) == {measured: value}


@pytest.mark.parametrize(
    ("name", "measured", "words"),
    [
        ("abb_b23", "power_w", [0x7FFF, 0xFFFF]),
        ("abb_b23", "voltage_l2_mv", [0xFFFF, 0xFFFF]),
        ("abb_b23", "import_wh", [0xFFFF] * 4),
        ("sma_inverter", "voltage_l1_mv", [0xFFFF, 0xFFFF]),
        ("sma_home_manager", "current_l1_ma", [0x8000, 0x0000]),
        ("huawei_meter", "power_w", [0x7FFF, 0xFFFF]),
        ("victron_grid_meter", "frequency_mhz", [0xFFFF]),
        ("schneider_acti9", "power_l3_w", [0x7FC0, 0x0000]),
    ],
)
def test_a_sentinel_is_no_value(name: str, measured: str, words: list[int]) -> None:
    profile = load_profile(name)
    point = profile.point(measured)
    assert decode(profile, shown(point.function, point.address, words), [point]) == {}


def test_sma_at_night_produces_0_w_and_has_no_voltage() -> None:
    profile = load_profile("sma_inverter")
    image = RegisterImage()
    for point in profile.points:
        for address in point.terms:
            image.put(3, address, [0xFFFF] * 4 if point.counter else [0x8000, 0x0000])
    assert decode(profile, image) == {
        "dc_power_w": 0, "power_w": 0, "power_l1_w": 0, "power_l2_w": 0, "power_l3_w": 0,
    }  # fmt: skip


def test_huawei_at_night_is_still_known_by_its_rating_and_has_no_frequency() -> None:
    profile = load_profile("huawei_sun2000")
    assert probe_matches(profile, profile.example.registers)
    assert not decode(profile, profile.example.registers).keys() & {"frequency_mhz", "voltage_l1_mv"}


@pytest.mark.parametrize("name", ["huawei_meter", "solaredge_meter"])
def test_export_positive_meters_are_turned_round(name: str) -> None:
    profile = placed(name) if load_profile(name).sunspec else load_profile(name)
    image = encode(profile, {"power_w": -3000})
    point = profile.point("power_w")
    words = [image[point.function, point.address + i] for i in range(point.count)]
    assert words[-1] == 3000, "what flows out stands above zero in the device"


@pytest.mark.parametrize("name", ["sunspec_meter", "fronius_meter", "victron_grid_meter", "sma_home_manager"])
def test_import_positive_meters_are_not(name: str) -> None:
    profile = placed(name) if load_profile(name).sunspec else load_profile(name)
    assert profile.point("power_w").sign == 1


def test_the_iem_counts_in_kilowatts_one_register_below_its_manual() -> None:
    profile = load_profile("schneider_iem3155")
    point = profile.point("power_w")
    assert point.address == 3060 - 1 and point.scale == (1000, 1)
    # 2.234 kW as float32.
    assert decode(profile, shown(3, 3059, [0x400E, 0xF9DB]), [point]) == {"power_w": 2234}
    assert profile.point("import_wh").address == 3204 - 1 and profile.point("import_wh").type == "int64"


def test_float32_kilowatt_hours_lose_the_watt_hour_near_16777_kwh() -> None:
    profile = load_profile("eastron_sdm630")
    point = profile.point("import_wh")
    assert resolution(point, 16_000_000) == 1 and resolution(point, 16_777_216) == 2
    seen = {decode(profile, encode(profile, {"import_wh": 16_777_216 + i}))["import_wh"] for i in range(100)}
    assert len(seen) < 60
    assert (
        max(
            abs(decode(profile, encode(profile, {"import_wh": v}))["import_wh"] - v)
            for v in range(40 * 10**6, 40_000_100)
        )
        <= 2
    )


def test_a_chint_float_has_a_scale_of_its_own() -> None:
    point = load_profile("chint_dtsu666").point("power_w")
    assert point.type == "float32" and point.scale == (1, 10)


def test_one_character_a_register_is_one_character() -> None:
    meter = load_profile("eastron_sdm630")
    text = TextPoint("serial", 3, 0x5000, 7, characters=1)
    profile = replace(meter, texts=(text,))
    image = shown(3, 0x5000, [ord(c) for c in "BX12345"])
    assert decode_texts(profile, image) == {"serial": "BX12345"}
    assert {k: w for k, w in encode(profile, {}, {"serial": "BX12345"}).items() if k[0] == 3} == image
    two = replace(meter, texts=(replace(text, characters=2),))
    assert decode_texts(two, image) == {}, "read as two characters the first is NUL"


@settings(max_examples=60)
@given(st.integers(0, 4_000_000), st.integers(0, 4_000_000))
def test_import_and_export_in_two_registers_make_one_power(taken: int, given_out: int) -> None:
    profile = load_profile("kostal_ksem")
    image = RegisterImage()
    image.put(3, 0, [taken >> 16, taken & 0xFFFF, given_out >> 16, given_out & 0xFFFF])
    found = decode(profile, image, [profile.point("power_w")])["power_w"]
    assert found == round((taken - given_out) / 10) or abs((taken - given_out) / 10 - found) == 0.5


def test_a_device_never_shows_import_and_export_at_once() -> None:
    profile = load_profile("kostal_ksem")
    for power_w, words in ((1234, [0, 12340, 0, 0]), (-1234, [0, 0, 0, 12340]), (0, [0, 0, 0, 0])):
        image = encode(profile, {"power_w": power_w})
        assert [image[3, i] for i in range(4)] == words


def test_a_phase_that_is_not_there_counts_nothing_and_a_missing_first_one_is_no_power() -> None:
    profile = load_profile("victron_grid_meter")
    point = profile.point("power_w")
    one_phase = shown(3, 2638, [0, 900, 0x7FFF, 0xFFFF, 0x7FFF, 0xFFFF])
    assert decode(profile, one_phase, [point]) == {"power_w": 900}
    assert decode(profile, shown(3, 2638, [0x7FFF, 0xFFFF, 0, 1, 0, 1]), [point]) == {}
    assert decode(profile, shown(3, 2638, [0, 900, 0, 1]), [point]) == {}, "a phase that was not read is not 0"


def test_three_wide_phases_carry_what_16_bits_cannot() -> None:
    profile = load_profile("victron_grid_meter")
    assert decode(profile, encode(profile, {"power_w": 60_000}))["power_w"] == 60_000
    narrow = load_profile("victron_system")
    with pytest.raises(LocalCodecError, match="does not fit"):
        encode(narrow, {"power_w": 40_000})


def test_kostal_counters_above_2_to_the_31_come_with_a_minus() -> None:
    profile = placed("kostal_sunspec")
    point = profile.point("export_wh")
    assert point.magnitude and point.modulus is None
    raw = (1 << 32) - 18_422_310
    image = shown(3, point.address, [raw >> 16, raw & 0xFFFF]) | {(3, point.scale_register or 0): 0}
    assert decode(profile, image, [point]) == {"export_wh": 18_422_310}


def test_huawei_counts_export_by_its_size() -> None:
    profile = load_profile("huawei_meter")
    raw = (1 << 32) - 1_276_491
    image = shown(3, 37119, [raw >> 16, raw & 0xFFFF])
    assert decode(profile, image, [profile.point("export_wh")]) == {"export_wh": 12_764_910}


def test_a_current_has_no_direction() -> None:
    profile = load_profile("victron_grid_meter")
    point = profile.point("current_l1_ma")
    assert decode(profile, shown(3, 2617, [0x10000 - 23]), [point]) == {"current_l1_ma": 2300}


@pytest.mark.parametrize("number", [101, 102, 103, 111, 112, 113])
def test_fronius_is_read_whichever_way_its_switch_stands(number: int) -> None:
    length = load_model(number).length
    found = (FoundModel(1, 40002, 65), FoundModel(number, 40069, length), FoundModel(120, 40071 + length, 26))
    here = resolve(load_profile("fronius_inverter"), found)
    values = {"power_w": -4321, "frequency_mhz": 49_970, "export_wh": 1_234_567, "rated_power_w": 10_000}
    assert decode(here, encode(here, values)) == values


@pytest.mark.parametrize("number", [201, 202, 203, 204, 211, 212, 213, 214])
def test_a_fronius_meter_too(number: int) -> None:
    found = (FoundModel(1, 40002, 65), FoundModel(number, 40069, load_model(number).length))
    here = resolve(load_profile("fronius_meter"), found)
    values = {"power_w": -4321, "voltage_l1_mv": 230_100, "import_wh": 1_234_567}
    assert decode(here, encode(here, values)) == values


@pytest.mark.parametrize("shift", [0, 50, 70])
def test_a_solaredge_meter_moves_with_the_inverters_model_160_and_is_found(shift: int) -> None:
    chain = [FoundModel(1, 40002, 65), FoundModel(103, 40069, 50)]
    if shift:
        chain.append(FoundModel(160, 40121, shift - 2))
    chain += [FoundModel(1, 40121 + shift, 65), FoundModel(203, 40188 + shift, 105)]
    here = resolve(load_profile("solaredge_meter"), chain)
    assert here.point("power_w").address == 40188 + shift + 18
    assert next(t for t in here.texts if t.name == "serial").address == 40121 + shift + 50


def test_strings_of_a_hybrid_inverter_make_the_batterys_power_and_fewer_strings_make_none() -> None:
    profile = load_profile("fronius_gen24_battery")
    here = placed("fronius_gen24_battery")
    point = here.point("power_w")
    assert point.minus == (point.address + 20,)
    two_strings = (FoundModel(113, 40002, 60), FoundModel(124, 40064, 24), FoundModel(160, 40090, 48))
    assert "power_w" not in resolve(profile, two_strings).measurements


def test_an_evse_that_answers_one_value_at_a_time_is_asked_so() -> None:
    from device_profiles.read_plan import plan

    profile = load_profile("keba_p30")
    made = plan(profile.points, profile.bus, "tcp")
    assert len(made.requests) == len(profile.points) and all(r.count == 2 for r in made.requests)
