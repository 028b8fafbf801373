"""Mutated telegrams: no exception, no growing buffer, no wrong value where a checksum stands, and the way back.

A checksum of n bits lets one heavy damage in 2**n through; that is the standard's measure, not ours. So where a value
comes out that is not the original's, the reference here must find that the damaged bytes do carry a right checksum,
and there may be no more of these than the checksum's width explains. Where the standard has no checksum (DSMR 2.2 and
3, IEC mode D), a digit that became another digit passes everybody; what is held there is the whole shape of a telegram.
`NIGHTLY=1` damages 100,000 telegrams per decoder instead of 2,000.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator
from random import Random
from typing import TypeAlias

import pytest

from firmware_bridge.dsmr import DsmrDecoder
from firmware_bridge.iec62056 import Iec62056Decoder
from firmware_bridge.sml import SmlDecoder
from firmware_bridge.telegram import Refusal, Telegram
from tests.firmware_bridge.case_files import cases
from tests.firmware_bridge.mutations import chunks, damaged

NIGHTLY = os.environ.get("NIGHTLY") == "1"
DAMAGED = 100_000 if NIGHTLY else 2_000
Decoder: TypeAlias = DsmrDecoder | SmlDecoder | Iec62056Decoder
DECODERS: dict[str, Callable[[], Decoder]] = {
    "dsmr": DsmrDecoder,
    "sml": SmlDecoder,
    "iec62056": Iec62056Decoder,
}
BUFFERS = {"dsmr": 8192, "sml": 4096, "iec62056": 16384}
# How many of a thousand damaged telegrams may carry a right checksum: one in 65,536 for the CRCs (two of them in
# SML); one in 128 for the block check character, and every swap of two characters, which no exclusive or can see.
UNSEEN_PER_THOUSAND = {"dsmr": 0.05, "sml": 0.02, "iec62056": 10.0}
FEWEST_UNSEEN = 1


def reference_crc(octets: bytes, polynomial: int, state: int) -> int:
    """A reflected 16-bit CRC, bit by bit."""
    for octet in octets:
        for bit in range(8):
            feedback = (state ^ (octet >> bit)) & 1
            state = (state >> 1) ^ (polynomial if feedback else 0)
    return state


def right_frames(standard: str, stream: bytes) -> Iterator[bytes]:
    """Every piece of the stream that has its standard's frame with a right checksum."""
    if standard == "dsmr":
        for found in re.finditer(rb"(?s)(?=(/[^/]*?!)([0-9A-Fa-f]{1,4}))", stream):
            if reference_crc(found[1], 0xA001, 0) == int(found[2], 16):
                yield found[1] + found[2]
    elif standard == "sml":
        for found in re.finditer(rb"(?s)(?=(\x1b{4}\x01{4}.*?\x1b{4}\x1a.)(..))", stream):
            told = int.from_bytes(found[2], "little")
            if told in (reference_crc(found[1], 0x8408, 0xFFFF) ^ 0xFFFF, reference_crc(found[1], 0x8408, 0)):
                yield found[1] + found[2]
    else:
        for found in re.finditer(rb"(?s)(?=((?:/[^/\x02]*)?)\x02([^\x03]*\x03)(.))", stream):
            check = 0
            for octet in found[2]:
                check ^= octet
            if check == found[3][0]:
                yield found[1] + b"\x02" + found[2] + found[3]
                yield b"\x02" + found[2] + found[3]


def registers(frame: bytes) -> list[bytes]:
    """Address, count of decimals and unit of every register of electricity with a unit, in their order."""
    address, value = rb"(?<=[\r\n)]) *((?:1-0:)?[1-9][0-9]?\.[78]\.[0-9](?:\*255)?)", rb"([0-9.]+)[ *]*([A-Za-z]+)"
    rows = re.findall(address + rb" *\([-+ ]*" + value + rb" *\)", frame)
    return [name + b" %d " % len(number.partition(b".")[2]) + unit for name, number, unit in rows]


def fed(decoder: Decoder, stream: bytes, random: Random, bound: int) -> list[Telegram]:
    """What the decoder finds in the stream, while its buffer stays bounded."""
    found: list[Telegram] = []
    for chunk in chunks(stream, random):
        found += decoder.feed(chunk)
        assert decoder.buffered_bytes <= bound
    return found


@pytest.mark.parametrize("standard", DECODERS)
def test_a_damaged_telegram_gives_the_original_values_or_none(standard: str) -> None:
    protected = [case for case in cases(standard) if not case.unprotected and case.telegrams]
    raws = tuple(case.raw for case in protected)
    random = Random(f"damage {standard}")
    honest = {tuple(sorted(case.values.items())) for case in protected}
    for raw in raws:
        honest |= {tuple(sorted(found.values.items())) for found in DECODERS[standard]().feed(raw)}
    unseen, refused = 0, Counter[Refusal]()
    for _ in range(DAMAGED):
        decoder = DECODERS[standard]()
        raw = random.choice(raws)
        # As in a home: the meter has been heard before, so the shape of its telegrams is known.
        decoder.feed(raw)
        stream = damaged(raw, raws, random)
        for telegram in fed(decoder, stream, random, BUFFERS[standard]):
            if tuple(sorted(telegram.values.items())) not in honest:
                frames = right_frames(standard, stream)
                assert telegram.evidence in {hashlib.sha256(frame).digest() for frame in frames}, stream
                unseen += 1
        refused += decoder.refused
    assert unseen <= FEWEST_UNSEEN + DAMAGED * UNSEEN_PER_THOUSAND[standard] / 1000
    assert refused[Refusal.CHECKSUM] > DAMAGED / 10
    print(f"{standard}: {DAMAGED} damaged, {unseen} with a checksum that is right by chance, refused {dict(refused)}")


@pytest.mark.parametrize("standard", DECODERS)
def test_one_changed_byte_never_changes_a_value(standard: str) -> None:
    random = Random(f"one byte {standard}")
    for case in cases(standard):
        if case.unprotected or not case.telegrams:
            continue
        usual = DECODERS[standard]().feed(case.raw)
        for _ in range(40 if not NIGHTLY else 2_000):
            at = random.randrange(len(case.raw))
            other = bytes([case.raw[at] ^ random.randrange(1, 256)])
            changed = random.choice((other, b"", case.raw[at : at + 1] + other))
            for found in DECODERS[standard]().feed(case.raw[:at] + changed + case.raw[at + 1 :]):
                assert found.values in [telegram.values for telegram in usual], (case.name, at, changed)


@pytest.mark.parametrize("standard", DECODERS)
def test_after_any_damage_the_next_telegrams_are_found(standard: str) -> None:
    protected = [case for case in cases(standard) if not case.unprotected and case.telegrams]
    raws = tuple(case.raw for case in protected)
    random = Random(f"way back {standard}")
    for _ in range(DAMAGED // 5):
        case = random.choice(protected)
        stream = damaged(random.choice(raws), raws, random) + case.raw + case.raw
        found = fed(DECODERS[standard](), stream, random, BUFFERS[standard])
        # The telegram right behind the damage may be taken for its end; the second is lost to nothing.
        assert found, stream
        assert dict(found[-1].values) == dict(DECODERS[standard]().feed(case.raw)[-1].values)


@pytest.mark.parametrize("standard", ["dsmr", "iec62056"])
def test_without_a_checksum_nothing_but_the_whole_shape_of_the_telegram_before_passes(standard: str) -> None:
    open_cases = [case for case in cases(standard) if case.unprotected]
    random = Random(f"no checksum {standard}")
    assert open_cases
    for _ in range(DAMAGED // 2):
        case = random.choice(open_cases)
        decoder = DECODERS[standard]()
        decoder.feed(case.raw)
        stream = damaged(case.raw, (case.raw,), random)
        for found in fed(decoder, stream, random, BUFFERS[standard]):
            assert found.values.keys() <= case.values.keys()
            ends = [match.end() + more for match in re.finditer(rb"!", stream) for more in (0, 1)]
            starts = [match.start() for match in re.finditer(rb"/", stream)]
            frames = [stream[start:end] for start in starts for end in ends]
            frame = next(frame for frame in frames if hashlib.sha256(frame).digest() == found.evidence)
            alike = [registers(whole) == registers(frame) for whole in re.findall(rb"/[^/!]*!", stream)]
            assert registers(frame) == registers(case.raw) or alike.count(True) > 1


@pytest.mark.parametrize("standard", DECODERS)
def test_noise_gives_no_telegram_and_no_growing_buffer(standard: str) -> None:
    random = Random(f"noise {standard}")
    marks = {"dsmr": b"/ABC5x\r\n!", "sml": b"\x1b\x1b\x1b\x1b\x01\x01\x01\x01\x1a", "iec62056": b"/\x02!\r\n\x03"}
    for alphabet in (bytes(range(256)), marks[standard], b"0123456789()*.-:\r\n" + marks[standard]):
        decoder = DECODERS[standard]()
        for _ in range(50):
            noise = bytes(random.choices(alphabet, k=random.choice((1, 100, 5_000))))
            assert [found for found in decoder.feed(noise) if found.values] == []
            assert decoder.buffered_bytes <= BUFFERS[standard]
        assert decoder.refused.total() > 0


@pytest.mark.parametrize(
    ("standard", "start", "end"),
    [
        ("dsmr", b"a/ABC5x\r\n", b"\n!0000"),
        ("dsmr", b"/ABC5x\r\n", b"\n!0000"),
        ("iec62056", b"\x02", b"\x03"),
        ("iec62056", b"/ABC5x\r\n\x02", b"\x03"),
        ("iec62056", b"/ABC5x\r\n", b"\x021\x03"),
        ("sml", b"\x1b\x1b\x1b\x1b\x01\x01\x01\x01", b"\x1b\x1b\x1b\x1b\x1a000"),
    ],
)
def test_many_starts_before_one_end_are_one_frame_to_check_not_as_many(standard: str, start: bytes, end: bytes) -> None:
    """Otherwise a short stream could make the decoder compute checksums over all its buffer for each of its bytes."""
    decoder = DECODERS[standard]()
    decoder.feed((start * 400 + end) * 5)
    assert 0 < decoder.refused[Refusal.CHECKSUM] <= 10


@pytest.mark.parametrize("standard", DECODERS)
def test_a_frame_without_end_is_dropped_at_the_limit_and_does_not_hide_the_next_telegram(standard: str) -> None:
    case = next(case for case in cases(standard) if not case.unprotected and case.telegrams)
    endless = {
        "dsmr": b"/ABC5endless\r\n\r\n" + b"1-0:1.8.0(000001.000*kWh)\r\n" * 1000,
        "sml": b"\x1b\x1b\x1b\x1b\x01\x01\x01\x01" + b"\x76" * 10_000,
        "iec62056": b"/ABC5endless\r\n\x02" + b"1.8.0(000001.000*kWh)\r\n" * 2000,
    }[standard]
    decoder = DECODERS[standard]()
    assert decoder.feed(endless) == []
    assert decoder.refused[Refusal.OVERLONG] > 0
    assert decoder.buffered_bytes < BUFFERS[standard]
    assert decoder.feed(case.raw)
