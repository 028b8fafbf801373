"""Two slots: what is refused and why, and that every point where power may fail leaves one that boots."""

from __future__ import annotations

import contextlib
import copy
import uuid
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge.manifest import (
    ANY_DEVICE,
    ENVELOPE_LIMIT_BYTES,
    MANIFEST_BYTES,
    LocalManifestError,
    Manifest,
    Trust,
    UpdateRefusal,
    class_id_of,
    judge,
    read_manifest,
    sign_manifest,
    split_envelope,
    vendor_id_of,
)
from firmware_bridge.node_signature import node_signer_of, public_key_of
from firmware_bridge.update import CHECKPOINT_BYTES, TRIAL_BOOTS, Record, Stage, Updater

NOW_S = 1_800_000_000
KEYS = tuple(bytes(31) + bytes([0x40 + place]) for place in range(4))
VENDOR = vendor_id_of("ada.example")
MODEL = class_id_of(VENDOR, "meter-1")
TRUST = Trust(VENDOR, MODEL, tuple(public_key_of(key) for key in KEYS[:3]), 2, 100_000, b"\x07" * 16)
IMAGE = bytes(range(256)) * 40


def manifest_of(image: bytes = IMAGE, sequence: int = 5, **parts: object) -> Manifest:
    fixed: dict[str, object] = {
        "vendor_id": VENDOR, "class_id": MODEL, "sequence": sequence, "expires_at_s": NOW_S + 1,
        "size": len(image), "digest": sha256(image).digest(), "version": "1.2.3",
    }  # fmt: skip
    return Manifest(**(fixed | parts))  # type: ignore[arg-type]


def signed(manifest: Manifest, keys: tuple[bytes, ...] = KEYS[:2]) -> bytes:
    return sign_manifest(manifest, {public_key_of(key): node_signer_of(key) for key in keys})


class PowerCutError(Exception):
    """The power went in the middle of a write."""


class Flash:
    """Two slots and two records in memory; ``cut_at`` counts the writes until the power goes, half of it done."""

    def __init__(self) -> None:
        self.records = [b"", b""]
        self.slots = [bytearray(), bytearray()]
        self.cut_at = -1
        self.writes = 0
        self.failing = False
        self.touched: set[int] = set()

    def _written(self, target: str, place: int, offset: int, part: bytes) -> None:
        if self.failing:
            raise OSError("worn out")
        is_cut = self.writes == self.cut_at
        self.writes += 1
        if is_cut:
            part = part[: len(part) // 2]
        if target == "record":
            self.records[place] = part
        else:
            self.touched.add(place)
            slot = self.slots[place]
            slot[offset:] = slot[offset:].ljust(len(part), b"\xff")
            if len(slot) < offset + len(part):
                slot.extend(b"\xff" * (offset + len(part) - len(slot)))
            slot[offset : offset + len(part)] = part
        if is_cut:
            raise PowerCutError

    def read_record(self, copy: int) -> bytes:
        return self.records[copy]

    def write_record(self, copy: int, record: bytes) -> None:
        self._written("record", copy, 0, record)

    def erase(self, slot: int) -> None:
        if self.failing:
            raise OSError("worn out")
        self.touched.add(slot)
        is_cut = self.writes == self.cut_at
        self.writes += 1
        self.slots[slot] = bytearray(b"\xff" * (len(self.slots[slot]) // 2)) if is_cut else bytearray()
        if is_cut:
            raise PowerCutError

    def write(self, slot: int, offset: int, part: bytes) -> None:
        self._written("slot", slot, offset, part)

    def read(self, slot: int, offset: int, count: int) -> bytes:
        return bytes(self.slots[slot][offset : offset + count])


def installed(flash: Flash, image: bytes, sequence: int) -> Updater:
    """Everything an update does, without a fault; ends confirmed."""
    updater = Updater(flash, TRUST)
    envelope = signed(manifest_of(image, sequence))
    assert send(updater, envelope, image) is None
    assert updater.switch(NOW_S) is None
    updater = Updater(flash, TRUST)
    assert updater.boot() == updater.spare
    assert updater.confirm() is None
    return updater


def send(updater: Updater, envelope: bytes, image: bytes, step: int = 1000) -> UpdateRefusal | None:
    """Begins or resumes, and carries the image to its end."""
    refusal = updater.begin(envelope, NOW_S)
    if refusal is not None or updater.record.stage == Stage.READY:
        return refusal
    while updater.record.received < len(image):
        at = updater.record.received
        refusal = updater.receive(at, image[at : at + step])
        if refusal is not None:
            return refusal
    return updater.complete()


def test_vendor_and_class_are_the_uuids_of_suit() -> None:
    vendor = uuid.uuid5(uuid.NAMESPACE_DNS, "ada.example")
    assert vendor_id_of("ada.example") == vendor.bytes
    assert class_id_of(VENDOR, "meter-1") == uuid.uuid5(vendor, "meter-1").bytes


def test_an_envelope_signed_by_enough_is_taken_with_every_field() -> None:
    manifest = manifest_of(from_sequence=3, device_id=TRUST.device_id)
    assert len(manifest.pack()) == MANIFEST_BYTES == 132 and read_manifest(manifest.pack()) == manifest
    assert judge(signed(manifest), TRUST, 4, NOW_S) == manifest
    assert judge(signed(manifest, KEYS[:3]), TRUST, 4, NOW_S) == manifest
    assert ENVELOPE_LIMIT_BYTES == 709


REFUSED: list[tuple[UpdateRefusal, Callable[[], bytes], int, int | None]] = [
    (UpdateRefusal.WRONG_VENDOR, lambda: signed(manifest_of(vendor_id=bytes(16))), 0, NOW_S),
    (UpdateRefusal.WRONG_CLASS, lambda: signed(manifest_of(class_id=bytes(16))), 0, NOW_S),
    (UpdateRefusal.WRONG_DEVICE, lambda: signed(manifest_of(device_id=b"\x08" * 16)), 0, NOW_S),
    (UpdateRefusal.OLD_SEQUENCE, lambda: signed(manifest_of(sequence=5)), 5, NOW_S),
    (UpdateRefusal.OLD_SEQUENCE, lambda: signed(manifest_of(sequence=4)), 5, NOW_S),
    (UpdateRefusal.WRONG_PRECURSOR, lambda: signed(manifest_of(from_sequence=4)), 3, NOW_S),
    (UpdateRefusal.OVERSIZED, lambda: signed(manifest_of(size=100_001)), 0, NOW_S),
    (UpdateRefusal.CLOCK_UNKNOWN, lambda: signed(manifest_of()), 0, None),
    (UpdateRefusal.EXPIRED, lambda: signed(manifest_of()), 0, NOW_S + 1),
    (UpdateRefusal.UNKNOWN_SIGNER, lambda: signed(manifest_of(), KEYS[1:4]), 0, NOW_S),
    (UpdateRefusal.TOO_FEW_SIGNERS, lambda: signed(manifest_of(), KEYS[:1]), 0, NOW_S),
    (UpdateRefusal.BAD_SIGNATURE, lambda: signed(manifest_of())[:-1] + b"\x00", 0, NOW_S),
    (UpdateRefusal.MALFORMED, lambda: signed(manifest_of()) + b"\x00", 0, NOW_S),
    (UpdateRefusal.MALFORMED, lambda: b"", 0, NOW_S),
]


@pytest.mark.parametrize(("refusal", "envelope", "floor", "now_s"), REFUSED)
def test_an_update_that_is_not_for_us_is_refused_by_name(
    refusal: UpdateRefusal, envelope: Callable[[], bytes], floor: int, now_s: int | None
) -> None:
    assert judge(envelope(), TRUST, floor, now_s) == refusal
    flash = Flash()
    updater = Updater(flash, TRUST)
    updater.record = replace(updater.record, floor=floor)
    assert updater.begin(envelope(), now_s) == refusal
    assert flash.writes == 0 and updater.record.stage == Stage.IDLE


def test_one_signer_twice_is_one_signer() -> None:
    envelope = signed(manifest_of(), KEYS[:1])
    block = envelope[MANIFEST_BYTES + 1 :]
    assert judge(envelope[:MANIFEST_BYTES] + b"\x02" + block + block, TRUST, 0, NOW_S) == UpdateRefusal.MALFORMED


def test_the_signature_of_one_manifest_is_none_of_another() -> None:
    envelope = signed(manifest_of(sequence=5))
    forged = manifest_of(sequence=6).pack() + envelope[MANIFEST_BYTES:]
    assert judge(forged, TRUST, 0, NOW_S) == UpdateRefusal.BAD_SIGNATURE


@given(st.integers(0, 8 * (MANIFEST_BYTES + 1 + 2 * 72) - 1))
def test_no_single_changed_bit_is_taken(bit: int) -> None:
    envelope = bytearray(signed(manifest_of()))
    envelope[bit // 8] ^= 1 << bit % 8
    assert isinstance(judge(bytes(envelope), TRUST, 0, NOW_S), UpdateRefusal)


@given(st.binary(max_size=800))
def test_bytes_that_are_no_envelope_are_refused_quietly(raw: bytes) -> None:
    assert split_envelope(raw) is None
    assert judge(raw, TRUST, 0, NOW_S) == UpdateRefusal.MALFORMED


def test_illegal_manifests_and_thresholds_cannot_be_made() -> None:
    for parts in ({"sequence": 0}, {"size": 0}, {"version": ""}, {"version": "é"}, {"version": "x" * 17},
                  {"digest": b""}, {"vendor_id": b""}, {"expires_at_s": 0}):  # fmt: skip
        with pytest.raises(LocalManifestError):
            manifest_of(**parts)
    for threshold in (0, 4):
        with pytest.raises(LocalManifestError):
            replace(TRUST, threshold=threshold)
    with pytest.raises(LocalManifestError):
        replace(TRUST, signers=(TRUST.signers[0], TRUST.signers[0]), threshold=2)
    assert TRUST.device_id != ANY_DEVICE


def test_an_update_boots_on_trial_and_stays_after_its_confirmation() -> None:
    flash = Flash()
    updater = installed(flash, IMAGE, 5)
    assert updater.record.active == 1 and updater.record.floor == 5
    again = Updater(flash, TRUST)
    assert again.boot() == 1 and again.record == updater.record
    assert again.begin(signed(manifest_of(IMAGE, 5)), NOW_S) == UpdateRefusal.OLD_SEQUENCE
    assert installed(flash, IMAGE[:77], 6).record.active == 0


def test_a_trial_nobody_confirms_ends_in_the_old_slot() -> None:
    flash = Flash()
    installed(flash, IMAGE, 5)
    updater = Updater(flash, TRUST)
    assert send(updater, signed(manifest_of(IMAGE[:99], 6)), IMAGE[:99]) is None
    assert updater.switch(NOW_S) is None
    slots = []
    for _ in range(TRIAL_BOOTS + 2):
        slots.append(Updater(flash, TRUST).boot())
    assert slots == [0] * TRIAL_BOOTS + [1, 1]
    assert Updater(flash, TRUST).record.floor == 5
    # The same update may be tried again; nothing about it was wrong but its health.
    assert send(Updater(flash, TRUST), signed(manifest_of(IMAGE[:99], 6)), IMAGE[:99]) is None


def test_turns_out_of_order_are_refused_and_change_nothing() -> None:
    flash = Flash()
    updater = Updater(flash, TRUST)
    for turn in (updater.complete, updater.confirm, updater.rollback, lambda: updater.switch(NOW_S)):
        assert turn() == UpdateRefusal.WRONG_STAGE
    assert updater.receive(0, b"x") == UpdateRefusal.WRONG_STAGE and flash.writes == 0
    assert updater.begin(signed(manifest_of()), NOW_S) is None
    assert updater.receive(5, b"x") == UpdateRefusal.WRONG_OFFSET
    assert updater.receive(0, bytes(len(IMAGE) + 1)) == UpdateRefusal.OVERSIZED
    assert updater.complete() == UpdateRefusal.WRONG_SIZE
    assert updater.receive(0, IMAGE[:50]) is None and updater.receive(0, IMAGE[:50]) is None
    assert updater.record.received == 50


def test_a_wrong_digest_ends_the_update_and_an_expiry_before_the_switch_stops_it() -> None:
    flash = Flash()
    updater = Updater(flash, TRUST)
    assert send(updater, signed(manifest_of()), bytes(len(IMAGE))) == UpdateRefusal.WRONG_DIGEST
    assert updater.record.stage == Stage.IDLE
    assert send(updater, signed(manifest_of()), IMAGE) is None
    assert updater.switch(NOW_S + 5) == UpdateRefusal.EXPIRED
    assert updater.begin(signed(manifest_of(sequence=6)), NOW_S) is None
    assert updater.record.stage == Stage.RECEIVING


def test_a_transfer_goes_on_after_a_restart_where_its_last_checkpoint_was() -> None:
    flash = Flash()
    updater = Updater(flash, TRUST)
    envelope = signed(manifest_of())
    assert updater.begin(envelope, NOW_S) is None
    for at in range(0, 6_000, 500):
        assert updater.receive(at, IMAGE[at : at + 500]) is None
    updater = Updater(flash, TRUST)
    assert updater.begin(envelope, NOW_S) is None
    assert CHECKPOINT_BYTES <= updater.record.received <= 6_000
    assert send(updater, envelope, IMAGE) is None and updater.record.stage == Stage.READY


def test_a_rotten_active_image_gives_way_to_an_older_whole_one() -> None:
    flash = Flash()
    installed(flash, IMAGE, 5)
    installed(flash, IMAGE[:500], 6)
    flash.slots[0][1030] ^= 1
    assert Updater(flash, TRUST).boot() == 1


def test_lost_records_find_the_newest_whole_slot_and_its_floor() -> None:
    flash = Flash()
    installed(flash, IMAGE, 5)
    installed(flash, IMAGE[:500], 6)
    flash.records = [b"", b"\x00" * 24]
    updater = Updater(flash, TRUST)
    assert (updater.boot(), updater.record.floor) == (0, 6)


def test_a_worn_out_flash_is_a_refusal_and_leaves_what_runs() -> None:
    flash = Flash()
    installed(flash, IMAGE, 5)
    flash.failing = True
    updater = Updater(flash, TRUST)
    assert updater.begin(signed(manifest_of(sequence=6)), NOW_S) == UpdateRefusal.STORAGE_FAILED
    assert Updater(flash, TRUST).boot() == 1


@given(st.binary(max_size=40))
def test_only_a_whole_record_is_read(raw: bytes) -> None:
    assert Record.unpack(raw) is None
    record = Record(7, 1, Stage.TRIAL, 2, 99, 0)
    assert Record.unpack(record.pack()) == record


def one_update(flash: Flash, confirms: bool) -> None:
    """An update of sequence 6 from wherever the device stands, as its owner would drive it after any restart."""
    updater = Updater(flash, TRUST)
    runs = updater.boot()
    if updater.record.stage == Stage.TRIAL and runs == updater.spare:
        if confirms:
            updater.confirm()
        else:
            updater.rollback()
        return
    if updater.record.floor < 6 and updater.record.stage != Stage.TRIAL:
        assert send(updater, signed(manifest_of(IMAGE[:9_000], 6)), IMAGE[:9_000], 700) is None
        assert updater.switch(NOW_S) is None


def boots_something_whole(flash: Flash) -> int:
    """The slot that boots, asked of a copy; it holds what it says, and the active one was never touched."""
    twin = copy.deepcopy(flash)
    twin.cut_at = -1
    updater = Updater(twin, TRUST)
    slot = updater.boot()
    assert updater.whole_image(slot) is not None
    assert updater.record.active not in twin.touched or updater.record.floor == 6
    return slot


@pytest.mark.parametrize("confirms", [True, False])
def test_power_may_fail_at_every_write_and_something_whole_boots(confirms: bool) -> None:
    start = Flash()
    installed(start, IMAGE, 5)
    start.writes, start.touched = 0, set()
    clean = copy.deepcopy(start)
    one_update(clean, confirms)
    one_update(clean, confirms)
    assert clean.writes > 20
    for cut_at in range(clean.writes):
        flash = copy.deepcopy(start)
        flash.cut_at = cut_at
        with pytest.raises(PowerCutError):
            for _ in range(3):
                one_update(flash, confirms)
        boots_something_whole(flash)
        flash.cut_at = -1
        for _ in range(4):
            one_update(flash, confirms)
            boots_something_whole(flash)
            if Updater(flash, TRUST).record.floor == 6 or not confirms:
                break
        assert Updater(flash, TRUST).record.floor == (6 if confirms else 5)


@pytest.mark.parametrize("received", [5_000, 9_000])
def test_power_may_fail_while_another_update_takes_the_place_of_one_under_way(received: int) -> None:
    first, second = signed(manifest_of(IMAGE[:9_000], 6)), signed(manifest_of(IMAGE[1:9_000], 7))
    for cut_at in range(8):
        flash = Flash()
        installed(flash, IMAGE, 5)
        updater = Updater(flash, TRUST)
        assert updater.begin(first, NOW_S) is None
        for at in range(0, received, 500):
            assert updater.receive(at, IMAGE[at : min(at + 500, received)]) is None
        flash.writes, flash.cut_at = 0, cut_at
        with contextlib.suppress(PowerCutError):
            send(updater, second, IMAGE[1:9_000])
        flash.cut_at = -1
        assert send(Updater(flash, TRUST), second, IMAGE[1:9_000]) is None, "it is not mixed up with the first"


@given(st.lists(st.integers(0, 40), min_size=1, max_size=6), st.booleans())
def test_power_may_fail_again_and_again_and_something_whole_boots(cuts: list[int], confirms: bool) -> None:
    flash = Flash()
    installed(flash, IMAGE, 5)
    floor = 5
    for cut in cuts:
        flash.writes, flash.touched, flash.cut_at = 0, set(), cut
        try:
            for _ in range(3):
                one_update(flash, confirms)
        except PowerCutError:
            pass
        boots_something_whole(flash)
        now = Updater(flash, TRUST).record.floor
        assert now >= floor, "the floor never falls"
        floor = now
