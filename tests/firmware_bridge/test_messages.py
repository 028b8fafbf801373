"""M-Bus answers and MQTT messages: what public samples mean, what is refused, and that nothing can hurt."""

from __future__ import annotations

import json
import os
import tomllib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_profiles.measurement import MEASUREMENTS
from firmware_bridge.json_number import PAYLOAD_LIMIT_BYTES, exact, whole
from firmware_bridge.json_path import JsonPathDecoder, LocalPathError, parse_path
from firmware_bridge.mbus import MbusDecoder, data_request, reset_request
from firmware_bridge.shelly import ShellyDecoder, channel_of
from firmware_bridge.tasmota import TasmotaDecoder
from firmware_bridge.telegram import MessageDecoder, Refusal, Telegram, evidence_of
from simulators.telegrams import mbus
from tests.firmware_bridge.case_files import FOLDER, Case, cases
from tests.firmware_bridge.mutations import chunks, damaged

DAMAGED = 100_000 if os.environ.get("NIGHTLY") == "1" else 2_000


@dataclass(frozen=True)
class MessageCase:
    """Messages of one device, in order, and what they mean together."""

    name: str
    told: dict[str, Any]

    @property
    def messages(self) -> list[tuple[str, bytes]]:
        return [(message["topic"], message["payload"].encode()) for message in self.told["message"]]

    def decoder(self, kind: str) -> MessageDecoder:
        if kind == "tasmota":
            return TasmotaDecoder()
        if kind == "shelly":
            return ShellyDecoder(self.told.get("channel"))
        return JsonPathDecoder(self.told["paths"])


MESSAGE_CASES = [
    (folder, MessageCase(path.stem, tomllib.loads(path.read_text(encoding="utf-8"))))
    for folder in ("tasmota", "shelly", "json")
    for path in sorted((FOLDER / folder).glob("*.toml"))
]
EACH_MESSAGE = pytest.mark.parametrize(
    ("kind", "case"), MESSAGE_CASES, ids=[f"{kind}-{case.name}" for kind, case in MESSAGE_CASES]
)
EACH_MBUS = pytest.mark.parametrize("case", cases("mbus"), ids=str)


# --- M-Bus --------------------------------------------------------------------------------------------------------


@EACH_MBUS
def test_a_captured_answer_means_what_its_case_says(case: Case) -> None:
    found = MbusDecoder().feed(case.raw)
    assert len(found) == case.telegrams
    for telegram in found:
        assert (dict(telegram.values), dict(telegram.texts)) == (case.values, case.texts)
        assert telegram.taken_at_s is None and telegram.evidence == evidence_of(case.raw)


@EACH_MBUS
def test_the_cut_of_the_chunks_makes_no_difference_to_an_answer(case: Case) -> None:
    decoder, random = MbusDecoder(), Random(case.name)
    found = [telegram for chunk in chunks(case.raw * 2, random) for telegram in decoder.feed(chunk)]
    assert len(found) == 2 * case.telegrams


def test_requests_are_the_frames_of_the_standard() -> None:
    assert reset_request(1).hex() == "1040014116"
    assert data_request(1, frame_count=False).hex() == "105b015c16"
    assert data_request(1).hex() == "107b017c16"
    with pytest.raises(ValueError, match="no M-Bus address"):
        reset_request(256)


def framed(body: str, maker: str = "4204", medium: str = "02", status: str = "00", config: str = "0000") -> bytes:
    """An answer with these records, in hexadecimal."""
    header = f"78563412{maker}02{medium}01{status}{config}"
    told = bytes.fromhex(f"080172{header}{body}")
    return bytes((0x68, len(told), len(told), 0x68)) + told + bytes((sum(told) & 0xFF, 0x16))


def means(body: str, **header: str) -> dict[str, int] | Refusal:
    """What an answer with these records means; the one refusal where it means nothing."""
    decoder = MbusDecoder()
    found = decoder.feed(framed(body, **header))
    if found:
        return dict(found[0].values)
    (refusal,) = decoder.refused
    return refusal


EMU = "b515"
RECORDS = [
    ("the standard's backward energy is export", "0403e8030000 04833cf4010000", {},
     {"import_wh": 1000, "export_wh": 500}),
    ("backward power is negative", "02ab3cf401", {}, {"power_w": -500}),
    ("of two directions of power one is nothing", "022bf401 02ab3c0000", {}, {"power_w": 500}),
    ("the other way round", "022b0000 02ab3cf401", {}, {"power_w": -500}),
    ("sub-unit 1 is export at ABB", "0403e8030000 844003f4010000", {}, {"import_wh": 1000, "export_wh": 500}),
    ("and nothing we know elsewhere", "0403e8030000 844003f4010000", {"maker": EMU}, {"import_wh": 1000}),
    ("sub-unit 2 is reactive", "04 03 01000000 84804003f4010000", {}, {"import_wh": 1}),
    ("tariffs add up where there is no total", "841003e8030000 842003d0070000", {}, {"import_wh": 3000}),
    ("the total stands where there is one", "841003e8030000 0403b80b0000", {}, {"import_wh": 3000}),
    ("storage is the past", "0403e8030000 440301000000", {}, {"import_wh": 1000}),
    ("a maximum is no measurement of now", "142b10270000 022b6400", {}, {"power_w": 100}),
    ("six bytes hold a terawatt-hour", "0603 00a0724e1809", {}, {"import_wh": 10_000_000_000_000}),
    ("twelve digits count hundredths of a kWh", "0e04 563412000000", {}, {"import_wh": 1_234_560}),
    ("the highest digit F is a minus", "0a2b50f2", {}, {"power_w": -250}),
    ("a real number is rounded", "05 2b 33331f43", {}, {"power_w": 159}),
    ("megawatt-hours", "04fb0105000000", {}, {"import_wh": 5_000_000}),
    ("frequency", "02fb2c 8713", {}, None),
    ("a record error takes the value away", "048315e8030000 022b6400", {}, {"power_w": 100}),
    ("no error leaves it", "048300e8030000", {}, {"import_wh": 1000}),
    ("a phase after the standard's VIFE", "02fdc8fc02 fe08", {}, {"voltage_l2_mv": 230_200}),
    ("between two phases is no phase", "02fdc8fc05 aa0f 022b6400", {}, {"power_w": 100}),
    ("one phase alone is the whole power", "02abfc01 6400", {}, {"power_l1_w": 100, "power_w": 100}),
    ("two of three are not", "02abfc01 6400 02abfc02 6400", {}, {"power_l1_w": 100, "power_l2_w": 100}),
    ("text of a length is passed over", "0d78 03 414243 022b6400", {}, {"power_w": 100}),
    ("a plain-text unit is passed over", "02fc 03 414243 74 0500 022b6400", {}, {"power_w": 100}),
    ("digits of a length", "0d2b c2 3412", {}, {"power_w": 1234}),
    ("and negative ones", "0d2b d2 3412", {}, {"power_w": -1234}),
    ("filler and the maker's own end", "2f2f 022b6400 0f ff", {}, {"power_w": 100}),
    ("no value is none", "022b0080 0403e8030000", {}, {"import_wh": 1000}),
    ("a letter among digits is none", "0a2b0a00 0403e8030000", {}, {"import_wh": 1000}),
    ("not a number is none", "052b0000c07f 0403e8030000", {}, {"import_wh": 1000}),
    ("beyond every home is left out", "042b ffffff7f 0403e8030000", {}, {"import_wh": 1000}),
    ("nothing we measure", "0a5a1234", {}, Refusal.EMPTY),
    ("a record that ends early", "0403e803", {}, Refusal.MALFORMED),
    ("endless extensions", "8480808080808080808080808003", {}, Refusal.MALFORMED),
    ("a reserved length", "0d2b fb 00", {}, Refusal.MALFORMED),
    ("water", "0413e8030000", {"medium": "07"}, Refusal.UNSUPPORTED),
    ("encrypted", "0403e8030000", {"config": "0005"}, Refusal.UNSUPPORTED),
    ("an application that is busy", "0403e8030000", {"status": "01"}, Refusal.EMPTY),
]  # fmt: skip


@pytest.mark.parametrize(("body", "header", "meaning"), [r[1:] for r in RECORDS if r[3] is not None],
                         ids=[r[0] for r in RECORDS if r[3] is not None])  # fmt: skip
def test_a_record_means_what_the_standard_says(body: str, header: dict[str, str], meaning: object) -> None:
    assert means(body, **header) == meaning


@pytest.mark.parametrize(("exponent", "raw"), [(0, 50_012), (1, 5_001), (2, 500), (3, 50)])
def test_frequency_has_four_scales(exponent: int, raw: int) -> None:
    body = f"04fb{0x2C + exponent:02x}" + raw.to_bytes(4, "little").hex()
    assert means(body) == {"frequency_mhz": raw * 10**exponent}


def test_the_header_tells_serial_maker_and_version() -> None:
    (telegram,) = MbusDecoder().feed(framed("0403e8030000"))
    assert telegram.texts == {"serial": "12345678", "manufacturer": "ABB", "version": "2"}


@pytest.mark.slow
def test_a_damaged_answer_gives_the_original_values_or_another_right_frame() -> None:
    """The checksum has 8 bits, and a sum does not see two bytes swapped: so a reference says which frames are right."""
    raws = tuple(case.raw for case in cases("mbus") if case.telegrams)
    random, passed = Random("damaged M-Bus"), 0
    original = {evidence_of(raw) for raw in raws}
    for _ in range(DAMAGED):
        stream = damaged(random.choice(raws), raws, random)
        decoder = MbusDecoder()
        for telegram in (found for chunk in chunks(stream, random) for found in decoder.feed(chunk)):
            assert all(MEASUREMENTS[n].minimum <= v <= MEASUREMENTS[n].maximum for n, v in telegram.values.items())
            if telegram.evidence not in original:
                passed += 1
                assert telegram.evidence in {evidence_of(frame) for frame in right_frames(stream)}
        assert decoder.buffered_bytes <= 261
    assert passed <= DAMAGED // 6


def right_frames(stream: bytes) -> list[bytes]:
    """Every piece of the stream that is a long frame with a right sum."""
    found = []
    for begin in range(len(stream)):
        if stream[begin : begin + 1] == b"\x68" and len(stream) > begin + 3 and stream[begin + 3] == 0x68:
            length = stream[begin + 1]
            frame = stream[begin : begin + length + 6]
            whole_frame = len(frame) == length + 6 and stream[begin + 2] == length and frame[-1] == 0x16
            if whole_frame and sum(frame[4:-2]) % 256 == frame[-2]:
                found.append(frame)
    return found


def test_after_any_damage_the_next_answers_are_found() -> None:
    raws = tuple(case.raw for case in cases("mbus") if case.telegrams)
    random = Random("way back of M-Bus")
    for _ in range(DAMAGED // 5):
        good = random.choice(raws)
        enough = good * (261 // len(good) + 2)  # a false head may wait for so many bytes
        stream = damaged(random.choice(raws), raws, random) + enough
        decoder = MbusDecoder()
        found = [telegram for chunk in chunks(stream, random) for telegram in decoder.feed(chunk)]
        assert found and found[-1].evidence == evidence_of(good)


@given(st.binary(max_size=2_000))
def test_noise_gives_no_answer_and_no_growing_buffer(noise: bytes) -> None:
    decoder = MbusDecoder()
    decoder.feed(noise * 20)
    assert decoder.buffered_bytes <= 261


values_of_a_home = st.fixed_dictionaries(
    {"import_wh": st.integers(0, 10**13), "export_wh": st.integers(0, 10**13), "power_w": st.integers(-(10**6), 10**6)}
)


@given(values_of_a_home)
def test_what_the_simulated_meter_encodes_is_decoded(values: dict[str, int]) -> None:
    (telegram,) = MbusDecoder().feed(mbus(values, "12345678", 0))
    assert dict(telegram.values) == values


# --- MQTT ---------------------------------------------------------------------------------------------------------


@EACH_MESSAGE
def test_captured_messages_mean_what_their_case_says(kind: str, case: MessageCase) -> None:
    decoder = case.decoder(kind)
    values: dict[str, int] = {}
    told: list[Telegram] = []
    for topic, payload in case.messages:
        found = decoder.decode(topic, payload)
        assert all(telegram.evidence == evidence_of(payload) for telegram in found)
        told += found
        for telegram in found:
            values.update(telegram.values)
    assert values == case.told["values"]
    assert told[0].texts == case.told["texts"] and told[0].taken_at_s == case.told.get("taken_at_s")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["tasmota", "shelly", "json"])
def test_a_damaged_message_raises_nothing_and_stays_in_range(kind: str) -> None:
    found = [case for folder, case in MESSAGE_CASES if folder == kind]
    payloads = tuple(payload for case in found for _, payload in case.messages)
    random, refused = Random(f"damaged {kind}"), Counter[Refusal]()
    for _ in range(DAMAGED):
        case = random.choice(found)
        decoder = case.decoder(kind)
        topic, payload = random.choice(case.messages)
        broken = damaged(payload, payloads, random)
        for telegram in decoder.decode(topic, broken):
            assert telegram.values and telegram.evidence == evidence_of(broken)
            assert all(MEASUREMENTS[n].minimum <= v <= MEASUREMENTS[n].maximum for n, v in telegram.values.items())
        refused += decoder.refused
    assert refused[Refusal.MALFORMED] > 0 or kind == "json"


HOSTILE = [
    b"", b"{", b"[]", b"null", b'"text"', b"\xff\xfe", b"[" * 15_000, b'{"a":' * 3_000, b"NaN", b"Infinity",
    b"1e999999999",
    b'{"ENERGY":{"Total":NaN}}', b'{"ENERGY":{"Total":1e400000000}}', b'{"ENERGY":[1]}', b'{"ENERGY":{"Power":[]}}',
    b'{"ENERGY":{"Total":"nan"}}', b'{"ENERGY":{"Total":true}}', b'{"params":{"em:0":[1]}}', b"9" * 10_000,
    b'{"ENERGY":{"Total":-1}}', b"{" + b" " * PAYLOAD_LIMIT_BYTES + b"}", b'{"a":1e-999999999}',
    b'{"params":{"ts":1e30}}',
]  # fmt: skip
DECODERS: list[Callable[[], MessageDecoder]] = [
    TasmotaDecoder,
    ShellyDecoder,
    lambda: JsonPathDecoder({"import_wh": "a * 1000", "power_w": "$"}),
]


@pytest.mark.parametrize("make", DECODERS, ids=["tasmota", "shelly", "json"])
@pytest.mark.parametrize("payload", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_messages_are_refused_by_name(make: Callable[[], MessageDecoder], payload: bytes) -> None:
    for topic in ("tele/x/SENSOR", "shellies/x/emeter/0/total", "x/status/em:0"):
        decoder = make()
        found = decoder.decode(topic, payload)
        assert decoder.refused.total() >= 1 or found
        assert all(type(value) is int for telegram in found for value in telegram.values.values())


@given(st.decimals(min_value=0, max_value=10**9, places=3, allow_nan=False))
def test_a_counter_in_kilowatt_hours_is_exact_to_the_last_watt_hour(kilowatt_hours: Decimal) -> None:
    payload = f'{{"ENERGY":{{"Total":{kilowatt_hours}}}}}'.encode()
    (telegram,) = TasmotaDecoder().decode("tele/x/SENSOR", payload)
    assert telegram.values["import_wh"] == int(kilowatt_hours * 1000)


def test_three_phases_of_tasmota_are_summed_and_kept_apart() -> None:
    payload = b'{"ENERGY":{"Total":[1.5,2.5,3.0],"Power":[100,-20,5],"Voltage":[230,231,232]}}'
    (telegram,) = TasmotaDecoder().decode("tele/x/SENSOR", payload)
    assert telegram.values["import_wh"] == 7_000 and telegram.values["power_w"] == 85
    assert (telegram.values["power_l2_w"], telegram.values["voltage_l3_mv"]) == (-20, 232_000)


def test_a_script_s_meter_is_read_by_the_usual_names_and_no_others() -> None:
    told = {"Total_in": 1234.5678, "Total_out": 0.3, "Power_curr": -256, "Volt_p2": 231.4, "Meter_Number": "0a014c"}
    (telegram,) = TasmotaDecoder().decode("tele/x/SENSOR", json.dumps({"Time": "", "MT175": told}).encode())
    assert telegram.values == {"import_wh": 1_234_568, "export_wh": 300, "power_w": -256, "voltage_l2_mv": 231_400}
    assert telegram.texts == {"serial": "0a014c"}
    decoder = TasmotaDecoder()
    assert decoder.decode("tele/x/SENSOR", b'{"AM2301":{"Temperature":21.5}}') == []
    assert decoder.refused == {Refusal.EMPTY: 1}


def test_the_filter_tells_the_channel() -> None:
    assert channel_of("shellies/shellyem-1/emeter/1/+") == 1
    assert channel_of("shellyproem50-1/status/em1:0") == 0
    assert channel_of("shellies/shellyem3-1/emeter/+/+") is None
    assert channel_of("shellypro3em-1/events/rpc") is None


def test_watt_minutes_of_an_old_relay_are_not_taken_for_watt_hours() -> None:
    decoder = ShellyDecoder(0)
    assert decoder.decode("shellies/shelly1pm-1/relay/0/energy", b"1200") == []
    assert decoder.decode("shellies/shelly1pm-1/relay/0/power", b"41.5")[0].values == {"power_w": 42}


PATHS = [
    ("a", {"a": 1}, 1),
    ("a.b", {"a": {"b": 2}}, 2),
    ("$.a.b", {"a": {"b": 2}}, 2),
    ("a[1].b", {"a": [0, {"b": 3}]}, 3),
    ("[0]", [4], 4),
    ("$[0]", [4], 4),
    ('["a b"].c', {"a b": {"c": 5}}, 5),
    ('a["x.y"]', {"a": {"x.y": 6}}, 6),
    ('["5 * 3"]', {"5 * 3": 8}, 8),
    ("$", 7, 7),
    ("a * 1000", {"a": 1.234}, 1234),
    ("a*-1", {"a": 5}, -5),
    ("a * 0.001", {"a": 5000}, 5),
    ("a", {"a": "12"}, 12),
]


@pytest.mark.parametrize(("path", "document", "number"), PATHS)
def test_a_path_leads_to_its_number(path: str, document: object, number: int) -> None:
    (telegram,) = JsonPathDecoder({"power_w": path}).decode("x", json.dumps(document).encode())
    assert telegram.values == {"power_w": number}


@pytest.mark.parametrize(
    "path",
    ["", " ", ".a", "a..b", "a.", "a[b]", "a[-1]", "a[1", "a * b", "a * 0", "a * 1e99", "a * nan", "a b", "x" * 300,
     ".".join("a" * 17)],
)  # fmt: skip
def test_a_path_that_says_nothing_is_refused_with_its_reason(path: str) -> None:
    with pytest.raises(LocalPathError):
        parse_path(path)


def test_paths_are_of_known_measurements_and_not_endless() -> None:
    for paths in ({}, {"no_such": "a"}, {f"power_l{n}_w": "a" for n in range(70)}):
        with pytest.raises(LocalPathError):
            JsonPathDecoder(paths)


def test_a_topic_end_chooses_among_the_messages_of_a_meter() -> None:
    decoder = JsonPathDecoder({"power_w": "power/state: $", "import_wh": "energy/state: $ * 1000"})
    assert decoder.decode("x/power/state", b"5")[0].values == {"power_w": 5}
    assert decoder.decode("x/energy/state", b"1.5")[0].values == {"import_wh": 1500}
    assert decoder.decode("x/other/state", b"1") == []
    assert decoder.refused == {Refusal.UNSUPPORTED: 1}


@given(st.text(max_size=40))
def test_no_text_breaks_the_path_parser(text: str) -> None:
    try:
        path = parse_path(text)
    except LocalPathError:
        return
    assert len(path.steps) <= 16 and path.factor != 0


@given(st.decimals(allow_nan=True, allow_infinity=True))
def test_a_number_is_exact_or_none(number: Decimal) -> None:
    found = exact(number)
    assert found is None or found == Fraction(number)
    assert whole(number) is None or isinstance(whole(number), int)
