"""What an installation needs, asked point by point: each finding is good, a warning or a fault, with its cure."""

from __future__ import annotations

import asyncio
import contextlib
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from contracts.codes import ClockStatus
from contracts.signature import address_of
from device_profiles.profile import load_profile
from edge_agent.announcement import VERSION
from edge_agent.config import AgentConfig
from edge_agent.shell.broker import password_of
from edge_agent.shell.clock import SENSIBLE_S, clock_of
from edge_agent.shell.examination import probe_devices
from edge_agent.shell.key_store import KeyFileError, address_text, home_key, is_rotated
from edge_agent.shell.named_files import KEY, PASSWORDS, STORE, troubles, without_broken_nodes
from edge_agent.shell.origin import attestation_path, look
from edge_agent.systemd_unit import UNIT_NAME, USER

BROKER_S = 5.0
ROOM_BYTES = 64 * 1024 * 1024
"""Both budgets of the outbox, and room for its journal."""
ROOM_COMFORTABLE_BYTES = 4 * ROOM_BYTES
SLOW_WRITE_S = 0.5
"""A card that takes longer for one durable write holds up every settlement reading."""
ASK_S = 5.0
RENEW_S = 30 * 86_400
"""An attestation that ends within a month is to be renewed at the next visit."""
SETTLED_REGISTERS = ("import_wh", "export_wh")


class Level(StrEnum):
    """How bad a finding is."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """One point; ``cure`` says what to do where it is not good."""

    level: Level
    what: str
    text: str
    cure: str = ""


async def examine(config: AgentConfig) -> list[Finding]:
    """All points, those of the machine first, then those that need an answer from somebody."""
    findings = [*machine(), *_key(config), *_files(config), *_store(config), _clock(config), *_serial_lines(config)]
    broker = config.broker
    link = await _broker("broker", broker.host, broker.port, broker.username, broker.password_file)
    probed = await probe_devices(without_broken_nodes(config))
    findings.append(_settlement_meter(config, {name: values for name, values, _ in probed}))
    for name, values, fault in probed:
        cure = "power, wiring, address and unit of the device; baud and parity on a serial line"
        findings.append(
            Finding(Level.OK, f"device {name}", f"{len(values)} values")
            if fault is None
            else Finding(Level.FAIL, f"device {name}", fault, cure)
        )
    findings.append(link)
    house = config.home_assistant
    if house is not None and house.enabled:
        findings.append(await _broker("Home Assistant", house.host, house.port, house.username, house.password_file))
    return [*findings, _unit()]


def machine() -> Iterator[Finding]:
    """The program and what it runs on."""
    yield Finding(Level.OK, "version", f"energy-grid {VERSION}, Python {platform.python_version()}")
    kind, bits = platform.machine(), 64 if sys.maxsize > 1 << 32 else 32
    if bits != 64:
        cure = "install the 64-bit system: there are no ready packages for 32 bits"
        yield Finding(Level.FAIL, "machine", f"{kind}, {bits} bits", cure)
    elif kind not in ("aarch64", "x86_64", "arm64"):
        yield Finding(Level.WARN, "machine", kind, "tested are aarch64 and x86_64; expect to compile two packages")
    else:
        yield Finding(Level.OK, "machine", f"{kind}, {bits} bits, {platform.system()} {platform.release()}")


def _key(config: AgentConfig) -> Iterator[Finding]:
    now_s = int(time.time())
    try:
        used, key = home_key(config, now_s)
    except KeyFileError as error:
        yield Finding(Level.FAIL, "key", str(error), "edge-agent key new FILE, or the mode and owner of the file")
        return
    yield Finding(Level.OK, "key", f"{address_text(key)} for account {used.home.account}")
    yield from _attestation(used, address_of(key), now_s)
    at_s = config.key.next_at_s
    if at_s is None:
        return
    if is_rotated(config, now_s):
        cure = "make the next key [key] file, move its lease file along, and remove next_file and next_at"
        yield Finding(Level.WARN, "key rotation", "the next key is in use", cure)
    else:
        text = time.strftime("the next key counts from %Y-%m-%d %H:%M UTC", time.gmtime(at_s))
        yield Finding(Level.OK, "key rotation", text)
        if look(used, address_of(key), now_s) is not None and not attestation_path(config, at_s).exists():
            text = "this key is attested, the one that follows is not; what speaks for this one does not for the next"
            yield Finding(Level.WARN, "key attestation", text, "edge-agent key attest --next")


def _attestation(config: AgentConfig, address: bytes, now_s: int) -> Iterator[Finding]:
    """Silent where nothing vouches for the key: nothing has to."""
    found, what = look(config, address, now_s), "key attestation"
    if found is None:
        return
    cure = "edge-agent key attest, then start the agent again"
    if found.refusal is not None or found.signed is None:
        reason = found.refusal.value if found.refusal is not None else "cannot be read"
        yield Finding(Level.WARN, what, f"{found.path}: {reason}", cure)
        return
    until_s = found.signed.attestation.valid_until_s
    text = time.strftime("counts until %Y-%m-%d %H:%M UTC", time.gmtime(until_s))
    soon = until_s - now_s < RENEW_S
    yield Finding(Level.WARN if soon else Level.OK, what, text, cure if soon else "")


def _files(config: AgentConfig) -> Iterator[Finding]:
    """What else the configuration names on disk; key, store and passwords have findings of their own."""
    for trouble in troubles(config):
        if trouble.what not in (KEY, STORE, *PASSWORDS):
            level = Level.FAIL if trouble.stops or trouble.ends else Level.WARN
            yield Finding(level, trouble.what, trouble.text, trouble.cure)


def _store(config: AgentConfig) -> Iterator[Finding]:
    for what, folder in (("store", config.store.parent), ("leases", config.lease_file.parent)):
        yield _folder(what, folder)
    with contextlib.suppress(OSError):
        status = os.statvfs(config.store.parent)
        room_bytes = status.f_bavail * status.f_frsize
        text = f"{room_bytes // 1_000_000} MB free"
        if room_bytes < ROOM_BYTES:
            yield Finding(Level.FAIL, "room", f"only {text}", f"free {ROOM_BYTES // 1_000_000} MB on that disk")
        elif room_bytes < ROOM_COMFORTABLE_BYTES:
            yield Finding(Level.WARN, "room", text, "free some more: an outage of weeks fills the store")
        else:
            yield Finding(Level.OK, "room", text)


def _folder(what: str, folder: Path) -> Finding:
    """Writes, syncs and removes a file: permissions and mount options lie."""
    began_s = time.monotonic()
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".doctor-") as file:
            file.write(bytes(4_096))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        cure = f"install -d -m 700 -o {USER} {folder}; a read-only or full disk must be cured first"
        return Finding(Level.FAIL, what, f"{folder}: {error.strerror or error}", cure)
    took_s = time.monotonic() - began_s
    text = f"{folder}: a durable write takes {took_s * 1000:.0f} ms"
    if took_s > SLOW_WRITE_S:
        return Finding(Level.WARN, what, text, "a worn or slow card: take an industrial one or an SSD")
    return Finding(Level.OK, what, text)


def _clock(config: AgentConfig) -> Finding:
    status, _ = clock_of(config.clock).check()
    if status == ClockStatus.SYNCHRONISED:
        return Finding(Level.OK, "clock", "synchronised")
    cure = "timedatectl set-ntp true (or chrony); in a container whose host is synchronised: [clock] trusted = true"
    level = Level.FAIL if time.time() < SENSIBLE_S else Level.WARN
    return Finding(level, "clock", f"{status.name.lower()}: nothing is signed until it is synchronised once", cure)


def _settlement_meter(config: AgentConfig, shown: Mapping[str, Mapping[str, int]]) -> Finding:
    """What a profile says of a Modbus meter, and a telegram of another: both registers must be there."""
    what = "settlement meter"
    settled = [meter for meter in config.meters if meter.role == "settlement"]
    if not any(meter.number == 0 for meter in settled):
        text = 'no [[meter]] with role = "settlement" has number 0, the one that counts for money'
        return Finding(Level.FAIL, what, text, "give the meter at the connection point number 0")
    for meter in settled:
        known = load_profile(meter.profile).measurements if meter.is_modbus else shown.get(meter.name, {})
        counted = SETTLED_REGISTERS[:1] if meter.one_way else SETTLED_REGISTERS
        missing = [name for name in counted if name not in known]
        if missing and (meter.is_modbus or known):
            text = f"{meter.profile or meter.telegram} has no {' and no '.join(missing)}"
            return Finding(
                Level.FAIL,
                what,
                text,
                "settle with a meter that counts both directions; where nothing ever flows out, one_way = true",
            )
    return Finding(Level.OK, what, ", ".join(meter.name for meter in settled))


def _serial_lines(config: AgentConfig) -> Iterator[Finding]:
    for device in sorted({meter.device for meter in config.meters if meter.device}):
        path = Path(device)
        if not path.exists():
            cure = "plug the adapter in; name it by /dev/serial/by-id/…, which survives a restart"
            yield Finding(Level.FAIL, f"line {device}", "is not there", cure)
        elif not os.access(path, os.R_OK | os.W_OK):
            cure = f"usermod -aG dialout {USER} (or the user you are), then log in again"
            yield Finding(Level.FAIL, f"line {device}", "may not be opened by this user", cure)
        elif path.name.startswith(("ttyUSB", "ttyACM")) and path.parent == Path("/dev"):
            cure = "name it by /dev/serial/by-id/…: numbers change when two adapters are plugged in"
            yield Finding(Level.WARN, f"line {device}", "there, under a number", cure)
        else:
            yield Finding(Level.OK, f"line {device}", "there")


async def _broker(what: str, host: str, port: int, username: str | None, password_file: Path | None) -> Finding:
    import aiomqtt

    where = f"{what} {host}:{port}"
    try:
        password = password_of(password_file)
        version = aiomqtt.ProtocolVersion.V311
        client = aiomqtt.Client(host, port, username=username, password=password, timeout=BROKER_S, protocol=version)
        async with asyncio.timeout(BROKER_S * 2), client:
            return Finding(Level.OK, where, "connected")
    except (aiomqtt.MqttError, OSError, TimeoutError, ValueError) as error:
        cure = "host, port, user and password file; is it reachable from here, and does it run?"
        return Finding(Level.FAIL, where, str(error) or type(error).__name__, cure)


def _unit() -> Finding:
    """What systemd says of the agent, where systemd runs."""
    if not Path("/run/systemd/system").is_dir():
        return Finding(Level.WARN, "unit", "systemd does not run here", "see to it that something starts the agent")
    command = ["systemctl", "show", UNIT_NAME, "--property=LoadState,ActiveState,SubState,NRestarts,Result"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=ASK_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return Finding(Level.WARN, "unit", f"systemctl: {error}", "ask systemctl yourself")
    found = dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)
    if found.get("LoadState") != "loaded":
        return Finding(
            Level.WARN, "unit", "is not installed", "edge-agent install-service, then systemctl enable --now"
        )
    state = f"{found.get('ActiveState')} ({found.get('SubState')}), {found.get('NRestarts', '0')} restarts"
    if found.get("ActiveState") == "failed":
        return Finding(Level.FAIL, "unit", state, f"journalctl -u {UNIT_NAME}")
    if found.get("ActiveState") == "inactive":
        return Finding(Level.WARN, "unit", state, f"systemctl enable --now {UNIT_NAME}")
    return Finding(Level.OK, "unit", state)
