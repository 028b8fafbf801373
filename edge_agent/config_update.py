"""What an installer decides about software: whose updates this agent takes, and which metering node hangs on a line.

No secret stands here: keys are files. Public keys are 64 bytes ``x ‖ y`` of secp256k1.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from firmware_bridge.manifest import Trust, class_id_of, vendor_id_of

BUNDLE_LIMIT_BYTES = 256 << 20
"""All wheels of an agent are 30 MB; two slots and their unpacked trees must fit a card of 8 GB."""


@dataclass(frozen=True, slots=True)
class UpdateConfig:
    """Which updates count, where the two slots lie, and how a new version shows that it is well.

    A version is well when ``ready_file`` was renewed since it started, or, without one, when its ``doctor`` says so.
    """

    vendor: str
    device_class: str
    signers: tuple[bytes, ...]
    threshold: int
    folder: Path
    ready_file: Path | None = None
    wait_s: int = 120

    @property
    def trust(self) -> Trust:
        """The same as the state machine of `firmware_bridge.update` wants it."""
        vendor_id = vendor_id_of(self.vendor)
        class_id = class_id_of(vendor_id, self.device_class)
        return Trust(vendor_id, class_id, self.signers, self.threshold, BUNDLE_LIMIT_BYTES)


@dataclass(frozen=True, slots=True)
class NodeActuator:
    """What a node can make its device take (above 0) or give, in W, and the most it may change in a second."""

    minimum_w: int
    maximum_w: int
    ramp_w_per_s: int | None = None


@dataclass(frozen=True, slots=True)
class NodeConfig:
    """A metering node of our own: its public key, the file of our key for its link, and a firmware it shall have."""

    public_key: bytes
    key_file: Path
    firmware: Path | None = None
    actuator: NodeActuator | None = None
