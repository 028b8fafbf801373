"""Signed messages in JSON: from a request's body to the envelope that the broker would carry, and back.

The core decides exactly as for MQTT: the envelope goes through the same ``receive`` under the home's own topic.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Body
from pydantic import BaseModel, ConfigDict, Field

from contracts.eip712 import LocalValueError, Message, layout
from contracts.envelope import Envelope, open_envelope
from contracts.messages import SUPPLIER
from contracts.topics import PER_METER, Leaf, topic
from coordinator.effects import Publish
from coordinator.ingest import Refusal
from coordinator.store.store import Store
from coordinator.web.context import WebContext
from coordinator.web.problems import RefusedRequest

SIGNATURE_HEX_LIMIT = 200
ATTACHMENT_HEX_LIMIT = 200_000
"""More than the largest attachment in hexadecimal, so that the core says what is too large."""

Hex = Annotated[str, Field(pattern=r"^0x([0-9a-fA-F]{2})*$")]


class SignedBody(BaseModel):
    """A message with its signature. ``message`` has exactly the message's fields, bytes as 0x-hex."""

    model_config = ConfigDict(extra="forbid")

    message: dict[str, int | str]
    signature: Annotated[Hex, Field(max_length=SIGNATURE_HEX_LIMIT)]
    attachment: Annotated[Hex, Field(max_length=ATTACHMENT_HEX_LIMIT)] = "0x"


class SignedReply(BaseModel):
    """What the operator signed in answer: a Receipt or an Acknowledgement."""

    kind: str
    message: dict[str, int | str]
    signature: Hex


class Accepted(BaseModel):
    """The message is durable. ``id`` names an order; ``reply`` proves that the operator holds it."""

    id: str | None = None
    reply: SignedReply | None


Signed = Annotated[SignedBody, Body()]


def unhex(text: str) -> bytes:
    """The bytes of 0x-hex that a model has checked."""
    return bytes.fromhex(text[2:])


def message_of(document: dict[str, Any], kinds: tuple[type[Message], ...]) -> Message:
    """The message whose fields the document has. Raises RefusedRequest naming what is wrong."""
    names = set(document)
    kind = next((k for k in kinds if {name for name, _ in layout(k).columns} == names), None)
    if kind is None:
        expected = " or ".join(f"{k.__name__}({', '.join(n for n, _ in layout(k).columns)})" for k in kinds)
        raise RefusedRequest(422, "WRONG_FIELDS", f"the message has exactly the fields of {expected}")
    try:
        return kind.from_json(document)
    except (LocalValueError, ValueError) as error:
        raise RefusedRequest(422, "ILLEGAL_VALUE", str(error)) from error


async def receive(
    context: WebContext, store: Store, message: Message, signature: bytes, leaf: Leaf, attachment: bytes = b""
) -> SignedReply | None:
    """Hands the message to the core under its home's topic; the operator's signed answer. Raises RefusedRequest."""
    account: int = message.account  # type: ignore[attr-defined]  # all messages of homes have one
    row = store.row("SELECT edge FROM participants WHERE account = ?", account)
    if row is None or account == SUPPLIER:
        raise RefusedRequest.by_core(Refusal.UNKNOWN_ACCOUNT)
    if row[0] is None:
        raise RefusedRequest(403, Refusal.WRONG_EDGE.name, "the operator has not enrolled this account's home yet")
    meter: int | None = getattr(message, "meter", None) if leaf in PER_METER else None
    address = topic(context.runtime.market.feeder, row[0], leaf, meter)
    reception = await context.runtime.submit(address, Envelope(message, signature, attachment).pack())
    if reception.refusal is not None:
        raise RefusedRequest.by_core(reception.refusal)
    answers = [e for e in reception.effects if isinstance(e, Publish)]
    return _reply(answers[0].payload) if answers else None


def _reply(frame: bytes) -> SignedReply | None:
    envelope = open_envelope(frame)
    if not isinstance(envelope, Envelope):
        return None
    message = envelope.message
    return SignedReply(
        kind=type(message).__name__, message=message.to_json(), signature="0x" + envelope.signature.hex()
    )
