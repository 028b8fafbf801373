"""What every route may use: the runtime, the read-only store, the operator's token, the counters."""

from __future__ import annotations

import hmac
from collections import Counter
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, Request

from coordinator.running import RunningCoordinator
from coordinator.store.store import Store
from coordinator.web.problems import RefusedRequest
from coordinator.web.read_stores import ReadStores


@dataclass
class WebContext:
    """One per application. ``operator_token`` None: the operator's routes refuse everybody."""

    runtime: RunningCoordinator
    stores: ReadStores
    operator_token: str | None
    open_reads: bool
    counters: Counter[str] = field(default_factory=Counter)

    @property
    def now_ms(self) -> int:
        """The coordinator's time."""
        return self.runtime.clock.now_ms()

    @property
    def now_s(self) -> int:
        """The coordinator's time in seconds."""
        return self.now_ms // 1000


def web_context(request: Request) -> WebContext:
    """The application's context."""
    context: WebContext = request.app.state.context
    return context


Web = Annotated[WebContext, Depends(web_context)]


def read_store(context: Web) -> Store:
    """This thread's read-only store."""
    return context.stores.get()


Reads = Annotated[Store, Depends(read_store)]


def _is_operator(request: Request, context: WebContext) -> bool:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if context.operator_token is None or scheme.lower() != "bearer":
        return False
    return hmac.compare_digest(token.strip().encode(), context.operator_token.encode())


def require_operator(request: Request, context: Web) -> None:
    """Refuses whoever does not bring the operator's token."""
    if not _is_operator(request, context):
        context.counters["operator_refused"] += 1
        raise RefusedRequest(
            401, "NOT_AUTHORISED", "the operator's bearer token is needed", {"WWW-Authenticate": "Bearer"}
        )


def require_reader(request: Request, context: Web) -> None:
    """Where reading is not open to everybody, only the operator reads."""
    if not context.open_reads:
        require_operator(request, context)
