"""One dataclass per message gives the bytes, the digest, the JSON and the wallet's document; nothing illegal exists."""

from __future__ import annotations

import zlib

import pytest
from eth_account import Account
from eth_account.messages import encode_typed_data
from hypothesis import given
from hypothesis import strategies as st

from contracts.batch import BatchRecord, RemoteRecordError
from contracts.bounded_json import load_json
from contracts.eip712 import Domain, LocalValueError, Message, digest, keccak, layout, typed_data
from contracts.envelope import Envelope, EnvelopeRefusal, open_envelope, seal
from contracts.messages import MESSAGES, Bid, SetPoint, StandingOrder, TelemetryBatch
from contracts.proof_pack import RemotePackError, open_pack
from contracts.signature import (
    CURVE_ORDER,
    SignatureRefusal,
    address_of,
    recover,
    refusal_of,
    signer_of,
)
from tests.contracts.message_strategies import any_message, messages_of

ADA, BO = bytes([1]) * 32, bytes([2]) * 32
HERE, ELSEWHERE = Domain(1337, bytes([7]) * 20), Domain(1, bytes([7]) * 20)
A_BID = Bid(3, 1_025, 1, 0, 100, 20_000, 99)


@given(any_message, st.integers(0, 2**63), st.binary(min_size=20, max_size=20))
def test_the_digest_equals_the_one_of_eth_account(message: Message, chain_id: int, contract: bytes) -> None:
    domain = Domain(chain_id, contract)
    signable = encode_typed_data(full_message=typed_data(message, domain))
    theirs = keccak(b"\x19" + signable.version + signable.header + signable.body)
    assert digest(message, domain) == theirs


@given(messages_of(Bid))
def test_a_signature_equals_the_one_of_eth_account(bid: Message) -> None:
    signable = encode_typed_data(full_message=typed_data(bid, HERE))
    theirs = bytes(Account.sign_message(signable, ADA).signature)
    assert signer_of(ADA)(digest(bid, HERE)) == theirs


@given(any_message)
def test_packing_and_json_give_the_same_message_back(message: Message) -> None:
    assert type(message).unpack(message.pack()) == message
    assert type(message).from_json(message.to_json()) == message


@given(any_message, st.data())
def test_an_envelope_opens_to_what_was_sealed(message: Message, data: st.DataObject) -> None:
    attachment = data.draw(st.binary(max_size=50)) if isinstance(message, TelemetryBatch) else b""
    envelope = seal(message, HERE, signer_of(ADA), attachment)
    assert open_envelope(envelope.pack()) == envelope
    assert envelope.signature_refusal(HERE, address_of(ADA)) is None


@given(any_message)
def test_a_signature_counts_for_one_key_and_one_market_only(message: Message) -> None:
    envelope = seal(message, HERE, signer_of(ADA))
    assert envelope.signature_refusal(HERE, address_of(BO)) is SignatureRefusal.WRONG_SIGNER
    assert envelope.signature_refusal(ELSEWHERE, address_of(ADA)) is not None


@given(st.binary(max_size=400))
def test_garbage_is_refused_by_name_and_never_raises(frame: bytes) -> None:
    assert isinstance(open_envelope(frame), EnvelopeRefusal | Envelope)


@given(any_message, st.data())
def test_one_flipped_bit_never_passes_as_signed(message: Message, data: st.DataObject) -> None:
    frame = bytearray(seal(message, HERE, signer_of(ADA)).pack())
    bit = data.draw(st.integers(0, len(frame) * 8 - 1))
    frame[bit // 8] ^= 1 << bit % 8
    opened = open_envelope(bytes(frame))
    if isinstance(opened, Envelope):
        same = opened.message == message
        assert same or opened.signature_refusal(HERE, address_of(ADA)) is not None


@pytest.mark.parametrize(
    ("frame", "refusal"),
    [
        (b"", EnvelopeRefusal.TOO_SHORT),
        (bytes(200_000), EnvelopeRefusal.TOO_LARGE),
        (bytes(100), EnvelopeRefusal.WRONG_MAGIC),
        (b"\xe6\x02\x00" + bytes(97), EnvelopeRefusal.UNKNOWN_VERSION),
        (b"\xe6\x01\xff" + bytes(97), EnvelopeRefusal.UNKNOWN_KIND),
        (seal(A_BID, HERE, signer_of(ADA)).pack() + b"x", EnvelopeRefusal.WRONG_LENGTH),
        (seal(A_BID, HERE, signer_of(ADA), b"x").pack(), EnvelopeRefusal.UNEXPECTED_ATTACHMENT),
    ],
    ids=lambda value: value.name if isinstance(value, EnvelopeRefusal) else "",
)
def test_a_frame_that_is_none_is_refused_by_name(frame: bytes, refusal: EnvelopeRefusal) -> None:
    assert open_envelope(frame) is refusal


def test_the_malleable_twin_of_a_signature_is_refused() -> None:
    signature = signer_of(ADA)(bytes(32))
    s = CURVE_ORDER - int.from_bytes(signature[32:64], "big")
    twin = signature[:32] + s.to_bytes(32, "big") + bytes([55 - signature[64]])
    assert recover(bytes(32), signature) == address_of(ADA)
    assert refusal_of(bytes(32), twin, address_of(ADA)) is SignatureRefusal.HIGH_S


@pytest.mark.parametrize(
    ("signature", "refusal"),
    [
        (bytes(64), SignatureRefusal.WRONG_LENGTH),
        (bytes(64) + b"\x05", SignatureRefusal.BAD_RECOVERY),
        (bytes(64) + b"\x1b", SignatureRefusal.NOT_ON_CURVE),
        (b"\xff" * 32 + bytes(31) + b"\x01\x1b", SignatureRefusal.NOT_ON_CURVE),
    ],
)
def test_a_signature_that_is_none_is_refused_by_name(signature: bytes, refusal: SignatureRefusal) -> None:
    assert recover(bytes(32), signature) is refusal


@pytest.mark.parametrize(
    "fields",
    [
        {"account": 1 << 20},
        {"account": 0},
        {"side": 2},
        {"quantity_wh": 10**9 + 1},
        {"limit_price": 20_050},
        {"limit_price": 10_000_100},
        {"product": 1_025 * 1024 + 3},
        {"product": 1_024 + 4},
        {"quantity_wh": -1},
        {"quantity_wh": True},
        {"quantity_wh": 1.5},
        {"expiry_s": 2**63},
    ],
    ids=str,
)
def test_an_illegal_bid_cannot_be_built(fields: dict[str, int]) -> None:
    legal = {name: getattr(A_BID, name) for name, _ in layout(Bid).columns}
    with pytest.raises(LocalValueError):
        Bid(**legal | fields)


def test_a_set_point_that_never_expires_cannot_be_built() -> None:
    with pytest.raises(LocalValueError):
        SetPoint(1, 1, 0, 1, 1, 100, 100, 0)


def test_a_standing_order_off_the_tick_grid_cannot_be_built() -> None:
    with pytest.raises(LocalValueError):
        StandingOrder(1, 1, 150, 100, 0, 0)


def test_the_last_sequence_of_a_batch_is_one_that_a_store_can_hold() -> None:
    def batch(first: int) -> TelemetryBatch:
        return TelemetryBatch(1, 0, 1, first, 2, 5, 6, bytes(32), bytes(32), bytes(32))

    assert batch((1 << 63) - 2).count == 2
    with pytest.raises(LocalValueError, match="below"):
        batch((1 << 63) - 1)


@pytest.mark.parametrize("document", [{}, {"account": 1}, {**A_BID.to_json(), "extra": 1}, []])
def test_json_with_missing_or_unknown_fields_is_refused(document: dict[str, int]) -> None:
    with pytest.raises(LocalValueError):
        Bid.from_json(document)


def test_kinds_on_the_wire_are_few_and_fixed() -> None:
    assert [m.__name__ for m in MESSAGES] == [
        "SettlementReading", "TelemetryBatch", "Bid", "StandingOrder", "Receipt", "Acknowledgement", "SetPoint",
        "SetPointReport", "GapRecord", "Auction", "Header", "ReadingRequest",
    ]  # fmt: skip


@pytest.mark.parametrize("opener", [b"[", b'{"a":'])
def test_json_that_nests_without_end_is_refused_before_it_is_parsed(opener: bytes) -> None:
    with pytest.raises(ValueError, match="nested deeper"):
        load_json(opener * 100_000)
    with pytest.raises(RemotePackError):
        open_pack(zlib.compress(opener * 100_000))
    with pytest.raises(RemoteRecordError):
        BatchRecord.from_bytes(opener * 100_000)
