"""The inbox is the only original: replaying it must rebuild every other table to equality."""

from __future__ import annotations

from typing import TYPE_CHECKING

from coordinator.replay import first_difference, replay
from simulators.auditors.auditor import Findings
from simulators.world_events import WorldEvent

if TYPE_CHECKING:
    from simulators.world import World


class ReplayAuditor:
    """Replays at the end."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._findings = Findings("replay")

    def observe(self, event: WorldEvent) -> None:
        """Nothing on the way."""

    def verdict(self) -> list[str]:
        """Where a replay differs."""
        core = self._world.operator.core
        if core is not None:
            rebuilt = replay(core.store, self._world.market, self._world.sign)
            difference = first_difference(core.store, rebuilt.store)
            if difference is not None:
                self._findings.add(difference)
        return self._findings.texts()
