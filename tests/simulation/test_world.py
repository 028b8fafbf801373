"""The whole system under many seeds: whatever goes wrong, after healing every auditor is content."""

from __future__ import annotations

import subprocess
import sys

import pytest

from simulators.scenario import load_scenario, scenario_names
from simulators.world import run_world
from tests.simulation.seeds import CHUNKS, failures

QUICK = 2
DIGEST = "from simulators.world import run_world; print(run_world(7).digest)"


@pytest.mark.parametrize(
    "chunk",
    [pytest.param(c, marks=[] if c.start == 0 else pytest.mark.slow, id=f"{c.start}-{c.stop - 1}") for c in CHUNKS],
)
def test_every_auditor_is_content_whatever_goes_wrong(chunk: range) -> None:
    # The quick run takes the first seeds of the first chunk only.
    seeds = range(QUICK) if chunk.start == 0 else chunk
    found = failures(seeds)
    assert not found, "\n" + "\n".join(found)


@pytest.mark.slow
def test_the_rest_of_the_first_chunk_is_as_content() -> None:
    found = failures(range(QUICK, CHUNKS[0].stop))
    assert not found, "\n" + "\n".join(found)


@pytest.mark.slow
@pytest.mark.parametrize("name", scenario_names())
def test_every_scenario_ends_well(name: str) -> None:
    found = failures(range(2), load_scenario(name))
    assert not found, "\n" + "\n".join(found)


def test_a_world_that_auctions_its_deviations_is_as_content() -> None:
    auctioned = load_scenario("auctioned_spot")
    found = failures(range(QUICK), auctioned)
    assert not found, "\n" + "\n".join(found)


def test_the_same_seed_gives_the_same_log_even_under_another_hash_seed() -> None:
    here = run_world(7).digest
    outside = subprocess.run(
        [sys.executable, "-c", DIGEST], capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": "4242"}
    )
    assert outside.stdout.strip() == here
    assert run_world(8).digest != here


def test_a_faulty_world_really_suffers_and_really_trades() -> None:
    totals: dict[str, int] = {}
    for seed in range(2):
        for name, count in run_world(seed).counters.items():
            totals[name] = totals.get(name, 0) + count
    for name in ("broker_lost", "broker_duplicated", "broker_damaged", "coordinator_auctions", "coordinator_headers"):
        assert totals.get(name, 0) > 5, (name, totals)
    assert totals["refused_beyond_collateral"] > 0
    assert totals["DeviceWritten"] > 0
