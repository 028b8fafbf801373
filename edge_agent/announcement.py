"""What the home says about itself, retained on the broker: `state` (also its last will) and `birth`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from contracts.attestation import SignedAttestation
from contracts.birth import NAME_LIMIT, Birth, MeterBirth
from contracts.topics import Leaf, topic
from device_profiles.profile_parts import Profile
from edge_agent.config import AgentConfig, MeterConfig
from edge_agent.effects import Publish

VERSION = "0.1.0"


@dataclass(frozen=True, slots=True)
class Origin:
    """Where readings come from: sha256 of each profile's file by the meter's name, and who vouches for the key."""

    profile_hashes: Mapping[str, bytes] = field(default_factory=dict)
    attestation: SignedAttestation | None = None

    def attestation_at(self, now_s: int | None) -> SignedAttestation | None:
        """The attestation in its time; ``now_s`` None leaves the time to whoever reads it."""
        found = self.attestation
        if found is None or now_s is None:
            return found
        return found if found.attestation.valid_from_s <= now_s < found.attestation.valid_until_s else None

    def is_over(self, now_s: int | None) -> bool:
        """Whether there is an attestation that has expired."""
        found = self.attestation
        return found is not None and now_s is not None and now_s >= found.attestation.valid_until_s


def state(config: AgentConfig, online: bool, at_s: int) -> Publish:
    """Whether the agent is there, since ``at_s``."""
    document = {"online": online, "at_s": at_s}
    return Publish(topic(config.home.feeder, config.home.edge, Leaf.STATE), json.dumps(document).encode(), retain=True)


def birth(
    config: AgentConfig,
    address: bytes,
    epoch: int,
    profiles: Mapping[str, Profile],
    origin: Origin,
    now_s: int | None,
) -> Publish:
    """Version, account, the address that signs, the epoch of this run, the meters, and the attestation in its time."""
    meters = tuple(_meter(meter, profiles, origin.profile_hashes) for meter in config.meters)
    said = Birth(VERSION, config.home.account, address, epoch, meters, origin.attestation_at(now_s))
    return Publish(topic(config.home.feeder, config.home.edge, Leaf.BIRTH), said.pack(), retain=True)


def _meter(meter: MeterConfig, profiles: Mapping[str, Profile], hashes: Mapping[str, bytes]) -> MeterBirth:
    """A profile goes by its name: where its file lies is nobody's business."""
    if not meter.is_modbus:
        return MeterBirth(meter.number, telegram=meter.telegram)
    known = profiles.get(meter.name)
    name = meter.profile.rsplit("/", 1)[-1].removesuffix(".toml") if known is None else known.name
    return MeterBirth(meter.number, name[:NAME_LIMIT], hashes.get(meter.name))
