"""The grid: what the feeder draws and gives, and one balancing step on the operator's word."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel

from contracts.interval import INTERVALS_PER_DAY, interval_of
from coordinator.coordinator import Coordinator
from coordinator.effects import Effect
from coordinator.grid.dispatch import DispatchedStep
from coordinator.web import views
from coordinator.web.context import Reads, Web, require_operator, require_reader
from coordinator.web.problems import PROBLEMS

router = APIRouter(prefix="/api/v1/grid", tags=["grid"], responses=PROBLEMS)

CURVE_LIMIT = 7 * INTERVALS_PER_DAY
"""A week of intervals in one answer."""

Hours = Annotated[int, Query(ge=1, le=CURVE_LIMIT // 4, description="how far back the curve goes")]


class GridStatus(BaseModel):
    """The feeder now. ``net_w`` positive: it draws from the grid. Values that no home reports are absent."""

    feeder: str
    now_s: int
    interval: int
    demand_w: int
    supply_w: int
    net_w: int
    homes: int
    frequency_mhz: int | None
    lowest_voltage_mv: int | None
    highest_voltage_mv: int | None
    oldest_age_s: int | None
    price: int | None
    price_interval: int | None
    tariff_import: int
    tariff_export: int
    equivocations: int


class CurvePoint(BaseModel):
    """Mean power of one interval, its community price and the four factors of it."""

    interval: int
    demand_w: int
    supply_w: int
    price: int
    demand_permille: int
    supply_permille: int
    time_permille: int
    stability_permille: int


class Demand(BaseModel):
    """What the homes consume: now, and per interval."""

    now_s: int
    demand_w: int
    homes: int
    curve: list[CurvePoint]


class Supply(BaseModel):
    """What the homes produce: now, and per interval."""

    now_s: int
    supply_w: int
    homes: int
    curve: list[CurvePoint]


class Command(BaseModel):
    """One set-point of a balancing step."""

    account: int
    device: int
    sequence: int
    power_w: int
    valid_until_s: int


class BalanceDocument(BaseModel):
    """A balancing step: net power before and expected after, why, and what was commanded."""

    before_w: int
    need_w: int
    after_w: int
    reason: str
    set_points: list[Command]


@router.get("/status", dependencies=[Depends(require_reader)])
def status(context: Web, store: Reads) -> GridStatus:
    """Power, voltage, frequency and price."""
    return GridStatus(**views.grid_status(store, context.runtime.market, context.now_s))


def _curve(store: Reads, now_s: int, hours: int) -> list[CurvePoint]:
    until = interval_of(now_s)
    return [CurvePoint(**point) for point in views.power_curve(store, until - 4 * hours, until)]


@router.get("/demand", dependencies=[Depends(require_reader)])
def demand(context: Web, store: Reads, hours: Hours = 24) -> Demand:
    """Consumption of all homes."""
    now_s = context.now_s
    state = views.grid_status(store, context.runtime.market, now_s)
    return Demand(now_s=now_s, demand_w=state["demand_w"], homes=state["homes"], curve=_curve(store, now_s, hours))


@router.get("/supply", dependencies=[Depends(require_reader)])
def supply(context: Web, store: Reads, hours: Hours = 24) -> Supply:
    """Production of all homes."""
    now_s = context.now_s
    state = views.grid_status(store, context.runtime.market, now_s)
    return Supply(now_s=now_s, supply_w=state["supply_w"], homes=state["homes"], curve=_curve(store, now_s, hours))


@router.post("/balance", dependencies=[Depends(require_operator)], responses={401: {"description": "no token"}})
async def balance(context: Web) -> BalanceDocument:
    """One balancing step now: shares the feeder's imbalance among the flexible devices by signed set-points."""

    def work(core: Coordinator, now_ms: int) -> tuple[DispatchedStep, list[Effect]]:
        dispatched = core.balance_grid(now_ms)
        return dispatched, dispatched.effects

    dispatched = await context.runtime.request(work)
    step = dispatched.step
    return BalanceDocument(
        before_w=step.before.net_w,
        need_w=step.need_w,
        after_w=step.after_w,
        reason=step.reason,
        set_points=[
            Command(
                account=p.account,
                device=p.device,
                sequence=p.sequence,
                power_w=p.power_w,
                valid_until_s=p.valid_until_s,
            )
            for p in dispatched.set_points
        ],
    )
