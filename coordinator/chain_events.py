"""What the coordinator learns from the chain, one frozen dataclass an event, with a JSON form for the inbox."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from contracts.messages import Bid


@dataclass(frozen=True, slots=True)
class AccountOpened:
    """An account exists, or its key was changed. ``owner`` and ``key`` are addresses of 20 bytes."""

    account: int
    owner: bytes
    key: bytes


@dataclass(frozen=True, slots=True)
class Deposited:
    """Money came in for an account."""

    account: int
    amount_nano: int


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """An owner took money out."""

    account: int
    amount_nano: int


@dataclass(frozen=True, slots=True)
class HeaderPosted:
    """A header stands on the chain at ``index``."""

    index: int
    digest: bytes
    posted_at_s: int
    gas: int


@dataclass(frozen=True, slots=True)
class HeaderFinalised:
    """The header at ``index`` and all before it can no longer be challenged."""

    index: int


@dataclass(frozen=True, slots=True)
class HeaderVoided:
    """A challenge voided the header at ``index`` and all after it."""

    index: int
    reason: str


@dataclass(frozen=True, slots=True)
class OrderForced:
    """An order was placed on the chain and must take part."""

    order_id: int
    bid: Bid


@dataclass(frozen=True, slots=True)
class OrderCancelled:
    """A forced order is closed on the chain: withdrawn by its trader, or matched there.

    ``closed_at_s`` is the time of its block, which says what rounds it still stood for; 0: when it is heard of.
    """

    order_id: int
    closed_at_s: int = 0


@dataclass(frozen=True, slots=True)
class DemandRaised:
    """Somebody asks on chain about the header at ``index``; see ``contracts.demands.Question``.

    ``place`` is the leaf of the auction that the question is about, ``subject`` the account or leaf that it names.
    """

    number: int
    index: int
    question: int
    place: int
    subject: int
    deadline_s: int


@dataclass(frozen=True, slots=True)
class CoverDemanded:
    """What a demand for cover is about: an account's reserve, the one before it, and the list behind it."""

    number: int
    reserved_nano: int
    reserved_before_nano: int
    commitments_hash: bytes


@dataclass(frozen=True, slots=True)
class RoundDemanded:
    """What a demand for a promised round is about: the product, and the version of the receipted bid."""

    number: int
    product: int
    version: int


@dataclass(frozen=True, slots=True)
class DemandClosed:
    """A demand was answered, or its header is void or final."""

    number: int


ChainEvent = (
    AccountOpened
    | Deposited
    | Withdrawn
    | HeaderPosted
    | HeaderFinalised
    | HeaderVoided
    | OrderForced
    | OrderCancelled
    | DemandRaised
    | CoverDemanded
    | RoundDemanded
    | DemandClosed
)

_TYPES: dict[str, type[ChainEvent]] = {
    kind.__name__: kind
    for kind in (
        AccountOpened,
        Deposited,
        Withdrawn,
        HeaderPosted,
        HeaderFinalised,
        HeaderVoided,
        OrderForced,
        OrderCancelled,
        DemandRaised,
        CoverDemanded,
        RoundDemanded,
        DemandClosed,
    )
}


def event_bytes(event: ChainEvent) -> bytes:
    """Canonical JSON of an event."""
    fields = asdict(event)
    if isinstance(event, OrderForced):
        fields["bid"] = event.bid.to_json()
    plain = {name: "0x" + value.hex() if isinstance(value, bytes) else value for name, value in fields.items()}
    return json.dumps({"event": type(event).__name__} | plain, sort_keys=True, separators=(",", ":")).encode()


def open_event(document: bytes) -> ChainEvent:
    """The event of that JSON. Raises ValueError or KeyError on anything else."""
    fields = json.loads(document)
    kind = _TYPES[fields.pop("event")]
    if kind is OrderForced:
        return OrderForced(int(fields["order_id"]), Bid.from_json(fields["bid"]))
    values: dict[str, Any] = {n: bytes.fromhex(v[2:]) if str(v).startswith("0x") else v for n, v in fields.items()}
    return kind(**values)
