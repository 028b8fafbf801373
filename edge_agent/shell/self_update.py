"""The agent's own update: two slots on disk, a symlink that says which runs, and a way back that needs nobody.

    FOLDER/a.slot b.slot      envelope and image as they came (state machine: firmware_bridge/update.py)
    FOLDER/record0 record1    where the update stands; replaced by rename, fsynced
    FOLDER/a/ b/              the same unpacked: launcher `edge-agent`, `lib/` or `agent.pyz`
    FOLDER/current            symlink to what runs         FOLDER/trusted    symlink to what was confirmed last

`boot` runs before every start, from `trusted`, so that a broken version cannot keep it from counting; after three
starts without `confirm` the old slot runs again. Unpacking happens beside and ends in one rename.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from edge_agent.config_update import UpdateConfig
from edge_agent.shell.bundle_files import LocalBundleError, unpack_image
from firmware_bridge.manifest import ENVELOPE_LIMIT_BYTES, Manifest, Payload, UpdateRefusal, judge
from firmware_bridge.update import ENVELOPE_ROOM_BYTES, TRIAL_BOOTS, Stage, Updater

SLOTS = ("a", "b")
_PART_BYTES = 1 << 20
_PROBE_EVERY_S = 0.5
END_S = 10
"""What a healthy agent needs to write its outbox and end, twice."""


class RemoteUpdateError(Exception):
    """An update was refused or cannot be carried out; the text says why."""


class NothingOnTrialError(RemoteUpdateError):
    """There is no trial that could be confirmed: what every ordinary start finds."""


class RolledBackError(RemoteUpdateError):
    """The version on trial is not well; the slots point at the old one again, but the process may still run."""


class SlotFiles:
    """The storage of the state machine: files of one folder. Faults raise OSError."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read_record(self, copy: int) -> bytes:
        """Copy 0 or 1; empty where it is not there."""
        try:
            return (self._folder / f"record{copy}").read_bytes()[:64]
        except OSError:
            return b""

    def write_record(self, copy: int, record: bytes) -> None:
        """Beside, fsynced, renamed, folder fsynced."""
        beside = self._folder / f"record{copy}.new"
        with beside.open("wb") as file:
            file.write(record)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(self._folder / f"record{copy}")
        sync_folder(self._folder)

    def erase(self, slot: int) -> None:
        """Empties the slot's file."""
        with self._path(slot).open("wb") as file:
            os.fsync(file.fileno())

    def write(self, slot: int, offset: int, part: bytes) -> None:
        """Durable when it returns: a record that counts these bytes may follow."""
        with self._path(slot).open("r+b") as file:
            file.seek(offset)
            file.write(part)
            file.flush()
            os.fsync(file.fileno())

    def read(self, slot: int, offset: int, count: int) -> bytes:
        """At most ``count`` bytes."""
        with self._path(slot).open("rb") as file:
            file.seek(offset)
            return file.read(count)

    def _path(self, slot: int) -> Path:
        return self._folder / f"{SLOTS[slot]}.slot"


def sync_folder(folder: Path) -> None:
    """Makes renames in it durable."""
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


class SelfUpdate:
    """The slots of one agent. ``now_s`` is UTC, None where the clock cannot be trusted."""

    def __init__(self, config: UpdateConfig, now_s: Callable[[], int | None]) -> None:
        self._config = config
        self._folder = config.folder
        self._now_s = now_s
        self._started_s = 0.0

    @contextlib.contextmanager
    def _updater(self) -> Iterator[Updater]:
        """One at a time: a start and an installer's command may meet."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with (self._folder / "lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                yield Updater(SlotFiles(self._folder), self._config.trust)
        except OSError as error:
            raise RemoteUpdateError(f"{self._folder}: {error}") from error

    def check(self, bundle: Path) -> Manifest:
        """The manifest of a bundle we would take. Raises RemoteUpdateError with the refusal's name."""
        with self._updater() as updater:
            return self._judged(bundle, updater)[0]

    def _judged(self, bundle: Path, updater: Updater) -> tuple[Manifest, bytes]:
        with bundle.open("rb") as file:
            count = int.from_bytes(file.read(2), "little")
            envelope = file.read(min(count, ENVELOPE_LIMIT_BYTES + 1))
        verdict = judge(envelope, self._config.trust, updater.record.floor, self._now_s())
        if isinstance(verdict, UpdateRefusal):
            raise RemoteUpdateError(verdict.name)
        if verdict.payload == Payload.FIRMWARE:
            raise RemoteUpdateError("WRONG_CLASS: firmware for a node, not an agent")
        if bundle.stat().st_size != 2 + count + verdict.size:
            raise RemoteUpdateError(UpdateRefusal.WRONG_SIZE.name)
        return verdict, envelope

    def apply(self, bundle: Path) -> Manifest:
        """Installs into the spare slot and puts it on trial; a repeated call goes on. Raises RemoteUpdateError.

        `current` stays as it is: only `boot`, which counts, turns it to a version on trial.
        """
        with self._updater() as updater:
            manifest, envelope = self._judged(bundle, updater)
            if updater.record.stage == Stage.TRIAL:
                raise RemoteUpdateError("WRONG_STAGE: confirm or roll back the version on trial first")
            _must(updater.begin(envelope, self._now_s()))
            if updater.record.stage == Stage.RECEIVING:
                self._carry(bundle, 2 + len(envelope), updater)
            self._unpack(updater.spare, manifest)
            _must(updater.switch(self._now_s()))
        return manifest

    def _carry(self, bundle: Path, start: int, updater: Updater) -> None:
        with bundle.open("rb") as file:
            file.seek(start + updater.record.received)
            while part := file.read(_PART_BYTES):
                _must(updater.receive(updater.record.received, part))
        _must(updater.complete())

    def _unpack(self, slot: int, manifest: Manifest) -> None:
        target, beside = self._folder / SLOTS[slot], self._folder / f"{SLOTS[slot]}.new"
        for leftover in (beside, target):
            if leftover.exists():
                shutil.rmtree(leftover)
        beside.mkdir()
        try:
            with (self._folder / f"{SLOTS[slot]}.slot").open("rb") as file:
                file.seek(ENVELOPE_ROOM_BYTES)
                unpack_image(file, manifest, beside)
        except LocalBundleError as error:
            raise RemoteUpdateError(str(error)) from error
        beside.replace(target)
        sync_folder(self._folder)

    def _point(self, name: str, slot: int) -> None:
        """Turns a symlink in one rename; takes it away where the slot holds nothing."""
        link, beside = self._folder / name, self._folder / f"{name}.new"
        if not (self._folder / SLOTS[slot] / "edge-agent").exists():
            link.unlink(missing_ok=True)
        elif not link.is_symlink() or link.readlink() != Path(SLOTS[slot]):
            beside.unlink(missing_ok=True)
            beside.symlink_to(SLOTS[slot])
            beside.replace(link)
        sync_folder(self._folder)

    def boot(self) -> str:
        """Before every start: counts a trial's start, and turns `current` to the slot to run, whose name it gives."""
        with self._updater() as updater:
            slot = updater.boot()
            self._point("current", slot)
            self._point("trusted", updater.record.active)
        return SLOTS[slot]

    def confirm(self, config_file: Path, sleep: Callable[[float], None] = time.sleep) -> str:
        """Waits until the version on trial is well and keeps it. Otherwise rolls back and raises RemoteUpdateError."""
        with self._updater() as updater:
            if updater.record.stage != Stage.TRIAL:
                raise NothingOnTrialError("WRONG_STAGE: nothing is on trial")
            if updater.record.boots == TRIAL_BOOTS:
                raise RemoteUpdateError("WRONG_STAGE: the version on trial was not started yet")
            slot = updater.spare
            self._started_s = max(path.stat().st_mtime for path in self._folder.glob("record?"))
        trouble = self._trouble(slot, config_file, sleep)
        if trouble:
            self.rollback()
            raise RolledBackError(f"rolled back: {trouble}")
        with self._updater() as updater:
            _must(updater.confirm())
            self._point("trusted", updater.record.active)
            self._point("current", updater.record.active)
        return SLOTS[slot]

    def _trouble(self, slot: int, config_file: Path, sleep: Callable[[float], None]) -> str:
        if self._config.ready_file is not None:
            for _ in range(int(self._config.wait_s / _PROBE_EVERY_S) + 1):
                with contextlib.suppress(OSError):
                    if self._config.ready_file.stat().st_mtime >= self._started_s:
                        return ""
                sleep(_PROBE_EVERY_S)
            return f"{self._config.ready_file} was not renewed within {self._config.wait_s} s"
        command = [str(self._folder / SLOTS[slot] / "edge-agent"), "doctor", "-c", str(config_file)]
        try:
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=self._config.wait_s
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return f"doctor: {error}"
        return "" if done.returncode == 0 else f"doctor: {(done.stdout + done.stderr).strip()[-500:]}"

    def rollback(self) -> str:
        """Ends a trial at once. Raises RemoteUpdateError where there is none."""
        with self._updater() as updater:
            _must(updater.rollback())
            self._point("current", updater.record.active)
            return SLOTS[updater.record.active]

    def status(self) -> list[str]:
        """What a person wants to know, a line each."""
        with self._updater() as updater:
            record = updater.record
            lines = [f"stage {record.stage.name}, active slot {SLOTS[record.active]}, sequence {record.floor}"]
            if record.stage == Stage.TRIAL:
                lines.append(f"slot {SLOTS[updater.spare]} is on trial, {record.boots} start(s) left")
            for slot, name in enumerate(SLOTS):
                manifest = updater.manifest_in(slot)
                if manifest is not None:
                    whole = "whole" if updater.whole_image(slot) else "not whole"
                    lines.append(f"slot {name}: {manifest.version}, sequence {manifest.sequence}, {whole}")
        return lines


def end_process(pid: int, sleep: Callable[[float], None] = time.sleep) -> None:
    """Ends the sick version that still runs, so that its supervisor starts the old one; it may not listen any more."""
    try:
        os.kill(pid, signal.SIGTERM)
        for _ in range(int(END_S / _PROBE_EVERY_S)):
            sleep(_PROBE_EVERY_S)
            os.kill(pid, 0)
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _must(refusal: UpdateRefusal | None) -> None:
    if refusal is not None:
        raise RemoteUpdateError(refusal.name)
