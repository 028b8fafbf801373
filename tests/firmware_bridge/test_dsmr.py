"""P1 telegrams: written by an independent writer, read back exactly; clocks, missing CRCs and damaged ends."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge.dsmr import DsmrDecoder
from firmware_bridge.telegram import Refusal, Telegram
from tests.firmware_bridge.case_files import case
from tests.firmware_bridge.test_checksum import by_division

V5, V2 = case("dsmr", "dsmr_5_0_iskra").raw, case("dsmr", "dsmr_2_2_iskra").raw


def telegram(lines: list[str], header: str = "/ISk5\\2MT382-1000", crc: str | None = None) -> bytes:
    """A telegram with its CRC, or with `crc` in its place."""
    body = "\r\n".join([header, "", *lines, "!"]).encode("ascii")
    return body + (crc if crc is not None else f"{by_division(body, 16, 0x8005, 0, 0):04X}").encode("ascii") + b"\r\n"


def only(raw: bytes, decoder: DsmrDecoder | None = None) -> Telegram:
    found = (decoder or DsmrDecoder()).feed(raw)
    assert len(found) == 1
    return found[0]


WH = st.integers(0, 999_999_999)
W = st.integers(0, 99_999)


@given(low=WH, high=WH, out=WH, drawn=W, fed=W, volt=st.integers(0, 4999), ampere=st.integers(0, 99_999))
def test_what_is_written_is_read_back_to_the_last_digit(
    low: int, high: int, out: int, drawn: int, fed: int, volt: int, ampere: int
) -> None:
    found = only(
        telegram(
            [
                "1-3:0.2.8(50)",
                f"1-0:1.8.1({Decimal(low) / 1000:010.3f}*kWh)",
                f"1-0:1.8.2({Decimal(high) / 1000:010.3f}*kWh)",
                f"1-0:2.8.1({out:09d}*Wh)",
                f"1-0:1.7.0({Decimal(drawn) / 1000:06.3f}*kW)",
                f"1-0:2.7.0({Decimal(fed) / 1000:06.3f}*kW)",
                f"1-0:32.7.0({Decimal(volt) / 10:05.1f}*V)",
                f"1-0:31.7.0({Decimal(ampere) / 100:06.2f}*A)",
            ]
        )
    )
    assert dict(found.values) == {
        "import_wh": low + high,
        "export_wh": out,
        "power_w": drawn - fed,
        "voltage_l1_mv": volt * 100,
        "current_l1_ma": ampere * 10,
    }


# Within the years of two digits, without the hour that is twice: there the letter decides, see below.
@given(at=st.datetimes(datetime(2008, 1, 2), datetime(2098, 12, 30)))
def test_the_meters_clock_is_central_european_time(at: datetime) -> None:
    utc = at.replace(microsecond=0, tzinfo=UTC)
    local = utc.astimezone(ZoneInfo("Europe/Amsterdam"))
    letter = "S" if local.dst() else "W"
    raw = telegram([f"0-0:1.0.0({local:%y%m%d%H%M%S}{letter})", "1-0:1.8.0(1*kWh)"])
    assert only(raw).taken_at_s == int(utc.timestamp())


@pytest.mark.parametrize(
    ("text", "taken_at"),
    [
        ("201025023000S", datetime(2020, 10, 25, 0, 30, tzinfo=UTC)),
        ("201025023000W", datetime(2020, 10, 25, 1, 30, tzinfo=UTC)),
        # Swedish meters keep winter time all year.
        ("200701120000W", datetime(2020, 7, 1, 11, 0, tzinfo=UTC)),
        ("200201120000S", None),
        ("632525252525W", None),
        ("000101010000W", None),
        ("200101120000", None),
        ("200101120000X", None),
        ("", None),
    ],
)
def test_a_clock_is_believed_only_where_it_can_be(text: str, taken_at: datetime | None) -> None:
    expected = None if taken_at is None else int(taken_at.timestamp())
    assert only(telegram([f"0-0:1.0.0({text})", "1-0:1.8.0(1*kWh)"])).taken_at_s == expected


def test_another_standard_time_is_the_callers_to_say() -> None:
    raw = telegram(["0-0:1.0.0(200101120000W)", "1-0:1.8.0(1*kWh)"])
    baltic = only(raw, DsmrDecoder(standard_offset_s=7200)).taken_at_s
    assert baltic is not None
    assert datetime.fromtimestamp(baltic, UTC) == datetime(2020, 1, 1, 12, tzinfo=UTC) - timedelta(hours=2)


@pytest.mark.parametrize("zeros", [1, 2, 3, 4])
def test_a_crc_without_its_leading_zeros_is_a_crc(zeros: int) -> None:
    for count in range(200_000):
        lines = [f"0-0:96.1.1({count})", "1-0:1.8.0(1*kWh)"]
        raw = telegram(lines)
        if raw[-6:-2].startswith(b"0" * min(zeros, 3)) and raw[-6:-2] != b"0000":
            break
    unpadded = telegram(lines, crc=raw[-6:-2].lstrip(b"0").decode("ascii").lower())
    assert dict(only(unpadded).values) == {"import_wh": 1000}


@pytest.mark.parametrize("crc", ["0000", "ffff", "1", "", "6EE", "6EEF", "EE6E"])
def test_a_wrong_or_lost_crc_is_refused_however_often_it_comes(crc: str) -> None:
    decoder = DsmrDecoder()
    raw = V5.rpartition(b"!")[0] + b"!" + crc.encode("ascii") + b"\r\n"
    assert decoder.feed(raw * 3) == []
    assert decoder.refused[Refusal.CHECKSUM] == 3


def test_without_a_crc_the_repetition_counts_and_a_lost_line_does_not() -> None:
    decoder = DsmrDecoder()
    lost = V2.replace(b"1-0:1.8.2(00001.001*kWh)\r\n", b"")
    assert decoder.feed(V2) == []
    assert len(decoder.feed(V2 + V2)) == 2
    assert decoder.feed(lost) == []
    assert decoder.feed(V2) == []
    assert len(decoder.feed(V2)) == 1
    assert decoder.refused == {Refusal.UNCONFIRMED: 3}


def test_a_stream_that_has_had_a_crc_takes_no_telegram_without() -> None:
    decoder = DsmrDecoder()
    assert decoder.feed(V5)
    assert decoder.feed(V2 * 3) == []
    assert decoder.refused[Refusal.CHECKSUM] == 3


def test_a_telegram_that_breaks_off_does_not_take_the_next_one_with_it() -> None:
    decoder = DsmrDecoder()
    for cut in range(1, len(V5), 7):
        assert len(decoder.feed(V5[:cut] + V5)) == 1, cut
    assert len(decoder.feed(V5[len(V5) // 2 :] + V5)) == 1


@pytest.mark.parametrize(
    "value", ["--.---", "", "1.2.3", "1,5", "0x10", "1e3", "999999999999999", "1*kW", "1*mkWh", "1*kkWh", "²"]
)
def test_a_total_that_cannot_be_read_is_absent(value: str) -> None:
    body = f"1-0:1.8.1({value}*kWh)" if "*" not in value else f"1-0:1.8.1({value})"
    raw = telegram([])[:-7] + body.encode("latin-1") + b"\r\n1-0:1.8.2(000001.000*kWh)\r\n1-0:1.7.0(00.500*kW)\r\n!"
    raw += f"{by_division(raw, 16, 0x8005, 0, 0):04X}\r\n".encode("ascii")
    assert dict(only(raw).values) == {"power_w": 500}


def test_gas_and_water_are_passed_over() -> None:
    decoder = DsmrDecoder()
    assert decoder.feed(telegram(["0-1:24.1.0(003)", "0-1:24.2.1(200512134558S)(00112.384*m3)"])) == []
    assert decoder.refused == {Refusal.EMPTY: 1}
