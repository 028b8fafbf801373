"""systemd is told the truth: ready once, alive only while loop and core are, and that we stop."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from edge_agent.shell import companions
from edge_agent.shell.clock import ScaledClock
from edge_agent.shell.companions import Surroundings
from edge_agent.shell.key_store import write_key
from edge_agent.shell.runtime import Running
from edge_agent.shell.supervision import Supervision, notify, watchdog_s
from tests.edge_agent.conftest import ADA_KEY, ada_config, eventually
from tests.edge_agent.test_config import GOOD

Runner = Callable[[Awaitable[None]], None]
ROOT = Path(__file__).resolve().parents[2]


class Systemd:
    """The other end of $NOTIFY_SOCKET: a datagram socket, as systemd has."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.setblocking(False)
        self.environment = {"NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": "300000", "WATCHDOG_PID": str(os.getpid())}

    def heard(self) -> list[str]:
        """Every line since the last call."""
        lines: list[str] = []
        while True:
            try:
                lines += self._socket.recv(4_096).decode().split("\n")
            except BlockingIOError:
                return lines


def test_ready_comes_once_beats_go_on_and_the_end_is_told(run: Runner, tmp_path: Path) -> None:
    systemd = Systemd(tmp_path / "notify")

    async def story() -> None:
        task = asyncio.create_task(Supervision(lambda: True, lambda: "well", systemd.environment).run())
        await asyncio.sleep(0.55)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    run(story())
    heard = systemd.heard()
    assert heard.count("READY=1") == 1 and heard.index("READY=1") < heard.index("WATCHDOG=1") + 2
    assert heard.count("WATCHDOG=1") >= 4 and "STATUS=well" in heard
    assert heard[-2:] == ["STOPPING=1", "STATUS=stopping"]


def test_a_blocked_loop_is_not_alive(run: Runner, tmp_path: Path) -> None:
    systemd = Systemd(tmp_path / "notify")

    async def story() -> None:
        task = asyncio.create_task(Supervision(lambda: True, lambda: "well", systemd.environment).run())
        await asyncio.sleep(0.15)
        systemd.heard()
        time.sleep(0.5)  # nothing else runs meanwhile
        assert systemd.heard() == []
        task.cancel()

    run(story())


def test_a_dead_core_is_neither_ready_nor_alive(run: Runner, tmp_path: Path) -> None:
    systemd = Systemd(tmp_path / "notify")

    async def story() -> None:
        task = asyncio.create_task(Supervision(lambda: False, lambda: "well", systemd.environment).run())
        await asyncio.sleep(0.25)
        task.cancel()

    run(story())
    heard = systemd.heard()
    assert "WATCHDOG=1" not in heard and "READY=1" not in heard
    assert "STATUS=the core does not keep its deadlines" in heard


def test_a_core_that_fails_at_every_deadline_is_dead_and_one_that_works_is_not(
    run: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(companions, "OVERDUE_S", 0.5)

    async def story() -> None:
        running = Running(ada_config(tmp_path), ScaledClock(time.time(), 1_750_000_000, 1.0), ADA_KEY)
        around, stop = Surroundings(running), asyncio.Event()
        task = asyncio.create_task(running.run(stop))
        for _ in range(20):
            await asyncio.sleep(0.05)
            assert around.is_alive()

        def broken(now_ms: int) -> list[object]:
            raise RuntimeError("the core is broken")

        running.agent.on_deadline = broken  # type: ignore[method-assign, assignment]
        running.agent._restart_timers()
        running._wake.set()  # what a sample would do
        await eventually(lambda: not around.is_alive(), 5)
        assert running.counters["core_failed"] > 0
        stop.set()
        await asyncio.wait_for(task, 10)

    run(story())


def test_the_watchdog_of_another_process_and_nonsense_do_not_count() -> None:
    assert watchdog_s({"WATCHDOG_USEC": "90000000"}) == 90.0
    assert watchdog_s({"WATCHDOG_USEC": "90000000", "WATCHDOG_PID": "1"}) is None
    assert [watchdog_s({"WATCHDOG_USEC": text}) for text in ("", "0", "-5", "soon")] == [None] * 4


def test_nobody_listening_is_no_fault(tmp_path: Path) -> None:
    assert not notify("READY=1", {})
    assert not notify("READY=1", {"NOTIFY_SOCKET": str(tmp_path / "nobody")})
    assert not notify("READY=1", {"NOTIFY_SOCKET": "vsock:2:1"})


def test_an_abstract_socket_is_reached_too() -> None:
    name = f"energy-grid-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind("\0" + name)
        assert notify("READY=1", {"NOTIFY_SOCKET": "@" + name})
        assert listener.recv(64) == b"READY=1"


def test_the_console_script_reports_to_systemd_from_start_to_end(run: Runner, tmp_path: Path) -> None:
    """The real process, which begins itself anew without the command line's libraries and keeps its number."""
    systemd = Systemd(tmp_path / "notify")
    write_key(tmp_path / "key", ADA_KEY)
    (tmp_path / "agent.toml").write_text(GOOD + "[status]\nenabled = false\n")
    command = [sys.executable, "-m", "edge_agent.cli", "run", "--config", str(tmp_path / "agent.toml")]
    environment = {**os.environ, **systemd.environment, "WATCHDOG_USEC": "600000", "WATCHDOG_PID": ""}
    started = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.DEVNULL)
    heard: list[str] = []

    async def story() -> None:
        await eventually(lambda: heard.extend(systemd.heard()) or heard.count("WATCHDOG=1") >= 3, 30)
        started.terminate()
        await eventually(lambda: started.poll() is not None, 20)

    try:
        run(story())
    finally:
        started.kill()
        started.wait(10)
    heard += systemd.heard()
    assert started.returncode == 0 and heard.count("READY=1") == 1 and "STOPPING=1" in heard
