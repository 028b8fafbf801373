"""Two slots, one of which always boots: the state machine of an update, for a node and for the agent alike.

    envelope -> begin -> chunks -> complete (digest) -> switch -> boots on trial -> confirm
                                                                       \\-> rollback

The C twin is `node/update.c`. State lives in two record copies, written in turn, each with a generation and a
CRC-32C: a torn write loses only the older one. Every write below is a point where power may fail:

| stage | turn | writes, in this order | next |
|---|---|---|---|
| not TRIAL | `begin`, another envelope | record IDLE · erase spare slot · envelope · record RECEIVING | RECEIVING |
| RECEIVING, READY | `begin`, the same envelope | nothing: the answer says where to go on | same |
| RECEIVING | `receive`, the next chunk | image part · each 4 kB the record | RECEIVING |
| RECEIVING | `complete`, size and digest right | record READY | READY |
| RECEIVING | `complete`, wrong digest | record IDLE | IDLE |
| READY | `switch`, still acceptable and its digest still right | record TRIAL with 3 boots | TRIAL |
| TRIAL | `boot`, boots left | record with one boot less | TRIAL, runs the spare slot |
| TRIAL | `boot`, none left or the image damaged | record IDLE | IDLE, runs the active slot |
| TRIAL | `confirm` | record IDLE, active = spare, floor = its sequence | IDLE |
| TRIAL | `rollback` | record IDLE | IDLE |

The active slot is never erased nor written; only `confirm` moves it, in one record write. The floor never falls.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from enum import IntEnum
from hashlib import sha256
from typing import Protocol

from firmware_bridge.checksum import crc32c
from firmware_bridge.manifest import (
    ENVELOPE_LIMIT_BYTES,
    MANIFEST_BYTES,
    Manifest,
    Trust,
    UpdateRefusal,
    judge,
    split_envelope,
)

ENVELOPE_ROOM_BYTES = 1024
"""What a slot keeps in front of its image: length (2 bytes) and envelope."""
CHECKPOINT_BYTES = 4096
"""A flash sector: after a power cut at most this much is sent again."""
TRIAL_BOOTS = 3
"""One for a cold start that a brown-out spoils, one for bad luck, one to be sure."""
_RECORD = struct.Struct("<IBBBxQI")
RECORD_BYTES = _RECORD.size + 4
_READ_BYTES = 64 * 1024


class Stage(IntEnum):
    """Where an update stands; the numbers are on the wire and in the record."""

    IDLE = 0
    RECEIVING = 1
    READY = 2
    TRIAL = 3


class Storage(Protocol):
    """Two slots and two record copies. What is not there reads as fewer bytes; a fault raises OSError."""

    def read_record(self, copy: int) -> bytes:
        """Copy 0 or 1; empty where it was never written."""
        ...

    def write_record(self, copy: int, record: bytes) -> None:
        """Durable when it returns."""
        ...

    def erase(self, slot: int) -> None:
        """Slot 0 or 1 holds nothing any more."""
        ...

    def write(self, slot: int, offset: int, part: bytes) -> None:
        """Rising offsets after an erase; the same bytes may come twice."""
        ...

    def read(self, slot: int, offset: int, count: int) -> bytes:
        """At most ``count`` bytes."""
        ...


@dataclass(frozen=True, slots=True)
class Record:
    """What survives a power cut. ``floor`` is the highest sequence ever confirmed."""

    generation: int = 0
    active: int = 0
    stage: Stage = Stage.IDLE
    boots: int = 0
    floor: int = 0
    received: int = 0

    def pack(self) -> bytes:
        """Fixed layout with a CRC-32C: 24 bytes."""
        packed = _RECORD.pack(self.generation, self.active, self.stage, self.boots, self.floor, self.received)
        return packed + crc32c(packed).to_bytes(4, "little")

    @classmethod
    def unpack(cls, packed: bytes) -> Record | None:
        """The record of these bytes; None for a torn or blank copy."""
        if len(packed) != RECORD_BYTES or crc32c(packed[:-4]) != int.from_bytes(packed[-4:], "little"):
            return None
        generation, active, stage, boots, floor, received = _RECORD.unpack(packed[:-4])
        if active > 1 or stage > Stage.TRIAL:
            return None
        return cls(generation, active, Stage(stage), boots, floor, received)


class Updater:
    """The state machine over a storage. Every turn answers None or the reason why it was not made."""

    def __init__(self, storage: Storage, trust: Trust) -> None:
        self._storage = storage
        self._trust = trust
        copies = [record for copy in (0, 1) if (record := Record.unpack(storage.read_record(copy))) is not None]
        self.record = max(copies, key=lambda record: record.generation) if copies else self._recovered()

    def _recovered(self) -> Record:
        """Without a readable record: the slot with the highest whole image; a new device has none and begins at 0."""
        whole = [(m.sequence, slot) for slot in (0, 1) if (m := self.whole_image(slot)) is not None]
        sequence, slot = max(whole, default=(0, 0))
        return Record(active=slot, floor=sequence)

    @property
    def spare(self) -> int:
        """The slot that is not active."""
        return 1 - self.record.active

    def manifest_in(self, slot: int) -> Manifest | None:
        """The manifest a slot begins with, unjudged."""
        opened = split_envelope(self._envelope_in(slot))
        return None if opened is None else opened[0]

    def _envelope_in(self, slot: int) -> bytes:
        head = self._read(slot, 0, ENVELOPE_ROOM_BYTES)
        count = int.from_bytes(head[:2], "little")
        return head[2 : 2 + count] if MANIFEST_BYTES < count <= ENVELOPE_LIMIT_BYTES else b""

    def _read(self, slot: int, offset: int, count: int) -> bytes:
        """What cannot be read is not there."""
        try:
            return self._storage.read(slot, offset, count)
        except OSError:
            return b""

    def whole_image(self, slot: int) -> Manifest | None:
        """The manifest of a slot whose image has its size and digest; None for every other slot."""
        manifest = self.manifest_in(slot)
        if manifest is None:
            return None
        digest = sha256()
        for at in range(0, manifest.size, _READ_BYTES):
            wanted = min(_READ_BYTES, manifest.size - at)
            part = self._read(slot, ENVELOPE_ROOM_BYTES + at, wanted)
            if len(part) != wanted:
                return None
            digest.update(part)
        return manifest if digest.digest() == manifest.digest else None

    def _store(self, record: Record) -> None:
        """Into the copy that does not hold the newest record."""
        record = replace(record, generation=self.record.generation + 1)
        self._storage.write_record(record.generation % 2, record.pack())
        self.record = record

    def begin(self, envelope: bytes, now_s: int | None) -> UpdateRefusal | None:
        """Takes an envelope; `record.received` then says from which byte of the image to go on."""
        if self.record.stage == Stage.TRIAL:
            return UpdateRefusal.WRONG_STAGE
        verdict = judge(envelope, self._trust, self.record.floor, now_s)
        if isinstance(verdict, UpdateRefusal):
            return verdict
        if self.record.stage != Stage.IDLE and self._envelope_in(self.spare) == envelope:
            return None
        try:
            if self.record.stage != Stage.IDLE:
                self._store(replace(self.record, stage=Stage.IDLE, received=0))
            self._storage.erase(self.spare)
            self._storage.write(self.spare, 0, len(envelope).to_bytes(2, "little") + envelope)
            self._store(replace(self.record, stage=Stage.RECEIVING, received=0))
        except OSError:
            return UpdateRefusal.STORAGE_FAILED
        return None

    def receive(self, offset: int, part: bytes) -> UpdateRefusal | None:
        """Takes the next part of the image. One that is already there is taken for a repetition, and well."""
        manifest = self.manifest_in(self.spare) if self.record.stage == Stage.RECEIVING else None
        if manifest is None:
            return UpdateRefusal.WRONG_STAGE
        received = self.record.received
        if offset + len(part) > manifest.size:
            return UpdateRefusal.OVERSIZED
        if offset + len(part) <= received:
            return None
        if offset != received:
            return UpdateRefusal.WRONG_OFFSET
        grown = replace(self.record, received=received + len(part))
        try:
            self._storage.write(self.spare, ENVELOPE_ROOM_BYTES + offset, part)
            if grown.received // CHECKPOINT_BYTES > received // CHECKPOINT_BYTES or grown.received == manifest.size:
                self._store(grown)
            else:
                self.record = grown
        except OSError:
            return UpdateRefusal.STORAGE_FAILED
        return None

    def complete(self) -> UpdateRefusal | None:
        """Compares size and digest; a wrong digest ends this update."""
        manifest = self.manifest_in(self.spare) if self.record.stage == Stage.RECEIVING else None
        if manifest is None:
            return UpdateRefusal.WRONG_STAGE
        if self.record.received != manifest.size:
            return UpdateRefusal.WRONG_SIZE
        try:
            if self.whole_image(self.spare) is None:
                self._store(replace(self.record, stage=Stage.IDLE, received=0))
                return UpdateRefusal.WRONG_DIGEST
            self._store(replace(self.record, stage=Stage.READY))
        except OSError:
            return UpdateRefusal.STORAGE_FAILED
        return None

    def switch(self, now_s: int | None) -> UpdateRefusal | None:
        """Puts the spare slot on trial; the caller restarts. Everything is judged again: time has passed."""
        if self.record.stage != Stage.READY:
            return UpdateRefusal.WRONG_STAGE
        verdict = judge(self._envelope_in(self.spare), self._trust, self.record.floor, now_s)
        if isinstance(verdict, UpdateRefusal):
            return verdict
        try:
            if self.whole_image(self.spare) is None:
                self._store(replace(self.record, stage=Stage.IDLE, received=0))
                return UpdateRefusal.WRONG_DIGEST
            self._store(replace(self.record, stage=Stage.TRIAL, boots=TRIAL_BOOTS))
        except OSError:
            return UpdateRefusal.STORAGE_FAILED
        return None

    def boot(self) -> int:
        """The slot to run now. Called once a start, by code that is not the one on trial.

        A boot is counted before it happens: a record that cannot be written leaves the active slot running.
        """
        if self.record.stage == Stage.TRIAL:
            try:
                if self.record.boots > 0 and self.whole_image(self.spare) is not None:
                    self._store(replace(self.record, boots=self.record.boots - 1))
                    return self.spare
                self._store(replace(self.record, stage=Stage.IDLE, received=0))
            except OSError:
                return self.record.active
        # A slot that was confirmed has a manifest; where its image has rotted, an older whole one still measures.
        if self.record.floor and self.whole_image(self.record.active) is None and self.whole_image(self.spare):
            return self.spare
        return self.record.active

    def confirm(self) -> UpdateRefusal | None:
        """The trial is healthy: its slot becomes the active one, its sequence the floor."""
        manifest = self.manifest_in(self.spare) if self.record.stage == Stage.TRIAL else None
        if manifest is None:
            return UpdateRefusal.WRONG_STAGE
        floor = max(self.record.floor, manifest.sequence)
        try:
            self._store(Record(active=self.spare, floor=floor))
        except OSError:
            return UpdateRefusal.STORAGE_FAILED
        return None

    def rollback(self) -> UpdateRefusal | None:
        """Ends a trial; the active slot is what it was."""
        if self.record.stage != Stage.TRIAL:
            return UpdateRefusal.WRONG_STAGE
        try:
            self._store(replace(self.record, stage=Stage.IDLE, received=0, boots=0))
        except OSError:
            return UpdateRefusal.STORAGE_FAILED
        return None
