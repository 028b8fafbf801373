"""Scenarios are data: all that come with the simulators are readable, and nothing misspelt is overlooked."""

from __future__ import annotations

import pytest
from typer import Typer
from typer.testing import CliRunner

from simulators.scenario import LocalScenarioError, Scenario, load_scenario, scenario_names, scenario_of
from simulators.world import WorldResult
from simulators.world_command import told, world


@pytest.mark.parametrize("name", scenario_names())
def test_every_scenario_is_readable_and_says_what_it_is(name: str) -> None:
    scenario = load_scenario(name)
    assert scenario.name == name
    assert len(scenario.about.split()) > 6


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('about = "x"\nhouses = 4', "unknown key 'houses'"),
        ('about = "x"\n[shape]\nhome = 4', "shape: unknown key 'home'"),
        ('about = "x"\n[shape]\nhomes = "four"', "shape: homes is a int"),
        ('about = "x"\n[shape]\nhours = 99', "hours is 1 to 48"),
        ('about = "x"\n[faults]\nloss = 1', "faults: unknown key 'loss'"),
        ('about = "x"\n[[glitches]]\nfrom_minute = 1\nuntil_minute = 2\nkind = "melted"', "no such kind 'melted'"),
        ('about = "x"\n[[partitions]]\nfrom_minute = 5\nuntil_minute = 5', "ends before it begins"),
        ('about = "x"\n[[partitions]]\nfrom_minute = 5', "until_minute"),
        ('about = "x"\nliars = [true]', "liars is a list of homes"),
        ("[shape]", "about says in a sentence"),
        ("about =", "Invalid"),
    ],
)
def test_what_is_wrong_with_a_scenario_is_named(text: str, complaint: str) -> None:
    with pytest.raises(LocalScenarioError, match=complaint):
        scenario_of("broken", text)


def test_a_scenario_that_does_not_exist_is_refused_with_those_that_do() -> None:
    with pytest.raises(LocalScenarioError, match="calm_day"):
        load_scenario("stormy_sea")


def test_a_scenario_without_faults_draws_none() -> None:
    plan = scenario_of("calm", 'about = "a calm day"').plan(3, 5, 0, 10_000_000)
    assert (plan.loss_ppm, plan.partitions, plan.agent_crashes, plan.glitches) == (0, (), (), ())
    assert Scenario().plan(3, 5, 0, 10_000_000) != plan


def test_a_failing_seed_ends_with_the_one_command_that_replays_it() -> None:
    result = WorldResult(False, ("money: gone",), "ab" * 32, {}, 7_200)
    assert told(9, None, result)[-1].split(": ")[1] == "simulate world --seed 9"
    assert told(9, "calm_day", result)[-1].split(": ")[1] == "simulate world --seed 9 --scenario calm_day"


def test_the_command_runs_a_seed_lists_scenarios_and_refuses_unknown_ones() -> None:
    app = Typer()
    app.command()(world)
    runner = CliRunner()
    ran = runner.invoke(app, ["--seed", "7"])
    assert (ran.exit_code, "seed 7: well" in ran.output) == (0, True)
    listed = runner.invoke(app, ["--scenario", "list"])
    assert all(name in listed.output for name in scenario_names())
    assert runner.invoke(app, ["--scenario", "stormy_sea"]).exit_code == 2
