"""Reports to systemd: ready, alive, stopping, and one line about how things are (sd_notify(3), without its library).

A datagram to the socket in $NOTIFY_SOCKET. The watchdog is fed from the event loop, and only while the core keeps its
own deadlines: a blocked loop cannot feed it, and a core that fails at every deadline is not fed for. systemd then
kills the agent and starts it again; nothing is lost by that.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable, Mapping

OVERDUE_S = 30.0
"""A core that leaves a deadline behind for half a minute is dead: it is called again within milliseconds."""
BEATS_PER_PERIOD = 3
"""Two beats may be late or lost before systemd acts."""
STATUS_EVERY_S = 20.0
"""Without a watchdog only the status line is told."""


def notify(text: str, environment: Mapping[str, str] = os.environ) -> bool:
    """Sends one message; False where nobody listens. Never raises and never waits."""
    address = environment.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return False
    if address.startswith("@"):
        address = "\0" + address[1:]
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.setblocking(False)
        sender.sendto(text.encode(), address)
        return True
    return False


def watchdog_s(environment: Mapping[str, str] = os.environ) -> float | None:
    """The period systemd has set for this process, None without one."""
    text, owner = environment.get("WATCHDOG_USEC", ""), environment.get("WATCHDOG_PID", "")
    if not text.isdecimal() or int(text) == 0 or (owner and owner != str(os.getpid())):
        return None
    return int(text) / 1_000_000


class Supervision:
    """Feeds the watchdog while ``is_alive`` says so, with the line ``told``; run it as a part of the agent."""

    def __init__(
        self, is_alive: Callable[[], bool], told: Callable[[], str], environment: Mapping[str, str] = os.environ
    ) -> None:
        self._is_alive = is_alive
        self._told = told
        self._environment = environment
        self._ready = False

    async def run(self) -> None:
        """Until cancelled; then says that we are stopping."""
        period_s = watchdog_s(self._environment)
        pause_s = STATUS_EVERY_S if period_s is None else period_s / BEATS_PER_PERIOD
        try:
            while True:
                self._beat(period_s is not None)
                await asyncio.sleep(pause_s)
        except asyncio.CancelledError:
            notify("STOPPING=1\nSTATUS=stopping", self._environment)
            raise

    def _beat(self, watched: bool) -> None:
        alive = self._is_alive()
        lines = [f"STATUS={self._told()}" if alive else "STATUS=the core does not keep its deadlines"]
        if alive and not self._ready:
            lines.append("READY=1")
            self._ready = True
        if alive and watched:
            lines.append("WATCHDOG=1")
        notify("\n".join(lines), self._environment)
