"""An agent's configuration for simulated devices: enough for `edge-agent probe`, and to be edited for `run`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

METERS_LIMIT = 64
"""What one agent's configuration takes."""


def meter_table(values: Mapping[str, str | int]) -> str:
    """One ``[[meter]]``; texts are quoted, the order is kept."""
    lines = [f'{key} = "{value}"' if isinstance(value, str) else f"{key} = {value}" for key, value in values.items()]
    return "\n".join(["[[meter]]", *lines, ""])


def agent_toml(edge: str, meters: Iterable[Mapping[str, str | int]], said: str) -> str:
    """A whole file. Addresses, feeder and account are made up: an operator gives the true ones."""
    head = f"""# Written by the simulator: {said}
# Account, feeder, chain and addresses are made up; put your operator's here. The key: edge-agent key new home.key

[home]
account = 1
feeder = "f1"
edge = "{edge}"

[chain]
chain_id = 31337
settlement = "0x{1:040x}"
operator = "0x{2:040x}"

[key]
file = "home.key"

[store]
path = "agent.db"

[clock]
trusted = true
"""
    return "\n".join([head, *(meter_table(meter) for meter in meters)])
