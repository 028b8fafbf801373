"""For the operator's machines: is it alive, is it ready, what does it count. And who may take part."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Body, Depends, Response
from fastapi.responses import PlainTextResponse
from pydantic import BaseModel, ConfigDict, Field

from contracts.messages import ACCOUNT_LIMIT
from contracts.p256 import is_on_curve
from contracts.topics import NAME_PATTERN
from coordinator.coordinator import Coordinator
from coordinator.effects import Effect
from coordinator.web.context import Reads, Web, require_operator
from coordinator.web.metrics import exposition
from coordinator.web.problems import PROBLEMS, RefusedRequest
from coordinator.web.signed import unhex

router = APIRouter(tags=["operations"])

POWER_LIMIT_W = 1_000_000
"""A device of more than a megawatt is no home's."""


class Health(BaseModel):
    """``ok`` or what is missing."""

    status: str


class FlexibleDeviceBody(BaseModel):
    """A device that obeys set-points, and its range of power (load convention: negative gives)."""

    model_config = ConfigDict(extra="forbid")

    device: Annotated[int, Field(ge=0, lt=1 << 16)]
    lowest_w: Annotated[int, Field(ge=-POWER_LIMIT_W, le=POWER_LIMIT_W)]
    highest_w: Annotated[int, Field(ge=-POWER_LIMIT_W, le=POWER_LIMIT_W)]


class EnrolBody(BaseModel):
    """Links a home's name on the feeder to an account that the chain has opened, with its flexible devices."""

    model_config = ConfigDict(extra="forbid")

    account: Annotated[int, Field(ge=1, lt=ACCOUNT_LIMIT)]
    edge: Annotated[str, Field(pattern=f"^{NAME_PATTERN.pattern}$")]
    devices: Annotated[list[FlexibleDeviceBody], Field(max_length=16)] = []
    element: Annotated[
        str | None, Field(pattern="^0x[0-9a-fA-F]{128}$", description="public key of its secure element, x and y")
    ] = None


class Enrolled(BaseModel):
    """The home takes part."""

    account: int
    edge: str


@router.get("/healthz")
async def healthz() -> Health:
    """Whether the process answers."""
    return Health(status="ok")


@router.get("/readyz", responses={503: {"model": Health}})
async def readyz(context: Web, response: Response) -> Health:
    """Whether inputs are worked on, the queue has room and the chain answers."""
    if context.runtime.ready:
        return Health(status="ok")
    response.status_code = 503
    return Health(status="not ready: starting, overloaded, or the chain does not answer")


@router.get("/metrics", response_class=PlainTextResponse)
def metrics(context: Web, store: Reads) -> PlainTextResponse:
    """Everything counted, in Prometheus' text format."""
    return PlainTextResponse(exposition(context, store), media_type="text/plain; version=0.0.4")


@router.post(
    "/api/v1/homes",
    status_code=201,
    dependencies=[Depends(require_operator)],
    responses=PROBLEMS | {401: {"description": "no token"}, 409: {"description": "name taken or account unknown"}},
)
async def enrol_home(body: Annotated[EnrolBody, Body()], context: Web) -> Enrolled:
    """Enrols a home. Again with the same words changes nothing."""
    if any(device.lowest_w > device.highest_w for device in body.devices):
        raise RefusedRequest(422, "INVALID_RANGE", "a device's lowest power is above its highest")

    element = None if body.element is None else unhex(body.element)
    if element is not None and not is_on_curve(element[:32], element[32:]):
        raise RefusedRequest(422, "NOT_ON_CURVE", "the element's key is no point of P-256")

    def work(core: Coordinator, now_ms: int) -> tuple[bool, list[Effect]]:
        participant = core.registry.participant(body.account)
        if participant is None or (participant.edge != body.edge and not core.enrol(body.account, body.edge, now_ms)):
            return False, []
        if element is not None and element != participant.element:
            core.enrol_element(body.account, element, now_ms)
        for device in body.devices:
            core.enrol_device(body.account, device.device, device.lowest_w, device.highest_w, now_ms)
        return True, []

    if not await context.runtime.request(work):
        raise RefusedRequest(409, "NOT_ENROLLED", "the account is not open on the chain, or the name is taken")
    return Enrolled(account=body.account, edge=body.edge)
