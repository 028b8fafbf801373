"""The frame in which a signed message travels: magic, version, kind, fixed-layout body, signature, attachment.

    E6 | version 1 | kind 1 | body (fixed width by kind) | signature 65 | attachment length 4 | attachment

One message has one encoding, so a stored envelope is evidence byte for byte. The attachment carries what the
signature commits to only by hash: the columns of a telemetry batch, the raw telegram behind a reading.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from contracts.eip712 import Domain, LocalValueError, Message, digest, layout
from contracts.messages import MESSAGES, TelemetryBatch
from contracts.signature import SIGNATURE_BYTES, SignatureRefusal, Signer, refusal_of

MAGIC = 0xE6
WIRE_VERSION = 1
PREFIX_BYTES = 3
LENGTH_BYTES = 4
ATTACHMENT_LIMIT_BYTES = 64 * 1024
"""A batch of 600 readings compresses to some 10 kB; a telegram is below 4 kB. Larger ones are not ours."""

_KIND = {message_type: number for number, message_type in enumerate(MESSAGES)}


class EnvelopeRefusal(Enum):
    """Why bytes are not an envelope, in the order in which it is looked for."""

    TOO_SHORT = "fewer bytes than the smallest envelope"
    TOO_LARGE = "more bytes than the largest envelope"
    WRONG_MAGIC = "does not start with the magic byte"
    UNKNOWN_VERSION = "a wire version this party does not speak"
    UNKNOWN_KIND = "a kind of message this party does not know"
    WRONG_LENGTH = "body, signature and attachment do not fill the frame"
    UNEXPECTED_ATTACHMENT = "this kind of message carries no attachment"
    ILLEGAL_VALUE = "a field is outside its type or meaning"


@dataclass(frozen=True, slots=True)
class Envelope:
    """A message with its signature and attachment."""

    message: Message
    signature: bytes
    attachment: bytes = b""

    def pack(self) -> bytes:
        """The frame."""
        return b"".join(
            (
                bytes((MAGIC, WIRE_VERSION, _KIND[type(self.message)])),
                self.message.pack(),
                self.signature,
                len(self.attachment).to_bytes(LENGTH_BYTES, "big"),
                self.attachment,
            )
        )

    def signature_refusal(self, domain: Domain, address: bytes) -> SignatureRefusal | None:
        """None when ``address`` signed the message for ``domain``."""
        return refusal_of(digest(self.message, domain), self.signature, address)


def seal(message: Message, domain: Domain, sign: Signer, attachment: bytes = b"") -> Envelope:
    """Signs ``message`` for ``domain``."""
    return Envelope(message, sign(digest(message, domain)), attachment)


LARGEST_ENVELOPE_BYTES = (
    PREFIX_BYTES
    + max(layout(message_type).width for message_type in MESSAGES)
    + SIGNATURE_BYTES
    + LENGTH_BYTES
    + ATTACHMENT_LIMIT_BYTES
)


def open_envelope(frame: bytes) -> Envelope | EnvelopeRefusal:
    """The envelope in ``frame``, or why there is none. Never raises, whatever the bytes."""
    if len(frame) < PREFIX_BYTES + SIGNATURE_BYTES + LENGTH_BYTES:
        return EnvelopeRefusal.TOO_SHORT
    if len(frame) > LARGEST_ENVELOPE_BYTES:
        return EnvelopeRefusal.TOO_LARGE
    magic, version, kind = frame[:PREFIX_BYTES]
    if magic != MAGIC:
        return EnvelopeRefusal.WRONG_MAGIC
    if version != WIRE_VERSION:
        return EnvelopeRefusal.UNKNOWN_VERSION
    if kind >= len(MESSAGES):
        return EnvelopeRefusal.UNKNOWN_KIND
    message_type = MESSAGES[kind]
    body_end = PREFIX_BYTES + layout(message_type).width
    signature_end = body_end + SIGNATURE_BYTES
    attachment_at = signature_end + LENGTH_BYTES
    attachment = bytes(frame[attachment_at:])
    if len(frame) < attachment_at or int.from_bytes(frame[signature_end:attachment_at], "big") != len(attachment):
        return EnvelopeRefusal.WRONG_LENGTH
    if attachment and message_type is not TelemetryBatch:
        return EnvelopeRefusal.UNEXPECTED_ATTACHMENT
    try:
        message = message_type.unpack(bytes(frame[PREFIX_BYTES:body_end]))
    except (LocalValueError, ValueError):
        return EnvelopeRefusal.ILLEGAL_VALUE
    return Envelope(message, bytes(frame[body_end:signature_end]), attachment)
