"""The auditors are worth something: each planted bug is found within a few seeds, in which the real system is well."""

from __future__ import annotations

from dataclasses import replace

import pytest

from simulators.scenario import FaultBounds, Scenario, Shape
from simulators.world import run_world
from tests.simulation.planted_bugs import AUCTIONED, CAUGHT_BY, PLANTED
from tests.simulation.seeds import failures

BUDGET = range(8)
HARSH = Scenario(
    "harsh", shape=Shape(homes=4, hours=2), faults=FaultBounds(loss_ppm=300_000, clock_steps=0, coordinator_crashes=4)
)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(PLANTED))
def test_a_planted_bug_is_caught_within_a_few_seeds(name: str) -> None:
    scenario = replace(HARSH, shape=replace(HARSH.shape, spot="auction")) if name in AUCTIONED else HARSH
    for seed in BUDGET:
        result = run_world(seed, scenario, PLANTED[name])
        if any(verdict.startswith(CAUGHT_BY[name]) for verdict in result.verdicts):
            return
    pytest.fail(f"{name} went unnoticed by {CAUGHT_BY[name]} in {len(BUDGET)} seeds")


@pytest.mark.slow
def test_the_real_system_is_well_in_the_seeds_that_catch_bugs() -> None:
    found = failures(BUDGET, HARSH)
    assert not found, "\n" + "\n".join(found)


def test_every_planted_bug_names_its_auditor() -> None:
    assert set(CAUGHT_BY) == set(PLANTED)
