"""Orders and trades. An order is a signed Bid; its id is ``account-product-version``."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body, Depends, Path, Query
from pydantic import BaseModel, ConfigDict, Field

from contracts.codes import Side
from contracts.eip712 import LocalValueError, Message, typed_data
from contracts.interval import Product
from contracts.messages import ACCOUNT_LIMIT, FORCED_VERSION, Bid, StandingOrder
from contracts.topics import Leaf
from coordinator.web import views
from coordinator.web.context import Reads, Web, require_reader
from coordinator.web.pages import PageRequest, page, page_request
from coordinator.web.problems import PROBLEMS, RefusedRequest
from coordinator.web.signed import SIGNATURE_HEX_LIMIT, Accepted, Hex, Signed, message_of, receive, unhex

router = APIRouter(prefix="/api/v1", tags=["orders"], responses=PROBLEMS)

OrderId = Annotated[str, Path(pattern=r"^\d{1,10}-\d{1,18}-\d{1,10}$", examples=["1-2049024001-1"])]


class AmountOrder(BaseModel):
    """An order as people say it: ``amount`` in Wh over the whole product, ``price`` in micro-currency per kWh."""

    model_config = ConfigDict(extra="forbid")

    account: Annotated[int, Field(ge=1, lt=ACCOUNT_LIMIT)]
    product: Annotated[int, Field(ge=0, lt=2**53)]
    version: Annotated[int, Field(ge=1, lt=FORCED_VERSION)]
    side: Literal["BUY", "SELL"]
    amount: Annotated[int, Field(ge=0, lt=2**53, description="Wh, a multiple of the product's length")]
    price: Annotated[int, Field(gt=-(2**53), lt=2**53, description="micro-currency per kWh")]
    expiry: Annotated[int, Field(ge=0, lt=2**53, description="UTC seconds")]


class OrderBody(BaseModel):
    """A signed order: ``message`` is the Bid or StandingOrder itself; or ``order`` says a Bid by its amount."""

    model_config = ConfigDict(extra="forbid")

    message: dict[str, int | str] | None = None
    order: AmountOrder | None = None
    signature: Annotated[Hex, Field(max_length=SIGNATURE_HEX_LIMIT)]


class OrderDocument(BaseModel):
    """An order and what became of it. ``quantity_wh`` is per interval, ``amount_wh`` over the product."""

    model_config = ConfigDict(extra="allow")

    id: str
    account: int
    product: int
    version: int
    side: Literal["BUY", "SELL"]
    quantity_wh: int
    amount_wh: int
    limit_price: int
    expiry_s: int
    first_round: int
    filled_wh: int
    status: Literal["ACTIVE", "FILLED", "CANCELLED"]


class Draft(BaseModel):
    """What a wallet signs (``eth_signTypedData_v4``), and the message to send back with the signature."""

    typed_data: dict[str, Any]
    message: dict[str, int | str]


class TradeDocument(BaseModel):
    """One account's fill in one auction, and the state of the header that carries it."""

    model_config = ConfigDict(extra="allow")

    id: str
    cleared_at_s: int
    product: int
    round: int
    account: int
    side: Literal["BUY", "SELL"]
    fill_wh: int
    price: int
    amount_nano: int
    header_interval: int
    header_state: str | None


class TradePage(BaseModel):
    """A page of trades, newest first."""

    trades: list[TradeDocument]
    next: str | None


def quantity_of(amount_wh: int, product: int) -> int:
    """Wh per interval of an amount over a product. Raises RefusedRequest unless it divides."""
    try:
        length = Product.from_number(product).length
    except ValueError as error:
        raise RefusedRequest(422, "UNKNOWN_PRODUCT", str(error)) from error
    if amount_wh % length:
        nearest = amount_wh - amount_wh % length
        raise RefusedRequest(
            422, "AMOUNT_NOT_DIVISIBLE",
            f"the product covers {length} intervals, so the amount is a multiple of {length} Wh, like {nearest} or"
            f" {nearest + length}",
        )  # fmt: skip
    return amount_wh // length


def _bid(order: AmountOrder) -> Bid:
    quantity = quantity_of(order.amount, order.product)
    try:
        return Bid(
            order.account, order.product, order.version, int(Side[order.side]), quantity, order.price, order.expiry
        )
    except LocalValueError as error:
        raise RefusedRequest(422, "ILLEGAL_VALUE", str(error)) from error


def _order_of(body: OrderBody) -> Message:
    if (body.message is None) == (body.order is None):
        raise RefusedRequest(422, "WRONG_FIELDS", "give either message or order")
    if body.order is not None:
        return _bid(body.order)
    assert body.message is not None
    return message_of(body.message, (Bid, StandingOrder))


def _identity(order_id: str) -> tuple[int, int, int]:
    found = views.numbers(order_id, 3)
    assert found is not None  # the path's pattern
    return found[0], found[1], found[2]


@router.post("/orders", status_code=201)
async def place_order(body: Annotated[OrderBody, Body()], context: Web, store: Reads) -> Accepted:
    """Places a signed order. The same order again gets the same receipt: its key is (account, product, version)."""
    order = _order_of(body)
    reply = await receive(context, store, order, unhex(body.signature), Leaf.BID)
    identity = views.order_id(order.account, order.product, order.version) if isinstance(order, Bid) else None
    return Accepted(id=identity, reply=reply)


@router.get("/orders/draft", dependencies=[Depends(require_reader)])
def draft_order(
    context: Web,
    store: Reads,
    account: Annotated[int, Query(ge=1, lt=ACCOUNT_LIMIT)],
    product: Annotated[int, Query(ge=0, lt=2**53)],
    side: Literal["BUY", "SELL"],
    amount: Annotated[int, Query(ge=0, lt=2**53, description="Wh over the whole product")],
    price: Annotated[int, Query(gt=-(2**53), lt=2**53, description="micro-currency per kWh")],
    expiry: Annotated[int | None, Query(ge=0, lt=2**53)] = None,
) -> Draft:
    """The next order of an account as typed data to sign. ``expiry`` defaults to the begin of delivery."""
    version = views.newest_version(store, account, product) + 1
    if version >= FORCED_VERSION:
        raise RefusedRequest(409, "STALE_VERSION", "an order placed on chain stands for this product")
    quantity_of(amount, product)
    expiry_s = Product.from_number(product).start_s if expiry is None else expiry
    order = AmountOrder(
        account=account, product=product, version=version, side=side, amount=amount, price=price, expiry=expiry_s
    )
    bid = _bid(order)
    return Draft(typed_data=typed_data(bid, context.runtime.market.domain), message=bid.to_json())


@router.get("/orders/{id}", dependencies=[Depends(require_reader)])
def get_order(id: OrderId, store: Reads) -> OrderDocument:
    """One order with its state."""
    found = views.order(store, *_identity(id))
    if found is None:
        raise RefusedRequest(404, "UNKNOWN_ORDER", f"there is no order {id}")
    return OrderDocument(**found)


@router.post("/orders/{id}/cancel")
async def cancel_order(id: OrderId, body: Signed, context: Web, store: Reads) -> Accepted:
    """Cancels by a signed Bid of quantity 0 with a higher version for the same account and product."""
    account, product, version = _identity(id)
    if views.order(store, account, product, version) is None:
        raise RefusedRequest(404, "UNKNOWN_ORDER", f"there is no order {id}")
    bid = message_of(body.message, (Bid,))
    assert isinstance(bid, Bid)
    if (bid.account, bid.product) != (account, product) or bid.quantity_wh or bid.version <= version:
        raise RefusedRequest(
            422,
            "NOT_A_CANCELLATION",
            f"sign quantity 0 with a version above {version} for the same account and product",
        )
    reply = await receive(context, store, bid, unhex(body.signature), Leaf.BID)
    return Accepted(id=views.order_id(account, product, bid.version), reply=reply)


@router.get("/trades", dependencies=[Depends(require_reader)])
def list_trades(
    store: Reads,
    request: Annotated[PageRequest, Depends(page_request)],
    account: Annotated[int | None, Query(ge=0, lt=ACCOUNT_LIMIT)] = None,
) -> TradePage:
    """Fills of all auctions, newest first; of one account with ``account``."""
    rows = views.trades(store, request.limit + 1, request.after(4), account)
    kept, following = page(rows, request, lambda row: row[:4])
    return TradePage(trades=[TradeDocument(**views.trade_document(row)) for row in kept], next=following)
