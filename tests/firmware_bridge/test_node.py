"""A real node on a real pseudo-terminal: cut lines, lost acknowledgements, power cuts, set-points that end."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from firmware_bridge.node import NodeDecoder
from firmware_bridge.node_messages import Outcome, SetPoint
from firmware_bridge.node_signature import link_key_of, public_key_of
from firmware_bridge.telegram import Refusal
from tests.firmware_bridge.reference_node import NODE_KEY, Line, build, decoder_of

NIGHTLY = os.environ.get("NIGHTLY") == "1"
KILLS = 60 if NIGHTLY else 6


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("node", tmp_path_factory.mktemp("node"))


@pytest.fixture()
def line(program: Path, tmp_path: Path) -> Iterator[Line]:
    line = Line(program, tmp_path / "flash")
    line.start()
    yield line
    line.close()


def import_ticks(line: Line) -> list[int]:
    """Which of the simulated readings came, by their register."""
    return [(telegram.values["import_wh"] - 1000) // 5 for telegram in line.telegrams]


def test_readings_of_a_node_arrive_signed_dated_and_in_order(line: Line) -> None:
    line.until(lambda: len(line.telegrams) >= 10)
    assert import_ticks(line)[:10] == list(range(10))
    first = line.telegrams[0]
    assert first.values["power_w"] == 1500 and first.values["reactive_var"] == -120
    assert first.values["voltage_l3_mv"] == 231_000 and first.values["frequency_mhz"] == 50_010
    assert first.texts["serial"] == "EG-NODE-1"
    assert line.telegrams[-1].texts["clock_status"] == "S"
    assert first.taken_at_s is not None and abs(first.taken_at_s - line.now_ms() // 1000) <= 3
    assert len({telegram.evidence for telegram in line.telegrams}) == len(line.telegrams)
    assert not line.decoder.refused and line.decoder.gaps == 0


def test_an_unsynchronised_gateway_leaves_readings_undated(line: Line) -> None:
    line.status = "U"
    line.until(lambda: len(line.telegrams) >= 3)
    assert {telegram.taken_at_s for telegram in line.telegrams} == {None}
    line.status = "S"
    line.until(lambda: line.telegrams[-1].taken_at_s is not None)
    assert line.telegrams[-1].texts["clock_status"] in ("S", "R")


@pytest.mark.slow
def test_noise_and_lost_frames_in_both_directions_lose_and_double_nothing(line: Line) -> None:
    draw = random.Random(17)
    line.until(lambda: len(line.telegrams) >= 2)

    faults = {"cut": 0, "torn": 0, "swallowed": 0}

    def torn(chunk: bytes) -> bytes:
        if draw.random() < 0.15:
            faults["cut"] += 1
            return b""
        if draw.random() < 0.2:
            faults["torn"] += 1
            at = draw.randrange(len(chunk))
            return chunk[:at] + draw.randbytes(5) + chunk[at + 1 :]
        return chunk

    def swallowed(written: bytes) -> bytes:
        if written and draw.random() < 0.2:
            faults["swallowed"] += 1
            return b""
        return written

    line.mangled, line.swallowed = torn, swallowed
    line.until(lambda: min(faults.values()) >= 2)
    line.mangled = line.swallowed = lambda chunk: chunk
    count = len(line.telegrams)
    line.until(lambda: len(line.telegrams) > count + 20 and line.decoder.gaps == line.decoder.dropped)
    assert sum(line.decoder.refused.values()) > 0
    ticks = import_ticks(line)
    assert len(set(ticks)) == len(ticks) and ticks == sorted(ticks)
    missing = set(range(ticks[-1] + 1)) - set(ticks)
    assert len(missing) == line.decoder.dropped, "only what the full buffer gave up, and it said so"


def test_a_lost_acknowledgement_is_answered_again_and_the_reading_counts_once(line: Line) -> None:
    line.until(lambda: len(line.telegrams) >= 1)
    line.swallowed = lambda written: b""
    line.until(lambda: line.decoder.refused[Refusal.REPLAYED] >= 1)
    count = len(line.telegrams)
    line.swallowed = lambda written: written
    line.until(lambda: len(line.telegrams) >= count + 15)
    ticks = import_ticks(line)
    assert ticks == list(range(len(ticks)))


def test_late_acknowledgements_of_an_old_reading_take_no_other_away(line: Line) -> None:
    line.until(lambda: len(line.telegrams) >= 2)
    line.mangled = lambda chunk: b""  # nothing comes up any more, and old acknowledgements go down
    for _ in range(5):
        line.decoder._acks.append(1)
        end = time.monotonic() + 0.2
        line.until(lambda end=end: time.monotonic() > end)
    line.mangled = lambda chunk: chunk
    line.until(lambda: len(line.telegrams) >= 20)
    ticks = import_ticks(line)
    assert ticks == list(range(len(ticks)))


def test_a_cut_line_is_caught_up_from_the_buffer(line: Line) -> None:
    line.until(lambda: len(line.telegrams) >= 1)
    time.sleep(1.5)  # nobody reads: about 15 readings wait, the buffer holds 64
    line.until(lambda: len(line.telegrams) >= 20)
    ticks = import_ticks(line)
    assert ticks == list(range(len(ticks))) and line.decoder.dropped == 0


def test_a_power_cut_at_any_moment_never_uses_a_number_twice(line: Line) -> None:
    draw = random.Random(23)
    epochs = []
    for _ in range(KILLS):
        count = len(line.telegrams)
        line.until(lambda count=count: len(line.telegrams) >= count + 3)
        epochs.append(line.decoder.memory.epoch)
        end = time.monotonic() + draw.random() / 5
        line.until(lambda end=end: time.monotonic() > end)
        line.kill()
        line.start()
    assert epochs == list(range(1, KILLS + 1))
    seen = {telegram.evidence for telegram in line.telegrams}
    assert len(seen) == len(line.telegrams)
    # Every boot skips to the end of its lease; the decoder refuses any number at or below the last one.
    assert line.decoder.memory.sequence > 1000 * (KILLS - 1)


def test_a_power_cut_inside_any_lease_write_never_uses_a_number_twice(program: Path, tmp_path: Path) -> None:
    line = Line(program, tmp_path / "flash")
    try:
        line.start()
        line.until(lambda: len(line.telegrams) >= 2)
        line.kill()
        last = line.decoder.memory
        for _ in range(4):
            line.writes_left = 0
            line.start()
            assert line.process is not None and line.process.wait(10) == 9, "the cut was planted in the first write"
            line.process = None
        line.writes_left = -1
        line.start()
        count = len(line.telegrams)
        line.until(lambda: len(line.telegrams) >= count + 2)
        assert line.decoder.memory.epoch > last.epoch and line.decoder.memory.sequence > last.sequence
    finally:
        line.close()


def test_a_node_whose_number_records_are_damaged_signs_no_reading(line: Line) -> None:
    line.until(lambda: len(line.telegrams) >= 1)
    line.kill()
    for copy in (2, 3):
        path = line.folder / f"record{copy}"
        if path.exists():
            path.write_bytes(bytes(20))
    line.decoder, line.telegrams = decoder_of(), []
    line.start()
    line.until(lambda: line.decoder.hello is not None)
    assert line.decoder.hello is not None and line.decoder.hello.flags & 1
    end = time.monotonic() + 1.5
    line.until(lambda: time.monotonic() > end)
    assert not line.telegrams and not line.decoder.refused


def set_point(line: Line) -> str:
    return (line.folder / "setpoint").read_text(encoding="ascii").strip()


def test_a_set_point_ends_on_the_node_although_nobody_speaks_any_more(line: Line) -> None:
    line.until(lambda: len(line.telegrams) >= 1)
    line.decoder.order(SetPoint.POWER_W, 2500, 3_000, line.now_ms())
    line.until(lambda: line.decoder.report is not None)
    assert line.decoder.report is not None and line.decoder.report.outcome == Outcome.APPLIED
    assert set_point(line) == "1 2500"
    line.until(lambda: line.decoder.in_force == line.decoder.report.number)
    time.sleep(3.1)  # the gateway is dead
    assert set_point(line) == "0 0"
    line.until(lambda: line.decoder.in_force == 0)
    assert any("expired" in log.text for log in line.decoder.logs)


def test_a_restarted_node_is_in_the_safe_state(line: Line) -> None:
    line.until(lambda: len(line.telegrams) >= 1)
    line.decoder.order(SetPoint.LIMIT_W, 3000, 60_000, line.now_ms())
    line.until(lambda: set_point(line) == "2 3000")
    line.kill()
    line.start()
    line.until(lambda: line.decoder.memory.epoch == 2)
    assert set_point(line) == "0 0"


@pytest.mark.parametrize(
    ("kind", "value"), [(SetPoint.POWER_W, 11_001), (SetPoint.POWER_W, -5_001), (SetPoint.LIMIT_W, -1)]
)
def test_a_set_point_beyond_the_nodes_own_limits_is_refused(line: Line, kind: SetPoint, value: int) -> None:
    line.until(lambda: len(line.telegrams) >= 1)
    line.decoder.order(kind, value, 10_000, line.now_ms())
    line.until(lambda: line.decoder.report is not None)
    assert line.decoder.report is not None and line.decoder.report.outcome == Outcome.OUT_OF_RANGE
    assert set_point(line) == "0 0"


def test_a_replayed_command_moves_nothing(line: Line) -> None:
    line.until(lambda: len(line.telegrams) >= 1)
    sent: list[bytes] = []

    def recorded(written: bytes) -> bytes:
        sent.append(written)
        return written

    line.swallowed = recorded
    line.decoder.order(SetPoint.POWER_W, 700, 60_000, line.now_ms())
    line.until(lambda: set_point(line) == "1 700")
    line.swallowed = lambda written: written
    line.decoder.order(SetPoint.POWER_W, 800, 60_000, line.now_ms())
    line.until(lambda: set_point(line) == "1 800")
    for written in sent:
        os.write(line.master, written)
    end = time.monotonic() + 0.5
    line.until(lambda: time.monotonic() > end)
    assert set_point(line) == "1 800", "both are still valid, and only the newer counter counts"


def test_a_restarted_gateway_finds_back_and_takes_no_reading_twice(line: Line) -> None:
    line.until(lambda: len(line.telegrams) >= 5)
    line.decoder = decoder_of(line.decoder.memory)
    line.until(lambda: len(line.telegrams) >= 20)
    ticks = import_ticks(line)
    assert ticks == list(range(len(ticks)))


def test_a_stranger_with_another_link_key_is_not_obeyed(line: Line) -> None:
    line.decoder = NodeDecoder(public_key_of(NODE_KEY), link_key_of(bytes(31) + b"\x77", public_key_of(NODE_KEY)))
    line.until(lambda: line.decoder.hello is not None)
    line.decoder.order(SetPoint.POWER_W, 700, 60_000, line.now_ms())
    end = time.monotonic() + 1.5
    line.until(lambda: time.monotonic() > end)
    assert set_point(line) == "0 0" and not line.telegrams, "without a TIME it believes, a node sends no reading"


def test_frames_of_another_node_are_refused_by_their_signature(line: Line) -> None:
    decoder = NodeDecoder(public_key_of(bytes(31) + b"\x55"), bytes(32))
    line.decoder = decoder
    line.until(lambda: decoder.refused[Refusal.SIGNATURE] >= 1)
    assert not line.telegrams and decoder.outgoing(0, "S") == b""
