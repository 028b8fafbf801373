"""The console script `edge-agent`. Exit codes: 0 ok, 1 failed, 2 usage, 69 unavailable, 78 configuration."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from edge_agent.commands.commissioning import register_commissioning
from edge_agent.commands.control import control_app
from edge_agent.commands.installation import register_installation
from edge_agent.commands.key import key_app
from edge_agent.commands.key_attestation import register_attestation
from edge_agent.commands.profile import profile_app
from edge_agent.commands.queue import queue_app
from edge_agent.commands.start import DEFAULT_CONFIG, ConfigOption, check_files, load_config
from edge_agent.commands.update import node_app, update_app

# Without rich: it would cost the running agent 10 MB.
app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
    help="The home's agent: reads, signs, bids, obeys.",
)
config_app = typer.Typer(no_args_is_help=True, help="The configuration file.")
app.add_typer(config_app, name="config")
app.add_typer(key_app, name="key")
app.add_typer(profile_app, name="profile")
app.add_typer(queue_app, name="queue")
register_attestation(key_app)
register_installation(app)
register_commissioning(app)
app.add_typer(update_app, name="update")
app.add_typer(node_app, name="node")
app.add_typer(control_app, name="control")


@app.command()
def run(
    config: ConfigOption = DEFAULT_CONFIG,
    metrics: Annotated[Path | None, typer.Option(help="Write Prometheus text to this file once a minute.")] = None,
    verbose: Annotated[bool, typer.Option(help="Say more on stderr.")] = False,
) -> None:
    """Run the agent until it is told to stop (SIGTERM, SIGINT)."""
    check_files(load_config(config))
    # The same process begins again without this command line's libraries: 10 MB less for as long as it runs.
    arguments = [str(config), "" if metrics is None else str(metrics), "verbose" if verbose else ""]
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", "edge_agent.shell.foreground", *arguments])


@config_app.command("check")
def config_check(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Say everything that is wrong with the configuration, its profiles and the files it names."""
    loaded = load_config(config)
    check_files(loaded, by_hand=True)
    home = loaded.home
    typer.echo(f"ok: account {home.account} as {home.feeder}/{home.edge}, {len(loaded.meters)} device(s)")


def main() -> None:
    """Entry of the console script."""
    app()


if __name__ == "__main__":
    main()
