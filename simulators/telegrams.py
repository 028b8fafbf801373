"""Telegrams as real meters write them, from the values of a simulated one. Shares no line with the decoders.

`p1`, `iec62056`, `sml` and `mbus` are bytes of a stream; `tasmota`, `shelly`, `shelly1` and `json` are topics and
payloads of MQTT. Values are integers by the names of `device_profiles.measurement`; what is missing is not written.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta

__all__ = ["MESSAGES", "STREAMS", "Messages", "Values", "json_messages", "mbus", "mbus_parts", "p1"]

Values = Mapping[str, int]
Messages = list[tuple[str, bytes]]
_WINTER = timedelta(hours=1)


def _crc16(chunk: bytes, start: int, polynomial: int) -> int:
    """Bit by bit, least significant first."""
    crc = start
    for byte in chunk:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (polynomial if crc & 1 else 0)
    return crc


def _kilo(value: int, whole_digits: int) -> str:
    """12345 as 000012.345."""
    return f"{value // 1000:0{whole_digits}d}.{value % 1000:03d}"


# --- text ---------------------------------------------------------------------------------------------------------


def p1(values: Values, serial: str, now_s: int) -> bytes:
    """A DSMR 5.0 telegram; all energy is in the second tariff but a seventh, which is in the first."""
    local = datetime.fromtimestamp(now_s, UTC) + _WINTER
    lines = [
        "/ESG5SIMULATED METER",
        "",
        "1-3:0.2.8(50)",
        f"0-0:1.0.0({local:%y%m%d%H%M%S}W)",
        f"0-0:96.1.1({serial.encode('ascii').hex().upper()})",
    ]
    for name, code in (("import_wh", 1), ("export_wh", 2)):
        if name in values:
            low_wh = values[name] // 7
            lines.append(f"1-0:{code}.8.1({_kilo(low_wh, 6)}*kWh)")
            lines.append(f"1-0:{code}.8.2({_kilo(values[name] - low_wh, 6)}*kWh)")
    lines += _directions("1-0:{}.7.0({}*kW)", values, "power_w", (1, 2))
    for phase, base in ((1, 20), (2, 40), (3, 60)):
        if f"voltage_l{phase}_mv" in values:
            lines.append(f"1-0:{base + 12}.7.0({values[f'voltage_l{phase}_mv'] / 1000:05.1f}*V)")
        lines += _directions("1-0:{}.7.0({}*kW)", values, f"power_l{phase}_w", (base + 1, base + 2))
    text = ("\r\n".join(lines) + "\r\n!").encode("ascii")
    return text + f"{_crc16(text, 0, 0xA001):04X}\r\n".encode("ascii")


def _directions(form: str, values: Values, name: str, codes: tuple[int, int]) -> list[str]:
    """Power flowing in and power flowing out, one of them zero."""
    if name not in values:
        return []
    power_w = values[name]
    return [form.format(codes[0], _kilo(max(power_w, 0), 2)), form.format(codes[1], _kilo(max(-power_w, 0), 2))]


def iec_lines(values: Values, serial: str) -> bytes:
    """The data lines of an IEC 62056-21 read-out, with the closing mark."""
    lines = [f"0.0.0({serial})"]
    lines += [
        f"{code}.8.0({_kilo(values[n], 6)}*kWh)" for n, code in (("import_wh", 1), ("export_wh", 2)) if n in values
    ]
    lines += _directions("{}.7.0({}*kW)", values, "power_w", (1, 2))
    for phase, code in ((1, 32), (2, 52), (3, 72)):
        if f"voltage_l{phase}_mv" in values:
            lines.append(f"{code}.7.0({values[f'voltage_l{phase}_mv'] / 1000:05.1f}*V)")
    return ("\r\n".join(lines) + "\r\n!\r\n").encode("ascii")


def iec62056(values: Values, serial: str, _now_s: int) -> bytes:
    """Mode D: the meter pushes it."""
    return b"/ESG5SIMULATED\r\n\r\n" + iec_lines(values, serial)


def iec_block(values: Values, serial: str) -> bytes:
    """Mode C: STX, the lines, ETX and the exclusive or of everything after STX."""
    body = iec_lines(values, serial) + b"\x03"
    check = 0
    for byte in body:
        check ^= byte
    return b"\x02" + body + bytes((check & 0x7F,))


# --- SML ----------------------------------------------------------------------------------------------------------

_ESCAPE = b"\x1b" * 4


def _octets(text: bytes) -> bytes:
    return (
        bytes((len(text) + 1,)) + text
        if len(text) < 15
        else bytes((0x80 | len(text) + 2 >> 4, len(text) + 2 & 15)) + text
    )


def _unsigned(value: int, size: int) -> bytes:
    return bytes((0x60 | size + 1,)) + value.to_bytes(size, "big")


def _signed(value: int, size: int) -> bytes:
    return bytes((0x50 | size + 1,)) + value.to_bytes(size, "big", signed=True)


def _list(*parts: bytes) -> bytes:
    head = bytes((0x70 | len(parts),)) if len(parts) < 16 else bytes((0xF0 | len(parts) >> 4, len(parts) & 15))
    return head + b"".join(parts)


_ABSENT = b"\x01"


def _message(number: int, kind: int, body: bytes) -> bytes:
    told = _list(_unsigned(kind, 2), body)
    head = b"\x76" + _octets(number.to_bytes(4, "big")) + _unsigned(0, 1) + _unsigned(0, 1) + told
    crc = _crc16(head, 0xFFFF, 0x8408) ^ 0xFFFF
    return head + b"\x63" + crc.to_bytes(2, "little") + b"\x00"


def _entry(obis: str, unit: int, scaler: int, value: bytes) -> bytes:
    return _list(_octets(bytes.fromhex(obis)), _ABSENT, _ABSENT, _unsigned(unit, 1), _signed(scaler, 1), value, _ABSENT)


def sml(values: Values, serial: str, now_s: int) -> bytes:
    """A file of three messages: open, list of values, close."""
    server = _octets(b"\x0a\x01ESG" + int(serial).to_bytes(5, "big"))
    entries = [_list(_octets(bytes.fromhex("0100600100ff")), *([_ABSENT] * 4), server, _ABSENT)]
    for name, obis in (("import_wh", "0100010800ff"), ("export_wh", "0100020800ff")):
        if name in values:
            entries.append(_entry(obis, 30, -1, _unsigned(values[name] * 10, 8)))
    rows = (("power_w", "0100100700ff", 27, 0), ("frequency_mhz", "01000e0700ff", 44, -3))
    for name, obis, unit, scaler in rows:
        if name in values:
            entries.append(_entry(obis, unit, scaler, _signed(values[name], 4)))
    for phase, codes in ((1, "24 20"), (2, "38 34"), (3, "4c 48")):
        power, voltage = codes.split()
        if f"power_l{phase}_w" in values:
            entries.append(_entry(f"0100{power}0700ff", 27, 0, _signed(values[f"power_l{phase}_w"], 4)))
        if f"voltage_l{phase}_mv" in values:
            tenths = _unsigned(values[f"voltage_l{phase}_mv"] // 100, 2)
            entries.append(_entry(f"0100{voltage}0700ff", 35, -1, tenths))
    opened = _list(_ABSENT, _ABSENT, _octets(now_s.to_bytes(4, "big")), server, _ABSENT, _ABSENT)
    since_start = _list(_unsigned(1, 1), _unsigned(now_s % 2**32, 4))
    told = _list(_ABSENT, server, _ABSENT, since_start, _list(*entries), _ABSENT, _ABSENT)
    content = _message(1, 0x0101, opened) + _message(2, 0x0701, told) + _message(3, 0x0201, _list(_ABSENT))
    fill = -len(content) % 4
    body = (content + bytes(fill)).replace(_ESCAPE, _ESCAPE * 2)
    file = _ESCAPE + b"\x01" * 4 + body + _ESCAPE + bytes((0x1A, fill))
    return file + (_crc16(file, 0xFFFF, 0x8408) ^ 0xFFFF).to_bytes(2, "little")


# --- M-Bus --------------------------------------------------------------------------------------------------------


def mbus(values: Values, serial: str, now_s: int, address: int = 1) -> bytes:
    """The answer to REQ_UD2: long header, energies of 48 bits in Wh, power in W, voltages in tenths of a volt."""
    return mbus_parts(values, serial, now_s, address, 1)[0]


def mbus_parts(values: Values, serial: str, now_s: int, address: int, count: int) -> list[bytes]:
    """The same in ``count`` telegrams, each but the last with the word that more follow."""
    records: list[bytes] = []
    for name, head in (("import_wh", "0603"), ("export_wh", "06833c")):
        if name in values:
            records.append(bytes.fromhex(head) + values[name].to_bytes(6, "little", signed=True))
    for name, head in (("power_w", "042b"), *((f"power_l{n}_w", f"04abfc0{n}") for n in (1, 2, 3))):
        if name in values:
            records.append(bytes.fromhex(head) + values[name].to_bytes(4, "little", signed=True))
    for phase in (1, 2, 3):
        if f"voltage_l{phase}_mv" in values:
            tenths = values[f"voltage_l{phase}_mv"] // 100
            records.append(bytes.fromhex(f"02fdc8fc0{phase}") + tenths.to_bytes(2, "little"))
    each = -(-len(records) // count)
    parts = [b"".join(records[place * each : (place + 1) * each]) for place in range(count)]
    return [
        _mbus_frame(part + (b"\x1f" if place < count - 1 else b""), serial, now_s + place, address)
        for place, part in enumerate(parts)
    ]


def _mbus_frame(records: bytes, serial: str, access: int, address: int) -> bytes:
    maker = (ord("E") - 64 << 10) + (ord("S") - 64 << 5) + ord("G") - 64
    header = bytes.fromhex(serial.zfill(8)[-8:])[::-1] + maker.to_bytes(2, "little")
    told = bytes((0x08, address, 0x72)) + header + bytes((1, 0x02, access & 0xFF, 0, 0, 0)) + records
    return bytes((0x68, len(told), len(told), 0x68)) + told + bytes((sum(told) & 0xFF, 0x16))


# --- MQTT ---------------------------------------------------------------------------------------------------------


def _thousandth(value: int) -> float:
    return value / 1000


def tasmota(values: Values, name: str, now_s: int) -> Messages:
    """`tele/<name>/SENSOR`."""
    energy: dict[str, float] = {}
    if "import_wh" in values:
        energy["Total"] = _thousandth(values["import_wh"])
    if "export_wh" in values:
        energy["ExportActive"] = _thousandth(values["export_wh"])
    if "power_w" in values:
        energy["Power"] = values["power_w"]
    if "voltage_l1_mv" in values:
        energy["Voltage"] = values["voltage_l1_mv"] // 1000
    told = {"Time": f"{datetime.fromtimestamp(now_s, UTC):%Y-%m-%dT%H:%M:%S}", "ENERGY": energy}
    return [(f"tele/{name}/SENSOR", json.dumps(told).encode())]


def shelly(values: Values, name: str, now_s: int) -> Messages:
    """A three-phase meter of generation 2: two notifications."""
    phases: dict[str, float] = {}
    for n, letter in ((1, "a"), (2, "b"), (3, "c")):
        if f"power_l{n}_w" in values:
            phases[f"{letter}_act_power"] = values[f"power_l{n}_w"]
        if f"voltage_l{n}_mv" in values:
            phases[f"{letter}_voltage"] = _thousandth(values[f"voltage_l{n}_mv"])
    if "power_w" in values:
        phases["total_act_power"] = values["power_w"]
    keys = (("import_wh", "total_act"), ("export_wh", "total_act_ret"))
    registers = {key: float(values[measured]) for measured, key in keys if measured in values}
    messages: Messages = []
    for component, body in (("em:0", phases), ("emdata:0", registers)):
        told = {"src": name, "method": "NotifyStatus", "params": {"ts": now_s + 0.25, component: {"id": 0, **body}}}
        messages.append((f"{name}/events/rpc", json.dumps(told).encode()))
    return messages


def shelly1(values: Values, name: str, _now_s: int) -> Messages:
    """A 3EM of generation 1: every value of every channel in a message of its own, registers in thirds."""
    messages: Messages = []
    for channel in range(3):
        told: dict[str, str] = {}
        if f"power_l{channel + 1}_w" in values:
            told["power"] = f"{values[f'power_l{channel + 1}_w']:.2f}"
        if f"voltage_l{channel + 1}_mv" in values:
            told["voltage"] = f"{values[f'voltage_l{channel + 1}_mv'] / 1000:.2f}"
        for measured, key in (("import_wh", "total"), ("export_wh", "total_returned")):
            if measured in values:
                told[key] = f"{(values[measured] + channel) // 3}.0"
        messages += [(f"shellies/{name}/emeter/{channel}/{key}", text.encode()) for key, text in told.items()]
    return messages


def json_messages(values: Values, name: str, _now_s: int) -> Messages:
    """What somebody's own script might send: kWh and W in one object."""
    told = {
        "energy": {n.removesuffix("_wh"): values[n] / 1000 for n in ("import_wh", "export_wh") if n in values},
        "power": values.get("power_w"),
    }
    return [(f"meters/{name}/state", json.dumps(told).encode())]


STREAMS: Mapping[str, Callable[[Values, str, int], bytes]] = {"p1": p1, "sml": sml, "iec62056": iec62056, "mbus": mbus}
MESSAGES: Mapping[str, Callable[[Values, str, int], Messages]] = {
    "tasmota": tasmota,
    "shelly": shelly,
    "shelly1": shelly1,
    "json": json_messages,
}
