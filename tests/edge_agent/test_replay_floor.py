"""A store that forgot what it has obeyed obeys nothing twice, and a home that is new loses nothing by that."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from contracts.codes import SetPointOutcome
from contracts.topics import Leaf
from edge_agent.effects import WriteResult
from tests.edge_agent.conftest import Home
from tests.edge_agent.test_set_points import NOW_MS, NOW_S, order, outcome, steered_home, writes

LATER_MS = NOW_MS + 10_000


def obeyed(folder: Path) -> Home:
    """A home that has obeyed set-point 5, and died."""
    home = steered_home(folder)
    (write,) = writes(home.tell(Leaf.SETPOINT, order(5), NOW_MS))
    home.agent.on_written(WriteResult(write.token, "store", 2_000), NOW_MS)
    home.outbox.close()
    return home


def begun_again(home: Home, folder: Path, now_ms: int = LATER_MS) -> Home:
    """The next run, ten seconds later."""
    again = Home(folder, home.config, synchronised_ms=now_ms)
    again.agent.on_link(True, now_ms)
    return again


def ruin(path: Path) -> None:
    """Nothing of the file can be read."""
    path.write_bytes(b"\xa5" * path.stat().st_size)


def harm(path: Path) -> None:
    """The file is damaged where nobody's memory lies: its free space says nonsense."""
    words = bytearray(path.read_bytes())
    words[32:40] = (1).to_bytes(4, "big") + (7).to_bytes(4, "big")
    path.write_bytes(words)


@pytest.mark.parametrize("damage", [ruin, harm, Path.unlink])
def test_an_unexpired_set_point_is_not_obeyed_twice_by_a_store_made_anew(tmp_path: Path, damage: object) -> None:
    home = obeyed(tmp_path)
    damage(home.config.store)  # type: ignore[operator]
    again = begun_again(home, tmp_path)
    for said in (order(5), order(6), order(7, issued_at_s=NOW_S + 10)):
        effects = again.tell(Leaf.SETPOINT, said, LATER_MS)
        assert outcome(effects) == SetPointOutcome.REPLAYED
        assert not [write for write in writes(effects) if write.value is not None]
    fresh = order(8, issued_at_s=NOW_S + 11, valid_until_s=NOW_S + 60)
    assert writes(again.tell(Leaf.SETPOINT, fresh, LATER_MS + 1_000))


def test_the_floor_outlives_the_run_that_found_the_damage(tmp_path: Path) -> None:
    home = obeyed(tmp_path)
    ruin(home.config.store)
    begun_again(home, tmp_path).outbox.close()
    third = begun_again(home, tmp_path, LATER_MS + 10_000)
    assert outcome(third.tell(Leaf.SETPOINT, order(5), LATER_MS + 10_000)) == SetPointOutcome.REPLAYED
    fresh = order(8, issued_at_s=NOW_S + 12, valid_until_s=NOW_S + 60)
    assert writes(third.tell(Leaf.SETPOINT, fresh, LATER_MS + 10_000))


def test_the_sequence_is_salvaged_where_the_damaged_store_still_tells_it(tmp_path: Path) -> None:
    home = obeyed(tmp_path)
    harm(home.config.store)
    again = begun_again(home, tmp_path)
    assert again.counters["store_quarantined"] == 1 and again.outbox.recall("control/3")[:2] == [1, 5]
    late = replace(order(4), issued_at_s=NOW_S + 11)
    assert outcome(again.tell(Leaf.SETPOINT, late, LATER_MS + 2_000)) == SetPointOutcome.REPLAYED


def test_a_first_start_and_a_plain_restart_have_no_floor(tmp_path: Path) -> None:
    home = obeyed(tmp_path)
    again = begun_again(home, tmp_path)
    assert again.agent._floor.floor_s == -1
    assert any(w.value == 2_000 for w in writes(again.tell(Leaf.SETPOINT, order(6), LATER_MS)))
