"""What stands beside an agent that is a process of its own: supervision, page, Home Assistant, metrics, key rotation.

None of them can hurt it: each is a part that is begun again when it breaks, reads what the agent shows, and commands
nothing. What is not configured is not even imported.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path

from edge_agent.shell.health import prometheus_text, snapshot
from edge_agent.shell.key_store import is_rotated
from edge_agent.shell.runtime import Running
from edge_agent.shell.supervision import OVERDUE_S, Supervision
from edge_agent.status import AgentStatus

METRICS_EVERY_S = 60.0
ROTATION_EVERY_S = 20.0
DRAIN_LIMIT_S = 6 * 3_600
"""The old key's settlement readings wait that long for the operator before the new key takes over regardless."""

_LOG = logging.getLogger("edge_agent.companions")


class Surroundings:
    """Reads one running agent for its companions."""

    def __init__(self, running: Running) -> None:
        self._running = running
        self._overdue_ms, self._seen_at_s = -1, time.monotonic()

    def status(self) -> AgentStatus:
        """What the agent shows now."""
        return self._running.agent.status(self._running.clock.now_ms())

    def is_alive(self) -> bool:
        """Whether the core keeps its deadlines: none stands overdue and unmoved for OVERDUE_S."""
        due_ms, now_s = self._running.agent.next_deadline_ms(), time.monotonic()
        if due_ms > self._running.clock.now_ms() or due_ms != self._overdue_ms:
            self._overdue_ms, self._seen_at_s = due_ms, now_s
        return now_s - self._seen_at_s < OVERDUE_S

    def line(self) -> str:
        """One line for systemd."""
        status = self.status()
        good = sum(device.fault is None for device in status.devices)
        link = "linked" if status.link else "no link"
        return (
            f"{link}, {good} of {len(status.devices)} device(s), clock {status.clock.name.lower()},"
            f" {status.waiting_frames} waiting"
        )

    def metrics_text(self) -> str:
        """Prometheus text of all counters and sizes."""
        home = self._running.agent.config.home
        labels = {"feeder": home.feeder, "edge": home.edge}
        return prometheus_text(snapshot(self._running.agent.metrics()), labels)

    def page(self) -> tuple[int, str, str]:
        """The answer to `/`."""
        from edge_agent.status_html import page, problems_of

        status = self.status()
        return 200, "text/html", page(status, self._running.alarms, problems_of(status))

    def metrics(self) -> tuple[int, str, str]:
        """The answer to `/metrics`."""
        return 200, "text/plain; version=0.0.4", self.metrics_text()

    def alive(self) -> tuple[int, str, str]:
        """The answer to `/alive`, for whoever starts again what is not: bad only where the core is stuck."""
        good = self.is_alive()
        return (200 if good else 503), "text/plain", "alive\n" if good else "the core is stuck\n"

    def health(self) -> tuple[int, str, str]:
        """The answer to `/health`: bad where the core is stuck or the meter that counts for money is silent."""
        from edge_agent.shell.status_page import health_text
        from edge_agent.status_html import is_silent, problems_of, status_document

        status, alive = self.status(), self.is_alive()
        counts = [device for device in status.devices if device.role == "settlement"]
        good = alive and not any(is_silent(device, status.now_ms) for device in counts)
        return health_text(good, {"ok": good, "core": alive, **status_document(status, problems_of(status))})


def companions_of(
    running: Running, metrics: Path | None, stop: asyncio.Event, rotates: bool
) -> list[Callable[[], object]]:
    """The companions this configuration asks for. ``rotates``: a next key waits for its instant."""
    config, around = running.agent.config, Surroundings(running)
    found: list[Callable[[], object]] = []
    if os.environ.get("NOTIFY_SOCKET"):
        found.append(Supervision(around.is_alive, around.line).run)
    if config.status.enabled:
        from edge_agent.shell.status_page import StatusPage

        answers = {"/": around.page, "/metrics": around.metrics, "/health": around.health, "/alive": around.alive}
        shown = config.status
        found.append(StatusPage(shown.host, shown.port, answers, running.counters, shown.proxy).run)
    if config.home_assistant is not None and config.home_assistant.enabled:
        from edge_agent.shell.home_assistant import HomeAssistantLink

        found.append(HomeAssistantLink(config, config.home_assistant, around.status, running.counters).run)
    if metrics is not None:
        found.append(lambda: _write_metrics(around, metrics))
    if rotates:
        found.append(lambda: _rotate(running, around, stop))
    return found


async def _write_metrics(around: Surroundings, path: Path) -> None:
    """A whole file each time, renamed into place, as file collectors want it."""
    while True:
        beside = path.with_name(path.name + ".new")
        with contextlib.suppress(OSError):
            beside.write_text(around.metrics_text(), encoding="utf-8")
            beside.replace(path)
        await asyncio.sleep(METRICS_EVERY_S)


async def _rotate(running: Running, around: Surroundings, stop: asyncio.Event) -> None:
    """Ends the run at the instant of the rotation, once no settlement reading of the old key waits any more."""
    config, clock = running.agent.config, running.clock
    while True:
        now_s, status = clock.now_ms() // 1000, around.status()
        if status.clock_known and is_rotated(config, now_s):
            late = now_s - (config.key.next_at_s or 0) >= DRAIN_LIMIT_S
            if late or not status.waiting_for_money:
                _LOG.warning("the next key takes over")
                running.counters.count("key_rotated")
                stop.set()
        await asyncio.sleep(ROTATION_EVERY_S / max(1.0, clock.speed))
