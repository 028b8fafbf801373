"""New firmware for the C node over a real pseudo-terminal: resumed, judged, tried, confirmed or rolled back."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from firmware_bridge.manifest import UpdateRefusal
from firmware_bridge.node_update import NodeUpdate, Progress
from tests.firmware_bridge.reference_node import MAKER_KEYS, NODE_KEY, Line, build, envelope_of

NIGHTLY = os.environ.get("NIGHTLY") == "1"
IMAGE = random.Random(1).randbytes(5_000)
BROKEN_FIRMWARE, POWER_CUT = 3, 9


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("node", tmp_path_factory.mktemp("node"))


@pytest.fixture()
def line(program: Path, tmp_path: Path) -> Iterator[Line]:
    line = Line(program, tmp_path / "flash")
    line.start()
    yield line
    line.close()


def running(line: Line) -> bool:
    """Turns the power on again wherever the node died by itself, as a watchdog would."""
    if line.process is not None and line.process.poll() is not None:
        assert line.process.returncode in (BROKEN_FIRMWARE, POWER_CUT), line.process.returncode
        line.start()
    return True


def ended(line: Line, update: NodeUpdate) -> bool:
    return running(line) and update.progress not in (Progress.RUNNING, Progress.TRIAL)


def hello_installed(line: Line) -> int:
    line.until(lambda: line.decoder.hello is not None)
    assert line.decoder.hello is not None
    return line.decoder.hello.installed


def test_new_firmware_is_tried_and_confirmed_by_its_first_reading(line: Line) -> None:
    line.until(lambda: len(line.telegrams) >= 1)
    update = line.decoder.offer(envelope_of(IMAGE, 4), IMAGE)
    line.until(lambda: ended(line, update))
    assert (update.progress, update.refusal) == (Progress.DONE, None)
    assert line.decoder.memory.epoch == 2, "one restart, into the new slot"
    line.kill()
    line.decoder.hello = None
    line.start()
    assert hello_installed(line) == 4
    again = line.decoder.offer(envelope_of(IMAGE, 4), IMAGE)
    line.until(lambda: ended(line, again))
    assert again.progress == Progress.DONE
    older = line.decoder.offer(envelope_of(IMAGE, 3), IMAGE)
    line.until(lambda: ended(line, older))
    assert older.refusal == UpdateRefusal.OLD_SEQUENCE
    forged = line.decoder.offer(envelope_of(IMAGE, 5)[:-1] + b"\x00", IMAGE)
    line.until(lambda: ended(line, forged))
    assert forged.refusal == UpdateRefusal.BAD_SIGNATURE


def test_firmware_that_dies_at_its_start_is_rolled_back_by_itself(line: Line) -> None:
    line.until(lambda: len(line.telegrams) >= 1)
    image = b"BAD" + IMAGE[:500]
    update = line.decoder.offer(envelope_of(image, 4), image)
    line.until(lambda: ended(line, update))
    assert update.progress == Progress.ROLLED_BACK
    count = len(line.telegrams)
    line.until(lambda: len(line.telegrams) > count)
    assert hello_installed(line) == 0


@pytest.mark.parametrize(
    ("refusal", "parts", "signers"),
    [
        (UpdateRefusal.WRONG_VENDOR, {"vendor_id": bytes(16)}, MAKER_KEYS[:2]),
        (UpdateRefusal.WRONG_CLASS, {"class_id": bytes(16)}, MAKER_KEYS[:2]),
        (UpdateRefusal.WRONG_DEVICE, {"device_id": b"\x01" * 16}, MAKER_KEYS[:2]),
        (UpdateRefusal.WRONG_PRECURSOR, {"from_sequence": 3}, MAKER_KEYS[:2]),
        (UpdateRefusal.OVERSIZED, {"size": 2**20 + 1}, MAKER_KEYS[:2]),
        (UpdateRefusal.EXPIRED, {"expires_at_s": 1_700_000_000}, MAKER_KEYS[:2]),
        (UpdateRefusal.UNKNOWN_SIGNER, {}, (MAKER_KEYS[0], NODE_KEY)),
        (UpdateRefusal.TOO_FEW_SIGNERS, {}, MAKER_KEYS[:1]),
        (UpdateRefusal.WRONG_DIGEST, {"digest": bytes(32)}, MAKER_KEYS[:2]),
    ],
)
def test_the_node_refuses_firmware_by_the_same_names(
    line: Line, refusal: UpdateRefusal, parts: dict[str, object], signers: tuple[bytes, ...]
) -> None:
    image = IMAGE[:300]
    update = line.decoder.offer(envelope_of(image, 4, signers, **parts), image)
    line.until(lambda: ended(line, update))
    assert (update.progress, update.refusal) == (Progress.REFUSED, refusal)


def test_a_node_without_time_judges_nothing_unexpired(line: Line) -> None:
    line.status = "U"
    update = line.decoder.offer(envelope_of(IMAGE, 4), IMAGE)
    line.until(lambda: ended(line, update))
    assert update.refusal == UpdateRefusal.CLOCK_UNKNOWN


@pytest.mark.slow
def test_a_transfer_over_a_bad_line_and_power_cuts_ends_well(line: Line) -> None:
    draw = random.Random(9)
    line.mangled = lambda chunk: b"" if draw.random() < 0.02 else chunk
    update = line.decoder.offer(envelope_of(IMAGE, 4), IMAGE)
    line.until(lambda: update._question[:1] == b"\x02")
    line.kill()
    line.start()
    line.until(lambda: ended(line, update), 60)
    assert update.progress == Progress.DONE


@pytest.mark.slow
def test_power_may_fail_at_every_write_of_the_node_and_it_comes_back(program: Path, tmp_path: Path) -> None:
    """The node dies in its n-th storage write after every start, for every n an update takes; then it is let be."""
    image = IMAGE[:4_500]
    for writes in range(0, 28, 1 if NIGHTLY else 4):
        line = Line(program, tmp_path / f"flash{writes}", writes_left=writes)
        try:
            line.start()
            update = line.decoder.offer(envelope_of(image, 4), image)
            line.until(lambda line=line, update=update: line.process.poll() is not None or ended(line, update))
            line.kill()
            line.writes_left = -1
            line.start()
            update = line.decoder.offer(envelope_of(image, 4), image)
            line.until(lambda line=line, update=update: ended(line, update))
            assert update.progress == Progress.DONE, (writes, update.refusal)
            count = len(line.telegrams)
            line.until(lambda line=line, count=count: len(line.telegrams) > count)
        finally:
            line.close()
