"""SML files from an independent writer, and the known traps of real meters."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge.sml import SmlDecoder
from firmware_bridge.sml_tree import read_tree
from firmware_bridge.telegram import Refusal, Telegram
from tests.firmware_bridge.sml_writer import (
    ABSENT,
    ESCAPE,
    element,
    entry,
    listed,
    message,
    signed,
    sml_file,
    string,
    transported,
    unsigned,
    value_list,
)

IMPORT, EXPORT, POWER, MAGNITUDE = "1 0 1 8 0 255", "1 0 2 8 0 255", "1 0 16 7 0 255", "1 0 15 7 0 255"
SERVER = b"\x0a\x01ISK\x00\x05\xcd\xd3\x8e"


def dzg(number: int) -> bytes:
    return b"\x0a\x01DZG\x00" + number.to_bytes(4, "big")


def only(raw: bytes) -> Telegram:
    found = SmlDecoder().feed(raw)
    assert len(found) == 1
    return found[0]


@given(
    drawn=st.integers(0, 2**40),
    fed=st.integers(0, 2**40),
    power=st.integers(-(2**20), 2**20),
    scaler=st.integers(-4, 0),
    kermit=st.booleans(),
)
def test_what_is_written_is_read_back_rounded_to_whole_units(
    drawn: int, fed: int, power: int, scaler: int, kermit: bool
) -> None:
    entries = [
        entry(IMPORT, unsigned(drawn, 8), scaler=scaler),
        entry(EXPORT, signed(fed, 6), scaler=scaler),
        entry(POWER, signed(power, 4), unit=27, scaler=scaler),
    ]
    found = only(sml_file(SERVER, entries, kermit=kermit))
    step = 10**-scaler
    for name, raw in (("import_wh", drawn), ("export_wh", fed), ("power_w", power)):
        assert abs(found.values[name] * step - raw) * 2 <= step
    assert found.texts["serial"] == "1ISK0097375118"


@given(server=st.lists(st.sampled_from([b"\x1b", b"\x1a", b"\x01", ESCAPE]), min_size=1, max_size=12).map(b"".join))
def test_escapes_in_the_content_come_and_go(server: bytes) -> None:
    assert only(sml_file(server, [entry(IMPORT, unsigned(12345, 4))])).values == {"import_wh": 1234}


# The maker names the serial numbers 42,000,000 to 48,999,999 and 55,000,000 to 58,999,999; 328.05 W is his example.
@pytest.mark.parametrize(
    ("number", "power_w"),
    [
        (41_999_999, -327),
        (42_000_000, 328),
        (48_999_999, 328),
        (49_000_000, -327),
        (54_999_999, -327),
        (55_000_000, 328),
        (58_999_999, 328),
        (59_000_000, -327),
        (60_694_611, -327),
    ],
)
def test_a_dzg_of_the_faulty_series_means_large_where_it_writes_negative(number: int, power_w: int) -> None:
    entries = [entry(POWER, signed(0x8025 - 0x10000, 2), unit=27, scaler=-2)]
    assert only(sml_file(dzg(number), entries)).values == {"power_w": power_w}


def test_a_dzg_of_the_faulty_series_that_feeds_in_uses_four_bytes() -> None:
    entries = [entry(POWER, signed(-126_061, 4), unit=27, scaler=-2)]
    assert only(sml_file(dzg(42_082_910), entries)).values == {"power_w": -1261}


def test_another_maker_with_such_a_number_is_left_alone() -> None:
    server = dzg(42_082_910).replace(b"DZG", b"EMH")
    entries = [entry(POWER, signed(0x8025 - 0x10000, 2), unit=27, scaler=-2)]
    assert only(sml_file(server, entries)).values == {"power_w": -327}


@pytest.mark.parametrize(("status", "power_w"), [(0x182, 137), (0x1B0, -137), (0x1A2, -137)])
def test_bit_five_of_the_status_word_tells_the_direction_of_a_sum_of_magnitudes(status: int, power_w: int) -> None:
    entries = [
        entry(IMPORT, unsigned(10, 4), status=unsigned(status, 2)),
        entry(MAGNITUDE, signed(1371, 4), unit=27),
    ]
    assert only(sml_file(SERVER, entries)).values == {"import_wh": 1, "power_w": power_w}


def test_a_meter_that_hides_its_power_has_none() -> None:
    entries = [entry(IMPORT, unsigned(2324, 2), scaler=3), listed(string(bytes((1, 0, 16, 7, 0, 255))), *[ABSENT] * 6)]
    assert only(sml_file(SERVER, entries)).values == {"import_wh": 2_324_000}


@pytest.mark.parametrize(
    ("time", "taken_at_s"),
    [
        (ABSENT, None),
        (listed(unsigned(1, 1), unsigned(1_700_000_000, 4)), None),
        (listed(unsigned(2, 1), unsigned(1_700_000_000, 4)), 1_700_000_000),
        (listed(unsigned(2, 1), unsigned(5_000, 4)), None),
        (listed(unsigned(3, 1), listed(unsigned(1_700_000_000, 4), signed(60, 2), signed(0, 2))), None),
        (unsigned(1_700_000_000, 4), None),
    ],
)
def test_only_a_true_timestamp_dates_a_telegram(time: bytes, taken_at_s: int | None) -> None:
    assert only(sml_file(SERVER, [entry(IMPORT, unsigned(10, 4))], time)).taken_at_s == taken_at_s


def test_a_list_of_more_than_fifteen_entries_is_read_whole() -> None:
    entries = [entry(f"1 0 96 1 {place} 255", unsigned(1, 1)) for place in range(30)]
    assert only(sml_file(SERVER, [*entries, entry(IMPORT, unsigned(70, 1))])).values == {"import_wh": 7}


def test_a_message_with_a_wrong_crc_in_a_file_with_a_right_one_is_refused() -> None:
    decoder = SmlDecoder()
    values = value_list(SERVER, [entry(IMPORT, unsigned(10, 4))])
    assert decoder.feed(transported(message(0x0701, values, wrong=True))) == []
    assert decoder.refused[Refusal.CHECKSUM] == 1


@pytest.mark.parametrize(
    ("content", "refusal"),
    [
        (message(0x0101, listed(ABSENT)), Refusal.UNSUPPORTED),
        (message(0x0701, value_list(SERVER, [])), Refusal.EMPTY),
        (message(0x0701, ABSENT), Refusal.MALFORMED),
        (message(0x0701, value_list(SERVER, [ABSENT])), Refusal.MALFORMED),
        (message(0x0701, value_list(SERVER, [listed(ABSENT, ABSENT)])), Refusal.MALFORMED),
        (b"", Refusal.UNSUPPORTED),
        (b"\x76\x01\x01\x01\x01\x01\x00", Refusal.MALFORMED),
        (b"\x7f" * 100, Refusal.MALFORMED),
        (b"\x71" * 400, Refusal.MALFORMED),
        (b"\x00" * 4, Refusal.MALFORMED),
    ],
)
def test_a_whole_file_that_says_nothing_for_us_is_refused_by_name(content: bytes, refusal: Refusal) -> None:
    decoder = SmlDecoder()
    assert decoder.feed(transported(content)) == []
    assert decoder.refused[refusal] == 1


@given(octets=st.binary(max_size=200))
def test_any_bytes_are_a_tree_or_none_and_never_an_exception(octets: bytes) -> None:
    found = read_tree(octets, 0)
    assert found is None or 0 < found[1] <= len(octets)


@pytest.mark.parametrize("length", [0, 1, 14, 15, 16, 200, 253, 254, 255, 300, 4000])
def test_a_string_of_any_length_is_read_with_its_length_bytes(length: int) -> None:
    written = element(0, bytes(length))
    assert read_tree(written, 0) == (bytes(length), len(written))


@pytest.mark.parametrize(
    "octets", [b"\x50", b"\x51", b"\x5a" + bytes(9), b"\x62", b"\x10", b"\x23\x00\x00", b"\xff" * 8]
)
def test_elements_no_meter_may_send_are_none(octets: bytes) -> None:
    assert read_tree(octets, 0) is None
