"""What anybody checks: public records, proof packs, bills."""

from __future__ import annotations

import json
import threading
import zlib
from collections import OrderedDict
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from pydantic import BaseModel

from contracts.batch import BatchRecord
from contracts.interval import INTERVALS_PER_DAY, interval_of
from contracts.messages import ACCOUNT_LIMIT, Header
from contracts.proof_pack import IntervalPack, interval_packs, pack_bytes
from coordinator.store.store import Store
from coordinator.web import account_views, views
from coordinator.web.context import Reads, Web, require_reader
from coordinator.web.pages import PageRequest, page, page_request
from coordinator.web.problems import PROBLEMS, RefusedRequest

router = APIRouter(prefix="/api/v1", tags=["proofs"], responses=PROBLEMS, dependencies=[Depends(require_reader)])

PACKS_KEPT = 4
"""Intervals whose packs stay in memory: homes ask for the newest, all at once."""
BILL_LIMIT = 400 * INTERVALS_PER_DAY
INTERVAL_LIMIT = 2**40

Interval = Annotated[int, Path(ge=0, lt=INTERVAL_LIMIT)]
Account = Annotated[int, Path(ge=0, lt=ACCOUNT_LIMIT)]

_packs: OrderedDict[bytes, dict[int, IntervalPack]] = OrderedDict()
_packs_lock = threading.Lock()


class HeaderPage(BaseModel):
    """A page of headers, newest first, with their state on the chain."""

    batches: list[dict[str, Any]]
    next: str | None


class Bill(BaseModel):
    """All money of an account over a range of intervals, gross, with the formula; energies in Wh, money in nano."""

    account: int
    first_interval: int
    last_interval: int
    intervals: int
    metered_wh: int
    contracted_wh: int
    contracted_cost_nano: int
    spot_bought_wh: int
    spot_sold_wh: int
    supplier_bought_wh: int
    supplier_sold_wh: int
    result_nano: int
    without_community_nano: int
    saved_nano: int
    cash_nano: int
    reserved_nano: int
    formula: str
    statements: list[dict[str, Any]]
    next: str | None


def _header_row(store: Store, interval: int) -> tuple[Any, ...]:
    row = store.row("SELECT header, digest, signature, record FROM headers WHERE interval = ?", interval)
    if row is None:
        raise RefusedRequest(404, "UNKNOWN_INTERVAL", f"interval {interval} has no header")
    return row


def _unchanged(request: Request, tag: str) -> bool:
    offered = [entry.strip().removeprefix("W/") for entry in request.headers.get("if-none-match", "").split(",")]
    return tag in offered or "*" in offered


@router.get("/batches")
def list_batches(store: Reads, request: Annotated[PageRequest, Depends(page_request)]) -> HeaderPage:
    """All headers: interval, digest, state (built, posted, final, voided), place, gas."""
    rows = views.headers(store, request.limit + 1, request.after(1))
    kept, following = page(rows, request, lambda row: row[:1])
    return HeaderPage(batches=[views.header_document(row) for row in kept], next=following)


@router.get("/batches/{interval}", response_class=Response, responses={304: {"description": "as you have it"}})
def get_batch(interval: Interval, request: Request, store: Reads) -> Response:
    """The public record, byte for byte what the header's ``data_hash`` commits to."""
    header, _, _, record = _header_row(store, interval)
    tag = f'"{Header.unpack(header).data_hash.hex()}"'
    headers = {"ETag": tag, "Cache-Control": "public, max-age=31536000, immutable"}
    if _unchanged(request, tag):
        return Response(status_code=304, headers=headers)
    return Response(record, headers=headers, media_type="application/json")


@router.get("/proofs/{account}/{interval}", response_class=Response)
def get_proof(account: Account, interval: Interval, request: Request, store: Reads) -> Response:
    """The interval pack of an account: signed header, its leaves and their paths, as JSON."""
    header, digest, signature, record = _header_row(store, interval)
    tag = f'"{digest.hex()}-{account}"'
    headers = {"ETag": tag, "Cache-Control": "public, max-age=31536000, immutable"}
    if _unchanged(request, tag):
        return Response(status_code=304, headers=headers)
    pack = _packs_of(header, digest, signature, record).get(account)
    if pack is None:
        raise RefusedRequest(404, "NOT_IN_BATCH", f"account {account} has no leaf in interval {interval}")
    document = json.loads(zlib.decompress(pack_bytes(pack)))
    return Response(json.dumps(document), headers=headers, media_type="application/json")


def _packs_of(header: bytes, digest: bytes, signature: bytes, record: bytes) -> dict[int, IntervalPack]:
    with _packs_lock:
        found = _packs.get(digest)
        if found is None:
            found = _packs[digest] = interval_packs(BatchRecord.from_bytes(record), Header.unpack(header), signature)
            if len(_packs) > PACKS_KEPT:
                _packs.popitem(last=False)
        return found


@router.get("/bills/{account}")
def get_bill(
    account: Account,
    context: Web,
    store: Reads,
    request: Annotated[PageRequest, Depends(page_request)],
    first: Annotated[int | None, Query(ge=0, lt=INTERVAL_LIMIT)] = None,
    last: Annotated[int | None, Query(ge=0, lt=INTERVAL_LIMIT)] = None,
) -> Bill:
    """The bill over intervals ``first … last``, the last 30 days without them, with its statements page by page."""
    if not account_views.account_exists(store, account):
        raise RefusedRequest(404, "UNKNOWN_ACCOUNT", "no such account")
    until = interval_of(context.now_s) if last is None else last
    since = max(0, until - 30 * INTERVALS_PER_DAY + 1) if first is None else first
    if not since <= until < since + BILL_LIMIT:
        raise RefusedRequest(422, "INVALID_RANGE", f"a bill covers 1 to {BILL_LIMIT} intervals")
    entries = account_views.statements(store, account, since, until, request.limit + 1, request.after(1))
    kept, following = page(entries, request, lambda entry: (entry["interval"],))
    return Bill(**account_views.bill(store, account, since, until), statements=kept, next=following)
