"""Reads `[update]`, and the keys of a `[[meter]]` that is a metering node, of the agent's TOML file."""

from __future__ import annotations

from pathlib import Path

from edge_agent.config_section import Section
from edge_agent.config_update import NodeActuator, NodeConfig, UpdateConfig
from firmware_bridge.manifest import SIGNERS_LIMIT
from firmware_bridge.node_signature import LocalKeyError, public_key_of

_DEFAULT_FOLDER = "/opt/energy-grid"
POWER_LIMIT_W = 1_000_000
"""No home's device is larger."""


def read_update(table: Section, folder: Path) -> UpdateConfig:
    """`[update]`; relative paths are relative to ``folder``."""
    signers = _signers(table)
    update = UpdateConfig(
        table.text("vendor"),
        table.text("class"),
        signers,
        table.integer("threshold", 1, max(len(signers), 1)),
        folder / table.text("folder", _DEFAULT_FOLDER),
        _path(table, "ready_file", folder),
        table.integer("wait_s", 1, 3_600, 120),
    )
    table.done()
    return update


def read_node(table: Section, folder: Path) -> NodeConfig:
    """The keys of a meter with ``telegram = "node"``."""
    return NodeConfig(
        _public_key(table, "public_key", table.text("public_key")),
        folder / table.text("key_file"),
        _path(table, "firmware", folder),
        _actuator(table),
    )


def _actuator(table: Section) -> NodeActuator | None:
    """The bounds of a node that steers its device. The node does not tell its own, which must be no narrower."""
    table.seen.add("actuator")
    if "actuator" not in table.values:
        return None
    inner = Section(table.values["actuator"], f"{table.where}.actuator", table.errors)
    actuator = NodeActuator(
        inner.integer("minimum_w", -POWER_LIMIT_W, 0),
        inner.integer("maximum_w", 0, POWER_LIMIT_W),
        inner.optional_integer("ramp_w_per_s", 1, POWER_LIMIT_W),
    )
    inner.done()
    if actuator.minimum_w == actuator.maximum_w:
        inner.refuse("minimum_w and maximum_w leave nothing to steer")
    return actuator


def _signers(table: Section) -> tuple[bytes, ...]:
    table.seen.add("signers")
    rows = table.values.get("signers")
    if not isinstance(rows, list) or not 1 <= len(rows) <= SIGNERS_LIMIT:
        table.refuse(f"signers must be a list of 1 to {SIGNERS_LIMIT} public keys")
        return ()
    signers = tuple(_public_key(table, "signers", row) for row in rows)
    if len(set(signers)) != len(signers):
        table.refuse("signers names one key twice")
    return signers


def _public_key(table: Section, name: str, text: object) -> bytes:
    try:
        packed = bytes.fromhex(str(text).removeprefix("0x"))
        if len(packed) == 33:
            return public_key_of(packed)
    except (LocalKeyError, ValueError):
        pass
    if text:
        table.refuse(f"{name} is {text!r}, allowed is a compressed public key of 66 hexadecimal digits")
    return bytes(64)


def _path(table: Section, key: str, folder: Path) -> Path | None:
    text = table.text(key, "")
    return folder / text if text else None
