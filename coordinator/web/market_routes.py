"""The market: what can be traded now, the book, the auctions."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel

from coordinator.web import views
from coordinator.web.context import Reads, Web, require_reader
from coordinator.web.pages import PageRequest, page, page_request
from coordinator.web.problems import PROBLEMS, RefusedRequest

router = APIRouter(prefix="/api/v1/market", tags=["market"], responses=PROBLEMS, dependencies=[Depends(require_reader)])


class ProductDocument(BaseModel):
    """A product that takes orders. ``last_price`` is absent where its last auction had no volume."""

    product: int
    length: int
    first_interval: int
    start_s: int
    end_s: int
    gate_closure_s: int
    next_round: int | None
    next_round_at_s: int | None
    last_price: int | None
    open_orders: int


class Products(BaseModel):
    """Everything that takes orders now."""

    now_s: int
    products: list[ProductDocument]


class PriceLevel(BaseModel):
    """Open quantity at one price."""

    limit_price: int
    quantity_wh: int
    orders: int


class OrderBook(BaseModel):
    """Open quantity by side, best price first; Wh per interval."""

    product: int
    length: int
    first_interval: int
    start_s: int
    end_s: int
    buy: list[PriceLevel]
    sell: list[PriceLevel]


class AuctionPage(BaseModel):
    """A page of auctions, newest first."""

    auctions: list[dict[str, Any]]
    next: str | None


@router.get("/products")
def list_products(context: Web, store: Reads) -> Products:
    """Every product whose gate is open, by length and then by delivery."""
    now_s = context.now_s
    return Products(
        now_s=now_s, products=[ProductDocument(**p) for p in views.products(store, context.runtime.market, now_s)]
    )


@router.get("/orderbook")
def get_order_book(store: Reads, product: Annotated[int, Query(ge=0, lt=2**53)]) -> OrderBook:
    """The book of one product."""
    book = views.order_book(store, product)
    if "length" not in book:
        raise RefusedRequest(404, "UNKNOWN_PRODUCT", f"{product} is the number of no product")
    return OrderBook(**book)


@router.get("/auctions")
def list_auctions(
    store: Reads,
    request: Annotated[PageRequest, Depends(page_request)],
    product: Annotated[int | None, Query(ge=0, lt=2**53)] = None,
) -> AuctionPage:
    """Results of the auctions, of one product with ``product``."""
    rows = views.auctions(store, request.limit + 1, request.after(3), product)
    kept, following = page(rows, request, lambda row: row[:3])
    return AuctionPage(auctions=[views.auction_document(row) for row in kept], next=following)
