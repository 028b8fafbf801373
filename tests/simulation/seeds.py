"""Which seeds a test run covers: a modest, fixed range on a desk, thousands at night."""

from __future__ import annotations

import os

from simulators.scenario import Scenario
from simulators.world import Planted, run_world
from simulators.world_command import told

NIGHTLY = os.environ.get("NIGHTLY") == "1"
CHUNK = 10
SEEDS = 5_000 if NIGHTLY else 200
CHUNKS = [range(first, first + CHUNK) for first in range(0, SEEDS, CHUNK)]


def failures(seeds: range, scenario: Scenario | None = None, planted: Planted | None = None) -> list[str]:
    """What went wrong in those seeds, each with the command that replays it."""
    name = None if scenario is None else scenario.name
    lines: list[str] = []
    for seed in seeds:
        result = run_world(seed, scenario, planted)
        if not result.ok:
            lines += told(seed, name, result)
    return lines
