"""Puts a coordinator together from its configuration and runs it: broker, chain, core, web, in one event loop.

The web application is handed in as a function from the running coordinator, because the shell does not know the web.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import uvicorn

from contracts.eip712 import Domain
from coordinator.running import RunningCoordinator
from coordinator.shell.alarms import AlarmLog
from coordinator.shell.chain_port import Chain, NoChain
from coordinator.shell.clock import Clock, ScaledClock, SystemClock
from coordinator.shell.ingest_port import IngestBroker
from coordinator.shell.operator_config import OperatorConfig, read_key, read_token
from coordinator.shell.runtime import CoordinatorRuntime

NO_CHAIN = Domain(0, bytes(20))
"""Where signatures count without a chain: nowhere else."""
CONCURRENT_REQUESTS = 2_000
SOCKET_MESSAGE_BYTES = 4_096
"""What a browser may send in one frame."""


MakeApp = Callable[[RunningCoordinator, str | None], Any]
"""An ASGI application over a coordinator, with the operator's token."""


class EmbeddedServer(uvicorn.Server):
    """uvicorn without its own signal handlers: the program around stops everything in its order."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _optional(path: str) -> Path | None:
    return Path(path) if path else None


def build_broker(config: OperatorConfig) -> IngestBroker:
    """The broker of the configuration. Raises LocalBrokerError, LocalBrokerUrlError."""
    section = config.broker
    if section.url:
        from coordinator.shell.external_broker import ExternalBroker

        return ExternalBroker(
            section.url,
            config.market.feeder,
            username=section.username or None,
            password_file=_optional(section.password_file),
            certificate_authority=_optional(section.certificate_authority),
        )
    from coordinator.shell.broker import EmbeddedBroker

    return EmbeddedBroker(
        section.host,
        section.port,
        password_file=_optional(section.password_file),
        certificate=_optional(section.certificate),
        certificate_key=_optional(section.certificate_key),
        agent_limit=section.agent_limit,
    )


def build_domain(config: OperatorConfig) -> Domain:
    """Where signatures count. Raises LocalDeploymentError."""
    if not config.chain.rpc:
        return NO_CHAIN
    from coordinator.shell.deployment import load_deployment

    return load_deployment(Path(config.chain.deployment)).domain


def build_chain(config: OperatorConfig, operator_key: bytes, alarms: AlarmLog) -> Chain:
    """The chain of the configuration. Raises LocalDeploymentError."""
    if not config.chain.rpc:
        return NoChain()
    from coordinator.shell.chain import SettlementChain
    from coordinator.shell.deployment import load_deployment

    deployment = load_deployment(Path(config.chain.deployment))
    return SettlementChain(
        config.chain.urls,
        operator_key,
        deployment.domain,
        Path(config.store.path).with_suffix(".chain.json"),
        alarms.report,
        trading=deployment.trading,
        demands=deployment.address("DataDemands"),
        first_block=deployment.first_block,
        finality_depth=config.chain.finality_depth,
        fee_limit_wei=config.chain.fee_limit_wei or None,
        terms=config.market_config(deployment.domain, operator_key).terms,
    )


def build_clock(config: OperatorConfig) -> Clock:
    """The machine's clock, or a faster one where the configuration asks for it."""
    section = config.clock
    if section.speed == 1 and not section.epoch_virtual_s:
        return SystemClock()
    return ScaledClock(section.epoch_wall_s, section.epoch_virtual_s, section.speed)


def listen(host: str, port: int) -> socket.socket:
    """The web's socket. Raises OSError where the address cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=1024)


def _url(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


async def run_coordinator(
    config: OperatorConfig,
    alarms: AlarmLog,
    make_app: MakeApp,
    report: Callable[[str], None] = lambda _: None,
    stop: asyncio.Event | None = None,
) -> None:
    """Runs until SIGINT, SIGTERM or ``stop``. Raises OSError and the Local… errors of its parts where it cannot start;
    ``report`` hears where it listens.
    """
    operator_key = read_key(Path(config.key.file))
    token = read_token(config.web.token_file)
    runtime = CoordinatorRuntime(
        config.market_config(build_domain(config), operator_key),
        Path(config.store.path),
        operator_key,
        build_broker(config),
        build_chain(config, operator_key, alarms),
        build_clock(config),
        Path(config.store.records),
        alarms,
    )
    server = EmbeddedServer(
        uvicorn.Config(
            make_app(runtime, token), config.web.host, config.web.port,
            log_level="warning", access_log=False, server_header=False,
            limit_concurrency=CONCURRENT_REQUESTS, ws_max_size=SOCKET_MESSAGE_BYTES, ws_per_message_deflate=False,
        )
    )  # fmt: skip
    listening = listen(config.web.host, config.web.port)
    stop = stop or asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):  # not the main thread, or Windows
            loop.add_signal_handler(number, stop.set)
    try:
        await runtime.start()
        serving = asyncio.create_task(server.serve(sockets=[listening]))
        report(f"web {_url(listening)}, broker {runtime.broker.url}")
        running = asyncio.create_task(runtime.run(stop))
        await asyncio.wait([serving, running], return_when=asyncio.FIRST_COMPLETED)
        server.should_exit = True
        stop.set()
        await asyncio.gather(serving, running)
    finally:
        listening.close()
        await runtime.stop()
