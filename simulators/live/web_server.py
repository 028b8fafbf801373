"""The coordinator's REST interface and live page, served from inside another program's event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn

from coordinator.shell.assembly import EmbeddedServer
from coordinator.shell.runtime import CoordinatorRuntime
from coordinator.web.app import create_app


@asynccontextmanager
async def serving(runtime: CoordinatorRuntime, address: tuple[str, int]) -> AsyncIterator[None]:
    """Serves on ``(host, port)`` until the block ends."""
    config = uvicorn.Config(create_app(runtime), host=address[0], port=address[1], log_level="warning", lifespan="off")
    server = EmbeddedServer(config)
    task = asyncio.create_task(server.serve(), name="http")
    try:
        yield
    finally:
        server.should_exit = True
        await task
