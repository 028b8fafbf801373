"""The console script `edge-agent`. Exit codes: 0 ok, 1 failed, 2 usage, 69 unavailable, 78 configuration."""

from __future__ import annotations

import asyncio
import os
import sys
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from edge_agent.config import AgentConfig

FAILED, UNAVAILABLE, CONFIGURATION = 1, 69, 78


class Wire(Enum):
    """What a device hangs on."""

    TCP = "tcp"
    RTU = "rtu"
    RTU_OVER_TCP = "rtu-over-tcp"


# Without rich: it would cost the running agent 10 MB.
app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
    help="The home's agent: reads, signs, bids, obeys.",
)
config_app = typer.Typer(no_args_is_help=True, help="The configuration file.")
key_app = typer.Typer(no_args_is_help=True, help="The key that signs for this home.")
profile_app = typer.Typer(no_args_is_help=True, help="Device profiles.")
queue_app = typer.Typer(no_args_is_help=True, help="What the operator has not acknowledged yet.")
app.add_typer(config_app, name="config")
app.add_typer(key_app, name="key")
app.add_typer(profile_app, name="profile")
app.add_typer(queue_app, name="queue")

ConfigOption = Annotated[Path, typer.Option("--config", "-c", help="The agent's TOML file.")]
DEFAULT_CONFIG = Path("/etc/energy-grid/agent.toml")


def _fail(text: str, code: int) -> typer.Exit:
    typer.echo(text, err=True)
    return typer.Exit(code)


def _load(path: Path) -> AgentConfig:
    """The configuration, or exit 78 with everything that is wrong with it and its profiles."""
    from device_profiles.profile import ProfileError
    from edge_agent.config import ConfigError, agent_config_from_toml
    from edge_agent.shell.runtime import load_profiles

    try:
        config = agent_config_from_toml(path)
        load_profiles(config)
    except (ConfigError, ProfileError) as error:
        raise _fail("\n".join(error.errors), CONFIGURATION) from error
    return config


def _key(config: AgentConfig) -> bytes:
    from edge_agent.shell.key_store import KeyFileError, read_key

    if config.key_file is None:
        raise _fail("[key] file is missing", CONFIGURATION)
    try:
        return read_key(config.key_file)
    except KeyFileError as error:
        raise _fail(str(error), CONFIGURATION) from error


@app.command()
def run(
    config: ConfigOption = DEFAULT_CONFIG,
    metrics: Annotated[Path | None, typer.Option(help="Write Prometheus text to this file once a minute.")] = None,
    verbose: Annotated[bool, typer.Option(help="Say more on stderr.")] = False,
) -> None:
    """Run the agent until it is told to stop (SIGTERM, SIGINT)."""
    _key(_load(config))
    # The same process begins again without this command line's libraries: 10 MB less for as long as it runs.
    arguments = [str(config), "" if metrics is None else str(metrics), "verbose" if verbose else ""]
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", "edge_agent.shell.foreground", *arguments])


@config_app.command("check")
def config_check(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Say everything that is wrong with the configuration and its profiles."""
    loaded = _load(config)
    home = loaded.home
    typer.echo(f"ok: account {home.account} as {home.feeder}/{home.edge}, {len(loaded.meters)} device(s)")


@key_app.command("new")
def key_new(
    file: Annotated[Path, typer.Argument(help="Where the key is to lie; never overwritten.")],
    keystore: Annotated[Path | None, typer.Option(help="Take the key from this v3 keystore instead.")] = None,
) -> None:
    """Make a key, 0600, and print its address."""
    from edge_agent.shell.key_store import KeyFileError, address_text, import_keystore, new_key, write_key

    try:
        if keystore is None:
            key = new_key()
        else:
            key = import_keystore(keystore, typer.prompt("Password", hide_input=True))
        write_key(file, key)
    except KeyFileError as error:
        raise _fail(str(error), FAILED) from error
    typer.echo(address_text(key))


@key_app.command("address")
def key_address(file: Annotated[Path, typer.Argument(help="A key file.")]) -> None:
    """Print the address the operator registers."""
    from edge_agent.shell.key_store import KeyFileError, address_text, read_key

    try:
        typer.echo(address_text(read_key(file)))
    except KeyFileError as error:
        raise _fail(str(error), CONFIGURATION) from error


@key_app.command("export")
def key_export(file: Annotated[Path, typer.Argument(help="A key file.")]) -> None:
    """Print the key as an encrypted v3 keystore."""
    from edge_agent.shell.key_store import KeyFileError, export_keystore, read_key

    try:
        key = read_key(file)
        password = typer.prompt("Password", hide_input=True, confirmation_prompt=True)
        typer.echo(export_keystore(key, password))
    except KeyFileError as error:
        raise _fail(str(error), FAILED) from error


@app.command()
def probe(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Read every configured device once and print its values; 69 where one does not answer."""
    from edge_agent.shell.examination import probe_devices

    silent = 0
    for name, values, fault in asyncio.run(probe_devices(_load(config))):
        if fault is not None:
            silent += 1
            typer.echo(f"{name}: {fault}", err=True)
            continue
        typer.echo(f"{name}:")
        for measurement, value in sorted(values.items()):
            typer.echo(f"  {measurement} = {value}")
    if silent:
        raise typer.Exit(UNAVAILABLE)


@profile_app.command("list")
def profile_list() -> None:
    """Names of the shipped profiles."""
    from device_profiles.profile import list_profiles

    for name in list_profiles():
        typer.echo(name)


@profile_app.command("check")
def profile_check(profiles: Annotated[list[str], typer.Argument(help="Names or paths of profiles.")]) -> None:
    """Read profiles and hold them against their own examples."""
    from device_profiles.codec import example_errors
    from device_profiles.profile import ProfileError, load_profile
    from device_profiles.sunspec import RemoteSunSpecError, resolve, walk_image

    bad = 0
    for name in profiles:
        try:
            profile = load_profile(name)
            if not profile.resolved:
                profile = resolve(profile, walk_image(profile.example.registers))  # type: ignore[arg-type]
            errors = example_errors(profile)
        except ProfileError as error:
            errors = error.errors
        except (RemoteSunSpecError, ValueError) as error:
            errors = (str(error),)
        bad += bool(errors)
        for text in errors:
            typer.echo(f"{name}: {text}", err=True)
        if not errors:
            typer.echo(f"{name}: ok")
    if bad:
        raise typer.Exit(FAILED)


@profile_app.command("plan")
def profile_plan(
    name: Annotated[str, typer.Argument(help="Name or path of a profile.")],
    link: Annotated[Wire, typer.Option(help="How the device is reached.")] = Wire.RTU,
) -> None:
    """Print the block reads the agent makes and the bus time they take."""
    from device_profiles.profile import ProfileError
    from device_profiles.read_plan import LocalPlanError
    from edge_agent.shell.examination import planned

    try:
        reads = planned(name, link.value)
    except (ProfileError, LocalPlanError, ValueError) as error:
        raise _fail(str(error), FAILED) from error
    for request in reads.requests:
        typer.echo(f"function {request.function}: {request.count} registers from {request.address}")
    typer.echo(f"{len(reads.requests)} request(s), {reads.bus_ms} ms of bus time")


@queue_app.command("stat")
def queue_stat(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """How many frames wait, by kind, and since when."""
    from edge_agent.outbox import RemoteStoreError
    from edge_agent.shell.examination import queue_rows

    try:
        for kind, count, size in queue_rows(_load(config).store):
            typer.echo(f"{kind}: {count} frame(s), {size} bytes")
    except RemoteStoreError as error:
        raise _fail(str(error), UNAVAILABLE) from error


@queue_app.command("export")
def queue_export(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Print every waiting message as a line of JSON with its signature."""
    from edge_agent.outbox import RemoteStoreError
    from edge_agent.shell.examination import queue_lines

    try:
        for line in queue_lines(_load(config).store):
            typer.echo(line)
    except RemoteStoreError as error:
        raise _fail(str(error), UNAVAILABLE) from error


@app.command()
def doctor(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Check configuration, key, store, clock, broker and devices; 1 where something is wrong."""
    from edge_agent.shell.examination import examine

    bad = 0
    for what, good, text in asyncio.run(examine(_load(config))):
        bad += not good
        typer.echo(f"{'ok  ' if good else 'BAD '} {what}: {text}")
    if bad:
        raise typer.Exit(FAILED)


def main() -> None:
    """Entry of the console script."""
    app()


if __name__ == "__main__":
    main()
