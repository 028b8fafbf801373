"""The web of the coordinator: REST under ``/api/v1``, live values, metrics, and one plain page at ``/``.

    app = create_app(runtime)        uvicorn serves it beside the runtime, in the same event loop

Writes are signed by homes and go through the core like everything from the broker; reads see committed rows only.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles

from coordinator.running import RunningCoordinator
from coordinator.web import (
    grid_routes,
    home_routes,
    live,
    market_routes,
    meter_routes,
    operations,
    order_routes,
    problems,
    proof_routes,
)
from coordinator.web.context import WebContext
from coordinator.web.limits import Border, RateLimit
from coordinator.web.read_stores import ReadStores

PAGE = Path(__file__).parent / "static_plain"
API_VERSION = "1"
ROUTERS = (
    order_routes.router,
    market_routes.router,
    grid_routes.router,
    meter_routes.router,
    proof_routes.router,
    operations.router,
    home_routes.router,
    live.router,
)


def create_app(
    runtime: RunningCoordinator,
    *,
    operator_token: str | None = None,
    open_reads: bool = True,
    rate: RateLimit | None = None,
) -> FastAPI:
    """The application over a started runtime. Without a token the operator's routes refuse everybody."""
    context = WebContext(runtime, ReadStores(runtime.store_path), operator_token, open_reads)
    hub = live.LiveHub(context)

    runtime.on_commit.append(hub.touch)
    app = _application()
    app.state.context = context
    app.state.hub = hub
    app.add_middleware(Border, limit=rate or RateLimit(), counters=context.counters)
    return app


def _application() -> FastAPI:
    app = FastAPI(
        title="energy-grid coordinator",
        version=API_VERSION,
        description="Prices in micro-currency per kWh, money in nano-currency, energy in Wh, times in UTC seconds,"
        " intervals of 900 s. Positive power flows into the home.",
        docs_url=None,
        redoc_url=None,
    )
    problems.install(app)
    for router in ROUTERS:
        app.include_router(router)

    @app.get("/", include_in_schema=False)
    async def front_page() -> FileResponse:
        return FileResponse(PAGE / "index.html")

    app.mount("/static", StaticFiles(directory=PAGE), name="static")
    return app


def openapi_document() -> dict[str, Any]:
    """The OpenAPI 3.1 document, without a running coordinator."""
    return _application().openapi()
