"""IEC 62056-21: the conversation in mode C, pushes in mode D, block checks, and shapes that must be repeated."""

from __future__ import annotations

from functools import reduce
from operator import xor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge.iec62056 import Iec62056Decoder, acknowledgement, opening, rate_after
from firmware_bridge.telegram import Refusal, Telegram
from tests.firmware_bridge.case_files import case

E350 = case("iec62056", "landis_gyr_e350_mode_c").raw
PUSHED = case("iec62056", "easymeter_q3da_mode_d").raw
IDENTIFICATION = b"/LGZ4ZMF100AC.M26\r\n"


def block(*lines: str) -> bytes:
    """A data message with its block check character."""
    covered = "".join(f"{line}\r\n" for line in [*lines, "!"]).encode("ascii") + b"\x03"
    return b"\x02" + covered + bytes([reduce(xor, covered)])


def only(found: list[Telegram]) -> Telegram:
    assert len(found) == 1
    return found[0]


def test_the_conversation_goes_from_request_to_values() -> None:
    """The bytes are those of a Landis+Gyr E350, echoes of the optical head included."""
    meter = Iec62056Decoder()
    assert opening() == bytes.fromhex("2F3F210D0A")
    assert meter.feed(opening()) == []
    assert not meter.identification
    assert meter.feed(IDENTIFICATION[:9]) == []
    assert not meter.identification
    assert meter.feed(IDENTIFICATION[9:]) == []
    assert meter.identification == IDENTIFICATION.strip()
    answer = acknowledgement(meter.identification)
    assert answer == b"\x06040\r\n"
    assert rate_after(meter.identification) == 4800
    assert meter.feed(answer) == []
    assert not meter.identification
    found = only(meter.feed(E350.removeprefix(IDENTIFICATION)))
    assert dict(found.values) == case("iec62056", "landis_gyr_e350_mode_c").values
    assert found.texts["model"] == "ZMF100AC.M26"
    assert not meter.identification


def test_a_meter_that_never_answers_leaves_room_for_the_next_attempt() -> None:
    meter = Iec62056Decoder()
    for _ in range(5):
        assert meter.feed(opening() + IDENTIFICATION) == []
        assert meter.identification == IDENTIFICATION.strip()
    assert only(meter.feed(E350))


@pytest.mark.parametrize(
    ("identification", "answer", "rate"),
    [
        (b"/ISK5\\2MT382-1008", b"\x06050\r\n", 9600),
        (b"/LGZ0ZMD", b"\x06000\r\n", 300),
        (b"/ACE6X", b"\x06060\r\n", 19200),
        (b"/XYZAmodeB", b"", 600),
        (b"/XYZFmodeB", b"", 19200),
        (b"/XYZ\\modeA", b"", 300),
        (b"/XYZ7reserved", b"", 300),
        (b"/XYZ", b"", 300),
    ],
)
def test_the_acknowledgement_follows_the_mark_in_the_identification(
    identification: bytes, answer: bytes, rate: int
) -> None:
    assert acknowledgement(identification) == answer
    assert rate_after(identification) == rate


def test_a_line_that_cannot_change_its_rate_asks_the_meter_to_keep_it() -> None:
    assert acknowledgement(b"/ISK5MT", keep_rate=True) == b"\x06000\r\n"


def test_one_of_several_meters_on_a_line_is_asked_by_its_address() -> None:
    assert opening("00188123") == b"/?00188123!\r\n"
    for bad in ("a!", "x" * 33, "\r\n", "ä"):
        with pytest.raises(ValueError, match="not a device address"):
            opening(bad)


@given(wh=st.integers(0, 10**10), decimals=st.integers(0, 3))
def test_what_is_written_is_read_back(wh: int, decimals: int) -> None:
    wh -= wh % 10 ** (3 - decimals)
    kwh = f"{wh // 1000}.{wh % 1000:03d}"[: len(str(wh // 1000)) + 1 + decimals] if decimals else str(wh // 1000)
    assert dict(only(Iec62056Decoder().feed(block(f"1.8.0({kwh}*kWh)"))).values) == {"import_wh": wh}


@pytest.mark.parametrize(("value", "wh"), [("007900.58", 7_900_580), ("007900", None), ("7900.58*GJ", None)])
def test_a_counter_without_unit_is_one_of_kwh_only_if_it_has_decimals(value: str, wh: int | None) -> None:
    found = Iec62056Decoder().feed(block(f"1.8.0({value})", "32.7(230*V)"))
    assert only(found).values.get("import_wh") == wh


def test_a_wrong_block_check_is_refused_and_the_next_telegram_is_found() -> None:
    meter = Iec62056Decoder()
    wrong = E350[:-1] + bytes([E350[-1] ^ 1])
    assert only(meter.feed(wrong + E350)).values == case("iec62056", "landis_gyr_e350_mode_c").values
    assert meter.refused[Refusal.CHECKSUM] >= 1


def test_another_shape_counts_when_it_is_repeated() -> None:
    meter = Iec62056Decoder()
    one, other = block("1.8.0(000100.0*kWh)"), block("1.8.0(00100.0*kWh)")
    assert only(meter.feed(one)).values == {"import_wh": 100_000}
    assert meter.feed(other) == []
    assert only(meter.feed(other)).values == {"import_wh": 100_000}
    assert meter.refused == {Refusal.UNCONFIRMED: 1}


def test_a_pushed_telegram_counts_from_its_repetition_on() -> None:
    meter = Iec62056Decoder()
    assert meter.feed(PUSHED) == []
    assert [len(meter.feed(PUSHED)) for _ in range(3)] == [1, 1, 1]
    lost_digit = PUSHED.replace(b"00032549.5", b"0032549.5")
    assert meter.feed(lost_digit) == []


def test_a_data_message_that_lost_its_first_character_is_not_taken_for_a_pushed_one() -> None:
    meter = Iec62056Decoder()
    assert meter.feed(E350)
    lost = E350.replace(b"\x02", b"").replace(b"061561.289", b"091561.289")
    assert meter.feed(lost * 3) == []
    assert meter.refused[Refusal.CHECKSUM] == 3


def test_a_pushed_telegram_with_a_broken_line_is_refused() -> None:
    meter = Iec62056Decoder()
    meter.feed(PUSHED)
    assert meter.feed(PUSHED.replace(b"*kWh)", b"*kWh")) == []
    assert meter.refused[Refusal.MALFORMED] == 1


def test_several_registers_in_a_line_are_several_registers() -> None:
    found = Iec62056Decoder().feed(block("1.8.0(000001*kWh)2.8.0(000002*kWh)", "0.9.1(23:16:43)"))
    assert dict(only(found).values) == {"import_wh": 1000, "export_wh": 2000}


def test_a_read_out_without_electricity_is_empty() -> None:
    meter = Iec62056Decoder()
    assert meter.feed(block("6.8(0042.1*GJ)")) == []
    assert meter.refused == {Refusal.EMPTY: 1}
