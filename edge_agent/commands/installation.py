"""Commands for a machine the agent is to live on: `doctor` and `install-service`."""

from __future__ import annotations

import asyncio
import shutil
import sys
from pathlib import Path
from typing import Annotated

import typer

from edge_agent.commands.start import CONFIGURATION, DEFAULT_CONFIG, FAILED, ConfigOption, failed, load_config


def register_installation(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command()(doctor)
    app.command("install-service")(install_service)


def doctor(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Check machine, clock, key, store, lines, devices, brokers and unit; 1 where something is wrong."""
    from edge_agent.shell.diagnosis import Level, examine

    bad = 0
    for finding in asyncio.run(examine(load_config(config))):
        bad += finding.level == Level.FAIL
        typer.echo(f"{finding.level:<4} {finding.what}: {finding.text}")
        if finding.level != Level.OK and finding.cure:
            typer.echo(f"     -> {finding.cure}")
    if bad:
        raise typer.Exit(FAILED)


def install_service(
    config: ConfigOption = DEFAULT_CONFIG,
    root: Annotated[Path, typer.Option(help="Install below this folder instead of /.")] = Path("/"),
    executable: Annotated[str, typer.Option(help="The edge-agent to start; default: this one.")] = "",
    encrypted: Annotated[bool, typer.Option(help="Credentials are sealed with systemd-creds.")] = False,
    dry_run: Annotated[bool, typer.Option(help="Print the unit and write nothing.")] = False,
) -> None:
    """Write the hardened systemd unit and its user; says what remains to be done."""
    from edge_agent import systemd_unit as unit

    credentials: tuple[str, ...] = unit.DEFAULT_CREDENTIALS
    serial, update = True, None
    inside = root / config.relative_to("/") if config.is_absolute() and root != Path("/") else config
    if inside.exists():
        loaded = load_config(inside)
        credentials, serial, update = unit.credentials_of(loaded), unit.has_serial_lines(loaded), loaded.update
    command = executable or _own_executable()
    if not command.startswith("/") or any(c.isspace() for c in f"{command}{config}"):
        raise failed("executable and configuration must be absolute paths without spaces", CONFIGURATION)
    if encrypted and update is not None and update.ready_file is None:
        raise failed("[update] ready_file is missing: a doctor outside the unit opens no sealed key", CONFIGURATION)
    text = unit.unit_text(command, str(config.absolute()), credentials, serial, encrypted, update)
    if dry_run:
        typer.echo(text, nl=False)
        return
    try:
        for path, content in ((unit.UNIT_PATH, text), (unit.SYSUSERS_PATH, unit.sysusers_text())):
            target = root / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(content, encoding="utf-8")
            target.chmod(0o644)
            typer.echo(f"wrote {target}")
        folder = root / unit.CREDENTIALS_FOLDER.removeprefix("/")
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)
    except OSError as error:
        raise failed(f"cannot be written: {error}", FAILED) from error
    typer.echo("then, as root:")
    typer.echo("  systemd-sysusers && systemctl daemon-reload")
    for name in credentials:
        if not (folder / name).exists():
            typer.echo(f"  edge-agent key new {unit.CREDENTIALS_FOLDER}/{name}" if name == "key" else f"  put {name}")
    typer.echo(f"  systemctl enable --now {unit.UNIT_NAME}")


def _own_executable() -> str:
    beside = Path(sys.executable).with_name("edge-agent")
    return str(beside) if beside.exists() else shutil.which("edge-agent") or sys.argv[0]
