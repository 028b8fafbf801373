"""Problem bodies after RFC 9457: every error of the interface has the same shape and a fixed ``code``."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from coordinator.ingest import Refusal
from coordinator.running import LocalStoppedError, RemoteOverloadError

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_S = 1

STATUS_OF_REFUSAL: dict[Refusal, int] = {
    Refusal.OVERSIZED: 413,
    Refusal.UNKNOWN_TOPIC: 404,
    Refusal.OTHER_FEEDER: 404,
    Refusal.MALFORMED: 400,
    Refusal.WRONG_KIND: 422,
    Refusal.UNKNOWN_ACCOUNT: 404,
    Refusal.WRONG_EDGE: 403,
    Refusal.WRONG_METER: 422,
    Refusal.FROM_THE_FUTURE: 422,
    Refusal.TOO_OLD: 422,
    Refusal.OUT_OF_RANGE: 422,
    Refusal.RESERVED_VERSION: 422,
    Refusal.WRONG_SIGNATURE: 403,
    Refusal.COLUMNS_DIFFER: 422,
    Refusal.UNKNOWN_PRODUCT: 422,
    Refusal.GATE_CLOSED: 409,
    Refusal.NOT_YET_OPEN: 409,
    Refusal.EXPIRED: 409,
    Refusal.STALE_VERSION: 409,
    Refusal.BEYOND_COLLATERAL: 402,
    Refusal.TOO_MANY_PRODUCTS: 409,
    Refusal.BEYOND_LIMIT: 409,
}
"""4xx by refusal: 409 what the market's state forbids, 402 what more deposit would allow, 403 what a key forbids."""


class Problem(BaseModel):
    """An error: ``code`` is a fixed word, ``detail`` a sentence for people."""

    type: str = "about:blank"
    title: str
    status: int
    code: str
    detail: str = ""


class RefusedRequest(Exception):  # noqa: N818 - a refusal is no error of ours
    """Ends a request with a problem body."""

    def __init__(self, status: int, code: str, detail: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status, self.code, self.detail, self.headers = status, code, detail, headers

    @classmethod
    def by_core(cls, refusal: Refusal) -> RefusedRequest:
        """The problem of a message that the border refused."""
        return cls(STATUS_OF_REFUSAL[refusal], refusal.name, refusal.value)


_TITLES = {
    400: "Bad request", 401: "Not authorised", 402: "Not covered", 403: "Forbidden", 404: "Not found",
    405: "Method not allowed", 409: "Conflict", 413: "Too large", 422: "Unprocessable", 429: "Too many requests",
    500: "Fault of the coordinator", 503: "Unavailable",
}  # fmt: skip


def problem(status: int, code: str, detail: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """The response with that problem."""
    body: dict[str, Any] = Problem(
        title=_TITLES.get(status, "Error"), status=status, code=code, detail=detail
    ).model_dump()
    return JSONResponse(body, status, headers, media_type=MEDIA_TYPE)


def install(app: FastAPI) -> None:
    """Makes every error of ``app`` a problem body."""

    @app.exception_handler(RefusedRequest)
    async def _refused(_: Request, error: RefusedRequest) -> JSONResponse:
        return problem(error.status, error.code, error.detail, error.headers)

    @app.exception_handler(RequestValidationError)
    async def _invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        faults = error.errors()
        if any(fault["type"] == "json_invalid" for fault in faults):
            return problem(400, "MALFORMED_JSON", "the body is not JSON")
        where = "; ".join(f"{'.'.join(str(part) for part in f['loc'])}: {f['msg']}" for f in faults[:5])
        return problem(422, "INVALID_REQUEST", where)

    @app.exception_handler(HTTPException)
    async def _http(_: Request, error: HTTPException) -> JSONResponse:
        code = {404: "NOT_FOUND", 405: "METHOD_NOT_ALLOWED"}.get(error.status_code, "REFUSED")
        return problem(error.status_code, code, str(error.detail), dict(error.headers or {}))

    @app.exception_handler(RemoteOverloadError)
    async def _overload(_: Request, error: RemoteOverloadError) -> JSONResponse:
        return problem(503, "OVERLOADED", str(error), {"Retry-After": str(RETRY_AFTER_S)})

    @app.exception_handler(LocalStoppedError)
    async def _stopped(_: Request, error: LocalStoppedError) -> JSONResponse:
        return problem(503, "NOT_RUNNING", str(error), {"Retry-After": str(RETRY_AFTER_S)})


PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem, "description": _TITLES[status], "content": {MEDIA_TYPE: {}}}
    for status in (400, 404, 413, 422, 429, 503)
}
"""Responses that any route may give, for the OpenAPI document."""
