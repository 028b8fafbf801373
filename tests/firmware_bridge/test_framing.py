"""Frames come out of a stream whole, in order and once, however it is cut and whatever stands between them."""

from __future__ import annotations

import re
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge.framing import FrameBuffer, FrameShape
from firmware_bridge.telegram import Refusal

LIMIT = 32


def measure(buffer: bytes | bytearray, seen: int) -> int | Refusal:
    """`<`, anything, `>`; a second `<` means that the end of the first was lost."""
    end, again = buffer.find(b">", max(1, seen)), buffer.find(b"<", 1)
    if again > 0 and (end < 0 or again < end):
        return Refusal.INCOMPLETE
    return end + 1 if end >= 0 else 0


class Taker:
    """Takes every frame but those with an x in them."""

    def __init__(self) -> None:
        self.refused: Counter[Refusal] = Counter()
        self.frames: list[bytes] = []
        self.buffer = FrameBuffer(FrameShape(re.compile(b"<"), 1, LIMIT, measure, b"\n"), self.take, self.refused)

    def take(self, frame: bytes) -> Refusal | None:
        if b"x" in frame:
            return Refusal.CHECKSUM
        self.frames.append(frame)
        return None


CONTENTS = st.lists(st.binary(max_size=LIMIT - 2).map(lambda raw: re.sub(rb"[<>x]", b".", raw)), max_size=8)
CUTS = st.lists(st.integers(1, 50), min_size=1, max_size=20)


def feed(taker: Taker, stream: bytes, cuts: list[int]) -> None:
    at, turn = 0, 0
    while at < len(stream):
        taker.buffer.feed(stream[at : at + cuts[turn % len(cuts)]])
        assert taker.buffer.buffered_bytes < LIMIT
        at += cuts[turn % len(cuts)]
        turn += 1


@given(contents=CONTENTS, cuts=CUTS, noise=st.binary(max_size=100).map(lambda raw: re.sub(rb"[<]", b"-", raw)))
def test_every_frame_comes_out_once_and_in_order(contents: list[bytes], cuts: list[int], noise: bytes) -> None:
    taker = Taker()
    frames = [b"<" + content + b">" for content in contents]
    feed(taker, noise + noise.join(frames) + noise, cuts)
    assert taker.frames == frames


@given(contents=CONTENTS, cuts=CUTS)
def test_a_refused_frame_hides_nothing_behind_it(contents: list[bytes], cuts: list[int]) -> None:
    taker = Taker()
    frames = [b"<" + content + b">" for content in contents]
    feed(taker, b"".join(b"<x>" + frame + b"<lost" for frame in frames), cuts)
    assert taker.frames == frames
    assert taker.refused[Refusal.CHECKSUM] == len(frames)


@given(stream=st.binary(max_size=2_000), cuts=CUTS)
def test_no_stream_makes_the_buffer_grow(stream: bytes, cuts: list[int]) -> None:
    taker = Taker()
    feed(taker, stream, cuts)
    taker.buffer.feed(stream * 10)
    assert taker.buffer.buffered_bytes < LIMIT


def test_noise_is_counted_once_for_each_run_and_filler_not_at_all() -> None:
    taker = Taker()
    feed(taker, b"\n\n<a>\n\n<b>noise<c>more\nnoise", [1])
    assert taker.frames == [b"<a>", b"<b>", b"<c>"]
    assert taker.refused == {Refusal.NOISE: 2}


def test_a_frame_of_the_limit_passes_and_one_byte_more_does_not() -> None:
    taker = Taker()
    feed(taker, b"<" + b"a" * (LIMIT - 2) + b">", [5])
    assert len(taker.frames) == 1
    feed(taker, b"<" + b"a" * (LIMIT - 1) + b">", [5])
    assert len(taker.frames) == 1
    assert taker.refused[Refusal.OVERLONG] == 1


def test_a_start_mark_cut_in_two_is_found() -> None:
    found: list[bytes] = []
    shape = FrameShape(re.compile(b"##"), 2, LIMIT, lambda buffer, seen: buffer.find(b".") + 1)
    buffer = FrameBuffer(shape, lambda frame: found.append(frame), Counter())
    for octet in b"#noise# ##a.###b.":
        buffer.feed(bytes([octet]))
    assert found == [b"##a.", b"###b."]
