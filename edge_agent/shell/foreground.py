"""One agent as a process of its own: signals, and counters to a file for a scraper."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import sys
from pathlib import Path

from edge_agent.config import AgentConfig, agent_config_from_toml
from edge_agent.shell.clock import clock_of
from edge_agent.shell.health import prometheus_text, snapshot
from edge_agent.shell.key_store import KeyFileError, read_key
from edge_agent.shell.runtime import Running

METRICS_EVERY_S = 60.0


def run_in_foreground(config: AgentConfig, key: bytes, metrics: Path | None = None, verbose: bool = False) -> None:
    """Runs until SIGTERM or SIGINT."""
    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING, format="%(levelname)s %(name)s: %(message)s"
    )
    asyncio.run(_until_signal(config, key, metrics))


async def _until_signal(config: AgentConfig, key: bytes, metrics: Path | None) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        with contextlib.suppress(NotImplementedError):
            loop.add_signal_handler(number, stop.set)
    running = Running(config, clock_of(config.clock), key)
    writing = None if metrics is None else asyncio.create_task(_write_metrics(running, metrics))
    await running.run(stop)
    if writing is not None:
        writing.cancel()


async def _write_metrics(running: Running, path: Path) -> None:
    """A whole file each time, renamed into place, as file collectors want it."""
    home = running.agent.config.home
    labels = {"feeder": home.feeder, "edge": home.edge}
    while True:
        text = prometheus_text(snapshot(running.agent.metrics()), labels)
        beside = path.with_name(path.name + ".new")
        with contextlib.suppress(OSError):
            beside.write_text(text, encoding="utf-8")
            beside.replace(path)
        await asyncio.sleep(METRICS_EVERY_S)


def main(arguments: list[str]) -> None:
    """Configuration file, metrics file or nothing, "verbose" or nothing; `edge-agent run` has checked them."""
    config = agent_config_from_toml(Path(arguments[0]))
    if config.key_file is None:
        raise KeyFileError("no key file is configured")
    metrics = Path(arguments[1]) if arguments[1] else None
    run_in_foreground(config, read_key(config.key_file), metrics, bool(arguments[2]))


if __name__ == "__main__":
    main(sys.argv[1:])
