"""The homes as the operator sees them: who is enrolled, and what each says of itself."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Depends
from pydantic import BaseModel

from contracts.attestation import SignedAttestation
from contracts.birth import Birth
from coordinator.coordinator import Coordinator
from coordinator.effects import Effect
from coordinator.hearsay import Said, Vouched, vouched_for
from coordinator.registry import Participant
from coordinator.web.context import Web, WebContext, require_operator
from coordinator.web.pages import PageRequest, page, page_request
from coordinator.web.problems import PROBLEMS

router = APIRouter(prefix="/api/v1/homes", tags=["homes"], responses=PROBLEMS)

Row = tuple[Participant, Said]


class MeterSaid(BaseModel):
    """One device. ``profile_hash`` is the sha256 of the profile's file as the home has it."""

    meter: int
    profile: str | None
    profile_hash: str | None
    telegram: str | None


class HomeSays(BaseModel):
    """The home's own words at ``at_s``; nobody has signed them."""

    at_s: int | None
    version: str
    account: int
    address: str
    epoch: int
    meters: list[MeterSaid]


class Attestation(BaseModel):
    """Who vouches for the home's key: NOBODY, UNREGISTERED, REGISTERED, or why an attestation does not count."""

    code: str
    text: str
    element: str | None
    valid_until_s: int | None


class Home(BaseModel):
    """One enrolled home. ``element`` is its registered secure element; what it has not said is absent."""

    account: int
    edge: str
    address: str
    element: str | None
    online: bool | None
    says: HomeSays | None
    attestation: Attestation | None


class Homes(BaseModel):
    """Homes by account."""

    homes: list[Home]
    next: str | None


@router.get("", dependencies=[Depends(require_operator)], responses={401: {"description": "no token"}})
async def list_homes(context: Web, request: Annotated[PageRequest, Depends(page_request)]) -> Homes:
    """Every enrolled home with its version, profiles and attestation."""
    (begins_after,) = request.after(1) or (-1,)

    def work(core: Coordinator, _: int) -> tuple[list[Row], list[Effect]]:
        found = [p for p in core.registry.participants() if p.edge is not None and p.account > begins_after]
        return [(p, core.hearsay.of(p.edge or "")) for p in found[: request.limit + 1]], []

    rows = await context.runtime.request(work)
    kept, following = page(rows, request, lambda row: (row[0].account,))
    # Signatures take milliseconds each when seen for the first time: neither the core nor the loop waits for them.
    homes = await asyncio.to_thread(lambda: [_home(context, *row) for row in kept])
    return Homes(homes=homes, next=following)


def _home(context: WebContext, participant: Participant, said: Said) -> Home:
    birth = said.birth
    return Home(
        account=participant.account,
        edge=participant.edge or "",
        address=_hex(participant.key),
        element=None if participant.element is None else _hex(participant.element),
        online=said.online,
        says=None if birth is None else _says(birth, said.born_at_s),
        attestation=None if birth is None else _attestation(context, birth, participant),
    )


def _says(birth: Birth, at_s: int | None) -> HomeSays:
    return HomeSays(
        at_s=at_s,
        version=birth.version,
        account=birth.account,
        address=_hex(birth.address),
        epoch=birth.epoch,
        meters=[
            MeterSaid(
                meter=meter.meter,
                profile=meter.profile,
                profile_hash=None if meter.profile_hash is None else _hex(meter.profile_hash),
                telegram=meter.telegram,
            )
            for meter in birth.meters
        ],
    )


def _attestation(context: WebContext, birth: Birth, participant: Participant) -> Attestation:
    verdict = vouched_for(birth, participant, context.runtime.market.domain, context.now_s)
    signed = birth.attestation if isinstance(birth.attestation, SignedAttestation) else None
    element = None if signed is None else _hex(signed.element)
    text = verdict.value if verdict is not Vouched.UNREGISTERED else f"attested by element {element} (not registered)"
    until_s = None if signed is None else signed.attestation.valid_until_s
    return Attestation(code=verdict.name, text=text, element=element, valid_until_s=until_s)


def _hex(value: bytes) -> str:
    return "0x" + value.hex()
