"""What a set-point would do, without doing it: the agent's own checks, and the words it would write.

    "device=roof,kind=export_limit,power_w=2500" -> Wanted -> poll of the device -> refusal | register and words

Reads the device (its scale factors and, for SunSpec, where its models lie) and the store, and writes to neither. An
import limit that the home holds at its own meter, and a command to a metering node, need no device for this.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from contracts.codes import ClockStatus, SetPointKind, SetPointOutcome
from contracts.eip712 import LocalValueError
from contracts.messages import SetPoint
from device_profiles.codec import LocalCodecError
from device_profiles.profile import load_profile
from device_profiles.profile_parts import WritePoint
from device_profiles.read_plan import LocalPlanError
from device_profiles.sunspec import RemoteSunSpecError
from device_profiles.write_codec import encode_write
from edge_agent.config import AgentConfig, LimitsConfig, MeterConfig
from edge_agent.delivery.store_file import RemoteStoreError, stored_rows
from edge_agent.effects import Counters, Sample, WriteResult
from edge_agent.shell.bus import RemoteBusError
from edge_agent.shell.clock import Clock, clock_of
from edge_agent.shell.modbus import BusTask
from edge_agent.shell.node_set_points import node_profile
from edge_agent.shell.runtime import load_profiles
from edge_agent.steering.actuator import WATCHDOG_S
from edge_agent.steering.control import Control
from edge_agent.steering.import_limit import ImportLimits
from edge_agent.steering.set_point_rules import Circumstances, least_w, ramp_for, refusal_of, value_for, write_for

ASK_S = 20.0
"""A device that has said nothing by then is not there; the longest walk over SunSpec models takes a few seconds."""
VALID_S = 60
_KEYS = frozenset(("device", "kind", "power_w", "valid_s", "age_s", "term", "sequence"))
_KINDS = {kind.name.lower(): kind for kind in SetPointKind}


class LocalTextError(Exception):
    """A set-point that cannot be read from what was typed."""


class RemoteSilenceError(Exception):
    """The device does not answer as it should."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A set-point as it was typed; ``power_w`` None where it was no finite number."""

    device: str
    kind: SetPointKind
    power_w: int | None
    valid_s: int = VALID_S
    age_s: int = 0
    term: int | None = None
    sequence: int | None = None


@dataclass(frozen=True, slots=True)
class Rehearsed:
    """What would become of it: a refusal by its name, or what would be written, line by line."""

    refusal: str | None
    lines: tuple[str, ...] = ()


def wanted_from(text: str) -> Wanted:
    """From ``key=value,key=value`` or a JSON object. Raises LocalTextError."""
    rows = _rows(text)
    unknown = sorted(set(rows) - _KEYS)
    if unknown:
        raise LocalTextError(f"unknown key {unknown[0]!r}; there are: {', '.join(sorted(_KEYS))}")
    missing = [key for key in ("device", "kind", "power_w") if key not in rows]
    if missing:
        raise LocalTextError(f"{missing[0]} is missing")
    kind = _KINDS.get(str(rows["kind"]).lower())
    if kind is None:
        raise LocalTextError(f"kind is {rows['kind']!r}, allowed is one of {', '.join(_KINDS)}")
    numbers = {key: _whole(key, rows[key]) for key in ("valid_s", "age_s", "term", "sequence") if key in rows}
    if any(value is None or value < 0 for value in numbers.values()):
        raise LocalTextError("valid_s, age_s, term and sequence are whole numbers from 0")
    return Wanted(
        str(rows["device"]), kind, _whole("power_w", rows["power_w"]), numbers.get("valid_s") or VALID_S,
        numbers.get("age_s") or 0, numbers.get("term"), numbers.get("sequence"),
    )  # fmt: skip


def _rows(text: str) -> dict[str, Any]:
    if text.lstrip().startswith("{"):
        try:
            rows = json.loads(text)
        except ValueError as error:
            raise LocalTextError(f"not JSON: {error}") from error
        return dict(rows)
    pairs = [part.partition("=") for part in text.split(",")]
    if any(not separator for _, separator, _ in pairs):
        raise LocalTextError("a set-point is key=value,key=value or a JSON object")
    return {key.strip(): value.strip() for key, _, value in pairs}


def _whole(key: str, value: object) -> int | None:
    """A whole number; None for one that is not finite. Raises LocalTextError for anything else."""
    try:
        return int(str(value))
    except ValueError:
        pass
    try:
        number = float(str(value))
    except ValueError:
        raise LocalTextError(f"{key} is {value!r}, which is no number") from None
    if not math.isfinite(number):
        return None
    if not number.is_integer():
        raise LocalTextError(f"{key} is {value!r}, which is not whole")
    return int(number)


def rehearsed(config: AgentConfig, wanted: Wanted) -> Rehearsed:
    """`rehearse` to its end."""
    return asyncio.run(rehearse(config, wanted))


async def rehearse(config: AgentConfig, wanted: Wanted) -> Rehearsed:
    """What the agent would do with it now. Raises RemoteSilenceError for a device that does not answer."""
    if wanted.power_w is None:
        return Rehearsed("NON_FINITE")
    meter = next((m for m in config.meters if wanted.device in (m.name, str(m.number))), None)
    if meter is None:
        return Rehearsed("NO_SUCH_DEVICE")
    clock = clock_of(config.clock)
    known = clock.check()[0] == ClockStatus.SYNCHRONISED
    newest = _newest(config, meter)
    term = newest[0] if wanted.term is None else wanted.term
    sequence = newest[1] + 1 if wanted.sequence is None else wanted.sequence
    issued_s = clock.now_ms() // 1000 - wanted.age_s
    try:
        order = SetPoint(
            config.home.account, meter.number, int(wanted.kind), max(term, 0), max(sequence, 0), issued_s,
            issued_s + wanted.valid_s, wanted.power_w,
        )  # fmt: skip
    except LocalValueError as error:
        return Rehearsed("OUT_OF_RANGE", (str(error),))
    met = Circumstances(clock.now_ms(), True, known, newest)
    held = _held_at_the_meter(config, order, wanted, met)
    if held is not None:
        return held
    if not meter.is_modbus:
        return _of_node(config, meter, order, met)
    profile = load_profile(meter.profile)
    if write_for(order.kind, profile) is None:
        refusal = refusal_of(order, profile, config, meter.name, {}, met)
        return Rehearsed("NO_SUCH_DEVICE" if refusal is None else refusal.name)
    bus = BusTask([(meter, profile)], clock, _ignore_sample, _ignore_write)
    try:
        return await asyncio.wait_for(_asked(config, meter, order, bus, clock, known, newest), ASK_S)
    except (RemoteBusError, RemoteSunSpecError, LocalPlanError, ValueError) as error:
        raise RemoteSilenceError(f"{meter.name}: {error}") from error
    except TimeoutError as error:
        raise RemoteSilenceError(f"{meter.name}: no answer within {ASK_S:g} s") from error
    finally:
        bus.close()


def _held_at_the_meter(config: AgentConfig, order: SetPoint, wanted: Wanted, met: Circumstances) -> Rehearsed | None:
    """What becomes of an import limit that no device can hold; None for any other order."""
    profiles = load_profiles(config)
    steered = [meter for meter in config.meters if meter.name in profiles]
    control = Control(config, steered, profiles, lambda _: {}, lambda _: True, Counters())
    main = next((meter.name for meter in config.meters if meter.number == 0), "")
    limits = ImportLimits(config, main, control.devices, 0, lambda _: True, Counters())
    if not limits.takes(order):
        return None
    rows = _stored(config, "control/import") or []
    limits.restore(rows)
    newest = max(((row[3], row[4]) for row in rows if row[1] == order.device), default=(0, -1))
    order = replace(
        order,
        term=newest[0] if wanted.term is None else order.term,
        sequence=newest[1] + 1 if wanted.sequence is None else order.sequence,
    )
    report = limits.on_set_point(order, met)
    if report is not None:
        return Rehearsed(SetPointOutcome(report.outcome).name)
    valid_s = order.valid_until_s - order.issued_at_s
    said = f"{main}: the home takes at most {order.power_w} W for {valid_s} s, measured here"
    return Rehearsed(None, (said, f"steered for it: {', '.join(limits.steered)}"))


def _of_node(config: AgentConfig, meter: MeterConfig, order: SetPoint, met: Circumstances) -> Rehearsed:
    """A metering node takes commands, if it steers at all; it is not asked for this."""
    profile = node_profile(meter)
    refusal = refusal_of(order, profile, config, meter.name, {}, met)
    write = None if profile is None else write_for(order.kind, profile)
    if refusal is not None or write is None:
        return Rehearsed("NO_SUCH_DEVICE" if refusal is None else refusal.name)
    value = value_for(order, write, config.limits, config.battery_of(meter.name), {})
    said = f"{meter.name}: {write.name} = {value}, a command to the node that ends by itself after {WATCHDOG_S} s"
    return Rehearsed(None, (said + _pace(write, config.limits, {}),))


async def _asked(
    config: AgentConfig, meter: MeterConfig, order: SetPoint, bus: BusTask, clock: Clock, known: bool,
    newest: tuple[int, int],
) -> Rehearsed:  # fmt: skip
    unit = bus.unit(meter.name)
    sample = await bus.sample(unit)
    values = sample.values or {}
    met = Circumstances(clock.now_ms(), True, known, newest)
    refusal = refusal_of(order, unit.profile, config, meter.name, values, met)
    write = write_for(order.kind, unit.profile)
    if refusal is not None or write is None:
        return Rehearsed("NO_SUCH_DEVICE" if refusal is None else refusal.name)
    least = least_w(unit.profile)
    value = value_for(order, write, config.limits, config.battery_of(meter.name), values, least)
    assert value is not None  # refusal_of asked the same
    remaining_s = max(1, order.valid_until_s - clock.now_ms() // 1000)
    watchdog_s = None if write.watchdog is None else min(WATCHDOG_S, write.watchdog.seconds, remaining_s)
    try:
        requests = encode_write(unit.profile, write.name, value, await bus.registers(unit, write.name), watchdog_s)
    except LocalCodecError as error:
        return Rehearsed("OUT_OF_RANGE", (str(error),))
    said = f"{meter.name}: {write.name} = {value}"
    said += f" (a charger offers {least} W or nothing)" if 0 < order.power_w < least else ""
    said += f", watchdog {watchdog_s} s" if watchdog_s is not None else ", no watchdog in the device"
    said += _pace(write, config.limits, values)
    words = (f"register {address}: {' '.join(f'0x{word:04X}' for word in words)}" for address, words in requests)
    return Rehearsed(None, (said, *words))


def _pace(write: WritePoint, limits: LimitsConfig, values: Mapping[str, int]) -> str:
    """How fast the value is reached, and who says so."""
    if write.storage == "flash":
        return ", in one step, because each is one of the day's writes to flash"
    ramp = ramp_for(write, limits, values)
    if ramp is None:
        return ", in one step: neither the device nor [limits] ramp_w_per_s bounds it"
    whose = "the device's own bound" if ramp == write.ramp_per_s else "[limits] ramp_w_per_s"
    return f", in steps of at most {ramp} a second ({whose})"


def _newest(config: AgentConfig, meter: MeterConfig) -> tuple[int, int]:
    """The newest order the agent has obeyed, as its store says."""
    try:
        term, sequence, *_ = _stored(config, f"control/{meter.number}")
        return int(term), int(sequence)
    except (ValueError, TypeError):
        return -1, -1


def _stored(config: AgentConfig, name: str) -> Any:
    """What the store remembers under that name; None where it cannot be told."""
    try:
        return json.loads(stored_rows(config.store, f"SELECT value FROM memory WHERE name = '{name}'")[0][0])
    except (RemoteStoreError, IndexError, ValueError, TypeError):
        return None


def _ignore_sample(_: Sample) -> None:
    """It asks by itself."""


def _ignore_write(_: WriteResult) -> None:
    """It writes nothing."""
