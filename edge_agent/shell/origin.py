"""What `birth` tells of where readings come from, read from disk at the start: profiles' hashes, the attestation.

An attestation lies beside the key it speaks for and is no secret. One that does not count is told and left out; the
agent works without it, because readings are signed by the home's key alone.
"""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

from contracts.attestation import AttestationRefusal, SignedAttestation, open_attestation
from contracts.bounded_json import load_json
from device_profiles.profile import ProfileError, profile_hash
from edge_agent.announcement import Origin
from edge_agent.config import AgentConfig
from edge_agent.effects import Alarm, Counters
from edge_agent.shell.clock import SENSIBLE_S
from edge_agent.shell.key_store import is_rotated

FILE_LIMIT_BYTES = 4_096
"""An attestation as JSON has some 600 bytes."""


class AttestationFileError(Exception):
    """The file cannot be written."""


@dataclass(frozen=True, slots=True)
class Found:
    """What lies in an attestation's file. ``refusal`` None: it counts. ``signed`` None: it cannot even be read."""

    path: Path
    signed: SignedAttestation | None
    refusal: AttestationRefusal | None


def attestation_path(config: AgentConfig, now_s: int) -> Path:
    """Beside the key that counts at ``now_s``; beside the store where the key is a credential."""
    rotated = is_rotated(config, now_s)
    key_file = config.key.next_file if rotated else config.key_file
    if key_file is not None:
        return key_file.with_name(key_file.name + ".attestation")
    return config.store.with_name(config.store.name + (".next" if rotated else "") + ".attestation")


def look(config: AgentConfig, address: bytes, now_s: int) -> Found | None:
    """The attestation for ``address`` at ``now_s``; None where there is no file. A clock never set judges no time."""
    path = attestation_path(config, now_s)
    try:
        with path.open("rb") as file:
            document = load_json(file.read(FILE_LIMIT_BYTES + 1)[:FILE_LIMIT_BYTES])
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        return Found(path, None, AttestationRefusal.MALFORMED)
    signed = open_attestation(document)
    if isinstance(signed, AttestationRefusal):
        return Found(path, None, signed)
    known_s = now_s if now_s >= SENSIBLE_S else None
    return Found(path, signed, signed.refusal(config.chain.domain, config.home.account, address, known_s))


def origin_of(config: AgentConfig, address: bytes, now_s: int, counters: Counters) -> tuple[Origin, list[Alarm]]:
    """What `birth` is to tell, and what an installer should look at. Never raises."""
    hashes = {}
    for meter in config.meters:
        if meter.is_modbus:
            with contextlib.suppress(ProfileError):  # it was readable a moment ago; birth goes without
                hashes[meter.name] = profile_hash(meter.profile)
    found = look(config, address, now_s)
    if found is None:
        return Origin(hashes), []
    if found.refusal is None:
        return Origin(hashes, found.signed), []
    counters.count(f"attestation_{found.refusal.name.lower()}")
    alarm = Alarm("attestation", f"{found.path}: {found.refusal.value}; the key goes unattested")
    # One whose time is still to come is kept: `birth` begins to tell it when it counts.
    kept = found.signed if found.refusal == AttestationRefusal.NOT_YET_VALID else None
    return Origin(hashes, kept), [alarm]


def write_attestation(path: Path, signed: SignedAttestation) -> None:
    """Replaces the file as a whole. Raises AttestationFileError."""
    beside = path.with_name(path.name + ".new")
    try:
        with beside.open("w", encoding="utf-8") as file:
            file.write(json.dumps(signed.to_json(), indent=2) + "\n")
            os.fchmod(file.fileno(), 0o644)  # no secret; root writes it, the agent's user reads it
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError as error:
        raise AttestationFileError(f"{path}: cannot be written: {error}") from error
