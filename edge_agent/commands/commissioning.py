"""The commands an installer begins with: `scan` finds devices, `probe` reads the configured ones."""

from __future__ import annotations

from typing import Annotated

import typer

from edge_agent.commands.start import (
    CONFIGURATION,
    DEFAULT_CONFIG,
    FAILED,
    UNAVAILABLE,
    ConfigOption,
    failed,
    load_config,
)

SEARCH_S = 900.0
"""A line with nobody on it takes thirteen minutes: 247 units, six speeds, three parities, 0.17 s each."""


def register_commissioning(app: typer.Typer) -> None:
    """Adds the commands to the console script."""
    app.command()(scan)
    app.command()(probe)


def scan(
    network: Annotated[str, typer.Option(help="Sweep these addresses, such as 192.168.1.0/24.")] = "",
    port: Annotated[int, typer.Option(min=1, max=65_535, help="Modbus port of the sweep.")] = 502,
    serial: Annotated[str, typer.Option(help="Sweep this serial line by Modbus RTU.")] = "",
    baud: Annotated[list[int] | None, typer.Option(help="Only these speeds of the serial line.")] = None,
    units: Annotated[str, typer.Option(help="Only these units, such as 1-10 or 1,2,126.")] = "",
    sniff: Annotated[str, typer.Option(help="Listen on this serial line for P1, SML and other telegrams.")] = "",
    limit_s: Annotated[float, typer.Option(min=1, help="Give up after so many seconds.")] = SEARCH_S,
) -> None:
    """Find devices and print the [[meter]] tables for them; 69 where nothing was found.

    Nothing else may talk on a serial line meanwhile: stop the agent first.
    """
    from edge_agent.shell.commissioning import Wanted, scan_now

    if not (network or serial or sniff):
        raise typer.BadParameter("say where: --network, --serial or --sniff")
    try:
        asked = _units(units)
    except ValueError as error:
        raise typer.BadParameter(f"units {units!r}: {error}") from error
    try:
        found = scan_now(Wanted(network, port, serial, baud or (), asked, sniff, limit_s), typer.echo, _trying)
    except (ValueError, OSError) as error:
        raise failed(str(error), FAILED) from error
    if not found:
        raise failed("nothing answered that a profile fits", UNAVAILABLE)


def _trying(text: str) -> None:
    typer.echo(text, err=True)


def _units(text: str) -> tuple[int, ...]:
    """Units in a list such as 1-10,126. ValueError for what is none."""
    found: list[int] = []
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    if any(not 0 <= unit <= 255 for unit in found):
        raise ValueError("0 to 255 only")
    return tuple(found)


def probe(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Read every configured device once and print its values; 69 where one does not answer."""
    from edge_agent.config import ConfigError
    from edge_agent.shell.commissioning import probe_now

    silent = 0
    try:
        probed = probe_now(load_config(config))
    except ConfigError as error:
        raise failed(str(error), CONFIGURATION) from error
    for name, values, fault in probed:
        if fault is not None:
            silent += 1
            typer.echo(f"{name}: {fault}", err=True)
            continue
        typer.echo(f"{name}:")
        for measurement, value in sorted(values.items()):
            typer.echo(f"  {measurement} = {value}")
    if silent:
        raise typer.Exit(UNAVAILABLE)
