"""The commands `edge-agent control …`: what a set-point would do to the home's devices."""

from __future__ import annotations

from typing import Annotated

import typer

from edge_agent.commands.start import DEFAULT_CONFIG, FAILED, UNAVAILABLE, ConfigOption, failed, load_config

USAGE = 2
control_app = typer.Typer(no_args_is_help=True, help="Set-points.")


@control_app.callback()
def control() -> None:
    """Set-points."""


@control_app.command("dry-run")
def control_dry_run(
    setpoint: Annotated[
        str, typer.Option("--setpoint", help="device=NAME,kind=KIND,power_w=W[,valid_s=S][,sequence=N] or JSON.")
    ],
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Say what a set-point would write (registers and words) or why it is refused; nothing is written."""
    from edge_agent.shell.rehearsal import LocalTextError, RemoteSilenceError, rehearsed, wanted_from

    try:
        found = rehearsed(load_config(config), wanted_from(setpoint))
    except LocalTextError as error:
        raise failed(str(error), USAGE) from error
    except RemoteSilenceError as error:
        raise failed(str(error), UNAVAILABLE) from error
    for line in found.lines:
        typer.echo(line)
    if found.refusal is not None:
        raise failed(f"refused: {found.refusal}", FAILED)
    typer.echo("nothing was written")
