"""Reads the keys of a `[[meter]]` that only some telegrams have: the clock of P1, and the addresses of M-Bus."""

from __future__ import annotations

import re
from collections.abc import Sequence

from edge_agent.config import CENTRAL_EUROPE_S, MeterConfig
from edge_agent.config_section import Section
from firmware_bridge.mbus import BROADCAST, PARTS_LIMIT, PRIMARY_LIMIT

_TIME_ZONE = re.compile(r"([+-])(0[0-9]|1[0-4]):(00|15|30|45)")
_SECONDARY = re.compile(r"[0-9]{8}")


def read_time_zone_s(table: Section, link: str) -> int:
    """`time_zone_offset` of telegram `p1`: what the meter's winter clock is ahead of UTC, as in "+02:00"."""
    if not _speaks(table, link, "p1"):
        return CENTRAL_EUROPE_S
    text = table.text("time_zone_offset", "+01:00")
    found = _TIME_ZONE.fullmatch(text)
    if found is None:
        table.refuse(f'time_zone_offset is {text!r}, allowed is the offset of winter time from UTC, like "+02:00"')
        return CENTRAL_EUROPE_S
    sign, hours, minutes = found.groups()
    return (int(hours) * 3_600 + int(minutes) * 60) * (-1 if sign == "-" else 1)


def read_primary_address(table: Section, link: str) -> int:
    """`unit` of telegram `mbus`; without one the meter is alone, and asked as everybody. Other telegrams have none."""
    if not _speaks(table, link, "mbus"):
        return 1
    return BROADCAST if "unit" not in table.values else table.integer("unit", 0, PRIMARY_LIMIT)


def read_secondary_address(table: Section, link: str) -> str:
    """`secondary_address` of telegram `mbus`: the eight digits on the meter. It excludes `unit`."""
    if not _speaks(table, link, "mbus"):
        return ""
    text = table.text("secondary_address", "")
    if text and "unit" in table.values:
        table.refuse("unit and secondary_address exclude each other")
    if text and not _SECONDARY.fullmatch(text):
        table.refuse(f"secondary_address is {text!r}, allowed are the eight digits of the meter's number")
        return ""
    return text


def read_telegrams(table: Section, link: str) -> int:
    """`telegrams` of telegram `mbus`: how many of one answer are asked for."""
    return table.integer("telegrams", 1, PARTS_LIMIT, PARTS_LIMIT) if _speaks(table, link, "mbus") else PARTS_LIMIT


def _speaks(table: Section, link: str, telegram: str) -> bool:
    return link == "telegram" and table.values.get("telegram") == telegram


def lines_taken(meters: Sequence[MeterConfig]) -> list[tuple[str, int]]:
    """Lines of telegrams as often as they are taken: each for one meter, but an M-Bus line for all on it."""
    alone = [meter.line for meter in meters if meter.link == "telegram" and not meter.is_mbus]
    return [*alone, *{meter.line for meter in meters if meter.is_mbus}]


def refuse_shared_broadcast(meters: Sequence[MeterConfig], errors: list[str]) -> None:
    """Who has no address answers together with every other meter of his line."""
    lines = [meter.line for meter in meters if meter.is_mbus]
    for meter in meters:
        addressed = bool(meter.secondary_address) or meter.unit != BROADCAST
        if meter.is_mbus and not addressed and lines.count(meter.line) > 1:
            errors.append(f"[[meter]] {meter.name} shares its M-Bus line: unit or secondary_address is missing")
