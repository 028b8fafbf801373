"""`simulate world`: runs one seed, or many, of the simulated world and says what its auditors found.

Mounted by `simulators/cli.py`. A failing seed prints the one command that replays it.
"""

from __future__ import annotations

from typing import Annotated

import typer

from simulators.scenario import LocalScenarioError, Scenario, load_scenario, scenario_names
from simulators.world import WorldResult, run_world


def replay_command(seed: int, scenario: str | None) -> str:
    """What to type to see that run again."""
    return f"simulate world --seed {seed}" + (f" --scenario {scenario}" if scenario is not None else "")


def told(seed: int, scenario: str | None, result: WorldResult) -> list[str]:
    """The outcome of one seed in lines; the last one of a failure is the command that replays it."""
    hours = result.seconds_virtual / 3_600
    if result.ok:
        return [f"seed {seed}: well, {hours:.1f} h, log {result.digest[:16]}"]
    return [
        f"seed {seed}: {len(result.verdicts)} findings in {hours:.1f} h, log {result.digest[:16]}",
        *(f"  {verdict}" for verdict in result.verdicts),
        f"  replay: {replay_command(seed, scenario)}",
    ]


def world(
    seed: Annotated[int, typer.Option(help="The seed; the same seed gives the same run to the byte.", min=0)] = 0,
    seeds: Annotated[int, typer.Option(help="How many seeds to run, from SEED on.", min=1)] = 1,
    scenario: Annotated[str | None, typer.Option(help="A scenario by name; 'list' shows all.")] = None,
    journal: Annotated[bool, typer.Option(help="Print alarms, crashes and refused posts with their time.")] = False,
) -> None:
    """Run the whole system in one thread under a seed, with faults, and audit it."""
    if scenario == "list":
        for name in scenario_names():
            typer.echo(f"{name}: {load_scenario(name).about}")
        return
    chosen: Scenario | None = None
    if scenario is not None:
        try:
            chosen = load_scenario(scenario)
        except LocalScenarioError as error:
            typer.echo(str(error), err=True)
            raise typer.Exit(2) from error
    failed = 0
    for number in range(seed, seed + seeds):
        result = run_world(number, chosen, journal=typer.echo if journal else None)
        for line in told(number, scenario, result):
            typer.echo(line)
        failed += not result.ok
    if failed:
        raise typer.Exit(1)
