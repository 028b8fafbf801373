"""Frames without a wire: the one right answer is found in any stream of bytes, and nothing else ever is."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymodbus.framer.rtu import FramerRTU

from edge_agent.modbus_frame import BUFFER_LIMIT_BYTES, Question, RemoteFrameError, RtuFrame, TcpFrame, crc16
from simulators.live.serial_bus import seal


@settings(max_examples=300, deadline=None)
@given(
    words=st.lists(st.integers(0, 0xFFFF), min_size=1, max_size=20),
    stale=st.lists(st.integers(2, 0xFFFF), max_size=4),
    cuts=st.lists(st.integers(1, 9), max_size=30),
)
def test_over_tcp_answers_with_an_old_number_are_passed_over_however_they_are_cut(
    words: list[int], stale: list[int], cuts: list[int]
) -> None:
    frame = TcpFrame()
    assert frame.ask(Question(7, 3, 16, len(words))) == bytes.fromhex("0001 0000 0006 07 03 0010 00") + bytes(
        (len(words),)
    )
    body = b"".join(word.to_bytes(2, "big") for word in words)
    tail = b"\0\0" + (3 + len(body)).to_bytes(2, "big") + bytes((7, 3, len(body))) + body
    stream = b"".join(number.to_bytes(2, "big") + tail for number in stale) + b"\0\1" + tail
    heard = []
    for cut in [*cuts, len(stream)]:
        chunk, stream = stream[:cut], stream[cut:]
        heard.append(frame.feed(chunk))
    assert [found for found in heard if found is not None] == [body]
    assert frame.idle()


@pytest.mark.parametrize(
    "answer", ["0001 0001 0005 07 03 02 0000", "0001 0000 0005 08 03 02 0000", "0001 0000 0004 07 03 02 00",
               "0001 0000 0005 07 04 02 0000", "0001 0000 ffff 07", "0001 0000 0003 07 84 02"]
)  # fmt: skip
def test_over_tcp_what_has_our_number_and_another_shape_ends_the_connection(answer: str) -> None:
    frame = TcpFrame()
    frame.ask(Question(7, 3, 16, 1))
    with pytest.raises(RemoteFrameError):
        frame.feed(bytes.fromhex(answer))


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_the_checksum_is_the_one_the_reference_computes(octets: bytes) -> None:
    assert crc16(octets) == FramerRTU.compute_CRC(octets).to_bytes(2, "big")


@settings(max_examples=300, deadline=None)
@given(
    before=st.binary(max_size=40),
    after=st.binary(max_size=40),
    words=st.lists(st.integers(0, 0xFFFF), min_size=1, max_size=20),
    cuts=st.lists(st.integers(1, 9), max_size=30),
)
def test_an_answer_is_found_between_noise_however_it_is_cut_and_nothing_else_is(
    before: bytes, after: bytes, words: list[int], cuts: list[int]
) -> None:
    body = b"".join(word.to_bytes(2, "big") for word in words)
    answer = seal(7, bytes((4, len(body))) + body)
    foreign = seal(8, bytes((4, len(body))) + body) + seal(7, bytes((4, len(body) + 2)) + body + b"xx")
    frame, heard = RtuFrame(), list[bytes | int]()
    frame.ask(Question(7, 4, 0, len(words)))
    stream = before + foreign + answer + after
    for cut in [*cuts, len(stream)]:
        chunk, stream = stream[:cut], stream[cut:]
        found = frame.feed(chunk)
        if found is not None:
            heard.append(found)
    assert heard == [body]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.binary(min_size=1, max_size=600), max_size=6))
def test_bytes_without_an_answer_give_none_and_a_bounded_buffer(chunks: list[bytes]) -> None:
    frame = RtuFrame()
    frame.ask(Question(7, 4, 0, 10))
    for chunk in chunks:
        assert frame.feed(chunk) is None
        assert len(frame._buffer) <= BUFFER_LIMIT_BYTES
    frame.idle()
    assert frame.strays == sum(map(len, chunks))
