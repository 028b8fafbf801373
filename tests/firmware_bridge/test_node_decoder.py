"""The gateway's side of a node's link alone: what it takes once, what it refuses by name, what it says back."""

from __future__ import annotations

import os
import struct
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge.cobs import FrameReader, wrap_frame
from firmware_bridge.node import NodeDecoder, NodeMemory
from firmware_bridge.node_messages import VALUES, Down, Outcome, SetPoint, Up, signed_digest
from firmware_bridge.node_signature import (
    LocalKeyError,
    compressed,
    is_signed,
    link_key_of,
    node_signer_of,
    public_key_of,
)
from firmware_bridge.telegram import Refusal, StreamDecoder
from tests.firmware_bridge.mutations import chunks, damaged
from tests.firmware_bridge.reference_node import GATEWAY_KEY, NODE_KEY, decoder_of

SIGN = node_signer_of(NODE_KEY)
CAMPAIGN = 100_000 if os.environ.get("NIGHTLY") == "1" else 3_000
NOW_MS = 1_800_000_000_000
FULL = (1_000, 200, 1500, -120, 230_100, 229_800, 231_000, 6_500, 0, 120, 50_010)


def up(kind: int, body: bytes, epoch: int = 1, uptime_ms: int = 1_000, version: int = 1) -> bytes:
    """A frame as a node signs it, without checksum."""
    signed = struct.pack("<BBIQ", kind, version, epoch, uptime_ms) + body
    return signed + SIGN(signed_digest(signed))


def hello(heard: int = 0, epoch: int = 1, uptime_ms: int = 500) -> bytes:
    names = b"\x11" * 16 + b"\x22" * 16 + b"\x33" * 16 + b"SERIAL".ljust(16, b"\0") + b"1.0".ljust(16, b"\0")
    return up(Up.HELLO, struct.pack("<IQBB", heard, 0, 0, 0) + names + public_key_of(NODE_KEY), epoch, uptime_ms)


def reading(
    sequence: int, epoch: int = 1, uptime_ms: int = 1_000, status: str = "S", present: int = 0x7FF,
    values: tuple[int, ...] = FULL, command: int = 0, dropped: int = 0,
) -> bytes:  # fmt: skip
    body = struct.pack(
        "<QQBxHQQii7III", sequence, NOW_MS // 1000, ord(status), present, *values, command, dropped
    )  # fmt: skip
    return up(Up.READING, body, epoch, uptime_ms)


def fed(decoder: NodeDecoder, *frames: bytes) -> list[dict[str, int]]:
    return [dict(telegram.values) for frame in frames for telegram in decoder.feed(wrap_frame(frame))]


def said(decoder: NodeDecoder, now_ms: int = NOW_MS, status: str = "S") -> list[tuple[int, int, bytes]]:
    """Type, counter and body of what the decoder sends."""
    frames = FrameReader(decoder.refused).feed(decoder.outgoing(now_ms, status))
    return [(frame[0], int.from_bytes(frame[6:10], "little"), frame[10:-16]) for frame in frames]


def test_it_is_a_stream_decoder_like_the_others() -> None:
    decoder: StreamDecoder = decoder_of()
    assert decoder.feed(b"") == [] and not decoder.refused


def test_values_that_are_not_there_are_absent_and_zero_is_a_value() -> None:
    decoder = decoder_of()
    (values,) = fed(decoder, reading(1, present=0b1000_0001, values=(7,) * 7 + (0,) * 4))
    assert values == {"import_wh": 7, "current_l1_ma": 0}
    (values,) = fed(decoder, reading(2))
    assert values == dict(zip(VALUES, FULL, strict=True))


def test_a_sequence_counts_once_and_never_falls_in_any_epoch() -> None:
    decoder = decoder_of(NodeMemory(3, 100))
    assert len(fed(decoder, reading(101, 3), reading(101, 3), reading(100, 3), reading(99, 4), reading(2_000, 4))) == 2
    assert decoder.refused[Refusal.REPLAYED] == 3 and decoder.memory == NodeMemory(4, 2_000)
    assert fed(decoder, reading(3_000, 3), hello(epoch=3)) == [] and decoder.refused[Refusal.REPLAYED] == 5
    assert decoder.hello is None


def test_a_gap_is_counted_within_a_boot_and_not_across_boots() -> None:
    decoder = decoder_of()
    fed(decoder, reading(1), reading(2), reading(6), reading(1_001, 2, dropped=0), reading(1_002, 2))
    assert decoder.gaps == 3


def test_what_is_taken_is_acknowledged_and_a_repetition_again() -> None:
    decoder = decoder_of()
    fed(decoder, reading(5))
    assert [(kind, counter) for kind, counter, _ in said(decoder)] == [(Down.TIME, 0)], "it does not know our counter"
    fed(decoder, hello(heard=41, uptime_ms=2_000))
    assert [(kind, counter) for kind, counter, _ in said(decoder)] == [(Down.TIME, 42), (Down.ACK, 43)]
    assert said(decoder) == []
    assert fed(decoder, reading(5)) == []
    assert said(decoder) == [(Down.ACK, 44, struct.pack("<Q", 5))]


def test_time_is_told_once_a_minute_and_when_its_trust_changes() -> None:
    decoder = decoder_of()
    fed(decoder, hello())
    assert said(decoder)[0][2] == struct.pack("<QB", NOW_MS, ord("S"))
    assert said(decoder, NOW_MS + 59_000) == []
    assert len(said(decoder, NOW_MS + 60_000)) == 1
    assert said(decoder, NOW_MS + 60_001, "I")[0][2][-1:] == b"I"
    assert len(said(decoder, NOW_MS - 10_000, "I")) == 1, "a clock that went back is told at once"


def test_a_set_point_is_repeated_until_it_is_reported_or_over() -> None:
    decoder = decoder_of()
    fed(decoder, hello(uptime_ms=7_000))
    said(decoder)
    decoder.order(SetPoint.POWER_W, -900, 5_000, NOW_MS)
    (kind, number, body), *_ = said(decoder, NOW_MS + 1_000)
    assert kind == Down.CMD and struct.unpack("<IBiQI", body) == (number, 1, -900, 7_000, 4_000)
    assert said(decoder, NOW_MS + 1_500) == []
    ((_, _, again),) = said(decoder, NOW_MS + 2_000)
    assert again == body
    fed(decoder, up(Up.REPORT, struct.pack("<IB", number, Outcome.APPLIED), uptime_ms=9_000))
    assert said(decoder, NOW_MS + 3_500) == [] and decoder.report is not None
    decoder.order(SetPoint.RELEASE, 0, 5_000, NOW_MS)
    assert said(decoder, NOW_MS + 6_000) == [], "it was over before it could be sent"
    for value, valid_ms in ((2**31, 1_000), (0, 0), (0, 900_001)):
        with pytest.raises(ValueError, match="out of bounds"):
            decoder.order(SetPoint.POWER_W, value, valid_ms, NOW_MS)


def test_every_other_thing_is_refused_by_its_name() -> None:
    decoder = decoder_of()
    good = reading(1)
    for frame, refusal in (
        (good[:-1] + bytes([good[-1] ^ 1]), Refusal.SIGNATURE),
        (up(0x42, b""), Refusal.UNSUPPORTED),
        (reading(1)[:60], Refusal.MALFORMED),
        (up(Up.READING, b"short"), Refusal.MALFORMED),
        (up(Up.REPORT, struct.pack("<IB", 1, 99)), Refusal.MALFORMED),
        (reading(1, status="Z"), Refusal.MALFORMED),
        (reading(1, present=0xFFFF), Refusal.MALFORMED),
        (reading(1, present=0), Refusal.EMPTY),
    ):
        before = decoder.refused[refusal]
        assert fed(decoder, frame) == []
        assert decoder.refused[refusal] == before + 1, refusal
    wire = wrap_frame(reading(2))
    assert decoder.feed(b"\x07" * 600 + b"\0") == [] and decoder.refused[Refusal.OVERLONG] == 1
    assert decoder.feed(b"\x07\x01\0") == [] and decoder.refused[Refusal.NOISE] == 1
    assert decoder.feed(wire[:20] + bytes([wire[20] ^ 0xFF or 1]) + wire[21:]) == []
    assert decoder.refused[Refusal.CHECKSUM] + decoder.refused[Refusal.NOISE] == 2
    (values,) = fed(decoder, reading(2, values=(1, 1, 3_000_000, *FULL[3:])))
    assert "power_w" not in values and decoder.refused[Refusal.IMPLAUSIBLE] == 1


def test_damaged_streams_raise_nothing_and_hurt_no_neighbour() -> None:
    random = Random(29)
    raws = tuple(wrap_frame(frame) for frame in (hello(), up(Up.LOG, struct.pack("<IB", 1, 5) + b"text"),
                                                 up(Up.UPDATE, bytes(30)), reading(1)))  # fmt: skip
    clean = [wrap_frame(reading(sequence)) for sequence in range(10, 60)]
    decoder, taken = decoder_of(), 0
    for place in range(CAMPAIGN):
        if place % 100 == 0:
            decoder, taken = decoder_of(), 0
        stream = damaged(random.choice(raws), raws, random)
        good = place % 2 == 0
        if good:
            stream += b"\0" + clean[taken]
        found = [telegram for chunk in chunks(stream, random) for telegram in decoder.feed(chunk)]
        decoder.outgoing(NOW_MS + place, "S")
        taken += good
        assert len(found) >= good, "the whole frame behind the damage was lost"
        assert all(telegram.values for telegram in found)


@given(st.sampled_from(list(Up)), st.binary(max_size=300), st.integers(0, 3))
def test_signed_nonsense_raises_nothing_either(kind: Up, body: bytes, epoch: int) -> None:
    decoder = decoder_of(NodeMemory(1, 1))
    decoder.feed(wrap_frame(up(kind, body, epoch)))
    decoder.outgoing(NOW_MS, "S")
    assert decoder.memory.epoch >= 1


def test_keys_are_taken_in_every_form_and_nothing_else_is_one() -> None:
    public = public_key_of(NODE_KEY)
    assert public_key_of(compressed(public)) == public_key_of(public) == public_key_of(b"\x04" + public) == public
    for wrong in (b"", bytes(32), bytes(64), b"\x02" + b"\xff" * 32):
        with pytest.raises(LocalKeyError):
            public_key_of(wrong)
    with pytest.raises(LocalKeyError):
        link_key_of(NODE_KEY, bytes(64))
    assert link_key_of(NODE_KEY, public_key_of(GATEWAY_KEY)) == link_key_of(GATEWAY_KEY, public)
    assert not is_signed(bytes(32), b"", public) and not is_signed(bytes(32), bytes(64), bytes(64))
