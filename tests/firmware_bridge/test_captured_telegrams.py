"""Public captures of real meters decode to the integers that other people and other arithmetic found in them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from random import Random

import pytest

from device_profiles.measurement import MEASUREMENTS
from firmware_bridge.dsmr import DsmrDecoder
from firmware_bridge.iec62056 import Iec62056Decoder
from firmware_bridge.sml import SmlDecoder
from firmware_bridge.telegram import StreamDecoder, Telegram
from tests.firmware_bridge.case_files import Case, cases

DECODERS: dict[str, Callable[[], StreamDecoder]] = {
    "dsmr": DsmrDecoder,
    "sml": SmlDecoder,
    "iec62056": Iec62056Decoder,
}
ALL = [(standard, case) for standard in DECODERS for case in cases(standard)]
EACH = pytest.mark.parametrize(("standard", "case"), ALL, ids=[f"{standard}-{case}" for standard, case in ALL])


def decoded(standard: str, case: Case) -> list[Telegram]:
    """What a fresh decoder makes of the capture; of one without a checksum, what it makes of its repetition."""
    decoder = DECODERS[standard]()
    if case.unprotected:
        assert decoder.feed(case.raw) == []
    return decoder.feed(case.raw)


def test_there_are_captures_enough_of_every_standard_and_each_names_its_source() -> None:
    assert len(cases("dsmr")) >= 5
    assert len(cases("sml")) >= 5
    assert len(cases("iec62056")) >= 3
    assert [case.name for _, case in ALL if len(case.source.split()) < 2] == []


@EACH
def test_a_capture_means_what_its_case_says(standard: str, case: Case) -> None:
    found = decoded(standard, case)
    assert len(found) == case.telegrams
    if found:
        assert dict(found[0].values) == case.values
        assert dict(found[0].texts) == case.texts
        assert found[0].taken_at_s == case.taken_at_s


@EACH
def test_the_cut_of_the_chunks_makes_no_difference(standard: str, case: Case) -> None:
    whole = decoded(standard, case)
    random = Random(case.name)
    for size in (1, 7, 64):
        decoder = DECODERS[standard]()
        if case.unprotected:
            decoder.feed(case.raw)
        found: list[Telegram] = []
        at = 0
        while at < len(case.raw):
            step = random.randint(1, size)
            found += decoder.feed(case.raw[at : at + step])
            at += step
        assert found == whole


@EACH
def test_the_evidence_is_the_hash_of_bytes_that_stand_in_the_stream(standard: str, case: Case) -> None:
    for telegram in decoded(standard, case):
        assert len(telegram.evidence) == 32
        starts = [at for at in range(len(case.raw)) if case.raw[at] in b"/\x02\x1b"]
        ends = [at for at in range(len(case.raw), 0, -1) if standard != "sml" or at % 4 == starts[0] % 4]
        hashes = (hashlib.sha256(case.raw[begin:end]).digest() for begin in starts for end in ends if end > begin + 20)
        assert telegram.evidence in hashes


@EACH
def test_every_value_has_a_name_and_a_range_of_the_vocabulary(standard: str, case: Case) -> None:
    for telegram in decoded(standard, case):
        for name, value in telegram.values.items():
            assert type(value) is int
            assert MEASUREMENTS[name].minimum <= value <= MEASUREMENTS[name].maximum
