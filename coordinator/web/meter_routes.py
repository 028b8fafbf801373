"""Meters. A meter's id is ``account-meter``; meter 0 is the home's connection point."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Path, Query
from pydantic import BaseModel

from contracts.codes import Stream
from contracts.interval import INTERVALS_PER_DAY, interval_of
from contracts.messages import GapRecord, SettlementReading, TelemetryBatch
from contracts.topics import Leaf
from coordinator.store.store import Store
from coordinator.web import account_views
from coordinator.web.context import Reads, Web, require_reader
from coordinator.web.pages import PageRequest, page, page_request
from coordinator.web.problems import PROBLEMS, RefusedRequest
from coordinator.web.signed import Accepted, Signed, message_of, receive, unhex
from coordinator.web.views import numbers

router = APIRouter(prefix="/api/v1/meters", tags=["meters"], responses=PROBLEMS)

RANGE_LIMIT = 32 * INTERVALS_PER_DAY
"""A month of intervals in one answer; by day the same range."""
INTERVAL_LIMIT = 2**40

MeterId = Annotated[str, Path(pattern=r"^\d{1,10}-\d{1,5}$", examples=["1-0"])]
Edge = Annotated[int | None, Query(ge=0, lt=INTERVAL_LIMIT)]


class History(BaseModel):
    """Signed readings, newest first: cumulative registers in Wh at the end of each interval."""

    meter: str
    readings: list[dict[str, Any]]
    next: str | None


class EnergyStep(BaseModel):
    """Energy of the intervals ``first_interval … last_interval``."""

    first_interval: int
    last_interval: int
    energy_wh: int


class Energy(BaseModel):
    """Energy of one register over a range, step by step and in all. What was not read is absent."""

    meter: str
    first_interval: int
    last_interval: int
    total_wh: int
    steps: list[EnergyStep]


def _meter(id: MeterId, store: Reads) -> tuple[int, int]:
    found = numbers(id, 2)
    assert found is not None  # the path's pattern
    if not account_views.meter_exists(store, found[0], found[1]):
        raise RefusedRequest(404, "UNKNOWN_METER", f"meter {id} was never read")
    return found[0], found[1]


Meter = Annotated[tuple[int, int], Depends(_meter)]


@router.post("/reading", status_code=201)
async def submit_reading(body: Signed, context: Web, store: Reads) -> Accepted:
    """Takes a signed SettlementReading, TelemetryBatch (its columns in ``attachment``) or GapRecord.

    A reading that is here already gets its Acknowledgement again.
    """
    message = message_of(body.message, (SettlementReading, TelemetryBatch, GapRecord))
    of_telemetry = isinstance(message, TelemetryBatch) or (
        isinstance(message, GapRecord) and message.stream == Stream.TELEMETRY
    )
    leaf = Leaf.TELEMETRY if of_telemetry else Leaf.SETTLEMENT
    attachment = unhex(body.attachment)
    return Accepted(reply=await receive(context, store, message, unhex(body.signature), leaf, attachment))


@router.get("/{id}/history", dependencies=[Depends(require_reader)])
def history(id: MeterId, meter: Meter, store: Reads, request: Annotated[PageRequest, Depends(page_request)]) -> History:
    """All signed readings of a meter."""
    rows = account_views.readings(store, *meter, request.limit + 1, request.after(3))
    kept, following = page(rows, request, lambda row: row[:3])
    return History(meter=id, readings=[account_views.reading_document(row) for row in kept], next=following)


def _energy(
    id: str,
    meter: tuple[int, int],
    store: Store,
    column: str,
    now_s: int,
    since: int | None,
    until: int | None,
    by: str,
) -> Energy:
    last = interval_of(now_s) if until is None else until
    first = max(0, last - INTERVALS_PER_DAY + 1) if since is None else since
    if not first <= last < first + RANGE_LIMIT:
        raise RefusedRequest(422, "INVALID_RANGE", f"a range has 1 to {RANGE_LIMIT} intervals")
    steps = account_views.energy(store, *meter, column, first, last, by == "day")
    return Energy(
        meter=id,
        first_interval=first,
        last_interval=last,
        total_wh=sum(step["energy_wh"] for step in steps),
        steps=[EnergyStep(**step) for step in steps],
    )


@router.get("/{id}/production", dependencies=[Depends(require_reader)])
def production(
    id: MeterId,
    meter: Meter,
    context: Web,
    store: Reads,
    first: Edge = None,
    last: Edge = None,
    by: Literal["interval", "day"] = "interval",
) -> Energy:
    """What the export register gained between intervals ``first`` and ``last``; the last day without them."""
    return _energy(id, meter, store, "export_wh", context.now_s, first, last, by)


@router.get("/{id}/consumption", dependencies=[Depends(require_reader)])
def consumption(
    id: MeterId,
    meter: Meter,
    context: Web,
    store: Reads,
    first: Edge = None,
    last: Edge = None,
    by: Literal["interval", "day"] = "interval",
) -> Energy:
    """What the import register gained between intervals ``first`` and ``last``; the last day without them."""
    return _energy(id, meter, store, "import_wh", context.now_s, first, last, by)
