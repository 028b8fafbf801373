"""What an installer asks an installation: its devices, its queue, and whether everything is in order."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator
from pathlib import Path

from contracts.envelope import Envelope, open_envelope
from contracts.messages import ClockStatus
from device_profiles.codec import LocalCodecError
from device_profiles.profile import load_profile
from device_profiles.read_plan import Link, LocalPlanError, ReadPlan, plan
from device_profiles.sunspec import RemoteSunSpecError, layout, resolve
from edge_agent.config import AgentConfig
from edge_agent.effects import Sample, WriteResult
from edge_agent.frame import FrameKind
from edge_agent.outbox import read_queue
from edge_agent.shell.bus import RemoteBusError
from edge_agent.shell.clock import SystemClock, clock_of
from edge_agent.shell.key_store import KeyFileError, address_text, read_key
from edge_agent.shell.modbus import USED, BusTask, buses
from edge_agent.shell.runtime import load_profiles

PROBE_S = 20.0
BROKER_S = 5.0
ROOM_BYTES = 64 * 1024 * 1024
"""Both budgets of the outbox, and room for its journal."""
SETTLED_REGISTERS = ("import_wh", "export_wh")

Probed = tuple[str, dict[str, int], str | None]
Finding = tuple[str, bool, str]


async def probe_devices(config: AgentConfig) -> list[Probed]:
    """Name, values and fault of every configured device, each read once."""
    profiles = load_profiles(config)
    pairs = [(meter, profiles[meter.name]) for meter in config.meters]
    groups = buses(pairs, SystemClock(), _ignore_sample, _ignore_write)
    found = await asyncio.gather(*(_probe_bus(bus) for bus in groups))
    order = {meter.name: place for place, meter in enumerate(config.meters)}
    return sorted((probed for bus in found for probed in bus), key=lambda probed: order[probed[0]])


def _ignore_sample(_: Sample) -> None:
    """A probe asks by itself."""


def _ignore_write(_: WriteResult) -> None:
    """A probe writes nothing."""


async def _probe_bus(bus: BusTask) -> list[Probed]:
    found: list[Probed] = []
    for name in bus.names():
        try:
            sample = await asyncio.wait_for(bus.sample(bus.unit(name)), PROBE_S)
            found.append((name, dict(sample.values or {}), None))
        except (RemoteBusError, RemoteSunSpecError, LocalCodecError, LocalPlanError, ValueError) as error:
            found.append((name, {}, str(error)))
        except TimeoutError:
            found.append((name, {}, f"no answer within {PROBE_S:g} s"))
    bus.close()
    return found


def planned(name: str, link: Link) -> ReadPlan:
    """The reads the agent makes of a device. Raises ProfileError, LocalPlanError or ValueError."""
    profile = load_profile(name)
    if not profile.resolved:
        profile = resolve(profile, layout(profile))
    return plan([p for p in profile.points if p.measurement in USED], profile.bus, link)


def queue_rows(store: Path) -> list[tuple[str, int, int]]:
    """Kind, number and bytes of what waits. Raises RemoteStoreError."""
    sizes: dict[int, list[int]] = {}
    for kind, payload in read_queue(store):
        sizes.setdefault(kind, []).append(len(payload))
    return [(FrameKind(kind).name.lower(), len(found), sum(found)) for kind, found in sorted(sizes.items())]


def queue_lines(store: Path) -> Iterator[str]:
    """Every waiting message as JSON. Raises RemoteStoreError."""
    for _, payload in read_queue(store):
        opened = open_envelope(payload)
        if isinstance(opened, Envelope):
            kind = type(opened.message).__name__
            yield json.dumps({"kind": kind, **opened.message.to_json(), "signature": "0x" + opened.signature.hex()})


async def examine(config: AgentConfig) -> list[Finding]:
    """Everything an installation needs: what, whether it is good, and why."""
    findings = [_key(config), _store(config), _clock(config), _settlement_meter(config)]
    findings.append(await _broker(config))
    for name, values, fault in await probe_devices(config):
        findings.append((f"device {name}", fault is None, fault or f"{len(values)} values"))
    return findings


def _key(config: AgentConfig) -> Finding:
    if config.key_file is None:
        return "key", False, "no key file is configured"
    try:
        return "key", True, address_text(read_key(config.key_file))
    except KeyFileError as error:
        return "key", False, str(error)


def _store(config: AgentConfig) -> Finding:
    folder = config.store.parent
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        return "store", False, f"{folder} is not a folder we may write to"
    if not os.access(config.lease_file.parent, os.W_OK):
        return "store", False, f"{config.lease_file.parent} must be writable too: leases are kept next to the key"
    status = os.statvfs(folder)
    room_bytes = status.f_bavail * status.f_frsize
    if room_bytes < ROOM_BYTES:
        return "store", False, f"only {room_bytes // 1_000_000} MB free, {ROOM_BYTES // 1_000_000} MB are needed"
    return "store", True, f"{config.store}, {room_bytes // 1_000_000} MB free"


def _clock(config: AgentConfig) -> Finding:
    status, _ = clock_of(config.clock).check()
    return "clock", status == ClockStatus.SYNCHRONISED, status.name.lower()


def _settlement_meter(config: AgentConfig) -> Finding:
    what = "settlement meter"
    settled = [meter for meter in config.meters if meter.role == "settlement"]
    if not any(meter.number == 0 for meter in settled):
        return what, False, 'no [[meter]] with role = "settlement" has number 0, the one that counts for money'
    for meter in settled:
        missing = [name for name in SETTLED_REGISTERS if name not in load_profile(meter.profile).measurements]
        if missing:
            return what, False, f"{meter.profile} has no {' and no '.join(missing)}"
    return what, True, ", ".join(meter.name for meter in settled)


async def _broker(config: AgentConfig) -> Finding:
    import aiomqtt

    broker = config.broker
    what = f"broker {broker.host}:{broker.port}"
    try:
        password = None if broker.password_file is None else broker.password_file.read_text(encoding="utf-8").strip()
        client = aiomqtt.Client(
            broker.host, broker.port, username=broker.username, password=password, timeout=BROKER_S,
            protocol=aiomqtt.ProtocolVersion.V311,
        )  # fmt: skip
        async with asyncio.timeout(BROKER_S * 2), client:
            return what, True, "connected"
    except (aiomqtt.MqttError, OSError, TimeoutError, ValueError) as error:
        return what, False, str(error) or type(error).__name__
