"""Both ways through the codec, against an independent reference in exact fractions."""

from __future__ import annotations

import math
import struct
from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device_profiles.codec import LocalCodecError, decode, encode, resolution, rollover, round_half_even
from device_profiles.profile import Point, Profile, RegisterImage, load_profile
from device_profiles.register_type import TYPES, WORD_ORDERS, raw_from_words, words_from_raw

METER = load_profile("eastron_sdm630")
NUMBERS = [n for n, t in TYPES.items() if t.words]
FORMATS = {"int16": ">h", "int32": ">i", "int64": ">q", "float32": ">f", "float64": ">d", "sunssf": ">h"}


def one(point: Point) -> Profile:
    return replace(METER, points=(point,), texts=(), writes=())


def reference(words: list[int], kind: str, order: str, scale: tuple[int, int], exponent: int, sign: int) -> int | None:
    """By struct and Fraction, byte by byte, without the room's own code."""
    octets = [bytes(divmod(w, 256)) for w in words]
    if order in ("CDAB", "DCBA"):
        octets.reverse()
    if order in ("BADC", "DCBA"):
        octets = [o[::-1] for o in octets]
    blob = b"".join(octets)
    number = struct.unpack(FORMATS.get(kind, {2: ">H", 4: ">I", 8: ">Q"}[len(blob)]), blob)[0]
    if isinstance(number, float) and not math.isfinite(number):
        return None
    value = round(Fraction(number) * Fraction(*scale) * Fraction(10) ** exponent * sign)
    return value if -(2**63) <= value < 2**63 else None


@settings(max_examples=300)
@given(
    st.sampled_from(NUMBERS),
    st.sampled_from(WORD_ORDERS),
    st.sampled_from([(1, 1), (1000, 1), (1, 10), (100, 1), (1, 3)]),
    st.none() | st.integers(-10, 10),
    st.sampled_from([1, -1]),
    st.data(),
)
def test_decoding_agrees_with_exact_fractions(
    kind: str, order: str, scale: tuple[int, int], exponent: int | None, sign: int, draw: st.DataObject
) -> None:
    words = draw.draw(st.lists(st.integers(0, 0xFFFF), min_size=TYPES[kind].words, max_size=TYPES[kind].words))
    register = None if exponent is None else 50
    point = Point("power_w", 4, 10, kind, scale, sign, word_order=order, scale_register=register)
    image = RegisterImage()
    image.put(4, 10, words)
    if exponent is not None:
        image[4, 50] = exponent & 0xFFFF
    expected = reference(words, kind, order, scale, exponent or 0, sign)
    assert decode(one(point), image) == ({} if expected is None else {"power_w": expected})


@settings(max_examples=300)
@given(
    st.sampled_from(NUMBERS),
    st.sampled_from(WORD_ORDERS),
    st.sampled_from([(1, 1), (1000, 1), (1, 10), (100, 1)]),
    st.sampled_from([1, -1]),
    st.integers(-3_000_000, 3_000_000),
)
def test_what_is_encoded_decodes_within_the_device_resolution_or_is_refused(
    kind: str, order: str, scale: tuple[int, int], sign: int, value: int
) -> None:
    point = Point("power_w", 4, 10, kind, scale, sign, word_order=order)
    try:
        image = encode(one(point), {"power_w": value})
    except LocalCodecError:
        raw = Fraction(sign * value) / Fraction(*scale)
        kept = TYPES[kind]
        low = -(2 ** (kept.bits - 1)) if kept.form == "signed" else 0
        assert kept.form != "float" and not low <= round(raw) < low + 2**kept.bits
        return
    back = decode(one(point), image)["power_w"]
    assert 2 * abs(back - value) <= resolution(point, value)


@given(st.integers(-(10**12), 10**12), st.integers(1, 10**6))
def test_rounding_is_half_to_even(numerator: int, denominator: int) -> None:
    assert round_half_even(numerator, denominator) == round(Fraction(numerator, denominator))


@given(st.sampled_from(WORD_ORDERS), st.lists(st.integers(0, 0xFFFF), min_size=1, max_size=4))
def test_word_orders_are_their_own_inverse(order: str, words: list[int]) -> None:
    assert words_from_raw(raw_from_words(words, order), len(words), order) == words


def test_word_orders_are_the_ones_the_letters_say() -> None:
    for order, words in (
        ("ABCD", [0x0A0B, 0x0C0D]),
        ("CDAB", [0x0C0D, 0x0A0B]),
        ("BADC", [0x0B0A, 0x0D0C]),
        ("DCBA", [0x0D0C, 0x0B0A]),
    ):
        assert raw_from_words(words, order) == 0x0A0B0C0D


@pytest.mark.parametrize("word", [0x7FC0, 0xFFC0, 0x7F80, 0xFF80])
def test_nan_and_infinity_are_absent(word: int) -> None:
    point = Point("power_w", 4, 0, "float32")
    assert decode(one(point), {(4, 0): word, (4, 1): 0}) == {}


def test_a_sentinel_is_absent_and_never_a_number() -> None:
    point = Point("power_w", 4, 0, "int32", absent=(0x7FFF_FFFF, 0x8000_0000))
    assert decode(one(point), {(4, 0): 0x7FFF, (4, 1): 0xFFFF}) == {}
    assert decode(one(point), {(4, 0): 0x8000, (4, 1): 0}) == {}
    assert decode(one(point), {(4, 0): 0x7FFF, (4, 1): 0xFFFE}) == {"power_w": 2**31 - 2}
    with pytest.raises(LocalCodecError, match="no value"):
        encode(one(point), {"power_w": 2**31 - 1})
    assert encode(one(point), {}) == {(4, 0): 0x7FFF, (4, 1): 0xFFFF}


@pytest.mark.parametrize("factor", [0x8000, 11, -11 & 0xFFFF, 0x7FFF, None])
def test_a_scale_factor_that_is_not_one_makes_the_value_absent(factor: int | None) -> None:
    point = Point("power_w", 3, 0, "int16", scale_register=1)
    image = {(3, 0): 5} | ({} if factor is None else {(3, 1): factor})
    assert decode(one(point), image) == {}


@pytest.mark.parametrize(("factor", "power_w"), [(-1, 1234), (-2, 123), (0, 12345), (3, 12_345_000)])
def test_scale_factors_below_and_above_zero(factor: int, power_w: int) -> None:
    point = Point("power_w", 3, 0, "int16", scale_register=1)
    assert decode(one(point), {(3, 0): 12345, (3, 1): factor & 0xFFFF}) == {"power_w": power_w}


def test_a_value_read_only_in_part_is_absent() -> None:
    assert decode(METER, {(4, 0x34): 0x4500}) == {}
    assert decode(METER, {}) == {}
    # The right address under the wrong function code is not it.
    assert decode(METER, {(3, 0x34): 0x4500, (3, 0x35): 0}) == {}


def test_a_counter_below_zero_is_absent() -> None:
    image = RegisterImage()
    image.put(4, 0x48, [0xBF80, 0])
    assert "import_wh" not in decode(METER, image)
    with pytest.raises(LocalCodecError, match="cannot be -5"):
        encode(METER, {"import_wh": -5})


def test_an_unknown_word_is_the_callers_mistake_but_a_surplus_one_is_not() -> None:
    with pytest.raises(LocalCodecError, match="power_kw"):
        encode(METER, {"power_kw": 1})
    assert decode(METER, encode(METER, {"soc_permille": 500, "power_w": 7})) == {"power_w": 7}


def test_float32_energy_keeps_every_watt_hour_to_8_megawatt_hours_and_says_where_it_no_longer_does() -> None:
    point = METER.point("import_wh")
    for value in range(8_388_000, 8_388_608):
        assert decode(METER, encode(METER, {"import_wh": value}))["import_wh"] == value
    assert resolution(point, 8_000_000) == 1
    assert resolution(point, 16_777_216 + 1) == 2
    assert resolution(point, 40_000_000) == 4
    with pytest.raises(LocalCodecError, match="does not fit"):
        resolution(point, 10**50)


def test_a_counters_rollover_is_known_in_our_unit() -> None:
    wide = Point("import_wh", 3, 0, "acc32", counter=True, scale_register=9, modulus=2**32)
    assert rollover(wide, {(3, 9): 0}) == 2**32
    assert rollover(wide, {(3, 9): 1}) == 2**32 * 10
    assert rollover(wide, {}) is None
    assert rollover(METER.point("import_wh"), {}) is None
    em24 = load_profile("carlo_gavazzi_em24").point("import_wh")
    assert rollover(em24, {}) is None and em24.modulus is None


@settings(max_examples=200)
@given(st.lists(st.integers(0, 0xFFFF), min_size=0x4C, max_size=0x4C))
def test_random_registers_never_raise_and_only_give_bounded_integers(words: list[int]) -> None:
    image = RegisterImage()
    image.put(4, 0, words)
    for value in decode(METER, image).values():
        assert isinstance(value, int) and -(2**63) <= value < 2**63
