"""What stands in front of every route: size of the body, rate by address, headers for browsers. Plain ASGI."""

from __future__ import annotations

import math
import time
from collections import Counter, OrderedDict
from dataclasses import dataclass, field

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from contracts.bounded_json import NESTING_LIMIT, nesting_exceeds
from coordinator.web.problems import problem

BODY_LIMIT_BYTES = 256 * 1024
"""A telemetry batch of 70 kB in hexadecimal, with room."""
ADDRESSES_KEPT = 10_000
"""Token buckets remembered; the one unused longest is forgotten, which only ever gives somebody a fresh burst."""
CONTENT_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
BROWSER_HEADERS = (
    (b"content-security-policy", CONTENT_POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
)


@dataclass(frozen=True, slots=True)
class RateLimit:
    """Requests an address may make: ``per_s`` lasting, ``burst`` at once."""

    per_s: float = 50
    burst: int = 200


@dataclass(slots=True)
class TokenBuckets:
    """One bucket an address, filled with time."""

    limit: RateLimit
    _filled: OrderedDict[str, tuple[float, float]] = field(default_factory=OrderedDict)

    def take(self, address: str, now_s: float) -> float:
        """0 when a request may pass, else the seconds to wait."""
        tokens, at_s = self._filled.pop(address, (float(self.limit.burst), now_s))
        tokens = min(float(self.limit.burst), tokens + (now_s - at_s) * self.limit.per_s)
        passes = tokens >= 1
        self._filled[address] = (tokens - 1 if passes else tokens, now_s)
        if len(self._filled) > ADDRESSES_KEPT:
            self._filled.popitem(last=False)
        return 0.0 if passes else (1 - tokens) / self.limit.per_s


class Border:
    """Refuses what is too much or too large before any route sees it, and dresses every response."""

    def __init__(self, app: ASGIApp, limit: RateLimit, counters: Counter[str]) -> None:
        self._app = app
        self._buckets = TokenBuckets(limit)
        self._counters = counters

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        address = (scope.get("client") or ("unknown", 0))[0]
        wait_s = self._buckets.take(address, time.monotonic())
        if scope["type"] == "websocket":
            if wait_s:
                await send({"type": "websocket.close", "code": 1013, "reason": "too many requests"})
                return
            await self._app(scope, receive, send)
            return
        dressed = self._dress(send)
        if wait_s:
            refusal = problem(429, "TOO_MANY_REQUESTS", "wait and try again", {"Retry-After": str(math.ceil(wait_s))})
            await refusal(scope, receive, dressed)
            return
        await self._bounded(scope, receive, dressed)

    async def _bounded(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Reads the body, at most so much, before the route runs."""
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        parts: list[bytes] = []
        size = int(declared) if declared.isdigit() else 0
        more = size <= BODY_LIMIT_BYTES
        while more:
            message = await receive()
            if message["type"] != "http.request":
                return
            parts.append(message.get("body", b""))
            more = message.get("more_body", False)
            size = sum(map(len, parts))
            if size > BODY_LIMIT_BYTES:
                break
        if size > BODY_LIMIT_BYTES:
            refusal = problem(
                413, "BODY_TOO_LARGE", f"a body has at most {BODY_LIMIT_BYTES} bytes", {"Connection": "close"}
            )
            await refusal(scope, receive, send)
            return
        content = b"".join(parts)
        if nesting_exceeds(content):
            await problem(400, "MALFORMED_JSON", f"more than {NESTING_LIMIT} levels deep")(scope, receive, send)
            return
        body: Message | None = {"type": "http.request", "body": content, "more_body": False}

        async def replay() -> Message:
            nonlocal body
            if body is not None:
                message, body = body, None
                return message
            return await receive()

        await self._app(scope, replay, send)

    def _dress(self, send: Send) -> Send:
        async def dressed(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), *BROWSER_HEADERS]
                self._counters[f"http_{message['status'] // 100}xx"] += 1
            await send(message)

        return dressed
