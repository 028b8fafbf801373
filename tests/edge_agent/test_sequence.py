"""No identity is signed twice: not after a crash, not with an old database, not with a broken lease file."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.eip712 import Message
from contracts.interval import INTERVAL_S, interval_start_s
from contracts.messages import SettlementReading, TelemetryBatch
from edge_agent.config import MeterConfig
from edge_agent.delivery.frame import FrameKind
from edge_agent.delivery.outbox import Outbox
from edge_agent.delivery.sequence import LEASE, Leases, Mark, Need, Sequences
from edge_agent.effects import Counters
from edge_agent.shell.lease_file import LeaseFile
from tests.edge_agent.conftest import Home, ada_config

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


class CountingFile(LeaseFile):
    """Counts its writes, and fails those it is told to."""

    writes = 0
    works = True

    def write_leases(self, leases: Leases) -> bool:
        """As the file does, where it works."""
        self.writes += 1
        return self.works and super().write_leases(leases)


needs = st.lists(
    st.builds(
        Need,
        st.sampled_from(["0/1", "1/1", "2/1", "bid"]),
        st.integers(1, 100),
        st.integers(1, 200),
        st.sampled_from([None, 7, 8]),
    ),
    max_size=12,
)


@settings(max_examples=10)
@given(needs)
def test_numbers_leased_together_are_those_leased_one_by_one_and_cost_one_write(wanted: list[Need]) -> None:
    wanted = list({need.name: need for need in wanted}.values())  # each kind once, as an agent's meters are
    with tempfile.TemporaryDirectory() as place:
        one, other = (CountingFile(Path(place) / name) for name in ("one", "other"))
        apart = Sequences(one, Outbox(Path(place) / "one.db", Counters()), Counters())
        together = Sequences(other, Outbox(Path(place) / "other.db", Counters()), Counters())
        assert together.lend(wanted) and other.writes == min(len(wanted), 1)
        for need in wanted:
            lent = (need.name, need.count, need.lease, need.epoch)
            assert apart.take(*lent) == together.take(*lent)
        assert other.writes <= 1 and one.read_leases() == other.read_leases()


@settings(max_examples=10)
@given(needs)
def test_leases_that_could_not_be_written_lend_nothing(wanted: list[Need]) -> None:
    with tempfile.TemporaryDirectory() as place:
        file, database = CountingFile(Path(place) / "key.lease"), Outbox(Path(place) / "a.db", Counters())
        sequences = Sequences(file, database, Counters())
        file.works = False
        assert sequences.lend(wanted) == (not wanted)
        assert all(sequences.take(need.name, need.count, need.lease, need.epoch) is None for need in wanted)
        file.works = True
        assert sequences.lend(wanted) and all(sequences.unused(need.name) == 0 for need in wanted)


def test_numbers_leased_together_and_never_used_are_skipped_after_a_kill(tmp_path: Path) -> None:
    file, database = LeaseFile(tmp_path / "key.lease"), Outbox(tmp_path / "a.db", Counters())
    killed = Sequences(file, database, Counters())
    assert killed.lend([Need("0/1", 3, 10, 7), Need("1/1", 3, 20, 7)]) and killed.take("0/1", 3, 10, 7) == 0
    after = Sequences(file, Outbox(tmp_path / "older.db", Counters()), Counters())
    assert (after.take("0/1", 1, 10, 8), after.take("1/1", 1, 10, 8)) == (10, 20)
    assert [(run.epoch, run.first, run.end) for run in after.ended["1/1"]] == [(7, 0, 20)]


def test_the_first_seal_of_an_agent_with_many_meters_costs_one_write_of_the_lease_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    meters = tuple(
        MeterConfig(n, f"m{n}", "eastron_sdm630", "127.0.0.1", unit=n + 1, role="inverter") for n in range(6)
    )
    home = Home(tmp_path, ada_config(tmp_path, meters), START_MS)
    for meter in meters:
        home.sample(START_MS + 1_000, meter.name, import_wh=5, export_wh=6)
    written: list[Leases] = []
    write = LeaseFile.write_leases

    def count(file: LeaseFile, leases: Leases) -> bool:
        written.append(leases)
        return write(file, leases)

    monkeypatch.setattr(LeaseFile, "write_leases", count)
    home.agent.on_deadline(START_MS + 61_000)
    assert home.counters["telemetry_batches"] == len(meters) and len(written) == 1
    for meter in meters:
        home.sample(START_MS + 62_000, meter.name, import_wh=5, export_wh=6)
    home.agent.on_deadline(START_MS + 121_000)
    assert home.counters["telemetry_batches"] == 2 * len(meters) and len(written) == 1
