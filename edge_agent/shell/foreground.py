"""One agent as a process of its own: signals, its companions, and the change from one key to the next."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import sys
from pathlib import Path

from edge_agent.config import AgentConfig, agent_config_from_toml
from edge_agent.shell.clock import Clock, clock_of
from edge_agent.shell.companions import companions_of
from edge_agent.shell.key_store import home_key, is_rotated
from edge_agent.shell.runtime import Running


def run_in_foreground(config: AgentConfig, metrics: Path | None = None, verbose: bool = False) -> None:
    """Runs until SIGTERM or SIGINT. Raises KeyFileError where a key cannot be read."""
    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING, format="%(levelname)s %(name)s: %(message)s"
    )
    asyncio.run(_until_signal(config, metrics))


async def _until_signal(config: AgentConfig, metrics: Path | None) -> None:
    told, clock = asyncio.Event(), clock_of(config.clock)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        with contextlib.suppress(NotImplementedError):
            loop.add_signal_handler(number, told.set)
    while not told.is_set():  # once more for every key
        await _with_one_key(config, clock, metrics, told)


async def _with_one_key(config: AgentConfig, clock: Clock, metrics: Path | None, told: asyncio.Event) -> None:
    """Until we are told to end, or until the next key counts."""
    now_s = clock.now_ms() // 1000
    present, key = home_key(config, now_s)
    running, stop = Running(present, clock, key), asyncio.Event()
    waits = config.key.next_at_s is not None and not is_rotated(config, now_s)
    companions = companions_of(running, metrics, stop, waits)
    ends = asyncio.create_task(_either(told, stop))
    try:
        await running.run(stop, *companions)
    finally:
        ends.cancel()


async def _either(told: asyncio.Event, stop: asyncio.Event) -> None:
    await told.wait()
    stop.set()


def main(arguments: list[str]) -> None:
    """Configuration file, metrics file or nothing, "verbose" or nothing; `edge-agent run` has checked them."""
    metrics = Path(arguments[1]) if arguments[1] else None
    run_in_foreground(agent_config_from_toml(Path(arguments[0])), metrics, bool(arguments[2]))


if __name__ == "__main__":
    main(sys.argv[1:])
