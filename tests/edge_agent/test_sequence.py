"""No identity is signed twice: not after a crash, not with an old database, not with a broken lease file."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from contracts.eip712 import Message
from contracts.interval import INTERVAL_S, interval_start_s
from contracts.messages import SettlementReading, TelemetryBatch
from edge_agent.delivery.frame import FrameKind
from edge_agent.delivery.outbox import Outbox
from edge_agent.delivery.sequence import LEASE, Leases, Mark, Sequences
from edge_agent.effects import Counters
from edge_agent.shell.lease_file import LeaseFile
from tests.edge_agent.conftest import Home

START_MS = interval_start_s(2_000_000) * 1000
Identity = tuple[str, int, int, int]


def identities(messages: list[Message]) -> list[tuple[Identity, bytes]]:
    """Identity and content of everything signed."""
    found = []
    for message in messages:
        if isinstance(message, SettlementReading):
            found.append((("settlement", message.meter, message.epoch, message.sequence), message.pack()))
        elif isinstance(message, TelemetryBatch):
            for place in range(message.count):
                key = ("telemetry", message.meter, message.epoch, message.first_sequence + place)
                found.append((key, message.pack()))
    return found


def copy_store(source: Path, target: Path) -> None:
    """The database as a backup would take it: main file and journal."""
    target.mkdir(exist_ok=True)
    for old in target.iterdir():
        old.unlink()
    for part in source.glob("outbox.db*"):
        shutil.copy(part, target / part.name)


@given(
    st.lists(st.sampled_from(["poll", "poll", "poll", "interval", "crash", "backup", "restore", "lose"]), max_size=40)
)
def test_crashes_and_restored_databases_never_sign_one_identity_twice(story: list[str]) -> None:
    with tempfile.TemporaryDirectory() as place:
        folder, backup = Path(place) / "home", Path(place) / "backup"
        folder.mkdir()
        now_ms, energy_wh = START_MS, 1_000
        home = Home(folder, synchronised_ms=now_ms)
        signed: dict[Identity, bytes] = {}
        settled: dict[int, bytes] = {}

        def collect() -> None:
            messages = home.stored() + home.stored(FrameKind.TELEMETRY)
            for identity, content in identities(messages):
                assert signed.setdefault(identity, content) == content, f"{identity} was signed twice"
            for reading in home.readings():
                assert settled.setdefault(reading.interval, reading.pack()) == reading.pack()

        for step in [*story, "poll"]:
            now_ms += INTERVAL_S * 1000 if step == "interval" else 60_000
            energy_wh += 10
            if step in ("poll", "interval"):
                home.sample(now_ms, import_wh=energy_wh, export_wh=3)
                home.agent.on_deadline(now_ms)
                collect()
            elif step == "backup":
                copy_store(folder, backup)
            else:
                if home.outbox.file.connection is not None:
                    home.outbox.file.connection.close()  # the process is gone; nothing is flushed
                if step == "restore" and backup.exists():
                    for old in folder.glob("outbox.db*"):
                        old.unlink()
                    for part in backup.iterdir():
                        shutil.copy(part, folder / part.name)
                elif step == "lose":
                    for old in folder.glob("outbox.db*"):
                        old.unlink()
                home = Home(folder, synchronised_ms=now_ms)
        home.outbox.close()


def test_a_lease_counts_only_once_the_file_holds_it(tmp_path: Path) -> None:
    class FullDisk(LeaseFile):
        def write_leases(self, leases: Leases) -> bool:
            return False

    outbox, counters = Outbox(tmp_path / "o.db", Counters()), Counters()
    sequences = Sequences(FullDisk(tmp_path / "lease"), outbox, counters)
    assert sequences.take("0/0") is None and sequences.next_epoch() is None
    assert counters["lease_refused"] == 2 and sequences.faults


def test_numbers_rise_by_one_and_a_restart_skips_at_most_one_lease(tmp_path: Path) -> None:
    def begin() -> Sequences:
        return Sequences(LeaseFile(tmp_path / "lease"), Outbox(tmp_path / "o.db", Counters()), Counters())

    first = begin()
    assert [first.take("0/0") for _ in range(LEASE + 3)] == list(range(LEASE + 3))
    again = begin()
    number = again.take("0/0")
    assert number is not None and LEASE + 3 <= number <= 2 * LEASE


def test_the_larger_of_file_and_database_wins(tmp_path: Path) -> None:
    file, outbox = LeaseFile(tmp_path / "lease"), Outbox(tmp_path / "o.db", Counters())
    assert file.write_leases(Leases({"0/0": 10, "boot": 3}, {0: Mark(7, 5, 0, 5, 0, "")}))
    assert outbox.write_leases(Leases({"0/0": 90, "boot": 2}))
    sequences = Sequences(file, outbox, Counters())
    assert sequences.take("0/0") == 90 and sequences.next_epoch() == 4
    assert sequences.marks[0].interval == 7


def test_a_damaged_lease_file_jumps_far_ahead_of_the_database(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "o.db", Counters())
    outbox.write_leases(Leases({"0/0": 90, "boot": 2}))
    (tmp_path / "lease").write_text("{not json")
    sequences = Sequences(LeaseFile(tmp_path / "lease"), outbox, Counters())
    number, epoch = sequences.take("0/0"), sequences.next_epoch()
    assert number is not None and number > 60_000
    assert epoch is not None and epoch > 60_000
    assert sequences.faults


def test_without_a_lease_nothing_is_signed_and_measuring_goes_on(tmp_path: Path) -> None:
    home = Home(tmp_path, synchronised_ms=START_MS)
    home.config.lease_file.unlink(missing_ok=True)
    home.config.lease_file.with_name(
        home.config.lease_file.name + ".new"
    ).mkdir()  # the file cannot be replaced any more
    home.sample(START_MS + 1_000, import_wh=1, export_wh=1)
    assert home.readings() == [] and home.counters["settlement_waits_for_lease"] == 1
    home.config.lease_file.with_name(home.config.lease_file.name + ".new").rmdir()
    home.sample(START_MS + 2_000, import_wh=2, export_wh=1)
    assert [r.import_wh for r in home.readings()] == [2]
